"Randomness over workers, epochs and items, which a notebook cannot show"
import albumentations as A, numpy as np, pytest, torch
from torch import nn

from cifar9.augment import AlbumentationsTransform, brief_tfms
from cifar9.datasets import make_shapes10
from cifar9.loaders import KeyedDL, cifar_dls
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


def test_without_a_seed_two_transforms_differ():
    images = make_shapes10(8, 8).images
    a,b = (brief_tfms(p=1.).augment_arrays(images, range(16), 0, 0) for _ in range(2))
    assert not np.array_equal(a, b)


def test_an_item_does_not_depend_on_the_items_before_it():
    "`random.Random.gauss`, which this transform calls, makes two numbers and keeps one for its next call"
    images = make_shapes10(4, 1).images[:4]
    tfm = AlbumentationsTransform(A.PlanckianJitter(sampling_method='gaussian', p=1), seed=0)
    together = tfm.augment_arrays(images, range(4), 0, 0)
    for i in reversed(range(4)): assert np.array_equal(tfm.augment_arrays(images[i:i+1], [i], 0, 0)[0], together[i])


def test_an_index_that_comes_twice_gets_two_augmentations_for_any_number_of_workers():
    "As in fastai's `WeightedDL`: `get_idxs` is replaced on the instance"
    def occurrences(num_workers):
        dls = cifar_dls(make_shapes10(64, 10), bs=8, tfms=AlbumentationsTransform(A.GaussNoise(p=1), seed=0), num_workers=num_workers)
        return torch.cat([x for x,_ in dls.train.new(get_idxs=lambda: [3]*32)])
    alone = occurrences(0)
    assert len({x.numpy().tobytes() for x in alone}) == 32
    assert torch.equal(alone, occurrences(2))


def test_a_sampler_of_the_users_own_may_yield_plain_indices():
    tfm = AlbumentationsTransform(A.GaussNoise(p=1), seed=0)
    dl = cifar_dls(make_shapes10(64, 10), bs=8, tfms=tfm).train
    own = KeyedDL(dl.dataset, bs=8, num_workers=0, sample=lambda: iter(range(16)), after_item=dl.after_item, device=dl.device)
    assert [len(x) for x,_ in own] == [8,8]


@pytest.mark.parametrize('tfms,expected', [
    ([A.HorizontalFlip(), A.Pad(padding=4), A.RandomCrop(32, 32)], True),
    (A.Affine(rotate=9), False)])
def test_takes_tensors_only_where_all_transforms_do(tfms, expected):
    tfm = AlbumentationsTransform(tfms, seed=0)
    assert [tfm.takes_tensors(split, (32,32,3)) for split in (0,1)] == [expected, True]
    if expected:
        images = make_shapes10(64, 1).images[:64]
        from_array,from_tensor = (tfm.augment_arrays(x, range(64), 1, 0) for x in (images, torch.from_numpy(images)))
        assert np.array_equal(from_tensor.numpy(), from_array)
