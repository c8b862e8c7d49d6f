"""Follow λ_min, λ_max and the kernel's drift inside a training loop of one's own."""

from __future__ import annotations

import math
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ntkscope._base.extras import needs
from ntkscope._base.files import save_figure
from ntkscope._base.samples import as_samples
from ntkscope.kernels.empirical import prepare
from ntkscope.kernels.kernel import Kernel
from ntkscope.kernels.module.reading.interface import Output
from ntkscope.kernels.prepared import Options
from ntkscope.training.probes import extremes

Modes = list[tuple[nn.Module, bool]]


def _set_modes(modes: Modes) -> None:
    for part, training in modes:
        part.training = training


class Tracker:
    """Measures the NTK of ``model`` on ``X_probe`` every ``every`` steps of any optimizer.

    As a context with an optimizer it follows that optimizer's steps by itself; otherwise call
    ``tracker.step(loss)`` (or the tracker, as a callback) once after each step::

        with ntk.Tracker(model, X_probe, every=10, optimizer=optimizer) as tracker:
            ...
        tracker.plot("ntk.png")

    ``history`` holds one dict a measurement: step, loss (NaN where the optimizer is followed),
    lambda_min, lambda_min_error, lambda_max, drift = ‖K_t − K_0‖_F/‖K_0‖_F.

    Parameters
    ----------
    model: a module that ``empirical_ntk`` takes; several outputs count by their trace. Measuring
        leaves its gradients, modes and the random state as they were. Its parts are measured in
        the modes, train or eval, that they have when the tracker is made.
    X_probe: (N, d), or what the model takes, read once; N sets the cost of a measurement.
    every: optimizer steps from one measurement to the next.
    optimizer: that a context follows.
    params, max_memory, chunk_size, self_check, general, output: as in ``empirical_ntk``.

    Raises
    ------
    ValueError
        For ``every`` below 1; what ``empirical_ntk`` raises for the model and data.
    """

    def __init__(
        self,
        model: nn.Module,
        X_probe: Any,
        every: int = 10,
        optimizer: torch.optim.Optimizer | None = None,
        *,
        params: Any = None,
        max_memory: float | int | None = None,
        chunk_size: int | None = None,
        self_check: bool = True,
        general: bool = False,
        output: Output = None,
    ) -> None:
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise ValueError(f"every must be an integer of at least 1, got {every!r}")
        # prepare says which modules it takes
        self._model: Any = model
        self._options = Options(params, max_memory, chunk_size, self_check, general, output)
        parts = model.modules() if isinstance(model, nn.Module) else ()
        self._modes: Modes = [(part, part.training) for part in parts]
        self._X, self.every, self._optimizer = (
            as_samples(X_probe, "X_probe").inputs,
            every,
            optimizer,
        )
        self._hook: RemovableHandle | None = None
        self.steps_seen = 0
        self.history: list[dict[str, float]] = []
        kernel = self._kernel()
        self._start = kernel.dense()
        self._norm = float(torch.linalg.matrix_norm(self._start))
        self._record(kernel, self._start, math.nan)

    def _kernel(self) -> Kernel:
        now = [(part, part.training) for part, _ in self._modes]
        try:
            _set_modes(self._modes)
            return prepare(self._model, self._X, self._options).kernel("trace")
        finally:
            _set_modes(now)

    def step(self, loss: Any = None) -> None:
        """Count one optimizer step; measure when its number is a multiple of ``every``."""
        self.steps_seen += 1
        if self.steps_seen % self.every == 0:
            known = loss.detach() if isinstance(loss, Tensor) else loss
            self._measure(math.nan if known is None else float(known))

    __call__ = step

    def _measure(self, loss: float) -> None:
        kernel = self._kernel()
        self._record(kernel, kernel.dense(), loss)

    def _record(self, kernel: Kernel, matrix: Tensor, loss: float) -> None:
        least, most = extremes(kernel, matrix)
        change = float(torch.linalg.matrix_norm(matrix - self._start))
        self.history.append(
            {
                "step": float(self.steps_seen),
                "loss": loss,
                "lambda_min": least.value,
                "lambda_min_error": least.error,
                "lambda_max": most.value,
                "drift": change / self._norm if self._norm else math.nan,
            }
        )

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
        # the end counts too, whatever the last multiple of `every` was
        if kind is None and self.history[-1]["step"] != self.steps_seen:
            self._measure(math.nan)

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
        eigenvalues.plot(
            steps, self.column("lambda_max"), "o-", color="#E69F00", label="λ_max(K_t)"
        )
        eigenvalues.errorbar(
            steps, self.column("lambda_min"), yerr=self.column("lambda_min_error"),
            fmt="o-", color="#0072B2", label="λ_min(K_t)",
        )  # fmt: skip
        positive = min(self.column("lambda_min")) > 0
        eigenvalues.set(xlabel="step", yscale="log" if positive else "symlog")
        eigenvalues.legend(frameon=False)
        drift.plot(steps, self.column("drift"), "o-", color="#009E73")
        drift.set(xlabel="step", ylabel="‖K_t − K_0‖ / ‖K_0‖ (Frobenius)")
        if path is not None:
            save_figure(figure, path)
        return figure
