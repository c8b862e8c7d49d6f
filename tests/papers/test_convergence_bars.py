"""Statements about the wide limit judge their sides within the errors of both kernels."""

from __future__ import annotations

import torch

import ntkscope as ntk
from ntkscope.papers.nguyen2021.convergence import convergence, unit_lambda, within_half
from ntkscope.statements.findings import Findings
from ntkscope.statements.quantity import quantity
from ntkscope.statements.shared.wide import unit_error, unit_kernel, wide

U = 2.0**-53


class Heard(Findings):
    """Findings that only remember the sides of what is compared."""

    def __init__(self):
        super().__init__()
        self.sides = {}

    def at_most(self, *arguments, key, **_):
        self.sides[key] = arguments[1:]

    def note(self, *_, **__):
        pass

    at_least = at_most
    scaling = hypothesis = table = note


def instance():
    net = ntk.Network([5, 30, 20, 1], "relu", "he")
    return ntk.Instance(net, ntk.data.sphere(6, 5, seed=1), samples=64, trials=4)


def test_the_error_of_the_unit_kernel_counts_both_factors():
    """Two operations for each neuron of an entry's sums, and the normalisation's."""
    i = instance()
    assert unit_error(i) >= 2 * (30 + 20) * U * float(unit_kernel(i).diagonal().sum())


def test_both_kernels_errors_are_in_what_is_compared():
    i, heard = instance(), Heard()
    convergence(i, heard)
    limit = wide(i).error(wide(i).K)
    both = unit_error(i) + limit
    norms = sum(float(torch.linalg.matrix_norm(K, 2)) for K in (unit_kernel(i), wide(i).K))
    assert limit > 0
    assert quantity(heard.sides["weyl"][1]).error >= both + 4 * 6 * U * norms * (1 - 1e-9)
    assert quantity(heard.sides["diagonal"][1]).error >= limit
    within_half(i, heard)
    for key in ("weyl-below", "weyl-above"):
        assert quantity(heard.sides[key][1]).error >= both
        assert quantity(heard.sides[key][0]).error >= unit_error(i)
    assert unit_lambda(i).error >= unit_error(i)
