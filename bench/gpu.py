"""On a GPU: what an epoch costs, and trainings of any recipe that go on where they were interrupted.

    python bench/gpu.py speed [--rounds N] [--images N] [--device cuda]
    python bench/gpu.py train --recipe R --model M --seeds 1 2 3 --out FOLDER [--set NAME=VALUE ...] [--resume FOLDER]

`speed` compares an epoch of the plain loop with ours. `plain loop` is the original's: float32, dropout 0.1, each image augmented by the
brief's pipeline in one of two worker processes, batches copied to the GPU. `ours` keeps the images on the GPU and augments them there
(`ArrayDL`), in bfloat16 and channels-last, with and without `torch.compile`. An epoch is timed after one that warms up. The time for
the loader alone is a pass over its batches in which each is copied to the device and not used.

`train` writes FOLDER/NAME.tar after every epoch: the whole run folder with its checkpoint, as one file, because a GPU machine on loan may
give back only a few. The same command with `--resume` on the folder of an earlier call goes on with unfinished runs and keeps finished
ones. README.md beside this file has the steps from a bare machine to the table.

Without a GPU the script says so and exits with 1; `--device cpu` with few images or epochs tries it."""
import argparse
import json
import sys
import tarfile
import tempfile
from functools import partial
from pathlib import Path

import torch
from fastai.callback.core import Callback, CancelValidException
from fastai.callback.progress import ProgressCallback
from fastai.losses import CrossEntropyLossFlat
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from cifar9.augment import brief_tfms, flip_shift_tfms
from cifar9.cifar10 import load_data
from cifar9.datasets import make_shapes10
from cifar9.learner import cifar_learner
from cifar9.loaders import cifar_dls, normalize_images
from cifar9.models import create_model, models
from cifar9.recipes import kernels_last, muon, recipes
from cifar9.run_folder import read_run
from cifar9.runs import train
from turns import alternate, spread, table, timed, where


def synchronized(run, device):
    "`run`, which then waits until the GPU has finished"
    def run_and_wait():
        run()
        if device.type == 'cuda': torch.cuda.synchronize()
    return run_and_wait


class OneByOne(Dataset):
    "Training images as the original read them: one image, its augmentation, a normalized tensor"
    def __init__(self, data):
        self.data = data
        self.pipeline = brief_tfms(tuple(data.stats[0])).train
    def __len__(self): return self.data.n_train
    def __getitem__(self, i):
        img = self.pipeline(image=self.data.images[i])['image']
        return normalize_images(img[None], *self.data.stats)[0], int(self.data.labels[i])


class NoValidation(Callback):
    def before_validate(self): raise CancelValidException('only the training is timed')


def plain(data, model, device):
    "An epoch of the original's loop, and its loader"
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
    "An epoch of `cifar_learner`, and its loader"
    dls = cifar_dls(data, bs, flip_shift_tfms(2, seed=0), device=device)
    loss_func = CrossEntropyLossFlat(label_smoothing=.1)
    learn = cifar_learner(dls, create_model(model, drop=0.), opt_func=muon(), splitter=kernels_last, loss_func=loss_func, **kwargs)
    learn.remove_cb(ProgressCallback)
    def epoch():
        with learn.no_logging(): learn.fit(1, .05, cbs=NoValidation())
    return epoch, dls.train


def loader_seconds(loader, device):
    "Seconds of one pass that copies every batch to the device and does nothing with it"
    def run():
        for x,y in loader: x.to(device), y.to(device)
    return timed(synchronized(run, device))[0]


def speed_rows(data, model, device, rounds):
    "The rows of the table of `speed` for one network"
    variants = {'plain loop': plain, 'ours': ours, 'ours, batch 128': partial(ours, bs=128)}
    if device.type == 'cuda':
        variants['ours, compiled'] = partial(ours, compile=True)
        variants['ours, float32'] = partial(ours, precision='fp32')
    epochs,loaders = {}, {}
    for name,make in variants.items():
        epoch,loaders[name] = make(data, model, device)
        epochs[name] = synchronized(epoch, device)
    measured = alternate(epochs, rounds)
    for name,m in measured.items():
        loading = min(1, loader_seconds(loaders[name], device)/m.median)
        yield [f'`{model}`, {name}', f'{m.median:.2f}', f"{measured['plain loop'].median/m.median:.1f}", f'{loading:.0%}']


def speed(args):
    data = load_data('cifar10') if args.images == 50_000 else make_shapes10(args.images, 256)
    rows = []
    for model in ('dilated_net','fast_net'): rows += speed_rows(data, model, torch.device(args.device), args.rounds)
    print(f'{where()}; {data.n_train:,} training images of {data.name}, n = {args.rounds} epochs each\n')
    print(table(['', 'seconds an epoch', 'times the plain loop', 'time for the loader alone, of it'], rows))


def read_settings(pairs):
    "`NAME=VALUE` pairs as a dict of numbers and booleans"
    return {name: json.loads(value) for name,_,value in (pair.partition('=') for pair in pairs)}


def pack(run, out):
    "Write the folder of a run into one file, `out/RUN.tar`"
    part = out/f'{run.name}.tar.part'
    with tarfile.open(part, 'w') as tar: tar.add(run, run.name)
    part.replace(out/f'{run.name}.tar')


def train_or_resume(run, seed, settings, args):
    "Train into the folder `run`, or go on with what is there; packs it into `args.out` after every epoch"
    def log(line):
        print(f'{run.name}: {line}', flush=True)
        pack(run, args.out)
    kwargs = dict(progress=False, log=log)
    if (run/'metrics.json').exists(): print(f'{run.name} is finished')
    elif (run/'config.json').exists(): train(resume=run, **kwargs)
    else: train(args.data, args.model, args.recipe, out=run, seed=seed, valid=args.valid, device=args.device, **settings, **kwargs)
    pack(run, args.out)
    return read_run(run)


def minutes_to(run, accuracy):
    "Minutes of training after which a run first reached `accuracy`"
    history = run.history
    passed = history.index[history['accuracy'] >= accuracy]
    if not len(passed): return 'not reached'
    return f"{history['seconds'][:passed[0]+1].sum()/60:.2f}"


def train_seeds(args):
    args.out.mkdir(parents=True, exist_ok=True)
    runs = {}
    with tempfile.TemporaryDirectory() as work:
        for seed in args.seeds:
            run = Path(work)/f'{args.model}_{args.recipe}_{seed}'
            archive = args.resume and args.resume/f'{run.name}.tar'
            if archive and archive.exists():
                with tarfile.open(archive) as tar: tar.extractall(work, filter='data')
            runs[seed] = train_or_resume(run, seed, read_settings(args.set), args)
    rows = []
    for seed,run in runs.items():
        minutes = run.history['seconds'].sum()/60
        accuracy = f"{run.metrics['accuracy']:.2%}"
        rows.append([seed, len(run.history), f'{minutes:.2f}', minutes_to(run, .85), minutes_to(run, .9), accuracy])
    accuracies = spread([100*run.metrics['accuracy'] for run in runs.values()])
    print(f'\n{where()}; {args.model}, {args.recipe}, {" ".join(args.set)}; n = {len(runs)}: {accuracies} %\n')
    print(table(['seed', 'epochs', 'minutes', 'to 85 %', 'to 90 %', 'accuracy'], rows))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = p.add_subparsers(dest='command', required=True)
    s = commands.add_parser('speed')
    s.add_argument('--rounds', type=int, default=3)
    s.add_argument('--images', type=int, default=50_000, help='other than all of CIFAR-10: this many of shapes10')
    t = commands.add_parser('train')
    t.add_argument('--recipe', choices=recipes, required=True)
    t.add_argument('--model', choices=models, required=True)
    t.add_argument('--set', nargs='+', default=[], metavar='NAME=VALUE', help='settings of the recipe')
    t.add_argument('--seeds', type=int, nargs='+', default=[1])
    t.add_argument('--data', default='cifar10', help='cifar10, found by $CIFAR9_DATA, or shapes10')
    t.add_argument('--valid', default='test', help='measure each epoch on: test, or a number of held-out training images')
    t.add_argument('--out', type=Path, required=True, help='folder for the packed runs')
    t.add_argument('--resume', type=Path, help='folder with the packed runs of an earlier call')
    for command in (s, t): command.add_argument('--device', default='cuda')
    args = p.parse_args()
    if args.device == 'cuda' and not torch.cuda.is_available():
        sys.exit('this machine has no GPU that torch can use; try the script with --device cpu')
    if args.command == 'train' and args.valid.isdigit(): args.valid = int(args.valid)
    dict(speed=speed, train=train_seeds)[args.command](args)


if __name__ == '__main__': main()
