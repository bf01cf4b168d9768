"""A second opinion on weights of the package, by plain torch and PIL: `python tests/witness.py MODEL WEIGHTS_FOLDER IMAGE_FOLDER` prints a line `path<tab>class` for every PNG"""
import importlib, json, sys
from pathlib import Path

import numpy, torch
from PIL import Image
from safetensors.torch import load_file

name,weights,folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
config = json.loads((weights/'config.json').read_text())
network = getattr(importlib.import_module('cifar9.models'), name)() # the model function, all that comes from cifar9
network.load_state_dict(load_file(weights/'model.safetensors'))
network.eval()
mean,std = (torch.tensor(config[k]).view(3,1,1) for k in ('mean','std'))
files = sorted(folder.rglob('*.png'))
with torch.no_grad():
    for i in range(0, len(files), 100):
        pixels = [torch.from_numpy(numpy.array(Image.open(f).convert('RGB'))).permute(2,0,1)/255 for f in files[i:i+100]]
        scores = network((torch.stack(pixels)-mean)/std)
        for file,best in zip(files[i:i+100], scores.argmax(1)): print(file, config['classes'][best], sep='\t')
