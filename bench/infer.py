"""How fast a trained network answers: torch, torch with norms folded into convolutions, compiled, ONNX, ONNX with 8-bit integers.

    python bench/infer.py [--models NAME ...] [--rounds N]

Each variant takes uint8 images and returns probabilities, one image at a time and in batches of 100, on one core and on two; the variants
take turns. A second table has the wall clock of processes that start, classify one image and end. Needs the extra `cifar9[export]`;
int8 is calibrated with drawn images, which its speed does not depend on."""
import argparse
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import onnxruntime
import torch
from PIL import Image
from torch.fx.experimental.optimization import fuse

from cifar9.datasets import make_shapes10
from cifar9.export import export_int8, export_onnx
from cifar9.loaders import normalize_images
from cifar9.models import list_pretrained, load_model
from turns import alternate, table, where

n_batch = 100
without_torch = '''
import sys, json, numpy as np, onnxruntime
from PIL import Image
session = onnxruntime.InferenceSession(sys.argv[1])
classes = json.loads(session.get_modelmeta().custom_metadata_map['classes'])
probs = session.run(None, {'images': np.asarray(Image.open(sys.argv[2]))[None]})[0][0]
print(classes[probs.argmax()])
'''


def torch_variant(model, config):
    "A function from uint8 images to probabilities, as `Predictor` computes them"
    @torch.inference_mode()
    def run(images): return model(normalize_images(images, config['mean'], config['std'])).softmax(1)
    return run


def onnx_variant(file, n_cores):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = n_cores
    session = onnxruntime.InferenceSession(file, options, providers=['CPUExecutionProvider'])
    return lambda images: session.run(None, {'images': images})[0]


def variants(name, folder, n_cores):
    "`{variant: function}`"
    model = load_model(name)
    config = model.config
    folded = fuse(model)
    shapes = make_shapes10(500, 10)
    shapes.classes = config['classes'] # drawn images pass for those of the network
    return {
        'torch': torch_variant(model, config),
        'torch, norms folded': torch_variant(folded, config),
        'torch.compile, norms folded': torch_variant(torch.compile(fuse(load_model(name)), dynamic=False), config),
        'ONNX': onnx_variant(export_onnx(name, folder/f'{name}.onnx'), n_cores),
        'ONNX int8': onnx_variant(export_int8(name, folder/f'{name}_int8.onnx', shapes), n_cores)}


def speed(name, folder, n_cores, rounds):
    "Rows of the table for one network and a number of cores"
    torch.set_num_threads(n_cores)
    images = make_shapes10(10, n_batch).test_x
    rows,found = [],variants(name, folder, n_cores)
    one = alternate({key: partial(run, images[:1]) for key,run in found.items()}, rounds)
    many = alternate({key: partial(run, images) for key,run in found.items()}, max(rounds//5, 3))
    for key in found:
        ms,rate = one[key].median*1000, n_batch/many[key].median
        rows.append([f'`{name}`', n_cores, key, f'{ms:.2f}', f'{rate:,.0f}', f'{rate*many["torch"].median/n_batch:.2f}'])
    return rows


def cold_start(name, folder, rounds):
    "Rows of the table of processes"
    image = folder/'image.png'
    Image.fromarray(make_shapes10(10, 10).test_x[0]).save(image)
    commands = {
        f'`cifar9 predict {name}`': [Path(sys.executable).with_name('cifar9'), 'predict', name, image],
        'the ten lines with onnxruntime, without torch': [sys.executable, '-c', without_torch, folder/f'{name}.onnx', image]}
    measured = alternate({key: partial(subprocess.run, c, check=True, capture_output=True) for key,c in commands.items()}, rounds)
    return [[key, f'{m.median:.2f}'] for key,m in measured.items()]


if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--models', nargs='+', default=list_pretrained(), metavar='NAME')
    p.add_argument('--rounds', type=int, default=50, help='calls with one image; a fifth as many with a batch')
    args = p.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        cores = [n for n in (1, 2) if n <= (os.cpu_count() or 1)]
        rows = [row for name in args.models for n in cores for row in speed(name, folder, n, args.rounds)]
        print(f'{where()}, onnxruntime {onnxruntime.__version__}')
        print(f'n = {args.rounds} calls with one image, {max(args.rounds//5, 3)} with {n_batch}\n')
        print(table(['network', 'cores', '', 'ms, one image', f'images/s, batches of {n_batch}', "times torch's"], rows))
        print('\nn = 5 processes each\n')
        print(table(['from start to end', 'median s'], cold_start(args.models[0], folder, 5)))
