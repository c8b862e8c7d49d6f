"""Σ_r α_r(a_i) α_r(a_j) ρ_ij^r over tiles of pairs, to an accuracy that is asked for."""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ntkscope._base.memory import human
from ntkscope.activations.activation import Activation
from ntkscope.activations.hermite import Coefficients, Quadrature, closed_coefficients

MAX_ORDER = 8192
_FIRST_ORDER = 64
_ERROR_ORDER = 1024  # whose tail bounds what the coefficients beyond it can add to an error
_TABLE = 1 << 25  # coefficients that one expansion keeps for all samples at once
_CHUNK = 1 << 21  # entries of a (terms × pairs) product
_CUTS = (0.5, 0.7, 0.85, 0.95)  # where a tile may send its few largest correlations to a list
_GATHER = 12.0  # what a term costs on a gathered pair, in units of a term on a tile's entry


class _Measurement(NamedTuple):
    """What coefficients up to some order say: relative to E f(u)², the worst of the variances."""

    tails: Tensor
    sizes: Tensor
    coefficient_error: float


class Expansion:
    """The Hermite series of φ (or φ′) for samples of variances a_1, …, a_N.

    The truncation error of a pair is at most ``accuracy`` · √(E f(u)² E f(v)²): by Cauchy-Schwarz
    |ρ|^{R+1} √(tail_i tail_j), the tails from Parseval's identity. Raises ValueError where
    no order up to 8192 reaches it.
    """

    def __init__(
        self, phi: Activation, variances: Float[Tensor, N], derivative: bool, accuracy: float
    ) -> None:
        if not accuracy >= 1e-15:
            raise ValueError(f"accuracy must be at least 1e-15 in float64, got {accuracy}")
        self.phi, self.derivative, self.accuracy = phi, derivative, accuracy
        self.variances = variances
        levels = torch.linspace(0.0, 1.0, 9, dtype=variances.dtype, device=variances.device)
        positive = variances[variances > 0]
        probes = positive if len(positive) else variances
        self._probes = torch.unique(torch.quantile(probes[:: 1 + len(probes) // 100_000], levels))
        self._probes = torch.unique(
            torch.cat([self._probes, probes.min()[None], probes.max()[None]])
        )
        # by the order they were made to, so that what is returned does not depend on earlier calls
        self._measurements: dict[int, _Measurement] = {}
        self._tables: dict[int, Tensor] = {}
        self._quadrature = Quadrature(phi, derivative)

    def order(self, rho: float) -> int:
        """The smallest order whose truncation error at |ρ| ≤ ``rho`` is within the accuracy."""
        return self._order(rho)[0]

    def _order(self, rho: float) -> tuple[int, _Measurement]:
        size = _FIRST_ORDER
        while True:
            tails = (measured := self._measure(size)).tails
            grades = torch.arange(1, len(tails) + 1, dtype=tails.dtype, device=tails.device)
            ok = torch.nonzero(rho**grades * tails <= self.accuracy)
            if len(ok):
                return int(ok[0]), measured
            size *= 2
            if size > MAX_ORDER:
                left = float(rho ** len(tails) * tails[-1])
                what = "φ′" if self.derivative else "φ"
                raise ValueError(
                    f"the Hermite series of {what} = {self.phi} cannot reach {self.accuracy:.1g} "
                    f"for correlations up to {rho:.6g}: {len(tails) - 1} terms leave "
                    f"{left:.2g}; remove near-duplicate rows, ask for accuracy={2 * left:.1g}, or "
                    "use an activation with a closed form or without kinks"
                )

    def error(self) -> float:
        """A bound on the error of a pair, relative to √(E f(u)² E f(v)²), but for Horner's rounding.

        The truncation, a hundredth of it for terms left out, and a coefficient error e that enters
        as Σ_r 2e|α_r|; doubled, since sizes are taken at quantiles of the variances.
        """
        measured = self._measure(_ERROR_ORDER)
        rest = math.sqrt(MAX_ORDER * float(measured.tails[-1].clamp_min(0.0)))
        mass = float(measured.sizes.sqrt().sum()) + rest
        return 1.01 * self.accuracy + 4.0 * measured.coefficient_error * mass

    def _coefficients(self, a: Tensor, order: int) -> Coefficients:
        closed = closed_coefficients(self.phi, order, a, self.derivative)
        return self._quadrature.coefficients(a, order) if closed is None else closed

    def _measure(self, order: int) -> _Measurement:
        if order in self._measurements:
            return self._measurements[order]
        table = self._coefficients(self._probes, order)
        # an error in α_r enters the sum times 2 α_r, whose squares sum to 4
        if table.error > 4.0 * self.accuracy * math.sqrt(float(table.second_moment.max())):
            raise ValueError(
                f"the Hermite coefficients of {self.phi} are known to {table.error:.2g} only, "
                f"which cannot support an accuracy of {self.accuracy:.1g}; if it has kinks, name "
                "them in activations.custom(..., kinks=...)"
            )
        moment = table.second_moment.clamp_min(torch.finfo(torch.float64).tiny)[:, None]
        made = _Measurement(
            (table.tails / moment).amax(0),
            (table.values**2 / moment).amax(0),
            table.error / math.sqrt(float(table.second_moment.max())),
        )
        self._measurements[order] = made
        return made

    def _terms(self, rho: float) -> list[int]:
        """The r that count: parity leaves half of them, and what is dropped is 1% of the error."""
        order, measured = self._order(rho)
        powers = torch.arange(order + 1, dtype=torch.float64, device=measured.sizes.device)
        weights = measured.sizes[: order + 1] * rho**powers
        kept = torch.nonzero(weights > 0.01 * self.accuracy / (order + 1))[:, 0].tolist()
        return kept or [0]

    def _table(self, order: int, index: Tensor | slice) -> Tensor:
        """(order+1, n) coefficients of the samples ``index``."""
        top = max(_FIRST_ORDER, 1 << order.bit_length())
        if len(self.variances) * (top + 1) <= _TABLE:
            if top not in self._tables:
                made = self._coefficients(self.variances, top).values
                self._tables[top] = made.T.contiguous()
            return self._tables[top][:, index]
        part = self.variances[index]
        if len(part) * (order + 1) > 4 * _TABLE:
            raise ValueError(
                f"order {order} for {len(part)} samples takes {human(8.0 * len(part) * order)} of "
                "coefficients; use smaller tiles"
            )
        return self._coefficients(part, order).values.T.contiguous()

    def tile(
        self, rho: Float[Tensor, "n m"], rows: Tensor | slice, cols: Tensor | slice
    ) -> Float[Tensor, "n m"]:
        """The sum for every pair of ``rows`` × ``cols`` (indices into the samples)."""
        low, high = (float(x) for x in torch.aminmax(rho))
        largest = max(-low, high)
        cut = self._cut(rho, largest)
        order, terms = self.order(min(cut, largest)), self._terms(min(cut, largest))
        out = _horner_tile(rho, self._table(order, rows), self._table(order, cols), terms)
        if cut < largest:
            i, j = torch.nonzero(rho.abs() > cut, as_tuple=True)
            out[i, j] = self.pairs(rho[i, j], _pick(rows, i), _pick(cols, j))
        return out

    def _cut(self, rho: Tensor, largest: float) -> float:
        """Correlations above it go to a list, where that is cheaper than a long sum for all."""
        best, cost = largest, rho.numel() * float(len(self._terms(largest)))
        full = cost / rho.numel()
        for cut in _CUTS:
            if cut >= largest:
                break
            above = int((rho.abs() > cut).sum())
            short = len(self._terms(cut))
            price = rho.numel() * short + _GATHER * above * full
            if price < cost:
                best, cost = cut, price
        return best

    def pairs(
        self, rho: Float[Tensor, P], left: Int[Tensor, P], right: Int[Tensor, P]
    ) -> Float[Tensor, P]:
        """The sum for a list of pairs, each of its own samples."""
        if not len(rho):
            return rho.clone()
        largest = float(rho.abs().max())
        order = self.order(largest)
        terms = self._terms(largest)
        out = torch.empty_like(rho)
        chunk = max(1, _CHUNK // len(terms))
        for start in range(0, len(rho), chunk):
            span = slice(start, start + chunk)
            i, j = left[span], right[span]
            samples, where = torch.unique(torch.cat([i, j]), return_inverse=True)
            table = self._table(order, samples)[terms]
            product = table[:, where[: len(i)]] * table[:, where[len(i) :]]
            out[span] = _horner(rho[span], product, terms)
        return out


def _pick(index: Tensor | slice, inner: Tensor) -> Tensor:
    if isinstance(index, slice):
        if index.step not in (None, 1):
            raise ValueError(f"slices of samples have step 1, got {index}")
        return inner + (index.start or 0)
    return index.to(inner.device)[inner]


def _powers(rho: Tensor, terms: list[int]) -> dict[int, Tensor]:
    gaps = {b - a for a, b in itertools.pairwise(terms)} | {terms[0]}
    return {g: rho if g == 1 else rho**g for g in gaps if g > 0}


def _horner_tile(rho: Tensor, left: Tensor, right: Tensor, terms: list[int]) -> Tensor:
    """Σ_r left_r ⊗ right_r ∘ ρ^r over the kept r, from the highest down."""
    powers = _powers(rho, terms)
    top = terms[-1]
    total = left[top][:, None] * right[top][None, :]
    for r, above in zip(terms[-2::-1], terms[:0:-1], strict=True):
        total.mul_(powers[above - r]).addcmul_(left[r][:, None], right[r][None, :])
    return total.mul_(powers[terms[0]]) if terms[0] else total


def _horner(rho: Tensor, product: Tensor, terms: list[int]) -> Tensor:
    powers = _powers(rho, terms)
    total = product[-1].clone()
    for k in range(len(terms) - 2, -1, -1):
        total = torch.addcmul(product[k], total, powers[terms[k + 1] - terms[k]])
    return total.mul_(powers[terms[0]]) if terms[0] else total
