"The pixels that a unit can see, compared with autograd: with positive weights, a pixel has a gradient exactly if the unit depends on it"
import ast
from copy import deepcopy
from pathlib import Path

import numpy as np, pytest, torch
import torchvision.models as zoo
from hypothesis import HealthCheck, given, settings, strategies as st
import torch.nn.functional as F
from torch import nn

import cifar9
from cifar9.brief import check_brief
from cifar9.models import create_model, list_models
from cifar9.graph import read_graph
from cifar9.receptive_field import effective_receptive_field, receptive_field, receptive_field_table, seen_pixels
from cifar9.summary import draw_architecture, layer_table


def linear(model):
    "A copy whose gradients cannot cancel or vanish: all weights equal, average in place of max pooling, no activations"
    net = deepcopy(model).double().eval()
    for name,m in list(net.named_modules()):
        parent,_,child = name.rpartition('.')
        if isinstance(m, nn.MaxPool2d):
            setattr(net.get_submodule(parent), child, nn.AvgPool2d(m.kernel_size, m.stride, m.padding, m.ceil_mode))
        elif isinstance(m, (nn.ReLU, nn.ReLU6)):
            setattr(net.get_submodule(parent), child, nn.Identity())
        elif isinstance(m, (nn.Conv2d, nn.Linear)):
            nn.init.constant_(m.weight, 1/m.weight[0].numel())
        elif isinstance(m, nn.BatchNorm2d):
            m.reset_parameters()
            m.reset_running_stats()
    return net


def by_autograd(net, layers, size):
    "A function of layer and unit that returns the pixels with a gradient"
    outputs,modules = {},dict(net.named_modules())
    hooks = [modules[layer].register_forward_hook(lambda m, i, out, layer=layer: outputs.update({layer: out})) for layer in layers]
    x = torch.ones(1, *size, dtype=torch.double, requires_grad=True)
    net(x)
    for h in hooks: h.remove()
    def pixels(layer, unit):
        row,column = unit
        gradient, = torch.autograd.grad(outputs[layer][0,:,row,column].sum(), x, retain_graph=True)
        return (gradient[0] != 0).any(0).numpy()
    return pixels


def agrees(model, layers, size=(3,32,32), units=3):
    "Compare a corner, an edge and random units of each layer; the number of units compared"
    nodes,rng,compared = read_graph(model, size),np.random.default_rng(0),0
    witness = by_autograd(linear(model), layers, size)
    for layer in layers:
        rows,columns = nodes.layers[layer].out_size
        drawn = [tuple(map(int, rng.integers(0, (rows,columns)))) for _ in range(units)]
        for unit in {(0,0), (rows-1,columns//2), *drawn}:
            assert np.array_equal(seen_pixels(nodes, unit, layer).on(size[1:]), witness(layer, unit)), (layer, unit)
            compared += 1
    return compared


@pytest.mark.parametrize('name', list_models())
def test_every_model(name):
    model = create_model(name, drop=0)
    maps = {n.name for n in read_graph(model) if max(n.out_size) > 1}
    layers = [n for n,m in model.named_modules() if isinstance(m, nn.Conv2d) and n in maps]
    assert agrees(model, layers) >= 4*len(layers) > 40


def googlenet(): return zoo.googlenet(weights=None, aux_logits=False, init_weights=False)


@pytest.mark.parametrize('make,layers', [
    (zoo.resnet18, ['maxpool','layer1.1.conv2','layer2','layer3','layer4']),
    (zoo.mobilenet_v2, ['features.3','features.7','features.14','features.18']),
    (zoo.densenet121, ['features.pool0','features.denseblock1.denselayer6.conv2','features.transition1',
                       'features.denseblock3.denselayer9.conv2','features.norm5']),
    (googlenet, ['maxpool1','inception3a.branch3','maxpool3','inception4d.branch2','inception5b.branch1'])])
def test_models_of_torchvision(make, layers):
    model = make().eval()
    assert agrees(model, layers, (3,96,96), units=2) >= 10


class RandomGraph(nn.Module):
    "A graph of convolutions, poolings, additions and concatenations; steps of `plan` that do not fit are left out"
    def __init__(self, plan):
        super().__init__()
        self.plan,self.steps,sizes,channels = [],nn.ModuleList(),[24],[1]
        for what,a,b,ks,stride,dilation,padded in plan:
            a,b = a%len(sizes),b%len(sizes)
            padding = dilation*(ks-1)//2 if padded else 0
            if what == 'conv':
                layer,n_out = nn.Conv2d(channels[a], 2, ks, stride, padding, dilation),2
                size = (sizes[a] + 2*padding - dilation*(ks-1) - 1)//stride + 1
            elif what == 'pool':
                layer,n_out = nn.AvgPool2d(ks, stride),channels[a]
                size = (sizes[a]-ks)//stride + 1
            else:
                layer,size = None,sizes[a]
                n_out = channels[a]+channels[b] if what == 'cat' else channels[a]
                if sizes[a] != sizes[b] or (what == 'add' and channels[a] != channels[b]): continue
            if size < 1: continue
            if layer is not None: self.steps.append(layer)
            self.plan.append((what, a, b if layer is None else len(self.steps)-1))
            sizes.append(size)
            channels.append(n_out)
        self.last = nn.Identity()

    def forward(self, x):
        maps = [x]
        for what,a,b in self.plan:
            if what == 'cat': maps.append(torch.cat([maps[a],maps[b]], 1))
            elif what == 'add': maps.append(maps[a]+maps[b])
            else: maps.append(self.steps[b](maps[a]))
        return self.last(maps[-1])


kinds = st.sampled_from(['conv','conv','conv','pool','cat','add'])
step = st.tuples(kinds, st.integers(0,9), st.integers(0,9), st.integers(1,3), st.integers(1,2), st.integers(1,3), st.booleans())

@settings(max_examples=50, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(step, min_size=4, max_size=10), st.integers(0,99), st.integers(0,99))
def test_random_graphs(plan, i, j):
    model = RandomGraph(plan)
    nodes = read_graph(model, (1,24,24))
    unit = i%nodes[-1].out_size[0], j%nodes[-1].out_size[1]
    witness = by_autograd(linear(model), ['last'], (1,24,24))
    assert np.array_equal(seen_pixels(nodes, unit, 'last').on((24,24)), witness('last', unit))


def test_receptive_field_of_the_brief_and_of_its_paths():
    model = create_model('dilated_net')
    table = receptive_field_table(model).set_index('layer')
    assert receptive_field(model) == 67
    assert table.loc['c1.transition.shrink','smallest field'] == 25 and table.loc['c1.skip','smallest field'] == 3
    assert table['largest field'].iloc[-1] > table['smallest field'].iloc[-1]          # the field depends on the position of the unit


def test_nothing_is_changed_by_measuring():
    model = create_model('dilated_net').train()
    model.c1.eval()
    before = {k:v.clone() for k,v in model.state_dict().items()}
    modes = [m.training for m in model.modules()]
    for measure in (receptive_field, seen_pixels, check_brief, layer_table, effective_receptive_field): measure(model)
    assert modes == [m.training for m in model.modules()]
    assert all(torch.equal(v, before[k]) for k,v in model.state_dict().items())
    assert all(p.grad is None and p.device.type == 'cpu' for p in model.parameters())


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    model = create_model('dilated_net').to(dtype)
    assert receptive_field(model) == 67 and check_brief(model).passed and layer_table(model).total == 197_392
    assert {p.dtype for p in model.parameters()} == {dtype}


@pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU on this machine')
def test_on_a_gpu():
    model = create_model('dilated_net').cuda()
    assert receptive_field(model) == 67 and check_brief(model).passed and effective_receptive_field(model).max() == 1


def test_a_forward_that_depends_on_values_is_refused():
    class DependsOnValues(nn.Module):
        def forward(self, x): return x*2 if x.mean() > 0 else x
    for measure in (receptive_field, check_brief, seen_pixels):
        with pytest.raises(ValueError, match='reads a value'): measure(DependsOnValues())


# Defects that reviews found

class Model(nn.Module):
    "A model whose forward is `f(self, x)`, with `modules` as attributes"
    def __init__(self, f, **modules):
        super().__init__()
        for k,m in modules.items(): setattr(self, k, m)
        self.f = f
    def forward(self, x): return self.f(self, x)


def conv(ks=3): return nn.Conv2d(4, 4, ks, padding=ks//2)


@pytest.mark.parametrize('f', [
    lambda s, x: s.c(x)*s.d(F.avg_pool2d(x, (1,16)))*s.d(F.avg_pool2d(x, (16,1))),
    lambda s, x: s.c(x)+F.avg_pool2d(x, (16,1)),
    lambda s, x: s.c(x)*s.d(F.adaptive_avg_pool2d(x, 1)),
    lambda s, x: s.c(F.avg_pool2d(s.c(x), x.size(2)//4)),
    lambda s, x: s.c(x)*s.c(x).mean(1, keepdim=True),
    lambda s, x: s.c(s.c(x).reshape(1, 2, 2, 16, 16).transpose(1, 2).reshape(1, 4, 16, 16)), # a channel shuffle
    lambda s, x: s.c(s.c(x).reshape(1, 2, 2, 16, 16).permute(0, 2, 1, 3, 4).flatten(1, 2)),
    lambda s, x: s.c(s.c(s.c(x)))])
def test_gates_reshapes_and_a_layer_used_again(f):
    model = Model(lambda s, x: s.last(f(s, x)), c=conv(), d=conv(1), last=nn.Identity())
    nodes = read_graph(model, (4,16,16))
    witness = by_autograd(linear(model), ['last'], (4,16,16))
    for unit in ((0,0), tuple(n//2 for n in nodes[-1].out_size)):
        assert np.array_equal(seen_pixels(nodes, unit, 'last').on((16,16)), witness('last', unit))


@pytest.mark.parametrize('norm,field', [
    (nn.BatchNorm2d(4, track_running_stats=False), 256), (nn.InstanceNorm2d(4, track_running_stats=True), 9),
    (nn.InstanceNorm2d(4), 256), (nn.BatchNorm2d(4), 9)])
def test_norms_with_running_statistics_and_without(norm, field):
    assert seen_pixels(nn.Sequential(conv(), norm), (8,8), size=(4,16,16)).mask.sum() == field


def test_the_smallest_field_is_over_all_units():
    layers = dict(a=nn.Conv2d(3, 4, 1), b=nn.Conv2d(3, 4, 1, stride=2), pad=nn.ZeroPad2d((-16,0,0,-16)))
    model = Model(lambda s, x: s.a(s.pad(x)) + s.b(x), **layers)
    nodes = read_graph(model)
    hulls = [seen_pixels(nodes, (i,j), clipped=False).hull for i in range(16) for j in range(16)]
    assert receptive_field(model) == min(max(bottom-top, right-left)+1 for top,bottom,left,right in hulls)


def test_effective_field_of_a_layer_before_an_activation_in_place():
    a,b = (nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.ReLU(inplace=i)) for i in (True, False))
    b.load_state_dict(a.state_dict())
    for m in (a, b): nn.init.constant_(m[0].bias, -50)
    images = torch.randn(4, 1, 8, 8)
    fields = [effective_receptive_field(m, layer='0', size=(1,8,8), images=images) for m in (a, b)]
    assert np.array_equal(*fields) and fields[0].max() == 1 and not images.requires_grad


def stride_2(n): return nn.Conv2d(n, n, 3, stride=2, padding=1)


def brief_like(down=stride_2, pool=nn.AdaptiveAvgPool2d(1), depthwise=3):
    "A chain of four blocks that meets the design of the brief"
    layers,n = [nn.Conv2d(3, 16, 3, padding=1)],16
    for _ in range(3):
        layers += [nn.Conv2d(n, n, depthwise, padding=depthwise//2, groups=n), nn.Conv2d(n, n, 1),
                   nn.Conv2d(n, n, 3, padding=2, dilation=2), down(n)]
    layers += [nn.Conv2d(n, n, 3, padding=2, dilation=2) for _ in range(3)]
    return nn.Sequential(*layers, pool, nn.Flatten(), nn.Linear(n, 10))


def failed(model): return {r.name for r in check_brief(model) if not r.passed and not r.bonus}


def test_the_brief_is_not_fooled():
    honest = brief_like()
    assert failed(honest) == set()
    assert 'global average pooling' in failed(brief_like(pool=nn.AdaptiveMaxPool2d(1)))
    assert 'depthwise separable' in failed(brief_like(depthwise=1))
    assert 'blocks end by downsampling' in failed(brief_like(down=lambda n: nn.Conv2d(n, n, 5, stride=4, padding=2)))
    plain = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
    unused = Model(lambda s, x: (s.plain(x), s.honest(x))[0], plain=plain, honest=honest)
    assert 'blocks of convolutions' in failed(unused)
    renamed = nn.Sequential()
    for k,m in list(brief_like().named_children()):
        renamed.add_module('view_pool' if isinstance(m, nn.AdaptiveAvgPool2d) else f'l{k}', m)
    assert failed(renamed) == set()


def test_a_slice_with_a_step_is_a_stride():
    class Shortcut(nn.Module):
        def forward(self, x): return x[:,:,::2,::2]
    model = brief_like(down=lambda n: Shortcut())
    assert {r.name:r for r in check_brief(model)}['main path without stride'].passed      # no convolution has one
    assert not {r.name:r for r in check_brief(model)}['nothing strided at all'].passed


def test_a_mean_over_channels_is_no_pooling():
    class SpatialGate(nn.Module):
        def forward(self, x): return x*torch.sigmoid(x.mean(1, keepdim=True))
    chain = list(brief_like())
    assert failed(nn.Sequential(*chain[:4], SpatialGate(), *chain[4:])) == set()


def test_a_bare_layer_has_an_effective_field():
    assert (effective_receptive_field(nn.Conv2d(3, 4, 5, padding=2), size=(3,16,16)) > 0).sum() == 25


def test_a_forward_that_raises_without_a_message():
    def fail(s, x): raise NotImplementedError
    with pytest.raises(ValueError, match='NotImplementedError'): receptive_field(Model(fail))


def test_an_effective_field_of_a_unit_outside_the_map_is_refused():
    with pytest.raises(ValueError, match='16x16 units'): effective_receptive_field(nn.Conv2d(3, 4, 3, padding=1), (16,0), size=(3,16,16))


@pytest.mark.parametrize('file', sorted(Path(cifar9.__file__).parent.glob('*.py')), ids=lambda f: f.stem)
def test_modules_are_valid_in_python_3_10(file):
    "A star in an index (`x[:,*unit]`) needs 3.11, and `ast.parse` does not refuse it for an older version"
    indices = [n.slice for n in ast.walk(ast.parse(file.read_text(), feature_version=(3,10))) if isinstance(n, ast.Subscript)]
    assert not [i.lineno for i in indices if isinstance(i, ast.Tuple) and any(isinstance(e, ast.Starred) for e in i.elts)]


def test_a_network_with_gates_is_measured_along_its_main_path():
    class Gated(nn.Module):
        def __init__(self, n):
            super().__init__()
            self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), *[nn.Conv2d(n, n, 1) for _ in range(30)], nn.Sigmoid())
        def forward(self, x): return x*self.gate(x)
    chain = list(brief_like())
    report = {r.name:r for r in check_brief(nn.Sequential(*chain[:4], Gated(16), *chain[4:]))}
    assert report['blocks of convolutions'].measured.startswith('4 of')
    assert 'gates' in report['no pooling but the last'].measured


def test_drawings_keep_every_addition_of_a_flat_model():
    def run(s, x):
        x = s.c0(x)
        for i in range(8): x = getattr(s, f'b{i}')(getattr(s, f'a{i}')(x)) + x
        return x
    flat = Model(run, c0=nn.Conv2d(3, 4, 3, padding=1), **{f'{k}{i}':conv() for i in range(8) for k in 'ab'})
    words = [t.get_text() for t in draw_architecture(flat).axes[0].texts]
    assert words.count('+') == 8 and words.count('3x3 conv') == 17
    shapes = [t.get_text() for t in draw_architecture(googlenet(), (3,224,224)).axes[0].texts]
    assert '256x28x28' in shapes


def test_a_panel_that_begins_with_a_norm_names_it():
    class Unit(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm,self.conv = nn.BatchNorm2d(4),conv()
        def forward(self, x): return x + self.conv(self.norm(x))
    texts = [t.get_text() for t in draw_architecture(nn.Sequential(nn.Sequential(conv()), Unit()), (4,8,8)).axes[0].texts]
    assert 'BatchNorm2d' in texts and texts.count('8') == 1 # its parameters


def test_multiply_accumulates_of_other_layers():
    assert layer_table(nn.Sequential(nn.ConvTranspose2d(4, 8, 2, stride=2)), (4,8,8)).macs == 64*4*8*4
    tokens = Model(lambda s, x: s.lin(x.reshape(-1, 48)), lin=nn.Linear(48, 8))
    assert layer_table(tokens, (48,64)).macs == 64*48*8
