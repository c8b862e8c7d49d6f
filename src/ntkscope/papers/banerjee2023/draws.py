"""Fresh weights on the same data: what Banerjee et al. 2023 promise a probability over."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ntkscope.networks.initialization import GIVEN
from ntkscope.statements import redraws
from ntkscope.statements.findings import Findings
from ntkscope.statements.instance import Instance, NotComputable
from ntkscope.statements.quantity import Quantity

# with a success in none of as many draws the 99% interval ends at 0.73
_LEAST = 4


def fresh_weights(i: Instance) -> Iterator[Instance]:
    """Independent draws of the weights on the data of ``i``, as many as ``i.trials`` and time allow.

    Draws are kept while there is room, so that the statements share them. Raises
    NotComputable where the weights were given.
    """
    if i.network.init == GIVEN:
        raise NotComputable("the weights were given, so they cannot be drawn anew")
    # drawing a normal number costs as much as some tens of operations
    flops = 3 * redraws.cost(i.network, i.N) + 60.0 * i.network.n_parameters
    count = max(min(i.trials, _LEAST), i.affordable(flops))
    for trial in range(count):

        def make(trial: int = trial) -> Instance:
            purpose = f"banerjee weights {trial}"
            return Instance(
                i.network.sample(i.generator(purpose)), i.X, distribution=i.distribution,
                seed=i.generator(purpose).initial_seed(), samples=i.samples, trials=i.trials,
                delta=i.delta,
            )  # fmt: skip

        kept = trial < redraws.room(i.network, i.N)
        yield i.held(("fresh weights", trial), make) if kept else make()


def reaches(left: Quantity, right: Quantity) -> bool | None:
    """Whether left ≥ right; None where rounding decides."""
    if left.value - left.error >= right.value + right.error:
        return True
    return False if left.value + left.error < right.value - right.error else None


def every(parts: Iterable[bool | None]) -> bool | None:
    """Whether all of them occur; stops at the first that does not."""
    unknown = False
    for part in parts:
        if part is False:
            return False
        unknown = unknown or part is None
    return None if unknown else True


def event_over_weights(
    i: Instance, out: Findings, name: str, occurs: Callable[[Instance], bool | None],
    promised: float, **about: Any,
) -> None:  # fmt: skip
    """An event as the paper prints it, over fresh weights on the same data."""
    out.event_over(name, fresh_weights(i), occurs, promised, over="weights", erratum=True, **about)


def theorem_promise(i: Instance) -> float:
    """1 − δ − 4L/m of Theorems 4.1 and 4.2, their L the hidden layers."""
    return 1 - i.delta - 4 * (i.L - 1) / min(i.n[1 : i.L])
