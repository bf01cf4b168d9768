"""Trainings that are killed, stopped, cut off from the disk, or started twice: nothing is lost but the last minutes, nothing half written.

Each piece of a training is a process that was forked from one that has imported everything."""
import json
import math
import multiprocessing
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

import pytest, torch
from safetensors.torch import load_file

from cifar9.augment import flip_shift_tfms
from cifar9.checkpoint import load_checkpoint
from cifar9.datasets import make_shapes10
from cifar9.loaders import cifar_dls
from cifar9.recipes import config_learner
from cifar9.runs import read_run, train

processes = multiprocessing.get_context('forkserver')
processes.set_forkserver_preload(['cifar9.runs', __name__] if __name__.startswith('tests') else ['cifar9.runs'])
results = ['config.json','curves.png','history.csv','metrics.json','model.safetensors']
recipes = { # with the precision, because 'auto' measures which one is faster, and a busy machine may change the answer
    'fast': dict(recipe='fast', epochs=3, precision='fp32'),
    'dropout': dict(recipe='brief', model='fast_net', epochs=3, precision='fp32'),
    'phases': dict(recipe='strong', epochs=2, precision='fp32'),
    'bf16': dict(recipe='one_cycle', model='fast_net', epochs=3, precision='bf16'),
}


def shapes(): return make_shapes10(256, 50)


def piece(folder, error, minutes, limit, arguments):
    "Begin the run in `folder` or continue it; write an error of this process into the file `error`"
    torch.set_num_threads(1)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN) # a file above the limit is then an OSError, as on a full disk
    if limit: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    common = dict(progress=False, checkpoint_minutes=minutes)
    try:
        if (folder/'config.json').exists(): train(shapes(), resume=folder, **common)
        else: train(shapes(), out=folder, bs=32, **common, **arguments)
    except BaseException as e:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        error.write_text(f'{type(e).__name__}: {e}\n\n{traceback.format_exc()}')
        raise


def start(folder, minutes=0., limit=None, **arguments):
    p = processes.Process(target=piece, args=(folder, folder.with_suffix('.txt'), minutes, limit, arguments))
    p.start()
    return p


def finish(folder, **arguments):
    "Train to the end; returns the run"
    p = start(folder, **arguments)
    p.join()
    assert p.exitcode == 0, folder.with_suffix('.txt').read_text()
    return read_run(folder)


@pytest.fixture(scope='module')
def uninterrupted(tmp_path_factory):
    "A function that returns the uninterrupted run of a recipe, trained once"
    folder,done = tmp_path_factory.mktemp('uninterrupted'),{}
    def run(name):
        if name not in done: done[name] = finish(folder/name, **recipes[name])
        return done[name]
    return run


def assert_same(run, expected):
    "The same weights, to the last bit, and the same history; no other files"
    a,b = (load_file(r.path/'model.safetensors') for r in (run, expected))
    assert same_tensors(a, b)
    columns = [name for name in expected.history if name != 'seconds']
    assert run.history[columns].equals(expected.history[columns])
    assert [f.name for f in sorted(run.path.iterdir()) if '.part' not in f.name] == results


def train_with_kills(folder, n_kills, seed, **arguments):
    "Kill the training at random moments, with another number of workers each time; returns the kills that it survived"
    rng,kills = random.Random(seed),0
    while kills < n_kills and not (folder/'metrics.json').exists():
        p = start(folder, **arguments)
        waits_for = folder/rng.choice(['config.json','checkpoint.pt','checkpoint_previous.pt'])
        while p.is_alive() and not waits_for.exists(): time.sleep(.01)
        p.join(rng.uniform(0, 2))
        if not p.is_alive(): assert p.exitcode == 0, folder.with_suffix('.txt').read_text()
        else:
            p.kill()
            p.join()
            kills += 1
        config = folder/'config.json'
        if config.exists(): config.write_text(json.dumps(json.loads(config.read_text()) | dict(num_workers=rng.choice([0,0,1,2]))))
    return kills


def check_kills(uninterrupted, tmp_path, name, n_kills):
    kills,expected = 0,uninterrupted(name)
    for seed in range(100):
        folder = tmp_path/f'{name}_{seed}'
        kills += train_with_kills(folder, n_kills-kills, seed, **recipes[name])
        run = read_run(folder) if (folder/'metrics.json').exists() else finish(folder, **recipes[name])
        assert_same(run, expected)
        if kills >= n_kills: break
    print(f'{name}: {kills} SIGKILLs in {seed+1} runs, the same weights to the last bit')


def test_a_killed_training_ends_with_the_same_weights(uninterrupted, tmp_path): check_kills(uninterrupted, tmp_path, 'fast', 4)


@pytest.mark.sweep
@pytest.mark.parametrize('name', recipes)
def test_fifty_kills_end_with_the_same_weights(uninterrupted, tmp_path, name): check_kills(uninterrupted, tmp_path, name, 13)


@pytest.mark.parametrize('num_workers', [0, 2, 3])
def test_a_loader_continues_behind_the_batches_that_are_done_in_their_order(num_workers):
    def loader(num_workers):
        tfms = flip_shift_tfms(2, 32, seed=1)
        return cifar_dls(shapes(), bs=32, tfms=tfms, num_workers=num_workers, device='cpu').train
    batches = [(x.clone(),y) for x,y in loader(0)]
    for k in (0, 1, 5, 8):
        dl = loader(num_workers)
        dl.first_batch = k
        rest = list(dl)
        assert len(rest) == 8-k and all(torch.equal(a, b) for pair,new in zip(batches[k:], rest) for a,b in zip(pair, new))
        assert len(list(dl)) == 8 # the next epoch is whole


@pytest.mark.parametrize('name, code', [
    ('SIGTERM', 143),
    pytest.param('SIGINT', 130, marks=pytest.mark.slow),
    pytest.param('SIGHUP', 129, marks=pytest.mark.slow)])
def test_a_signal_stops_after_the_batch_and_says_how_to_continue(tmp_path, name, code):
    out = tmp_path/'run'
    command = [sys.executable, '-m', 'cifar9', 'train', '--data', 'shapes10', '--recipe', 'fast', '--bs', '50', '--out', out]
    p = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (out/'config.json').exists(): time.sleep(.05)
    time.sleep(3) # now it trains
    p.send_signal(getattr(signal, name))
    stdout,stderr = p.communicate(timeout=60)
    assert (p.returncode, stdout) == (code, ''), stderr
    lines = stderr.splitlines()
    assert lines[-1].startswith('cifar9: stopped in epoch ') and lines[-1].endswith(f'continue with: cifar9 train --resume {out}'), stderr
    assert (out/'checkpoint.pt').exists()


def test_one_process_at_a_time_trains_in_a_folder(tmp_path):
    folder = tmp_path/'run'
    first = start(folder, minutes=5, recipe='fast', epochs=100)
    while not (folder/'history.csv').exists(): time.sleep(.05)
    for _ in range(2):
        with pytest.raises(ValueError, match='another process trains in'): train(shapes(), resume=folder, progress=False)
    with pytest.raises(FileExistsError, match='already holds a run'): train(shapes(), out=folder, progress=False)
    first.kill()
    first.join()
    assert read_run(folder).history.epoch.is_monotonic_increasing


def check_full_disk(uninterrupted, tmp_path, limits):
    n_cut = 0
    for limit in limits:
        folder = tmp_path/f'limit_{limit}'
        p = start(folder, limit=limit, **recipes['fast'])
        p.join()
        if p.exitcode != 0:
            n_cut += 1
            error = folder.with_suffix('.txt').read_text().splitlines()[0]
            assert 'File too large' in error and str(folder) in error, error
            for file in folder.iterdir():
                if file.suffix == '.json': json.loads(file.read_text())
            assert not [f for f in folder.iterdir() if '.part' in f.name]
        assert_same(finish(folder, **recipes['fast']) if p.exitcode else read_run(folder), uninterrupted('fast'))
    print(f'{n_cut} of {len(limits)} disks were full: one sentence with the name of the file each, then continued to the same weights')
    return n_cut


def test_a_full_disk_costs_nothing_that_was_written(uninterrupted, tmp_path):
    assert check_full_disk(uninterrupted, tmp_path, [1_000, 100_000]) == 2


@pytest.mark.sweep
def test_full_disks_of_many_sizes(uninterrupted, tmp_path):
    assert check_full_disk(uninterrupted, tmp_path, [1, 1_000, 4_000, 10_000, 100_000, 300_000, 600_000, 1_000_000]) >= 6


@pytest.mark.parametrize('lr', [1e9, 1e30])
def test_a_loss_that_is_no_number_ends_the_training_without_weights(cli, tmp_path, lr):
    r = cli('train', '--data', 'shapes10', '--model', 'fast_net', '--lr', lr, '--epochs', '1', '--bs', '50', '--out', tmp_path/'run')
    assert (r.returncode, r.stdout) == (2, '')
    sentence, = r.stderr.splitlines()
    assert sentence.startswith('cifar9: the ') and 'in epoch 1 of 1, after ' in sentence and 'lower lr' in sentence
    assert not (tmp_path/'run'/'model.safetensors').exists()


@pytest.fixture(scope='module')
def stopped_once(tmp_path_factory):
    "A run that is stopped after its second epoch of three; like the pieces, it computes with one thread"
    folder,threads = tmp_path_factory.mktemp('stopped')/'run', torch.get_num_threads()
    torch.set_num_threads(1)
    def stop(line):
        if line.startswith('epoch 2'): raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt): train(shapes(), out=folder, bs=32, progress=False, log=stop, **recipes['fast'])
    torch.set_num_threads(threads)
    return folder


@pytest.fixture
def stopped(stopped_once, tmp_path): return shutil.copytree(stopped_once, tmp_path/'stopped')


def test_changed_bits_of_a_checkpoint_are_found(stopped):
    file,rng = stopped/'checkpoint.pt',random.Random(0)
    learn,_ = config_learner(read_run(stopped).config, shapes())
    whole,n = file.read_bytes(),30
    whole_model = torch.load(file, weights_only=True)['model']
    for _ in range(n):
        damaged = bytearray(whole)
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        file.write_bytes(damaged)
        state = load_checkpoint(learn, file)
        assert state['file'].name == 'checkpoint_previous.pt' or state['epoch'] == 2
        if state['file'] == file: assert same_tensors(state['model'], whole_model)
    print(f'{n} checkpoints with one changed bit: none was read as it is')


def test_a_damaged_checkpoint_costs_only_what_came_after_the_one_before_it(stopped, uninterrupted):
    (stopped/'checkpoint.pt').write_bytes(b'damaged')
    p = start(stopped)
    while (stopped/'checkpoint.pt').exists() and (stopped/'checkpoint.pt').read_bytes() == b'damaged': time.sleep(.01)
    assert (stopped/'checkpoint_previous.pt').read_bytes() != b'damaged'
    p.join()
    assert_same(read_run(stopped), uninterrupted('fast'))


def same_tensors(a, b): return all(torch.equal(a[key], b[key]) for key in b)


@pytest.mark.parametrize('rows', [[], ['1'], ['1','1','2'], ['1','2','7']])
def test_a_history_that_lost_rows_is_written_anew(stopped, uninterrupted, rows):
    file = stopped/'history.csv'
    header,*lines = file.read_text().splitlines()
    by_epoch = {line.partition(',')[0]:line for line in lines} | {'7':lines[-1].replace('2,', '7,', 1)}
    file.write_text('\n'.join([header, *(by_epoch[row] for row in rows)])+'\n')
    assert_same(finish(stopped), uninterrupted('fast'))


def test_what_changed_since_the_start_is_said(stopped):
    config = json.loads((stopped/'config.json').read_text())
    config['machine']['threads'],config['versions']['torch'] = 7,'2.0'
    (stopped/'config.json').write_text(json.dumps(config))
    lines = []
    train(shapes(), resume=stopped, progress=False, log=lines.append)
    assert 'threads was 7 and is' in lines[0] and 'torch was 2.0 and is' in lines[0]


def test_an_accuracy_of_guessing_is_said(tmp_path):
    lines = []
    train(shapes(), recipe='fast', epochs=1, bs=32, lr=1e-8, out=tmp_path/'run', progress=False, log=lines.append)
    assert 'what guessing gives' in lines[-1]


def test_a_home_folder_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    run = train(shapes(), recipe='fast', epochs=1, bs=32, out='~/run', progress=False)
    assert run.path == tmp_path/'run'
    with pytest.raises(ValueError, match='is done, all 1 epochs'): train(resume='~/run')
    assert not Path('~').exists()


def change_config(folder, **changes):
    file = folder/'config.json'
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize('key, value, reason', [
    ('recipe', 'slow', "unknown recipe 'slow'"),
    ('model', 'slow_net', "unknown model 'slow_net'"),
    ('valid', 7, 'cannot hold out 7'),
    ('settings', {'lr':-1}, 'lr is -1'),
    ('settings', {'epochs':'a'}, "epochs is 'a'"),
    ('settings', {'rate':1}, "no setting 'rate'"),
    ('augmentation', [{}], 'the augmentation of the config cannot be made again'),
    ('augmentation', [3], 'the augmentation of the config cannot be made again'),
    ('augmentation', [{'train':{'__class_fullname__':'os.system'}}], 'the augmentation of the config cannot be made again')])
def test_what_is_wrong_in_a_record_names_the_file_on_resume(stopped, key, value, reason):
    change_config(stopped, **{key:value})
    with pytest.raises(ValueError) as e: train(shapes(), resume=stopped, progress=False)
    assert str(e.value).startswith(f"'{stopped/'config.json'}' is damaged") and reason in str(e.value)
    assert (stopped/'checkpoint.pt').exists()


def test_a_run_of_another_kind_of_device_continues_here(stopped, uninterrupted):
    change_config(stopped, device='xpu:0')
    assert_same(finish(stopped), uninterrupted('fast'))


def test_fewer_epochs_than_a_checkpoint_has_do_not_finish_it(stopped):
    config = json.loads((stopped/'config.json').read_text())
    change_config(stopped, settings=config['settings'] | dict(epochs=1))
    with pytest.raises(ValueError, match='is from epoch 2, but config.json says 1 epochs'): train(shapes(), resume=stopped, progress=False)
    assert not (stopped/'model.safetensors').exists()


@pytest.mark.parametrize('changes, reason', [
    (dict(epoch=99), 'is from epoch 99, but config.json says 3 epochs'),
    (dict(epoch=3), 'no row for each of its 3 epochs'),
    (dict(record=None), 'record is None'),
    (dict(record={}), 'no row for each of its 2 epochs'),
    (dict(epoch='a'), "epoch is 'a'"),
    (dict(random={}), 'torch'),
    (dict(last_epoch=math.nan), 'last_epoch is nan')])
def test_a_forged_checkpoint_is_one_sentence(stopped, changes, reason):
    file = stopped/'checkpoint.pt'
    torch.save(torch.load(file, weights_only=True) | changes, file)
    (stopped/'checkpoint_previous.pt').unlink()
    with pytest.raises(ValueError, match=reason) as e: train(shapes(), resume=stopped, progress=False)
    assert str(file) in str(e.value) and '\n' not in str(e.value)


@pytest.mark.parametrize('minutes', [None, '5', -1, math.nan])
def test_minutes_that_are_no_number_are_one_sentence_before_anything_is_written(tmp_path, minutes):
    with pytest.raises(ValueError, match='expected a number of 0 or more'):
        train(shapes(), recipe='fast', epochs=1, out=tmp_path/'run', checkpoint_minutes=minutes, progress=False)
    assert not (tmp_path/'run').exists()
