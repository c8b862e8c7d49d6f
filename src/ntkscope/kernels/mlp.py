"""The empirical NTK of an MLP: one forward and one backward pass give its factors.

K = Σ_{k=0}^{L-1} s_k (F_k F_kᵀ) ∘ (B_{k+1} B_{k+1}ᵀ), with F_0 = X, B_L = 1 and
B_k = ∂f/∂g_k; Nguyen et al. 2021, §4.1; Bombari et al. 2022, eq. 8-9. s_k = 1, or 1/n_k in the
"ntk" parameterization (Banerjee et al. 2023, §4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor

from ntkscope._base import memory
from ntkscope._base.inputs import as_data
from ntkscope._base.precision import ieee_float32
from ntkscope.kernels.hadamard import Factor, HadamardKernel, Term
from ntkscope.kernels.outputs import OutputKernels
from ntkscope.kernels.prepared import Prepared, Reduce
from ntkscope.networks.mlp import MLP


@dataclass(frozen=True)
class Backprop:
    """What one pass over the data leaves behind.

    features: F_0, …, F_{L-1}, each (N, n_l).
    preactivations: G_1, …, G_L, each (N, n_l).
    signals: B_1, …, B_L, each (C, N, n_l): ∂f_o/∂g_l for the C outputs asked for.
    """

    features: list[Tensor]
    preactivations: list[Tensor]
    signals: list[Tensor]


@ieee_float32()
def backprop(model: MLP, X: Float[Tensor, "N d"], outputs: Sequence[int]) -> Backprop:
    """Features, pre-activations and back-propagated signals of ``model`` on ``X``."""
    network = model.network
    with torch.no_grad():
        features, preactivations = model.layers(X)
        # δ = ∂f/∂f_l and B = ∂f/∂g_l; the two differ by φ′, and in a residual net δ also skips
        last = torch.zeros(len(outputs), 1, network.n_outputs, dtype=X.dtype, device=X.device)
        for row, output in enumerate(outputs):
            last[row, 0, output] = 1.0
        signal = last.expand(len(outputs), len(X), network.n_outputs)
        signals = [signal]
        delta: Tensor | None = None
        for index in range(network.depth - 1, 0, -1):
            weight = model.weights[index]
            weight = weight * network.scales[index] if network.scales[index] != 1.0 else weight
            through = weight.T[list(outputs)][:, None, :] if delta is None else signal @ weight.T
            slope = network.activation.derivative(preactivations[index - 1])
            if network.residual:
                delta = through.expand(-1, len(X), -1) if delta is None else delta + through
                signal = network.residual * slope * delta
            else:
                delta = through
                # in place where it is safe (a user's φ′ may return its own argument): a fresh
                # N×n block costs as much as a pass
                own = len(outputs) == 1 and not network.activation.custom
                signal = slope.mul_(through[0])[None] if own else slope * through
            signals.append(signal)
    return Backprop(features, preactivations, signals[::-1])


class PreparedMLP(Prepared):
    """An MLP in closed form: one forward pass, and one backward pass for the outputs asked for.

    Raises ValueError for data that do not fit it or overflow in it, NotEnoughMemoryError where the
    features and signals do not fit.
    """

    def __init__(self, model: MLP, X: Any, X2: Any = None) -> None:
        self.model, self.n_outputs = model, model.network.n_outputs
        weights = {f"W_{i}": tuple(w.shape) for i, w in enumerate(model.weights, 1)}
        biases = {f"b_{i}": tuple(b.shape) for i, b in enumerate(model.biases, 1)}
        self.shapes = {**weights, **biases}
        self._rows = _fit(X, model, "X")
        self._cols = None if X2 is None else _fit(X2, model, "X2")
        self._passed: dict[tuple[int, ...], tuple[Backprop, Backprop]] = {}

    def _passes(self, outputs: tuple[int, ...]) -> tuple[Backprop, Backprop]:
        if outputs not in self._passed:
            _require_factors_fit(self.model, len(self._rows), len(outputs))
            rows = backprop(self.model, self._rows, outputs)
            cols = rows if self._cols is None else backprop(self.model, self._cols, outputs)
            _require_finite_pass(rows)
            self._passed[outputs] = rows, cols
        return self._passed[outputs]

    def outputs(self) -> Tensor:
        with torch.no_grad():
            return self.model(self._rows).detach()

    def _together(
        self, outputs: tuple[int, ...], full: bool, checked: bool = True
    ) -> HadamardKernel:
        del checked  # the closed form has no check
        one = len(outputs) == 1 and not full
        reduce: Reduce = "full" if full else outputs[0] if one else "trace"
        return _kernel(self.model, *self._passes(outputs), reduce)

    def _apart(self, checked: bool = True) -> OutputKernels:
        del checked
        rows, cols = self._passes(tuple(range(self.n_outputs)))
        kernels = []
        for c in range(self.n_outputs):
            one = _one_output(rows, c)
            other = one if rows is cols else _one_output(cols, c)
            kernels.append(_kernel(self.model, one, other, c))
        return OutputKernels(kernels)


def mlp_ntk(model: MLP, X: Any, X2: Any = None) -> HadamardKernel:
    """The kernel of an MLP's summed outputs; errors as of :class:`PreparedMLP`."""
    prepared = PreparedMLP(model, X, X2)
    return prepared._together(tuple(range(prepared.n_outputs)), False)


def _one_output(passed: Backprop, output: int) -> Backprop:
    signals = [b[output : output + 1] for b in passed.signals]
    return replace(passed, signals=signals)


def _kernel(model: MLP, rows: Backprop, columns: Backprop, reduce: Reduce) -> HadamardKernel:
    return HadamardKernel(
        _terms(model, rows, columns, reduce),
        # the trace kernel's rank may be that of the outputs' Jacobians together
        n_parameters=model.n_parameters * (len(rows.signals[0]) if reduce == "trace" else 1),
        near_kinks=_near_kinks(model, rows),
        labels=("sample", "output") if reduce == "full" else ("sample",),
    )


def _terms(model: MLP, rows: Backprop, columns: Backprop, reduce: Reduce) -> list[Term]:
    same = rows is columns
    ntk = model.network.parameterization == "ntk"
    n_outputs = rows.signals[0].shape[0]
    depth = model.network.depth
    terms = []
    for k in range(depth):
        features = _factor(
            _arrange_features(rows.features[k], n_outputs, reduce),
            None if same else _arrange_features(columns.features[k], n_outputs, reduce),
        )
        scale = 1.0 / model.network.widths[k] if ntk else 1.0
        signals, bias_scale = None, 1.0
        if k == depth - 1 and reduce != "full":
            # B_L is 1 for one output; over C outputs the trace counts it C times
            scale, bias_scale = scale * n_outputs, float(n_outputs)
        else:
            signals = _factor(
                _arrange_signals(rows.signals[k], reduce),
                None if same else _arrange_signals(columns.signals[k], reduce),
            )
        terms.append(Term(f"W_{k + 1}", features, signals, scale))
        if len(model.biases):
            ones = signals if signals is not None else _ones(rows, columns, same)
            terms.append(Term(f"b_{k + 1}", None, ones, bias_scale))
    return terms


def _factor(rows: Tensor, columns: Tensor | None) -> Factor:
    return Factor.symmetric(rows) if columns is None else Factor(rows, columns)


def _ones(rows: Backprop, columns: Backprop, same: bool) -> Factor:
    """B_L of a single output: a column of ones."""
    left = rows.features[0].new_ones(len(rows.features[0]), 1)
    return _factor(left, None if same else left.new_ones(len(columns.features[0]), 1))


def _arrange_features(features: Tensor, n_outputs: int, reduce: Reduce) -> Tensor:
    return features.repeat_interleave(n_outputs, dim=0) if reduce == "full" else features


def _arrange_signals(signals: Tensor, reduce: Reduce) -> Tensor:
    """(C, N, n) → (N·C, n) for "full", (N, C·n) otherwise: the trace is a Gram of both joined."""
    C, N, n = signals.shape
    by_sample = signals.transpose(0, 1)
    shape = (N * C, n) if reduce == "full" else (N, C * n)
    return by_sample.reshape(shape).contiguous()


def _fit(X: Any, model: MLP, name: str) -> Tensor:
    """``X`` checked against the model's inputs, precision and device."""
    tensor = as_data(X, name)
    if tensor.shape[1] != model.network.dim:
        raise ValueError(
            f"{name} has {tensor.shape[1]} features, the network takes {model.network.dim}"
        )
    if tensor.dtype == torch.float64 and model.dtype == torch.float32 and _is_float64(X):
        raise ValueError(
            f"{name} is float64 and the model float32; convert one of them: "
            f"{name}.to(torch.float32), or model.double() to keep the digits"
        )
    return tensor.to(dtype=model.dtype, device=model.device)


def _is_float64(X: Any) -> bool:
    return str(getattr(X, "dtype", "")).endswith("float64")


def _require_finite_pass(passed: Backprop) -> None:
    for index, (g, b) in enumerate(zip(passed.preactivations, passed.signals, strict=True), 1):
        # the extremes carry NaN and infinity, in one pass and without a copy
        if not all(bool(torch.isfinite(end)) for t in (g, b) for end in torch.aminmax(t)):
            raise ValueError(
                f"layer {index} overflows on these data (its values are not finite); "
                "scale the rows of X or the weights down"
            )


def _require_factors_fit(model: MLP, N: int, n_outputs: int) -> None:
    hidden = sum(int(n) for n in model.network.widths[1:-1])
    # features, pre-activations and signals, and as much again while a layer is computed
    nbytes = 2.0 * N * hidden * (2 + n_outputs) * model.dtype.itemsize
    if model.device.type == "cpu":
        memory.require(
            nbytes, f"the features and signals of {N} samples",
            "pass fewer samples, or a float32 model",
        )  # fmt: skip


def _near_kinks(model: MLP, passed: Backprop) -> int:
    """Pre-activations so near a kink that rounding may have moved them across it: not those of zeros alone."""
    kinks = model.network.activation.kinks
    if not kinks:
        return 0
    count = 0
    u = torch.finfo(model.dtype).eps / 2
    for index, g in enumerate(passed.preactivations[:-1]):
        f = passed.features[index]
        scale = model.network.scales[index]
        reach = (f.shape[1] + 2) * u * scale
        norms = torch.linalg.vector_norm(cast("Tensor", model.weights[index]).detach(), dim=0)
        bound = reach * torch.linalg.vector_norm(f, dim=1)
        for kink in kinks:
            distance = (g - kink if kink else g).abs()
            if distance.amin() > bound.max() * norms.max():
                continue  # almost always: no entry comes near
            rows = distance.amin(dim=1) <= bound * norms.max()
            reached = bound[rows, None] * norms[None, :]
            count += int(((distance[rows] <= reached) & (reached > 0)).sum())
    return count
