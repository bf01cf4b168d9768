"Randomness over workers, epochs and items, which a notebook cannot show"
import pickle
import warnings
import weakref
from contextlib import contextmanager

import albumentations as A, numpy as np, pytest, torch
from fastai.callback.data import PartialDL, WeightedDL
from fastai.data.core import DataLoaders, Datasets, TfmdDL
from fastai.data.load import SkipItemException
from fastai.data.transforms import ToTensor
from fastai.text.data import SortedDL
from fastai.vision.augment import Resize
from fastai.vision.core import PILImage, PILMask
from fasttransform import ItemTransform, Transform
from torch import multiprocessing, nn

from cifar9.augment import AlbumentationsTransform, brief_tfms
from cifar9.datasets import make_shapes10
from cifar9.keyed import keyed_loader
from cifar9.keyed_dl import KeyedDL
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


# Loaders of every kind

images = make_shapes10(40, 8).images
pipelines = {
    'whole batches': [A.HorizontalFlip(), A.Affine(rotate=(-20,20))],
    'one by one': [A.HorizontalFlip(), A.GaussNoise(p=1)]}


def image(i): return PILImage.create(images[i])
def mask(i): return PILMask.create(images[i,...,0])
def number(i): return int(i)
def second(item): return item[1]
def noise(**kwargs): return AlbumentationsTransform([A.GaussNoise(p=1)], seed=1, **kwargs)


class EveryThird(TfmdDL):
    "A loader of a user's own"
    def get_idxs(self): return super().get_idxs()[::3]*2
    def do_item(self, s): return super().do_item(s)


class Shapes(torch.utils.data.Dataset):
    def __init__(self, tfms): self.transform = A.Compose(tfms)
    def __len__(self): return 40
    def __getitem__(self, i): return self.transform(image=images[i])['image']


def datasets(target=number, tfm=None):
    "40 images for training, 8 for validation"
    return Datasets(range(48), [[image] + ([tfm] if tfm else []), [target]], splits=[range(40), range(40,48)])


def fastai_loader(tfms, num_workers=0, dl_type=TfmdDL, target=number, **kwargs):
    "Order and choice of the items come from numpy's and torch's generators, which are set here"
    np.random.seed(3)
    tfm = tfms if isinstance(tfms, Transform) else AlbumentationsTransform(tfms, seed=1)
    dls = datasets(target).dataloaders(bs=8, num_workers=num_workers, after_item=[tfm, ToTensor()], dl_type=dl_type, shuffle_train=False,
                                       device=torch.device('cpu'), dl_kwargs=[kwargs,kwargs])
    return dls.train


def torch_loader(tfms, num_workers, persistent=False):
    persistent = persistent and num_workers > 0
    return keyed_loader(Shapes(tfms), seed=1, shuffle=True, batch_size=8, num_workers=num_workers, persistent_workers=persistent)


makers = {
    'TfmdDL': fastai_loader,
    'TfmdDL with masks': lambda tfms, n: fastai_loader(tfms, n, target=mask),
    'WeightedDL': lambda tfms, n: fastai_loader(tfms, n, WeightedDL, wgts=np.arange(40)).new(shuffle=True, wgts=np.arange(40)),
    'PartialDL': lambda tfms, n: fastai_loader(tfms, n, PartialDL, partial_n=24),
    'SortedDL': lambda tfms, n: fastai_loader(tfms, n, SortedDL, sort_func=second),
    'a subclass': lambda tfms, n: fastai_loader(tfms, n, EveryThird),
    'ArrayDL': lambda tfms, n: cifar_dls(make_shapes10(40, 8), bs=8, tfms=AlbumentationsTransform(tfms, seed=1), num_workers=n).train,
    'keyed_loader': torch_loader,
    'keyed_loader, persistent workers': lambda tfms, n: torch_loader(tfms, n, persistent=True)}


def three_epochs(name, pipeline, num_workers):
    loader = makers[name](pipelines[pipeline], num_workers)
    np.random.seed(3)
    return [torch.cat([torch.as_tensor(batch if isinstance(batch, torch.Tensor) else batch[0]) for batch in loader]) for _ in range(3)]


@contextmanager
def started_by(method):
    "Worker processes begin as in `method`"
    before = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_forkserver_preload(['cifar9.augment']) # seconds for each worker, if it had to import that
    multiprocessing.set_start_method(method, force=True)
    try: yield
    finally: multiprocessing.set_start_method(before, force=True)


def compare(name, pipeline, method, workers, capsys):
    alone = three_epochs(name, pipeline, 0)
    assert len({x.numpy().tobytes() for epoch in alone for x in epoch}) > len(alone[0])
    with started_by(method):
        for num_workers in workers:
            for a,b in zip(alone, three_epochs(name, pipeline, num_workers)): assert torch.equal(a, b)
    with capsys.disabled(): print(f'\n{name}, {pipeline}, {method}: {3*len(workers)} epochs equal those without workers, bit for bit')


@pytest.mark.parametrize('pipeline', pipelines)
@pytest.mark.parametrize('name', makers)
def test_every_loader_gives_the_same_epochs_with_any_number_of_workers(name, pipeline, capsys):
    compare(name, pipeline, 'fork', [1,2,4], capsys)


@pytest.mark.sweep
@pytest.mark.parametrize('method', ['spawn', 'forkserver'])
@pytest.mark.parametrize('name', makers)
def test_every_loader_gives_the_same_epochs_with_any_start_method(name, method, capsys):
    compare(name, 'one by one', method, [2], capsys)


@pytest.mark.parametrize('dl_type', [WeightedDL, PartialDL, SortedDL, EveryThird])
def test_a_loader_of_a_subclass_keeps_what_it_does(dl_type):
    kwargs = dict(sort_func=second) if dl_type is SortedDL else {}
    dl = dl_type(datasets().train, bs=8, num_workers=0, after_item=[ToTensor()], **kwargs)
    KeyedDL.adopt(dl)
    for clone in (dl, dl.new(), pickle.loads(pickle.dumps(dl))): assert isinstance(clone, KeyedDL) and isinstance(clone, dl_type)


def test_a_transform_among_the_type_transforms_is_keyed_in_a_keyed_loader():
    def epoch(num_workers):
        dls = datasets(tfm=noise()).dataloaders(bs=8, num_workers=num_workers, after_item=[ToTensor()], dl_type=KeyedDL)
        return torch.cat([x for x,_ in dls.train.new(shuffle=False)])
    assert torch.equal(epoch(0), epoch(2))


# As in fastai

class PlainData:
    "A data set of Python alone, which has no splits"
    def __len__(self): return 16
    def __getitem__(self, i): return image(i), i


def test_validation_is_not_augmented_in_data_sets_without_splits():
    tfms = [AlbumentationsTransform([A.InvertImg(p=1)]), ToTensor()]
    dls = DataLoaders.from_dsets(PlainData(), PlainData(), bs=8, after_item=tfms, num_workers=0)
    def pixels(dl): return {int(i): x.permute(1,2,0).numpy() for xb,yb in dl for x,i in zip(xb, yb)}
    for i,x in pixels(dls.valid).items(): assert np.array_equal(x, images[i])
    for i,x in pixels(dls.train).items(): assert np.array_equal(x, 255-images[i])


@pytest.mark.parametrize('num_workers', [0, 2])
def test_looking_does_not_change_an_epoch_that_is_running(num_workers):
    plain = [x for x,_ in fastai_loader(noise())]
    dl,seen = fastai_loader(noise(), num_workers),[]
    for x,_ in dl:
        seen.append(x)
        dl.one_batch()
        next(iter(dl.new()))
        next(iter(dl))
    assert torch.equal(torch.cat(seen), torch.cat(plain))


def test_two_iterators_of_one_loader_give_different_views():
    dl = fastai_loader(noise())
    for (a,_),(b,_) in zip(dl, dl): assert not torch.equal(a, b)


class SkipEveryThird(ItemTransform):
    def __init__(self, order): self.order,self.count = order,0
    def encodes(self, sample):
        self.count += 1
        if self.count%3 == 0: raise SkipItemException
        return sample


@pytest.mark.parametrize('order', [-1, 2])
def test_batches_are_filled_up_if_a_transform_skips_items(order):
    dl = TfmdDL(datasets().train, bs=8, num_workers=0, after_item=[noise(), SkipEveryThird(order), ToTensor()])
    assert isinstance(dl, KeyedDL) and [len(x) for x,_ in dl] == [8,8,8,3]


class SkipInPipeline(A.ImageOnlyTransform):
    def apply(self, img, **params):
        if img.sum()%2: raise SkipItemException
        return img


def test_a_pipeline_may_skip_an_item():
    dl = TfmdDL(datasets().train, bs=8, num_workers=0, after_item=[AlbumentationsTransform([SkipInPipeline(p=1)]), ToTensor()])
    n = sum(int(images[i].sum())%2 == 0 for i in range(40))
    assert 0 < n < 40 and [len(x) for x,_ in dl] == [8]*(n//8) + [n%8]*(n%8 > 0)


class Note(ItemTransform):
    "Remembers something of an item"
    order,noted = -1,None
    def encodes(self, sample):
        Note.noted = sample[1]
        return sample


class Compare(ItemTransform):
    "Needs what `Note` remembered of the same item"
    order = 2
    def encodes(self, sample):
        assert sample[1] == Note.noted
        return sample


@pytest.mark.parametrize('pipeline', pipelines)
def test_two_transforms_may_share_what_they_know_of_an_item(pipeline):
    tfms = [Note(), AlbumentationsTransform(pipelines[pipeline]), Compare(), ToTensor()]
    assert sum(len(x) for x,_ in TfmdDL(datasets().train, bs=8, num_workers=0, after_item=tfms)) == 40


@pytest.mark.parametrize('tfms', [
    lambda: [AlbumentationsTransform([A.RandomCrop(8, 8)])],
    lambda: [AlbumentationsTransform([A.HorizontalFlip(), A.RandomCrop(8, 8)])],
    lambda: [AlbumentationsTransform([A.HorizontalFlip()]), Resize(8)],
    lambda: [Resize(8), AlbumentationsTransform([A.HorizontalFlip()], order=2)]],
    ids=['crop','flip and crop','before Resize','after Resize'])
def test_large_photos_do_not_stay_in_memory(tfms):
    "fastai's `Resize` leaves a photo in a reference cycle, so one may be left when the next is opened"
    opened,in_memory = [],[]
    def photo(i):
        in_memory.append(sum(other() is not None for other in opened))
        img = PILImage.create(np.zeros((800,1000,3), np.uint8))
        opened.append(weakref.ref(img))
        return img
    dl = TfmdDL(Datasets(range(8), [[photo], [number]]), bs=8, num_workers=0, after_item=[*tfms(), ToTensor()], shuffle=True)
    in_memory.clear()
    for _ in dl: pass
    assert len(in_memory) == 8 and max(in_memory) <= 1


def test_set_epoch_repeats_a_training_and_resumes_it():
    dl = fastai_loader(noise())
    first,second = (torch.cat([x for x,_ in dl]) for _ in range(2))
    for _ in dl: pass # such as a `get_preds` over the training data
    dl.set_epoch(1)
    assert torch.equal(torch.cat([x for x,_ in dl]), second)
    dl.set_epoch(0)
    assert torch.equal(torch.cat([x for x,_ in dl]), first)


def test_batches_of_indices_from_elsewhere():
    "As another loader, or a `sample` of one's own, hands them on"
    dl = fastai_loader(noise())
    assert [len(x) for x,_ in dl.create_batches(range(20))] == [8,8,4]
    own = TfmdDL(datasets().train, bs=4, sample=lambda: iter([3,3,3,3]), after_item=[noise(), ToTensor()], num_workers=0)
    assert len({x.numpy().tobytes() for xb,_ in own for x in xb}) == 4
    arrays = cifar_dls(make_shapes10(40, 8), bs=8, tfms=noise()).train
    assert [len(x) for x,_ in arrays.create_batches(range(16))] == [8,8]


class OwnItems(TfmdDL):
    "Makes its items in a way that `KeyedDL` cannot see"
    def do_item(self, s): return self.after_item(self.create_item(s))


def added():
    dls = datasets().dataloaders(bs=8, num_workers=0, after_item=[ToTensor()])
    dls.add_tfms([noise()], 'after_item', 0)
    return dls


@pytest.mark.parametrize('make', [
    lambda: datasets(tfm=noise()).dataloaders(bs=8, num_workers=0, after_item=[ToTensor()]),
    lambda: datasets().dataloaders(bs=8, num_workers=0, after_item=[noise(), ToTensor()], dl_type=OwnItems),
    added], ids=['type transform','own do_item','add_tfms'])
def test_items_without_a_key_give_one_warning(make):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('default')
        dls = make()
        for _ in range(2): list(dls.train)
    assert len([w for w in caught if 'KeyedDL.adopt' in str(w.message)]) == 1
