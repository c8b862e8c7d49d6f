"""What an operation on tensors does to their covariances: the contract of one file a family.

For i.i.d. channels, a tensor of two samples x, x′ has the covariance S[p, p′] of a channel at
positions p, p′, the variances V = S(x, x)[p, p], and the tangent kernel T of a channel over all
parameters before it. Instead of S the distance D = ½E(u_p − v_p′)² = ½(V + V′) − S is carried: it
is linear in S, and 1 − ρ = (D − ½(√V − √V′)²)/√(VV′) keeps its digits where ρ is near 1.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from ntkscope.kernels.limiting.architectures.pairs import Pairing


@dataclass(frozen=True, eq=False)
class State:
    """A tensor's variances on both sides, D, and T (None while there are no parameters before).

    D and T are ``scale`` times what is stored, so that a factor of both takes no pass. Shapes are
    :class:`Pairing`'s. Operations write over none of them.
    """

    left: Tensor
    right: Tensor
    distance: Tensor
    tangent: Tensor | None
    scale: float = 1.0

    def plain(self) -> State:
        """The same with scale 1."""
        if self.scale == 1.0:
            return self
        tangent = None if self.tangent is None else self.tangent * self.scale
        return State(self.left, self.right, self.distance * self.scale, tangent)


class Passed(NamedTuple):
    """D and T of an output, as a :class:`State` holds them."""

    distance: Tensor
    tangent: Tensor | None
    scale: float = 1.0

    def bounded(self) -> Passed:
        """The same with scale 1 where the scale might not stay a number, or is 0."""
        if 2.0**-300 < abs(self.scale) < 2.0**300:
            return self
        tangent = None if self.tangent is None else self.tangent * self.scale
        return Passed(self.distance * self.scale, tangent)


U = 2.0**-53


class Error(NamedTuple):
    """Bounds on a state's errors.

    relative: of D, relative to D. absolute: of D on top, relative to √(VV′). angle: of D on top,
    relative to θ√(VV′), cos θ = ρ; a sum over positions, weights of their own each, keeps it by the
    Cauchy-Schwarz inequality. tangent: of T, relative to √(T_ii T_jj), as
    :mod:`ntkscope.kernels.limiting.error` has it.
    """

    relative: float
    absolute: float
    angle: float
    tangent: float

    def of_covariance(self, spread: float) -> float:
        """Of S = ½(V + V′) − D and of 1 − ρ, relative to √(VV′)."""
        return (self.relative + 6 * U) * (spread + 1.0) + self.absolute + math.pi * self.angle


class Seen(NamedTuple):
    """What the pairs of one node were like.

    spread: the largest ½(R + 1/R), R the ratio of two samples' √V. lowest, highest: of V where it
    is not 0. amplification: the largest (M√V)²/M S Mᵀ of a mixing operation, of S and of T.
    """

    spread: float = 1.0
    lowest: float = math.inf
    highest: float = 0.0
    amplification: float = 1.0


class Operation(ABC):
    """Final subclasses are frozen dataclasses; they are registered with the torch functions that
    they describe (:mod:`reading`)."""

    kind: str
    mixes: bool = False  # whether an output at (p, p) reads inputs at p ≠ p′
    fresh: bool = False  # whether it ends in weights of its own, of mean zero
    flattens: bool = False  # whether it reads inputs at (p, p) only, whatever is wanted of it

    @abstractmethod
    def variance(self, inputs: list[Tensor], entries: list[Tensor]) -> Tensor:
        """V of the output from those of the inputs, (*positions, N); not asked where it mixes.

        ``entries`` are the values where the graph begins, (channels, *positions, N) each.
        """

    @abstractmethod
    def propagate(self, inputs: list[State], at: Pairing) -> Passed:
        """D and T of the output, from states at the positions that :attr:`mixes` asks for.

        ``at`` knows the output's variances. Where it mixes, S in the place of D, and scale 1.
        """

    def row_sums(self, V: Tensor) -> Tensor:
        """M V of a mixing operation, (*positions, N)."""
        raise NotImplementedError

    def error(self, inputs: list[Error], before: list[Seen], seen: Seen) -> Error:
        """The output's errors from the inputs'; as it stands, of a few roundings."""
        del before, seen
        worst = [max(values) for values in zip(*inputs, strict=True)]
        return Error(worst[0] + 8 * U, worst[1], worst[2], worst[3] + 8 * U)

    def describe(self) -> str:
        """One line for a plan."""
        return self.kind

    @property
    def passes(self) -> float:
        """Passes over a state's entries that it takes, for the expected time."""
        return 2.0
