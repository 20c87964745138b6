"""Makes the golden values beside this file: small supernets of every space, by PyTorch in double precision.

    python3 make.py            # needs torch alone; any version from 1.13 on

One .safetensors file for each space. Its metadata name the case; its tensors are
  params                            weights, one after another in the sorted order of their names, as floats
  grads                             d train loss / d weights, in the same order
  alphas_normal, alphas_reduce      dalpha.normal, dalpha.reduce: d valid loss / d alphas
  x_train, y_train, x_valid, y_valid    images as NCHW, and labels
  logits_valid, loss_train, loss_valid
  hessian_upper                     rows of the upper triangle of d2 valid loss / d alphas2, normal before reduce
  unrolled.normal, unrolled.reduce  exact d/d alphas of the valid loss at w - xi (d train loss / dw + l2 w)
Batch norm uses the statistics of the batch. The noise of space S4 is made here from the kernels' rule, to the bit.
"""
import json
import math
import os
import struct

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)

SKIP, SEP3, SEP5, DIL3, DIL5 = "skip_connect", "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5"
MAX, AVG = "max_pool_3x3", "avg_pool_3x3"
DARTS = ["none", MAX, AVG, SKIP, SEP3, SEP5, DIL3, DIL5]
# Figure 9 of Zela et al. 2020, edge by edge.
S1 = (
    [(SKIP, DIL3), (SKIP, DIL5), (SKIP, DIL5), (SKIP, SEP3), (SKIP, DIL3), (MAX, SKIP), (SKIP, SEP3),
     (SKIP, SEP3), (SKIP, DIL3), (SKIP, SEP3), (MAX, SKIP), (SKIP, DIL3), (DIL3, DIL5), (DIL3, DIL5)],
    [(MAX, AVG), (MAX, DIL3), (MAX, AVG), (MAX, AVG), (SKIP, DIL5), (MAX, AVG), (MAX, SEP3),
     (SKIP, DIL3), (SKIP, DIL5), (MAX, AVG), (MAX, AVG), (SKIP, DIL5), (SKIP, DIL5), (SKIP, DIL5)],
)


def everywhere(ops, edges=14):
    return [ops] * edges, [ops] * edges


# Space: operations of the edges of both cells, cells, places of the reductions.
CASES = {
    "s1": (S1, 3, [1]),
    "s2": (everywhere([SKIP, SEP3]), 3, [1]),
    "s3": (everywhere(["none", SKIP, SEP3]), 3, [1]),
    "s4": (everywhere(["noise", SEP3]), 3, [1]),
    "darts": (everywhere(DARTS), 2, [1]),
    "darts-no-none": (everywhere(DARTS[1:]), 2, [1]),
    "tiny": (everywhere([SEP3, SKIP, MAX], 2), 3, [1]),
}
# Max pools of small images hardly differ, and norms behind them multiply rounding: with some seeds by more than a thousand.
# This one multiplies it by some thirty.
SEEDS = {"tiny": 13}
CHANNELS, BATCH, SIDE, CLASSES, XI, L2 = 2, 3, 8, 3, 0.1, 3e-4


class Weights:
    """Weights by name: drawn when a network first asks for them, the given ones later."""

    def __init__(self):
        self.named = {}

    def __call__(self, name, *shape):
        if name not in self.named:
            if name.endswith("bias"):
                w = 0.1 * torch.randn(shape)
            elif len(shape) == 1:
                w = 1 + 0.1 * torch.randn(shape)
            else:
                w = torch.randn(shape) * math.sqrt(1 / math.prod(shape[1:]))
            self.named[name] = w.float().double().requires_grad_()
        return self.named[name]


def norm(x, weight=None, bias=None):
    return F.batch_norm(x, None, None, weight, bias, training=True)


def factorized(w, name, x, c_out):
    x, c = F.relu(x), x.shape[1]
    one = F.conv2d(x, w(f"{name}.conv_1.weight", c_out // 2, c, 1, 1), stride=2)
    two = F.conv2d(x[:, :, 1:, 1:], w(f"{name}.conv_2.weight", c_out // 2, c, 1, 1), stride=2)
    return norm(torch.cat([one, two], 1))


def pointwise(w, name, x, c_out):
    return norm(F.conv2d(F.relu(x), w(f"{name}.op.1.weight", c_out, x.shape[1], 1, 1)))


def separable(w, name, first, x, k, stride, dilation):
    """relu, depthwise convolution, pointwise convolution, batch norm; `first` numbers the first layer with weights."""
    c = x.shape[1]
    depthwise = w(f"{name}.op.{first}.weight", c, 1, k, k)
    x = F.conv2d(F.relu(x), depthwise, None, stride, dilation * (k // 2), dilation, groups=c)
    return norm(F.conv2d(x, w(f"{name}.op.{first + 1}.weight", c, c, 1, 1)))


def operation(w, name, op, x, stride, noise):
    if op == "noise":
        return noise(x.shape[0], x.shape[1], x.shape[2] // stride)
    if op == SKIP:
        return x if stride == 1 else factorized(w, name, x, x.shape[1])
    if op == MAX:
        return norm(F.max_pool2d(x, 3, stride, 1))
    if op == AVG:
        return norm(F.avg_pool2d(x, 3, stride, 1, count_include_pad=False))
    k = int(op[-1])
    if op.startswith("dil"):
        return separable(w, name, 1, x, k, stride, 2)
    return separable(w, name, 5, separable(w, name, 1, x, k, stride, 1), k, 1, 1)


def cell(w, name, s0, s1, c, ops, p, reduces, after_reduction, key):
    s0 = factorized(w, f"{name}.preprocess0", s0, c) if after_reduction else pointwise(w, f"{name}.preprocess0", s0, c)
    states = [s0, pointwise(w, f"{name}.preprocess1", s1, c)]
    edge = 0
    while edge < len(ops):
        node = 0
        for state in range(len(states)):
            stride = 2 if reduces and state < 2 else 1
            for o, op in enumerate(ops[edge]):
                # An edge without connection gives nothing.
                if op != "none":
                    here = f"{name}._ops.{edge}._ops.{o}"
                    make = lambda n, c, side, edge=edge: noise(key, edge, n, c, side)
                    node = node + p[edge, o] * operation(w, here, op, states[state], stride, make)
            edge += 1
        states.append(node)
    return torch.cat(states[2:], 1)


def supernet(w, case, x, alphas):
    ops, cells, reductions = case
    p, c, after_reduction = [a.softmax(1) for a in alphas], CHANNELS, False
    stem = F.conv2d(x, w("stem.0.weight", 3 * c, 3, 3, 3), padding=1)
    s0 = s1 = norm(stem, w("stem.1.weight", 3 * c), w("stem.1.bias", 3 * c))
    for i in range(cells):
        reduces = i in reductions
        c = 2 * c if reduces else c
        out = cell(w, f"cells.{i}", s0, s1, c, ops[reduces], p[reduces], reduces, after_reduction, key=i + 1)
        s0, s1, after_reduction = s1, out, reduces
    features = s1.mean((2, 3))
    return F.linear(features, w("classifier.weight", CLASSES, features.shape[1]), w("classifier.bias", CLASSES))


def mix64(z):
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
    return z ^ z >> 31


def mix32(x):
    x = (x ^ x >> 16) * 0x7FEB352D % 2**32
    x = (x ^ x >> 15) * 0x846CA68B % 2**32
    return x ^ x >> 16


def polynomial(coefficients, x):
    """By Horner's rule from the highest power, rounded to single precision at every step."""
    total = torch.zeros_like(x)
    for c in coefficients:
        total = total * x + torch.tensor(c, dtype=torch.float32)
    return total


def single(value):
    return torch.tensor(value, dtype=torch.float32)


def logarithm(x):
    bits = x.view(torch.int32)
    m = ((bits & 0x7FFFFF) | 0x3F800000).view(torch.float32)
    large = m > single(math.sqrt(2))
    m = torch.where(large, single(0.5) * m, m)
    e = ((bits >> 23) - 127 + large.int()).float()
    f = m - single(1)
    z = f * f
    series = polynomial([7.0376836e-2, -1.151461e-1, 1.1676999e-1, -1.2420141e-1, 1.4249323e-1, -1.6668058e-1,
                         2.0000715e-1, -2.4999994e-1, 3.333333e-1], f) * f * z
    return f + (series - single(0.5) * z - single(2.1219444e-4) * e) + single(0.6933594) * e


def sine_and_cosine(turns):
    quadrant = (single(4) * turns + single(0.5)).int()
    x = (single(4) * turns - quadrant.float()) * single(math.pi / 2)
    z = x * x
    sin = x + x * z * (single(-1.6666655e-1) + z * (single(8.332161e-3) - single(1.9515296e-4) * z))
    cos = single(1) - single(0.5) * z + z * z * (
        single(4.1666646e-2) + z * (single(-1.3887316e-3) + single(2.4433157e-5) * z))
    odd = quadrant & 1 == 1
    s, c = torch.where(odd, cos, sin), torch.where(odd, sin, cos)
    return torch.where(quadrant & 2 == 0, s, -s), torch.where(quadrant + 1 & 2 == 0, c, -c)


def noise(key, edge, n, c, side):
    """The kernels' normal values of an edge, at positions that count images, rows, columns, channels."""
    key = mix64(key ^ edge * 0x9E3779B97F4A7C15 % 2**64)
    low, high = key % 2**32, key >> 32
    pairs = range((n * side * side * c + 1) // 2)
    a = [mix32((i * 0x9E3779B1 + low) % 2**32) for i in pairs]
    b = [mix32(x ^ (i * 0x85EBCA77 + high) % 2**32) for i, x in zip(pairs, a)]
    first = torch.tensor([x >> 8 for x in a]).float()
    second = torch.tensor([x >> 8 for x in b]).float()
    radius = (single(-2) * logarithm((first + single(0.5)) * single(2.0**-24))).sqrt()
    sin, cos = sine_and_cosine(second * single(2.0**-24))
    values = torch.stack([radius * cos, radius * sin], 1).reshape(-1)[: n * side * side * c]
    return values.double().reshape(n, side, side, c).permute(0, 3, 1, 2)


def make(space, seed):
    torch.manual_seed(seed)
    case, w = CASES[space], Weights()
    alphas = [(0.5 * torch.randn(len(ops), len(ops[0]))).requires_grad_() for ops in case[0]]
    out = {"alphas_normal": alphas[0], "alphas_reduce": alphas[1]}
    for split in ("train", "valid"):
        out[f"x_{split}"] = torch.randn(BATCH, 3, SIDE, SIDE)
        out[f"y_{split}"] = torch.randint(0, CLASSES, (BATCH,))

    def loss(split, weights):
        logits = supernet(weights, case, out[f"x_{split}"], alphas)
        return F.cross_entropy(logits, out[f"y_{split}"]), logits

    train, _ = loss("train", w)
    names = sorted(w.named)
    ws = [w.named[name] for name in names]
    gradients = torch.autograd.grad(train, ws, create_graph=True, allow_unused=True)
    gradients = [torch.zeros_like(p) if g is None else g for p, g in zip(ws, gradients)]
    valid, logits = loss("valid", w)
    first = torch.autograd.grad(valid, alphas, create_graph=True)
    flat = torch.cat([g.reshape(-1) for g in first])
    rows = [torch.cat([r.reshape(-1) for r in torch.autograd.grad(g, alphas, retain_graph=True)]) for g in flat]
    moved = Weights()
    moved.named = {name: p - XI * (g + L2 * p) for name, p, g in zip(names, ws, gradients)}
    unrolled = torch.autograd.grad(loss("valid", moved)[0], alphas)

    out.update({
        "params": torch.cat([p.reshape(-1) for p in ws]).float(),
        "grads": torch.cat([g.reshape(-1) for g in gradients]),
        "loss_train": train, "loss_valid": valid, "logits_valid": logits,
        "dalpha.normal": first[0], "dalpha.reduce": first[1],
        "hessian_upper": torch.cat([row[i:] for i, row in enumerate(rows)]),
        "unrolled.normal": unrolled[0], "unrolled.reduce": unrolled[1],
    })
    _, cells, reductions = case
    about = {"space": space, "channels": CHANNELS, "cells": cells, "reductions": ",".join(map(str, reductions)),
             "nodes": {14: 4, 2: 1}[len(case[0][0])], "classes": CLASSES, "xi": XI, "l2": L2,
             "weights": len(ws), "noise_keys": ",".join(str(i + 1) for i in range(cells)), "torch": torch.__version__}
    here = os.path.dirname(os.path.abspath(__file__))
    write(os.path.join(here, f"supernet-{space}.safetensors"), out, about)


def write(path, tensors, about):
    """A .safetensors file: the length of the header, the header in JSON, the bytes of all tensors."""
    kinds = {torch.float64: ("F64", "d"), torch.float32: ("F32", "f"), torch.int64: ("I64", "q")}
    header, data = {"__metadata__": {key: str(value) for key, value in about.items()}}, b""
    # Wider types first, so that every tensor is aligned.
    for name, t in sorted(tensors.items(), key=lambda item: (item[1].dtype == torch.float32, item[0])):
        dtype, code = kinds[t.dtype]
        values = t.detach().reshape(-1).tolist()
        packed = struct.pack(f"<{len(values)}{code}", *values)
        header[name] = {"dtype": dtype, "shape": list(t.shape), "data_offsets": [len(data), len(data) + len(packed)]}
        data += packed
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)
    print(os.path.basename(path), 8 + len(text) + len(data), "bytes")


if __name__ == "__main__":
    for seed, space in enumerate(CASES):
        make(space, SEEDS.get(space, seed))
