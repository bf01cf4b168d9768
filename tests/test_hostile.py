"""Hostile files: refused with one sentence, in little memory, and nothing is executed. The cases are those of `bench/trust.py`.

`pytest -s tests/test_hostile.py` prints the counts; `pytest -m sweep tests/test_hostile.py` tries all cases."""
import json
import re
import subprocess
import sys
import tempfile
import time
from configparser import ConfigParser
from pathlib import Path

import pytest

bench = Path(__file__).parents[1]/'bench'
sys.path.insert(0, str(bench))
import trust

pytestmark = pytest.mark.skipif(not hasattr(trust.os, 'mkfifo'), reason='some cases are pipes and links')


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    "An empty current folder, a small `shapes10`; at the end, no case has been executed"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(trust.cifar9.cifar10, 'make_shapes10', trust.small_shapes10)
    yield tmp_path
    assert not list(tmp_path.rglob('executed*')) and not (Path(tempfile.gettempdir())/'executed').exists()


def check(cases, least=1):
    "Every case is fine or one sentence, and at least some are refused"
    counts = trust.count(cases)
    print(f"\n{', '.join(f'{counts[outcome]:,} {outcome}' for outcome in trust.outcomes)}")
    assert counts['tried'] == counts['fine'] + counts['one sentence'] and counts['one sentence'] >= least


def test_archives_trees_and_pickles(folder): check(trust.archive_cases(folder), least=100)


def test_mutated_pickles(): check(trust.pickle_cases(400), least=200)


def test_damaged_files_of_a_run(folder): check(trust.part_of(trust.damage_cases(folder), .08), least=20)


def test_pipes_devices_and_giants_in_a_run(folder):
    cases = [case for case in trust.damage_cases(folder) if any(kind in case[0] for kind in ('pipe','zero_device','sparse','bomb'))]
    start = time.perf_counter()
    check(cases, least=30)
    print(f'{(time.perf_counter()-start)/len(cases):.1f} s each')


def test_the_oldest_torch_that_may_be_installed_has_no_known_hole_in_weights_only():
    "CVE-2025-32434 is fixed in 2.6, CVE-2026-24747 in 2.10"
    settings = ConfigParser()
    settings.read(bench.parent/'settings.ini')
    major,minor = re.search(r'\btorch>=(\d+)\.(\d+)', settings['DEFAULT']['requirements']).groups()
    assert (int(major), int(minor)) >= (2,10)


def test_an_evil_pickle_is_not_executed(folder):
    "The case itself works: unpickling it with Python creates a folder"
    evil = trust.pickle.dumps(trust.Evil())
    trust.pickle.loads(evil)
    assert (folder/'executed').is_dir()
    (folder/'executed').rmdir()
    with pytest.raises(trust.pickle.UnpicklingError, match='is not allowed'): trust.cifar9.archives.unpickle(trust.io.BytesIO(evil))


@pytest.mark.sweep
def test_all_mutated_pickles(): check(trust.pickle_cases(3200), least=2000)


@pytest.mark.sweep
def test_all_damaged_files_of_a_run(folder): check(trust.damage_cases(folder), least=200)


peak = '''
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import trust
def memory(name): return int(Path('/proc/self/status').read_text().split(name)[1].split()[0])*1024
folder = Path(sys.argv[2])
cases = {name:call for name,call in trust.archive_cases(folder)}
trust.Image.new('1', (1,60_000)).save(folder/'thin.png')
cases['thin'] = lambda: trust.fit_image(folder/'thin.png', fit='pad')
before = memory('VmRSS:')
seconds = {}
for name,call in cases.items():
    start = trust.time.perf_counter()
    trust.outcome(call)
    seconds[name] = trust.time.perf_counter() - start
slowest = max(seconds, key=seconds.get)
print(json.dumps(dict(n=len(cases), grown=memory('VmHWM:') - before, slowest=slowest, seconds=seconds[slowest])))
'''


@pytest.mark.skipif(not Path('/proc/self/status').exists(), reason='the peak memory is read from /proc')
def test_hostile_files_take_less_than_500_megabytes(folder):
    r = subprocess.run([sys.executable, '-c', peak, bench, folder], capture_output=True, text=True, timeout=300)
    assert r.returncode == 0, r.stderr[-2000:]
    facts = json.loads(r.stdout)
    print(f"\n{facts['n']} hostile files: memory grew by {facts['grown']/1e6:.0f} MB, "
          f"the slowest took {facts['seconds']:.1f} s ({facts['slowest']})")
    assert facts['grown'] < 500e6
