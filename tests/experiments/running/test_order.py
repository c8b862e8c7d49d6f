"""The order of the work, and what is computed together."""

from experiments.trial_functions import settings
from ntkscope.experiments.design.expansion import expand
from ntkscope.experiments.design.settings import read_settings
from ntkscope.experiments.measures.registry import measure_of
from ntkscope.experiments.running.order import interleave
from ntkscope.experiments.running.units import units
from ntkscope.experiments.sweep import Sweep

SMALL = {
    "name": "small",
    "seeds": 3,
    "grid": {"d": [4, 8], "N": [10, 20]},
    "data": "gaussian:N={N},d={d}",
    "network": {"widths": ["d", "2*N", 1]},
}


def test_the_beginning_of_the_order_spans_the_grid():
    trials = Sweep({**settings("normal", seeds=8, scales=16)}).trials
    order = interleave(trials)
    assert sorted(t.key for t in order) == sorted(t.key for t in trials)
    first = [dict(t.coordinates)["scale"] for t in order[:4]]
    assert max(first) - min(first) >= 12
    assert {t.seed for t in order[:16]} == {0}


def test_blocks_are_whole_whatever_is_asked_for():
    trials = expand(read_settings({**SMALL, "seeds": 20}))
    for unit in units(trials[3:18]):
        size = measure_of(unit.settings).block(unit.settings)
        assert len(unit.seeds) == size
        assert unit.seeds[0] % size == 0
        assert {t.seed for t in unit.trials} <= set(unit.seeds)
