"""Banerjee et al. 2023: the corrected inequalities on random instances, the printed ones refuted."""

import math

import pytest
import torch
from scipy.stats import chi2

import ntkscope as ntk
from ntkscope.papers.banerjee2023.hypotheses import Setting
from ntkscope.papers.banerjee2023.layers import square_spread
from ntkscope.statements.instance import Instance, NotComputable
from ntkscope.statements.registry import find, statements
from ntkscope.statements.shared.expected import dual_matrix

IDS = {
    "assumption-1", "assumption-2", "definition-4.1", "lambda-1", "theorem-4.1", "theorem-4.2",
    "lemma-4.1", "lemma-4.2", "lemma-4.3", "remark-3.1", "remark-4.1", "remark-4.2a",
    "remark-4.2b", "remark-4.3", "remark-4.6", "tradeoff",
}  # fmt: skip


def test_every_statement_of_the_paper_is_there():
    assert {s.id.removeprefix("banerjee2023.") for s in statements("banerjee2023")} == IDS


def paper(sigma_sq=1.0, width=60, N=15, dim=8, hidden=2, activation="tanh"):
    net = ntk.Network([dim, *[width] * hidden, 1], activation,
                      f"banerjee2023:sigma0_sq={sigma_sq}", "ntk")  # fmt: skip
    law = ntk.data.Sphere(dim)
    return Instance(net, law.sample(N, 0), distribution=law, samples=2000, trials=4)


def test_every_statement_applies_and_is_measured_on_the_papers_network():
    instance = paper(dim=30)
    for statement in statements("banerjee2023"):
        verdict = statement.check(instance)
        if statement.id != "banerjee2023.remark-4.1":  # ν_0² ≤ 1 cannot be had
            assert verdict.applies or "4.2" in statement.id, (statement.id, verdict.failing)
        assert verdict.claims or verdict.scalings or verdict.hypotheses, statement.id


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


def test_lemma_4_2_promises_too_much_at_large_variance():
    m = 10  # φ(z) = z, one sample: ‖α‖²/(c m) is χ²_m/m, and the printed condition holds
    exact = chi2.cdf(1.5 * m, m) - chi2.cdf(0.5 * m, m)
    assert exact < 0.77 < 1 - 2 / m**2
    law = ntk.data.Sphere(20)
    net = ntk.Network([20, m, 1], "identity", "banerjee2023:sigma0_sq=4", "ntk")
    instance = Instance(net, law.sample(1, 0), distribution=law, samples=100, trials=10)
    verdict = find("banerjee2023.lemma-4.2").check(instance)
    printed = next(h for h in verdict.hypotheses if h.name.endswith("h_C from i = 1"))
    scaled = next(h for h in verdict.hypotheses if "scales as c does" in h.name)
    assert printed.holds
    assert scaled.holds is False
    (rate,) = verdict.rates
    assert rate.erratum
    assert rate.claimed == pytest.approx(0.98)
    instance = Instance(net, law.sample(4, 0), distribution=law, samples=100, trials=10)
    verdict = find("banerjee2023.lemma-4.2").check(instance)
    assert verdict.rates[0].holds is False
    assert verdict.outcome == "violated as printed"


def test_lemma_4_2_has_an_inner_band_behind_the_first_of_several_layers():
    verdict = find("banerjee2023.lemma-4.2").check(paper(hidden=2, width=400))
    (row, last) = verdict.tables[0]["rows"]
    nu_sq = Setting(paper(hidden=2).network).nu_sq
    share = (1 + nu_sq) / (2 * (1 + nu_sq + nu_sq**2))
    assert row[5:] == pytest.approx((1 - share, 1 + share))
    assert last[5:] == pytest.approx((0.5, 1.5))
    outer, inner = verdict.rates
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


def test_theorem_4_2_fails_as_printed_in_the_first_layer():
    """c_0^{(0,r)} = 1 claims λ_min(A¹A¹ᵀ) ≥ m λ_1, above the mean of the left side."""
    verdict = find("banerjee2023.theorem-4.2").check(paper())
    first = [c for c in verdict.claims if c.name == "layer 1, r = 3, as printed"]
    assert first[0].holds is False
    assert first[0].erratum


def test_lemma_4_3_claims_too_much_at_large_variance():
    instance = paper(sigma_sq=10.0)
    verdict = find("banerjee2023.lemma-4.3").check(instance)
    printed = {c.name: c for c in verdict.claims if c.erratum}
    assert printed["λ_2, r = 3, as printed"].holds is False
    corrected = [c for c in verdict.claims if "corrected" in c.name]
    assert corrected
    assert all(c.holds for c in corrected)


def test_lemma_4_2_needs_other_data():
    """tanh at σ_0² = ¼ and ‖x‖² = d leaves the band; ‖x‖² = c d brings it back."""
    instance = paper(sigma_sq=0.25, width=4000, N=6, dim=20, hidden=1)
    verdict = find("banerjee2023.lemma-4.2").check(instance)
    upper = [c for c in verdict.claims if c.erratum and "layer" not in c.name and "3c" in c.name]
    assert upper[0].holds is False
    assert upper[0].left.value == pytest.approx(2.65, rel=0.1)
    low, high = verdict.tables[0]["rows"][0][3:5]
    assert 0.8 < low <= high < 1.2


def test_definition_4_1_holds_only_corrected():
    verdict = find("banerjee2023.definition-4.1").check(paper())
    for claim in verdict.claims:
        assert claim.holds is (not claim.erratum), claim.name
    assert any(c.erratum for c in verdict.claims)


def test_small_hessian_regime_is_never_reached():
    for sigma_sq in (1e-4, 0.01, 0.25):
        for activation in ("tanh", "erf", "sin"):
            net = ntk.Network([4, 5, 1], activation, f"banerjee2023:sigma0_sq={sigma_sq}", "ntk")
            slope = net.activation.lipschitz
            assert 4 * math.sqrt(Setting(net).nu_sq) * slope >= 4 - 1e-9


def test_printed_constant_is_monotone_in_the_wrong_way():
    rows = find("banerjee2023.tradeoff").check(paper(width=30, N=8)).tables[0]["rows"]
    printed, measured = [r[5] for r in rows], [r[8] / r[7] for r in rows]
    assert printed[-1] > 1e6 * measured[-1]
    assert all(r[6] * r[7] <= r[8] for r in rows if r[9])


def test_residual_networks_are_not_computable():
    net = ntk.Network([5, 5, 5, 1], "tanh", "banerjee2023", "ntk", residual=0.5)
    verdict = find("banerjee2023.lambda-1").check(Instance(net, ntk.data.sphere(4, 5, seed=0)))
    assert any("residual" in note for note in verdict.notes)
