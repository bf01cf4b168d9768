"Your own images: from a folder to a run, its answers and its figures; and what else a training can start from and report to"
import json
import os
import pickle
import subprocess
import sys
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from cifar9.cifar10 import load_data
from cifar9.datasets import make_shapes10
from cifar9.models import load_model
from cifar9.runs import evaluate, read_run, train

from test_command import check_error


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    "48 images of three shapes in three formats and many sizes, grey and in colour; and two damaged files"
    root,shapes,rng = tmp_path_factory.mktemp('own')/'shapes', make_shapes10(300, 100), np.random.default_rng(0)
    for label,n in zip((1,5,8), (16,20,12)):
        (root/shapes.classes[label]).mkdir(parents=True)
        for i,row in enumerate(np.flatnonzero(shapes.labels == label)[:n]):
            size = tuple(rng.integers(20, 300, 2).tolist())
            image = Image.fromarray(shapes.images[row]).resize(size).convert('L' if i%4 == 0 else 'RGB')
            image.save(root/shapes.classes[label]/f"{i:02}.{('png','jpg','webp')[i%3]}")
    (root/'star'/'00.png').write_bytes(b'')
    (root/'heart'/'01.jpg').write_bytes((root/'heart'/'01.jpg').read_bytes()[:200])
    return root


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch): monkeypatch.setenv('CIFAR9_CACHE', str(tmp_path_factory.getbasetemp()/'cache'))


@pytest.fixture(scope='module')
def run(folder, tmp_path_factory):
    "A run on the folder"
    out = tmp_path_factory.mktemp('runs')/'own'
    return train(folder, recipe='fast', epochs=1, skip_damaged=True, size=48, fit='pad', out=out, progress=False)


def test_damaged_files_are_named_and_left_out_only_if_asked(folder, cli, tmp_path):
    args = 'train', '--data', folder, '--recipe', 'fast', '--epochs', 1, '--out', tmp_path/'run'
    check_error(cli(*args), '2 of 48 files', 'heart/01.jpg', 'star/00.png', '--skip-damaged')
    assert not (tmp_path/'run').exists()
    r = cli(*args, '--skip-damaged')
    assert r.returncode == 0, r.stderr
    for said in ('left out 2 of 48 files', 'held out 6 of 46 images, 2 of each class', 'batches of 8 images'): assert said in r.stderr
    assert '6 of 6' in r.stdout or ' of 6)' in r.stdout


def test_a_progress_bar_changes_nothing(folder, capsys):
    shown = load_data(folder, size=40, skip_damaged=True, progress=True) # a size that is not in the cache
    assert (shown.images == load_data(folder, size=40, skip_damaged=True).images).all() and '100.00%' in capsys.readouterr().out


def test_a_run_remembers_how_its_images_were_read(run, folder):
    assert {key: run.config[key] for key in ('size','fit','skip_damaged','classes')} == dict(
        size=48, fit='pad', skip_damaged=True, classes=['bars','heart','star'])
    images = load_data(folder, 48, 'pad', True)
    np.testing.assert_allclose(run.config['mean'], images.stats[0])
    assert load_model(run.path).o.classify.weight.shape[0] == 3


def test_evaluate_predict_and_show_work_on_such_a_run(run, folder, cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path) # the path of the data is complete
    r = cli('evaluate', run.path, '--json')
    assert json.loads(r.stdout)['correct'] == run.metrics['correct'], r
    r = cli('predict', run.path, folder, '--json')
    assert r.returncode == 2 and len(r.stdout.splitlines()) == 46 and len(r.stderr.splitlines()) == 2
    assert all('48' in json.loads(line)['fitted'] and 'crop' not in line for line in r.stdout.splitlines())
    for kind in ('augment','confusion','classes','mistakes','calibration','curves','architecture'):
        r = cli('show', kind, run.path)
        assert r.returncode == 0 and (tmp_path/f'{kind}.png').stat().st_size > 5000, r.stderr


def test_a_run_on_a_folder_can_be_stopped_and_resumed(folder, tmp_path):
    def stop(line):
        if line.startswith('epoch 1'): raise KeyboardInterrupt
    args = dict(recipe='fast', epochs=2, skip_damaged=True, progress=False)
    with pytest.raises(KeyboardInterrupt): train(folder, out=tmp_path/'stopped', log=stop, **args)
    a,b = train(resume=tmp_path/'stopped', progress=False), train(folder, out=tmp_path/'straight', **args)
    a,b = (load_file(r.path/'model.safetensors') for r in (a,b))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_network_that_does_not_take_the_size_says_so_before_anything_is_written(folder, cli, tmp_path):
    r = cli('train', '--data', folder, '--skip-damaged', '--size', 64, '--out', tmp_path/'run')
    check_error(r, 'dilated_net does not take images of 64x64 pixels', 'atrous_net')
    check_error(cli('train', '--data', folder, '--skip-damaged', '--fit', 'stretch', '--out', tmp_path/'run'), "'stretch'")
    assert not (tmp_path/'run').exists()


def test_images_to_validate_on_are_not_the_test_images(folder, tmp_path):
    for kind in ('bars','heart'):
        for split,n in dict(train=8, valid=3, test=2).items():
            (tmp_path/'data'/split/kind).mkdir(parents=True)
            for file in sorted((folder/kind).glob('*.png'))[:n]: (tmp_path/'data'/split/kind/file.name).symlink_to(file)
    run = train(tmp_path/'data', recipe='fast', epochs=1, out=tmp_path/'run', progress=False)
    during,after = load_data(tmp_path/'data').during_training(), load_data(tmp_path/'data')
    assert (len(during.test_y), len(after.test_y), run.metrics['n']) == (6, 4, 4)
    assert run.history.accuracy[0] == pytest.approx(evaluate(run.path, during)['accuracy'], abs=1e-6)


def test_training_starts_from_the_weights_in_the_package(folder, cli, tmp_path):
    args = 'train', '--data', folder, '--skip-damaged', '--epochs', 1, '--recipe', 'fast', '--from', 'atrous_net'
    r = cli(*args, '--out', tmp_path/'run')
    assert r.returncode == 0, r.stderr
    own,given = (load_model(source).c1.whiten.weight for source in (tmp_path/'run', 'atrous_net'))
    assert torch.equal(own, given) # the recipe freezes this layer
    assert read_run(tmp_path/'run').config['start_from'] == 'atrous_net'
    check_error(cli(*args, '--model', 'fast_net', '--out', tmp_path/'b'), 'those of atrous_net, and the model is fast_net')
    check_error(cli(*args[:-1], 'nowhere', '--out', tmp_path/'b'), "'nowhere'")


def test_other_classes_are_not_evaluated(cli):
    check_error(cli('evaluate', 'dilated_net', '--data', 'shapes10'), '(airplane, automobile, bird, ...)', '(arrow, bars, circle, ...)')


def test_cifar100_works_like_a_folder(cli, tmp_path):
    shapes,labels = make_shapes10(200, 100), [i%100 for i in range(300)]
    def batch(images, labels):
        data = images.transpose(0,3,1,2).reshape(len(images),-1)
        return {b'data': data, b'fine_labels': labels, b'coarse_labels': labels, b'filenames': [b'a.png']*len(labels)}
    content = dict(meta={b'fine_label_names': [f'kind{i}'.encode() for i in range(100)]},
                   train=batch(shapes.train_x, labels[:200]), test=batch(shapes.test_x, labels[200:]))
    root = tmp_path/'cifar-100-python'
    root.mkdir()
    for name,o in content.items(): (root/name).write_bytes(pickle.dumps(o, protocol=2))
    with tarfile.open(tmp_path/'cifar-100-python.tar.gz', 'w:gz') as archive: archive.add(root, root.name)
    r = cli('train', '--data', tmp_path/'cifar-100-python.tar.gz', '--recipe', 'fast', '--epochs', 1, '--out', tmp_path/'run')
    assert r.returncode == 0, r.stderr
    assert len(read_run(tmp_path/'run').config['classes']) == 100
    r = cli('evaluate', tmp_path/'run', '--json')
    assert json.loads(r.stdout)['n'] == 100


@pytest.mark.parametrize('tracker', ['tensorboard','wandb'])
def test_a_tracker_gets_the_losses_and_changes_no_weights(tracker, tmp_path, monkeypatch):
    pytest.importorskip(tracker)
    for variable,value in dict(WANDB_MODE='offline', WANDB_SILENT='true').items(): monkeypatch.setenv(variable, value)
    args = dict(data=make_shapes10(320, 100), recipe='fast', epochs=2, bs=64, progress=False)
    plain,tracked = train(out=tmp_path/'plain', **args), train(out=tmp_path/'tracked', tracker=tracker, **args)
    a,b = (load_file(r.path/'model.safetensors') for r in (plain,tracked))
    assert all(torch.equal(a[name], b[name]) for name in a)
    if tracker == 'wandb': assert list((tmp_path/'tracked'/'wandb').glob('offline-run-*/run-*.wandb'))
    else:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
        events = EventAccumulator(str(tmp_path/'tracked'/'tensorboard'))
        events.Reload()
        assert len(events.Scalars('train_loss')) >= 10
        assert events.Scalars('accuracy')[-1].value == pytest.approx(tracked.metrics['accuracy'])


def test_a_tracker_that_is_not_installed_names_what_to_install(cli, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'wandb', None)
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    r = cli('train', '--data', 'shapes10', '--log', 'wandb', '--out', tmp_path/'run')
    check_error(r, 'wandb is not installed', 'pip install wandb')
    assert not (tmp_path/'run').exists()


def test_predicting_imports_no_training_library():
    code = 'import sys, cifar9.inference\nprint(*{"fastai","pandas","matplotlib","albumentations","scipy","sklearn"} & {*sys.modules})'
    r = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, env=os.environ)
    assert (r.returncode, r.stdout) == (0, '\n'), r.stderr


def test_version_and_completion(installed):
    assert installed('--version').stdout.startswith('cifar9 0.')
    shown = installed('--show-completion', _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION='1')
    assert '--show-completion' in installed('--help').stdout and 'Traceback' not in shown.stderr
    completed = installed(_CIFAR9_COMPLETE='complete_bash', COMP_WORDS='cifar9 pre', COMP_CWORD='1')
    assert 'predict' in completed.stdout
