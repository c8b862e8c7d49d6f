"""How far two kernels on the same samples are apart: alignment, distance, drift by layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ntkscope.kernels.given import as_kernel
from ntkscope.kernels.kernel import Kernel
from ntkscope.report import charts
from ntkscope.report.card import Card, Grid
from ntkscope.report.chart import Chart
from ntkscope.report.numbers import with_error
from ntkscope.report.result import Drawn, Result, Tabular
from ntkscope.spectra.progress import Callback, Stage
from ntkscope.spectra.rounding import gamma

_TILE = 512


@dataclass(frozen=True)
class Measured(Result):
    """A number, and a bound on how far rounding and the kernels' own errors may have moved it."""

    value: float
    error: float

    def __str__(self) -> str:
        """Six digits at most, fewer where the error hides them."""
        if math.isnan(self.value):
            return "—"
        if self.error < 1e-6 * abs(self.value):
            return f"{self.value:.6g} ± {self.error:.1g}"
        return with_error(self.value, self.error)


@dataclass(frozen=True)
class Distance(Result):
    """Two kernels K, K′ of one name; NaN where a norm is 0 or hidden by its error.

    Attributes
    ----------
    cka: ⟨HKH, HK′H⟩_F / (‖HKH‖_F ‖HK′H‖_F), H = 1 − 11ᵀ/N (Cortes et al. 2012; Kornblith et al. 2019).
    alignment: the same of K and K′ themselves (Cristianini et al. 2001).
    distance: ‖K′ − K‖_F/‖K‖_F. trace_ratio: tr K′/tr K.
    """

    name: str
    cka: Measured
    alignment: Measured
    distance: Measured
    trace_ratio: Measured


@dataclass(frozen=True)
class KernelComparison(Drawn, Tabular, Result):
    """Two kernels beside one another.

    Attributes
    ----------
    n_rows: rows of the kernels.
    whole: distances of the kernels themselves.
    terms: distances of the summands that both have, by name.
    unmatched: names that only one of them has.
    """

    n_rows: int
    whole: Distance
    terms: tuple[Distance, ...]
    unmatched: tuple[str, ...]

    @property
    def cka(self) -> float:
        """Of the whole kernels."""
        return self.whole.cka.value

    @property
    def distance(self) -> float:
        """‖K′ − K‖_F/‖K‖_F of the whole kernels."""
        return self.whole.distance.value

    def most_moved(self, count: int = 5) -> list[Distance]:
        """The terms with the largest relative distance, the largest first."""
        known = [t for t in self.terms if not math.isnan(t.distance.value)]
        return sorted(known, key=lambda t: -t.distance.value)[:count]

    def __repr__(self) -> str:
        return (
            f"KernelComparison({self.n_rows} rows, CKA {self.cka:.4g}, distance "
            f"{self.distance:.4g}, {len(self.terms)} terms)"
        )

    def _rows(self) -> tuple[Distance, ...]:
        return (self.whole, *self.terms)

    def _card(self) -> Card:
        rows = [
            (found.name or "whole", *map(str, (found.cka, found.alignment, found.distance, found.trace_ratio)))
            for found in self._rows()
        ]  # fmt: skip
        lone = [f"in one of the two only: {', '.join(self.unmatched)}"] if self.unmatched else []
        heads = ("", "CKA", "alignment", "‖K′ − K‖/‖K‖", "tr K′/tr K")
        return Card("", grids=[Grid("", heads, rows)], notes=lone)

    def _chart(self) -> Chart:
        """Relative distance and 1 − CKA term by term."""
        shown = self._rows()
        found = {
            "‖K′ − K‖/‖K‖": [d.distance.value for d in shown],
            "1 − CKA": [1 - d.cka.value for d in shown],
        }
        return charts.bars("", [d.name or "whole" for d in shown], found)


def compare_kernels(
    K: Any, other: Any, *, terms: bool = True, progress: Callback | None = None
) -> KernelComparison:
    """Compare two kernels on the same samples: of two models, two checkpoints, or a model and its limit.

    Both are read a tile at a time and never formed. Models of different architectures have no terms in
    common and compare as wholes.

    Parameters
    ----------
    K, other: symmetric kernels (or matrices) of one size; distances are relative to the first.
    terms: compare the summands of one name too, which reads each of them once more.
    progress: called with a :class:`Progress` now and then.

    Returns
    -------
    KernelComparison, with the errors of its numbers.

    Raises
    ------
    ValueError
        For kernels of different sizes, or cross kernels.
    """
    first, second = as_kernel(K), as_kernel(other)
    for kernel in (first, second):
        kernel._require_symmetric("comparison")
    if first.shape != second.shape:
        raise ValueError(
            f"kernels must be on the same samples, got {first.shape} and {second.shape}; several outputs "
            "are reduced alike"
        )
    pairs = list(_pairs(first, second)) if terms else []
    unmatched: list[str] = []
    if terms and pairs:
        names = [{t.name for t in kernel.terms} for kernel in (first, second)]
        unmatched = sorted(names[0] ^ names[1])
    stage, count = Stage("comparing kernels", progress), 1 + len(pairs)

    def part(index: int) -> Callable[[float], None]:
        return lambda done: stage((index + done) / count)

    found = [
        _compared(name, left, right, part(index))
        for index, (name, left, right) in enumerate([("", first, second), *pairs])
    ]
    return KernelComparison(len(first), found[0], tuple(found[1:]), tuple(unmatched))


def _pairs(first: Kernel, second: Kernel) -> Iterator[tuple[str, Kernel, Kernel]]:
    """Summands of one name, where both kernels have several."""
    if len(first.terms) > 1 and len(second.terms) > 1:
        others = {t.name: t for t in second.terms}
        yield from ((t.name, t, others[t.name]) for t in first.terms if t.name in others)


@dataclass
class _Sums:
    """Sums over all entries. squares, other_squares, product, gap: ΣK², ΣK′², ΣKK′, Σ(K′ − K)²; rows,
    other_rows: of each row."""

    squares: list[float]
    other_squares: list[float]
    product: list[float]
    gap: list[float]
    rows: Tensor
    other_rows: Tensor


def _summed(first: Kernel, second: Kernel, done: Callable[[float], None]) -> _Sums:
    """Tiles of the upper triangle, those off the diagonal counted twice."""
    N = len(first)
    zeros = torch.zeros(2, N, dtype=torch.float64)
    sums = _Sums([], [], [], [], zeros[0], zeros[1])
    for i in range(0, N, _TILE):
        done(1 - (1 - i / N) ** 2)
        for j in range(i, N, _TILE):
            r, c = slice(i, min(i + _TILE, N)), slice(j, min(j + _TILE, N))
            a, b = (k.tile(r, c).to("cpu", torch.float64) for k in (first, second))
            twice = 1.0 if i == j else 2.0
            for held, x, y in (
                (sums.squares, a, a), (sums.other_squares, b, b), (sums.product, a, b),
                (sums.gap, a - b, a - b),
            ):  # fmt: skip
                held += (twice * torch.linalg.vecdot(x, y)).tolist()
            for total, tile in ((sums.rows, a), (sums.other_rows, b)):
                total[r] += tile.sum(dim=1)
                if i != j:
                    total[c] += tile.sum(dim=0)
    return sums


def _compared(name: str, first: Kernel, second: Kernel, done: Callable[[float], None]) -> Distance:
    sums, N = _summed(first, second, done), len(first)
    traces = first.trace(), second.trace()
    # ‖ΔK‖_F ≤ γ ‖s sᵀ‖_F = γ tr K
    lost = [k.entry_error() * t * (1 + 1e-6) for k, t in zip((first, second), traces, strict=True)]
    # sums of a tile's row, then exact; a column's total takes N/512 more
    unit = gamma(_TILE + 4)
    aa, bb, ab, gap = (
        math.fsum(s) for s in (sums.squares, sums.other_squares, sums.product, sums.gap)
    )
    norms = math.sqrt(aa), math.sqrt(bb)
    alignment = _cosine(ab, aa, bb, (unit * norms[0] * norms[1], unit * aa, unit * bb), lost)
    r, s = sums.rows, sums.other_rows
    own, rest = gamma(2 * _TILE + N // _TILE + 8), gamma(2 * N + 8)
    centred, moved = [], []
    for product, x, y, m, n in (
        (ab, r, s, norms[0], norms[1]), (aa, r, r, norms[0], norms[0]), (bb, s, s, norms[1], norms[1]),
    ):  # fmt: skip
        centred.append(product - 2 * float(x @ y) / N + float(x.sum()) * float(y.sum()) / N**2)
        # each of the three parts is at most ‖K‖‖K′‖, and a row's sum is off by own · √N ‖K_i‖
        moved.append(m * n * (unit + 3 * (2 * own + rest)) * (1 + 1e-6))
    cka = _cosine(centred[0], centred[1], centred[2], (moved[0], moved[1], moved[2]), lost)
    return Distance(
        name, cka, alignment, _relative(math.sqrt(gap), norms, lost, unit),
        _quotient(traces, (first, second)),
    )  # fmt: skip


def _cosine(
    product: float, a: float, b: float, errors: tuple[float, float, float], lost: list[float]
) -> Measured:
    """⟨A, B⟩/(‖A‖‖B‖) of computed sums; 2‖ΔA‖/‖A‖ is the most that a change ΔA turns A's direction."""
    low = a - errors[1], b - errors[2]
    if not min(low) > 0:
        return Measured(math.nan, math.inf)
    value = product / math.sqrt(a * b)
    arithmetic = errors[0] / math.sqrt(a * b) + abs(value) * 0.5 * (
        errors[1] / low[0] + errors[2] / low[1]
    )
    turned = sum(2 * e / math.sqrt(x) for e, x in zip(lost, low, strict=True))
    return Measured(value, (arithmetic + turned + 8 * gamma(1)) * (1 + 1e-6))


def _relative(gap: float, norms: tuple[float, float], lost: list[float], unit: float) -> Measured:
    """‖K′ − K‖/‖K‖."""
    size = norms[0] * (1 - unit) - lost[0]
    if not size > 0:
        return Measured(math.nan, math.inf)
    value = gap / norms[0]
    # a difference is rounded once
    apart = gap * unit + sum(lost)
    return Measured(value, (apart + value * (norms[0] - size)) / size * (1 + 1e-6))


def _quotient(traces: tuple[float, float], kernels: tuple[Kernel, Kernel]) -> Measured:
    errors = [
        (k.entry_error() + gamma(len(k) + 2)) * abs(t) * (1 + 1e-6)
        for k, t in zip(kernels, traces, strict=True)
    ]
    size = abs(traces[0]) - errors[0]
    if not size > 0:
        return Measured(math.nan, math.inf)
    value = traces[1] / traces[0]
    return Measured(value, (errors[1] + abs(value) * errors[0]) / size * (1 + 1e-6))
