"""Which training samples a kernel regression's prediction rests on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ntkscope._base import memory
from ntkscope.kernels.given import as_kernel
from ntkscope.report.card import Card, Grid
from ntkscope.report.chart import Axis, Chart, Series
from ntkscope.report.numbers import number
from ntkscope.report.palette import BLUE, ORANGE
from ntkscope.report.result import Result, Tabular
from ntkscope.training.leave_one_out import left_out
from ntkscope.training.posterior import KernelPosterior, gamma

_SHOWN = 5


@dataclass(frozen=True)
class InfluentialSample(Result):
    """One training sample's part in one prediction.

    change: of the prediction when the sample is left out, with its ``error``. first_order: the same to
    first order in its weight. contribution: what its target adds to the prediction.
    """

    sample: int
    change: float
    error: float
    first_order: float
    contribution: float


@dataclass(frozen=True, eq=False)
class Influence(Tabular, Result):
    """Of N training samples on predictions at M test samples, C outputs: (M, N, C) each.

    With w = (K + ridge)⁻¹ k(X, x) and a = (K + ridge)⁻¹ (y − prior):

    Attributes
    ----------
    change: f₋ᵢ(x) − f(x) = −wᵢ (yᵢ − f₋ᵢ(xᵢ)), exactly what leaving sample i out does.
    error: a bound on what rounding and the kernels' own errors may have moved a change; without k(x, x)
        given, the entries k(X, x) are taken as they are.
    first_order: −wᵢ (yᵢ − f(xᵢ)), −∂f(x)/∂qᵢ of the weight qᵢ = 1 of the sample's squared error (the
        influence function of Koh and Liang 2017); small where the fit goes through the sample, as with a
        small ridge, however much the sample matters.
    contribution: wᵢ (yᵢ − priorᵢ), which add up to f(x) − prior(x).
    """

    change: Float[Tensor, "M N C"]
    error: Float[Tensor, "M N C"]
    first_order: Float[Tensor, "M N C"]
    contribution: Float[Tensor, "M N C"]

    def order(self, test: int = 0, output: int | None = None) -> list[int]:
        """Training samples by |change| at a test sample, the largest first; over all outputs, or of one."""
        change = self.change[test]
        size = change.norm(dim=1) if output is None else change[:, output].abs()
        return size.argsort(descending=True, stable=True).tolist()

    def most(self, test: int = 0, count: int = _SHOWN, output: int = 0) -> list[InfluentialSample]:
        """The ``count`` samples that matter most for one output at a test sample."""
        rows = self.order(test, output)[:count]
        parts = (self.change, self.error, self.first_order, self.contribution)
        return [InfluentialSample(i, *(float(p[test, i, output]) for p in parts)) for i in rows]

    def __repr__(self) -> str:
        M, N, C = self.change.shape
        counts = f"{M} prediction{'s' * (M > 1)} of {C} output{'s' * (C > 1)}"
        return f"Influence({counts}, {N} training samples)"

    def _rows(self) -> list[dict[str, Any]]:
        M, _, C = self.change.shape
        N = self.change.shape[1]
        return [
            {"test": test, "output": output, **s.to_dict()}
            for test in range(M)
            for output in range(C)
            for s in self.most(test, N, output)
        ]

    def _card(self) -> Card:
        M, _, C = self.change.shape
        rows = [
            (
                str(test), str(output), str(s.sample), number(s.change), number(s.error, 2),
                number(s.first_order), number(s.contribution),
            )
            for test in range(min(M, 3))
            for output in range(min(C, 3))
            for s in self.most(test, 3, output)
        ]  # fmt: skip
        heads = ("test", "output", "sample", "change", "error", "first order", "contribution")
        many = M > 3 or C > 3
        left = "the first predictions and outputs; .most(test, count, output) has others"
        title = f"{self!r}; what leaving a sample out changes"
        return Card(title, grids=[Grid("", heads, rows, labels=0)], notes=[left] if many else [])

    def _chart(self, test: int = 0, output: int = 0, count: int = 10) -> Chart:
        shown = self.most(test, count, output)
        names = [str(s.sample) for s in shown]
        chart = Chart(Axis("training sample", categories=names), Axis("change of the prediction"))
        chart.add(
            Series(
                "left out", names, [s.change for s in shown], "bars", BLUE,
                errors=[s.error for s in shown],
            )
        )  # fmt: skip
        chart.add(
            Series("first order", names, [s.first_order for s in shown], "marks", ORANGE, size=4.5)
        )
        return chart

    def plot(self, ax: Any = None, *, test: int = 0, output: int = 0, count: int = 10) -> Any:
        """Bars of the largest changes at a test sample, on a matplotlib axes, which is returned."""
        from ntkscope.report.drawn import draw

        return draw(self._chart(test, output, count), ax)


def influence(posterior: KernelPosterior, cross: Any, own: Tensor | None = None) -> Influence:
    """The influence of each training sample on predictions at M test samples.

    Parameters
    ----------
    posterior: the regression, such as ``regressor.posterior_``.
    cross: the kernel of the test samples with the training samples, (M, N); of pairs of outputs where
        the regression's is.
    own: k(x, x) of its rows, which the error of its entries is relative to.

    Returns
    -------
    Influence: changes on leaving a sample out in closed form, with their errors, and to first order.

    Raises
    ------
    ValueError
        For a cross kernel that does not fit; where rounding hides (K + ridge)⁻¹.
    NotEnoughMemoryError
        Where M·N·C numbers do not fit.
    """
    kernel = as_kernel(cross)
    B, N, C = posterior.block, posterior.n_samples, posterior.n_outputs
    if kernel.shape[1] != N * B or len(kernel) % B:
        raise ValueError(
            f"the cross kernel is {kernel.shape}, the regression has {N} samples of {B} rows each"
        )
    M = len(kernel) // B
    memory.require(
        8.0 * N * M * (3 * B * B + 6 * C), f"the influence of {N} samples on {M} predictions",
        "use fewer test samples",
    )  # fmt: skip
    left = left_out(posterior)
    weights = posterior.factor.solve(kernel.dense().to(posterior.solution).T)
    # |ŵ_j − w_j| ≤ ‖M e_j‖ (ε ‖ŵ‖ + ‖Δk‖), ‖Δk‖ ≤ γ √(k(x, x) tr K)
    moved = posterior.backward_error * torch.linalg.vector_norm(weights, dim=0)
    if own is not None:
        sizes = (own.to(moved).clamp_min(0) * posterior.kernel_trace).sqrt()
        moved = moved + kernel.entry_error() * sizes * (1 + 1e-6)
    lost = posterior.column_norms[:, None] * moved
    targets = posterior.as_outputs(posterior.residual)
    in_sample = posterior.ridge * posterior.as_outputs(posterior.solution)
    w, dw, terms = weights.abs(), lost, left.residuals.abs()
    error = _applied(w, left.rounding, B) + _applied(dw, terms, B) + _applied(dw, left.rounding, B)
    error = error * (1 + 1e-6) + gamma(B + 3) * _applied(w, terms, B)
    return Influence(
        -_applied(weights, left.residuals, B), error,
        -_applied(weights, in_sample, B), _applied(weights, targets, B),
    )  # fmt: skip


def _applied(weights: Tensor, values: Float[Tensor, "N C"], B: int) -> Float[Tensor, "M N C"]:
    """Σ_b w[(i, b), (x, c)] v[i, b] for correlated outputs, w[i, x] v[i, c] for independent ones."""
    if B == 1:
        return weights.T[:, :, None] * values[None]
    N, C = values.shape
    blocks = weights.reshape(N, B, -1, C)
    return torch.einsum("nbmc,nb->mnc", blocks, values)
