#!/usr/bin/env python3
"""Semi-global matching (OpenCV's StereoSGBM) on a folder of stereo pairs, held to the truth as `rdarts test` does it.

    python3 -m venv venv && venv/bin/pip install opencv-python-headless
    venv/bin/python sgm.py PAIRS [--disparities 32] [--block 5] [--constant-of TRAIN_PAIRS] [--json]

PAIRS has left/, right/, disp/ (PFM, or PNG as KITTI's) and perhaps occ/ (set where the right view does not show a point), with
equal names. Where the matcher finds nothing, the smaller of the two nearest disparities of the row is taken, as KITTI does:
a point that one view alone shows is behind. `--constant-of` adds the one disparity that is best on other pairs, their median.
Every pixel counts alike.
"""
import argparse
import json
import pathlib
import re
import sys
import time

import cv2
import numpy


def read_pfm(path):
    data = pathlib.Path(path).read_bytes()
    head = re.match(rb"Pf\s+(\d+)\s+(\d+)\s+(\S+)\s", data)
    width, height, scale = int(head[1]), int(head[2]), float(head[3])
    values = numpy.frombuffer(data[head.end():], "<f4" if scale < 0 else ">f4", width * height)
    return numpy.flipud(values.reshape(height, width)).astype(numpy.float64)


def truth_of(pairs, name):
    path = pairs / "disp" / f"{name}.pfm"
    if path.exists():
        d = read_pfm(path)
    else:
        d = cv2.imread(str(path.with_suffix(".png")), cv2.IMREAD_UNCHANGED).astype(numpy.float64) / 256
        d[d == 0] = numpy.nan
    d[~numpy.isfinite(d)] = numpy.nan
    return abs(d)


def filled(d):
    """Rows without gaps: of the nearest known disparities to both sides the smaller; rows without any are 0."""
    out = numpy.zeros_like(d)
    for row, to in zip(d, out):
        known = numpy.flatnonzero(~numpy.isnan(row))
        if known.size:
            at = numpy.arange(row.size)
            after = numpy.searchsorted(known, at).clip(0, known.size - 1)
            before = (numpy.searchsorted(known, at, "right") - 1).clip(0)
            to[:] = numpy.minimum(row[known[before]], row[known[after]])
    return out


class Sums:
    def __init__(self):
        self.n, self.total, self.bad = 0, 0.0, numpy.zeros(3)

    def add(self, found, truth, where):
        where = where & ~numpy.isnan(truth)
        off = abs(found - truth)[where]
        self.n += off.size
        self.total += off.sum()
        self.bad += [(off > 1).sum(), (off > 3).sum(), ((off > 3) & (off > 0.05 * truth[where])).sum()]

    def errors(self):
        bad1, bad3, d1 = (self.bad / self.n).tolist()
        return {"pixels": self.n, "error": self.total / self.n, "bad1": bad1, "bad3": bad3, "d1": d1}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", type=pathlib.Path)
    parser.add_argument("--disparities", type=int, default=32, help="how far is looked, a multiple of 16")
    parser.add_argument("--block", type=int, default=5, help="side of a block, odd")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--constant-of", type=pathlib.Path)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    cv2.setNumThreads(args.threads)
    names = sorted(path.stem for path in (args.pairs / "left").iterdir())
    area = 3 * args.block ** 2
    matcher = cv2.StereoSGBM_create(0, args.disparities, args.block, 8 * area, 32 * area, 1, 63, 5, 50, 2,
                                    cv2.STEREO_SGBM_MODE_SGBM_3WAY)
    rows = {"sgm": [Sums(), Sums()]}
    constant = None
    if args.constant_of:
        others = sorted(path.stem for path in (args.constant_of / "left").iterdir())
        known = [truth_of(args.constant_of, name).ravel() for name in others]
        constant = float(numpy.nanmedian(numpy.concatenate(known)))
        rows["constant"] = [Sums(), Sums()]
    seconds, matched, pixels, has_masks = 0.0, 0, 0, (args.pairs / "occ").is_dir()
    for name in names:
        views = [cv2.imread(str(next((args.pairs / side).glob(f"{name}.*")))) for side in ("left", "right")]
        truth = truth_of(args.pairs, name)
        seen = numpy.ones_like(truth, bool)
        if has_masks:
            seen = cv2.imread(str(args.pairs / "occ" / f"{name}.png"), cv2.IMREAD_GRAYSCALE) == 0
        # Columns to the left that the search would leave out.
        border = args.disparities
        begin = time.perf_counter()
        wide = [cv2.copyMakeBorder(view, 0, 0, border, 0, cv2.BORDER_REPLICATE) for view in views]
        found = matcher.compute(*wide)[:, border:].astype(numpy.float64) / 16
        seconds += time.perf_counter() - begin
        found[found < 0] = numpy.nan
        matched, pixels = matched + (~numpy.isnan(found)).sum(), pixels + found.size
        estimates = {"sgm": filled(found)}
        if constant is not None:
            estimates["constant"] = numpy.full_like(truth, constant)
        for row, d in estimates.items():
            rows[row][0].add(d, truth, numpy.ones_like(seen))
            rows[row][1].add(d, truth, seen)
    out = {
        "opencv": cv2.__version__, "pairs": len(names), "milliseconds": 1e3 * seconds / len(names), "matched": matched / pixels,
        "constant": constant,
        **{row: {"errors": a.errors(), "visible": b.errors() if has_masks else None} for row, (a, b) in rows.items()},
    }
    if args.json:
        json.dump(out, sys.stdout, indent=1)
        print()
        return
    print(f"StereoSGBM of OpenCV {cv2.__version__}: {len(names)} pairs, {out['milliseconds']:.1f} ms a pair, "
          f"{100 * out['matched']:.1f} % of the pixels matched, the others filled")
    for row in rows:
        for what in ("errors", "visible"):
            if e := out[row][what]:
                print(f"{row:<9} {what:<8} {e['error']:7.3f} px  > 1: {100 * e['bad1']:6.2f} %  > 3: {100 * e['bad3']:6.2f} %  "
                      f"D1: {100 * e['d1']:6.2f} %  of {e['pixels']} pixels")


if __name__ == "__main__":
    main()
