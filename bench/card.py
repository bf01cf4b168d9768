"""Puts a finished run into the package, as the weights of its model, with a model card.

    python bench/card.py RUN [--differs WORDS]

`cifar9/weights/MODEL` becomes a copy of the run folder, where `create_model(MODEL, pretrained=True)` and `cifar9 evaluate MODEL` find it; the test images are measured as often as the card needs it (per class, calibration, with flips), and all
a reader should know is written to README.md there. Weights that are there already are replaced at the end, when all is measured, and only by better ones; the record of their training stays in `tried`."""
import argparse, inspect, json, shlex, shutil, tempfile
from pathlib import Path

import matplotlib.pyplot as plt

from cifar9.receptive_field import receptive_field

from cifar9.summary import layer_table
from cifar9.cifar10 import load_cifar10
from cifar9.interp import calibration, per_class, plot_calibration, predictions, show_mistakes
from cifar9.recipes import recipes
from cifar9.runs import evaluate, read_run
from cifar9.models import load_model, models

home = Path(__file__).parents[1]/'cifar9'/'weights'


def command(config):
    "The `cifar9 train` that gives this config: what differs from the recipe's own numbers"
    usual = {k:p.default for k,p in inspect.signature(recipes[config['recipe']]).parameters.items()}
    given = {k:v for k,v in config['settings'].items() if v != usual[k] or k == 'epochs'}
    options = [o for k,v in given.items() for o in ([f'--{k}',str(v)] if k in ('epochs','lr','bs') else ['--set',f'{k}={json.dumps(v)}'])]
    return shlex.join(['cifar9','train','--recipe',config['recipe'],'--model',config['model'],*options,'--valid',str(config['valid']),'--precision',config['precision'],'--seed',str(config['seed'])])


def augmentation(config): return ', '.join(t['__class_fullname__'] for t in config['augmentation'][0]['train']['transforms'])


def table(head, rows): return '\n'.join(f"| {' | '.join(map(str, row))} |" for row in (head, ['---']*len(head), *rows))


def measured(run, data):
    "Every figure of the card, and the predictions behind them"
    rows = predictions(run.path, data)
    ece,_ = calibration(rows)
    right = rows.actual == rows.predicted
    return evaluate(run.path, data) | dict(flips=evaluate(run.path, data, flips=True)['accuracy'], ece=round(ece, 4), per_class={r.Index:r.accuracy for r in per_class(rows).itertuples()},
        sure=round(float((rows.probability > .9).mean()), 4), right_when_sure=round(float(right[rows.probability > .9].mean()), 4), probability_when_wrong=round(float(rows.probability[~right].mean()), 4)), rows


def tried(folder):
    "A sentence about each other run for these weights"
    runs = [(json.loads((f/'metrics.json').read_text()), command(json.loads((f/'config.json').read_text()))) for f in sorted(folder.glob('tried/*'))]
    return ''.join(f"\n\nAnother run, `{words}` {m['differs']}".rstrip() + f", had {m['accuracy']:.2%}; the test images were looked at then, too." for m,words in runs)


def card(run, told, rows, folder):
    "The text of the card"
    config,model,m,history = run.config,load_model(run.path),run.config['model'],run.history
    layers,machine,versions = layer_table(model),config['machine'],config['versions']
    confusions = rows[rows.actual != rows.predicted].groupby(['actual','predicted']).size().sort_values(ascending=False).head(6)
    mean,std = ([round(v, 4) for v in config[k]] for k in ('mean','std'))
    seen = f"all {config['n_train']:,} training images, none held out" if config['valid'] in (0,'test') else f"{config['n_train']:,} training images"
    return f"""# {m}

{models[m].__doc__}.

**{told['accuracy']:.2%} of the {told['n']:,} test images of CIFAR-10** ({told['correct']:,} right), a single network, every image looked at once. With the mean over each image and its mirror image: {told['flips']:.2%}. n = 1 training.

{layers.total:,} parameters, {layers.macs:,} multiply-accumulates an image, a receptive field of {receptive_field(model)} pixels. `cifar9 check {m}` compares it with the brief, rule by rule.

## Use

```python
from cifar9.inference import Predictor
Predictor('{m}').predict('cat.png')   # any picture; says how it was fitted to 32x32 pixels
```

`create_model('{m}', pretrained=True)` gives the `nn.Module`. It takes images of shape `(N,3,32,32)`: pixels as 0-1, minus {mean}, divided by {std}, a number a channel. `cifar9 evaluate {m}` measures it anew.

## How good it is

Each class has 1,000 test images.

{table(['class','right','taken for, most often'], [(r.Index, f'{r.accuracy:.1%}', f'{r.taken_for} ({r.times})') for r in per_class(rows).itertuples()])}

Expected calibration error (15 bins): {told['ece']:.1%}. Of {told['sure']:.1%} of the images it is surer than 0.9, and right about {told['right_when_sure']:.2%} of these; where it is wrong, its probability is {told['probability_when_wrong']:.2f} on average.

![Accuracy over probability](calibration.png)

## How it was trained

```sh
{command(config)}
```

Recipe `{config['recipe']}`, {len(history)} epochs of {seen}, seed {config['seed']}; augmentation: {augmentation(config)}. {run.metrics['training_seconds']/3600:.1f} hours on {machine['cores']} cores of an {machine['cpu']}, beside other work, in {config['precision']}; at most {run.metrics['peak_memory_gb']} GB of memory;
torch {versions['torch']}, fastai {versions['fastai']}, albumentations {versions['albumentations']}. Every number is in `config.json`, every epoch in `history.csv`; at the end the augmented training images were {history.train_accuracy.iloc[-1]:.1%} right. No other images, labels or weights were used. The test images were looked at when the training was over.{tried(folder)}

![The training, epoch by epoch](curves.png)

## What the data are, and are not

CIFAR-10 ([Krizhevsky 2009](https://www.cs.toronto.edu/~kriz/cifar.html)): 60,000 colour photographs of 32x32 pixels in ten classes that exclude one another, 5,000 of each to train on and 1,000 to test on. They were picked from 80 Million Tiny Images, a collection from web searches that its authors
[withdrew in 2020](https://groups.csail.mit.edu/vision/TinyImages/) because of offensive words and pictures in it. [3.3 % of the test images](https://arxiv.org/abs/1902.00423) have a near copy among the training images, and about [0.5 % of the test labels](https://arxiv.org/abs/2103.14749) are wrong: differences of a few tenths of a percent mean little.

## How it fails

{table(['is','taken for','times'], [(a, b, n) for (a,b),n in confusions.items()])}

![The test images with the largest loss](mistakes.png)

It knows ten words. Whatever it is shown, it answers with one of them, and a high probability does not say that the picture is of any of the ten. Photographs of another kind (drawings, several things at once, a thing that fills a corner, a person) were not measured. It is for learning and comparing, not for decisions about anything.
"""


if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('run', type=Path, help='folder of a finished run on CIFAR-10')
    p.add_argument('--differs', default='', help='what was different in the network whose weights are replaced, as words for its card')
    args = p.parse_args()
    run,data = read_run(args.run), load_cifar10()
    if run.metrics is None: p.error(f"the run in '{args.run}' is not done; go on with it by cifar9 train --resume {args.run}")
    there = home/run.config['model']
    old = json.loads((there/'metrics.json').read_text())['correct'] if there.exists() else -1
    if run.metrics['correct'] < old: p.error(f"the run in '{args.run}' is right about {run.metrics['correct']:,} test images, the weights in the package about {old:,}; they stay")
    home.mkdir(exist_ok=True)
    told,rows = measured(run, data)
    with tempfile.TemporaryDirectory(dir=home) as part:
        new = Path(shutil.copytree(args.run, Path(part)/'new', ignore=shutil.ignore_patterns('checkpoint.pt*', 'wall_clock.csv')))
        if there.exists():
            if (there/'tried').exists(): shutil.copytree(there/'tried', new/'tried')
            (record := new/'tried'/str(1 + len(list(there.glob('tried/*'))))).mkdir(parents=True)
            for name in ('config.json', 'history.csv'): shutil.copy(there/name, record/name)
            (record/'metrics.json').write_text(json.dumps(json.loads((there/'metrics.json').read_text()) | dict(differs=args.differs), indent=1)+'\n')
        (new/'README.md').write_text(card(run, told, rows, new))
        (new/'metrics.json').write_text(json.dumps(run.metrics | {k:told[k] for k in ('flips','ece','per_class','sure','right_when_sure','probability_when_wrong')}, indent=1)+'\n')
        for name,draw in (('calibration', lambda: plot_calibration(rows)), ('mistakes', lambda: show_mistakes(run.path, data, 12))):
            draw(); plt.savefig(new/f'{name}.png', dpi=70); plt.close('all')
        if there.exists(): shutil.rmtree(there)
        new.rename(there)
    print((there/'README.md').read_text())
