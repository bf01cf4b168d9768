"The repository's address stands in settings.ini, and one command takes it everywhere else"
import configparser, json, shutil, subprocess, sys
from pathlib import Path

import pytest

root = Path(__file__).parents[1]
script = root/'.ci'/'address.py'
if not script.exists() or not (root/'.git').exists(): pytest.skip('the address is kept in step in a checkout', allow_module_level=True)
ini = configparser.ConfigParser(delimiters=['='])
ini.read(root/'settings.ini', encoding='utf-8')
old = ini['DEFAULT']


@pytest.fixture
def copy(tmp_path):
    "The files of the repository that are text, in a repository of their own"
    names = subprocess.run(['git', 'ls-files', '-zco', '--exclude-standard'], cwd=root, check=True, capture_output=True, text=True).stdout.split('\0')
    for f in (root/n for n in names if n and not n.startswith('images/')):
        if f.is_file() and f.suffix not in ('.png','.safetensors'): (to := tmp_path/f.relative_to(root)).parent.mkdir(parents=True, exist_ok=True); shutil.copy(f, to)
    subprocess.run(['git', 'init', '-q', tmp_path], check=True)
    return tmp_path


def address(copy, *args): return subprocess.run([sys.executable, '-B', copy/'.ci'/'address.py', *args], capture_output=True, text=True)
def texts(copy): return {f.relative_to(copy).as_posix(): f.read_bytes() for f in copy.rglob('*') if f.is_file() and '.git' not in f.relative_to(copy).parts}


def test_all_files_name_the_address_of_settings():
    r = subprocess.run([sys.executable, '-B', script, '--check'], capture_output=True, text=True)
    assert r.returncode == 0, r.stdout + r.stderr


def test_a_move_reaches_every_file(copy):
    address(copy)
    before = texts(copy)
    r = address(copy, 'someone/small-nets')
    assert r.returncode == 0, r.stderr
    after = texts(copy)
    named = [f"github.com/{old['user']}/{old['repo']}", f"github/{old['user']}/{old['repo']}", old['doc_host'].removeprefix('https://'), f"{old['user']}@users"]
    assert {f: n for f,t in after.items() for n in named if n.encode() in t} == {}
    for f in ('settings.ini', 'cifar9/_modidx.py', 'CITATION.cff', 'nbs/tutorials/01_first_run.ipynb'): assert b'someone/small-nets' in after[f], f
    assert b'lib_name = cifar9' in after['settings.ini'] and b'https://someone.github.io' in after['settings.ini']
    assert before['cifar9/data.py'] == after['cifar9/data.py']
    assert address(copy, '--check').returncode == 0
    address(copy); address(copy, 'someone/small-nets')
    assert texts(copy) == after
    address(copy, f"{old['user']}/{old['repo']}")
    assert texts(copy) == before


def test_check_names_what_is_not_in_step(copy):
    address(copy)
    file = copy/'settings.ini'
    file.write_text(file.read_text().replace(f"git_url = {old['git_url']}", 'git_url = https://github.com/someone/else'))
    r = address(copy, '--check')
    assert r.returncode == 1 and {'nbs/tutorials/01_first_run.ipynb', 'cifar9/_modidx.py', 'CITATION.cff'} <= set(r.stdout.split())
    assert texts(copy)['cifar9/_modidx.py'] == (root/'cifar9'/'_modidx.py').read_bytes()
    address(copy)
    assert address(copy, '--check').returncode == 0


def test_what_is_no_address_is_refused(copy):
    before = texts(copy)
    r = address(copy, 'https://example.com/x')
    assert r.returncode == 1 and 'USER/REPO' in r.stderr and 'Traceback' not in r.stderr
    assert texts(copy) == before


def test_a_tutorial_without_badge_and_install_cell_gets_them(copy):
    cell = dict(cell_type='code', execution_count=None, id='a', metadata={}, outputs=[], source=['from ipywidgets import interact'])
    title = dict(cell_type='markdown', id='t', metadata={}, source=['# New\n', '\n', '> Quote\n', '\n', 'What it is about.'])
    (copy/'nbs'/'tutorials'/'99_new.ipynb').write_text(json.dumps(dict(cells=[title,cell], metadata={}, nbformat=4, nbformat_minor=5)))
    address(copy)
    first,second,third,last = json.loads((copy/'nbs'/'tutorials'/'99_new.ipynb').read_text())['cells']
    assert ''.join(first['source']) == '# New\n\n> Quote' and last['source'] == cell['source']
    assert f"github/{old['user']}/{old['repo']}/blob/main/nbs/tutorials/99_new.ipynb" in second['source'][0] and second['source'][-1] == 'What it is about.'
    assert third['source'][-1] == f"! [ -e /content ] && pip install -Uqq git+{old['git_url']} ipywidgets"
