"Variants that take turns, each in a process of its own: what the scripts beside this one share"
import gc, statistics, time
from multiprocessing import get_context, set_start_method

import torch

from cifar9.runs import machine, peak_memory, versions


def _serve(make, pipe):
    "In a process of its own: times of so many steps, as often as asked"
    set_start_method(None, force=True) # workers of a loader begin as in a process that a user began, not by spawning
    run = make()
    run(1) # warm up
    gc.collect()
    pipe.send('ready')
    while n := pipe.recv(): pipe.send((run(n), peak_memory()))


def take_turns(variants, rounds, n):
    "`{name: (times, peak memory in GB)}` of `rounds` turns of `n`; a variant is a function that makes `run(n)`, which returns n times in seconds"
    spawn,pipes,times,memory = get_context('spawn'),{},{name: [] for name in variants},{}
    for name,make in variants.items():
        pipes[name],theirs = spawn.Pipe()
        spawn.Process(target=_serve, args=(make, theirs)).start()
        pipes[name].recv()
    for _ in range(rounds):
        for name,pipe in pipes.items():
            pipe.send(n)
            ts,memory[name] = pipe.recv()
            times[name] += ts
    for pipe in pipes.values(): pipe.send(0)
    return {name: (times[name], memory[name]) for name in variants}


def bare_steps(learn):
    "`steps(n)` of a Learner without fastai's loop: forward, loss, backward, optimizer on one batch that is already there, in the same layout, precision and order of computing"
    learn.create_opt()
    batch = learn.dls.one_batch()
    x,y = (b.as_subclass(torch.Tensor) for b in batch)
    for name in ('keep_memory','channels_last','folded_norms','fast_dropout','bf16','one_phase'):
        if hasattr(learn, name): getattr(learn, name)('before_fit')
    learn.model.train()
    if hasattr(learn, 'one_phase'): learn.one_phase('before_train')
    def steps(n):
        times = []
        for _ in range(n):
            began = time.perf_counter()
            with torch.autocast('cpu', torch.bfloat16, enabled=hasattr(learn, 'bf16')): pred = learn.model(x)
            learn.loss_func(pred.float(), y).backward()
            learn.opt.step()
            learn.opt.zero_grad()
            times.append(time.perf_counter()-began)
        return times
    return steps


def median(told, name): return statistics.median(told[name][0])


def where(*packages):
    "One line: the machine and the versions that matter"
    m,v = machine(),versions()
    return f"{m['cores']} cores of {m['cpu']}, {m['gpu'] or 'no GPU'}, gains by bfloat16: {'yes' if m['gains_by_bf16'] else 'no'}; " + ', '.join(f'{p} {v[p]}' for p in packages or ('torch','fastai'))


def table(head, rows):
    print('| '+' | '.join(head)+' |\n'+'|---'*len(head)+'|')
    for row in rows: print('| '+' | '.join(row)+' |')
