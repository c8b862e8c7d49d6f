"""The wide limit of a small ReLU network of images, pair of pixels by pair of pixels.

A network is a list of layers on square images of one channel count:

    ("conv", size, stride, padding, n, β², b², bias)      ("relu",)      ("pool", k)
    ("flatten", n, β², b², bias)                          ("scale", s)   ("groupnorm", ε)
    ("sum", [layers], [layers])                           ("abs",)

n the inputs a channel, bias whether the layer has trained biases. Everything is carried as
dictionaries (i, j) → S[p, p′] in mpmath's arithmetic, with ρ and arccos as the textbooks have them.
"""

from __future__ import annotations

from mpmath import mp, mpf


def kernels(layers, X, digits=40):
    """(NTK, NNGP) for X of shape (N, c, s, s), nested lists of mpf; one output, "standard"."""
    with mp.workdps(digits):
        state = _input(X)
        for layer in layers:
            state = _layer(layer, state)
        S, T, size = state
        assert size == 1
        N = len(X)
        return (
            [[T[i, j][0, 0, 0, 0] for j in range(N)] for i in range(N)],
            [[S[i, j][0, 0, 0, 0] for j in range(N)] for i in range(N)],
        )


def _pixels(size):
    return [(y, x) for y in range(size) for x in range(size)]


def _input(X):
    size = len(X[0][0])
    S, T = {}, {}
    for i, a in enumerate(X):
        for j, b in enumerate(X):
            S[i, j], T[i, j] = {}, {}
            for y, x in _pixels(size):
                for v, w in _pixels(size):
                    total = mpf(0)
                    for one, two in zip(a, b, strict=True):
                        total += mpf(float(one[y][x])) * mpf(float(two[v][w]))
                    S[i, j][y, x, v, w] = total / len(a)
                    T[i, j][y, x, v, w] = mpf(0)
    return S, T, size


def _layer(layer, state):
    return {
        "conv": _conv, "relu": _relu, "abs": _absolute, "pool": _pool, "flatten": _flatten,
        "scale": _scale, "groupnorm": _groupnorm, "sum": _sum,
    }[layer[0]](state, *layer[1:])  # fmt: skip


def _conv(state, window, stride, padding, n, beta2, b2, bias):
    S, T, size = state
    out = (size + 2 * padding - window) // stride + 1

    def patch_sum(M, y, x, v, w):
        total = mpf(0)
        for dy in range(window):
            for dx in range(window):
                place = (
                    y * stride + dy - padding, x * stride + dx - padding,
                    v * stride + dy - padding, w * stride + dx - padding,
                )  # fmt: skip
                total += M.get(place, mpf(0))
        return total

    return _weights(S, T, out, patch_sum, n, beta2, b2, bias)


def _weights(S, T, out, gather, n, beta2, b2, bias):
    new_S, new_T = {}, {}
    for pair in S:
        new_S[pair], new_T[pair] = {}, {}
        for p in _pixels(out):
            for q in _pixels(out):
                s, t = gather(S[pair], *p, *q), gather(T[pair], *p, *q)
                new_S[pair][*p, *q] = mpf(beta2) * n * s + mpf(b2)
                new_T[pair][*p, *q] = mpf(beta2) * n * t + n * s + (1 if bias else 0)
    return new_S, new_T, out


def _flatten(state, n, beta2, b2, bias):
    S, T, size = state

    def same_pixels(M, *_):
        return sum(M[*p, *p] for p in _pixels(size))

    return _weights(S, T, 1, same_pixels, n, beta2, b2, bias)


def _activation(state, dual):
    S, T, size = state
    new_S, new_T = {}, {}
    for i, j in S:
        new_S[i, j], new_T[i, j] = {}, {}
        for p in _pixels(size):
            for q in _pixels(size):
                norm = mp.sqrt(S[i, i][*p, *p] * S[j, j][*q, *q])
                rho = min(mpf(1), max(mpf(-1), S[i, j][*p, *q] / norm))
                value, slope = dual(rho)
                new_S[i, j][*p, *q] = norm * value
                new_T[i, j][*p, *q] = T[i, j][*p, *q] * slope
    return new_S, new_T, size


def _relu(state):
    def dual(rho):
        theta = mp.acos(rho)
        return (
            (mp.sin(theta) + (mp.pi - theta) * rho) / (2 * mp.pi),
            (mp.pi - theta) / (2 * mp.pi),
        )

    return _activation(state, dual)


def _absolute(state):
    def dual(rho):
        theta = mp.acos(rho)
        return (
            2 * (mp.sin(theta) + (mp.pi - theta) * rho) / mp.pi - rho,
            1 - 2 * theta / mp.pi,
        )

    return _activation(state, dual)


def _pool(state, k):
    S, T, size = state
    out = size // k

    def mean(M, y, x, v, w):
        window = [(a, b) for a in range(k) for b in range(k)]
        total = mpf(0)
        for a, b in window:
            for c, d in window:
                total += M[y * k + a, x * k + b, v * k + c, w * k + d]
        return total / k**4

    made = []
    for M in (S, T):
        made.append(
            {
                pair: {(*p, *q): mean(M[pair], *p, *q) for p in _pixels(out) for q in _pixels(out)}
                for pair in M
            }
        )
    return made[0], made[1], out


def _scale(state, s):
    S, T, size = state
    return *(
        {i: {p: v * mpf(s) ** 2 for p, v in m.items()} for i, m in M.items()} for M in (S, T)
    ), size


def _groupnorm(state, epsilon):
    """Without parameters of its own."""
    S, T, size = state
    v = {
        i: sum(S[i, i][*p, *p] for p in _pixels(size)) / size**2 + mpf(epsilon)
        for i, j in S
        if i == j
    }
    made = []
    for M in (S, T):
        made.append(
            {
                (i, j): {p: value / mp.sqrt(v[i] * v[j]) for p, value in m.items()}
                for (i, j), m in M.items()
            }
        )
    return made[0], made[1], size


def _sum(state, one, two):
    ends = []
    for branch in (one, two):
        end = state
        for layer in branch:
            end = _layer(layer, end)
        ends.append(end)
    (S, T, size), (S2, T2, size2) = ends
    assert size == size2
    return (
        {i: {p: S[i][p] + S2[i][p] for p in S[i]} for i in S},
        {i: {p: T[i][p] + T2[i][p] for p in T[i]} for i in T},
        size,
    )
