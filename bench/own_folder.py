"""From a folder of images to ONNX in four commands, as the README prints them.

    python bench/own_folder.py [--folder F]

Draws 200 image files of three road signs, 20 to 4,000 pixels wide, in four formats, cuts or empties five of them, and runs
the commands of the README there. Prints each command, what it wrote, its exit code and its seconds."""
import argparse
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

n_files,n_damaged = 200,5
kinds,formats = ('limit','stop','yield'), ('png','jpg','webp','gif')
commands = [
    'cifar9 data --path signs',
    'cifar9 train --data signs --skip-damaged --recipe fast --from atrous_net --epochs 3 --lr .02 --out runs/signs',
    'cifar9 predict runs/signs signs/stop/001.jpg signs/yield/002.webp',
    'cifar9 export runs/signs --format onnx --out signs.onnx',
]


def draw_sign(kind, rng):
    "A sign on a background of coloured spots, 20 to 4,000 pixels wide"
    width = int(20*200**rng.uniform(0, 1))
    height = min(4000, max(20, int(width*rng.uniform(.6, 1.6))))
    spots = rng.integers(0, 256, (4,5,3), dtype=np.uint8)
    image = Image.fromarray(spots).resize((width,height), Image.Resampling.BICUBIC)
    radius,x,y = min(width,height)*rng.uniform(.3, .48), width/2, height/2
    pen,red,white = ImageDraw.Draw(image), (200,30,40), (240,240,235)
    if kind == 'stop':
        pen.regular_polygon((x,y,radius), 8, rotation=22, fill=red)
        pen.rectangle((x-radius*.6, y-radius*.15, x+radius*.6, y+radius*.15), fill=white)
    if kind == 'yield':
        pen.regular_polygon((x,y,radius), 3, rotation=180, fill=red)
        pen.regular_polygon((x,y,radius*.55), 3, rotation=180, fill=white)
    if kind == 'limit':
        pen.circle((x,y), radius, fill=red)
        pen.circle((x,y), radius*.72, fill=white)
    return image


def draw_folder(root):
    "Draw all files below `root`, one folder for each class, and damage the last few"
    rng,files = np.random.default_rng(0), []
    for i in range(n_files):
        kind,suffix = kinds[i%len(kinds)], formats[i%len(formats)]
        files.append(root/kind/f'{i:03}.{suffix}')
        files[-1].parent.mkdir(parents=True, exist_ok=True)
        draw_sign(kind, rng).save(files[-1])
    for i,file in enumerate(files[-n_damaged:]): file.write_bytes(file.read_bytes()[:60*i])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--folder', type=Path, help='where to draw; a temporary folder if left out')
    folder = parser.parse_args().folder or Path(tempfile.mkdtemp())
    draw_folder(folder/'signs')
    for command in commands:
        began = time.perf_counter()
        done = subprocess.run(command.split(), cwd=folder, capture_output=True, text=True)
        seconds = time.perf_counter() - began
        print(f'$ {command}\n{done.stdout}{done.stderr}[exit {done.returncode}, {seconds:.0f} s]\n')


if __name__ == '__main__': main()
