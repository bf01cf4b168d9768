"""The candidates for the strongest network under the brief, in one table: what they hold, what they cost, how accurate they get.

    python bench/candidates.py [--rounds N] [--epochs N]

An epoch is 391 training steps of 128 images, timed in turns without loader and augmentation; where a network has phases, a step computes
one of them. `probe` is the accuracy of 5,000 held-out training images after the short runs of `what_helps.py --recipe one_cycle` that are
in its record, `long run` the test accuracy of the runs of the network under `runs/long` and in the package that used the brief's
augmentations."""
import argparse
from functools import partial
from pathlib import Path

from cifar9.datasets import make_shapes10
from cifar9.recipes import recipes
from cifar9.run_folder import read_run
from cifar9.summary import layer_table
from turns import alternate, bare_steps, spread, table, where
from what_helps import changes, read_accuracies

root = Path(__file__).parents[1]
bs,n_train = 128,50_000
candidates = changes['one_cycle']


def make_step(data, candidate):
    "A function that makes one step of a candidate's training"
    learn,_ = recipes['one_cycle'](data, bs=bs, **candidate.settings)
    return partial(bare_steps(learn), 1)


def probes(name, epochs):
    "Accuracies of the short runs of a candidate, in percent"
    return [100*accuracy for key,accuracy in read_accuracies().items() if key[:2] == ('one_cycle', name) and key[3] == epochs]


def long_runs():
    "`{model: test accuracies in percent}` of finished runs with the brief's augmentations"
    folders = [f.parent for parent in ('runs/long','cifar9/weights') for f in sorted((root/parent).glob('**/metrics.json'))]
    accuracies = {}
    for run in map(read_run, folders):
        if run.config['settings'].get('brief_aug') and run.config['valid'] == 'test':
            # a set: a run of the package is a copy of one under runs/long
            accuracies.setdefault(run.config['model'], set()).add(100*run.metrics['accuracy'])
    return accuracies


def row(name, measured, epochs, finals):
    "A candidate's row; the candidate `the recipe` is `blueprint_net`"
    name_of_model = 'blueprint_net' if name == 'the recipe' else name
    layers = layer_table(candidates[name].settings['model'](drop=0.))
    seconds = measured[name].median*n_train/bs
    def mean(values): return f'{spread(sorted(values))}, n = {len(values)}' if values else ''
    return [name_of_model, f'{layers.total:,}', f'{layers.macs/1e6:.1f} M', f'{seconds:.0f}',
            mean(probes(name, epochs)), mean(finals.get(name_of_model, []))]


if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--rounds', type=int, default=9, help='timed steps of each network')
    p.add_argument('--epochs', type=int, default=4, help='of the short runs')
    args = p.parse_args()
    data = make_shapes10(2*bs, 10)
    measured = alternate({name: make_step(data, candidate) for name,candidate in candidates.items()}, args.rounds)
    finals = long_runs()
    rows = [row(name, measured, args.epochs, finals) for name in candidates]
    print(f'{where()}; n = {args.rounds} steps; short runs of {args.epochs} epochs\n')
    head = ['network', 'parameters', 'multiply-accumulates', 's an epoch', 'probe, %', 'long run, %']
    print(table(head, sorted(rows, key=lambda r: r[4], reverse=True)))
