"""Puts a finished run into the package, as the weights of its model, with a model card.

    python bench/card.py RUN [--differs WORDS]

`cifar9/weights/MODEL` becomes a copy of the run folder, where `create_model(MODEL, pretrained=True)` and `cifar9 evaluate MODEL` find it.
The card, README.md in that folder, is written from measurements on the test images: per class, calibration, with flips. Weights that are
there already are replaced only by better ones, after everything has been measured; the record of their training is kept in `tried`."""
import argparse
import inspect
import json
import shlex
import shutil
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

from cifar9.cifar10 import load_cifar10
from cifar9.interp import calibration, per_class, plot_calibration, predictions, show_mistakes
from cifar9.models import load_model, models
from cifar9.receptive_field import receptive_field
from cifar9.recipes import recipes
from cifar9.run_folder import read_run
from cifar9.runs import evaluate
from cifar9.summary import layer_table
from turns import table

weights = Path(__file__).parents[1]/'cifar9'/'weights'

about_the_data = '''
## What the data are, and are not

CIFAR-10 ([Krizhevsky 2009](https://www.cs.toronto.edu/~kriz/cifar.html)) has 60,000 colour photographs of 32x32 pixels in ten classes that
exclude one another, 5,000 of each to train on and 1,000 to test on. They come from 80 Million Tiny Images, a collection from web searches
that its authors [withdrew in 2020](https://groups.csail.mit.edu/vision/TinyImages/) because of offensive words and images in it.
[3.3 % of the test images](https://arxiv.org/abs/1902.00423) have a near copy among the training images, and about
[0.5 % of the test labels](https://arxiv.org/abs/2103.14749) are wrong: differences of a few tenths of a percent mean little.
'''

limits = '''
The network knows ten classes. It answers with one of them for any image, and a high probability does not mean that the image shows any of
the ten. Images of another kind (drawings, several objects, an object that fills a corner, a person) were not measured. The network is for
learning and comparing, not for decisions about anything.
'''


def read_json(file): return json.loads(file.read_text())
def write_json(file, content): file.write_text(json.dumps(content, indent=1)+'\n')


def command(config):
    "The `cifar9 train` that gives this config; it names the settings that differ from the recipe's defaults"
    parameters = inspect.signature(recipes[config['recipe']]).parameters
    words = ['cifar9', 'train', '--recipe', config['recipe'], '--model', config['model']]
    for name,value in config['settings'].items():
        if name != 'epochs' and value == parameters[name].default: continue
        if name in ('epochs','lr','bs'): words += [f'--{name}', str(value)]
        else: words += ['--set', f'{name}={json.dumps(value)}']
    for name in ('valid','precision','seed'): words += [f'--{name}', str(config[name])]
    return shlex.join(words)


def measure(run, data):
    "The figures of the card, and the predictions behind them"
    rows = predictions(run.path, data)
    ece,_ = calibration(rows)
    right,sure = rows.actual == rows.predicted, rows.probability > .9
    figures = dict(
        flips=evaluate(run.path, data, flips=True)['accuracy'],
        ece=round(ece, 4),
        per_class={r.Index: round(r.accuracy, 4) for r in per_class(rows).itertuples()},
        sure=round(float(sure.mean()), 4),
        right_when_sure=round(float(right[sure].mean()), 4),
        probability_when_wrong=round(float(rows.probability[~right].mean()), 4))
    return figures, rows


def summary_section(run, figures):
    name,metrics = run.config['model'], run.metrics
    model = load_model(run.path)
    layers = layer_table(model)
    return f'''
# {name}

{models[name].__doc__}.

**{metrics['accuracy']:.2%} of the {metrics['n']:,} test images of CIFAR-10** ({metrics['correct']:,} correct), by a single network without
test-time augmentation. Averaged over each image and its mirror image: {figures['flips']:.2%}. n = 1 training.

{layers.total:,} parameters, {layers.macs:,} multiply-accumulates an image, a receptive field of {receptive_field(model)} pixels.
`cifar9 check {name}` compares it with the brief, rule by rule.
'''


def use_section(config):
    mean,std = ([round(v, 4) for v in config[k]] for k in ('mean','std'))
    return f'''
## Use

```python
from cifar9.inference import Predictor
Predictor('{config['model']}').predict('cat.png')   # any image; the result says how it was fitted to 32x32 pixels
```

`create_model('{config['model']}', pretrained=True)` returns the `nn.Module`. It takes images of shape `(N,3,32,32)`: pixels of 0-1, minus
{mean}, divided by {std}, one number a channel. `cifar9 evaluate {config['model']}` measures it again.
'''


def accuracy_section(figures, rows):
    classes = [(r.Index, f'{r.accuracy:.1%}', f'{r.taken_for} ({r.times})') for r in per_class(rows).itertuples()]
    return f'''
## How good it is

Each class has 1,000 test images.

{table(['class', 'correct', 'most frequent mistake'], classes)}

Expected calibration error (15 bins): {figures['ece']:.1%}. For {figures['sure']:.1%} of the images the probability is above 0.9, and
{figures['right_when_sure']:.2%} of these are correct. Where the prediction is wrong, its probability is
{figures['probability_when_wrong']:.2f} on average.

![Accuracy over probability](calibration.png)
'''


def earlier_runs(folder):
    "A paragraph for each earlier run of this model"
    paragraphs = ['']
    for tried in sorted(folder.glob('tried/*')):
        metrics = read_json(tried/'metrics.json')
        words = f"`{command(read_json(tried/'config.json'))}` {metrics['differs']}".rstrip()
        paragraphs.append(f"An earlier run, {words}, reached {metrics['accuracy']:.2%}; it was measured on the test images, too.")
    return '\n\n'.join(paragraphs)


def training_section(run, folder):
    config,metrics,history = run.config, run.metrics, run.history
    machine = config['machine']
    versions = ', '.join(f"{package} {config['versions'][package]}" for package in ('torch','fastai','albumentations'))
    augmentation = ', '.join(t['__class_fullname__'] for t in config['augmentation'][0]['train']['transforms'])
    images = f"{config['n_train']:,} training images"
    if config['valid'] in (0, 'test'): images = f'all {images}, none held out'
    test_images = 'The test images were not used until the training was over.'
    if config['valid'] == 'test': test_images = 'The test images were measured after each epoch; the weights are those of the last one.'
    return f'''
## How it was trained

```sh
{command(config)}
```

Recipe `{config['recipe']}`, {len(history)} epochs of {images}, seed {config['seed']}; augmentation: {augmentation}.
{metrics['training_seconds']/3600:.1f} hours, begun with {machine['threads']} of {machine['cores']} cores of an {machine['cpu']};
pauses, other machines and other work included; in {config['precision']}; at most {metrics['peak_memory_gb']} GB of memory; {versions}.
`config.json` has every setting, and `history.csv` every epoch.
In the last epoch {history.train_accuracy.iloc[-1]:.1%} of the augmented training images were
classified correctly. No other images, labels or weights were used. {test_images}{earlier_runs(folder)}

![The training, epoch by epoch](curves.png)
'''


def failure_section(rows):
    pairs = rows[rows.actual != rows.predicted].groupby(['actual','predicted']).size().sort_values(ascending=False).head(6)
    return f'''
## How it fails

{table(['actual', 'predicted', 'times'], [(actual, predicted, n) for (actual,predicted),n in pairs.items()])}

![The test images with the largest loss](mistakes.png)
{limits}'''


def card(run, figures, rows, folder):
    "The text of the card; `folder` has the records of earlier runs"
    sections = [summary_section(run, figures), use_section(run.config), accuracy_section(figures, rows), training_section(run, folder)]
    return ''.join([*sections, about_the_data, failure_section(rows)]).lstrip()


def keep_record(old, new, differs):
    "Copy the record of the training that made the weights in `old`, and those of earlier ones, into `new/tried`"
    if (old/'tried').exists(): shutil.copytree(old/'tried', new/'tried')
    record = new/'tried'/str(1 + len(list(old.glob('tried/*'))))
    record.mkdir(parents=True)
    for name in ('config.json', 'history.csv'): shutil.copy(old/name, record/name)
    write_json(record/'metrics.json', {**read_json(old/'metrics.json'), 'differs': differs})


def save_figure(file):
    plt.savefig(file, dpi=70)
    plt.close('all')


def publish(run, data, differs):
    "Replace the weights of the run's model by those of `run`; returns their folder"
    folder = weights/run.config['model']
    figures,rows = measure(run, data)
    weights.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=weights) as work:
        new = Path(work)/'new'
        shutil.copytree(run.path, new, ignore=shutil.ignore_patterns('checkpoint.pt*', 'wall_clock.csv'))
        if folder.exists(): keep_record(folder, new, differs)
        (new/'README.md').write_text(card(run, figures, rows, new))
        write_json(new/'metrics.json', {**run.metrics, **figures})
        plot_calibration(rows)
        save_figure(new/'calibration.png')
        show_mistakes(run.path, data, 12)
        save_figure(new/'mistakes.png')
        if folder.exists(): shutil.rmtree(folder)
        new.rename(folder)
    return folder


if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('run', type=Path, help='folder of a finished run on CIFAR-10')
    p.add_argument('--differs', default='', help='how the network whose weights are replaced was different, in words for the card')
    args = p.parse_args()
    run = read_run(args.run)
    if run.metrics is None: p.error(f"the run in '{args.run}' is not finished; go on with cifar9 train --resume {args.run}")
    old_metrics = weights/run.config['model']/'metrics.json'
    if old_metrics.exists() and run.metrics['correct'] < read_json(old_metrics)['correct']:
        old,new = read_json(old_metrics)['correct'], run.metrics['correct']
        p.error(f"the run in '{args.run}' has {new:,} correct test images, fewer than the {old:,} of the weights in the package")
    folder = publish(run, load_cifar10(), args.differs)
    print((folder/'README.md').read_text())
