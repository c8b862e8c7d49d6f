"""Follow λ_min, λ_max and the kernel's drift inside a training loop of one's own."""

from __future__ import annotations

import math
import time
import warnings
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, AdamW
from torch.utils.hooks import RemovableHandle

from ntkscope._base.extras import needs
from ntkscope._base.files import save_figure
from ntkscope._base.samples import as_samples
from ntkscope.kernels.empirical import prepare
from ntkscope.kernels.loss.kernel import GaussNewtonKernel
from ntkscope.kernels.loss.losses import LossLike
from ntkscope.kernels.loss.make import loss_of
from ntkscope.kernels.module.making.prepare import PreparedModule
from ntkscope.kernels.module.reading.interface import Output
from ntkscope.kernels.prepared import Options, Prepared
from ntkscope.report.palette import BLUE, GREEN, ORANGE
from ntkscope.report.result import Shown, Tabular
from ntkscope.spectra.extremes import largest_eigenvalue
from ntkscope.training.alignment import as_label_columns, label_alignment
from ntkscope.training.callbacks import TrackerCallback
from ntkscope.training.outlets import Outlet, Rows, Scalars, write_rows
from ntkscope.training.preconditioner import Preconditioner, preconditioner
from ntkscope.training.probes import extremes
from ntkscope.training.sharpness import sharpness_of

Modes = list[tuple[nn.Module, bool]]


def _set_modes(modes: Modes) -> None:
    for part, training in modes:
        part.training = training


class Tracker(Tabular, Shown):
    """Measures the NTK of ``model`` on ``X_probe`` every ``every`` steps of any optimizer.

    As a context with an optimizer it follows that optimizer's steps by itself; otherwise call
    ``tracker.step(loss)`` (or the tracker, as a callback) once after each step::

        with ntk.Tracker(model, X_probe, every=10, optimizer=optimizer) as tracker:
            ...
        tracker.plot("ntk.png")

    ``callbacks=[tracker.callback()]`` serves Lightning and Hugging Face's Trainer. A measurement that
    fails never ends the training: its numbers are NaN, ``errors`` says why, and one warning does.

    ``history`` holds one dict a measurement: step, loss (NaN where the optimizer is followed),
    lambda_min, lambda_min_error, lambda_max, drift = ‖K_t − K_0‖_F/‖K_0‖_F, seconds; where labels are known
    alignment, the centred alignment of K_t with them (Cortes et al. 2012); with ``loss=``
    probe_loss, that loss on the probe, curvature, the largest eigenvalue of its Gauss-Newton matrix,
    sharpness, that of its Hessian, and edge, the value at which the optimizer's steps turn unstable: 2/η
    of gradient descent, of momentum and of Adam as in :func:`sharpness`, whose preconditioner is then in
    curvature and sharpness (NaN before its first step). The edge of other optimizers is NaN.

    Parameters
    ----------
    model: a module that ``empirical_ntk`` takes; several outputs count by their trace. Measuring
        leaves its gradients, modes and the random state as they were. Its parts are measured in
        the modes, train or eval, that they have when the tracker is made.
    X_probe: (N, d), or what the model takes, read once; N sets the cost of a measurement.
    every: optimizer steps from one measurement to the next.
    optimizer: that a context follows.
    loss, targets: of the probe samples, as in ``gauss_newton_kernel``; targets alone give the alignment.
    share: of the time spent training that measuring may take, such as 0.05; measurements that would
        exceed it are left out, and counted in ``skipped``.
    csv: a file that each measurement is added to, a row at a time.
    writer: told each finite number by ``add_scalar(tag, value, step)``, as
        ``torch.utils.tensorboard.SummaryWriter`` is; tags are "ntk/lambda_min" and the like.
    params, max_memory, chunk_size, self_check, general, output: as in ``empirical_ntk``.

    Raises
    ------
    ValueError
        For ``every`` below 1, a ``share`` that is none; what ``empirical_ntk`` raises for the model and
        data when the tracker is made.
    """

    def __init__(
        self,
        model: nn.Module,
        X_probe: Any,
        every: int = 10,
        optimizer: torch.optim.Optimizer | None = None,
        *,
        loss: LossLike | None = None,
        targets: Any = None,
        share: float | None = None,
        csv: str | Path | None = None,
        writer: Any = None,
        params: Any = None,
        max_memory: float | int | None = None,
        chunk_size: int | None = None,
        self_check: bool = True,
        general: bool = False,
        output: Output = None,
    ) -> None:
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise ValueError(f"every must be an integer of at least 1, got {every!r}")
        if share is not None and not 0 < share <= 1:
            raise ValueError(f"share must be a part of the training time in (0, 1], got {share!r}")
        # prepare says which modules it takes
        self._model: Any = model
        self._options = Options(params, max_memory, chunk_size, self_check, general, output)
        parts = model.modules() if isinstance(model, nn.Module) else ()
        self._modes: Modes = [(part, part.training) for part in parts]
        samples = as_samples(X_probe, "X_probe")
        self._X, self.every, self._optimizer = samples.inputs, every, optimizer
        self._loss, self._targets = loss, samples.targets if targets is None else targets
        self._labels = as_label_columns(self._targets, len(samples))
        self._share = share
        self._outlets: list[Outlet] = [] if csv is None else [Rows(Path(csv))]
        self._outlets += [] if writer is None else [Scalars(writer)]
        self._hook: RemovableHandle | None = None
        self.steps_seen = self.skipped = 0
        self.history: list[dict[str, float]] = []
        self.errors: dict[int, str] = {}
        self._began, self._spent, self._last = time.perf_counter(), 0.0, 0.0
        self._start: Tensor | None = None
        self._record(math.nan)

    def step(self, loss: Any = None) -> None:
        """Count one optimizer step; measure when its number is a multiple of ``every``."""
        self.steps_seen += 1
        if self.steps_seen % self.every == 0:
            known = loss.detach() if isinstance(loss, Tensor) else loss
            self._measure(math.nan if known is None else float(known))

    __call__ = step

    def callback(self) -> TrackerCallback:
        """For ``callbacks=[…]`` of Lightning's or Hugging Face's Trainer."""
        return TrackerCallback(self)

    def finish(self) -> None:
        """Measure once more, whatever the last multiple of ``every`` was."""
        if self.history[-1]["step"] != self.steps_seen:
            self._measure(math.nan)

    @property
    def seconds(self) -> float:
        """Spent measuring."""
        return self._spent

    def _affordable(self) -> bool:
        """Whether another measurement as long as the last one keeps within the share."""
        training = time.perf_counter() - self._began - self._spent
        return self._share is None or self._spent + self._last <= self._share * training

    def _measure(self, loss: float) -> None:
        """Whatever goes wrong, training goes on."""
        if not self._affordable():
            self.skipped += 1
            return
        try:
            self._record(loss)
        except Exception as error:  # a probe must not end the run that it watches
            if not self.errors:
                warnings.warn(
                    f"the NTK could not be measured at step {self.steps_seen}: {error}",
                    stacklevel=3,
                )
            self.errors[self.steps_seen] = f"{type(error).__name__}: {error}"
            row = dict.fromkeys(self.history[0], math.nan)
            self._add(row | {"step": float(self.steps_seen), "loss": loss})

    def _record(self, loss: float) -> None:
        begin = time.perf_counter()
        now = [(part, part.training) for part, _ in self._modes]
        try:
            _set_modes(self._modes)
            values = self._values()
        finally:
            _set_modes(now)
            self._last = time.perf_counter() - begin
            self._spent += self._last
        measured = {"seconds": self._last, **values}
        self._add({"step": float(self.steps_seen), "loss": loss, **measured})

    def _values(self) -> dict[str, float]:
        prepared = prepare(self._model, self._X, self._options)
        kernel = prepared.kernel("trace")
        matrix = kernel.dense()
        least, most = extremes(kernel, matrix)
        self._start = matrix if self._start is None else self._start
        norm = float(torch.linalg.matrix_norm(self._start))
        change = float(torch.linalg.matrix_norm(matrix - self._start))
        return {
            "lambda_min": least.value,
            "lambda_min_error": least.error,
            "lambda_max": most.value,
            "drift": change / norm if norm else math.nan,
            **(
                {} if self._labels is None else {"alignment": label_alignment(matrix, self._labels)}
            ),
            **({} if self._loss is None else self._curvature(prepared)),
        }

    def _curvature(self, prepared: Prepared) -> dict[str, float]:
        assert self._loss is not None
        at = loss_of(prepared, self._loss, self._targets)
        found, steps = {"probe_loss": at.value}, self._stepping()
        if steps is None and isinstance(self._optimizer, (Adam, AdamW)):
            return found | dict.fromkeys(("curvature", "sharpness", "edge"), math.nan)
        module = prepared
        if not isinstance(module, PreparedModule):
            module = PreparedModule(self._model, self._X, self._options)
        found["curvature"] = (
            largest_eigenvalue(GaussNewtonKernel(prepared.beside("full"), at)).value
            if steps is None or steps.scale is None
            else sharpness_of(module, at, steps=steps, gauss_newton=True).value
        )
        found["sharpness"] = sharpness_of(module, at, steps=steps).value
        return found | {"edge": math.nan if steps is None else steps.edge}

    def _stepping(self) -> Preconditioner | None:
        """How the optimizer steps, where that is known; ``errors`` says why it is not."""
        optimizer = self._optimizer
        if optimizer is None or (isinstance(optimizer, (Adam, AdamW)) and not self.steps_seen):
            return None
        try:
            return preconditioner(optimizer, self._model)
        except (TypeError, ValueError) as error:
            self.errors[self.steps_seen] = f"no edge: {error}"
            return None

    def _add(self, row: dict[str, float]) -> None:
        self.history.append(row)
        for outlet in self._outlets:
            try:
                outlet.add(row)
            except Exception as error:  # a full disk must not end the run either
                if len(self.history) == 1:
                    raise
                self.errors[self.steps_seen] = f"{type(error).__name__}: {error}"

    def to_csv(self, path: str | Path) -> Path:
        """The history as a table, one row a measurement. Raises OSError where it cannot be written."""
        return write_rows(Path(path), self.history, anew=True)

    def __enter__(self) -> Tracker:
        if self._optimizer is not None:
            self._hook = self._optimizer.register_step_post_hook(lambda *_: self.step())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._hook is not None:
            self._hook.remove()
            self._hook = None
        if kind is None:
            self.finish()

    def _rows(self) -> list[dict[str, float]]:
        return self.history

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        errors = {str(step): error for step, error in self.errors.items()}
        return {"steps": self.steps_seen, "history": self.history, "errors": errors}

    def __repr__(self) -> str:
        return f"Tracker({len(self.history)} measurements in {self.steps_seen} steps)"

    def column(self, name: str) -> list[float]:
        """One quantity of the history, in the order measured."""
        return [entry[name] for entry in self.history]

    def plot(self, path: str | Path | None = None) -> Any:
        """A matplotlib figure of λ_min, λ_max and the drift; saved where a path is given."""
        with needs("report"):
            from matplotlib.figure import Figure

        figure = Figure(figsize=(8, 3.2), layout="constrained")
        eigenvalues, drift = figure.subplots(1, 2)
        steps = self.column("step")
        eigenvalues.plot(steps, self.column("lambda_max"), "o-", color=ORANGE, label="λ_max(K_t)")
        eigenvalues.errorbar(
            steps, self.column("lambda_min"), yerr=self.column("lambda_min_error"),
            fmt="o-", color=BLUE, label="λ_min(K_t)",
        )  # fmt: skip
        positive = not any(value <= 0 for value in self.column("lambda_min"))
        eigenvalues.set(xlabel="step", yscale="log" if positive else "symlog")
        eigenvalues.legend(frameon=False)
        drift.plot(steps, self.column("drift"), "o-", color=GREEN)
        drift.set(xlabel="step", ylabel="‖K_t − K_0‖ / ‖K_0‖ (Frobenius)")
        if path is not None:
            save_figure(figure, path)
        return figure
