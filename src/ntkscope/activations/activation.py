"""What an activation states of itself, so that nobody else has to know it by name.

Every constant is a fact about the function: the Lipschitz constant M of φ and M′ of φ′ (Bombari et
al. 2022, Assumption 2.3; Banerjee et al. 2023, Assumption 1), φ(0), the kinks and the degree of
positive homogeneity. At a kink the derivative is 0 for ReLU, as in the papers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ntkscope._base.arrays import Array
from ntkscope.activations.balls import BallActivation

Elementwise = Callable[[Any], Any]
"""A function of a tensor or a NumPy array, entry by entry; it returns what it was given."""
DualForm = Callable[[Any, Any, Any], tuple[Any, Any]]
"""(a, b, 1 − ρ) → (E[φ(u)φ(v)], E[φ′(u)φ′(v)]), on tensors or NumPy arrays of one shape."""
HermiteForm = Callable[[int, Array, bool], tuple[Array, Array]]
"""(R, a, whether of φ′) → (E[f(√a z) h_r(z)] of shape (V, R+1), E f(√a z)² of shape (V,))."""


@dataclass(frozen=True)
class Fused:
    """φ and its backward pass in the buffers of a gradient step, on tensors.

    forward: φ in place. backward: (signal, φ(g)) → signal ∘ φ′(g) in place, φ′ being read off φ(g) to
    rounding relative to 1, which is what a gradient needs.
    """

    forward: Callable[[Any], Any]
    backward: Callable[[Any, Any], Any]


@dataclass(frozen=True, eq=False, repr=False)
class Activation:
    """An element-wise φ with its derivatives, constants and closed forms.

    Attributes
    ----------
    name: the canonical spelling, e.g. ``"leaky_relu:alpha=0.1"``; two activations with one name
        are equal.
    phi, derivative, second: φ, φ′, φ″ on tensors and NumPy arrays of any shape.
    lipschitz: M = sup |φ′| (``inf`` if unbounded, ``None`` if not known).
    lipschitz_derivative: M′ = sup |φ″|, ``inf`` where φ has a kink, ``None`` if not known.
    kinks: points where φ′ jumps; quadrature must split there.
    homogeneity: 1 if φ(cz) = cφ(z) for every c > 0, else ``None``.
    slopes: (inf φ′, sup φ′) where more is known than (−M, M).
    dual, hermite: closed forms of Gaussian expectations, where there are any.
    ball: φ and φ′ on balls, for rigorous confirmation.
    fused: φ in the buffers of a gradient step.
    poles: φ has poles off the real line, so its Hermite coefficients fall slower than any q^r.
    custom: a user's own, equal to no other function whatever its name.
    """

    name: str
    phi: Elementwise
    derivative: Elementwise
    second: Elementwise
    lipschitz: float | None
    lipschitz_derivative: float | None
    kinks: tuple[float, ...] = ()
    homogeneity: int | None = None
    slopes: tuple[float, float] | None = None
    dual: DualForm | None = None
    hermite: HermiteForm | None = None
    ball: BallActivation | None = None
    fused: Fused | None = None
    poles: bool = False
    custom: bool = False

    def __call__(self, z: Any) -> Any:
        return self.phi(z)

    @property
    def at_zero(self) -> float:
        """φ(0)."""
        return float(self.phi(np.zeros(1))[0])

    @property
    def smooth(self) -> bool:
        """No kinks, so that φ′ is continuous."""
        return not self.kinks

    @property
    def linear(self) -> bool:
        """φ(z) = cz: homogeneous without a kink."""
        return self.homogeneity == 1 and self.smooth

    @property
    def homogeneous_parts(self) -> tuple[float, float] | None:
        """(p, q) with φ(z) = p z + q|z|, for a positively homogeneous φ; None for any other."""
        if self.homogeneity != 1:
            return None
        plus, minus = (float(y) for y in self.phi(np.array([1.0, -1.0])))
        return (plus - minus) / 2.0, (plus + minus) / 2.0

    @property
    def slope_range(self) -> tuple[float, float] | None:
        """(inf φ′, sup φ′), (−M, M) where only M is known, None where it is unbounded or not known."""
        if self.slopes is not None:
            return self.slopes
        bound = self.lipschitz
        return None if bound is None or not math.isfinite(bound) else (-bound, bound)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Activation):
            return NotImplemented
        if self.custom or other.custom:
            return self.name == other.name and self.phi == other.phi
        return self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"Activation({self.name!r})"


def finite(name: str, key: str, value: float) -> float:
    """``value`` itself. Raises ValueError for an option of an activation that is not finite."""
    if not math.isfinite(value):
        raise ValueError(f"activation {name!r}: {key} must be finite, got {value}")
    return float(value)
