"""More than 200 odd images, made by code: an answer or one clear error for each, no traceback, never above 1 GB of memory.

`pytest -s tests/test_odd_images.py` prints the counts. The slow form adds the largest images, each in a process of its own."""
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from cifar9.inference import fit_image

pytestmark = pytest.mark.skipif(not Path('/proc/self/status').exists(), reason='the peak memory is read from /proc')
command = Path(sys.executable).with_name('cifar9')
formats = {'png':'PNG','jpg':'JPEG','webp':'WEBP','gif':'GIF','bmp':'BMP','tiff':'TIFF','ppm':'PPM','ico':'ICO','tga':'TGA','pcx':'PCX',
           'sgi':'SGI','jp2':'JPEG2000','avif':'AVIF','dds':'DDS','im':'IM','icns':'ICNS','qoi':'QOI'}
modes = '1','L','P','RGB','RGBA','LA','CMYK','YCbCr','I;16','I','F'
gigabyte = 2**30

classify = '''
import json, sys
from pathlib import Path
from cifar9.inference import Predictor
counts = dict(answered=0, refused=0, other=[], unclear=[])
for fit in sys.argv[1].split(','):
    predictor = Predictor('atrous_net', fit=fit)
    for file in sys.argv[2:]:
        try:
            predictor.predict(file)
            counts['answered'] += 1
        except (ValueError, OSError) as e:
            counts['refused'] += 1
            if file not in str(e) or '\\n' in str(e): counts['unclear'].append(f'{file}: {e}')
        except Exception as e: counts['other'].append(f'{file}: {e!r}')
status = Path('/proc/self/status').read_text() # `ru_maxrss` of a child begins with the memory of its parent
counts['peak'] = int(status.split('VmHWM:')[1].split()[0])*1024
print(json.dumps(counts))
'''


def encode(img, fmt, **options):
    "The bytes of an image file, or None where Pillow cannot write this mode in this format"
    file = io.BytesIO()
    try: img.save(file, fmt, **options)
    except (OSError, ValueError, KeyError, SystemError): return None
    return file.getvalue()


def pattern(w, h, mode='RGB'):
    "A gradient of any mode"
    rgb = np.add.outer(np.arange(h)*3, np.arange(w)*5)[...,None]*np.array([1,2,3])%256
    img = Image.fromarray(rgb.astype(np.uint8))
    if mode == 'I;16': return Image.fromarray(np.asarray(img.convert('L')).astype(np.uint16)*257)
    if mode == 'F': return Image.fromarray(np.asarray(img.convert('L'), np.float32)/255)
    return img.convert('L').convert(mode) if mode in ('I','LA') else img.convert(mode)


def of_every_kind():
    "Each mode in each format, and each format in odd sizes"
    for suffix,fmt in formats.items():
        for mode in modes: yield f'{mode.replace(";", "")}.{suffix}', encode(pattern(40, 30, mode), fmt)
        for w,h in ((1,1), (1,900), (900,1), (3,2)): yield f'{w}x{h}.{suffix}', encode(pattern(w, h), fmt)


def damaged():
    "Cut files, files with changed bytes, and files that are no images"
    rng = np.random.default_rng(0)
    for suffix,fmt in formats.items():
        content = encode(pattern(64, 48), fmt)
        if content is None: continue
        for part in (.02, .3, .9): yield f'cut {part}.{suffix}', content[:int(len(content)*part)]
        changed = bytearray(content)
        for i in rng.integers(0, len(content), 8): changed[i] ^= 255
        yield f'changed.{suffix}', bytes(changed)
    others = dict(empty=b'', text=b'not an image', zeros=bytes(5000), pdf=b'%PDF-1.4\n', zip=b'PK\x03\x04'+bytes(90), html=b'<html>',
                  svg=b'<svg xmlns="http://www.w3.org/2000/svg"/>', eps=b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n',
                  png_head=b'\x89PNG\r\n\x1a\n', jpg_head=b'\xff\xd8\xff\xe0', noise=rng.bytes(3000))
    for name,content in others.items():
        yield f'{name}.png', content


def values_and_metadata():
    "EXIF orientations, animations, floats, integers of 32 bits, long texts"
    for orientation in (*range(10), 255):
        exif = Image.Exif()
        exif[0x112] = orientation
        yield f'exif {orientation}.jpg', encode(pattern(50, 30), 'JPEG', exif=exif)
    yield 'exif broken.jpg', encode(pattern(50, 30), 'JPEG', exif=b'Exif\0\0II*\0\xff\xff\xff\xff')
    frames = [pattern(30, 20).rotate(90*i) for i in range(4)]
    for suffix in ('gif','webp','png','tiff'):
        yield f'frames.{suffix}', encode(frames[0], formats[suffix], save_all=True, append_images=frames[1:])
    for name,scale in dict(unit=1, eight=255, sixteen=65535, negative=-1, nan=np.nan).items():
        yield f'float {name}.tiff', encode(Image.fromarray(np.linspace(0, scale, 900, dtype=np.float32).reshape(30,30)), 'TIFF')
    for top in (255, 65535, 10**6):
        yield f'int {top}.tiff', encode(Image.fromarray(np.linspace(0, top, 900).astype(np.int32).reshape(30,30)), 'TIFF')
    text = PngImagePlugin.PngInfo()
    text.add_text('long', 'a'*80_000_000, zip=True)
    yield 'long text.png', encode(pattern(20, 20), 'PNG', pnginfo=text)
    yield 'transparent.png', encode(pattern(20, 20).convert('P'), 'PNG', transparency=3)
    yield 'thin.png', encode(Image.new('L', (1,60_000)), 'PNG')
    yield 'bomb.png', encode(Image.new('1', (20_000,20_000)), 'PNG')
    yield 'too large.png', encode(Image.new('1', (9000,9000)), 'PNG')


def write_all(folder):
    "All odd files, with those that are no regular files"
    for name,content in (*of_every_kind(), *damaged(), *values_and_metadata()):
        if content is not None: (folder/name).write_bytes(content)
    (folder/'folder.png').mkdir()
    os.mkfifo(folder/'pipe.png')
    (folder/'loop.png').symlink_to('loop.png')
    (folder/'broken link.png').symlink_to('nowhere')
    return [*sorted(folder.iterdir()), folder/'missing.png', folder/('long'*80+'.png'), Path('/dev/zero'), Path('/dev/null')]


@pytest.fixture(scope='module')
def odd_files(tmp_path_factory): return write_all(tmp_path_factory.mktemp('odd'))


def counts_of(files, fits='crop,squeeze,pad'):
    "What a process that classifies `files` counts"
    r = subprocess.run([sys.executable, '-c', classify, fits, *map(str, files)], capture_output=True, text=True, timeout=300)
    assert r.returncode == 0, r.stderr[-2000:]
    return json.loads(r.stdout)


def test_every_odd_image_gets_an_answer_or_one_clear_error(odd_files):
    counts = counts_of(odd_files)
    print(f"\n{len(odd_files)} odd images in 3 fits: {counts['answered']} answered, {counts['refused']} refused, "
          f"{len(counts['other'])} other exceptions, peak memory {counts['peak']/gigabyte:.2f} GB")
    assert len(odd_files) >= 200
    assert counts['other'] == [] and counts['unclear'] == []
    assert counts['answered'] + counts['refused'] == 3*len(odd_files) and counts['refused'] > 50 < counts['answered']
    assert counts['peak'] < gigabyte


gradient = np.tile(np.arange(0, 256, 8, dtype=np.uint8), (32,1)) # 32x32 pixels, 0 to 248


@pytest.mark.parametrize('pixels, mean', [
    (gradient, 124),
    (gradient.astype(np.uint16)*257, 124),
    (gradient.astype(np.uint16), 0), # 16 bits are always divided by 257
    ((gradient/255).astype(np.float32), 124),
    (gradient.astype(np.float32), None),
    (gradient.astype(np.float32)*257, None),
    (np.full((32,32), np.nan, np.float32), None),
    (gradient.astype(np.int32), 124),
    (gradient.astype(np.int32)*4000, None)])
def test_files_and_arrays_are_scaled_by_their_type_and_not_by_a_guess(pixels, mean, tmp_path):
    Image.fromarray(pixels).save(tmp_path/'a.tiff')
    for image in (tmp_path/'a.tiff', Image.fromarray(pixels), pixels, pixels.astype(pixels.dtype.newbyteorder('>'))):
        if mean is None:
            with pytest.raises(ValueError, match='expected 0 to'): fit_image(image)
        else: assert abs(fit_image(image)[0].mean() - mean) < 1


def test_an_image_without_pixels_is_an_error():
    with pytest.raises(ValueError, match='0x0 pixels'): fit_image(Image.new('RGB', (0,0)))


def test_the_command_answers_all_others_beside_them(odd_files):
    files = [f for f in odd_files if not os.path.isdir(f)] # a folder stands for its images
    r = subprocess.run([command, 'predict', 'atrous_net', *files, '--json'], capture_output=True, text=True, timeout=300)
    lines,errors = [json.loads(line) for line in r.stdout.splitlines()], r.stderr.splitlines()
    print(f'\n{len(files)} odd images by the command: {len(lines)} answered, {len(errors)} lines of errors, exit {r.returncode}')
    assert r.returncode == 2 and 'Traceback' not in r.stderr
    assert len(lines) + len(errors) == len(files)
    assert all(line.startswith('cifar9: ') for line in errors)
    assert all(abs(sum(line['probabilities'].values()) - 1) < 1e-4 for line in lines)


def test_the_limit_of_pixels_is_what_keeps_the_memory_small(tmp_path, monkeypatch):
    "Without it, a large image is loaded"
    from cifar9 import own_images
    (tmp_path/'large.png').write_bytes(encode(Image.new('1', (9000,9000)), 'PNG'))
    with pytest.raises(ValueError, match='at most 50,000,000'): own_images.read_image(tmp_path/'large.png')
    monkeypatch.setattr(own_images, 'max_pixels', 10**9)
    assert own_images.read_image(tmp_path/'large.png')[0].shape == (32,32,3)


large = {
    'rgb.png': ('RGB', 7000, 7000, 'PNG', {}),
    'rgba.png': ('RGBA', 7000, 7000, 'PNG', {}),
    '16 bits.png': ('I;16', 7000, 7000, 'PNG', {}),
    'palette.png': ('P', 7000, 7000, 'PNG', {}),
    'float.tiff': ('F', 7000, 7000, 'TIFF', {}),
    'cmyk.tiff': ('CMYK', 7000, 7000, 'TIFF', {}),
    'photo.jpg': ('RGB', 12_000, 9000, 'JPEG', {}),
    'progressive.jpg': ('RGB', 12_000, 9000, 'JPEG', dict(progressive=True)),
    'rgb.webp': ('RGB', 4400, 4400, 'WEBP', {}),
    'rgb.avif': ('RGB', 4400, 4400, 'AVIF', dict(speed=10)),
    'rgb.jp2': ('RGB', 4400, 4400, 'JPEG2000', {}),
    'wide.png': ('RGB', 49_000, 1000, 'PNG', {}),
    'thin.png': ('L', 700, 65_000, 'PNG', {}),
    'thinner.png': ('L', 1, 49_000_000, 'PNG', {}),
    'large.webp': ('RGB', 7000, 7000, 'WEBP', {}),
}


@pytest.mark.slow
@pytest.mark.parametrize('name', large)
def test_a_large_image_stays_below_a_gigabyte(name, tmp_path):
    mode,w,h,fmt,options = large[name]
    content = encode(Image.new(mode, (w,h)), fmt, **options)
    if content is None: pytest.skip(f'Pillow cannot write {name}')
    (tmp_path/name).write_bytes(content)
    counts = counts_of([tmp_path/name])
    print(f"\n{name}, {w}x{h}: {counts['answered']} answered, {counts['refused']} refused, peak memory {counts['peak']/gigabyte:.2f} GB")
    assert counts['other'] == [] and counts['peak'] < gigabyte
