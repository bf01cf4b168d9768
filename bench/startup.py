"""How long one waits before anything happens.

    python bench/startup.py [--rounds N]

Every figure is the wall clock of a process of its own, begun and ended, the variants taking turns; before them each ran once, so that files are in the system's cache and CIFAR-10 in the project's. Without a CIFAR-10 on the machine, the last three take shapes10."""
import argparse, statistics, subprocess, sys, time
from pathlib import Path

from cifar9.cifar10 import find_cifar10
from turns import table, where

load = 'from cifar9.data import load_data, cifar_dls; data = load_data({!r})'
batch = load + '; from cifar9.augment import flip_shift_tfms; cifar_dls(data, 128, flip_shift_tfms(2)).one_batch()'


def variants(data):
    def python(code): return [sys.executable, '-c', code]
    command = Path(sys.executable).with_name('cifar9')
    return {'an empty python': python(''), '`import cifar9`': python('import cifar9'), '`cifar9 --help`': [command, '--help'], '`cifar9 train --help`': [command, 'train', '--help'], '`cifar9 check`': [command, 'check'],
            '`import cifar9.augment`': python('import cifar9.augment'), '`import cifar9.learner`': python('import cifar9.learner'),
            f'load {data}': python(load.format(data)), f'first batch of {data}, augmented': python(batch.format(data))}


if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--rounds', type=int, default=7)
    args = p.parse_args()
    try:
        find_cifar10()
        data = 'cifar10'
    except (OSError, ValueError): data = 'shapes10'
    times = {name: [] for name in variants(data)}
    for k in range(1+args.rounds):
        for name,command in variants(data).items():
            began = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            if k: times[name].append(time.perf_counter()-began)
    print(f'{where()}; n = {args.rounds} processes each\n')
    table(['','median s'], [[name, f'{statistics.median(ts):.2f}'] for name,ts in times.items()])
