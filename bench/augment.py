"""What augmentation costs an image: a bare call, fastai's loading alone, the tutorial's class, the bridge.

    python bench/augment.py [--images N] [--rounds N] [--old FOLDER]

`files` are PNGs in a plain fastai DataBlock: opened, augmented, collated, scaled. `arrays` are batches of uint8 as `cifar_dls` cuts them.
A row's variants take turns, one pass over all images each; the table has medians, as multiples of a bare call of the pipeline on an array.
With 2 workers a pass includes their start, as an epoch does. `--old` first runs the `bench/augment.py` of another checkout of this
repository, with its own package."""
import argparse
import os
import subprocess
import sys
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

from cifar9.augment import AlbumentationsTransform, brief_tfms
from cifar9.datasets import make_shapes10
from turns import alternate, table, where

bs = 128
pipelines = {
    'flip, affine, hole': brief_tfms().train.transforms,
    'flip, noise, brightness': [A.HorizontalFlip(p=.5), A.GaussNoise(p=.5), A.RandomBrightnessContrast(p=.5)]}


class TutorialTransform(Transform):
    "The class that people copy from fastai's tutorial: images only, random numbers from the pipeline's own generators"
    def __init__(self, pipeline): self.pipeline = pipeline
    def encodes(self, img:PILImage): return PILImage.create(self.pipeline(image=np.array(img))['image'])


def bare_calls(images, tfms):
    compose = A.Compose(tfms)
    def run():
        for img in images: compose(image=img)
    return run


def through_files(files, tfm, num_workers):
    block = DataBlock((ImageBlock, CategoryBlock), get_y=lambda f: int(f.stem)%10, splitter=IndexSplitter([0]), item_tfms=tfm)
    dl = block.dataloaders(files, bs=bs, num_workers=num_workers, drop_last=False, device=torch.device('cpu')).train
    def run():
        for _ in dl: pass
    return run


def through_arrays(images, tfm):
    batches = [range(i, min(i+bs, len(images))) for i in range(0, len(images), bs)]
    def run():
        for items in batches: tfm.augment_arrays(images[items.start:items.stop], items, 0, 0)
    return run


def variants(images, files, tfms, num_workers):
    "`{name: function that passes over all images}`"
    bridge = AlbumentationsTransform(tfms, seed=0)
    return {
        'bare call': bare_calls(images, tfms),
        'files, no augmentation': through_files(files, None, num_workers),
        "files, tutorial's class": through_files(files, TutorialTransform(A.Compose(tfms)), num_workers),
        'files, bridge': through_files(files, bridge, num_workers),
        'files, bridge, vectorized=False': through_files(files, AlbumentationsTransform(tfms, seed=0, vectorized=False), num_workers),
        'arrays, bridge': through_arrays(images, bridge)}


def rows(n_images, rounds, folder):
    "A row of the table for each size, number of workers and pipeline, with the names of the columns"
    for size,n in ((32,n_images), (224,max(n_images//4, 2))):
        images = make_shapes10(n, 1, size=size).images[:n]
        files = [folder/f'{size}-{i}'/f'{i}.png' for i in range(n)]
        for file,image in zip(files, images):
            file.parent.mkdir()
            Image.fromarray(image).save(file)
        for num_workers in (0, 2):
            for name,tfms in pipelines.items():
                measured = alternate(variants(images, files, tfms, num_workers), rounds)
                base = measured.pop('bare call').median
                times = {variant: f'{m.median/base:.2f}' for variant,m in measured.items()}
                more = measured['files, bridge'].median - measured['files, no augmentation'].median
                times['bridge beyond loading'] = f'{more/base:.2f}'
                yield {'pixels': size, 'workers': num_workers, 'pipeline': name, 'bare call, us': f'{base/n*1e6:.0f}'} | times


def measure(n_images, rounds):
    "Print the table"
    with tempfile.TemporaryDirectory() as tmp: lines = list(rows(n_images, rounds, Path(tmp)))
    print(f'{where()}, albumentations {A.__version__}; {n_images} images of 32x32, {n_images//4} of 224x224, n = {rounds} passes each\n')
    print(table(list(lines[0]), [list(line.values()) for line in lines]))


if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--images', type=int, default=1281, help='one of them is no training image, so that 1281 are ten batches')
    p.add_argument('--rounds', type=int, default=5)
    p.add_argument('--old', type=Path, help='another checkout, measured first')
    args = p.parse_args()
    if args.old:
        print(f'The checkout {args.old.name}:', flush=True)
        its_own = [sys.executable, args.old/'bench'/'augment.py', '--images', str(args.images), '--rounds', str(args.rounds)]
        subprocess.run(its_own, env=os.environ | dict(PYTHONPATH=str(args.old.resolve())), check=True)
        print('\nThis one:')
    measure(args.images, args.rounds)
