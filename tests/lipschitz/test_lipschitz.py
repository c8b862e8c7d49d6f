"""Intervals for the Lipschitz constants of feature maps, against enumeration and linear programs."""

import itertools
import json
import math
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

import ntkscope as ntk
from ntkscope.lipschitz import feature_map, slope_range, theorem_scaling
from ntkscope.lipschitz.upper import upper_bounds
from oracles.sectors import largest_square

ACTIVATIONS = ["relu", "leaky_relu:alpha=0.2", "abs", "tanh", "sigmoid", "gelu", "softplus", "sin"]


def cells_by_linear_programs(W, b):
    """Sign patterns of x ↦ Wᵀx + b with a nonempty open cell: one linear program a pattern."""
    d, n = W.shape
    found = []
    for signs in itertools.product([-1.0, 1.0], repeat=n):
        s = np.array(signs)
        # maximise t with s_j (W_jᵀx + b_j) ≥ t, |x| ≤ 1e3, t ≤ 1
        A = np.hstack([-(s[:, None] * W.T), np.ones((n, 1))])
        r = linprog(
            np.r_[np.zeros(d), -1.0], A_ub=A, b_ub=s * b,
            bounds=[(-1e3, 1e3)] * d + [(None, 1.0)],
        )  # fmt: skip
        if r.status == 0 and -r.fun > 1e-9:
            found.append(s > 0)
    return found


@pytest.mark.parametrize(
    ("widths", "bias"), [((3, 6, 2), None), ((2, 5, 3), 0.7), ((4, 3, 2), 0.5)]
)
@pytest.mark.parametrize("activation", ["relu", "leaky_relu:alpha=0.3"])
def test_one_hidden_layer_matches_linear_programs(widths, bias, activation):
    model = ntk.Network(widths, activation, bias_std=bias).sample(3)
    found = ntk.lipschitz_interval(model)
    W1, W2 = (w.detach().numpy() for w in model.weights)
    b = model.biases[0].detach().numpy() if bias else np.zeros(widths[1])
    low = 0.0 if activation == "relu" else 0.3
    oracle = max(
        np.linalg.norm(W1 @ np.diag(np.where(p, 1.0, low)) @ W2, 2)
        for p in cells_by_linear_programs(W1, b)
    )
    assert found.exact
    assert found.lower <= oracle * (1 + 1e-12)
    assert oracle * (1 - 1e-12) <= found.upper


@settings(deadline=None, max_examples=15)
@given(
    hidden=st.lists(st.integers(1, 12), min_size=1, max_size=3),
    activation=st.sampled_from(["relu", "leaky_relu:alpha=-0.4", "abs"]),
    seed=st.integers(0, 99),
)
def test_arcs_contain_every_jacobian_of_the_circle(hidden, activation, seed):
    model = ntk.Network([2, *hidden, 2], activation).sample(seed)
    found = ntk.lipschitz_interval(model)
    assert found.exact
    angles = torch.rand(300, generator=torch.Generator().manual_seed(seed)).double() * 2 * math.pi
    mapping = feature_map(model)
    norms = [
        float(torch.linalg.matrix_norm(mapping.jacobian(z), 2))
        for z in torch.stack([torch.cos(angles), torch.sin(angles)], dim=1)
    ]
    assert max(norms) <= found.upper
    # the arcs are visited, not merely bounded: a search starting everywhere comes as high
    assert max(norms) >= 0.2 * found.lower


@pytest.mark.parametrize(("widths", "seed"), [((2, 1, 1, 1), 269), ((2, 2, 5, 1), 43)])
def test_slivers_that_rounding_opens_are_no_cells(widths, seed):
    """One active neuron: the next layer vanishes on its own kink, where rounding puts a sliver."""
    model = ntk.Network(widths, "relu", "he").sample(seed)
    found = ntk.lipschitz_interval(model)
    truth = math.sqrt(largest_square([w.detach() for w in model.weights], 0, 1))
    assert found.exact
    assert found.lower <= truth * (1 + 1e-14)
    assert truth * (1 - 1e-14) <= found.upper
    assert found.upper < 0.221


@settings(deadline=None, max_examples=60)
@given(
    hidden=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    activation=st.sampled_from(["relu", "leaky_relu:alpha=-0.4", "leaky_relu:alpha=0.3", "abs"]),
    seed=st.integers(0, 10_000),
    grid=st.booleans(),
)
def test_sectors_match_fractions(hidden, activation, seed, grid):
    model = ntk.Network([2, *hidden, 2], activation).sample(seed)
    weights = [w.detach() for w in model.weights]
    if grid:  # small whole numbers: many rays coincide exactly
        weights = [(2 * w).round() for w in weights]
        model = ntk.MLP.from_weights([w.numpy() for w in weights], activation)
    found = ntk.lipschitz_interval(model)
    slopes = model.network.activation.derivative(torch.tensor([-1.0, 1.0]).double()).tolist()
    truth = math.sqrt(largest_square(weights, *slopes))
    assert found.exact
    assert found.lower <= truth * (1 + 1e-14)
    assert truth * (1 - 1e-14) <= found.upper
    assert found.upper - found.lower <= 1e-12 * found.uppers["product"]


@pytest.mark.parametrize("above", [True, False])
def test_one_layer_with_vertices_that_rounding_cannot_tell_apart(above):
    """Three lines that miss a common point by less than a unit in the last place.

    x > −0.1 and y > −0.2 with x + y > −c: the cell in which the last neuron is active alone exists
    exactly if c > 0.1 + 0.2 as stored; there ‖J‖ = 3√2, elsewhere √13 at most.
    """
    exact = Fraction(0.1) + Fraction(0.2)
    c = 0.1 + 0.2
    while (Fraction(c) > exact) != above or Fraction(c) == exact:
        c = math.nextafter(c, 1.0 if above else 0.0)
    model = ntk.MLP.from_weights(
        [np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]]), np.array([[1.0], [1.0], [-3.0]])],
        "relu", biases=[np.array([0.1, 0.2, c]), np.zeros(1)],
    )  # fmt: skip
    found = ntk.lipschitz_interval(model)
    truth = 3 * math.sqrt(2.0) if above else math.sqrt(13.0)
    assert found.exact
    assert found.lower <= truth <= found.upper
    assert found.pieces == 7


def test_one_layer_without_general_position_is_enclosed_by_bounds():
    model = ntk.MLP.from_weights(
        [np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]]), np.array([[1.0], [1.0], [-3.0]])],
        "relu", biases=[np.array([0.25, 0.5, 0.75]), np.zeros(1)],
    )  # fmt: skip
    found = ntk.lipschitz_interval(model)  # the three lines meet in a point
    assert not found.exact
    assert found.lower <= math.sqrt(13.0) * (1 + 1e-14)
    assert math.sqrt(13.0) <= found.upper


@settings(deadline=None, max_examples=12)
@given(
    widths=st.lists(st.integers(1, 10), min_size=3, max_size=5),
    activation=st.sampled_from(ACTIVATIONS),
    bias=st.sampled_from([None, 0.5]),
    seed=st.integers(0, 99),
)
def test_difference_quotients_lie_below_every_upper_bound(widths, activation, bias, seed):
    model = ntk.Network(widths, activation, bias_std=bias).sample(seed)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(200, widths[0], generator=generator).double()
    y = x + torch.randn(200, widths[0], generator=generator).double() * 10 ** torch.linspace(
        -3, 1, 200
    ).double().unsqueeze(1)
    with torch.no_grad():
        moved = torch.linalg.vector_norm(model(x) - model(y), dim=1)
    quotient = float((moved / torch.linalg.vector_norm(x - y, dim=1)).max())
    bounds = upper_bounds(feature_map(model), steps=10)
    for name, bound in bounds.items():
        assert quotient <= bound * (1 + 1e-9), name
    found = ntk.lipschitz_interval(model, starts=8, steps=8)
    assert found.lower <= found.upper
    assert quotient <= found.upper * (1 + 1e-9)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_slope_range_is_met_and_kept(activation):
    phi = ntk.activations.activation(activation)
    low, high = slope_range(phi)
    slopes = phi.derivative(torch.linspace(-40, 40, 400001, dtype=torch.float64))
    assert low - 1e-12 <= float(slopes.min())
    assert float(slopes.max()) <= high + 1e-12
    assert float(slopes.max()) >= high - 1e-6
    assert float(slopes.min()) <= low + 1e-6


def test_search_reaches_the_exact_constant():
    model = ntk.Network([2, 12, 12, 3], "relu").sample(1)
    exact = ntk.lipschitz_interval(model)
    from ntkscope.lipschitz.ascent import largest_jacobian

    found = largest_jacobian(feature_map(model), starts=64, steps=60)
    assert 0.98 * exact.lower <= found.value <= exact.upper
    value = float(torch.linalg.matrix_norm(feature_map(model).jacobian(found.z), 2))
    assert value == pytest.approx(found.value, rel=1e-9)


def test_sub_map_identity_and_tanh_at_zero():
    linear = ntk.Network([5, 7, 6, 1], "identity").sample(0)
    W = [w.detach() for w in linear.weights]
    whole = ntk.lipschitz_interval(linear)
    assert whole.exact
    assert whole.upper == pytest.approx(float(torch.linalg.matrix_norm(W[0] @ W[1] @ W[2], 2)))
    part = ntk.lipschitz_interval(linear, 2, start=1)
    assert part.upper == pytest.approx(float(torch.linalg.matrix_norm(W[1], 2)))
    # tanh′ ≤ tanh′(0) = 1, so in one hidden layer of one neuron the origin is the maximum
    model = ntk.Network([4, 1, 3], "tanh").sample(0)
    W1, W2 = (w.detach() for w in model.weights)
    found = ntk.lipschitz_interval(model)
    assert found.lower == pytest.approx(float(torch.linalg.matrix_norm(W1 @ W2, 2)), rel=1e-6)


def test_residual_network_is_enclosed():
    model = ntk.Network([2, 2, 2, 1], "relu", residual=0.5).sample(0)
    found = ntk.lipschitz_interval(model)
    assert found.exact
    assert found.upper <= found.uppers["product"] * (1 + 1e-9)


def test_scaling_of_theorem_6_2():
    net = ntk.Network([10, 40, 20, 1], "relu", init=[0.1, 0.2, 0.3])
    # k = 2: n_0 n_1 n_2 / min · log n_1 · β_1² β_2²
    expected = math.sqrt(10 * 40 * 20 / 10 * math.log(40) * 0.01 * 0.04)
    assert theorem_scaling(net, 2) == pytest.approx(expected)
    assert theorem_scaling(ntk.MLP.from_weights([np.eye(2), np.eye(2)]).network, 1) is None


def test_bad_input():
    model = ntk.Network([3, 4, 1]).sample(0)
    with pytest.raises(ValueError, match="0 ≤ start < layer ≤ L = 2"):
        ntk.lipschitz_interval(model, 3)
    with pytest.raises(ValueError, match="2 features, the network takes 3"):
        ntk.lipschitz_interval(ntk.Network([3, 40, 40, 1]).sample(0), X=np.ones((4, 2)))
    unknown = ntk.Network([3, 4, 1], lambda z: z**3).sample(0)
    assert ntk.lipschitz_interval(unknown, starts=4, steps=2).upper == math.inf


def test_command(tmp_path):
    out = tmp_path / "l.json"
    subprocess.run(
        [sys.executable, "-m", "ntkscope", "lipschitz", "--widths", "2,6,1", "--out", str(out)],
        check=True, capture_output=True,
    )  # fmt: skip
    first, second = json.loads(out.read_text())["intervals"]
    assert first["exact"]
    assert second["exact"]
    assert second["lower"] <= second["upper"]
