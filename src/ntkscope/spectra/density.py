"""Whole spectra: every eigenvalue of a small matrix, a density with its standard error of a large one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from ntkscope._base import memory
from ntkscope._base.inputs import as_seed
from ntkscope.report import charts
from ntkscope.report.card import Card
from ntkscope.report.chart import Chart
from ntkscope.report.numbers import number
from ntkscope.report.result import Drawn, Result, Tabular
from ntkscope.spectra.rounding import U
from ntkscope.spectra.storage.source import Source, as_source


@dataclass(frozen=True)
class Estimate(Result):
    """A random estimate with its standard error (0 where the value is exact to rounding)."""

    value: float
    stderr: float

    def __str__(self) -> str:
        return f"{self.value:.6g} ± {self.stderr:.2g}" if self.stderr else f"{self.value:.6g}"


@dataclass(frozen=True)
class Density(Drawn, Tabular, Result, also=("log_determinant", "effective_rank")):
    """The distribution of the N eigenvalues of a matrix.

    Attributes
    ----------
    n: the size of the matrix.
    nodes, weights: (probes, nodes) quadrature of each probe; the weights of a probe sum to 1. One
        probe with weights 1/N is the exact spectrum.
    error: a bound on the error of a node of the exact spectrum, by rounding and by forming K.
    trace: Σλ, exact where the diagonal is known.
    exact: whether the nodes are all eigenvalues.
    """

    n: int
    nodes: Tensor
    weights: Tensor
    error: float
    trace: Estimate
    exact: bool

    def _rows(self) -> list[dict[str, Any]]:
        pairs = zip(self.nodes.tolist(), self.weights.tolist(), strict=True)
        return [
            {"probe": probe, "node": node, "weight": weight}
            for probe, (nodes, weights) in enumerate(pairs)
            for node, weight in zip(nodes, weights, strict=True)
        ]

    def _card(self) -> Card:
        low, high = float(self.nodes.min()), float(self.nodes.max())
        kind = (
            f"all eigenvalues, each to ±{number(self.error, 2)}"
            if self.exact
            else f"a quadrature of {len(self.nodes)} probes"
        )
        pairs = [
            ("eigenvalues", f"{self.n}, {number(low)} … {number(high)}; {kind}"),
            ("trace", str(self.trace)), ("effective rank", str(self.effective_rank)),
            ("log det K", str(self.log_determinant)),
        ]  # fmt: skip
        return Card("Spectral density", pairs)

    def _chart(self) -> Chart:
        """The share of the eigenvalues below λ."""
        found = self.nodes[self.weights > 0].sort().values
        shares = [self.cumulative(float(x)) for x in found[:: max(1, len(found) // 200)]]
        at = found[:: max(1, len(found) // 200)]
        chart = charts.curves(
            "λ", "share of the eigenvalues ≤ λ", at, {"": [s.value for s in shares]},
            log=(bool((found > 0).all()), False), points=False,
        )  # fmt: skip
        chart.series[0].errors = [s.stderr for s in shares]
        return chart

    def mean(self, function: Callable[[Tensor], Tensor]) -> Estimate:
        """(1/N) Σ f(λ_i), with the standard error over the probes."""
        each = (self.weights * function(self.nodes)).sum(dim=1)
        if self.exact:
            return Estimate(float(each[0]), 0.0)
        return Estimate(float(each.mean()), float(each.std()) / math.sqrt(len(each)))

    def cumulative(self, x: float) -> Estimate:
        """The share of eigenvalues ≤ x."""
        return self.mean(lambda t: (t <= x).to(t.dtype))

    def histogram(self, edges: Tensor) -> tuple[Tensor, Tensor]:
        """The share of eigenvalues in each bin [e_i, e_{i+1}) and its standard error."""
        shares = [self._share(float(a), float(b)) for a, b in pairwise(edges.tolist())]
        return (
            torch.tensor([s.value for s in shares], dtype=torch.float64),
            torch.tensor([s.stderr for s in shares], dtype=torch.float64),
        )

    def _share(self, low: float, high: float) -> Estimate:
        return self.mean(lambda t: ((t >= low) & (t < high)).to(t.dtype))

    @property
    def log_determinant(self) -> Estimate:
        """log det K; −inf with a standard error of nan where a node is not positive."""
        if bool((self.nodes <= 0).any()):
            return Estimate(-math.inf, math.nan)
        found = self.mean(torch.log)
        return Estimate(self.n * found.value, self.n * found.stderr)

    @property
    def effective_rank(self) -> Estimate:
        """(Σλ)²/Σλ², between 1 and N."""
        square = self.mean(lambda t: t * t)
        rank = self.trace.value**2 / (self.n * square.value) if square.value > 0 else 0.0
        relative = square.stderr / square.value if square.value > 0 else 0.0
        relative += 2 * self.trace.stderr / abs(self.trace.value) if self.trace.value else 0.0
        return Estimate(rank, rank * relative)

    def effective_dimension(self, ridge: float) -> Estimate:
        """Σ λ/(λ + ridge), the degrees of freedom of kernel ridge regression.

        Raises ValueError unless ``ridge`` > 0.
        """
        if not ridge > 0:
            raise ValueError(f"ridge must be positive, got {ridge}")
        found = self.mean(lambda t: t / (t + ridge))
        return Estimate(self.n * found.value, self.n * found.stderr)


def spectral_density(
    K: Any,
    *,
    exact: bool | None = None,
    n_probes: int = 12,
    n_steps: int = 80,
    seed: int | torch.Generator = 0,
) -> Density:
    """The eigenvalues of a symmetric matrix (N ≤ 3000), or a quadrature of their density.

    The quadrature is stochastic Lanczos (Ubaru, Chen and Saad, SIMAX 38, 2017): ``n_probes`` random
    sign vectors, ``n_steps`` products each with full reorthogonalisation.

    Takes what :func:`smallest_eigenvalue` takes. ``exact`` overrides the choice by N.

    Parameters
    ----------
    K: as in :func:`smallest_eigenvalue`.
    exact: all eigenvalues (True) or the quadrature (False); by default by N.
    n_probes: random vectors of the quadrature.
    n_steps: products with each of them.
    seed: of the probes.

    Returns
    -------
    Density, with its standard error where it was estimated.

    Raises ValueError for fewer than two probes or one step, NotEnoughMemoryError.
    """
    source = as_source(K)
    if exact if exact is not None else source.n <= 3000:
        return _exact(source)
    if n_probes < 2 or n_steps < 1:
        raise ValueError(
            f"a standard error needs two probes and a step, got n_probes={n_probes}, "
            f"n_steps={n_steps}"
        )
    steps = min(n_steps, source.n)
    memory.require(
        8 * source.n * n_probes * (steps + 3), "the Lanczos vectors of the density",
        "use fewer probes or steps",
    )  # fmt: skip
    return _lanczos(source, n_probes, steps, seed)


def _exact(source: Source) -> Density:
    n = source.n
    memory.require(2.1 * 8 * n * n, f"all eigenvalues at N = {n}", "pass exact=False")
    matrix = source.matrix if source.matrix is not None else source.kernel.dense()
    values = torch.linalg.eigvalsh(matrix.to(torch.float64))
    error = source.error + n * U * float(values.abs().max())
    weights = torch.full((1, n), 1 / n, dtype=torch.float64, device=values.device)
    return Density(n, values[None], weights, error, Estimate(float(values.sum()), 0.0), True)


def _lanczos(source: Source, p: int, steps: int, seed: int | torch.Generator) -> Density:
    n = source.n
    generator = as_seed(seed, "probes")
    signs = torch.randint(0, 2, (n, p), generator=generator).to(torch.float64) * 2 - 1
    v = signs.to(source.device) / math.sqrt(n)
    basis = torch.zeros(p, steps, n, dtype=torch.float64, device=source.device)
    alpha = torch.zeros(p, steps, dtype=torch.float64)
    beta = torch.zeros(p, steps, dtype=torch.float64)
    for step in range(steps):
        basis[:, step] = v.T
        w = source.matmul(v).T  # (p, n)
        held = basis[:, : step + 1]
        for _ in range(2):
            along = torch.einsum("psn,pn->ps", held, w)
            alpha[:, step] += along[:, -1].cpu()
            w = w - torch.einsum("psn,ps->pn", held, along)
        norm = torch.linalg.vector_norm(w, dim=1)
        beta[:, step] = norm.cpu()
        v = (w / norm.clamp_min(1e-300)[:, None]).T.contiguous()
    nodes, weights = zip(
        *(_quadrature(a, b) for a, b in zip(alpha, beta, strict=True)), strict=True
    )
    nodes_all, weights_all = torch.stack(nodes), torch.stack(weights)
    if source.operator:
        each = n * (weights_all * nodes_all).sum(dim=1)
        trace = Estimate(float(each.mean()), float(each.std()) / math.sqrt(p))
    else:
        trace = Estimate(float(source.diagonal().sum()), 0.0)
    return Density(n, nodes_all, weights_all, source.error, trace, False)


def _quadrature(alpha: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
    """Gauss nodes and weights of a Jacobi matrix; steps after a breakdown get weight 0."""
    scale = float(alpha.abs().max() + beta.abs().max())
    broken = (beta[:-1] <= 1e-13 * scale).nonzero()
    size = int(broken[0]) + 1 if len(broken) else len(alpha)
    off = beta[: size - 1]
    J = torch.diag(alpha[:size]) + torch.diag(off, 1) + torch.diag(off, -1)
    values, vectors = torch.linalg.eigh(J)
    nodes = values[-1].repeat(len(alpha))
    weights = torch.zeros(len(alpha), dtype=torch.float64)
    nodes[:size], weights[:size] = values, vectors[0] ** 2
    return nodes, weights
