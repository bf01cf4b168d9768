"The order of the house: what imports what, and that importing is quiet"
import ast, subprocess, sys
from pathlib import Path

import pytest

import cifar9

order = 'data augment anatomy blocks models learner interp inference cli'.split()
folder = Path(cifar9.__file__).parent
modules = {f.stem: ast.parse(f.read_text()) for f in folder.glob('*.py') if not f.stem.startswith('_')}


def imported(tree):
    "Modules of cifar9 that a syntax tree imports, anywhere in it"
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or '').startswith('cifar9.'): yield node.module.split('.')[1]
        if isinstance(node, ast.Import):
            for a in node.names:
                if a.name.startswith('cifar9.'): yield a.name.split('.')[1]


def test_there_are_modules(): assert set(modules) <= set(order) and len(modules) >= 8


@pytest.mark.parametrize('name', sorted(modules))
def test_imports_only_from_above(name):
    late = [m for m in imported(modules[name]) if order.index(m) >= order.index(name)]
    assert not late, f'{name} imports {late}, which stand below it'


@pytest.mark.parametrize('name', sorted(modules))
def test_no_star_imports(name):
    stars = [n.module for n in ast.walk(modules[name]) if isinstance(n, ast.ImportFrom) and n.names[0].name == '*']
    assert not stars


def test_data_and_anatomy_do_not_know_albumentations():
    for name in ('data','anatomy'): assert 'albumentations' not in (folder/f'{name}.py').read_text()


def test_import_is_quiet_and_asks_no_network():
    code = '''
import socket
def refuse(*args, **kwargs): raise AssertionError('a connection was tried')
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
import cifar9, cifar9.data, cifar9.augment, cifar9.learner, cifar9.cli
'''
    r = subprocess.run([sys.executable, '-W', 'ignore::FutureWarning', '-c', code], capture_output=True, text=True)
    assert (r.returncode, r.stdout, r.stderr) == (0, '', '')
