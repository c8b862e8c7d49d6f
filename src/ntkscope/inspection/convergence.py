"""How fast finite networks meet their wide limit: distances over widths and their exponent."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from scipy.stats import t as student
from torch import Tensor, nn

from ntkscope._base.inputs import as_data
from ntkscope._base.specs import unknown
from ntkscope.kernels.empirical import empirical_ntk
from ntkscope.kernels.limiting.limiting_kernel import limiting_ntk
from ntkscope.kernels.prepared import Reduce
from ntkscope.networks.mlp import MLP
from ntkscope.networks.network import Network
from ntkscope.report import charts
from ntkscope.report.chart import DASHED, Chart, Series
from ntkscope.report.charts import floats
from ntkscope.report.palette import VERMILION
from ntkscope.report.result import Drawn, Shown, Tabular

SCALES = (0.125, 0.25, 0.5, 1.0)
WIDTHS = (16, 32, 64, 128)
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
class Convergence(Drawn, Tabular, Shown):
    """Distances over widths and the exponent of distance ∝ width^exponent.

    The exponent is the least-squares slope of log distance on log width over all draws, with a 95%
    confidence interval; −1/2 is expected of independent neurons. ``n_samples`` rows were used.

    Attributes
    ----------
    points: the distances at each width.
    exponent: the fitted slope.
    lower, upper: its 95% confidence interval.
    n_samples: rows of X that were used.
    """

    points: tuple[WidthPoint, ...]
    exponent: float
    lower: float
    upper: float
    n_samples: int

    def _rows(self) -> list[dict[str, Any]]:
        return [p.to_dict() for p in self.points]

    def _chart(self) -> Chart:
        at = [p.width for p in self.points]
        means = [p.mean for p in self.points]
        chart = charts.curves(
            "width", "‖K − K̄‖/‖K̄‖", at, {"mean over the draws": means},
            errors={"mean over the draws": [_finite(p.standard_error) for p in self.points]},
        )  # fmt: skip
        middle = math.exp(sum(map(math.log, at)) / len(at))
        level = math.exp(sum(map(math.log, means)) / len(means))
        fit = [level * (x / middle) ** self.exponent for x in at]
        name = f"width^({self.exponent:.3f})"
        chart.add(Series(name, floats(at), floats(fit), "line", VERMILION, DASHED))
        return chart

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


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0


def width_convergence(
    net: Any,
    X: Any,
    *,
    scales: Sequence[float] | None = None,
    widths: Sequence[int] | None = None,
    draws: int = 4,
    seed: int = 0,
    reduce: str | int = "trace",
) -> Convergence:
    """‖K − K̄‖₂/‖K̄‖₂ for networks like ``net`` at several widths, and the fitted exponent.

    Parameters
    ----------
    net: a :class:`Network`, or a function from a width to a module, freshly drawn by torch's
        generator. A module is compared with the limit at the mean squares of its own weights.
    X: samples; for modules of any shape (N, …).
    scales: of a Network, factors of its hidden widths; (1/8, 1/4, 1/2, 1) if not given.
    widths: of a function, what it is called with; (16, 32, 64, 128) if not given.
    draws: networks at each width, with seeds that follow from ``seed``.
    reduce: as in :func:`empirical_ntk`.
    seed: of the draws.

    Returns
    -------
    Convergence: distances over widths, with the exponent and its interval.

    Raises ValueError for fewer than two different widths, fewer than three distances in all, or a
    residual network; TypeError for what is neither a Network nor a function that gives modules.
    """
    if draws < 1:
        raise ValueError(f"draws must be at least 1, got {draws}")
    if isinstance(net, Network):
        if widths is not None:
            raise ValueError("widths are a function's (width → module); a Network takes scales")
        if net.residual:
            raise ValueError("a residual network's widths are tied to its inputs and cannot vary")
        data = as_data(X, "X", dtype=torch.float64)
        shapes = sorted({_scaled(net, s) for s in scales or SCALES})
        _require_slope(len(shapes), draws, f"scales {list(scales or SCALES)} of {net}")
        points = list(_of_network(net, data, shapes, draws, seed, reduce))
    else:
        if isinstance(net, nn.Module) or not callable(net):
            raise TypeError(
                "width_convergence takes a Network or a function from a width to a module, got "
                f"{type(net).__name__}"
            )
        if scales is not None:
            raise ValueError("scales are a Network's; a function takes widths=")
        data = torch.as_tensor(X)
        sizes = sorted({_checked(w) for w in widths or WIDTHS})
        _require_slope(len(sizes), draws, f"widths {list(widths or WIDTHS)}")
        points = list(_of_builder(net, data, sizes, draws, seed, reduce))
    slope, lower, upper = _slope(
        [math.log(p.width) for p in points for _ in p.distances],
        [math.log(d) for p in points for d in p.distances],
    )
    return Convergence(tuple(points), slope, lower, upper, len(data))


def _require_slope(n: int, draws: int, what: str) -> None:
    if n < 2 or n * draws < 3:
        raise ValueError(
            f"a slope needs two widths and three distances; {what} give {n} widths with {draws} "
            "draws each"
        )


def _checked(width: object) -> int:
    if isinstance(width, bool) or not isinstance(width, int) or width < 1:
        raise ValueError(f"widths must be whole numbers of at least 1, got {width!r}")
    return width


def _of_network(
    net: Network, X: Tensor, shapes: list[tuple[int, ...]], draws: int, seed: int, reduce: str | int
) -> Iterator[WidthPoint]:
    for index, widths in enumerate(shapes):
        other = net.with_widths(widths)
        limit = limiting_ntk(other, X, reduce=reduce)
        size = spectral_norm(limit)
        distances = []
        for draw in range(draws):
            # every draw its own stream: the same weights at two widths would correlate the points
            K = finite_kernel(other.sample(seed=seed + 1 + index * draws + draw), X, reduce)
            distances.append(spectral_norm(K.sub_(limit)) / size)
        hidden = widths[1:-1]
        mean = math.exp(sum(math.log(n) for n in hidden) / len(hidden))
        yield WidthPoint(mean, widths, tuple(distances))


def _of_builder(
    builder: Callable[[int], nn.Module],
    X: Tensor,
    widths: list[int],
    draws: int,
    seed: int,
    reduce: str | int,
) -> Iterator[WidthPoint]:
    for index, width in enumerate(widths):
        distances = []
        for draw in range(draws):
            with torch.random.fork_rng():
                torch.manual_seed(seed + 1 + index * draws + draw)
                model = builder(width)
            if not isinstance(model, nn.Module) or isinstance(model, MLP):
                raise TypeError(
                    f"the function of a width must give an nn.Module, got {type(model).__name__} "
                    f"at width {width}" + ("; give its Network" if isinstance(model, MLP) else "")
                )
            limit = limiting_ntk(model, X, reduce=reduce)
            K = finite_kernel(model, X, reduce).to(limit)
            distances.append(spectral_norm(K.sub_(limit)) / spectral_norm(limit))
        yield WidthPoint(float(width), (width,), tuple(distances))


def finite_kernel(model: nn.Module, X: Tensor, reduce: str | int) -> Tensor:
    """The dense empirical kernel."""
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
