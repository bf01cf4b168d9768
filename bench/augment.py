"""What the augmentation of the brief costs an image, alone and through fastai.

    python bench/augment.py [--images N] [--rounds N]

The variants take turns, one pass over all images each, in this process and without workers. The table has the median over the rounds,
and its ratio to a bare call of the pipeline on an array. `files` are PNGs of 32x32 pixels in a plain fastai DataBlock: opened,
augmented, collated, scaled. `arrays` are batches of uint8 as `cifar_dls` cuts them."""
import argparse
import tempfile
from pathlib import Path

import albumentations as A
import numpy as np
import torch
from fastai.data.block import CategoryBlock, DataBlock
from fastai.data.transforms import IndexSplitter
from fastai.vision.core import PILImage
from fastai.vision.data import ImageBlock
from fasttransform import Transform
from PIL import Image

from cifar9.augment import brief_tfms
from cifar9.datasets import make_shapes10
from turns import alternate, table, where

bs = 128


class TutorialTransform(Transform):
    "The class that people copy from fastai's tutorial: images only, random numbers from the pipeline's own generators"
    def __init__(self, pipeline): self.pipeline = pipeline
    def encodes(self, img:PILImage): return PILImage.create(self.pipeline(image=np.array(img))['image'])


def pipeline(): return A.Compose(brief_tfms().train.transforms)


def bridge(vectorized):
    tfm = brief_tfms(seed=0)
    tfm.vectorized = vectorized
    return tfm


def bare_calls(images):
    compose = pipeline()
    def run():
        for img in images: compose(image=img)
    return run


def through_files(folder, tfm):
    files = sorted(folder.glob('*.png'))
    block = DataBlock((ImageBlock, CategoryBlock), get_y=lambda f: int(f.stem)%10, splitter=IndexSplitter([0]), item_tfms=tfm)
    dl = block.dataloaders(files, bs=bs, num_workers=0, device=torch.device('cpu')).train
    def run():
        for _ in dl: pass
    return run


def through_arrays(images, tfm):
    batches = [range(i, min(i+bs, len(images))) for i in range(0, len(images), bs)]
    def run():
        for items in batches: tfm.augment_arrays(images[items.start:items.stop], items, 0, 0)
    return run


def variants(images, folder):
    "`{name: function that passes over all images}`"
    return {
        'bare call of the Compose': bare_calls(images),
        'files, no augmentation': through_files(folder, None),
        "files, the tutorials' class": through_files(folder, TutorialTransform(pipeline())),
        'files, the bridge, one by one': through_files(folder, bridge(False)),
        'files, the bridge, whole batches': through_files(folder, bridge(None)),
        'arrays, the bridge, one by one': through_arrays(images, bridge(False)),
        'arrays, the bridge, whole batches': through_arrays(images, bridge(None)),
    }


if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--images', type=int, default=1280)
    p.add_argument('--rounds', type=int, default=9)
    args = p.parse_args()
    images = make_shapes10(args.images, 10).train_x
    with tempfile.TemporaryDirectory() as tmp:
        for i,img in enumerate(images): Image.fromarray(img).save(Path(tmp)/f'{i:06}.png')
        measured = alternate(variants(images, Path(tmp)), args.rounds)
    base = measured['bare call of the Compose'].median
    rows = [[name, f'{m.median/args.images*1e6:.0f}', f'{m.median/base:.2f}'] for name,m in measured.items()]
    print(f'{where()}, albumentations {A.__version__}; {args.images} images of 32x32, n = {args.rounds} passes each\n')
    print(table(['', 'median us an image', 'of the bare call'], rows))
