"""Steps of the papers' proofs by plain arithmetic: what is compared, and the probability promised."""

from __future__ import annotations

import math

import pytest
import torch

import ntkscope as ntk
from ntkscope.papers.nguyen2021.centring import centring_spread, projected_lambda
from ntkscope.statements.shared import tails
from papers.lookup import close, only, verdict

BETAS = (0.5, 1.25, 0.75)


@pytest.fixture(scope="module")
def relu():
    law = ntk.data.Gaussian(3)
    net = ntk.Network((3, 40, 30, 1), "relu", list(BETAS))
    return ntk.Instance(net, law.sample(5, 1), seed=2, distribution=law, samples=200, trials=3)


def pairs(i, k):
    """(E_x E_y E_w σ(wᵀf_k(x))σ(wᵀf_k(y)), ‖f_k(x)‖), with E_w σσ = ‖f‖‖f′‖(√(1−ρ²) + ρ(π − θ))/2π."""
    f = i.reference_pass[0][k]
    norms = f.norm(dim=1)
    sizes = torch.outer(norms, norms)
    rho = (f @ f.T / sizes).clamp(-1, 1)
    kappa = (torch.sqrt(1 - rho**2) + rho * (math.pi - torch.arccos(rho))) / (2 * math.pi)
    return float((sizes * kappa).mean()), norms


def test_lemma_c_2_s_mean_and_its_chebyshev(relu):
    moment, norms = pairs(relu, 1)
    scale = 30 * BETAS[1] ** 2
    found = verdict("nguyen2021", "lemma-c.2", relu)
    below = only(found.claims, key="mean-below", k=2)
    assert below.left.value == pytest.approx(scale * moment, rel=1e-7)
    first = scale / (2 * math.pi) * float(norms.mean()) ** 2
    assert below.right.value == close(first)
    fails = 6 * float((norms**4).mean()) / (30 * moment**2)
    assert only(found.events, key="mean", k=2).promised == pytest.approx(1 - fails, rel=1e-6)


def test_lemma_c_4_s_two_steps(relu):
    moment, norms = pairs(relu, 1)
    scale = 30 * BETAS[1] ** 2
    second = float(norms.square().mean())
    mean_sq = float(relu.reference_pass[0][1].mean(dim=0).square().sum())
    found = verdict("nguyen2021", "lemma-c.4", relu)
    hermite = only(found.claims, key="hermite", k=2)
    assert hermite.left.value == pytest.approx(scale * (second / 2 - moment), rel=1e-7)
    expected = scale * (second / 2 - mean_sq / 4 - float(norms.mean()) ** 2 / 4)
    assert hermite.right.value == close(expected)
    assert only(found.claims, key="jensen", k=2).right.value == close(
        scale / 4 * (second - mean_sq)
    )
    assert only(found.claims, key="above", k=2).right.value == close(scale / 2 * second)


def test_the_probabilities_of_app_c(relu):
    assert only(verdict("nguyen2021", "lemma-c.5", relu).events, key="hoeffding", k=2).promised == (
        close(1 - 2 * math.exp(-30 / 8))
    )
    within = only(verdict("nguyen2021", "lemma-c.6", relu).events, key="within-half", k=1, p=2)
    assert within.promised == close(1 - 20 / 30)
    found = verdict("nguyen2021", "lemma-c.3", relu)
    (logs,) = (h for h in found.hypotheses if h.name.startswith("Π_(l<2)"))
    assert (logs.measured, logs.threshold) == (close(math.log(40)), 3)
    Z = (relu.reference_pass[0][1] - relu.mean_features(1)[0]).norm(dim=1)
    stretch = float(torch.linalg.matrix_norm(relu.weight(1), 2))
    fails = tails.lipschitz(relu.distribution, float(Z.mean()) / 2, stretch)
    assert only(found.events, key="rows", k=1).promised == pytest.approx(1 - 2 * 5 * fails)
    variance = only(found.claims, key="poincare", k=1)
    assert variance.right.value == close(stretch**2)


def test_lemma_5_4_s_event_and_its_eigenvalue(relu):
    found = verdict("nguyen2021", "lemma-5.4", relu)
    mean = relu.mean_features(1)[0]
    size = float(mean.square().sum())
    stretch = float(torch.linalg.matrix_norm(relu.weight(1), 2))
    fails = tails.lipschitz(relu.distribution, size / 2, math.sqrt(size) * stretch)
    assert only(found.events, key="proof", k=1).promised == pytest.approx(1 - 5 * fails)
    v = relu.F(1) @ mean - size / 2
    expected = float(v.sum()) - math.sqrt(5) * float(v.norm())
    identity = only(found.claims, key="rank-two", k=1)
    assert identity.right.value == close(expected)
    assert identity.outcome == "holds"


def test_gershgorin_around_every_sample(relu):
    found = verdict("nguyen2021", "lemma-5.5", relu)
    gram = relu.centred(1) @ relu.centred(1).T
    across = float((gram - torch.diag(gram.diagonal())).abs().max())
    ends = float(gram.diagonal().min()), float(gram.diagonal().max())
    for r in (1, 4):
        below = only(found.claims, key="gershgorin-below", k=1, r=r)
        above = only(found.claims, key="gershgorin-above", k=1, r=r)
        assert below.right.value == close(ends[0] ** r - 4 * across**r)
        assert above.right.value == close(ends[1] ** r + 4 * across**r)
    for r in (1, 2):
        power = only(found.constants, key="power", k=1, r=r)
        assert power.predicted.value == close((3 * 40 * BETAS[0] ** 2) ** r)


@pytest.mark.parametrize("r", [1, 3])
def test_the_spread_of_a_centred_power_is_its_slope_in_the_mean(relu, r):
    F, mean = relu.F(2), relu.mean_features(2)[0].clone().requires_grad_(True)
    v = torch.linalg.eigh((relu.centred(2) @ relu.centred(2).T) ** r)[1][:, 0]
    form = v @ ((F - mean) @ (F - mean).T) ** r @ v
    (slope,) = torch.autograd.grad(form, mean)
    values = relu.reference_pass[0][2] @ slope
    expected = float(values.std()) / math.sqrt(len(values))
    assert centring_spread(relu, 2, r, relu.centred(2), v) == pytest.approx(expected, rel=1e-6)


def test_the_error_of_projected_features_grows_with_the_power(relu):
    sizes = relu.F(1).square().sum(dim=1) + float(relu.mean_features(1)[0].square().sum())
    for r in (2, 4):
        forming = r * 40 * 2.0**-53 * float((sizes**r).max()) * 5
        assert projected_lambda(relu, 1, r).error >= forming


def test_remark_4_2_b_s_nearest_pair():
    law = ntk.data.Sphere(3)
    net = ntk.Network((3, 12, 1), "gelu", "banerjee2023:sigma0_sq=1.5", "ntk")
    on = ntk.Instance(net, law.sample(6, 2), distribution=law, samples=64, trials=2)
    claim = only(verdict("banerjee2023", "remark-4.2b", on).claims, key="nearest-pair")
    nearest = torch.pdist(on.X).min()
    M, nu_sq = on.network.activation.lipschitz, on.beta[1] ** 2 * 3
    assert claim.right.value == pytest.approx(M**2 * nu_sq * float(nearest) ** 2 / 3 / 2)
    assert claim.outcome == "holds"


def test_poincare_bounds_of_norms_iii_to_v():
    law = ntk.data.Gaussian(4)
    net = ntk.Network((4, 6, 8, 1), "gelu", "bombari2022:beta=1.5")
    on = ntk.Instance(net, law.sample(6, 2), distribution=law, samples=300, trials=2)
    M = on.network.activation.lipschitz
    norms = [M * float(torch.linalg.matrix_norm(on.weight(l), 2)) for l in (1, 2)]
    third = only(verdict("bombari2022", "norm-iii", on).claims, key="poincare", l=2)
    assert third.right.value == close((norms[0] * norms[1]) ** 2)
    fourth = only(verdict("bombari2022", "norm-iv", on).claims, key="poincare", l=2)
    assert fourth.right.value == close(4 * (norms[0] * norms[1]) ** 2)
    fifth = verdict("bombari2022", "norm-v", on)
    signals = only(fifth.constants, key="second-moment")
    assert signals.predicted.value == close(on.beta[3] ** 2 * 8)
