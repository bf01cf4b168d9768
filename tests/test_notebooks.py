"Every notebook runs, each in a process of its own, as nbdev_test runs it"
import configparser, subprocess, sys
from pathlib import Path

import pytest

pytest.importorskip('nbdev.test', reason='nbdev is in the dev extra')

root = Path(__file__).parents[1]
notebooks = sorted(p for p in (root/'nbs').rglob('*.ipynb') if '.ipynb_checkpoints' not in p.parts)
ini = configparser.ConfigParser(delimiters=['='])
ini.read(root/'settings.ini')
flags = set(ini['DEFAULT']['tst_flags'].split())


def test_there_are_notebooks(): assert len(notebooks) >= 9


@pytest.mark.parametrize('path', notebooks, ids=lambda p: p.relative_to(root/'nbs').as_posix())
def test_notebook(path):
    run = 'import sys; from pathlib import Path; from nbdev.test import test_nb; ok,_ = test_nb(Path(sys.argv[1]), skip_flags=sys.argv[3:], basepath=sys.argv[2]); sys.exit(not ok)'
    r = subprocess.run([sys.executable, '-c', run, path, root, *flags], capture_output=True, text=True, timeout=600)
    assert r.returncode == 0, r.stderr
