"`AlbumentationsTransform` at the edges: transforms and types of one's own, sizes, orders, samples that change, arguments that cannot work"
import io
import threading
import warnings
from collections import namedtuple

import albumentations as A, cv2, numpy as np, pytest, torch
from fastai.data.core import TfmdDL
from fastai.data.block import CategoryBlock, DataBlock
from fastai.data.load import DataLoader
from fastai.data.transforms import IndexSplitter, ToTensor
from fastai.torch_core import TensorCategory, TensorImage, TensorMask
from fastai.vision.augment import Resize
from fastai.vision.core import PILImage, PILImageBW, PILMask, TensorBBox, TensorPoint, image2tensor
from fastai.vision.data import ImageBlock
from fastcore.foundation import L
from PIL import Image
from fasttransform import Pipeline
from plum import Function

from cifar9.augment import AlbumentationsTransform
from cifar9.datasets import make_shapes10
from cifar9.loaders import NormalizedImage
from cifar9.pipelines import pipeline_to_dict
from cifar9.targets import PILCleanImage, flatten

pytestmark = pytest.mark.filterwarnings('ignore::FutureWarning')
images = make_shapes10(24, 1, size=32).images[:24]
image = images[0]


def loaders(tfms, block=ImageBlock, bs=8, item=lambda i: images[i]):
    "fastai loaders of 16 training and 8 validation images in memory"
    block = DataBlock((block, CategoryBlock), get_x=item, get_y=lambda i: i%2, splitter=IndexSplitter(range(8)), item_tfms=tfms)
    return block.dataloaders(range(24), bs=bs, num_workers=0, device=torch.device('cpu'))


def pixels(batch): return (batch*255).round().permute(0,2,3,1).numpy().astype(np.uint8)
def sent_of(error): return str(error.value)


# D2: pixels that can be written, and a data set that stays as it is

class GridMask(A.ImageOnlyTransform):
    "Writes into the image"
    def apply(self, img, **params):
        img[:,::8] = 0
        return img


@pytest.mark.parametrize('tfms', [[GridMask(p=1)], [A.HorizontalFlip(p=.5), GridMask(p=.5)], [A.AutoContrast(p=1)]], ids=str)
@pytest.mark.parametrize('grey', [False, True])
def test_a_transform_may_write_into_the_image(tfms, grey):
    block = ImageBlock(PILImageBW if grey else PILImage)
    dls = loaders(AlbumentationsTransform(tfms), block, item=lambda i: images[i,...,0] if grey else images[i])
    for xb,_ in dls.train: assert xb.shape[1] == (1 if grey else 3)


@pytest.mark.parametrize('cached', [image.copy(), TensorImage(torch.from_numpy(image.transpose(2,0,1).copy())), PILImage.create(image)],
                         ids=lambda o: type(o).__name__)
def test_the_data_set_in_memory_is_never_changed(cached):
    mask = TensorMask(torch.ones(32, 32, dtype=torch.uint8))
    boxes,points = TensorBBox([[4.,6,20,30]]), TensorPoint([[4.,6]])
    before = [np.array(o) for o in (cached, mask, boxes, points)]
    class WritesAll(A.DualTransform):
        def apply(self, img, **params): return self.write(img)
        def apply_to_bboxes(self, bboxes, **params): return self.write(bboxes)
        def apply_to_keypoints(self, keypoints, **params): return self.write(keypoints)
        def write(self, a):
            a[:] = a*.5
            return a
    tfm = AlbumentationsTransform([WritesAll(p=1)])
    tfm((cached, mask, boxes, points))
    tfm(cached)
    tfm.augment_items([(cached, 1)], [0], 0, 0, [0])
    if isinstance(cached, np.ndarray): tfm.augment_arrays(cached[None], [0], 0, 0)
    for o,want in zip((cached, mask, boxes, points), before): assert np.array_equal(np.array(o), want)


# D4: the order of a pipeline and of fastai's Resize

crops = A.OneOf([A.RandomCrop(20, 20), A.CenterCrop(20, 20)], p=1)
letterbox = A.Sequential([A.LongestMaxSize(20), A.PadIfNeeded(20, 20)], p=1)

@pytest.mark.parametrize('tfm', [
    A.CenterCrop(20, 20), A.RandomResizedCrop((20,20)), A.Resize(20, 20), A.Crop(0, 0, 20, 20), crops, letterbox], ids=str)
def test_a_resize_after_a_pipeline_that_fixes_the_size_warns(tfm):
    with pytest.warns(UserWarning, match='train makes images of 20x20 pixels, and Resize after it makes them 24x24.*order=2'):
        x,_ = loaders([Resize(24), AlbumentationsTransform([tfm], valid=[tfm])]).one_batch()
    assert x.shape[2:] == (24,24)


@pytest.mark.parametrize('tfm,order,side', [
    (A.RandomCrop(20, 20), 2, 20), (A.RandomCrop(20, 20), 0, 24), (A.RandomCrop(24, 24), None, 24), (A.RandomCrop(20, 20, p=.5), None, 24),
    (A.HorizontalFlip(), None, 24)])
def test_no_warning_where_the_order_is_chosen_or_makes_no_difference(tfm, order, side):
    with warnings.catch_warnings():
        warnings.simplefilter('error', UserWarning)
        x,_ = loaders([Resize(24), AlbumentationsTransform([tfm], valid=[tfm], order=order)]).one_batch()
    assert x.shape[2:] == (side,side)


# D5: a conversion of one's own

class TensorInverse(TensorImage): pass


class PILInverse(PILImage): _tensor_cls = TensorInverse


@pytest.fixture
def own_conversion(monkeypatch):
    "Registered as by `@ToTensor`, but for one test only"
    def encodes(self, o:PILInverse): return TensorInverse(255-image2tensor(o))
    conversions = Function(encodes)
    for f in (encodes, *(method.implementation for method in ToTensor.encodes.methods)): conversions.dispatch(f)
    monkeypatch.setattr(ToTensor, 'encodes', conversions)


@pytest.mark.parametrize('vectorized', [None, False])
def test_training_and_validation_get_the_same_conversion(own_conversion, vectorized):
    dls = loaders(AlbumentationsTransform([A.HorizontalFlip(p=0)], vectorized=vectorized), ImageBlock(PILInverse))
    for dl in dls.loaders:
        for x,_ in dl.new(shuffle=False): assert set(map(bytes, pixels(x))) <= set(map(bytes, 255-images))


def test_a_subclass_of_totensor_is_called():
    class HalfTensor(ToTensor):
        def encodes(self, o:PILImage): return TensorImage(image2tensor(o)//2)
    block = DataBlock((ImageBlock, CategoryBlock), get_x=lambda i: images[i], get_y=lambda i: i%2, splitter=IndexSplitter(range(8)))
    sets = block.datasets(range(24))
    tfms = [AlbumentationsTransform([A.HorizontalFlip(p=0)]), HalfTensor()]
    for dl in sets.dataloaders(bs=8, after_item=tfms, num_workers=0, device=torch.device('cpu')).loaders:
        for x,_ in dl: assert x.max() < 128


# D7: float pixels by mistake, and normalizers that run on some images only

class Noise(A.ImageOnlyTransform):
    "Forgets `.astype(np.uint8)`"
    def apply(self, img, **params): return np.clip(img + self.random_generator.normal(0, 5, img.shape), 0, 255).astype(np.float32)


@pytest.mark.parametrize('make', [
    lambda t: loaders(t).one_batch(), lambda t: t.augment_arrays(images[:2], [0,1], 0, 0), lambda t: t(PILImage.create(image)),
    lambda t: t((PILImage.create(image), PILMask.create(image[...,0])))])
def test_float_pixels_by_mistake(make):
    words = r'float32 pixels from .* of a uint8 image, expected uint8; end your own transform with .astype\(np.uint8\)'
    with pytest.raises(TypeError, match=words):
        make(AlbumentationsTransform([Noise(p=1)]))


def test_float_pixels_on_purpose():
    tfms = [A.ToFloat(max_value=255), Noise(p=0)]
    assert type(AlbumentationsTransform(tfms, valid=tfms)(PILImage.create(image))) is NormalizedImage
    floats = image.astype(np.float32)/255
    assert AlbumentationsTransform([A.HorizontalFlip(p=1)])(floats).dtype == np.float32


@pytest.mark.parametrize('t', [A.Sequential([A.Normalize()]), A.Compose([A.Normalize()], p=.5), A.OneOf([A.Normalize(), A.ToFloat()], p=1),
                               A.SomeOf([A.Normalize(), A.Blur()], n=1)], ids=lambda t: type(t).__name__)
def test_all_images_are_normalized(t):
    with pytest.raises(ValueError, match='does not run on every image'): AlbumentationsTransform([t], valid=[t])


# D11: two transforms in one list

def test_two_transforms_in_a_datablock():
    before,after = AlbumentationsTransform([A.InvertImg(p=1)]),AlbumentationsTransform([A.HorizontalFlip(p=1)], order=2)
    dls = loaders([before, Resize(32), after])
    assert [t for t in dls.train.after_item.fs if isinstance(t, AlbumentationsTransform)] == [before,after]
    x,_ = dls.train.new(shuffle=False).one_batch()
    assert np.array_equal(pixels(x), 255-images[8:16,:,::-1])


def test_a_transform_of_a_subclass_can_be_pickled():
    import pickle
    tfm = pickle.loads(pickle.dumps(OwnTransform([A.HorizontalFlip(p=1)], seed=3)))
    assert isinstance(tfm, OwnTransform) and tfm.seed == 3 and type(tfm).__name__ == 'OwnTransform'
    assert np.array_equal(tfm(image), image[:,::-1])


class OwnTransform(AlbumentationsTransform): pass


# D12, D13, D23, D25: transforms of one's own and unusual ones

@pytest.mark.parametrize('wrap', [lambda t: t, lambda t: [t]], ids=['alone','nested'])
def test_replay_compose(wrap):
    tfm = AlbumentationsTransform(wrap(A.ReplayCompose([A.HorizontalFlip(p=1), A.GaussNoise(p=1)])), seed=1)
    assert tfm(image).shape == image.shape
    again = AlbumentationsTransform.from_dict(tfm.to_dict())
    for t in (tfm, again): t.seek(1, 1)
    assert np.array_equal(tfm(image), again(image))


class OwnFlip(A.DualTransform):
    "Declares no targets; moves images, masks and boxes"
    def apply(self, img, **params): return np.ascontiguousarray(img[:,::-1])
    def apply_to_bboxes(self, bboxes, **params):
        bboxes[:,[0,2]] = 1-bboxes[:,[2,0]]
        return bboxes


def test_an_own_dual_transform():
    sample = PILImage.create(image), PILMask.create(image[...,0]), TensorBBox([[4.,6,20,30]])
    img,mask,box = AlbumentationsTransform([OwnFlip(p=1)])(sample)
    assert np.array_equal(np.array(img), image[:,::-1]) and np.array_equal(np.array(mask), image[:,::-1,0])
    assert torch.allclose(box.as_subclass(torch.Tensor), torch.tensor([[12.,6,28,30]]))
    with pytest.raises(ValueError, match='OwnFlip in train does not support keypoints'):
        AlbumentationsTransform([OwnFlip(p=1)])((PILImage.create(image), TensorPoint([[1.,2]])))


def test_what_cannot_be_copied_or_is_no_image_transform():
    locked = OwnFlip()
    locked.lock = threading.Lock()
    with pytest.raises(TypeError, match='train contains an object that cannot be copied'): AlbumentationsTransform([locked])
    with pytest.raises(TypeError, match='for volumes'): AlbumentationsTransform([A.RandomCrop3D((2,8,8))])
    with pytest.raises(ValueError, match='leave ToTensorV2 out'): AlbumentationsTransform([A.ToTensorV2(), A.HorizontalFlip()])
    nothing = AlbumentationsTransform([A.Lambda(image=lambda img, **k: None)])
    with pytest.raises(TypeError, match='returned None for an image'): nothing(image)


# D15, D16, E1, E5: several images, arrays that are none, images that are targets

def test_images_of_several_sizes_in_one_sample():
    with pytest.raises(ValueError, match='have 16x16 and 32x32 pixels, expected one size; pass order=2.*plain tensor'):
        AlbumentationsTransform([A.HorizontalFlip()])((PILImage.create(image), PILImage.create(image[::2,::2])))
    pair = PILImage.create(image), np.eye(3, 4) # a pose
    with pytest.raises(ValueError, match='3x4 and 32x32'): AlbumentationsTransform([A.HorizontalFlip()])(pair)
    unchecked = A.Compose([A.RandomBrightnessContrast()], is_check_shapes=False)
    assert len(AlbumentationsTransform(unchecked)((PILImage.create(image), PILImage.create(image[::2,::2])))) == 2


def test_heat_maps_and_matrices():
    heat,pose = torch.rand(32, 32), torch.rand(3, 4)
    bright = [A.HorizontalFlip(p=1), A.RandomBrightnessContrast((.3,.3), p=1), A.GaussNoise(p=1)]
    _,moved,same = AlbumentationsTransform(bright)((PILImage.create(image), TensorMask(heat), pose))
    assert torch.equal(moved.as_subclass(torch.Tensor), heat.flip(1)) and same is pose


@pytest.mark.parametrize('t', [
    A.GaussNoise(p=1), A.Blur(p=1), A.RandomBrightnessContrast((.3,.3), p=1), A.CoarseDropout(p=1), A.PixelDropout(p=1), A.GridDropout(p=1),
    A.XYMasking(num_masks_x=(2,2), mask_x_length=(5,5), p=1), A.ImageCompression(quality_range=(5,5), p=1)], ids=lambda t: type(t).__name__)
def test_a_clean_image_only_moves(t):
    move = A.Affine(rotate=(20,20), scale=(.8,.8), p=1)
    sample = PILImage.create(image), PILCleanImage.create(image)
    noisy,clean = AlbumentationsTransform([move, t])(sample)
    moved,_ = AlbumentationsTransform([move])(sample)
    assert type(clean) is PILCleanImage and np.array_equal(np.array(clean), np.array(moved)) # interpolated like the image
    assert not np.array_equal(np.array(noisy), np.array(moved))


def test_image_to_image_in_a_datablock():
    block = DataBlock((ImageBlock, ImageBlock(PILCleanImage)), splitter=IndexSplitter(range(8)), getters=[lambda i: images[i]]*2,
                      item_tfms=AlbumentationsTransform([A.HorizontalFlip(p=1), A.GaussNoise(p=1)]))
    x,y = block.dataloaders(range(24), bs=8, num_workers=0, device=torch.device('cpu')).train.new(shuffle=False).one_batch()
    assert np.array_equal(pixels(y), images[8:16,:,::-1]) and not np.array_equal(pixels(x), pixels(y))


def test_a_grey_image_to_colour():
    sample = PILImageBW.create(image[...,0]), PILCleanImage.create(image)
    grey,colour = AlbumentationsTransform([A.HorizontalFlip(p=1), A.GaussNoise(p=1)])(sample)
    assert grey.mode == 'L' and np.array_equal(np.array(colour), image[:,::-1])


# D17, D19: types of images and samples

@pytest.mark.parametrize('suffix', ['png','jpeg','bmp','gif'])
def test_an_image_that_pil_opened(suffix):
    file = io.BytesIO()
    Image.fromarray(image).save(file, format=suffix)
    assert AlbumentationsTransform([A.HorizontalFlip(p=1)])(Image.open(file)).resize((8,8)).size == (8,8)


Named = namedtuple('Named', 'x y')


def test_a_named_tuple():
    tfm = AlbumentationsTransform([A.HorizontalFlip(p=1)])
    for new in (tfm(Named(PILImage.create(image), 1)), *tfm.augment_items([Named(PILImage.create(image), 1)], [0], 0, 0, [0])):
        assert type(new) is Named and new.y == 1 and np.array_equal(np.array(new.x), image[:,::-1])
    assert tfm.decode(new) == new
    pair = tfm(Named((PILImage.create(image), PILImage.create(image)), TensorCategory(1)))
    assert type(pair) is Named and type(pair.x) is tuple


# D24: four channels

def test_normalize_three_means_for_four_channels():
    rgba = np.dstack([image, image[...,0]])
    want = A.Compose([A.Normalize()])(image=rgba)['image']
    tfm = AlbumentationsTransform([A.Normalize()], valid=[A.Normalize()])
    assert np.allclose(tfm.augment_arrays(rgba[None], [0], 0, 0)[0], want)


# E2, E3, E4, E6: errors at the right time that name the cure

normal = [A.Normalize()]


@pytest.mark.parametrize('make,words', [
    (lambda: loaders([Resize(20), AlbumentationsTransform(normal, valid=normal)]).one_batch(), 'pass order=2 to run after'),
    (lambda: loaders(AlbumentationsTransform([A.HorizontalFlip()], valid=[A.CenterCrop(64, 64)])), 'Crop size'),
    (lambda: AlbumentationsTransform([A.BBoxSafeRandomCrop()])(PILImage.create(image)), 'add a TensorBBox to them'),
    (lambda: AlbumentationsTransform([A.HorizontalFlip()], extra=[1]), r'extra is \[1\], expected a dict'),
    (lambda: AlbumentationsTransform([A.HorizontalFlip()], extra=dict(a=1)), "extra contains 'a', expected what the trans"),
    (lambda: AlbumentationsTransform([A.HorizontalFlip()], order='2'), "order is '2', expected an integer"),
    (lambda: AlbumentationsTransform([A.HorizontalFlip()], vectorized='yes'), "vectorized is 'yes', expected None, True or False"),
    (lambda: AlbumentationsTransform([A.HorizontalFlip()], seed=True), 'seed is True, expected an integer')])
def test_errors_name_the_cure(make, words):
    with pytest.raises(Exception, match=words): make()


def test_valid_after_resize_is_tried_after_resize():
    "A crop that is larger than the file, but not larger than the resized image"
    dls = loaders([Resize(48), AlbumentationsTransform([A.RandomCrop(40, 40)], valid=[A.CenterCrop(40, 40)], order=2)])
    assert dls.valid.one_batch()[0].shape[2:] == (40,40)


def test_old_exports_still_load():
    "A transform that was pickled before these attributes existed"
    tfm = AlbumentationsTransform([A.HorizontalFlip(p=1)], seed=1)
    state = {k:v for k,v in tfm.__getstate__().items() if k != 'order_is_given'}
    old = AlbumentationsTransform.__new__(AlbumentationsTransform)
    old.__setstate__(state)
    assert np.array_equal(old(image), image[:,::-1]) and pipeline_to_dict(old.train) == pipeline_to_dict(tfm.train)
    assert old.order_is_given # so it does not warn


# Float images whose pixels a colour transform would clip, in training only

colour = [A.HorizontalFlip(), A.RandomBrightnessContrast(p=1)]
scan = np.linspace(0, 4000, 1024, dtype=np.float32).reshape(32,32)


def pil_float(a):
    class PILFloat(PILImage): _open_args = {'mode':'F'}
    img = Image.fromarray(a)
    img.__class__ = PILFloat
    return img


@pytest.mark.parametrize('part', [pil_float(scan), TensorImage(torch.randn(3, 32, 32)), scan/400], ids=['mode F','standardized','array'])
def test_float_pixels_outside_0_to_1_are_refused_by_transforms_that_clip_them(part):
    for sample in ((part, 1), (PILImage.create(image), part)):
        with pytest.raises(ValueError, match='which RandomBrightnessContrast in train would clip, expected 0 to 1.*a TensorMask'):
            AlbumentationsTransform(colour, seed=1).augment_items([sample], [0], 0, 0, [0])
        for tfms in ([A.HorizontalFlip(p=1)], [A.Normalize(max_pixel_value=4000)]):
            AlbumentationsTransform(tfms, valid=tfms[:1]).augment_items([sample], [0], 0, 0, [0])


def test_a_map_that_is_no_image_keeps_its_values():
    depth = TensorMask(torch.from_numpy(scan/400))
    img,new = AlbumentationsTransform(colour, seed=1)((PILImage.create(image), depth))
    assert torch.equal(new.sort().values, depth.sort().values)


def test_float_pixels_that_resizing_led_a_little_outside_are_taken():
    AlbumentationsTransform(colour)(scan/4000*1.1 - .05)


def test_integers_that_no_colour_transform_takes():
    with pytest.raises(TypeError, match='int32 pixels, which RandomBrightnessContrast in train does not take'):
        AlbumentationsTransform(colour)(Image.fromarray(scan.astype(np.int32)))


def test_normalized_pixels_are_not_clipped_either():
    with pytest.raises(ValueError, match='RandomBrightnessContrast follows A.Normalize and would clip'):
        AlbumentationsTransform([A.Normalize(), *colour], valid=[A.Normalize()])


# Targets in lists and dicts, and parts that look like targets

flip = [A.HorizontalFlip(p=1)]
codes = TensorMask(torch.from_numpy((image[...,0] > 99).astype(np.int64)))
three_boxes = TensorBBox([[2.,3,20,20], [22,22,30,30], [25,5,30,9]])


class Items:
    "A data set whose items are all the same"
    def __init__(self, *parts): self.parts = parts
    def __len__(self): return 6
    def __getitem__(self, i): return PILImage.create(image), *self.parts


def first(tfms, *parts):
    dl = TfmdDL(Items(*parts), bs=1, num_workers=0, after_item=[AlbumentationsTransform(tfms, seed=1), ToTensor()], shuffle=True)
    return next(iter(dl))


@pytest.mark.parametrize('group', [lambda o: dict(target=o), lambda o: [o], lambda o: L([o]), lambda o: [dict(target=(o,))]],
                         ids=['dict','list','L','nested'])
@pytest.mark.parametrize('target', [codes, TensorPoint([[2.5,3.5]]), three_boxes], ids=lambda o: type(o).__name__)
def test_targets_in_lists_and_dicts_move_with_the_image(group, target):
    img,new = AlbumentationsTransform(flip)((PILImage.create(image), group(target)))
    assert np.array_equal(np.asarray(img), image[:,::-1]) and type(new) is type(group(target))
    _,want = AlbumentationsTransform(flip)((PILImage.create(image), target))
    assert torch.equal(flatten(new)[0], want) and not torch.equal(want, target)


def test_a_sample_may_be_a_list_or_a_dict():
    for sample in ([PILImage.create(image), codes], dict(image=PILImage.create(image), mask=codes)):
        new = AlbumentationsTransform(flip)(sample)
        assert type(new) is type(sample) and torch.equal(flatten(new)[1], codes.flip(-1))


def test_boxes_and_their_labels_in_a_dict():
    _,new = AlbumentationsTransform([A.Crop(0, 0, 21, 21)])((PILImage.create(image), dict(boxes=three_boxes, labels=torch.tensor([1,2,3]))))
    assert list(new) == ['boxes','labels'] and new['labels'].tolist() == [1] and len(new['boxes']) == 1


@pytest.mark.parametrize('tfms,warns', [(flip, True), ([A.GaussNoise(p=1)], False)], ids=['moves','does not move'])
def test_a_plain_tensor_as_large_as_the_image_gives_a_warning(tfms, warns):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        first(tfms, codes.as_subclass(torch.Tensor))
    assert any('a Tensor of shape (32, 32) is as large as its image' in str(w.message) for w in caught) is warns


@pytest.mark.parametrize('target', [TensorBBox([[-.5,-.2,.3,1]]), TensorPoint([[.2,.4]])], ids=lambda o: type(o).__name__)
def test_coordinates_that_are_scaled_already_are_refused(target):
    with pytest.raises(ValueError, match='has coordinates from .* expected pixels'): first(flip, target)


ids = torch.tensor([10,20,30])


@pytest.mark.parametrize('parts', [(three_boxes, ['a','b','c'], ids), (ids, three_boxes)], ids=['after the labels','before the boxes'])
def test_further_rows_of_boxes_that_were_dropped_give_a_warning(parts):
    sample = PILImage.create(image), *parts
    with pytest.warns(UserWarning, match='but a Tensor elsewhere keeps a row for each'):
        AlbumentationsTransform([A.Crop(0, 0, 21, 21)])(sample)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        AlbumentationsTransform(flip)(sample)
        AlbumentationsTransform([A.Crop(0, 0, 21, 21)])((PILImage.create(image), torch.tensor([1,0]), three_boxes, ids, 'street'))


@pytest.mark.parametrize('part,words', [
    (TensorBBox([[20.,3,2,20]]), r'a box is \[20.0, 3.0, 2.0, 20.0\], expected left, top, right, bottom'),
    (TensorBBox(torch.zeros(4, 5)), r'a TensorBBox has shape \(4, 5\), expected \(m,4\)'),
    (TensorPoint(torch.zeros(2, 3)), r'a TensorPoint has shape \(2, 3\), expected \(m,2\)'),
    (TensorMask(codes + 2**33), 'a mask has the code 858993459[23], expected less than')], ids=['corners','boxes','points','codes'])
def test_targets_that_would_be_cut_or_reshaped(part, words):
    with pytest.raises(ValueError, match=words): AlbumentationsTransform(flip)((PILImage.create(image), part))


def test_additional_targets_of_a_compose_are_refused():
    with pytest.raises(ValueError, match="additional_targets={'image1': 'mask'}, expected none"):
        AlbumentationsTransform(A.Compose([A.GaussNoise(p=1)], additional_targets={'image1':'mask'}))


@pytest.mark.parametrize('mode', ['CMYK', 'HSV', 'YCbCr', 'LAB', 'P', 'RGBA', 'RGBX', 'LA'])
def test_the_mode_of_a_pil_image_is_kept(mode):
    pixels = np.dstack([image, image[...,0]])[...,:len(Image.new(mode, (1,1)).getbands())]
    img = Image.frombytes(mode, (32,32), np.ascontiguousarray(pixels).tobytes())
    if mode == 'P': img.putpalette(list(range(256))*3)
    new = AlbumentationsTransform(flip)(img)
    assert new.mode == mode and np.array_equal(np.asarray(new), np.asarray(img)[:,::-1])


class Zoom(A.DualTransform):
    "Interpolates what it gets; has no `apply_to_mask`"
    def apply(self, img, **params): return cv2.warpAffine(img, np.float32([[1.3,0,0], [0,1.3,0]]), img.shape[1::-1])


class ZoomMask(Zoom):
    def apply_to_mask(self, mask, **params):
        return cv2.warpAffine(mask, np.float32([[1.3,0,0], [0,1.3,0]]), mask.shape[1::-1], flags=cv2.INTER_NEAREST)


def test_an_own_transform_must_not_interpolate_codes():
    mask = PILMask.create((image[...,0] > 99).astype(np.uint8)*200)
    with pytest.raises(ValueError, match='Zoom makes the code .* give Zoom a method apply_to_mask'):
        AlbumentationsTransform([Zoom(p=1)])((PILImage.create(image), mask))
    _,new = AlbumentationsTransform([ZoomMask(p=1)])((PILImage.create(image), mask))
    assert set(np.unique(new)) == {0,200}
    _,new = AlbumentationsTransform([Zoom(p=1)])((PILImage.create(image), TensorMask(torch.rand(32, 32)))) # a map may be interpolated
    assert new.dtype == torch.float32


# Random numbers of one's own

class OwnNoise(A.ImageOnlyTransform):
    def draw(self, img): return self.random_generator.normal(0, 20, img.shape)
    def apply(self, img, **params): return np.clip(img + self.draw(img), 0, 255).astype(np.uint8)


class OwnGenerator(OwnNoise):
    def __init__(self, p=.5):
        super().__init__(p=p)
        self.rng = np.random.default_rng(0)
    def draw(self, img): return self.rng.normal(0, 20, img.shape)


class Count(OwnNoise):
    n = 0
    def draw(self, img):
        self.n += 1
        return self.n


class GlobalNumpy(OwnNoise):
    def draw(self, img): return np.random.normal(0, 20, img.shape)


shared_rng = np.random.default_rng(0)
def from_shared_rng(img, **params): return np.clip(img + shared_rng.normal(0, 20, img.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize('t', [OwnGenerator(p=.05), Count(p=1), A.OneOf([OwnGenerator(p=.1), A.NoOp(p=.1)], p=.1),
                               A.Lambda(image=from_shared_rng, p=.1)], ids=lambda t: type(t).__name__)
def test_a_generator_of_its_own_is_refused_before_workers_repeat_it(t):
    with pytest.raises(ValueError, match='two different images of an item with one key.* generator of its own, which workers repeat'):
        loaders(AlbumentationsTransform([t], seed=1))


@pytest.mark.parametrize('t', [OwnNoise(p=.5), GlobalNumpy(p=.5)], ids=lambda t: type(t).__name__)
def test_generators_that_are_set_are_not_refused(t):
    loaders(AlbumentationsTransform([t, A.GaussNoise()], seed=1))


def test_the_plain_loader_of_fastai_gives_a_warning():
    dl = DataLoader(Items(1), bs=3, num_workers=0, after_item=Pipeline([AlbumentationsTransform(flip, seed=1), ToTensor()]))
    with pytest.warns(UserWarning, match='without its key.*use TfmdDL in place of DataLoader'): list(dl)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        AlbumentationsTransform(flip)(image) # by hand
