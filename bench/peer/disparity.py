#!/usr/bin/env python3
"""The network for disparity in PyTorch, with the names of its weights as rdarts has them: checked against, or timed.

    python disparity.py check < point.json > derivatives.json
    python disparity.py step --space dispnet --channels 24 --height 64 --width 128 --batch 4 --steps 10
                             [--mode eager|channels_last] [--threads 2]

`check` reads {space, channels, stem, displacement, deep, norm, genotype or null, weights, alphas, pairs, disparity, levels,
step, rows} and prints outputs, loss, both gradients, rows of the Hessian of the loss with respect to all alphas, and the unrolled gradient,
in double precision. `step` times search steps of first order: the alphas' gradient, then a step of the weights.
"""
import argparse
import json
import math
import resource
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

try:
    from torch.func import functional_call
except ImportError:  # before PyTorch 2
    from torch.nn.utils.stateless import functional_call

SPACES = {
    "dispnet": ["max_pool_3x3", "sep_conv_3x3", "skip_connect"],
    "autodispnet": ["none", "skip_connect", "avg_pool_3x3", "max_pool_3x3", "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3",
                    "dil_conv_5x5"],
}
NODES = 3


def activated(norm, c):
    return [nn.LeakyReLU(0.1)] + ([nn.BatchNorm2d(c, affine=False)] if norm else [])


class Block(nn.Module):
    """Convolution, leaky ReLU, and in the search a batch norm."""

    def __init__(self, c_in, c, k, stride, norm):
        super().__init__()
        self.conv = nn.Conv2d(c_in, c, k, stride, k // 2)
        self.after = nn.Sequential(*activated(norm, c))

    def forward(self, x):
        return self.after(self.conv(x))


class Twice(nn.Module):
    def __init__(self, c_in, c, norm):
        super().__init__()
        self.conv = nn.ConvTranspose2d(c_in, c, 4, 2, 1)
        self.after = nn.Sequential(*activated(norm, c))

    def forward(self, x):
        return self.after(self.conv(x))


class Separable(nn.Module):
    def __init__(self, c, k, stride, dilation, norm):
        super().__init__()
        self.depthwise = nn.Conv2d(c, c, k, stride, dilation * (k - 1) // 2, dilation, groups=c, bias=False)
        self.pointwise = Block(c, c, 1, 1, norm)

    def forward(self, x):
        return self.pointwise(self.depthwise(x))


def operation(name, c, stride, norm):
    if name == "skip_connect":
        return nn.Identity() if stride == 1 else Block(c, c, 3, 2, norm)
    if "pool" in name:
        return nn.MaxPool2d(3, stride, 1) if name[0] == "m" else nn.AvgPool2d(3, stride, 1, count_include_pad=False)
    k = int(name[-1])
    if name.startswith("sep"):
        return nn.Sequential(Separable(c, k, stride, 1, norm), Separable(c, k, 1, 1, norm))
    return nn.Sequential(Separable(c, k, stride, 2, norm))


class Cell(nn.Module):
    """`kind` is 0, 1 or 2: normal, reduction, upsampling."""

    def __init__(self, spec, kind, channels, c, is_reduced=False, is_first=False):
        super().__init__()
        norm, self.kind, self.names = spec["norm"], kind, SPACES.get(spec["space"])
        block = lambda c_in, k=1, stride=1: Block(c_in, c, k, stride, norm)
        if kind == 2:
            first = block(channels[0]) if is_first else Twice(channels[0], c, norm)
            self.preprocess = nn.ModuleList([first] + [block(c_in) for c_in in channels[1:]])
            self.upsample = nn.ModuleList([Twice(c, c, norm), Twice(c, c, norm)])
        else:
            self.preprocess = nn.ModuleList([block(channels[0], *((3, 2) if is_reduced else (1, 1))), block(channels[1])])
        inputs = 4 if kind == 2 else 2
        stride = lambda state: 2 if kind == 1 and state < inputs else 1
        genotype = spec.get("genotype")
        if genotype:
            kept = [4, 2, 2] if kind == 2 else [2, 2, 2]
            entries = genotype[["normal", "reduce", "upsample"][kind]]
            self.wiring, at = [], 0
            for n in kept:
                self.wiring.append([(at + i, state) for i, (_, state) in enumerate(entries[at:at + n])])
                at += n
            self._ops = nn.ModuleList(operation(name, c, stride(state), norm) for name, state in entries)
        else:
            self.edges = [(node, state) for node in range(NODES) for state in range(inputs + node)]
            self._ops = nn.ModuleList()
            for _, state in self.edges:
                edge = nn.Module()
                edge._ops = nn.ModuleList(nn.Identity() if n == "none" else operation(n, c, stride(state), norm)
                                          for n in self.names)
                self._ops.append(edge)

    def forward(self, states, p):
        states = [pre(x) for pre, x in zip(self.preprocess, states)]
        if self.kind == 2:
            states[:2] = [up(x) for up, x in zip(self.upsample, states)]
        n_inputs = len(states)
        for node in range(NODES):
            if p is None:
                states.append(sum(self._ops[i](states[state]) for i, state in self.wiring[node]))
            else:
                edges = [(e, state) for e, (to, state) in enumerate(self.edges) if to == node]
                states.append(sum(p[e][i] * op(states[state]) for e, state in edges
                                  for i, op in enumerate(self._ops[e]._ops) if self.names[i] != "none"))
        return torch.cat(states[n_inputs:], 1)


def correlation(left, right, d):
    c, w = left.shape[1], left.shape[3]
    padded = F.pad(right, [d, d])
    return torch.stack([(left * padded[..., s:s + w]).sum(1) / c for s in range(2 * d + 1)], 1)


class Network(nn.Module):
    def __init__(self, spec):
        super().__init__()
        self.spec, norm = spec, spec["norm"]
        stem = spec["stem"]
        self.stem = nn.ModuleList([Block(3, stem, 7, 2, norm), Block(stem, 2 * stem, 5, 2, norm)])
        c, cells = 2 * spec["channels"], []
        cells.append(Cell(spec, 1, [2 * stem, 2 * stem], c))
        skips = [2 * stem, 3 * c]
        before, reduced = [6 * c, 2 * spec["displacement"] + 1], False
        self.reductions = [False, True, False, True, False, True][:6 if spec["deep"] else 5]
        for reduction in self.reductions:
            c *= 2 if reduction else 1
            cells.append(Cell(spec, int(reduction), before, c, is_reduced=reduced))
            before, reduced = [before[1], 3 * c], reduction
            if reduction:
                skips.append(3 * c)
        skips.pop()
        predictions, before, first = [nn.Conv2d(before[1], 1, 3, 1, 1)], [before[1]] * 2, True
        while skips:
            c //= 2
            cells.append(Cell(spec, 2, before + [1, skips.pop()], c, is_first=first))
            predictions.append(nn.Conv2d(3 * c, 1, 3, 1, 1))
            before, first = [before[1], 3 * c], False
        self.cells, self.predictions = nn.ModuleList(cells), nn.ModuleList(predictions)

    def forward(self, pairs, p):
        of = lambda kind: None if p is None else p[kind]
        n = pairs.shape[0]
        x = torch.cat([pairs[:, :3], pairs[:, 3:]])
        for block in self.stem:
            x = block(x)
        quarter = x
        features = self.cells[0]([x, x], of(1))
        left, right = features[:n], features[n:]
        skips = [quarter[:n], left]
        before = [torch.cat([left, right], 1), F.relu(correlation(left, right, self.spec["displacement"]))]
        cells = iter(self.cells[1:])
        for reduction in self.reductions:
            state = next(cells)(before, of(int(reduction)))
            before = [before[1], state]
            if reduction:
                skips.append(state)
        skips.pop()
        made, before = [F.relu(self.predictions[0](before[1]))], [before[1]] * 2
        for head in self.predictions[1:]:
            last = F.interpolate(made[-1], scale_factor=2, mode="bilinear", align_corners=False)
            state = next(cells)(before + [last, skips.pop()], of(2))
            made.append(F.relu(head(state)))
            before = [before[1], state]
        return made


def renamed(name):
    """A weight's name in rdarts: blocks have no part of their own in it."""
    return name.replace(".conv.", ".")


def loss_of(predictions, truth, levels):
    known = ~torch.isnan(truth)
    total = 0
    for prediction, (scale, weight) in zip(predictions, levels):
        sums = F.avg_pool2d(torch.where(known, truth, torch.zeros_like(truth))[:, None], scale)
        shares = F.avg_pool2d(known.to(truth.dtype)[:, None], scale)
        there = shares > 0
        blocks = sums[there] / shares[there]
        total = total + weight * (prediction[there] - blocks).abs().mean()
    return total


def softmaxed(alphas, n_ops):
    return [F.softmax(a.reshape(-1, n_ops), 1) for a in alphas]


def check():
    point = json.load(sys.stdin)
    torch.set_default_dtype(torch.float64)
    net = Network(point).train()
    with torch.no_grad():
        for name, w in net.named_parameters():
            w.copy_(torch.tensor(point["weights"][renamed(name)]).reshape(w.shape))
    assert len(list(net.parameters())) == len(point["weights"]), "another number of weights"
    pairs = torch.tensor(point["pairs"]).reshape(-1, point["height"], point["width"], 6).permute(0, 3, 1, 2)
    truth = torch.tensor([math.nan if d is None else d for d in point["disparity"]])
    truth = truth.reshape(-1, point["height"], point["width"])
    weights = dict(net.named_parameters())
    mixed = point.get("genotype") is None
    alphas = [torch.tensor(a, requires_grad=True) for a in point["alphas"]] if mixed else []
    n_ops = len(SPACES[point["space"]]) if mixed else 0

    def loss(weights):
        p = softmaxed(alphas, n_ops) if mixed else None
        predictions = functional_call(net, weights, (pairs, p))
        return predictions, loss_of(predictions, truth, point["levels"])

    predictions, value = loss(weights)
    outputs = torch.cat([p.flatten(1) for p in predictions], 1)
    by_name = lambda gradients: {renamed(n): g.flatten().tolist() for n, g in zip(weights, gradients)}
    result = {"outputs": outputs.flatten().tolist(), "loss": value.item()}
    if mixed:
        gradients = torch.autograd.grad(value, alphas + list(weights.values()), create_graph=True)
        of_alphas = torch.cat([g.flatten() for g in gradients[:3]])
        result["alphas"] = of_alphas.tolist()
        result["weights"] = by_name(gradients[3:])
        rows = [torch.autograd.grad(g, alphas, retain_graph=True) for g in of_alphas[::point["rows"]]]
        result["hessian"] = [torch.cat([g.flatten() for g in row]).tolist() for row in rows]
        xi, l2 = point["step"]
        moved = {n: w - xi * (g + l2 * w) for (n, w), g in zip(weights.items(), gradients[3:])}
        unrolled = torch.autograd.grad(loss(moved)[1], alphas)
        result["unrolled"] = torch.cat([g.flatten() for g in unrolled]).tolist()
    else:
        result["weights"] = by_name(torch.autograd.grad(value, list(weights.values())))
    json.dump(result, sys.stdout)


def step(args):
    torch.set_num_threads(args.threads)
    spec = {"space": args.space, "channels": args.channels, "stem": args.channels, "deep": False, "norm": True,
            "displacement": max(1, args.width // 32)}
    torch.manual_seed(0)
    net = Network(spec).train()
    n_ops = len(SPACES[args.space])
    alphas = [(1e-3 * torch.randn(edges * n_ops)).requires_grad_() for edges in (9, 9, 15)]
    pairs = torch.rand(args.batch, 6, args.height, args.width) - 0.4
    if args.mode == "channels_last":
        net, pairs = net.to(memory_format=torch.channels_last), pairs.to(memory_format=torch.channels_last)
    truth = torch.rand(args.batch, args.height, args.width) * 16
    levels = [(scale, 0.25) for scale in (32, 16, 8, 4)]
    adam, sgd = torch.optim.Adam(alphas, 1e-4), torch.optim.SGD(net.parameters(), 0.025, 0.9)
    value = lambda: loss_of(net(pairs, softmaxed(alphas, n_ops)), truth, levels)
    times = []
    for i in range(args.warmup + args.steps):
        begin = time.perf_counter()
        for optimiser, of in ((adam, alphas), (sgd, list(net.parameters()))):
            for w, gradient in zip(of, torch.autograd.grad(value(), of)):
                w.grad = gradient
            optimiser.step()
        if i >= args.warmup:
            times.append(time.perf_counter() - begin)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": times, "peak_bytes": peak, "torch": torch.__version__}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("work", choices=["check", "step"])
    parser.add_argument("--space", default="dispnet", choices=SPACES)
    parser.add_argument("--mode", default="eager", choices=["eager", "channels_last"])
    for name, default in [("channels", 24), ("height", 64), ("width", 128), ("batch", 4), ("steps", 10), ("warmup", 2),
                          ("threads", 2)]:
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()
    check() if arguments.work == "check" else step(arguments)
