"""A proved lower bound on λ_min of a limiting kernel and an upper bound of a pair, from one pass over tiles.

K = Σ_k κ_k G^{∘k} with κ_k ≥ 0 and G the correlations of the rows. Every G^{∘k} is positive semidefinite
with a unit diagonal, so by Weyl and Gershgorin

    λ_min(K) ≥ Σ_k κ_k max(0, 1 − max_i Σ_{j≠i} |ρ_ij|^k).

Only the row sums of |ρ|^k are stored: no factorisation, no N × N matrix.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ntkscope._base import memory
from ntkscope._base.devices import sides
from ntkscope._base.inputs import as_data
from ntkscope.kernels.limiting.limiting_kernel import limiting_kernel
from ntkscope.kernels.limiting.power_series import PowerSeries, power_series
from ntkscope.kernels.matrix import MatrixKernel
from ntkscope.networks.network import Network
from ntkscope.report import charts
from ntkscope.report.chart import Chart
from ntkscope.report.result import Drawn, Result, Tabular
from ntkscope.spectra.progress import Callback, Stage
from ntkscope.spectra.smallest import smallest_eigenvalue

U = 2.0**-53
_TILE = (256, 512)  # a few of them stay in a core's cache
_DENSEST = 8  # every power up to it, then eight more between doublings
_SMALL = 1e-6  # what a tile may add to a row for all higher powers at once


@dataclass(frozen=True)
class PowerRows(Result):
    """Bounds for G^{∘k}: its largest row sum off the diagonal, and λ_min(G^{∘k}) ≥ floor."""

    power: int
    row_sum: float
    floor: float
    measured: bool = False


@dataclass(frozen=True, eq=False)
class StreamedBound(Drawn, Tabular, Result, without=("series",), also=("share",)):
    """lower ≤ λ_min(K) ≤ upper for the limiting kernel K of N samples.

    Attributes
    ----------
    lower: the floor, 0 where no power has row sums below 1.
    upper: the smallest eigenvalue of ``pair``'s 2 × 2 kernel, with its error.
    pair: the samples whose correlation is the largest or the smallest.
    correlation: of that pair.
    powers: the bounds of each power k.
    proved: whether ``lower`` is proved with rounding, as it is for positively homogeneous activations
        without biases. Otherwise the errors of the series' coefficients are a quadrature's own estimate.
    norm_sq: the smallest factor ‖x_i‖² that was divided out of K (1 if the rows have one norm).
    seconds: of the clock.
    n_samples: N.
    series: the power series of the kernel.
    """

    lower: float
    upper: float
    n_samples: int
    pair: tuple[int, int]
    correlation: float
    powers: tuple[PowerRows, ...]
    series: PowerSeries
    proved: bool
    norm_sq: float
    seconds: float

    def _rows(self) -> tuple[PowerRows, ...]:
        return self.powers

    def _chart(self) -> Chart:
        found = {
            "largest row sum off the diagonal": [p.row_sum for p in self.powers],
            "floor of λ_min": [p.floor for p in self.powers],
        }
        at = [p.power for p in self.powers]
        return charts.curves("power k", "of G^{∘k}", at, found)

    @property
    def _dominant(self) -> Iterator[PowerRows]:
        """The powers whose row sums are below 1, in rising order."""
        return (p for p in self.powers if p.floor > 0 and not p.measured)

    @property
    def share(self) -> float:
        """The part of Σ_k κ_k, the kernel's diagonal, at the first power with row sums below 1 and above."""
        first = next((p.power for p in self._dominant), self.series.degree + 1)
        below = float(self.series.lower[:first].sum())
        return max(0.0, 1.0 - below / self.series.total[0])

    def __str__(self) -> str:
        kind = "proved" if self.proved else "to the quadrature's estimate"
        first = next(self._dominant, None)
        i, j = self.pair
        above = "no power of the correlations is diagonally dominant, so the floor says nothing"
        if first is not None:
            above = (
                f"powers from {first.power} on, {100 * self.share:.3g} % of the diagonal, have row sums "
                f"below 1"
            )
        return (
            f"λ_min in [{self.lower:.6g}, {self.upper:.6g}] of {self.n_samples:,} samples ({kind})\n"
            f"floor: {above}\nceiling: samples {i} and {j}, correlation {self.correlation:.6g}"
        )


def streamed_bound(
    net: Network,
    X: Any,
    *,
    degree: int = 200,
    measure: Sequence[int] = (),
    progress: Callback | None = None,
) -> StreamedBound:
    """A certified floor of λ_min(K) for the limiting kernel K of ``net`` on X, and a ceiling.

    Time is proportional to N² d, memory to N. For N too large to factor K.

    Parameters
    ----------
    net: without skip connections; widths may be infinite.
    X: (N, d), N ≥ 2, no zero rows. Rows of different norms need a positively homogeneous activation
        without biases.
    degree: the number of powers of ρ with separate bounds.
    measure: powers k whose λ_min(G^{∘k}) is measured on the N × N matrix in place of Gershgorin's
        bound, for small N.
    progress: called with a :class:`Progress` now and then.

    Returns
    -------
    StreamedBound: a floor and a ceiling of λ_min.

    Raises
    ------
    ValueError
        If data or network do not meet the conditions above; as :func:`power_series` and
        :func:`limiting_kernel`.
    NotEnoughMemoryError
        Where the row sums, or a measured power, do not fit.
    """
    begin = time.perf_counter()
    data = as_data(X, dtype=torch.float64)
    unit, norms = _directions(net, data)
    scaled = net.activation.homogeneity == 1 and net.bias_std is None
    series = power_series(net, degree, 1.0 if scaled else float(norms.mean()))
    if any(isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= degree for k in measure):
        raise ValueError(f"measure names powers within 1 … {degree}, got {list(measure)}")
    sums = _RowSums(len(data), exponents(degree + 1), unit.device)
    sums.run(unit, Stage("row sums", progress))
    known = sums.found(unit.shape[1])
    known += [_measured(known, unit, k, progress) for k in sorted(set(measure))]
    factor = float(norms.min()) ** 2 * (1 - (data.shape[1] + 8) * U) if scaled else 1.0
    ends = [_pair_kernel(net, data, pair) for pair in (sums.closest, sums.opposite)]
    upper, (correlation, i, j) = min(ends, key=lambda end: end[0])
    return StreamedBound(
        lower=max(0.0, factor * _floor(series, known)), upper=upper, n_samples=len(data),
        pair=(i, j), correlation=correlation, powers=tuple(known), series=series,
        proved=series.rigorous and scaled, norm_sq=factor, seconds=time.perf_counter() - begin,
    )  # fmt: skip


def _directions(net: Network, data: Tensor) -> tuple[Tensor, Tensor]:
    """Unit rows and their norms. Raises ValueError for data that this does not take."""
    if data.shape[1] != net.dim:
        raise ValueError(f"X has {data.shape[1]} features, the network takes {net.dim}")
    if len(data) < 2:
        raise ValueError("a streamed bound needs two samples, got 1; use smallest_eigenvalue")
    norms = torch.linalg.vector_norm(data, dim=1)
    smallest, largest = (float(x) for x in torch.aminmax(norms))
    if smallest < 1e-100 or largest > 1e100:
        raise ValueError(
            f"the rows' norms reach from {smallest:.3g} to {largest:.3g}; drop rows of zeros, and "
            "scale X"
        )
    scaled = net.activation.homogeneity == 1 and net.bias_std is None
    if not scaled and largest > smallest * (1 + 1e-12):
        raise ValueError(
            f"the rows' norms reach from {smallest:.6g} to {largest:.6g}, and the kernel of "
            f"{net.activation}{' with biases' if net.bias_std is not None else ''} is no power series "
            "in the correlation then; scale the rows to one norm (--scale on the command line)"
        )
    return data / norms[:, None], norms


def exponents(top: int) -> list[int]:
    """1, 2, …, 8, then eight steps between doublings, up to ``top``."""
    found, k, step = [], 1, 1
    while k <= top:
        found.append(k)
        if k >= _DENSEST * 2 * step:
            step *= 2
        k += step
    return found


class _RowSums:
    """max_i Σ_{j≠i} |ρ_ij|^k for each exponent, and the pairs of extreme correlation."""

    def __init__(self, n: int, exponents: list[int], device: torch.device) -> None:
        self.n, self.exponents = n, exponents
        memory.require(
            8.0 * n * len(exponents), f"row sums of {len(exponents)} powers of {n} samples",
            "use a lower degree or fewer samples",
        )  # fmt: skip
        self.sums = torch.zeros(len(exponents), n, dtype=torch.float64, device=device)
        self.closest = (-2.0, 0, 1)
        self.opposite = (2.0, 0, 1)

    def run(self, unit: Tensor, report: Callable[[float], None]) -> None:
        tiles = list(_tiles(self.n, sides(_TILE, unit.device)))
        for done, (rows, cols) in enumerate(tiles):
            rho = unit[rows] @ unit[cols].T
            inside = _below_diagonal(rows, cols, unit.device)
            self._note_pairs(rho, rows, cols, inside)
            self._add(rho.abs_(), rows, cols)
            if done % 64 == 0:
                report(done / len(tiles))
        report(1.0)

    def _note_pairs(self, rho: Tensor, rows: slice, cols: slice, inside: Tensor | None) -> None:
        """Record the extreme pairs, and set the entries of other tiles to 0."""
        if inside is not None:
            rho.masked_fill_(inside, -2.0)
        if float(rho.max()) > self.closest[0]:
            self.closest = (float(rho.max()), *_at(rho, int(rho.argmax()), rows, cols))
        if inside is not None:
            rho.masked_fill_(inside, 2.0)
        if float(rho.min()) < self.opposite[0]:
            self.opposite = (float(rho.min()), *_at(rho, int(rho.argmin()), rows, cols))
        if inside is not None:
            rho.masked_fill_(inside, 0.0)

    def _add(self, size: Tensor, rows: slice, cols: slice) -> None:
        """Every unordered pair once, to both of its rows."""
        ones = [size.new_ones(k) for k in size.shape]
        steps = {1: size}
        power = size
        for index, k in enumerate(self.exponents):
            if index:
                gap = k - self.exponents[index - 1]
                if gap not in steps:
                    steps[gap] = steps[gap // 2] * steps[gap // 2]
                power = power * size if index == 1 else power.mul_(steps[gap])
            last = index + 1
            if float(power.max()) * self.n <= _SMALL:
                last = len(self.exponents)  # higher powers are smaller still
            self.sums[index:last, rows] += power @ ones[1]
            self.sums[index:last, cols] += ones[0] @ power
            if last > index + 1:
                break

    def found(self, dim: int) -> list[PowerRows]:
        """The sums with their rounding: of ρ :func:`_of_rho`, of each product and each of N terms u."""
        made = []
        for k, row in zip(self.exponents, self.sums, strict=True):
            largest = float(row.max())
            relative = (self.n + 2 * k + 8) * U
            # Σ (|ρ| + ε)^k ≤ Σ |ρ|^k (1 + ε)^k + N ((1 + ε)^k − 1) covers ρ near 0 as well
            spread = math.expm1(k * math.log1p(_of_rho(dim)))
            largest = largest * (1 + relative) * (1 + spread) + self.n * spread
            made.append(PowerRows(k, largest, max(0.0, 1.0 - largest)))
        return made


def _tiles(n: int, tile: tuple[int, int] = _TILE) -> Iterator[tuple[slice, slice]]:
    """Tiles that cover every pair i ≥ j."""
    for i in range(0, n, tile[0]):
        rows = slice(i, min(i + tile[0], n))
        for j in range(0, rows.stop, tile[1]):
            yield rows, slice(j, min(j + tile[1], n))


def _below_diagonal(rows: slice, cols: slice, device: torch.device) -> Tensor | None:
    """The entries of a tile with i ≤ j, which other tiles hold; None if there are none."""
    if cols.stop <= rows.start:
        return None
    places = [torch.arange(span.start, span.stop, device=device) for span in (rows, cols)]
    return places[0][:, None] <= places[1]


def _at(tile: Tensor, flat: int, rows: slice, cols: slice) -> tuple[int, int]:
    i, j = divmod(flat, tile.shape[1])
    return rows.start + i, cols.start + j


def _of_rho(dim: int) -> float:
    """The error of a correlation: d u of the product, (d/2 + 3) u of each row's norm and quotient."""
    return (2 * dim + 8) * U


def _measured(known: list[PowerRows], unit: Tensor, k: int, progress: Callback | None) -> PowerRows:
    """λ_min(G^{∘k}) by an eigenvalue's certificate."""
    n, d = unit.shape
    memory.require(
        8.0 * n * n, f"the correlations of {n} samples to the power {k}", "leave out measure"
    )
    matrix = (unit @ unit.T).pow_(k).fill_diagonal_(1.0)
    error = n * math.expm1(k * math.log1p(_of_rho(d)) + 4 * U)
    least = smallest_eigenvalue(MatrixKernel(matrix), progress=progress)
    floor = max(0.0, least.lower - error) if least.certificate else 0.0
    before = max((p for p in known if p.power <= k), key=lambda p: p.power)
    return PowerRows(k, before.row_sum, floor, True)


def _floor(series: PowerSeries, known: list[PowerRows]) -> float:
    """Σ_k κ_k floor_k: a row sum of a power serves all higher ones, a measured floor its own alone."""
    floors = np.zeros(series.degree + 1)
    for p in known:
        if p.power > series.degree:
            continue
        if p.measured:
            floors[p.power] = max(floors[p.power], p.floor)
        else:
            floors[p.power :] = np.maximum(floors[p.power :], p.floor)
    rest = max(p.floor for p in known if not p.measured)
    total = float(series.lower @ floors) + series.rest[0] * rest
    return total * (1 - 2 * (series.degree + 4) * U)


def _pair_kernel(
    net: Network, data: Tensor, pair: tuple[float, int, int]
) -> tuple[float, tuple[float, int, int]]:
    """An upper bound on λ_min: the smaller eigenvalue of the pair's 2 × 2 kernel, with its error."""
    kernel = limiting_kernel(net, data[[pair[1], pair[2]]])
    matrix = kernel.dense()
    value = float(torch.linalg.eigvalsh(matrix)[0])
    error = (kernel.entry_error() + 16 * U) * float(matrix.trace())
    return value + error, pair
