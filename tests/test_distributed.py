"""Two processes train together: each gets its share of the items, augmented as in one process.

The ranks talk by gloo, on the CPU. fastai's `DistributedDL` needs CUDA for one method, which a subclass replaces here."""
import os
import sys
from importlib.util import find_spec
from types import ModuleType

import albumentations as A, fastai.callback.progress, numpy as np, pytest, torch # noqa: F401 (adds `no_bar`)
from fastai.callback.core import Callback
from fastai.data.core import Datasets
from fastai.data.transforms import ToTensor
from fastai.learner import Learner
from fastai.vision.core import PILImage
from torch import distributed, multiprocessing, nn
from torch.utils.data import DistributedSampler

from cifar9.augment import AlbumentationsTransform
from cifar9.datasets import make_shapes10
from cifar9.keyed import keyed_loader
from cifar9.loaders import cifar_dls

n_ranks,n_epochs = 2,2
cases = [(loader, num_workers) for loader in ('KeyedDL','ArrayDL','PyTorch') for num_workers in (0,2)]
has_accelerate = find_spec('accelerate') is not None
images = make_shapes10(48, 16).images


def noise(): return AlbumentationsTransform([A.HorizontalFlip(), A.GaussNoise(p=1)], seed=5)


def fastai_dls(loader, num_workers):
    if loader == 'ArrayDL': return cifar_dls(make_shapes10(48, 16), bs=8, tfms=noise(), num_workers=num_workers, device='cpu')
    sets = Datasets(range(64), [[lambda i: PILImage.create(images[i])], [lambda i: i%10]], splits=[range(48), range(48,64)])
    return sets.dataloaders(bs=8, after_item=[noise(), ToTensor()], num_workers=num_workers, device=torch.device('cpu'))


class Shapes(torch.utils.data.Dataset):
    def __init__(self): self.transform = A.Compose([A.HorizontalFlip(), A.GaussNoise(p=1)])
    def __len__(self): return 48
    def __getitem__(self, i): return self.transform(image=images[i])['image'], i


def plain_loader(num_workers, sampler=None):
    return keyed_loader(Shapes(), seed=5, batch_size=8, sampler=sampler, shuffle=None if sampler else True, num_workers=num_workers)


def epoch(dl): return [bytes(np.ascontiguousarray(x.numpy())) for xb,_ in dl for x in xb]


def begin(rank, folder):
    "Become a rank of two"
    torch.set_num_threads(1)
    multiprocessing.set_start_method('fork', force=True) # for the workers, as in a process that a user starts
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(n_ranks), MASTER_ADDR='localhost', ACCELERATE_USE_CPU='true')
    distributed.init_process_group('gloo', init_method=f'file://{folder}/rendezvous', rank=rank, world_size=n_ranks)
    if not has_accelerate: sys.modules['accelerate'] = ModuleType('accelerate') # fastai.distributed reads one name of it
    if not has_accelerate: sys.modules['accelerate'].Accelerator = object
    import fastai.distributed
    class GlooDL(fastai.distributed.DistributedDL):
        def _broadcast(self, t, rank):
            t = torch.tensor(t)
            distributed.broadcast(t, rank)
            return t.tolist()
    fastai.distributed.DistributedDL = GlooDL
    return GlooDL


class Record(Callback):
    "Keeps the images that the model gets"
    def before_fit(self): self.train_images,self.valid_images = [],[]
    def before_batch(self):
        seen = self.train_images if self.learn.training else self.valid_images
        seen += [bytes(np.ascontiguousarray(x.numpy())) for x in self.learn.x]


def learner(num_workers):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))
    return Learner(fastai_dls('ArrayDL', num_workers), net, loss_func=nn.CrossEntropyLoss(), cbs=Record())


def trained(num_workers):
    "What a model gets that is trained in `distrib_ctx`"
    learn = learner(num_workers)
    with learn.no_bar(), learn.no_logging(), learn.distrib_ctx(sync_bn=False, cpu=True): learn.fit(n_epochs)
    return learn.record.train_images,learn.record.valid_images


def run_rank(rank, folder):
    "Runs as a rank: writes the images of each epoch of each case"
    dl_type,results = begin(rank, folder),{}
    for loader,num_workers in cases:
        if loader == 'PyTorch': dl = plain_loader(num_workers, DistributedSampler(range(48)))
        else: dl = dl_type(fastai_dls(loader, num_workers).train, rank, n_ranks)
        results[loader,num_workers] = [epoch(dl) for _ in range(n_epochs)]
    if has_accelerate: results['training'] = {num_workers: trained(num_workers) for num_workers in (0,2)}
    torch.save(results, f'{folder}/{rank}.pt')


@pytest.fixture(scope='module')
def ranks(tmp_path_factory):
    "What each of two ranks wrote"
    folder = tmp_path_factory.mktemp('ranks')
    multiprocessing.spawn(run_rank, args=(folder,), nprocs=n_ranks)
    return [torch.load(folder/f'{rank}.pt', weights_only=False) for rank in range(n_ranks)]


@pytest.mark.parametrize('loader,num_workers', cases)
def test_two_ranks_share_the_items_and_augment_them_as_one_process(ranks, loader, num_workers):
    alone = plain_loader(0) if loader == 'PyTorch' else fastai_dls(loader, 0).train
    for k in range(n_epochs):
        shares = [rank[loader,num_workers][k] for rank in ranks]
        assert [len(share) for share in shares] == [24,24]
        assert sorted(sum(shares, [])) == sorted(epoch(alone))


@pytest.mark.parametrize('num_workers', [0, 2])
def test_two_ranks_train_in_distrib_ctx(ranks, num_workers):
    pytest.importorskip('accelerate')
    learn = learner(0)
    with learn.no_bar(), learn.no_logging(): learn.fit(n_epochs)
    train,valid = (sum(parts, []) for parts in zip(*(rank['training'][num_workers] for rank in ranks)))
    assert len(train) == n_epochs*48 and sorted(train) == sorted(learn.record.train_images)
    assert sorted(valid) == sorted(learn.record.valid_images)
