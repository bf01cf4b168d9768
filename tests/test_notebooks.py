"Every chapter runs, each in a process of its own, and what its cells print is what is saved with them; the tutorials are in test_tutorials.py"
import configparser, math, re
from pathlib import Path

import pytest

nbclient = pytest.importorskip('nbclient', reason='nbclient is in the dev extra')
nbformat = pytest.importorskip('nbformat')

root = Path(__file__).parents[1]
notebooks = sorted(p for p in (root/'nbs').glob('*.ipynb'))
ini = configparser.ConfigParser(delimiters=['='])
ini.read(root/'settings.ini')
not_run = {*ini['DEFAULT']['tst_flags'].split(), 'eval: false'}
number = re.compile(r'-?\d+(?:,\d{3})+|-?\d+(?:\.\d+)?(?:e[+-]?\d+)?')


def flags(cell): return {line[2:].strip() for line in cell.source.splitlines() if line.startswith('#|')}


def told(cell):
    "What a cell printed, and its number of pictures; a progress bar is neither"
    outputs = [o for o in cell.get('outputs', []) if o.get('name') != 'stderr' and 'fastprogress' not in str(o.get('data', ''))]
    pictures = [o for o in outputs if 'image/png' in o.get('data', {})]
    return '\n'.join(o.get('text') or o.data.get('text/plain', '') for o in outputs if o not in pictures).replace('<IPython.core.display.HTML object>', '').strip(), len(pictures)


def same(a, b):
    "The same words and whole numbers, and fractions that differ by 1 % at the most: another processor rounds differently"
    def close(x, y): return x == y or ('.' in x+y or 'e' in x+y) and math.isclose(float(x.replace(',','')), float(y.replace(',','')), rel_tol=.01, abs_tol=1e-5)
    return number.sub('#', a) == number.sub('#', b) and all(map(close, number.findall(a), number.findall(b)))


def execute(path):
    "The notebook with the outputs of now; cells that are not run stay as they are"
    nb = nbformat.read(path, as_version=4)
    class Client(nbclient.NotebookClient):
        async def async_execute_cell(self, cell, *args, **kwargs): return cell if flags(cell) & not_run else await super().async_execute_cell(cell, *args, **kwargs)
    Client(nb, timeout=600, kernel_name='python3', resources={'metadata':{'path':str(path.parent)}}).execute()
    return nb


def older_than_its_code(saved, now):
    "Cells whose saved output is not what they print"
    return [f'cell {i} prints\n{told(b)}\nsaved is\n{told(a)}' for i,(a,b) in enumerate(zip(saved.cells, now.cells)) if 'varies' not in flags(a) and not (told(a)[1] == told(b)[1] and same(told(a)[0], told(b)[0]))]


def test_there_are_notebooks(): assert len(notebooks) >= 9


@pytest.mark.parametrize('path', notebooks, ids=lambda p: p.name)
def test_notebook(path):
    stale = older_than_its_code(nbformat.read(path, as_version=4), execute(path))
    assert not stale, '\n'.join([f'{path.name} was saved by other code; execute it and save it with its outputs, or flag what differs from run to run with #| varies', *stale])


def test_a_stale_output_is_found(tmp_path):
    v4,output = nbformat.v4, nbformat.v4.new_output
    cells = [v4.new_code_cell(source, outputs=[output('stream', name='stdout', text=text)]) for source,text in (
        ('print(1 + 1)', '3\n'), ('print(1 + 1)', '2\n'), ("print(f'{2/3:.4f} of 12,345')", '0.6661 of 12,345\n'), ("print('12,346')", '12,345\n'), ('#| varies\nprint(4)', '5\n'), ('#| slow\n1/0', 'long ago\n'))]
    nbformat.write(v4.new_notebook(cells=cells), tmp_path/'a.ipynb')
    stale = older_than_its_code(nbformat.read(tmp_path/'a.ipynb', as_version=4), execute(tmp_path/'a.ipynb'))
    assert [s.split(' prints')[0] for s in stale] == ['cell 0','cell 3']
