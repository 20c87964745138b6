#!/usr/bin/env python3
"""Make crates/rdarts-data/assets/fashion-mini.idx.gz, the data set that is built into the program.

It holds the first 600 training and the first 100 test images of each class of Fashion-MNIST, in file
order, as four IDX files one after another in one gzip stream: train images, train labels, test images,
test labels. Every ten images in a row hold each class once, in shuffled order, so any stretch that
starts and ends at a multiple of ten has equal classes: the first half (which trains the weights), the
second half (which trains the architecture), and every round limit on the number of images.

    apt-get install dataset-fashion-mnist
    scripts/make-fashion-mini.py            writes the asset
    scripts/make-fashion-mini.py --check    exits with 1 unless the asset holds what would be written

The content is a pure function of Fashion-MNIST. The compressed bytes also depend on the version of
zlib, so --check compares what is inside.
"""

import argparse
import gzip
import hashlib
import io
import pathlib
import struct
import sys

ASSET = pathlib.Path(__file__).resolve().parent.parent / "crates/rdarts-data/assets/fashion-mini.idx.gz"
SOURCE = pathlib.Path("/usr/share/datasets/fashion-mnist")
N_CLASSES = 10
PER_CLASS = {"train": 600, "t10k": 100}


def read(source, part):
    """The images of one part as a list of bytes, and their labels."""
    images = gzip.decompress((source / f"{part}-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((source / f"{part}-labels-idx1-ubyte.gz").read_bytes())
    magic, n, height, width = struct.unpack(">4I", images[:16])
    size = height * width
    assert magic == 0x803 and struct.unpack(">2I", labels[:8]) == (0x801, n)
    assert len(images) == 16 + n * size and len(labels) == 8 + n
    return [images[16 + i * size : 16 + (i + 1) * size] for i in range(n)], labels[8:], height, width


def class_order(part, round_idx):
    """The order of the classes within one round of ten; a hash, so that no library's shuffle matters."""
    key = lambda label: hashlib.sha256(f"fashion-mini {part} {round_idx} {label}".encode()).digest()
    return sorted(range(N_CLASSES), key=key)


def subset(source, part):
    """The two IDX files of one part."""
    images, labels, height, width = read(source, part)
    n_rounds = PER_CLASS[part]
    of_class = [[i for i, label in enumerate(labels) if label == c][:n_rounds] for c in range(N_CLASSES)]
    chosen = [of_class[c][r] for r in range(n_rounds) for c in class_order(part, r)]
    image_file = struct.pack(">4I", 0x803, len(chosen), height, width) + b"".join(images[i] for i in chosen)
    label_file = struct.pack(">2I", 0x801, len(chosen)) + bytes(labels[i] for i in chosen)
    return image_file + label_file


def compress(content):
    """Gzip without a name or a time in its header."""
    out = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=out, mtime=0) as file:
        file.write(content)
    return out.getvalue()


def main():
    parser = argparse.ArgumentParser(description="Make the embedded data set fashion-mini.")
    parser.add_argument("--check", action="store_true", help="compare the asset with a rebuild, write nothing")
    parser.add_argument("--source", type=pathlib.Path, default=SOURCE, help=f"directory of Fashion-MNIST ({SOURCE})")
    args = parser.parse_args()
    if not args.source.is_dir():
        sys.exit(f"{args.source} is not a directory: run apt-get install dataset-fashion-mnist or name it with --source")
    content = subset(args.source, "train") + subset(args.source, "t10k")
    if args.check:
        if gzip.decompress(ASSET.read_bytes()) != content:
            sys.exit(f"{ASSET} differs from a rebuild: run scripts/make-fashion-mini.py")
        print(f"{ASSET} holds what a rebuild holds, {len(content)} bytes")
    else:
        ASSET.parent.mkdir(parents=True, exist_ok=True)
        ASSET.write_bytes(compress(content))
        print(f"{ASSET}: {ASSET.stat().st_size} bytes, {len(content)} unpacked")


if __name__ == "__main__":
    main()
