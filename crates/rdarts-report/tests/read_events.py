"""Prints what TensorBoard reads in a directory, as JSON: scalars [step, value], histograms [step, min, max, number, sum,
sum of squares, sum of the buckets], images [step, width, height, whether it is a PNG file of that size].

    python read_events.py DIRECTORY
"""

import json
import math
import struct
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

events = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0, "histograms": 0, "images": 0})
events.Reload()
tags = events.Tags()


def number(value):
    return value if math.isfinite(value) else None


def is_png(image):
    data = image.encoded_image_string
    return data[:8] == b"\x89PNG\r\n\x1a\n" and struct.unpack(">II", data[16:24]) == (image.width, image.height)


def histogram(event):
    of = event.histogram_value
    return [event.step, of.min, of.max, of.num, of.sum, of.sum_squares, sum(of.bucket)]


print(
    json.dumps(
        {
            "scalars": {tag: [[e.step, number(e.value)] for e in events.Scalars(tag)] for tag in tags["scalars"]},
            "histograms": {tag: [histogram(e) for e in events.Histograms(tag)] for tag in tags["histograms"]},
            "images": {tag: [[e.step, e.width, e.height, is_png(e)] for e in events.Images(tag)] for tag in tags["images"]},
        }
    )
)
