def relu_conv_norm(c_in, c_out):
    return Layers(nn.ReLU(), nn.Conv2d(c_in, c_out, 1, bias=False), nn.BatchNorm2d(c_out))


def separable(c, k, stride, dilation):
    """A convolution of each channel by itself, then one that mixes the channels."""
    pad = dilation * (k - 1) // 2
    return [nn.ReLU(), nn.Conv2d(c, c, k, stride, pad, dilation, groups=c, bias=False),
            nn.Conv2d(c, c, 1, bias=False), nn.BatchNorm2d(c)]


def operation(name, c, stride):
    match name:
        case "none":
            return Zero(stride)
        case "skip_connect":
            return nn.Identity() if stride == 1 else FactorizedReduce(c, c)
        case "max_pool_3x3":
            return nn.MaxPool2d(3, stride, 1)
        case "avg_pool_3x3":
            return nn.AvgPool2d(3, stride, 1, count_include_pad=False)
        case "sep_conv_3x3" | "sep_conv_5x5" | "sep_conv_7x7":
            k = int(name[-1])
            return Layers(*separable(c, k, stride, 1), *separable(c, k, 1, 1))
        case "dil_conv_3x3" | "dil_conv_5x5":
            return Layers(*separable(c, int(name[-1]), stride, 2))
        case "conv_7x1_1x7":
            return nn.Sequential(nn.ReLU(), nn.Conv2d(c, c, (1, 7), (1, stride), (0, 3), bias=False),
                                 nn.Conv2d(c, c, (7, 1), (stride, 1), (3, 0), bias=False), nn.BatchNorm2d(c))
    raise ValueError(f"unknown operation {name}")


@LAYERS@

class Zero(nn.Module):
    def __init__(self, stride):
        super().__init__()
        self.stride = stride

    def forward(self, x):
        return torch.zeros_like(x[:, :, ::self.stride, ::self.stride])


class FactorizedReduce(nn.Module):
    """Half the rows and columns: one half of the channels from every second pixel, the other from those between."""

    def __init__(self, c_in, c_out):
        super().__init__()
        self.conv_1 = nn.Conv2d(c_in, c_out // 2, 1, stride=2, bias=False)
        self.conv_2 = nn.Conv2d(c_in, c_out // 2, 1, stride=2, bias=False)
        self.bn = nn.BatchNorm2d(c_out)

    def forward(self, x):
        x = F.relu(x)
        rows, columns = x.shape[2:]
        # Of an odd side, zeros stand in for the pixel after the last one.
        between = F.pad(x, (0, columns % 2, 0, rows % 2))[:, :, 1:, 1:]
        return self.bn(torch.cat([self.conv_1(x), self.conv_2(between)], 1))


class Cell(nn.Module):
    """Each node is the sum of two operations on earlier states; the output is the nodes in `concat`."""

    def __init__(self, ops, concat, c_before, c_last, c, reduces, last_reduced):
        super().__init__()
        self.preprocess0 = FactorizedReduce(c_before, c) if last_reduced else relu_conv_norm(c_before, c)
        self.preprocess1 = relu_conv_norm(c_last, c)
        self.inputs, self.concat = [state for _, state in ops], concat
        self._ops = nn.ModuleList(operation(name, c, 2 if reduces and state < 2 else 1) for name, state in ops)

    def forward(self, s0, s1):
        states = [self.preprocess0(s0), self.preprocess1(s1)]
        for i in range(0, len(self.inputs), 2):
            states.append(sum(self._ops[j](states[self.inputs[j]]) for j in (i, i + 1)))
        return torch.cat([states[i] for i in self.concat], 1)

@AUXILIARY_CLASS@
class Network(nn.Module):
    """Logits of a batch of normalised images@RETURNS@."""

    def __init__(self):
        super().__init__()
        c, classes = CHANNELS, len(CLASSES)
        self.stem = nn.Sequential(nn.Conv2d(len(MEAN), 3 * c, 3, padding=1, bias=False), nn.BatchNorm2d(3 * c))
        c_before = c_last = 3 * c
        reduced = False
        self.cells = nn.ModuleList()
        for i in range(CELLS):
            reduces = bool(REDUCE) and i in REDUCTIONS
            c = 2 * c if reduces else c
            ops, concat = (REDUCE, REDUCE_CONCAT) if reduces else (NORMAL, NORMAL_CONCAT)
            self.cells.append(Cell(ops, concat, c_before, c_last, c, reduces, reduced))
            c_before, c_last, reduced = c_last, c * len(concat), reduces
@AUXILIARY_INIT@        self.classifier = nn.Linear(c_last, classes)

    def forward(self, x):
        s0 = s1 = self.stem(x)
@FORWARD@
