"""On a GPU: an epoch of the plain loop and of ours in one run, the time spent waiting for data, and the time to an accuracy.

    python bench/gpu.py [--out FOLDER] [--device cuda] [--images N] [--skip-training]

`plain loop` is the original's: float32, dropout 0.1, every image augmented by itself by the pipeline of the brief in two worker processes, batches sent to the GPU. `ours` keeps the images on the GPU and augments them there (`ArrayDL`), in bfloat16 and channels-last,
with and without `torch.compile`. An epoch is timed after one that warms up. Waiting is the time between asking the loader for a batch and having it on the device, measured by a pass over the loader alone. Then `dilated_net` and `fast_net`
are trained by the recipe `fast` into FOLDER, and the minutes at which 85 % and 90 % of the test images were passed are read from their histories. Without a GPU it says so and ends with exit code 1;
`--device cpu --images 1024 --skip-training` tries the script itself."""
import argparse, sys, time
from functools import partial
from pathlib import Path

import numpy as np, torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from cifar9.augment import brief_tfms, flip_shift_tfms
from cifar9.datasets import make_shapes10
from cifar9.cifar10 import load_data
from cifar9.loaders import cifar_dls
from cifar9.learner import cifar_learner
from cifar9.recipes import muon, kernels_last
from cifar9.runs import train
from cifar9.models import create_model
from fastai.callback.core import Callback, CancelValidException
from fastai.callback.progress import ProgressCallback
from fastai.losses import CrossEntropyLossFlat
from turns import table, where


def norm_act_drop(device):
    if device.type == 'cuda': torch.cuda.synchronize()


class OneByOne(Dataset):
    "As the original read them: an image, its augmentation, a normalised tensor"
    def __init__(self, data):
        self.data,self.pipeline = data,brief_tfms(tuple(data.stats[0])).train
        self.mean,self.std = (torch.tensor(s, dtype=torch.float32)[:,None,None] for s in data.stats)
    def __len__(self): return self.data.n_train
    def __getitem__(self, i):
        img = self.pipeline(image=self.data.images[i])['image']
        return (torch.from_numpy(np.ascontiguousarray(img.transpose(2,0,1))).float()/255 - self.mean)/self.std, int(self.data.labels[i])


class NoValidation(Callback):
    def before_validate(self): raise CancelValidException('only the training is timed')


def waiting(loader, device):
    "Seconds of one pass that gives every batch to the device and does nothing with it"
    norm_act_drop(device)
    began = time.perf_counter()
    for batch in loader: batch[0].to(device), batch[1].to(device); norm_act_drop(device)
    return time.perf_counter()-began


def plain(data, model, device):
    net = create_model(model, drop=.1).to(device)
    opt = torch.optim.SGD(net.parameters(), lr=.01, momentum=.9)
    loader = DataLoader(OneByOne(data), 128, shuffle=True, num_workers=2, drop_last=True)
    def epoch():
        for x,y in loader:
            opt.zero_grad()
            F.cross_entropy(net(x.to(device)), y.to(device)).backward()
            opt.step()
    return epoch, loader


def ours(data, model, device, bs=512, **kwargs):
    dls = cifar_dls(data, bs, flip_shift_tfms(2, seed=0), device=device)
    learn = cifar_learner(dls, create_model(model, drop=0.), opt_func=muon(), splitter=kernels_last, loss_func=CrossEntropyLossFlat(label_smoothing=.1), **kwargs)
    learn.remove_cb(ProgressCallback)
    def epoch():
        with learn.no_logging(): learn.fit(1, .05, cbs=NoValidation())
    return epoch, dls.train


def passed(run, goal):
    "Minutes of training after which `goal` was reached, by the history of the run"
    there = run.history[run.history['accuracy'] >= goal].index
    return f"{run.history['seconds'][:there[0]+1].sum()/60:.2f}" if len(there) else 'not reached'


if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--out', type=Path, default=Path('runs/gpu'))
    p.add_argument('--device', default='cuda')
    p.add_argument('--images', type=int, default=50_000, help='other than all of CIFAR-10: so many of shapes10')
    p.add_argument('--rounds', type=int, default=3)
    p.add_argument('--skip-training', action='store_true')
    args = p.parse_args()
    device = torch.device(args.device)
    if device.type == 'cuda' and not torch.cuda.is_available(): sys.exit('this machine has no GPU that torch can use; run it where torch.cuda.is_available() is true')
    data = load_data('cifar10') if args.images == 50_000 else make_shapes10(args.images, 256)
    rows = []
    for model in ('dilated_net','fast_net'):
        variants = {'plain loop': partial(plain, data, model, device), 'ours': partial(ours, data, model, device), 'ours, batch 128': partial(ours, data, model, device, bs=128)}
        if device.type == 'cuda': variants |= {'ours, compiled': partial(ours, data, model, device, compile=True), 'ours, float32': partial(ours, data, model, device, precision='fp32')}
        made = {name: make() for name,make in variants.items()}
        for epoch,_ in made.values(): epoch()
        times = {name: [] for name in made}
        for _ in range(args.rounds):
            for name,(epoch,_) in made.items():
                norm_act_drop(device)
                began = time.perf_counter()
                epoch()
                norm_act_drop(device)
                times[name].append(time.perf_counter()-began)
        seconds = {name: float(np.median(ts)) for name,ts in times.items()}
        rows += [[f'`{model}`, {name}', f'{t:.2f}', f"{seconds['plain loop']/t:.1f}", f'{min(1, waiting(made[name][1], device)/t):.0%}'] for name,t in seconds.items()]
    print(f'{where()}; {data.n_train:,} training images of {data.name}, n = {args.rounds} epochs each\n')
    table(['','seconds an epoch','times the plain loop','time for the loader alone, of it'], rows)
    if not args.skip_training:
        print()
        runs = {model: train(data, model, 'fast', out=args.out/model, epochs=epochs, device=str(device)) for model,epochs in (('fast_net',8),('dilated_net',24))}
        table(['','epochs','minutes','to 85 %','to 90 %','accuracy, %'],
              [[f'`{m}`', str(len(r.history)), f"{r.history['seconds'].sum()/60:.2f}", passed(r, .85), passed(r, .9), f"{100*r.metrics['accuracy']:.2f}"] for m,r in runs.items()])
