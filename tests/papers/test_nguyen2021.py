"""Statements of Nguyen et al. against closed cases, and the errata."""

import math

import pytest
import torch

import ntkscope as ntk
from ntkscope.statements.shared.chernoff import Tail
from ntkscope.statements.shared.expected import expected_gram
from ntkscope.statements.shared.relu import relu_coefficient


def relu_instance(N=12, d=4, hidden=(24,), seed=0, **options):
    law = ntk.data.Gaussian(d)
    net = ntk.Network([d, *hidden, 1], "relu", "he")
    X = law.sample(N, seed + 1)
    return ntk.Instance(net, X, seed=seed, distribution=law, samples=512, trials=40, **options)


def check(name, instance):
    return ntk.check_all(instance, [f"nguyen2021.{name}"])[0]


def test_lemma_5_4_fails_at_r_1_and_here_at_every_r():
    verdict = check("lemma-5.4", relu_instance())
    assert verdict.outcome == "violated as printed"
    outcomes = {c.at["r"]: c.outcome for c in verdict.conclusions}
    # beyond r = 1 the order is promised with a probability, which one draw does not refute
    assert outcomes == {1: "violated", **dict.fromkeys((2, 3, 4), "fails on this draw")}
    (identity,) = (c for c in verdict.claims if c.key == "rank-two")
    assert identity.holds is True
    assert identity.left.value < 0
    rates = {e.at["r"]: e.successes for e in verdict.events if e.key == "order"}
    assert rates[1] == 0
    assert all(count < 40 for count in rates.values())


def test_lemma_5_4_fails_at_r_1_where_the_condition_of_its_proof_holds():
    law = ntk.data.Gaussian(100)
    net = ntk.Network([100, 400, 1], "relu", "he")
    instance = ntk.Instance(net, law.sample(200, 1), distribution=law, trials=4)
    mean = instance.mean_features(1)[0]
    assert float((instance.F(1) @ mean).min()) >= 0.5 * float(mean.square().sum())
    verdict = check("lemma-5.4", instance)
    (loewner,) = (c for c in verdict.conclusions if c.at["r"] == 1)
    assert loewner.outcome == "violated"
    # here, widths being large, only r = 1 fails
    assert {c.at["r"] for c in verdict.conclusions if c.outcome == "holds"} == {2, 3, 4}


def test_the_difference_of_lemma_5_4_against_enumeration():
    # 1vᵀ + v1ᵀ has the eigenvalues Σv ± √N‖v‖ and zeros
    v = torch.tensor([1.0, 2.0, -0.5], dtype=torch.float64)
    one = torch.ones_like(v)
    eigenvalues = torch.linalg.eigvalsh(torch.outer(one, v) + torch.outer(v, one))
    expected = [
        float(v.sum() - math.sqrt(3) * v.norm()),
        0.0,
        float(v.sum() + math.sqrt(3) * v.norm()),
    ]
    assert eigenvalues.tolist() == pytest.approx(expected, abs=1e-14)


def test_mean_features_agree_with_draws():
    instance = relu_instance()
    exact, closed = instance.mean_features(1)
    assert closed
    draws = torch.relu(ntk.data.gaussian(200_000, 4, seed=9) @ instance.weight(1))
    bars = draws.std(dim=0) / math.sqrt(len(draws))
    assert bool(((draws.mean(dim=0) - exact).abs() < 5 * bars).all())


def test_mean_features_on_the_sphere_agree_with_draws():
    law = ntk.data.Sphere(6)
    net = ntk.Network([6, 5, 1], "relu", "he")
    instance = ntk.Instance(net, law.sample(4, 0), distribution=law)
    exact, closed = instance.mean_features(1)
    assert closed
    draws = torch.relu(law.sample(200_000, 3) @ instance.weight(1))
    bars = draws.std(dim=0) / math.sqrt(len(draws))
    assert bool(((draws.mean(dim=0) - exact).abs() < 5 * bars).all())


def test_users_data_are_split_and_assumptions_left_open():
    net = ntk.Network([4, 24, 1], "relu", "he")
    X = ntk.data.gaussian(20, 4, seed=1)
    instance = ntk.Instance(net, X)
    assert len(instance.rows) + len(instance.reference) == 20
    verdict = check("lemma-5.4", instance)
    states = {h.state for h in verdict.hypotheses if "2.2" in h.name}
    assert states == {"cannot be tested by a sample"}
    assert any("other" in note for note in verdict.notes)


def test_binary_cube_fails_assumption_2_2_and_its_spread_grows():
    spreads = []
    for d in (64, 1024):
        law = ntk.data.BinaryCube(d)
        net = ntk.Network([d, 3, 1])
        instance = ntk.Instance(net, law.sample(4, 0), distribution=law, samples=2000)
        verdict = check("assumption-2.2", instance)
        assert verdict.applies is False
        (distance,) = (s for s in verdict.constants if s.name.startswith("Var h, h = dist"))
        spreads.append(distance.measured.value)
    # the variance grows like √d: a factor of 4 here
    assert spreads[1] / spreads[0] == pytest.approx(4.0, rel=0.15)


def test_expected_gram_agrees_with_draws():
    instance = relu_instance(N=5, hidden=(7, 3))
    gram, _ = expected_gram(instance, 2)
    w = torch.randn(7, 400_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    features = torch.relu(instance.F(1) @ (w * instance.beta[2]))
    sampled = features @ features.T / w.shape[1]
    assert torch.allclose(gram, sampled, rtol=0.02, atol=0.02 * float(gram.max()))


def test_matrix_chernoff_promises_less_than_what_happens():
    instance = relu_instance(N=4, d=4, hidden=(20_000,))
    from ntkscope.papers.nguyen2021.features import expected_lambda

    lam = expected_lambda(instance, 1)
    tail = Tail(instance.F(0), instance.beta[1], lam.value, instance.network.activation)
    assert 0 < tail.sufficient_width(0.1) < math.inf
    assert tail.failure(math.ceil(tail.sufficient_width(0.1))) <= 0.1
    verdict = check("lemma-5.2", instance)
    (rate,) = verdict.events
    assert rate.successes == rate.trials
    # E‖a‖² 1{‖a‖ > t} by draws lies below the bound
    w = torch.randn(4, 20_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    sizes = torch.relu(instance.F(0) @ (w * instance.beta[1])).norm(dim=0)
    for s in (0.5 * tail.width, tail.width, 2 * tail.width):
        beyond = (sizes**2 * (sizes > tail.mean + s)).mean()
        assert float(beyond) <= tail.truncated(s)


def test_hermite_coefficients_of_relu():
    assert relu_coefficient(2) == pytest.approx(1 / math.sqrt(4 * math.pi))
    assert relu_coefficient(4) == pytest.approx(-1 / math.sqrt(48 * math.pi))
    assert relu_coefficient(3) == 0.0


def test_a_network_outside_the_theorem_still_shows_numbers():
    law = ntk.data.Gaussian(5)
    net = ntk.Network([5, 9, 8, 1], "tanh", "bombari2022")
    verdict = ntk.check("nguyen2021.theorem-4.1", net, law.sample(6, 1), distribution=law)
    assert [h.name for h in verdict.failing] == ["the activation is ReLU"]
    assert verdict.outcome == "does not apply"
    assert verdict.constants


@pytest.mark.parametrize("name", ["lemma-6.1", "lemma-f.2", "activation-patterns"])
def test_smooth_networks_are_told_why(name):
    net = ntk.Network([5, 9, 8, 1], "tanh", "he")
    verdict = check(name, ntk.Instance(net, ntk.data.gaussian(6, 5)))
    assert any("not piecewise linear" in note for note in verdict.notes)


def test_zero_data_and_single_samples_do_not_break_a_statement():
    net = ntk.Network([3, 4, 2, 1], "relu", "he")
    for X in (torch.zeros(3, 3, dtype=torch.float64), ntk.data.gaussian(1, 3)):
        law = ntk.data.Gaussian(3)
        instance = ntk.Instance(net, X, distribution=law, samples=64, trials=5)
        for verdict in ntk.check_all(instance, [s.id for s in ntk.statements("nguyen2021")]):
            assert not [c for c in verdict.violations if not c.erratum], verdict.id


def test_a_figure_of_a_verdict_has_a_line_for_each_inequality():
    verdict = check("eq-27", relu_instance())
    assert len(verdict._chart().series) == len(verdict.claims)


def test_the_spectral_chain_along_a_segment_finds_every_kink():
    from ntkscope.lipschitz import feature_map
    from ntkscope.statements.shared import segments

    net = ntk.Network([2, 6, 5, 1], "relu", "he")
    model = net.sample(3)
    mapping = feature_map(model, 3)
    x, y = ntk.data.gaussian(2, 2, seed=4)
    cuts = segments.breakpoints(mapping, x, y)
    grid = torch.linspace(0, 1, 20_001, dtype=torch.float64)
    signs = torch.cat(mapping.preactivations(segments.points(x, y, grid)), dim=1) > 0
    changes = int((signs[1:] != signs[:-1]).any(dim=1).sum())
    assert len(cuts) - 2 == changes


@pytest.mark.parametrize("d", [1, 2])
def test_a_zero_row_stays_zero_in_the_square_root_form(d):
    # the step function at rounding's side of 0 would be 1 in half of the draws
    law = ntk.data.BinaryCube(d, centered=False)
    net = ntk.Network([d, 36, 49, 1], "relu", "lecun", "ntk")
    X = law.sample(17, 1)
    assert bool((X == 0).all(dim=1).any())
    instance = ntk.Instance(net, X, distribution=law, samples=256)
    assert not check("lemma-3.1", instance).violations
