"""Banerjee et al. 2023: λ_l, variances, Hermite coefficients and constants, layer by layer."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ntkscope.activations.hermite import Coefficients, hermite_coefficients
from ntkscope.papers.banerjee2023.hypotheses import Setting, initialized
from ntkscope.spectra.smallest import smallest_eigenvalue
from ntkscope.statements.eigenvalues import power_eigenvalue
from ntkscope.statements.instance import Instance, NotComputable
from ntkscope.statements.quantity import Quantity, U
from ntkscope.statements.shared.expected import expected_gram

ORDERS = (1, 2, 3, 4, 5, 6, 7)  # the r that are run; tanh has μ_r = 0 at even r


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

    def event(self, l: int) -> bool:
        """Lemma 4.1's event on this instance: λ_min(A^(l)A^(l)ᵀ) ≥ m_l λ_l/4."""
        left, right = self.i.lambda_features(l), self.smallest(l) * (self.i.n[l] / 4)
        return left.value - left.error >= right.value + right.error

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

    def best(self, l: int, printed: bool) -> tuple[int, Quantity]:
        """(r > 1, constant) of the largest c_0^{(l,r)}, printed or corrected."""
        constant = self.printed if printed else self.corrected
        pairs = [(r, constant(l, r)) for r in ORDERS if r > 1]
        return max(pairs, key=lambda p: p[1].value)


def layers(i: Instance) -> Layers:
    """The layers of an instance, computed once. Raises NotComputable for residual networks."""
    return i.held("banerjee layers", lambda: Layers(i))


def as_printed(i: Instance) -> bool:
    """Whether the constants printed for their network speak of this one: its units and its ν_0."""
    return i.network.parameterization == "ntk" and initialized(i.network).holds is True


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
