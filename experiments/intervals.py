"""Means, correlations and their intervals at 95 %, for the scripts beside and below this file."""
import math

# Two-sided 5 % quantiles of Student's distribution for 1, 2, ... degrees of freedom.
STUDENT = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262]


def spread(values):
    """`mean ± half the interval` of the mean."""
    n = len(values)
    mean = sum(values) / n
    if n < 2:
        return f"{mean:.2f}"
    deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / (n - 1))
    return f"{mean:.2f} ± {STUDENT[n - 2] * deviation / math.sqrt(n):.2f}"


def pearson(a, b):
    ma, mb = sum(a) / len(a), sum(b) / len(b)
    top = sum((x - ma) * (y - mb) for x, y in zip(a, b))
    return top / math.sqrt(sum((x - ma) ** 2 for x in a) * sum((y - mb) ** 2 for y in b))


def ranks(values):
    """Ranks from 1 on, ties sharing their mean."""
    order = sorted(values)
    return [(2 * order.index(v) + order.count(v) + 1) / 2 for v in values]


def spearman(a, b):
    return pearson(ranks(a), ranks(b))


def interval(r, n, rank):
    """`r (low to high)` by Fisher's formula, for ranks with the deviation of Bonett and Wright."""
    half = 1.96 * math.sqrt((1 + r * r / 2 if rank else 1) / (n - 3))
    return f"{r:.2f} ({math.tanh(math.atanh(r) - half):.2f} to {math.tanh(math.atanh(r) + half):.2f})"
