"""Every function that takes a path expands `~`: a shell does not expand it in `--out=~/run`, and Python never does"""
import importlib
import inspect
import os
import pkgutil
import re
import tarfile
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from PIL import Image

import cifar9
from cifar9 import archives, checkpoint, cifar10, config, datasets, drawing, export, inference, interp
from cifar9 import models, own_images, recorder, run_folder, runs, show, start, weights_file
from cifar9.learner import cifar_learner
from cifar9.loaders import cifar_dls

shapes = datasets.make_shapes10(40, 20)


@pytest.fixture(scope='module')
def home(tmp_path_factory):
    "A home folder with images, an archive, a saved model and a run"
    home = tmp_path_factory.mktemp('home')
    for split,images,labels in (('train',shapes.train_x,shapes.train_y), ('test',shapes.test_x,shapes.test_y)):
        for image,label in zip(images, labels):
            for folder in (home/'own'/split/shapes.classes[label], home/'cifar10'/split/cifar10.cifar10_classes[label]):
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(folder/f'{len([*folder.iterdir()])}.png')
    (home/'cifar-100-python').mkdir()
    for name in ('meta','train','test'): (home/'cifar-100-python'/name).touch()
    with tarfile.open(home/'a.tar', 'w') as archive: archive.add(home/'own'/'test', 'test')
    runs.train(home/'own', recipe='fast', epochs=1, bs=20, out=home/'run', progress=False)
    models.save_model(models.fast_net(), home/'saved', shapes.classes, (.5,.5,.5), (.2,.2,.2))
    return home


@pytest.fixture(autouse=True)
def another_folder(home, tmp_path, monkeypatch):
    "Each call runs in a folder in which nothing may appear"
    monkeypatch.setenv('HOME', str(home))
    monkeypatch.setenv('CIFAR9_CACHE', str(home/'cache'))
    monkeypatch.chdir(tmp_path)
    yield
    plt.close('all')
    assert not list(tmp_path.iterdir())


def learner(): return cifar_learner(cifar_dls(shapes, bs=20), models.fast_net())


def write(file):
    with datasets.atomic_write(file) as part: part.write_text('{}')


def written(name): return (Path(os.environ['HOME'])/name).exists()


def save_and_load_checkpoint():
    learn = learner()
    with learn.no_bar(), learn.no_logging(): learn.fit(1)
    checkpoint.save_checkpoint(learn, '~/checkpoint.pt', 1)
    assert checkpoint.load_checkpoint(learner(), '~/checkpoint.pt')['epoch'] == 1


def save_and_load_weights():
    weights_file.save_weights(models.fast_net(), '~/w.safetensors')
    weights_file.load_weights(models.fast_net(), '~/w.safetensors')


def export_and_compare(write_file, file):
    pytest.importorskip('onnxruntime')
    write_file('~/saved', file)
    assert export.exported_probabilities(file, shapes.test_x).shape == (20,10)
    assert export.compare_export('~/saved', file, shapes.test_x)['n'] == 20


def export_as_int8():
    pytest.importorskip('onnxruntime')
    export.export_model('~/run', 'int8', '~/b.onnx')
    assert written('b.onnx')


def refused(call, match):
    "The function looks at the path: it finds a file there that it refuses"
    with pytest.raises(ValueError, match=match): call()


def train_from_and_resume():
    "A run that starts from weights, and one that is done; both paths are found"
    assert runs.train('~/own', recipe='fast', epochs=1, bs=20, start_from='~/run', out='~/second', progress=False).metrics['n'] == 20
    refused(lambda: runs.train(resume='~/second'), 'is done, all 1 epochs')


run,saved,image = '~/run','~/saved','~/own/test/arrow/0.png'
cases = { # functions, and a call that fails unless each of them expands `~`
    'archive_files': lambda: len([*archives.archive_files('~/a.tar', re.compile('png'))]) == 20,
    'atomic_write expand_home': lambda: write('~/a.json') or written('a.json'),
    'read_json': lambda: config.read_json('~/run/metrics.json')['n'] == 20,
    'read_config': lambda: config.read_config('~/run/config.json')['model'] == 'fast_net',
    'save_checkpoint load_checkpoint previous_checkpoint': save_and_load_checkpoint,
    'read_cifar10': lambda: len(cifar10.read_cifar10('~/cifar10').images) == 60,
    'find_cifar10': lambda: cifar10.find_cifar10('~/x')[0] == Path.home()/'x',
    'load_cifar10': lambda: refused(lambda: cifar10.load_cifar10('~/cifar10'), "4 images of class 'airplane'"),
    'find_cifar100': lambda: cifar10.find_cifar100('~') == Path.home()/'cifar-100-python',
    'read_cifar100': lambda: refused(lambda: cifar10.read_cifar100('~/cifar-100-python'), 'pickle exhausted'),
    'load_data load_images': lambda: len(start.load_images({}, '~/own').images) == 60,
    'data_name': lambda: start.data_name('~/own') == '~/own',
    'open_image': lambda: own_images.open_image(image).size == (32,32),
    'read_image fit_image': lambda: len(inference.fit_image(image)[0]) == 32,
    'find_images': lambda: len(inference.find_images(['~/own/test', '~/own/test/*/0.png'])) == 30,
    'image_files': lambda: len(own_images.image_files('~/own')) == 60,
    'list_folder': lambda: len(own_images.list_folder('~/own')) == 60,
    'read_folder': lambda: len(own_images.read_folder('~/own').images) == 60,
    'draw_architecture': lambda: drawing.draw_architecture(models.fast_net(), file='~/a.png') and written('a.png'),
    'save_weights load_weights': save_and_load_weights,
    'save_model': lambda: models.save_model(models.fast_net(), '~/other', shapes.classes, (.5,.5,.5), (.2,.2,.2)) and written('other'),
    'load_model Predictor': lambda: len(inference.Predictor(saved).classes) == 10,
    'start_model take_weights': lambda: start.take_weights(models.create_model(start.start_model(run)), run),
    'RunRecorder': lambda: recorder.RunRecorder('~/x').folder == Path.home()/'x',
    'read_history': lambda: len(recorder.read_history('~/run/history.csv')) == 1,
    'write_json': lambda: run_folder.write_json({}, '~/b.json') or written('b.json'),
    'new_folder': lambda: run_folder.new_folder('~/x', {}) == Path.home()/'x',
    'read_run': lambda: len(run_folder.read_run(run).history) == 1,
    'check_run': lambda: len(runs.check_run(run)) > 5,
    'train': train_from_and_resume,
    'evaluate evaluation_learner': lambda: runs.evaluate(run, '~/own')['n'] == 20,
    'predictions': lambda: len(interp.predictions(run)) == 20,
    'show_mistakes': lambda: len(interp.show_mistakes(run)),
    'interpret': lambda: interp.interpret(run),
    'occlusion': lambda: interp.occlusion(run, [0]),
    'show_occlusion': lambda: len(interp.show_occlusion(run, [0])),
    'gradcam': lambda: pytest.importorskip('captum') and interp.gradcam(run, [0]),
    'measure': lambda: show.measure(run).title.startswith('fast_net, run: '),
    'plot_runs': lambda: show.plot_runs([run]),
    'plot_augmentation': lambda: show.plot_augmentation(run),
    'plot_architecture': lambda: show.plot_architecture(run),
    'figure': lambda: show.figure('classes', [run]),
    'PixelNet': lambda: export.PixelNet(saved).pixels == 'uint8',
    'export_onnx exported_probabilities compare_export': lambda: export_and_compare(export.export_onnx, '~/a.onnx'),
    'export_torch': lambda: export_and_compare(export.export_torch, '~/a.pt2'),
    'export_int8 export_model': export_as_int8,
    'export_hub': lambda: export.export_hub(saved, '~/hub') and written('hub'),
}
path_names = {'run_or_model','runs','runs_or_models','source','names'} # of parameters that have no annotation
no_paths = 'cli','dependence','graph' # modules: the command has tests of its own, and the others have another kind of source


def takes_path(function):
    "Has a function a parameter for a path, by its annotation or its name?"
    parameters = inspect.signature(function).parameters.values()
    return any('str | pathlib' in str(p.annotation) or p.annotation is p.empty and p.name in path_names for p in parameters)


def test_every_function_that_takes_a_path_has_a_case():
    found = set()
    for info in pkgutil.iter_modules(cifar9.__path__):
        if info.name.startswith('_') or info.name in no_paths: continue
        module = importlib.import_module(f'cifar9.{info.name}')
        public = [getattr(module, name) for name in module.__all__]
        callables = [f for f in public if inspect.isfunction(f) or inspect.isclass(f) and not issubclass(f, (BaseException, list))]
        found |= {f.__name__ for f in callables if takes_path(f)}
    only_named = {'naming'} # it writes the path into a sentence, and opens nothing
    assert sorted(found - only_named - {*' '.join(cases).split()}) == []


@pytest.mark.parametrize('names', cases)
def test_a_home_folder_is_expanded(names):
    result = cases[names]()
    assert result is not False


def test_a_user_who_does_not_exist_is_no_traceback(cli):
    r = cli('evaluate', '~nobody_of_this_name/run')
    assert r.returncode == 2 and "'~nobody_of_this_name/run' is neither a folder nor a model" in r.stderr


@pytest.mark.parametrize('command', [
    'show curves ~/run --out=~/c.png', 'summary ~/run', 'check ~/run', 'evaluate ~/run --data=~/own', 'data --path=~/own',
    'predict ~/run ~/own/test/arrow/0.png', 'export ~/run --format hub --out=~/hub2'])
def test_the_command_expands_a_home_folder(command, cli):
    r = cli(*command.split())
    assert r.returncode == (1 if command.startswith('check') else 0), r.stderr
