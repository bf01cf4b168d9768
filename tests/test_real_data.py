"Tests on the real CIFAR-10; skipped on a machine without it"
import json, tarfile, time, tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cifar9.cifar10 import cifar10_classes, checksum, load_cifar10, read_cifar10, verify_cifar10

pytestmark = pytest.mark.real
images = Path(__file__).parents[1]/'images'


def test_counts_and_published_statistics(cifar10):
    assert cifar10.images.shape == (60_000,32,32,3) and cifar10.classes == cifar10_classes
    assert (np.bincount(cifar10.train_y) == 5000).all() and (np.bincount(cifar10.test_y) == 1000).all()
    mean,std = cifar10.stats
    np.testing.assert_allclose(mean, [0.49139968, 0.48215841, 0.44653091], atol=1e-8)
    np.testing.assert_allclose(std, [0.24703223, 0.24348513, 0.26158784], atol=1e-8)


def test_loading_from_the_cache_takes_under_two_seconds(cifar10, cifar10_path):
    times = []
    for _ in range(3):
        start = time.perf_counter()
        load_cifar10(cifar10_path)
        times.append(time.perf_counter()-start)
    assert sorted(times)[1] < 2


def test_a_damaged_cache_is_replaced(cifar10_path, cifar10, tmp_path, monkeypatch):
    monkeypatch.setenv('CIFAR9_CACHE', str(tmp_path))
    load_cifar10(cifar10_path)
    file, = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:100_000])
    assert checksum(load_cifar10(cifar10_path)) == checksum(cifar10)
    assert file.stat().st_size > 180e6


def test_statistics_need_little_memory(cifar10):
    "One `np.bincount` over all training images would copy 410 MB per channel"
    tracemalloc.start()
    replace(cifar10).stats
    _,peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 50e6


def test_one_changed_pixel_or_label_is_found(cifar10):
    verify_cifar10(cifar10)
    images,labels = cifar10.images.copy(),cifar10.labels.copy()
    images[12345,3,3,1] ^= 1
    labels[[0,49_999]] = labels[[49_999,0]]
    fewer = replace(cifar10, images=cifar10.images[1:], labels=cifar10.labels[1:], n_train=49_999)
    with pytest.raises(ValueError, match='some differ from the published ones'): verify_cifar10(replace(cifar10, images=images))
    with pytest.raises(ValueError, match='some differ from the published ones'): verify_cifar10(replace(cifar10, labels=labels))
    with pytest.raises(ValueError, match="4,999 images of class 'airplane' in train"): verify_cifar10(fewer)


@pytest.mark.slow
def test_the_archive_gives_the_same_arrays(cifar10_path, cifar10, tmp_path):
    if not cifar10_path.is_dir(): pytest.skip('the real CIFAR-10 is not a folder here')
    with tarfile.open(tmp_path/'cifar10.tar', 'w') as tar: tar.add(cifar10_path, 'cifar10')
    archive = read_cifar10(tmp_path/'cifar10.tar')
    assert np.array_equal(archive.images, cifar10.images) and np.array_equal(archive.labels, cifar10.labels)


@pytest.mark.parametrize('run,least', [
    ('first_run',.82), ('fast_1',.85), ('fast_2',.85), ('fast_3',.85), ('fast_dilated_1',.85),
    ('fast_brief_dilated_1',.85), ('brief_15',.74)])
def test_a_committed_run_still_gives_its_accuracy(run, least, cli, cifar10_path):
    "Other processors round differently, which may change the prediction of a few of the 10,000 images"
    saved = json.loads((images/run/'metrics.json').read_text())
    result = cli('evaluate', images/run, '--data', cifar10_path, '--json')
    assert result.returncode == 0, result.stderr
    measured = json.loads(result.stdout)
    assert measured['n'] == 10_000 and abs(measured['correct'] - saved['correct']) <= 5
    assert saved['accuracy'] >= least
