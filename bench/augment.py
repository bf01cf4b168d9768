"""What the augmentation of the brief costs an image, alone and through fastai.

    python bench/augment.py [--images N] [--rounds N]

The ways take turns, one pass over all images each, in this process and without workers. Printed is the median over the rounds, and the ratio to a bare call of the pipeline on an
array. `files` are PNGs of 32x32 in a plain fastai DataBlock, opened, augmented, collated, scaled; `arrays` are batches of uint8 as `cifar_dls` cuts them."""
import argparse, statistics, tempfile, time
from pathlib import Path

from cifar9.augment import AlbumentationsTransform, brief_tfms
from cifar9.datasets import make_shapes10
from cifar9.runs import machine, versions

import albumentations as A, numpy as np, torch
from fastai.data.block import CategoryBlock, DataBlock
from fastai.data.transforms import IndexSplitter
from fastai.vision.core import PILImage
from fastai.vision.data import ImageBlock
from fasttransform import Transform
from PIL import Image

bs = 128


class Copied(Transform):
    "The class that people copy: the image alone, the pipeline's own generators"
    def __init__(self, pipeline): self.pipeline = pipeline
    def encodes(self, img:PILImage): return PILImage.create(self.pipeline(image=np.array(img))['image'])


def ways(images, folder):
    "Name: one pass over all images"
    def pipeline(): return A.Compose(brief_tfms().train.transforms)
    files = sorted(folder.glob('*.png'))
    def through_files(tfm):
        block = DataBlock((ImageBlock, CategoryBlock), get_y=lambda f: int(f.stem)%10, splitter=IndexSplitter([0]), item_tfms=tfm)
        dl = block.dataloaders(files, bs=bs, num_workers=0, device=torch.device('cpu')).train
        def run():
            for _ in dl: pass
        return run
    def bridge(vectorized):
        tfm = brief_tfms(seed=0)
        tfm.vectorized = vectorized
        return tfm
    def through_arrays(vectorized):
        tfm = bridge(vectorized)
        def run():
            for i in range(0, len(images), bs): tfm.augment_arrays(images[i:i+bs], range(i, min(i+bs, len(images))), 0, 0)
        return run
    bare = pipeline()
    def alone():
        for img in images: bare(image=img)
    return {
        'bare call of the Compose': alone,
        'files, no augmentation': through_files(None),
        "files, the tutorials' class": through_files(Copied(pipeline())),
        'files, the bridge, one by one': through_files(bridge(False)),
        'files, the bridge, whole batches': through_files(bridge(None)),
        'arrays, the bridge, one by one': through_arrays(False),
        'arrays, the bridge, whole batches': through_arrays(None)}


if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--images', type=int, default=1280)
    p.add_argument('--rounds', type=int, default=9)
    args = p.parse_args()
    images = make_shapes10(args.images, 10).train_x
    with tempfile.TemporaryDirectory() as tmp:
        for i,img in enumerate(images): Image.fromarray(img).save(Path(tmp)/f'{i:06}.png')
        runs = ways(images, Path(tmp))
        times = {name: [] for name in runs}
        for run in runs.values(): run() # warm up
        for _ in range(args.rounds):
            for name,run in runs.items():
                began = time.perf_counter()
                run()
                times[name].append((time.perf_counter()-began)/args.images*1e6)
    m,v = machine(),versions()
    print(f"{m['cores']} cores of {m['cpu']}; albumentations {v['albumentations']}, fastai {v['fastai']}, torch {v['torch']}; {args.images} images of 32x32, n = {args.rounds} passes each\n")
    print('| | median us an image | of the bare call |\n|---|---|---|')
    base = statistics.median(times['bare call of the Compose'])
    for name,ts in times.items(): print(f'| {name} | {statistics.median(ts):.0f} | {statistics.median(ts)/base:.2f} |')
