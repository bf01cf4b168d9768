"""Several processes build one cache at once: each gets the right images, and one complete file is left.

`pytest -s tests/test_cache.py` prints the counts."""
import multiprocessing
import os
import subprocess
import sys
import time
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from cifar9.cifar10 import load_data, load_cifar10
from cifar9.own_images import read_folder

processes = multiprocessing.get_context('forkserver')
processes.set_forkserver_preload(['cifar9.cifar10'])
n_processes,n_rounds,size = 4,6,256


def crc(data): return zlib.crc32(data.images.tobytes())


@pytest.fixture
def own(tmp_path):
    "A folder of 24 images, of two classes"
    rng = np.random.default_rng(0)
    for kind in 'ab':
        (tmp_path/'own'/kind).mkdir(parents=True)
        for i in range(12): Image.fromarray(rng.integers(0, 255, (64,64,3), np.uint8)).save(tmp_path/'own'/kind/f'{i}.png')
    return tmp_path/'own'


def build(folder, caches, barrier, pid, answers):
    "Read `folder` through each cache, at the same time as the other processes"
    getpid = os.getpid
    with warnings.catch_warnings():
        warnings.simplefilter('error') # a cache that cannot be saved is a warning
        for cache in caches:
            os.environ['CIFAR9_CACHE'] = str(cache)
            barrier.wait(120)
            if pid: os.getpid = lambda: pid
            try: answer = crc(load_data(folder, size=size))
            except Exception as e: answer = f'{type(e).__name__}: {e}'
            os.getpid = getpid
            answers.put(answer)


@pytest.mark.parametrize('pid', [None, 7], ids=['one machine', 'containers, each with the same process number'])
def test_processes_that_build_one_cache_at_once(own, tmp_path, pid):
    caches = [tmp_path/f'cache_{i}' for i in range(n_rounds)]
    barrier,answers = processes.Barrier(n_processes), processes.Queue()
    started = [processes.Process(target=build, args=(own, caches, barrier, pid, answers)) for _ in range(n_processes)]
    for p in started: p.start()
    got = [answers.get(timeout=120) for _ in range(n_processes*n_rounds)]
    for p in started: p.join()
    assert {*got} == {crc(read_folder(own, size))}
    for cache in caches:
        file, = cache.iterdir() # one file, and no part of one
        with np.load(file) as arrays: assert len(arrays['images']) == 24
    print(f'\n{len(got)} builds of {n_rounds} caches in {n_processes} processes: the same images each time, and one file in each cache')


def test_a_part_that_another_process_has_just_finished_is_no_error(own, tmp_path, monkeypatch):
    monkeypatch.setenv('CIFAR9_CACHE', str(tmp_path/'cache'))
    (tmp_path/'cache').mkdir()
    (tmp_path/'cache'/'other.part.npz').symlink_to('gone') # listed, but not there: as between two calls of the system
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        load_data(own, size=size)
    assert [f.suffixes for f in (tmp_path/'cache').glob('own-*')] == [['.npz']]


def start_data(path, cache):
    command,env = [sys.executable, '-m', 'cifar9', 'data', '--path', path], os.environ | dict(CIFAR9_CACHE=str(cache))
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.real
@pytest.mark.slow
def test_two_commands_that_cache_cifar10_at_once(cifar10_path, cifar10, tmp_path, monkeypatch):
    "Both verify all images; a third one, which is killed while it writes, leaves no file that is taken for the cache"
    killed = start_data(cifar10_path, tmp_path)
    while not any(f.stat().st_size > 10**6 for f in tmp_path.glob('*.part.npz')):
        assert killed.poll() is None, killed.communicate()
        time.sleep(.005)
    killed.kill()
    killed.communicate()
    assert not [f for f in tmp_path.iterdir() if '.part' not in f.name], 'it had written all before it was killed'
    both = [start_data(cifar10_path, tmp_path) for _ in range(2)]
    for p in both:
        stdout,stderr = p.communicate(timeout=600)
        assert (p.returncode, stderr) == (0, '') and stdout.endswith('verified: every image and label is as published\n')
    file, = [f for f in tmp_path.iterdir() if '.part' not in f.name]
    assert file.stat().st_size > 180e6
    monkeypatch.setenv('CIFAR9_CACHE', str(tmp_path))
    assert crc(load_cifar10(cifar10_path)) == crc(cifar10)
