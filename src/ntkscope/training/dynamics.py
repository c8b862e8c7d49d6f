"""Gradient descent on ½‖F − Y‖², observed beside what the kernel's spectrum promises of it.

Bombari et al. 2022, Theorem 4.2 and eq. 18-21.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ntkscope._base.caution import warn
from ntkscope._base.inputs import as_data
from ntkscope.networks.mlp import MLP
from ntkscope.report.result import Result
from ntkscope.training import checkpoints
from ntkscope.training.boost import theorem_unit
from ntkscope.training.gradients import GradientStep
from ntkscope.training.labels import as_targets
from ntkscope.training.optimizers import Stepper, make_stepper, parse_optimizer
from ntkscope.training.outcome import Training
from ntkscope.training.probes import Probe, Start
from ntkscope.training.recipe import Checkpoint, Recipe, step_size

_FORMAT = "ntkscope-training-1"
DIVERGED = 1e6  # a loss of this many times its start will not come back


class StabilityWarning(UserWarning):
    """A step size above the stability limit of the kernel at the start."""


@dataclass(frozen=True)
class Progress(Result):
    """Where a training stands: ``seconds_left`` assumes the pace so far."""

    step: int
    steps: int
    loss: float
    seconds_left: float


def train(
    model: MLP,
    X: Any,
    Y: Any,
    recipe: Recipe | None = None,
    *,
    checkpoint: Checkpoint | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Training:
    """Train a copy of ``model`` on ½‖F − Y‖² and measure the quantities of Theorem 4.2.

    ``model`` itself is left as it was.

    Parameters
    ----------
    model: an :class:`MLP` of one output.
    X: (N, d) samples.
    Y: N real labels.
    recipe: optimizer, step size and number of steps.
    checkpoint: a file to store the run in and to resume it from.
    progress: called with a report now and then.

    Returns
    -------
    Training: the losses beside those that the kernel at the start predicts.

    Raises ValueError for data or labels that do not fit, a network of several outputs, or a
    checkpoint of another run; TypeError for a model that is no MLP or labels that are no numbers.
    Warns (:class:`StabilityWarning`) when η exceeds the stability limit at the start, and stops
    with status "diverged" when the loss passes 10⁶ times its start.
    """
    if not isinstance(model, MLP):
        raise TypeError(f"model must be an ntkscope MLP, got {type(model).__name__}; see Tracker")
    recipe = Recipe() if recipe is None else recipe
    run = _Run(model, X, Y, recipe)
    return run.execute(checkpoint, progress)


class _Run:
    """One training: its data, its start, and what has been seen so far."""

    def __init__(self, model: MLP, X: Any, Y: Any, recipe: Recipe) -> None:
        self.recipe, self.rule = recipe, parse_optimizer(recipe.optimizer)
        data = as_data(X, "X")
        if data.shape[1] != model.network.dim:
            raise ValueError(
                f"X has {data.shape[1]} features, the network takes {model.network.dim}"
            )
        self.X = data.to(dtype=model.dtype, device=model.device)
        self.Y = as_targets(Y, len(data)).to(self.X)
        self.model = _copy(model)
        self.closed = GradientStep(self.model, self.X, self.Y)
        self.first = float(self.closed.forward())
        if not math.isfinite(self.first):
            raise ValueError("the network's output overflows on these data; scale X or the weights")
        residual = self.closed.residual[:, 0]
        self.start = Start(self.model, self.X, residual + self.Y)
        self.coefficients = self.start.coefficients(residual)
        if not self.start.ends[1].value > 0:
            raise ValueError(
                "the kernel is zero on these data, so no gradient moves the outputs; "
                "sample the weights anew"
            )
        self.limit = self.rule.stability / self.start.ends[1].value
        self.eta = step_size(recipe.eta, self.rule, model.network, len(data), self.limit)
        self.loss_steps: list[int] = []
        self.losses: list[float] = []
        self.probes: list[Probe] = []
        self.observed: list[Tensor] = []
        self.notes: list[str] = []
        self.seconds = 0.0

    def execute(
        self, checkpoint: Checkpoint | None, progress: Callable[[Progress], None] | None
    ) -> Training:
        stepper = make_stepper(self.rule, self.closed, self.Y, self.eta, self.recipe.seed)
        if checkpoint and not checkpoint.resume and Path(checkpoint.path).exists():
            raise FileExistsError(
                f"{str(checkpoint.path)!r} holds a run; go on with it (resume), or write elsewhere"
            )
        first = self._resume(checkpoint, stepper) if checkpoint and checkpoint.resume else 0
        if first == 0 and self.rule.momentum is not None and self.eta > self.limit:
            self._warn()
        began = told = time.perf_counter()
        earlier, loss, status, step = self.seconds, self.first, "finished", first
        probed = set(probe_steps(self.recipe.steps, self.recipe.probes))
        # descent has every loss at hand; the others pay a forward pass for each that is recorded
        recorded = probed | set(probe_steps(self.recipe.steps, 400))
        for step in range(first, self.recipe.steps + 1):
            if self.rule.name == "gd" or step in recorded:
                loss = self._look(step, step in probed)
                status = self._status(loss)
            if status != "finished" or step == self.recipe.steps:
                break
            stepper.step()
            now = time.perf_counter()
            self.seconds = earlier + now - began
            if progress and now - told > 0.2:
                told, left = now, (now - began) / (step + 1 - first) * (self.recipe.steps - step)
                progress(Progress(step + 1, self.recipe.steps, loss, left))
            if checkpoint and (step + 1) % checkpoint.every == 0:
                self._save(checkpoint, stepper, step + 1)
        self.seconds = earlier + time.perf_counter() - began
        if self.probes[-1].step != step and status != "diverged":
            self._probe(step, loss)
        if checkpoint and status == "finished":
            self._save(checkpoint, stepper, step)
        return self._outcome(status, step)

    def _look(self, step: int, probe: bool) -> float:
        """The loss at θ_t, recorded, with the kernel where a probe is due."""
        loss = float(self.closed.forward())
        if not self.loss_steps or self.loss_steps[-1] != step:
            self.loss_steps.append(step)
            self.losses.append(loss)
        if probe and math.isfinite(loss) and not (self.probes and self.probes[-1].step == step):
            self._probe(step, loss)
        return loss

    def _probe(self, step: int, loss: float) -> None:
        probe = self.start.probe(self.model, step, loss)
        self.probes.append(probe)
        self.observed.append(self.start.coefficients(self.closed.residual[:, 0]))
        bound = self.rule.stability / probe.lambda_max.value
        if self.rule.momentum is not None and self.eta > bound and step > 0:
            self.notes.append(
                f"step {step}: η = {self.eta:.3g} exceeds the stability limit "
                f"{self.rule.stability:g}/λ_max(K_t) = {bound:.3g}"
            )

    def _status(self, loss: float) -> str:
        if not math.isfinite(loss) or loss > DIVERGED * self.first:
            return "diverged"
        return "converged" if loss <= self.recipe.tol * self.first else "finished"

    def _warn(self) -> None:
        note = (
            f"η = {self.eta:.3g} exceeds the stability limit {self.rule.stability:g}/λ_max(K_0) = "
            f"{self.limit:.3g}: expect the loss to grow; choose η below it"
        )
        self.notes.append(note)
        warn(note, StabilityWarning)

    def _fingerprint(self) -> str:
        """What a checkpoint must agree on to be continued: the start, the data and the rule."""
        digest = hashlib.sha256()
        for tensor in (*self.start.theta, self.X, self.Y):
            digest.update(tensor.cpu().numpy().tobytes())
        digest.update(f"{self.rule} {self.eta!r} {self.recipe.seed} {self.model.network}".encode())
        return digest.hexdigest()

    def _save(self, checkpoint: Checkpoint, stepper: Stepper, step: int) -> None:
        checkpoints.write(
            checkpoint.path,
            {
                "format": _FORMAT,
                "fingerprint": self._fingerprint(),
                "step": step,
                "parameters": [p.detach().clone() for p in self.model.parameters()],
                "stepper": stepper.state(),
                "loss_steps": self.loss_steps,
                "losses": self.losses,
                "probes": [p.to_dict() for p in self.probes],
                "observed": self.observed,
                "notes": self.notes,
                "seconds": self.seconds,
            },
        )

    def _resume(self, checkpoint: Checkpoint, stepper: Stepper) -> int:
        state = checkpoints.read(checkpoint.path, "training checkpoint")
        if state.get("format") != _FORMAT:
            raise ValueError(f"{str(checkpoint.path)!r} is no training checkpoint")
        if state["fingerprint"] != self._fingerprint():
            raise ValueError(
                f"{str(checkpoint.path)!r} belongs to another run (network, data, labels, optimizer, "
                "η or seed differ); give it the same ones, or start without resume"
            )
        if state["step"] > self.recipe.steps:
            raise ValueError(
                f"the checkpoint stands at step {state['step']}, beyond the {self.recipe.steps} asked for"
            )
        with torch.no_grad():
            for parameter, saved in zip(self.model.parameters(), state["parameters"], strict=True):
                parameter.copy_(saved)
        stepper.restore(state["stepper"])
        self.loss_steps, self.losses = state["loss_steps"], state["losses"]
        self.probes = [Probe.from_dict(p) for p in state["probes"]]
        self.observed, self.notes = state["observed"], state["notes"]
        self.seconds = state["seconds"]
        step: int = state["step"]
        return step

    def _outcome(self, status: str, step: int) -> Training:
        return Training(
            model=self.model,
            status=status,
            steps=step,
            optimizer=str(self.rule),
            momentum=self.rule.momentum,
            eta=self.eta,
            eta_limit=self.limit,
            loss_steps=torch.tensor(self.loss_steps, dtype=torch.float64),
            losses=torch.tensor(self.losses, dtype=torch.float64),
            rounding=self.closed.rounding(),
            probes=tuple(self.probes),
            observed=torch.stack(self.observed).cpu(),
            eigenvalues=self.start.eigenvalues.cpu(),
            coefficients=self.coefficients.cpu(),
            theorem_unit=theorem_unit(self.model.network),
            notes=tuple(self.notes),
            seconds=self.seconds,
        )


def probe_steps(steps: int, count: int) -> list[int]:
    """0, then ``count`` − 1 geometrically spaced steps up to ``steps``, without repeats."""
    ratio = steps ** (1.0 / max(1, count - 2))
    return sorted({0, steps, *(min(steps, round(ratio**k)) for k in range(count - 1))})


def _copy(model: MLP) -> MLP:
    biases = [b.detach().clone() for b in model.biases]
    return MLP(model.network, [w.detach().clone() for w in model.weights], biases)
