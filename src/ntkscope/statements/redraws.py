"""Joint redraws of an instance's data and weights, for events that have a probability."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from torch import Generator, Tensor

from ntkscope.data import Distribution
from ntkscope.networks.initialization import GIVEN
from ntkscope.networks.mlp import MLP
from ntkscope.networks.network import Network

FLOPS = 5e9  # of the joint redraws that one event takes
KEPT_BYTES = 2.0**27  # of the redraws that are kept


class NotComputable(Exception):
    """Raised inside a statement when the rest of it has no meaning on this instance."""


def drawn(
    net: Network,
    law: Distribution | None,
    n_samples: int,
    generator: Callable[[str], Generator],
    trial: int,
) -> tuple[MLP, Tensor, int]:
    """(a model, data, a seed for everything else), each from a stream of its own.

    Raises NotComputable where the law of the data is not known or the weights were given.
    """
    if law is None:
        raise NotComputable("events over the data need their distribution")
    if net.init == GIVEN:
        raise NotComputable("the weights were given, so they cannot be drawn anew")
    model = net.sample(generator(f"redraw {trial}: weights"))
    X = law.sample(n_samples, generator(f"redraw {trial}: data"))
    return model, X, generator(f"redraw {trial}").initial_seed()


def room(net: Network, n_samples: int) -> int:
    """How many redraws may be kept: features, signals, Gram matrices and weights of each."""
    per_sample = 6.0 * (n_samples + sum(net.widths))
    return int(KEPT_BYTES // (8.0 * (n_samples * per_sample + 3.0 * net.n_parameters)))


def cost(net: Network, n_samples: int) -> float:
    """Operations of a redraw's passes, Gram matrices and the smallest eigenvalue of one of them."""
    weights = sum(float(a) * b for a, b in pairwise(net.widths))
    return n_samples * (10.0 * n_samples**2 + 2.0 * n_samples * sum(net.widths) + 4.0 * weights)
