"Runs that are killed, resumed and read in a new process"
import json, os, signal, subprocess, sys, time
from pathlib import Path

import pytest, torch
from torch import nn
from safetensors.torch import load_file

from cifar9.datasets import make_shapes10

command = Path(sys.executable).with_name('cifar9')


@pytest.mark.slow
def test_killed_and_resumed_ends_with_the_same_weights(tmp_path, installed):
    args = ['train','--data','shapes10','--epochs','3','--bs','250']
    whole = installed(*args, '--out', tmp_path/'whole')
    assert whole.returncode == 0, whole.stderr
    p = subprocess.Popen([command, *args, '--out', tmp_path/'killed'], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while not (tmp_path/'killed'/'checkpoint.pt').exists():
        assert p.poll() is None
        time.sleep(.05)
    os.kill(p.pid, signal.SIGKILL)
    p.wait()
    assert not (tmp_path/'killed'/'metrics.json').exists()
    resumed = installed('train', '--resume', tmp_path/'killed')
    assert resumed.returncode == 0, resumed.stderr
    a,b = (load_file(tmp_path/n/'model.safetensors') for n in ('whole','killed'))
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert sorted(f.name for f in (tmp_path/'killed').iterdir()) == ['config.json','curves.png','history.csv','metrics.json','model.safetensors']
    told = json.loads((tmp_path/'killed'/'metrics.json').read_text())
    again = json.loads(installed('evaluate', tmp_path/'killed', '--json').stdout)
    assert (again['correct'], again['loss']) == (told['correct'], told['loss'])
    assert installed('train', '--resume', tmp_path/'killed').returncode == 2


@pytest.mark.slow
def test_a_small_convnet_learns_shapes10():
    "Plain torch: the ten classes can be told apart by a small network that sees shapes"
    torch.manual_seed(0)
    data = make_shapes10()
    x = (torch.from_numpy(data.images).permute(0,3,1,2).float()/255 - .5)/.25
    y,n = torch.from_numpy(data.labels),data.n_train
    def conv(ni, nf): return nn.Sequential(nn.Conv2d(ni, nf, 3, padding=1, bias=False), nn.BatchNorm2d(nf), nn.ReLU())
    net = nn.Sequential(conv(3,16), conv(16,32), nn.MaxPool2d(2), conv(32,64), nn.MaxPool2d(2), conv(64,64), nn.MaxPool2d(2), conv(64,64), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64,10))
    epochs,bs = 14,50
    opt = torch.optim.AdamW(net.parameters())
    sched = torch.optim.lr_scheduler.OneCycleLR(opt, 6e-3, total_steps=epochs*n//bs)
    for _ in range(epochs):
        for idx in torch.randperm(n).split(bs):
            xb = x[idx]
            if torch.rand(()) < .5: xb = xb.flip(3)
            if torch.rand(()) < .5: xb = xb.transpose(2,3)
            loss = nn.functional.cross_entropy(net(xb), y[idx])
            opt.zero_grad(); loss.backward(); opt.step(); sched.step()
    net.eval()
    with torch.no_grad(): accuracy = (net(x[n:]).argmax(1)==y[n:]).float().mean().item()
    assert accuracy > .95, accuracy
