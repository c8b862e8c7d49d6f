"""Bombari et al. 2022, §4: eq. 21 from both sides, the boost γ, the rates of gradient descent."""

import math

import pytest
import torch

import ntkscope as ntk
from ntkscope.experiments.reading.table import Table
from ntkscope.networks.mlp import MLP
from ntkscope.papers.bombari2022.ball import jacobian_change
from ntkscope.papers.bombari2022.boost import start, with_gamma
from ntkscope.papers.bombari2022.descent import proof, refutation, threshold
from ntkscope.papers.bombari2022.figure_1 import FIGURE as FIGURE_1
from ntkscope.papers.bombari2022.figure_2 import FIGURE as FIGURE_2
from ntkscope.papers.bombari2022.figure_2 import transition
from ntkscope.statements.instance import Instance
from ntkscope.statements.outcomes import ClaimOutcome, HypothesisState, Outcome
from ntkscope.statements.registry import find
from ntkscope.training.boost import gamma_of, theorem_gamma


def _on(X, widths, init="bombari2022", activation="tanh", law=None, **options):
    net = ntk.Network(widths, activation, init)
    return Instance(net, X, distribution=law, **{"samples": 512, "trials": 20} | options)


def test_a_refuted_eq_21_does_not_apply_and_its_proposition_neither():
    law = ntk.data.Gaussian(10)
    instance = _on(law.sample(25, 0), [10, 10, 10, 1], law=law)
    for number in ("eq-21", "proposition-h.1"):
        verdict = find(f"bombari2022.{number}").check(instance)
        assert verdict.outcome is Outcome.DOES_NOT_APPLY, number
        (condition,) = (h for h in verdict.hypotheses if h.name.startswith("eq. 21"))
        assert condition.state is HypothesisState.NOT_MET


def test_the_rate_is_proved_where_the_bound_over_the_ball_allows_it():
    law = ntk.data.Gaussian(10)
    X = law.sample(25, 0)
    instance = _on(X, [10, 10, 10, 1], "bombari2022-paired:gamma=1e15", law=law)
    assert find("bombari2022.eq-21").check(instance).outcome is Outcome.HOLDS
    verdict = find("bombari2022.proposition-h.1").check(instance)
    assert verdict.outcome is Outcome.HOLDS
    assert {c.key for c in verdict.conclusions} == {"rate", "path"}
    assert all(c.outcome is ClaimOutcome.HOLDS for c in verdict.conclusions)


def test_the_bound_over_the_ball_covers_what_points_of_it_show():
    law = ntk.data.Gaussian(6)
    for seed, (activation, widths) in enumerate(
        [("tanh", [6, 5, 4, 1]), ("sigmoid", [6, 8, 8, 8, 1]), ("softplus", [6, 7, 1])]
    ):
        instance = _on(law.sample(7, seed), widths, activation=activation, seed=seed)
        J = _jacobian(instance.model, instance.X)
        generator = torch.Generator().manual_seed(seed)
        tightest = math.inf
        for radius in (1e-3, 0.1, 1.0, 10.0):
            bound = jacobian_change(instance, radius)
            for _ in range(20):
                steps = [torch.randn(w.shape, generator=generator).double()
                         for w in instance.model.weights]  # fmt: skip
                # all in one layer as often as spread over all
                if torch.rand(1, generator=generator) < 0.5:
                    chosen = int(torch.randint(len(steps), (1,), generator=generator))
                    steps = [s * (k == chosen) for k, s in enumerate(steps)]
                norm = math.sqrt(sum(float(s.square().sum()) for s in steps))
                moved = [w.detach() + s * (radius / norm)
                         for w, s in zip(instance.model.weights, steps, strict=True)]  # fmt: skip
                there = _jacobian(MLP(instance.network, moved), instance.X)
                change = float(torch.linalg.matrix_norm(there - J, 2))
                assert change <= bound.value + bound.error
                tightest = min(tightest, bound.value / change)
        assert tightest < 60, "the bound has grown loose"


def test_the_bound_over_the_ball_is_nearly_attained_by_a_neuron_at_its_sharpest_bend():
    """f = v sin(w x) at w = π/2, v = 100, x = 1: moving w by r moves J by v sin r and more."""
    net = ntk.Network([1, 1, 1], "sin", (1.0, 1.0))
    radius = 0.01

    def at(w):
        weights = [torch.tensor([[x]], dtype=torch.float64) for x in (w, 100.0)]
        return MLP(net, weights)

    X = torch.ones(1, 1, dtype=torch.float64)
    bound = jacobian_change(Instance(at(math.pi / 2), X), radius)
    moved = _jacobian(at(math.pi / 2 + radius), X) - _jacobian(at(math.pi / 2), X)
    assert float(moved.norm()) == pytest.approx(100 * math.sin(radius), rel=1e-4)
    # M′|u| r in the first layer and Mr of v's own move there, Mr in the last
    assert float(moved.norm()) <= bound.value == pytest.approx(math.hypot(1.01, 0.01))


def _jacobian(model, X):
    rows = []
    for x in X:
        value = model(x[None])[0, 0]
        rows.append(
            torch.cat([g.reshape(-1) for g in torch.autograd.grad(value, list(model.parameters()))])
        )
    return torch.stack(rows)


def test_the_two_sides_of_the_smallest_gamma():
    law = ntk.data.Gaussian(6)
    j = start(_on(law.sample(9, 1), [6, 6, 6, 1], law=law))
    theirs = theorem_gamma(j.network, j.N)
    refuted, passed = threshold(j, theirs, refutation)
    failed, proved = threshold(j, theirs, proof)
    assert refutation(with_gamma(j, refuted)) > 1 >= refutation(with_gamma(j, passed))
    assert proof(with_gamma(j, failed)) > 1 >= proof(with_gamma(j, proved))
    assert refuted < passed <= 1.25 * refuted
    assert refuted < proved


def test_one_convention_for_gamma():
    """``check`` and ``train`` take γ = d³N² where none is stated."""
    law = ntk.data.Gaussian(6)
    X = law.sample(9, 1)
    for init in ("bombari2022", "bombari2022-paired"):
        j = start(_on(X, [6, 6, 6, 1], init, law=law))
        assert gamma_of(j.network) == theorem_gamma(j.network, 9) == 6**3 * 9**2
    own = _on(X, [6, 6, 6, 1], "bombari2022-paired:gamma=5", law=law)
    assert start(own) is own


def test_lemma_h_2_fails_for_halves_that_are_not_equal():
    law = ntk.data.Gaussian(6)
    own = _on(law.sample(9, 1), [6, 6, 6, 1], "bombari2022-paired:gamma=5", law=law)
    assert find("bombari2022.lemma-h.2").check(own).outcome is Outcome.HOLDS
    with torch.no_grad():
        own.model.weights[-1][0] += 1e-6
    fresh = Instance(own.model, own.X, distribution=law)
    assert find("bombari2022.lemma-h.2").check(fresh).outcome is Outcome.VIOLATED


def test_figure_2_reports_the_transition_at_three_losses():
    records = [
        {"N": N, "d2": d2, "final_loss": 10.0 ** (-3.5 * d2 / N)}
        for N in (100, 200, 400)
        for d2 in range(10, 500, 10)
    ]
    table = Table(tuple(records[0]), tuple(records))
    for loss in (0.1, 0.01, 0.001):
        expected = -math.log10(loss) / 3.5
        found = transition(table, loss)
        assert {N: d2 / N for N, d2 in found.items()} == pytest.approx(
            dict.fromkeys(found, expected)
        )
    analysis = FIGURE_2.analyse(table)
    assert analysis.numbers["slopes"] == pytest.approx(
        {"0.1": 1 / 3.5, "0.01": 2 / 3.5, "0.001": 3 / 3.5}
    )


def test_figure_1_draws_and_judges_the_term_of_the_theorem():
    records = [
        {"N": N, "d2": d2, "lambda_min": 0.2 * d2, "lambda_min.status": "OK",
         "layer_1": 0.1 * d2, "layer_1.status": "OK", "seed": seed}
        for N in (100, 200) for d2 in (400, 900, 1600, 2500) for seed in (0, 1)
    ]  # fmt: skip
    table = Table(tuple(records[0]), tuple(records))
    names = [v.curve for v in FIGURE_1.analyse(table).verdicts]
    assert names == ["N = 100", "N = 100, K_(L-2)", "N = 200", "N = 200, K_(L-2)"]
    assert "layers" in FIGURE_1.settings("quick")["measure"]


def test_a_network_that_no_step_moves_is_said():
    """All units of a layer dead on all rows: J = 0 at the paired start."""
    said = 0
    for seed in range(8):
        net = ntk.Network([3, 1, 4, 2, 1], "relu", "unit")
        law = ntk.data.Gaussian(3)
        instance = ntk.Instance(
            net, law.sample(2, seed), seed=seed, distribution=law, samples=64, trials=2
        )
        notes = find("bombari2022.theorem-4.2").check(instance).notes
        said += any("no step moves the network" in note for note in notes)
    assert 0 < said < 8
