"The weights that come with the package: what their cards say, measured again"
import json, subprocess, sys, time
from importlib.resources import files
from pathlib import Path

import numpy as np, pytest, torch
from PIL import Image

from cifar9.summary import count_params
from cifar9.inference import Predictor
from cifar9.interp import predictions
from cifar9.models import create_model, list_pretrained, load_model

weights = Path(str(files('cifar9')/'weights'))
names = list_pretrained()


def told(name): return json.loads((weights/name/'metrics.json').read_text())


def test_there_are_some(): assert {'dilated_net','atrous_net'} <= {*names}


@pytest.mark.parametrize('name', names)
def test_small_and_whole(name):
    folder,model = weights/name, create_model(name, pretrained=True)
    assert (folder/'model.safetensors').stat().st_size < 1e6 and count_params(model) < 200_000 and not model.training
    card = (folder/'README.md').read_text()
    assert f"**{told(name)['accuracy']:.2%} of the 10,000 test images" in card and f"{told(name)['correct']:,} right" in card
    for picture in ('calibration','curves','mistakes'): assert f'({picture}.png)' in card and (folder/f'{picture}.png').is_file()
    assert {f.name for f in folder.iterdir()} - {'tried'} == {'README.md','config.json','history.csv','metrics.json','model.safetensors','calibration.png','curves.png','mistakes.png'}
    x = torch.randn(4, 3, 32, 32)
    with torch.no_grad(): assert torch.equal(model(x), load_model(folder)(x)) and torch.equal(model(x), load_model(name)(x))


@pytest.mark.parametrize('name', names)
def test_the_command_knows_its_name(name, cli, tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40,50,3), 'uint8')).save(tmp_path/'a.png')
    r = cli('predict', name, tmp_path/'a.png', '--json')
    assert r.returncode == 0 and json.loads(r.stdout)[0]['label'] == Predictor(name).predict(tmp_path/'a.png').label


def test_the_best_network_meets_the_whole_brief(cli):
    r = cli('check', 'atrous_net', '--json')
    assert r.returncode == 0 and all(rule['passed'] for rule in json.loads(r.stdout)['rules'])


@pytest.mark.real
@pytest.mark.parametrize('name', names)
def test_evaluate_gives_what_the_card_says_in_under_a_minute(name, installed, cifar10_path):
    began = time.perf_counter()
    r = installed('evaluate', name, '--data', cifar10_path, '--json')
    assert time.perf_counter()-began < 60 and r.returncode == 0, r.stderr
    again = json.loads(r.stdout)
    assert again['n'] == 10_000 and abs(again['correct'] - told(name)['correct']) <= 5 # other processors round differently


@pytest.mark.real
@pytest.mark.parametrize('name', names)
def test_a_witness_agrees_on_every_picture(name, cifar10, cifar10_path):
    if not (cifar10_path/'test').is_dir(): pytest.skip('$CIFAR9_DATA is no image tree')
    r = subprocess.run([sys.executable, Path(__file__).with_name('witness.py'), name, weights/name, cifar10_path/'test'], capture_output=True, text=True)
    assert r.returncode == 0, r.stderr
    pairs = [line.split('\t') for line in r.stdout.splitlines()]
    theirs = {}
    for file,label in pairs: theirs.setdefault(np.asarray(Image.open(file)).tobytes(), label)
    ours = predictions(name, cifar10)
    assert len(pairs) == len(ours) == 10_000 and all(theirs[cifar10.test_x[i].tobytes()] == label for i,label in zip(ours.image, ours.predicted))
