"""How much memory one batch of large photos takes: plain fastai, the tutorial's class and the bridge, before and after `Resize`.

    python bench/batch_memory.py [--photos N] [--megapixels N] [--rounds N]

Each variant loads one batch without workers, each time in a process of its own; the table has the most that the process held beyond what
it held at the start, the median of the rounds. Linux only. The photos are drawn, and saved as JPEG."""
import argparse
import re
import statistics
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

import albumentations as A
import numpy as np
import torch
from fastai.data.block import CategoryBlock, DataBlock
from fastai.data.transforms import IndexSplitter
from fastai.vision.augment import Resize
from fastai.vision.data import ImageBlock
from PIL import Image

from augment import TutorialTransform
from cifar9.augment import AlbumentationsTransform
from turns import table, where


def tfms(): return [A.HorizontalFlip(p=.5), A.RandomBrightnessContrast(p=1)]
def crop(): return [A.RandomResizedCrop((224,224)), *tfms()]


def tutorial_class(tfms, order):
    tfm = TutorialTransform(A.Compose(tfms))
    tfm.order = order
    return tfm


variants = { # name: item transforms
    'fastai, Resize': lambda: [Resize(224)],
    "Resize, tutorial's class": lambda: [Resize(224), tutorial_class(tfms(), 2)],
    'Resize, bridge': lambda: [Resize(224), AlbumentationsTransform(tfms(), seed=0, order=2)],
    "tutorial's class, Resize": lambda: [tutorial_class(tfms(), 0), Resize(224)],
    'bridge, Resize': lambda: [AlbumentationsTransform(tfms(), seed=0), Resize(224)],
    "tutorial's class with a crop": lambda: [tutorial_class(crop(), 0)],
    'bridge with a crop': lambda: [AlbumentationsTransform(crop(), seed=0)]}


def memory(name):
    "GB of this process: now (VmRSS), or the most since `forget_peak` (VmHWM)"
    return int(re.search(rf'{name}:\s+(\d+)', Path('/proc/self/status').read_text())[1])/2**20


def forget_peak(): Path('/proc/self/clear_refs').write_text('5')


def load_batch(name, files, pipe):
    "Send the GB and the seconds that a batch took"
    torch.set_num_threads(1)
    block = DataBlock((ImageBlock, CategoryBlock), get_y=lambda f: int(f.stem)%2, splitter=IndexSplitter([0]), item_tfms=variants[name]())
    forget_peak()
    start_memory,start = memory('VmRSS'),time.perf_counter()
    x,_ = block.dataloaders(files, bs=len(files)-1, num_workers=0, device=torch.device('cpu')).train.one_batch()
    assert x.shape == (len(files)-1,3,224,224)
    pipe.send((memory('VmHWM')-start_memory, time.perf_counter()-start))


def measured(name, files):
    context = get_context('spawn')
    pipe,other = context.Pipe()
    process = context.Process(target=load_batch, args=(name, files, other))
    process.start()
    result = pipe.recv()
    process.join()
    return result


def photos(folder, n, megapixels):
    "Files with `n` photos, four to three"
    height = round((megapixels*1e6*3/4)**.5)
    small = np.random.default_rng(0).integers(0, 256, (30,40,3), np.uint8)
    photo = Image.fromarray(small).resize((height*4//3, height), Image.Resampling.BILINEAR)
    files = [folder/f'{i}.jpg' for i in range(n)]
    for file in files: photo.save(file)
    return files


if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--photos', type=int, default=64)
    p.add_argument('--megapixels', type=float, default=12)
    p.add_argument('--rounds', type=int, default=3)
    args = p.parse_args()
    with tempfile.TemporaryDirectory() as tmp:
        files = photos(Path(tmp), args.photos+1, args.megapixels) # one is for validation
        runs = {name: [measured(name, files) for _ in range(args.rounds)] for name in variants}
    rows = [[name, *(f'{statistics.median(values):.2f}' for values in zip(*run))] for name,run in runs.items()]
    print(f'{where()}; one batch of {args.photos} photos of {args.megapixels:g} megapixels, n = {args.rounds}\n')
    print(table(['item transforms', 'GB beyond the start', 'seconds'], rows))
