"""What findings and verdicts come to: "holds" only for what could have failed."""

import json
import math
from dataclasses import replace

import pytest
import torch

import ntkscope as ntk
from ntkscope.report.latex import tex
from ntkscope.statements.findings import Findings
from ntkscope.statements.hypothesis import Hypothesis
from ntkscope.statements.instance import NotComputable
from ntkscope.statements.kinds import Claim, Constant, Event
from ntkscope.statements.outcomes import (
    GLOSSARY,
    ClaimOutcome,
    ConstantOutcome,
    EventOutcome,
    HypothesisState,
    Outcome,
)
from ntkscope.statements.quantity import Quantity
from ntkscope.statements.statement import Statement

Q = Quantity


@pytest.mark.parametrize(
    ("left", "relation", "right", "outcome"),
    [
        (Q(1.0), "≤", Q(2.0), "holds"),
        (Q(2.0), "≤", Q(1.0), "violated"),
        (Q(1.0 + 1e-12), "≤", Q(1.0, error=1e-11), "holds"),
        (Q(1.0), "=", Q(1.1), "violated"),
        (Q(1.0, spread=1.0), "≤", Q(2.0), "open"),
        (Q(1.0, spread=0.1), "≤", Q(2.0), "holds"),
        (Q(3.0, spread=0.1), "≤", Q(2.0), "violated"),
        # five and seven standard errors beyond the bound, and both sides' errors together
        (Q(2.5, spread=0.1), "≤", Q(2.0), "open"),
        (Q(2.7, spread=0.1), "≤", Q(2.0), "violated"),
        (Q(2.7, spread=0.1), "≤", Q(2.0, spread=0.1), "open"),
        (Q(2.9, spread=0.1), "≤", Q(2.0, spread=0.1), "violated"),
        (Q(math.nan), "≤", Q(2.0), "open"),
        (Q(math.inf), "≤", Q(2.0), "violated"),
        # Gershgorin's −12188, a singular factor, and a bound of 0 within rounding say nothing
        (Q(0.3), "≥", Q(-12188.0), "vacuous"),
        (Q(0.0), "≥", Q(0.0), "vacuous"),
        (Q(5.0), "≥", Q(0.0), "vacuous"),
        (Q(5.0), "≥", Q(-math.inf), "vacuous"),
        (Q(5.0), "≤", Q(math.inf), "vacuous"),
        (Q(5.0), "≥", Q(1e-17, error=1e-15), "below rounding"),
        (Q(0.0), "=", Q(0.0), "vacuous"),
        # the allowance exceeds both sides
        (Q(1e-17, error=1e-15), "≤", Q(2e-17, error=1e-15), "below rounding"),
        (Q(1e-17, error=1e-15), "=", Q(2e-17), "below rounding"),
        (Q(1e-17, error=math.inf), "≤", Q(1.0), "below rounding"),
        # a residual against 0 says something where the things that it compares are larger
        (Q(4e-16, error=1e-12), "≤", Q(0.0), "below rounding"),
        # 6 standard errors reach from 0 to 0.25: it could not have failed
        (Q(0.0558), "=", Q(0.0548, spread=0.033), "open"),
        (Q(0.0558), "≥", Q(0.0548, spread=0.033), "open"),
        (Q(0.0558), "=", Q(0.0548, spread=0.0033), "holds"),
        # errors that are no numbers decide nothing, and one that just reaches leaves nothing
        (Q(1.0, spread=math.nan), "≤", Q(2.0), "open"),
        (Q(1.0, error=math.nan), "≤", Q(2.0), "open"),
        (Q(0.5, error=0.5), "=", Q(0.5), "below rounding"),
        (Q(5.0), "≥", Q(1e-15, error=1e-15), "below rounding"),
        (Q(1.5), "=", Q(1.5, spread=0.25), "open"),
    ],
)
def test_a_claim_holds_only_where_it_could_have_failed(left, relation, right, outcome):
    assert Claim("", left, relation, right).outcome == ClaimOutcome(outcome)
    assert Claim("", left, relation, right).holds is {"holds": True, "violated": False}.get(outcome)


def test_a_residual_is_judged_by_the_size_of_what_it_compares():
    residual = Q(4e-16, error=1e-12)
    for scale, outcome in ((0.0, "below rounding"), (1e-13, "below rounding"), (1.0, "holds")):
        assert Claim("max|K − K′|", residual, "=", Q(0.0), scale=scale).outcome == outcome
    assert Claim("max|K − K′|", Q(1e-11, 1e-12), "=", Q(0.0), scale=1.0).outcome == "violated"


def test_a_left_side_that_may_be_negative_makes_a_lower_bound_of_zero_mean_something():
    loewner = Claim("λ_min(A − B) ≥ 0", Q(0.5, 1e-15), "≥", Q(0.0), nonnegative=False)
    assert loewner.outcome is ClaimOutcome.HOLDS
    assert replace(loewner, right=Q(-math.inf)).outcome is ClaimOutcome.VACUOUS
    refuted = Claim("λ_min(A − B) ≥ 0", Q(-0.5, 1e-15), "≥", Q(0.0))
    assert refuted.outcome is ClaimOutcome.VIOLATED


@pytest.mark.parametrize(
    ("successes", "trials", "promised", "outcome"),
    [
        (50, 100, 0.9, "missed"),
        (100, 100, 0.9, "reached"),
        (88, 100, 0.9, "open"),
        (6, 6, 0.93, "open"),  # the interval begins at 0.41
        (0, 0, 0.5, "open"),
        (0, 100, 0.0, "promised 0"),
        (100, 100, -1.1, "promised 0"),
        (100, 100, None, "promised no number"),
        (100, 100, math.nan, "promised no number"),
        (99, 100, 1.0, "missed"),
    ],
)
def test_the_clopper_pearson_interval_decides_events(successes, trials, promised, outcome):
    assert Event("", successes, trials, promised).outcome == EventOutcome(outcome)


def test_an_interval_that_ends_at_the_promise_reaches_it():
    low, high = Event("", 5, 10).interval
    assert Event("", 5, 10, low).outcome is EventOutcome.REACHED
    assert Event("", 5, 10, high).outcome is EventOutcome.OPEN


def test_findings_are_written_in_values_that_json_has():
    claim = Claim("c", Q(math.inf), "≤", Q(-math.inf, math.nan), concludes=True)
    record = claim.to_dict()
    assert [record[key] for key in ("left", "right", "allowance", "kind")] == [
        "inf", "-inf", "nan", "conclusion",
    ]  # fmt: skip
    assert Claim("c", Q(1.0), "≤", Q(2.0)).to_dict()["kind"] == "step"
    kinds = [
        Constant("c", Q(1.0), "Ω", Q(2.0), concludes=c).to_dict()["kind"] for c in (False, True)
    ]
    assert kinds == ["step", "conclusion"]
    json.dumps([record, Event("e", 5, 10, math.nan).to_dict()], allow_nan=False)


def test_events_have_exact_intervals():
    assert Event("", 0, 10).interval[0] == 0.0
    assert Event("", 10, 10).interval[1] == 1.0
    # Clopper-Pearson at k = n: the lower end solves pⁿ = 0.005
    assert Event("", 10, 10).interval[0] == pytest.approx(0.005 ** (1 / 10))
    assert Event("", 6, 6).interval[0] == pytest.approx(0.4135, abs=1e-3)
    # and at k = 2 of 3 the upper end solves p³ = 1 − 0.005
    assert Event("", 2, 3).interval[1] == pytest.approx(0.995 ** (1 / 3))
    assert Event("", 8, 10, undecided=2).interval == (
        Event("", 8, 10).interval[0], Event("", 10, 10).interval[1],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("measured", "order", "predicted", "outcome"),
    [
        (Q(3.0, 1e-12), "Ω", Q(2.0), "needs constant"),
        (Q(3.0, 1e-12), "Θ", Q(2.0), "needs constant"),
        (Q(0.0), "Ω", Q(2.0), "contradicted for every c > 0"),  # rank deficient
        (Q(-1.0), "Ω", Q(2.0), "contradicted for every c > 0"),
        (Q(4e-28, 1e-13), "Ω", Q(2.0), "below rounding"),  # a duplicated row
        # an upper bound on what is 0 asks for no constant
        (Q(0.0), "O", Q(2.0), "vacuous"),
        (Q(-1.0, 0.5), "O", Q(2.0), "needs constant"),  # a difference: shown with its sign
        (Q(1e-17, 1e-15), "O", Q(2.0), "below rounding"),
        (Q(1e-15, 1e-17), "O", Q(2.0), "needs constant"),
        (Q(0.0, spread=0.1), "O", Q(2.0), "needs constant"),
        (Q(3.0), "Ω", Q(0.0), "vacuous"),
        (Q(3.0), "O", Q(0.0), "contradicted for every c > 0"),
        (Q(3.0), "O", Q(math.inf), "vacuous"),
        (Q(3.0), "Ω", Q(math.inf), "open"),
        (Q(math.nan), "Ω", Q(2.0), "open"),
        (Q(3.0), "Θ", Q(math.nan), "open"),
        (Q(3.0, spread=1.0), "Ω", Q(2.0), "open"),
        (Q(3.0), "Ω", Q(-2.0), "open"),
        (Q(0.0), "Θ", Q(2.0), "contradicted for every c > 0"),
        (Q(3.0, spread=1.0), "O", Q(0.0), "vacuous"),
    ],
)
def test_a_hidden_constant_never_holds(measured, order, predicted, outcome):
    assert Constant("", measured, order, predicted).outcome == ConstantOutcome(outcome)


def test_a_constant_carries_the_errors_of_both_sides():
    c = Constant("", Q(3.0, 0.03), "Ω", Q(2.0, 0.02)).value
    assert c.value == 1.5
    assert c.error >= 3.03 / 1.98 - 1.5


@pytest.mark.parametrize(
    ("hypothesis", "state", "needed"),
    [
        (Hypothesis("", True), HypothesisState.MET, ""),
        (Hypothesis("", False), HypothesisState.NOT_MET, ""),
        (Hypothesis("", None), HypothesisState.UNKNOWN, ""),
        (Hypothesis("", None, 9.0, 1000.0, "Ω"), HypothesisState.NEEDS_CONSTANT, "c ≤ 0.009"),
        (Hypothesis("", None, 9e9, 1.0, "Ω"), HypothesisState.NEEDS_CONSTANT, "c ≤ 9e+09"),
        (Hypothesis("", None, 1.0, 1.0, "O"), HypothesisState.NEEDS_CONSTANT, "c ≥ 1"),
        (Hypothesis("", None, 1e-6, 100.0, "Θ"), HypothesisState.NEEDS_CONSTANT, "c = 1e-08"),
        (Hypothesis("", None, 5.0, 0.0, "Ω"), HypothesisState.UNKNOWN, ""),
        (Hypothesis("", None, 0.0, 5.0, "O"), HypothesisState.UNKNOWN, ""),
        (Hypothesis("", None, math.nan, 5.0, "O"), HypothesisState.UNKNOWN, ""),
    ],
)
def test_an_order_among_the_hypotheses_is_never_met(hypothesis, state, needed):
    assert hypothesis.state is state
    assert hypothesis.needed == needed


def outcome_of(*write, widths=(3, 4, 1)):
    """The verdict of a statement that writes these findings down."""

    def run(_i, out: Findings):
        for finding in write:
            finding(out)

    net = ntk.Network(widths)
    X = ntk.data.gaussian(4, widths[0], seed=0)
    return Statement("x.y", "", "", "", "", run).check(ntk.Instance(net, X))


UNMET = lambda out: out.hypothesis("n ≥ N", False, 1, 2)  # noqa: E731
PRINTED = lambda out: out.at_most("a", 2.0, 1.0, erratum=True)  # noqa: E731
BROKEN = lambda out: out.at_most("b", 2.0, 1.0)  # noqa: E731
STEP = lambda out: out.at_most("step", 1.0, 2.0)  # noqa: E731
WEYL = lambda out: out.at_most("Weyl", 1.0, 2.0, tautology=True)  # noqa: E731
EMPTY = lambda out: out.conclude_at_least("λ", 1.0, 0.0)  # noqa: E731
SHOWN = lambda out: out.conclude_at_least("λ", 1.0, 0.5)  # noqa: E731
ROUNDED = lambda out: out.conclude_at_least("λ", Q(1e-18, 1e-15), 1e-19)  # noqa: E731
NUMBER = lambda out: out.conclusion("λ", Q(1.0, 1e-12), "Ω", 2.0, "N")  # noqa: E731
SINGULAR = lambda out: out.conclusion("λ", 0.0, "Ω", 2.0, "N")  # noqa: E731
LOST = lambda out: out.conclusion("λ", Q(4e-28, 1e-13), "Ω", 2.0, "N")  # noqa: E731
CHANCE = lambda out: out.conclude_at_least("λ", 1.0, 2.0, promised=0.9)  # noqa: E731
MISS = lambda out: out.event("E", 10, 100, 0.9)  # noqa: E731
MISPRINT = lambda out: out.event("F", 10, 100, 0.9, erratum=True)  # noqa: E731
FEW = lambda out: out.event("E", 6, 6, 0.93)  # noqa: E731
SURE = lambda out: out.event("E", 1000, 1000, 0.93)  # noqa: E731
FREE = lambda out: out.event("E", 0, 100, -0.5)  # noqa: E731


@pytest.mark.parametrize(
    ("findings", "outcome", "holds"),
    [
        # a hypothesis that is not met comes before everything
        ((UNMET, PRINTED), Outcome.DOES_NOT_APPLY, None),
        ((UNMET, BROKEN), Outcome.DOES_NOT_APPLY, None),
        ((UNMET, SHOWN), Outcome.DOES_NOT_APPLY, None),
        ((PRINTED, SHOWN), Outcome.VIOLATED_AS_PRINTED, False),
        ((PRINTED, BROKEN), Outcome.VIOLATED, False),
        ((MISS, SHOWN), Outcome.MISSED, False),
        ((MISPRINT, SHOWN), Outcome.MISSED_AS_PRINTED, False),
        ((MISPRINT, MISS), Outcome.MISSED, False),
        ((EMPTY,), Outcome.VACUOUS, None),
        ((EMPTY, STEP), Outcome.VACUOUS, None),
        ((EMPTY, SHOWN), Outcome.HOLDS, True),
        ((ROUNDED, EMPTY, STEP), Outcome.BELOW_ROUNDING, None),
        ((FREE, STEP), Outcome.PROMISED_NOTHING, None),
        ((FEW,), Outcome.OPEN, None),
        ((SURE, FEW), Outcome.REACHED, True),
        # what is promised with a probability is the event's affair, not one draw's
        ((CHANCE, SURE), Outcome.REACHED, True),
        ((CHANCE, FREE), Outcome.PROMISED_NOTHING, None),
        ((CHANCE, STEP), Outcome.OPEN, None),
        ((NUMBER, STEP), Outcome.NEEDS_CONSTANT, None),
        ((NUMBER, FREE), Outcome.NEEDS_CONSTANT, None),
        ((SINGULAR, STEP), Outcome.CONTRADICTED, False),
        ((LOST, STEP), Outcome.BELOW_ROUNDING, None),
        ((NUMBER, LOST), Outcome.BELOW_ROUNDING, None),
        ((NUMBER, SINGULAR), Outcome.CONTRADICTED, False),
        ((STEP, WEYL), Outcome.HOLDS, True),
        ((WEYL,), Outcome.IDENTITIES, None),
        ((), Outcome.OPEN, None),
    ],
)
def test_the_outcome_is_that_of_the_conclusion(findings, outcome, holds):
    verdict = outcome_of(*findings)
    assert verdict.outcome is outcome
    assert verdict.holds is holds
    record = json.loads(json.dumps(verdict.to_dict()))
    assert record["outcome"] == outcome.value
    assert outcome.value in str(verdict)
    assert tex(outcome.value) in verdict.to_latex()


def test_each_verb_writes_down_its_kind_and_relation():
    out = Findings()
    verbs = (out.at_most, out.at_least, out.equal, out.conclude_at_most, out.conclude_at_least,
             out.conclude_equal)  # fmt: skip
    for verb in verbs:
        verb("sides", 1.0, 2.0)
    assert [(c.relation, c.concludes) for c in out.claims] == [
        ("≤", False), ("≥", False), ("=", False), ("≤", True), ("≥", True), ("=", True),
    ]  # fmt: skip
    assert [c.outcome for c in out.claims] == ["holds", "violated", "violated"] * 2
    out.step_order("step", 1.0, "Ω", 2.0)
    out.conclusion("conclusion", 1.0, "O", 2.0)
    assert [(c.order, c.concludes) for c in out.constants] == [("Ω", False), ("O", True)]
    told = [out.order_of("n = …(N)", 1.0, 2.0, at_least=which) for which in (True, False, None)]
    assert told == [False, True, False]
    assert [h.order for h in out.hypotheses] == ["Ω", "O", "Θ"]


def test_the_summary_shows_the_constant_with_its_error():
    assert outcome_of(NUMBER).summary == "c = 0.5 ± 5e-13 in λ = Ω(N)"
    assert outcome_of(LOST).summary == "c = 2e-28 ± 5e-14 in λ = Ω(N)"
    assert outcome_of(lambda out: out.conclusion("λ", -1.0, "Ω", 2.0)).summary.startswith(
        "c = -0.5"
    )
    assert outcome_of(UNMET, NUMBER).summary == "not met: n ≥ N"
    assert outcome_of(SURE).summary == "E: 1000/1000, promised 0.93"
    assert outcome_of(EMPTY, SHOWN).summary == "λ: 1 ≥ 0.5 [1 vacuous, 1 holds]"


def test_every_word_has_its_sentence():
    for words in GLOSSARY.values():
        for word in words:
            assert word.sentence.endswith("."), word


def test_events_run_over_redraws_of_data_and_weights():
    law = ntk.data.Gaussian(3)
    instance = ntk.Instance(
        ntk.Network([3, 8, 1]), law.sample(4, 0), distribution=law, trials=20, seed=5
    )
    first, again = list(instance.redraws(3)), list(instance.redraws(3))
    for a, b in zip(first, again, strict=True):
        assert (a.X == b.X).all()
        assert (a.weight(1) == b.weight(1)).all()
    assert len({float(a.X[0, 0]) for a in first}) == 3
    assert len({float(a.weight(1)[0, 0]) for a in first}) == 3
    assert len({a.seed for a in first}) == 3
    out = Findings()

    def occurs(fresh):
        if fresh is first[2]:
            raise NotComputable("nothing to compare")
        return fresh.lambda_K.value > 0

    out.event_over("λ > 0", instance.redraws(3), occurs, 0.5)
    (event,) = out.events
    assert (event.successes, event.trials, event.undecided) == (2, 3, 1)
    assert event.over == "data and weights"


def test_what_cannot_be_redrawn_says_so():
    X = ntk.data.gaussian(4, 3, seed=0)
    with pytest.raises(NotComputable, match="distribution"):
        ntk.Instance(ntk.Network([3, 4, 1]), X).redraw(0)
    law = ntk.data.Gaussian(3)
    given = ntk.MLP.from_weights([torch.ones(3, 4), torch.ones(4, 1)])
    with pytest.raises(NotComputable, match="given"):
        ntk.Instance(given, X, distribution=law).redraw(0)


def test_redraws_are_bounded_in_time_and_memory():
    law = ntk.data.Gaussian(3)
    small = ntk.Instance(ntk.Network([3, 8, 1]), law.sample(4, 0), distribution=law)
    assert len(list(small.redraws())) == small.trials
    large = ntk.Instance(ntk.Network([3, 600, 600, 1]), law.sample(600, 0), distribution=law)
    assert large.affordable(1e10, 2e10) == 2
    assert large.affordable(1e12) == 1
    assert 1 <= len(list(large.redraws())) < 5
    assert large.redraw(0) is large.redraw(0)
    for trial in range(5):
        large.redraw(trial)
    assert 1 <= len(large._redrawn) < 4
