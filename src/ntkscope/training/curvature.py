"""Curvature: ‖∇²_θ f(θ; x_i)‖₂ of each sample, by Lanczos on Hessian-vector products.

Banerjee et al. 2023, §5. For one sample the Hessian acts on layer l as
H V = (R f_{l-1}) δ_lᵀ + f_{l-1} (R δ_l)ᵀ (Pearlmutter's R-operator; δ_l = ∂f/∂g_l), so its range
lies among the matrices a δ̂ᵀ + f̂ bᵀ with a ⟂ f̂: n_{l-1} + n_l coordinates in which the inner product is
Euclidean. Lanczos runs there, on all samples at once by matrix products with the shared weights.
For activations with kinks the Hessian is that of the smooth piece θ lies on.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ntkscope._base import memory
from ntkscope._base.inputs import as_data, as_seed
from ntkscope.kernels.mlp import backprop
from ntkscope.networks.mlp import MLP
from ntkscope.networks.network import Network
from ntkscope.report import charts
from ntkscope.report.chart import Chart
from ntkscope.report.result import Drawn, Result, Tabular

Parts = Sequence[Tensor]  # a layer's coordinates: a, b, and c for its biases

_FLOOR = 1e-38  # below it a norm counts as zero, in float32 as well


@dataclass(frozen=True)
class HessianNorms(Drawn, Tabular, Result, also=("maximum", "error")):
    """‖∇²f(θ; x_i)‖₂ for every sample.

    values: (N,) Ritz values: lower bounds up to rounding. errors: (N,) residuals ‖Hv − λv‖, the
    distance to an eigenvalue at most. converged: whether all errors are below the tolerance.
    products: Hessian-vector products a sample.
    """

    values: Float[Tensor, N]
    errors: Float[Tensor, N] = field(repr=False)
    converged: bool
    products: int
    seconds: float

    def _rows(self) -> list[dict[str, Any]]:
        pairs = zip(self.values.tolist(), self.errors.tolist(), strict=True)
        return [{"sample": i, "value": v, "error": e} for i, (v, e) in enumerate(pairs)]

    def _chart(self) -> Chart:
        """From the largest to the smallest."""
        order = self.values.argsort(descending=True)
        values, errors = self.values[order], self.errors[order].tolist()
        name = "‖∇²f(θ; x_i)‖₂"
        return charts.curves(
            "rank of the sample", name, range(1, len(values) + 1), {name: values},
            log=(False, True), errors={name: errors},
        )  # fmt: skip

    @property
    def maximum(self) -> float:
        """max_i ‖∇²f(θ; x_i)‖₂, the left-hand side of Prop. 5.1."""
        return float(self.values.max())

    @property
    def error(self) -> float:
        """The residual of the sample that attains the maximum."""
        return float(self.errors[int(self.values.argmax())])


def hessian_norms(
    model: MLP, X: Any, tol: float = 1e-5, max_products: int = 400, seed: int = 0
) -> HessianNorms:
    """‖∇²_θ f(θ; x_i)‖₂ of every row of X, at the model's θ.

    Parameters
    ----------
    model: a network of one output.
    X: (N, d) samples.
    tol: relative residual at which a sample counts as converged.
    max_products: with each sample's Hessian.
    seed: of Lanczos' start.

    Returns
    -------
    HessianNorms: a norm, a residual and a state of convergence for each sample.

    Raises ValueError for several outputs, or data that do not fit the model; TypeError for another model.
    """
    started = time.perf_counter()
    if not isinstance(model, MLP):
        raise TypeError(
            f"hessian_norms takes a sampled fully connected network, ntk.Network(...).sample(seed), got "
            f"{type(model).__name__}"
        )
    if model.network.n_outputs != 1:
        raise ValueError(f"curvature is of one output, the network has {model.network.n_outputs}")
    data = as_data(X, "X").to(dtype=model.dtype, device=model.device)
    if data.shape[1] != model.network.dim:
        raise ValueError(f"X has {data.shape[1]} features, the network takes {model.network.dim}")
    operator = HessianOperator(model, data)
    steps = min(max_products, 3 * operator.size)
    memory.require(
        12.0 * len(data) * operator.size * data.itemsize,
        f"Lanczos on the Hessians of {len(data)} samples", "pass fewer samples at a time",
    )  # fmt: skip
    values, errors, products = _lanczos(operator, steps, tol, seed)
    scale = values.clamp_min(_FLOOR)
    return HessianNorms(
        values, errors, bool((errors <= tol * scale).all()), products,
        time.perf_counter() - started,
    )  # fmt: skip


class HessianOperator:
    """v ↦ ∇²f(θ; x_i) v for all samples at once, (N, D) to (N, D), in the coordinates above."""

    def __init__(self, model: MLP, X: Float[Tensor, "N d"]) -> None:
        network = model.network
        passed = backprop(model, X, [0])
        self._network = network
        self._weights = [w.detach() for w in model.weights]
        # one output: the last δ is 1, broadcast to a column of its own
        signals = [b[0] for b in passed.signals]
        self._f = [_Unit(f) for f in passed.features]
        self._b = [_Unit(b) for b in signals]
        self._slope = [network.activation.derivative(g) for g in passed.preactivations[:-1]]
        self._second = [network.activation.second(g) for g in passed.preactivations[:-1]]
        # ∂f/∂f_l, before the slope of layer l
        self._delta = _deltas(self._weights, signals, network)
        self._biases = bool(len(model.biases))
        sizes = []
        for n, m in zip(network.widths[:-1], network.widths[1:], strict=True):
            sizes += [int(n), int(m), *([int(m)] if self._biases else [])]
        self._sizes = sizes
        self.size = sum(sizes)
        self.shape = (len(X), self.size)
        self.like = X

    def __call__(self, v: Float[Tensor, "N D"]) -> Float[Tensor, "N D"]:
        parts = torch.split(v, self._sizes, dim=1)
        step = 3 if self._biases else 2
        coordinates: list[Parts] = [parts[i : i + step] for i in range(0, len(parts), step)]
        moved_f, moved_g = self._forward(coordinates)
        moved_b = self._backward(coordinates, moved_g)
        out: list[Tensor] = []
        for l in range(self._network.depth):
            out += self._coordinates(l, moved_f[l], moved_b[l])
            if self._biases:
                out.append(moved_b[l])
        return torch.cat(out, dim=1)

    def _forward(self, coordinates: list[Parts]) -> tuple[list[Tensor], list[Tensor]]:
        """(R f_0 … R f_{L-1}, R g_1 … R g_{L-1}): R g = s(Vᵀf + Wᵀ R f), and Vᵀf = ‖f‖ b."""
        network, moved = self._network, torch.zeros_like(self.like)
        moved_f, moved_g = [moved], []
        for l, slope in enumerate(self._slope):
            g = self._f[l].norm * coordinates[l][1] + moved @ self._weights[l]
            g = g * network.scales[l]
            if self._biases:
                g = g + coordinates[l][2]
            step = slope * g
            moved = moved + network.residual * step if network.residual else step
            moved_g.append(g)
            moved_f.append(moved)
        return moved_f, moved_g

    def _backward(self, coordinates: list[Parts], moved_g: list[Tensor]) -> list[Tensor]:
        """R δ_1 … R δ_L; R δ_L = 0 for a linear output, and Vδ = ‖δ‖ a + (b·δ) f̂."""
        network = self._network
        moved_b = self.like.new_zeros(len(self.like), 1)
        out, moved_delta = [moved_b], self.like.new_zeros(1, 1)
        for l in range(network.depth - 1, 0, -1):
            f, b, part = self._f[l], self._b[l], coordinates[l]
            inner = (part[1] * b.value).sum(dim=1, keepdim=True)
            applied = b.norm * f.orthogonal(part[0]) + f.unit * inner
            through = (applied + moved_b @ self._weights[l].T) * network.scales[l]
            # ∂f/∂f_l also skips to layer l − 1 in a residual network
            moved_delta = through + moved_delta if network.residual else through
            moved_b = self._second[l - 1] * moved_g[l - 1] * self._delta[l - 1]
            moved_b = moved_b + self._slope[l - 1] * moved_delta
            moved_b = network.residual * moved_b if network.residual else moved_b
            out.append(moved_b)
        return out[::-1]

    def _coordinates(self, l: int, moved_f: Tensor, moved_b: Tensor) -> list[Tensor]:
        """(a, b) of s((R f) δᵀ + f (R δ)ᵀ)."""
        f, b, scale = self._f[l], self._b[l], self._network.scales[l]
        along = (moved_f * f.unit).sum(dim=1, keepdim=True)
        first = scale * b.norm * f.orthogonal(moved_f)
        return [first, scale * (f.norm * moved_b + b.norm * along * b.unit)]


class _Unit:
    """Rows with their norms (N, 1) and directions; a zero row has direction 0."""

    def __init__(self, value: Tensor) -> None:
        self.value = value
        self.norm = torch.linalg.vector_norm(value, dim=1, keepdim=True)
        self.unit = value / self.norm.clamp_min(_FLOOR)

    def orthogonal(self, a: Tensor) -> Tensor:
        """a without its component along the direction."""
        return a - self.unit * (a * self.unit).sum(dim=1, keepdim=True)


def _deltas(weights: list[Tensor], signals: list[Tensor], network: Network) -> list[Tensor]:
    """∂f/∂f_l for l = 1 … L−1."""
    out: list[Tensor] = []
    delta: Tensor | None = None
    for l in range(network.depth - 1, 0, -1):
        through = (signals[l] @ weights[l].T) * network.scales[l]
        delta = through if delta is None or not network.residual else delta + through
        out.append(delta)
    return out[::-1]


def _lanczos(
    operator: HessianOperator, steps: int, tol: float, seed: int
) -> tuple[Tensor, Tensor, int]:
    """(max |Ritz value|, its residual, products) of every sample.

    Without reorthogonalisation: rounding then repeats converged Ritz values, which moves neither
    the outermost one nor the meaning of its residual (Paige 1980).
    """
    N, D = operator.shape
    like, unit = operator.like, torch.finfo(operator.like.dtype).eps
    start = torch.randn(D, generator=as_seed(seed, "lanczos"), dtype=torch.float64).to(like)
    v = operator(start.expand(N, D))  # in the range, where the largest eigenvalues are
    v = v / torch.linalg.vector_norm(v, dim=1, keepdim=True).clamp_min(_FLOOR)
    previous, beta = torch.zeros_like(v), like.new_zeros(N)
    diagonal, beside = list[Tensor](), list[Tensor]()
    values, errors = like.new_zeros(N), like.new_zeros(N)
    for step in range(1, steps + 1):
        w = operator(v)
        w.addcmul_(previous, beta[:, None], value=-1.0)
        diagonal.append((w * v).sum(dim=1))
        w.addcmul_(v, diagonal[-1][:, None], value=-1.0)
        beta = torch.linalg.vector_norm(w, dim=1)
        if step % 8 == 0 or step == steps:
            values, errors = _ritz(diagonal, beside, beta)
            if bool((errors <= tol * values).all()):
                return values, errors, step + 1
        # an exhausted Krylov space leaves rounding behind, which must not be normalised
        size = torch.stack(diagonal).abs().amax(dim=0).clamp_min(_FLOOR)
        beta = torch.where(beta > 4.0 * unit * size, beta, 0.0)
        beside.append(beta)
        previous, v = v, w / beta.clamp_min(_FLOOR)[:, None] * (beta > 0)[:, None]
    return values, errors, steps + 1


def _ritz(
    diagonal: list[Tensor], beside: list[Tensor], beta: Tensor
) -> tuple[Float[Tensor, N], Float[Tensor, N]]:
    """The Ritz value largest in size and its residual β|s_k|, for every sample."""
    T = torch.diag_embed(torch.stack(diagonal, dim=1))
    if beside:
        off = torch.stack(beside, dim=1)
        T = T + torch.diag_embed(off, offset=1) + torch.diag_embed(off, offset=-1)
    values, vectors = torch.linalg.eigh(T)
    sizes, top = values.abs().max(dim=1)
    last = vectors[torch.arange(len(T)), -1, top]
    return sizes, beta * last.abs()
