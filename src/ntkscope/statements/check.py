"""Statements run on an instance: one, or all of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ntkscope.data import Distribution
from ntkscope.networks.mlp import MLP
from ntkscope.networks.network import Network
from ntkscope.statements.instance import Instance
from ntkscope.statements.registry import find, statements
from ntkscope.statements.verdict import Verdict, Verdicts


def check(
    id: str,
    net: Network | MLP,
    X: Any,
    *,
    seed: int = 0,
    distribution: Distribution | None = None,
    samples: int = 4096,
    trials: int = 100,
    delta: float = 0.1,
) -> Verdict:
    """Run one statement on a network and data.

    Parameters
    ----------
    id: such as ``"nguyen2021.theorem-4.1"``; ``ntkscope check --list`` shows all.
    net: a Network, sampled with ``seed``, or an MLP.
    X: (N, d) data.
    distribution: the law of X's rows, where it is known; without it, expectations over the data
        are taken over half of the sample and hypotheses on the law cannot be tested.
    samples, trials, delta: Monte-Carlo draws, repetitions behind a success rate, and δ.
    seed: of the weights and of every other random choice.

    Returns
    -------
    Verdict of the statement on this network and data.

    Raises ValueError for an unknown id, or data that do not fit the network.
    """
    found = find(id)
    return found.check(
        Instance(
            net, X, seed=seed, distribution=distribution, samples=samples, trials=trials,
            delta=delta,
        )
    )  # fmt: skip


def check_all(
    instance: Instance, ids: Iterable[str] = (), settings: dict[str, Any] | None = None
) -> Verdicts:
    """Several statements (all of them by default) on one instance, sharing what it caches.

    Parameters
    ----------
    instance: network and data.
    ids: of the statements; all of them by default.
    settings: recorded in the verdicts.

    Returns
    -------
    A verdict for each statement, in the order of the ids.
    """
    chosen = [find(id) for id in ids] or list(statements())
    return Verdicts(s.check(instance, settings) for s in chosen)
