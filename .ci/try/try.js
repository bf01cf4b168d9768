// Classifies images by onnxruntime-web, on the machine of the visitor
import * as ort from './ort.js'
import {samples} from './samples.js'

const side = 32                 // of the images that the network takes, pixels
const square = 8, step = 4      // side of the square that covers a place, and distance between places, pixels
const colours = {black: '#111111', white: '#f5f5f5', grey: '#8a8a8a', red: '#c0261f', brown: '#6d4124', yellow: '#e4c84a',
  green: '#5f8a38', 'sky blue': '#8fb9e2', blue: '#24569c'}
const inferno = [[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]]

const page = document.getElementById('try')
const part = name => page.querySelector(`[data-part=${name}]`)
const classes = JSON.parse(page.dataset.classes)
const context = canvas => canvas.getContext('2d', {willReadFrequently: true})
const say = text => { part('status').textContent = text }

// The network

let session
async function load() {
  const fetchBytes = async name => {
    const response = await fetch(new URL(name, import.meta.url))
    if (!response.ok) throw new Error(`${name} could not be loaded (${response.status})`)
    return new Uint8Array(await response.arrayBuffer())
  }
  const [runtime, network] = await Promise.all([fetchBytes('ort.wasm'), fetchBytes('network.onnx')])
  ort.env.wasm.wasmBinary = runtime
  ort.env.wasm.numThreads = 1 // more need headers that a plain web server does not send
  return ort.InferenceSession.create(network, {executionProviders: ['wasm']})
}

let lastRun = Promise.resolve()
function probabilities(images) { // one batch after another
  lastRun = lastRun.catch(() => {}).then(() => run(images))
  return lastRun
}

async function run(images) { // Uint8Array with 32x32x3 values an image
  session ??= load()
  const shape = [images.length/(side*side*3), side, side, 3]
  const result = await (await session).run({images: new ort.Tensor('uint8', images, shape)})
  return result.probabilities.data
}

// From any image to 32x32 pixels

function fit(image, width, height) { // center crop, then the average of blocks of equal size
  const crop = Math.min(width, height)
  const block = Math.max(1, Math.min(32, Math.round(crop/side)))
  const canvas = new OffscreenCanvas(side*block, side*block)
  const c = context(canvas)
  c.fillStyle = 'white' // under transparent pixels
  c.fillRect(0, 0, canvas.width, canvas.height)
  c.imageSmoothingQuality = 'high'
  c.drawImage(image, (width - crop)/2, (height - crop)/2, crop, crop, 0, 0, canvas.width, canvas.height)
  const rgba = c.getImageData(0, 0, canvas.width, canvas.height).data
  return average(rgba, block)
}

function average(rgba, block) {
  const sums = new Float64Array(side*side*3)
  for (let y = 0; y < side*block; y++) {
    for (let x = 0; x < side*block; x++) {
      const pixel = (Math.floor(y/block)*side + Math.floor(x/block))*3
      for (let channel = 0; channel < 3; channel++) sums[pixel + channel] += rgba[(y*side*block + x)*4 + channel]
    }
  }
  return Uint8Array.from(sums, sum => Math.round(sum/(block*block)))
}

// Where the network looks

function meanColour(rgb) {
  const sums = [0, 0, 0]
  rgb.forEach((value, i) => { sums[i % 3] += value })
  return sums.map(sum => Math.round(sum/(side*side)))
}

function covered(rgb, left, top, colour) { // a copy with a square in one colour
  const copy = rgb.slice()
  for (let y = Math.max(top, 0); y < Math.min(top + square, side); y++) {
    for (let x = Math.max(left, 0); x < Math.min(left + square, side); x++) copy.set(colour, (y*side + x)*3)
  }
  return copy
}

// mean loss of the class's probability at each pixel; null if there is a newer image
async function occlusion(rgb, index, probability, isCurrent) {
  const colour = meanColour(rgb)
  const lost = new Float64Array(side*side), times = new Float64Array(side*side)
  for (let top = step - square; top < side; top += step) {
    const lefts = []
    for (let left = step - square; left < side; left += step) lefts.push(left)
    const batch = new Uint8Array(lefts.length*rgb.length)
    lefts.forEach((left, i) => batch.set(covered(rgb, left, top, colour), i*rgb.length))
    const probs = await probabilities(batch)
    await new Promise(resolve => setTimeout(resolve)) // lets the page react
    if (!isCurrent()) return null
    lefts.forEach((left, i) => {
      for (let y = Math.max(top, 0); y < Math.min(top + square, side); y++) {
        for (let x = Math.max(left, 0); x < Math.min(left + square, side); x++) {
          lost[y*side + x] += probability - probs[i*classes.length + index]
          times[y*side + x]++
        }
      }
    })
  }
  return lost.map((sum, i) => sum/times[i])
}

// What the visitor sees

const percent = p => `${(100*p).toFixed(1)}%`

function show(canvas, rgb) {
  const image = new ImageData(side, side)
  for (let i = 0; i < side*side; i++) image.data.set([rgb[3*i], rgb[3*i + 1], rgb[3*i + 2], 255], 4*i)
  context(canvas).putImageData(image, 0, 0)
}

function showProbabilities(probs) {
  const ranked = classes.map((name, i) => [name, probs[i]]).sort((a, b) => b[1] - a[1])
  part('probabilities').replaceChildren(...ranked.map(([name, p]) => {
    const row = document.createElement('li')
    row.dataset.name = name
    row.dataset.probability = p
    row.innerHTML = '<span></span><div class="bar" aria-hidden="true"><div></div></div><span class="percent"></span>'
    row.firstChild.textContent = name
    row.querySelector('.bar div').style.width = percent(p)
    row.lastChild.textContent = percent(p)
    return row
  }))
}

function showMap(rgb, lost, name) {
  const most = Math.max(...lost)
  const mixed = rgb.map((value, i) => {
    const place = Math.min(Math.max(lost[Math.floor(i/3)]/Math.max(most, .01), 0), 1)*(inferno.length - 1)
    const low = Math.min(Math.floor(place), inferno.length - 2)
    const colour = inferno[low][i % 3] + (place - low)*(inferno[low + 1][i % 3] - inferno[low][i % 3])
    return .35*value + .65*colour
  })
  show(part('map'), mixed)
  let sentence = 'no covered place lowers its probability'
  if (most > 0) sentence = `covering the brightest place costs ${Math.round(100*most)} points`
  part('legend').textContent = `Where it looks for ${name}: ${sentence}`
  part('map').setAttribute('aria-label', `Map: ${sentence}`)
}

let newest = 0
async function classify(rgb, source) {
  const number = ++newest
  const isCurrent = () => number === newest
  page.removeAttribute('data-done')
  show(part('received'), rgb)
  part('received').setAttribute('aria-label', `${source}, at 32x32 pixels`)
  if (!session) say('Loading the network and its runtime ...')
  try {
    await session ?? await probabilities(rgb) // the first run is slower
    const start = performance.now()
    const probs = await probabilities(rgb)
    const milliseconds = performance.now() - start
    if (!isCurrent()) return
    const index = probs.indexOf(Math.max(...probs))
    say(`${source}: ${classes[index]}, ${percent(probs[index])}, in ${milliseconds.toFixed(0)} ms`)
    page.dataset.milliseconds = milliseconds
    showProbabilities(probs)
    const lost = await occlusion(rgb, index, probs[index], isCurrent)
    if (!lost) return
    showMap(rgb, lost, classes[index])
    page.dataset.done = number
  } catch (error) {
    session = undefined
    say(`The network did not run: ${error.message}`)
  }
}

// Where images come from

async function classifyFile(file) {
  if (!file) return
  try {
    const image = await createImageBitmap(file)
    await classify(fit(image, image.width, image.height), file.name || 'Your image')
  } catch { say(`Your browser cannot read ${file.name || 'this'} as an image`) }
}

part('file').addEventListener('change', () => classifyFile(part('file').files[0]))
addEventListener('paste', event => classifyFile(event.clipboardData.files[0]))
const drop = page.querySelector('.drop')
for (const kind of ['dragover', 'drop', 'dragleave']) {
  page.addEventListener(kind, event => {
    event.preventDefault()
    drop.classList.toggle('over', kind === 'dragover')
    if (kind === 'drop') classifyFile(event.dataTransfer.files[0])
  })
}

for (const [name, draw] of Object.entries(samples)) {
  const button = document.createElement('button'), canvas = document.createElement('canvas')
  button.type = 'button'
  button.setAttribute('aria-label', `Drawn ${name}`)
  canvas.width = canvas.height = 4*side
  context(canvas).scale(canvas.width/64, canvas.width/64)
  draw(context(canvas))
  button.append(canvas)
  button.addEventListener('click', () => classify(fit(canvas, canvas.width, canvas.height), `Drawn ${name}`))
  part('samples').append(button)
}

// Drawing

const drawing = part('drawing')
part('cursor').style.left = part('cursor').style.top = '50%'
const brush = {x: side/2, y: side/2, colour: colours.black}
for (const [name, colour] of Object.entries(colours)) {
  const input = document.createElement('input')
  Object.assign(input, {type: 'radio', name: 'colour', checked: colour === brush.colour, title: name})
  input.setAttribute('aria-label', name)
  input.style.setProperty('--colour', colour)
  input.addEventListener('change', () => { brush.colour = colour })
  part('colours').append(input)
}

function fill(colour) {
  context(drawing).fillStyle = colour
  context(drawing).fillRect(0, 0, side, side)
}

function paint(x, y) { // a line from the last place
  const c = context(drawing)
  Object.assign(c, {strokeStyle: brush.colour, lineWidth: part('brush').value, lineCap: 'round'})
  c.beginPath()
  c.moveTo(brush.x, brush.y)
  c.lineTo(x, y + .01) // a line without length would not be drawn
  c.stroke()
  Object.assign(brush, {x, y})
}

const classifyDrawing = () => classify(fit(drawing, side, side), 'Your drawing')
const place = event => [event.offsetX*side/drawing.clientWidth, event.offsetY*side/drawing.clientHeight]
drawing.addEventListener('pointerdown', event => {
  drawing.setPointerCapture(event.pointerId);
  [brush.x, brush.y] = place(event)
  paint(...place(event))
})
drawing.addEventListener('pointermove', event => { if (event.buttons) paint(...place(event)) })
drawing.addEventListener('pointerup', classifyDrawing)
drawing.addEventListener('keydown', event => {
  const move = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key]
  if (move) {
    brush.x = Math.min(Math.max(brush.x + move[0], 0), side)
    brush.y = Math.min(Math.max(brush.y + move[1], 0), side)
    part('cursor').style.left = percent(brush.x/side)
    part('cursor').style.top = percent(brush.y/side)
    drawing.setAttribute('aria-label', `Drawing, brush at ${Math.round(brush.x)}, ${Math.round(brush.y)} of ${side}`)
  }
  if (event.key === ' ') {
    paint(brush.x, brush.y)
    classifyDrawing()
  }
  if (move || event.key === ' ') event.preventDefault()
})
part('fill').addEventListener('click', () => {
  fill(brush.colour)
  classifyDrawing()
})

fill('#8fb9e2')
say('Ready: choose, take or draw an image.')
