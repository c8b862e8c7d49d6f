"""The machinery: registry, findings, verdicts."""

import json
import math
import sys

import pytest
import torch

import ntkscope as ntk
from ntkscope.statements.findings import Findings
from ntkscope.statements.instance import NotComputable
from ntkscope.statements.paper import Paper
from ntkscope.statements.quantity import Quantity, quantity, rounded
from ntkscope.statements.registry import find
from ntkscope.statements.statement import Statement


def small(activation="relu", widths=(5, 8, 6, 1), N=7):
    net = ntk.Network(widths, activation, "he")
    return net, ntk.data.gaussian(N, widths[0], seed=1)


def test_unknown_id_suggests_the_nearest():
    net, X = small()
    with pytest.raises(ValueError, match=r"did you mean 'nguyen2021.eq-5'"):
        ntk.check("nguyen2021.eq5", net, X)


def test_an_id_is_registered_once():
    paper = Paper("once", short="Once", title="")
    about = {"title": "", "section": "", "sentence": "", "latex": ""}
    paper.statement("eq-5", **about)(lambda _i, _out: None)
    with pytest.raises(ValueError, match=r"'once.eq-5' is registered twice"):
        paper.statement("eq-5", **about)(lambda _i, _out: None)
    paper.confirmer("eq-5", "bound")(lambda _b: (0, 1))
    with pytest.raises(ValueError, match="has a confirmer already"):
        paper.confirmer("eq-5", "bound")(lambda _b: (0, 1))
    with pytest.raises(ValueError, match="for all papers alike"):
        paper.confirmer("eq-5", "shared.schur-sum")


def test_verdict_prints_and_serialises():
    net, X = small()
    verdict = ntk.check("nguyen2021.eq-5", net, X, seed=3)
    assert verdict.holds is True
    assert "nguyen2021.eq-5" in str(verdict)
    assert json.loads(json.dumps(verdict.to_dict()))["outcome"] == "holds"
    assert r"\begin{tabular}" in verdict.to_latex()


def test_quantities_carry_their_errors():
    third = rounded(1 / 3, 1)
    assert abs(float(third + third + third) - 1.0) <= (third + third + third).error
    product = Quantity(2.0, 0.1) * Quantity(3.0, 0.2)
    assert product.error >= 2.0 * 0.2 + 3.0 * 0.1
    assert math.isnan((Quantity(1.0) / Quantity(0.0)).value)
    assert quantity(2).value == 2.0


def test_not_computable_keeps_what_was_found():
    def run(_i, out: Findings):
        out.at_most("1 ≤ 2", 1.0, 2.0)
        raise NotComputable("there is nothing left")

    net, X = small()
    made = Statement("x.y", "", "", "", "", run)
    verdict = made.check(ntk.Instance(net, X))
    assert verdict.claims[0].holds
    assert "nothing left" in verdict.notes[0]


def test_check_hands_every_setting_to_the_instance(monkeypatch):
    seen = []

    def run(i, _out):
        seen.append(
            (i.seed, i.distribution, i.samples, i.trials, i.delta, float(i.weight(1)[0, 0]))
        )

    made = Statement("x.y", "", "", "", "", run)
    monkeypatch.setattr(sys.modules[ntk.check.__module__], "find", lambda _: made)
    net, X = small()
    law = ntk.data.Gaussian(5)
    ntk.check("x.y", net, X, seed=3, distribution=law, samples=17, trials=5, delta=0.25)
    first = float(net.sample(3).weights[0][0, 0].detach())
    assert seen == [(3, law, 17, 5, 0.25, first)]


def test_findings_go_by_their_name_where_no_key_is_given():
    out = Findings()
    for about in ({}, {"key": "k"}):
        out.at_most("claim", 1.0, 2.0, **about)
        out.conclusion("constant", 1.0, "Ω", 2.0, **about)
        out.event("event", 5, 5, 0.5, **about)
    assert [[f.key for f in found] for found in (out.claims, out.constants, out.events)] == [
        ["claim", "k"], ["constant", "k"], ["event", "k"],
    ]  # fmt: skip
    assert not any(f.erratum for f in (*out.claims, *out.constants, *out.events))
    assert out.events[0].interval[1] == 1.0
    assert out.events[0].undecided == 0
    for at_least in (True, False):
        assert out.order_of("equal sides", 2.0, 2.0, at_least=at_least) is True
    for _ in range(2):
        out.note("once")
    assert out.notes == ["once"]


def test_several_outputs_are_refused():
    with pytest.raises(ValueError, match="one output"):
        ntk.Instance(ntk.Network([3, 4, 2]), torch.ones(2, 3))


def test_every_statement_is_written_out():
    for s in ntk.statements():
        assert all((s.title, s.source, s.latex)), s.id
        assert s.sentence.endswith("."), s.id
        assert find(s.id) is s


def test_random_choices_differ_between_seeds_and_purposes():
    # torch keeps the low 32 bits of a seed alone, so that a seed shifted above them is lost
    X = ntk.data.gaussian(4, 3, seed=0)
    net = ntk.Network([3, 4, 1])
    drawn = {
        float(torch.randn((), generator=ntk.Instance(net, X, seed=seed).generator(purpose)))
        for seed in (0, 1, 2, 2**33)
        for purpose in ("reference", "labels")
    }
    assert len(drawn) == 8
