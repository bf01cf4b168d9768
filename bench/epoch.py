"""What a whole epoch costs beside its bare steps: shuffling, augmentation, callbacks, validation.

    python bench/epoch.py [--rounds N] [--images N]

Two networks with their recipes, `dilated_net` with one_cycle and `fast_net` with fast. `bare steps` run forward, loss, backward and optimizer of the same network on one batch that is already there, in the same layout, precision and order of computing.
The epochs go through `train`'s Learner over arrays of the shape of CIFAR-10 (random bytes), five training images to each one validated on, as there. Every variant is a process of its own and they take turns."""
import argparse, time
from functools import partial

import numpy as np

from cifar9.datasets import ImageArrays

from cifar9.cifar10 import cifar10_classes
from cifar9.recipes import recipes
from cifar9.models import create_model
from fastai.callback.progress import ProgressCallback
from turns import bare_steps, median, table, take_turns, where

share = .2 # of a data set, for validation images beside each training image


def learner(model, recipe, images, num_workers):
    rng,n = np.random.default_rng(0), images+int(images*share)
    data = ImageArrays(rng.integers(0, 256, (n,32,32,3), dtype=np.uint8), rng.integers(0, 10, n), cifar10_classes, images)
    learn,_ = recipes[recipe](data, partial(create_model, model), dls_args=dict(num_workers=num_workers))
    learn.remove_cb(ProgressCallback)
    return learn


def bare(model, recipe, images):
    learn = learner(model, recipe, images, 0)
    steps,per_epoch = bare_steps(learn), len(learn.dls.train)
    return lambda n: [sum(steps(per_epoch)) for _ in range(n)]


def whole(model, recipe, images, num_workers):
    learn = learner(model, recipe, images, num_workers)
    def epochs(n):
        times = []
        for _ in range(n):
            began = time.perf_counter()
            with learn.no_logging(): learn.fit(1, .01)
            times.append(time.perf_counter()-began)
        return times
    return epochs


if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--rounds', type=int, default=4)
    p.add_argument('--images', type=int, default=5120)
    args = p.parse_args()
    pairs,rows = (('dilated_net','one_cycle'),('fast_net','fast')), []
    for pair in pairs:
        told = take_turns({'bare steps': partial(bare, *pair, args.images), 'whole epoch, 0 workers': partial(whole, *pair, args.images, 0), 'whole epoch, 2 workers': partial(whole, *pair, args.images, 2)}, args.rounds, 1)
        rows += [[f'`{pair[0]}`, {name}', f'{t:.2f}', f'{t*50_000/args.images:.0f}', f"{t/median(told, 'bare steps'):.2f}", f'{gb:.2f}'] for name,(_,gb) in told.items() for t in [median(told, name)]]
    print(f'{where()}; {args.images:,} training and {int(args.images*share):,} validation images, n = {args.rounds} epochs each\n')
    table(['','median s','s for 50,000 and 10,000','of the bare steps','memory, GB'], rows)
