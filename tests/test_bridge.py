"The bridge in plain fastai: a DataBlock over image files, its workers, its epochs, and three trainings whose targets move"
import subprocess, sys

import albumentations as A, numpy as np, pytest, torch
from fastai.callback.schedule import Learner
from fastai.data.block import CategoryBlock, DataBlock
from fastai.data.load import DataLoader
from fastai.data.transforms import IndexSplitter
from fastai.losses import CrossEntropyLossFlat
from fastai.torch_core import set_seed
from fastai.vision.core import PILImage
from fastai.vision.data import BBoxBlock, BBoxLblBlock, ImageBlock, MaskBlock, PointBlock
from fastai.vision.models.unet import DynamicUnet
from PIL import Image, ImageDraw
from torch import nn
from torch.nn import functional as F

from cifar9.augment import AlbumentationsTransform
from cifar9.data import KeyedDL, make_shapes10

pytestmark = pytest.mark.filterwarnings('ignore')
moving = [A.HorizontalFlip(), A.VerticalFlip(), A.Affine(rotate=(-30,30), translate_percent=(-.1,.1), scale=(.8,1.2), p=.8)]


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp('pictures')
    for i,img in enumerate(make_shapes10(47, 1, size=24).images): Image.fromarray(img).save(folder/f'{i:02}.png')
    return sorted(folder.glob('*.png'))


def loaders(files, num_workers, tfm=None, seed=1, **kwargs):
    set_seed(seed)
    block = DataBlock((ImageBlock, CategoryBlock), get_y=lambda f: int(f.stem)%2, splitter=IndexSplitter(range(8)), item_tfms=tfm or AlbumentationsTransform([*moving, A.GaussNoise(p=1)], seed=5))
    return block.dataloaders(files, bs=8, num_workers=num_workers, device=torch.device('cpu'), **kwargs)


def epochs(dl, n=3): return [torch.cat([x for x,*_ in dl]) for _ in range(n)]


@pytest.fixture(scope='module')
def alone(files): return epochs(loaders(files, 0).train)


@pytest.mark.parametrize('num_workers', [1, 2, 4])
def test_a_plain_datablock_gives_the_same_batches_with_any_number_of_workers(files, alone, num_workers):
    for a,b in zip(alone, epochs(loaders(files, num_workers).train)): assert torch.equal(a, b)


def test_nothing_repeats(alone):
    assert len({x.numpy().tobytes() for epoch in alone for x in epoch}) == 3*40


def test_the_seed_matters_and_set_seed_is_enough(files, alone):
    other = epochs(loaders(files, 0, AlbumentationsTransform(moving, seed=6)).train, 1)
    assert not torch.equal(other[0], alone[0])
    def unseeded(seed):
        set_seed(seed)
        return AlbumentationsTransform(moving).seed
    assert unseeded(3) == unseeded(3) != unseeded(4)


def test_looking_changes_nothing(files, alone):
    dls = loaders(files, 0)
    dls.one_batch(); a = dls.train.one_batch()[0]; b = dls.train.one_batch()[0]
    assert not torch.equal(a, b)
    dls.show_batch(max_n=1)
    looked = epochs(dls.train, 1)[0]
    assert {x.numpy().tobytes() for x in looked} <= {f.numpy().tobytes() for f in every_item(files)}


def every_item(files):
    "All training items of epoch 0, in order"
    return epochs(loaders(files, 0).train.new(shuffle=False, clock=None), 1)[0]


def test_an_item_that_comes_twice_in_an_epoch_comes_differently(files):
    for num_workers in (0, 2):
        dl = loaders(files, num_workers).train.new(get_idxs=lambda: [3]*16, shuffle=False, n=16)
        xs = epochs(dl, 1)[0]
        assert len({x.numpy().tobytes() for x in xs}) == 16
        if num_workers == 0: first = xs
    assert torch.equal(first, xs)


def small(n_out): return nn.Sequential(*[nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), nn.BatchNorm2d(b), nn.ReLU()) for a,b in ((3,16),(16,32),(32,64))], nn.Flatten(), nn.LazyLinear(n_out))


def learner(dls, net, **kwargs):
    net(torch.zeros(2, *dls.one_batch()[0].shape[1:])) # gives the lazy layer its size
    return Learner(dls, net, **kwargs)


def trained(files, num_workers):
    dls = loaders(files, num_workers)
    set_seed(2)
    learn = learner(dls, small(2), loss_func=CrossEntropyLossFlat())
    with learn.no_bar(), learn.no_logging(): learn.fit(3, 1e-3)
    return learn


def test_weights_are_the_same_with_any_number_of_workers(files):
    want = [p.detach().clone() for p in trained(files, 0).model.parameters()]
    for num_workers in (1, 2, 4):
        for a,b in zip(want, trained(files, num_workers).model.parameters()): assert torch.equal(a, b)


def test_passes_of_tta_differ(files):
    learn = trained(files, 2)
    with learn.no_bar():
        dl = learn.dls.valid.new()
        with dl.dataset.set_split_idx(0): passes = [learn.get_preds(dl=dl, inner=True)[0] for _ in range(3)]
        assert len({p.numpy().tobytes() for p in passes}) == 3
        learn.tta(n=2)


def test_export_and_load_in_a_new_process(tmp_path):
    "With a splitter and labels of fastai's own, because functions of a test cannot be pickled"
    code = """
import sys, torch, numpy as np, albumentations as A
from fastai.vision.all import DataBlock, ImageBlock, CategoryBlock, parent_label, get_image_files, RandomSplitter, Learner, PILImage, load_learner, nn, CrossEntropyLossFlat
from cifar9.augment import AlbumentationsTransform
from cifar9.data import make_shapes10
from pathlib import Path
from PIL import Image
if sys.argv[1] == 'save':
    data = make_shapes10(40, 10, size=24)
    for i,(img,y) in enumerate(zip(data.images, data.labels)):
        Path(data.classes[y]).mkdir(exist_ok=True); Image.fromarray(img).save(f'{data.classes[y]}/{i}.png')
    tfm = AlbumentationsTransform([A.HorizontalFlip(), A.Normalize()], valid=[A.VerticalFlip(p=1), A.Normalize()], seed=1)
    dls = DataBlock((ImageBlock, CategoryBlock), get_items=get_image_files, get_y=parent_label, splitter=RandomSplitter(seed=0), item_tfms=tfm).dataloaders('.', bs=8, num_workers=0)
    learn = Learner(dls, nn.Sequential(nn.Conv2d(3, 10, 5), nn.AdaptiveAvgPool2d(1), nn.Flatten()), loss_func=CrossEntropyLossFlat())
    learn.export('e.pkl')
else: learn = load_learner('e.pkl')
with learn.no_bar(): print(learn.predict(sorted(Path('star').glob('*'))[0])[2].tolist())
"""
    out = [subprocess.run([sys.executable, '-W', 'ignore', '-c', code, word], cwd=tmp_path, capture_output=True, text=True, check=True).stdout for word in ('save','load')]
    assert out[0] == out[1] != ''


def test_other_loaders_never_repeat_either(files):
    "A loader class of one's own stays as it is; fastai seeds `random` anew for every worker and epoch, and the bridge follows it"
    from fastai.data.core import TfmdDL
    class OwnDL(TfmdDL): pass
    dl = loaders(files, 2, dl_type=None).train
    own = OwnDL(dl.dataset, bs=8, num_workers=2, after_item=dl.after_item.fs, after_batch=dl.after_batch.fs, device=torch.device('cpu'))
    assert type(dl) is KeyedDL and type(own) is OwnDL
    assert len({x.numpy().tobytes() for epoch in epochs(own) for x in epoch}) == 3*40


def drawn(i, side=48):
    "A triangle of random colours, place and turn: `(image, mask, box, point)`; the point is the corner with a red dot"
    rng = np.random.default_rng(i)
    back,front = rng.integers(0, 110, 3), rng.integers(150, 256, 3)
    a,r,centre = rng.uniform(0, 2*np.pi), rng.uniform(9, 13), rng.uniform(15, side-15, 2)
    corners = np.array([centre + k*r*np.array([np.cos(a+t), np.sin(a+t)]) for t,k in ((0,1.15), (2.3,.8), (-2.3,.8))])
    img,mask = Image.new('RGB', (side,side), tuple(map(int, back))), Image.new('L', (side,side))
    ImageDraw.Draw(img).polygon([tuple(c) for c in corners], fill=tuple(map(int, front)))
    ImageDraw.Draw(img).ellipse([*(corners[0]-3), *(corners[0]+2)], fill=(255,0,0))
    ImageDraw.Draw(mask).polygon([tuple(c) for c in corners], fill=1)
    ys,xs = np.asarray(mask).nonzero()
    pixels = np.clip(np.asarray(img) + rng.normal(0, 6, (side,side,3)), 0, 255).astype(np.uint8)
    return pixels, np.asarray(mask), [[int(xs.min()), int(ys.min()), int(xs.max())+1, int(ys.max())+1]], [corners[0].tolist()]


def trainable(target_blocks, getters, n, bs=16):
    set_seed(7)
    cache = [drawn(i) for i in range(n)]
    block = DataBlock((ImageBlock, *target_blocks), n_inp=1, getters=[lambda i: cache[i][0], *[lambda i, g=g: g(cache[i]) for g in getters]], splitter=IndexSplitter(range(n//5)), item_tfms=AlbumentationsTransform(moving, seed=3))
    return block.dataloaders(range(n), bs=bs, num_workers=2, device=torch.device('cpu'))


def fit(learn, epochs, lr):
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(epochs, lr)


def test_training_with_masks():
    dls = trainable([MaskBlock(codes=['back','triangle'])], [lambda d: d[1]], 160)
    body = nn.Sequential(*[nn.Sequential(nn.Conv2d(a, b, 3, 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU()) for a,b in ((3,16),(16,32),(32,64))])
    learn = Learner(dls, DynamicUnet(body, 2, (48,48)), loss_func=CrossEntropyLossFlat(axis=1))
    fit(learn, 6, 3e-3)
    with learn.no_bar(): preds,masks = learn.get_preds()
    found,true = preds.argmax(1)==1, masks==1
    dice = 2*(found & true).sum() / (found.sum()+true.sum())
    assert dice > .9, dice


def test_training_with_boxes():
    dls = trainable([BBoxBlock, BBoxLblBlock], [lambda d: d[2], lambda d: ['triangle']], 800)
    learn = learner(dls, nn.Sequential(small(4), nn.Tanh()), loss_func=lambda pred, box, label: F.l1_loss(pred, box[:,0]))
    fit(learn, 12, 1e-2)
    with learn.no_bar(): preds,(boxes,_) = learn.get_preds(with_loss=False)
    a,b = preds, boxes[:,0].as_subclass(torch.Tensor)
    inter = (torch.minimum(a[:,2:], b[:,2:])-torch.maximum(a[:,:2], b[:,:2])).clamp(0).prod(1)
    iou = (inter/((a[:,2:]-a[:,:2]).prod(1)+(b[:,2:]-b[:,:2]).prod(1)-inter)).mean()
    assert iou > .6, iou


def test_training_with_points():
    dls = trainable([PointBlock], [lambda d: d[3]], 800)
    learn = learner(dls, nn.Sequential(small(2), nn.Tanh()), loss_func=lambda pred, point: F.l1_loss(pred, point.view(-1, 2)))
    fit(learn, 12, 1e-2)
    with learn.no_bar(): preds,points = learn.get_preds()
    pixels = (preds-points.as_subclass(torch.Tensor).view(-1,2)).norm(dim=1).mean()*24
    assert pixels < 5, pixels


@pytest.mark.parametrize('tfms', [[A.GaussNoise(p=1)], [A.HorizontalFlip(), A.Affine(rotate=(-30,30), p=.8)]], ids=['one by one', 'whole batches'])
def test_a_batch_is_what_its_items_are(files, tfms):
    "What a loader makes of an item is what the transform makes of it alone, told the same item and epoch"
    tfm = AlbumentationsTransform(tfms, seed=5)
    dl = loaders(files, 0, tfm).train.new(shuffle=False)
    got = [x for x,_ in dl]
    for i,x in enumerate(torch.cat(got)):
        img = PILImage.create(dl.dataset.items[i])
        if tfms[0].__class__ is A.GaussNoise:
            tfm.seek(i, 0, 0)
            want = np.asarray(tfm(img, split_idx=0))
        else: want = tfm.augment_arrays(np.asarray(img)[None], [i], 0, 0)[0]
        assert np.array_equal((x*255).round().permute(1,2,0).numpy().astype(np.uint8), want)


def test_pictures_of_several_sizes_share_a_batch(tmp_path):
    "What becomes of a picture does not depend on the sizes of its neighbours"
    from fastai.vision.augment import Resize
    for i in range(12): Image.fromarray(make_shapes10(1, 1, size=24+8*(i%3), seed=i).images[0]).save(tmp_path/f'{i:02}.png')
    files = sorted(tmp_path.glob('*.png'))
    def first(order):
        set_seed(1)
        block = DataBlock((ImageBlock, CategoryBlock), get_y=lambda f: int(f.stem)%2, splitter=IndexSplitter([0]), item_tfms=[AlbumentationsTransform([A.HorizontalFlip(), A.Affine(rotate=(-30,30))], seed=5), Resize(24)])
        dl = block.dataloaders(files, bs=11, num_workers=0, device=torch.device('cpu')).train
        return next(iter(dl.new(shuffle=False, get_idxs=lambda: order)))[0]
    order = [4, 0, 9, 7, 2, 1, 3, 5, 6, 8, 10]
    mixed,plain = first(order), first(list(range(11)))
    assert torch.equal(mixed, plain[order])
