"""What each part of a recipe is worth: one change at a time, over several seeds, on held-out training images.

    python bench/what_helps.py [--recipe fast|strong] [--seeds 1 2] [--epochs 2] [--only WORDS]

Every run trains on 45,000 training images of CIFAR-10 and is measured on the other 5,000; the test images are never looked at. A line is added to `cifar9/weights/what_helps.csv` after each run, and what stands there already is not run again.
Printed is the mean over the seeds and the difference to the recipe, with its standard error over the pairs of runs of one seed. Seconds are not compared here: runs may have had the machine to themselves or not."""
import argparse, csv, math, statistics
from collections import OrderedDict
from functools import partial
from pathlib import Path

import albumentations as A, cv2, numpy as np, torch

from cifar9.augment import AlbumentationsTransform
from cifar9.cifar10 import load_cifar10
from cifar9.blocks import ResidualPair, acts, conv_unit, depthwise_separable_conv, norm_act_drop
from cifar9.recipes import recipes, sgd
from cifar9.models import FourBlocks, atrous_net, dilated_net, fast_net
from fastai.callback.core import Callback
from fastai.callback.mixup import CutMix, MixUp
from fastai.callback.progress import ProgressCallback
from fastai.optimizer import Adam
from fastai.torch_core import set_seed
from fasttransform import Transform
from torch import nn
from turns import table, where

file = Path(__file__).parents[1]/'cifar9'/'weights'/'what_helps.csv'


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


class Gate(nn.Module):
    "Squeeze and excitation: each channel weighted by what all of them are on average"
    def __init__(self, nf, less=12):
        super().__init__()
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(nf, nf//less, 1), nn.ReLU(), nn.Conv2d(nf//less, nf, 1), nn.Sigmoid())
    def forward(self, x): return x*self.gate(x)


class SeparableResidual(nn.Module):
    "Depthwise, norm, activation, pointwise, norm, plus the input"
    def __init__(self, nf, dilation, ks, act):
        super().__init__()
        self.look = nn.Sequential(nn.Conv2d(nf, nf, ks, padding=dilation*(ks//2), dilation=dilation, groups=nf, bias=False), nn.BatchNorm2d(nf), acts[act]())
        self.mix = nn.Sequential(nn.Conv2d(nf, nf, 1, bias=False), nn.BatchNorm2d(nf))
        self.act = acts[act]()
    def forward(self, x): return self.act(x + self.mix(self.look(x)))


def separable_net(widths=(43,86,172), n=3, ks=5, n_out=10, drop=0., act='gelu'):
    "Every layer but the first two separable: more channels and more layers for the same parameters"
    kw,(a,b,c) = dict(drop=drop, act=act), widths
    def shrink(ni, nf, dilation): return nn.Sequential(depthwise_separable_conv(ni, nf, dilation, pad=False), *dict(norm_act_drop(nf, **kw)).values())
    def stage(nf, dilation): return [SeparableResidual(nf, dilation, ks, act) for _ in range(n)]
    return FourBlocks(OrderedDict(
        c1=nn.Sequential(nn.Conv2d(3, 24, 3, padding=1, bias=False), acts[act](), conv_unit(24, a, ks=1, **kw), *stage(a, 1), shrink(a, b, 2)),
        c2=nn.Sequential(*stage(b, 2), shrink(b, c, 2)),
        c3=nn.Sequential(*stage(c, 4), shrink(c, c, 4)),
        o=nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(c, n_out, 1))))


relu_net = partial(atrous_net, act='relu') # the recipe `strong` as the search began had it, and lr 0.1
as_it_was = dict(model=relu_net, lr=.1)


def gated(**kwargs):
    "atrous_net with squeeze and excitation after each pair"
    net = relu_net(**kwargs)
    for block in (net.c1,net.c2,net.c3): block.pair = nn.Sequential(block.pair, Gate(block.pair.far[0].out_channels))
    return net


def pairs_begin_as_identity(**kwargs):
    net = relu_net(**kwargs)
    for block in (net.c1,net.c2,net.c3): nn.init.zeros_(block.pair.far[1].weight)
    return net


class Middle(nn.Module):
    "The map without a border"
    def __init__(self, border):
        super().__init__()
        self.border = border
    def forward(self, x): return nn.functional.pad(x, [-self.border]*4)


def aligned_dilated_net(**kwargs):
    "dilated_net whose skips look at the pixels in the middle of what the transition looks at, instead of at every second pixel"
    net = dilated_net(**kwargs)
    for block,dilation in ((net.c1,8), (net.c2,4), (net.c3,2)):
        block.skip.stride = (1,1)
        block.skip = nn.Sequential(Middle(dilation), block.skip)
    return net


changes = { # recipe: {what: (arguments of the recipe, what else changes the Learner and perhaps gives learning rates)}
    'fast': {
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
    },
    'strong': {
        'the recipe': (as_it_was, None),
        'every layer separable, GELU': (as_it_was | dict(model=separable_net), None),
        'GELU': (as_it_was | dict(model=partial(atrous_net, act='gelu')), None),
        'SiLU': (as_it_was | dict(model=partial(atrous_net, act='silu')), None),
        'squeeze and excitation': (as_it_was | dict(model=gated), None),
        'pairs that begin as identity': (as_it_was | dict(model=pairs_begin_as_identity), None),
        'fast_net': (as_it_was | dict(model=fast_net), None),
        'no hole': (as_it_was | dict(hole=0), None),
        'hole of 16 pixels': (as_it_was | dict(hole=16), None),
        'shifts of up to 2 pixels': (as_it_was | dict(shift=2), None),
        'mixup': (as_it_was, lambda learn: learn.add_cb(MixUp(.2)) and None),
        'cutmix': (as_it_was, lambda learn: learn.add_cb(CutMix(1.)) and None),
        'no label smoothing': (as_it_was | dict(smoothing=0.), None),
        'weights averaged over about 200 steps': (as_it_was, lambda learn: learn.add_cb(Average(.995)) and None),
        'SGD with Nesterov momentum 0.9, lr 0.5': (as_it_was, optimizer(sgd(5e-4), .5)),
        'lr 0.05': (as_it_was | dict(lr=.05), None),
        'lr 0.2': (as_it_was | dict(lr=.2), None),
        'batches of 128, lr 0.07': (as_it_was | dict(bs=128, lr=.07), None),
        'all phases in every step': (as_it_was | dict(phases=False), None),
        'dilated_net, not whitened, lr 0.05': (as_it_was | dict(model=dilated_net, whiten=False, lr=.05), None),
        'dilated_net, not whitened, lr 0.05, skips aligned': (as_it_was | dict(model=aligned_dilated_net, whiten=False, lr=.05), None),
    },
}


def run(data, recipe, what, seed, epochs):
    settings,change = changes[recipe][what]
    dls_args = dict(valid=5000, seed=seed)
    if settings == 'alternating': settings,dls_args['tfms'] = {}, [AlternatingFlip(), shifts(2, seed)]
    set_seed(seed)
    learn,fit = recipes[recipe](data, epochs=epochs, dls_args=dls_args, **settings)
    learn.remove_cb(ProgressCallback)
    lrs = change(learn) if change else None
    with learn.no_logging(): fit() if lrs is None else partial(fit.func, epochs, lrs, **fit.keywords | dict(moms=(.9,.9,.9)))()
    return learn.recorder.values[-1][-1], learn.recorder.values[-1][-2]


if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--recipe', choices=changes, default='fast')
    p.add_argument('--seeds', type=int, nargs='+', default=[1,2])
    p.add_argument('--epochs', type=int, default=2)
    p.add_argument('--only', default='', help='only changes whose name holds these words')
    args = p.parse_args()
    data = load_cifar10()
    done = {(r['recipe'],r['change'],int(r['seed']),int(r['epochs'])): float(r['accuracy']) for r in csv.DictReader(file.read_text().splitlines())} if file.exists() else {}
    def accuracy(what, seed): return done.get((args.recipe, what, seed, args.epochs))
    for seed in args.seeds:
        for what in changes[args.recipe]:
            if accuracy(what, seed) is not None or args.only not in what: continue
            reached,loss = run(data, args.recipe, what, seed, args.epochs)
            done[args.recipe,what,seed,args.epochs] = reached
            new = not file.exists()
            with open(file, 'a', newline='') as f: csv.writer(f, lineterminator='\n').writerows([('recipe','change','seed','epochs','accuracy','loss')]*new + [(args.recipe, what, seed, args.epochs, round(reached, 4), round(loss, 4))])
    rows = []
    for what in changes[args.recipe]:
        pairs = [(accuracy(what, s), accuracy('the recipe', s)) for s in args.seeds if accuracy(what, s) is not None and accuracy('the recipe', s) is not None]
        if not pairs: continue
        gains = [100*(a-b) for a,b in pairs]
        error = f' ± {statistics.stdev(gains)/math.sqrt(len(gains)):.2f}' if len(gains) > 1 and what != 'the recipe' else ''
        rows.append([what, str(len(pairs)), f'{100*statistics.mean(a for a,_ in pairs):.2f}', '' if what == 'the recipe' else f'{statistics.mean(gains):+.2f}{error}'])
    print(f'{where()}; recipe {args.recipe}, {args.epochs} epochs of 45,000 images, accuracy of 5,000 others\n')
    table(['','seeds','accuracy, %','difference'], rows)
