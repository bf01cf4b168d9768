"""What an epoch costs beside its bare steps: shuffling, augmentation, callbacks, validation.

    python bench/epoch.py [--rounds N] [--images N]

Two networks with their recipes: `dilated_net` with one_cycle and `fast_net` with fast. `bare steps` run forward, loss, backward and
optimizer of the same network on one batch, in the same memory layout and precision. The epochs run in `train`'s Learner, over arrays
of the shape of CIFAR-10 (random bytes), with five training images for each validation image. Every variant is a process of its own
and they take turns."""
import argparse
from functools import partial

import numpy as np
from fastai.callback.progress import ProgressCallback

from cifar9.cifar10 import cifar10_classes
from cifar9.datasets import ImageArrays
from cifar9.models import create_model
from cifar9.recipes import recipes
from turns import bare_steps, table, take_turns, timed, where

valid_share = .2 # validation images for each training image


def make_learner(model, recipe, n_images, num_workers=0):
    rng = np.random.default_rng(0)
    n = n_images + int(n_images*valid_share)
    data = ImageArrays(rng.integers(0, 256, (n,32,32,3), dtype=np.uint8), rng.integers(0, 10, n), cifar10_classes, n_images)
    learn,_ = recipes[recipe](data, partial(create_model, model), dls_args=dict(num_workers=num_workers))
    learn.remove_cb(ProgressCallback)
    return learn


def all_bare_steps(model, recipe, n_images):
    learn = make_learner(model, recipe, n_images)
    steps = bare_steps(learn)
    def epochs(n): return [sum(steps(len(learn.dls.train))) for _ in range(n)]
    return epochs


def whole_epochs(model, recipe, n_images, num_workers):
    learn = make_learner(model, recipe, n_images, num_workers)
    def epoch():
        with learn.no_logging(): learn.fit(1, .01)
    return partial(timed, epoch)


def rows_of(model, recipe, n_images, rounds):
    "The rows of the table for one network"
    variants = {
        'bare steps': partial(all_bare_steps, model, recipe, n_images),
        'whole epoch, 0 workers': partial(whole_epochs, model, recipe, n_images, 0),
        'whole epoch, 2 workers': partial(whole_epochs, model, recipe, n_images, 2),
    }
    measured = take_turns(variants, rounds, 1)
    bare = measured['bare steps'].median
    for name,m in measured.items():
        yield [f'`{model}`, {name}', f'{m.median:.2f}', f'{m.median*50_000/n_images:.0f}', f'{m.median/bare:.2f}', f'{m.memory_gb:.2f}']


if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--rounds', type=int, default=4)
    p.add_argument('--images', type=int, default=5120)
    args = p.parse_args()
    rows = []
    for model,recipe in (('dilated_net','one_cycle'), ('fast_net','fast')): rows += rows_of(model, recipe, args.images, args.rounds)
    n_valid = int(args.images*valid_share)
    print(f'{where()}; {args.images:,} training and {n_valid:,} validation images, n = {args.rounds} epochs each\n')
    print(table(['', 'median s', 's for 50,000 and 10,000', 'of the bare steps', 'memory, GB'], rows))
