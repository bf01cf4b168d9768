"""Any network: what a unit sees, compared with witnesses that share no code with the package

For single operations, a pixel that is not a number: whatever becomes not a number depends on it. For whole networks, autograd through
weights at random, all positive."""
import copy

import numpy as np, pytest, torch, torch.nn.functional as F
import torchvision.models as zoo
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from cifar9.graph import read_graph
from cifar9.receptive_field import receptive_field, receptive_field_table, seen_pixels
from cifar9.summary import layer_table

sweep = pytest.mark.sweep
n = 12 # rows and columns of the image of a single operation


class Model(nn.Module):
    "`f(self, x)`, with `modules` as attributes"
    def __init__(self, f, **modules):
        super().__init__()
        for name,m in modules.items(): setattr(self, name, copy.deepcopy(m))
        self.f,self.last = f,nn.Identity()
    def forward(self, x): return self.last(self.f(self, x))


def index_of(node, unit):
    place = dict(zip(node.places, unit))
    return tuple(place.get(axis, slice(None)) for axis in range(len(node.shape)))


def by_nan(model, node, unit):
    "Pixels that make `unit` not a number"
    x = torch.rand(n*n, 1, 4, n, n, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    for i in range(n*n): x[i,0,:,i//n,i%n] = torch.nan
    with torch.no_grad(): out = [model(image)[index_of(node, unit)] for image in x]
    return torch.stack([o.isnan().any() for o in out]).numpy().reshape(n, n)


def conv(ks=3, **kwargs): return nn.Conv2d(4, 4, ks, padding=ks//2, **kwargs)
def tokens(s, x): return s.c(x).flatten(2).transpose(1, 2)


def shifted_windows(s, x):
    x = s.c(x).roll((-2,-2), (2,3)).view(1, 4, 3, 4, 3, 4).permute(0, 2, 4, 3, 5, 1).reshape(9, 16, 4)
    x = F.scaled_dot_product_attention(x, x, x)
    return x.view(1, 3, 3, 4, 4, 4).permute(0, 5, 1, 3, 2, 4).reshape(1, 4, n, n).roll((2,2), (2,3))


def written_to(s, x):
    y = x.roll(2, 3).clone()
    y[:,:,2:5] = x[:,:,3:6]
    y[:,1].add_(x[:,0].flip(1))
    return y


def written_through_a_view(s, x):
    y = x.new_zeros(1, 4, n, n)
    y[:,:,::2,1:] = x[:,:,1::2,:-1]
    y.view(1, 4, -1)[:,:,:5] *= x.mean()
    return y


c = dict(c=conv())
operations = {
    'grouped': (lambda s, x: s.c(x), dict(c=conv(groups=2))),
    'transposed': (lambda s, x: s.c(x), dict(c=nn.ConvTranspose2d(4, 4, 3, 2, 1, 1))),
    'transposed, dilated': (lambda s, x: s.c(x), dict(c=nn.ConvTranspose2d(4, 4, 3, 3, 1, 0, groups=2, dilation=2))),
    'dynamic weights': (lambda s, x: F.conv2d(x, s.l(x.mean((2,3))).view(4, 4, 3, 3), padding=1), dict(l=nn.Linear(4, 144))),
    'unfold, fold': (lambda s, x: F.fold(F.unfold(s.c(x), 3, padding=1, stride=2), (n,n), 3, padding=1, stride=2), c),
    'unfold as convolution': (lambda s, x: (x.new_ones(4, 36)@F.unfold(s.c(x), 3, padding=1)).view(1, 4, n, n), c),
    'pooling with ceil_mode': (lambda s, x: F.max_pool2d(s.c(x), 3, 2, ceil_mode=True), c),
    'average with ceil_mode': (lambda s, x: F.avg_pool2d(s.c(x), 3, 2, 1, ceil_mode=True), c),
    'dilated pooling': (lambda s, x: F.max_pool2d(s.c(x), 2, 2, dilation=2), c),
    'uneven adaptive average': (lambda s, x: F.adaptive_avg_pool2d(s.c(x), (5,7)), c),
    'uneven adaptive maximum': (lambda s, x: F.adaptive_max_pool2d(s.c(x), 5), c),
    'lp pooling': (lambda s, x: F.lp_pool2d(s.c(x), 2, 3, 2), c),
    'nearest': (lambda s, x: F.interpolate(s.c(x), scale_factor=2), c),
    'nearest, uneven': (lambda s, x: F.interpolate(s.c(x), size=(17,19)), c),
    'bicubic': (lambda s, x: F.interpolate(s.c(x), scale_factor=2, mode='bicubic'), c),
    'reflect': (lambda s, x: s.c(F.pad(x, (2,1,3,2), mode='reflect')), c),
    'replicate': (lambda s, x: s.c(F.pad(x, (2,1,3,2), mode='replicate')), c),
    'circular': (lambda s, x: s.c(F.pad(x, (2,1,3,2), mode='circular')), c),
    'convolution with circular padding': (lambda s, x: s.c(x), dict(c=conv(padding_mode='circular'))),
    'convolution with reflecting padding': (lambda s, x: s.c(x), dict(c=conv(padding_mode='reflect'))),
    'negative padding': (lambda s, x: s.c(F.pad(x, (-2,1,0,-3))), c),
    'chunk': (lambda s, x: s.c(x).chunk(2, 1)[0], c),
    'branches of a chunk': (lambda s, x: torch.cat([s.a(x).chunk(2, 1)[0], s.d(x.chunk(2, 1)[1])], 1),
                            dict(a=conv(1, groups=4), d=nn.Conv2d(2, 2, 5, padding=2))),
    'split': (lambda s, x: torch.cat(s.c(x).split([1,3], 1)[::-1], 1), c),
    'slices': (lambda s, x: s.c(x)[:,1:3,::2,1:], c),
    'cat over rows': (lambda s, x: torch.cat([s.c(x), x[:,:,:4]], 2), c),
    'cat over columns': (lambda s, x: torch.cat([s.c(x), x, x[...,:3]], -1), c),
    'stack': (lambda s, x: torch.stack([s.c(x), x], 2).flatten(1, 2), c),
    'rows and columns exchanged': (lambda s, x: s.c(x).permute(0, 1, 3, 2), dict(c=nn.Conv2d(4, 4, (3,5), padding=(1,2)))),
    'channels last': (lambda s, x: s.l(s.n(s.c(x).permute(0, 2, 3, 1))), dict(c=conv(), n=nn.LayerNorm(4), l=nn.Linear(4, 7))),
    'channel shuffle': (lambda s, x: s.d(F.channel_shuffle(s.c(x), 2)), dict(c=conv(), d=conv(groups=2))),
    'pixel shuffle': (lambda s, x: s.d(F.pixel_shuffle(s.c(x), 2)), dict(c=conv(), d=nn.Conv2d(1, 1, 3, padding=1))),
    'pixel unshuffle': (lambda s, x: F.pixel_unshuffle(s.c(x), 2), c),
    'pixel shuffle by hand': (lambda s, x: s.c(x).view(1, 1, 2, 2, n, n).permute(0, 1, 4, 2, 5, 3).reshape(1, 1, 2*n, 2*n), c),
    'roll': (lambda s, x: s.c(x).roll((3,-2), (2,3)), c),
    'flip': (lambda s, x: s.c(x).flip(3) + x, c),
    'repeat': (lambda s, x: s.c(x).repeat(1, 1, 2, 1), c),
    'repeat_interleave': (lambda s, x: s.c(x).repeat_interleave(2, 3), c),
    'as_strided': (lambda s, x: s.c(x).contiguous().as_strided((1,4,6,6), (576,144,24,2)), c),
    'Tensor.unfold': (lambda s, x: s.c(x).unfold(2, 3, 2).amax(-1), c),
    'constant indices': (lambda s, x: s.c(x)[:,:,torch.tensor([3,1,1])], c),
    'index_select': (lambda s, x: s.c(x).index_select(3, torch.tensor([3,1,1])), c),
    'shifted windows': (shifted_windows, c),
    'average': (lambda s, x: s.c(x).mean((2,3)), c),
    'average of rows': (lambda s, x: s.c(x).mean(2, keepdim=True) + x, c),
    'maximum of channels': (lambda s, x: s.c(x).max(1, keepdim=True)[0], c),
    'maximum of columns': (lambda s, x: s.c(x).amax((1,3)), c),
    'median of channels': (lambda s, x: s.c(x).median(1)[0], c),
    'variance': (lambda s, x: s.c(x).var((2,3), keepdim=True)*x, c),
    'cumulative sum': (lambda s, x: x.cumsum(3), {}),
    'glu over channels': (lambda s, x: F.glu(s.c(x), 1), c),
    'glu over rows': (lambda s, x: F.glu(s.c(x), 2), c),
    'hardswish': (lambda s, x: F.hardswish(s.c(x)), c),
    'prelu': (lambda s, x: s.m(s.c(x)), dict(c=conv(), m=nn.PReLU())),
    'softmax over space': (lambda s, x: s.c(x).flatten(2).softmax(-1).view(1, 4, n, n)*x, c),
    'attention': (lambda s, x: F.scaled_dot_product_attention(*[tokens(s, x)]*3), c),
    'multi-head attention': (lambda s, x: s.m(*[tokens(s, x)]*3)[0], dict(c=conv(), m=nn.MultiheadAttention(4, 2, batch_first=True))),
    'transformer': (lambda s, x: s.m(tokens(s, x)), dict(c=conv(), m=nn.TransformerEncoderLayer(4, 2, 8, batch_first=True))),
    'recurrent layer': (lambda s, x: s.m(s.c(x).mean(2).transpose(1, 2))[0], dict(c=conv(), m=nn.LSTM(4, 5, batch_first=True))),
    'einsum': (lambda s, x: torch.einsum('bchw,bcxw->bhxw', s.c(x), x), c),
    'one axis': (lambda s, x: s.m(s.c(x).mean(2)), dict(c=conv(), m=nn.Conv1d(4, 5, 3))),
    'three axes': (lambda s, x: s.m(s.c(x).unsqueeze(1)).flatten(1, 2), dict(c=conv(), m=nn.Conv3d(1, 2, 3, padding=1))),
    'instance norm': (lambda s, x: s.m(s.c(x)), dict(c=conv(), m=nn.InstanceNorm2d(4))),
    'group norm': (lambda s, x: s.m(s.c(x)), dict(c=conv(1, groups=4), m=nn.GroupNorm(2, 4))),
    'local response norm': (lambda s, x: s.m(s.c(x)), dict(c=conv(), m=nn.LocalResponseNorm(3))),
    'written to': (written_to, {}),
    'written through a view': (written_through_a_view, {}),
}


@pytest.mark.parametrize('name', operations)
def test_every_operation(name):
    f,modules = operations[name]
    model = Model(f, **modules).eval()
    graph = read_graph(model, (4,n,n))
    node = graph.layers['last']
    assert node.places or name == 'average'
    model.double()
    for unit in ((0,0), (1,2), (5,7), (n-1,n-1)):
        unit = tuple(min(i, size-1) for i,size in zip(unit, node.out_size))
        assert np.array_equal(seen_pixels(graph, unit, 'last').on((n,n)), by_nan(model, node, unit)), unit


@pytest.mark.parametrize('align_corners', [False, True])
def test_bilinear_interpolation(align_corners):
    "By autograd: where a weight is zero, not a number times zero is still not a number"
    model = Model(lambda s, x: F.interpolate(s.c(x), size=(17,19), mode='bilinear', align_corners=align_corners), c=conv())
    graph = read_graph(model, (4,n,n))
    make_generic(model)
    questions = [('last', (i,j)) for i in (0,5,16) for j in (0,7,18)]
    seen = by_autograd(model, (4,n,n), [('last', index_of(graph.layers['last'], unit)) for _,unit in questions])
    for (_,unit),pixels in zip(questions, seen): assert np.array_equal(seen_pixels(graph, unit, 'last').on((n,n)), pixels)


def samples(s, x): return F.grid_sample(x, s.c(x).permute(0, 2, 3, 1)[...,:2], align_corners=False)

@pytest.mark.parametrize('f,word', [
    (samples, 'grid_sampler_2d'),
    (lambda s, x: x if x.sum() > 0 else -x, 'reads a value'),
    (lambda s, x: x*x.mean((0,2,3)).tolist()[0], 'tolist reads a value'),
    (lambda s, x: x*float(x.detach().numpy().mean()), 'numpy reads a value'),
    (lambda s, x: x.flatten()[x.flatten() > 0], 'index'),
    (lambda s, x: x.gather(1, x.argmax(1, keepdim=True)), 'gather'),
    (lambda s, x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2), 'max_unpool2d')])
def test_what_depends_on_values_is_named(f, word):
    with pytest.raises(ValueError, match=word): seen_pixels(Model(f, c=conv()), (0,0), 'last', size=(4,n,n))


def test_models_that_one_tracer_refuses():
    class Branches(nn.Module):
        "torch.fx cannot trace an `if` on a shape that it does not know, or a loop over one"
        def forward(self, x):
            for _ in range(x.shape[2]//6): x = F.avg_pool2d(x, 3, 1, 1)
            return x if x.shape[3] > 4 else x*2
    class Constant(nn.Module):
        "torch.export refuses an `if` on the value of a buffer"
        def __init__(self):
            super().__init__()
            self.register_buffer('width', torch.tensor(3.))
        def forward(self, x): return F.avg_pool2d(x, 5, 1, 2) if self.width > 2 else x
    with pytest.raises(TypeError, match='Proxy'): torch.fx.symbolic_trace(Branches())
    assert receptive_field(Branches(), (4,n,n)) == receptive_field(Constant(), (4,n,n)) == 5
    with pytest.raises(torch.fx.experimental.symbolic_shapes.GuardOnDataDependentSymNode):
        torch.export.export(Constant(), (torch.zeros(1, 4, n, n),), strict=False)
    exported = torch.export.export(Branches(), (torch.zeros(1, 4, n, n),)).module()
    assert receptive_field(exported, (4,n,n)) == 5
    assert receptive_field(torch.jit.trace(conv(), torch.zeros(1, 4, n, n)), (4,n,n)) == 3


# Whole networks

class Smooth(TorchFunctionMode):
    "Functions whose gradient vanishes somewhere are replaced: a maximum by the average, activations that cut off by the identity"
    cut_off = {F.relu, torch.relu, torch.relu_, torch.Tensor.relu, torch.Tensor.relu_, F.relu6, F.hardtanh, F.hardswish, F.hardsigmoid,
               F.leaky_relu, torch.clamp, torch.Tensor.clamp}
    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in self.cut_off: return args[0]*1
        if getattr(func, '__name__', '') in ('max_pool2d', 'boolean_dispatch', '_max_pool2d'):
            a = dict(zip(('input','kernel_size','stride','padding','dilation','ceil_mode'), args)) | kwargs
            assert a.get('dilation', 1) in (1, (1,1))
            return F.avg_pool2d(a['input'], a['kernel_size'], a.get('stride'), a.get('padding', 0), a.get('ceil_mode', False))
        return func(*args, **kwargs)


def make_generic(model):
    "Positive weights at random, in double precision, so that no path vanishes or cancels another"
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name,p in model.named_parameters():
            if name.endswith('bias'): p.zero_()
            else: p.uniform_(.5, 1.5, generator=random).div_(max(1, p[0].numel()) if p.ndim > 1 else 1)
    for m in model.modules():
        if hasattr(m, 'reset_running_stats'): m.reset_running_stats()
    return model.double().eval()


def by_autograd(model, size, questions):
    "For each question, (name of a module, index in its output), the pixels with a gradient"
    outputs,random = {},torch.Generator().manual_seed(1)
    def keep(name): return lambda module, args, out: outputs.update({name: tree_leaves(out)[0]*1})
    hooks = [model.get_submodule(name).register_forward_hook(keep(name)) for name in {name for name,_ in questions}]
    x = (torch.rand(1, *size, generator=random, dtype=torch.double) + .5).requires_grad_()
    with Smooth(): model(x)
    for hook in hooks: hook.remove()
    for name,index in questions:
        out = outputs[name][index]
        weights = torch.rand(out.shape, generator=random, dtype=torch.double) + .5
        gradient, = torch.autograd.grad((out*weights).sum(), x, retain_graph=True)
        yield (gradient[0] != 0).any(0).numpy()


def spread_out(xs, n): return [xs[i] for i in np.unique(np.linspace(0, len(xs)-1, n).astype(int))]


def count_compared(model, size, n_layers=4):
    """Compare units of the network with the witness: a corner and one at random of the last map, and of `n_layers` maps whose corner sees
    a part of the image only. The number of units compared, and the number of those that see a part"""
    graph,rng = read_graph(model, size),np.random.default_rng(0)
    names = {node:name for name,node in reversed(graph.layers.items()) if name and max(node.out_size) > 1} # a name a node
    names = list(names.values())[::-1]
    def sees_all(name): return seen_pixels(graph, (0,0), name).on(size[1:]).all()
    chosen = dict.fromkeys([*spread_out([name for name in names if not sees_all(name)], n_layers), names[-1]])
    questions = [(name, unit) for name in chosen for unit in ((0,0), tuple(map(int, rng.integers(0, graph.layers[name].out_size))))]
    witness = by_autograd(make_generic(model), size, [(name, index_of(graph.layers[name], unit)) for name,unit in questions])
    n_parts = 0
    for (name,unit),pixels in zip(questions, witness):
        seen = seen_pixels(graph, unit, name).on(size[1:])
        assert np.array_equal(seen, pixels), (name, unit, int(seen.sum()), int(pixels.sum()))
        n_parts += not seen.all()
    return len(questions), n_parts


@pytest.fixture(scope='module')
def counts():
    "How many networks were measured; printed at the end, those that differ or are refused fail"
    measured = []
    yield measured
    n_units,n_parts = np.sum([numbers for _,numbers in measured], axis=0)
    print(f'\n{len(measured)} networks measured and equal to autograd: {n_units} units, {n_parts} of which see a part of the image')


quick = {'resnet18','mobilenet_v3_small','shufflenet_v2_x0_5','efficientnet_b0','squeezenet1_1','googlenet'}
too_large = {'regnet_y_128gf','vit_h_14'} # 5 GB in double precision: measured, not compared
models_of_torchvision = [pytest.param(name, marks=() if name in quick else sweep) for name in zoo.list_models(module=zoo)]


def make_torchvision(name):
    kwargs,size = {},(3,64,64)
    if name in ('googlenet','inception_v3'): kwargs,size = dict(init_weights=False),(3,96,96)
    if name.startswith('vit'):
        n_pixels = 56 if name == 'vit_h_14' else 64 # whole patches
        kwargs,size = dict(image_size=n_pixels),(3,n_pixels,n_pixels)
    if name.startswith('maxvit'): size = (3,224,224)
    return zoo.get_model(name, weights=None, **kwargs),size


@pytest.mark.parametrize('name', models_of_torchvision)
def test_every_classifier_of_torchvision(name, counts):
    model,size = make_torchvision(name)
    if name in too_large:
        assert receptive_field(model, size) >= 14
        return
    counts.append((name, count_compared(model, size)))
    assert counts[-1][1][1] >= 2


@sweep
@pytest.mark.parametrize('name', ['deeplabv3_mobilenet_v3_large','lraspp_mobilenet_v3_large','fcn_resnet50'])
def test_segmentation_models_of_torchvision(name, counts):
    counts.append((name, count_compared(zoo.get_model(name, weights=None, weights_backbone=None), (3,64,64))))


def test_a_u_net_of_fastai(counts):
    from fastai.vision.models.unet import DynamicUnet
    body = nn.Sequential(*list(zoo.resnet18(weights=None).children())[:-2])
    counts.append(('DynamicUnet', count_compared(DynamicUnet(body, 3, (64,64)), (3,64,64), n_layers=6)))
    assert counts[-1][1][1] >= 6


models_of_timm = [
    'res2net50_26w_4s', 'resnest14d', 'skresnet18', 'mixnet_s', 'ghostnet_100', 'cspresnet50', 'ese_vovnet19b_dw', 'hrnet_w18_small',
    'dla34', 'repvgg_a0', 'convnextv2_atto', 'mobilevit_xxs', 'edgenext_xx_small', 'poolformer_s12', 'xcit_nano_12_p16_224',
    'deit_tiny_patch16_224', 'mixer_s32_224',
    'gmlp_ti16_224', 'levit_128s', 'pvt_v2_b0', 'fastvit_t8', 'hiera_tiny_224', 'efficientvit_b0', 'focalnet_tiny_srf', 'dpn48b']

@sweep
@pytest.mark.parametrize('name', models_of_timm)
def test_models_of_timm(name, counts):
    timm = pytest.importorskip('timm')
    model = timm.create_model(name, pretrained=False)
    takes_one_size = model.default_cfg.get('fixed_input_size', False)
    counts.append((name, count_compared(model, model.default_cfg['input_size'] if takes_one_size else (3,96,96), n_layers=3)))


def test_resnet50_as_before():
    table = receptive_field_table(zoo.resnet50(weights=None), (3,224,224))
    assert len(table) == 70 and tuple(table.iloc[-1])[2:] == (7, 427, 427)


def test_table_of_a_network_without_values():
    with torch.device('meta'): model = zoo.vit_h_14(weights=None)
    table = layer_table(model, (3,224,224))
    assert table.total == 632_045_800 == sum(r.params for r in table) and table.macs > 160e9
