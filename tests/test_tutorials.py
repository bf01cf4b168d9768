"""Every tutorial runs top to bottom where a reader opens it: alone in a folder, with the installed package and nothing else of the project.

`pytest -m tutorial --durations=0` runs them and prints their seconds."""
import importlib.metadata, json, re, sys, sysconfig, time
from pathlib import Path

import pytest

root = Path(__file__).parents[1]
tutorials = sorted((root/'nbs'/'tutorials').glob('*.ipynb'))
each = pytest.mark.parametrize('path', tutorials, ids=lambda p: p.stem)
limit = 300 # seconds


def cells(path, kind='code'): return [c for c in json.loads(path.read_text(encoding='utf-8'))['cells'] if c['cell_type'] == kind]
def left_out(source): return re.search(r'^#\|\s*(slow|gpu|eval:\s*false)\s*$', source, re.M)


@each
def test_saved_outputs_are_fit_to_read(path):
    outputs = [o for c in cells(path) for o in c['outputs']]
    assert not [o for o in outputs if o.get('name') == 'stderr' or o['output_type'] == 'error']
    shown = json.dumps([{k: v for k,v in o.get('data', {}).items() if not k.startswith('image/')} | {'text': o.get('text')} for o in outputs])
    for bad in ('/tmp/', '/home/', '/root/', 'progress::', 'widget-view'): assert bad not in shown


@each
def test_it_ends_with_exercises_and_can_fail(path):
    last = ''.join(cells(path, 'markdown')[-1]['source'])
    assert '## Exercises' in last and '\n3. ' in last
    assert any(re.search(r'\bassert |\btest_\w+\(', ''.join(c['source'])) for c in cells(path))


def errors_in_widgets(nb):
    "What a slider's function raised, which stays in the widget"
    states = [w['state'] for w in nb.metadata.get('widgets', {}).get('application/vnd.jupyter.widget-state+json', {}).get('state', {}).values()]
    return [o['evalue'] for s in states for o in s.get('outputs', ()) if o['output_type'] == 'error']


@pytest.mark.tutorial
@each
def test_it_runs_in_a_foreign_folder(path, tmp_path, monkeypatch):
    nbformat,nbclient = pytest.importorskip('nbformat'),pytest.importorskip('nbclient')
    pytest.importorskip('ipykernel')
    assert not [p for p in tmp_path.parents if (p/'settings.ini').exists()]
    spec,alone = tmp_path/'jupyter'/'kernels'/'this',tmp_path/'alone'
    for folder in (spec, alone): folder.mkdir(parents=True)
    (spec/'kernel.json').write_text(json.dumps(dict(argv=[sys.executable, '-m', 'ipykernel_launcher', '-f', '{connection_file}'], display_name='this interpreter', language='python')))
    for name,folder in dict(JUPYTER_PATH='jupyter', JUPYTER_RUNTIME_DIR='runtime', IPYTHONDIR='ipython').items(): monkeypatch.setenv(name, str(tmp_path/folder)) # nothing in the user's home
    nb = nbformat.reads(path.read_text(encoding='utf-8'), 4)
    nb.cells = [c for c in nb.cells if c.cell_type == 'code' and not left_out(c.source)]
    nb.cells.append(nbformat.v4.new_code_cell('import cifar9; cifar9.__file__'))
    until = time.monotonic() + limit
    nbclient.NotebookClient(nb, kernel_name='this', timeout_func=lambda cell: max(1, int(until-time.monotonic())), resources={'metadata': {'path': str(alone)}}).execute()
    assert errors_in_widgets(nb) == []
    package = Path(nb.cells[-1].outputs[0]['data']['text/plain'].strip("'"))
    editable = json.loads(importlib.metadata.distribution('cifar9').read_text('direct_url.json') or '{}').get('dir_info', {}).get('editable', False)
    assert editable or package.is_relative_to(sysconfig.get_path('purelib')), f'the tutorial ran with {package}, not with the installed package'
