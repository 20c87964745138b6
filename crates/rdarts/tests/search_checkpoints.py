"""The files search-*.pt in tests/data, as the published searches save theirs, as far as it takes to tell them.

    python search_checkpoints.py OUT_DIR        # needs: pip install torch numpy

Weights are zeros. In row e of the alphas of the normal cell the operation e modulo their number is the strongest, in
those of the reduction cell (e + 3) modulo it; later rows are stronger.

    search-darts.pt   8 operations, as the space of DARTS has, below a key and with an epoch
    search-two.pt     2 operations, as s1, s2 and s4 have
    search-nan.pt     the same, of a search that has diverged: one alpha of the reduction cell is no number
    search-bare.pt    the weights of a supernet alone, as weights.pt of a search has them: without alphas
"""
import math
import pathlib
import sys

import torch

out = pathlib.Path(sys.argv[1])
EDGES = 14
SHAPES = {"stem.0.weight": (6, 3, 3, 3), "cells.0.preprocess1.op.1.weight": (2, 6, 1, 1),
          "cells.0._ops.1._ops.4.op.1.weight": (2, 1, 3, 3), "classifier.weight": (10, 8)}
weights = {name: torch.zeros(shape) for name, shape in SHAPES.items()}


def alphas(operations, first):
    rows = torch.zeros(EDGES, operations)
    for e in range(EDGES):
        rows[e, (e + first) % operations] = 0.1 * (e + 1)
    return rows


def search(operations):
    normal, reduce = alphas(operations, 0), alphas(operations, 3)
    return {"epoch": 50, "state_dict": weights, "alphas_normal": normal, "alphas_reduce": reduce}


torch.save(search(8), out / "search-darts.pt")
torch.save(search(2), out / "search-two.pt")
diverged = search(2)
diverged["alphas_reduce"][5, 1] = math.nan
torch.save(diverged, out / "search-nan.pt")
torch.save(weights, out / "search-bare.pt")
