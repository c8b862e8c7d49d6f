"""A sampled network on data in the papers' letters: sizes, one pass, kernels and their λ_min, each computed once."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ntkscope._base import memory
from ntkscope._base.inputs import as_data, as_seed
from ntkscope.activations import activation
from ntkscope.kernels.hadamard import HadamardKernel
from ntkscope.kernels.mlp import Backprop, backprop, mlp_ntk
from ntkscope.lipschitz import LipschitzInterval, lipschitz_interval
from ntkscope.networks.mlp import MLP
from ntkscope.networks.network import Network
from ntkscope.report.result import Shown
from ntkscope.spectra.eigenvalue import Eigenvalue
from ntkscope.statements.eigenvalues import gram_eigenvalue, least_eigenvalue, power_eigenvalue
from ntkscope.statements.quantity import Quantity, quantity, rounded


class SampledNetwork(Shown):
    """What every statement reads of one network with its weights and one data set.

    Raises ValueError for several outputs (the theory has one) and for data that do not fit.
    """

    def __init__(self, net: Network | MLP, X: Any, seed: int) -> None:
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
        self.seed = seed
        self._held: dict[Any, Any] = {}

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
