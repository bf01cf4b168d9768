"""Two processes train one model: as `torchrun` starts them, on the CPU, with gloo.

They see the images of one process, in its batches and with its augmentation, and end with its weights."""
import os
import signal
import socket
import subprocess
import sys
import time

import pytest, torch
from safetensors.torch import load_file
from torch import multiprocessing

from cifar9.augment import flip_shift_tfms
from cifar9.datasets import make_shapes10
from cifar9.loaders import cifar_dls
from cifar9.ranks import process_group, share_items, wait_for_ranks
from cifar9.recipes import config_learner
from cifar9.runs import read_run, train

n_ranks = 2
shapes = make_shapes10(330, 101)
cases = { # a low rate, because differences in the last digit grow from step to step
    'fast': dict(recipe='fast', epochs=2, bs=64, lr=.001, sync_norm=True),
    'phases': dict(recipe='strong', epochs=1, bs=64, lr=.001, sync_norm=True),
    'workers': dict(recipe='one_cycle', model='fast_net', epochs=1, bs=64, lr=.001, num_workers=2, sync_norm=True),
    'own norms': dict(recipe='fast', epochs=1, bs=64, lr=.001),
}


def be_rank(rank, port):
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(n_ranks), MASTER_ADDR='localhost', MASTER_PORT=str(port))


def run_rank(rank, folder, port):
    be_rank(rank, port)
    multiprocessing.set_start_method('fork', force=True) # for the workers, as in a process that a user starts
    for name,arguments in cases.items(): train(shapes, out=folder/name, progress=False, precision='fp32', **arguments)


def free_port():
    with socket.socket() as s:
        s.bind(('localhost', 0))
        return s.getsockname()[1]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    "Run folders of two ranks"
    folder = tmp_path_factory.mktemp('ranks')
    multiprocessing.spawn(run_rank, args=(folder, free_port()), nprocs=n_ranks)
    return folder


def weights(tensors): return torch.cat([t.flatten() for name,t in sorted(tensors.items()) if t.is_floating_point()])


@pytest.mark.parametrize('name', cases)
def test_two_ranks_end_with_the_weights_of_one_process(folder, tmp_path, name):
    together = read_run(folder/name)
    alone = train(shapes, out=tmp_path/'alone', progress=False, precision='fp32', **cases[name])
    assert (together.config['machine']['ranks'], alone.config['machine']['ranks']) == (2, 1)
    learn,_ = config_learner(alone.config, shapes)
    a,b = (weights(load_file(run.path/'model.safetensors')) for run in (alone, together))
    difference = ((a-b).norm()/(a-weights(learn.model.state_dict())).norm()).item()
    print(f'{name}: the weights differ by {difference:.1e} of their way')
    if name == 'own norms': assert 1e-3 < difference < 1 # each rank normalizes its share with statistics of its own
    else:
        assert difference < 1e-3
        columns = ['train_loss','train_accuracy','valid_loss','accuracy']
        assert abs(alone.history[columns] - together.history[columns]).max().max() < 1e-3
        assert together.metrics['n'] == 101 and together.metrics['correct'] == alone.metrics['correct']


def train_twice(rank, port):
    be_rank(rank, port)
    for _ in range(2):
        with process_group():
            wait_for_ranks()
            if rank == 0: time.sleep(1) # the other one is out before


def test_a_second_training_waits_for_no_rank_that_is_still_in_the_first():
    ranks = multiprocessing.spawn(train_twice, args=(free_port(),), nprocs=n_ranks, join=False)
    end = time.monotonic() + 60
    try:
        while not ranks.join(timeout=1): assert time.monotonic() < end, 'the ranks wait for each other'
    finally:
        for p in ranks.processes: p.kill()


@pytest.mark.parametrize('n, bs, num_workers', [(2,8,0), (2,8,2), (3,9,0), (3,9,2), (4,8,0)])
def test_ranks_share_each_batch_and_validate_each_image_once(n, bs, num_workers):
    def loaders(**kwargs):
        dls = cifar_dls(make_shapes10(103, 30), bs=bs, tfms=flip_shift_tfms(2, 32, seed=1), num_workers=num_workers, device='cpu')
        if kwargs: share_items(dls, **kwargs)
        return dls
    ranks = [[[x.clone() for x,_ in dl] for dl in loaders(rank=rank, n=n)] for rank in range(n)]
    assert [len(dl) for dl in loaders(rank=0, n=n)] == [len(batches) for batches in ranks[0]]
    for k,batch in enumerate(x for x,_ in loaders().train):
        assert torch.equal(torch.stack([rank[0][k] for rank in ranks], 1).flatten(0, 1), batch)
    assert sum(len(batch) for rank in ranks for batch in rank[1]) == 30


@pytest.mark.slow
def test_a_rank_that_dies_ends_the_job_with_a_checkpoint_that_one_process_continues(tmp_path):
    out = tmp_path/'run'
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2', '-m', 'cifar9', 'train',
               '--data', 'shapes10', '--recipe', 'fast', '--epochs', '3', '--bs', '200', '--out', out, '--checkpoint-minutes', '0']
    p = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while not (out/'checkpoint.pt').exists():
        assert p.poll() is None, p.stdout.read()
        time.sleep(.1)
    children = subprocess.run(['ps','--ppid',str(p.pid),'-o','pid='], capture_output=True, text=True).stdout.split()
    os.kill(int(children[-1]), signal.SIGKILL)
    output,_ = p.communicate(timeout=120)
    assert p.returncode != 0 and not (out/'metrics.json').exists(), output
    resumed = subprocess.run([sys.executable, '-m', 'cifar9', 'train', '--resume', out], capture_output=True, text=True)
    assert resumed.returncode == 0, resumed.stderr
    assert 'ranks was 2 and is 1' in resumed.stderr
    assert read_run(out).history.epoch.tolist() == [1,2,3]


@pytest.mark.slow
def test_accelerate_launch_trains_as_one_process_does(tmp_path):
    "`--multi_gpu` is accelerate's word for several processes; without GPUs, they compute on the CPU"
    pytest.importorskip('accelerate')
    settings = dict(epochs=1, bs=200, lr=.001)
    options = ['--recipe', 'fast', '--epochs', '1', '--bs', '200', '--lr', '.001', '--precision', 'fp32', '--sync-norm']
    launch = ['--multi_gpu', '--num_processes', '2', '--num_machines', '1', '--main_process_port', '0', '--mixed_precision', 'no']
    command = [sys.executable, '-m', 'accelerate.commands.launch', *launch, '-m', 'cifar9', 'train', '--data', 'shapes10', *options]
    r = subprocess.run([*command, '--out', tmp_path/'together'], capture_output=True, text=True)
    assert r.returncode == 0, r.stderr
    together = read_run(tmp_path/'together')
    alone = train('shapes10', recipe='fast', precision='fp32', out=tmp_path/'alone', progress=False, **settings)
    assert (together.config['machine']['ranks'], together.metrics['n']) == (2, 1000)
    assert r.stdout.count('run folder:') == 1 # of two processes, the first one prints
    learn,_ = config_learner(alone.config, make_shapes10())
    a,b = (weights(load_file(run.path/'model.safetensors')) for run in (alone, together))
    difference = ((a-b).norm()/(a-weights(learn.model.state_dict())).norm()).item()
    print(f'accelerate launch: the weights differ by {difference:.1e} of their way')
    assert difference < 1e-3
