"""How long a user waits before anything happens.

    python bench/startup.py [--rounds N]

Each figure is the wall clock of a process of its own, from start to end. The variants take turns, after a round that fills the
caches of the system and of the project. Without CIFAR-10 on the machine, the last two use shapes10."""
import argparse
import subprocess
import sys
from functools import partial
from pathlib import Path

from cifar9.cifar10 import find_cifar10
from turns import alternate, table, where

load = '''
from cifar9.cifar10 import load_data
data = load_data({data!r})
'''
batch = load + '''
from cifar9.augment import flip_shift_tfms
from cifar9.loaders import cifar_dls
cifar_dls(data, 128, flip_shift_tfms(2)).one_batch()
'''


def data_on_this_machine():
    try: find_cifar10()
    except (OSError, ValueError): return 'shapes10'
    return 'cifar10'


def commands(data):
    "`{name: command line}`"
    def python(code): return [sys.executable, '-c', code.format(data=data)]
    cifar9 = Path(sys.executable).with_name('cifar9')
    return {
        'an empty python': python(''),
        '`import cifar9`': python('import cifar9'),
        '`cifar9 --help`': [cifar9, '--help'],
        '`cifar9 train --help`': [cifar9, 'train', '--help'],
        '`cifar9 check strided_net`': [cifar9, 'check', 'strided_net'],
        '`import cifar9.augment`': python('import cifar9.augment'),
        '`import cifar9.learner`': python('import cifar9.learner'),
        f'load {data}': python(load),
        f'first batch of {data}, augmented': python(batch),
    }


def run(command):
    "Run a command to its end; exit code 1 without a traceback is the answer no, as of `cifar9 check`"
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode > 1 or 'Traceback' in result.stderr: sys.exit(f'{command} failed:\n{result.stderr}')


if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--rounds', type=int, default=7)
    args = p.parse_args()
    measured = alternate({name: partial(run, command) for name,command in commands(data_on_this_machine()).items()}, args.rounds)
    print(f'{where()}; n = {args.rounds} processes each\n')
    print(table(['', 'median s'], [[name, f'{m.median:.2f}'] for name,m in measured.items()]))
