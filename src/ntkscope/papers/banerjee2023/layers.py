"""Banerjee et al. 2023: λ_l, variances, Hermite coefficients and constants, layer by layer."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ntkscope.activations.hermite import Coefficients, hermite_coefficients
from ntkscope.papers.banerjee2023.draws import reaches
from ntkscope.papers.banerjee2023.hypotheses import Setting, initialized
from ntkscope.spectra.smallest import smallest_eigenvalue
from ntkscope.statements.eigenvalues import power_eigenvalue
from ntkscope.statements.instance import Instance, NotComputable
from ntkscope.statements.quantity import Quantity, U
from ntkscope.statements.shared.expected import expected_gram

ORDERS = (1, 2, 3, 4, 5, 6, 7)  # the r that are tabled; tanh has μ_r = 0 at even r
TOP = 101  # up to which r the printed constant's supremum is sought


class Layers:
    """λ_l, variances and Hermite coefficients of an instance, layer by layer."""

    def __init__(self, i: Instance) -> None:
        if i.network.residual:
            raise NotComputable("A^(l) = φ(A^(l-1)W/√m) excludes residual connections")
        self.i = i
        self.phi = i.network.activation
        self.setting = Setting(i.network)

    @property
    def hidden(self) -> int:
        """The number of hidden layers, their L."""
        return self.i.L - 1

    def covariance(self, l: int) -> Tensor:
        """C_l = ν_l²A^(l-1)A^(l-1)ᵀ/m_(l-1): of the pre-activations of layer l given the one before."""
        C = self.i.beta[l] ** 2 * self.i.gram(l - 1)
        bias = self.i.network.bias_std
        return C + bias**2 if bias else C

    def variances(self, l: int) -> Float[Tensor, N]:
        """a_i = C_ii."""
        return self.covariance(l).diagonal()

    def expected(self, l: int) -> tuple[Tensor, float]:
        """(E[φφᵀ] of layer l, its 2-norm error)."""
        return expected_gram(self.i, l)

    def smallest(self, l: int) -> Quantity:
        """λ_l."""

        def make() -> Quantity:
            matrix, error = self.expected(l)
            found = smallest_eigenvalue(matrix)
            return Quantity(found.value, found.error + error)

        return self.i.held(("λ_l", l), make)

    def coefficients(self, l: int) -> Coefficients:
        """α_r(a_i) of layer l for every sample."""

        def make() -> Coefficients:
            return hermite_coefficients(self.phi, max(ORDERS), self.variances(l))

        return self.i.held(("α_r", l), make)

    def mu_sq(self, l: int, r: int) -> Quantity:
        """min_i (μ_r^{[a_i]})² in the normal form E[φ H_r^{[a]}], variances of layer l."""
        table = self.coefficients(l)
        alpha = table.values[:, r]
        a = table.variances
        power = torch.where(a > 0, a, torch.ones_like(a)) ** (-r)
        squares = torch.where(a > 0, alpha.square() * power, torch.zeros_like(a))
        at = int(squares.argmin())
        error = (2 * float(alpha[at].abs()) + table.error) * table.error * float(power[at])
        return Quantity(float(squares[at]), error)

    def least_power(self, l: int, r: int) -> Quantity:
        """min_i a_i^{r-1}."""
        value = float(self.variances(l).min()) ** (r - 1)
        return Quantity(value, (self.i.n[l - 1] + 4) * r * U * value)

    def lambda_power(self, l: int, r: int) -> Quantity:
        """λ_min(C_l^{∘r})."""

        def make() -> Quantity:
            return power_eigenvalue(self.covariance(l), r, self.i.n[l - 1])

        return self.i.held(("λ C^r", l, r), make)

    def event(self, l: int) -> bool | None:
        """Lemma 4.1's event: λ_min(A^(l)A^(l)ᵀ) ≥ m_l λ_l/4; None where rounding decides."""
        return reaches(self.i.lambda_features(l), self.smallest(l) * (self.i.n[l] / 4))

    def printed(self, l: int, r: int) -> Quantity:
        """c_0^{(l,r)} = (μ²/(6c))^l (σ_0²/2)^{3rl} of Theorem 4.2, l = 0, …, L − 2."""
        s = self.setting
        base = self.mu_sq(l + 1, r) / (6 * Quantity(s.c, 1e-12 * s.c))
        return base**l * (s.sigma_sq / 2) ** (3 * r * l)

    def corrected(self, l: int, r: int) -> Quantity:
        """Π_{j=1}^{l} [min_i μ_r² · ν²/4 · min_i a_i^{r-1}], the factor before λ_1 in λ_(l+1).

        Holds where Lemma 4.1's event does for layers 1 … l: with C = ν²AAᵀ/m,
        λ_(j+1) ≥ min μ_r² λ_min(C^{∘r}) ≥ min μ_r² min a^{r-1} (ν²/m) λ_min(A^(j)A^(j)ᵀ).
        """
        total = Quantity(1.0)
        for j in range(1, l + 1):
            nu_sq = self.i.beta[j + 1] ** 2 * self.i.n[j]
            total = total * self.mu_sq(j + 1, r) * self.least_power(j + 1, r) * (nu_sq / 4)
        return total

    def best(self, l: int) -> tuple[int, Quantity]:
        """(r, constant) of the largest corrected c_0^{(l,r)}; r = 1 is allowed, as in Lemma 4.3."""
        return max(((r, self.corrected(l, r)) for r in ORDERS), key=lambda p: p[1].value)

    def supremum(self, l: int) -> Supremum:
        """sup_(r>1) c_0^{(l,r)} as printed."""
        return self.i.held(("c_0", l), lambda: printed_supremum(self, l))


@dataclass(frozen=True)
class Supremum:
    """sup_(r>1) c_0^{(l,r)}: the largest value up to r = TOP, where, and what lies beyond.

    bounded: True where no later r gives more, False where later r give arbitrarily much (the supremum
    is ∞ and no maximum exists), None where neither is known.
    """

    r: int
    at: Quantity
    bounded: bool | None

    @property
    def value(self) -> Quantity:
        """The supremum: ∞, or the largest value found."""
        return Quantity(math.inf) if self.bounded is False else self.at

    @property
    def words(self) -> str:
        """What is known of the maximum."""
        if self.bounded:
            return f"attained at r = {self.r}"
        if self.bounded is None:
            return f"the largest up to r = {TOP}; whether larger ones follow is not known"
        return f"∞: {self.at.value:.3g} at r = {self.r}, and it grows without bound in r"


def printed_supremum(k: Layers, l: int) -> Supremum:
    """(μ_r²/6c)^l (σ_0²/2)^{3rl} over r > 1, with μ_r² = α_r(a)² a^{−r} at the worst sample.

    A term is (α_r(a_i)² q_i^r/6c)^l with q_i = (σ_0²/2)³/a_i. By Parseval α_r² ≤ Σ_(s>R) α_s² beyond R, so
    q_i ≤ 1 at one sample bounds the rest. Where every q_i > 1 a bounded sequence would make α_r decay
    geometrically and φ entire: it is unbounded for the φ that are not.
    """
    s = k.setting
    if l == 0:
        return Supremum(2, Quantity(1.0), True)
    table = hermite_coefficients(k.phi, TOP, k.variances(l + 1))
    a = table.variances.clamp_min(1e-300)
    q = (s.sigma_sq / 2) ** 3 / a
    orders = torch.arange(TOP + 1, dtype=torch.float64)
    size = table.values.abs()
    logs = 2 * size.clamp_min(1e-300).log() + orders * q.log()[:, None]
    logs[size <= 2 * table.error] = -math.inf
    least, at = logs[:, 2:].min(dim=0)
    r = int(least.argmax())
    exponent = l * (float(least[r]) - math.log(6 * s.c))
    value = math.exp(exponent) if exponent < 700 else math.inf
    error = value * l * (4 * table.error / float(size[at[r], r + 2]) + 1e-12) if value > 0 else 0.0
    rest = (
        float((table.tails[:, -1] * q ** (TOP + 1))[q <= 1].min()) if bool((q <= 1).any()) else None
    )
    bounded = None
    if rest is not None:
        bounded = True if (rest / (6 * s.c)) ** l <= value or value == 0 else None
    elif k.phi.kinks or k.phi.poles:
        bounded = False
    return Supremum(r + 2, Quantity(value, error if math.isfinite(error) else 0.0), bounded)


def layers(i: Instance) -> Layers:
    """The layers of an instance, computed once. Raises NotComputable for residual networks."""
    return i.held("banerjee layers", lambda: Layers(i))


def as_printed(i: Instance) -> bool:
    """Whether the constants printed for their network apply to this one: its units and its ν_0."""
    return i.network.parameterization == "ntk" and initialized(i.network).met is True


def square_spread(i: Instance, l: int, mean: float, draws: int) -> float:
    """A bound on the standard error of a mean of h² over ``draws`` draws of W_l, E h² = ``mean``.

    h is Λ-Lipschitz in the standard normal entries behind W_l and b_l, Λ² = M²(β_l²‖F_(l-1)‖² +
    N s²): true of ⟨φ(F w), v⟩ at ‖v‖ = 1 and of σ_min(φ(F W)). The Gaussian Poincaré inequality
    gives Var h² ≤ 4Λ² E h². inf where sup |φ′| is not known.
    """
    M = i.slope
    if M is None:
        return math.inf
    norm_sq = float(torch.linalg.matrix_norm(i.F(l - 1), 2)) ** 2
    slope_sq = M**2 * (i.beta[l] ** 2 * norm_sq + i.N * (i.network.bias_std or 0.0) ** 2)
    return 2 * math.sqrt(slope_sq * max(mean, 0.0) / draws)


def monte_carlo(i: Instance, k: Layers, v: Tensor, purpose: str, expected: float) -> Quantity:
    """E_g⟨φ(Xg), v⟩² by ``i.samples`` draws of the first layer's column, claimed ``expected``.

    Near the null space a few large draws carry the mean, and the sample's own variance misses them.
    """
    draws = torch.randn(i.d, i.samples, generator=i.generator(purpose), dtype=torch.float64)
    z = i.X @ draws * i.beta[1]
    bias = i.network.bias_std
    if bias:
        z = z + bias * torch.randn(i.samples, generator=i.generator(purpose + " b")).double()
    values = (v @ k.phi(z)).square()
    sampled = float(values.std()) / math.sqrt(len(values)) if len(values) > 1 else math.inf
    return Quantity(float(values.mean()), 0.0,
                    max(sampled, square_spread(i, 1, expected, len(values))))  # fmt: skip
