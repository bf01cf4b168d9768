"Fixtures: the real CIFAR-10, if this machine has it, and two ways to run the command"
import os, subprocess, sys
from pathlib import Path

import cv2, pytest
from typer.testing import CliRunner
from fastai.data.external import fastai_path

cv2.setNumThreads(0) # a worker that is forked while a thread of OpenCV holds its lock would wait for it forever


@pytest.fixture(scope='session')
def cifar10_path():
    "Path of the real CIFAR-10; skips the test if there is none, and never downloads it"
    path = Path(os.environ.get('CIFAR9_DATA') or fastai_path('data')/'cifar10')
    if not path.exists(): pytest.skip('the real CIFAR-10 is not on this machine; set $CIFAR9_DATA to run this test')
    return path


@pytest.fixture(scope='session')
def cifar10(cifar10_path):
    "The real CIFAR-10 as an `ImageArrays`"
    from cifar9.cifar10 import load_cifar10
    return load_cifar10(cifar10_path)


@pytest.fixture
def installed():
    "Run the installed command in a process of its own"
    command = Path(sys.executable).with_name('cifar9')
    def run(*args, **env): return subprocess.run([command, *map(str, args)], capture_output=True, text=True, env=os.environ | env)
    return run


@pytest.fixture
def cli():
    "Run the command in this process, which saves the time of its imports"
    from cifar9.cli import app
    def run(*args):
        r = CliRunner().invoke(app, list(map(str, args)))
        if r.exception and not isinstance(r.exception, SystemExit): raise r.exception
        return subprocess.CompletedProcess(args, r.exit_code, r.stdout, r.stderr)
    return run
