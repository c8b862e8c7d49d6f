"""Leave-one-out predictions of a kernel regression in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ntkscope.report.card import Card, Grid
from ntkscope.report.chart import Axis, Chart, Series
from ntkscope.report.numbers import number
from ntkscope.report.palette import GREY, PALETTE
from ntkscope.report.result import Drawn, Result, Tabular
from ntkscope.training.posterior import KernelPosterior, gamma, nonnegative


@dataclass(frozen=True, eq=False)
class LeaveOneOut(Drawn, Tabular, Result, also=("rmse",)):
    """What the regression predicts at each training sample from all the others.

    Attributes
    ----------
    predictions: f₋ᵢ(xᵢ). residuals: yᵢ − f₋ᵢ(xᵢ). std: of f₋ᵢ(xᵢ), without the noise. (N, C) each.
    rounding: (N, C), how far rounding, and the kernel's own error, may have moved a residual.
    """

    predictions: Float[Tensor, "N C"]
    residuals: Float[Tensor, "N C"]
    std: Float[Tensor, "N C"]
    rounding: Float[Tensor, "N C"]

    @property
    def rmse(self) -> float:
        """√ of the mean of the squared residuals."""
        return float(self.residuals.square().mean().sqrt())

    @property
    def r2(self) -> float:
        """1 − Σ residuals² / Σ (y − ȳ)², over all outputs."""
        targets = self.predictions + self.residuals
        spread = float((targets - targets.mean(dim=0)).square().sum())
        return 1 - float(self.residuals.square().sum()) / spread if spread else float("nan")

    def worst(self, count: int = 5) -> list[int]:
        """The samples that the others predict worst, by ‖residual‖, the worst first."""
        return self.residuals.norm(dim=1).argsort(descending=True)[:count].tolist()

    def __repr__(self) -> str:
        N, C = self.residuals.shape
        return f"LeaveOneOut({N} samples, {C} output{'s' * (C > 1)}, RMSE {self.rmse:.4g})"

    def _rows(self) -> list[dict[str, Any]]:
        N, C = self.residuals.shape
        return [
            {
                "sample": i, "output": c, "prediction": float(self.predictions[i, c]),
                "residual": float(self.residuals[i, c]), "std": float(self.std[i, c]),
                "rounding": float(self.rounding[i, c]),
            }
            for i in range(N)
            for c in range(C)
        ]  # fmt: skip

    def _card(self) -> Card:
        rows = [
            (
                str(i), number(float(self.residuals[i].norm()), 6), number(float(self.std[i].max())),
                number(float(self.rounding[i].max()), 2),
            )
            for i in self.worst()
        ]  # fmt: skip
        heads = ("worst sample", "|residual|", "std", "rounding")
        return Card(repr(self), grids=[Grid("", heads, rows)])

    def _chart(self) -> Chart:
        """Predictions with their deviations over the targets."""
        targets = (self.predictions + self.residuals).cpu()
        chart = Chart(Axis("target"), Axis("predicted from the others"))
        for c, color in zip(range(targets.shape[1]), PALETTE, strict=False):
            name = f"output {c}" if targets.shape[1] > 1 else ""
            found, std = self.predictions[:, c].tolist(), self.std[:, c].tolist()
            chart.add(
                Series(name, targets[:, c].tolist(), found, "marks", color, size=3, errors=std)
            )
        ends = [float(targets.min()), float(targets.max())]
        chart.add(Series("equal", ends, ends, "line", GREY, legend=False))
        return chart


def leave_one_out(posterior: KernelPosterior) -> LeaveOneOut:
    """yᵢ − f₋ᵢ(xᵢ) = (Mᵢᵢ)⁻¹ aᵢ with M = (K + ridge)⁻¹ and a = M (y − prior), blocks of a sample's outputs
    (Rasmussen and Williams 2006, eqs. 5.10–5.12).

    A kernel must not depend on which samples are there, and the ridge stays. Raises ValueError where
    rounding hides M.

    Parameters
    ----------
    posterior: the regression, such as ``regressor.posterior_``.

    Returns
    -------
    LeaveOneOut: predictions, residuals and standard deviations, with bounds on their rounding.
    """
    left = left_out(posterior)
    covariance = torch.linalg.inv(left.blocks)
    spread = covariance.diagonal(dim1=1, dim2=2)
    size = torch.linalg.matrix_norm(covariance, ord=2)
    noise = size[:, None] ** 2 * left.block_error[:, None] + gamma(8 * posterior.block) * spread
    std = nonnegative(spread - posterior.ridge, noise).sqrt()
    predictions = posterior.targets - left.residuals
    return LeaveOneOut(
        predictions, left.residuals, std.expand_as(predictions).contiguous(), left.rounding
    )


@dataclass(frozen=True, eq=False)
class LeftOut:
    """Residuals of left-out samples, with the blocks of M that gave them.

    blocks: Mᵢᵢ, (N, B, B). block_error: of each in the 2-norm. residuals, rounding: (N, C).
    """

    blocks: Float[Tensor, "N B B"]
    block_error: Float[Tensor, N]
    residuals: Float[Tensor, "N C"]
    rounding: Float[Tensor, "N C"]


def left_out(posterior: KernelPosterior) -> LeftOut:
    """Both from one inverse. |M̂_jk − M_jk| ≤ ‖M e_j‖ ε ‖M̂ e_k‖, and likewise of a."""
    posterior.require_resolved()
    B, N = posterior.block, posterior.n_samples
    blocks, _ = posterior.inverse_parts
    blocks = 0.5 * (blocks + blocks.mT)
    a = posterior.solution.reshape(N, B, -1)
    found = torch.linalg.solve(blocks, a)
    eps, norms = posterior.backward_error, posterior.column_norms.reshape(N, B)
    least = torch.linalg.eigvalsh(blocks)[:, 0]
    # the small system is solved with a backward error of its own
    own = gamma(8 * B * B) * torch.linalg.matrix_norm(blocks)
    block_error = eps * norms.square().sum(dim=1) + own
    a_error = eps * norms.norm(dim=1)[:, None] * posterior.solution.norm(dim=0)
    safe = least - block_error
    rounding = (a_error + block_error[:, None] * found.norm(dim=1)) / safe.clamp_min(0)[:, None]
    rounding = rounding * (1 + 1e-6) + gamma(4) * found.norm(dim=1)
    residuals = posterior.as_outputs(found)
    return LeftOut(blocks, block_error, residuals, rounding.expand_as(residuals).contiguous())
