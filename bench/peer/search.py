#!/usr/bin/env python3
"""A search by DARTS of first order in PyTorch, from the weights and with the images of one of ours, and both beside each other.

    cargo run --release -p rdarts-search --example peer -- SPEC DIR EPOCHS [KEY=VALUE]...
    python bench/peer/search.py DIR [--steps N] [--double] [--json]

The first writes into DIR what both begin with, the images of every step, and its own losses, accuracies and eigenvalues. This one takes the
same steps (--steps N: the first N alone) with PyTorch's own layers, derivatives and optimisers. The Hessian is made of as many
products as there are alphas, and its eigenvalues are LAPACK's; the largest counts, with what ours adds to the diagonal.
"""
import argparse
import json
import pathlib
import time

import numpy as np
import torch
import torch.nn.functional as F

from peer import Supernet


class Files:
    """Images and labels as ours wrote them, batch by batch."""
    def __init__(self, path, name, shape):
        self.images = np.memmap(path / f"{name}.f32", np.float32, "c").reshape(-1, *shape)
        self.labels = np.fromfile(path / f"{name}.u8", np.uint8)
        self.at = 0

    def take(self, n):
        part = slice(self.at, min(self.at + n, len(self.labels)))
        self.at = part.stop
        x = torch.from_numpy(np.ascontiguousarray(self.images[part].transpose(0, 3, 1, 2)))
        return x.to(torch.get_default_dtype()), torch.from_numpy(self.labels[part].astype(np.int64))

    def left(self):
        return len(self.labels) - self.at


class Search:
    def __init__(self, start):
        self.start = start
        edges = start["edges"]
        self.net = Supernet(*edges, start["nodes"], start["channels"], start["cells"], start["classes"], start["image"][2])
        self.weights = dict(self.net.named_parameters())
        assert len(self.weights) == len(start["weights"])
        with torch.no_grad():
            for name, values in start["weights"].items():
                weight = self.weights[name.replace(".op.", ".")]
                weight.copy_(torch.tensor(values).reshape(weight.shape))
        flat = iter(start["alphas"])
        self.alphas = [[torch.tensor([next(flat) for _ in names], requires_grad=True) for names in cell] for cell in edges]
        self.flat = [alpha for cell in self.alphas for alpha in cell]
        self.adam = torch.optim.Adam(self.flat, start["alpha_lr"], betas=start["alpha_betas"], weight_decay=start["alpha_l2"])
        parameters = self.net.parameters()
        self.sgd = torch.optim.SGD(parameters, start["lr"][0], momentum=start["momentum"], weight_decay=start["l2"])
        self.net.train()

    def loss(self, x, y):
        return F.cross_entropy(self.net(x, self.alphas), y)

    def step(self, train, valid):
        """The losses that the weights and the alphas follow."""
        alpha_loss = self.loss(*valid)
        for alpha, gradient in zip(self.flat, torch.autograd.grad(alpha_loss, self.flat)):
            alpha.grad = gradient
        self.adam.step()
        self.sgd.zero_grad()
        loss = self.loss(*train)
        loss.backward(inputs=list(self.weights.values()))
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.start["clip"])
        self.sgd.step()
        return loss.item(), alpha_loss.item()

    def score(self, files):
        loss = correct = n = 0
        with torch.no_grad():
            while files.left():
                x, y = files.take(self.start["batch"])
                logits = self.net(x, self.alphas)
                loss += F.cross_entropy(logits, y, reduction="sum").item()
                correct += (logits.argmax(1) == y).sum().item()
                n += len(y)
        return loss / n, correct / n

    def eigenvalue(self, files):
        """The largest one of the mean Hessian over the batches."""
        hessian, batches = 0, 0
        while files.left():
            loss = self.loss(*files.take(self.start["batch"]))
            gradient = torch.cat(torch.autograd.grad(loss, self.flat, create_graph=True))
            rows = [torch.cat(torch.autograd.grad(g, self.flat, retain_graph=True)) for g in gradient]
            hessian, batches = hessian + torch.stack(rows), batches + 1
        largest = torch.linalg.eigvalsh((hessian + hessian.T).double() / 2 / batches)[-1].item()
        return max(largest, 0.0) + self.start["diagonal"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("dir", type=pathlib.Path)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--double", action="store_true", help="in double precision")
    parser.add_argument("--json", action="store_true")
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    torch.set_default_dtype(torch.float64 if a.double else torch.float32)
    start = json.loads((a.dir / "start.json").read_text())
    ours = json.loads((a.dir / "ours.json").read_text())
    ours_losses = [step["losses"] for step in ours["steps"]]
    search, losses, rows, begun = Search(start), [], [], time.time()
    for epoch, mine in enumerate(ours["epochs"]):
        for group in search.sgd.param_groups:
            group["lr"] = start["lr"][epoch]
        files = Files(a.dir, f"steps-{epoch}", start["image"])
        while files.left() and (a.steps is None or len(losses) < a.steps):
            losses.append(search.step(*map(files.take, ours["steps"][len(losses)]["n"])))
        if len(losses) == a.steps:
            break
        loss, accuracy = search.score(Files(a.dir, "eval", start["image"]))
        eigenvalue = search.eigenvalue(Files(a.dir, f"hessian-{epoch}", start["image"]))
        alphas = torch.cat(search.flat).tolist()
        apart = max(abs(x - y) for x, y in zip(alphas, mine["alphas"]))
        n = len(losses) // (epoch + 1)
        of = lambda steps: np.mean(steps[epoch * n:(epoch + 1) * n], axis=0).tolist()
        rows.append({
            "epoch": epoch, "losses": [of(ours_losses), of(losses)], "loss": [mine["loss"], loss],
            "accuracy": [mine["accuracy"], accuracy], "eigenvalue": [mine["eigenvalue"], eigenvalue], "bound": mine["bound"],
            "alphas_apart": apart, "largest_alpha": max(map(abs, alphas)), "seconds": time.time() - begun,
        })
        if not a.json:
            print(f"epoch {epoch}: " + ", ".join(f"{k} {v}" for k, v in rows[-1].items() if k != "epoch"), flush=True)
    first = [max(abs(x - y) for x, y in zip(t, o)) for t, o in zip(losses[:20], ours_losses)]
    if a.json:
        print(json.dumps({"first": first, "epochs": rows}))
    else:
        print(" ".join(f"{loss:.6f}" for loss, _ in losses[:20]))
        print("first steps, largest difference of the losses: " + " ".join(f"{d:.1e}" for d in first))


if __name__ == "__main__":
    main()
