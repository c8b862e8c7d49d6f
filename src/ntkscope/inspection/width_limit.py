"""How far a finite network's kernel is from its wide limit, and how fast the two meet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from scipy.stats import t as student
from torch import Tensor, nn

from ntkscope._base import memory
from ntkscope._base.inputs import as_data
from ntkscope._base.specs import unknown
from ntkscope.kernels.empirical import empirical_ntk
from ntkscope.kernels.limiting.limiting_kernel import limiting_kernel, limiting_ntk
from ntkscope.kernels.matrix import MatrixKernel
from ntkscope.kernels.prepared import Reduce
from ntkscope.networks.mlp import MLP
from ntkscope.networks.network import Network
from ntkscope.spectra.eigenvalue import Eigenvalue, Status
from ntkscope.spectra.smallest import smallest_eigenvalue

SCALES = (0.125, 0.25, 0.5, 1.0)
CONFIDENCE = 0.95


@dataclass(frozen=True)
class WidthPoint:
    """Relative distances ‖K − K̄‖₂/‖K̄‖₂ of the draws at one choice of widths.

    ``width`` is the geometric mean of the hidden widths, ``mean`` the mean over the draws with its
    standard error (nan for a single draw).
    """

    width: float
    widths: tuple[int, ...]
    distances: tuple[float, ...]

    @property
    def mean(self) -> float:
        return sum(self.distances) / len(self.distances)

    @property
    def standard_error(self) -> float:
        n = len(self.distances)
        if n < 2:
            return math.nan
        spread = sum((x - self.mean) ** 2 for x in self.distances) / (n - 1)
        return math.sqrt(spread / n)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "width": self.width,
            "widths": list(self.widths),
            "distances": list(self.distances),
            "mean": self.mean,
            "standard_error": None if len(self.distances) < 2 else self.standard_error,
        }


@dataclass(frozen=True)
class Convergence:
    """Distances over widths and the exponent of distance ∝ width^exponent.

    The exponent is the least-squares slope of log distance on log width over all draws, with a 95%
    confidence interval; −1/2 is expected of independent neurons. ``n_samples`` rows were used.
    """

    points: tuple[WidthPoint, ...]
    exponent: float
    lower: float
    upper: float
    n_samples: int

    def __str__(self) -> str:
        return (
            f"distance ∝ width^{self.exponent:.3f}, 95% within [{self.lower:.3f}, {self.upper:.3f}]"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "points": [p.to_dict() for p in self.points],
            "exponent": self.exponent,
            "lower": self.lower,
            "upper": self.upper,
            "confidence": CONFIDENCE,
            "n_samples": self.n_samples,
        }


@dataclass(frozen=True)
class WidthLimit:
    """The limiting kernel beside a finite one.

    Attributes
    ----------
    limiting: λ_min(K̄) as an interval, in the units of the finite kernel.
    distance: ‖K̄ − K‖₂; by Weyl |λ_min(K̄) − λ_min(K)| is at most that.
    relative: ‖K̄ − K‖₂/‖K̄‖₂.
    convergence: the distance over widths, None where they cannot vary (``note`` says why).
    """

    limiting: Eigenvalue
    distance: float
    relative: float
    convergence: Convergence | None
    note: str = ""

    def __str__(self) -> str:
        lines = [
            f"limiting λ_min: {self.limiting}",
            f"‖K̄ − K‖₂ = {self.distance:.6g} ({100 * self.relative:.3g}% of ‖K̄‖₂)",
        ]
        lines += [str(self.convergence)] if self.convergence is not None else []
        lines += [self.note] if self.note else []
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "limiting": self.limiting.to_dict(),
            "distance": self.distance,
            "relative": self.relative,
            "convergence": None if self.convergence is None else self.convergence.to_dict(),
            "note": self.note,
        }


def width_limit(
    model: nn.Module,
    X: Any,
    *,
    scales: Sequence[float] = SCALES,
    draws: int = 4,
    seed: int = 0,
    max_samples: int = 256,
    reduce: str | int = "trace",
) -> WidthLimit:
    """Compare ``model``'s kernel on X with the limit of the network it was drawn from.

    An :class:`MLP` has its network's limit, and fresh networks of other widths beside it; any other
    module that of its operations, at the mean squares of its weights (:func:`limiting_ntk`).

    Parameters
    ----------
    scales: factors of the hidden widths at which fresh networks are sampled for the convergence.
    draws: networks sampled at each of them, with seeds that follow from ``seed``.
    max_samples: rows of X used for the convergence (the first ones); the distance uses all.
    reduce: for several outputs, ``"trace"`` or an output's index, as in :func:`empirical_ntk`.

    Raises ValueError where the network has no wide limit or its β_l are unknown (given weights),
    NotEnoughMemoryError when three N×N matrices do not fit.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be an nn.Module, got {type(model).__name__}")
    if not isinstance(model, MLP):
        return _of_module(model, X, reduce)
    data = as_data(X, "X").to(dtype=model.dtype, device=model.device)
    N = len(data)
    memory.require(
        3.1 * 8 * N * N, f"the distance of two N = {N} kernels",
        "use fewer samples",
    )  # fmt: skip
    limit = limiting_ntk(model.network, data, reduce=reduce)
    finite = _finite(model, data, reduce).to(torch.float64)
    size = spectral_norm(limit)
    distance = spectral_norm(finite.sub_(limit))
    convergence, note = None, ""
    if model.network.residual:
        note = "no convergence over widths: a residual network's widths are tied to its inputs"
    else:
        convergence = width_convergence(
            model.network, data[:max_samples], scales=scales, draws=draws, seed=seed, reduce=reduce
        )
    return WidthLimit(_smallest(model.network, limit), distance, distance / size, convergence, note)


def _of_module(model: nn.Module, X: Any, reduce: Any) -> WidthLimit:
    kernel = limiting_kernel(model, X, reduce=reduce)
    N = len(kernel)
    memory.require(
        3.1 * 8 * N * N, f"the distance of two N = {N} kernels",
        "use fewer samples",
    )  # fmt: skip
    limit = kernel.dense()
    finite = empirical_ntk(model, X, reduce=reduce).dense().to(torch.float64).cpu()
    size = spectral_norm(limit)
    distance = spectral_norm(finite.sub_(limit))
    held = MatrixKernel(
        limit, entry_error=kernel.entry_error(), covers=kernel.covers, semidefinite=True
    )
    note = "no convergence over widths: how a module is widened, it does not say"
    return WidthLimit(smallest_eigenvalue(held), distance, distance / size, None, note)


def _smallest(net: Network, limit: Tensor) -> Eigenvalue:
    """λ_min(K̄), its interval widened by what the entries themselves may be wrong.

    Entries hold to (d + 10L)u, and 1e-13 where no closed chain exists, relative to √(K_ii K_jj); so
    ‖ΔK̄‖₂ is at most that times the trace.
    """
    found = smallest_eigenvalue(limit)
    relative = (net.dim + 10 * net.depth) * torch.finfo(torch.float64).eps / 2
    if net.activation.homogeneity != 1:
        relative += 1e-13
    bar = relative * float(limit.diagonal().sum())
    lower, upper = found.lower - bar, found.upper + bar
    status = found.status
    if lower <= 0 and status is Status.OK:
        status = Status.BELOW_NOISE
    return replace(
        found, lower=lower, upper=upper, status=status,
        covers="the limiting kernel, its entries' own error included",
    )  # fmt: skip


def width_convergence(
    net: Network,
    X: Any,
    *,
    scales: Sequence[float] = SCALES,
    draws: int = 4,
    seed: int = 0,
    reduce: str | int = "trace",
) -> Convergence:
    """‖K − K̄‖₂/‖K̄‖₂ for networks like ``net`` at several widths, and the fitted exponent.

    Raises ValueError for fewer than two different widths, fewer than three distances in all, or a
    residual network.
    """
    if net.residual:
        raise ValueError("a residual network's widths are tied to its inputs and cannot vary")
    if draws < 1:
        raise ValueError(f"draws must be at least 1, got {draws}")
    data = as_data(X, "X", dtype=torch.float64)
    shapes = sorted({_scaled(net, s) for s in scales})
    if len(shapes) < 2 or len(shapes) * draws < 3:
        raise ValueError(
            f"a slope needs two widths and three distances; scales {list(scales)} of {net} give "
            f"{len(shapes)} widths with {draws} draws each"
        )
    points = []
    for index, widths in enumerate(shapes):
        other = net.with_widths(widths)
        limit = limiting_ntk(other, data, reduce=reduce)
        size = spectral_norm(limit)
        distances = []
        for draw in range(draws):
            # every draw its own stream: the same weights at two widths would correlate the points
            sampled = other.sample(seed=seed + 1 + index * draws + draw)
            K = _finite(sampled, data, reduce)
            distances.append(spectral_norm(K.sub_(limit)) / size)
        hidden = widths[1:-1]
        mean = math.exp(sum(math.log(n) for n in hidden) / len(hidden))
        points.append(WidthPoint(mean, widths, tuple(distances)))
    slope, lower, upper = _slope(
        [math.log(p.width) for p in points for _ in p.distances],
        [math.log(d) for p in points for d in p.distances],
    )
    return Convergence(tuple(points), slope, lower, upper, len(data))


def _finite(model: MLP, X: Tensor, reduce: str | int) -> Tensor:
    if isinstance(reduce, str) and reduce != "trace":
        raise ValueError(unknown("reduce", reduce, ("trace",)) + ", or an output's index")
    which: Reduce = "trace" if isinstance(reduce, str) else reduce
    return empirical_ntk(model, X, reduce=which).dense()


def _scaled(net: Network, scale: float) -> tuple[int, ...]:
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"scales must be positive, got {scale}")
    net._require_finite("vary the widths of")
    step = 2 if net.paired else 1  # Bombari's doubled layer has an even width
    hidden = [max(step, round(n * scale / step) * step) for n in net.widths[1:-1]]
    return (net.dim, *hidden, net.n_outputs)


def _slope(x: list[float], y: list[float]) -> tuple[float, float, float]:
    """Least-squares slope with its confidence interval."""
    n = len(x)
    mx, my = sum(x) / n, sum(y) / n
    sxx = sum((a - mx) ** 2 for a in x)
    slope = sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True)) / sxx
    rest = sum((b - my - slope * (a - mx)) ** 2 for a, b in zip(x, y, strict=True))
    bar = math.sqrt(rest / (n - 2) / sxx) * float(student.ppf(0.5 + CONFIDENCE / 2, n - 2))
    return slope, slope - bar, slope + bar


def spectral_norm(matrix: Tensor) -> float:
    """‖A‖₂ of a symmetric matrix, from its eigenvalues."""
    return float(torch.linalg.eigvalsh(matrix).abs().max())
