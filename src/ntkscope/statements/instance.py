"""An instance: one network, sampled, on data, with every quantity computed once.

All statements of a paper read from the same :class:`Instance`, so that checking all of them costs
one forward and one backward pass and one eigenvalue of each matrix.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ntkscope._base import memory
from ntkscope.data import Distribution, Gaussian, Sphere
from ntkscope.networks.mlp import MLP
from ntkscope.networks.network import Network
from ntkscope.statements import redraws
from ntkscope.statements.redraws import NotComputable
from ntkscope.statements.sampled import SampledNetwork

__all__ = ["Instance", "NotComputable"]


class Instance(SampledNetwork):
    """A sampled network on data.

    Parameters
    ----------
    net: a Network, sampled with ``seed``, or an MLP of your own.
    X: (N, d) data.
    seed: of the weights; every other random choice derives from it by name.
    distribution: the law of the rows of X, where it is known. Expectations over the data are then
        taken over fresh draws (or in closed form); without it, over half of the rows of X, and the
        statement is checked on the other half.
    samples: draws behind a Monte-Carlo expectation. trials: repetitions behind a success rate.
    delta: the failure probability δ that some statements take.

    Raises ValueError for several outputs (the theory has one), data that do not fit, δ outside of
    (0, 1), no trials, or fewer than two draws.
    """

    def __init__(
        self,
        net: Network | MLP,
        X: Any,
        *,
        seed: int = 0,
        distribution: Distribution | None = None,
        samples: int = 4096,
        trials: int = 100,
        delta: float = 0.1,
    ) -> None:
        super().__init__(net, X, seed)
        _require_budget(samples, trials, delta)
        self.distribution = distribution
        self.samples, self.trials, self.delta = samples, trials, delta
        self._redrawn: dict[int, Instance] = {}

    def to_dict(self) -> dict[str, Any]:
        """What it was made of, in plain values, without the data."""
        return {
            "network": str(self.network), "N": self.N, "d": self.d, "seed": self.seed,
            "distribution": repr(self.distribution) if self.distribution else "",
            "samples": self.samples, "trials": self.trials, "delta": self.delta,
        }  # fmt: skip

    def __repr__(self) -> str:
        return f"Instance({self.network}, N={self.N}, seed={self.seed})"

    # joint redraws of data and weights, for events with a probability

    def redraw(self, trial: int) -> Instance:
        """The same network and law with data and weights drawn anew; the same for the same trial.

        Redraws are kept while there is room, so that statements share what they compute. Raises
        NotComputable where the law of the data is not known or the weights were given.
        """
        if trial not in self._redrawn:
            model, X, seed = redraws.drawn(
                self.network, self.distribution, self.N, self.generator, trial
            )
            fresh = Instance(
                model, X, seed=seed, distribution=self.distribution, samples=self.samples,
                trials=self.trials, delta=self.delta,
            )  # fmt: skip
            if len(self._redrawn) >= redraws.room(self.network, self.N):
                return fresh
            self._redrawn[trial] = fresh
        return self._redrawn[trial]

    def redraws(self, trials: int | None = None) -> Iterator[Instance]:
        """Independent redraws, one after another; by default ``self.trials``, or as many as a budget of
        operations allows. Raises NotComputable as :meth:`redraw`."""
        if trials is None:
            trials = self.affordable(redraws.cost(self.network, self.N), redraws.FLOPS)
        return map(self.redraw, range(trials))

    def affordable(self, flops: float, budget: float = 2e9) -> int:
        """How many of ``self.trials`` repetitions of ``flops`` operations fit a budget, one at least."""
        return max(1, min(self.trials, int(budget // max(flops, 1.0))))

    # expectations over the data

    @cached_property
    def _split(self) -> tuple[Tensor, Tensor]:
        """(rows that statements with an expectation are checked on, points for the expectation)."""
        generator = self.generator("reference")
        if self.distribution is not None:
            fresh = self.distribution.sample(self.samples, generator)
            return torch.arange(self.N), fresh
        if self.N < 2:
            raise NotComputable("expectations need the distribution or two samples at least")
        order = torch.randperm(self.N, generator=generator)
        half = self.N // 2
        return order[: self.N - half].sort().values, self.X[order[self.N - half :]]

    @property
    def rows(self) -> Tensor:
        """Indices of the samples that a statement about centred features is checked on.

        All of them when the distribution is known, otherwise half: the other half stands in for
        the distribution, since the mean of the same sample makes centred features singular.
        """
        return self._split[0]

    @property
    def reference(self) -> Tensor:
        """(M, d) points for expectations over the data, independent of ``rows``."""
        return self._split[1]

    @property
    def reference_note(self) -> str:
        """How expectations over the data were taken, for the reader of a verdict."""
        if self.distribution is not None:
            return f"Expectations over the data: {len(self.reference)} fresh draws."
        return (
            f"The distribution is not known: expectations are means over {len(self.reference)} "
            f"samples, and the statement is checked on the other {len(self.rows)}."
        )

    @cached_property
    def reference_pass(self) -> tuple[list[Tensor], list[Tensor]]:
        """([F_0, …, F_{L-1}], [G_1, …, G_L]) on the reference points."""
        memory.require(
            16.0 * len(self.reference) * sum(self.n), "the features of the reference points",
            "pass fewer samples",
        )  # fmt: skip
        with torch.no_grad():
            return self.model.layers(self.reference.to(self.model.dtype))

    def mean_features(self, k: int) -> tuple[Tensor, bool]:
        """(E_x f_k(x), whether it is exact): closed form for the first ReLU layer, else sampled."""
        return self.held(("mean", k), lambda: self._mean_features(k))

    def _mean_features(self, k: int) -> tuple[Tensor, bool]:
        law = self.distribution
        if k == 0 and law is not None:
            return law.mean(), True
        if k == 1 and self.relu and self.network.bias_std is None and not self.network.residual:
            norms = torch.linalg.vector_norm(self.weight(1), dim=0)
            if isinstance(law, Gaussian):
                return norms / math.sqrt(2 * math.pi), True
            if isinstance(law, Sphere):
                # E max(x_1, 0) on the sphere of radius R in R^d
                radius = math.sqrt(law.moments().norm_sq)
                gammas = math.lgamma(self.d / 2) - math.lgamma((self.d + 1) / 2)
                return norms * (radius * math.exp(gammas) / (2 * math.sqrt(math.pi))), True
        return self.reference_pass[0][k].mean(dim=0), False

    def centred(self, k: int) -> Tensor:
        """F̃_k = F_k − E_x f_k on ``rows``."""
        return self.held(("centred", k), lambda: self.F(k)[self.rows] - self.mean_features(k)[0])

    def mean_spread(self, k: int, direction: Tensor) -> float:
        """Standard error of ⟨direction, E_x f_k⟩; 0 where the mean is exact."""
        if self.mean_features(k)[1]:
            return 0.0
        values = self.reference_pass[0][k] @ direction
        if len(values) < 2:
            return math.inf
        return float(values.std()) / math.sqrt(len(values))


_MOST_TRIALS = 1_000_000


def _require_budget(samples: int, trials: int, delta: float) -> None:
    if not 0 < delta < 1:
        raise ValueError(
            f"delta must be a probability with 0 < delta < 1, got {delta}; leave it out for 0.1"
        )
    for name, value, least, why in (
        ("samples", samples, 2, "an expectation needs them for its standard error"),
        ("trials", trials, 1, "a success rate is taken over them"),
    ):
        if value < least:
            raise ValueError(f"{name} must be an integer of at least {least}, got {value}: {why}")
    if trials > _MOST_TRIALS:
        raise ValueError(
            f"trials must be at most {_MOST_TRIALS:,}, got {trials}: a success rate is then known to 1e-3"
        )
