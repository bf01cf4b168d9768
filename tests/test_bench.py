"Every script of bench/ runs and prints its table; the figures are not tested"
import itertools
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

bench = Path(__file__).parents[1]/'bench'
quick = { # script: arguments that make it quick
    'augment.py': '--images 64 --rounds 1',
    'candidates.py': '--rounds 1',
}
weekly = { # a minute each: they start Python many times or compile
    'batch_memory.py': '--photos 3 --megapixels 1 --rounds 1',
    'epoch.py': '--rounds 1 --images 512',
    'gpu.py': 'speed --device cpu --images 512 --rounds 1',
    'infer.py': '--rounds 1 --models dilated_net',
    'startup.py': '--rounds 1',
    'train_step.py': '--steps 1 --rounds 1 --only first',
}
# they train, or draw and publish runs
with_runs = {'time_to_accuracy.py', 'what_helps.py', 'card.py', 'figures.py', 'own_folder.py', 'scale.py'}
imported = {'turns.py', 'trust.py'} # the second by test_hostile and test_bad_input


def run(script, *args, **kwargs):
    "What a script prints"
    result = subprocess.run([sys.executable, bench/script, *map(str, args)], capture_output=True, text=True, timeout=600, **kwargs)
    assert result.returncode == 0, result.stderr
    return result.stdout


def tables_of(text):
    "The tables in `text`, each a list of its lines"
    groups = itertools.groupby(text.splitlines(), lambda line: line.startswith('|'))
    return [list(lines) for is_table,lines in groups if is_table]


def test_no_script_is_forgotten():
    assert {f.name for f in bench.glob('*.py')} == {*quick, *weekly, *with_runs, *imported}


def prints_tables(script, args, folder):
    text = run(script, *args.split(), cwd=folder)
    tables = tables_of(text)
    assert tables, text
    for rows in tables: assert len(rows) >= 3 and len({row.count('|') for row in rows}) == 1, text


@pytest.mark.slow
@pytest.mark.parametrize('script', quick)
def test_a_script_prints_its_tables(script, tmp_path): prints_tables(script, quick[script], tmp_path)


@pytest.mark.sweep
@pytest.mark.parametrize('script', weekly)
def test_a_slower_script_prints_its_tables(script, tmp_path):
    prints_tables(script, weekly[script], tmp_path)


@pytest.mark.sweep
def test_time_to_accuracy_records_when_each_accuracy_was_reached(tmp_path):
    options = '--seeds 7 --goal .01 --data shapes10 --epochs 2 --bs 500'.split()
    text = run('time_to_accuracy.py', '--out', tmp_path/'w', *options)
    lines = [line.split(',') for line in (tmp_path/'w_7'/'wall_clock.csv').read_text().splitlines()]
    minutes = [float(line[1]) for line in lines[1:]]
    assert [line[0] for line in lines] == ['epoch','1','2','end'] and minutes == sorted(minutes) and 0 < minutes[0]
    assert 'mean' in text and 'plain_step_ms' in (tmp_path/'w.json').read_text()


@pytest.mark.sweep
def test_a_training_on_a_lent_machine_goes_on_where_it_was_interrupted(tmp_path):
    options = 'train --recipe fast --model fast_net --data shapes10 --device cpu --set epochs=2 bs=500 --seeds 1 --out'.split()
    first,second = tmp_path/'first', tmp_path/'second'
    process = subprocess.Popen([sys.executable, bench/'gpu.py', *options, first])
    while process.poll() is None and not (first/'fast_net_fast_1.tar').exists(): time.sleep(.1)
    assert process.poll() is None, 'the training ended before it could be interrupted'
    process.kill()
    process.wait()
    text = run('gpu.py', *options, second, '--resume', first)
    assert 'epoch 2/2' in text and 'epoch 1/2' not in text and [len(table) for table in tables_of(text)] == [3]
    with tarfile.open(second/'fast_net_fast_1.tar') as tar: names = {Path(name).name for name in tar.getnames()}
    assert {'metrics.json', 'model.safetensors'} <= names and 'checkpoint.pt' not in names
