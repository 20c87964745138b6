#!/usr/bin/env python3
"""PyTorch's side of bench/gpu: several kinds of work of one shape in one process.

    python theirs.py '{"works": ["first"], "modes": ["eager"], "steps": 10, "device": "cuda", "shape": {...}}'

Prints one line of JSON for each kind of work and mode. Single precision throughout: the short format of tensor cores
(TF32) is a mode of its own, `channels_last+tf32`.
"""
import json
import os
import statistics
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "peer"))

import discrete
import peer
import torch

SEARCH = ("first", "second", "hessian")


def main():
    a = json.loads(sys.argv[1])
    torch.set_num_threads(a.get("threads", 2))
    for work in a["works"]:
        for mode in a["modes"]:
            layout, _, short = mode.partition("+")
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = short == "tf32"
            prepare = peer.prepare if work in SEARCH else discrete.prepare
            once = prepare(work, layout, device=a["device"], **a["shape"])
            if a["device"] == "cuda":
                torch.cuda.reset_peak_memory_stats()
            is_long = work == "hessian"
            if is_long:
                # Too long to be warmed up by itself.
                peer.timed(peer.prepare("first", layout, device=a["device"], **a["shape"]), 1)
            warm, seconds = peer.timed(once, 1 if is_long else a["steps"], 0 if is_long else 2)
            peak = torch.cuda.max_memory_allocated() if a["device"] == "cuda" else None
            print(json.dumps({"work": work, "mode": mode, "seconds": statistics.median(seconds), "warm_up": warm,
                              "peak_bytes": peak}), flush=True)


if __name__ == "__main__":
    main()
