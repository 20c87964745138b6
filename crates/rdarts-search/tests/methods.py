#!/usr/bin/env python3
"""One step of a method that shares the loop of DARTS, in PyTorch in double precision, from a state that a test has written.

    python methods.py STATE.json...

Prints the alphas and the weights after the step as one JSON object, a line for each state. The supernet is that of bench/peer; each method is
written here from its paper and its released code.
"""
import json
import os
import pathlib
import sys

import torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "bench/peer"))
import peer  # noqa: E402
from peer import Supernet  # noqa: E402

torch.set_default_dtype(torch.float64)
# A process for each state: PyTorch is loaded once, and what a method changes in the network's classes ends with it.
for path in sys.argv[1:]:
    child = os.fork()
    if child == 0:
        break
    if os.waitpid(child, 0)[1] != 0:
        with open(path) as file:
            state = json.load(file)
        sys.exit(f"{state['method']} failed, from {path}")
else:
    sys.exit(0)
with open(path) as file:
    state = json.load(file)
METHOD, SETTINGS = state["method"], state["settings"]


def rows(flat):
    """A flat list, normal cell first, as a list of edges for each type of cell."""
    flat, cells = iter(flat), []
    for edges in state["edges"]:
        cells.append([torch.tensor([next(flat) for _ in names]) for names in edges])
    return cells


def node_rows(flat):
    """What is behind the alphas in a flat list: a list of nodes for each type of cell."""
    flat = iter(flat[sum(len(names) for edges in state["edges"] for names in edges):])
    return [[torch.tensor([next(flat) for _ in range(node + 2)]) for node in range(state["nodes"])] for _ in state["edges"]]


def images(batch):
    x = torch.tensor(batch["images"]).reshape(batch["n"], batch["height"], batch["width"], batch["channels"])
    return x.permute(0, 3, 1, 2).contiguous(), torch.tensor(batch["labels"])


class PartialMixed(peer.MixedOp):
    """A part of the channels through the operations, the others past them; then channels of all parts in turn."""
    def __init__(self, names, c, stride):
        super().__init__(names, c // state["share"], stride)
        self.stride = stride

    def forward(self, x, weights):
        n, c, share = len(x), x.shape[1], state["share"]
        y = super().forward(x[:, :c // share], weights)
        rest = x[:, c // share:]
        y = torch.cat([y, F.max_pool2d(rest, 2, 2) if self.stride == 2 else rest], 1)
        return y.reshape(n, share, c // share, *y.shape[2:]).transpose(1, 2).reshape(n, c, *y.shape[2:])


def partial_forward(cell, s0, s1, weights):
    states, edge = [cell.preprocess0(s0), cell.preprocess1(s1)], 0
    alpha, beta = weights
    for node in range(cell.nodes):
        states.append(sum(b * cell._ops[edge + j](states[j], alpha[edge + j]) for j, b in enumerate(beta[node])))
        edge += node + 2
    return torch.cat(states[2:], 1)


if METHOD == "pc-darts":
    peer.MixedOp, peer.Cell.forward = PartialMixed, partial_forward

# DARTS- has an operation more on each edge.
auxiliary = ["skip_connect"] if METHOD == "darts-minus" else []
net = Supernet(*[[names + auxiliary for names in edges] for edges in state["edges"]], state["nodes"], state["channels"], state["cells"], 10, state["train"]["channels"])
mine = lambda name: name.replace(".op.", ".")
weights = dict(net.named_parameters())
for name, values in state["weights"].items():
    with torch.no_grad():
        weights[mine(name)].copy_(torch.tensor(values).reshape(weights[mine(name)].shape))
assert len(weights) == len(state["weights"])
net.train()

alphas = rows(state["alphas"])
betas = node_rows(state["alphas"]) if METHOD == "pc-darts" else []
flat = [alpha.requires_grad_() for cell in alphas + betas for alpha in cell]
adam = torch.optim.Adam(flat, SETTINGS["alpha_lr"], betas=(0.5, 0.999), weight_decay=SETTINGS["alpha_l2"])
each = lambda values: (r for c in rows(values) + (node_rows(values) if betas else []) for r in c)
for alpha, m, v in zip(flat, each(state["adam_m"]), each(state["adam_v"])):
    adam.state[alpha] = {"step": torch.tensor(float(state["adam_t"])), "exp_avg": m, "exp_avg_sq": v}
sgd = torch.optim.SGD(weights.values(), SETTINGS["lr"], momentum=0.9, weight_decay=SETTINGS["l2"])
for name, values in state["momentum"].items():
    weight = weights[mine(name)]
    sgd.state[weight] = {"momentum_buffer": torch.tensor(values).reshape(weight.shape)}

x_train, y_train = images(state["train"])
x_valid, y_valid = images(state["valid"])
softmax = lambda cells: [[alpha.softmax(0) for alpha in cell] for cell in cells]
loss = lambda p, x, y: F.cross_entropy(net.mixed(x, p), y)
train_loss = lambda p: loss(p, x_train, y_train)
valid_loss = lambda p: loss(p, x_valid, y_valid)


def alpha_step(gradient):
    for alpha, g in zip(flat, gradient):
        alpha.grad = g.detach()
    adam.step()


def weight_step(p):
    net.zero_grad(set_to_none=False)
    # PC-DARTS has rows of edges beside those of operations.
    fixed = list(p) if METHOD == "pc-darts" else [[edge.detach() for edge in cell] for cell in p]
    gradient = torch.autograd.grad(train_loss(fixed), list(weights.values()), allow_unused=True)
    for weight, g in zip(weights.values(), gradient):
        weight.grad = torch.zeros_like(weight) if g is None else g
    torch.nn.utils.clip_grad_norm_(list(weights.values()), SETTINGS["clip"])
    sgd.step()


def darts():
    alpha_step(torch.autograd.grad(valid_loss(softmax(alphas)), flat))
    weight_step(softmax(alphas))


def clipped(cells):
    """Back to the simplex, as Network.clip of the released code."""
    def edge(p):
        most = int(p.argmax())
        p = p.clamp(0, 1)
        if p.sum() == 0:
            p[most] = 1
        return p / p.sum()
    return [[edge(p.detach().clone()) for p in cell] for cell in cells]


def sdarts(attack):
    alpha_step(torch.autograd.grad(valid_loss(softmax(alphas)), flat))
    clean = [[p.detach() for p in cell] for cell in softmax(alphas)]
    size, steps = SETTINGS["epsilon"], SETTINGS["attack_steps"]
    start = rows(state["uniform"])
    p = clipped([[p + size * d for p, d in zip(*pair)] for pair in zip(clean, start)])
    if attack:
        before = train_loss(clean).item()
        for _ in range(steps):
            leaves = [[edge.clone().requires_grad_() for edge in cell] for cell in p]
            list_of = [edge for cell in leaves for edge in cell]
            gradient = iter(torch.autograd.grad(train_loss(leaves), list_of))
            moved = [[edge.detach() + 2 * size / steps * next(gradient).sign() for edge in cell] for cell in leaves]
            p = clipped([[c + (m - c).clamp(-size, size) for m, c in zip(*pair)] for pair in zip(moved, clean)])
        if before > train_loss(p).item():
            p = clean
    weight_step(p)


def darts_minus():
    beta = torch.tensor([SETTINGS["auxiliary"]])
    helped = lambda: [[torch.cat([p, beta]) for p in cell] for cell in softmax(alphas)]
    alpha_step(torch.autograd.grad(valid_loss(helped()), flat))
    weight_step(helped())


def gdas():
    def drawn(noise):
        cells, soft = [], [[((a + g) / SETTINGS["temperature"]).softmax(0) for a, g in zip(*pair)]
                           for pair in zip(alphas, rows(noise))]
        for cell in soft:
            cells.append([F.one_hot(q.argmax(), len(q)).to(q) - q.detach() + q for q in cell])
        return cells

    def only_the_drawn(cells):
        """The other branches are not computed: neither their value nor a gradient."""
        keep = lambda p: torch.where(p.detach() > 0.5, p, torch.zeros_like(p))
        return [[keep(p) for p in cell] for cell in cells]

    alpha_step(torch.autograd.grad(valid_loss(only_the_drawn(drawn(state["gumbel"][0]))), flat))
    weight_step([[p.detach().round() for p in cell] for cell in only_the_drawn(drawn(state["gumbel"][1]))])


def a2m():
    uphill = torch.autograd.grad(valid_loss(softmax(alphas)), flat, create_graph=True)
    ends, at = [len(cell) for cell in alphas], iter(uphill)
    moved = [[a + SETTINGS["rho"] * next(at) for a in cell] for cell in alphas]
    assert [len(cell) for cell in moved] == ends
    alpha_step(torch.autograd.grad(valid_loss(softmax(moved)), flat))
    weight_step(softmax(alphas))


def darts_pt():
    """A step between two decisions: rows of decided edges are one-hot, those of edges that are gone zero."""
    def projected():
        def row(p, decided):
            if decided == -1:
                return p
            return torch.zeros_like(p) if decided == -2 else F.one_hot(torch.tensor(decided), len(p)).to(p)
        return [[row(*pair) for pair in zip(*cell)] for cell in zip(softmax(alphas), state["selected"])]

    if METHOD == "darts-pt":
        alpha_step([torch.zeros_like(a) if g is None else g for a, g in
                    zip(flat, torch.autograd.grad(valid_loss(projected()), flat, allow_unused=True))])
    weight_step(projected())


def pc_darts():
    weights_of = lambda: list(zip(softmax(alphas), softmax(betas)))
    alpha_step(torch.autograd.grad(valid_loss(weights_of()), flat))
    weight_step([[e.detach() for e in part] for part in kind] for kind in weights_of())


class Drawn(torch.autograd.Function):
    """A draw from a Dirichlet distribution that is given; it moves with the concentrations c by implicit derivatives."""
    @staticmethod
    def forward(ctx, c, x):
        ctx.save_for_backward(c, x)
        return x.clone()

    @staticmethod
    def backward(ctx, x_bar):
        c, x = ctx.saved_tensors
        rates = torch.stack([rate(x[j], c[j], c.sum() - c[j]) for j in range(len(c))])
        return rates * (x_bar - (x * x_bar).sum()), None


def rate(x, a, b):
    """-dF/da / (F' (1 - x)) of Beta(a, b), F by its power series, whose derivative is autograd's."""
    with torch.enable_grad():
        if x > 0.7:
            # F(x; a, b) = 1 - F(1 - x; b, a); the second parameter moves.
            moving = a.detach().clone().requires_grad_()
            return torch.autograd.grad(beta_cdf(1 - x, b.detach(), moving), moving)[0] / density(x, a, b) / (1 - x)
        moving = a.detach().clone().requires_grad_()
        return -torch.autograd.grad(beta_cdf(x, moving, b.detach()), moving)[0] / density(x, a, b) / (1 - x)


def log_beta(a, b):
    return torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)


def density(x, a, b):
    return torch.exp((a - 1) * torch.log(x) + (b - 1) * torch.log1p(-x) - log_beta(a, b))


def beta_cdf(x, a, b):
    n = torch.arange(400.0)
    # The coefficient n is the product of (k - b) / k x over k = 1 to n.
    factors = torch.cat([torch.ones(1), (n[1:] - b) / n[1:] * x])
    return torch.exp(a * torch.log(x) - log_beta(a, b)) * (factors.cumprod(0) / (a + n)).sum()


def drnas():
    def lists(values):
        return rows([v for kind in values for v in kind])

    def divergence():
        uniform = lambda c: torch.distributions.Dirichlet(torch.ones_like(c))
        return sum(torch.distributions.kl_divergence(torch.distributions.Dirichlet(F.elu(a) + 1), uniform(a))
                   for cell in alphas for a in cell)

    first, second = lists(state["draws"][:2]), lists(state["draws"][2:])
    drawn = [[Drawn.apply(F.elu(a) + 1, x) for a, x in zip(*pair)] for pair in zip(alphas, first)]
    alpha_step(torch.autograd.grad(valid_loss(drawn) + SETTINGS["anchor"] * divergence(), flat))
    weight_step(second)


{"drnas": drnas, "pc-darts": pc_darts, "darts": darts, "darts-pt": darts_pt, "darts-pt-fixed": darts_pt, "darts-minus": darts_minus, "sdarts-rs": lambda: sdarts(False), "sdarts-adv": lambda: sdarts(True), "gdas": gdas, "a2m": a2m}[METHOD]()
after = {name: weights[mine(name)].detach().reshape(-1).tolist() for name in state["weights"]}
print(json.dumps({"alphas": torch.cat([a.detach() for a in flat]).tolist(), "weights": after}))
