"Keyed randomness in plain PyTorch: data sets of every form, samplers, and the loops of Lightning and accelerate"
import subprocess
import sys
import warnings
from functools import partial
from types import ModuleType

import albumentations as A, numpy as np, pytest, torch
from PIL import Image
from torch import nn
from torch.utils.data import ConcatDataset, DataLoader, Dataset, DistributedSampler, Subset, WeightedRandomSampler, random_split

from cifar9.augment import AlbumentationsTransform
from cifar9.keyed import KeyedDataset, KeyedSampler, keyed_loader

rng = np.random.default_rng(0)
images = rng.integers(0, 256, (24,16,16,3), np.uint8)
geometry = [A.HorizontalFlip(), A.Affine(rotate=(-20,20)), A.GaussNoise(p=1)]
global_pipeline = A.Compose(geometry)


class WithPipeline(Dataset):
    "A data set that holds its pipeline"
    def __init__(self, tfms=geometry, **kwargs): self.transform = A.Compose(tfms, **kwargs)
    def __len__(self): return len(images)
    def __getitem__(self, i): return self.transform(image=images[i])['image'], i


class Tuples(WithPipeline):
    "Image and mask"
    def __getitem__(self, i):
        result = self.transform(image=images[i], mask=images[i,...,0])
        return result['image'], result['mask']


class Dictionaries(WithPipeline):
    "All targets of Albumentations; the image is a tensor"
    def __init__(self):
        boxes,points = A.BboxParams('pascal_voc', label_fields=['labels']), A.KeypointParams('xy', remove_invisible=False)
        super().__init__([*geometry, A.Normalize(), A.ToTensorV2()], bbox_params=boxes, keypoint_params=points)
    def __getitem__(self, i):
        return self.transform(image=images[i], mask=images[i,...,0], bboxes=[[2,2,9,9]], labels=[i], keypoints=[(3,4), (8,8)])


class Pil(WithPipeline):
    def __getitem__(self, i):
        image = Image.fromarray(images[i]).resize((20,20))
        return Image.fromarray(self.transform(image=np.array(image))['image'])


class InFunction(WithPipeline):
    "The pipeline hides in a function that another library would call"
    def __init__(self):
        compose = A.Compose(geometry)
        self.function = lambda image: compose(image=image)['image']
    def __getitem__(self, i): return self.function(images[i])


class Global(WithPipeline):
    def __init__(self): pass
    def __getitem__(self, i): return global_pipeline(image=images[i])['image']


class OwnNoise(WithPipeline):
    "No Albumentations: the generators of numpy, Python and torch"
    def __init__(self): pass
    def __getitem__(self, i): return images[i] + np.random.rand() + torch.rand(1).numpy() + (i if np.random.rand() > .5 else 0)


class Wrapped(WithPipeline):
    def __new__(cls): return Subset(ConcatDataset([WithPipeline(), Tuples()]), range(0, 48, 2))


data_sets = [WithPipeline, Tuples, Dictionaries, Pil, InFunction, Global, OwnNoise, Wrapped]


def flat(sample):
    "All pixels and numbers of a batch as bytes"
    if isinstance(sample, dict): return b''.join(flat(v) for v in sample.values())
    if isinstance(sample, (list,tuple)): return b''.join(map(flat, sample))
    return np.ascontiguousarray(np.asarray(sample)).tobytes()


def as_list(batch): return batch


def epochs(data, n=3, **kwargs):
    loader = keyed_loader(data, seed=7, batch_size=5, shuffle=True, collate_fn=as_list, **kwargs)
    return [[flat(sample) for batch in loader for sample in batch] for _ in range(n)]


@pytest.mark.parametrize('data_set', data_sets)
def test_the_same_samples_with_any_workers(data_set):
    alone = epochs(data_set())
    assert len({x for epoch in alone for x in epoch}) == 3*24
    assert epochs(data_set(), num_workers=1) == alone
    assert epochs(data_set(), num_workers=2) == alone
    assert epochs(data_set(), num_workers=2, persistent_workers=True, prefetch_factor=1) == alone


@pytest.mark.sweep
@pytest.mark.parametrize('method', ['spawn', 'forkserver'])
@pytest.mark.parametrize('data_set', [d for d in data_sets if d is not InFunction]) # Python cannot send a lambda to a new process
def test_the_same_samples_with_any_start_method(data_set, method):
    alone = epochs(data_set())
    assert epochs(data_set(), num_workers=2, multiprocessing_context=method) == alone
    assert epochs(data_set(), num_workers=1, persistent_workers=True, multiprocessing_context=method) == alone


def test_a_training_is_resumed_at_any_epoch():
    all_epochs = epochs(WithPipeline(), 4)
    for k in range(4):
        assert epochs(WithPipeline(), 4-k, epoch=k, num_workers=2) == all_epochs[k:]
        loader = keyed_loader(WithPipeline(), seed=7, batch_size=5, shuffle=True, collate_fn=as_list)
        loader.sampler.set_epoch(k)
        assert [flat(sample) for batch in loader for sample in batch] == all_epochs[k]


@pytest.mark.parametrize('kwargs', [{}, dict(num_workers=2), dict(num_workers=2, persistent_workers=True)], ids=str)
def test_the_generators_of_the_training_are_left_alone(kwargs):
    def numbers(n_epochs):
        torch.manual_seed(0)
        np.random.seed(0)
        loader = keyed_loader(OwnNoise(), batch_size=5, **kwargs)
        for _ in range(n_epochs): list(loader)
        return torch.rand(1).item(), np.random.rand()
    assert numbers(2) == numbers(0)


def test_two_data_sets_may_share_a_pipeline():
    def pairs(num_workers):
        a,b = (keyed_loader(Global(), seed=seed, batch_size=5, num_workers=num_workers) for seed in (1,2))
        return [(flat(x), flat(y)) for x,y in zip(a, b)]
    assert pairs(0) == pairs(2)


def test_an_index_that_comes_twice_gets_two_augmentations():
    def samples(num_workers):
        sampler = WeightedRandomSampler([1.,0,0], 16, generator=torch.Generator().manual_seed(0))
        return [flat(x) for x,_ in keyed_loader(WithPipeline(), sampler=sampler, num_workers=num_workers)]
    assert len(set(samples(0))) == 16 and samples(0) == samples(2)


@pytest.mark.parametrize('num_workers', [0, 2])
def test_ranks_share_the_items_and_augment_them_as_one_process(num_workers):
    alone = keyed_loader(WithPipeline(), seed=7, batch_size=4)
    ranks = [DistributedSampler(range(24), num_replicas=2, rank=rank, seed=3) for rank in (0,1)]
    ranks = [keyed_loader(WithPipeline(), seed=7, batch_size=4, sampler=sampler, num_workers=num_workers) for sampler in ranks]
    orders = []
    for _ in range(3):
        shares = [[(int(i), flat(x)) for xb,ib in rank for x,i in zip(xb, ib)] for rank in ranks]
        assert [len(share) for share in shares] == [12,12]
        assert sorted(sum(shares, [])) == sorted((int(i), flat(x)) for xb,ib in alone for x,i in zip(xb, ib))
        orders.append([i for i,_ in shares[0]])
    assert orders[0] != orders[1] != orders[2] # `DistributedSampler` alone repeats its order if nobody calls `set_epoch`


def test_part_of_a_data_set():
    train,_ = random_split(WithPipeline(), [16,8], torch.Generator().manual_seed(0))
    assert epochs(train, num_workers=2) == epochs(train)


def helper(image): return global_pipeline(image=image)['image']


class Rare(WithPipeline):
    "Every second item is augmented, by a pipeline behind a function that a method calls"
    def __init__(self): self.load = self.read
    def read(self, i): return [helper(image) for image in images[i:i+1]][0] if i%2 else images[i]
    def __getitem__(self, i): return self.load(i)


class ClassAttribute(WithPipeline):
    pipeline = A.Compose(geometry)
    def __init__(self): pass
    def __getitem__(self, i): return self.pipeline(image=images[i])['image']


class Partial(WithPipeline):
    def __init__(self): self.function = partial(ClassAttribute.__getitem__, ClassAttribute())
    def __getitem__(self, i): return self.function(i)


class Elsewhere(WithPipeline):
    "Calls a function of another module of the project"
    def __init__(self): pass
    def __getitem__(self, i): return project.augment(images[i])


project = ModuleType('project')
exec(compile('augment = lambda image: pipeline(image=image)["image"]', 'project.py', 'exec'), vars(project))
project.pipeline = A.Compose(geometry)


@pytest.mark.parametrize('data_set,n', [(Rare,3*12+12), (ClassAttribute,3*24), (Partial,3*24), (Elsewhere,3*24)])
def test_pipelines_behind_functions_methods_and_classes(data_set, n):
    alone = epochs(data_set())
    assert len({x for epoch in alone for x in epoch}) == n
    assert epochs(data_set(), num_workers=2) == alone


class OwnGenerator(WithPipeline):
    "Draws for every second item from a generator of its own"
    def __init__(self): self.rng = np.random.default_rng(0)
    def __getitem__(self, i): return images[i] + self.rng.random() if i%2 else images[i]


class Unknown(WithPipeline):
    def __getitem__(self, i): return np.random.default_rng().random()


@pytest.mark.parametrize('make,words', [
    (lambda: keyed_loader(Unknown()), 'Unknown draws random numbers that a key does not determine'),
    (lambda: keyed_loader(OwnGenerator()), 'OwnGenerator draws random numbers that a key does not determine'),
    (lambda: keyed_loader(iter([])), 'no map-style data set'),
    (lambda: next(iter(DataLoader(KeyedDataset(WithPipeline()), shuffle=True))), 'give the DataLoader a KeyedSampler'),
    (lambda: keyed_loader(WithPipeline(), sampler=range(3), shuffle=True), 'mutually exclusive')])
def test_errors_say_what_to_do(make, words):
    with pytest.raises((ValueError, TypeError), match=words): make()


def test_no_fastai_and_no_albumentations_are_loaded():
    code = 'import sys, cifar9.keyed; sys.exit(any(name in sys.modules for name in ("fastai", "albumentations")))'
    assert subprocess.run([sys.executable, '-c', code]).returncode == 0


# Training loops of other libraries

def loader(num_workers=0, epoch=0):
    return keyed_loader(WithPipeline(), seed=7, batch_size=5, shuffle=True, num_workers=num_workers, epoch=epoch)


def plain_loop(n): return [[flat(x) for x,_ in dl] for dl in [loader()] for _ in range(n)]


@pytest.mark.parametrize('num_workers', [0, 2])
def test_lightning(tmp_path, num_workers):
    lightning = pytest.importorskip('lightning')
    class Model(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer,self.seen = nn.Linear(1, 1),[]
        def train_dataloader(self): return loader(num_workers, epoch=self.current_epoch)
        def on_train_epoch_start(self): self.seen.append([])
        def training_step(self, batch, _):
            self.seen[-1].append(flat(batch[0].cpu()))
            return self.layer(torch.ones(1, 1)).sum()
        def configure_optimizers(self): return torch.optim.SGD(self.parameters(), .1)
    def fit(max_epochs, **kwargs):
        model = Model()
        trainer = lightning.Trainer(max_epochs=max_epochs, accelerator='cpu', default_root_dir=tmp_path, logger=False,
                                    enable_progress_bar=False, enable_model_summary=False)
        trainer.fit(model, **kwargs)
        trainer.save_checkpoint(tmp_path/'last.ckpt')
        return model.seen
    assert fit(2) == plain_loop(2)
    assert fit(4, ckpt_path=tmp_path/'last.ckpt') == plain_loop(4)[2:]


@pytest.mark.parametrize('num_workers', [0, 2])
def test_accelerate(num_workers):
    accelerate = pytest.importorskip('accelerate')
    prepared = accelerate.Accelerator(cpu=True).prepare(loader(num_workers))
    assert [[flat(x) for x,_ in prepared] for _ in range(3)] == plain_loop(3)


def test_accelerate_shares_the_items_among_processes():
    data_loader = pytest.importorskip('accelerate.data_loader')
    shares = []
    for rank in (0,1):
        batches = data_loader.BatchSamplerShard(loader().batch_sampler, num_processes=2, process_index=rank, even_batches=False)
        shares.append([flat(x) for x,_ in DataLoader(KeyedDataset(WithPipeline(), seed=7), batch_sampler=batches)])
    assert sorted(sum(shares, [])) == sorted(plain_loop(1)[0])


def test_a_sampler_of_keys_needs_no_keyed_loader():
    mine = DataLoader(KeyedDataset(WithPipeline(), seed=7), batch_size=5, sampler=KeyedSampler(DistributedSampler(images, 1, 0, seed=7)))
    assert [[flat(x) for x,_ in mine] for _ in range(2)] == plain_loop(2)


class ByHand(WithPipeline):
    "A data set that calls the transform of the bridge by itself"
    def __init__(self): self.transform = AlbumentationsTransform(geometry, seed=1)
    def __getitem__(self, i): return self.transform(images[i])


def test_the_bridge_in_a_worker_without_keys_gives_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        with pytest.raises(UserWarning, match='(?s)in a worker without a key.*keyed_loader'): list(DataLoader(ByHand(), num_workers=2))
        alone,with_workers = ([*keyed_loader(ByHand(), seed=1, num_workers=n)] for n in (0,2))
    assert torch.equal(torch.cat(alone), torch.cat(with_workers))
