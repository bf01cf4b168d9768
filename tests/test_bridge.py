"`AlbumentationsTransform` in plain fastai: a DataBlock over image files, its workers and epochs, trainings with masks, boxes and points"
import json
import os
import subprocess
import sys

import albumentations as A, numpy as np, pytest, torch
from fastai.callback.schedule import Learner
from fastai.data.block import CategoryBlock, DataBlock
from fastai.data.transforms import IndexSplitter
from fastai.losses import CrossEntropyLossFlat
from fastai.torch_core import TensorImage, set_seed
from fastai.vision.core import PILImage
from fastai.vision.data import BBoxBlock, BBoxLblBlock, ImageBlock, MaskBlock, PointBlock
from fastai.vision.models.unet import DynamicUnet
from PIL import Image, ImageDraw
from torch import nn
from torch.nn import functional as F

from cifar9.augment import AlbumentationsTransform
from cifar9.datasets import make_shapes10
from cifar9.keyed_dl import KeyedDL
from cifar9.replay import batch_keys, record, replay

pytestmark = pytest.mark.filterwarnings('ignore')
geometric = [A.HorizontalFlip(), A.VerticalFlip(), A.Affine(rotate=(-30,30), translate_percent=(-.1,.1), scale=(.8,1.2), p=.8)]


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp('images')
    for i,img in enumerate(make_shapes10(47, 1, size=24).images): Image.fromarray(img).save(folder/f'{i:02}.png')
    return sorted(folder.glob('*.png'))


def loaders(files, num_workers, tfm=None, seed=1, **kwargs):
    set_seed(seed)
    tfm = tfm or AlbumentationsTransform([*geometric, A.GaussNoise(p=1)], seed=5)
    block = DataBlock((ImageBlock, CategoryBlock), get_y=lambda f: int(f.stem)%2, splitter=IndexSplitter(range(8)), item_tfms=tfm)
    return block.dataloaders(files, bs=8, num_workers=num_workers, device=torch.device('cpu'), **kwargs)


def epochs(dl, n=3): return [torch.cat([x for x,*_ in dl]) for _ in range(n)]


@pytest.fixture(scope='module')
def no_workers(files): return epochs(loaders(files, 0).train)


@pytest.mark.parametrize('num_workers', [1, 2, 4])
def test_a_plain_datablock_gives_the_same_batches_with_any_number_of_workers(files, no_workers, num_workers):
    for a,b in zip(no_workers, epochs(loaders(files, num_workers).train)): assert torch.equal(a, b)


def test_nothing_repeats(no_workers):
    assert len({x.numpy().tobytes() for epoch in no_workers for x in epoch}) == 3*40


def test_the_seed_matters_and_set_seed_is_enough(files, no_workers):
    other = epochs(loaders(files, 0, AlbumentationsTransform(geometric, seed=6)).train, 1)
    assert not torch.equal(other[0], no_workers[0])
    def unseeded(seed):
        set_seed(seed)
        return AlbumentationsTransform(geometric).seed
    assert unseeded(3) == unseeded(3) != unseeded(4)


def test_looking_changes_nothing(files, no_workers):
    dls = loaders(files, 0)
    dls.one_batch()
    a,b = dls.train.one_batch()[0],dls.train.one_batch()[0]
    assert not torch.equal(a, b)
    dls.show_batch(max_n=1)
    looked = epochs(dls.train, 1)[0]
    assert {x.numpy().tobytes() for x in looked} <= {f.numpy().tobytes() for f in every_item(files)}


def every_item(files):
    "All training items of epoch 0, in order"
    return epochs(loaders(files, 0).train.new(shuffle=False, epoch_counter=None), 1)[0]


def test_an_item_that_comes_twice_in_an_epoch_comes_differently(files):
    for num_workers in (0, 2):
        dl = loaders(files, num_workers).train.new(get_idxs=lambda: [3]*16, shuffle=False, n=16)
        xs = epochs(dl, 1)[0]
        assert len({x.numpy().tobytes() for x in xs}) == 16
        if num_workers == 0: first = xs
    assert torch.equal(first, xs)


def conv_blocks(bias=True):
    return [nn.Sequential(nn.Conv2d(ni, nf, 3, 2, 1, bias=bias), nn.BatchNorm2d(nf), nn.ReLU()) for ni,nf in ((3,16),(16,32),(32,64))]


def small(n_out): return nn.Sequential(*conv_blocks(), nn.Flatten(), nn.LazyLinear(n_out))


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
from fastai.vision.all import DataBlock, ImageBlock, CategoryBlock, parent_label, get_image_files, RandomSplitter, Learner
from fastai.vision.all import load_learner, nn, CrossEntropyLossFlat
from cifar9.augment import AlbumentationsTransform
from cifar9.datasets import make_shapes10
from pathlib import Path
from PIL import Image
if sys.argv[1] == 'save':
    data = make_shapes10(40, 10, size=24)
    for i,(img,y) in enumerate(zip(data.images, data.labels)):
        Path(data.classes[y]).mkdir(exist_ok=True)
        Image.fromarray(img).save(f'{data.classes[y]}/{i}.png')
    tfm = AlbumentationsTransform([A.HorizontalFlip(), A.Normalize()], valid=[A.VerticalFlip(p=1), A.Normalize()], seed=1)
    block = DataBlock((ImageBlock, CategoryBlock), get_items=get_image_files, get_y=parent_label, splitter=RandomSplitter(seed=0),
                      item_tfms=tfm)
    net = nn.Sequential(nn.Conv2d(3, 10, 5), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    learn = Learner(block.dataloaders('.', bs=8, num_workers=0), net, loss_func=CrossEntropyLossFlat())
    learn.export('e.pkl')
else: learn = load_learner('e.pkl')
with learn.no_bar(): print(learn.predict(sorted(Path('star').glob('*'))[0])[2].tolist())
"""
    def run(word):
        command = [sys.executable, '-W', 'ignore', '-c', code, word]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert run('save') == run('load') != ''


def test_other_loaders_never_repeat_either(files):
    "A loader of another class becomes a `KeyedDL` as well"
    from fastai.data.core import TfmdDL
    class OwnDL(TfmdDL): pass
    dl = loaders(files, 2, dl_type=None).train
    transforms = dict(after_item=dl.after_item.fs, after_batch=dl.after_batch.fs)
    own = OwnDL(dl.dataset, bs=8, num_workers=2, device=torch.device('cpu'), **transforms)
    assert isinstance(dl, KeyedDL) and isinstance(own, KeyedDL) and isinstance(own, OwnDL)
    assert len({x.numpy().tobytes() for epoch in epochs(own) for x in epoch}) == 3*40


def drawn(i, side=48):
    "A triangle of random colours, position and angle: `(image, mask, box, point)`; the point is the corner with a red dot"
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
    box = [int(xs.min()), int(ys.min()), int(xs.max())+1, int(ys.max())+1]
    return pixels, np.asarray(mask), [box], [corners[0].tolist()]


def trainable(target_blocks, getters, n, bs=16):
    set_seed(7)
    cache = [drawn(i) for i in range(n)]
    block = DataBlock((ImageBlock, *target_blocks), n_inp=1, splitter=IndexSplitter(range(n//5)),
                      getters=[lambda i: cache[i][0], *[lambda i, g=g: g(cache[i]) for g in getters]],
                      item_tfms=AlbumentationsTransform(geometric, seed=3))
    return block.dataloaders(range(n), bs=bs, num_workers=2, device=torch.device('cpu'))


def fit(learn, epochs, lr):
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(epochs, lr)


def test_training_with_masks():
    dls = trainable([MaskBlock(codes=['back','triangle'])], [lambda d: d[1]], 160)
    learn = Learner(dls, DynamicUnet(nn.Sequential(*conv_blocks(bias=False)), 2, (48,48)), loss_func=CrossEntropyLossFlat(axis=1))
    fit(learn, 6, 3e-3)
    with learn.no_bar(): preds,masks = learn.get_preds()
    found,true = preds.argmax(1)==1, masks==1
    dice = 2*(found & true).sum() / (found.sum()+true.sum())
    assert dice > .9, dice


@pytest.mark.sweep # 30 s; masks are trained with in each run of the tests
def test_training_with_boxes():
    dls = trainable([BBoxBlock, BBoxLblBlock], [lambda d: d[2], lambda d: ['triangle']], 800)
    learn = learner(dls, nn.Sequential(small(4), nn.Tanh()), loss_func=lambda pred, box, label: F.l1_loss(pred, box[:,0]))
    fit(learn, 12, 1e-2)
    with learn.no_bar(): preds,(boxes,_) = learn.get_preds(with_loss=False)
    a,b = preds, boxes[:,0].as_subclass(torch.Tensor)
    inter = (torch.minimum(a[:,2:], b[:,2:])-torch.maximum(a[:,:2], b[:,:2])).clamp(0).prod(1)
    iou = (inter/((a[:,2:]-a[:,:2]).prod(1)+(b[:,2:]-b[:,:2]).prod(1)-inter)).mean()
    assert iou > .6, iou


@pytest.mark.sweep # 30 s
def test_training_with_points():
    dls = trainable([PointBlock], [lambda d: d[3]], 800)
    learn = learner(dls, nn.Sequential(small(2), nn.Tanh()), loss_func=lambda pred, point: F.l1_loss(pred, point.view(-1, 2)))
    fit(learn, 12, 1e-2)
    with learn.no_bar(): preds,points = learn.get_preds()
    pixels = (preds-points.as_subclass(torch.Tensor).view(-1,2)).norm(dim=1).mean()*24
    assert pixels < 5, pixels


@pytest.mark.parametrize('tfms', [[A.GaussNoise(p=1)], [A.HorizontalFlip(), A.Affine(rotate=(-30,30), p=.8)]],
                         ids=['one by one', 'a batch at a time'])
def test_a_batch_is_what_its_items_are(files, tfms):
    "A loader augments an item as the transform does by itself with the same item and epoch"
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


def test_images_of_several_sizes_share_a_batch(tmp_path):
    "The augmentation of an image does not depend on the sizes of the others in its batch"
    from fastai.vision.augment import Resize
    for i in range(12): Image.fromarray(make_shapes10(1, 1, size=24+8*(i%3), seed=i).images[0]).save(tmp_path/f'{i:02}.png')
    files = sorted(tmp_path.glob('*.png'))
    def first(order):
        set_seed(1)
        tfm = AlbumentationsTransform([A.HorizontalFlip(), A.Affine(rotate=(-30,30))], seed=5)
        block = DataBlock((ImageBlock, CategoryBlock), get_y=lambda f: int(f.stem)%2, splitter=IndexSplitter([0]),
                          item_tfms=[tfm, Resize(24)])
        dl = block.dataloaders(files, bs=11, num_workers=0, device=torch.device('cpu')).train
        return next(iter(dl.new(shuffle=False, get_idxs=lambda: order)))[0]
    order = [4, 0, 9, 7, 2, 1, 3, 5, 6, 8, 10]
    mixed,plain = first(order), first(list(range(11)))
    assert torch.equal(mixed, plain[order])


# Replay

def bytes_of(image): return np.asarray(image).tobytes()


@pytest.mark.parametrize('num_workers', [0, 2])
@pytest.mark.parametrize('tfms', [[A.HorizontalFlip(), A.Affine(rotate=(-30,30))], [A.HorizontalFlip(), A.GaussNoise()]],
                         ids=['a batch at a time', 'one by one'])
def test_every_image_of_an_epoch_is_made_again(files, num_workers, tfms):
    from fastai.vision.augment import Resize
    tfm = AlbumentationsTransform(tfms, seed=5, order=2)
    dl = loaders(files, num_workers, [Resize(20), tfm]).train
    coming = [batch_keys(tfm, dl, b, epoch=1) for b in range(len(dl))]
    epochs(dl, 1)
    got = [(x*255).round().permute(0,2,3,1).numpy().astype(np.uint8) for x,_ in dl]
    n_fired = 0
    for b,batch in enumerate(got):
        assert batch_keys(tfm, dl, b) == coming[b]
        for key,image in zip(coming[b], batch):
            sample = Resize(20)(dl.create_item(key['item']), split_idx=0)
            text = record(tfm, sample, **key)
            again,_ = replay(text, sample)
            assert bytes_of(again) == image.tobytes()
            fired = json.loads(text)['fired']
            n_fired += len(fired)
            if not fired: assert bytes_of(sample[0]) == image.tobytes()
    assert 20 < n_fired < 60 # two transforms with p=.5 for each of 40 images


def test_replay_of_an_array_loader_with_an_item_that_comes_twice():
    from cifar9.loaders import cifar_dls
    data = make_shapes10(100, 10)
    tfm = AlbumentationsTransform([A.HorizontalFlip(), A.RandomRotate90()], seed=0)
    dl = cifar_dls(data, bs=32, tfms=tfm, stats=((0,0,0), (1,1,1))).train.new(get_idxs=lambda: [3,4]*16, shuffle=False, n=32)
    x = (next(iter(dl))[0].cpu()*255).round().permute(0,2,3,1).numpy().astype(np.uint8)
    for key,image in zip(batch_keys(tfm, dl, 0), x):
        sample = dl.create_item(key['item'])
        assert bytes_of(replay(record(tfm, sample, **key), sample)[0]) == image.tobytes()
    assert len({image.tobytes() for image in x}) > 8


def test_replay_of_masks_boxes_and_points():
    tfm = AlbumentationsTransform([*geometric, A.GaussNoise()], seed=3)
    image,mask,box,point = drawn(1)
    from fastai.vision.core import PILMask, TensorBBox, TensorPoint
    sample = PILImage.create(image), PILMask.create(mask), TensorBBox(np.float32(box)), TensorPoint(np.float32(point))
    tfm.seek(4, 2)
    want = tfm(sample, split_idx=0)
    for got,o in zip(replay(record(tfm, sample, 4, 2), sample), want): assert bytes_of(got) == bytes_of(o)


# Defects that were found in use

def one_image(): return make_shapes10(1, 1, size=24).images[0]


def test_a_third_split_is_not_trained_on(files):
    from fastai.data.core import Datasets
    from fastai.data.transforms import ToTensor
    sets = Datasets(files, [[PILImage.create], [lambda f: int(f.stem)%2]], splits=[[0,1,2,3], [4,5], [6,7]])
    tfms = [AlbumentationsTransform([A.InvertImg(p=1)]), ToTensor()]
    dls = sets.dataloaders(bs=2, num_workers=0, after_item=tfms, device=torch.device('cpu'))
    for i,file in ((1,files[4]), (2,files[6])):
        x,_ = next(iter(dls[i]))
        assert np.array_equal(x[0].permute(1,2,0).numpy(), np.asarray(Image.open(file)))


def test_a_sample_of_ten_images():
    many = tuple(PILImage.create(one_image()) for _ in range(10))
    for img in AlbumentationsTransform([A.HorizontalFlip(p=1)])(many): assert np.array_equal(np.asarray(img), one_image()[:,::-1])


def test_a_pair_of_images_in_a_tuple():
    from fastai.torch_core import TensorCategory
    class ImageTuple(tuple): pass
    images = ImageTuple([PILImage.create(one_image()), PILImage.create(255-one_image())])
    pair,label = AlbumentationsTransform([A.RandomCrop(8, 8)])((images, TensorCategory(1)))
    assert type(pair) is ImageTuple and label == 1
    assert np.array_equal(np.asarray(pair[0]), 255-np.asarray(pair[1]))


def test_clones_do_not_disturb_an_epoch(files, no_workers):
    dl = loaders(files, 0).train
    seen = []
    for i,(x,_) in enumerate(dl):
        seen.append(x)
        if i == 0: next(iter(dl.new()))
    assert torch.equal(torch.cat(seen), no_workers[0])


def test_a_channel_selection_is_kept_as_text():
    tfm = AlbumentationsTransform([A.SelectiveChannelTransform([A.InvertImg(p=1)], channels=(2,), p=1)])
    loaded = AlbumentationsTransform.from_dict(tfm.to_dict())
    assert np.array_equal(loaded(one_image()), tfm(one_image()))
    assert np.array_equal(loaded(one_image())[...,0], one_image()[...,0])


def test_what_follows_a_normalizing_pipeline(files):
    from fastai.vision.augment import Resize
    tfm = AlbumentationsTransform([A.Normalize()], valid=[A.Normalize()])
    block = DataBlock((ImageBlock, CategoryBlock), get_y=lambda f: int(f.stem)%2, item_tfms=[tfm, Resize(16)])
    with pytest.raises(ValueError, match='Resize after it'): block.dataloaders(files, bs=8, num_workers=0).one_batch()


@pytest.mark.parametrize('train,valid', [
    ([A.Normalize()], None), ([A.HorizontalFlip()], [A.Normalize()]), ([A.Normalize()], [A.Normalize(mean=(.5,.5,.5))]),
    ([A.Normalize(p=.5)], [A.Normalize(p=.5)])])
def test_both_must_normalize_alike(train, valid):
    with pytest.raises(ValueError, match='ormalize'): AlbumentationsTransform(train, valid)


def test_float_and_back_is_no_normalizing(): AlbumentationsTransform([A.ToFloat(max_value=255), A.FromFloat(dtype='uint8')])


@pytest.mark.parametrize('tfms', [
    [A.RandomRotate90()], [A.Transpose(), A.HorizontalFlip(p=1), A.Affine(rotate=(5,5), p=1)],
    [A.PadIfNeeded(30, 40), A.RandomRotate90()]], ids=str)
def test_batches_of_images_that_are_not_square(tmp_path, tfms):
    from fastai.vision.augment import Resize
    for i in range(9): Image.fromarray(one_image()[:16]).save(tmp_path/f'{i}.png')
    block = DataBlock((ImageBlock, CategoryBlock), get_y=lambda f: int(f.stem)%2, splitter=IndexSplitter([0]),
                      item_tfms=[AlbumentationsTransform(tfms), Resize(16)])
    dls = block.dataloaders(sorted(tmp_path.glob('*.png')), bs=8, num_workers=0, device=torch.device('cpu'))
    assert dls.train.one_batch()[0].shape == (8,3,16,16)


def test_something_after_normalize_goes_one_by_one():
    tfm = AlbumentationsTransform([A.Normalize(), A.Blur(p=1)], valid=[A.Normalize()])
    assert 'follows it' in repr(tfm) and tfm.augment_arrays(one_image()[None], [0], 0, 0).dtype == np.float32


def test_mask_dropout_gets_its_mask():
    block = DataBlock((ImageBlock, MaskBlock), getters=[lambda i: drawn(i)[0], lambda i: drawn(i)[1]], splitter=IndexSplitter([0]),
                      item_tfms=AlbumentationsTransform([A.MaskDropout(p=1)]))
    assert len(block.dataloaders(range(9), bs=4, num_workers=0).train.one_batch()) == 2


def test_samples_that_are_no_tuple(files):
    from fastai.data.core import TfmdLists
    from fastai.data.transforms import ToTensor
    tls = TfmdLists(files, PILImage.create, splits=[range(8,48), range(8)])
    dls = tls.dataloaders(after_item=[AlbumentationsTransform([A.HorizontalFlip()]), ToTensor()], bs=4, num_workers=0)
    assert next(iter(dls.valid)).shape == next(iter(dls.train)).shape == (4,3,24,24)


def test_labels_must_fit_their_boxes():
    from fastai.vision.core import TensorBBox
    img,boxes = PILImage.create(one_image()),TensorBBox([[0.,0,5,5], [2,2,9,9]])
    with pytest.raises(ValueError, match='2 boxes and 3 labels'): AlbumentationsTransform([A.HorizontalFlip()])((img, boxes, ['a','b','c']))
    with pytest.raises(ValueError, match="needs 'bboxes'"): AlbumentationsTransform([A.RandomSizedBBoxSafeCrop(8, 8)])(img)


def several_sizes(): AlbumentationsTransform([A.RandomScale((.3,.9), p=1)]).augment_arrays(np.zeros((9,32,32,3), np.uint8), range(9), 0, 0)


@pytest.mark.parametrize('make,words', [
    (lambda: AlbumentationsTransform([A.HorizontalFlip()], seed=1.5), 'seed is 1.5, expected an integer'),
    (lambda: AlbumentationsTransform([A.HorizontalFlip()], seed=-1), 'seed is -1'),
    (lambda: AlbumentationsTransform([A.HorizontalFlip]), 'expected an Albumentations transform'),
    (lambda: AlbumentationsTransform.from_dict(A.to_dict(A.HorizontalFlip())), 'd has no order, seed'),
    (several_sizes, 'several sizes'),
    (lambda: AlbumentationsTransform([A.HorizontalFlip()])(torch.zeros(2,3,8,8).as_subclass(TensorImage)), 'put it into item_tfms')])
def test_errors_say_what_to_do(make, words):
    with pytest.raises((ValueError, TypeError), match=words): make()


def test_the_error_for_an_unknown_argument_lists_those_that_exist():
    with pytest.raises(ValueError) as e: AlbumentationsTransform([A.GaussianBlur(mode=3)])
    assert 'border_mode' not in str(e.value) and 'blur_limit' in str(e.value)


def test_one_image_many_times_in_an_array_loader():
    from cifar9.loaders import cifar_dls
    dls = cifar_dls(make_shapes10(100, 10), bs=32, tfms=AlbumentationsTransform([A.GaussNoise(p=1)], seed=0))
    for _ in dls.train: pass
    same = dls.train.new(get_idxs=lambda: [0]*32, shuffle=False, n=32)
    assert len({x.numpy().tobytes() for x in next(iter(same))[0]}) == 32


@pytest.mark.parametrize('mode', ['RGB', 'L', 'P'])
def test_an_image_that_pil_opened_from_a_file(tmp_path, mode):
    "The result can be loaded, converted and saved"
    img = Image.fromarray(one_image()).convert(mode)
    img.save(tmp_path/'a.png')
    flipped = AlbumentationsTransform([A.HorizontalFlip(p=1)])(Image.open(tmp_path/'a.png'))
    flipped.load()
    flipped.save(tmp_path/'b.png')
    want = np.asarray(img.convert('RGB'))[:,::-1]
    for new in (flipped, Image.open(tmp_path/'b.png')): assert np.array_equal(np.asarray(new.convert('RGB')), want)


def run_python(code):
    "Run `code` in a new process in which NO_ALBUMENTATIONS_UPDATE is not set"
    env = {k:v for k,v in os.environ.items() if k != 'NO_ALBUMENTATIONS_UPDATE'}
    return subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True, env=env)


@pytest.mark.parametrize('module,version', [
    ('targets','2.0.14'), ('augment','2.0.14'), ('augment','2.1.0'), ('augment','1.4.24'), ('augment','unknown')])
def test_another_version_of_albumentations_is_refused(module, version):
    "AlbumentationsX has the same import name, and its versions begin with 2.0.9; the faked module has a version and nothing else"
    fake = f'import sys, types; sys.modules["albumentations"] = types.SimpleNamespace(__version__="{version}")'
    done = run_python(f'{fake}; import cifar9.{module}')
    error = done.stderr.strip().splitlines()[-1]
    assert error.startswith(f'ImportError: albumentations has version {version}, expected 2.0.8'), done.stderr
    assert error.endswith('pip install albumentations==2.0.8')


@pytest.mark.parametrize('module', ['targets', 'augment', 'vectorized'])
def test_no_import_asks_the_network_for_a_newer_albumentations(module):
    watch = 'import sys; sys.addaudithook(lambda event, args: event == "urllib.Request" and print(args))'
    done = run_python(f'{watch}; import cifar9.{module}')
    assert (done.returncode, done.stdout) == (0, ''), done.stderr


# Transforms of one's own as text

class Darken(A.ImageOnlyTransform):
    "Changes its argument before it keeps it"
    def __init__(self, percent=20, p=1):
        super().__init__(p=p)
        self.percent = percent/100
    def apply(self, img, **params): return (img*(1-self.percent)).astype(np.uint8)


class Private(A.ImageOnlyTransform):
    "Keeps its argument by another name"
    def __init__(self, strength=.5, p=1):
        super().__init__(p=p)
        self._s = strength
    def apply(self, img, **params): return (img*self._s).astype(np.uint8)


class Public(A.ImageOnlyTransform):
    "Keeps its arguments, and what follows from them"
    def __init__(self, strengths=(.5,.6), p=1):
        super().__init__(p=p)
        self.strengths,self._table = strengths,np.arange(256)*strengths[0]
    def apply(self, img, **params): return self._table[img].astype(np.uint8)


@pytest.mark.parametrize('t', [Darken(40), Private(.2)], ids=lambda t: type(t).__name__)
def test_a_transform_that_changes_its_arguments_is_not_replayed_wrongly(t):
    tfm,sample = AlbumentationsTransform([t], seed=1),(PILImage.create(one_image()),0)
    with pytest.raises(ValueError, match='when it is made again.*each kept unchanged in an attribute of its name'): tfm.to_dict()
    text = record(tfm, sample, 0, 0)
    with pytest.raises(ValueError, match='pass the AlbumentationsTransform as tfm'): replay(text, sample)
    want = tfm.augment_items([sample], [0], 0, 0, [0])[0]
    assert bytes_of(replay(text, sample, tfm)[0]) == bytes_of(want[0])


@pytest.mark.parametrize('t', [Public((.2,.3)), Darken(0)], ids=lambda t: type(t).__name__)
def test_a_transform_that_keeps_its_arguments_is_replayed(t):
    tfm,sample = AlbumentationsTransform([t], seed=1),(PILImage.create(one_image()),0)
    want = tfm.augment_items([sample], [0], 0, 0, [0])[0]
    assert bytes_of(replay(record(tfm, sample, 0, 0), sample)[0]) == bytes_of(want[0])
