"""Bad input, counted: how often it is fine, one sentence, or anything else.

`python bench/trust.py` prints the table (20 minutes on two cores); `python bench/trust.py --part 0.05` takes a twentieth of the cases.
A sentence is a ValueError or an OSError of one line, which the command prints without a traceback. A call that takes more than 120 seconds
hangs. A result is wrong if a number in it is not finite, or if a training that was refused has written a file."""
import argparse
import bz2
import copy
import functools
import gzip
import io
import itertools
import json
import lzma
import math
import os
import pickle
import random
import shutil
import signal
import sys
import tarfile
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from pathlib import Path

os.environ.setdefault('CIFAR9_CACHE', tempfile.mkdtemp())
import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import cifar9.cifar10
from cifar9.cifar10 import read_cifar10
from cifar9.datasets import make_shapes10
from cifar9.export import export_hub
from cifar9.inference import Predictor, fit_image
from cifar9.runs import check_run, evaluate, plot_curves, read_run, train
from cifar9.show import plot_augmentation

seconds_limit = 120
memory_limit = 12_000_000_000 # bytes of addresses; torch reserves 4 GB of them
outcomes = 'tried','fine','one sentence','traceback','hang','wrong'


class Hang(BaseException): pass


def raise_hang(number, frame): raise Hang


def is_finite(o):
    "Is every number in a result finite?"
    if isinstance(o, dict): return all(map(is_finite, o.values()))
    if isinstance(o, (list,tuple)): return all(map(is_finite, o))
    return not isinstance(o, float) or math.isfinite(o)


def outcome(call, is_right=is_finite):
    "What became of a call, and the error"
    signal.signal(signal.SIGALRM, raise_hang)
    signal.setitimer(signal.ITIMER_REAL, seconds_limit)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            result = call()
        return ('fine' if is_right(result) else 'wrong'), result
    except (ValueError, OSError) as e: return ('one sentence' if '\n' not in str(e).strip() and str(e) else 'wrong'), e
    except Hang as e: return 'hang', e
    except (Exception, SystemExit) as e: return 'traceback', e
    finally: signal.setitimer(signal.ITIMER_REAL, 0)


def count(cases, show=True):
    "Outcomes of `(name, call)` or `(name, call, is_right)`; all that is no answer and no sentence is printed"
    counts = Counter()
    for name,call,*is_right in cases:
        what,result = outcome(call, *is_right)
        counts['tried'] += 1
        counts[what] += 1
        if show and what not in ('fine','one sentence'): print(f'  {what}: {name}: {result!r:.300}', file=sys.stderr)
    return counts


def part_of(cases, part, seed=0):
    "A seeded sample of the cases"
    cases = list(cases)
    return random.Random(seed).sample(cases, max(1, round(part*len(cases))))


# numbers and options ------------------------------------------------------------------------------------------------
numbers = [0, 1, -1, 2, .5, -.5, 33, 10**6, 10**25, 10**400, math.nan, math.inf, -math.inf, 1e-30, 1e30, True, 'a', None]
settings = 'epochs','lr','bs','wd','mom','pct_start','smoothing','drop','shift','hole','lr_rest','whiten','brief_aug'
options = 'seed','valid','num_workers','precision','device','size','fit','channels_last','model','recipe','checkpoint_minutes'


def option_cases(folder):
    "Each setting and option of `train` with each number, up to the first batch"
    images = make_shapes10(60, 20)
    for n,(name,value) in enumerate(itertools.product(settings+options, numbers)):
        out = folder/f'option {n}'
        def call(name=name, value=value, out=out):
            given = dict(dict(data=images, model='fast_net', recipe='fast', epochs=1, bs=20), **{name:value})
            if name == 'epochs' and isinstance(value, int) and value > 2: given['on_epoch'] = stop_training
            if name == 'num_workers' and value == 33: return None # starting 33 processes is not what is tried
            return train(**given, out=out, progress=False).metrics
        yield f'{name}={value!r:.40}', functools.partial(unless_written, call, out)


class Stopped(ValueError): pass


def stop_training(row): raise Stopped('enough epochs')


def unless_written(call, out):
    "The result of a training; an error of its input is no sentence if the run folder has files"
    try: return call()
    except Stopped: return None
    except ValueError as e:
        is_late = 'train again with a lower lr' in str(e) # a loss or weight that is not finite is only known when it is trained
        is_written = out.exists() and any(out.iterdir())
        if is_written and not is_late: raise RuntimeError(f'refused after files were written: {e}') from e
        raise


# changed config.json ------------------------------------------------------------------------------------------------
wrong_values = [None, True, False, 0, 1, -1, 3, .5, -1., math.nan, math.inf, 10**6, 10**30, '', 'x', 'cpu', 'cuda', '../../../etc/passwd',
                '\0', 'a'*5000, [], [None], [1], [0,0,0], [math.nan]*3, ['a','b'], ['a']*10, [10**400]*3, {}, {'a':1}, [[]], [{}],
                {'name':1}]


def deep(n): return functools.reduce(lambda o,_: [o], range(n), [])


def changed_configs(config, n, seed=0):
    "`n` configs with a wrong value, a missing key or nested too deeply, as JSON texts"
    rng = random.Random(seed)
    for _ in range(n):
        changed = copy.deepcopy(config)
        place,key = changed, rng.choice(sorted(changed))
        while isinstance(place[key], dict) and place[key] and rng.random() < .7: place,key = place[key], rng.choice(sorted(place[key]))
        if isinstance(place[key], list) and place[key] and rng.random() < .5: place,key = place[key], rng.randrange(len(place[key]))
        while isinstance(place[key], dict) and place[key] and rng.random() < .8: place,key = place[key], rng.choice(sorted(place[key]))
        kind = rng.random()
        if kind < .1 and isinstance(place, dict): del place[key]
        elif kind < .15: place[key] = deep(rng.choice([50, 900]))
        else: place[key] = rng.choice(wrong_values)
        text = json.dumps(changed)
        damaged = text[:len(text)//2], '['*100_000, text.replace('1', '9'*5000), text + 'x', '\ufeff' + text, '[]', 'null'
        if kind > .97: text = rng.choice(damaged)
        yield text


def make_runs(folder):
    "A run that is done, and one that stopped after the first of two epochs"
    arguments = dict(data='shapes10', model='fast_net', recipe='fast', epochs=2, bs=40, progress=False)
    train(**arguments, out=folder/'done')
    try: train(**arguments, out=folder/'stopped', on_epoch=stop_training)
    except Stopped: pass
    return folder/'done', folder/'stopped'


def read_all(run): # the table is drawn, too
    record = read_run(run)
    if record.history is not None: plot_curves(record.history)
    plt.close('all')


def run_calls(done, stopped, work):
    "Calls that read the run folder `done`, or continue `stopped`"
    image = make_shapes10(10, 10).images[0]
    def hub():
        shutil.rmtree(work/'hub', ignore_errors=True)
        export_hub(done, work/'hub')
    def predict(): return Predictor(done).predict(image).probabilities
    def check(): return str(check_run(done))
    def show(): plt.close(plot_augmentation(done))
    def resume(): return train(resume=stopped, progress=False).metrics
    def read(): return read_all(done)
    def measure(): return evaluate(done)
    return dict(read_run=read, predict=predict, check=check, evaluate=measure, hub=hub, show=show, resume=resume)


def on_copies(call, change, sources, copies):
    "Call on fresh copies of the run folders, each changed by `change`"
    for source,target in zip(sources, copies):
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target)
        change(target)
    return call()


def config_cases(folder, n):
    sources = make_runs(folder)
    copies = folder/'copy', folder/'copy stopped'
    for i,text in enumerate(changed_configs(json.loads((sources[0]/'config.json').read_text()), n)):
        def change(target, text=text): (target/'config.json').write_text(text)
        for name,call in run_calls(*copies, folder).items():
            yield f'config {i}, {name}', functools.partial(on_copies, call, change, sources, copies)


# damaged files of a run ---------------------------------------------------------------------------------------------
def damages(rng):
    "Ways to damage a file: `(name, function of the path)`"
    def write(change): return lambda file: file.write_bytes(change(file.read_bytes()))
    def flip(data):
        data = bytearray(data)
        for i in rng.integers(0, len(data), 3): data[i] ^= 1 << int(rng.integers(8))
        return bytes(data)
    def replace(make):
        def change(file):
            file.unlink()
            make(file)
        return change
    yield from dict(
        empty=write(lambda data: b''), half=write(lambda data: data[:len(data)//2]), one_short=write(lambda data: data[:-1]),
        zeros=write(lambda data: bytes(len(data))), noise=write(lambda data: rng.bytes(len(data))), twice=write(lambda data: data*2),
        text=write(lambda data: b'nothing\n'), binary=write(lambda data: b'\xff\xfe' + data), missing=replace(lambda file: None),
        folder=replace(lambda file: file.mkdir()), pipe=replace(os.mkfifo), zero_device=replace(lambda file: file.symlink_to('/dev/zero')),
        loop=replace(lambda file: file.symlink_to(file.name)), passwd=replace(lambda file: file.symlink_to('/etc/passwd')),
        sparse=replace(make_sparse)).items()
    for i in range(8): yield f'flip {i}', write(flip)


def make_sparse(file):
    "A file of 10 GB that takes no room on the disk"
    with open(file, 'wb') as opened: opened.truncate(10**10)


def checkpoint_cases():
    "Checkpoints that other programs could make, as functions of the path"
    def bomb(file):
        with zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.writestr('archive/data.pkl', bytes(5*10**8))
    yield 'bomb of 500 MB', bomb
    yield 'evil', lambda file: torch.save(Evil(), file)
    yield 'a tensor', lambda file: torch.save(torch.zeros(3), file)
    yield 'another dict', lambda file: torch.save({'epoch':'a'}, file)
    for key,value in dict(epoch='a', batches=-1, record=None, model={}, opt={}, random={}, last_epoch=math.nan).items():
        yield f'{key}={value}', lambda file, key=key, value=value: torch.save(torch.load(file, weights_only=True) | {key:value}, file)


def weights_cases():
    "Weights files whose header lies or whose values are bad, as functions of the path"
    def header(text, data=b''): return lambda file: file.write_bytes(len(text).to_bytes(8, 'little') + text + data)
    def values(change): return lambda file: save_file({name:change(tensor) for name,tensor in load_file(file).items()}, file)
    yield 'header of 2**63 bytes', lambda file: file.write_bytes(b'\xff'*7 + b'\x7f' + b'{}')
    yield 'deep header', header(b'['*100_000)
    yield 'huge shape', header(b'{"a":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,4]}}', bytes(4))
    same = b'{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
    yield 'overlap', header(b'{"a":' + same + b',"b":' + same + b'}', bytes(4))
    for dtype in ('F8_E4M3','F4','U64','C64','BOOL','X'):
        yield f'dtype {dtype}', header(f'{{"a":{{"dtype":"{dtype}","shape":[1],"data_offsets":[0,8]}}}}'.encode(), bytes(8))
    for name,bad in dict(nan=math.nan, inf=math.inf, large=1e38).items():
        yield name, values(lambda t, bad=bad: t*0+bad if t.is_floating_point() else t)
    for dtype in (torch.int8, torch.bool, torch.float64, torch.bfloat16, torch.complex64):
        yield str(dtype), values(lambda t, dtype=dtype: t.to(dtype))
    yield 'pickle', lambda file: file.write_bytes(pickle.dumps(Evil()))
    yield 'torch.save', lambda file: torch.save(Evil(), file)


class Evil:
    "Unpickling it creates a file"
    def __reduce__(self): return os.mkdir, ('executed',)


def damage_cases(folder):
    sources = make_runs(folder)
    copies = folder/'copy', folder/'copy stopped'
    rng = np.random.default_rng(0)
    for file in ('config.json','history.csv','metrics.json','model.safetensors','checkpoint.pt'):
        source = sources[0]/file if (sources[0]/file).exists() else sources[1]/file
        if not source.exists(): continue
        of_its_kind = {'model.safetensors':weights_cases, 'checkpoint.pt':checkpoint_cases}.get(file, tuple)
        for name,damage in itertools.chain(damages(rng), of_its_kind()):
            def change(target, file=file, damage=damage):
                if (target/file).is_file(): damage(target/file)
            for call_name,call in run_calls(*copies, folder).items():
                if file == 'checkpoint.pt' and call_name != 'resume': continue
                yield f'{file} {name}, {call_name}', functools.partial(on_copies, call, change, sources, copies)


# archives, trees, pickles -------------------------------------------------------------------------------------------
def batch_bytes(labels=(0,1), n=2, **extra):
    batch = {b'data':np.zeros((n,3072), np.uint8), b'labels':list(labels), b'filenames':[b'%d.png'%i for i in range(n)]}
    return pickle.dumps(batch | extra, protocol=2)


def png(w=32, h=32, mode='RGB'):
    file = io.BytesIO()
    Image.new(mode, (w,h)).save(file, 'PNG')
    return file.getvalue()


def tar(members, **header):
    "A tar of `{name: content}`; `header` changes the last member's header"
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode='w', format=tarfile.GNU_FORMAT) as archive:
        for i,(name,content) in enumerate(members.items()):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            if i == len(members)-1:
                for key,value in header.items(): setattr(info, key, value)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def hostile_pickles():
    "Pickles that call functions, promise gigabytes or hold what is no batch"
    yield 'evil', pickle.dumps(Evil())
    for call in (b'cos\nmkdir\n(S"executed"\ntR.', b'c__builtin__\neval\n(S"open(\'executed\',\'w\')"\ntR.', b'cnumpy.f2py\nrun_main\n(tR.',
                 b'c_codecs\ndecode\n(S"a"\ntR.', b'c__main__\nEvil\n.', b'cbuiltins\ngetattr\n.', b'Pabc\n.'): yield f'{call[:20]}', call
    yield 'huge memo', b'\x80\x02Nr\xff\xff\xff\x7f.'
    yield 'huge memo in text', b'Np9999999999\n.'
    for name,opcode in dict(frame=b'\x95', bytes8=b'\x8e', unicode8=b'\x8d', array=b'\x96').items():
        yield name, b'\x80\x05' + opcode + b'\xff'*6 + b'\0\0.'
    yield 'long integer', b'\x80\x02\x8b\xff\xff\xff\x7f.'
    yield 'digits', b'I' + b'9'*10_000 + b'\n.'
    yield 'deep', b'\x80\x02' + b']'*100_000 + b'a'*99_999 + b'.'
    for o in (1, None, [], {}, {b'data':1}, {b'data':b'', b'labels':[], b'filenames':[]}): yield f'{o}', pickle.dumps(o, protocol=2)
    for labels in ([10**30,0], [10,0], [-1,0], ['cat',0], [None,0], [.5,0], [[0],0]): yield f'labels {labels}', batch_bytes(labels)
    yield 'wrong data', batch_bytes(**{'x':1}).replace(b'filenames', b'filename_')


def archive_cases(folder):
    "Archives and folders in the layouts of CIFAR-10 that lie: each is written when it is read"
    fine = tar({'cifar-10-batches-py/data_batch_1':batch_bytes(), 'cifar-10-batches-py/test_batch':batch_bytes()})
    contents = {}
    for suffix,pack in dict(tar=bytes, gz=gzip.compress, bz2=bz2.compress, xz=lzma.compress).items():
        packed = pack(fine)
        for part in (0, .1, .5, .9): contents[f'cut {part}.{suffix}'] = packed[:int(len(packed)*part)]
        for i in range(6):
            changed = bytearray(packed)
            changed[(2*i+1)*len(packed)//13] ^= 255
            contents[f'changed {i}.{suffix}'] = bytes(changed)
        contents[f'fine.{suffix}'] = packed
    image = png()
    outside = f'{tempfile.gettempdir()}/executed'
    for name in ('../../executed', outside, 'train/cat/../../../executed.png', 'train/nothing/a.png', 'train/cat/a.png'):
        contents[f'named {name.replace("/", "|")}'] = tar({name:image})
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE, b'Z'):
        contents[f'type {kind}'] = tar({'train/cat/a.png':b''}, type=kind, linkname='/etc/passwd')
    for kind in (tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_SPARSE):
        for size in (2*10**9, 10**10):
            info = tarfile.TarInfo('train/cat/a.png')
            info.type,info.size = kind,size
            contents[f'promise {kind} {size}'] = info.tobuf(tarfile.GNU_FORMAT) + bytes(10_000)
    info = tarfile.TarInfo('x')
    info.type,info.size = tarfile.XHDTYPE,2*10**9
    zeros = io.BytesIO()
    with gzip.open(zeros, 'wb', 1) as file:
        file.write(info.tobuf(tarfile.USTAR_FORMAT))
        for _ in range(100): file.write(bytes(2**20))
    contents['zeros behind a header.gz'] = zeros.getvalue()
    contents['chain of long names'] = tar({'a'*200:b''})[:1024]*5000
    for w,h,mode in ((20_000,20_000,'1'), (9000,9000,'1'), (33,32,'RGB'), (1,60_000,'1')):
        contents[f'image {w}x{h}'] = tar({'train/cat/a.png':png(w,h,mode)})
    contents['damaged image'] = tar({'train/cat/a.png':image[:50]})
    for name,content in hostile_pickles(): contents[f'pickle {name}'] = tar({'cifar-10-batches-py/data_batch_1':content})
    for i,(name,content) in enumerate(contents.items()):
        def call(i=i, content=content):
            file = folder/f'archive {i}'
            file.write_bytes(content)
            read_cifar10(file)
        yield name, call
    yield from folder_cases(folder)


def folder_cases(folder):
    "Folders with pipes, links, bombs and pickles"
    def make(name, write):
        root = folder/name
        for split in ('train','test'): (root/split/'cat').mkdir(parents=True, exist_ok=True)
        write(root/'train'/'cat'/'a.png')
        return root
    writes = dict(
        pipe=os.mkfifo,
        inner=lambda f: f.mkdir(),
        device=lambda f: f.symlink_to('/dev/zero'),
        passwd=lambda f: f.symlink_to('/etc/passwd'),
        loop=lambda f: f.symlink_to(f.name),
        up=lambda f: f.symlink_to('..'),
        empty=lambda f: f.write_bytes(b''),
        bomb=lambda f: f.write_bytes(png(20_000,20_000,'1')),
        evil=lambda f: f.write_bytes(pickle.dumps(Evil())))
    for name,write in writes.items(): yield f'tree {name}', lambda name=name, write=write: read_cifar10(make(f'tree {name}', write))
    def batch(i, write):
        root = folder/f'batches {i}'
        root.mkdir()
        write(root/'data_batch_1')
        read_cifar10(root)
    for i,(name,content) in enumerate(hostile_pickles()):
        yield f'batch {name}', functools.partial(batch, i, lambda f, content=content: f.write_bytes(content))
    for i,write in enumerate((os.mkfifo, make_sparse, lambda f: f.symlink_to('/dev/zero'))):
        yield f'batch file {i}', functools.partial(batch, f'file {i}', write)


def pickle_cases(n, seed=0):
    "`n` mutations of a batch: changed, lost and doubled bytes"
    rng,fine = random.Random(seed),batch_bytes()
    for i in range(n):
        content = bytearray(fine)
        for _ in range(rng.choice([1,1,2,5])):
            anywhere,head = rng.randrange(len(content)), rng.randrange(200)
            place = rng.choice([anywhere, head, len(content)-1-head])
            kind = rng.random()
            if kind < .6: content[place] = rng.randrange(256)
            elif kind < .8: del content[place:place+rng.randrange(1, 9)]
            else: content[place:place] = content[place:place+rng.randrange(1, 9)]
        def call(content=bytes(content)): return len(list(cifar9.cifar10._batch_records(io.BytesIO(content), 'data_batch_1')))
        yield f'mutation {i}', call


# images -------------------------------------------------------------------------------------------------------------
def is_image(fitted): return fitted[0].shape == (32,32,3) and fitted[0].dtype == np.uint8


def file_cases(folder):
    "The odd images of the tests, and formats that need other programs"
    sys.path.insert(0, str(Path(__file__).parents[1]/'tests'))
    from test_odd_images import write_all
    folder.mkdir()
    others = dict(
        bufr=b'BUFR' + bytes(99),
        grib=b'GRIB\0\0\0\1' + bytes(99),
        hdf5=b'\x89HDF\r\n\x1a\n' + bytes(99),
        wmf=b'\xd7\xcd\xc6\x9a\0\0' + bytes(99),
        mpeg=b'\0\0\1\xb3' + bytes(99),
        eps=b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n')
    for suffix,content in others.items(): (folder/f'other.{suffix}').write_bytes(content)
    (folder/os.fsdecode(b'caf\xe9.png')).write_bytes(png())
    for file in write_all(folder):
        yield f'{file}', functools.partial(fit_image, file, fit='pad'), is_image


def object_cases():
    "Arrays, tensors and PIL images of any type, shape and value"
    shapes = (), (0,), (5,), (4,4), (1,4,4), (4,4,1), (3,4,4), (4,4,3), (4,4,4), (4,4,5), (4,4,2), (0,4,3), (1,4,4,3), (1,1), (1,900,3)
    for shape,dtype in itertools.product(shapes, ('uint8','bool','int8','uint16','>u2','int64','float16','float32','float64','complex64')):
        yield f'array {shape} {dtype}', functools.partial(fit_image, np.ones(shape, dtype)), is_image
    for value in (math.nan, math.inf, -1, 2, 255, 1e30):
        yield f'array of {value}', functools.partial(fit_image, np.full((4,4), value)), is_image
    arrays = [np.array(o) for o in ('text', ['a','b'], [[b'a']], [[None]])] + [np.zeros((4,4), dtype) for dtype in ('M8[s]', [('a','u1')])]
    for array in arrays:
        yield f'array {array.dtype}', functools.partial(fit_image, array), is_image
    for o in (None, 3, 'missing.png', b'bytes', [], {}, [[1,2],[3]], object(), '', '\0', 'a'*5000):
        yield f'{o!r:.20}', functools.partial(fit_image, o), is_image
    x = torch.rand(3,4,4)
    tensors = dict(
        sparse=x.to_sparse(),
        meta=x.to('meta'),
        conj=torch.view_as_complex(torch.rand(4,4,2)).conj(),
        bf16=x.bfloat16(),
        half=x.half(),
        f8=x.to(torch.float8_e4m3fn),
        bool=x > .5,
        int=(x*9).int(),
        nan=x*math.nan,
        strided=x[:,::2],
        grad=x.clone().requires_grad_())
    with warnings.catch_warnings():
        warnings.simplefilter('ignore') # of what torch will remove
        tensors['nested'] = torch.nested.nested_tensor([x[0], x[1]])
        tensors['quantized'] = torch.quantize_per_tensor(x, .1, 0, torch.quint8)
    for name,tensor in tensors.items(): yield f'tensor {name}', functools.partial(fit_image, tensor), is_image
    modes = '1','L','P','RGB','RGBA','CMYK','LAB','I','F','I;16','LA','PA','HSV'
    for mode,size in itertools.product(modes, ((0,0), (0,5), (1,1), (1,60_000))):
        yield f'PIL {mode} {size}', lambda mode=mode, size=size: fit_image(Image.new(mode, size), fit='pad'), is_image
    for side in (-1, 0, 10**6, .5): yield f'side {side}', functools.partial(fit_image, np.zeros((4,4,3), np.uint8), side), is_image


# the table ----------------------------------------------------------------------------------------------------------
def rows(folder, part=1.):
    "Name of each row and its cases"
    for name in ('options','configs','damages','archives'): (folder/name).mkdir()
    yield 'numbers and options', part_of(option_cases(folder/'options'), part)
    yield 'changed config.json', config_cases(folder/'configs', max(2, round(950*part)))
    yield 'damaged files of a run', part_of(damage_cases(folder/'damages'), part)
    yield 'archives, trees, pickles', archive_cases(folder/'archives')
    yield 'mutated pickles', pickle_cases(max(200, round(3200*part)))
    yield 'image files', part_of(file_cases(folder/'images'), max(part, .3))
    yield 'arrays, tensors, PIL images', object_cases()


def small_shapes10(*args, size=32, **kwargs):
    "`shapes10` with fewer images"
    images = make_shapes10(200, 50, size=min(size, 64))
    images.name = 'shapes10'
    return images


def main(part=1., only=''):
    import resource # not on Windows
    torch.manual_seed(0)
    resource.setrlimit(resource.RLIMIT_AS, (memory_limit,)*2) # what reads a giant gets a MemoryError, before other programs are ended
    cifar9.cifar10.make_shapes10 = small_shapes10
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        print(f"| {' | '.join(('part',)+outcomes)} | seconds |\n|{'---|'*(len(outcomes)+2)}")
        for name,cases in rows(Path(folder), part):
            if only not in name: continue
            start,counts = time.perf_counter(), count(cases)
            print(f"| {name} | {' | '.join(f'{counts[o]:,}' for o in outcomes)} | {time.perf_counter()-start:.0f} |", flush=True)
        print('nothing was executed' if not list(Path(folder).rglob('executed*')) else 'SOMETHING WAS EXECUTED')
        os.chdir(before)


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--part', type=float, default=1., help='part of the cases to try')
    parser.add_argument('--only', default='', help='rows whose name contains this')
    arguments = parser.parse_args()
    main(arguments.part, arguments.only)
