"The house: which chapter imports which, how large the modules are, and what an import costs"
import ast
import importlib
import json
import re
import runpy
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import cifar9

root = Path(__file__).parents[1]

package = Path(cifar9.__file__).parent
notebooks = sorted((root/'nbs').glob('[0-9][0-9]_*.ipynb'))
order = [f.stem.partition('_')[2] for f in notebooks] # the chapters from top to bottom
source = {f.stem: f.read_text(encoding='utf-8') for f in package.glob('*.py') if not f.stem.startswith('_')}
max_lines = 350 # of a module, without the two lines that nbdev adds before each cell
max_cell_lines = 30 # of an exported cell, without its directives
long_cells = { # module.name, the first name that a longer cell defines: why it is long
    'datasets.ImageArrays': 'eight documented fields and four one-line slices; the longest method has four lines',
    'execution.Node': '15 documented fields and 12 one-line properties of one operation',
    'runs.train': '23 documented parameters; the body is the contents of the chapter, one step a line',
    'tta.View': 'one change of images, and its inverses for masks, points and boxes to compare with it',
    'cli.train': '21 options with their help; the body reads some of them and calls train of runs',
}

each = pytest.mark.parametrize('name', sorted(source))


def imports(code):
    "What a module imports from other modules of cifar9, anywhere in it: `(module, name)` pairs; the name is None for a whole module"
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith('cifar9.'): yield alias.name.split('.')[1], None
        elif isinstance(node, ast.ImportFrom):
            path = (node.module or '').split('.')
            if node.level == 0 and path[0] != 'cifar9': continue
            if node.level == 0: path = path[1:]
            for alias in node.names:
                if any(path): yield path[0], alias.name # from .models import dilated_net
                else: yield alias.name, None            # from . import models


def from_below(name, code):
    "Modules that `name` imports although they do not stand above it"
    above = order[:order.index(name)]
    return sorted({module for module,_ in imports(code)} - {*above})


def everything_above(name):
    "All modules of cifar9 that `name` imports, directly or through others"
    found,new = set(),{name}
    while new:
        found |= new
        new = {module for m in new for module,_ in imports(source[m])} - found
    return found - {name}


def run_python(code):
    "The result of `code` in a process of its own"
    return subprocess.run([sys.executable, '-W', 'ignore::FutureWarning', '-c', code], capture_output=True, text=True)


def test_every_chapter_is_a_module(): assert sorted(order) == sorted(source) and len(order) >= 17


def test_the_front_page_lists_every_chapter_in_order():
    cells = json.loads((root/'nbs'/'index.ipynb').read_text(encoding='utf-8'))['cells']
    rows = re.findall(r'^\|[ \w]*\| \[`(\d\d_\w+)`\]', '\n'.join(''.join(c['source']) for c in cells), re.M)
    assert rows == [f.stem for f in notebooks]


@pytest.mark.parametrize('name', ['runs.read_run', 'models.save_weights', 'models.load_weights', 'loaders.KeyedDL'])
def test_names_can_still_be_imported_from_where_they_were(name):
    module,_,function = name.partition('.')
    assert hasattr(importlib.import_module(f'cifar9.{module}'), function)


@each
def test_imports_only_from_above(name): assert from_below(name, source[name]) == []


@pytest.mark.parametrize('statement', [
    'from .learner import cifar_learner',
    'from . import learner',
    'from cifar9.learner import cifar_learner',
    'from cifar9 import learner',
    'import cifar9.learner',
    'def f():\n    from .learner import cifar_learner'])
def test_an_import_from_below_is_found(statement):
    assert from_below('blocks', statement) == ['learner']
    assert from_below('recipes', statement) == []


def test_the_imports_of_the_real_modules_are_seen():
    assert ('datasets','ImageArrays') in set(imports(source['loaders'])) # nbdev writes `from .datasets import ...`
    assert {'datasets','keyed_dl','loaders','compose','targets'} <= everything_above('augment')


@each
def test_no_star_imports(name):
    stars = [node.module for node in ast.walk(ast.parse(source[name])) if isinstance(node, ast.ImportFrom) and node.names[0].name == '*']
    assert stars == []


@each
def test_no_private_names_of_other_chapters(name):
    names = [(module, imported or '') for module,imported in imports(source[name])]
    assert [f'{module}.{imported}' for module,imported in names if imported.startswith('_')] == []


def n_written_lines(code):
    "The lines of a module without the marker and the empty line that nbdev puts before each cell"
    lines = code.splitlines()
    return len(lines) - 2*sum(line.startswith('# %%') for line in lines)


@each
def test_a_module_can_be_read_in_one_sitting(name):
    assert n_written_lines(source[name]) <= max_lines, f'{name} has two ideas: split the chapter, or simplify it'


def exported_cells(notebook):
    "The lines of each exported cell, without its directives"
    for cell in json.loads(notebook.read_text(encoding='utf-8'))['cells']:
        lines = ''.join(cell['source']).splitlines()
        is_exported = any(line.startswith('#| export') for line in lines) # `exports` shows the source in the docs, too
        if cell['cell_type'] == 'code' and is_exported: yield [line for line in lines if not line.startswith('#|')]


def first_name(lines):
    "The first function or class that a cell defines"
    return re.search(r'^(?:def|class) (\w+)', '\n'.join(lines), re.MULTILINE)[1]


def lines_of_long_cells():
    "`{module.name: lines}` of the exported cells that are longer than `max_cell_lines`"
    found = {}
    for module,notebook in zip(order, notebooks):
        for lines in exported_cells(notebook):
            if len(lines) > max_cell_lines: found[f'{module}.{first_name(lines)}'] = len(lines)
    return found


def test_an_export_cell_is_short_or_says_why():
    long = lines_of_long_cells()
    unexplained = {name: n for name,n in long.items() if name not in long_cells}
    assert not unexplained, f'look for the second idea in {unexplained}, or say in long_cells why there is none'
    assert long_cells.keys() <= long.keys(), f'short enough now: {long_cells.keys() - long.keys()}'


def test_vectorized_stands_alone(): assert everything_above('vectorized') == set()


def test_the_measuring_part_knows_no_data_and_no_runs():
    measuring = {'graph','dependence','execution','receptive_field','drawing','summary','brief'}
    for name in measuring: assert everything_above(name) <= measuring


def test_the_bridge_loads_no_reader_of_cifar10():
    r = run_python('import sys, cifar9.augment; sys.exit("cifar9.cifar10" in sys.modules)')
    assert r.returncode == 0, r.stderr or 'cifar9.augment loads cifar9.cifar10'


def test_only_the_augmentation_needs_albumentations():
    r = run_python('import sys, cifar9.brief, cifar9.cifar10, cifar9.loaders; sys.exit("albumentations" in sys.modules)')
    assert r.returncode == 0, r.stderr or 'albumentations is loaded'


def test_import_is_quiet_and_asks_no_network():
    r = run_python(f'''
import socket
def refuse(*args, **kwargs): raise AssertionError('a connection was tried')
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
import cifar9, {', '.join(f'cifar9.{name}' for name in order)}
''')
    assert (r.returncode, r.stdout, r.stderr) == (0, '', '')


def test_every_requirement_has_a_lower_bound_which_ci_versions_installs():
    ini = ConfigParser(delimiters=['='])
    ini.read(root/'settings.ini', encoding='utf-8')
    names = 'requirements','interp_requirements','export_requirements'
    required = [Requirement(r) for name in names for r in ini['DEFAULT'][name].split()]
    lower = {r.name: [s.version for s in r.specifier if s.operator == '>='] for r in required}
    assert {name for name,versions in lower.items() if len(versions) != 1} == set()
    assert runpy.run_path(root/'.ci'/'versions')['oldest']() == [f'{name}=={version}' for name,(version,) in lower.items()]


def test_a_keyed_loader_converts_items_without_another_import_of_fastai():
    code = 'from cifar9.keyed_dl import KeyedDL, ToTensor; print(KeyedDL([1,2], bs=2, num_workers=0, after_item=[ToTensor()]).one_batch())'
    r = run_python(code)
    assert r.stdout == 'tensor([1, 2])\n', r.stderr


def test_no_committed_record_names_a_folder_of_one_machine():
    configs = [f for parent in (root/'images', root/'bench', package/'weights') for f in parent.glob('**/config.json')]
    sources = {f.parent.name: json.loads(f.read_text(encoding='utf-8')).get('source', '') for f in configs}
    assert len(configs) > 10
    named = {run: source for run,source in sources.items() if source.startswith('/')}
    assert not named, f"put 'an image tree' in their place: {named}"
