"""A sampled network on its data in ball arithmetic: stored weights and data, everything else proved."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

from ntkscope._base import balls
from ntkscope.statements.balls.functions import Moments, ball_activation
from ntkscope.statements.instance import Instance


class Unproved(Exception):
    """A quantity of this instance has no ball version."""


class BallInstance:
    """Balls for what :class:`Instance` computes in floating point; same names, same layers.

    Raises Unproved for networks with biases or residual connections, and for φ of the user's own.
    To be used under ``balls.precision()``.
    """

    def __init__(self, i: Instance) -> None:
        phi = ball_activation(i.network.activation)
        if phi is None or i.network.residual or len(i.model.biases):
            raise Unproved("only known activations, no biases and no residual connections")
        self.i, self.phi = i, phi
        self._cache: dict[Any, Any] = {}

    def _held(self, key: Any, make: Any) -> Any:
        if key not in self._cache:
            self._cache[key] = make()
        return self._cache[key]

    # the network

    def scale(self, l: int) -> Any:
        """What W_l is multiplied by in the forward pass."""
        module = balls.flint()
        ntk = self.i.network.parameterization == "ntk"
        return 1 / module.arb(self.i.n[l - 1]).sqrt() if ntk else module.arb(1)

    def weight(self, l: int) -> Any:
        """W_l (n_{l-1}, n_l) as the forward pass applies it."""
        return balls.matrix(self.i.model.weights[l - 1].detach()) * self.scale(l)

    def F(self, k: int) -> Any:
        """F_k (N, n_k)."""

        def make() -> Any:
            return balls.matrix(self.i.X) if k == 0 else balls.entrywise(self.G(k), self.phi.value)

        return self._held(("F", k), make)

    def G(self, k: int) -> Any:
        """Pre-activations (N, n_k)."""
        return self._held(("G", k), lambda: self.F(k - 1) * self.weight(k))

    def B(self, k: int) -> Any:
        """B_k (N, n_k), ∂f/∂g_k."""

        def make() -> Any:
            if k == self.i.L:
                return balls.flint().arb_mat(self.i.N, 1, [1] * self.i.N)
            through = self.B(k + 1) * self.weight(k + 1).transpose()
            return hadamard(through, balls.entrywise(self.G(k), self.phi.prime))

        return self._held(("B", k), make)

    def gram(self, k: int) -> Any:
        """F_kF_kᵀ."""
        return self._held(("gram", k), lambda: self.F(k) * self.F(k).transpose())

    def term(self, k: int) -> Any:
        """K_k, the part of the kernel that belongs to W_{k+1}."""
        signals = self.B(k + 1)
        square = self.scale(k + 1) ** 2
        return hadamard(self.gram(k), signals * signals.transpose()) * square

    @property
    def K(self) -> Any:
        """The empirical NTK."""

        def make() -> Any:
            total = self.term(0)
            for k in range(1, self.i.L):
                total = total + self.term(k)
            return total

        return self._held("K", make)

    # smallest eigenvalues

    def smallest(self, key: Any, matrix: Any) -> Any:
        """λ_min of a symmetric matrix, computed once for each key."""

        def make() -> Any:
            try:
                return balls.smallest_eigenvalue(matrix)
            except ArithmeticError as reason:
                raise Unproved(str(reason)) from None

        return self._held(("λ", key), make)

    @property
    def lambda_K(self) -> Any:
        return self.smallest("K", self.K)

    def lambda_term(self, k: int) -> Any:
        """λ_min(K_k)."""
        return self.smallest(("term", k), self.term(k))

    def lambda_features(self, k: int) -> Any:
        """λ_min(F_kF_kᵀ)."""
        return self.smallest(("features", k), self.gram(k))

    def op_norm_sq(self, l: int) -> Any:
        """‖W_l‖²_op, from −λ_min(−WWᵀ)."""
        W = self.weight(l)
        gram = W * W.transpose() if W.nrows() <= W.ncols() else W.transpose() * W
        return -self.smallest(("op", l), gram * -1)

    # expected Gram matrices

    @cached_property
    def moments(self) -> Moments:
        """E φ² and E φ(u)φ(v)."""
        return Moments(self.phi)

    def variance(self, l: int) -> Any:
        """β_l² of the forward pass."""
        return (balls.flint().arb(self.i.network.betas[l - 1]) * self.scale(l)) ** 2

    def covariance(self, l: int) -> Any:
        """β_l²F_(l-1)F_(l-1)ᵀ, of the pre-activations of layer l given the layer before."""
        return self._held(("C", l), lambda: self.gram(l - 1) * self.variance(l))

    def expected(self, l: int) -> Any:
        """E[φφᵀ] of layer l given the layer before."""

        def make() -> Any:
            C, N = self.covariance(l), self.i.N
            E = balls.flint().arb_mat(N, N)
            for a in range(N):
                E[a, a] = self.moments.square(C[a, a])
                for b in range(a):
                    E[a, b] = E[b, a] = self.moments.product(C[a, a], C[b, b], C[a, b])
            return E

        return self._held(("E", l), make)

    def lambda_expected(self, l: int) -> Any:
        """λ_l; what a Hermite series leaves out is positive semidefinite, so its head lies below."""

        def make() -> Any:
            try:
                return self.smallest(("expected", l), self.expected(l))
            except Unproved:
                below = self.smallest(("heads", l), self._heads(l)).lower()
                return below.union(balls.rayleigh(self.expected(l)))

        return self._held(("λ expected", l), make)

    def _heads(self, l: int) -> Any:
        C, N = self.covariance(l), self.i.N
        heads = balls.flint().arb_mat(N, N)
        for a in range(N):
            for b in range(a + 1):
                heads[a, b] = heads[b, a] = self.moments.head(C[a, a], C[b, b], C[a, b])
        return heads


def hadamard(left: Any, right: Any) -> Any:
    """The entrywise product."""
    pairs = zip(left.entries(), right.entries(), strict=True)
    return balls.flint().arb_mat(left.nrows(), left.ncols(), [a * b for a, b in pairs])


def row_norms_sq(m: Any) -> list[Any]:
    """Squared norms of the rows."""
    zero = balls.flint().arb(0)
    return [sum((x * x for x in row), zero) for row in m.tolist()]


def diagonal(m: Any) -> list[Any]:
    """The diagonal."""
    return [m[a, a] for a in range(m.nrows())]


def smallest_of(sides: Iterable[Any]) -> Any:
    """The minimum, as a ball."""
    first, *rest = sides
    for ball in rest:
        first = first.min(ball)
    return first


def largest_of(sides: Iterable[Any]) -> Any:
    """The maximum, as a ball."""
    first, *rest = sides
    for ball in rest:
        first = first.max(ball)
    return first
