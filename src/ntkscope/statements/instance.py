"""An instance: one network, sampled, on data, with every quantity computed once.

All statements of a paper read from the same :class:`Instance`, so that checking all of them costs
one forward and one backward pass and one eigenvalue of each matrix.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ntkscope._base import memory
from ntkscope._base.inputs import as_data, as_seed
from ntkscope.activations import activation
from ntkscope.data import Distribution, Gaussian, Sphere
from ntkscope.kernels.hadamard import HadamardKernel
from ntkscope.kernels.mlp import Backprop, backprop, mlp_ntk
from ntkscope.lipschitz import LipschitzInterval, lipschitz_interval
from ntkscope.networks.mlp import MLP
from ntkscope.networks.network import Network
from ntkscope.report.result import Shown
from ntkscope.spectra.eigenvalue import Eigenvalue
from ntkscope.statements import redraws
from ntkscope.statements.eigenvalues import gram_eigenvalue, least_eigenvalue, power_eigenvalue
from ntkscope.statements.quantity import Quantity, quantity, rounded
from ntkscope.statements.redraws import NotComputable

__all__ = ["Instance", "NotComputable"]


class Instance(Shown):
    """A sampled network on data.

    Parameters
    ----------
    net: a Network, sampled with ``seed``, or an MLP of your own.
    X: (N, d) data.
    seed: of the weights; every other random choice derives from it by name.
    distribution: the law of the rows of X, where it is known. Expectations over the data are then
        taken over fresh draws (or in closed form); without it, over half of the rows of X, and the
        statement is checked on the other half.
    samples: draws behind a Monte-Carlo expectation. trials: repetitions behind a success rate.
    delta: the failure probability δ that some statements take.

    Raises ValueError for several outputs (the theory has one), data that do not fit, δ outside of
    (0, 1), no trials, or fewer than two draws.
    """

    def __init__(
        self,
        net: Network | MLP,
        X: Any,
        *,
        seed: int = 0,
        distribution: Distribution | None = None,
        samples: int = 4096,
        trials: int = 100,
        delta: float = 0.1,
    ) -> None:
        self.model = net if isinstance(net, MLP) else net.sample(seed)
        self.network = self.model.network
        if self.network.n_outputs != 1:
            raise ValueError(
                f"the papers' networks have one output, got widths {list(self.network.widths)}"
            )
        self.X = as_data(X, "X", torch.float64)
        if self.X.shape[1] != self.network.dim:
            raise ValueError(
                f"X has {self.X.shape[1]} features, the network takes {self.network.dim}"
            )
        _require_budget(samples, trials, delta)
        self.seed, self.distribution = seed, distribution
        self.samples, self.trials, self.delta = samples, trials, delta
        self._held: dict[Any, Any] = {}
        self._redrawn: dict[int, Instance] = {}

    def to_dict(self) -> dict[str, Any]:
        """What it was made of, in plain values, without the data."""
        return {
            "network": str(self.network), "N": self.N, "d": self.d, "seed": self.seed,
            "distribution": repr(self.distribution) if self.distribution else "",
            "samples": self.samples, "trials": self.trials, "delta": self.delta,
        }  # fmt: skip

    def __repr__(self) -> str:
        return f"Instance({self.network}, N={self.N}, seed={self.seed})"

    # sizes, in the papers' letters

    @property
    def N(self) -> int:
        return len(self.X)

    @property
    def d(self) -> int:
        return self.network.dim

    @property
    def L(self) -> int:
        """The number of layers, the output layer included."""
        return self.network.depth

    @property
    def n(self) -> tuple[int, ...]:
        """n_0, …, n_L."""
        return tuple(int(w) for w in self.network.widths)

    @cached_property
    def beta(self) -> tuple[float, ...]:
        """β_0 = 1 (unused), β_1, …, β_L: standard deviations of W_l in the forward pass.

        In the "ntk" parameterization the forward pass divides by √n_{l-1}, and so does this.
        """
        pairs = zip(self.network.betas, self.network.scales, strict=True)
        return (1.0, *(b * s for b, s in pairs))

    @property
    def at_kinks(self) -> bool:
        """Whether a pre-activation is so near a kink that rounding decides on which side it lies."""
        return self.kernel.near_kinks > 0

    @property
    def relu(self) -> bool:
        return self.network.activation == activation("relu")

    @property
    def plain(self) -> bool:
        """Neither biases nor residual connections."""
        return self.network.bias_std is None and not self.network.residual

    @property
    def slope(self) -> float | None:
        """M = sup |φ′|; None where it is not known or infinite."""
        bound = self.network.activation.lipschitz
        return bound if bound is not None and math.isfinite(bound) else None

    @property
    def slope_of_derivative(self) -> float | None:
        """M′, the Lipschitz constant of φ′; None where it is not known or infinite."""
        bound = self.network.activation.lipschitz_derivative
        return bound if bound is not None and math.isfinite(bound) else None

    def generator(self, purpose: str) -> torch.Generator:
        """A generator of its own for each purpose, the same for the same seed."""
        return as_seed(self.seed, f"theory: {purpose}")

    def held(self, key: Any, make: Any) -> Any:
        """``make()`` the first time, the same object afterwards: a cache for the statements."""
        if key not in self._held:
            self._held[key] = make()
        return self._held[key]

    # joint redraws of data and weights, for events with a probability

    def redraw(self, trial: int) -> Instance:
        """The same network and law with data and weights drawn anew; the same for the same trial.

        Redraws are kept while there is room, so that statements share what they compute. Raises
        NotComputable where the law of the data is not known or the weights were given.
        """
        if trial not in self._redrawn:
            model, X, seed = redraws.drawn(
                self.network, self.distribution, self.N, self.generator, trial
            )
            fresh = Instance(
                model, X, seed=seed, distribution=self.distribution, samples=self.samples,
                trials=self.trials, delta=self.delta,
            )  # fmt: skip
            if len(self._redrawn) >= redraws.room(self.network, self.N):
                return fresh
            self._redrawn[trial] = fresh
        return self._redrawn[trial]

    def redraws(self, trials: int | None = None) -> Iterator[Instance]:
        """Independent redraws, one after another; by default ``self.trials``, or as many as a budget of
        operations allows. Raises NotComputable as :meth:`redraw`."""
        if trials is None:
            trials = self.affordable(redraws.cost(self.network, self.N), redraws.FLOPS)
        return map(self.redraw, range(trials))

    def affordable(self, flops: float, budget: float = 2e9) -> int:
        """How many of ``self.trials`` repetitions of ``flops`` operations fit a budget, one at least."""
        return max(1, min(self.trials, int(budget // max(flops, 1.0))))

    # one forward and one backward pass

    @cached_property
    def passed(self) -> Backprop:
        return backprop(self.model, self.X.to(self.model.dtype), [0])

    def weight(self, l: int) -> Tensor:
        """W_l (n_{l-1}, n_l) as the forward pass applies it, l = 1 … L."""
        return self.model.weights[l - 1].detach() * self.network.scales[l - 1]

    def F(self, k: int) -> Tensor:
        """F_k (N, n_k), k = 0 … L−1."""
        return self.passed.features[k]

    def G(self, k: int) -> Tensor:
        """Pre-activations g_k (N, n_k), k = 1 … L."""
        return self.passed.preactivations[k - 1]

    def B(self, k: int) -> Tensor:
        """B_k (N, n_k), k = 1 … L: ∂f/∂g_k; B_L is a column of ones."""
        return self.passed.signals[k - 1][0]

    def op_norm(self, l: int) -> Quantity:
        """‖W_l‖_op of the weights as the forward pass applies them."""

        def make() -> Quantity:
            W = self.weight(l)
            norm = float(torch.linalg.matrix_norm(W, 2))
            return rounded(norm, 4 * max(W.shape))

        return self.held(("op", l), make)

    def norms_sq(self, matrix: Tensor) -> Tensor:
        """Squared row norms."""
        return matrix.square().sum(dim=1)

    def min_norm_sq(self, matrix: Tensor) -> Quantity:
        """min_i ‖row i‖²."""
        return rounded(self.norms_sq(matrix).min(), matrix.shape[1] + 1)

    def max_norm_sq(self, matrix: Tensor) -> Quantity:
        """max_i ‖row i‖²."""
        return rounded(self.norms_sq(matrix).max(), matrix.shape[1] + 1)

    # kernels and their smallest eigenvalues

    @cached_property
    def kernel(self) -> HadamardKernel:
        """The empirical NTK JJᵀ in its own units."""
        return mlp_ntk(self.model, self.X.to(self.model.dtype))

    @cached_property
    def K(self) -> Tensor:
        """The empirical NTK, dense."""
        return self.kernel.dense()

    @cached_property
    def lambda_K(self) -> Eigenvalue:
        """λ_min of the empirical NTK."""
        return least_eigenvalue(self.kernel)

    def gram(self, k: int) -> Tensor:
        """F_k F_kᵀ (N, N)."""

        def make() -> Tensor:
            memory.require(8.0 * self.N**2, f"the Gram matrix of layer {k}", "use fewer samples")
            G = self.F(k) @ self.F(k).T
            return 0.5 * (G + G.T)

        return self.held(("gram", k), make)

    def lambda_features(self, k: int) -> Quantity:
        """λ_min(F_k F_kᵀ); exactly 0 where n_k < N."""
        return self.held(("λ F", k), lambda: quantity(gram_eigenvalue(self.F(k), f"F_{k}")))

    def lambda_term(self, k: int) -> Quantity:
        """λ_min of K_k = F_kF_kᵀ ∘ B_{k+1}B_{k+1}ᵀ, the kernel's term that belongs to W_{k+1}."""

        def make() -> Quantity:
            names = [t.name for t in self.kernel.terms]
            term = self.kernel.term(names.index(f"W_{k + 1}"))
            rank = math.prod(f.width for f in term.terms[0].factors)
            found = least_eigenvalue(term)
            return Quantity(0.0) if rank < self.N else Quantity(found.value, found.error)

        return self.held(("λ K_k", k), make)

    def lambda_power(self, k: int, r: int) -> Quantity:
        """λ_min of (F_k^{*r})(F_k^{*r})ᵀ, which is the r-th Hadamard power of the Gram."""
        if r == 1:
            return self.lambda_features(k)
        return self.held(("λ F^r", k, r), lambda: power_eigenvalue(self.gram(k), r, self.n[k]))

    def lipschitz(self, k: int, start: int = 0) -> LipschitzInterval:
        """The Lipschitz constant of f_start ↦ g_k as an interval (a short search)."""

        def make() -> LipschitzInterval:
            return lipschitz_interval(
                self.model, k, start=start, X=None if start else self.X, starts=8, steps=3,
                seed=self.generator(f"Lipschitz {start} {k}"),
            )  # fmt: skip

        return self.held(("Lipschitz", k, start), make)

    # expectations over the data

    @cached_property
    def _split(self) -> tuple[Tensor, Tensor]:
        """(rows that statements with an expectation are checked on, points for the expectation)."""
        generator = self.generator("reference")
        if self.distribution is not None:
            fresh = self.distribution.sample(self.samples, generator)
            return torch.arange(self.N), fresh
        if self.N < 2:
            raise NotComputable("expectations need the distribution or two samples at least")
        order = torch.randperm(self.N, generator=generator)
        half = self.N // 2
        return order[: self.N - half].sort().values, self.X[order[self.N - half :]]

    @property
    def rows(self) -> Tensor:
        """Indices of the samples that a statement about centred features is checked on.

        All of them when the distribution is known, otherwise half: the other half stands in for
        the distribution, since the mean of the same sample makes centred features singular.
        """
        return self._split[0]

    @property
    def reference(self) -> Tensor:
        """(M, d) points for expectations over the data, independent of ``rows``."""
        return self._split[1]

    @property
    def reference_note(self) -> str:
        """How expectations over the data were taken, for the reader of a verdict."""
        if self.distribution is not None:
            return f"Expectations over the data: {len(self.reference)} fresh draws."
        return (
            f"The distribution is not known: expectations are means over {len(self.reference)} "
            f"samples, and the statement is checked on the other {len(self.rows)}."
        )

    @cached_property
    def reference_pass(self) -> tuple[list[Tensor], list[Tensor]]:
        """([F_0, …, F_{L-1}], [G_1, …, G_L]) on the reference points."""
        memory.require(
            16.0 * len(self.reference) * sum(self.n), "the features of the reference points",
            "pass fewer samples",
        )  # fmt: skip
        with torch.no_grad():
            return self.model.layers(self.reference.to(self.model.dtype))

    def mean_features(self, k: int) -> tuple[Tensor, bool]:
        """(E_x f_k(x), whether it is exact): closed form for the first ReLU layer, else sampled."""
        return self.held(("mean", k), lambda: self._mean_features(k))

    def _mean_features(self, k: int) -> tuple[Tensor, bool]:
        law = self.distribution
        if k == 0 and law is not None:
            return law.mean(), True
        if k == 1 and self.relu and self.network.bias_std is None and not self.network.residual:
            norms = torch.linalg.vector_norm(self.weight(1), dim=0)
            if isinstance(law, Gaussian):
                return norms / math.sqrt(2 * math.pi), True
            if isinstance(law, Sphere):
                # E max(x_1, 0) on the sphere of radius R in R^d
                radius = math.sqrt(law.moments().norm_sq)
                gammas = math.lgamma(self.d / 2) - math.lgamma((self.d + 1) / 2)
                return norms * (radius * math.exp(gammas) / (2 * math.sqrt(math.pi))), True
        return self.reference_pass[0][k].mean(dim=0), False

    def centred(self, k: int) -> Tensor:
        """F̃_k = F_k − E_x f_k on ``rows``."""
        return self.held(("centred", k), lambda: self.F(k)[self.rows] - self.mean_features(k)[0])

    def mean_spread(self, k: int, direction: Tensor) -> float:
        """Standard error of ⟨direction, E_x f_k⟩; 0 where the mean is exact."""
        if self.mean_features(k)[1]:
            return 0.0
        values = self.reference_pass[0][k] @ direction
        if len(values) < 2:
            return math.inf
        return float(values.std()) / math.sqrt(len(values))


_MOST_TRIALS = 1_000_000


def _require_budget(samples: int, trials: int, delta: float) -> None:
    if not 0 < delta < 1:
        raise ValueError(
            f"delta must be a probability with 0 < delta < 1, got {delta}; leave it out for 0.1"
        )
    for name, value, least, why in (
        ("samples", samples, 2, "an expectation needs them for its standard error"),
        ("trials", trials, 1, "a success rate is taken over them"),
    ):
        if value < least:
            raise ValueError(f"{name} must be an integer of at least {least}, got {value}: {why}")
    if trials > _MOST_TRIALS:
        raise ValueError(
            f"trials must be at most {_MOST_TRIALS:,}, got {trials}: a success rate is then known to 1e-3"
        )
