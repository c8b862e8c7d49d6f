"""Fan and Wang 2020: the fixed point against the paper's recursion, closed forms, drawn spectra, our law."""

import math
import time

import numpy as np
import pytest
import torch
from tests.oracles.linear_width import ntk_transform
from tests.papers.lookup import only

import ntkscope as ntk
from ntkscope.papers.fanwang2020 import measured
from ntkscope.papers.fanwang2020.constants import constants_of, normalised
from ntkscope.papers.fanwang2020.law import LinearWidthLaw, linear_width_law
from ntkscope.prediction.finite_width import finite_width
from ntkscope.statements.outcomes import Outcome
from ntkscope.statements.registry import statements

UNIT = ("tanh", [1.0, 1.0, 1.0], "ntk")


def network(widths, activation="tanh"):
    return ntk.Network([*widths, 1], normalised(activation), [1.0] * len(widths), "ntk")


def marchenko_pastur(x, gamma):
    """Density of the eigenvalues of a sample covariance of n/γ rows, γ < 1."""
    low, high = (1 - math.sqrt(gamma)) ** 2, (1 + math.sqrt(gamma)) ** 2
    inside = np.maximum((high - x) * (x - low), 0.0)
    return np.sqrt(inside) / (2 * math.pi * gamma * x)


def one_layer(gamma):
    """X_1ᵀX_1 with a linear σ on orthonormal data."""
    return LinearWidthLaw(
        np.array([gamma]), np.ones(1), np.array([0.0, 1.0]), 0.0, np.ones(1), np.ones(1)
    )


@pytest.mark.parametrize("gamma", [0.1, 0.5, 0.9])
def test_one_linear_layer_is_marchenko_pastur(gamma):
    law = one_layer(gamma)
    low, high = (1 - math.sqrt(gamma)) ** 2, (1 + math.sqrt(gamma)) ** 2
    grid = np.linspace(low + 0.1 * (high - low), high - 0.1 * (high - low), 50)
    assert law.density(grid, 1e-9) == pytest.approx(marchenko_pastur(grid, gamma), rel=1e-6)
    assert law.edge() == pytest.approx(low, rel=1e-6)
    assert law.mean == 1.0
    # Tracy-Widom: E λ_min − edge = 1.2065 (√n − √p)(1/√n − 1/√p)^{1/3}/p at p = n/γ rows, up to its sign
    n, p = 1000.0, 1000.0 / gamma
    scale = (math.sqrt(p) - math.sqrt(n)) * abs(1 / math.sqrt(p) - 1 / math.sqrt(n)) ** (1 / 3) / p
    assert law.edge(n) - law.edge() == pytest.approx(1.2065335745820 * scale, rel=3e-3)


def test_a_wide_linear_layer_over_random_data_is_a_free_product():
    # X_1ᵀX_1 of a linear σ on random data: moments of MP ⊠ MP are 1 + γ_0 + γ_1 at order 2
    law = LinearWidthLaw(np.array([0.7, 0.4]), np.array([0.0, 1.0]), np.array([0.0, 0.0, 1.0]), 0.0,
                         np.zeros(1), np.ones(1))  # fmt: skip
    t = 1e4  # n^{-1} tr (K + t)^{-1} = 1/t − m_1/t² + m_2/t³ − …
    found = (law.resolvent_trace(t) - 1 / t + 1 / t**2) * t**3
    assert found == pytest.approx(1 + 0.7 + 0.4, rel=1e-2)


@pytest.mark.parametrize("z", [0.5 + 0.3j, -0.7 + 0.05j, 2.0 + 0.5j])
@pytest.mark.parametrize("widths", [(30, 40), (30, 20, 50)])
def test_the_papers_recursion_gives_the_same_transform(widths, z):
    net = network(widths)
    X = ntk.data.sphere(25, widths[0], seed=0)
    atoms = torch.linalg.eigvalsh(X @ X.T / widths[0]).numpy()
    layer = constants_of(net).layers[0]
    slow = ntk_transform(z, [25 / w for w in widths[1:]], layer.b, layer.a, atoms)
    assert linear_width_law(net, 25, atoms).stieltjes(z) == pytest.approx(slow, rel=1e-9)


def test_the_constants_at_unit_weights_and_the_papers_normalisation():
    made = constants_of(network((50, 60, 70, 80)))
    a, b = made.layers[0].a, made.layers[0].b
    assert all(abs(layer.mean) < 1e-12 for layer in made.layers)
    assert [layer.a for layer in made.layers] == pytest.approx([a] * 3)
    assert made.q == pytest.approx([b**6, b**4, b**2, 1.0])
    assert made.shift == pytest.approx(a**3 + a**2 + a - b**6 - b**4 - b**2)
    assert b < 1 < a


@pytest.mark.parametrize(("init", "parameterization"), [
    ([1.0, 1.0, 1.0], "ntk"), ([0.7, 1.3, 0.6], "ntk"), ("he", "standard"), ([0.1, 0.05, 0.3], "standard"),
])  # fmt: skip
def test_any_weights_and_either_parameterization(init, parameterization):
    """The traces of the layers' terms are those of the constants: every factor counts."""
    net = ntk.Network([400, 700, 600, 1], "tanh", init, parameterization)
    X = ntk.data.sphere(100, 400, seed=3)
    made = constants_of(net)
    expected = [
        f * math.prod(layer.a for layer in made.layers[l:]) for l, f in enumerate(made.factors)
    ]
    found = np.mean(
        [
            [t.dense().diagonal().mean() for t in ntk.empirical_ntk(net.sample(s), X).terms]
            for s in range(4)
        ],
        0,
    )
    assert found == pytest.approx(expected, rel=0.08)
    assert linear_width_law(net, 100).mean == pytest.approx(sum(expected))


@pytest.mark.parametrize("layers", [2, 3, 5])
def test_densities_against_drawn_spectra(layers):
    n = 500
    net = measured.network(n, layers)
    X = ntk.data.Sphere(net.dim).sample(n, 0)
    # a read-out of ±1: the norm of a Gaussian one moves the kernel by √(2/n)
    weights = [w.detach() for w in net.sample(1).weights]
    K = ntk.empirical_ntk(ntk.MLP(net, [*weights[:-1], weights[-1].sign()]), X)
    for which, matrix in (("ntk", K.dense()), ("ck", K.term(len(K.terms) - 1).dense())):
        law = linear_width_law(net, n, kernel=which)
        values = torch.linalg.eigvalsh(matrix).numpy()
        mean = law.mean
        for share in (1.0, 0.2):
            drawn = float((1 / (values + share * mean)).mean())
            assert law.resolvent_trace(share * mean) == pytest.approx(drawn, rel=0.03)
        grid = mean * np.geomspace(0.5, 20, 400)
        above = 1 - (values[:, None] < grid).mean(0)
        density = law.density(grid)
        tail = np.concatenate(
            [np.cumsum((0.5 * (density[1:] + density[:-1]) * np.diff(grid))[::-1])[::-1], [0]]
        )
        assert np.abs(tail - above).max() < 0.03


def test_the_whole_law_has_mass_one_and_mean_of_the_trace():
    law = linear_width_law(measured.network(300, 4), 300)
    grid = np.geomspace(0.8 * law.edge(), 60 * law.mean, 4000)
    density = law.density(grid, 1e-5)
    assert np.trapezoid(density, grid) == pytest.approx(1, abs=0.01)
    assert np.trapezoid(density * grid, grid) == pytest.approx(law.mean, rel=0.02)
    assert law.below(grid, 1e-5)[-1] == pytest.approx(1, abs=0.01)


def test_the_edge_is_where_the_density_starts():
    law = linear_width_law(measured.network(300, 3), 300)
    edge = law.edge()
    low, high = law.density(np.array([0.99, 1.01]) * edge, 1e-7)
    assert high > 1e3 * low
    assert law.inverse(1e-3) < law.inverse(1.0) < edge < law.edge(300)


def test_r_plus_is_the_edge_where_the_ranks_fall_short():
    narrow = network((100, 150, 100))
    shift = constants_of(narrow).shift
    assert linear_width_law(narrow, 400).edge() == pytest.approx(shift, rel=1e-6)
    assert linear_width_law(narrow, 300).edge() > 1.001 * shift
    # an even σ has b = 0 and hands nothing on: only the last layer's rank counts
    even = normalised(ntk.activations.custom(lambda z: z * z, name="square"))
    net = ntk.Network([300, 300, 100, 1], even, [1.0] * 3, "ntk")
    assert constants_of(net).q == pytest.approx([0, 0, 1])
    assert linear_width_law(net, 200).edge() == pytest.approx(constants_of(net).shift, rel=1e-6)


@pytest.mark.parametrize("layers", [2, 3, 4])
def test_our_law_of_finite_widths_tends_to_theirs(layers):
    """docs/papers/fanwang2020.md has the proof; what is left falls with n."""
    gaps = []
    for n in (3_000, 300_000):
        net = measured.network(n, layers)
        gaps.append(abs(finite_width(net, n).value / linear_width_law(net, n).edge(n) - 1))
    assert gaps[1] < 0.004
    assert gaps[1] < 0.3 * gaps[0]


def test_a_density_of_400_points_at_four_layers_takes_two_seconds():
    net = measured.network(600, 4)
    X = ntk.data.Sphere(net.dim).sample(600, 0)
    law = linear_width_law(net, 600, torch.linalg.eigvalsh(X @ X.T / net.dim).numpy())
    grid = np.geomspace(law.edge() / 2, 20 * law.mean, 400)
    start = time.process_time()
    law.density(grid)
    assert time.process_time() - start < 2.0


def instance(widths=(40, 60, 50, 1), N=40, activation="tanh", init=None, law=None):
    law = law or ntk.data.Sphere(widths[0])
    net = ntk.Network(list(widths), activation, init or [1.0] * (len(widths) - 1), "ntk")
    return ntk.Instance(net, law.sample(N, 0), distribution=law, samples=64, trials=4)


def check(number, on):
    return ntk.check_all(on, [f"fanwang2020.{number}"])[0]


def test_statements_and_their_outcomes():
    assert {s.number for s in statements("fanwang2020")} == {
        "orthonormal", "conjugate-kernel", "tangent-kernel", "linearisation", "edge",
    }  # fmt: skip
    found = {s.number: s.check(instance()) for s in statements("fanwang2020")}
    assert {v.outcome for v in found.values()} == {Outcome.NEEDS_CONSTANT}
    for number in ("conjugate-kernel", "tangent-kernel"):
        for share in (1.0, 0.1):
            ratio = only(found[number].constants, key="resolvent", t=share).value.value
            assert ratio == pytest.approx(1, abs=0.12)
    assert only(found["edge"].claims, key="above-shift").holds
    assert only(found["edge"].constants, key="edge").value.value == pytest.approx(1, abs=0.4)


def test_the_remainder_of_the_linearisation_falls():
    sizes = [
        only(
            check("linearisation", instance((n, n, n, 1), n)).constants, key="frobenius"
        ).value.value
        for n in (40, 160)
    ]
    assert sizes[1] < 0.5 * sizes[0]


def test_relu_is_not_centred_and_says_so():
    found = check("edge", instance(activation="relu"))
    assert found.outcome is Outcome.DOES_NOT_APPLY
    assert found.failing[0].name == "E σ = 0"
    assert "relu" in found.failing[0].note
    assert any("σ − E σ" in note for note in found.notes)
    with pytest.raises(ValueError, match=r"not centred.*centre=True"):
        linear_width_law(ntk.Network([40, 50, 1], "relu", [1.0, 1.0], "ntk"), 30)


def test_centring_moves_few_eigenvalues_with_one_hidden_layer():
    n = 300
    net = ntk.Network([300, 450, 1], "relu", [1.0, 1.0], "ntk")
    X = ntk.data.Sphere(300).sample(n, 0)
    values = torch.linalg.eigvalsh(ntk.empirical_ntk(net.sample(0), X).dense()).numpy()
    law = linear_width_law(net, n, centre=True)
    # the mean's eigenvalue is n (E σ)² = n/2π and more, far above the law
    assert values[-1] > 0.9 * n / (2 * math.pi)
    assert values[-2] < 0.2 * values[-1]
    for share in (1.0, 0.2):
        t = share * law.mean
        assert law.resolvent_trace(t) == pytest.approx(float((1 / (values + t)).mean()), rel=0.03)


@pytest.mark.parametrize(("change", "message"), [
    ({"widths": [40, math.inf, 1]}, "finite widths"),
    ({"bias_std": 0.1}, "biases"),
    ({"weights": "rademacher"}, "Gaussian weights"),
    ({"widths": [40, 30, 3]}, "single output"),
])  # fmt: skip
def test_networks_without_a_law(change, message):
    made = {
        "widths": [40, 30, 1],
        "activation": "tanh",
        "parameterization": "ntk",
        "init": [1.0, 1.0],
        **change,
    }
    with pytest.raises(ValueError, match=message):
        linear_width_law(ntk.Network(**made), 20)


def test_bad_input():
    net = ntk.Network([40, 30, 1], "tanh", [1.0, 1.0], "ntk")
    with pytest.raises(ValueError, match="did you mean 'ck'"):
        linear_width_law(net, 20, kernel="cq")
    with pytest.raises(ValueError, match="two samples"):
        linear_width_law(net, 1)
    with pytest.raises(ValueError, match="Im z > 0"):
        linear_width_law(net, 20).stieltjes(1.0)
    with pytest.raises(ValueError, match="constant"):
        normalised(ntk.activations.custom(lambda z: 0 * z + 1, name="one"))


def test_what_the_figures_measure():
    found = measured.spectra(0, n=60, L=3)
    for which in ("ck", "ntk"):
        total = sum(v for k, v in found.items() if k.startswith(f"{which}_"))
        assert total == pytest.approx(1)
    found = measured.edges(0, n=120, L=3)
    assert found["shift"] < found["edge"] < found["edge_n"]
    assert found["ours"] > 0
    assert measured.edges(0, n=60, L=2, gamma=2.0)["ours"] == 0.0
