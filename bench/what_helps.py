"""What each part of the recipe `fast` is worth: one change at a time, over several seeds, on held-out training images.

    python bench/what_helps.py [--seeds 1 2] [--epochs 2] [--only WORDS]

Every run trains on 45,000 training images of CIFAR-10 and is measured on the other 5,000; the test images are never looked at. A line is added to `bench/what_helps.csv` after each run, and what stands there already is not run again.
Printed is the mean over the seeds and the difference to the recipe, with its standard error over the pairs of runs of one seed. Seconds are not compared here: runs may have had the machine to themselves or not."""
import argparse, csv, math, statistics
from functools import partial
from pathlib import Path

import albumentations as A, cv2, numpy as np, torch

from cifar9.augment import AlbumentationsTransform
from cifar9.data import load_cifar10
from cifar9.learner import fast, sgd
from cifar9.models import fast_net
from fastai.callback.core import Callback
from fastai.callback.progress import ProgressCallback
from fastai.optimizer import Adam
from fastai.torch_core import set_seed
from fasttransform import Transform
from torch import nn
from turns import table, where

file = Path(__file__).with_name('what_helps.csv')


class Average(Callback):
    "Validate with a running average of the weights"
    order = 70
    def __init__(self, keep): self.keep = keep
    def before_fit(self): self.averaged = torch.optim.swa_utils.AveragedModel(self.model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(self.keep), use_buffers=True)
    def after_step(self): self.averaged.update_parameters(self.model)
    def before_validate(self):
        self.own = {k:v.clone() for k,v in self.model.state_dict().items()}
        self.model.load_state_dict(self.averaged.module.state_dict())
    def after_validate(self): self.model.load_state_dict(self.own)


class AlternatingFlip(Transform):
    "Each image is flipped in every other epoch; half of them begin flipped"
    def augment_arrays(self, images, items, epoch, split_idx, stream=0):
        if split_idx: return images
        flip = (np.random.default_rng(0).integers(0, 2, 50_000)[np.asarray(items)] + epoch) % 2 == 1
        images[flip] = images[flip,:,::-1]
        return images
    def takes_tensors(self, split_idx, shape): return False


def shifts(pixels, seed): return AlbumentationsTransform([A.Pad(padding=pixels, border_mode=cv2.BORDER_REFLECT_101), A.RandomCrop(32, 32)], seed=seed)


def optimizer(opt_func, lr):
    def change(learn):
        learn.opt_func = opt_func
        return np.array([lr, lr])
    return change


def dilated_fast_net(**kwargs):
    "fast_net that shrinks by dilation without padding"
    net = fast_net(**kwargs)
    for block,dilation in ((net.c1,8), (net.c2,4), (net.c3,2)): block.shrink.conv.stride,block.shrink.conv.padding,block.shrink.conv.dilation = (1,1),(0,0),(dilation,dilation)
    return net


def without_skips(**kwargs):
    "fast_net without the two skips"
    net = fast_net(**kwargs)
    for block in (net.c2,net.c3): block.pair = nn.Sequential(block.pair.near, block.pair.far, block.pair.finish)
    return net


changes = { # what: (arguments of the recipe, what else changes the Learner and perhaps gives learning rates)
    'the recipe': ({}, None),
    'SGD with Nesterov momentum 0.9, lr 0.5': ({}, optimizer(sgd(5e-4), .5)),
    'AdamW, lr 0.01': ({}, optimizer(partial(Adam, wd=.01), .01)),
    'first layer learned, not whitened': (dict(whiten=False), None),
    'no label smoothing': (dict(smoothing=0.), None),
    'batches of 256, lr 0.1': (dict(bs=256, lr=.1), None),
    'shifts of up to 4 pixels': (dict(shift=4), None),
    'flips by turns instead of by chance': ('alternating', None),
    'weights averaged over about 50 steps': ({}, lambda learn: learn.add_cb(Average(.98)) and None),
    'no skips': (dict(model=without_skips), None),
    'shrinking by dilation, not by stride': (dict(model=dilated_fast_net), None),
}


def run(data, what, seed, epochs):
    settings,change = changes[what]
    dls_args = dict(valid=5000, seed=seed)
    if settings == 'alternating': settings,dls_args['tfms'] = {}, [AlternatingFlip(), shifts(2, seed)]
    set_seed(seed)
    learn,fit = fast(data, epochs=epochs, dls_args=dls_args, **settings)
    learn.remove_cb(ProgressCallback)
    lrs = change(learn) if change else None
    with learn.no_logging(): fit() if lrs is None else partial(fit.func, epochs, lrs, **fit.keywords | dict(moms=(.9,.9,.9)))()
    return learn.recorder.values[-1][-1], learn.recorder.values[-1][-2]


if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--seeds', type=int, nargs='+', default=[1,2])
    p.add_argument('--epochs', type=int, default=2)
    p.add_argument('--only', default='', help='only changes whose name holds these words')
    args = p.parse_args()
    data = load_cifar10()
    done = {(r['change'],int(r['seed']),int(r['epochs'])): float(r['accuracy']) for r in csv.DictReader(file.read_text().splitlines())} if file.exists() else {}
    for seed in args.seeds:
        for what in changes:
            if (what,seed,args.epochs) in done or args.only not in what: continue
            accuracy,loss = run(data, what, seed, args.epochs)
            done[what,seed,args.epochs] = accuracy
            new = not file.exists()
            with open(file, 'a', newline='') as f: csv.writer(f, lineterminator='\n').writerows([('change','seed','epochs','accuracy','loss')]*new + [(what, seed, args.epochs, round(accuracy, 4), round(loss, 4))])
    rows = []
    for what in changes:
        pairs = [(done[what,s,args.epochs], done['the recipe',s,args.epochs]) for s in args.seeds if (what,s,args.epochs) in done and ('the recipe',s,args.epochs) in done]
        if not pairs: continue
        gains = [100*(a-b) for a,b in pairs]
        error = f' ± {statistics.stdev(gains)/math.sqrt(len(gains)):.2f}' if len(gains) > 1 and what != 'the recipe' else ''
        rows.append([what, f'{100*statistics.mean(a for a,_ in pairs):.2f}', '' if what == 'the recipe' else f'{statistics.mean(gains):+.2f}{error}'])
    print(f'{where()}; {args.epochs} epochs of 45,000 images, accuracy of 5,000 others, n = {len(args.seeds)} seeds\n')
    table(['','accuracy, %','difference'], rows)
