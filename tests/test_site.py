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
pages = ['index', 'augment', 'models', 'learner', 'tutorials/first_run']


def test_what_is_missing_is_named(tmp_path):
    (tmp_path/'a.html').write_text('''
        <h1 id="here">A</h1><a href="#here"></a><a href="#there"></a><a href="sub/b.html#x"></a><a href="sub/"></a><a href="https://example.org/no"></a>
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
    index,*sections = doc_site.sidebar(notebooks)
    assert [s['section'] for s in sections] == ['Data', 'Augmentation', 'Measuring', 'Networks', 'Training', 'Using', 'Tutorials']
    assert sections[1]['contents'] == ['vectorized.ipynb', 'targets.ipynb', 'augment.ipynb']
    found = [index, *(page for s in sections for page in s['contents'])]
    assert sorted(found) == sorted(doc_site.unnumbered(n).as_posix() for n in notebooks)


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
    assert pages == [doc_site.page_of(f.relative_to(nbs)).as_posix() for f in notebooks]


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
