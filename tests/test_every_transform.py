"Every public transform of Albumentations by `AlbumentationsTransform` and by a direct call: the same pixels, masks, boxes and points"
import inspect
import json
import pickle
from copy import deepcopy
from itertools import combinations
from pathlib import Path
from typing import Literal, get_args, get_origin

import albumentations as A, cv2, matplotlib, numpy as np, pytest, torch
from albumentations.core.transforms_interface import BasicTransform, Transform3D
from albumentations.core.type_definitions import Targets
from fastai.torch_core import TensorMultiCategory
from fastai.vision.core import PILImage, PILMask, TensorBBox, TensorPoint
from PIL import Image, ImageDraw

from cifar9.augment import AlbumentationsTransform
from cifar9.datasets import make_shapes10
from cifar9.keyed import CounterRandom

pytestmark = pytest.mark.filterwarnings('ignore')
images = make_shapes10(4, 1, size=64, seed=9).images
image,other = images[0],images[1]
mask = (image.astype(int).sum(-1) > 380).astype(np.uint8)
boxes,labels = np.array([[4,6,30,40], [33,20,60,58]], np.float32), [7,2]
points = np.array([[10,12], [50,41], [31,60]], np.float32)
loses_points = 'PiecewiseAffine','ThinPlateSpline','Mosaic' # outside the middle of the image
font = str(Path(matplotlib.get_data_path())/'fonts'/'ttf'/'DejaVuSans.ttf')
size = dict(height=48, width=40)
needs_boxes = 'RandomSizedBBoxSafeCrop','AtLeastOneBBoxRandomCrop','BBoxSafeRandomCrop'
required = { # arguments without a default
    'AtLeastOneBBoxRandomCrop':size,
    'CenterCrop':size,
    'Crop':dict(x_max=40, y_max=48),
    'CropAndPad':dict(px=(1,-2,3,4)),
    'CropNonEmptyMaskIfExists':size,
    'GridElasticDeform':dict(num_grid_xy=(4,4), magnitude=5),
    'LongestMaxSize':dict(max_size=80),
    'RandomCrop':size,
    'RandomResizedCrop':dict(size=(48,40)),
    'RandomSizedBBoxSafeCrop':size,
    'RandomSizedCrop':dict(min_max_height=(30,50), size=(48,40)),
    'Resize':size,
    'SmallestMaxSize':dict(max_size=80),
    'TextImage':dict(font_path=font)}
extra = { # arguments of a call beside the sample
    'FDA':dict(fda_metadata=[other]),
    'HistogramMatching':dict(hm_metadata=[other]),
    'Mosaic':dict(mosaic_metadata=[dict(image=img) for img in images[1:]]),
    'OverlayElements':dict(overlay_metadata=[dict(image=other[:20,:20], bbox=[.1,.1,.4,.4])]),
    'PixelDistributionAdaptation':dict(pda_metadata=[other]),
    'RandomCropNearBBox':dict(cropping_bbox=[5,5,40,40]),
    'TextImage':dict(textimage_metadata=[dict(text='fox', bbox=(.1,.1,.9,.4))])}
no_uint8 = 'FromFloat','ToTensor3D'


def takes_images(name):
    cls = getattr(A, name)
    if not inspect.isclass(cls) or inspect.isabstract(cls): return False
    if not issubclass(cls, BasicTransform) or issubclass(cls, Transform3D): return False
    return name not in ('BasicTransform','DualTransform','ImageOnlyTransform','Lambda', *no_uint8)


names = [name for name in sorted(dir(A)) if takes_images(name)]
dual = [name for name in names if issubclass(getattr(A, name), A.DualTransform)]
resizing = ( # of points: see test_points_stay_on_what_they_mark
    'LongestMaxSize','RandomResizedCrop','RandomScale','RandomSizedBBoxSafeCrop','RandomSizedCrop','Resize','SmallestMaxSize')


def test_there_are_about_a_hundred(): assert len(names) >= 100, names


def made(name): return getattr(A, name)(p=1, **required.get(name, {}))


def supported(t):
    "The targets that `t` moves"
    return t._targets if isinstance(t._targets, tuple) else (t._targets,)


def box_params(): return A.BboxParams('pascal_voc', label_fields=['labels'], clip=True, filter_invalid_bboxes=True)


def direct(t, params=None, **data):
    "A plain call of Albumentations with the random numbers of item 3 in epoch 1 with seed 5"
    compose,random = A.Compose([deepcopy(t)], **(params or {})),CounterRandom(5)
    compose.set_random_state(random.numpy, random.python)
    random.seek(3, 1)
    return compose(**data)


def through_fastai(t, sample, name):
    "The same by `AlbumentationsTransform`"
    tfm = AlbumentationsTransform([t], valid=[t], seed=5, extra=extra.get(name))
    tfm.seek(3, 1)
    return tfm(sample, split_idx=0)


def as_array(o):
    if isinstance(o, Image.Image): return np.asarray(o)
    return o.permute(1,2,0).numpy() if o.ndim == 3 else o.numpy()


@pytest.mark.parametrize('name', names)
def test_pixels(name):
    t = made(name)
    data,sample,params = dict(image=image, **extra.get(name, {})), [PILImage.create(image)], {}
    if 'mask' in t.targets_as_params or name == 'CropNonEmptyMaskIfExists':
        data['mask'] = mask
        sample.append(PILMask.create(mask))
    if name in needs_boxes:
        data |= dict(bboxes=boxes, labels=labels)
        sample += [TensorBBox(boxes), TensorMultiCategory(labels)]
        params['bbox_params'] = box_params()
    want = direct(t, params, **data)['image']
    want = want.numpy().transpose(1,2,0) if isinstance(want, torch.Tensor) else want
    got = as_array(through_fastai(t, tuple(sample), name)[0])
    assert got.dtype == want.dtype and np.array_equal(got.squeeze(), want.squeeze())


@pytest.mark.parametrize('name', dual)
def test_masks_boxes_and_points(name):
    t = made(name)
    data,sample,params = dict(image=image, **extra.get(name, {})), [PILImage.create(image)], {}
    if Targets.MASK in supported(t):
        data['mask'] = mask
        sample.append(PILMask.create(mask))
    if Targets.BBOXES in supported(t):
        data |= dict(bboxes=boxes, labels=labels)
        sample += [TensorBBox(boxes), TensorMultiCategory(labels)]
        params['bbox_params'] = box_params()
    if Targets.KEYPOINTS in supported(t) and name != 'Mosaic':
        shift = 0 if name in resizing else .5
        marked = 32 + (points-32)/4 if name in loses_points else points
        data['keypoints'] = marked-shift
        sample.append(TensorPoint(marked))
        params['keypoint_params'] = A.KeypointParams('xy', remove_invisible=False)
    want,got = direct(t, params, **data), through_fastai(t, tuple(sample), name)
    assert [type(o) for o in got] == [type(o) for o in sample]
    for o,kind in zip(got, (k for k in ('image','mask','bboxes','labels','keypoints') if k in data)):
        if kind in ('image','mask'): assert np.array_equal(np.asarray(o).squeeze(), want[kind].squeeze())
        if kind == 'bboxes': assert np.allclose(o.numpy().reshape(-1,4), np.reshape(want[kind], (-1,4)), atol=1e-4)
        if kind == 'labels': assert o.tolist() == [int(l) for l in want[kind]]
        if kind == 'keypoints': assert np.allclose(o.numpy(), np.reshape(want[kind], (-1,2))+shift, atol=1e-4)


@pytest.mark.parametrize('t', [
    A.HorizontalFlip(p=1), A.VerticalFlip(p=1), A.Transpose(p=1), A.D4(p=1), A.RandomRotate90(p=1), A.Rotate((-40,40), p=1),
    A.Affine(scale=(.7,1.3), rotate=(-30,30), translate_px=(-9,9), p=1), A.Resize(200, 120, p=1), A.LongestMaxSize(200, p=1),
    A.RandomScale((.25,.25), p=1), A.RandomCrop(70, 70, p=1), A.RandomResizedCrop((150,90), scale=(.6,1), p=1),
    A.RandomSizedCrop((70,90), (60,60), p=1), A.Pad(7, p=1), A.Perspective((.02,.05), p=1)], ids=lambda t: type(t).__name__)
def test_points_stay_on_what_they_mark(t):
    "The centre of mass of a square of 8 pixels around a point is still at the point after the transform"
    canvas = Image.new('L', (96,96))
    ImageDraw.Draw(canvas).rectangle((52,36,59,43), fill=255)           # pixels 52 to 59: the edges are 52 and 60, the centre 56
    tfm = AlbumentationsTransform([t])
    for _ in range(5):
        img,point = tfm((PILImage.create(np.stack([canvas]*3, -1)), TensorPoint([[56.,40.]])))
        light = np.asarray(img)[...,0].astype(float)
        y,x = (np.indices(light.shape)+.5).reshape(2, -1) @ light.ravel() / light.sum()
        assert abs(x-point[0,0]) < .35 and abs(y-point[0,1]) < .35, (x, y, point)


reflecting = [name for name in dual if 'border_mode' in inspect.signature(getattr(A, name)).parameters and name not in loses_points]


@pytest.mark.parametrize('name', reflecting)
def test_points_have_no_mirror_images(name):
    "With a reflected border, the points are those that a constant border gives"
    sample = PILImage.create(image),TensorPoint(points)
    results = []
    for border_mode in (cv2.BORDER_CONSTANT, cv2.BORDER_REFLECT_101):
        t = getattr(A, name)(p=1, border_mode=border_mode, **required.get(name, {}))
        results.append(through_fastai(t, sample, name)[1])
    assert torch.equal(*results) and results[0].shape == points.shape


@pytest.mark.parametrize('name', loses_points)
def test_no_point_is_lost(name):
    "Without the point that is lost, the next one would take its name"
    corners = TensorPoint([[.5,.5], [63.5,.5], [.5,63.5], [63.5,63.5]])
    tfm = AlbumentationsTransform([made(name)], seed=5, extra=extra.get(name))
    with pytest.raises(ValueError, match='of 4 points, expected all'):
        for _ in range(20): tfm((PILImage.create(image), corners))


@pytest.mark.parametrize('name', [n for n in names if n not in extra])
def test_to_dict_and_back(name):
    t = made(name)
    tfm = AlbumentationsTransform([t], valid=[t], seed=5)
    loaded = AlbumentationsTransform.from_dict(json.loads(json.dumps(tfm.to_dict())))
    assert loaded.to_dict() == tfm.to_dict()
    sample = PILImage.create(image), PILMask.create(mask)
    if name in needs_boxes: sample = sample[0], TensorBBox(boxes), TensorMultiCategory(labels)
    elif name in dual and Targets.MASK not in supported(t): sample = sample[:1]
    outs = []
    for x in (tfm, loaded):
        x.seek(3, 1)
        outs.append(as_array(x(sample, split_idx=0)[0]))
    assert np.array_equal(*outs)


# Every transform in all its variants: no random number may depend on what the transform did before

together = { # arguments that are allowed only beside another one
    ('HEStain','preset'):dict(method='preset'),
    ('Downscale','interpolation_pair'):None} # a dict of two of its values


def listed_values(annotation):
    "The values that the type of an argument lists"
    if annotation is bool: return [True, False]
    if get_origin(annotation) is Literal: return list(get_args(annotation))
    return [value for part in get_args(annotation) for value in listed_values(part)]


def choices(name):
    "For each argument that lists its values, the arguments to pass: `[[{argument: value}, ...], ...]`"
    cls,found = getattr(A, name),[]
    for argument,field in cls.InitSchema.model_fields.items():
        beside = together.get((name,argument), {})
        if argument not in inspect.signature(cls).parameters or beside is None: continue
        values = listed_values(field.annotation)
        if values: found.append([{argument:value} | beside for value in values])
    return found


def single_variants(): return [(name,{}) for name in names] + [(name,v) for name in names for values in choices(name) for v in values]


def pairs_of_variants():
    return [(name, a|b) for name in names for one,other in combinations(choices(name), 2) for a in one for b in other]


def sample_for(t, name):
    "An image with all targets that `t` supports or needs"
    sample = [PILImage.create(image)]
    if Targets.MASK in supported(t) or 'mask' in t.targets_as_params: sample.append(PILMask.create(mask))
    if Targets.BBOXES in supported(t): sample += [TensorBBox(boxes), TensorMultiCategory(labels)]
    if Targets.KEYPOINTS in supported(t) and name not in loses_points: sample.append(TensorPoint(points))
    return tuple(sample)


def is_keyed(t, name):
    "Is the result of `t` for an item the same before and after another item, and in a copy that another process would get?"
    tfm = AlbumentationsTransform([t], valid=[t], seed=5, extra=extra.get(name))
    sample = sample_for(t, name)
    def result(tfm, item):
        tfm.seek(item, 1)
        return [as_array(o).tobytes() if isinstance(o, (Image.Image,torch.Tensor)) else o for o in tfm(sample, split_idx=0)]
    first = result(tfm, 3)
    result(tfm, 4)
    return first == result(tfm, 3) == result(pickle.loads(pickle.dumps(tfm)), 3)


def check_variants(variants):
    "All `variants` are keyed, but for those that Albumentations refuses, and those that make OpenCV fail (without fastai as well)"
    keyed,refused,failed = 0,0,[]
    for name,arguments in variants:
        try: t = getattr(A, name)(p=1, **required.get(name, {}) | arguments)
        except ValueError:
            refused += 1
            continue
        try: assert is_keyed(t, name), (name, arguments)
        except cv2.error: failed.append(f'{name}({arguments})')
        else: keyed += 1
    n_transforms = len({name for name,_ in variants})
    print(f'{keyed} variants of {n_transforms} transforms are keyed, Albumentations refuses {refused}, OpenCV {len(failed)}')
    assert len(failed) < len(variants)/20, failed
    return keyed


def test_variants_of_every_transform(capsys):
    "Every eighth variant; all of them with `pytest -m sweep`"
    with capsys.disabled(): assert check_variants(single_variants()[::8]) > 75


@pytest.mark.sweep
def test_all_variants_and_pairs_of_variants(capsys):
    with capsys.disabled():
        assert check_variants(single_variants()) > 600
        assert check_variants(pairs_of_variants()) > 2000
