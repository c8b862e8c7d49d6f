"""The explicit inequalities hold on random instances; those of the errata do not."""

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from statements.random_instances import instances, violations

HEALTH = (HealthCheck.too_slow, HealthCheck.data_too_large)
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)  # shrinking a network costs minutes
BIASES = (None, None, 0.5)
DRAWN = {
    "nguyen2021": instances(trials=8),
    "bombari2022": instances(("bombari2022", "he", "lecun", "unit"), BIASES, trials=4),
    "banerjee2023": instances(
        (*(f"banerjee2023:sigma0_sq={s}" for s in (0.25, 1.0, 4.0)), "he", "bombari2022"),
        BIASES,
        equal=(True, False),
        trials=4,
    ),
}


def hold(paper, instance):
    # the trade-off is nine networks in one; its inequalities are those of theorem 4.1
    rare = instance.seed % 10 > 0
    found = violations(instance, paper, ("banerjee2023.tradeoff",) if rare else ())
    assert not found, (found, str(instance.network), instance.N, instance.distribution)


@pytest.mark.parametrize("paper", DRAWN)
@settings(max_examples=12, deadline=None, suppress_health_check=HEALTH, phases=PHASES)
@given(st.data())
def test_inequalities_hold(paper, data):
    hold(paper, data.draw(DRAWN[paper]))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("paper", DRAWN)
@settings(max_examples=500, deadline=None, suppress_health_check=HEALTH, phases=PHASES)
@given(st.data())
def test_inequalities_hold_on_five_hundred(paper, data):
    hold(paper, data.draw(DRAWN[paper]))
