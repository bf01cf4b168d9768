"The network of the brief against the rows it was given, an independent summary, and autograd"
import csv
from pathlib import Path

import pytest, torch

from cifar9.summary import count_params; from cifar9.receptive_field import receptive_field

from cifar9.summary import layer_table

from cifar9.brief import check_brief
from cifar9.models import create_model, dilated_net, list_models

with open(Path(__file__).with_name('layer_table.tsv')) as f: reference = list(csv.DictReader(f, delimiter='\t'))


def test_every_row_of_the_brief():
    table = layer_table(dilated_net())
    assert len(reference) == 71
    assert [(r.layer, ', '.join(map(str, r.shape)), r.params) for r in table] == [(r['layer'], r['output_shape'], int(r['params'])) for r in reference]
    assert table.total == count_params(dilated_net()) == 197_392


def test_torchsummary_prints_the_same_rows(capsys):
    torchsummary = pytest.importorskip('torchsummary')
    torchsummary.summary(dilated_net(), (3,32,32), device='cpu')
    rows = [line for line in capsys.readouterr().out.splitlines() if '[-1' in line]
    assert [line.split()[0].rsplit('-', 1)[0] for line in rows] == [r['layer'] for r in reference]
    assert [line[line.index('[')+1:line.index(']')] for line in rows] == [r['output_shape'] for r in reference]
    assert [int(line.split()[-1].replace(',', '')) for line in rows] == [int(r['params']) for r in reference]


@pytest.mark.parametrize('name', list_models())
def test_every_model_meets_the_brief(name):
    model = create_model(name)
    report = check_brief(model)
    assert report.passed, report
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_every_kernel_has_the_dilation_of_the_brief():
    "The rows do not tell: a pair of dilation 1 and 2 in each block, a transition of 8, 4, 2"
    net = dilated_net()
    convs = {n:m for n,m in net.named_modules() if isinstance(m, torch.nn.Conv2d)}
    wanted = {f'{b}.look.far.conv':(2,2) for b in ('c1','c2','c3','o')} | {f'c{i}.transition.shrink':(d,d) for i,d in ((1,8),(2,4),(3,2))}
    assert {n:m.dilation for n,m in convs.items() if m.dilation != (1,1)} == wanted
    assert {n for n,m in convs.items() if m.stride != (1,1)} == {'c1.skip','c2.skip','c3.skip'}
    assert receptive_field(net) == 67


@pytest.mark.parametrize('kwargs,layers', [(dict(drop=0), 71-13), (dict(norm='gn'), 71), (dict(act='silu'), 71)])
def test_arguments(kwargs, layers): assert len(layer_table(dilated_net(**kwargs))) == layers


def test_the_drawing_shows_every_convolution_and_every_parameter(tmp_path):
    import torchvision.models as zoo
    from cifar9.summary import draw_architecture
    def words(fig): return [t.get_text() for t in fig.axes[0].texts]
    fig = draw_architecture(dilated_net(), file=tmp_path/'a.svg')
    seen = words(fig)
    assert sum(w.endswith((' conv',' depthwise')) for w in seen) == sum(isinstance(m, torch.nn.Conv2d) for m in dilated_net().modules()) == 27
    assert [seen.count(w) for w in ('+','dilation 8','no padding','stride 2','3x3 depthwise')] == [7, 1, 3, 3, 4]
    panels = [int(w.split()[0].replace(',', '')) for w in seen if w.endswith('parameters')] + [464]
    assert sum(panels) == 197_392 and {'16x32x32','32x16x16','32x8x8','32x4x4','10'} <= set(seen)
    assert (tmp_path/'a.svg').read_text().startswith('<?xml')
    seen = words(draw_architecture(zoo.resnet18(weights=None), (3,224,224), file=tmp_path/'b.png'))
    assert sum(w.endswith(' conv') for w in seen) == 20 and seen.count('+') == 8 and (tmp_path/'b.png').stat().st_size > 10_000
    block = words(draw_architecture(dilated_net().c1, (16,32,32)))
    assert sum(w.endswith('parameters') for w in block) == 1 # what runs side by side stands in one panel
