"""Banerjee et al. 2023 in ball arithmetic: the printed constants, and what holds beside them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ntkscope._base import balls
from ntkscope.papers.banerjee2023 import PAPER
from ntkscope.papers.banerjee2023.hypotheses import Setting
from ntkscope.papers.banerjee2023.layers import as_printed
from ntkscope.papers.banerjee2023.remarks import PRINTED
from ntkscope.statements.balls.ball_instance import (
    BallInstance,
    Unproved,
    diagonal,
    largest_of,
    row_norms_sq,
    smallest_of,
)
from ntkscope.statements.balls.shared_claims import schur_bound

Sides = tuple[Any, Any]


class BanerjeeBalls(BallInstance):
    """An instance in balls whose ν_0² is exact where the network's is the paper's."""

    @property
    def sigma_sq(self) -> Any:
        """σ_0²."""
        return balls.flint().arb(Setting(self.i.network).sigma_sq)

    @property
    def c(self) -> Any:
        """c_{φ,σ0}."""
        return self.moments.square(self.sigma_sq)

    def variance(self, l: int) -> Any:
        """β_l² of the forward pass; exactly ν_0²/m_(l-1) where the network is Banerjee's."""
        return (
            self.sigma_sq / self.c / self.i.n[l - 1] if as_printed(self.i) else super().variance(l)
        )

    def mu_sq(self, l: int, r: int) -> Any:
        """min_i (μ_r^{[a_i]})², the normal form E[φ H_r^{[a]}] at the variances of layer l."""
        return smallest_of(
            balls.power(self.moments.coefficient(a, r), 2) / balls.power(a, r)
            for a in diagonal(self.covariance(l))
        )

    def printed(self, l: int, r: int) -> Any:
        """c_0^{(l,r)} = (μ_r²/6c)^l (σ_0²/2)^{3rl} as printed."""
        base = self.mu_sq(l + 1, r) / (6 * self.c)
        return balls.power(base, l) * balls.power(self.sigma_sq / 2, 3 * r * l)

    def least_variance(self, l: int, r: int) -> Any:
        """min_i a_i^{r−1}."""
        return balls.power(smallest_of(diagonal(self.covariance(l))), r - 1)

    def lambda_power(self, l: int, r: int) -> Any:
        """λ_min(C_l^{∘r})."""
        power = balls.entrywise(self.covariance(l), lambda x: balls.power(x, r))
        return self.smallest(("C^r", l, r), power)


def _confirmer(number: str, key: str) -> Callable[[Callable[..., Sides]], Callable[..., Sides]]:
    """Register a confirmer that takes :class:`BanerjeeBalls`."""

    def register(confirm: Callable[..., Sides]) -> Callable[..., Sides]:
        def on_plain(b: BallInstance, **at: Any) -> Sides:
            return confirm(b.i.held("banerjee balls", lambda: BanerjeeBalls(b.i)), **at)

        PAPER.confirmer(number, key)(on_plain)
        return confirm

    return register


@_confirmer("lemma-4.2", "least-norm")
def _least_norm(b: BanerjeeBalls, l: int) -> Sides:
    """min ‖α^(l)(x)‖²/(c m_l) ≥ ½."""
    return smallest_of(row_norms_sq(b.F(l))) / (b.c * b.i.n[l]), balls.flint().arb(0.5)


@_confirmer("lemma-4.2", "largest-norm")
def _largest_norm(b: BanerjeeBalls, l: int) -> Sides:
    """max ‖α^(l)(x)‖²/(c m_l) ≤ 3/2."""
    return largest_of(row_norms_sq(b.F(l))) / (b.c * b.i.n[l]), balls.flint().arb(1.5)


@_confirmer("theorem-4.2", "printed")
def _activations(b: BanerjeeBalls, l: int, r: int) -> Sides:
    """λ_min(A^(l)A^(l)ᵀ) ≥ c_0^{(l−1,r)} m_l λ_1."""
    return b.lambda_features(l), b.printed(l - 1, r) * b.i.n[l] * b.lambda_expected(1)


@_confirmer("lemma-4.3", "printed")
def _chain(b: BanerjeeBalls, l: int, r: int) -> Sides:
    """λ_l ≥ (μ_r²/6c)^{l−1} (σ_0²/2)^{3r(l−1)} λ_1."""
    return b.lambda_expected(l), b.printed(l - 1, r) * b.lambda_expected(1)


@_confirmer("theorem-4.1", "printed")
def _kernel(b: BanerjeeBalls, r: int) -> Sides:
    """λ_min(K) ≥ c_0^{(L−1,r)} λ_1."""
    return b.lambda_K, b.printed(b.i.L - 2, r) * b.lambda_expected(1)


@_confirmer("tradeoff", "hessian")
def _hessian_regime(b: BanerjeeBalls, sigma_sq: float) -> Sides:
    """γ = 4ν_0 against 1."""
    ball = balls.flint().arb(sigma_sq)
    return 4 * (ball / b.moments.square(ball)).sqrt(), balls.flint().arb(1)


@_confirmer("theorem-4.1", "last-layer")
@_confirmer("remark-4.3", "last-layer")
def _last_layer(b: BanerjeeBalls, v: str = "v_0") -> Sides:
    """λ_min(K) ≥ λ_min(A^(L)A^(L)ᵀ)/m."""
    if v != "v_0":
        raise Unproved("the kernel of another last layer is not evaluated in balls")
    return b.lambda_K, schur_bound(b, b.i.L - 1)


@_confirmer("definition-4.1", "printed")
def _series(b: BanerjeeBalls, a: float) -> Sides:
    """E(φ − Σ_(r≤12) μ_r H_r)² against the tail beyond r = 12, at variance a."""
    variance, zero = balls.flint().arb(a), balls.flint().arb(0)
    squares = [balls.power(b.moments.coefficient(variance, r), 2) for r in range(PRINTED + 1)]
    tail = b.moments.square(variance) - sum(squares, zero)
    return sum(
        (x * balls.power(1 - 1 / balls.power(variance, r), 2) for r, x in enumerate(squares)), tail
    ), tail


@_confirmer("lemma-4.3", "hermite")
@_confirmer("remark-4.2a", "hermite")
def _hermite(b: BanerjeeBalls, l: int, r: int) -> Sides:
    """λ_l ≥ min μ_r² λ_min(C^{∘r})."""
    return b.lambda_expected(l), b.mu_sq(l, r) * b.lambda_power(l, r)


@_confirmer("lemma-4.3", "power")
def _hadamard(b: BanerjeeBalls, l: int, r: int) -> Sides:
    """λ_min(C^{∘r}) ≥ min a^(r−1) ν²λ_min(A^(l-1)A^(l-1)ᵀ)/m."""
    return b.lambda_power(l, r), b.least_variance(l, r) * b.lambda_power(l, 1)


@_confirmer("remark-4.6", "hermite-variance")
def _schur(b: BanerjeeBalls, l: int, r: int) -> Sides:
    """λ_l ≥ min μ_r² min a^(r−1) λ_min(C)."""
    bound = b.mu_sq(l, r) * b.least_variance(l, r) * b.lambda_power(l, 1)
    return b.lambda_expected(l), bound


@_confirmer("lambda-1", "least-moment")
def _least_moment(b: BanerjeeBalls) -> Sides:
    """λ_1 ≤ min_i E φ(x_iᵀg/√d)²."""
    return b.lambda_expected(1), smallest_of(diagonal(b.expected(1)))
