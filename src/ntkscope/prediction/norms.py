"""Laws of the rows' norms, as few classes: t = ‖x‖²/d and the share of the rows in each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ntkscope._base.arrays import Array
from ntkscope._base.specs import parse_spec, unknown
from ntkscope.data.distribution import Distribution
from ntkscope.data.registry import distribution, names

_NORMS = "the rows' norms (an array; norms:FILE on the command line)"
_SINGLE = 16  # the smallest rows set λ_min and stand alone
_GROUPS = 32
_EQUAL = 1e-9  # norms that differ by less are one class


@dataclass(frozen=True)
class Norms:
    """Classes t of ‖x‖²/d in ascending order, their weights, and where they come from.

    ``spread`` holds t again with the smallest rows at their 16% and 84% quantiles, where the rows
    are still to be drawn.
    """

    t: Array
    weights: Array
    text: str
    spread: tuple[Array, ...] = ()

    @property
    def equal(self) -> bool:
        return len(self.t) == 1


def resolve(data: Any, n_samples: int | float, dim: int) -> Norms:
    """The norms of a law of data by its name, or of an array of norms ‖x_i‖.

    Raises ValueError for an unknown name, for a law whose directions are not uniform, or for norms
    that are not positive and finite; TypeError for what is neither.
    """
    if isinstance(data, str):
        return _of_law(data, n_samples, dim)
    try:
        norms = np.asarray(data, dtype=np.float64).reshape(-1)
    except (TypeError, ValueError):
        raise TypeError(
            'data must be the name of a law such as "sphere" or "gaussian", or the rows\' norms, '
            f"got {type(data).__name__}"
        ) from None
    if not len(norms):
        raise ValueError("data: the array of norms is empty")
    return _given(norms, dim, f"{len(norms)} given norms")


def _of_law(data: str, n_samples: int | float, dim: int) -> Norms:
    spec = parse_spec(data)
    for option in ("N", "seed"):
        if option in spec.options:
            raise ValueError(f"data {data!r}: a prediction draws nothing, so it takes no {option}")
    if spec.name not in names():
        raise ValueError(unknown("data", spec.name, names()) + f"; or {_NORMS}")
    law = distribution(spec, dim)
    ends = law.norm_sq_quantile(np.array([0.25, 0.75]))
    if ends is None:
        raise ValueError(
            f"data {data!r}: its directions are not uniform on the sphere, which the predictor "
            f"supposes; give sphere, gaussian, or {_NORMS}"
        )
    if ends[0] == ends[1]:
        return _given(np.sqrt(ends[:1]), dim, law.norm_note)
    return _drawn(law, n_samples, dim)


def _given(norms: Array, dim: int, text: str) -> Norms:
    if not bool(np.all(np.isfinite(norms) & (norms > 0))):
        raise ValueError(
            f"norms must be positive and finite, got {float(norms.min())} to {float(norms.max())}; "
            "a zero row makes λ_min 0 in a network without biases"
        )
    if float(norms.max()) > 1e150:
        raise ValueError(
            f"norms up to {float(norms.max()):.3g} overflow when squared; scale them down"
        )
    t = np.sort(norms**2 / dim)
    if t[-1] - t[0] <= _EQUAL * t[-1]:
        return Norms(np.array([float(t.mean())]), np.ones(1), text)
    n = len(t)
    alone = min(_SINGLE, n)
    parts = [np.array([x]) for x in t[:alone]]
    if n > alone:
        parts += np.array_split(t[alone:], min(_GROUPS, n - alone))
    return Norms(
        np.array([float(p.mean()) for p in parts]), np.array([len(p) / n for p in parts]), text
    )


def _drawn(law: Distribution, n_samples: int | float, dim: int) -> Norms:
    """The smallest rows at their expected quantiles, the rest by Gauss-Legendre in probability."""
    from scipy.special import betaincinv

    def t(q: Array) -> Array:
        found = law.norm_sq_quantile(q)
        assert found is not None
        return found / dim

    alone = int(min(_SINGLE, n_samples))
    start = alone / n_samples
    rest, w = np.empty(0), np.full(alone, 1.0 / n_samples)
    if start < 1.0:
        x, gauss = np.polynomial.legendre.leggauss(_GROUPS)
        share = 0.5 * (1.0 - start)
        rest = t(start + share * (x + 1.0))
        w = np.append(w, share * gauss)
    # the k-th smallest of N has the probability k-th of N uniform numbers: a beta law
    order = np.arange(1, alone + 1)
    median, *others = (
        np.append(t(betaincinv(order, n_samples + 1.0 - order, q)), rest) for q in (0.5, 0.16, 0.84)
    )
    return Norms(median, w / w.sum(), law.norm_note, tuple(others))
