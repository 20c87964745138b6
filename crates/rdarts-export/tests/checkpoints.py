"""Checkpoints as PyTorch writes them, of a network that is exported already.

    python checkpoints.py MODEL.PY WEIGHTS.SAFETENSORS OUT_DIR        # needs: pip install torch numpy

Writes the state dict alone as a ZIP file and in the form from before PyTorch 1.6, and what training scripts save: the
state dict of a DataParallel below a key, beside an optimiser that has run and other objects; and one in double
precision. The small files in tests/data are `state.pt` and `legacy.pt` of the network `Case::small`, and `hollow.pt`, whose
tensors are a number each, repeated by strides of 0 to many times what the file can hold.
"""
import argparse
import importlib.util
import pathlib
import sys

import numpy
import torch

page_path, weights, out = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
spec = importlib.util.spec_from_file_location("model", page_path)
page = importlib.util.module_from_spec(spec)
spec.loader.exec_module(page)
net = page.load(weights)

torch.save(net.state_dict(), out / "state.pt")
torch.save(net.state_dict(), out / "legacy.pt", _use_new_zipfile_serialization=False)

optimizer = torch.optim.SGD(net.parameters(), 0.0, momentum=0.9)
page.F.mse_loss(net(torch.rand(2, len(page.MEAN), *page.SIDE)), torch.zeros(2, len(page.CLASSES))).backward()
optimizer.step()
checkpoint = {
    "epoch": 50,
    "state_dict": torch.nn.DataParallel(net).state_dict(),
    "best_acc_top1": numpy.float64(97.24),
    "optimizer": optimizer.state_dict(),
    "args": argparse.Namespace(init_channels=36),
    "alphas_normal": torch.zeros(14, 8),
}
torch.save(checkpoint, out / "checkpoint.pt")
torch.save(checkpoint, out / "checkpoint-legacy.pt", _use_new_zipfile_serialization=False)
torch.save(net.double().state_dict(), out / "double.pt")

# What a search saves, as far as it takes to be told: candidates below a key, and architecture parameters beside it.
names = {"stem.0.weight": (6, 3, 3, 3), "cells.0.preprocess1.op.1.weight": (2, 6, 1, 1),
         "cells.0._ops.1._ops.4.op.1.weight": (2, 1, 3, 3), "classifier.weight": (10, 8)}
search = {name: torch.zeros(shape) for name, shape in names.items()}
torch.save({"state_dict": search, "alphas_normal": torch.zeros(14, 8), "alphas_reduce": torch.zeros(14, 8)},
           out / "search.pt")

hollow = {f"cells.{i}.weight": torch.zeros(1).expand(1 << 28) for i in range(8)}
torch.save({"stem.0.weight": torch.zeros(6, 1, 3, 3), **hollow}, out / "hollow.pt")
