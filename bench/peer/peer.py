#!/usr/bin/env python3
"""The work of `rdarts bench` in PyTorch: our own supernet, in the naming that PyTorch users of DARTS know.

    python peer.py --mode eager|channels_last|compile --work first|second|hessian --space s2 ...

Prints one JSON object: seconds of each step after warming up, and the peak resident set.
"""
import argparse
import json
import resource
import time

import torch
import torch.nn as nn
import torch.nn.functional as F


def half(c, k, stride, dilation):
    pad = dilation * (k - 1) // 2
    return [nn.ReLU(), nn.Conv2d(c, c, k, stride, pad, dilation, groups=c, bias=False), nn.Conv2d(c, c, 1, bias=False),
            nn.BatchNorm2d(c, affine=False)]


class FactorizedReduce(nn.Module):
    def __init__(self, c_in, c):
        super().__init__()
        self.conv_1 = nn.Conv2d(c_in, c // 2, 1, 2, bias=False)
        self.conv_2 = nn.Conv2d(c_in, c - c // 2, 1, 2, bias=False)
        self.bn = nn.BatchNorm2d(c, affine=False)

    def forward(self, x):
        x = F.relu(x)
        return self.bn(torch.cat([self.conv_1(x), self.conv_2(x[:, :, 1:, 1:])], 1))


class Zero(nn.Module):
    def __init__(self, stride):
        super().__init__()
        self.stride = stride

    def forward(self, x):
        return x[:, :, :: self.stride, :: self.stride] * 0.0


class Noise(nn.Module):
    def __init__(self, stride):
        super().__init__()
        self.stride = stride

    def forward(self, x):
        return torch.randn_like(x[:, :, :: self.stride, :: self.stride])


def operation(name, c, stride):
    if name == "none":
        return Zero(stride)
    if name == "noise":
        return Noise(stride)
    if name == "skip_connect":
        return nn.Identity() if stride == 1 else FactorizedReduce(c, c)
    if "pool" in name:
        pool = nn.MaxPool2d(3, stride, 1) if name[0] == "m" else nn.AvgPool2d(3, stride, 1, count_include_pad=False)
        return nn.Sequential(pool, nn.BatchNorm2d(c, affine=False))
    k = int(name[-1])
    return nn.Sequential(*(half(c, k, stride, 1) + half(c, k, 1, 1) if name.startswith("sep") else half(c, k, stride, 2)))


class MixedOp(nn.Module):
    def __init__(self, names, c, stride):
        super().__init__()
        self._ops = nn.ModuleList(operation(n, c, stride) for n in names)

    def forward(self, x, weights):
        return sum(w * op(x) for w, op in zip(weights, self._ops))


class Cell(nn.Module):
    def __init__(self, edges, nodes, c_pp, c_p, c, reduction, reduction_prev):
        super().__init__()
        plain = lambda c_in: nn.Sequential(nn.ReLU(), nn.Conv2d(c_in, c, 1, bias=False), nn.BatchNorm2d(c, affine=False))
        self.preprocess0 = FactorizedReduce(c_pp, c) if reduction_prev else plain(c_pp)
        self.preprocess1 = plain(c_p)
        self.nodes, self.reduction = nodes, reduction
        inputs = [j for i in range(nodes) for j in range(2 + i)]
        self._ops = nn.ModuleList(MixedOp(names, c, 2 if reduction and j < 2 else 1) for names, j in zip(edges, inputs))

    def forward(self, s0, s1, weights):
        states, edge = [self.preprocess0(s0), self.preprocess1(s1)], 0
        for _ in range(self.nodes):
            states.append(sum(self._ops[edge + j](h, weights[edge + j]) for j, h in enumerate(states)))
            edge += len(states) - 1
        return torch.cat(states[2:], 1)


class Supernet(nn.Module):
    def __init__(self, normal, reduce, nodes, c, cells, classes=10, image_channels=3):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(image_channels, 3 * c, 3, padding=1, bias=False), nn.BatchNorm2d(3 * c))
        c_pp = c_p = 3 * c
        self.cells, previous = nn.ModuleList(), False
        for i in range(cells):
            reduction = i in (cells // 3, 2 * cells // 3)
            c *= 2 if reduction else 1
            self.cells.append(Cell(reduce if reduction else normal, nodes, c_pp, c_p, c, reduction, previous))
            previous, c_pp, c_p = reduction, c_p, nodes * c
        self.classifier = nn.Linear(c_p, classes)

    def forward(self, x, alpha):
        # Edges have different numbers of operations in S1: one row of alphas each.
        return self.mixed(x, [[a.softmax(0) for a in kind] for kind in alpha])

    def mixed(self, x, weights):
        s0 = s1 = self.stem(x)
        for cell in self.cells:
            s0, s1 = s1, cell(s0, s1, weights[1 if cell.reduction else 0])
        return self.classifier(s1.mean((2, 3)))


S, D3, D5, P3, M, A = "skip_connect", "dil_conv_3x3", "dil_conv_5x5", "sep_conv_3x3", "max_pool_3x3", "avg_pool_3x3"
S1 = ([[S, D3], [S, D5], [S, D5], [S, P3], [S, D3], [M, S], [S, P3], [S, P3], [S, D3], [S, P3], [M, S], [S, D3], [D3, D5], [D3, D5]],
      [[M, A], [M, D3], [M, A], [M, A], [S, D5], [M, A], [M, P3], [S, D3], [S, D5], [M, A], [M, A], [S, D5], [S, D5], [S, D5]])
DARTS = ["none", M, A, S, P3, "sep_conv_5x5", D3, D5]
SPACES = {"s1": (S1, 4), "s2": (([[S, P3]] * 14,) * 2, 4), "s3": (([["none", S, P3]] * 14,) * 2, 4),
          "s4": (([["noise", P3]] * 14,) * 2, 4), "darts": (([DARTS] * 14,) * 2, 4)}


def synchronize(device):
    if device == "cuda":
        torch.cuda.synchronize()


def prepare(work, mode, space="s2", channels=16, cells=8, batch=64, size=32, device="cpu"):
    """A function that does the work once, and waits until the device has done it."""
    torch.manual_seed(1)
    (normal, reduce), nodes = SPACES[space]
    net = Supernet(normal, reduce, nodes, channels, cells)
    layout = torch.contiguous_format if mode == "eager" else torch.channels_last
    net = net.to(device=device, memory_format=layout)
    alpha = [[(1e-3 * torch.randn(len(e))).to(device).requires_grad_() for e in kind] for kind in (normal, reduce)]
    flat = [x for kind in alpha for x in kind]
    ws = list(net.parameters())
    images = lambda: torch.randn(batch, 3, size, size).to(device=device, memory_format=layout)
    xt, xv = images(), images()
    yt, yv = torch.randint(0, 10, (batch,)).to(device), torch.randint(0, 10, (batch,)).to(device)
    forward = torch.compile(net) if mode == "compile" else net
    loss = lambda x, y: F.cross_entropy(forward(x, alpha), y)
    lr = 0.025
    sgd = torch.optim.SGD(ws, lr, momentum=0.9, weight_decay=3e-4)
    adam = torch.optim.Adam(flat, 3e-4, betas=(0.5, 0.999), weight_decay=1e-3)

    def set_grads(gs):
        for x, g in zip(flat, gs):
            x.grad = torch.zeros_like(x) if g is None else g.detach()
        adam.step()

    def alpha_gradient(x, y):
        return torch.autograd.grad(loss(x, y), flat, allow_unused=True)

    def weight_step():
        sgd.zero_grad()
        for w, g in zip(ws, torch.autograd.grad(loss(xt, yt), ws, allow_unused=True)):
            w.grad = g
        torch.nn.utils.clip_grad_norm_(ws, 5.0)
        sgd.step()

    def first():
        set_grads(alpha_gradient(xv, yv))
        weight_step()

    def second():
        # The published way: unrolled weights, then a finite difference of the alpha gradient.
        g = torch.autograd.grad(loss(xt, yt), ws, allow_unused=True)
        old = [w.detach().clone() for w in ws]
        with torch.no_grad():
            for w, gw in zip(ws, g):
                buffer = sgd.state[w].get("momentum_buffer") if w in sgd.state else None
                step = (0 if gw is None else gw) + 3e-4 * w + (0 if buffer is None else 0.9 * buffer)
                w.sub_(lr * step)
        both = torch.autograd.grad(loss(xv, yv), flat + ws, allow_unused=True)
        direct, v = both[: len(flat)], both[len(flat):]
        eps = 0.01 / torch.cat([x.reshape(-1) for x in v if x is not None]).norm()
        sides = []
        for sign in (1, -1):
            with torch.no_grad():
                for w, o, d in zip(ws, old, v):
                    w.copy_(o if d is None else o + sign * eps * d)
            sides.append(alpha_gradient(xt, yt))
        with torch.no_grad():
            for w, o in zip(ws, old):
                w.copy_(o)
        zero = lambda t, like: torch.zeros_like(like) if t is None else t
        set_grads([zero(d, x) - lr * (zero(p, x) - zero(m, x)) / (2 * eps)
                   for x, d, p, m in zip(flat, direct, sides[0], sides[1])])
        weight_step()

    def hessian():
        g = torch.cat([zero.reshape(-1) for zero in torch.autograd.grad(loss(xv, yv), flat, create_graph=True)])
        rows = [torch.cat([r.reshape(-1) for r in torch.autograd.grad(x, flat, retain_graph=True)]) for x in g]
        return torch.stack(rows)

    chosen = {"first": first, "second": second, "hessian": hessian}[work]

    def once():
        chosen()
        synchronize(device)

    return once


def timed(once, steps, warm_up=2):
    """(seconds of warming up, seconds of each step)."""
    begin = time.perf_counter()
    for _ in range(warm_up):
        once()
    warm = time.perf_counter() - begin
    seconds = []
    for _ in range(steps):
        begin = time.perf_counter()
        once()
        seconds.append(time.perf_counter() - begin)
    return warm, seconds


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--mode", choices=["eager", "channels_last", "compile"], required=True)
    p.add_argument("--work", choices=["first", "second", "hessian"], required=True)
    p.add_argument("--space", choices=list(SPACES), default="s2")
    for name, value in [("channels", 16), ("cells", 8), ("batch", 64), ("size", 32), ("threads", 2), ("steps", 5)]:
        p.add_argument(f"--{name}", type=int, default=value)
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    once = prepare(a.work, a.mode, a.space, a.channels, a.cells, a.batch, a.size)
    # A full Hessian is measured once, and not warmed up: it is as long as hundreds of steps.
    warm, seconds = timed(once, 1 if a.work == "hessian" else a.steps, 0 if a.work == "hessian" else 2)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds, "warm_up": warm, "peak_bytes": peak, "torch": torch.__version__}))


if __name__ == "__main__":
    main()
