"Runs that are killed, resumed, read in a new process, and judged by their record"
import json, os, shutil, signal, subprocess, sys, time
from pathlib import Path

import pytest, torch
from safetensors.torch import load_file
from torch import nn

from cifar9.augment import brief_tfms
from cifar9.datasets import make_shapes10
from cifar9.models import save_model, strided_net
from cifar9.runs import check_run, evaluation_learner, train

command = Path(sys.executable).with_name('cifar9')
images = Path(__file__).parents[1]/'images'
run_files = ['config.json','curves.png','history.csv','metrics.json','model.safetensors']


@pytest.mark.sweep
def test_killed_and_resumed_ends_with_the_same_weights(tmp_path, installed):
    args = ['train','--data','shapes10','--epochs','3','--bs','250']
    uninterrupted = installed(*args, '--out', tmp_path/'uninterrupted')
    assert uninterrupted.returncode == 0, uninterrupted.stderr
    p = subprocess.Popen([command, *args, '--out', tmp_path/'killed'], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while not (tmp_path/'killed'/'checkpoint.pt').exists():
        assert p.poll() is None
        time.sleep(.05)
    os.kill(p.pid, signal.SIGKILL)
    p.wait()
    assert not (tmp_path/'killed'/'metrics.json').exists()
    resumed = installed('train', '--resume', tmp_path/'killed')
    assert resumed.returncode == 0, resumed.stderr
    a,b = (load_file(tmp_path/name/'model.safetensors') for name in ('uninterrupted','killed'))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert [f.name for f in sorted((tmp_path/'killed').iterdir()) if '.part' not in f.name] == run_files
    recorded = json.loads((tmp_path/'killed'/'metrics.json').read_text())
    evaluated = json.loads(installed('evaluate', tmp_path/'killed', '--json').stdout)
    assert (evaluated['correct'], evaluated['loss']) == (recorded['correct'], recorded['loss'])
    assert installed('train', '--resume', tmp_path/'killed').returncode == 2


@pytest.mark.slow
def test_a_small_convnet_learns_shapes10():
    "Plain torch: a small network that sees shapes can tell the ten classes apart"
    torch.manual_seed(0)
    data = make_shapes10()
    x = (torch.from_numpy(data.images).permute(0,3,1,2).float()/255 - .5)/.25
    y,n = torch.from_numpy(data.labels),data.n_train
    def conv(ni, nf): return nn.Sequential(nn.Conv2d(ni, nf, 3, padding=1, bias=False), nn.BatchNorm2d(nf), nn.ReLU())
    blocks = [conv(3,16), conv(16,32), nn.MaxPool2d(2), conv(32,64), nn.MaxPool2d(2), conv(64,64), nn.MaxPool2d(2), conv(64,64)]
    net = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64,10))
    epochs,bs = 14,50
    opt = torch.optim.AdamW(net.parameters())
    sched = torch.optim.lr_scheduler.OneCycleLR(opt, 6e-3, total_steps=epochs*n//bs)
    for _ in range(epochs):
        for idx in torch.randperm(n).split(bs):
            xb = x[idx]
            if torch.rand(()) < .5: xb = xb.flip(3)
            if torch.rand(()) < .5: xb = xb.transpose(2,3)
            loss = nn.functional.cross_entropy(net(xb), y[idx])
            opt.zero_grad()
            loss.backward()
            opt.step()
            sched.step()
    net.eval()
    with torch.no_grad(): accuracy = (net(x[n:]).argmax(1)==y[n:]).float().mean().item()
    assert accuracy > .95, accuracy


@pytest.fixture(scope='module')
def small_run(tmp_path_factory):
    "A run of one epoch on a few images"
    folder = tmp_path_factory.mktemp('runs')/'small'
    return train(make_shapes10(320, 100), epochs=1, bs=64, drop=.1, out=folder, progress=False)


def test_files_of_a_run_follow_the_umask(small_run):
    umask = os.umask(0)
    os.umask(umask)
    modes = {f.name:f.stat().st_mode & 0o777 for f in small_run.path.iterdir()}
    assert modes == dict.fromkeys(run_files, 0o666 & ~umask)


def test_config_records_the_arguments_of_the_model(small_run):
    assert small_run.config['args'] == {'n_out':10, 'drop':.1}


def test_other_images_keep_their_own_statistics(small_run):
    "`evaluation_learner` normalizes with the statistics of the training and leaves the images as they are"
    others = make_shapes10(320, 100, seed=1)
    mean,_ = others.stats
    learn,same = evaluation_learner(small_run.path, others)
    assert same is others and (others.stats[0] == mean).all()
    normalize = learn.dls.valid.after_batch[1]
    assert torch.allclose(normalize.mean.flatten().double().cpu(), torch.tensor(small_run.config['mean'], dtype=torch.float64))


def failed_rules(report): return [rule.name for rule in report if not rule.passed and not rule.bonus]


@pytest.mark.parametrize('name', ['atrous_net', images/'fast_1'])
def test_runs_with_other_augmentations_fail_at_the_augmentations(name):
    report = check_run(name)
    assert failed_rules(report) == ['augmentations'] and not report.passed
    assert 'RandomCrop p=1.0' in report[-2].measured


@pytest.mark.parametrize('name', ['dilated_net','blueprint_net'])
def test_weights_that_meet_the_whole_brief(name): assert check_run(name).passed


def test_the_short_run_of_brief_fails_at_the_accuracy_only():
    assert failed_rules(check_run(images/'brief_15')) == ['test accuracy']


@pytest.fixture
def met(tmp_path):
    "A copy of the record of `brief_15` that says 85.00 %: all rules pass. Returns a function that changes it and checks it"
    folder = tmp_path/'met'
    shutil.copytree(images/'brief_15', folder)
    files = folder/'config.json', folder/'metrics.json'
    config,metrics = (json.loads(f.read_text()) for f in files)
    metrics['accuracy'] = .85
    def check(change=lambda config, metrics: None):
        records = json.loads(json.dumps((config, metrics)))
        change(*records)
        for file,record in zip(files, records): file.write_text(json.dumps(record))
        return check_run(folder)
    return check


def transforms(config): return {t['__class_fullname__']:t for t in config['augmentation'][0]['train']['transforms']}


def test_the_whole_brief_can_be_met(met):
    report = met()
    assert report.passed and report.training_judged
    def shift_scale_rotate(config, metrics):
        transforms(config)['Affine'].update(__class_fullname__='ShiftScaleRotate', shift_limit_x=[-.2,.2], shift_limit_y=[-.2,.2],
                                            scale_limit=[-0.19999999999999996,0.19999999999999996], rotate_limit=[-15.,15.])
    assert met(shift_scale_rotate).passed
    def brief(config, metrics): config['augmentation'] = [brief_tfms(tuple(config['mean'])).to_dict()]
    assert met(brief).passed
    def exact_mean(config, metrics): transforms(config)['CoarseDropout']['fill'] = [255*m for m in config['mean']]
    assert met(exact_mean).passed


@pytest.mark.parametrize('name, key, value', [
    ('HorizontalFlip', 'p', .4),
    ('Affine', 'p', 1.),
    ('Affine', 'rotate', [-30,30]),
    ('Affine', 'rotate', [0,15]),
    ('Affine', 'scale', {'x':[.8,1.2],'y':[1,1]}),
    ('Affine', 'translate_percent', {'x':[-.1,.1],'y':[-.1,.1]}),
    ('Affine', 'translate_percent', None),
    ('Affine', 'translate_px', {'x':[-1,1],'y':[-1,1]}),
    ('Affine', 'shear', {'x':[-5,5],'y':[0,0]}),
    ('Affine', 'keep_ratio', False),
    ('CoarseDropout', 'p', 1.),
    ('CoarseDropout', 'num_holes_range', [1,2]),
    ('CoarseDropout', 'hole_height_range', [8,16]),
    ('CoarseDropout', 'hole_width_range', [8,8]),
    ('CoarseDropout', 'fill', 0),
    ('CoarseDropout', 'fill', [125,123,118]),
    ('CoarseDropout', 'fill', 'random'),
    ('CoarseDropout', 'fill_mask', 0),
    ('CoarseDropout', '__class_fullname__', 'GridDropout'),
])
def test_other_augmentations_do_not_pass(met, name, key, value):
    def change(config, metrics): transforms(config)[name][key] = value
    def leave_out(config, metrics): del transforms(config)[name][key]
    assert failed_rules(met(change)) == ['augmentations']
    assert failed_rules(met(leave_out)) == ['augmentations']


def no_augmentation(config, metrics): del config['augmentation']
def augmentation_as_text(config, metrics): config['augmentation'] = ['AlbumentationsTransform(...)']
def empty_augmentation(config, metrics): config['augmentation'] = []
def unreadable_augmentation(config, metrics): config['augmentation'] = [None]
def no_mean(config, metrics): del config['mean']
def rare_pipeline(config, metrics): config['augmentation'][0]['train']['p'] = .5
def twice(config, metrics): config['augmentation'] *= 2


@pytest.mark.parametrize('change', [no_augmentation, augmentation_as_text, empty_augmentation, unreadable_augmentation,
                                    no_mean, rare_pipeline, twice])
def test_an_incomplete_record_of_the_augmentation_fails(met, change):
    report = met(change)
    assert failed_rules(report) == ['augmentations'] and report[-2].measured


@pytest.mark.parametrize('key, value', [
    ('accuracy', .8499),
    ('accuracy', '90 %'),
    ('accuracy', 85.),
    ('accuracy', float('nan')),
    ('n', 9000),
    ('data', 'shapes10'),
    ('data', None),
])
def test_other_accuracies_do_not_pass(met, key, value):
    def change(config, metrics): metrics[key] = value
    def leave_out(config, metrics): del metrics[key]
    assert failed_rules(met(change)) == ['test accuracy']
    assert failed_rules(met(leave_out)) == ['test accuracy']


def test_a_run_that_is_not_done_fails_at_the_accuracy(met, tmp_path):
    met()
    (tmp_path/'met'/'metrics.json').write_text('[')
    assert 'damaged' in check_run(tmp_path/'met')[-1].measured
    (tmp_path/'met'/'metrics.json').unlink()
    (tmp_path/'met'/'model.safetensors').unlink()
    report = check_run(tmp_path/'met')
    assert failed_rules(report) == ['test accuracy'] and 'not done' in report[-1].measured


def test_a_saved_model_without_a_training_fails_with_words(tmp_path):
    save_model(strided_net(), tmp_path/'saved', classes=list('abcdefghij'), mean=(.5,.5,.5), std=(.25,.25,.25))
    report = check_run(tmp_path/'saved')
    assert failed_rules(report) == ['augmentations','test accuracy']
    assert report[-2].measured == 'not recorded'


def test_what_is_no_run_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match='no config.json'): check_run(tmp_path)
    with pytest.raises(ValueError, match="no weights of 'strided_net'"): check_run('strided_net')
