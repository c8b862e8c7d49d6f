"""Ball arithmetic against floating point: what is false is proved false, what is true is not."""

import math
from dataclasses import replace

import pytest
import torch

import ntkscope as ntk
from ntkscope._base import balls
from ntkscope.activations import activation
from ntkscope.statements.balls.ball_instance import BallInstance
from ntkscope.statements.balls.confirm import Unproved, confirm, confirmer
from ntkscope.statements.balls.functions import Moments, ball_activation, coefficient, second_moment
from ntkscope.statements.falsification import Trial
from ntkscope.statements.instance import Instance
from ntkscope.statements.registry import find, statements
from ntkscope.statements.shared.expected import dual_matrix

LARGE = "banerjee2023:sigma0_sq=10"
ACTIVATIONS = ("relu", "leaky_relu:alpha=0.2", "abs", "identity", "tanh", "sin", "erf", "sigmoid",
               "gelu", "silu", "softplus:beta=2")  # fmt: skip


def banerjee(widths, N, init=LARGE, name="tanh", seed=0):
    return Trial(widths, name, init, "ntk", "sphere", N, seed)


SLOW = pytest.mark.slow  # half a minute each, and of a kind with one that is not marked
ERRATA = [
    ("definition-4.1", r"eq. 7 as printed, a = 0.25", banerjee((2, 3, 1), 2, "banerjee2023")),
    ("theorem-4.1", "λ_min(K) ≥ c_0^{(1,", banerjee((3, 5, 5, 1), 2)),
    pytest.param("theorem-4.2", "layer 1, r = 2, as printed", banerjee((3, 4, 1), 3), marks=SLOW),
    ("theorem-4.2", "layer 2, r = 3, as printed", banerjee((3, 5, 5, 1), 2)),
    pytest.param(
        "theorem-4.2", "layer 3, r = 5, as printed", banerjee((3, 6, 6, 6, 1), 3), marks=SLOW
    ),
    pytest.param("lemma-4.3", "λ_2, r = 3, as printed", banerjee((3, 5, 5, 1), 2), marks=SLOW),
    pytest.param("lemma-4.3", "λ_3, r = 3, as printed", banerjee((3, 6, 6, 6, 1), 2), marks=SLOW),
    ("lemma-4.2", "max_i ‖α^(1)‖²", banerjee((2, 8, 1), 2, "banerjee2023:sigma0_sq=0.25")),
    pytest.param("tradeoff", "γ ≤ 1 at σ_0² = 0.25", banerjee((3, 5, 5, 1), 2), marks=SLOW),
]


@pytest.mark.parametrize(("number", "name", "trial"), ERRATA)
def test_what_does_not_hold_as_printed_is_proved_false(number, name, trial):
    id = f"banerjee2023.{number}"
    instance = trial.instance()
    claim = next(c for c in find(id).check(instance).claims if name in c.name)
    assert claim.erratum
    assert claim.holds is False
    made = confirm(id, instance, claim)
    assert made.refuted
    encloses(made, claim)


PLAIN = [
    pytest.param(banerjee((3, 5, 5, 1), 3, "banerjee2023"), marks=SLOW),
    pytest.param(banerjee((3, 4, 6, 1), 2, "banerjee2023:sigma0_sq=0.25", "sin"), marks=SLOW),
    pytest.param(Trial((4, 6, 3, 1), "relu", "he", "standard", "gaussian", 3, 1), marks=SLOW),
    Trial((2, 3, 1), "gelu", "lecun", "ntk", "gaussian", 2, 2),
    Trial((3, 7, 1), "leaky_relu:alpha=0.2", "bombari2022", "standard", "sphere", 4, 3),
]


@pytest.mark.parametrize("trial", PLAIN, ids=str)
def test_what_holds_is_not_refuted_and_both_sides_are_enclosed(trial):
    instance = trial.instance()
    tried = 0
    for s in statements():
        if s.id == "banerjee2023.tradeoff":
            continue
        for claim in s.check(instance).claims:
            if confirmer(s.id, claim.key) is None:
                continue
            try:
                made = confirm(s.id, instance, claim)
            except Unproved:
                continue
            tried += 1
            assert claim.erratum or not (made.refuted and claim.holds), (s.id, claim.name)
            encloses(made, claim)
    assert tried >= 20


def encloses(made, claim):
    """The balls meet the floating-point sides within what those claim of their errors."""
    for (low, high), side in ((made.left, claim.left), (made.right, claim.right)):
        # a floor from a series is rounded down by what encloses the series
        size = (1e-7 if claim.key == "floor" else 1e-12) * abs(side.value)
        bar = side.error + size + 6 * side.spread
        assert math.isfinite(low)
        assert math.isfinite(high)
        assert low - bar <= side.value <= high + bar, claim.name


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_and_derivatives_on_balls(name):
    phi = activation(name)
    made = ball_activation(phi)
    points = torch.tensor([-7.5, -1.25, -1e-3, 1e-3, 0.5, 3.0, 11.0], dtype=torch.float64)
    with balls.precision() as flint:
        for z in points.tolist():
            for ball, exact in ((made.value, phi), (made.prime, phi.derivative)):
                value = float(exact(torch.tensor(z, dtype=torch.float64)))
                assert float(ball(flint.arb(z)).mid()) == pytest.approx(value, rel=1e-13, abs=1e-15)
        low, high = balls.bounds(made.prime(flint.arb(0)))
        assert low - 1e-15 <= float(phi.derivative(torch.zeros(()).double())) <= high + 1e-15
        wide = made.value(flint.arb(0, 0.5))  # a ball across the kink holds both sides' values
        for z in (-0.5, 0.5):
            low, high = balls.bounds(wide)
            assert low <= float(phi(torch.tensor(z).double())) <= high
        assert made.slope >= phi.lipschitz * (1 - 1e-15)
        assert made.at_zero >= abs(phi.at_zero)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_gaussian_integrals_against_quadrature(name):
    phi = activation(name)
    table = ntk.hermite_coefficients(phi, 5, 1.7)
    with balls.precision():
        made = ball_activation(phi)
        square = second_moment(made, 1.7)
        found = [coefficient(made, 1.7, r) for r in range(6)]
        assert float(square.rad()) < 1e-30
    total = float(table.second_moment[0])
    assert float(square.mid()) == pytest.approx(total, rel=1e-12)
    for r, ball in enumerate(found):
        assert float(ball.mid()) == pytest.approx(
            float(table.values[0, r]), abs=1e-9 * math.sqrt(total)
        )


@pytest.mark.parametrize("name", ["relu", "tanh", "sigmoid", "identity"])
def test_the_product_moment_contains_the_dual_activation(name):
    phi = activation(name)
    C = torch.tensor([[1.5, 0.6], [0.6, 0.8]], dtype=torch.float64)
    exact, error = dual_matrix(phi, C, 1)
    with balls.precision() as flint:
        a, b, c = (flint.arb(x) for x in (1.5, 0.8, 0.6))
        low, high = balls.bounds(Moments(ball_activation(phi)).product(a, b, c))
    assert low - error <= float(exact[0, 1]) <= high + error
    assert high - low < 1e-6


def test_floats_around_a_ball_are_the_nearest_ones():
    with balls.precision() as flint:
        assert balls.bounds(flint.arb(0)) == (0.0, 0.0)
        assert balls.bounds(flint.arb(1.5)) == (1.5, 1.5)
        low, high = balls.bounds(flint.arb(1) / 3)
        assert flint.arb(low) < flint.arb(1) / 3 < flint.arb(high)
    assert high == math.nextafter(low, 1.0)


def test_powers_of_a_ball_around_zero_are_finite():
    with balls.precision() as flint:
        low, high = balls.bounds(balls.power(flint.arb(0, 0.5), 3))
    assert -0.126 < low <= 0 <= high < 0.126


def test_the_smallest_eigenvalue_of_a_ball_matrix():
    Q = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(0)).double())[0]
    values = torch.tensor([-0.5, 1e-9, 1.0, 2.0, 3.0, 40.0], dtype=torch.float64)
    for spectrum in (values, values[1:2].repeat(6), values + 0.5):
        M = (Q * spectrum) @ Q.T
        with balls.precision():
            low, high = balls.bounds(balls.smallest_eigenvalue(balls.matrix((M + M.T) / 2)))
            assert not balls.definite(balls.matrix(M), float(spectrum.min()) + 1e-6)
        bar = 1e-14 * float(spectrum.abs().max())
        assert low - bar <= float(spectrum.min()) <= high + bar
        assert high - low < 1e-11 * float(spectrum.abs().max())


def test_the_kernel_in_balls_is_the_kernel():
    instance = banerjee((3, 4, 5, 1), 3).instance()
    with balls.precision():
        b = BallInstance(instance)
        K = balls.midpoint(b.K)
        norms = float(b.op_norm_sq(2).mid())
    assert torch.allclose(K, instance.K, rtol=1e-13, atol=0)
    assert norms == pytest.approx(float(instance.op_norm(2)) ** 2, rel=1e-12)


def test_what_has_no_ball_version_says_why():
    X = ntk.data.gaussian(3, 2, seed=0)
    claim = next(
        c for c in find("nguyen2021.eq-27").check(Instance(ntk.Network([2, 3, 1]), X)).claims
    )
    plain = Instance(ntk.Network([2, 3, 1]), X)
    assert confirmer("nguyen2021.eq-27", claim.key) is not None
    with pytest.raises(Unproved, match="no ball-arithmetic confirmer"):
        confirm("nguyen2021.eq-27", plain, replace(claim, relation="="))
    biased = Instance(ntk.Network([2, 3, 1], bias_std=0.5), X)
    with pytest.raises(Unproved, match="no biases"):
        confirm("nguyen2021.eq-27", biased, claim)
    own = Instance(ntk.Network([2, 3, 1], lambda z: z**3), X)
    with pytest.raises(Unproved, match="known activations"):
        confirm("nguyen2021.eq-27", own, claim)
    law = ntk.data.Gaussian(2)
    deep = Instance(ntk.Network([2, 3, 3, 1]), law.sample(3, 0), distribution=law)
    claim = next(
        c for c in find("nguyen2021.lemma-5.4").check(deep).claims if "F_2, r = 2" in c.name
    )
    with pytest.raises(Unproved, match="no closed form"):
        confirm("nguyen2021.lemma-5.4", deep, claim)
    claim = next(c for c in find("nguyen2021.eq-5").check(deep).claims)
    with pytest.raises(Unproved, match="no ball-arithmetic confirmer"):
        confirm("nguyen2021.eq-5", deep, claim)
