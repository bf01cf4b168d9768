"""What each part of a recipe is worth: one change at a time, over several seeds, on held-out training images.

    python bench/what_helps.py [--recipe fast|one_cycle|strong] [--seeds 1 2] [--epochs 2] [--only WORDS]

Every run trains on 45,000 training images of CIFAR-10 and is measured on the other 5,000; the test images are not used. Each run adds a
line to `cifar9/weights/what_helps.csv`, and runs that are in it already are not repeated. The table has the mean over the seeds and the
difference to the recipe, with its standard error over pairs of runs with one seed. Seconds are not compared, because runs may have shared
the machine with others."""
import argparse
import csv
import math
import statistics
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import albumentations as A
import cv2
import numpy as np
from fastai.callback.core import Callback
from fastai.callback.mixup import CutMix, MixUp
from fastai.callback.progress import ProgressCallback
from fastai.optimizer import Adam
from fastai.torch_core import set_seed
from fasttransform import Transform
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from cifar9.augment import AlbumentationsTransform
from cifar9.blocks import acts, conv_unit, separable_unit
from cifar9.cifar10 import load_cifar10
from cifar9.models import BlockNet, atrous_net, blueprint_net, dilated_net, fast_net
from cifar9.recipes import recipes, sgd
from turns import table, where

file = Path(__file__).parents[1]/'cifar9'/'weights'/'what_helps.csv'
columns = ['recipe', 'change', 'seed', 'epochs', 'accuracy', 'loss']


class Average(Callback):
    "Validate with an exponential moving average of the weights"
    order = 70
    def __init__(self, decay): self.decay = decay
    def before_fit(self):
        self.averaged = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(self.decay), use_buffers=True)
    def after_step(self): self.averaged.update_parameters(self.model)
    def before_validate(self):
        self.trained = {k: v.clone() for k,v in self.model.state_dict().items()}
        self.model.load_state_dict(self.averaged.module.state_dict())
    def after_validate(self): self.model.load_state_dict(self.trained)


class AlternatingFlip(Transform):
    "Each image is flipped in every second epoch; half of the images start flipped"
    def augment_arrays(self, images, items, epoch, split_idx, stream=0):
        if split_idx: return images
        starts_flipped = np.random.default_rng(0).integers(0, 2, 50_000)
        flip = (starts_flipped[np.asarray(items)] + epoch) % 2 == 1
        images[flip] = images[flip,:,::-1]
        return images
    def takes_tensors(self, split_idx, shape): return False


def alternating_flips_and_shifts(seed):
    shifts = [A.Pad(padding=2, border_mode=cv2.BORDER_REFLECT_101), A.RandomCrop(32, 32)]
    return [AlternatingFlip(), AlbumentationsTransform(shifts, seed=seed)]


def dilated_fast_net(**kwargs):
    "`fast_net` that downsamples by dilation without padding"
    net = fast_net(**kwargs)
    for block,dilation in ((net.c1,8), (net.c2,4), (net.c3,2)):
        conv = block.shrink.conv
        conv.stride,conv.padding,conv.dilation = (1,1), (0,0), (dilation,dilation)
    return net


def without_skips(**kwargs):
    "`fast_net` without the two skips"
    net = fast_net(**kwargs)
    for block in (net.c2,net.c3): block.pair = nn.Sequential(block.pair.near, block.pair.far, block.pair.finish)
    return net


class SqueezeExcitation(nn.Module):
    "Each channel times a weight that is computed from the means of all channels"
    def __init__(self, nf, reduction=12):
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(nf, nf//reduction, 1),
            nn.ReLU(),
            nn.Conv2d(nf//reduction, nf, 1),
            nn.Sigmoid())
    def forward(self, x): return x*self.gate(x)


class SeparableResidual(nn.Module):
    "Depthwise convolution, norm, activation, pointwise convolution, norm, plus the input"
    def __init__(self, nf, dilation, ks, act):
        super().__init__()
        depthwise = nn.Conv2d(nf, nf, ks, padding=dilation*(ks//2), dilation=dilation, groups=nf, bias=False)
        self.look = nn.Sequential(depthwise, nn.BatchNorm2d(nf), acts[act]())
        self.mix = nn.Sequential(nn.Conv2d(nf, nf, 1, bias=False), nn.BatchNorm2d(nf))
        self.act = acts[act]()
    def forward(self, x): return self.act(x + self.mix(self.look(x)))


def separable_net(widths=(43,86,172), n=3, ks=5, n_out=10, drop=0., act='gelu'):
    "Every layer but the first two separable: more channels and more layers for the same parameters"
    a,b,c = widths
    kwargs = dict(drop=drop, act=act)
    stem = [nn.Conv2d(3, 24, 3, padding=1, bias=False), acts[act](), conv_unit(24, a, ks=1, **kwargs)]
    def downsample(ni, nf, dilation): return separable_unit(ni, nf, dilation, pad=False, **kwargs)
    def stage(nf, dilation): return [SeparableResidual(nf, dilation, ks, act) for _ in range(n)]
    return BlockNet(OrderedDict(
        c1=nn.Sequential(*stem, *stage(a, 1), downsample(a, b, 2)),
        c2=nn.Sequential(*stage(b, 2), downsample(b, c, 2)),
        c3=nn.Sequential(*stage(c, 4), downsample(c, c, 4)),
        o=nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(c, n_out, 1))))


def strided_blueprint_net(**kwargs):
    "`blueprint_net` that downsamples by strides, with undilated kernels between them"
    net = blueprint_net(**kwargs)
    convs = [m for m in net.modules() if isinstance(m, nn.Conv2d) and m.dilation != (1,1)]
    for conv in convs:
        if conv.padding == (0,0): conv.stride = (2,2)
        conv.dilation,conv.padding = (1,1), (1,1)
    return net


relu_net = partial(atrous_net, act='relu')


def gated(**kwargs):
    "`atrous_net` with squeeze and excitation after each pair"
    net = relu_net(**kwargs)
    for block in (net.c1,net.c2,net.c3): block.pair = nn.Sequential(block.pair, SqueezeExcitation(block.pair.far[0].out_channels))
    return net


def pairs_begin_as_identity(**kwargs):
    "`atrous_net` in which each pair first returns its input"
    net = relu_net(**kwargs)
    for block in (net.c1,net.c2,net.c3): nn.init.zeros_(block.pair.far[1].weight)
    return net


class Crop(nn.Module):
    "A map without its border"
    def __init__(self, border):
        super().__init__()
        self.border = border
    def forward(self, x): return nn.functional.pad(x, [-self.border]*4)


def aligned_dilated_net(**kwargs):
    "`dilated_net` whose skips take the pixels in the middle of what the transition sees, instead of every second pixel"
    net = dilated_net(**kwargs)
    for block,dilation in ((net.c1,8), (net.c2,4), (net.c3,2)):
        block.skip.stride = (1,1)
        block.skip = nn.Sequential(Crop(dilation), block.skip)
    return net


@dataclass
class Change:
    "What differs from the recipe"
    settings:dict = field(default_factory=dict) # arguments of the recipe
    callback:object = None                      # function that makes one more callback
    opt_func:object = None                      # another optimizer,
    lr:float = None                             # and its highest learning rate; its momentum is 0.9
    tfms:object = None                          # function of the seed that makes another augmentation


def strong(callback=None, opt_func=None, lr=None, **settings):
    "A change to the recipe `strong` as the search began: ReLU, lr 0.1"
    return Change({'model': relu_net, 'lr': .1, **settings}, callback, opt_func, lr)


def under_brief(model, **settings):
    "A candidate for the long runs: trained on the brief's augmentations"
    return Change({'model': model, 'brief_aug': True, 'phases': True, 'lr': .1, 'pct_start': .1, **settings})


nesterov = sgd(5e-4)
changes = { # recipe: {name in what_helps.csv: change}
    'fast': {
        'the recipe': Change(),
        'SGD with Nesterov momentum 0.9, lr 0.5': Change(opt_func=nesterov, lr=.5),
        'AdamW, lr 0.01': Change(opt_func=partial(Adam, wd=.01), lr=.01),
        'first layer learned, not whitened': Change(dict(whiten=False)),
        'no label smoothing': Change(dict(smoothing=0.)),
        'batches of 256, lr 0.1': Change(dict(bs=256, lr=.1)),
        'shifts of up to 4 pixels': Change(dict(shift=4)),
        'flips by turns instead of by chance': Change(tfms=alternating_flips_and_shifts),
        'weights averaged over about 50 steps': Change(callback=partial(Average, .98)),
        'no skips': Change(dict(model=without_skips)),
        'shrinking by dilation, not by stride': Change(dict(model=dilated_fast_net)),
    },
    'one_cycle': {
        'the recipe': under_brief(blueprint_net),
        'blueprint_net, strided': under_brief(strided_blueprint_net, phases=False),
        'blueprint_net, wide and shallow': under_brief(partial(blueprint_net, widths=(40,80,120,160), depths=(1,2,2,1))),
        'blueprint_net, narrow and deep': under_brief(partial(blueprint_net, widths=(24,48,80,112), depths=(2,4,4,3))),
        'atrous_net': under_brief(atrous_net),
        'fast_net': under_brief(fast_net, phases=False),
        'dilated_net': under_brief(dilated_net, phases=False),
        'strided_net': under_brief(partial(dilated_net, strided=True), phases=False),
    },
    'strong': {
        'the recipe': strong(),
        'every layer separable, GELU': strong(model=separable_net),
        'GELU': strong(model=partial(atrous_net, act='gelu')),
        'SiLU': strong(model=partial(atrous_net, act='silu')),
        'squeeze and excitation': strong(model=gated),
        'pairs that begin as identity': strong(model=pairs_begin_as_identity),
        'fast_net': strong(model=fast_net),
        'no hole': strong(hole=0),
        'hole of 16 pixels': strong(hole=16),
        'shifts of up to 2 pixels': strong(shift=2),
        'mixup': strong(callback=partial(MixUp, .2)),
        'cutmix': strong(callback=partial(CutMix, 1.)),
        'no label smoothing': strong(smoothing=0.),
        'weights averaged over about 200 steps': strong(callback=partial(Average, .995)),
        'SGD with Nesterov momentum 0.9, lr 0.5': Change(dict(model=relu_net), opt_func=nesterov, lr=.5),
        'lr 0.05': Change(dict(model=relu_net, lr=.05)),
        'lr 0.2': Change(dict(model=relu_net, lr=.2)),
        'batches of 128, lr 0.07': Change(dict(model=relu_net, bs=128, lr=.07)),
        'all phases in every step': strong(phases=False),
        'dilated_net, not whitened, lr 0.05': Change(dict(model=dilated_net, whiten=False, lr=.05)),
        'dilated_net, not whitened, lr 0.05, skips aligned': Change(dict(model=aligned_dilated_net, whiten=False, lr=.05)),
    },
}


def run(data, recipe, change, seed, epochs):
    "Train with a change; accuracy and loss on the held-out images"
    dls_args = dict(valid=5000, seed=seed)
    if change.tfms: dls_args['tfms'] = change.tfms(seed)
    set_seed(seed)
    learn,fit = recipes[recipe](data, epochs=epochs, dls_args=dls_args, **change.settings)
    learn.remove_cb(ProgressCallback)
    if change.callback: learn.add_cb(change.callback())
    if change.opt_func:
        learn.opt_func = change.opt_func
        lrs = np.array([change.lr, change.lr]) # one for each of Muon's two groups of parameters
        fit = partial(fit.func, epochs, lrs, **{**fit.keywords, 'moms': (.9,.9,.9)})
    with learn.no_logging(): fit()
    loss,accuracy = learn.recorder.values[-1][-2:]
    return accuracy, loss


def read_accuracies():
    "`{(recipe, change, seed, epochs): accuracy}` of the runs that are in the record"
    if not file.exists(): return {}
    lines = csv.DictReader(file.read_text().splitlines())
    return {(r['recipe'], r['change'], int(r['seed']), int(r['epochs'])): float(r['accuracy']) for r in lines}


def add_to_record(*values):
    is_new = not file.exists()
    with open(file, 'a', newline='') as f:
        writer = csv.writer(f, lineterminator='\n')
        if is_new: writer.writerow(columns)
        writer.writerow(values)


def result_row(name, accuracies, base):
    "A row of the table, from `{seed: accuracy}` of a change and of the recipe; None if they have no seed in common"
    seeds = [seed for seed in accuracies if seed in base]
    if not seeds: return None
    mean = f'{100*statistics.mean(accuracies[seed] for seed in seeds):.2f}'
    if name == 'the recipe': return [name, len(seeds), mean, '']
    gains = [100*(accuracies[seed] - base[seed]) for seed in seeds]
    difference = f'{statistics.mean(gains):+.2f}'
    if len(gains) > 1: difference += f' ± {statistics.stdev(gains)/math.sqrt(len(gains)):.2f}'
    return [name, len(seeds), mean, difference]


if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--recipe', choices=changes, default='fast')
    p.add_argument('--seeds', type=int, nargs='+', default=[1,2])
    p.add_argument('--epochs', type=int, default=2)
    p.add_argument('--only', default='', help='run only the changes whose name contains these words')
    args = p.parse_args()
    data,done = load_cifar10(), read_accuracies()
    for seed in args.seeds:
        for name,change in changes[args.recipe].items():
            if args.only not in name or (args.recipe, name, seed, args.epochs) in done: continue
            accuracy,loss = run(data, args.recipe, change, seed, args.epochs)
            add_to_record(args.recipe, name, seed, args.epochs, round(accuracy, 4), round(loss, 4))
    done = read_accuracies()
    def accuracies_of(name):
        keys = {seed: (args.recipe, name, seed, args.epochs) for seed in args.seeds}
        return {seed: done[key] for seed,key in keys.items() if key in done}
    base = accuracies_of('the recipe')
    rows = [result_row(name, accuracies_of(name), base) for name in changes[args.recipe]]
    print(f'{where()}; recipe {args.recipe}, {args.epochs} epochs of 45,000 images, accuracy of 5,000 others\n')
    print(table(['', 'seeds', 'accuracy, %', 'difference'], [row for row in rows if row]))
