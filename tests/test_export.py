"What the notebook of exports cannot see: files that run without this package, missing packages, interrupted writing, real images"
import json
import subprocess
import sys

import numpy as np
import pytest

for package in ('onnx', 'onnxscript', 'onnxruntime', 'timm'):
    pytest.importorskip(package, reason=f'{package} is in the extra cifar9[export]')

import onnx

from cifar9.datasets import make_shapes10
from cifar9.export import compare_export, export_hub, export_int8, export_model, export_onnx, export_torch
from cifar9.models import create_model, list_pretrained, load_model, save_model

images = make_shapes10(10, 40).test_x


@pytest.fixture(scope='module')
def saved(tmp_path_factory):
    "Folder of an untrained `fast_net`"
    shapes = make_shapes10(200, 10)
    return save_model(create_model('fast_net'), tmp_path_factory.mktemp('saved')/'net', shapes.classes, *shapes.stats, data='shapes10')


def python(code, *args, without=()):
    "What a process prints that can import none of the modules `without`, and reaches no other machine"
    blocked = f'''
import socket, sys
for name in {list(without)}: sys.modules[name] = None
def refuse(*args, **kwargs): raise AssertionError('a connection was tried')
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
'''
    r = subprocess.run([sys.executable, '-W', 'ignore::FutureWarning', '-c', blocked+code, *map(str, args)], capture_output=True, text=True)
    assert r.returncode == 0, r.stderr
    return r.stdout


def test_importing_the_chapter_needs_no_extra():
    assert python('import cifar9.export', without=['onnx','onnxscript','onnxruntime','timm','huggingface_hub']) == ''


@pytest.mark.parametrize('package, options', [
    ('onnx', ['--format','onnx','--out','a.onnx']),
    ('onnxscript', ['--format','onnx','--out','a.onnx']),
    ('onnxruntime', ['--format','int8','--out','a.onnx','--data','shapes10'])])
def test_a_missing_package_is_named_with_the_extra(saved, package, options, tmp_path):
    options[3] = tmp_path/options[3]
    code = '''
from typer.testing import CliRunner
from cifar9.cli import app
result = CliRunner().invoke(app, ['export', *sys.argv[1:]])
print(result.exit_code, result.stderr)
'''
    printed = python(code, saved, *options, without=[package]).strip()
    assert printed.startswith(f"2 cifar9: exporting needs the package '{package}") and "pip install 'cifar9[export]'" in printed
    assert len(printed.splitlines()) == 1 and list(tmp_path.iterdir()) == []


def test_onnx_runs_without_torch(tmp_path):
    file = export_onnx('dilated_net', tmp_path/'net.onnx')
    np.save(tmp_path/'images.npy', images)
    code = '''
import numpy as np, onnxruntime
images = np.load(sys.argv[2])
print(onnxruntime.InferenceSession(sys.argv[1]).run(None, {'images':images})[0].argmax(1).tolist())
'''
    predicted = json.loads(python(code, file, tmp_path/'images.npy', without=['torch','cifar9','onnx']))
    assert predicted == predicted_classes('dilated_net')


def predicted_classes(source):
    "Indices of the classes that torch predicts for `images`, normalized by hand"
    import torch
    model = load_model(source)
    mean,std = (np.array(model.config[name], np.float32) for name in ('mean','std'))
    x = torch.from_numpy(((images/255).astype(np.float32)-mean)/std).permute(0,3,1,2)
    with torch.no_grad(): return model(x).argmax(1).tolist()


def test_a_torch_program_runs_without_this_package(tmp_path):
    file = export_torch('dilated_net', tmp_path/'net.pt2')
    np.save(tmp_path/'images.npy', images)
    code = '''
import numpy as np, torch
program = torch.export.load(sys.argv[1]).module()
images = torch.from_numpy(np.load(sys.argv[2]))
print([len(program(images[:n])) for n in (1,2,40)])
print(program(images).argmax(1).tolist())
'''
    lengths,predicted = python(code, file, tmp_path/'images.npy', without=['cifar9','fastai']).splitlines()
    assert json.loads(lengths) == [1,2,40]
    assert json.loads(predicted) == predicted_classes('dilated_net')


def test_timm_loads_the_hub_folder_offline(tmp_path):
    folder = export_hub('dilated_net', tmp_path/'hub')
    np.save(tmp_path/'images.npy', images)
    code = '''
import numpy as np, timm, torch
from PIL import Image
from cifar9.export import register_timm
register_timm()
net = timm.create_model(f'local-dir:{sys.argv[1]}', pretrained=True).eval()
prepare = timm.data.create_transform(**timm.data.resolve_data_config(model=net))
x = torch.stack([prepare(Image.fromarray(image)) for image in np.load(sys.argv[2])])
print(net.pretrained_cfg['label_names'][0])
with torch.no_grad(): print(net(x).argmax(1).tolist())
'''
    first_class,predicted = python(code, folder, tmp_path/'images.npy').splitlines()
    assert first_class == 'airplane'
    assert json.loads(predicted) == predicted_classes('dilated_net') == predicted_classes(folder)


def test_an_interrupted_export_keeps_the_old_file(saved, tmp_path, monkeypatch):
    import onnx
    file = tmp_path/'net.onnx'
    file.write_text('the old file')
    def fail(model, path):
        path.write_text('half')
        raise OSError('disk full')
    monkeypatch.setattr(onnx, 'save', fail)
    with pytest.raises(OSError, match='disk full'): export_onnx(saved, file)
    assert file.read_text() == 'the old file' and [f.name for f in tmp_path.iterdir()] == ['net.onnx']


def test_the_command_writes_every_format(cli, saved, tmp_path):
    for form,name in dict(onnx='a.onnx', int8='b.onnx', torch='c.pt2', hub='hub').items():
        data = ['--data','shapes10'] if form == 'int8' else []
        r = cli('export', saved, '--format', form, '--out', tmp_path/name, *data, '--json')
        facts = json.loads(r.stdout)
        assert r.returncode == 0 and facts['format'] == form and facts['bytes'] > 100_000
    assert sorted(f.name for f in tmp_path.iterdir()) == ['a.onnx','b.onnx','c.pt2','hub']
    r = cli('export', saved, '--out', tmp_path/'a.onnx')
    assert 'the same class as torch for 1,000 of 1,000 images' in r.stdout


def test_images_of_another_size(tmp_path):
    import onnxruntime
    shapes = make_shapes10(20, 10, size=48)
    saved = save_model(create_model('fast_net'), tmp_path/'net', shapes.classes, *shapes.stats, data='shapes10', size=48)
    result = export_model(saved, 'onnx', tmp_path/'a.onnx', 'shapes10')
    assert result['same_class'] == result['n'] == 1000
    session = onnxruntime.InferenceSession(tmp_path/'a.onnx', providers=['CPUExecutionProvider'])
    assert session.get_inputs()[0].shape == ['batch',48,48,3]
    folder = export_hub(saved, tmp_path/'hub')
    assert load_model(folder).config['size'] == 48 and load_model(folder).config['pretrained_cfg']['input_size'] == [3,48,48]


@pytest.mark.parametrize('options, words', [
    (['--format','tflite','--out','x'], "unknown format 'tflite', expected one of: onnx, int8, torch, hub"),
    (['--out','net.pb'], 'ends with .onnx'),
    (['--out','nowhere/net.onnx'], 'create it first'),
    (['--format','torch','--out','net.onnx'], 'ends with .pt2'),
    (['--format','hub','--out','.'], 'choose another')])
def test_wrong_input_is_one_sentence(cli, saved, options, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path/'a').write_text('')
    r = cli('export', saved, *options)
    assert (r.returncode, r.stdout) == (2, '') and words in r.stderr and len(r.stderr.splitlines()) == 1
    assert [f.name for f in tmp_path.iterdir()] == ['a']


def test_a_wrong_file_fails_the_comparison(cli, saved, tmp_path, monkeypatch):
    "The exit code is 1 if the file answers differently"
    import cifar9.export
    def swap(source, file): return export_onnx('dilated_net', file)
    monkeypatch.setitem(cifar9.export.formats, 'onnx', swap)
    assert cli('export', saved, '--out', tmp_path/'a.onnx').returncode == 1


@pytest.mark.real
@pytest.mark.parametrize('name', list_pretrained())
def test_real_images_get_the_same_class(name, cifar10, tmp_path):
    for form,file in dict(onnx='a.onnx', torch='a.pt2').items():
        result = export_model(name, form, tmp_path/file, data=cifar10)
        print(name, form, result)
        assert result['same_class'] == result['n'] == 1000 and result['largest_difference'] < 1e-5


def test_int8_leaves_norms_that_follow_no_convolution_and_warns_of_nothing(tmp_path, caplog):
    shapes = make_shapes10(100, 10)
    net = create_model('blueprint_net', widths=(8,8,8,8), depths=(1,1,1,1))
    folder = save_model(net, tmp_path/'net', shapes.classes, *shapes.stats, data='shapes10')
    file = export_int8(folder, tmp_path/'a.onnx', shapes)
    types = [node.op_type for node in onnx.load(file).graph.node]
    assert types.count('BatchNormalization') == 8 and 'DequantizeLinear' in types # two in c1, c2, c3; one in c4's block and one after it
    assert not [record for record in caplog.records if record.levelname == 'WARNING']


@pytest.mark.real
@pytest.mark.parametrize('name', list_pretrained())
def test_int8_loses_little(name, cifar10, tmp_path):
    file = export_int8(name, tmp_path/'a.onnx', cifar10)
    rows = np.arange(0, 10_000, 5)
    result = compare_export(name, file, cifar10.test_x[rows], cifar10.test_y[rows])
    print(name, file.stat().st_size, result)
    assert result['accuracy'] > result['torch_accuracy'] - .01 and file.stat().st_size < 320_000
