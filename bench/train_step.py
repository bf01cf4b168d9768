"""What a training step of the network of the brief costs: the plain loop of the original, fastai as it comes, and ours.

    python bench/train_step.py [--steps N] [--rounds N] [--only WORDS]

Each variant runs in a process of its own, because some settings hold for a whole process. They take turns, a few steps each, so that a machine whose speed
drifts treats them alike. Printed are the median over all steps, the epoch of 50,000 images that it makes, the ratio to the plain loop and to the floor, and the most memory that the process held. Fastai's and ours are timed
through the Learner: batches cut and augmented, callbacks, optimizer and all; the plain loop has its batch already there. The floor is the time that this machine needs for as many multiplications in float32 matrix products of 1024x1024."""
import argparse, time
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

from cifar9.summary import layer_table
from cifar9.augment import flip_shift_tfms
from cifar9.datasets import make_shapes10
from cifar9.loaders import cifar_dls
from cifar9.learner import cifar_learner
from cifar9.recipes import sgd
from cifar9.models import dilated_net
from fastai.callback.core import Callback, CancelFitException
from fastai.callback.progress import ProgressCallback
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from fastai.optimizer import OptimWrapper
from turns import bare_steps, median, table, take_turns, where

bs,large = 128,256


def original_net():
    net = dilated_net(drop=.1)
    for m in net.modules():
        if isinstance(m, nn.ReLU): m.inplace = False # as the original had it
    return net


def plain():
    "The original's loop: float32, dropout 0.1, nothing rearranged"
    net = original_net()
    opt = torch.optim.SGD(net.parameters(), lr=.01, momentum=.9)
    x,y = torch.randn(bs, 3, 32, 32), torch.randint(10, (bs,))
    def steps(n):
        times = []
        for _ in range(n):
            began = time.perf_counter()
            opt.zero_grad()
            F.cross_entropy(net(x), y).backward()
            opt.step()
            times.append(time.perf_counter()-began)
        return times
    return steps


def floor():
    "As many multiplications as a step has, forward and twice that backward, in large matrix products"
    products = 3*bs*layer_table(dilated_net()).macs/1024**3
    a = torch.ones(1024, 1024)
    def steps(n):
        times = []
        for _ in range(n):
            began = time.perf_counter()
            for _ in range(10): a@a
            times.append((time.perf_counter()-began)/10*products)
        return times
    return steps


class Stopwatch(Callback):
    "Time from the end of one batch to the end of the next, for `n` batches"
    order = 90
    def __init__(self, n): self.n,self.times = n,[]
    def after_batch(self):
        now = time.perf_counter()
        if hasattr(self, 'last'): self.times.append(now-self.last)
        self.last = now
        if len(self.times) == self.n: raise CancelFitException('enough')


def through(make_learner, tfms=None, bs=bs):
    data = make_shapes10(5120, 10)
    learn = make_learner(cifar_dls(data, bs, tfms))
    learn.remove_cb(ProgressCallback)
    def steps(n):
        watch = Stopwatch(n)
        with learn.no_logging(), learn.added_cbs(watch): learn.fit(2+n*bs//data.n_train, .1)
        return watch.times
    return steps


def stock():
    "fastai's Learner with nothing but its defaults, over the same loaders"
    return through(lambda dls: Learner(dls, original_net(), loss_func=CrossEntropyLossFlat(), opt_func=partial(OptimWrapper, opt=partial(torch.optim.SGD, momentum=.9))))


def our_learner(dls, drop=0., **kwargs):
    return cifar_learner(dls, dilated_net(drop=drop), opt_func=sgd(5e-4), loss_func=CrossEntropyLossFlat(label_smoothing=.1), **kwargs)


def ours(drop=0., bs=bs, **kwargs):
    "`cifar_learner` as `train` uses it, from the array of images to the step of the optimizer"
    return through(partial(our_learner, drop=drop, **kwargs), flip_shift_tfms(2, seed=0), bs)


def our_bare(**kwargs):
    "The same without fastai's loop and with its batch already there, as the plain loop has it"
    return bare_steps(our_learner(cifar_dls(make_shapes10(5120, 10), bs), **kwargs))


variants = {
    'plain loop: float32, dropout 0.1': plain,
    "fastai's Learner as it comes: float32, dropout 0.1": stock,
    'ours: float32, no dropout': partial(ours, precision='fp32'),
    'ours: float32, no dropout, batch already there, without fastai': partial(our_bare, precision='fp32'),
    f'ours: float32, no dropout, batch {large}': partial(ours, precision='fp32', bs=large),
    'ours: float32, no dropout, norms apart': partial(ours, precision='fp32', fold_norms=False),
    'ours: float32, no dropout, memory given back': partial(ours, precision='fp32', keep_memory=False),
    'ours: float32, no dropout, channels first': partial(ours, precision='fp32', channels_last=False),
    'ours: float32, dropout 0.1': partial(ours, .1, precision='fp32'),
    "ours: float32, dropout 0.1, torch's masks": partial(ours, .1, precision='fp32', quick_masks=False),
    'ours: bfloat16, no dropout': partial(ours, precision='bf16'),
}


if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--steps', type=int, default=5, help='steps a turn')
    p.add_argument('--rounds', type=int, default=5)
    p.add_argument('--only', default='', help='of ours, only the variants whose name ends so')
    args = p.parse_args()
    base,*rest = variants
    told = take_turns({base: plain, 'floor': floor} | {name: variants[name] for name in rest if name.endswith(args.only)}, args.rounds, args.steps)
    low = median(told, 'floor')
    print(f"{where()}; dilated_net, batch {bs} where no other is named, n = {args.rounds*args.steps} steps each; the floor is {low*1e3:.0f} ms for {bs} images\n")
    rows = []
    for name,(_,gb) in told.items():
        if name == 'floor': continue
        images = large if name.endswith(f'batch {large}') else bs
        t = median(told, name)/images # seconds an image
        rows.append([name, f'{t*images*1e3:.0f}', f'{1/t:.0f}', f'{t*50_000:.0f}', f'{median(told, base)/bs/t:.2f}', f'{t*bs/low:.2f}', f'{gb:.2f}'])
    table(['','median ms a step','images a second','epoch of 50,000, s',"times the plain loop's speed",'times the floor','memory, GB'], rows)
