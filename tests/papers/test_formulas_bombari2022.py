"""Bombari et al. 2022 by plain arithmetic: sizes, eq. 21's certificate, rates, losses of the centring."""

from __future__ import annotations

import math

import pytest
import torch

import ntkscope as ntk
from ntkscope.papers.bombari2022.ball import Certificate, certificate, jacobian_change
from ntkscope.papers.bombari2022.boost import labels, start
from ntkscope.papers.bombari2022.centred import centred
from papers.lookup import close, only, verdict

N, D = 5, 3


@pytest.fixture(scope="module")
def paired():
    law = ntk.data.Gaussian(6)
    net = ntk.Network((6, 7, 8, 1), "tanh", "bombari2022-paired:gamma=1e12,beta=1.5")
    return ntk.Instance(net, law.sample(N, 1), seed=2, distribution=law, samples=64, trials=3)


def test_theorem_3_1_s_sizes_and_assumption_2_5(paired):
    beta_sq = paired.beta[3] ** 2
    found = verdict("bombari2022", "theorem-3.1", paired)
    predicted = {c.key: c.predicted.value for c in found.constants}
    assert predicted["lower"] == close(beta_sq * 7 * 8)
    assert predicted["upper"] == close(beta_sq * 6 * 8)
    named = {h.name.partition(":")[0]: h for h in found.hypotheses}
    pairs = named["eq. 4"]
    assert (pairs.measured, pairs.threshold) == (close(N * math.log(N) ** 8), 56)
    net = ntk.Network((4, 2, 3, 1), "tanh", "bombari2022")
    for rows, met in ((6, True), (7, False)):
        X = ntk.data.gaussian(rows, 4, seed=1)
        other = verdict("bombari2022", "theorem-3.1", ntk.Instance(net, X, trials=1))
        (enough,) = (h for h in other.hypotheses if h.name.startswith("eq. 4 implies"))
        assert enough.met is met


def test_what_the_certificate_of_eq_21_asks_for(paired):
    j = start(paired)
    made = Certificate(alpha=0.5, beta=2.0, radius=1.0, moved=0.01, room=0.25)
    assert made.allowed == 0.25 / 4
    assert made.ratio == max(2 * 0.01 / (0.25 / 4), 0.01 / 0.25)
    near = Certificate(alpha=0.5, beta=2.0, radius=1.0, moved=0.01, room=0.005)
    assert near.ratio == 2.0
    found = certificate(j, 3.0)
    assert found.radius == close(4 * 3.0 / found.alpha)
    moved = jacobian_change(j, found.radius)
    assert found.moved == moved.value + moved.error
    assert found.room == close(math.sqrt(j.lambda_K.lower) - found.alpha)
    top = math.sqrt(float(torch.linalg.eigvalsh(j.K)[-1]))
    assert found.beta == close(top + found.moved)


def test_proposition_h_1_s_rate_and_path(paired):
    found = verdict("bombari2022", "proposition-h.1", paired)
    j = start(paired)
    first = float((j.G(3)[:, 0] - labels(j)).norm())
    c = certificate(j, first)
    eta = 1 / (2 * c.beta**2)
    for t in (1, 5, 50):
        rate = only(found.conclusions, key="rate", t=t)
        assert rate.right.value == close((1 - eta * c.alpha**2 / 2) ** t * first**2)
        path = only(found.conclusions, key="path", t=t)
        assert path.right.value == close(first)
    # one step of length η‖Jᵀr‖, and (α/4) times it on the left
    r = j.G(3)[:, 0] - labels(j)
    length = eta * math.sqrt(float(r @ (j.K @ r)))
    path = only(found.conclusions, key="path", t=1)
    assert path.left.value == pytest.approx(c.alpha / 4 * length, rel=1e-6)


def test_theorem_4_2_s_unit_of_the_rate(paired):
    found = verdict("bombari2022", "theorem-4.2", paired)
    top = float(torch.linalg.eigvalsh(start(paired).K)[-1])
    eta, half = 1 / (2 * top), 8 / 2
    assert only(found.constants, key="rate").predicted.value == close(eta * 1e12 * 7 * half)
    (step,) = (h for h in found.hypotheses if h.name.startswith("η = "))
    assert step.threshold == close(1 / (1e12 * N * 6 * half))
    (boost,) = (h for h in found.hypotheses if h.name == "γ = d³N²")
    assert (boost.met, boost.threshold) == (False, 6**3 * N**2)


def test_what_the_centring_may_cost():
    law = ntk.data.Gaussian(D)
    net = ntk.Network((D, 6, 8, 1), "sigmoid", "bombari2022")
    on = ntk.Instance(net, law.sample(N, 1), distribution=law, samples=200, trials=2)
    c = centred(on)

    def along(rows, mean):
        return rows @ mean / mean.norm()

    u, v = along(c.Ft, c.F_mean).abs().max(), along(c.Bt, c.B_mean).abs().max()
    norms = [float(torch.linalg.matrix_norm(m, 2)) for m in (c.Ft, c.Bt)]
    assert c.step_a_loss.value == close(
        float(u) ** 2 * norms[1] ** 2 + float(v) ** 2 * norms[0] ** 2
    )
    F, B = c.reference
    mean = torch.einsum("sm,sn->mn", F, B) / len(F)
    a = torch.einsum("im,mn,in->i", c.Ft, mean, c.Bt)
    m = mean.norm()
    assert c.step_b_loss.value == close(float((a / m - m).square().sum()))
