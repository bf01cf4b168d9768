"""What a training step of the network of the brief costs: the plain loop of the original, and ours.

    python bench/train_step.py [--steps N] [--rounds N]

Rounds of the variants follow one another in turn, so that a machine whose speed drifts treats them alike. Printed is the median over all steps,
the epoch of 50,000 images that it makes, and the ratio to the plain loop. Ours is timed through fastai: batches cut and augmented, callbacks, optimizer and all."""
import argparse, itertools, statistics, time

import torch
from torch import nn
from torch.nn import functional as F

from cifar9.augment import flip_shift_tfms
from cifar9.data import cifar_dls, make_shapes10
from cifar9.learner import cifar_learner, keep_freed_memory, machine, sgd, versions
from cifar9.models import dilated_net
from fastai.callback.core import Callback, CancelFitException
from fastai.callback.progress import ProgressCallback
from fastai.losses import CrossEntropyLossFlat

bs = 128


def plain(drop=.1):
    "The original's loop: float32, dropout 0.1, nothing rearranged; the batch is already there"
    net = dilated_net(drop=drop)
    opt = torch.optim.SGD(net.parameters(), lr=.01, momentum=.9)
    x,y = torch.randn(bs, 3, 32, 32), torch.randint(10, (bs,))
    def step():
        opt.zero_grad()
        F.cross_entropy(net(x), y).backward()
        opt.step()
    def steps(n):
        times = []
        for _ in range(n):
            began = time.perf_counter(); step(); times.append(time.perf_counter()-began)
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


def ours(data, drop=0., **kwargs):
    "`cifar_learner` as `train` uses it, from the array of images to the step of the optimizer"
    dls = cifar_dls(data, bs, flip_shift_tfms(2, seed=0))
    learn = cifar_learner(dls, dilated_net(drop=drop), opt_func=sgd(5e-4), loss_func=CrossEntropyLossFlat(label_smoothing=.1), **kwargs)
    learn.remove_cb(ProgressCallback)
    def steps(n):
        watch = Stopwatch(n)
        with learn.no_logging(), learn.added_cbs(watch): learn.fit(1+n*bs//data.n_train, .1)
        return watch.times
    return steps


if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--steps', type=int, default=6, help='steps a round')
    p.add_argument('--rounds', type=int, default=4)
    args = p.parse_args()
    data = make_shapes10(5000, 10)
    variants = {
        'plain loop, float32, dropout 0.1': plain(),
        'ours, float32, dropout 0.1': ours(data, .1, precision='fp32', channels_last=False),
        'ours, float32, channels last, no dropout': ours(data, precision='fp32'),
        'ours, bfloat16, channels last, dropout 0.1': ours(data, .1, precision='bf16'),
        'ours, bfloat16, channels last, no dropout': ours(data, precision='bf16'),
    }
    times = {name: [] for name in variants}
    for steps in variants.values(): steps(2) # warm up
    for _ in range(args.rounds):
        for name,steps in variants.items(): times[name] += steps(args.steps)
    m,v = machine(),versions()
    print(f"{m['cores']} cores of {m['cpu']}, bfloat16 in hardware: {'yes' if m['bf16_in_hardware'] else 'no'}; torch {v['torch']}, fastai {v['fastai']}; dilated_net, batch {bs}, n = {args.rounds*args.steps} steps each\n")
    print('| | median ms a step | images a second | epoch of 50,000, s | of the plain loop |\n|---|---|---|---|---|')
    base = statistics.median(times['plain loop, float32, dropout 0.1'])
    for name,ts in times.items():
        t = statistics.median(ts)
        print(f'| {name} | {t*1e3:.0f} | {bs/t:.0f} | {t*50_000/bs:.0f} | {t/base:.2f} |')
