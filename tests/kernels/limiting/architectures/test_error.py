"""What a graph's bounds add up to, and what they remember of the pairs that were met."""

from __future__ import annotations

import math

import pytest
import torch

from ntkscope.kernels.limiting.architectures.error import joined, kernel_error
from ntkscope.kernels.limiting.architectures.graph import CHANNELS, Graph, Law, Layout, Node
from ntkscope.kernels.limiting.architectures.operation import Error, Operation, Seen
from ntkscope.kernels.limiting.architectures.pairs import Side

U = 2.0**-53
EPS = 2.0**-20  # beside which roundings vanish


class Adds(Operation):
    """An operation that is wrong by a given error beside those of its inputs."""

    kind = "adds"

    def __init__(self, own: Error) -> None:
        self.own = own

    def error(self, inputs, before, seen):
        del before, seen
        return Error(*(sum(values) for values in zip(self.own, *inputs, strict=True)))

    def variance(self, inputs, entries):
        raise NotImplementedError

    propagate = variance


def chain(*errors, positions=1):
    nodes = tuple(
        Node(
            k, Adds(e), (k - 1,) if k else (), Layout(3, (positions,), ((CHANNELS,), (0,))),
            Law.MIXED, "", frozenset(), frozenset(),
        )
        for k, e in enumerate(errors)
    )  # fmt: skip
    return Graph(nodes, len(nodes) - 1, frozenset(range(len(nodes))))


def test_a_kernel_s_error_is_that_of_its_last_node():
    graph = chain(Error(EPS, 2 * EPS, EPS, 4 * EPS), Error(8 * EPS, 0.0, 0.0, 16 * EPS))
    seen = {0: Seen(), 1: Seen(spread=3.0)}
    assert kernel_error(graph, seen, nngp=False) == pytest.approx(20 * EPS, rel=2e-3)
    # S = ½(V + V′) − D: D's relative error counts (spread + 1) times, the absolute one once, that
    # of θ ≤ π at most π times
    wanted = (9 * 4 + 2 + math.pi) * EPS
    assert kernel_error(graph, seen, nngp=True) == pytest.approx(wanted, rel=2e-3)
    assert kernel_error(graph, seen, nngp=False) >= 20 * EPS
    assert kernel_error(graph, seen, nngp=True) >= wanted


def test_reading_a_kernel_sums_its_positions():
    graph = chain(Error(0.0, 0.0, 0.0, 0.0), Error(0.0, 0.0, 0.0, 0.0), positions=100)
    assert 108 * U <= kernel_error(graph, {0: Seen(), 1: Seen()}, nngp=False) <= 109 * U


def test_the_widest_ratio_of_variances_is_remembered():
    graph = chain(Error(0.0, 0.0, 0.0, 0.0), Error(0.0, 0.0, 0.0, 0.0))

    def side(*variances, amplification=1.0):
        V = torch.tensor(variances, dtype=torch.float64)
        return Side([], variances={0: V, 1: V}, amplifications={1: amplification})

    seen: dict[int, Seen] = {}
    joined(seen, graph, side(0.0, 4.0, 1.0, amplification=3.0))
    assert seen[0] == Seen(0.5 * (2 + 1 / 2), 1.0, 4.0, 1.0)
    # a second side: the ratio is over both, and nothing is forgotten
    joined(seen, graph, side(2.0, 16.0, amplification=2.0))
    assert seen[1] == Seen(0.5 * (4 + 1 / 4), 1.0, 16.0, 3.0)
    joined(seen, graph, side(0.25))
    assert seen[0] == Seen(0.5 * (8 + 1 / 8), 0.25, 16.0, 1.0)
    dead: dict[int, Seen] = {}
    joined(dead, graph, side(0.0))
    assert (dead[0].spread, dead[0].lowest) == (1.0, math.inf)
