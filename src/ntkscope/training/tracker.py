"""Follow λ_min, λ_max and the kernel's drift inside a training loop of one's own."""

from __future__ import annotations

import math
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ntkscope._base.caution import warn
from ntkscope._base.extras import needs
from ntkscope._base.files import save_figure
from ntkscope._base.samples import as_samples
from ntkscope.kernels.empirical import prepare
from ntkscope.kernels.loss.losses import LossLike
from ntkscope.kernels.module.reading.interface import Output
from ntkscope.kernels.prepared import Options, Prepared
from ntkscope.report.palette import BLUE, GREEN, ORANGE
from ntkscope.report.result import Shown, Tabular
from ntkscope.training.alignment import as_label_columns, label_alignment
from ntkscope.training.callbacks import TrackerCallback
from ntkscope.training.loss_probe import LossProbe
from ntkscope.training.outlets import Outlet, Rows, Scalars, write_rows
from ntkscope.training.probes import extremes

Modes = list[tuple[nn.Module, bool]]


def _require_optimizer(optimizer: Any) -> None:
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(
            f"optimizer must be the torch.optim.Optimizer that trains the model, got {optimizer!r}"
        )


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

    ``callbacks=[tracker.callback()]`` serves Lightning and Hugging Face's Trainer, and finds their optimizer.
    A measurement that fails never ends the training: the numbers that it cannot give are NaN, ``errors`` says
    why, and one warning does.

    ``history`` holds one dict a measurement: step, loss (NaN where the optimizer is followed),
    lambda_min, lambda_min_error, lambda_max, drift = ‖K_t − K_0‖_F/‖K_0‖_F (NaN once parameters were frozen or
    freed), seconds; where labels are known
    alignment, the centred alignment of K_t with them (Cortes et al. 2012); with ``loss=``
    probe_loss, that loss on the probe, curvature, the largest eigenvalue of its Gauss-Newton matrix,
    sharpness, that of its Hessian, and edge, the value at which the optimizer's steps turn unstable: 2/η
    of gradient descent, of momentum and of Adam as in :func:`sharpness`, whose preconditioner is then in
    curvature and sharpness (NaN before its first step), as is weight decay. The edge of other optimizers, and of one
    that does not hold the parameters, is NaN.

    Parameters
    ----------
    model: a module that ``empirical_ntk`` takes; several outputs count by their trace. Measuring
        leaves its gradients, modes and the random state as they were. Its parts are measured in
        the modes, train or eval, that they have when the tracker is made.
    X_probe: (N, d), or what the model takes, read once; N sets the cost of a measurement.
    every: optimizer steps from one measurement to the next.
    optimizer: that a context follows; one that is made later goes to ``attach``.
    loss, targets: of the probe samples, as in ``gauss_newton_kernel``; targets alone give the alignment.
    share: of the time spent training that measuring may take, such as 0.05; measurements that would
        exceed it are left out, and counted in ``skipped``.
    csv: a file that each measurement is added to, a row at a time.
    writer: told each finite number by ``add_scalar(tag, value, step)``, as
        ``torch.utils.tensorboard.SummaryWriter`` is; tags are "ntk/lambda_min" and the like.
    params, max_memory, chunk_size, self_check, general, output: as in ``empirical_ntk``.

    Raises
    ------
    TypeError
        For an ``optimizer`` that is none.
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
        if optimizer is not None:
            _require_optimizer(optimizer)
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
        self._warned = False
        self._began, self._spent, self._last = time.perf_counter(), 0.0, 0.0
        self._start: Tensor | None = None
        self._names: tuple[str, ...] = ()
        try:
            self._record(math.nan)
        except ValueError as error:
            if any(training for _, training in self._modes) and "model.eval()" in str(error):
                raise ValueError(
                    f"{error}; it is measured in the modes of this moment throughout, so call "
                    "model.train() again once the tracker is made"
                ) from error
            raise

    def step(self, loss: Any = None) -> None:
        """Count one optimizer step; measure when its number is a multiple of ``every``.

        Where a context follows the optimizer, its steps count by themselves, and this does nothing.
        """
        if self._hook is None:
            self._count(loss)

    def _count(self, loss: Any = None) -> None:
        self.steps_seen += 1
        if self.steps_seen % self.every == 0:
            known = loss.detach() if isinstance(loss, Tensor) else loss
            self._measure(math.nan if known is None else float(known))

    __call__ = step

    def attach(self, optimizer: torch.optim.Optimizer) -> None:
        """The optimizer whose edge is measured from now on, where it was not made before the tracker.

        Callbacks of Lightning and Hugging Face do this. Raises TypeError for what is no optimizer.
        """
        _require_optimizer(optimizer)
        self._optimizer = optimizer

    @property
    def attached(self) -> bool:
        """Whether an optimizer is known."""
        return self._optimizer is not None

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
            self._note(f"{type(error).__name__}: {error}", "the NTK could not be measured")
            row = dict.fromkeys(self.history[0], math.nan)
            self._add(row | {"step": float(self.steps_seen), "loss": loss})

    def _note(self, reason: str, warning: str = "") -> None:
        """What is wrong with numbers of this step; the first ``warning`` is given."""
        if warning and not self._warned:
            self._warned = True
            warn(f"{warning} at step {self.steps_seen}: {reason}")
        before = self.errors.get(self.steps_seen)
        self.errors[self.steps_seen] = reason if before is None else f"{before}; {reason}"

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
        return {
            "lambda_min": least.value,
            "lambda_min_error": least.error,
            "lambda_max": most.value,
            "drift": self._drift(prepared, matrix),
            **(
                {} if self._labels is None else {"alignment": label_alignment(matrix, self._labels)}
            ),
            **self._curvature(prepared),
        }

    def _drift(self, prepared: Prepared, matrix: Tensor) -> float:
        """NaN where the kernel is of other parameters than the first: some were frozen or freed."""
        names = tuple(prepared.shapes)
        if self._start is None:
            self._start, self._names = matrix, names
        moved = sorted({*names} ^ {*self._names})
        if moved:
            self._note(
                f"no drift: the kernel is not of the parameters of step 0 ({', '.join(moved)} were "
                "frozen or freed)",
                "the kernel's drift is unknown",
            )
            return math.nan
        norm = float(torch.linalg.matrix_norm(self._start))
        change = float(torch.linalg.matrix_norm(matrix - self._start))
        return change / norm if norm else math.nan

    def _curvature(self, prepared: Prepared) -> dict[str, float]:
        if self._loss is None:
            return {}
        probe = LossProbe(self._model, self._X, self._options, self._loss, self._targets)
        return probe.measure(
            prepared, self._optimizer, self.steps_seen > 0, self._note, strict=not self.history
        )

    def _add(self, row: dict[str, float]) -> None:
        self.history.append(row)
        for outlet in self._outlets:
            try:
                outlet.add(row)
            except Exception as error:  # a full disk must not end the run either
                if len(self.history) == 1:
                    raise
                self._note(f"{type(error).__name__}: {error}")

    def to_csv(self, path: str | Path) -> Path:
        """The history as a table, one row a measurement. Raises OSError where it cannot be written."""
        return write_rows(Path(path), self.history, anew=True)

    def __enter__(self) -> Tracker:
        if self._optimizer is not None:
            self._hook = self._optimizer.register_step_post_hook(lambda *_: self._count())
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
