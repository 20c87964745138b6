def relu_conv_norm(c_in, c_out, k, stride=1):
    return Layers(nn.ReLU(), nn.Conv2d(c_in, c_out, k, stride, k // 2, bias=False), nn.BatchNorm2d(c_out))


def operation(name, c):
    match name:
        case "skip_connect":
            return nn.Identity()
        case "avg_pool_3x3":
            return nn.AvgPool2d(3, 1, 1, count_include_pad=False)
        case "nor_conv_1x1" | "nor_conv_3x3":
            return relu_conv_norm(c, c, int(name[-1]))
    raise ValueError(f"unknown operation {name}")


@LAYERS@

class Cell(nn.Module):
    """Each node is the sum of operations on earlier states; state 0 is the input, and the output is the last node.

    NODES has the operations into each node as (number of the edge, operation, state that it reads). Those that give zero
    are not listed, nor are those that the output does not need.
    """

    def __init__(self, c):
        super().__init__()
        self.layers = nn.ModuleDict({str(edge): operation(name, c) for node in NODES for edge, name, _ in node})

    def forward(self, x):
        states = [x]
        for node in NODES:
            terms = [self.layers[str(edge)](states[state]) for edge, _, state in node]
            states.append(sum(terms) if terms else torch.zeros_like(x))
        return states[-1]


class Residual(nn.Module):
    """Half the rows and columns."""

    def __init__(self, c_in, c_out):
        super().__init__()
        self.conv_a = relu_conv_norm(c_in, c_out, 3, 2)
        self.conv_b = relu_conv_norm(c_out, c_out, 3)
        # Of an odd side, the mean is that of the pixels that are there.
        self.downsample = nn.Sequential(nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False),
                                        nn.Conv2d(c_in, c_out, 1, bias=False))

    def forward(self, x):
        return self.downsample(x) + self.conv_b(self.conv_a(x))


class Network(nn.Module):
    """Logits of a batch of normalised images."""

    def __init__(self):
        super().__init__()
        c = CHANNELS
        self.stem = nn.Sequential(nn.Conv2d(len(MEAN), c, 3, padding=1, bias=False), nn.BatchNorm2d(c))
        self.cells = nn.ModuleList()
        for i in range(CELLS):
            if i in REDUCTIONS:
                self.cells.append(Residual(c, 2 * c))
                c = 2 * c
            else:
                self.cells.append(Cell(c))
        self.lastact = nn.Sequential(nn.BatchNorm2d(c), nn.ReLU())
        self.classifier = nn.Linear(c, len(CLASSES))

    def forward(self, x):
        x = self.stem(x)
        for cell in self.cells:
            x = cell(x)
        return self.classifier(self.lastact(x).mean((2, 3)))

