"""Banerjee, Cisneros-Velarde, Zhu and Belkin 2023: the setting, Assumptions 1-2, λ_l, Theorem 4.1.

They count hidden layers as L, write m_l for widths, A^(l) for F_l and v for the last layer; here L
counts all layers, so their L is L − 1. λ_l is λ_min of E_g[φ(A^(l-1)g/√m)φ(A^(l-1)g/√m)ᵀ] given the
layer before, l = 1, …, L − 1; g ~ N(0, ν_l² I), and ν_l²/m_(l-1) is the variance of the weights as
the forward pass applies them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from ntkscope._base.specs import parse_spec
from ntkscope.activations.hermite import Coefficients, hermite_coefficients, second_moment
from ntkscope.networks import initialization as rules
from ntkscope.networks.network import Network
from ntkscope.spectra.smallest import smallest_eigenvalue
from ntkscope.statements import needs
from ntkscope.statements.instance import Instance, NotComputable, power_eigenvalue
from ntkscope.statements.quantity import Quantity, U, quantity
from ntkscope.statements.shared.expected import expected_gram
from ntkscope.statements.statement import Findings, statement
from ntkscope.statements.verdict import Hypothesis

SOURCE = "Banerjee et al. 2023"
ORDERS = (1, 2, 3, 4, 5, 6, 7)  # the r that are run; tanh has μ_r = 0 at even r


def smooth_activation(net: Network) -> Hypothesis:
    """Assumption 1: |φ′| ≤ 1 and |φ″| ≤ β_φ."""
    phi = net.activation
    M, bend = phi.lipschitz, phi.lipschitz_derivative
    name = "Assumption 1: |φ′| ≤ 1, |φ″| ≤ β_φ"
    if M is None or bend is None:
        return Hypothesis(name, None, note=f"the constants of {phi} are not known")
    note = f"sup |φ″| = {bend:.4g}" if math.isfinite(bend) else f"{phi}: φ′ jumps"
    return Hypothesis(name, M <= 1.0 and math.isfinite(bend), M, 1.0, note=note)


def zero_at_zero(net: Network) -> Hypothesis:
    """φ(0) = 0."""
    value = net.activation.at_zero
    return Hypothesis("φ(0) = 0", value == 0.0, value, 0.0)


def equal_widths(net: Network) -> Hypothesis:
    """m_1 = … = m_L."""
    hidden = net.widths[1:-1]
    note = "" if len(set(hidden)) == 1 else f"got {list(hidden)}"
    return Hypothesis("hidden layers of one width", len(set(hidden)) == 1, note=note)


def initialized(net: Network) -> Hypothesis:
    """ν_l² = σ_0²/c_{φ,σ0} in every hidden layer."""
    name = "W^(l) ~ N(0, ν_0²), ν_0² = σ_0²/c_(φ,σ0)"
    try:
        s = Setting(net)
        measured = s.nus_sq
    except ValueError as reason:
        return Hypothesis(name, None, note=str(reason).partition(";")[0])
    ok = all(math.isclose(m, s.nu_sq, rel_tol=1e-9) for m in measured) and net.weights == "gaussian"
    return Hypothesis(name, ok, measured[0], s.nu_sq, note="" if ok else f"σ_0² = {s.sigma_sq:g}")


SETTING = (smooth_activation, zero_at_zero, equal_widths, needs.plain, needs.ntk, initialized)


@dataclass(frozen=True)
class Setting:
    """σ_0², c_{φ,σ0}, ν_0² of a network; σ_0² = 1 where its initialization names none."""

    net: Network

    @property
    def sigma_sq(self) -> float:
        init = self.net.init
        if isinstance(init, str) and parse_spec(init).name == "banerjee2023":
            return float(parse_spec(init).options.get("sigma0_sq", 1.0))
        return 1.0

    @cached_property
    def c(self) -> float:
        """c_{φ,σ0} = E φ(z)², z ~ N(0, σ_0²)."""
        return second_moment(self.net.activation, self.sigma_sq)

    @cached_property
    def nu_sq(self) -> float:
        """ν_0² = σ_0²/c."""
        return rules.nu0(self.net.activation, self.sigma_sq) ** 2

    @property
    def nus_sq(self) -> list[float]:
        """ν_1², …, ν_(L-1)² of the network as it is: variance of W^(l) with 1/√m taken out."""
        pairs = zip(self.net.betas, self.net.scales, self.net.widths, strict=False)
        return [(b * s) ** 2 * n for b, s, n in list(pairs)[:-1]]

    def h(self, hidden: int, first: int) -> float:
        """h_C = Σ_{i=first}^{hidden} ν_0^{2i}: from 1 in Remark 4.1, from 0 in Lemma 4.2."""
        return sum(self.nu_sq**k for k in range(first, hidden + 1))


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


def require(i: Instance, out: Findings) -> None:
    """Assumption 2 and the width; Assumption 1 and the initialization belong to the network."""
    norms = i.norms_sq(i.X)
    spread = float((norms / i.d - 1).abs().max())
    out.hypothesis("Assumption 2: ‖x_i‖² = d (largest relative deviation)", spread <= 1e-9, spread,
                   0.0, "" if spread <= 1e-9 else "scale the rows to norm √d")  # fmt: skip
    if i.N > 1:
        width = i.N * math.log(i.N) * math.log((i.L - 1) * i.N / i.delta)
        for l in range(1, i.L):
            out.order_of(f"m_{l} = Ω(n log n log(Ln/δ))", i.n[l], width, at_least=True)


@statement(
    "banerjee2023.assumption-1",
    title="Activation",
    source=f"{SOURCE}, Assumption 1",
    sentence="φ is 1-Lipschitz and β_φ-smooth.",
    latex=r"|\phi'|\le1,\qquad|\phi''|\le\beta_\phi",
    needs=(smooth_activation,),
    level2="|φ′| ≤ M and |φ″| ≤ M′ at every pre-activation of the instance",
)
def assumption_1(i: Instance, out: Findings) -> None:
    phi = i.network.activation
    for what, function, bound in (("φ′", phi.derivative, phi.lipschitz),
                                  ("φ″", phi.second, phi.lipschitz_derivative)):  # fmt: skip
        if bound is None or not math.isfinite(bound):
            out.note(f"{what} has no finite bound: nothing to compare with.")
            continue
        top = max(float(function(i.G(l)).abs().max()) for l in range(1, i.L))
        out.at_most(f"max |{what}| ≤ {bound:.6g}", Quantity(top, 16 * U * (top + 1)), bound)


@statement(
    "banerjee2023.assumption-2",
    title="Data scaling",
    source=f"{SOURCE}, Assumption 2",
    sentence="Every sample has squared norm d.",
    latex=r"\|x_i\|_2^2=d",
)
def assumption_2(i: Instance, out: Findings) -> None:
    require(i, out)
    norms = i.norms_sq(i.X)
    out.scaling("min_i ‖x_i‖²", float(norms.min()), "Θ", i.d, "d")
    out.scaling("max_i ‖x_i‖²", float(norms.max()), "Θ", i.d, "d")


@statement(
    "banerjee2023.remark-3.1",
    title="Other Lipschitz constants",
    source=f"{SOURCE}, Remark 3.1",
    sentence="The analysis holds for ς-Lipschitz φ; the conclusions stay for ς ≤ 1 + o(1) or poly(L).",
    latex=r"|\phi'|\le\varsigma_\phi",
    level2="c_(φ,a) ≤ ς²a for φ(0) = 0, so ν_0 ≥ 1/ς",
)
def remark_3_1(i: Instance, out: Findings) -> None:
    phi, s = i.network.activation, Setting(i.network)
    if phi.lipschitz is None or not math.isfinite(phi.lipschitz):
        raise NotComputable(f"sup |φ′| of {phi} is not known or infinite")
    out.scaling("ς = sup |φ′|", phi.lipschitz, "O", 1.0, "1")
    if phi.at_zero == 0.0:
        bar = 1e-11 * s.sigma_sq * phi.lipschitz**2
        out.at_most("c_(φ,σ0) ≤ ς²σ_0²", Quantity(s.c, bar), phi.lipschitz**2 * s.sigma_sq)
        out.at_least("ν_0 ≥ 1/ς", Quantity(math.sqrt(s.nu_sq), 1e-11), 1 / phi.lipschitz)
    else:
        out.note(f"φ(0) = {phi.at_zero:g}, so c ≤ ς²σ_0² does not follow.")


@statement(
    "banerjee2023.lambda-1",
    title="λ_1, the first expected Gram matrix",
    source=f"{SOURCE}, Theorem 4.1",
    sentence="λ_1 is the smallest eigenvalue of E_g[φ(Xg/√d)φ(Xg/√d)ᵀ], g ~ N(0, ν_0² I).",
    latex=r"\lambda_1=\lambda_{\min}\big(\mathbb{E}_g[\phi(Xg/\sqrt d)\phi(Xg/\sqrt d)^\top]\big)",
    level2="0 ≤ λ_1 ≤ min_i c_(φ,a_i), and Monte Carlo over g on the smallest eigenvector",
)
def lambda_one(i: Instance, out: Findings) -> None:
    k = layers(i)
    matrix, error = k.expected(1)
    value = k.smallest(1)
    out.at_least("λ_1 ≥ 0", value, 0.0)
    out.at_most(
        "λ_1 ≤ min_i E φ(x_iᵀg/√d)²", value, Quantity(float(matrix.diagonal().min()), error)
    )
    vectors = torch.linalg.eigh(matrix)[1]
    for name, v in (("v_min", vectors[:, 0]), ("v_max", vectors[:, -1])):
        form = value if name == "v_min" else Quantity(float(v @ matrix @ v), error)
        mean = monte_carlo(i, k, v, "lambda-1", form.value)
        left = "λ_1" if name == "v_min" else "λ_max"
        out.equal(f"{left} = E_g ⟨φ(Xg/√d), {name}⟩² by Monte Carlo", form, mean)
    for l in range(1, i.L):
        out.scaling(f"λ_{l}", k.smallest(l), "Θ", 1.0, "1")


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


def square_spread(i: Instance, l: int, mean: float, draws: int) -> float:
    """A bound on the standard error of a mean of h² over ``draws`` draws of W_l, E h² = ``mean``.

    h is Λ-Lipschitz in the standard normal entries behind W_l and b_l, Λ² = M²(β_l²‖F_(l-1)‖² +
    N s²): true of ⟨φ(F w), v⟩ at ‖v‖ = 1 and of σ_min(φ(F W)). The Gaussian Poincaré inequality
    gives Var h² ≤ 4Λ² E h². inf where sup |φ′| is not known.
    """
    M = i.network.activation.lipschitz
    if M is None or not math.isfinite(M):
        return math.inf
    norm_sq = float(torch.linalg.matrix_norm(i.F(l - 1), 2)) ** 2
    slope_sq = M**2 * (i.beta[l] ** 2 * norm_sq + i.N * (i.network.bias_std or 0.0) ** 2)
    return 2 * math.sqrt(slope_sq * max(mean, 0.0) / draws)


@statement(
    "banerjee2023.theorem-4.1",
    title="Linear width suffices",
    source=f"{SOURCE}, Theorem 4.1",
    sentence="λ_min(K_ntk) ≥ c_0 λ_1 with c_0 = max_(r>1) c_0^{(L−1,r)}.",
    latex=r"\lambda_{\min}(K_{\mathrm{ntk}}(\cdot;\theta_0))\ge c_0\lambda_1",
    needs=SETTING,
    level2="λ_min(K) ≥ λ_min(A^(L)A^(L)ᵀ)/m, the Schur sum over layers; corrected c_0 on the event",
)
def theorem_4_1(i: Instance, out: Findings) -> None:
    require(i, out)
    k = layers(i)
    value = quantity(i.lambda_K)
    top = i.L - 1
    share = i.network.scales[top] ** 2
    last = i.lambda_features(top) * share
    out.at_least("λ_min(K) ≥ λ_min(A^(L)A^(L)ᵀ)/m", value, last)
    total = last
    for l in range(i.L - 1):
        part = i.lambda_features(l) * i.min_norm_sq(i.B(l + 1))
        total = total + part * i.network.scales[l] ** 2
    out.at_least(
        "λ_min(K) ≥ Σ_l λ_min(A^(l-1)A^(l-1)ᵀ)/m_(l-1) · min‖B_l‖² + the last", value, total
    )
    r, constant = k.best(k.hidden - 1, printed=True)
    if as_printed(i):
        out.at_least(f"λ_min(K) ≥ c_0 λ_1 as printed (r = {r})", value, k.smallest(1) * constant,
                     erratum=True)  # fmt: skip
    else:
        out.note("The printed constant is for the ntk parameterization with ν_0: not compared.")
    r, corrected = k.best(k.hidden - 1, printed=False)
    met = [k.event(l) for l in range(1, i.L)]
    if all(met):
        bound = corrected * k.smallest(1) * (share * i.n[top] / 4)
        out.at_least(f"λ_min(K) ≥ corrected c_0 λ_1 on Lemma 4.1's event (r = {r})", value, bound)
    else:
        out.note(
            f"Lemma 4.1's event fails in layers {[l + 1 for l, m in enumerate(met) if not m]}."
        )
    out.scaling("λ_min(K)", value, "Ω", max(k.smallest(1).value, 1e-300), "λ_1")


@statement(
    "banerjee2023.remark-4.1",
    title="General depth",
    source=f"{SOURCE}, Remark 4.1",
    sentence="Depth enters the width through h_C(L)⁴, which is poly(L) only if ν_0² ≤ 1.",
    latex=r"m=\Omega\big(n\,h_C^4(L)\log n\log(n/\delta)\big),\quad h_C(L)=\sum_{i=1}^L\nu_0^{2i}",
    needs=SETTING,
    level2="φ(0) = 0, |φ′| ≤ 1: ν_0² ≥ 1, so h_C(L) ≥ L with equality for linear φ alone",
)
def remark_4_1(i: Instance, out: Findings) -> None:
    require(i, out)
    s, hidden = Setting(i.network), i.L - 1
    h1, h0 = s.h(hidden, 1), s.h(hidden, 0)
    if i.N > 1:
        width = i.N * h1**4 * math.log(i.N) * math.log(i.N / i.delta)
        for l in range(1, i.L):
            out.order_of(f"m_{l} = Ω(n h_C⁴ log n log(n/δ))", i.n[l], width, at_least=True)
    phi = i.network.activation
    if phi.at_zero == 0.0 and phi.lipschitz is not None and phi.lipschitz <= 1.0:
        out.at_least("h_C(L) ≥ L", Quantity(h1, 1e-10 * h1), float(hidden))
        out.hypothesis("ν_0² ≤ 1, for which h_C(L) = O(L)", s.nu_sq <= 1 + 1e-12, s.nu_sq, 1.0,
                       "ν_0² ≥ 1 always; 1 only in the limit σ_0 → 0 or for linear φ")  # fmt: skip
    out.scaling("h_C(L), i from 1 (Remark 4.1)", h1, "O", float(hidden), "L")
    out.scaling("h_C(L), i from 0 (Lemma 4.2)", h0, "O", float(hidden + 1), "L + 1")
