"The installed command: right input; wrong input, which gives one sentence and exit code 2; and files that stay as they are"
import json, os, subprocess, sys, tarfile
from pathlib import Path

import numpy as np, pytest
from PIL import Image

from cifar9.cifar10 import cifar10_classes

images = Path(__file__).parent.parent/'images'
command = Path(sys.executable).with_name('cifar9')


def check_error(r, *words):
    "`r` ended with exit code 2 and one sentence that contains `words`"
    assert (r.returncode, r.stdout) == (2, ''), r
    lines = [l for l in r.stderr.splitlines() if l.strip(' █')] # a failed download leaves the end of its progress bar
    assert len(lines) == 1 and lines[0].startswith('cifar9: '), r.stderr
    for w in words: assert str(w) in lines[0], f'{w!r} is not in {lines[0]!r}'


def read_report(r):
    "The report of `cifar9 check --json`, and its rules by name"
    report = json.loads(r.stdout)
    assert r.returncode == (0 if report['passed'] else 1)
    return report, {rule['name']: rule for rule in report['rules']}


@pytest.fixture
def tree(tmp_path):
    "An image tree in the layout of CIFAR-10, with too few images"
    for split in ('train','test'):
        for c in cifar10_classes:
            (tmp_path/'tree'/split/c).mkdir(parents=True)
            Image.fromarray(np.zeros((32,32,3), np.uint8)).save(tmp_path/'tree'/split/c/'a.png')
    return tmp_path/'tree'


def test_installed(installed):
    r = installed('--help')
    assert r.returncode == 0 and all(c in r.stdout for c in ('data','train','evaluate','summary','check'))
    r = installed('check', 'strided_net')
    assert (r.returncode, r.stderr) == (0, '') and 'the design meets the brief' in r.stdout
    check_error(installed('evaluate', 'nowhere'), "'nowhere'")


@pytest.mark.parametrize('command', ['data','train','evaluate','summary','check'])
def test_help(cli, command): assert cli(command, '--help').returncode == 0


def test_summary(cli):
    r = cli('summary')
    assert r.returncode == 0 and '71 layers, 197,392 parameters' in r.stdout
    facts = json.loads(cli('summary', '--json').stdout)
    assert facts['version'] == 1 and len(facts['rows']) == 71 and facts['parameters'] == 197_392
    r = cli('summary', 'fast_net', '--columns', 'receptive field, share of MACs', '--functions')
    assert r.returncode == 0 and 'receptive field' in r.stdout.splitlines()[0] and 'parameters' not in r.stdout.splitlines()[0]
    r = cli('summary', '--columns', 'speed')
    assert r.returncode == 2 and "unknown column 'speed'" in r.stderr


def test_check_of_a_network_judges_its_design(cli):
    report,rules = read_report(cli('check', 'strided_net', '--json'))
    assert report['passed'] and not report['training_judged'] and 'test accuracy' not in rules
    assert 'training was not judged' in cli('check', 'strided_net').stdout


@pytest.mark.parametrize('args', [[], ['dilated_net'], ['blueprint_net'], ['atrous_net']])
def test_check_of_weights_judges_the_training(cli, args):
    report,rules = read_report(cli('check', *args, '--json'))
    assert report['training_judged'] and {'augmentations','test accuracy'} <= set(rules)
    assert all(rule['passed'] for name,rule in rules.items() if name != 'augmentations' and not rule['bonus'])


def test_check_of_a_run_judges_the_training(cli):
    report,rules = read_report(cli('check', images/'fast_1', '--json'))
    assert report['training_judged'] and not rules['augmentations']['passed'] and rules['test accuracy']['passed']
    report,rules = read_report(cli('check', images/'brief_15', '--json'))
    assert [name for name,rule in rules.items() if not rule['passed'] and not rule['bonus']] == ['test accuracy']


def test_check_of_what_is_no_model(cli, tmp_path):
    check_error(cli('check', 'dilated_nett'), "'dilated_nett'", 'did you mean dilated_net')
    check_error(cli('check', tmp_path), tmp_path, 'config.json')


def test_no_data_and_no_network(installed, tmp_path):
    no_network = dict.fromkeys(('http_proxy','https_proxy','HTTPS_PROXY'), 'http://127.0.0.1:9')
    env = dict(FASTAI_HOME=str(tmp_path/'home'), CIFAR9_DATA='') | no_network
    check_error(installed('data', **env), tmp_path/'home', 'could not be fetched', 'shapes10')
    check_error(installed('train', '--out', tmp_path/'run', **env), 'could not be fetched')
    assert not (tmp_path/'run').exists() and not list((tmp_path/'home').rglob('*.tgz'))


def test_bad_data(cli, tree, tmp_path):
    check_error(cli('data', '--path', tmp_path/'nowhere'), tmp_path/'nowhere')
    (tmp_path/'empty').mkdir()
    check_error(cli('data', '--path', tmp_path/'empty'), tmp_path/'empty', 'empty')
    check_error(cli('data', '--path', tree), "1 images of class 'airplane'", '5,000')
    with tarfile.open(tmp_path/'complete.tgz', 'w:gz') as archive: archive.add(tree, 'cifar10')
    (tmp_path/'cut.tgz').write_bytes((tmp_path/'complete.tgz').read_bytes()[:900])
    check_error(cli('data', '--path', tmp_path/'cut.tgz'), 'cut.tgz', 'not a complete archive')
    (tree/'train'/'car').mkdir()
    check_error(cli('data', '--path', tree), "'car'", 'automobile')
    check_error(cli('train', '--data', tree, '--out', tmp_path/'run'), "'car'")
    assert not (tmp_path/'run').exists()


def test_bad_numbers_and_names(cli, tmp_path):
    def train(*args): return cli('train', '--data', 'shapes10', '--out', tmp_path/'run', *args)
    check_error(train('--epochs', 0), 'epochs is 0')
    check_error(train('--bs', 0), 'bs is 0')
    check_error(train('--lr', 0), 'lr is 0')
    check_error(train('--model', 'dilated_nett'), "'dilated_nett'", 'did you mean dilated_net')
    check_error(train('--recipe', 'quick'), "'quick'", 'one_cycle')
    check_error(train('--valid', 'some'), "'some'")
    check_error(train('--valid', '²'), "valid is '²'")
    for name in ('model','data','seed','out','device','tfms','log'): check_error(train('--set', f'{name}=1'), f"no setting '{name}'")
    check_error(train('--set', 'pct_start=2'), 'pct_start is 2')
    check_error(train('--recipe', 'fast', '--set', 'hole=33'), 'hole is 33')
    check_error(train('--lr', 1, '--set', 'lr=2'), 'the same setting')
    check_error(train('--precision', 'int8'), "'int8'")
    check_error(cli('train', '--resume', tmp_path/'run', '--epochs', 3), '--epochs')
    check_error(cli('evaluate', tmp_path/'run'), tmp_path/'run')
    assert not (tmp_path/'run').exists()


@pytest.mark.skipif(not Path('/dev/full').exists(), reason='there is no device that is always full')
def test_a_full_stdout_is_one_sentence():
    env = {name:value for name,value in os.environ.items() if name != 'PYTHONUNBUFFERED'} # the buffer is written at the end
    r = subprocess.run(f'{command} summary fast_net > /dev/full', shell=True, capture_output=True, text=True, env=env)
    assert r.returncode == 2 and r.stderr.startswith('cifar9: No space left on device') and r.stderr.count('\n') == 1


@pytest.mark.slow
def test_training_needs_no_stderr(tmp_path):
    arguments = '--data shapes10 --recipe fast --epochs 1 --bs 500 --out'
    r = subprocess.run(f'{command} train {arguments} {tmp_path}/run 2>&-', shell=True, stdout=subprocess.PIPE, text=True)
    assert r.returncode == 0 and 'run folder' in r.stdout


def test_a_run_is_never_overwritten(cli, tmp_path):
    (tmp_path/'run').mkdir()
    (tmp_path/'run'/'history.csv').write_text('precious')
    check_error(cli('train', '--data', 'shapes10', '--out', tmp_path/'run'), tmp_path/'run', 'already holds a run')
    assert [(f.name, f.read_text()) for f in (tmp_path/'run').iterdir()] == [('history.csv', 'precious')]
    (tmp_path/'file').write_text('precious')
    check_error(cli('train', '--data', 'shapes10', '--out', tmp_path/'file'), 'is a file')
