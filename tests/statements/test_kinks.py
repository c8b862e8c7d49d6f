"""Pre-activations that cancel: two ways to a derivative may take two sides of a kink, which violates nothing."""

import dataclasses

import pytest
import torch

import ntkscope as ntk
from ntkscope.data import Gaussian
from ntkscope.statements.kinds import Claim
from ntkscope.statements.outcomes import ClaimOutcome
from ntkscope.statements.quantity import Quantity
from ntkscope.statements.registry import find

CASES = {
    "banerjee2023.eq-4": ([1, 16, 16, 16, 1], "banerjee2023:sigma0_sq=1.0"),
    "bombari2022.eq-16": ([1, 1, 9, 29, 9, 1], "bombari2022"),
}


@pytest.mark.parametrize("id", CASES)
def test_weights_of_one_size_leave_identities_open(id):
    """±x − x is 0 exactly or to rounding, by the order of a sum."""
    widths, init = CASES[id]
    seen = set()
    for seed in range(8):
        net = ntk.Network(widths, "relu", init, weights="rademacher")
        instance = ntk.Instance(net, Gaussian(1).sample(8, seed + 1), seed=seed)
        verdict = find(id).check(instance)
        assert not verdict.violations
        open_ones = [c for c in verdict.claims if c.at_kinks]
        assert all("0 to rounding" in c.note for c in open_ones)
        seen |= {c.outcome for c in open_ones}
    assert seen == {ClaimOutcome.OPEN}


@pytest.mark.parametrize("id", CASES)
def test_other_weights_decide(id):
    widths, init = CASES[id]
    instance = ntk.Instance(ntk.Network(widths, "tanh", init), Gaussian(1).sample(8, 1), seed=0)
    assert not instance.at_kinks
    assert not find(id).check(instance).violations
    found = find(id)
    wrong = dataclasses.replace(found, run=lambda _, out: out.conclude_equal("a", 1.0, 2.0))
    assert wrong.check(instance).violations


def test_a_claim_at_kinks_holds_or_is_open():
    claim = Claim("a", Quantity(1.0), "=", Quantity(2.0), concludes=True, at_kinks=True)
    assert claim.outcome is ClaimOutcome.OPEN
    assert dataclasses.replace(claim, right=Quantity(1.0)).outcome is ClaimOutcome.HOLDS
    assert dataclasses.replace(claim, at_kinks=False).outcome is ClaimOutcome.VIOLATED


def test_sums_of_zeros_lie_on_no_side_by_rounding():
    model = ntk.Network([2, 1, 3, 1], "relu").sample(seed=0)
    with torch.no_grad():
        model.weights[0].fill_(-1.0)
    dead = ntk.empirical_ntk(model, torch.tensor([[1.0, 2.0]], dtype=torch.float64))
    assert dead.near_kinks == 0
    cancels = ntk.empirical_ntk(model, torch.tensor([[1.0, -1.0]], dtype=torch.float64))
    assert cancels.near_kinks == 1
