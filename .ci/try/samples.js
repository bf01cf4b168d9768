// Images drawn by code, as functions of a 2D context of 64x64 units

function shape(context, colour, points) {
  context.fillStyle = colour
  context.beginPath()
  for (const [x, y] of points) context.lineTo(x, y)
  context.fill()
}

function ellipse(context, colour, x, y, width, height, angle = 0) {
  context.fillStyle = colour
  context.beginPath()
  context.ellipse(x, y, width, height, angle, 0, 2*Math.PI)
  context.fill()
}

function background(context, ...colours) {
  const gradient = context.createLinearGradient(0, 0, 0, 64)
  colours.forEach((colour, i) => gradient.addColorStop(i/(colours.length - 1), colour))
  context.fillStyle = gradient
  context.fillRect(0, 0, 64, 64)
}

function ship(c) {
  background(c, '#9fc3e4', '#d7e6f0', '#4d7fa8', '#1f4d78')
  shape(c, '#e9e9e6', [[20, 30], [46, 30], [46, 38], [20, 38]])
  shape(c, '#f4f4f4', [[26, 22], [40, 22], [40, 30], [26, 30]])
  shape(c, '#b33', [[31, 13], [36, 13], [36, 22], [31, 22]])
  shape(c, '#23282f', [[6, 37], [59, 37], [53, 47], [12, 47]])
  shape(c, '#8f2d2a', [[10, 44], [55, 44], [53, 47], [12, 47]])
  for (let x = 23; x < 45; x += 5) shape(c, '#3c4a5a', [[x, 32], [x + 2, 32], [x + 2, 35], [x, 35]])
}

function airplane(c) {
  background(c, '#5b92cf', '#8fb9e2', '#cfe2f2')
  shape(c, '#aab3bd', [[30, 31], [40, 31], [23, 52], [17, 52]])
  shape(c, '#b9c1ca', [[31, 28], [39, 28], [28, 12], [24, 12]])
  ellipse(c, '#eef1f4', 32, 30, 27, 4.5)
  shape(c, '#d4dae0', [[6, 29], [15, 29], [8, 15], [3, 15]])
  ellipse(c, '#39424d', 55, 28.6, 2.5, 1.3)
  ellipse(c, '#6a737e', 27, 40, 4, 1.8)
}

function automobile(c) {
  background(c, '#b9c4c9', '#aab0a8', '#77787a', '#606163')
  ellipse(c, '#3b3b3d', 32, 49, 29, 4)
  shape(c, '#b3201f', [[15, 33], [22, 21], [43, 21], [51, 33]])
  shape(c, '#22303c', [[19, 32], [24, 24], [32, 24], [32, 32]])
  shape(c, '#22303c', [[34, 32], [34, 24], [42, 24], [47, 32]])
  shape(c, '#cc2725', [[4, 34], [10, 32], [52, 32], [60, 36], [60, 45], [4, 45]])
  for (const x of [16, 48]) {
    ellipse(c, '#1a1a1b', x, 45, 6.5, 6.5)
    ellipse(c, '#a9adb0', x, 45, 3, 3)
  }
  ellipse(c, '#fff3c4', 58, 38, 1.6, 1.8)
}

function truck(c) {
  background(c, '#a9c4dd', '#c9d3d6', '#8a8a86', '#6c6b69')
  shape(c, '#f1f1ee', [[4, 14], [42, 14], [42, 43], [4, 43]])
  shape(c, '#c9c9c4', [[4, 39], [42, 39], [42, 43], [4, 43]])
  shape(c, '#2456a6', [[43, 22], [54, 22], [60, 32], [60, 46], [43, 46]])
  shape(c, '#1d2b38', [[46, 24], [53, 24], [57, 32], [46, 32]])
  shape(c, '#2f3033', [[4, 43], [60, 43], [60, 47], [4, 47]])
  for (const x of [12, 22, 51]) {
    ellipse(c, '#161617', x, 48, 5.5, 5.5)
    ellipse(c, '#8e9194', x, 48, 2.4, 2.4)
  }
}

function frog(c) {
  background(c, '#6b5a3c', '#5d5134', '#4b4530')
  ellipse(c, '#4f7d2c', 14, 44, 11, 9, .3)
  ellipse(c, '#4f7d2c', 50, 44, 11, 9, -.3)
  ellipse(c, '#6ea53b', 32, 38, 19, 15)
  ellipse(c, '#b9c98a', 32, 46, 12, 8)
  for (const x of [22, 42]) {
    ellipse(c, '#6ea53b', x, 23, 7, 7)
    ellipse(c, '#e4c84a', x, 22, 4.2, 4.2)
    ellipse(c, '#111', x, 22, 2.2, 2.6)
  }
  ellipse(c, '#3d6121', 32, 35, 11, 1.2)
  for (const x of [12, 52]) ellipse(c, '#77ae44', x, 53, 7, 2.4)
}

function horse(c) {
  background(c, '#a8cbe8', '#cfe0e6', '#7fa650', '#5f8a38')
  for (const [x, lean] of [[18, -2], [25, 1], [41, -1], [47, 2]]) {
    shape(c, '#54311b', [[x, 38], [x + 4, 38], [x + 4 + lean, 58], [x + 1 + lean, 58]])
  }
  ellipse(c, '#6d4124', 32, 34, 18, 8.5)
  shape(c, '#6d4124', [[42, 34], [48, 14], [55, 12], [52, 30]])
  ellipse(c, '#6d4124', 55, 16, 7.5, 3.8, .5)
  shape(c, '#2d1a0e', [[46, 13], [50, 10], [46, 30], [42, 28]])
  shape(c, '#2d1a0e', [[15, 30], [9, 34], [8, 52], [12, 52], [14, 38]])
}

export const samples = {ship, airplane, automobile, truck, frog, horse}
