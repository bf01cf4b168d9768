"The network of the brief, compared with the reference table of its layers and with torchsummary"
import csv
from pathlib import Path

import pytest, torch
import torchvision.models as zoo

from cifar9.brief import check_brief
from cifar9.models import create_model, dilated_net, list_models
from cifar9.receptive_field import receptive_field
from cifar9.summary import count_params, draw_architecture, layer_table

with open(Path(__file__).with_name('layer_table.tsv')) as f: reference = list(csv.DictReader(f, delimiter='\t'))


def test_every_row_of_the_brief():
    table = layer_table(dilated_net())
    assert len(reference) == 71
    rows = [(r.layer, ', '.join(map(str, r.shape)), r.params) for r in table]
    assert rows == [(r['layer'], r['output_shape'], int(r['params'])) for r in reference]
    assert table.total == count_params(dilated_net()) == 197_392


def test_torchsummary_prints_the_same_rows(capsys):
    torchsummary = pytest.importorskip('torchsummary')
    torchsummary.summary(dilated_net(), (3,32,32), device='cpu')
    rows = [line for line in capsys.readouterr().out.splitlines() if '[-1' in line]
    assert [line.split()[0].rsplit('-', 1)[0] for line in rows] == [r['layer'] for r in reference]
    assert [line[line.index('[')+1:line.index(']')] for line in rows] == [r['output_shape'] for r in reference]
    assert [int(line.split()[-1].replace(',', '')) for line in rows] == [int(r['params']) for r in reference]


@pytest.mark.parametrize('name', list_models())
def test_the_design_of_every_model_meets_the_brief(name):
    model = create_model(name)
    report = check_brief(model)
    assert report.passed and not report.training_judged, report
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_every_kernel_has_the_dilation_of_the_brief():
    "What the rows do not show: a pair of dilation 1 and 2 in each block, a transition of 8, 4, 2"
    net = dilated_net()
    convs = {n:m for n,m in net.named_modules() if isinstance(m, torch.nn.Conv2d)}
    expected = {f'{block}.look.far.conv':(2,2) for block in ('c1','c2','c3','o')}
    expected |= {'c1.transition.shrink':(8,8), 'c2.transition.shrink':(4,4), 'c3.transition.shrink':(2,2)}
    assert {n:m.dilation for n,m in convs.items() if m.dilation != (1,1)} == expected
    assert {n for n,m in convs.items() if m.stride != (1,1)} == {'c1.skip','c2.skip','c3.skip'}
    assert receptive_field(net) == 67


@pytest.mark.parametrize('kwargs,layers', [(dict(drop=0), 71-13), (dict(norm='gn'), 71), (dict(act='silu'), 71)])
def test_arguments(kwargs, layers): assert len(layer_table(dilated_net(**kwargs))) == layers


def test_the_drawing_shows_every_convolution_and_every_parameter(tmp_path):
    def texts(*args, **kwargs): return [t.get_text() for t in draw_architecture(*args, **kwargs).axes[0].texts]
    drawn = texts(dilated_net(), file=tmp_path/'a.svg')
    n_convs = sum(isinstance(m, torch.nn.Conv2d) for m in dilated_net().modules())
    assert sum(t.endswith((' conv',' depthwise')) for t in drawn) == n_convs == 27
    assert [drawn.count(t) for t in ('+','dilation 8','no padding','stride 2','3x3 depthwise')] == [7, 1, 3, 3, 4]
    panels = [int(t.split()[0].replace(',', '')) for t in drawn if t.endswith('parameters')]
    assert sum(panels) + 464 == 197_392 # the narrow panel of conv0 has no room for the word
    assert {'16x32x32','32x16x16','32x8x8','32x4x4','10'} <= set(drawn)
    assert (tmp_path/'a.svg').read_text().startswith('<?xml')
    drawn = texts(zoo.resnet18(weights=None), (3,224,224), file=tmp_path/'b.png')
    assert sum(t.endswith(' conv') for t in drawn) == 20 and drawn.count('+') == 8
    assert (tmp_path/'b.png').stat().st_size > 10_000
    block = dilated_net().c1
    assert type(block).__name__ in texts(block, (16,32,32)) # the title of a single panel: the skip bypasses the others
