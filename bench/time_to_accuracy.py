"""From a cold start to an accuracy: runs of one recipe with several seeds, watched from outside.

    python bench/time_to_accuracy.py --out FOLDER [--recipe R] [--model M] [--seeds 1 2 3] [--goal 0.85] [any option of `cifar9 train`]

Each run is the command `cifar9 train` in a process of its own. The clock starts before the process does; the moment at which a line of `history.csv` appears is when that accuracy was there. Beside what `train` writes, a run's
folder gets `wall_clock.csv`: epoch, minutes, accuracy, and as its last line the end of the process with the accuracy in metrics.json. The table has mean and spread over the seeds.
Right after the runs the plain loop of the original is timed on the same machine (`train_step.py`); its milliseconds, with the table, go into FOLDER.json, from which `pictures.py` draws."""
import argparse, csv, json, statistics, subprocess, sys, time
from pathlib import Path

from train_step import plain
from turns import median, table, take_turns, where


def watch(folder, options):
    "Train into `folder`; `[(epoch, minutes, accuracy)]`"
    command = [str(Path(sys.executable).with_name('cifar9')), 'train', '--out', str(folder), *options]
    began,rows,history = time.perf_counter(), [], folder/'history.csv'
    with open(folder.with_suffix('.log'), 'w') as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        while process.poll() is None:
            time.sleep(.1)
            if history.exists():
                now,told = (time.perf_counter()-began)/60, list(csv.DictReader(history.read_text().splitlines()))
                rows += [(r['epoch'], round(now, 3), float(r['accuracy'])) for r in told[len(rows):]]
    if process.returncode: sys.exit(f"{' '.join(command)} ended with {process.returncode}; see {folder.with_suffix('.log')}")
    rows.append(('end', round((time.perf_counter()-began)/60, 3), json.loads((folder/'metrics.json').read_text())['accuracy']))
    folder.with_suffix('.log').unlink()
    with open(folder/'wall_clock.csv', 'w', newline='') as f: csv.writer(f, lineterminator='\n').writerows([('epoch','minutes','accuracy'), *rows])
    return rows


def spread(xs, f): return f.format(statistics.mean(xs)) + (f' ± {f.format(statistics.stdev(xs))}' if len(xs) > 1 else '')


if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--out', type=Path, required=True, help='the runs become FOLDER_1, FOLDER_2, ...')
    p.add_argument('--recipe', default='fast')
    p.add_argument('--seeds', type=int, nargs='+', default=[1,2,3])
    p.add_argument('--goal', type=float, default=.85)
    args,options = p.parse_known_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    runs = {seed: watch(args.out.with_name(f'{args.out.name}_{seed}'), ['--recipe', args.recipe, '--seed', str(seed), *options]) for seed in args.seeds}
    print(f"{where()}; `cifar9 train --recipe {' '.join([args.recipe, *options])}`, n = {len(runs)} runs\n")
    head = ['seed', f'minutes to {args.goal:.0%}', 'minutes to the end', 'accuracy, %', 'memory, GB']
    rows = []
    for seed,run in runs.items():
        there = next((minutes for _,minutes,accuracy in run if accuracy >= args.goal), float('nan'))
        gb = json.loads((args.out.with_name(f'{args.out.name}_{seed}')/'metrics.json').read_text())['peak_memory_gb']
        rows.append((there, run[-1][1], 100*run[-1][2], gb))
    body = [[str(seed), f'{a:.2f}', f'{b:.2f}', f'{c:.2f}', f'{d:.2f}'] for seed,(a,b,c,d) in zip(runs, rows)] + [['mean ± standard deviation', *(spread(xs, '{:.2f}') for xs in zip(*rows))]]
    table(head, body)
    ms = 1e3*median(take_turns({'plain': plain}, 1, 15), 'plain')
    print(f'\nthe plain loop of the original, a step of 128 images on the same machine right after: {ms:.0f} ms, n = 15')
    told = dict(where=where(), command=f"cifar9 train --recipe {' '.join([args.recipe, *options])}", seeds=args.seeds, head=head, rows=body, plain_step_ms=round(ms, 1))
    args.out.with_name(f'{args.out.name}.json').write_text(json.dumps(told, indent=1)+'\n')
