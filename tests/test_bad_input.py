"""Bad input of users: settings, records and images are fine, or one sentence before anything is written.

The cases are those of `bench/trust.py`.

`pytest -s tests/test_bad_input.py` prints the counts; `pytest -m sweep tests/test_bad_input.py` tries all cases."""
import json
import math
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]/'bench'))
import trust
from cifar9.export import export_hub
from cifar9.inference import Predictor, find_images
from cifar9.models import create_model, load_model, save_model
from cifar9.recipes import recipe_settings
from cifar9.recorder import read_history
from cifar9.run_folder import read_run
from cifar9.weights_file import save_weights
import test_hostile
from test_hostile import check

folder = test_hostile.folder # a fixture


def test_numbers_and_options(folder): check(trust.part_of(trust.option_cases(folder), .08), least=15)


def test_changed_configs(folder): check(trust.config_cases(folder, 12), least=20)


def test_image_files(folder): check(trust.part_of(trust.file_cases(folder/'images'), .3), least=10)


def test_arrays_tensors_and_images(): check(trust.object_cases(), least=100)


@pytest.mark.sweep
def test_all_numbers_and_options(folder): check(trust.option_cases(folder), least=200)


@pytest.mark.sweep
def test_all_changed_configs(folder): check(trust.config_cases(folder, 950), least=500)


def refuse(sentence): raise ValueError(sentence)


@pytest.mark.parametrize('bad', [
    lambda: 1/0,                      # another exception
    lambda: {'loss': math.nan},       # a number that is not finite
    lambda: refuse('two\nlines')])    # an error of two lines
def test_the_count_finds_what_is_bad(bad):
    counts = trust.count([('bad', bad)], show=False)
    assert counts['traceback'] + counts['wrong'] == 1


def test_the_count_finds_a_file_that_was_written_before_the_error(tmp_path):
    def call():
        (tmp_path/'config.json').touch()
        recipe_settings('fast', wd=-1)
    assert trust.count([('late', lambda: trust.unless_written(call, tmp_path))], show=False)['traceback'] == 1


@pytest.fixture
def saved(tmp_path):
    "A model in a folder"
    return save_model(create_model('fast_net', n_out=2), tmp_path/'saved', ['cat','dog'], (.5,.5,.5), (.2,.2,.2))


@pytest.mark.parametrize('value', [math.nan, math.inf, -math.inf])
def test_weights_that_are_not_finite_are_refused_by_the_command(saved, value, cli, tmp_path):
    model = load_model(saved)
    model.o.classify.bias.data[0] = value
    save_weights(model, saved/'model.safetensors')
    Image.new('RGB', (32,32)).save(tmp_path/'x.png')
    for command in (['predict', saved, tmp_path/'x.png'], ['evaluate', saved, '--data', 'shapes10'],
                    ['export', saved, '--format', 'hub', '--out', tmp_path/'hub']):
        r = cli(*command)
        assert r.returncode == 2 and r.stderr.count('\n') == 1
        assert 'model.safetensors' in r.stderr and 'are not finite' in r.stderr


def test_finite_weights_with_scores_that_are_not_are_refused(saved):
    model = load_model(saved)
    for p in model.parameters(): p.data.fill_(1e38)
    with pytest.raises(ValueError, match='not finite'): Predictor(model).predict(np.ones((32,32,3), np.uint8))


@pytest.mark.parametrize('key, value', [
    ('mean', [math.nan]*3), ('std', [0,.2,.2]), ('classes', ['cat','cat']), ('size', 10**9), ('fit', 'x'), ('model', 3), ('data', ['a']),
    ('args', {'drop':'a'}), ('args', {'name':1}), ('args', {'widths':1})])
def test_a_wrong_value_names_the_file_in_every_command(saved, key, value, cli, tmp_path):
    config = json.loads((saved/'config.json').read_text()) | {key:value}
    (saved/'config.json').write_text(json.dumps(config))
    Image.new('RGB', (32,32)).save(tmp_path/'x.png')
    for command in (['predict', saved, tmp_path/'x.png'], ['evaluate', saved, '--data', 'shapes10'],
                    ['export', saved, '--format', 'hub', '--out', tmp_path/'hub']):
        r = cli(*command)
        assert r.returncode == 2 and r.stderr.count('\n') == 1 and "config.json' is damaged" in r.stderr


def test_a_home_folder_is_expanded(saved, tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    assert load_model('~/saved').config['classes'] == ['cat','dog']
    assert find_images(['~/saved/x.png']) == [tmp_path/'saved'/'x.png']


def test_a_missing_device_is_one_sentence(saved):
    if torch.cuda.is_available(): pytest.skip('there is a GPU')
    with pytest.raises(ValueError, match="device is 'cuda'"): Predictor(saved, device='cuda')


@pytest.mark.parametrize('train', [{'transforms':3}, {'__class_fullname__':'os.system'}, [], 3])
def test_a_wrong_augmentation_names_the_file_when_it_is_shown(train, tmp_path, cli):
    run = tmp_path/'run'
    shutil.copytree(Path(__file__).parents[1]/'images'/'fast_1', run)
    config = json.loads((run/'config.json').read_text())
    config['augmentation'][0]['train'] = train
    (run/'config.json').write_text(json.dumps(config))
    r = cli('show', 'augment', run, '--data', 'shapes10', '--out', tmp_path/'a.png')
    assert r.returncode == 2 and r.stderr.count('\n') == 1 and "config.json' is damaged" in r.stderr


def test_an_augmentation_that_does_not_fit_the_size_names_the_file_when_it_is_shown(tmp_path, cli):
    run = tmp_path/'run'
    shutil.copytree(Path(__file__).parents[1]/'images'/'fast_1', run)
    config = json.loads((run/'config.json').read_text())
    (run/'config.json').write_text(json.dumps(config | dict(size=5))) # it crops to 32x32
    r = cli('show', 'augment', run, '--data', 'shapes10', '--out', tmp_path/'a.png')
    assert r.returncode == 2 and r.stderr.count('\n') == 1 and "config.json' is damaged" in r.stderr and 'does not fit' in r.stderr


@pytest.mark.parametrize('file', ['history.csv','metrics.json'])
def test_a_pipe_in_a_run_is_not_waited_for(file, tmp_path):
    run = tmp_path/'run'
    shutil.copytree(Path(__file__).parents[1]/'images'/'fast_1', run)
    (run/file).unlink()
    os.mkfifo(run/file)
    with pytest.raises((ValueError, OSError), match=file): read_run(run)
    if file == 'metrics.json':
        with pytest.raises(OSError, match=file): export_hub(run, tmp_path/'hub')
        assert not (tmp_path/'hub').exists()


@pytest.mark.parametrize('accuracy', ['a', -1, [1], math.nan])
def test_an_accuracy_that_is_none_is_not_written_into_a_card(accuracy, tmp_path):
    run = tmp_path/'run'
    shutil.copytree(Path(__file__).parents[1]/'images'/'fast_1', run)
    (run/'metrics.json').write_text(json.dumps(dict(accuracy=accuracy)))
    with pytest.raises(ValueError, match="metrics.json' is damaged"): export_hub(run, tmp_path/'hub')


def test_a_history_of_another_shape_is_one_line(tmp_path):
    (tmp_path/'history.csv').write_text('a,b\n1,2\n1,2,3\n')
    with pytest.raises(ValueError, match="history.csv' is damaged") as e: read_history(tmp_path/'history.csv')
    assert '\n' not in str(e.value)


def test_the_cache_folder_may_be_a_file(tmp_path, monkeypatch):
    from cifar9.cifar10 import load_data
    for kind in 'ab':
        (tmp_path/'own'/kind).mkdir(parents=True)
        for i in range(2): Image.new('RGB', (9,9)).save(tmp_path/'own'/kind/f'{i}.png')
    (tmp_path/'cache').touch()
    monkeypatch.setenv('CIFAR9_CACHE', str(tmp_path/'cache'))
    with pytest.warns(UserWarning, match='CIFAR9_CACHE'): assert len(load_data(tmp_path/'own').images) == 4


@pytest.mark.skipif(sys.platform != 'linux', reason='file names are bytes on Linux only')
def test_a_file_name_in_latin1_is_no_error(tmp_path, cli):
    for kind in 'ab':
        (tmp_path/'own'/kind).mkdir(parents=True)
        for i in range(2): Image.new('RGB', (9,9)).save(tmp_path/'own'/kind/f'{i}.png')
    (tmp_path/'own'/'a'/'0.png').rename(tmp_path/'own'/'a'/os.fsdecode(b'caf\xe9.png'))
    (tmp_path/'own'/'a'/os.fsdecode(b'bad\xe9.png')).write_bytes(b'')
    r = cli('data', '--path', tmp_path/'own')
    assert r.returncode == 0 and 'a/bad\\udce9.png' in r.stdout
