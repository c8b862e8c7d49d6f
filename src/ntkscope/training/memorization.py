"""Memorization as a construction: from a well-conditioned NTK to a network that fits the labels.

Nguyen et al. 2021, Corollary 4.2 and Appendix D.1 of the first version; Bombari et al. 2022,
Corollary 4.1. With J the Jacobian at θ_0 and K = JJᵀ, h_ε(x) = (f(θ_0 + εθ′, x) − f(θ_0, x))/ε is
a network of the same depth and twice the hidden widths, and θ′ = JᵀK⁻¹Y fits Y as ε → 0. A single
small ε is caught between curvature and rounding, so θ′ ← θ′ + JᵀK⁻¹(Y − h_ε) is iterated at a
moderate one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ntkscope._base import memory
from ntkscope._base.inputs import as_data
from ntkscope.kernels.empirical import empirical_ntk
from ntkscope.kernels.mlp import Backprop, backprop
from ntkscope.networks.mlp import MLP
from ntkscope.networks.network import Network
from ntkscope.report import charts
from ntkscope.report.chart import Chart
from ntkscope.report.result import Drawn, Result
from ntkscope.spectra.eigenvalue import Eigenvalue
from ntkscope.spectra.smallest import smallest_eigenvalue
from ntkscope.training import checkpoints
from ntkscope.training.gradients import jacobian_transpose
from ntkscope.training.labels import as_targets, reject_contradictions

_EPSILONS = tuple(10.0 ** (-k / 2) for k in range(2, 17))  # 1e-1, 3e-2, … 1e-8
_ROUNDS = 60  # corrections at one ε: a contraction by ½ reaches rounding in 53


@dataclass(frozen=True)
class Memorization(
    Drawn, Result, without=("model",), also={"network": "model.network", "certified": "certified"}
):
    """A network that fits the labels, or how near one came and why no nearer.

    Attributes
    ----------
    model: the network of twice the hidden widths. error: ‖F − Y‖₂ of its own forward pass.
    tol, reached: what was asked for, and whether error ≤ tol.
    reachable: an estimate of the least ‖F − Y‖₂ in this precision: the part of Y outside the range
        that λ_min's error leaves certain, plus rounding.
    reason: what limits the error. lambda_min: of the base network's kernel, with its error.
    rank: eigenvalues of K above its error, of N. epsilon, rounds: the ε and corrections used.
    base: the description of the base network.
    n_samples: N.
    seconds: wall time.
    errors: ‖F − Y‖₂ after each correction.
    """

    model: MLP
    base: Network
    error: float
    tol: float
    reached: bool
    reachable: float
    reason: str
    lambda_min: Eigenvalue
    rank: int
    n_samples: int
    epsilon: float
    rounds: int
    seconds: float
    errors: tuple[float, ...] = field(repr=False, default=())

    def _chart(self) -> Chart:
        """‖F − Y‖₂ after each correction."""
        rounds = range(1, len(self.errors) + 1)
        return charts.curves("round", "‖F − Y‖₂", rounds, {"": self.errors}, log=(False, True))

    @property
    def certified(self) -> bool:
        """Whether λ_min(K) > 0 for certain, so that any real labels can be fitted at these widths."""
        return self.lambda_min.status.trustworthy

    def save(self, path: str | Path) -> None:
        """Write the network; ``ntkscope.load_model`` reads it."""
        checkpoints.save_model(self.model, path)

    def __str__(self) -> str:
        verdict = "fits" if self.reached else "does not fit"
        return (
            f"{self.model.network} {verdict} {self.n_samples} labels: ‖F − Y‖ = {self.error:.3g} "
            f"(asked {self.tol:.3g}); λ_min = {self.lambda_min}; {self.reason}"
        )


def memorize(
    net_or_model: Network | MLP,
    X: Any,
    Y: Any,
    tol: float = 1e-6,
    seed: int = 0,
    progress: Callable[[str, float], None] | None = None,
) -> Memorization:
    """A network of the same depth and twice the hidden widths with ‖F − Y‖₂ ≤ tol.

    What cannot be reached (rank, λ_min, rounding) is not an error: the best network found comes back with
    ``reached=False`` and the reason.

    Parameters
    ----------
    net_or_model: the base: a Network, sampled with ``seed``, or an MLP.
    X: (N, d) samples.
    Y: N real labels.
    tol: ‖F − Y‖₂ at which it stops.
    seed: of the base's weights.
    progress: called with a phase and the fraction done.

    Returns
    -------
    Memorization: the network, its error and whether ``tol`` was reached.

    Raises ValueError for equal rows with different labels (named), labels of another length, a
    residual network or several outputs; TypeError for labels that are no numbers.
    """
    started = time.perf_counter()
    model = net_or_model.sample(seed) if isinstance(net_or_model, Network) else net_or_model
    if not isinstance(model, MLP):
        raise TypeError(f"expected a Network or an MLP, got {type(net_or_model).__name__}")
    _require_construction(model.network)
    data = as_data(X, "X").to(dtype=model.dtype, device=model.device)
    targets = as_targets(Y, len(data)).to(data)
    reject_contradictions(data, targets)
    if not (math.isfinite(tol) and tol > 0):
        raise ValueError(f"tol must be positive and finite, got {tol!r}")
    solver = _Solver(model, data)
    theta, epsilon, rounds, errors = _iterate(model, data, targets, solver, tol, progress)
    doubled = double(model, theta, epsilon)
    with torch.no_grad():
        error = float(torch.linalg.vector_norm(doubled(data)[:, 0] - targets))
    reachable = solver.unreachable(targets) + _rounding(doubled, data)
    return Memorization(
        model=doubled,
        base=model.network,
        error=error,
        tol=float(tol),
        reached=error <= tol,
        reachable=reachable,
        reason=_reason(error, tol, solver, reachable, model),
        lambda_min=solver.lambda_min,
        rank=solver.rank,
        n_samples=len(data),
        epsilon=epsilon,
        rounds=rounds,
        seconds=time.perf_counter() - started,
        errors=tuple(errors),
    )


def _require_construction(network: Network) -> None:
    network._require_finite("memorize with")
    if network.n_outputs != 1:
        raise ValueError(f"memorize fits one output, the network has {network.n_outputs}")
    if network.residual:
        raise ValueError(
            "the construction doubles the hidden layers only, and a residual network's have the "
            "width of its inputs; use residual=0"
        )


class _Solver:
    """K⁻¹ by Cholesky where K is certain to be positive, on its certain eigenvectors otherwise."""

    def __init__(self, model: MLP, X: Float[Tensor, "N d"]) -> None:
        kernel = empirical_ntk(model, X)
        self.passed: Backprop = backprop(model, X, [0])
        self.lambda_min = smallest_eigenvalue(kernel)
        self.rank = len(X)
        memory.require(
            5.0 * kernel.nbytes_dense, f"solving with an N = {len(X)} kernel", "use fewer samples"
        )
        matrix = kernel.dense()
        self._factor: Tensor | None = None
        self._modes: Tensor | None = None
        self._values: Tensor | None = None
        if self.lambda_min.status.trustworthy:
            self._factor = torch.linalg.cholesky(matrix)
            return
        values, modes = torch.linalg.eigh(matrix)
        unit = torch.finfo(matrix.dtype).eps / 2
        bar = kernel.forming_error() + len(matrix) * unit * float(values.abs().max())
        certain = values > 2.0 * bar
        self.rank = int(certain.sum())
        self._values, self._modes = values[certain], modes[:, certain]

    def solve(self, r: Float[Tensor, N]) -> Float[Tensor, N]:
        """K⁻¹r, or the pseudo-inverse's on the certain eigenvectors."""
        if self._factor is not None:
            half = torch.linalg.solve_triangular(self._factor, r[:, None], upper=False)
            return torch.linalg.solve_triangular(self._factor.T, half, upper=True)[:, 0]
        assert self._modes is not None
        assert self._values is not None
        return self._modes @ ((self._modes.T @ r) / self._values)

    def unreachable(self, Y: Float[Tensor, N]) -> float:
        """‖Y − P Y‖, P the projection on the certain eigenvectors; 0 at full rank."""
        if self._modes is None:
            return 0.0
        return float(torch.linalg.vector_norm(Y - self._modes @ (self._modes.T @ Y)))


def _iterate(
    model: MLP,
    X: Tensor,
    Y: Tensor,
    solver: _Solver,
    tol: float,
    progress: Callable[[str, float], None] | None,
) -> tuple[list[Tensor], float, int, list[float]]:
    """θ′ and its ε: the largest ε of the ladder at which the correction contracts down to tol."""
    with torch.no_grad():
        base = model(X)[:, 0]
    first = jacobian_transpose(model, solver.passed, solver.solve(Y))
    best: tuple[float, list[Tensor], float] = (math.inf, first, _EPSILONS[0])
    rounds, history, idle = 0, list[float](), 0
    for tried, epsilon in enumerate(_EPSILONS):
        if progress is not None:
            progress(f"ε = {epsilon:g}", tried / len(_EPSILONS))
        theta, previous, before = [t.clone() for t in best[1]], math.inf, best[0]
        for _ in range(_ROUNDS):
            residual = Y - _difference(model, theta, epsilon, X, base)
            error = float(torch.linalg.vector_norm(residual))
            rounds += 1
            history.append(error)
            if math.isfinite(error) and error < best[0]:
                best = (error, [t.clone() for t in theta], epsilon)
            # half of tol: the doubled network's own forward pass rounds in another order
            if error <= 0.5 * tol or not error < 0.9 * previous:
                break
            previous = error
            correction = jacobian_transpose(model, solver.passed, solver.solve(residual))
            for t, c in zip(theta, correction, strict=True):
                t.add_(c)
        # the error falls with ε while curvature decides and rises once rounding does
        idle = 0 if best[0] < before else idle + 1
        if best[0] <= 0.5 * tol or (idle == 4 and math.isfinite(best[0])):
            break
    return best[1], best[2], rounds, history


def _difference(
    model: MLP, theta: list[Tensor], epsilon: float, X: Tensor, base: Tensor
) -> Float[Tensor, N]:
    """h_ε on X by two evaluations of the base network."""
    count = len(model.weights)
    moved = MLP(
        model.network,
        [w.detach() + epsilon * t for w, t in zip(model.weights, theta[:count], strict=True)],
        [b.detach() + epsilon * t for b, t in zip(model.biases, theta[count:], strict=True)],
    )
    with torch.no_grad():
        return (moved(X)[:, 0] - base) / epsilon


def double(model: MLP, theta: list[Tensor], epsilon: float) -> MLP:
    """h_ε as one network: [W_1 + εθ′_1 | W_1], blocks on the diagonal, the last layer over ±ε.

    In the "ntk" parameterization the doubled fan-in divides by √2 more, so every layer after the
    first is √2 larger.
    """
    network, count = model.network, len(model.weights)
    old = [w.detach() for w in model.weights]
    new = [w + epsilon * t for w, t in zip(old, theta[:count], strict=True)]
    gain = math.sqrt(2.0) if network.parameterization == "ntk" else 1.0
    weights = [torch.cat([new[0], old[0]], dim=1)]
    weights += [gain * torch.block_diag(a, b) for a, b in zip(new[1:-1], old[1:-1], strict=True)]
    weights.append(gain * torch.cat([new[-1] / epsilon, old[-1] / -epsilon], dim=0))
    biases = None
    if len(model.biases):
        before = [b.detach() for b in model.biases]
        after = [b + epsilon * t for b, t in zip(before, theta[count:], strict=True)]
        biases = [torch.cat([a, b]) for a, b in zip(after[:-1], before[:-1], strict=True)]
        biases.append(theta[-1].clone())
    return MLP.from_weights(
        weights, network.activation, biases=biases, parameterization=network.parameterization
    )


def _rounding(doubled: MLP, X: Tensor) -> float:
    """An estimate of what rounding leaves in ‖F − Y‖ of the doubled network: u ‖|F_{L-1}| |W_L|‖."""
    unit = torch.finfo(X.dtype).eps / 2
    with torch.no_grad():
        last = doubled.layers(X)[0][-1].abs() @ doubled.weights[-1].detach().abs()
    return unit * float(torch.linalg.vector_norm(last)) * doubled.network.scales[-1]


def _reason(error: float, tol: float, solver: _Solver, reachable: float, model: MLP) -> str:
    N, parameters = len(solver.passed.features[0]), model.n_parameters
    if error <= tol:
        return "reached"
    if parameters < N:
        return (
            f"{N} samples, {parameters} parameters: K has rank at most {parameters}, and the part of "
            f"Y outside its range, about {reachable:.3g}, stays; widen the network"
        )
    if not solver.lambda_min.status.trustworthy:
        return (
            f"{N - solver.rank} of {N} eigenvalues of K cannot be told from zero in {model.dtype}, "
            f"and about {reachable:.3g} of ‖Y‖ lies there; widen the network, remove near-duplicate "
            "rows, or use float64"
        )
    if error <= 100.0 * reachable:
        return f"rounding in {model.dtype} leaves about {reachable:.3g}; ask for a larger tol"
    return (
        f"λ_min = {solver.lambda_min.value:.3g} makes θ′ so large that the correction stops "
        f"contracting at {error:.3g}; widen the network"
    )


_ANSWERS = {
    "fits": "fits", "fits_doubled": "fits_doubled", "lambda_min_half": "exact",
    "lambda_min": "doubled",
}  # fmt: skip


@dataclass(frozen=True)
class Capacity(Result, without=("exact", "doubled"), also=_ANSWERS):
    """Whether N real labels can be fitted, from the certificate that λ_min(K) > 0.

    network: the widths asked about. exact: λ_min of the base with half the hidden widths, whose
    doubled network has exactly these widths (``None`` where a hidden width is odd). doubled: λ_min at these
    widths, which is about the network twice as wide.
    """

    network: Network
    n_samples: int
    exact: Eigenvalue | None
    doubled: Eigenvalue

    @property
    def fits(self) -> bool | None:
        """True: certified for any real labels at these widths; None: not established."""
        return True if self.exact is not None and self.exact.status.trustworthy else None

    @property
    def fits_doubled(self) -> bool | None:
        """The same for twice the hidden widths."""
        return True if self.doubled.status.trustworthy else None

    def __str__(self) -> str:
        lines = [self._line(str(self.network), self.fits, self.exact, "half the hidden widths")]
        lines.append(
            self._line("twice its hidden widths", self.fits_doubled, self.doubled, "these widths")
        )
        return "\n".join(lines)

    def _line(self, what: str, fits: bool | None, value: Eigenvalue | None, base: str) -> str:
        if value is None:
            return f"{what}: not asked, a hidden width is odd"
        if fits:
            return f"{what}: any {self.n_samples} real labels can be fitted; λ_min at {base} is {value}"
        return f"{what}: not established; λ_min at {base} is {value}. {value.status.advice}"


def capacity(net: Network, X: Any, seed: int = 0) -> Capacity:
    """Whether networks of ``net``'s widths, and of twice them, can fit any real labels on X.

    A positive λ_min at one sampled θ_0 is a proof for the doubled widths (Nguyen et al. 2021,
    Corollary 4.2); if λ_min is not certain to be positive, nothing is proved.
    """
    _require_construction(net)
    data = as_data(X, "X")
    hidden = [int(n) for n in net.widths[1:-1]]
    exact = None
    halves = [n // 2 for n in hidden]
    if all(n % 2 == 0 for n in hidden) and not (net.paired and halves[-1] % 2):
        half = net.with_widths([net.dim, *halves, 1])
        exact = smallest_eigenvalue(empirical_ntk(half.sample(seed, device=data.device), data))
    own = net.sample(seed, device=data.device)
    return Capacity(net, len(data), exact, smallest_eigenvalue(empirical_ntk(own, data)))
