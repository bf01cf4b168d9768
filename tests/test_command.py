"The installed command with good and with bad input: one sentence, exit code 2, nothing lost"
import json, tarfile

import numpy as np, pytest
from PIL import Image

from cifar9.cifar10 import cifar10_classes


def one_sentence(r, *words):
    assert r.returncode == 2, r
    assert r.stdout == ''
    lines = [l for l in r.stderr.splitlines() if l.strip(' █')] # a download that fails leaves the end of its progress bar
    assert len(lines) == 1 and lines[0].startswith('cifar9: '), r.stderr
    for w in words: assert str(w) in lines[0], f'{w!r} is not in {lines[0]!r}'


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
    r = installed('check')
    assert (r.returncode, r.stderr) == (0, '') and 'the brief is met' in r.stdout
    one_sentence(installed('evaluate', 'nowhere'), "'nowhere'")


@pytest.mark.parametrize('command', ['data','train','evaluate','summary','check'])
def test_help(cli, command): assert cli(command, '--help').returncode == 0


def test_summary_and_check(cli):
    r = cli('summary')
    assert r.returncode == 0 and '71 layers, 197,392 parameters' in r.stdout
    assert json.loads(cli('check', '--json').stdout)['passed'] is True
    one_sentence(cli('check', 'dilated_nett'), "'dilated_nett'", 'dilated_net')


def test_no_data_and_no_network(installed, tmp_path):
    env = dict(FASTAI_HOME=str(tmp_path/'home'), CIFAR9_DATA='', https_proxy='http://127.0.0.1:9', http_proxy='http://127.0.0.1:9', HTTPS_PROXY='http://127.0.0.1:9')
    one_sentence(installed('data', **env), tmp_path/'home', 'could not be fetched', 'shapes10')
    one_sentence(installed('train', '--out', tmp_path/'run', **env), 'could not be fetched')
    assert not (tmp_path/'run').exists() and not list((tmp_path/'home').rglob('*.tgz'))


def test_bad_data(cli, tree, tmp_path):
    one_sentence(cli('data', '--path', tmp_path/'nowhere'), tmp_path/'nowhere')
    (tmp_path/'empty').mkdir()
    one_sentence(cli('data', '--path', tmp_path/'empty'), tmp_path/'empty', 'empty')
    one_sentence(cli('data', '--path', tree), "1 images of class 'airplane'", '5,000')
    with tarfile.open(tmp_path/'whole.tgz', 'w:gz') as t: t.add(tree, 'cifar10')
    (tmp_path/'cut.tgz').write_bytes((tmp_path/'whole.tgz').read_bytes()[:900])
    one_sentence(cli('data', '--path', tmp_path/'cut.tgz'), 'cut.tgz', 'not a whole archive')
    (tree/'train'/'car').mkdir()
    one_sentence(cli('data', '--path', tree), "'car'", 'automobile')
    one_sentence(cli('train', '--data', tree, '--out', tmp_path/'run'), "'car'")
    assert not (tmp_path/'run').exists()


def test_bad_numbers_and_names(cli, tmp_path):
    def train(*args): return cli('train', '--data', 'shapes10', '--out', tmp_path/'run', *args)
    one_sentence(train('--epochs', 0), 'epochs is 0')
    one_sentence(train('--bs', 0), 'bs is 0')
    one_sentence(train('--lr', 0), 'lr is 0')
    one_sentence(train('--model', 'dilated_nett'), "'dilated_nett'", 'did you mean dilated_net')
    one_sentence(train('--recipe', 'quick'), "'quick'", 'one_cycle')
    one_sentence(train('--valid', 'some'), "'some'")
    one_sentence(train('--precision', 'int8'), "'int8'")
    one_sentence(cli('train', '--resume', tmp_path/'run', '--epochs', 3), '--epochs')
    one_sentence(cli('evaluate', tmp_path/'run'), tmp_path/'run')
    assert not (tmp_path/'run').exists()


def test_a_run_is_never_overwritten(cli, tmp_path):
    (tmp_path/'run').mkdir()
    (tmp_path/'run'/'history.csv').write_text('precious')
    one_sentence(cli('train', '--data', 'shapes10', '--out', tmp_path/'run'), tmp_path/'run', 'already holds a run')
    assert [(f.name, f.read_text()) for f in (tmp_path/'run').iterdir()] == [('history.csv', 'precious')]
    (tmp_path/'file').write_text('precious')
    one_sentence(cli('train', '--data', 'shapes10', '--out', tmp_path/'file'), 'is a file')
