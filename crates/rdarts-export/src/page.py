"""@TITLE@

Weights come from weights.safetensors beside this file; nothing but PyTorch is needed:

    import model
    net = model.load()
    image = ...                              # float tensor of shape @IMAGE@, pixels in [0, 1]
    print(model.classify(net, image))        # {class name: probability}, the most likely first
"""
import json
import math
import pathlib
import struct
import sys

import torch
@FUNCTIONS@from torch import nn

@CONSTANTS@

WEIGHTS = pathlib.Path(__file__).with_name("weights.safetensors")


@NETWORK@
def read(path):
    """The tensors of a safetensors file by name."""
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        data = bytearray(file.read())
    header.pop("__metadata__", None)
    types = {"F32": torch.float32, "I64": torch.int64}

    def tensor(entry):
        flat = torch.frombuffer(data, dtype=types[entry["dtype"]], count=math.prod(entry["shape"]),
                                offset=entry["data_offsets"][0])
        return flat.reshape(entry["shape"])

    return {name: tensor(entry) for name, entry in header.items()}


def load(path=WEIGHTS):
    """The network with the weights of a file, ready to classify."""
    net = Network()
    net.load_state_dict(read(path), strict=True)
    return net.eval()


def normalised(images):
    """Pixels in [0, 1], (..., channels, rows, columns), as the network wants them."""
    mean, std = (torch.tensor(values, dtype=images.dtype, device=images.device).view(-1, 1, 1) for values in (MEAN, STD))
    return (images - mean) / std


@torch.no_grad()
def classify(net, image):
    """The probability of each class for one image, the most likely first."""
    probabilities = net(normalised(image).unsqueeze(0))[0].softmax(0)
    order = probabilities.argsort(descending=True).tolist()
    return {CLASSES[i]: probabilities[i].item() for i in order}


if __name__ == "__main__":
    net = load(sys.argv[1] if len(sys.argv) > 1 else WEIGHTS)
    print(f"{sum(p.numel() for p in net.parameters())} parameters; an image of noise is")
    for name, probability in list(classify(net, torch.rand(len(MEAN), *SIDE)).items())[:5]:
        print(f"{probability:8.4f}  {name}")
