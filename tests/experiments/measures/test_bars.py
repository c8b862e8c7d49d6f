"""Error bars of the quick paths, and the seeds of a trial's streams."""

from __future__ import annotations

import pytest
import torch

import ntkscope as ntk
from ntkscope.experiments.design.trial import streams
from ntkscope.experiments.measures import batched
from ntkscope.training.probes import tuple_of_extremes

U = 2.0**-53


@pytest.mark.parametrize("inner", [2, 1000])
def test_a_block_of_trials_has_the_bars_of_its_kernels(inner):
    """N u λ_max of LAPACK and γ_inner tr K of the entries, whose sums have ``inner`` operations."""
    K = torch.diag(torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64))
    made = batched._columns({"lambda_min", "lambda_max"}, K, K.diagonal(), inner, False)
    bar = 3 * U * 5.0 + inner * U * 8.0
    for name, value in (("lambda_min", 1.0), ("lambda_max", 5.0)):
        assert made[f"{name}.upper"] - value >= bar * 0.99
        assert value - made[f"{name}.lower"] >= bar * 0.99
        assert made[f"{name}.upper"] - value <= 1.1 * bar + 4 * U * value


def test_a_block_counts_the_longest_sum_behind_an_entry():
    network = ntk.Network([3, 50, 20, 1], "tanh", "lecun")
    model = network.sample(0)
    weights = [w.detach()[None] for w in model.weights]
    X = ntk.data.gaussian(4, 3, seed=0)
    K, inner = batched.ntk(network, weights, X[None])
    assert inner >= 50 + 20 + 3
    kernel = ntk.empirical_ntk(model, X)
    assert float((K[0] - kernel.dense()).abs().max()) <= 2 * inner * U * float(
        K[0].diagonal().max()
    )


def test_a_probe_s_ends_have_the_error_of_the_kernel_and_of_lapack():
    K = ntk.empirical_ntk(
        ntk.Network([3, 40, 1], "tanh", "lecun").sample(0), ntk.data.gaussian(6, 3, seed=0)
    )
    eigenvalues = torch.linalg.eigvalsh(K.dense())
    bar = K.forming_error() + 6 * U * float(eigenvalues[-1])
    for end, found in zip((0, -1), tuple_of_extremes(K, eigenvalues, 0.0), strict=True):
        assert found.upper - float(eigenvalues[end]) >= bar * 0.99
        assert float(eigenvalues[end]) - found.lower >= bar * 0.99
        assert found.error <= 1.1 * bar + 4 * U * float(eigenvalues[-1])


@pytest.mark.parametrize("name", ["weights", "data"])
def test_streams_depend_on_the_network_the_data_the_seed_and_their_name(name):
    base = {"network": {"widths": [3, 5, 1]}, "data": {"spec": "a"}, "quantities": ["trace"]}
    seed = streams(base, 0, name)
    assert streams({**base, "quantities": ["lambda_min"]}, 0, name) == seed
    for other in (
        {**base, "network": {"widths": [3, 6, 1]}},
        {**base, "data": {"spec": "b"}},
        {**base, "arguments": {"x": 1}},
    ):
        assert streams(other, 0, name) != seed
    assert streams(base, 1, name) != seed
    assert streams(base, 0, "weights") != streams(base, 0, "data")
