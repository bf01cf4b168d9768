"Every script of bench/ runs and prints its table; what it says is nobody's business here"
import subprocess, sys
from pathlib import Path

import pytest

bench = Path(__file__).parents[1]/'bench'
short = { # script: arguments that make it quick
    'augment.py': '--images 64 --rounds 1',
    'epoch.py': '--rounds 1 --images 512',
    'gpu.py': '--device cpu --images 512 --rounds 1 --skip-training',
    'startup.py': '--rounds 1',
    'train_step.py': '--steps 1 --rounds 1 --only first',
}
with_runs = {'time_to_accuracy.py', 'what_helps.py', 'card.py', 'pictures.py', 'turns.py'} # train on CIFAR-10, draw or publish what they trained, or are imported


def test_no_script_is_forgotten(): assert {f.name for f in bench.glob('*.py')} == set(short) | with_runs


@pytest.mark.slow
@pytest.mark.parametrize('script', short)
def test_a_script_prints_its_table(script, tmp_path):
    run = subprocess.run([sys.executable, bench/script, *short[script].split(' ')], capture_output=True, text=True, cwd=tmp_path, timeout=600)
    assert run.returncode == 0, run.stderr
    rows = [line for line in run.stdout.splitlines() if line.startswith('|')]
    assert len(rows) >= 4 and len({row.count('|') for row in rows}) == 1, run.stdout


@pytest.mark.slow
def test_a_watched_run_tells_when_it_had_which_accuracy(tmp_path):
    run = subprocess.run([sys.executable, bench/'time_to_accuracy.py', '--out', tmp_path/'w', '--seeds', '7', '--goal', '.01', '--data', 'shapes10', '--epochs', '2', '--bs', '500'], capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stderr
    lines = (tmp_path/'w_7'/'wall_clock.csv').read_text().splitlines()
    minutes = [float(line.split(',')[1]) for line in lines[1:]]
    assert [line.split(',')[0] for line in lines] == ['epoch','1','2','end'] and minutes == sorted(minutes) and 0 < minutes[0]
    assert 'mean' in run.stdout and 'plain_step_ms' in (tmp_path/'w.json').read_text()
