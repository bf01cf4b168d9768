"Every public transform of albumentations, through the bridge and by a direct call: the same pixels, masks, boxes and points"
import inspect, json
from copy import deepcopy
from pathlib import Path

import albumentations as A, matplotlib, numpy as np, pytest, torch
from albumentations.core.transforms_interface import BasicTransform, Transform3D
from albumentations.core.type_definitions import Targets
from fastai.torch_core import TensorMultiCategory
from fastai.vision.core import PILImage, PILMask, TensorBBox, TensorPoint
from PIL import Image, ImageDraw

from cifar9.loaders import CounterRandom

from cifar9.augment import AlbumentationsTransform
from cifar9.datasets import make_shapes10

pytestmark = pytest.mark.filterwarnings('ignore')
pictures = make_shapes10(4, 1, size=64, seed=9).images
image,other = pictures[0],pictures[1]
mask = (image.astype(int).sum(-1) > 380).astype(np.uint8)
boxes,labels,points = np.array([[4,6,30,40], [33,20,60,58]], np.float32), [7,2], np.array([[10,12], [50,41], [31,60]], np.float32)
font = str(Path(matplotlib.get_data_path())/'fonts'/'ttf'/'DejaVuSans.ttf')
size = dict(height=48, width=40)
needs = { # arguments of those that cannot do without
    'AtLeastOneBBoxRandomCrop':size, 'CenterCrop':size, 'CropNonEmptyMaskIfExists':size, 'RandomCrop':size, 'Resize':size, 'RandomSizedBBoxSafeCrop':size, 'Crop':dict(x_max=40, y_max=48),
    'CropAndPad':dict(px=(1,-2,3,4)), 'GridElasticDeform':dict(num_grid_xy=(4,4), magnitude=5), 'LongestMaxSize':dict(max_size=80), 'SmallestMaxSize':dict(max_size=80),
    'RandomResizedCrop':dict(size=(48,40)), 'RandomSizedCrop':dict(min_max_height=(30,50), size=(48,40)), 'TextImage':dict(font_path=font)}
extra = { # what some want beside the sample
    'FDA':dict(fda_metadata=[other]), 'HistogramMatching':dict(hm_metadata=[other]), 'PixelDistributionAdaptation':dict(pda_metadata=[other]), 'Mosaic':dict(mosaic_metadata=[dict(image=p) for p in pictures[1:]]),
    'OverlayElements':dict(overlay_metadata=[dict(image=other[:20,:20], bbox=[.1,.1,.4,.4])]), 'TextImage':dict(textimage_metadata=[dict(text='fox', bbox=(.1,.1,.9,.4))]), 'RandomCropNearBBox':dict(cropping_bbox=[5,5,40,40])}


def takes_images(cls): return inspect.isclass(cls) and issubclass(cls, BasicTransform) and not issubclass(cls, Transform3D) and not inspect.isabstract(cls)
names = [n for n in sorted(dir(A)) if takes_images(getattr(A, n)) and n not in ('BasicTransform','DualTransform','ImageOnlyTransform','Lambda', 'FromFloat','ToTensor3D')] # the last two do not take uint8 images
resizing = 'LongestMaxSize RandomResizedCrop RandomScale RandomSizedBBoxSafeCrop RandomSizedCrop Resize SmallestMaxSize'.split() # of points: see test_points_stay_on_what_they_mark


def test_there_are_about_a_hundred(): assert len(names) >= 100, names


def made(name): return getattr(A, name)(p=1, **needs.get(name, {}))


def direct(t, params=None, **data):
    "A plain call of Albumentations, its generators where the bridge would put them for item 3 of epoch 1 under seed 5"
    compose,r = A.Compose([deepcopy(t)], **(params or {})), CounterRandom(5)
    compose.set_random_state(r.numpy, r.python)
    r.seek(3, 1)
    return compose(**data)


def bridged(t, sample, name):
    tfm = AlbumentationsTransform([t], valid=[t], seed=5, extra=extra.get(name))
    tfm.seek(3, 1)
    return tfm(sample, split_idx=0)


def as_array(o):
    if isinstance(o, Image.Image): return np.asarray(o)
    return o.permute(1,2,0).numpy() if o.ndim == 3 else o.numpy()


@pytest.mark.parametrize('name', names)
def test_pixels(name):
    t = made(name)
    params,data,sample = {},dict(image=image, **extra.get(name, {})), (PILImage.create(image),)
    if 'mask' in t.targets_as_params or name == 'CropNonEmptyMaskIfExists': data['mask'],sample = mask,(*sample,PILMask.create(mask))
    if name in ('RandomSizedBBoxSafeCrop','AtLeastOneBBoxRandomCrop','BBoxSafeRandomCrop'):
        params,sample = dict(bbox_params=A.BboxParams('pascal_voc', label_fields=['labels'], clip=True, filter_invalid_bboxes=True)), (*sample,TensorBBox(boxes),TensorMultiCategory(labels))
        data |= dict(bboxes=boxes, labels=labels)
    want = direct(t, params, **data)['image']
    want = want.numpy().transpose(1,2,0) if isinstance(want, torch.Tensor) else want
    got = as_array(bridged(t, sample, name)[0])
    assert got.dtype == want.dtype and np.array_equal(got.squeeze(), want.squeeze())


@pytest.mark.parametrize('name', [n for n in names if issubclass(getattr(A, n), A.DualTransform)])
def test_masks_boxes_and_points(name):
    t = made(name)
    can = set(t._targets if isinstance(t._targets, tuple) else (t._targets,))
    data,sample,params = dict(image=image, **extra.get(name, {})), [PILImage.create(image)], {}
    if Targets.MASK in can: data['mask'] = mask; sample.append(PILMask.create(mask))
    if Targets.BBOXES in can:
        data |= dict(bboxes=boxes, labels=labels); sample += [TensorBBox(boxes), TensorMultiCategory(labels)]
        params['bbox_params'] = A.BboxParams('pascal_voc', label_fields=['labels'], clip=True, filter_invalid_bboxes=True)
    if Targets.KEYPOINTS in can:
        shift = 0 if name in resizing else .5
        data['keypoints'] = points-shift; sample.append(TensorPoint(points))
        params['keypoint_params'] = A.KeypointParams('xy', remove_invisible=False)
    want,got = direct(t, params, **data), bridged(t, tuple(sample), name)
    assert [type(o) for o in got] == [type(o) for o in sample]
    for o,kind in zip(got, (k for k in ('image','mask','bboxes','labels','keypoints') if k in data)):
        if kind in ('image','mask'): assert np.array_equal(np.asarray(o).squeeze(), want[kind].squeeze())
        if kind == 'bboxes': assert np.allclose(o.numpy().reshape(-1,4), np.reshape(want[kind], (-1,4)), atol=1e-4)
        if kind == 'labels': assert o.tolist() == [int(l) for l in want[kind]]
        if kind == 'keypoints': assert np.allclose(o.numpy(), np.reshape(want[kind], (-1,2))+shift, atol=1e-4)


@pytest.mark.parametrize('t', [A.HorizontalFlip(p=1), A.VerticalFlip(p=1), A.Transpose(p=1), A.D4(p=1), A.RandomRotate90(p=1), A.Rotate((-40,40), p=1), A.Affine(scale=(.7,1.3), rotate=(-30,30), translate_px=(-9,9), p=1),
                               A.Resize(200, 120, p=1), A.LongestMaxSize(200, p=1), A.RandomScale((.25,.25), p=1), A.RandomCrop(70, 70, p=1), A.RandomResizedCrop((150,90), scale=(.6,1), p=1), A.RandomSizedCrop((70,90), (60,60), p=1),
                               A.Pad(7, p=1), A.Perspective((.02,.05), p=1)], ids=lambda t: type(t).__name__)
def test_points_stay_on_what_they_mark(t):
    "A square of 8 pixels around a point is drawn; after the transform its centre of mass is where the point says"
    canvas = Image.new('L', (96,96))
    ImageDraw.Draw(canvas).rectangle((52,36,59,43), fill=255)           # pixels 52 to 59: the edges are 52 and 60, the middle 56
    tfm = AlbumentationsTransform([t])
    for _ in range(5):
        img,point = tfm((PILImage.create(np.stack([canvas]*3, -1)), TensorPoint([[56.,40.]])))
        light = np.asarray(img)[...,0].astype(float)
        y,x = (np.indices(light.shape)+.5).reshape(2, -1) @ light.ravel() / light.sum()
        assert abs(x-point[0,0]) < .35 and abs(y-point[0,1]) < .35, (x, y, point)


@pytest.mark.parametrize('name', [n for n in names if n not in extra])
def test_kept_as_text(name):
    t = made(name)
    tfm = AlbumentationsTransform([t], valid=[t], seed=5)
    again = AlbumentationsTransform.from_dict(json.loads(json.dumps(tfm.to_dict())))
    assert again.to_dict() == tfm.to_dict()
    sample = PILImage.create(image), PILMask.create(mask)
    if name in ('RandomSizedBBoxSafeCrop','AtLeastOneBBoxRandomCrop','BBoxSafeRandomCrop'): sample = sample[0], TensorBBox(boxes), TensorMultiCategory(labels)
    elif isinstance(t, A.DualTransform) and Targets.MASK not in (t._targets if isinstance(t._targets, tuple) else (t._targets,)): sample = sample[:1]
    outs = []
    for x in (tfm, again):
        x.seek(3, 1)
        outs.append(as_array(x(sample, split_idx=0)[0]))
    assert np.array_equal(*outs)
