"""The Lipschitz constant of a homogeneous network on the plane, in fractions from the first step on."""

import itertools
import math
from fractions import Fraction
from functools import cmp_to_key


def largest_square(matrices, low, high):
    """max ‖J‖² over the open sectors, as a float of the exact 2×2 Gram's largest eigenvalue.

    Every ray on which some neuron of some layer can vanish is found by cutting each sector at the exact
    zeros of its linear forms; a sector is open, so its middle ray decides every sign.
    """
    axes = [(Fraction(a), Fraction(b)) for a, b in ((1, 0), (0, 1), (-1, 0), (0, -1))]
    sectors = [(axes[i], axes[(i + 1) % 4], [axes[0], axes[1]]) for i in range(4)]
    layers = [[[Fraction(x) for x in row] for row in m.tolist()] for m in matrices]
    low, high = Fraction(low), Fraction(high)
    for rows in layers[:-1]:
        cut = []
        for start, end, features in sectors:
            forms = _forms(features, rows)
            inside = {
                _unit(r) for g in forms if g != (0, 0) for r in _zeros(g) if _between(start, r, end)
            }
            rays = [start, *sorted(inside, key=cmp_to_key(lambda a, b: -_sign(_det(a, b)))), end]
            for left, right in itertools.pairwise(rays):
                middle = tuple(a + b for a, b in zip(_unit(left), _unit(right), strict=True))
                step = []
                for g in forms:
                    slope = high if g[0] * middle[0] + g[1] * middle[1] > 0 else low
                    step.append((slope * g[0], slope * g[1]))
                cut.append((left, right, step))
        sectors = cut
    largest = 0.0
    for _, _, features in sectors:
        J = _forms(features, layers[-1])
        a, b, c = sum(x * x for x, _ in J), sum(x * y for x, y in J), sum(y * y for _, y in J)
        largest = max(largest, float(a + c) / 2 + math.sqrt(float((a - c) ** 2 / 4 + b * b)))
    return largest


def _forms(features, rows):
    return [
        tuple(sum(f[i] * row[j] for f, row in zip(features, rows, strict=True)) for i in (0, 1))
        for j in range(len(rows[0]))
    ]


def _zeros(g):
    return ((-g[1], g[0]), (g[1], -g[0]))


def _det(a, b):
    return a[0] * b[1] - a[1] * b[0]


def _sign(x):
    return (x > 0) - (x < 0)


def _between(start, ray, end):
    return _det(start, ray) > 0 and _det(ray, end) > 0


def _unit(v):
    """The same ray with |x| + |y| = 1, so that equal rays are equal."""
    size = abs(v[0]) + abs(v[1])
    return (v[0] / size, v[1] / size)
