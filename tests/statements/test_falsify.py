"""The search for counterexamples: what is false is found, shrunk and proved, what is true is not."""

import json
import math
import random
import subprocess
import sys

import pytest
import torch

import ntkscope as ntk
from ntkscope._base import balls
from ntkscope.activations import registry as activations
from ntkscope.data import registry as laws
from ntkscope.networks import initialization
from ntkscope.statements.balls.ball_instance import BallInstance
from ntkscope.statements.balls.confirm import Unproved, confirm
from ntkscope.statements.falsification import Trial
from ntkscope.statements.falsify import _Search, falsify
from ntkscope.statements.instance import Instance
from ntkscope.statements.kinds import Event
from ntkscope.statements.quantity import Quantity
from ntkscope.statements.registry import find, statements
from ntkscope.statements.statement import Statement

# what ships: what tests register while they are collected would change the draws of a seed
NAMES = [
    (m, [name for name in m.names() if "test" not in name])
    for m in (activations, laws, initialization)
]


@pytest.fixture(autouse=True)
def _as_shipped(monkeypatch):
    for module, names in NAMES:
        monkeypatch.setattr(module, "names", lambda names=names: names)


@pytest.mark.slow
def test_lemma_5_4_is_refuted_shrunk_and_proved():
    found = falsify("nguyen2021.lemma-5.4", trials=12, seconds=30.0)
    assert found.violated
    assert found.shrunk.size <= found.found.size
    # one row is enough where its unit is dead: F = 0, and F̃ = −E F is not
    assert found.shrunk.N <= 2
    assert found.confirmation is not None
    assert found.confirmation.refuted
    assert found.confirmation.left[1] < 0
    verdict = find(found.id).check(found.shrunk.instance())
    assert any(c.name == found.claim.name and c.holds is False for c in verdict.claims)
    assert "--widths" in found.command
    json.dumps(found.to_dict())


def test_a_true_statement_stands_and_its_constants_are_kept():
    found = falsify("bombari2022.loewner", trials=10, seconds=20.0)
    assert not found.violated
    assert found.excess <= 0
    found = falsify("bombari2022.theorem-3.1", trials=10, seconds=20.0)
    assert not found.violated
    assert found.constants
    for e in found.constants:
        assert 0 < e.smallest <= e.largest
        assert e.at_smallest.options in str(found)


def test_lemma_4_2_is_refuted_where_its_condition_on_the_width_is_met():
    """Linear φ at large σ_0² meets the printed condition at any width."""
    found = falsify("banerjee2023.lemma-4.2", trials=40, seconds=300.0, shrink=False)
    assert found.violated
    assert found.found.activation == "identity"
    assert found.claim.promised > found.claim.interval[1]


def test_the_first_layer_of_theorem_4_2_is_proved_false():
    trial = Trial((1, 2, 1), "tanh", "banerjee2023:sigma0_sq=10", "ntk", "sphere", 1, 1)
    instance = trial.instance()
    verdict = find("banerjee2023.theorem-4.2").check(instance)
    claim = next(c for c in verdict.claims if c.name == "layer 1, r = 2, as printed")
    made = confirm(verdict.id, instance, claim)
    assert made.refuted is (claim.holds is False)
    assert made.left[0] <= claim.left.value * (1 + 1e-12)
    assert made.left[1] >= claim.left.value * (1 - 1e-12)
    assert made.right[0] == pytest.approx(claim.right.value, rel=1e-9)


def test_lemma_4_3_is_proved_false_at_large_variance():
    for seed in range(8):
        trial = Trial((3, 30, 30, 1), "tanh", "banerjee2023:sigma0_sq=10", "ntk", "sphere", 1, seed)
        instance = trial.instance()
        verdict = find("banerjee2023.lemma-4.3").check(instance)
        bad = [c for c in verdict.claims if "λ_2, r = 3, as" in c.name and c.holds is False]
        if bad:
            made = confirm(verdict.id, instance, bad[0])
            assert made.refuted
            assert made.left[0] == pytest.approx(bad[0].left.value, rel=1e-9)
            assert made.right[0] == pytest.approx(bad[0].right.value, rel=1e-9)
            return
    pytest.fail("no seed violates the printed bound")


def test_a_claim_that_holds_is_not_refuted():
    law = ntk.data.Gaussian(3)
    instance = Instance(ntk.Network([3, 4, 1]), law.sample(3, 0), distribution=law)
    verdict = find("nguyen2021.lemma-5.4").check(instance)
    for claim in verdict.claims:
        try:
            made = confirm(verdict.id, instance, claim)
        except Unproved:  # the identity beside the inequalities
            assert claim.relation == "="
            continue
        assert not (made.refuted and claim.holds)


@pytest.mark.parametrize("name", ["relu", "abs", "tanh", "sigmoid", "identity"])
def test_features_in_balls_contain_the_floating_ones(name):
    net = ntk.Network([3, 4, 5, 1], name, "he", "ntk")
    instance = Instance(net, ntk.data.gaussian(4, 3, seed=0))
    with balls.precision():
        values = balls.midpoint(BallInstance(instance).F(2))
    assert torch.allclose(values, instance.F(2).detach(), rtol=0, atol=1e-13)


def test_instances_are_drawn_from_everything_that_is_registered():
    search = _Search(find("bombari2022.loewner"), random.Random(0))
    drawn = [search.draw() for _ in range(400)]
    for what, names in (
        ("activation", activations.names()),
        ("init", initialization.names()),
        ("law", laws.names()),
    ):
        assert {getattr(trial, what).partition(":")[0] for trial in drawn} == set(names)
    for trial in {trial.law: trial for trial in drawn}.values():
        instance = trial.instance()
        assert instance.X.shape == (trial.N, trial.widths[0])
        assert instance.distribution == laws.distribution(trial.law, trial.widths[0])


@pytest.mark.slow
@pytest.mark.parametrize("id", [s.id for s in statements()])
def test_every_statement_can_be_searched(id):
    """What is not a known erratum stands; what no confirmer reaches is said to be so."""
    for everywhere in (False, True):
        found = falsify(id, trials=8, seconds=5.0, seed=2, everywhere=everywhere)
        if found.violated:
            assert found.claim.erratum
            assert found.confirmation is not None or found.note
            assert found.confirmation is None or found.confirmation.refuted
        json.dumps(found.to_dict())


def test_bad_input():
    with pytest.raises(ValueError, match=r"did you mean 'nguyen2021\.lemma-5\.4'"):
        falsify("nguyen2021.lema-5.4")
    with pytest.raises(ValueError, match="trials"):
        falsify("nguyen2021.lemma-5.4", trials=0)


def test_command(tmp_path):
    out = tmp_path / "f.json"
    done = subprocess.run(
        [sys.executable, "-m", "ntkscope", "falsify", "nguyen2021.lemma-5.4", "--trials", "6",
         "--seconds", "4", "--out", str(out)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert "refuted in ball arithmetic" in done.stdout
    (record,) = json.loads(out.read_text())
    assert record["violated"]
    assert math.isfinite(record["excess"])


def searched(monkeypatch, run, **options):
    """falsify on a statement that is made here."""
    made = Statement("toy.event", "", "", "", "", run)

    def confirmed(*_):
        raise Unproved("it has none")

    monkeypatch.setattr(sys.modules[falsify.__module__], "find", lambda _: made)
    monkeypatch.setattr(sys.modules[falsify.__module__], "confirm", confirmed)
    return falsify("toy.event", **{"trials": 6, "seconds": 20.0, **options})


def coin(promised):
    """An event of probability one half, promised with a probability that the instance decides."""

    def run(i, out):
        heads = int((torch.rand(i.trials, generator=i.generator("coin")) < 0.5).sum())
        out.event("a coin", heads, i.trials, promised(i))
        out.conclude_at_least(
            "a draw", float(i.X[0, 0]), 0.0, promised=promised(i), nonnegative=False
        )

    return run


def test_an_event_is_refuted_by_its_probability(monkeypatch):
    found = searched(monkeypatch, coin(lambda _: 0.9), seed=1)
    assert found.violated
    assert isinstance(found.claim, Event)
    assert found.claim.interval[1] < 0.9
    assert found.claim.trials == found.shrunk.trials >= 200
    assert (found.shrunk.N, found.shrunk.widths) == (1, (1, 1, 1))
    assert "promised 0.9" in str(found)
    json.dumps(found.to_dict())


def test_a_promise_of_nothing_is_not_refuted_by_any_number_of_draws(monkeypatch):
    found = searched(monkeypatch, coin(lambda _: -1.1))
    assert not found.violated
    assert not searched(monkeypatch, coin(lambda _: 0.05)).violated


def test_shrinking_stops_where_the_promise_is_no_longer_positive(monkeypatch):
    found = searched(monkeypatch, coin(lambda i: 0.9 if i.N >= 2 and i.n[1] >= 2 else -1.0))
    assert found.violated
    assert (found.shrunk.N, min(found.shrunk.widths[1:-1])) == (2, 2)
    assert found.claim.promised == 0.9


def test_an_instance_with_a_hypothesis_that_is_not_met_counts_only_everywhere(monkeypatch):
    def run(_i, out):
        out.hypothesis("never", False)
        out.at_most("2 ≤ 1", 2.0, 1.0)

    found = searched(monkeypatch, run)
    assert found.claim is None
    assert "--everywhere" in found.note
    found = searched(monkeypatch, run, everywhere=True)
    assert found.violated
    assert "floating point with error bounds: it has none" in str(found)


def test_shrinking_keeps_to_the_claim_that_was_found(monkeypatch):
    """The larger violation ends below three rows, the smaller one is everywhere."""

    def run(i, out):
        out.at_most("large", 9.0, 1.0 if i.N >= 3 else 10.0)
        out.at_most("small", 2.0, 1.9)

    found = searched(monkeypatch, run)
    assert (found.claim.name, found.shrunk.N) == ("large", 3)


def test_the_largest_violation_and_the_extreme_constants_are_kept(monkeypatch):
    rows = []

    def run(i, out):
        rows.append(i.N)
        out.at_most("N ≤ 1/2", float(i.N), 0.5)
        out.conclusion("N", float(i.N), "Θ", 2.0)

    found = searched(monkeypatch, run, trials=12, shrink=False)
    ends = (min(rows), max(rows))
    assert len(set(rows)) > 3
    assert found.excess == pytest.approx((ends[1] - 0.5) / (ends[1] + 0.5), rel=1e-15)
    (extreme,) = found.constants
    assert (extreme.smallest, extreme.largest) == (ends[0] / 2, ends[1] / 2)
    at = (extreme.at_smallest.N, extreme.at_largest.N, found.found.N)
    assert at == (*ends, ends[1])


def test_how_far_a_finding_is_from_standing(monkeypatch):
    """Beyond rounding and Monte-Carlo error; identities and tautologies tell nothing beside others."""

    def run(_i, out):
        out.equal("identity", 1.0, 1.0)
        out.at_most("Weyl", 1.0, 1.0, tautology=True)
        out.at_most("step", Quantity(1.0, 0.25), Quantity(3.0, 0.25, 0.125))
        out.event("E", 3, 8, 0.01)

    found = searched(monkeypatch, run, trials=1)
    assert not found.violated
    assert found.claim.name == "step"
    assert found.excess == (1.0 - 3.0 - 0.5 - 6 * 0.125) / 4.0

    def missed(_i, out):
        out.event("E", 100, 200, 0.9)

    found = searched(monkeypatch, missed, trials=1, shrink=False)
    assert found.excess == 0.9 - Event("", 100, 200).interval[1]
