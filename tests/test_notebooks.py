"Every notebook runs, each in a process of its own, as nbdev_test runs it"
import configparser
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

nbdev_test = pytest.importorskip('nbdev.test', reason='nbdev is in the dev extra')

root = Path(__file__).parents[1]
notebooks = sorted(p for p in (root/'nbs').rglob('*.ipynb') if '.ipynb_checkpoints' not in p.parts)
ini = configparser.ConfigParser(delimiters=['='])
ini.read(root/'settings.ini')
flags = set(ini['DEFAULT']['tst_flags'].split())


def test_there_are_notebooks(): assert len(notebooks) >= 9


@pytest.mark.parametrize('path', notebooks, ids=lambda p: p.relative_to(root/'nbs').as_posix())
def test_notebook(path):
    with ProcessPoolExecutor(1, mp_context=get_context('spawn')) as process: # not a Pool, whose processes may have no workers of their own
        ok,_ = process.submit(nbdev_test.test_nb, path, skip_flags=flags, basepath=root).result()
    assert ok, f'{path.name} failed, its error is printed above'
