"Every pixel that a unit can see, against autograd: with positive weights, a pixel has a gradient if and only if the unit depends on it"
from copy import deepcopy

import numpy as np, pytest, torch
import torchvision.models as zoo
from hypothesis import HealthCheck, given, settings, strategies as st
from torch import nn

from cifar9.receptive_field import effective_receptive_field, read_graph, receptive_field, receptive_field_table, seen_pixels

from cifar9.summary import layer_table

from cifar9.brief import check_brief
from cifar9.models import create_model, list_models


def linear(model):
    "A copy whose gradients cannot cancel, saturate, or choose one pixel of a window: means for weights and for max pooling, no activations"
    net = deepcopy(model).double().eval()
    for name,m in list(net.named_modules()):
        parent,_,child = name.rpartition('.')
        if isinstance(m, nn.MaxPool2d): setattr(net.get_submodule(parent), child, nn.AvgPool2d(m.kernel_size, m.stride, m.padding, m.ceil_mode))
        elif isinstance(m, (nn.ReLU, nn.ReLU6)): setattr(net.get_submodule(parent), child, nn.Identity())
        elif isinstance(m, (nn.Conv2d, nn.Linear)): nn.init.constant_(m.weight, 1/m.weight[0].numel())
        elif isinstance(m, nn.BatchNorm2d): m.reset_parameters(); m.reset_running_stats()
    return net


def by_autograd(net, layers, size):
    "A function of layer and unit: the pixels with a gradient"
    found,modules = {},dict(net.named_modules())
    hooks = [modules[layer].register_forward_hook(lambda m, i, o, layer=layer: found.update({layer: o})) for layer in layers]
    x = torch.ones(1, *size, dtype=torch.double, requires_grad=True)
    net(x)
    for h in hooks: h.remove()
    return lambda layer, unit: (torch.autograd.grad(found[layer][0,:,*unit].sum(), x, retain_graph=True)[0][0] != 0).any(0).numpy()


def agrees(model, layers, size=(3,32,32), units=3):
    nodes,rng,compared,witness = read_graph(model, size),np.random.default_rng(0),0,by_autograd(linear(model), layers, size)
    for layer in layers:
        n = next(x for x in reversed(nodes) if x.name == layer or layer in x.parents).out_size
        for unit in {(0,0), (n[0]-1,n[1]//2), *[tuple(map(int, rng.integers(0, n))) for _ in range(units)]}:
            assert np.array_equal(seen_pixels(nodes, unit, layer).on(size[1:]), witness(layer, unit)), (layer, unit)
            compared += 1
    return compared


@pytest.mark.parametrize('name', list_models())
def test_every_model(name):
    model = create_model(name, drop=0)
    maps = {n.name for n in read_graph(model) if max(n.out_size) > 1}
    layers = [n for n,m in model.named_modules() if isinstance(m, nn.Conv2d) and n in maps]
    assert agrees(model, layers) >= 4*len(layers) > 40


@pytest.mark.parametrize('make,layers', [
    (zoo.resnet18, ['maxpool','layer1.1.conv2','layer2','layer3','layer4']), (zoo.mobilenet_v2, ['features.3','features.7','features.14','features.18']),
    (zoo.densenet121, ['features.pool0','features.denseblock1.denselayer6.conv2','features.transition1','features.denseblock3.denselayer9.conv2','features.norm5']),
    (lambda **kw: zoo.googlenet(aux_logits=False, init_weights=False, **kw), ['maxpool1','inception3a.branch3','maxpool3','inception4d.branch2','inception5b.branch1'])], ids=['resnet18','mobilenet_v2','densenet121','googlenet'])
def test_models_of_torchvision(make, layers):
    model = make(weights=None).eval()
    assert agrees(model, layers, (3,96,96), units=2) >= 10


class Drawn(nn.Module):
    "A graph of windows, additions and concatenations, as `plan` says; additions are cut to the smaller map by a window that fits"
    def __init__(self, plan):
        super().__init__()
        self.plan,self.steps,sizes,channels = [],nn.ModuleList(),[24],[1]
        for what,a,b,ks,stride,dilation,padded in plan:
            a,b = a%len(sizes),b%len(sizes)
            pad = dilation*(ks-1)//2 if padded else 0
            if what in ('conv','pool'):
                n = (sizes[a]+2*pad-dilation*(ks-1)-1)//stride+1 if what == 'conv' else (sizes[a]-ks)//stride+1
                if n < 1: continue
                self.steps.append(nn.Conv2d(channels[a], 2, ks, stride, pad, dilation) if what == 'conv' else nn.AvgPool2d(ks, stride))
                self.plan.append((what, a, len(self.steps)-1)); sizes.append(n); channels.append(2 if what == 'conv' else channels[a])
            elif sizes[a] == sizes[b] and (what == 'cat' or channels[a] == channels[b]):
                self.plan.append((what, a, b)); sizes.append(sizes[a]); channels.append(channels[a]+channels[b] if what == 'cat' else channels[a])
        self.last = nn.Identity()
    def forward(self, x):
        maps = [x]
        for what,a,b in self.plan:
            if what in ('conv','pool'): maps.append(self.steps[b](maps[a]))
            else: maps.append(torch.cat([maps[a],maps[b]], 1) if what == 'cat' else maps[a]+maps[b])
        return self.last(maps[-1])


step = st.tuples(st.sampled_from(['conv','conv','conv','pool','cat','add']), st.integers(0,9), st.integers(0,9), st.integers(1,3), st.integers(1,2), st.integers(1,3), st.booleans())

@settings(max_examples=50, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(step, min_size=4, max_size=10), st.integers(0,99), st.integers(0,99))
def test_random_graphs(plan, i, j):
    model = Drawn(plan)
    nodes = read_graph(model, (1,24,24))
    unit = i%nodes[-1].out_size[0], j%nodes[-1].out_size[1]
    assert np.array_equal(seen_pixels(nodes, unit, 'last').on((24,24)), by_autograd(linear(model), ['last'], (1,24,24))('last', unit))


def test_the_hull_of_the_brief_and_of_one_path():
    model = create_model('dilated_net')
    table = receptive_field_table(model).set_index('layer')
    assert receptive_field(model) == 67
    assert table.loc['c1.transition.shrink','smallest field'] == 25 and table.loc['c1.skip','smallest field'] == 3
    assert table['largest field'].iloc[-1] > table['smallest field'].iloc[-1]          # where a unit is makes a difference


def test_nothing_is_changed_by_measuring():
    model = create_model('dilated_net').train()
    model.c1.eval()
    before = {k:v.clone() for k,v in model.state_dict().items()}
    modes = [m.training for m in model.modules()]
    receptive_field(model); seen_pixels(model); check_brief(model); layer_table(model); effective_receptive_field(model)
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


def test_a_model_that_chooses_its_way_is_refused():
    class Chooses(nn.Module):
        def forward(self, x): return x*2 if x.mean() > 0 else x
    for measure in (receptive_field, check_brief, seen_pixels):
        with pytest.raises(ValueError, match='cannot be traced'): measure(Chooses())


# What a review with fresh eyes found, kept found.

class Made(nn.Module):
    "A model whose forward is `f(self, x)`, with the modules given"
    def __init__(self, f, **modules):
        super().__init__()
        for k,m in modules.items(): setattr(self, k, m)
        self.f = f
    def forward(self, x): return self.f(self, x)


def conv(ks=3): return nn.Conv2d(4, 4, ks, padding=ks//2)


@pytest.mark.parametrize('f,word', [(lambda s, x: s.c(x).chunk(2, 1)[0], 'chunk'), (lambda s, x: torch.cat(s.c(x).split(2, 1), 1), 'split'), (lambda s, x: s.c(x).max(1, keepdim=True)[0], 'max'),
                                    (lambda s, x: s.c(x)[:, :2], 'getitem'), (lambda s, x: s.c(x).transpose(dim0=2, dim1=3), 'transpose'), (lambda s, x: s.c(x).mean(1).unsqueeze(1), 'mean'),
                                    (lambda s, x: s.n(s.c(x)), 'Softmax')])
def test_what_is_not_known_is_named(f, word):
    with pytest.raises(ValueError, match=word): read_graph(Made(f, c=conv(), n=nn.Softmax(-1)), (4,16,16))


def test_shufflenet_is_refused_and_not_cut_short():
    with pytest.raises(ValueError, match='chunk'): receptive_field(zoo.shufflenet_v2_x0_5(weights=None), (3,64,64))


@pytest.mark.parametrize('f', [lambda s, x: s.c(x)*s.d(nn.functional.avg_pool2d(x, (1,16)))*s.d(nn.functional.avg_pool2d(x, (16,1))), lambda s, x: s.c(x)+nn.functional.avg_pool2d(x, (16,1)),
                               lambda s, x: s.c(x)*s.d(nn.functional.adaptive_avg_pool2d(x, 1)), lambda s, x: s.c(nn.functional.avg_pool2d(s.c(x), x.size(2)//4)), lambda s, x: s.c(s.c(s.c(x)))])
def test_gates_rows_and_reuse(f):
    model = Made(lambda s, x: s.last(f(s, x)), c=conv(), d=conv(1), last=nn.Identity())
    nodes,net = read_graph(model, (4,16,16)), linear(model)
    for unit in ((0,0), tuple(n//2 for n in nodes[-1].out_size)): assert np.array_equal(seen_pixels(nodes, unit, 'last').on((16,16)), by_autograd(net, ['last'], (4,16,16))('last', unit))


@pytest.mark.parametrize('norm,field', [(nn.BatchNorm2d(4, track_running_stats=False), 256), (nn.InstanceNorm2d(4, track_running_stats=True), 9), (nn.InstanceNorm2d(4), 256), (nn.BatchNorm2d(4), 9)])
def test_norms_by_where_their_statistics_come_from(norm, field):
    assert seen_pixels(nn.Sequential(conv(), norm), (8,8), size=(4,16,16)).mask.sum() == field


def test_the_smallest_field_is_over_all_units():
    model = Made(lambda s, x: s.a(s.pad(x)) + s.b(x), a=nn.Conv2d(3, 4, 1), b=nn.Conv2d(3, 4, 1, stride=2), pad=nn.ZeroPad2d((-16,0,0,-16)))
    nodes = read_graph(model)
    every = [(r1-r0+1, c1-c0+1) for i in range(16) for j in range(16) for r0,r1,c0,c1 in [seen_pixels(nodes, (i,j), clipped=False).hull]]
    assert receptive_field(model) == min(max(e) for e in every)


def test_effective_field_of_a_layer_before_an_activation_in_place():
    a,b = (nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.ReLU(inplace=i)) for i in (True, False))
    b.load_state_dict(a.state_dict())
    for m in (a, b): nn.init.constant_(m[0].bias, -50)
    images = torch.randn(4, 1, 8, 8)
    assert np.array_equal(effective_receptive_field(a, layer='0', size=(1,8,8), images=images), effective_receptive_field(b, layer='0', size=(1,8,8), images=images))
    assert effective_receptive_field(a, layer='0', size=(1,8,8)).max() == 1 and not images.requires_grad


def brief_like(down=lambda n: nn.Conv2d(n, n, 3, stride=2, padding=1), pool=nn.AdaptiveAvgPool2d(1), depthwise=3, dilation=2, wide=3):
    "A chain of four blocks that keeps the rules"
    layers,n = [nn.Conv2d(3, 16, 3, padding=1)],16
    for i in range(3): layers += [nn.Conv2d(n, n, depthwise, padding=depthwise//2, groups=n), nn.Conv2d(n, n, 1), nn.Conv2d(n, n, wide, padding=dilation*(wide-1)//2, dilation=dilation), down(n)]
    layers += [nn.Conv2d(n, n, 3, padding=2, dilation=2) for _ in range(3)]
    return nn.Sequential(*layers, pool, nn.Flatten(), nn.Linear(n, 10))


def failed(model): return {r.name for r in check_brief(model) if not r.passed and not r.bonus}


def test_the_brief_is_not_fooled():
    honest = brief_like()
    assert failed(honest) == set()
    assert 'global average pooling' in failed(brief_like(pool=nn.AdaptiveMaxPool2d(1)))
    assert 'depthwise separable' in failed(brief_like(depthwise=1))
    assert 'blocks end by downsampling' in failed(brief_like(down=lambda n: nn.Conv2d(n, n, 5, stride=4, padding=2)))
    decoy = Made(lambda s, x: (s.plain(x), s.honest(x))[0], plain=nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)), honest=honest)
    assert 'blocks of convolutions' in failed(decoy)
    named = nn.Sequential()
    for k,m in list(brief_like().named_children()): named.add_module('view_pool' if isinstance(m, nn.AdaptiveAvgPool2d) else f'l{k}', m)
    assert failed(named) == set()


def test_a_network_with_gates_is_measured_along_its_main_path():
    class Gated(nn.Module):
        def __init__(self, n): super().__init__(); self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), *[nn.Conv2d(n, n, 1) for _ in range(30)], nn.Sigmoid())
        def forward(self, x): return x*self.gate(x)
    chain = list(brief_like())
    report = check_brief(nn.Sequential(*chain[:4], Gated(16), *chain[4:]))
    assert next(r for r in report if r.name == 'blocks of convolutions').measured.startswith('4 of') and 'gates' in next(r for r in report if r.name == 'no pooling but the last').measured


def test_drawings_keep_every_addition_of_a_flat_model(tmp_path):
    from cifar9.summary import draw_architecture
    def run(s, x):
        x = s.c0(x)
        for i in range(8): x = getattr(s, f'b{i}')(getattr(s, f'a{i}')(x)) + x
        return x
    flat = Made(run, c0=nn.Conv2d(3, 4, 3, padding=1), **{f'{k}{i}':conv() for i in range(8) for k in 'ab'})
    words = [t.get_text() for t in draw_architecture(flat).axes[0].texts]
    assert words.count('+') == 8 and words.count('3x3 conv') == 17
    shapes = [t.get_text() for t in draw_architecture(zoo.googlenet(weights=None, aux_logits=False, init_weights=False), (3,224,224)).axes[0].texts]
    assert '256x28x28' in shapes


def test_multiply_accumulates_of_other_layers():
    assert layer_table(nn.Sequential(nn.ConvTranspose2d(4, 8, 2, stride=2)), (4,8,8)).macs == 64*4*8*4
    tokens = Made(lambda s, x: s.lin(x.reshape(-1, 48)), lin=nn.Linear(48, 8))
    assert layer_table(tokens, (48,64)).macs == 64*48*8
