"What only shows over workers and epochs"
import albumentations as A, numpy as np, pytest, torch
from torch import nn

from cifar9.augment import AlbumentationsTransform, brief_tfms
from cifar9.datasets import make_shapes10
from cifar9.loaders import cifar_dls
from cifar9.learner import cifar_learner


def epochs(num_workers, n=3, seed=5):
    dl = cifar_dls(make_shapes10(256, 64), bs=32, tfms=brief_tfms(seed=seed), num_workers=num_workers, seed=seed).train
    return [torch.stack([x for x,_ in dl]) for _ in range(n)]


@pytest.fixture(scope='module')
def alone(): return epochs(0)


@pytest.mark.parametrize('num_workers', [1, 2, 4])
def test_same_batches_with_any_number_of_workers(alone, num_workers):
    for a,b in zip(alone, epochs(num_workers)): assert torch.equal(a, b)


def test_every_epoch_is_new(alone):
    for i in range(3):
        for j in range(i): assert not torch.equal(alone[i].flatten(0,1).sort(0).values, alone[j].flatten(0,1).sort(0).values)


def test_every_image_of_an_epoch_has_its_own_augmentation():
    same = make_shapes10(64, 10)
    same.images[:] = same.images[0]
    dl = cifar_dls(same, bs=32, tfms=AlbumentationsTransform(A.GaussNoise(p=1), seed=0), num_workers=2).train
    assert len({x.numpy().tobytes() for _ in range(2) for xb,_ in dl for x in xb}) == 128


def test_passes_of_test_time_augmentation_differ():
    net = nn.Sequential(nn.Conv2d(3, 10, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    dls = cifar_dls(make_shapes10(64, 32), bs=32, tfms=AlbumentationsTransform(A.GaussNoise(p=1), seed=0), num_workers=2)
    learn = cifar_learner(dls, net, precision='fp32')
    with learn.no_bar(), dls.valid.dataset.set_split_idx(0): passes = [learn.get_preds(dl=dls.valid)[0] for _ in range(3)]
    assert not torch.equal(passes[0], passes[1]) and not torch.equal(passes[1], passes[2])


def test_validation_is_not_augmented():
    data = make_shapes10(64, 32)
    dls = cifar_dls(data, bs=32, tfms=brief_tfms(seed=0))
    plain = cifar_dls(data, bs=32)
    for _ in range(2):
        for (a,_),(b,_) in zip(dls.valid, plain.valid): assert torch.equal(a, b)


def test_no_seed_means_a_new_one(): assert not np.array_equal(*(brief_tfms(p=1.).augment_arrays(make_shapes10(8, 8).images, range(16), 0, 0) for _ in range(2)))
