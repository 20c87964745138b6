#!/usr/bin/env python3
"""The discrete network of a genotype in PyTorch, in the naming that PyTorch users of DARTS know: timed, or trained.

    python discrete.py --work training|one|many --mode eager|channels_last|compile --genotype "Genotype(...)" ...
    python discrete.py --work one|many --mode onnxruntime --onnx FILE ...
    python discrete.py --work learn --data DIR --epochs 10 --genotype "Genotype(...)" --seed 1

The first prints one JSON object: seconds of each step after warming up, and the peak resident set. The second trains on
the binary files of CIFAR-10 in DIR with the settings of `rdarts train --preset train-paper` and prints one line of JSON
for each epoch: the loss and accuracy of the training, and after the last one the accuracy on the test images.
"""
import argparse
import collections
import json
import math
import os
import resource
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

from peer import synchronize, timed

Genotype = collections.namedtuple("Genotype", "normal normal_concat reduce reduce_concat")


def half(c, k, stride, dilation):
    pad = dilation * (k - 1) // 2
    return [nn.ReLU(), nn.Conv2d(c, c, k, stride, pad, dilation, groups=c, bias=False), nn.Conv2d(c, c, 1, bias=False),
            nn.BatchNorm2d(c)]


class FactorizedReduce(nn.Module):
    def __init__(self, c_in, c):
        super().__init__()
        self.conv_1 = nn.Conv2d(c_in, c // 2, 1, 2, bias=False)
        self.conv_2 = nn.Conv2d(c_in, c - c // 2, 1, 2, bias=False)
        self.bn = nn.BatchNorm2d(c)

    def forward(self, x):
        x = F.relu(x)
        return self.bn(torch.cat([self.conv_1(x), self.conv_2(x[:, :, 1:, 1:])], 1))


def operation(name, c, stride):
    if name == "skip_connect":
        return nn.Identity() if stride == 1 else FactorizedReduce(c, c)
    if "pool" in name:
        return nn.MaxPool2d(3, stride, 1) if name[0] == "m" else nn.AvgPool2d(3, stride, 1, count_include_pad=False)
    k = int(name[-1])
    return nn.Sequential(*(half(c, k, stride, 1) + half(c, k, 1, 1) if name.startswith("sep") else half(c, k, stride, 2)))


class Cell(nn.Module):
    def __init__(self, genotype, c_pp, c_p, c, reduction, reduction_prev):
        super().__init__()
        plain = lambda c_in: nn.Sequential(nn.ReLU(), nn.Conv2d(c_in, c, 1, bias=False), nn.BatchNorm2d(c))
        self.preprocess0 = FactorizedReduce(c_pp, c) if reduction_prev else plain(c_pp)
        self.preprocess1 = plain(c_p)
        ops, self.concat = (genotype.reduce, genotype.reduce_concat) if reduction else (genotype.normal, genotype.normal_concat)
        self.inputs = [j for _, j in ops]
        self._ops = nn.ModuleList(operation(n, c, 2 if reduction and j < 2 else 1) for n, j in ops)

    def forward(self, s0, s1, drop):
        states = [self.preprocess0(s0), self.preprocess1(s1)]
        for i in range(0, len(self._ops), 2):
            total = 0
            for op, j in zip(self._ops[i:i + 2], self.inputs[i:i + 2]):
                y = op(states[j])
                if drop > 0 and self.training and not isinstance(op, nn.Identity):
                    y = y / (1 - drop) * torch.empty(y.shape[0], 1, 1, 1, device=y.device).bernoulli_(1 - drop)
                total = total + y
            states.append(total)
        return torch.cat([states[k] for k in self.concat], 1)


class Auxiliary(nn.Module):
    def __init__(self, c, classes):
        super().__init__()
        self.features = nn.Sequential(nn.ReLU(), nn.AvgPool2d(5, 3, 0, count_include_pad=False),
                                      nn.Conv2d(c, 128, 1, bias=False), nn.BatchNorm2d(128), nn.ReLU(),
                                      nn.Conv2d(128, 768, 2, bias=False), nn.BatchNorm2d(768), nn.ReLU())
        self.classifier = nn.Linear(768, classes)

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


class Network(nn.Module):
    def __init__(self, genotype, c, cells, classes=10):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 3 * c, 3, padding=1, bias=False), nn.BatchNorm2d(3 * c))
        c_pp = c_p = 3 * c
        self.cells, previous, self.at = nn.ModuleList(), False, 2 * cells // 3
        for i in range(cells):
            reduction = i in (cells // 3, 2 * cells // 3)
            c *= 2 if reduction else 1
            cell = Cell(genotype, c_pp, c_p, c, reduction, previous)
            self.cells.append(cell)
            previous, c_pp, c_p = reduction, c_p, len(cell.concat) * c
            if i == self.at:
                self.auxiliary_head = Auxiliary(c_p, classes)
        self.classifier = nn.Linear(c_p, classes)

    def forward(self, x, drop=0.0):
        s0 = s1 = self.stem(x)
        auxiliary = None
        for i, cell in enumerate(self.cells):
            s0, s1 = s1, cell(s0, s1, drop)
            if i == self.at and self.training:
                auxiliary = self.auxiliary_head(s1)
        return self.classifier(s1.mean((2, 3))), auxiliary


def step(net, forward, sgd, x, y, drop):
    sgd.zero_grad()
    logits, auxiliary = forward(x, drop)
    loss = F.cross_entropy(logits, y) + 0.4 * F.cross_entropy(auxiliary, y)
    loss.backward()
    nn.utils.clip_grad_norm_(net.parameters(), 5.0)
    sgd.step()
    return loss.item(), (logits.argmax(1) == y).sum().item()


# Of CIFAR-10, for each channel.
MEAN, STD = [torch.tensor(v).reshape(3, 1, 1) for v in ([0.49139968, 0.48215827, 0.44653124],
                                                      [0.24703233, 0.24348505, 0.26158768])]


def cifar(path, names):
    records = torch.cat([torch.frombuffer(bytearray(open(os.path.join(path, n), "rb").read()), dtype=torch.uint8)
                         .reshape(-1, 3073) for n in names if os.path.exists(os.path.join(path, n))])
    return (records[:, 1:].reshape(-1, 3, 32, 32).float() / 255 - MEAN) / STD, records[:, 0].long()


def augmented(x, cutout):
    n = x.shape[0]
    # The padding is black: torchvision pads before it normalizes.
    black = -MEAN / STD
    padded = F.pad(x - black, [4] * 4) + black
    out = torch.empty_like(x)
    for i in range(n):
        top, left = torch.randint(0, 9, (2,)).tolist()
        image = padded[i, :, top:top + 32, left:left + 32]
        image = image.flip(2) if torch.rand(1) < 0.5 else image
        out[i] = image
        if cutout:
            cy, cx = torch.randint(0, 32, (2,)).tolist()
            r = cutout // 2
            out[i, :, max(0, cy - r):cy + r, max(0, cx - r):cx + r] = 0
    return out


def learn(a, net):
    train_x, train_y = cifar(a.data, [f"data_batch_{i}.bin" for i in range(1, 6)])
    if a.limit:
        train_x, train_y = train_x[:a.limit], train_y[:a.limit]
    test_x, test_y = cifar(a.data, ["test_batch.bin"])
    sgd = torch.optim.SGD(net.parameters(), 0.025, momentum=0.9, weight_decay=3e-4)
    for epoch in range(a.epochs):
        begin = time.perf_counter()
        for group in sgd.param_groups:
            group["lr"] = 0.5 * 0.025 * (1 + math.cos(math.pi * epoch / a.epochs))
        net.train()
        losses, right = [], 0
        for part in torch.randperm(len(train_x)).split(a.batch):
            x = augmented(train_x[part], 16).to(device=a.device, memory_format=torch.channels_last)
            loss, ok = step(net, net, sgd, x, train_y[part].to(a.device), 0.2 * epoch / a.epochs)
            losses.append(loss * len(part))
            right += ok
        net.eval()
        test = None
        # As rdarts does: the test images are looked at once, at the end.
        with torch.no_grad():
            parts = torch.arange(len(test_x)).split(500)
            if epoch + 1 == a.epochs:
                shown = lambda p: test_x[p].to(device=a.device, memory_format=torch.channels_last)
                right_of = lambda p: (net(shown(p))[0].argmax(1).cpu() == test_y[p]).sum()
                test = sum(right_of(p).item() for p in parts) / len(test_x)
        print(json.dumps({"epoch": epoch, "train_loss": sum(losses) / len(train_x), "train_accuracy": right / len(train_x),
                          "test_accuracy": test, "seconds": time.perf_counter() - begin}), flush=True)


def prepare(work, mode, genotype, channels=16, cells=8, batch=96, size=32, device="cpu"):
    """A function that does the work once, and waits until the device has done it."""
    layout = torch.contiguous_format if mode == "eager" else torch.channels_last
    net = Network(of_text(genotype), channels, cells).to(device=device, memory_format=layout)
    n = 1 if work == "one" else batch
    x = torch.randn(n, 3, size, size).to(device=device, memory_format=layout)
    y = torch.randint(0, 10, (n,)).to(device)
    forward = torch.compile(net) if mode == "compile" else net
    sgd = torch.optim.SGD(net.parameters(), 0.025, momentum=0.9, weight_decay=3e-4)
    net.train(work == "training")

    def outputs():
        with torch.inference_mode():
            forward(x)

    def once():
        if work == "training":
            step(net, forward, sgd, x, y, 0.1)
        else:
            outputs()
        synchronize(device)

    return once


def in_onnxruntime(path, images, threads):
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {session.get_inputs()[0].name: images.numpy()})


def of_text(genotype):
    return eval(genotype, {"Genotype": Genotype, "range": range})


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--mode", choices=["eager", "channels_last", "compile", "onnxruntime"], default="channels_last")
    p.add_argument("--work", choices=["training", "one", "many", "learn"], required=True)
    p.add_argument("--genotype", required=True)
    p.add_argument("--data")
    p.add_argument("--onnx")
    p.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    for name, value in [("channels", 16), ("cells", 8), ("batch", 96), ("size", 32), ("threads", 2), ("steps", 5),
                        ("epochs", 10), ("seed", 1), ("limit", 0)]:
        p.add_argument(f"--{name}", type=int, default=value)
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(a.seed)
    # Single precision throughout, as the CPU's.
    torch.backends.cudnn.allow_tf32 = False
    if a.work == "learn":
        net = Network(of_text(a.genotype), a.channels, a.cells)
        return learn(a, net.to(device=a.device, memory_format=torch.channels_last))
    if a.mode == "onnxruntime":
        once = in_onnxruntime(a.onnx, torch.randn(1 if a.work == "one" else a.batch, 3, a.size, a.size), a.threads)
    else:
        once = prepare(a.work, a.mode, a.genotype, a.channels, a.cells, a.batch, a.size, a.device)
    warm, seconds = timed(once, a.steps)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds, "warm_up": warm, "peak_bytes": peak, "torch": torch.__version__}))


if __name__ == "__main__":
    main()
