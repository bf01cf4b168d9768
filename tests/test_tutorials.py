"""Every tutorial runs from top to bottom where a reader opens it: alone in a folder, with the installed package and nothing else.

`pytest -m tutorial --durations=0` runs them and prints how long each takes."""
import importlib.metadata
import json
import re
import sys
import sysconfig
import time
from configparser import ConfigParser
from pathlib import Path

import pytest

root = Path(__file__).parents[1]
tutorials = sorted((root/'nbs'/'tutorials').glob('*.ipynb'))
each = pytest.mark.parametrize('path', tutorials, ids=lambda p: p.stem)
limit = 900 # seconds, against a kernel that hangs; a time belongs in a benchmark


def cells(path, kind='code'): return [c for c in json.loads(path.read_text(encoding='utf-8'))['cells'] if c['cell_type'] == kind]
def is_skipped(source): return re.search(r'^#\|\s*(slow|gpu|eval:\s*false)\s*$', source, re.M)


def shown(output):
    "What a reader sees of a cell's output but its images"
    return {k:v for k,v in output.get('data', {}).items() if not k.startswith('image/')} | {'text': output.get('text')}


@each
def test_saved_outputs_are_fit_to_read(path):
    outputs = [o for c in cells(path) for o in c['outputs']]
    assert not [o for o in outputs if o.get('name') == 'stderr' or o['output_type'] == 'error']
    text = json.dumps([shown(o) for o in outputs])
    for bad in ('/tmp/', '/home/', '/root/', 'progress::', 'widget-view'): assert bad not in text


@each
def test_it_ends_with_exercises_and_can_fail(path):
    last = ''.join(cells(path, 'markdown')[-1]['source'])
    assert '## Exercises' in last and '\n3. ' in last
    assert any(re.search(r'\bassert |\btest_\w+\(', ''.join(c['source'])) for c in cells(path))


@each
def test_badge_and_install_cell_name_the_address_of_settings(path):
    ini = ConfigParser(delimiters=['='])
    ini.read(root/'settings.ini', encoding='utf-8')
    cfg = ini['DEFAULT']
    text = path.read_text(encoding='utf-8')
    assert f"(https://colab.research.google.com/github/{cfg['user']}/{cfg['repo']}/blob/{cfg['branch']}/nbs/tutorials/{path.name})" in text
    assert f"pip install -Uqq git+{cfg['git_url']}" in ''.join(cells(path)[0]['source'])


def errors_in_widgets(nb):
    "Exceptions raised by the function of a slider, which stay in the widget"
    widgets = nb.metadata.get('widgets', {}).get('application/vnd.jupyter.widget-state+json', {}).get('state', {})
    outputs = [o for w in widgets.values() for o in w['state'].get('outputs', ())]
    return [o['evalue'] for o in outputs if o['output_type'] == 'error']


def install_kernel(folder, monkeypatch):
    "A kernel of this interpreter in `folder`, and nothing read from or written to the user's home"
    kernel = folder/'jupyter'/'kernels'/'this'
    kernel.mkdir(parents=True)
    command = [sys.executable, '-m', 'ipykernel_launcher', '-f', '{connection_file}']
    (kernel/'kernel.json').write_text(json.dumps(dict(argv=command, display_name='this interpreter', language='python')))
    for variable,name in dict(JUPYTER_PATH='jupyter', JUPYTER_RUNTIME_DIR='runtime', IPYTHONDIR='ipython').items():
        monkeypatch.setenv(variable, str(folder/name))


def is_installed(package):
    "Is the package that a tutorial imported the installed one?"
    url = json.loads(importlib.metadata.distribution('cifar9').read_text('direct_url.json') or '{}')
    editable = url.get('dir_info', {}).get('editable', False)
    return editable or package.is_relative_to(sysconfig.get_path('purelib'))


@pytest.mark.tutorial
@each
def test_it_runs_in_a_foreign_folder(path, tmp_path, monkeypatch):
    nbformat,nbclient = pytest.importorskip('nbformat'), pytest.importorskip('nbclient')
    pytest.importorskip('ipykernel')
    assert not [p for p in tmp_path.parents if (p/'settings.ini').exists()]
    install_kernel(tmp_path, monkeypatch)
    alone = tmp_path/'alone'
    alone.mkdir()
    nb = nbformat.reads(path.read_text(encoding='utf-8'), 4)
    nb.cells = [c for c in nb.cells if c.cell_type == 'code' and not is_skipped(c.source)]
    nb.cells.append(nbformat.v4.new_code_cell('import cifar9\ncifar9.__file__'))
    end = time.monotonic() + limit
    def seconds_left(cell): return max(1, int(end - time.monotonic()))
    nbclient.NotebookClient(nb, kernel_name='this', timeout_func=seconds_left, resources={'metadata': {'path': str(alone)}}).execute()
    assert errors_in_widgets(nb) == []
    package = Path(nb.cells[-1].outputs[0]['data']['text/plain'].strip("'"))
    assert is_installed(package), f'the tutorial ran with {package}, not with the installed package'
