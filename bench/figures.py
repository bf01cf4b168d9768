"""Draws the figures of the README that show trainings: `time_to_accuracy.png`, `brief_curve.png` and `whole_brief.png` in `images`.

    python bench/figures.py

It reads `images`: the runs that `time_to_accuracy.py` watched, the milliseconds of the plain loop that it measured after them, and the
first epochs of the recipe `brief`. The accuracies of the original are in `bench/original_curve.tsv`."""
import json
from pathlib import Path

import matplotlib
matplotlib.use('agg')
import matplotlib.pyplot as plt
import pandas as pd

from cifar9.models import list_pretrained, pretrained_folder
from cifar9.run_folder import read_run

here = Path(__file__).parent
images = here.parent/'images'
original = pd.read_csv(here/'original_curve.tsv', sep='\t')
steps_per_epoch = 50_000//128


def summary_of(name): return json.loads((images/f'{name}.json').read_text())


def save(fig, name, xlabel, ylabel, **legend):
    "Labels the axes of the one plot of a figure, and writes it to `images`"
    ax, = fig.axes
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    ax.grid(alpha=.3)
    ax.legend(fontsize=9, **legend)
    fig.savefig(images/f'{name}.png', dpi=110)


def plot_runs(ax, name, color, label):
    "Accuracy over minutes of all runs of one summary"
    seeds = summary_of(name)['seeds']
    plural = 's' if len(seeds) > 1 else ''
    for seed in seeds:
        run = pd.read_csv(images/f'{name}_{seed}'/'wall_clock.csv').iloc[:-1]
        ax.plot(run['minutes'], 100*run['accuracy'], color=color, marker='o', ms=3, lw=1.2)
    ax.lines[-1].set_label(f'{label}, {len(seeds)} seed{plural}')


def time_to_accuracy():
    fig,ax = plt.subplots(figsize=(8,4.2), layout='constrained')
    plot_runs(ax, 'fast', 'C1', 'fast_net, recipe fast')
    plot_runs(ax, 'fast_dilated', 'C0', 'dilated_net, recipe fast')
    plot_runs(ax, 'fast_brief_dilated', 'C2', 'dilated_net, recipe fast, augmentations of the brief')
    epoch = steps_per_epoch*summary_of('fast')['plain_step_ms']/1e3 # seconds
    label = f'the original: plain loop, {epoch:.0f} s an epoch'
    ax.plot(original['epoch']*epoch/60, original['test_accuracy'], color='C7', lw=1.2, label=label)
    ax.axhline(85, color='k', lw=.8, ls=':')
    ax.set_xscale('log')
    ax.set_xticks([.5,1,2,5,10,20,60,120,300,600])
    ax.xaxis.set_major_formatter('{x:g}')
    ax.minorticks_off()
    ax.set_ylim(35, 92)
    save(fig, 'time_to_accuracy', 'minutes from a cold start, on two cores', 'test accuracy, %', loc='lower right')


def brief_curve():
    fig,ax = plt.subplots(figsize=(8,3.8), layout='constrained')
    run = pd.read_csv(images/'brief_15'/'history.csv')
    first = original[original['epoch'] <= len(run)]
    for ours,theirs,color,what in (('accuracy','test_accuracy','C0','test'), ('train_accuracy','train_accuracy','C1','training')):
        ax.plot(first['epoch'], first[theirs], color=color, ls='--', marker='s', ms=3, lw=1, label=f'the original, {what}')
        ax.plot(run['epoch'], 100*run[ours], color=color, marker='o', ms=4, label=f'`brief` here, {what}')
    gap = 100*run['accuracy'].values - first['test_accuracy'].values
    span = f'{gap.mean():+.1f} points on average, {gap.min():+.1f} to {gap.max():+.1f}'
    ax.set_title(f"test accuracy minus the original's: {span}", fontsize=10)
    ax.xaxis.get_major_locator().set_params(integer=True)
    save(fig, 'brief_curve', 'epoch', 'accuracy, %')


def whole_brief():
    "Test accuracy over epochs of the networks in the package that were trained on the brief's augmentations"
    fig,ax = plt.subplots(figsize=(8,3.8), layout='constrained')
    last = original['test_accuracy'].iloc[-1]
    ax.plot(original['epoch'], original['test_accuracy'], color='C7', lw=1.2, label=f'the original: {last:.2f} %')
    for name in list_pretrained():
        run = read_run(pretrained_folder(name))
        if not run.config['settings'].get('brief_aug'): continue
        label = f"{name}: {run.metrics['accuracy']:.2%}".replace('%', ' %')
        ax.plot(run.history['epoch'], 100*run.history['accuracy'], lw=1.2, label=label)
    ax.axhline(85, color='k', lw=.8, ls=':')
    ax.set_ylim(55, 95)
    save(fig, 'whole_brief', 'epoch', 'test accuracy, %', loc='lower right')


if __name__ == '__main__':
    time_to_accuracy()
    brief_curve()
    whole_brief()
