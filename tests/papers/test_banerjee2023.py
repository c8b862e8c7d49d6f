"""Banerjee et al. 2023: the corrected inequalities on random instances, the printed ones refuted."""

import math

import pytest
import torch
from scipy.stats import chi2

import ntkscope as ntk
from ntkscope.papers.banerjee2023.hypotheses import Setting
from ntkscope.papers.banerjee2023.layers import layers, square_spread
from ntkscope.statements.instance import Instance, NotComputable
from ntkscope.statements.registry import find, statements
from ntkscope.statements.shared.expected import dual_matrix

IDS = {
    "assumption-1", "assumption-2", "definition-4.1", "lambda-1", "theorem-4.1", "theorem-4.2",
    "lemma-4.1", "lemma-4.2", "lemma-4.3", "remark-3.1", "remark-4.1", "remark-4.2a",
    "remark-4.2b", "remark-4.3", "remark-4.6", "tradeoff", "eq-4", "eq-10", "outputs", "repaired",
    "definition-5.1", "proposition-5.1",
}  # fmt: skip


def test_every_statement_of_the_paper_is_there():
    assert {s.id.removeprefix("banerjee2023.") for s in statements("banerjee2023")} == IDS


def paper(sigma_sq=1.0, width=60, N=15, dim=8, hidden=2, activation="tanh"):
    net = ntk.Network([dim, *[width] * hidden, 1], activation,
                      f"banerjee2023:sigma0_sq={sigma_sq}", "ntk")  # fmt: skip
    law = ntk.data.Sphere(dim)
    return Instance(net, law.sample(N, 0), distribution=law, samples=2000, trials=4)


# Lemma 4.2's condition on the widths, which Lemma 4.3 takes over, is met by no tanh network of such a size
OUT_OF_REACH = ("banerjee2023.lemma-4.2", "banerjee2023.lemma-4.3")


def test_every_statement_applies_and_is_measured_on_the_papers_network():
    instance = paper(dim=30)
    for statement in statements("banerjee2023"):
        verdict = statement.check(instance)
        assert verdict.applies is (statement.id not in OUT_OF_REACH), (
            statement.id,
            verdict.failing,
        )
        assert verdict.claims or verdict.constants or verdict.events, statement.id


def test_rare_large_draws_are_in_the_spread_of_a_mean_of_squares():
    # λ_1 = 2.3e-9 beside 15 samples on a square: of 400 draws none shows what carries the mean
    law = ntk.data.Cube(2)
    net = ntk.Network([2, 13, 1], "gelu", "bombari2022", "ntk")
    instance = Instance(net, law.sample(15, 15), seed=15, distribution=law, samples=400)
    verdict = find("banerjee2023.lambda-1").check(instance)
    assert not verdict.violations


@pytest.mark.parametrize("bias", [None, 0.5])
def test_the_poincare_spread_bounds_the_variance_of_squares(bias):
    net = ntk.Network([3, 12, 1], "tanh", "banerjee2023", "ntk", bias_std=bias)
    law = ntk.data.Sphere(3)
    instance = Instance(net, law.sample(6, 0), distribution=law, samples=20_000)
    generator = torch.Generator().manual_seed(1)
    z = instance.X @ torch.randn(3, 50_000, generator=generator).double() * instance.beta[1]
    z = z + (bias or 0.0) * torch.randn(50_000, generator=generator).double()
    for v in torch.eye(6, dtype=torch.float64):
        squares = (v @ torch.tanh(z)).square()
        bound = square_spread(instance, 1, float(squares.mean()), 1) ** 2
        assert 0 < float(squares.var()) < bound


def test_opposite_samples_without_a_series_are_said_to_be_out_of_reach():
    phi = ntk.activations.activation("silu")
    rows = torch.tensor([[1e3], [-1e3]], dtype=torch.float64)
    with pytest.raises(NotComputable, match="cannot be had accurately"):
        dual_matrix(phi, rows @ rows.T, 1)


def linear(sigma_sq, widths, N, trials=60):
    """φ(z) = z, whose c = σ_0² and ν_0 = 1 meet Lemma 4.2's condition at large σ_0²."""
    law = ntk.data.Sphere(widths[0])
    net = ntk.Network(widths, "identity", f"banerjee2023:sigma0_sq={sigma_sq}", "ntk")
    return Instance(net, law.sample(N, 0), distribution=law, samples=100, trials=trials)


def test_lemma_4_2_is_missed_where_its_printed_condition_is_met():
    """The condition is filed as printed: a corrected one once hid the counterexample."""
    verdict = find("banerjee2023.lemma-4.2").check(linear(100, [20, 10, 1], 4))
    assert verdict.applies
    printed, outer = verdict.events
    assert (printed.successes, printed.promised) == (0, pytest.approx(0.92))
    assert verdict.outcome == "missed as printed"
    assert outer.outcome == "missed"  # ‖x‖² = c d alone does not repair it
    assert any("does not scale" in n and "not met" in n for n in verdict.notes)


def test_lemma_4_2_promises_too_much_at_large_variance():
    m = 10  # φ(z) = z, one sample: ‖α‖²/(c m) is χ²_m/m at ‖x‖² = c d
    exact = chi2.cdf(1.5 * m, m) - chi2.cdf(0.5 * m, m)
    assert exact < 0.77 < 1 - 2 / m**2
    verdict = find("banerjee2023.lemma-4.2").check(linear(4, [20, m, 1], 1, trials=100))
    outer = verdict.events[1]
    low, high = outer.interval
    assert low < exact < high < outer.promised == pytest.approx(0.98)
    assert outer.erratum


def test_lemma_4_2_asks_for_widths_out_of_reach_at_unit_variance():
    verdict = find("banerjee2023.lemma-4.2").check(paper(width=150))
    (condition,) = verdict.failing
    assert condition.measured == pytest.approx(5113, rel=1e-3)
    assert verdict.outcome == "does not apply"
    assert condition.measured**2 > 1e7  # the width that it asks for


def test_lemma_4_2_has_an_inner_band_behind_the_first_of_several_layers():
    verdict = find("banerjee2023.lemma-4.2").check(paper(hidden=2, width=400))
    (row, last) = verdict.tables[0]["rows"]
    nu_sq = Setting(paper(hidden=2).network).nu_sq
    share = (1 + nu_sq) / (2 * (1 + nu_sq + nu_sq**2))
    assert row[5:] == pytest.approx((1 - share, 1 + share))
    assert last[5:] == pytest.approx((0.5, 1.5))
    _, outer, inner = verdict.events
    assert inner.successes <= outer.successes


@pytest.mark.parametrize("activation", ["tanh", "relu", "sigmoid"])
def test_expected_gram_matches_monte_carlo(activation):
    phi = ntk.activations.activation(activation)
    generator = torch.Generator().manual_seed(0)
    A = torch.randn(6, 4, generator=generator).double()
    matrix, error = dual_matrix(phi, A @ A.T, 4)
    g = torch.randn(4, 400_000, generator=generator).double()
    f = phi(A @ g)
    estimate = f @ f.T / f.shape[1]
    bar = 6 * float((f[:, None, :] * f[None, :, :])[..., :20_000].std(dim=2).max()) / math.sqrt(4e5)
    assert float((matrix - estimate).abs().max()) < bar
    assert error < 1e-10 * float(matrix.trace())


def single(sigma_sq, width, hidden, trials):
    """One sample in three dimensions: log n = 0, so every width meets the theorems' condition."""
    law = ntk.data.Sphere(3)
    net = ntk.Network(
        [3, *[width] * hidden, 1], "tanh", f"banerjee2023:sigma0_sq={sigma_sq}", "ntk"
    )
    return Instance(net, law.sample(1, 0), distribution=law, samples=100, trials=trials)


def test_theorem_4_2_is_missed_in_the_first_layer_at_a_positive_promise():
    """c_0^{(0,r)} = 1 claims λ_min(A¹A¹ᵀ) ≥ m λ_1, the mean of the left side at n = 1."""
    verdict = find("banerjee2023.theorem-4.2").check(single(1, 2000, 1, trials=100))
    (event,) = verdict.events
    assert event.promised == pytest.approx(0.9 - 4 / 2000)
    assert event.interval[0] < 0.5 < event.interval[1] < event.promised
    assert verdict.outcome == "missed as printed"


def test_the_theorems_ask_for_as_many_neurons_as_samples():
    for number in ("theorem-4.1", "theorem-4.2"):
        verdict = find(f"banerjee2023.{number}").check(paper(width=10, N=15))
        assert [h.name for h in verdict.failing] == ["m ≥ n (eq. 10)"]
        assert verdict.outcome == "does not apply"


def test_a_negative_promise_refutes_nothing():
    verdict = find("banerjee2023.theorem-4.1").check(single(10, 4, 2, trials=20))
    assert verdict.events[0].promised < 0
    assert verdict.outcome == "promised 0"
    assert not verdict.violations


@pytest.mark.parametrize(
    ("sigma_sq", "bounded"), [(1.0, True), (2.0, True), (4.0, False), (10.0, False)]
)
def test_the_printed_constant_has_no_maximum_at_large_variance(sigma_sq, bounded):
    found = layers(single(sigma_sq, 200, 2, 2)).supremum(1)
    assert found.bounded is bounded
    assert math.isinf(found.value.value) is not bounded
    if not bounded:
        assert found.at.value > 5.8e11  # what r = 61 gives at σ_0² = 4
        assert found.r > 61


def test_the_supremum_of_an_entire_activation_is_attained():
    law = ntk.data.Sphere(3)
    net = ntk.Network([3, 30, 30, 1], "sin", "banerjee2023:sigma0_sq=10", "ntk")
    k = layers(Instance(net, law.sample(1, 0), distribution=law))
    # α_r² = e^{−a} a^r/r! at odd r: the largest term is near r = q a = (σ_0²/2)³
    assert k.supremum(1).bounded is not False
    assert k.supremum(1).r % 2 == 1


def test_theorem_4_1_is_missed_where_the_constant_is_too_large():
    verdict = find("banerjee2023.theorem-4.1").check(single(10, 100, 2, trials=20))
    (event,) = verdict.events
    assert event.successes == 0
    assert event.promised == pytest.approx(0.82)
    assert verdict.outcome == "missed as printed"


def test_lemma_4_3_is_missed_within_its_own_condition():
    """φ(z) = z: c_0^{(1,1)} = σ_0⁴/48, and λ_2 is λ_1 up to 1/√m."""
    instance = linear(10, [3, 100, 100, 1], 1, trials=20)
    verdict = find("banerjee2023.lemma-4.3").check(instance)
    assert layers(instance).printed(1, 1).value == pytest.approx(100 / 48)
    (event,) = verdict.events
    assert (event.successes, event.promised) == (0, pytest.approx(1 - 4 / 100))
    assert verdict.outcome == "missed as printed"


def test_lemma_4_3_promises_nothing_up_to_twice_n_l():
    verdict = find("banerjee2023.lemma-4.3").check(linear(10, [20, 40, 40, 1], 10, trials=5))
    assert verdict.events[0].promised <= 0
    assert verdict.events[0].outcome == "promised 0"


def test_the_corrected_chain_holds_and_gains_by_r_1():
    for sigma_sq in (0.25, 1.0, 10.0):
        instance = paper(sigma_sq=sigma_sq, width=120, dim=20)
        verdict = find("banerjee2023.repaired").check(instance)
        assert verdict.outcome == "holds"
        k = layers(instance)
        r, constant = k.best(1)
        assert r == 1
        assert constant.value > 5 * max(k.corrected(1, r).value for r in range(2, 8))


def test_printed_inequalities_of_one_draw_violate_nothing():
    verdict = find("banerjee2023.lemma-4.3").check(paper(sigma_sq=10.0))
    assert not verdict.violations
    failing = [c for c in verdict.claims if c.outcome == "fails on this draw"]
    assert "λ_2, r = 3, as printed" in [c.name for c in failing]


def test_lemma_4_2_needs_other_data():
    """tanh at σ_0² = ¼ and ‖x‖² = d leaves the band; ‖x‖² = c d brings it back."""
    instance = paper(sigma_sq=0.25, width=4000, N=6, dim=20, hidden=1)
    verdict = find("banerjee2023.lemma-4.2").check(instance)
    upper = [c for c in verdict.claims if c.key == "largest-norm"]
    assert upper[0].holds is False
    assert upper[0].left.value == pytest.approx(2.65, rel=0.1)
    low, high = verdict.tables[0]["rows"][0][3:5]
    assert 0.8 < low <= high < 1.2


def test_definition_4_1_holds_only_corrected():
    verdict = find("banerjee2023.definition-4.1").check(paper())
    for claim in verdict.claims:
        assert (claim.holds is False) is claim.erratum, claim.name
    assert {c.key for c in verdict.claims if c.holds} >= {"recurrence", "orthogonal", "corrected"}


def test_small_hessian_regime_is_never_reached():
    for sigma_sq in (1e-4, 0.01, 0.25):
        for activation in ("tanh", "erf", "sin"):
            net = ntk.Network([4, 5, 1], activation, f"banerjee2023:sigma0_sq={sigma_sq}", "ntk")
            slope = net.activation.lipschitz
            assert 4 * math.sqrt(Setting(net).nu_sq) * slope >= 4 - 1e-9


def test_the_trade_off_is_mild_in_the_kernel_and_not_in_the_constant():
    verdict = find("banerjee2023.tradeoff").check(paper(width=60, N=8, dim=12))
    rows, depth = (t["rows"] for t in verdict.tables)
    assert [math.isinf(r[5]) for r in rows] == [r[0] > 2 * math.sqrt(2) for r in rows]
    assert all(r[6] * r[7] <= r[8] for r in rows if r[9])
    for _, slope, error, printed, _ in depth:
        assert 0 < error < 0.5
        assert abs(slope) < 1.0 < abs(printed)


def test_eq_4_needs_the_transposes():
    assert find("banerjee2023.eq-4").check(paper()).outcome == "holds"


def test_residual_networks_are_not_computable():
    net = ntk.Network([5, 5, 5, 1], "tanh", "banerjee2023", "ntk", residual=0.5)
    verdict = find("banerjee2023.lambda-1").check(Instance(net, ntk.data.sphere(4, 5, seed=0)))
    assert any("residual" in note for note in verdict.notes)
