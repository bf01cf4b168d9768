"""What a training step of the network of the brief costs: the plain loop of the original, and ours.

    python bench/train_step.py [--steps N] [--rounds N] [--only WORDS]

Each variant runs in a process of its own, because some settings hold for a whole process. They take turns, a few steps each, so that a machine whose speed
drifts treats them alike. Printed is the median over all steps, the epoch of 50,000 images that it makes, and the ratio to the plain loop. Ours is timed through
fastai: batches cut and augmented, callbacks, optimizer and all; the plain loop has its batch already there."""
import argparse, statistics, time
from functools import partial
from multiprocessing import get_context

import torch
from torch import nn
from torch.nn import functional as F

from cifar9.augment import flip_shift_tfms
from cifar9.data import cifar_dls, make_shapes10
from cifar9.learner import cifar_learner, machine, sgd, versions
from cifar9.models import dilated_net
from fastai.callback.core import Callback, CancelFitException
from fastai.callback.progress import ProgressCallback
from fastai.losses import CrossEntropyLossFlat

bs = 128


def plain():
    "The original's loop: float32, dropout 0.1, nothing rearranged"
    net = dilated_net(drop=.1)
    for m in net.modules():
        if isinstance(m, nn.ReLU): m.inplace = False # as the original had it
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


class Stopwatch(Callback):
    "Time from the end of one batch to the end of the next, for `n` batches"
    order = 90
    def __init__(self, n): self.n,self.times = n,[]
    def after_batch(self):
        now = time.perf_counter()
        if hasattr(self, 'last'): self.times.append(now-self.last)
        self.last = now
        if len(self.times) == self.n: raise CancelFitException('enough')


def ours(drop=0., **kwargs):
    "`cifar_learner` as `train` uses it, from the array of images to the step of the optimizer"
    data = make_shapes10(5000, 10)
    dls = cifar_dls(data, bs, flip_shift_tfms(2, seed=0))
    learn = cifar_learner(dls, dilated_net(drop=drop), opt_func=sgd(5e-4), loss_func=CrossEntropyLossFlat(label_smoothing=.1), **kwargs)
    learn.remove_cb(ProgressCallback)
    def steps(n):
        watch = Stopwatch(n)
        with learn.no_logging(), learn.added_cbs(watch): learn.fit(2+n*bs//data.n_train, .1)
        return watch.times
    return steps


variants = {
    'plain loop: float32, dropout 0.1': plain,
    'ours: float32, dropout 0.1, nothing else': partial(ours, .1, precision='fp32', channels_last=False, keep_memory=False, fold_norms=False),
    'ours: float32, channels last, no dropout': partial(ours, precision='fp32'),
    'ours: float32, channels last, no dropout, norms apart': partial(ours, precision='fp32', fold_norms=False),
    'ours: float32, channels last, no dropout, memory given back': partial(ours, precision='fp32', keep_memory=False),
    'ours: bfloat16, channels last, dropout 0.1': partial(ours, .1, precision='bf16'),
    'ours: bfloat16, channels last, no dropout': partial(ours, precision='bf16'),
}


def serve(name, pipe):
    "In a process of its own: times of so many steps, as often as asked"
    steps = variants[name]()
    steps(2) # warm up
    pipe.send('ready')
    while n := pipe.recv(): pipe.send(steps(n))


if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--steps', type=int, default=5, help='steps a turn')
    p.add_argument('--rounds', type=int, default=5)
    p.add_argument('--only', default='', help='of ours, only the variants whose name ends so')
    args = p.parse_args()
    base_name,*rest = variants
    chosen = [base_name, *(name for name in rest if name.endswith(args.only))]
    spawn,pipes,times = get_context('spawn'),{},{name: [] for name in chosen}
    for name in chosen:
        pipes[name],theirs = spawn.Pipe()
        spawn.Process(target=serve, args=(name, theirs), daemon=True).start()
        pipes[name].recv()
    for _ in range(args.rounds):
        for name,pipe in pipes.items():
            pipe.send(args.steps)
            times[name] += pipe.recv()
    for pipe in pipes.values(): pipe.send(0)
    m,v = machine(),versions()
    print(f"{m['cores']} cores of {m['cpu']}, gains by bfloat16: {'yes' if m['gains_by_bf16'] else 'no'}; torch {v['torch']}, fastai {v['fastai']}; dilated_net, batch {bs}, n = {args.rounds*args.steps} steps each\n")
    print('| | median ms a step | images a second | epoch of 50,000, s | of the plain loop |\n|---|---|---|---|---|')
    base = statistics.median(times[base_name])
    for name,ts in times.items():
        t = statistics.median(ts)
        print(f'| {name} | {t*1e3:.0f} | {bs/t:.0f} | {t*50_000/bs:.0f} | {t/base:.2f} |')
