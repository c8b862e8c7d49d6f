"""Which instances can be drawn anew, data and weights together."""

from __future__ import annotations

from ntkscope.networks.initialization import GIVEN
from ntkscope.statements.instance import Instance


def redrawable(i: Instance) -> bool:
    """Whether the law of the data is known and the weights were drawn, not given."""
    return i.distribution is not None and i.network.init != GIVEN
