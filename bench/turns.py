"""What the scripts beside this one share: clocks, variants that take turns, and tables.

Variants take turns so that a machine whose speed drifts treats them alike."""
import gc
import statistics
import time
from dataclasses import dataclass, field
from multiprocessing import get_context, set_start_method

import torch

from cifar9.learner import keep_freed_memory
from cifar9.runs import machine, peak_memory, versions


def timed(run, n=1):
    "Seconds of each of `n` calls of `run`"
    times = []
    for _ in range(n):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return times


@dataclass
class Measured:
    "What was measured of one variant"
    times:list = field(default_factory=list) # seconds of each step
    memory_gb:float = None                   # the most that its process held

    @property
    def median(self): return statistics.median(self.times)


def alternate(runs, rounds):
    "Time functions without arguments, `{name: function}`, which take turns in this process after a round that is not counted"
    measured = {name: Measured() for name in runs}
    for run in runs.values(): run()
    for _ in range(rounds):
        for name,run in runs.items(): measured[name].times += timed(run)
    return measured


def _serve(make_steps, pipe):
    "Runs in a process of its own: receives a number of steps, sends back their times; 0 ends it"
    set_start_method(None, force=True) # a loader starts its workers as in a process that a user started, and not by spawning
    steps = make_steps()
    steps(1) # warm up
    gc.collect()
    pipe.send('ready')
    while n := pipe.recv(): pipe.send((steps(n), peak_memory()))


def take_turns(variants, rounds, n):
    """Time variants, `{name: function}`, each in a process of its own: `rounds` turns of `n` steps.

    A variant is called without arguments and returns `steps(n)`, a function that returns the seconds of n steps."""
    context,pipes = get_context('spawn'), {}
    for name,make_steps in variants.items():
        pipes[name],pipe = context.Pipe()
        context.Process(target=_serve, args=(make_steps, pipe)).start()
        pipes[name].recv()
    measured = {name: Measured() for name in variants}
    for _ in range(rounds):
        for name,pipe in pipes.items():
            pipe.send(n)
            times,measured[name].memory_gb = pipe.recv()
            measured[name].times += times
    for pipe in pipes.values(): pipe.send(0)
    return measured


def bare_steps(learn):
    "`steps(n)` of a Learner without fastai's loop: forward, loss, backward and optimizer on one batch, computed as in training"
    keep_freed_memory()
    learn.model.to(memory_format=torch.channels_last)
    learn.model.train()
    learn.create_opt()
    x,y = (part.as_subclass(torch.Tensor) for part in learn.dls.one_batch())
    def step():
        learn.loss_func(learn.model(x), y).backward()
        learn.opt.step()
        learn.opt.zero_grad()
    def steps(n):
        with learn.training_forward(): return timed(step, n)
    return steps


def where():
    "One line: the machine and the versions that matter"
    m,v = machine(),versions()
    gains = 'yes' if m['gains_by_bf16'] else 'no'
    return f"{m['cores']} cores of {m['cpu']}, {m['gpu'] or 'no GPU'}, gains by bfloat16: {gains}; torch {v['torch']}, fastai {v['fastai']}"


def table(head, rows):
    "A Markdown table"
    lines = [head, ['---']*len(head), *rows]
    return '\n'.join(f"| {' | '.join(map(str, line))} |" for line in lines)


def spread(xs):
    "Mean and, of several numbers, standard deviation"
    mean = f'{statistics.mean(xs):.2f}'
    return f'{mean} ± {statistics.stdev(xs):.2f}' if len(xs) > 1 else mean
