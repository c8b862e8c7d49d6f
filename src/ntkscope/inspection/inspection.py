"""The main job: data and a network in, one report object out."""

from __future__ import annotations

import html
import itertools
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from ntkscope._base import memory
from ntkscope._base.inputs import as_data
from ntkscope.data.summary import DataSummary, summarize
from ntkscope.inspection.layers import Layer, Rung, inspect_layers, ladder
from ntkscope.inspection.meaning import (
    Memorization,
    Training,
    Weakest,
    memorization,
    training,
    weakest,
)
from ntkscope.inspection.per_output import OutputSpectrum, inspect_outputs
from ntkscope.kernels.empirical import empirical_ntk
from ntkscope.kernels.hadamard import HadamardKernel
from ntkscope.kernels.limiting.terms import limiting_terms
from ntkscope.kernels.mlp import Reduce
from ntkscope.kernels.module.making.build import count_outputs
from ntkscope.kernels.module.reading.subject import make_subject
from ntkscope.networks.network import MLP, Network
from ntkscope.prediction.for_sample import SamplePrediction, predict_for_sample
from ntkscope.report import files
from ntkscope.spectra.eigenvalue import Eigenvalue
from ntkscope.spectra.smallest import smallest_eigenvalue

Progress = Callable[[str, float], None]

_SHOWN_OUTPUTS = 100  # the report's table of outputs
_FULL_SPECTRUM = 6000  # above it all eigenvalues would take minutes on two cores


@dataclass(frozen=True)
class Inspection:
    """What :func:`inspect` found. ``print`` shows tables, ``save`` writes the page and the numbers.

    Attributes
    ----------
    settings: everything needed to run it again.
    data: norms, duplicates, nearest pair of the samples.
    smallest: λ_min as an interval with its status. largest: λ_max of the same matrix.
    spectrum: (N,) eigenvalues in ascending order, or ``None`` above 6000 samples.
    layers: what each term of the kernel contributes.
    ladder: bounds around λ_min in ascending order of what the theory says.
    training, memorization, weakest: what it means.
    outputs: each output's own kernel, where a model has several (at most 100).
    prediction: λ_min of the limiting kernel from N, d and the norms alone, or why it is refused.
    warnings: in plain words.
    """

    settings: dict[str, Any]
    data: DataSummary
    network: dict[str, Any]
    smallest: Eigenvalue
    largest: float
    trace: float
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

    @property
    def condition_number(self) -> float:
        """λ_max/λ_min; ``inf`` where λ_min cannot be told from zero."""
        return self.largest / self.smallest.value if self.smallest.lower > 0 else math.inf

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, the same that ``result.json`` holds."""
        return {
            "settings": self.settings,
            "data": self.data.to_dict(),
            "network": self.network,
            "smallest_eigenvalue": self.smallest.to_dict(),
            "largest_eigenvalue": self.largest,
            "condition_number": self.condition_number,
            "trace": self.trace,
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
        }

    def __str__(self) -> str:
        from ntkscope.report import terminal

        return terminal.render(self.to_dict())

    def to_html(self) -> str:
        """The report as one self-contained page."""
        from ntkscope.report.html import page

        return page(self.to_dict())

    def _repr_html_(self) -> str:
        # an iframe keeps the page's style and scripts apart from the notebook's
        body = html.escape(self.to_html(), quote=True)
        return f'<iframe srcdoc="{body}" style="width:100%;height:900px;border:0"></iframe>'

    def save(self, directory: str | Path) -> Path:
        """Write report.html, result.json and settings.toml; returns the page's path.

        Each file is written beside its place and renamed, so a failure leaves no half file.
        Raises OSError where the directory cannot be written.
        """
        folder = Path(directory)
        record = self.to_dict()
        files.write_all(
            folder,
            {
                "report.html": self.to_html(),
                "result.json": files.to_json(record),
                "settings.toml": files.to_toml(self.settings),
            },
        )
        return folder / "report.html"


def inspect(
    model: Network | nn.Module | Callable[..., Any],
    X: Any,
    *,
    seed: int = 0,
    reduce: Reduce = "trace",
    width_limit: bool = False,
    params: Any = None,
    settings: dict[str, Any] | None = None,
    progress: Progress | None = None,
) -> Inspection:
    """Measure the NTK of ``model`` on ``X``: λ_min with its error, the layers, the bounds.

    Parameters
    ----------
    model: a sampled :class:`MLP`, a :class:`Network`, which is sampled with ``seed`` (with
        infinite widths its limiting kernel is measured), or any model that :func:`empirical_ntk`
        takes.
    X: (N, d) samples, N ≥ 2; for modules any shape (the report flattens it to describe it).
    reduce, params: as in :func:`empirical_ntk` ("trace" or an output index).
    width_limit: add the limiting kernel's λ_min, the distance to it and its decay over widths.
    settings: recorded in the report, e.g. how the data were made.
    progress: called with (what is being done, fraction done).

    Raises ValueError or TypeError for data and models that do not fit each other,
    NotEnoughMemoryError where the dense kernel does not fit.
    """
    clock = _Clock(progress)
    drawn_with = None
    if isinstance(model, Network) and model.finite:
        drawn_with, model = seed, model.sample(seed)
    if reduce == "full":
        raise ValueError(
            'inspect needs one kernel entry a sample pair; pass reduce="trace" or an index'
        )
    clock.step("forward and backward pass", 0.0)
    K = _kernel(model, X, reduce, params)
    if len(K) < 2:
        raise ValueError("inspect needs at least 2 samples: the kernel of one sample is a number")
    memory.require(
        2.2 * K.nbytes_dense, f"the spectrum of an N = {len(K)} kernel",
        "pass fewer samples, or a float32 model",
    )  # fmt: skip
    clock.step("data", 0.05)
    network = _network(model)
    data = summarize(_rows(X) if network is None else X)
    clock.step("smallest eigenvalue", 0.1)
    smallest = smallest_eigenvalue(K)
    clock.step("spectrum", 0.3)
    spectrum, largest, vector = _spectrum(K, smallest)
    clock.step("layers", 0.5)
    shapes = _shapes(model, params)
    n_outputs = _count_outputs(model, X, params) if reduce == "trace" else 1
    layers = inspect_layers(
        shapes, K, vector, lambda f: clock.step("layers", 0.5 + 0.3 * f), n_outputs
    )
    clock.step("outputs", 0.8)
    outputs: list[OutputSpectrum] = []
    if 1 < n_outputs <= _SHOWN_OUTPUTS and not isinstance(model, Network):
        each = empirical_ntk(model, X, reduce="diagonal", params=params, self_check=False)
        outputs = inspect_outputs(each, lambda f: clock.step("outputs", 0.8 + 0.1 * f))
    clock.step("bounds", 0.9)
    rungs = ladder(K, layers, smallest)
    memorizes = (
        memorization(K, smallest, data)
        if isinstance(model, MLP) and n_outputs == 1
        else _memorizes(smallest, data, n_outputs)
    )
    weak = weakest(vector, data)
    clock.step("prediction", 0.94)
    predicted = _predict(model, X, reduce, data)
    extra = {}
    if width_limit:
        clock.step("infinite width", 0.95)
        extra["width_limit"] = _width_limit(model, X, reduce)
    seconds = clock.done()
    return Inspection(
        settings={"seed": drawn_with, "reduce": reduce, **(settings or {})},
        data=data,
        network=_describe(model, K, shapes),
        smallest=smallest,
        largest=largest,
        trace=K.trace(),
        spectrum=spectrum,
        layers=layers,
        ladder=rungs,
        training=training(smallest, largest, len(K)),
        memorization=memorizes,
        weakest=weak,
        outputs=outputs,
        prediction=predicted,
        warnings=_warnings(model, K, data, smallest, weak),
        seconds=seconds,
        peak_memory=memory.peak(),
        extra=extra,
    )


def _network(model: Any) -> Network | None:
    """The network that ``model`` is or was drawn from; None for modules."""
    if isinstance(model, Network):
        return model
    return model.network if isinstance(model, MLP) else None


def _kernel(model: Any, X: Any, reduce: Reduce, params: Any) -> HadamardKernel:
    if not isinstance(model, Network):
        return empirical_ntk(model, X, reduce=reduce, params=params)
    if params is not None:
        raise ValueError(f"params chooses weights, and {model} has none to choose: it is infinite")
    return cast(HadamardKernel, limiting_terms(model, X, reduce=reduce))


def _count_outputs(model: Any, X: Any, params: Any) -> int:
    return model.n_outputs if isinstance(model, Network) else count_outputs(model, X, params)


def _width_limit(model: Any, X: Any, reduce: Reduce) -> dict[str, Any]:
    from ntkscope.inspection.width_limit import width_limit as compare
    from ntkscope.report.width_limit import section

    if isinstance(model, Network):
        raise ValueError(f"{model} is at its limit already; leave width_limit out")
    if not isinstance(model, MLP):
        raise ValueError("the infinite-width limit is defined for an MLP; leave width_limit out")
    return section(compare(model, X, reduce=reduce).to_dict())


def _predict(model: Any, X: Any, reduce: Reduce, data: DataSummary) -> SamplePrediction:
    """λ_min from N, d, the norms and the widths alone, or why not."""
    network = _network(model)
    if network is None:
        return SamplePrediction(None, None, "the predictor covers fully connected networks")
    if isinstance(reduce, int):
        network = network.with_widths((*network.widths[:-1], 1))
    samples = as_data(X, dtype=torch.float64).cpu()
    return predict_for_sample(network, samples, data.nearest_angle)


def _spectrum(K: HadamardKernel, smallest: Eigenvalue) -> tuple[Tensor | None, float, Tensor]:
    """All eigenvalues up to 6000 samples, λ_max, and the eigenvector of λ_min."""
    matrix = K.dense()
    vector = smallest.vector
    if len(K) > _FULL_SPECTRUM:
        if vector is None:
            raise ValueError(f"no eigenvector from {smallest.method}, which N = {len(K)} needs")
        return None, _power_iteration(matrix), vector
    if vector is None:
        eigenvalues, vectors = torch.linalg.eigh(matrix)
        return eigenvalues.cpu(), float(eigenvalues[-1]), vectors[:, 0].clone()
    eigenvalues = torch.linalg.eigvalsh(matrix)
    return eigenvalues.cpu(), float(eigenvalues[-1]), vector


def _power_iteration(matrix: Tensor, steps: int = 300) -> float:
    """λ_max of a PSD matrix from below, to 1e-10 or ``steps`` products."""
    v = matrix.sum(dim=1)
    value = 0.0
    for _ in range(steps):
        v = v / torch.linalg.vector_norm(v)
        w = matrix @ v
        value, last = float(v @ w), value
        if abs(value - last) <= 1e-10 * value:
            break
        v = w
    return value


def _rows(X: Any) -> Tensor:
    """The samples as rows of numbers, whatever their shape (of several inputs the first)."""
    first = torch.as_tensor(X[0] if isinstance(X, tuple) else X)
    return first.detach().reshape(len(first), -1).to(torch.float64)


def _shapes(model: Any, params: Any) -> dict[str, tuple[int | float, ...]]:
    """The parameter behind each term."""
    if isinstance(model, Network):
        return {f"W_{i}": pair for i, pair in enumerate(itertools.pairwise(model.widths), 1)}
    if isinstance(model, MLP) and params is None:
        shapes = {f"W_{i}": tuple(w.shape) for i, w in enumerate(model.weights, 1)}
        return shapes | {f"b_{i}": tuple(b.shape) for i, b in enumerate(model.biases, 1)}
    subject = make_subject(model, params)
    return {name: tuple(p.shape) for name, p in subject.parameters.items()}


def _memorizes(smallest: Eigenvalue, data: DataSummary, n_outputs: int) -> Memorization:
    """As for a sampled MLP, without its construction of a wider network."""
    if data.duplicate_rows and data.duplicate_example is not None:
        i, j = data.duplicate_example
        return Memorization(
            False, f"samples {i} and {j} are equal: different labels on them cannot be fitted."
        )
    if n_outputs > 1:
        return Memorization(
            None,
            'the trace kernel sums the outputs; λ_min of reduce="full" decides for all of them, '
            "and the table of outputs for each alone.",
        )
    if smallest.lower > 0:
        return Memorization(
            True, "λ_min > 0 is certain: the model linearised here fits any labels exactly."
        )
    return Memorization(
        None, "λ_min cannot be told from zero at this precision, so full rank is not established."
    )


def _describe(
    model: Any, K: HadamardKernel, shapes: dict[str, tuple[int | float, ...]]
) -> dict[str, Any]:
    network = _network(model)
    if network is not None:
        what = {**network.to_dict(), "text": str(network), "depth": network.depth}
    else:
        name = getattr(model, "__name__", type(model).__name__)
        what = {"text": f"{name} ({len(shapes)} parameter tensors)"}
    return {
        **what,
        "n_parameters": sum(math.prod(shape) for shape in shapes.values()),
        "dtype": str(K.dtype).removeprefix("torch."),
        "device": str(K.device),
        "near_kinks": K.near_kinks,
    }


def _warnings(
    model: Any, K: HadamardKernel, data: DataSummary, smallest: Eigenvalue, weak: Weakest
) -> list[str]:
    found = []
    if not smallest.status.trustworthy:
        found.append(f"λ_min: {smallest.status.value}. {smallest.status.advice}")
    if data.duplicate_rows and data.duplicate_example is not None:
        i, j = data.duplicate_example
        found.append(
            f"{data.duplicate_rows} rows repeat an earlier one (first: {i} and {j}), so the exact "
            "λ_min is 0 and different labels on them cannot be fitted."
        )
    if data.zero_rows:
        found.append(f"{data.zero_rows} rows are zero; without biases the network cannot see them.")
    narrow = [
        f"layer {k} has {n} neurons"
        for k, n in enumerate(model.network.widths[1:-1] if isinstance(model, MLP) else (), 1)
        if n < len(K)
    ]
    if narrow:
        found.append(
            f"F_k F_kᵀ is singular where a layer is narrower than N = {len(K)}: {', '.join(narrow)}; "
            "the layer-wise lower bounds are 0 there, though λ_min need not be."
        )
    if K.near_kinks:
        found.append(
            f"{K.near_kinks} pre-activations lie so near a kink of the activation that "
            "rounding decides their derivative; no error bar covers that."
        )
    if data.norm_max > 3 * max(data.norm_min, 1e-300) and data.norm_min > 0:
        found.append(
            f"row norms differ by a factor {data.norm_max / data.norm_min:.3g}: λ_min ≤ min K_ii is "
            "then set by the smallest rows; consider scaling the rows."
        )
    if K.dtype == torch.float32:
        found.append("float32: λ_min below about 1e-6·λ_max is lost; use float64 to see it.")
    if weak.pair_angle is not None and weak.pair_share > 0.9:
        found.append(
            f"the weakest direction sits on the closest pair, rows {weak.rows[0]} and "
            f"{weak.rows[1]} (angle {weak.pair_angle:.3g} rad): near-duplicates set λ_min."
        )
    return found


class _Clock:
    """Seconds a phase, and word of them to whoever listens."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._seconds: dict[str, float] = {}
        self._phase, self._start = "", time.perf_counter()

    def step(self, phase: str, fraction: float) -> None:
        now = time.perf_counter()
        if self._phase:
            self._seconds[self._phase] = self._seconds.get(self._phase, 0.0) + now - self._start
        self._phase, self._start = phase, now
        if self._progress is not None:
            self._progress(phase, fraction)

    def done(self) -> dict[str, float]:
        self.step("", 1.0)
        return {**self._seconds, "total": sum(self._seconds.values())}
