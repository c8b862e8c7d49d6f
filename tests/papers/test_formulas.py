"""Nguyen et al. and Banerjee et al. by plain arithmetic: widths and variances that differ in every layer, so
that a wrong index, exponent or constant shows."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import ntkscope as ntk
from ntkscope.papers.banerjee2023 import hypotheses
from ntkscope.papers.banerjee2023.draws import theorem_promise
from ntkscope.papers.banerjee2023.hessian import explicit_c_H
from ntkscope.papers.banerjee2023.layers import layers
from ntkscope.papers.banerjee2023.lemmas import scaled_v
from ntkscope.papers.banerjee2023.spectral_ball import hessian_bound
from ntkscope.statements.shared import chains, scales, tails
from ntkscope.statements.shared.relu import relu_coefficient
from papers.lookup import close, only, verdict

N, D = 5, 3
WIDTHS = (D, 7, 5, 11, 1)
BETAS = (0.5, 1.25, 0.75, 2.0)  # of W_1, …, W_4
SQ = tuple(b * b for b in BETAS)
MU2 = 1 / math.sqrt(4 * math.pi)  # μ_2 of ReLU


@pytest.fixture(scope="module")
def relu():
    law = ntk.data.Gaussian(D)
    net = ntk.Network(WIDTHS, "relu", list(BETAS))
    return ntk.Instance(net, law.sample(N, 1), seed=2, distribution=law, samples=64, trials=3)


@pytest.fixture(scope="module")
def tanh():
    """Three hidden layers, in Banerjee et al.'s units."""
    law = ntk.data.Sphere(D)
    net = ntk.Network((D, 8, 8, 8, 1), "tanh", "banerjee2023:sigma0_sq=1.5", "ntk")
    return ntk.Instance(net, law.sample(N, 1), seed=2, distribution=law, samples=64, trials=3)


# Nguyen et al. 2021


def test_the_sizes_that_the_scaling_statements_compare_with(relu):
    assert scales.features(relu, 2) == close(3 * (7 * SQ[0]) * (5 * SQ[1]))
    assert scales.features(relu, 2, 3) == close((3 * 7 * 5 * SQ[0] * SQ[1]) ** 3)
    assert scales.chain(relu, 1, 3) == close(7 * (5 * SQ[1]) * (11 * SQ[2]))
    assert scales.operator(relu, 2, 3) == close(7 * 5 * 11 / 5 * SQ[1] * SQ[2])
    assert scales.operator(relu, 1, 2) == close(3 * 7 * 5 / 3 * SQ[0] * SQ[1])
    expected = 3 * 7 * 5 * 11 / 3 * SQ[0] * SQ[1] * SQ[2] * math.log(7) * math.log(5)
    assert scales.lipschitz(relu, 0, 3) == close(expected)
    for k in range(1, 5):
        others = math.prod(s for l, s in enumerate(SQ, 1) if l != k)
        assert scales.kernel(relu, k) == close(3 * 7 * 5 * 11 * others)


def test_theorem_4_1_at_its_wide_layers(relu):
    found = verdict("nguyen2021", "theorem-4.1", relu)
    every = 3 * 7 * 5 * 11 * math.prod(SQ)
    gram = relu.lambda_features(0).value  # five samples in three dimensions: 0
    assert gram == 0
    # N = 5: layers 1, 2 and 3 have as many neurons, so W_2, W_3 and W_4 count
    lower = MU2**2 * every * (1 / SQ[1] + 1 / SQ[2] + 1 / SQ[3])
    assert only(found.constants, key="lower", r=2).predicted.value == close(lower)
    upper = every * sum(1 / s for s in SQ)
    assert only(found.constants, key="upper").predicted.value == close(upper)
    assert relu_coefficient(4) ** 2 == close(1 / (48 * math.pi))


def test_eq_28_and_lemma_4_3(relu):
    law = relu.distribution
    sizes = verdict("nguyen2021", "eq-28", relu)
    assert only(sizes.constants, key="features", k=2).predicted.value == close(105 * SQ[0] * SQ[1])
    fails = tails.input_norm(law) + sum(tails.relu_layer(n) for n in (7, 5))
    wide = ntk.Instance(ntk.Network((300, 900, 800, 1), "relu", "he"), torch.ones(1, 300),
                        distribution=ntk.data.Gaussian(300), samples=8, trials=1)  # fmt: skip
    assert only(sizes.events, key="features", k=2).promised == close(1 - min(1.0, fails))
    fails = tails.input_norm(wide.distribution) + tails.relu_layer(900) + tails.relu_layer(800)
    assert 0 < fails < 1
    event = only(verdict("nguyen2021", "eq-28", wide).events, key="features", k=2)
    assert event.promised == close(1 - fails)

    signals = verdict("nguyen2021", "lemma-4.3", relu)
    expected = SQ[3] * 7 * (5 * SQ[1]) * (11 * SQ[2])
    assert only(signals.constants, key="size", k=1).predicted.value == close(expected)
    B = chains.sigma_product(relu, 0, 2, 3)
    # Chebyshev: Var‖Bw‖² = 2‖BᵀB‖², within half of E‖Bw‖² = ‖B‖² but for 8‖BᵀB‖²/‖B‖⁴
    fails = 8 * float((B.T @ B).square().sum() / B.square().sum() ** 2)
    assert only(signals.events, key="chebyshev", k=2).promised == close(1 - fails)


def test_lemma_5_2_and_5_3(relu):
    features = relu.F(1)
    found = verdict("nguyen2021", "lemma-5.2", relu)
    lam = ntk.papers.nguyen2021.features.expected_lambda(relu, 2).value
    Q = SQ[1] * float(features.square().sum()) / lam
    name = "n_2 ≥ c Q max(1, log 4Q) log(N/δ)"
    (width,) = (h for h in found.hypotheses if h.name == name)
    assert width.threshold == close(Q * max(1.0, math.log(4 * Q)) * math.log(N / 0.1))
    assert width.measured == 5
    assert only(found.constants, key="size", k=2).predicted.value == close(5 * lam / 4)

    found = verdict("nguyen2021", "lemma-5.3", relu)
    least = float(torch.linalg.eigvalsh((features @ features.T) ** 4)[0])
    largest = float(features.square().sum(dim=1).max())
    expected = SQ[1] * least / (48 * math.pi) / largest**3
    assert only(found.conclusions, key="hermite", k=1, r=4).right.value == pytest.approx(
        expected, rel=1e-6
    )


def test_the_gradient_bound_is_attained_along_v_min(relu):
    """‖∇Φ‖² = rᵀKr = λ_min‖r‖² = 2λ_min Φ at the residual r = v_min."""
    found = verdict("nguyen2021", "eq-5", relu)
    tight = only(found.claims, key="bound", labels="F_L − Y = v_min")
    assert tight.left.value == pytest.approx(tight.right.value, rel=1e-6)
    assert found.outcome == "holds"


def test_the_width_conditions_name_the_layers_before(relu):
    """Eq. 18-19 at k = 3: log n_1 and the narrowest of n_0, n_1, n_2."""
    found = verdict("nguyen2021", "theorem-5.1", relu)
    named = {h.name: h for h in found.hypotheses}
    narrow = named["Π_(l≤1) log n_l = o(min_(l<3) n_l)"]
    assert (narrow.measured, narrow.threshold) == (close(math.log(7)), 3)
    assert named["n_3 = Ω(N log N log(N/δ))"].threshold == close(
        N * math.log(N) * math.log(N / 0.1)
    )


def test_the_limit_s_chain_of_app_b():
    law = ntk.data.Gaussian(20)
    on = ntk.Instance(ntk.Network((20, 30, 30, 1), "relu", "he"), law.sample(4, 3),
                      distribution=law, samples=64, trials=2)  # fmt: skip
    found = verdict("nguyen2021", "theorem-3.2", on)
    gram = on.X @ on.X.T
    norms, across = gram.diagonal(), (gram - torch.diag(gram.diagonal())).abs().max()
    chain = only(found.claims, key="hermite", r=2)
    least = float(torch.linalg.eigvalsh(gram**2)[0])
    assert chain.right.value == close(2 / (4 * math.pi) * least / float(norms.max()))
    circle = only(found.claims, key="gershgorin", r=4)
    assert circle.right.value == close(float(norms.min() ** 4 - 3 * across**4))
    assert only(found.claims, key="trace-value").outcome == "holds"
    upper, lower = (only(found.constants, key=key).predicted.value for key in ("upper", "lower"))
    assert (upper, lower) == (3 * 20, close(20 / (4 * math.pi)))


# Banerjee et al. 2023


def hermite_square(variances, r):
    """min_i (E φ(√a_i z) h_r(z))² a_i^{−r} for tanh, h_r the orthonormal polynomials."""
    z, w = np.polynomial.hermite_e.hermegauss(120)
    w = w / w.sum()
    h = np.polynomial.hermite_e.hermeval(z, [0] * r + [1]) / math.sqrt(math.factorial(r))
    return min(float((w * np.tanh(math.sqrt(a) * z) * h).sum()) ** 2 * a**-r for a in variances)


def variances(i, l):
    """ν_l²‖α^(l−1)(x_i)‖²/m_(l−1), the variances of layer l's pre-activations."""
    return (i.beta[l] ** 2 * i.F(l - 1).square().sum(dim=1)).tolist()


def test_the_printed_and_the_corrected_constants(tanh):
    k = layers(tanh)
    z, w = np.polynomial.hermite_e.hermegauss(120)
    c = float((w / w.sum() * np.tanh(math.sqrt(1.5) * z) ** 2).sum())
    nu_sq = 1.5 / c
    for r in (1, 3):
        mu = {l: hermite_square(variances(tanh, l), r) for l in (1, 2, 3)}
        assert k.printed(0, r).value == 1
        for l in (1, 2):
            printed = (mu[l + 1] / (6 * c)) ** l * 0.75 ** (3 * r * l)
            assert k.printed(l, r).value == pytest.approx(printed, rel=1e-6)
        corrected = math.prod(
            mu[j] * nu_sq / 4 * min(variances(tanh, j)) ** (r - 1) for j in (2, 3)
        )
        assert k.corrected(2, r).value == pytest.approx(corrected, rel=1e-6)


def test_widths_and_probabilities_of_theorems_4_1_and_4_2(tanh):
    assert theorem_promise(tanh) == close(1 - 0.1 - 4 * 3 / 8)
    found = verdict("banerjee2023", "theorem-4.1", tanh)
    named = {h.name: h for h in found.hypotheses}
    width = named["m = Ω(n log n log(Ln/δ))"]
    assert (width.measured, width.threshold) == (
        8, close(N * math.log(N) * math.log(3 * N / 0.1)),
    )  # fmt: skip
    for rows, met in ((8, True), (9, False)):
        X = ntk.data.Sphere(D).sample(rows, 1)
        other = verdict("banerjee2023", "theorem-4.2", ntk.Instance(tanh.network, X, trials=1))
        (enough,) = (h for h in other.hypotheses if h.name == "m ≥ n (eq. 10)")
        assert enough.met is met


def test_h_c_and_lemma_4_2_s_condition(tanh):
    s = hypotheses.Setting(tanh.network)
    nu = s.nu_sq
    assert nu == close(1.5 / s.c)
    assert s.h(3, 1) == close(nu + nu**2 + nu**3)
    assert s.h(3, 0) == close(1 + nu + nu**2 + nu**3)
    h = s.h(3, 0)
    assert s.norm_condition(3) == close(max(8 * h**2 / s.c**2, 4 * h / s.c))
    found = verdict("banerjee2023", "remark-4.1", tanh)
    (width,) = (h for h in found.hypotheses if h.name.startswith("m_1 = "))
    expected = N * s.h(3, 1) ** 4 * math.log(N) * math.log(N / 0.1)
    assert width.threshold == close(expected)
    # ν_0² > 1: h_C ≤ L ν_0^{2L}
    most = only(found.conclusions, key="depth-sum-most")
    assert most.right.value == close(3 * nu**3)


def test_lemma_4_1_s_v_and_the_width_of_eq_10(tanh):
    k, s = layers(tanh), hypotheses.Setting(tanh.network)
    lam, spread = k.smallest(1).value, (math.sqrt(math.log(N)) + 1) ** 2
    # ‖A^(0)‖² = nd, and ν_0²/d is the variance of a pre-activation's weight
    v = 2 * spread * s.nu_sq * N / lam
    assert scaled_v(k, 1) == pytest.approx(v, rel=1e-7)
    found = verdict("banerjee2023", "eq-10", tanh)
    assert only(found.claims, key="v", l=1).outcome == "holds"
    (width,) = (h for h in found.hypotheses if h.name.startswith("m_1 ≥ c_2"))
    x = 1.5 * N * math.log(N) / lam
    assert width.threshold == pytest.approx(
        x * max(1.0, math.log(x)) * math.log(3 * N / 0.1), rel=1e-7
    )


def test_proposition_5_1_s_radius_and_constant(tanh):
    s, m = hypotheses.Setting(tanh.network), 8
    gamma = 0.25 + 4 * math.sqrt(s.nu_sq)
    norms = [gamma * math.sqrt(m) / math.sqrt(n) for n in (D, 8, 8)]
    bound = hessian_bound(tanh.network, norms, 1.5, math.sqrt(D))
    assert explicit_c_H(tanh, gamma, 0.5) == close(math.sqrt(m) * bound)
    found = verdict("banerjee2023", "proposition-5.1", tanh)
    for rho, rho1, *_, gamma, shape in found.tables[0]["rows"]:
        assert gamma == close(rho / math.sqrt(m) + 4 * math.sqrt(s.nu_sq))
        assert shape == close((1 + gamma**6) * (1 + rho1))
    assert only(found.events, key="norms").promised == close(1 - 2 * 4 / m)
