"The documentation site: the check of its links, and its pages as a browser shows them"
import base64
import functools
import importlib.util
import shutil
import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

root = Path(__file__).parents[1]
builder = root/'.ci'/'site.py'
if not builder.exists(): pytest.skip('the site is built from a checkout', allow_module_level=True)
for name in ('bs4', 'latex2mathml'): pytest.importorskip(name, reason=f'{name} is in the dev extra')

spec = importlib.util.spec_from_file_location('doc_site', builder)
doc_site = importlib.util.module_from_spec(spec)
spec.loader.exec_module(doc_site)
pages = ['index', 'try', 'augment', 'models', 'learner', 'tutorials/first_run']


def test_what_is_missing_is_named(tmp_path):
    (tmp_path/'a.html').write_text('''
        <h1 id="here">A</h1><a href="#here"></a><a href="#there"></a>
        <a href="sub/b.html#x"></a><a href="sub/"></a><a href="https://example.org/no"></a>
        <img src="p.png"><img src="q.png"><script src="https://example.org/s.js"></script>''')
    (tmp_path/'p.png').write_bytes(b'')
    (tmp_path/'sub').mkdir()
    (tmp_path/'sub'/'b.html').write_text('<a href="../a.html#here"></a><a href="../c.html"></a>')
    (tmp_path/'sub'/'s.css').write_text('@import url("https://example.org/font");')
    problems,count = doc_site.check(tmp_path)
    assert problems == [
        'a.html: no #there in a.html',
        'a.html: no #x in sub/b.html',
        'a.html: no sub/',
        'a.html: no q.png',
        'a.html: https://example.org/s.js is loaded from a network',
        'sub/b.html: no ../c.html',
        'sub/s.css: its fonts are loaded from a network']
    assert count == dict(pages=2, links=6, anchors=4, images=2)


def test_an_empty_site_is_no_site(tmp_path): assert doc_site.check(tmp_path)[0] == [f'{tmp_path} holds no page']


def test_another_folder_is_not_overwritten(tmp_path):
    (tmp_path/'thesis.tex').write_text('')
    with pytest.raises(SystemExit, match='holds no site'): doc_site.build(tmp_path)
    assert (tmp_path/'thesis.tex').exists()


@pytest.mark.parametrize('folder, text, expected', [
    ('.', '[a](11_learner.ipynb#x)', '[a](learner.ipynb#x)'),
    ('.', '[a](tutorials/01_first_run.ipynb)', '[a](tutorials/first_run.ipynb)'),
    ('tutorials', '[a](../00_datasets.ipynb)', '[a](../datasets.ipynb)'),
    ('.', '![a](../images/a.png)', '![a](images/a.png)'),
    ('tutorials', '![a](../../images/a.png)', '![a](../images/a.png)'),
    ('.', '[a](../LICENSE)', f'[a]({doc_site.repo}LICENSE)'),
    ('.', f'[`a`]({doc_site.home}/models.html#a)', '[`a`](/models.html#a)'),
    ('.', f'[a]({doc_site.home})', '[a](/)'),
    ('.', '[a](https://example.org/01_b.ipynb)', '[a](https://example.org/01_b.ipynb)'),
])
def test_links(folder, text, expected): assert doc_site.relink(text, Path(folder)) == expected


def test_the_sidebar_has_every_notebook_in_its_part():
    notebooks = sorted(f.relative_to(root/'nbs') for f in (root/'nbs').rglob('*.ipynb') if '.ipynb_checkpoints' not in f.parts)
    index,try_page,*sections,promises = doc_site.sidebar(notebooks)
    assert (try_page, promises) == ('try.ipynb', 'promises.ipynb')
    assert [s['section'] for s in sections] == ['Data', 'Augmentation', 'Measuring', 'Networks', 'Training', 'Using', 'Tutorials']
    assert {'vectorized.ipynb', 'targets.ipynb', 'augment.ipynb'} <= {*sections[1]['contents']}
    found = [index, promises, *(page for s in sections for page in s['contents'])]
    assert sorted(found) == sorted(doc_site.unnumbered(n).as_posix() for n in notebooks)


# The page that classifies in the browser

def test_without_npm_the_page_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(doc_site.shutil, 'which', lambda name: None)
    notebook = doc_site.try_page(tmp_path/'try')
    assert 'npm is not installed' in notebook['cells'][1]['source'] and 'script' not in notebook['cells'][1]['source']
    assert not (tmp_path/'try').exists()


def test_another_runtime_than_the_pinned_one_is_refused(tmp_path, monkeypatch):
    def npm(command, cwd, **kwargs):
        (Path(cwd)/'onnxruntime-web-1.30.0.tgz').write_bytes(b'something else')
        return subprocess.CompletedProcess(command, 0, '', '')
    monkeypatch.setattr(doc_site.shutil, 'which', lambda name: name)
    monkeypatch.setattr(doc_site.subprocess, 'run', npm)
    with pytest.raises(SystemExit, match='is not the file whose hash'): doc_site.fetch_runtime(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    pytest.importorskip('smalldocs', reason='smalldocs is in the dev extra')
    folder = tmp_path_factory.mktemp('doc')/'site'
    r = subprocess.run([sys.executable, builder, folder], capture_output=True, text=True, timeout=600)
    assert r.returncode == 0, r.stdout + r.stderr
    print(r.stdout)
    return folder


@pytest.fixture(scope='module')
def address(site):
    "Address of the site on this machine"
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args): pass
    with ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Quiet, directory=site)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{server.server_port}'
        server.shutdown()


@pytest.fixture(scope='module')
def browser():
    "Headless Chromium that reaches this machine and nothing else"
    webdriver = pytest.importorskip('selenium.webdriver', reason='selenium is in the dev extra')
    binary,driver = shutil.which('google-chrome') or shutil.which('chromium'), shutil.which('chromedriver')
    if not (binary and driver): pytest.skip('there is no Chromium; as root, apt-get install chromium chromium-driver')
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    only_this_machine = '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1'
    for option in ('--headless=new', '--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu', only_this_machine):
        options.add_argument(option)
    options.set_capability('goog:loggingPrefs', {'browser': 'ALL'})
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield chrome
    chrome.quit()


def show(browser, url, width, scheme, height=900):
    browser.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', dict(width=width, height=height, deviceScaleFactor=1, mobile=width < 600))
    browser.execute_cdp_cmd('Emulation.setEmulatedMedia', dict(features=[dict(name='prefers-color-scheme', value=scheme)]))
    browser.get(url)


@pytest.mark.slow
def test_every_notebook_is_in_the_navigation_in_order(site):
    nbs = root/'nbs'
    notebooks = [nbs/'index.ipynb', *sorted(nbs.glob('[0-9]*.ipynb')), *sorted(nbs.glob('tutorials/[0-9]*.ipynb'))]
    links = [a['href'] for a in doc_site.parse((site/'index.html').read_text()).select('#quarto-sidebar .sidebar-item a[href]')]
    pages = [link for link in dict.fromkeys(links) if link != '#']
    index,*others = [doc_site.page_of(f.relative_to(nbs)).as_posix() for f in notebooks]
    assert pages == [index, 'try.html', *others, 'promises.html']


@pytest.mark.slow
def test_every_listed_function_has_a_docstring(site):
    "nbdev takes the docstring of `__call__`, 'Call self as a function.', for a function without one"
    assert [f.name for f in site.rglob('*.html') if 'Call self as a function' in f.read_text(encoding='utf-8')] == []


@pytest.mark.slow
def test_functions_link_to_their_source(site):
    links = {a['href'].partition('#L')[0] for a in doc_site.parse((site/'augment.html').read_text())('a', string='source')}
    assert links == {doc_site.repo + 'cifar9/augment.py'}


@pytest.mark.slow
@pytest.mark.parametrize('scheme', ['light', 'dark'])
@pytest.mark.parametrize('width', [1280, 390])
@pytest.mark.parametrize('page', pages)
def test_page(browser, address, page, width, scheme):
    show(browser, f'{address}/{page}.html', width, scheme, height=3000)
    screen = browser.execute_cdp_cmd('Page.captureScreenshot', {})['data']
    (root/'_screens').mkdir(exist_ok=True)
    (root/'_screens'/f'{page.replace("/", "_")}_{width}_{scheme}.png').write_bytes(base64.b64decode(screen))
    assert [line['message'] for line in browser.get_log('browser')] == []
    assert browser.execute_script('return [...document.images].filter(i => !(i.complete && i.naturalWidth)).map(i => i.src)') == []
    assert browser.execute_script('return document.documentElement.scrollWidth <= innerWidth')
    assert browser.execute_script('''
        const right = e => e.getBoundingClientRect().right
        const scrolls = e => /auto|scroll/.test(getComputedStyle(e).overflowX) && right(e) <= innerWidth
        const boxed = e => e && (scrolls(e) || boxed(e.parentElement))
        const wide = [...document.querySelectorAll('main *')].filter(e => right(e) > innerWidth + 1 && !boxed(e))
        return wide.map(e => e.outerHTML.slice(0, 200))''') == []
    red,green,blue = browser.execute_script('return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)')[:3]
    assert (red+green+blue < 200) == (scheme == 'dark')


@pytest.mark.slow
def test_search_finds_a_class(browser, address):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait
    show(browser, f'{address}/tutorials/first_run.html', 1280, 'light')
    browser.find_element(By.CSS_SELECTOR, '.smalldocs-search input').send_keys('AlbumentationsTransform')
    found = WebDriverWait(browser, 20).until(lambda b: b.find_elements(By.CSS_SELECTOR, '.search-result'))
    assert any('augment.html#albumentationstransform' in f.get_attribute('href') for f in found)
    found[0].click()
    assert 'AlbumentationsTransform' in browser.find_element(By.TAG_NAME, 'main').text
    assert [line['message'] for line in browser.get_log('browser')] == []


@pytest.fixture
def try_page(site, browser, address):
    "Functions for the page that classifies: `show()` opens it, `answer()` waits for the answer and returns status and probabilities"
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait
    if not (site/'try'/'network.onnx').exists(): pytest.skip('the site was built without npm or without the extra cifar9[export]')

    class TryPage:
        def show(self): show(browser, f'{address}/try.html', 1280, 'light', height=1400)
        def part(self, name): return browser.find_element(By.CSS_SELECTOR, f'#try [data-part={name}]')
        def all(self, selector): return browser.find_elements(By.CSS_SELECTOR, f'#try {selector}')
        def wait(self, condition): return WebDriverWait(browser, 60, poll_frequency=.05).until(condition)
        def attribute(self, name): return float(browser.execute_script(f"return document.getElementById('try').dataset.{name} ?? 0"))
        def answer(self, n):
            "Status and probabilities by class, when the map of the `n`-th image is there"
            self.wait(lambda _: self.attribute('done') == n)
            rows = self.all('[data-part=probabilities] li')
            return self.part('status').text, {r.get_attribute('data-name'): float(r.get_attribute('data-probability')) for r in rows}
    page = TryPage()
    page.show()
    return page


@pytest.mark.slow
def test_the_browser_computes_what_python_computes(try_page, browser, address, site, tmp_path):
    "Twenty images through the file input, with every other host blocked"
    import json
    import numpy as np
    import onnxruntime
    from PIL import Image
    from cifar9.datasets import make_shapes10
    noise = np.random.default_rng(0).integers(0, 256, (8,32,32,3), dtype=np.uint8)
    images = np.concatenate([make_shapes10(10, 12).test_x, noise])
    session = onnxruntime.InferenceSession(site/'try'/'network.onnx', providers=['CPUExecutionProvider'])
    classes = json.loads(session.get_modelmeta().custom_metadata_map['classes'])
    expected = session.run(None, {'images': images})[0]
    milliseconds,largest = [],0
    for i,(image,probs) in enumerate(zip(images, expected), 1):
        file = tmp_path/f'{i}.png'
        Image.fromarray(image).save(file)
        try_page.part('file').send_keys(str(file))
        status,found = try_page.answer(i)
        assert status.startswith(f'{i}.png: {classes[probs.argmax()]}')
        largest = max(largest, *(abs(found[name]-p) for name,p in zip(classes, probs)))
        milliseconds.append(try_page.attribute('milliseconds'))
    assert len(images) == 20 and largest < 1e-4
    print(f'largest difference {largest:.1e}; median {np.median(milliseconds):.0f} ms an image in the browser, n = {len(milliseconds)}')
    loaded = browser.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert len(loaded) > 5 and [url for url in loaded if not url.startswith(address)] == []
    assert [line['message'] for line in browser.get_log('browser')] == []


@pytest.mark.slow
def test_keys_take_and_draw_an_image(try_page):
    from selenium.webdriver.common.keys import Keys
    try_page.all('.samples button')[0].send_keys(Keys.ENTER)
    status,probs = try_page.answer(1)
    assert status.startswith('Drawn ship: ') and abs(sum(probs.values())-1) < 1e-4
    drawing = try_page.part('drawing')
    drawing.send_keys(Keys.ARROW_RIGHT*3 + Keys.ARROW_DOWN*2 + ' ')
    status,_ = try_page.answer(2)
    assert status.startswith('Your drawing: ') and '19, 18 of 32' in drawing.get_attribute('aria-label')
    assert try_page.part('legend').text.startswith('Where it looks for ')


@pytest.mark.slow
def test_everything_to_operate_has_a_name(try_page):
    controls = try_page.all(':is(input, button, canvas:not(button canvas))')
    assert len(controls) > 15 and [c.get_attribute('outerHTML')[:100] for c in controls if not c.accessible_name] == []
    assert try_page.part('status').get_attribute('aria-live') == 'polite'


@pytest.mark.slow
def test_a_file_that_is_no_image(try_page, tmp_path):
    (tmp_path/'text.png').write_text('not an image')
    try_page.part('file').send_keys(str(tmp_path/'text.png'))
    try_page.wait(lambda _: 'cannot read text.png as an image' in try_page.part('status').text)
