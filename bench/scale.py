"""Seconds an epoch with one process and with two ranks of `torchrun`, on one machine's CPU: a table

    python bench/scale.py [--rounds 3] [--recipe fast]

Each variant trains `shapes10` for three epochs, by turns; the first epoch, in which kernels are chosen, is left out."""
import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from cifar9.recorder import machine, versions
from cifar9.run_folder import read_run

variants = { # name: threads of a process, what starts the command
    'one process, one thread': (1, [sys.executable]),
    'one process, two threads': (2, [sys.executable]),
    'two ranks, one thread each': (1, [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2']),
}


def epoch_seconds(threads, start, recipe):
    "Median seconds of the later epochs of a training"
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)/'run'
        command = [*start, '-m', 'cifar9', 'train', '--data', 'shapes10', '--recipe', recipe, '--epochs', '3', '--bs', '200', '--out', out]
        subprocess.run(command, check=True, capture_output=True, env=os.environ | dict(OMP_NUM_THREADS=str(threads)))
        return statistics.median(read_run(out).history.seconds[1:])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--recipe', default='fast')
    args = parser.parse_args()
    seconds = {name:[] for name in variants}
    for _ in range(args.rounds):
        for name,(threads,start) in variants.items(): seconds[name].append(epoch_seconds(threads, start, args.recipe))
    facts = machine()
    print(f"{facts['cores']} cores of {facts['cpu']}, GPU: {facts['gpu']}; torch {versions()['torch']}")
    print(f'recipe {args.recipe}, n = {args.rounds}\n')
    print('| | median s an epoch | speed |\n|---|---|---|')
    first = statistics.median(seconds['one process, one thread'])
    for name,values in seconds.items(): print(f'| {name} | {statistics.median(values):.2f} | {first/statistics.median(values):.2f} |')


if __name__ == '__main__': main()
