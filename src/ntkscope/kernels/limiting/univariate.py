"""Chains that only rescale are one function of ρ: K_ij = ‖x_i‖‖x_j‖ F(ρ_ij), whatever the depth.

F is evaluated exactly (by 1 − ρ, layer by layer) at Chebyshev nodes of a window of correlations and
interpolated to the last digit there, so that a pair costs a short polynomial instead of L − 1 arcs.
Pairs outside the window, near-duplicates and opposite ones among them, take the exact layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.polynomial import chebyshev
from torch import Tensor

from ntkscope.kernels.limiting.directions import (
    NEAR,
    Angles,
    Rows,
    correlations,
    near_pairs,
    positions,
)

Index = slice | Tensor
Exact = Callable[[Angles, Tensor, Tensor], dict[str, list[Tensor]]]

_NODES = 72
_MAX_DEGREE = 44
_U = torch.finfo(torch.float64).eps / 2
_AGREE = 6.0  # units u of max F a layer, between the polynomial and the exact layers' own rounding
_GRID = 16  # windows end at multiples of 1/16, so that tiles share them
_CLIPS = (0.9, 0.75, 0.625, 0.5, 0.375, 0.25)
# prices of an entry, in passes over a tile: a listed pair, and a layer of the exact chain
_LISTED = 1500.0
_LAYER = 60.0
_SAMPLE = 8  # every 8th row of a tile is looked at to choose its window


@dataclass(frozen=True)
class Window:
    """Monomial coefficients in ρ − middle, highest first, of every kernel wanted."""

    low: float
    high: float
    coefficients: dict[str, list[Tensor]]

    @property
    def middle(self) -> float:
        return (self.low + self.high) / 2.0

    @property
    def degree(self) -> int:
        return sum(len(c) - 1 for c in self.coefficients.values())


@dataclass(frozen=True)
class Outside:
    """Pairs outside of a window: places in a tile, sample numbers, and 1 − ρ as rounded."""

    row: Tensor
    col: Tensor
    left: Tensor
    right: Tensor
    delta: Tensor

    def shifted(self, rows: int, cols: int) -> Outside:
        """The same with places counted from another corner."""
        return replace(self, row=self.row + rows, col=self.col + cols)


_FIELDS = ("row", "col", "left", "right", "delta")


class Univariate:
    """F on windows of ρ; ``exact`` gives the kernels of listed pairs from angles and norms."""

    def __init__(
        self, left: Rows, right: Rows, exact: Exact, names: tuple[str, ...], layers: int
    ) -> None:
        self.left, self.right, self.exact, self.names = left, right, exact, names
        self._price = _LAYER * layers
        self._agree = _AGREE * _U * (layers + 1)
        self._last: Window | None = None
        self._windows: dict[tuple[int, int], Window | None] = {}

    @property
    def error(self) -> float:
        """Of the polynomials, relative to F(1): four times what a window's check points allow."""
        return 4 * self._agree

    def tile(
        self, rows: Index, cols: Index, own: Tensor | None
    ) -> tuple[dict[str, list[Tensor]], Outside | None] | None:
        """The kernels of rows × cols and the pairs that are left to the exact layers.

        None where those are cheaper for the whole tile. ``own`` are positions of samples paired
        with themselves; their entries are left undefined.
        """
        rho = correlations(self.left, self.right, rows, cols)
        if own is not None:
            rho[own[:, 0], own[:, 1]] = 0.0
        low, high = (float(x) for x in torch.aminmax(rho))
        window = self._choose(rho, low, high)
        if window is None:
            return None
        x = rho - window.middle if window.middle else rho
        weight = self.left.norms[rows, None], self.right.norms[cols][None, :]
        out = {
            name: [_horner(c, x).mul_(weight[0]).mul_(weight[1])]
            for name, c in window.coefficients.items()
        }
        outside = None
        if low < window.low or high > window.high:
            r, c = torch.nonzero((rho > window.high) | (rho < window.low), as_tuple=True)
            outside = Outside(r, c, positions(rows, r), positions(cols, c), 1.0 - rho[r, c])
        return out, outside

    def finish(self, outside: list[Outside]) -> tuple[Outside, dict[str, Tensor]]:
        """All the pairs outside of windows joined, and their kernels by the exact layers."""
        every = Outside(*(torch.cat([getattr(o, f) for o in outside]) for f in _FIELDS))
        i, j, delta = every.left, every.right, every.delta
        near = torch.nonzero(delta < NEAR)[:, 0]
        delta[near] = near_pairs(self.left, self.right, i[near], j[near])
        opposite = torch.nonzero(delta > 2.0 - NEAR)[:, 0]
        epsilon = near_pairs(self.left, self.right, i[opposite], j[opposite], -1.0)
        delta[opposite] = 2.0 - epsilon
        seen = Angles(delta, opposite, epsilon)
        found = self.exact(seen, self.left.norms[i], self.right.norms[j])
        return every, {name: found[name][0] for name in self.names}

    def _choose(self, rho: Tensor, low: float, high: float) -> Window | None:
        """The cheapest window for a tile, None where that is the exact chain."""
        sample = rho[::_SAMPLE]
        if self._last is not None:
            # the last tile's window, as long as it serves this tile about as well
            share = _share(sample, self._last.low, self._last.high)
            if _LISTED * share <= 0.25 * self._last.degree:
                return self._last
        largest = max(-low, high)
        offers = []
        for clip in (largest, *(c for c in _CLIPS if c < largest)):
            a, b = max(low, -clip), min(high, clip)
            if b > a:
                share = _share(sample, a, b)
                offers.append((_LISTED * share + len(self.names) * _degree(a, b), a, b))
        for price, a, b in sorted(offers):
            if price >= self._price:
                break
            window = self.window(a, b)
            if window is not None:
                self._last = window
                return window
        return None

    def window(self, low: float, high: float) -> Window | None:
        """A window that covers [low, high], or None where no short polynomial has every digit."""
        a = math.floor(low * _GRID)
        b = max(math.ceil(high * _GRID), a + 1)
        if (a, b) not in self._windows:
            made = self._interpolate(a / _GRID, b / _GRID) if a > -_GRID and b < _GRID else None
            self._windows[a, b] = made
        return self._windows[a, b]

    def _interpolate(self, low: float, high: float) -> Window | None:
        middle, half = (low + high) / 2.0, (high - low) / 2.0
        # cos(kπ(2j+1)/2n) with the integer reduced first: a recurrence would lose the last digits
        turns = np.outer(np.arange(_NODES), 2 * np.arange(_NODES) + 1) % (4 * _NODES)
        table = np.cos(turns * (math.pi / (2 * _NODES)))
        nodes = table[1]
        projection = table * (2.0 / _NODES)
        projection[0] /= 2.0
        values = self._values(middle + half * nodes)
        check = np.linspace(-1.0, 1.0, 41)
        truth = self._values(middle + half * check)
        coefficients = {}
        for name in self.names:
            scale = float(np.abs(values[name]).max())
            c = projection @ values[name]
            # the last quarter is the rounding of F itself, unless the window is too wide: then
            # the check below fails
            noise = float(np.abs(c[3 * _NODES // 4 :]).max())
            kept = np.nonzero(np.abs(c) > max(1.5 * noise, _U * scale))[0]
            degree = max(1, int(kept[-1]) if len(kept) else 1)
            if degree > _MAX_DEGREE:
                return None
            powers = half ** -np.arange(degree + 1.0)
            monomials = np.resize(chebyshev.cheb2poly(c[: degree + 1]), degree + 1) * powers
            got = np.polyval(monomials[::-1], half * check)
            if float(np.abs(got - truth[name]).max()) > self._agree * scale:
                return None
            coefficients[name] = [torch.tensor(m, dtype=torch.float64) for m in monomials[::-1]]
        return Window(low, high, coefficients)

    def _values(self, rho: np.ndarray) -> dict[str, np.ndarray]:
        delta = torch.from_numpy(1.0 - rho)
        none = torch.zeros(0, dtype=torch.long)
        ones = torch.ones_like(delta)
        found = self.exact(Angles(delta, none, delta[:0]), ones, ones)
        return {name: found[name][0].numpy() for name in self.names}


def _horner(coefficients: list[Tensor], x: Tensor) -> Tensor:
    total = torch.add(coefficients[1], x, alpha=float(coefficients[0]))
    for c in coefficients[2:]:
        torch.addcmul(c, total, x, out=total)
    return total


def _share(sample: Tensor, low: float, high: float) -> float:
    """The part of a sample that lies outside [low, high]."""
    return float(((sample > high) | (sample < low)).sum()) / sample.numel()


def _degree(low: float, high: float) -> float:
    """The degree that resolves a function with branch points at ±1 to u on [low, high]."""
    middle, half = (low + high) / 2.0, (high - low) / 2.0
    distance = (1.0 - abs(middle)) / half
    if distance <= 1.0:
        return math.inf
    return 33.0 / math.log(distance + math.sqrt(distance * distance - 1.0))
