"""Classifies images by plain torch and PIL, as an independent check of the weights in the package

`python tests/witness.py MODEL WEIGHTS_FOLDER IMAGE_FOLDER` prints a line `path<tab>class` for each PNG file.
"""
import importlib, json, sys
from pathlib import Path

import numpy as np, torch
from PIL import Image
from safetensors.torch import load_file

name,weights,folder = sys.argv[1],Path(sys.argv[2]),Path(sys.argv[3])
config = json.loads((weights/'config.json').read_text())
model_function = getattr(importlib.import_module('cifar9.models'), name) # nothing else comes from cifar9
network = model_function().eval()
network.load_state_dict(load_file(weights/'model.safetensors'))
mean = torch.tensor(config['mean']).view(3,1,1)
std = torch.tensor(config['std']).view(3,1,1)


def read_image(file):
    "uint8 PNG to normalised `(3,H,W)`"
    pixels = torch.from_numpy(np.array(Image.open(file).convert('RGB')))
    return (pixels.permute(2,0,1)/255 - mean)/std


files = sorted(folder.rglob('*.png'))
with torch.no_grad():
    for i in range(0, len(files), 100):
        batch = files[i:i+100]
        scores = network(torch.stack([read_image(f) for f in batch]))
        for file,label in zip(batch, scores.argmax(1)): print(file, config['classes'][label], sep='\t')
