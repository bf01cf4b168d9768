"""What a training step of the network of the brief costs: the plain loop of the original, fastai with its defaults, and ours.

    python bench/train_step.py [--steps N] [--rounds N] [--only WORDS]

Each variant runs in a process of its own, because some settings hold for a whole process. They take turns of a few steps. The table
has the median over all steps, the epoch of 50,000 images that it makes, the ratios to the plain loop and to the floor, and the most
memory that the process held. fastai's and ours are timed through the Learner, with batches, augmentation, callbacks and optimizer;
the plain loop uses one batch again and again. The floor is the time that this machine needs for as many multiplications in float32
matrix products of 1024x1024."""
import argparse
import time
from functools import partial

import torch
from fastai.callback.core import Callback, CancelFitException
from fastai.callback.progress import ProgressCallback
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from fastai.optimizer import OptimWrapper
from torch import nn
from torch.nn import functional as F

from cifar9.augment import flip_shift_tfms
from cifar9.blocks import Dropout
from cifar9.datasets import make_shapes10
from cifar9.learner import cifar_learner
from cifar9.loaders import cifar_dls
from cifar9.models import dilated_net
from cifar9.recipes import sgd
from cifar9.summary import layer_table
from turns import bare_steps, table, take_turns, timed, where

bs,large_bs = 128,256
make_data = partial(make_shapes10, 5120, 10)


def torch_dropout(net):
    "Give `net` torch's own dropout"
    for parent in list(net.modules()):
        for name,m in parent.named_children():
            if isinstance(m, Dropout): setattr(parent, name, nn.Dropout(m.p))
    return net


def original_net():
    "`dilated_net` as the original had it: torch's dropout, ReLUs that are not in place"
    net = torch_dropout(dilated_net(drop=.1))
    for m in net.modules():
        if isinstance(m, nn.ReLU): m.inplace = False
    return net


def plain():
    "The original's loop: float32, dropout 0.1"
    net = original_net()
    opt = torch.optim.SGD(net.parameters(), lr=.01, momentum=.9)
    x,y = torch.randn(bs, 3, 32, 32), torch.randint(10, (bs,))
    def step():
        opt.zero_grad()
        F.cross_entropy(net(x), y).backward()
        opt.step()
    return partial(timed, step)


def floor():
    "As many multiplications as a step has, forward and twice that backward, in large matrix products"
    n_products = 3*bs*layer_table(dilated_net()).macs/1024**3
    a = torch.ones(1024, 1024)
    def ten_products():
        for _ in range(10): a@a
    def steps(n): return [t/10*n_products for t in timed(ten_products, n)]
    return steps


class Stopwatch(Callback):
    "Measures the time from the end of one batch to the end of the next, for `n` batches"
    order = 90
    def __init__(self, n): self.n,self.times,self.last = n,[],None
    def after_batch(self):
        now = time.perf_counter()
        if self.last is not None: self.times.append(now - self.last)
        self.last = now
        if len(self.times) == self.n: raise CancelFitException('enough batches were timed')


def through_fit(make_learner, tfms=None, bs=bs):
    "`steps(n)` of a Learner that fits"
    data = make_data()
    learn = make_learner(cifar_dls(data, bs, tfms))
    learn.remove_cb(ProgressCallback)
    def steps(n):
        watch = Stopwatch(n)
        with learn.no_logging(), learn.added_cbs(watch): learn.fit(2 + n*bs//data.n_train, .1)
        return watch.times
    return steps


def stock():
    "fastai's Learner with its defaults, over the same loaders"
    opt_func = partial(OptimWrapper, opt=partial(torch.optim.SGD, momentum=.9))
    return through_fit(lambda dls: Learner(dls, original_net(), loss_func=CrossEntropyLossFlat(), opt_func=opt_func))


def our_learner(dls, drop=0., change_net=None, **kwargs):
    net = dilated_net(drop=drop)
    if change_net is not None: net = change_net(net)
    return cifar_learner(dls, net, opt_func=sgd(5e-4), loss_func=CrossEntropyLossFlat(label_smoothing=.1), **kwargs)


def ours(drop=0., bs=bs, **kwargs):
    "`cifar_learner` as `train` uses it"
    return through_fit(partial(our_learner, drop=drop, **kwargs), flip_shift_tfms(2, seed=0), bs)


def our_bare_steps(**kwargs):
    "The same without fastai's loop, on one batch, as the plain loop"
    return bare_steps(our_learner(cifar_dls(make_data(), bs), **kwargs))


base = 'plain loop: float32, dropout 0.1'
variants = {
    "fastai's Learner as it comes: float32, dropout 0.1": stock,
    'ours: float32, no dropout': partial(ours, precision='fp32'),
    'ours: float32, no dropout, batch already there, without fastai': partial(our_bare_steps, precision='fp32'),
    f'ours: float32, no dropout, batch {large_bs}': partial(ours, precision='fp32', bs=large_bs),
    'ours: float32, no dropout, memory given back': partial(ours, precision='fp32', keep_memory=False),
    'ours: float32, no dropout, channels first': partial(ours, precision='fp32', channels_last=False),
    'ours: float32, dropout 0.1': partial(ours, .1, precision='fp32'),
    "ours: float32, dropout 0.1, torch's masks": partial(ours, .1, precision='fp32', change_net=torch_dropout),
    'ours: bfloat16, no dropout': partial(ours, precision='bf16'),
}


def row(name, m, plain_time, floor_time):
    "A row of the table; the times of the plain loop and of the floor are for a batch of `bs`"
    batch = large_bs if name.endswith(f'batch {large_bs}') else bs
    t = m.median/batch # seconds an image
    to_plain,to_floor = plain_time/bs/t, t*bs/floor_time
    return [name, f'{m.median*1e3:.0f}', f'{1/t:.0f}', f'{t*50_000:.0f}', f'{to_plain:.2f}', f'{to_floor:.2f}', f'{m.memory_gb:.2f}']


if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--steps', type=int, default=5, help='steps a turn')
    p.add_argument('--rounds', type=int, default=5)
    p.add_argument('--only', default='', help='beside the plain loop, only the variants whose name ends so')
    args = p.parse_args()
    chosen = {name: variant for name,variant in variants.items() if name.endswith(args.only)}
    measured = take_turns({base: plain, 'floor': floor, **chosen}, args.rounds, args.steps)
    floor_time = measured.pop('floor').median
    rows = [row(name, m, measured[base].median, floor_time) for name,m in measured.items()]
    print(f'{where()}; dilated_net, batch {bs} where no other is named, n = {args.rounds*args.steps} steps each; ', end='')
    print(f'the floor is {floor_time*1e3:.0f} ms for {bs} images\n')
    speed = ['median ms a step', 'images a second', 'epoch of 50,000, s', "times the plain loop's speed", 'times the floor']
    print(table(['', *speed, 'memory, GB'], rows))
