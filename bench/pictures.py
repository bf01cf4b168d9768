"""The pictures of the README that show trainings: `images/time_to_accuracy.png` and `images/brief_curve.png`.

    python bench/pictures.py

Drawn from what lies in `images`: the runs that `time_to_accuracy.py` watched, the plain loop's milliseconds that it measured right after them, and the first epochs of the recipe `brief`. The original's accuracies are `bench/original_curve.tsv`."""
import json
from pathlib import Path

import matplotlib
matplotlib.use('agg')
import matplotlib.pyplot as plt, pandas as pd

here = Path(__file__).parent
images = here.parent/'images'
original = pd.read_csv(here/'original_curve.tsv', sep='\t')
per_epoch = 50_000//128 # steps


def time_to_accuracy():
    fig,ax = plt.subplots(figsize=(8,4.2), layout='constrained')
    for name,color,label in (('fast','C1','fast_net, recipe fast'), ('fast_dilated','C0','dilated_net, recipe fast')):
        told = json.loads((images/f'{name}.json').read_text())
        for i,seed in enumerate(told['seeds']):
            run = pd.read_csv(images/f'{name}_{seed}'/'wall_clock.csv').iloc[:-1]
            ax.plot(run['minutes'], 100*run['accuracy'], color=color, marker='o', ms=3, lw=1.2, label=f"{label}, {len(told['seeds'])} seed{'s' if len(told['seeds'])>1 else ''}" if not i else None)
    step = json.loads((images/'fast.json').read_text())['plain_step_ms']
    ax.plot(original['epoch']*per_epoch*step/6e4, original['test_accuracy'], color='C7', lw=1.2, label=f'the original: plain loop, {step*per_epoch/1e3:.0f} s an epoch')
    ax.axhline(85, color='k', lw=.8, ls=':')
    ax.set_xscale('log'); ax.set_xticks([.5,1,2,5,10,20,60,120,300,600]); ax.xaxis.set_major_formatter('{x:g}'); ax.minorticks_off()
    ax.set_xlabel('minutes from a cold start, on two cores'); ax.set_ylabel('test accuracy, %'); ax.set_ylim(35, 92); ax.grid(alpha=.3); ax.legend(loc='lower right', fontsize=9)
    fig.savefig(images/'time_to_accuracy.png', dpi=110)


def brief_curve():
    fig,ax = plt.subplots(figsize=(8,3.8), layout='constrained')
    run = pd.read_csv(images/'brief_15'/'history.csv')
    first = original[original['epoch'] <= len(run)]
    for col,theirs,color,what in (('accuracy','test_accuracy','C0','test'), ('train_accuracy','train_accuracy','C1','training')):
        ax.plot(first['epoch'], first[theirs], color=color, ls='--', marker='s', ms=3, lw=1, label=f'the original, {what}')
        ax.plot(run['epoch'], 100*run[col], color=color, marker='o', ms=4, label=f'`brief` here, {what}')
    ax.set_xlabel('epoch'); ax.set_ylabel('accuracy, %'); ax.xaxis.get_major_locator().set_params(integer=True); ax.grid(alpha=.3); ax.legend(fontsize=9)
    gap = (100*run['accuracy'].values - first['test_accuracy'].values)
    ax.set_title(f'test accuracy minus the original\'s: {gap.mean():+.1f} points on average, {gap.min():+.1f} to {gap.max():+.1f}', fontsize=10)
    fig.savefig(images/'brief_curve.png', dpi=110)


if __name__ == '__main__':
    time_to_accuracy()
    brief_curve()
