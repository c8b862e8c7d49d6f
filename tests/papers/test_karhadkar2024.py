"""Karhadkar et al. 2024: separations against brute force, bounds with constants, what fails as printed."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import integrate
from tests.papers.lookup import close, only

import ntkscope as ntk
from ntkscope._base import balls
from ntkscope.papers.karhadkar2024 import geometry, lifting, measured, theorems
from ntkscope.papers.karhadkar2024.arc_cosines import ArcCosines, layer_weights
from ntkscope.papers.karhadkar2024.ceiling import closed_ceiling
from ntkscope.papers.karhadkar2024.confirm import over_pairs
from ntkscope.statements.balls.ball_instance import BallInstance
from ntkscope.statements.balls.confirm import confirm
from ntkscope.statements.falsification import Trial
from ntkscope.statements.outcomes import Outcome
from ntkscope.statements.quantity import Quantity
from ntkscope.statements.registry import find, statements

IDS = {
    "separation", "shallow", "uniform", "deep", "pair", "linear-rate", "angle", "power-series", "floor", "rank-lifting",
}  # fmt: skip


def instance(widths=(5, 80, 1), N=14, activation="relu", law=None, X=None, **about):
    law = law or ntk.data.Sphere(widths[0])
    X = law.sample(N, 0) if X is None else X
    net = ntk.Network(list(widths), activation, about.pop("init", "he"), "ntk", **about)
    return ntk.Instance(net, X, distribution=law, samples=64, trials=20)


def check(number, on):
    return ntk.check_all(on, [f"karhadkar2024.{number}"])[0]


def test_every_statement_is_there():
    assert {s.number for s in statements("karhadkar2024")} == IDS


def test_the_separation_is_that_of_all_pairs_and_both_signs():
    X = ntk.data.sphere(9, 4, seed=1) * 3
    X[7] = -X[2] + 1e-9 * X[3]
    X[8] = X[4] + 1e-5 * X[5]
    unit = (X / X.norm(dim=1, keepdim=True)).tolist()
    pairs = [(i, k) for i in range(9) for k in range(i)]
    minus, plus = (
        {(i, k): math.dist(unit[i], [s * x for x in unit[k]]) for i, k in pairs} for s in (1, -1)
    )
    found = geometry.measure(X)
    # products of unit vectors cannot see a distance of 1e-9; differences can
    assert found.separation == pytest.approx(min(plus.values()), rel=1e-6)
    assert found.separation < 4e-9
    assert found.distance == pytest.approx(min(minus.values()), rel=1e-9)
    assert set(found.opposite) == {2, 7}
    assert set(found.nearest) == {4, 8}


def test_the_kernel_is_the_papers_whatever_the_parameterization_and_the_norm():
    torch.manual_seed(0)
    x = torch.nn.functional.normalize(torch.randn(6, 3, dtype=torch.float64), dim=1)
    W, v = torch.randn(3, 50, dtype=torch.float64), torch.randn(50, dtype=torch.float64)
    h = x @ W
    paper = (h.relu() @ h.relu().T + (x @ x.T) * (((h > 0) * v) @ ((h > 0) * v).T)) / 50
    for scale in (1.0, 2.5):
        plain = ntk.Network([3, 50, 1], "relu", [0.7, 0.2])
        net = ntk.MLP(plain, [0.7 * W, 0.2 * v[:, None]], [])
        i = ntk.Instance(net, scale * x, trials=2, samples=8)
        K, error = geometry.kernel(i)
        assert float((K - paper).abs().max()) < error < 1e-11


def test_limits_of_the_rate():
    # d = 4: the printed factor 1 − 4 log √2/log 4 is 0 at δ = √2
    assert abs(geometry.as_printed(4, math.sqrt(2), 2)) > 1e12
    assert geometry.as_printed(5, 1.4, 2) < 0
    clipped = geometry.rate(5, Quantity(1.4), 2)
    assert clipped.value == close(1.0)
    assert geometry.rate(5, Quantity(0.1), 4).value == close(
        1e-4 / (1 + 5 * math.log(10) / math.log(5)) ** 3
    )


def test_near_orthogonal_rows_contradict_the_printed_rate_for_every_constant():
    # five dimensions: the factor vanishes at δ = 5^{1/5}, and λ_min stays below 1
    delta = 5**0.2 * (1 - 1e-9)
    rho = 1 - delta**2 / 2
    X = torch.tensor(
        [[1.0, 0, 0, 0, 0], [rho, math.sqrt(1 - rho**2), 0, 0, 0]], dtype=torch.float64
    )
    i = instance(X=X * math.sqrt(5), N=2)
    found = check("shallow", i)
    printed = only(found.constants, key="as-printed")
    assert printed.predicted.value > 1e20
    assert printed.value.value < 1e-20
    assert only(found.constants, key="lower").value.value > 0.1
    assert any("d^{1/d}" in note for note in found.notes)


def test_outcomes_inside_and_outside():
    shallow = instance()
    expected = {"shallow": Outcome.NEEDS_CONSTANT, "uniform": Outcome.NEEDS_CONSTANT,
                "deep": Outcome.DOES_NOT_APPLY, "angle": Outcome.HOLDS, "floor": Outcome.HOLDS}  # fmt: skip
    for number, outcome in expected.items():
        assert check(number, shallow).outcome is outcome, number
    assert check("deep", instance((5, 80, 40, 1))).outcome is Outcome.NEEDS_CONSTANT
    assert check("deep", instance((5, 40, 80, 1))).outcome is Outcome.DOES_NOT_APPLY
    gaussian = instance(law=ntk.data.Gaussian(5))
    assert check("shallow", gaussian).failing[0].name == "the rows lie on one sphere"
    assert check("floor", gaussian).outcome is Outcome.HOLDS  # by homogeneity
    assert check("floor", instance(activation="tanh", law=ntk.data.Gaussian(5))).applies is False


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_repeated_and_antipodal_rows_are_named(sign):
    X = ntk.data.sphere(6, 5, seed=0)
    X[1] = sign * X[0]
    for number in ("separation", "shallow"):
        found = check(number, instance(X=X))
        assert found.outcome is Outcome.DOES_NOT_APPLY
        assert [h.name for h in found.failing] == ["δ > 0: no repeated and no antipodal rows"]


def test_the_pair_ceiling_is_reached_by_two_samples_of_equal_norm():
    i = instance(N=2)
    found = check("pair", i)
    values = [only(found.claims, key="gradients", pair=p) for p in ("nearest", "opposite")]
    assert min(c.left.value for c in values) >= i.lambda_K.lower
    assert all(c.holds for c in values)
    limit, _ = geometry.limit(i)
    theta = math.acos(float(i.X[0] @ i.X[1]) / 5)
    assert float(limit[0, 0] - limit[0, 1]) == pytest.approx(closed_ceiling(theta), abs=1e-12)


def test_the_angles_ceiling_is_linear_and_its_constant_no_larger_than_needed():
    theta = np.linspace(1e-6, math.pi, 4001)
    ratio = np.array([closed_ceiling(t) for t in theta]) / (2 * np.sin(theta / 2))
    assert ratio[0] == pytest.approx(1 / (2 * math.pi), rel=1e-4)
    assert 0.6 < ratio.max() < 0.88


def test_the_union_bound_on_the_separation():
    n, d, epsilon = 30, 6, 0.2
    bound = theorems.separation_bound(n, d, epsilon)
    density = lambda t: math.sin(t) ** (d - 2)  # noqa: E731
    cap = (
        integrate.quad(density, 0, 2 * math.asin(bound / 2))[0]
        / integrate.quad(density, 0, math.pi)[0]
    )
    assert n * (n - 1) * cap == pytest.approx(epsilon, rel=0.02)
    assert n * (n - 1) * cap <= epsilon


@pytest.mark.parametrize(("plus", "minus"), [(1.0, 0.0), (1.0, -0.3), (1.0, 1.0)])
@pytest.mark.parametrize("q", [0, 1])
def test_becchettis_coefficients_and_their_sum(plus, minus, q):
    def moment(c, sign, h):
        def integrand(t):
            return c * t**q * h(sign * t) * math.exp(-t * t / 2)

        return integrate.quad(integrand, 0, 12)[0]

    a = lifting.coefficients(q, plus, minus)
    for k in range(6):
        h = np.polynomial.hermite_e.HermiteE.basis(k)
        inner = (moment(plus, 1, h) + moment(minus, -1, h)) / math.sqrt(2 * math.pi)
        assert a[k] == pytest.approx(inner**2 / math.factorial(k), abs=1e-10)
    # the tail of a_k ~ k^{−3/2−q} beyond the last one
    assert 0 <= (plus**2 + minus**2) / 2 - a.sum() < (0.01 if q == 0 else 1e-6)


def test_lifting_takes_the_best_power_and_says_nothing_where_rows_repeat():
    a, total = lifting.coefficients(1, 1.0, 0.0), 0.5
    n, bound = lifting.lifted(a, 20, math.cos(0.5), total)
    direct = [(1 - 19 * math.cos(0.5) ** k) * (total - a[:k].sum()) for k in range(200)]
    assert bound == pytest.approx(max(direct), rel=1e-9)
    assert n == int(np.argmax(direct))
    assert lifting.lifted(a, 20, 1.0, total) == (0, 0.0)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu:alpha=0.2", "abs"])
def test_lifting_bounds_both_kernels(activation):
    found = check("rank-lifting", instance((12, 30, 1), N=10, activation=activation))
    for key in ("features", "kernel"):
        claim = only(found.conclusions, key=key)
        assert claim.left.value > claim.right.value >= 0
        assert activation == "abs" or claim.right.value > 0.01 * claim.left.value


@pytest.mark.parametrize(("activation", "about"), [
    ("tanh", {}), ("gelu", {"bias_std": 0.3}), ("relu", {"bias_std": 0.5}), ("abs", {}),
])  # fmt: skip
def test_the_series_holds_for_any_activation_and_depth(activation, about):
    for widths in ((6, 40, 1), (6, 40, 40, 40, 1)):
        found = check("power-series", instance(widths, N=8, activation=activation, **about))
        claim = only(found.conclusions, key="enclosed")
        assert claim.left.value <= claim.right.error < 1e-8 * claim.scale


@pytest.mark.parametrize("law", measured.LAWS)
def test_what_the_figure_measures(law):
    found = measured.measure(0, law=law, N=24, d=10, size=0.05, depth=2)
    assert found["floor"] <= found["lambda_min"] <= found["ceiling"] <= 0.88 * found["delta_prime"]
    X = measured.rows(law, 24, 10, 0.05, 0)
    assert torch.allclose(X.norm(dim=1), torch.ones(24, dtype=torch.float64))
    if law == "pairs":
        assert found["delta"] == pytest.approx(0.05, rel=1e-9)
    with pytest.raises(ValueError, match="did you mean 'pairs'"):
        measured.rows("pair", 4, 3, 0.1, 0)


def test_the_linear_bound_is_under_rank_lifting_and_above_a_third_of_it():
    a = lifting.coefficients(0, 1.0, 0.0)
    for m, theta in ((50, 0.3), (1000, 0.1), (1000, 0.01 * math.pi)):
        _, best = lifting.lifted(np.append(0.0, a[:-1]), m, math.cos(theta), 0.5)
        found = lifting.linear_bound(Quantity(theta), m).value
        assert best / 3 < found <= best


def test_lambda_min_is_linear_in_the_distance_of_a_pair():
    values = []
    for size in (2.0**-6, 2.0**-9):
        X = measured.rows("pairs", 20, 12, size, 0) * math.sqrt(12)
        found = check("linear-rate", instance((12, 30, 1), X=X))
        claim = only(found.conclusions, key="linear")
        assert claim.holds
        values.append(claim.left.value)
    assert math.log(values[0] / values[1]) / math.log(8) == pytest.approx(1, abs=0.02)


def test_antipodal_rows_cost_relu_nothing_until_there_are_more_than_d_pairs():
    for pairs, expected in ((1, 1.0), (4, 0.0)):
        x = ntk.data.sphere(pairs, 3, seed=2)
        i = instance((3, 20, 1), X=torch.cat([x, -x]))
        least = geometry.smallest(i, "limit")
        assert least.value == pytest.approx(expected, abs=1e-12)


CONFIRMED = {
    "separation": {"half-turn", "both-signs", "simplex", "norm"}, "pair": {"ceiling"},
    "angle": {"ceiling", "distance"}, "shallow": {"limit-distance"}, "deep": {"limit-depth"},
    "rank-lifting": {"features", "kernel"}, "linear-rate": {"linear"},
    "power-series": {"enclosed"}, "floor": {"floor"},
}  # fmt: skip


@pytest.mark.parametrize("widths", [(3, 5, 1), (4, 4, 3, 1)], ids=str)
def test_balls_agree_with_floating_point_and_refute_nothing_that_applies(widths):
    pytest.importorskip("flint")
    instance = Trial(widths, "relu", "he", "ntk", "sphere", 4, 1).instance()
    shallow = len(widths) == 3
    for number, keys in CONFIRMED.items():
        id = f"karhadkar2024.{number}"
        claims = [
            c for c in find(id).check(instance).claims
            if c.relation != "=" and (number, c.key) != ("floor", "ceiling")  # of a 2 × 2 block
        ]  # fmt: skip
        assert {c.key for c in claims} == keys - (set() if shallow or number != "angle" else keys)
        for claim in claims:
            made = confirm(id, instance, claim)
            for (low, high), side in ((made.left, claim.left), (made.right, claim.right)):
                # the floor is rounded down by what encloses the series
                bar = side.error + (1e-7 if number == "floor" else 1e-12) * abs(side.value)
                assert low - bar <= side.value <= high + bar, claim.name
            assert not (made.refuted and claim.holds)
            assert made.refuted == (number == "shallow" and not shallow and not claim.holds)


def test_balls_refute_what_is_false():
    """A bound that the claim does not make: the same confirmer with the sides exchanged."""
    pytest.importorskip("flint")
    instance = Trial((3, 5, 1), "relu", "he", "ntk", "sphere", 4, 1).instance()
    for number, key in (
        ("shallow", "limit-distance"),
        ("rank-lifting", "kernel"),
        ("angle", "distance"),
        ("floor", "floor"),
    ):
        id = f"karhadkar2024.{number}"
        claim = next(c for c in find(id).check(instance).claims if c.key == key)
        turned = replace(claim, relation="≥" if claim.relation == "≤" else "≤")
        assert confirm(id, instance, turned).refuted
        assert not confirm(id, instance, claim).refuted


KERNELS = [
    Trial((4, 6, 3, 5, 1), "leaky_relu:alpha=0.2", "bombari2022", "standard", "sphere", 4, 3),
    Trial((6, 3, 5, 1), "abs", "lecun", "standard", "sphere", 4, 3),
    Trial((5, 3, 1), "relu", "banerjee2023", "ntk", "sphere", 4, 3),
]


@pytest.mark.parametrize("trial", KERNELS, ids=str)
def test_the_kernel_and_its_series_in_balls(trial):
    """The recursion in balls against the limiting kernel; its κ_p against the Hermite coefficients' and all ≥ 0."""
    pytest.importorskip("flint")
    instance, degree = trial.instance(), 12
    with balls.precision():
        b = BallInstance(instance)
        form, weights = ArcCosines(b), layer_weights(b)
        made = balls.midpoint(over_pairs(b, lambda rho: form.kernel(rho, weights)))
        series = form.series(weights, degree)
        assert all(kappa >= 0 or kappa.contains(0) for kappa in series)
        found = ntk.power_series(instance.network, degree)
        for kappa, low, high in zip(series, found.lower, found.upper, strict=True):
            assert low - 1e-15 <= float(kappa.mid()) <= high + 1e-15
    expected = ntk.limiting_ntk(instance.network, instance.X)
    torch.testing.assert_close(made, expected, rtol=1e-12, atol=0)


def test_a_kernel_without_its_first_coefficient_is_refuted(monkeypatch):
    """A series that is not the kernel's."""
    pytest.importorskip("flint")
    instance = KERNELS[0].instance()
    claim = next(c for c in find("karhadkar2024.power-series").check(instance).claims)
    real = ArcCosines.series
    monkeypatch.setattr(
        ArcCosines, "series", lambda *a: [0.5 * k for k in real(*a)[:1]] + real(*a)[1:]
    )
    assert confirm("karhadkar2024.power-series", instance, claim).refuted
