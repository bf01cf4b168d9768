"""Minutes from a cold start to an accuracy: runs of one recipe with several seeds, watched from outside.

    python bench/time_to_accuracy.py --out FOLDER [--recipe R] [--seeds 1 2 3] [--goal 0.85] [any option of `cifar9 train`]

Each run is the command `cifar9 train` in a process of its own. The clock starts before the process does, and an accuracy is reached
when its line appears in `history.csv`. Each run folder also gets `wall_clock.csv`: epoch, minutes, accuracy, and as its last line the
end of the process with the accuracy in metrics.json. The table has the mean and the standard deviation over the seeds.

After the runs the plain loop of the original is timed on the same machine (`train_step.py`). Its milliseconds and the table are
written to FOLDER.json, from which `figures.py` draws."""
import argparse
import csv
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from train_step import plain
from turns import spread, table, take_turns, where


class Reached(NamedTuple):
    epoch:str       # 'end': the process ended
    minutes:float   # since the start of the process
    accuracy:float


def new_lines(history, n, minutes):
    "What `history.csv` has beyond its first `n` epochs"
    if not history.exists(): return []
    lines = list(csv.DictReader(history.read_text().splitlines()))
    return [Reached(line['epoch'], round(minutes, 3), float(line['accuracy'])) for line in lines[n:]]


def watch(folder, options):
    "Train into `folder`; returns a list of `Reached`"
    command = [str(Path(sys.executable).with_name('cifar9')), 'train', '--out', str(folder), *options]
    log,reached = folder.with_suffix('.log'), []
    start = time.perf_counter()
    def minutes(): return (time.perf_counter() - start)/60
    with open(log, 'w') as f:
        process = subprocess.Popen(command, stdout=f, stderr=f)
        while process.poll() is None:
            time.sleep(.1)
            reached += new_lines(folder/'history.csv', len(reached), minutes())
    end = minutes()
    if process.returncode: sys.exit(f"{' '.join(command)} exited with {process.returncode}; see {log}")
    reached += new_lines(folder/'history.csv', len(reached), end)
    reached.append(Reached('end', round(end, 3), read_metrics(folder)['accuracy']))
    log.unlink()
    with open(folder/'wall_clock.csv', 'w', newline='') as f: csv.writer(f, lineterminator='\n').writerows([Reached._fields, *reached])
    return reached


def read_metrics(folder): return json.loads((folder/'metrics.json').read_text())


def summarize(folder, reached, goal):
    "Minutes to the goal, minutes to the end, accuracy in percent, memory in GB"
    to_goal = next((r.minutes for r in reached if r.accuracy >= goal), float('nan'))
    end = reached[-1]
    return to_goal, end.minutes, 100*end.accuracy, read_metrics(folder)['peak_memory_gb']


if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--out', type=Path, required=True, help='the runs become FOLDER_1, FOLDER_2, ...')
    p.add_argument('--recipe', default='fast')
    p.add_argument('--seeds', type=int, nargs='+', default=[1,2,3])
    p.add_argument('--goal', type=float, default=.85)
    args,options = p.parse_known_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    runs = []
    for seed in args.seeds:
        folder = args.out.with_name(f'{args.out.name}_{seed}')
        reached = watch(folder, ['--recipe', args.recipe, '--seed', str(seed), *options])
        runs.append(summarize(folder, reached, args.goal))
    command = ' '.join(['cifar9 train --recipe', args.recipe, *options])
    head = ['seed', f'minutes to {args.goal:.0%}', 'minutes to the end', 'accuracy, %', 'memory, GB']
    rows = [[str(seed), *(f'{x:.2f}' for x in run)] for seed,run in zip(args.seeds, runs)]
    rows.append(['mean ± standard deviation', *(spread(column) for column in zip(*runs))])
    print(f'{where()}; `{command}`, n = {len(runs)} runs\n')
    print(table(head, rows))
    ms = 1e3*take_turns({'plain': plain}, 1, 15)['plain'].median
    print(f'\nthe plain loop of the original, a step of 128 images on the same machine right after: {ms:.0f} ms, n = 15')
    summary = dict(where=where(), command=command, seeds=args.seeds, head=head, rows=rows, plain_step_ms=round(ms, 1))
    args.out.with_name(f'{args.out.name}.json').write_text(json.dumps(summary, indent=1)+'\n')
