"""What a training leaves behind: the observed, the predicted, and how they compare."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ntkscope.networks.mlp import MLP
from ntkscope.report import charts
from ntkscope.report.card import Card
from ntkscope.report.chart import DASHED, Chart
from ntkscope.report.result import Drawn, Result, Tabular
from ntkscope.training.probes import Condition21, Probe, condition_21
from ntkscope.training.rates import Rate, fit_rate, linearised_loss, linearised_modes

# the weights are left out, and keys that say more than the fields they stand for are added
_UNSAID = ("model", "momentum", "losses", "observed", "coefficients", "theorem_unit")
_SAID = {
    "network": "model.network", "loss": "losses", "predicted_loss": "predicted",
    "observed_modes": "observed", "predicted_modes": "predicted_modes",
    "condition_21": "condition", "mismatch": "mismatch", "rates": "rates",
}  # fmt: skip


@dataclass(frozen=True)
class Training(Drawn, Tabular, Result, without=_UNSAID, also=_SAID):
    """A finished training.

    Attributes
    ----------
    model: the trained copy. status: "finished", "converged" (tol reached) or "diverged".
    eta, eta_limit: the step size and 2/λ_max(K_0) (2(1 + μ)/λ_max with momentum).
    loss_steps, losses: observed ½‖F − Y‖² and the steps it was recorded at.
    rounding: an estimate of the loss that rounding leaves; below it the loss says nothing.
    probes: λ_min, λ_max, drift, distance and Jacobian change along the way.
    observed: (P, N) residuals at the probes in the eigenvectors of K_0.
    eigenvalues, coefficients: of K_0 (ascending), and the residual's coefficients at the start.
    theorem_unit: γ n_{L-2} n_{L-1} for the paired initialization, else ``None``.
    steps: that were taken.
    optimizer, momentum: that took them.
    notes: what else a reader should know.
    seconds: wall time.
    """

    model: MLP
    status: str
    steps: int
    optimizer: str
    momentum: float | None
    eta: float
    eta_limit: float
    loss_steps: Float[Tensor, T]
    losses: Float[Tensor, T]
    rounding: float
    probes: tuple[Probe, ...]
    observed: Float[Tensor, "P N"] = field(repr=False)
    eigenvalues: Float[Tensor, N] = field(repr=False)
    coefficients: Float[Tensor, N] = field(repr=False)
    theorem_unit: float | None
    notes: tuple[str, ...]
    seconds: float

    def predicted_modes(self) -> Float[Tensor, "P N"] | None:
        """The linearised residuals at the probes; ``None`` for Adam and SGD, which have no such law."""
        return self._modes([p.step for p in self.probes])

    def predicted(self, steps: list[int] | None = None) -> Float[Tensor, T] | None:
        """The linearised loss at ``steps`` (the recorded ones); ``None`` for Adam and SGD."""
        asked = [int(t) for t in self.loss_steps.tolist()] if steps is None else steps
        if self.momentum is None:
            return None
        parts = []
        # blocks of steps: steps × N numbers at once may be many
        for start in range(0, len(asked), 256) if self.momentum == 0.0 else [0]:
            block = asked[start : start + 256] if self.momentum == 0.0 else asked
            modes = self._modes(block)
            assert modes is not None
            parts.append(linearised_loss(modes))
        return torch.cat(parts)

    def _modes(self, steps: list[int]) -> Tensor | None:
        if self.momentum is None:
            return None
        return linearised_modes(self.eigenvalues, self.coefficients, self.eta, steps, self.momentum)

    @property
    def mismatch(self) -> float | None:
        """max_t |√L_t − √L̂_t|/√L_0 of observed and linearised loss; ``None`` without a prediction."""
        predicted = self.predicted()
        if predicted is None or float(self.losses[0]) == 0.0:
            return None
        gap = (self.losses.sqrt() - predicted.sqrt()).abs().max()
        return float(gap / self.losses[0].sqrt())

    def rate_theorem(self) -> Rate | None:
        """Eq. 20, (1 − cηγn_{L-2}n_{L-1})^t, with the constant that fits; paired networks only."""
        if self.theorem_unit is None:
            return None
        return self._rate("eq. 20: c·η·γ·n_(L-2)·n_(L-1)", self.eta * self.theorem_unit)

    def rate_lambda_min(self) -> Rate | None:
        """The same with λ_min(K_0) for γn_{L-2}n_{L-1}; ``None`` where λ_min is not above its error."""
        least = self.probes[0].lambda_min
        if not least.status.trustworthy:
            return None
        return self._rate("c·η·λ_min(K_0)", self.eta * least.value)

    def rates(self) -> list[Rate]:
        """Both, where they exist."""
        return [r for r in (self.rate_theorem(), self.rate_lambda_min()) if r is not None]

    def _rate(self, name: str, unit: float) -> Rate:
        return fit_rate(name, unit, self.loss_steps, self.losses, 100.0 * self.rounding)

    def condition(self) -> Condition21:
        """Bombari et al.'s condition 21 on the points visited."""
        return condition_21(list(self.probes))

    def summary(self) -> list[tuple[str, str]]:
        """Label and value pairs, for a terminal or a page."""
        first, last, condition = self.probes[0], self.probes[-1], self.condition()
        least = f"{first.lambda_min.value:.6g} ± {first.lambda_min.error:.1g} → {last.lambda_min.value:.6g} ± {last.lambda_min.error:.1g}"
        rows = [
            ("network", str(self.model.network)),
            ("samples", str(len(self.eigenvalues))),
            ("optimizer", f"{self.optimizer}, η = {self.eta:.4g} (limit {self.eta_limit:.4g})"),
            ("status", f"{self.status} after {self.steps} steps, {self.seconds:.1f} s"),
            ("loss", f"{float(self.losses[0]):.6g} → {float(self.losses[-1]):.6g}"),
            ("rounding level of the loss", f"{self.rounding:.1g} (estimate)"),
            ("λ_min(K_t)", least),
            ("λ_max(K_t)", f"{first.lambda_max.value:.6g} → {last.lambda_max.value:.6g}"),
            ("kernel drift ‖K_t − K_0‖_F/‖K_0‖_F", f"{last.drift:.3g}"),
            ("‖θ_t − θ_0‖ against R", f"{condition.distance:.4g} of {condition.radius:.4g}"),
            (
                "condition 21 on the points visited",
                f"{'not refuted' if condition.holds else 'fails'}: ‖J_t − J_0‖ = "
                f"{condition.change:.3g}, allowed α²/2β = {condition.allowed:.3g}",
            ),
        ]
        mismatch = self.mismatch
        if mismatch is not None:
            rows.append(("observed against linearised, max |√L − √L̂|/√L_0", f"{mismatch:.3g}"))
        for rate in self.rates():
            if not math.isnan(rate.constant):
                rows.append((f"rate {rate.name}", f"c = {rate.constant:.4g}"))
        return rows

    def _card(self) -> Card:
        return Card("Training", self.summary(), notes=list(self.notes))

    def _rows(self) -> list[dict[str, Any]]:
        return [probe.to_dict() for probe in self.probes]

    def _chart(self) -> Chart:
        """The loss at every recorded step, beside the linearised one."""
        found = {"observed ½‖F − Y‖²": self.losses.tolist()}
        predicted = self.predicted()
        if predicted is not None:
            found["linearised"] = predicted.tolist()
        steps = self.loss_steps.tolist()
        chart = charts.curves("step", "loss", steps, found, log=(False, True), points=False)
        if predicted is not None:
            chart.series[1].dash = DASHED
        return chart
