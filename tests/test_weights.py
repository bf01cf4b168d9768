"The weights in the package: the figures on their model cards, measured again, and the files that save_weights writes"
import json, os, subprocess, sys, tempfile
from importlib.resources import files
from pathlib import Path

import numpy as np, pytest, torch
from PIL import Image

from cifar9.inference import Predictor
from cifar9.interp import predictions
from cifar9.models import create_model, list_pretrained, load_model, save_model
from cifar9.summary import count_params

weights = Path(str(files('cifar9')/'weights'))
names = list_pretrained()
card_images = ('calibration.png','curves.png','mistakes.png')


def metrics_of(name): return json.loads((weights/name/'metrics.json').read_text())


def test_package_has_weights(): assert {'dilated_net','atrous_net','blueprint_net'} <= set(names)


@pytest.mark.parametrize('name', names)
def test_weights_are_small_and_load(name):
    folder,model = weights/name,create_model(name, pretrained=True)
    assert (folder/'model.safetensors').stat().st_size < 1e6
    assert count_params(model) < 200_000
    assert not model.training
    x = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(model(x), load_model(folder)(x))
        assert torch.equal(model(x), load_model(name)(x))


@pytest.mark.parametrize('name', names)
def test_card_agrees_with_metrics(name):
    folder,metrics = weights/name,metrics_of(name)
    card = (folder/'README.md').read_text()
    assert f"**{metrics['accuracy']:.2%} of the 10,000 test images" in card
    assert any(f"({metrics['correct']:,} {word}" in card for word in ('correct','right')) # 'right' in a card of before
    for image in card_images: assert f'({image})' in card
    expected = {'README.md','config.json','history.csv','metrics.json','model.safetensors',*card_images}
    assert {f.name for f in folder.iterdir()} - {'tried'} == expected


@pytest.mark.parametrize('name', names)
def test_predict_command_takes_the_name(name, cli, tmp_path):
    image = tmp_path/'a.png'
    pixels = np.random.default_rng(0).integers(0, 256, (40,50,3), 'uint8')
    Image.fromarray(pixels).save(image)
    r = cli('predict', name, image, '--json')
    assert r.returncode == 0
    assert json.loads(r.stdout)['label'] == Predictor(name).predict(image).label


def test_best_network_meets_the_whole_brief_with_both_bonuses(cli):
    r = cli('check', 'blueprint_net', '--json')
    assert r.returncode == 0 and all(rule['passed'] for rule in json.loads(r.stdout)['rules'])


def test_atrous_net_meets_the_brief_but_for_its_augmentation(cli):
    r = cli('check', 'atrous_net', '--json')
    failed = [rule['name'] for rule in json.loads(r.stdout)['rules'] if not rule['passed']]
    assert (failed, r.returncode) == (['augmentations'], 1) # it was trained with flips, shifts and an 8-pixel hole


@pytest.mark.skipif(os.name == 'nt', reason='Windows has no umask')
@pytest.mark.parametrize('umask', (0o022,0o002,0o077))
def test_saved_files_follow_the_umask(umask, tmp_path):
    "Others may read a run folder if the user's umask says so; safetensors alone writes for the owner only"
    before = os.umask(umask)
    try: folder = save_model(create_model('fast_net'), tmp_path/'m', range(10), (0,0,0), (1,1,1))
    finally: os.umask(before)
    modes = {f.name: f.stat().st_mode & 0o777 for f in folder.iterdir()}
    assert modes == dict.fromkeys(('config.json','model.safetensors'), 0o666 & ~umask)


def check_correct(n_correct, name):
    "Compare with the record of the weights; other processors round differently"
    assert abs(n_correct - metrics_of(name)['correct']) <= 5


@pytest.mark.real
def test_evaluate_command_agrees_with_the_card(installed, cifar10_path):
    r = installed('evaluate', 'dilated_net', '--data', cifar10_path, '--json')
    assert r.returncode == 0, r.stderr
    measured = json.loads(r.stdout)
    assert measured['n'] == 10_000
    check_correct(measured['correct'], 'dilated_net')


@pytest.mark.real
@pytest.mark.parametrize('name', names)
def test_plain_torch_predicts_the_same_classes(name, cifar10, cifar10_path):
    if not (cifar10_path/'test').is_dir(): pytest.skip('$CIFAR9_DATA is no image tree')
    witness = Path(__file__).with_name('witness.py')
    r = subprocess.run([sys.executable, witness, name, weights/name, cifar10_path/'test'], capture_output=True, text=True)
    assert r.returncode == 0, r.stderr
    rows = [line.split('\t') for line in r.stdout.splitlines()]
    label_of = {}
    for file,label in rows: label_of.setdefault(np.asarray(Image.open(file)).tobytes(), label)
    table = predictions(name, cifar10)
    assert len(rows) == len(table) == 10_000
    check_correct((table.actual == table.predicted).sum(), name)
    for image,predicted in zip(table.image, table.predicted): assert label_of[cifar10.test_x[image].tobytes()] == predicted


@pytest.mark.skipif(not hasattr(os, 'geteuid'), reason='there are no users to switch to')
def test_weights_that_may_not_be_read_are_not_called_missing():
    with tempfile.TemporaryDirectory() as folder: # `tmp_path` is closed to other users
        os.chmod(folder, 0o755)
        saved = save_model(create_model('fast_net'), Path(folder)/'saved', [*'abcdefghij'], (.5,.5,.5), (.2,.2,.2))
        (saved/'model.safetensors').chmod(0)
        user = os.geteuid()
        if user == 0: os.seteuid(65534) # root may read everything
        try:
            with pytest.raises(PermissionError, match='Permission denied'): load_model(saved)
        finally: os.seteuid(user)
