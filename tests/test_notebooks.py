"""Every chapter runs, each in a process of its own, and what its cells print is what is saved with them.

The tutorials are in test_tutorials.py. nbval and nbmake compare outputs exactly or not at all; here decimals may differ by 1 %, because
processors round differently."""
import ast
import configparser
import math
import re
from pathlib import Path

import pytest

nbclient = pytest.importorskip('nbclient', reason='nbclient is in the dev extra')
nbformat = pytest.importorskip('nbformat')

root = Path(__file__).parents[1]
notebooks = sorted((root/'nbs').glob('*.ipynb'))
ini = configparser.ConfigParser(delimiters=['='])
ini.read(root/'settings.ini')
not_run = {*ini['DEFAULT']['tst_flags'].split(), 'eval: false'}
number = re.compile(r'-?\d+(?:,\d{3})+|-?\d+(?:\.\d+)?(?:e[+-]?\d+)?')


def flags(cell): return {line[2:].strip() for line in cell.source.splitlines() if line.startswith('#|')}
def is_image(output): return 'image/png' in output.get('data', {})
def is_progress(output): return output.get('name') == 'stderr' or 'fastprogress' in str(output.get('data', ''))


def printed(cell):
    "The text that a cell printed or returned, without progress bars"
    outputs = [o for o in cell.get('outputs', []) if not is_image(o) and not is_progress(o)]
    text = '\n'.join(o.get('text') or o.data.get('text/plain', '') for o in outputs)
    return text.replace('<IPython.core.display.HTML object>', '').strip()


def n_images(cell): return sum(is_image(o) for o in cell.get('outputs', []))


def close(a, b):
    "The same integer, or decimals that differ by 1 % at most"
    is_decimal = '.' in a+b or 'e' in a+b
    return a == b or is_decimal and math.isclose(float(a.replace(',', '')), float(b.replace(',', '')), rel_tol=.01, abs_tol=1e-5)


def same(a, b):
    "The same words, and numbers that are `close`"
    return number.sub('#', a) == number.sub('#', b) and all(map(close, number.findall(a), number.findall(b)))


def is_run(cell):
    "Is it neither flagged nor the export, which writes modules that another test may be importing?"
    return not flags(cell) & not_run and 'nbdev_export()' not in cell.source


class Client(nbclient.NotebookClient):
    "Runs the cells of a notebook that are to be run"
    async def async_execute_cell(self, cell, *args, **kwargs):
        return await super().async_execute_cell(cell, *args, **kwargs) if is_run(cell) else cell


def execute(path):
    "The notebook with new outputs; cells that are not run keep theirs"
    nb = nbformat.read(path, as_version=4)
    Client(nb, timeout=600, kernel_name='python3', resources={'metadata': {'path': str(path.parent)}}).execute()
    return nb


def stale_cells(path):
    "The cells of a notebook whose saved output is not what they print, each with both outputs"
    saved,new = nbformat.read(path, as_version=4), execute(path)
    stale = []
    for i,(old_cell,new_cell) in enumerate(zip(saved.cells, new.cells, strict=True)):
        if 'varies' in flags(old_cell): continue
        if n_images(old_cell) == n_images(new_cell) and same(printed(old_cell), printed(new_cell)): continue
        stale.append(f'cell {i} prints\n{printed(new_cell)}\nsaved is\n{printed(old_cell)}')
    return stale


def test_there_are_notebooks(): assert len(notebooks) >= 18


each = pytest.mark.parametrize('path', notebooks, ids=lambda p: p.name)


def mixes_imports(cell):
    "Does a code cell have imports beside other statements?"
    lines = [line for line in cell.source.splitlines() if not line.startswith(('!', '%'))]
    is_import = [isinstance(statement, (ast.Import, ast.ImportFrom)) for statement in ast.parse('\n'.join(lines)).body]
    return any(is_import) and not all(is_import)


@each
def test_import_cells_contain_only_imports(path):
    "nbdev runs cells with imports, and nothing before them, when it builds the site"
    cells = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == 'code' and 'nbdev_export()' not in c.source]
    assert [c.source for c in cells if mixes_imports(c)] == []


@each
def test_no_line_of_code_is_longer_than_140(path):
    cells = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == 'code']
    assert [line for c in cells for line in c.source.splitlines() if len(line) > 140] == []


@each
def test_saved_outputs_name_no_folder_of_a_machine(path):
    cells = nbformat.read(path, as_version=4).cells
    outputs = str([cell.get('outputs') for cell in cells])
    for folder in ('/tmp/', '/home/', '/root/', 'site-packages'): assert folder not in outputs
    assert re.findall(r'(?<![\w.~])/[\w.-]+/[\w./-]+\.py\b', outputs) == [] # as warnings name their file


@each
def test_notebook(path):
    stale = stale_cells(path)
    advice = 'execute it and save it with its outputs, or flag what differs from run to run with #| varies'
    assert not stale, '\n'.join([f'{path.name} was saved by other code; {advice}', *stale])


def test_a_stale_output_is_found(tmp_path):
    v4,file = nbformat.v4, tmp_path/'a.ipynb'
    saved = [ # a cell and its saved output
        ('print(1 + 1)', '3\n'),
        ('print(1 + 1)', '2\n'),
        ("print(f'{2/3:.4f} of 12,345')", '0.6661 of 12,345\n'),
        ("print('12,346')", '12,345\n'),
        ('#| varies\nprint(4)', '5\n'),
        ('#| slow\n1/0', 'long ago\n')]
    cells = [v4.new_code_cell(source, outputs=[v4.new_output('stream', name='stdout', text=text)]) for source,text in saved]
    nbformat.write(v4.new_notebook(cells=cells), file)
    assert [stale.split(' prints')[0] for stale in stale_cells(file)] == ['cell 0','cell 3']
