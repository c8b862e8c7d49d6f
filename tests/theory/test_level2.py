"""The explicit inequalities hold on random instances; those of the errata do not."""

import pytest
from hypothesis import HealthCheck, Phase, given, settings

import ntkscope as ntk
from theory.random_instances import instances

HEALTH = (HealthCheck.too_slow, HealthCheck.data_too_large)
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)  # shrinking a network costs minutes


def violations(instance, paper):
    """What fails although it must not, in words."""
    found = []
    for verdict in ntk.check_all(instance, [s.id for s in ntk.statements(paper)]):
        found += [
            f"{verdict.id}: {c.name}: {c.left} {c.relation} {c.right}"
            for c in verdict.violations
            if not c.erratum
        ]
        found += [f"{verdict.id}: {r.to_dict()}" for r in verdict.rates if r.holds is False]
    return found


@settings(max_examples=25, deadline=None, suppress_health_check=HEALTH, phases=PHASES)
@given(instances())
def test_nguyen_inequalities_hold(instance):
    assert not violations(instance, "nguyen2021"), str(instance.network)


@pytest.mark.slow
@settings(max_examples=500, deadline=None, suppress_health_check=HEALTH, phases=PHASES)
@given(instances())
def test_nguyen_inequalities_hold_on_five_hundred(instance):
    assert not violations(instance, "nguyen2021"), str(instance.network)
