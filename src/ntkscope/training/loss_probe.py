"""A tracked loss at one step: its value, curvature and sharpness, and the optimizer's edge."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.optim import Adam, AdamW

from ntkscope.kernels.loss.kernel import GaussNewtonKernel
from ntkscope.kernels.loss.losses import AtOutputs, LossLike
from ntkscope.kernels.loss.make import loss_of, warn_of
from ntkscope.kernels.module.making.prepare import PreparedModule
from ntkscope.kernels.prepared import Options, Prepared
from ntkscope.spectra.extremes import largest_eigenvalue
from ntkscope.training.preconditioner import Preconditioner, preconditioner
from ntkscope.training.second_derivative import SecondDerivativeError
from ntkscope.training.sharpness import LeftOutWarning, sharpness_of, used

MEASURED = ("probe_loss", "curvature", "sharpness")
Note = Callable[[str, str], None]
"""(reason, what a warning calls it, or nothing)."""


@dataclass(frozen=True, eq=False)
class LossProbe:
    """``loss`` of a model on the probe's samples."""

    model: Any
    X: Any
    options: Options
    loss: LossLike
    targets: Any

    def measure(
        self,
        prepared: Prepared,
        optimizer: torch.optim.Optimizer | None,
        stepped: bool,
        note: Note,
        strict: bool,
    ) -> dict[str, float]:
        """NaN, with a note, for what fails. ``strict``, the first: only a missing second derivative may."""
        found = dict.fromkeys((*MEASURED, "edge"), math.nan)
        try:
            at = loss_of(prepared, self.loss, self.targets)
            if strict:
                warn_of(at)
            found["probe_loss"] = at.value
            self._fill(found, prepared, at, optimizer, stepped, note)
        except Exception as error:  # the kernel's own columns stay
            if strict and not isinstance(error, SecondDerivativeError):
                raise
            missing = ", ".join(name for name in MEASURED if math.isnan(found[name]))
            note(
                f"no {missing}: {type(error).__name__}: {error}", f"no {missing} could be measured"
            )
        return found

    def _fill(
        self,
        found: dict[str, float],
        prepared: Prepared,
        at: AtOutputs,
        optimizer: torch.optim.Optimizer | None,
        stepped: bool,
        note: Note,
    ) -> None:
        module = prepared
        if not isinstance(module, PreparedModule):
            module = PreparedModule(self.model, self.X, self.options)
        adaptive = isinstance(optimizer, (Adam, AdamW))
        steps = None
        if optimizer is not None and (stepped or not adaptive):
            steps = self._stepping(optimizer, module, note)
        if steps is None and adaptive:
            return
        if steps is not None:
            found["edge"] = steps.edge
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LeftOutWarning)  # noted here
            if steps is None or steps.plain:
                kernel = GaussNewtonKernel(prepared.beside("full"), at)
                found["curvature"] = largest_eigenvalue(kernel).value
            else:
                seen = sharpness_of(module, at, steps=steps, gauss_newton=True)
                found["curvature"] = seen.value
                if seen.left_out:
                    names = ", ".join(seen.left_out)
                    note(
                        f"curvature without {names}, whose gradients the optimizer has not seen",
                        "the curvature is not of all parameters",
                    )
            found["sharpness"] = sharpness_of(module, at, steps=steps).value

    def _stepping(
        self, optimizer: torch.optim.Optimizer, module: PreparedModule, note: Note
    ) -> Preconditioner | None:
        """How the optimizer steps, where that is known."""
        try:
            steps = preconditioner(optimizer, self.model)
            steps.require(used(module))
        except (TypeError, ValueError) as error:
            note(f"no edge: {error}", "")
            return None
        return steps
