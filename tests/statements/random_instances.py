"""Random networks on random data, for the inequalities that must always hold."""

from __future__ import annotations

from hypothesis import strategies as st

import ntkscope as ntk
from ntkscope.data import (
    BinaryCube,
    Circle,
    Cube,
    EquispacedCircle,
    Gaussian,
    GeneratedImage,
    Sphere,
)

ACTIVATIONS = (
    "relu", "relu", "relu", "leaky_relu:alpha=0.2", "abs", "identity", "sigmoid", "tanh", "erf",
    "gelu", "silu", "softplus", "sin",
)  # fmt: skip
LAWS = (
    Gaussian, Gaussian, Sphere, Cube, lambda d: Cube(d, centered=False), BinaryCube,
    lambda d: BinaryCube(d, centered=False), lambda d: GeneratedImage(d),
)  # fmt: skip


INITS = ("he", "lecun", "unit", "bombari2022", "banerjee2023")


@st.composite
def instances(draw, inits=INITS, biases=(None,), equal=(False,), widest=60, trials=25):
    """An Instance: depth 2 to 5, widths 1 to 60, every activation, rule and distribution."""
    depth = draw(st.integers(2, 5))
    d = draw(st.integers(1, 20))
    hidden = [draw(st.integers(1, widest)) for _ in range(depth - 1)]
    if draw(st.sampled_from(equal)):
        hidden = [hidden[0]] * len(hidden)
    law = draw(st.sampled_from(LAWS))(d)
    if draw(st.integers(0, 9)) == 0:
        law, d = draw(st.sampled_from((Circle(), EquispacedCircle()))), 2
    known = draw(st.integers(0, 4)) > 0
    net = ntk.Network(
        [d, *hidden, 1],
        draw(st.sampled_from(ACTIVATIONS)),
        draw(st.sampled_from(inits)),
        draw(st.sampled_from(("standard", "standard", "ntk"))),
        weights=draw(st.sampled_from(("gaussian",) * 4 + ("uniform", "rademacher", "orthogonal"))),
        bias_std=draw(st.sampled_from(biases)),
    )
    N = draw(st.integers(1 if known else 2, 24))
    seed = draw(st.integers(0, 2**31))
    X = law.sample(N, seed + 1)
    return ntk.Instance(
        net, X, seed=seed, distribution=law if known else None, samples=256, trials=trials
    )


def violations(instance, paper, leave_out=()):
    """What fails although it must not, in words."""
    found = []
    for s in ntk.statements(paper):
        if s.id in leave_out:
            continue
        verdict = s.check(instance)
        found += [
            f"{verdict.id}: {c.name}: {c.left} {c.relation} {c.right}"
            for c in verdict.violations
            if not c.erratum
        ]
        found += [f"{verdict.id}: {r.to_dict()}" for r in verdict.missed if not r.erratum]
    return found
