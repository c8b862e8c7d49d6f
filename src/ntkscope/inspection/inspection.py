"""The main job: data and a network in, one report object out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ntkscope._base import memory
from ntkscope._base.samples import Samples, as_samples
from ntkscope.data.summary import DataSummary
from ntkscope.inspection.cautions import cautions
from ntkscope.inspection.clock import Clock, Progress
from ntkscope.inspection.examined import Examined, examine
from ntkscope.inspection.layers import Layer, Rung, inspect_layers, ladder
from ntkscope.inspection.loss import LossCurvature, inspect_loss
from ntkscope.inspection.meaning import (
    Memorization,
    Training,
    Weakest,
    memorization,
    training,
    weakest,
)
from ntkscope.inspection.per_output import OutputSpectrum, inspect_outputs
from ntkscope.inspection.shares import trace_error
from ntkscope.inspection.spectrum import descent, require_fitting, whole_spectrum
from ntkscope.kernels.kernel import Kernel
from ntkscope.kernels.loss.losses import LossLike
from ntkscope.kernels.matrix import MatrixKernel
from ntkscope.kernels.module.reading.interface import Output
from ntkscope.kernels.prepared import Options, Reduce
from ntkscope.networks.mlp import MLP
from ntkscope.networks.network import Network
from ntkscope.prediction.for_sample import SamplePrediction
from ntkscope.report import files, plots
from ntkscope.report.card import Card
from ntkscope.report.chart import Chart
from ntkscope.report.result import Drawn, Shown, Tabular
from ntkscope.spectra.eigenvalue import Eigenvalue
from ntkscope.spectra.extremes import ConditionNumber
from ntkscope.spectra.smallest import smallest_eigenvalue

_LOSSES = '"cross_entropy", "binary_cross_entropy", "mse" or a function'
_SHOWN_OUTPUTS = 100  # the report's table of outputs


@dataclass(frozen=True)
class Inspection(Drawn, Tabular, Shown):
    """What :func:`inspect` found. ``print`` shows tables, ``save`` writes the page and the numbers.

    Attributes
    ----------
    settings: everything needed to run it again.
    data: norms, duplicates, nearest pair of the samples; None for a kernel without them.
    n_samples: rows of the kernel.
    smallest, largest: λ_min and λ_max of the same matrix, as intervals with their status.
    trace, trace_error: tr K and a bound on its error.
    spectrum: (N,) eigenvalues in ascending order, or ``None`` above 6000 samples.
    layers: what each term of the kernel contributes.
    ladder: bounds around λ_min in ascending order of what the theory says.
    training, memorization, weakest: what it means.
    outputs: each output's own kernel, where a model has several (at most 100).
    prediction: λ_min of the limiting kernel from N, d and the norms alone, or why it is refused.
    warnings: in plain words.
    loss: the curvature of the loss that is trained, where one was named.
    inputs: shape and type of each of the model's inputs; empty for a kernel without data.
    network: its description, for the report.
    seconds: wall time of each stage.
    peak_memory: bytes.
    extra: further sections of the report, such as the wide limit.
    """

    settings: dict[str, Any]
    data: DataSummary | None
    n_samples: int
    network: dict[str, Any]
    smallest: Eigenvalue
    largest: Eigenvalue
    trace: float
    trace_error: float
    spectrum: Tensor | None
    layers: list[Layer]
    ladder: list[Rung]
    training: Training
    memorization: Memorization
    weakest: Weakest
    outputs: list[OutputSpectrum]
    prediction: SamplePrediction
    warnings: list[str]
    seconds: dict[str, float]
    peak_memory: int
    extra: dict[str, Any] = field(default_factory=dict)
    loss: LossCurvature | None = None
    inputs: list[str] = field(default_factory=list)

    @property
    def condition_number(self) -> ConditionNumber:
        """λ_max/λ_min as an interval, without an upper end where λ_min cannot be told from zero."""
        return ConditionNumber.of(self.smallest, self.largest)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, the same that ``result.json`` holds."""
        return {
            "settings": self.settings,
            "data": None if self.data is None else self.data.to_dict(),
            "n_samples": self.n_samples,
            "inputs": self.inputs,
            "network": self.network,
            "smallest_eigenvalue": self.smallest.to_dict(),
            "largest_eigenvalue": self.largest.to_dict(),
            "condition_number": self.condition_number.to_dict(),
            "trace": self.trace,
            "trace_error": self.trace_error,
            "spectrum": None if self.spectrum is None else self.spectrum.tolist(),
            "layers": [asdict(layer) for layer in self.layers],
            "ladder": [asdict(rung) for rung in self.ladder],
            "training": asdict(self.training),
            "memorization": asdict(self.memorization),
            "weakest": asdict(self.weakest),
            "outputs": [asdict(output) for output in self.outputs],
            "predicted": self.prediction.to_dict(),
            "warnings": self.warnings,
            "seconds": self.seconds,
            "peak_memory_bytes": self.peak_memory,
            "extra": self.extra,
            "loss": None if self.loss is None else self.loss.to_dict(),
        }

    def __str__(self) -> str:
        from ntkscope.report import terminal

        return terminal.render(self.to_dict())

    def to_html(self) -> str:
        """The report as one self-contained page."""
        from ntkscope.report.html import page

        return page(self.to_dict())

    def __repr__(self) -> str:
        return f"Inspection({self.network['text']}, N={self.n_samples}, λ_min={self.smallest})"

    def _card(self) -> Card:
        from ntkscope.report.inspected import card

        return card(self.to_dict())

    def _rows(self) -> list[Layer]:
        return self.layers

    def _chart(self) -> Chart:
        """The eigenvalues, where they were computed, else the bounds around λ_min."""
        if self.spectrum is not None:
            return plots.eigenvalues(self.spectrum.tolist())
        rungs = [asdict(rung) for rung in self.ladder]
        return plots.ladder(rungs, self.smallest.lower, self.smallest.upper)

    def save(self, directory: str | Path) -> Path:
        """Write report.html, result.json and settings.toml; returns the page's path.

        Each file is written beside its place and renamed, so a failure leaves no half file.
        Raises OSError where the directory cannot be written.
        """
        folder = Path(directory)
        again = "ntkscope inspect --config settings.toml" if "data" in self.settings else ""
        made = files.results(self.to_html(), self.to_dict(), self.settings, again)
        files.write_all(folder, made)
        return folder / files.REPORT


def inspect(
    model: Network | nn.Module | Kernel | Callable[..., Any],
    X: Any = None,
    *,
    seed: int = 0,
    reduce: Reduce = "trace",
    loss: LossLike | None = None,
    targets: Any = None,
    optimizer: Optimizer | None = None,
    width_limit: bool = False,
    params: Any = None,
    max_memory: float | int | None = None,
    chunk_size: int | None = None,
    self_check: bool = True,
    general: bool = False,
    output: Output = None,
    settings: dict[str, Any] | None = None,
    progress: Progress | None = None,
) -> Inspection:
    """Measure the NTK of ``model`` on ``X``: λ_min with its error, the layers, the bounds.

    Parameters
    ----------
    model: a sampled :class:`MLP`, a :class:`Network`, which is sampled with ``seed`` (with
        infinite widths its limiting kernel is measured), any model that :func:`empirical_ntk`
        takes, or any :class:`Kernel`, which is measured as it is.
    X: (N, d) samples, N ≥ 2; for modules what :func:`empirical_ntk` takes (the report flattens it to
        describe it). Of a kernel it may be left out, and with it what needs data.
    reduce, params, max_memory, chunk_size, self_check, general, output: as in :func:`empirical_ntk`
        ("trace" or an output index).
    loss, targets: measure what trains the model too, as in :func:`gauss_newton_kernel`: the Gauss-Newton
        matrix, stable steps and sharpness of that loss. Samples may bring their labels.
    optimizer: that trains the model, with its state, as in :func:`sharpness`: its stable step too.
    width_limit: add the limiting kernel's λ_min, the distance to it and its decay over widths.
    settings: recorded in the report, e.g. how the data were made.
    progress: called with (what is being done, fraction done).
    seed: of the weights of a :class:`Network`.

    Returns
    -------
    Inspection, which prints as tables and is saved as a page.

    Raises
    ------
    ValueError, TypeError
        For data and models that do not fit each other.
    NotEnoughMemoryError
        Where the dense kernel does not fit.
    """
    clock = Clock(progress)
    clock.step("forward and backward pass", 0.0)
    options = Options(params, max_memory, chunk_size, self_check, general, output)
    if loss is None and targets is not None:
        raise ValueError(f"targets belong to a loss: pass loss={_LOSSES}")
    if loss is None and optimizer is not None:
        raise ValueError(f"an optimizer steps on a loss: pass loss={_LOSSES}")
    samples = Samples(None) if X is None else as_samples(X)
    seen = examine(model, samples.inputs, reduce, options, seed)
    found = _measured(seen, settings or {}, clock)
    curvature = None
    if loss is not None:
        clock.step("loss", 0.9)
        given = samples.targets if targets is None else targets
        curvature = inspect_loss(seen, loss, given, options, optimizer=optimizer)
    extra = {}
    if width_limit:
        clock.step("infinite width", 0.95)
        extra["width_limit"] = _width_limit(seen, output)
    notes = [curvature.note] if curvature is not None and curvature.note else []
    return replace(
        found, extra=extra, loss=curvature, seconds=clock.done(), peak_memory=memory.peak(),
        warnings=[*notes, *found.warnings], inputs=_shapes(samples),
    )  # fmt: skip


def _shapes(samples: Samples) -> list[str]:
    """``12×7 int64`` of each input."""
    found = []
    for part in () if samples.inputs is None else samples.parts:
        array = part if isinstance(part, torch.Tensor) else np.asarray(part)
        kind = str(array.dtype).removeprefix("torch.")
        found.append(f"{'×'.join(map(str, array.shape))} {kind}")
    return found


def _measured(seen: Examined, settings: dict[str, Any], clock: Clock) -> Inspection:
    """All but the wide limit, and what it took."""
    K = seen.kernel
    if len(K) < 2:
        raise ValueError("inspect needs at least 2 samples: the kernel of one sample is a number")
    require_fitting(K)
    # held until the end, so that all read the same blocks; a matrix is read as it is
    double = K if isinstance(K, MatrixKernel) else K.to(torch.float64)
    clock.step("data", 0.05)
    data = seen.summary()
    clock.step("smallest eigenvalue", 0.1)
    smallest = smallest_eigenvalue(K)
    clock.step("spectrum", 0.3)
    spectrum, largest, vector = whole_spectrum(K, double, smallest)
    clock.step("layers", 0.5)
    layers = inspect_layers(
        seen.shapes, K, double, vector, smallest, clock.within("layers", 0.5, 0.8), seen.n_outputs
    )
    clock.step("outputs", 0.8)
    moves = descent(seen, double, smallest, largest)
    outputs = _outputs(seen, clock)
    clock.step("bounds", 0.9)
    rungs, weak = ladder(double, layers, smallest, seen.floor()), weakest(vector, data)
    clock.step("prediction", 0.94)
    predicted = seen.predict(data)
    return Inspection(
        settings={"seed": seen.seed, "reduce": seen.reduce, **settings},
        data=data,
        n_samples=len(K),
        network=seen.describe(),
        smallest=smallest,
        largest=largest,
        trace=double.trace(),
        trace_error=trace_error(double),
        spectrum=spectrum,
        layers=layers,
        ladder=rungs,
        training=training(moves.smallest, moves.largest, moves.rows, moves.mean),
        memorization=memorization(
            moves.smallest,
            moves.rows,
            seen.n_parameters,
            data,
            isinstance(seen.model, MLP),
            moves.rows // len(K),
        ),
        weakest=weak,
        outputs=outputs,
        prediction=predicted,
        warnings=cautions(seen, data, smallest, moves, weak),
        seconds={},
        peak_memory=0,
    )


def _outputs(seen: Examined, clock: Clock) -> list[OutputSpectrum]:
    if seen.prepared is None or not 1 < seen.n_outputs <= _SHOWN_OUTPUTS:
        return []
    return inspect_outputs(seen.prepared.beside("diagonal"), clock.within("outputs", 0.8, 0.9))


def _width_limit(seen: Examined, output: Output) -> dict[str, Any]:
    from ntkscope.inspection.width_limit import width_limit as compare
    from ntkscope.report.width_limit import section

    model = seen.model
    if isinstance(model, Network):
        raise ValueError(f"{model} is at its limit already; leave width_limit out")
    if not isinstance(model, nn.Module):
        raise ValueError(
            "the infinite-width limit needs a Network or an nn.Module; leave width_limit out"
        )
    found = compare(model, seen.X, reduce=seen.reduce, output=output)
    return section(found.to_dict())
