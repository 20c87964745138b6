"""@TITLE@

Weights come from weights.safetensors beside this file; nothing but PyTorch is needed:

    import model
    net = model.load()
    left, right = ...                        # float tensors (3, height, width), any size, pixels in [0, 1]
    d = model.disparity(net, left, right)    # (height, width): left (x, y) shows what right (x - d, y) shows
"""
import json
import pathlib
import struct

import torch
import torch.nn.functional as F
from torch import nn

GENOTYPE = "@GENOTYPE@"
STRIDE = @STRIDE@  # both sides of what the network is given are multiples of it
SCALE = @SCALE@  # pixels of the views to one of the finest prediction
SHIFT = @SHIFT@  # taken away from the pixels

# Layers in the order in which they are computed: what each is, which layers it reads (-1: the views), where its weights are,
# and its numbers.
LAYERS = [
@LAYERS@
]

WEIGHTS = pathlib.Path(__file__).with_name("weights.safetensors")


class DisparityNet(nn.Module):
    def __init__(self):
        super().__init__()
        for kind, _, name, numbers in LAYERS:
            if kind == "conv":
                c_in, c_out, k, stride, dilation, groups, bias = numbers
                pad = dilation * (k - 1) // 2
                self.put(name, nn.Conv2d(c_in, c_out, k, stride, pad, dilation, groups, bool(bias)))
            elif kind == "transposed":
                self.put(name, nn.ConvTranspose2d(*numbers, 4, 2, 1))

    def put(self, name, layer):
        """The module `a.b.c` in modules `a` and `a.b`."""
        *path, last = name.split(".")
        module = self
        for part in path:
            if part not in module._modules:
                module.add_module(part, nn.Module())
            module = module._modules[part]
        module.add_module(last, layer)

    def forward(self, left, right):
        """Disparities (batch, 1, height, width) of views (batch, 3, height, width)."""
        made = []
        last_reader = {read: at for at, layer in enumerate(LAYERS) for read in layer[1]}
        for at, (kind, reads, name, numbers) in enumerate(LAYERS):
            x = [made[read] for read in reads if read >= 0]
            match kind:
                case "views":
                    y = torch.cat([left, right]) - SHIFT
                case "view":
                    y = x[0].chunk(2)[numbers[0]]
                case "conv" | "transposed":
                    y = self.get_submodule(name)(x[0])
                case "leaky_relu":
                    y = F.leaky_relu(x[0], 0.1)
                case "relu":
                    y = F.relu(x[0])
                case "max_pool":
                    y = F.max_pool2d(x[0], 3, numbers[0], 1)
                case "average_pool":
                    y = F.avg_pool2d(x[0], 3, numbers[0], 1, count_include_pad=False)
                case "correlation":
                    y = correlation(*x, numbers[0])
                case "upsample":
                    y = F.interpolate(x[0], scale_factor=2, mode="bilinear", align_corners=False)
                case "concat":
                    y = torch.cat(x, 1)
                case "sum":
                    y = sum(x[1:], x[0])
                case "zero":
                    y = torch.zeros_like(x[0])
                case "outputs":
                    return F.interpolate(x[-1], scale_factor=SCALE, mode="bilinear", align_corners=False)
                case _:
                    raise ValueError(f"unknown layer {kind}")
            made.append(y)
            for read in reads:
                if last_reader[read] == at and read >= 0:
                    made[read] = None


def correlation(left, right, d):
    """Channel d + s is the mean over channels of left at x times right at x + s, zero outside."""
    width = left.shape[3]
    padded = F.pad(right, (d, d))
    return torch.cat([(left * padded[..., k:k + width]).mean(1, keepdim=True) for k in range(2 * d + 1)], 1)


def tensors(path=WEIGHTS):
    """The tensors of a safetensors file by name."""
    data = pathlib.Path(path).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    out = {}
    for name, entry in json.loads(data[8:8 + length]).items():
        if name != "__metadata__":
            begin, end = (8 + length + offset for offset in entry["data_offsets"])
            out[name] = torch.frombuffer(bytearray(data[begin:end]), dtype=torch.float32).reshape(entry["shape"])
    return out


def load(path=WEIGHTS):
    """The network with its weights, ready to be used."""
    net = DisparityNet()
    net.load_state_dict(tensors(path), strict=True)
    return net.eval()


@torch.no_grad()
def disparity(net, left, right):
    """Disparities (height, width) of views (3, height, width) of any size: the last rows and columns are repeated until both
    sides are multiples of STRIDE."""
    height, width = left.shape[1:]
    pad = (0, -width % STRIDE, 0, -height % STRIDE)
    views = [F.pad(view[None], pad, mode="replicate") for view in (left, right)]
    return net(*views)[0, 0, :height, :width]
