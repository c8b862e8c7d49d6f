"""Chains that only rescale are one function of ρ: K_ij = ‖x_i‖‖x_j‖ F(ρ_ij), whatever the depth.

F is evaluated exactly (by 1 − ρ, layer by layer) at Chebyshev nodes of a window of correlations and
interpolated to the last digit there, so that a pair costs a short polynomial instead of L − 1 arcs.
Pairs outside the window, near-duplicates and opposite ones among them, take the exact layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.polynomial import chebyshev
from torch import Tensor

from ntkscope.kernels.directions import NEAR, Angles, Rows, correlations, near_pairs, positions

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


class Univariate:
    """F on windows of ρ; ``exact`` gives the kernels of listed pairs from angles and norms."""

    def __init__(
        self, left: Rows, right: Rows, exact: Exact, names: tuple[str, ...], layers: int
    ) -> None:
        self.left, self.right, self.exact, self.names = left, right, exact, names
        self._price = _LAYER * layers
        self._agree = _AGREE * _U * (layers + 1)
        self._windows: dict[tuple[int, int], Window | None] = {}

    def tile(self, rows: Index, cols: Index, own: Tensor | None) -> dict[str, list[Tensor]] | None:
        """The kernels of rows × cols, or None where the exact layers are cheaper.

        ``own`` are positions of samples paired with themselves; their entries are left undefined.
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
        if low < window.low or high > window.high:
            self._outside(rho, window, rows, cols, out)
        return out

    def _outside(
        self,
        rho: Tensor,
        window: Window,
        rows: Index,
        cols: Index,
        out: dict[str, list[Tensor]],
    ) -> None:
        r, c = torch.nonzero((rho > window.high) | (rho < window.low), as_tuple=True)
        i, j = positions(rows, r), positions(cols, c)
        delta = 1.0 - rho[r, c]
        near = torch.nonzero(delta < NEAR)[:, 0]
        delta[near] = near_pairs(self.left, self.right, i[near], j[near])
        opposite = torch.nonzero(delta > 2.0 - NEAR)[:, 0]
        epsilon = near_pairs(self.left, self.right, i[opposite], j[opposite], -1.0)
        delta[opposite] = 2.0 - epsilon
        seen = Angles(delta, opposite, epsilon)
        found = self.exact(seen, self.left.norms[i], self.right.norms[j])
        for name in self.names:
            out[name][0][r, c] = found[name][0]

    def _choose(self, rho: Tensor, low: float, high: float) -> Window | None:
        """The cheapest window for a tile, None where that is the exact chain."""
        sample = rho[::_SAMPLE].abs()
        best, price = None, self._price
        largest = max(-low, high)
        for clip in (largest, *(c for c in _CLIPS if c < largest)):
            window = self.window(max(low, -clip), min(high, clip))
            if window is None:
                continue
            outside = 0.0
            if clip < largest:
                outside = float((sample > clip).sum()) / sample.numel()
            total = window.degree + _LISTED * outside
            if total < price:
                best, price = window, total
            elif outside > 0.05:
                break
        return best

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
