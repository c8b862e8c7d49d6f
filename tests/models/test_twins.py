"""Twins of real architectures: exact on every way, and structured where they have a structure."""

import pytest
import torch

import ntkscope as ntk
from oracles import module_ntk
from oracles.twins import TWINS

TOLERANCE = 1e-12  # of the kernel's largest entry, float64
N = 5


def made(name, n=N):
    build, draw, _ = TWINS[name]
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model, X = build().double().eval(), draw(n)
    parts = X if isinstance(X, tuple) else (X,)
    parts = tuple(t.double() if t.is_floating_point() else t for t in parts)
    return model, parts


def deviation(K, expected):
    return float((K.dense() - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("name", TWINS)
def test_a_twin_has_the_oracles_kernel(name):
    model, X = made(name)
    J = module_ntk.jacobian(model, *X)
    for reduce in ("trace", "full"):
        expected = module_ntk.kernel(J, reduce=reduce)
        assert deviation(ntk.empirical_ntk(model, X, reduce=reduce), expected) <= TOLERANCE
    expected = module_ntk.kernel(J)
    assert deviation(ntk.empirical_ntk(model, X, general=True), expected) <= TOLERANCE
    assert deviation(ntk.empirical_ntk(model, X, max_memory=1e6), expected) <= TOLERANCE
    few = tuple(t[:2] for t in X)
    cross = ntk.empirical_ntk(model, few, X)
    assert deviation(cross, module_ntk.kernel(J[:2], J)) <= TOLERANCE


@pytest.mark.parametrize("name", TWINS)
def test_a_twin_is_structured_where_it_has_a_structure(name):
    model, X = made(name)
    prefixes = TWINS[name][2]
    rows = ntk.plan_kernel(model, X).rows
    general = [row.name for row in rows if row.way.startswith("general")]
    assert [n for n in general if not n.startswith(prefixes or ("-",))] == []
    assert len({row.name for row in rows}) == len(dict(model.named_parameters()))
