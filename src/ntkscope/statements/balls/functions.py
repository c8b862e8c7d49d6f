"""φ, φ′ and Gaussian expectations of φ in ball arithmetic, every error in the radius."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ntkscope._base import balls
from ntkscope.activations.activation import Activation
from ntkscope.activations.balls import BallActivation, Function, normal_density

_REACH = 18  # Gaussian integrals run over |z| ≤ 18; the rest is bounded by hand
_TOLERANCE = 2.0**-120  # of an integral, about what lies beyond
ORDERS = 24  # Hermite coefficients behind E φ(u)φ(v)


def ball_activation(phi: Activation) -> BallActivation | None:
    """φ on balls; None where it is the user's own and states none."""
    return phi.ball


def second_moment(phi: BallActivation, variance: Any) -> Any:
    """E φ(√a z)²."""
    total = _integral(phi, variance, lambda value, _: value * value)
    return total + balls.flint().arb(0, _left_out(phi, variance) ** 2)


def coefficient(phi: BallActivation, variance: Any, order: int) -> Any:
    """E[φ(√a z) h_r(z)], h_r the orthonormal Hermite polynomial of degree ``order``."""

    def times_hermite(value: Any, z: Any) -> Any:
        module = balls.flint()
        before, now = module.acb(0), module.acb(1)
        for r in range(order):
            before, now = now, (z * now - module.arb(r).sqrt() * before) / module.arb(r + 1).sqrt()
        return value * now

    total = _integral(phi, variance, times_hermite)
    # ‖h_r‖ = 1 and Cauchy-Schwarz
    return total + balls.flint().arb(0, _left_out(phi, variance))


def _integral(phi: BallActivation, variance: Any, form: Callable[[Any, Any], Any]) -> Any:
    """∫ form(φ(√a z), z) e^{−z²/2}/√(2π) dz over |z| ≤ 18."""
    module = balls.flint()
    root = module.arb(variance).sqrt()
    cuts = (-_REACH, _REACH) if len(phi.formula) == 1 else (-_REACH, 0, _REACH)
    total = module.arb(0)
    for formula, low, high in zip(phi.formula, cuts, cuts[1:], strict=False):

        def integrand(z: Any, analytic: bool, formula: Function = formula) -> Any:
            return form(formula(root * z, analytic), z) * normal_density(z)

        total += module.acb.integral(
            integrand, low, high, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE
        ).real
    return total


def _left_out(phi: BallActivation, variance: Any) -> Any:
    """‖φ(√a z)1{|z| > 18}‖₂ ≤ |φ(0)| P^½ + M√a (E z²1{|z| > 18})^½, as an upper bound."""
    module = balls.flint()
    reach = module.arb(_REACH)
    outside = (reach / module.arb(2).sqrt()).erfc()
    square = 2 * reach * normal_density(reach) + outside
    bound = phi.at_zero * outside.sqrt() + phi.slope * (module.arb(variance) * square).sqrt()
    return bound.upper()


class Moments:
    """E φ(u)φ(v) of jointly Gaussian u, v; the coefficients of a variance are computed once."""

    def __init__(self, phi: BallActivation) -> None:
        self.phi = phi
        self._squares: dict[tuple[int, ...], Any] = {}
        self._tables: dict[tuple[int, ...], list[Any]] = {}

    def square(self, a: Any) -> Any:
        """E φ(√a z)²."""
        key = balls.exact(a)
        if key not in self._squares:
            self._squares[key] = second_moment(self.phi, a)
        return self._squares[key]

    def coefficient(self, a: Any, r: int) -> Any:
        """E[φ(√a z) h_r(z)]."""
        table = self._tables.setdefault(balls.exact(a), [])
        while len(table) <= r:
            table.append(coefficient(self.phi, a, len(table)))
        return table[r]

    def head(self, a: Any, b: Any, covariance: Any) -> Any:
        """Σ_{r<R} α_r(a)α_r(b)ρ^r, the first terms of E φ(u)φ(v) at variances a and b."""
        module = balls.flint()
        rho = covariance / (a * b).sqrt()
        total, power = module.arb(0), module.arb(1)
        for r in range(ORDERS):
            total += self.coefficient(a, r) * self.coefficient(b, r) * power
            power *= rho
        return total

    def tail(self, a: Any) -> Any:
        """Σ_{r≥R} α_r(a)², as an upper bound."""
        head = sum(
            (balls.power(self.coefficient(a, r), 2) for r in range(ORDERS)), balls.flint().arb(0)
        )
        return (self.square(a) - head).upper().max(0)

    def product(self, a: Any, b: Any, covariance: Any) -> Any:
        """E φ(u)φ(v): the first terms, and the rest by Cauchy-Schwarz."""
        # |ρ| ≤ 1 whatever its ball says
        rho = (abs(covariance) / (a * b).sqrt()).upper().min(1)
        rest = (self.tail(a) * self.tail(b)).sqrt() * balls.power(rho, ORDERS)
        return self.head(a, b, covariance) + balls.flint().arb(0, rest.upper())
