"""Bombari et al. 2022, §3.1: the three centrings, Theorem 3.2, Proposition 3.3, Theorem 3.4.

F = F̃ + 1·E fᵀ and B = B̃ + 1·E bᵀ give every step an explicit inequality in place of its o(·): with
û = F̃ E f/‖E f‖ and v̂ = B̃ E b/‖E b‖, FFᵀ ⪰ F̃F̃ᵀ − ûûᵀ ⪰ 0, the same for B, and so by Schur
J J ᵀ ⪰ J_FB J_FBᵀ − D_û B̃B̃ᵀ D_û − D_v̂ F̃F̃ᵀ D_v̂.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ntkscope._base import memory
from ntkscope.papers.bombari2022.setting import SETTING, SOURCE, setting, size
from ntkscope.spectra.smallest import smallest_eigenvalue
from ntkscope.statements.instance import Instance, NotComputable
from ntkscope.statements.quantity import Quantity, U
from ntkscope.statements.statement import Findings, statement

_GROUPS = 8  # of reference points, left out in turn for the standard error of sampled means


@dataclass(frozen=True, eq=False)
class Centred:
    """F = F_(L-2), B = B_(L-1) on ``i.rows``, their means over the data, and all five kernels.

    points: the reference points that sampled means are taken over; all of them by default.
    """

    i: Instance
    points: Tensor | None = None

    @cached_property
    def F(self) -> Tensor:
        return self.i.F(self.i.L - 2)[self.i.rows]

    @cached_property
    def B(self) -> Tensor:
        return self.i.B(self.i.L - 1)[self.i.rows]

    @cached_property
    def F_mean(self) -> Tensor:
        mean, exact = self.i.mean_features(self.i.L - 2)
        return mean if exact else self.reference_F.mean(dim=0)

    def _chosen(self, values: Tensor) -> Tensor:
        return values if self.points is None else values[self.points]

    @cached_property
    def reference_F(self) -> Tensor:
        """F_(L-2) on the reference points (M, n_(L-2))."""
        return self._chosen(self.i.reference_pass[0][self.i.L - 2])

    @cached_property
    def reference_B(self) -> Tensor:
        """B_(L-1) = D_L φ′(g_(L-1)) on the reference points (M, n_(L-1))."""
        g = self._chosen(self.i.reference_pass[1][self.i.L - 2])
        alpha = self.i.network.residual or 1.0
        return alpha * self.i.network.activation.derivative(g) * self.i.weight(self.i.L)[:, 0]

    @cached_property
    def B_mean(self) -> Tensor:
        return self.reference_B.mean(dim=0)

    @cached_property
    def Ft(self) -> Tensor:
        """F̃ = F − E F."""
        return self.F - self.F_mean

    @cached_property
    def Bt(self) -> Tensor:
        """B̃ = B − E B."""
        return self.B - self.B_mean

    @cached_property
    def reference(self) -> tuple[Tensor, Tensor]:
        """(F̃, B̃) on the reference points."""
        return self.reference_F - self.F_mean, self.reference_B - self.B_mean

    @cached_property
    def product_mean(self) -> Tensor:
        """E[f̃ ⊗ D_L φ̃′] as a matrix (n_(L-2), n_(L-1))."""
        F, B = self.reference
        return F.T @ B / len(F)

    @cached_property
    def along(self) -> Tensor:
        """⟨f̃_i ⊗ b̃_i, E[f̃ ⊗ b̃]⟩ for every row (N,)."""
        return ((self.Ft @ self.product_mean) * self.Bt).sum(dim=1)

    @property
    def product_mean_sq(self) -> float:
        return float(self.product_mean.square().sum())

    @cached_property
    def _cache(self) -> dict[Any, Any]:
        return {}

    def _held(self, key: Any, make: Callable[[], Any]) -> Any:
        if key not in self._cache:
            self._cache[key] = make()
        return self._cache[key]

    def kernel(self, name: str) -> Tensor:
        """``J``, ``F`` (features centred), ``B`` (signals centred), ``FB`` (both), ``full`` (eq. 11)."""

        def make() -> Tensor:
            N = len(self.F)
            memory.require(24.0 * N * N, "a centred kernel", "use fewer samples")
            F = self.Ft if name in ("F", "FB", "full") else self.F
            B = self.Bt if name in ("B", "FB", "full") else self.B
            K = (F @ F.T) * (B @ B.T)
            if name == "full":
                K = K - self.along[:, None] - self.along[None, :] + self.product_mean_sq
            return (K + K.T) / 2

        return self._held(("kernel", name), make)

    @cached_property
    def rounding(self) -> float:
        """‖·‖₂ error of any of the kernels, and of the identities between them.

        A row of J̃ is f̃ ⊗ b̃ − μ; μ is the larger of the two where the row's neurons are dead.
        """
        f = torch.linalg.vector_norm(self.F, dim=1) + torch.linalg.vector_norm(self.F_mean)
        b = torch.linalg.vector_norm(self.B, dim=1) + torch.linalg.vector_norm(self.B_mean)
        length = self.F.shape[1] + self.B.shape[1] + 8
        return 8 * length * U * float((f * b + math.sqrt(self.product_mean_sq)).square().sum())

    def smallest(self, name: str) -> Quantity:
        """λ_min of a kernel, with the error of forming it."""

        def make() -> Quantity:
            found = smallest_eigenvalue(self.kernel(name))
            return Quantity(found.value, found.error + self.rounding)

        return self._held(("λ", name), make)

    def sampled(self, name: str) -> Quantity:
        """λ_min of a kernel with its standard error from the sampled means (jackknife)."""

        def make() -> Quantity:
            value, M = self.smallest(name), len(self.i.reference)
            G = min(_GROUPS, M)
            if G < 2:
                return Quantity(value.value, value.error, math.inf)
            found = []
            for g in range(G):
                rest = Centred(self.i, torch.nonzero(torch.arange(M) % G != g)[:, 0])
                found.append(float(torch.linalg.eigvalsh(rest.kernel(name))[0]))
            mean = sum(found) / G
            variance = (G - 1) / G * sum((x - mean) ** 2 for x in found)
            return Quantity(value.value, value.error, math.sqrt(variance))

        return self._held(("sampled", name), make)

    def difference(self, left: Tensor, right: Tensor) -> Quantity:
        """λ_min(left − right)."""
        found = smallest_eigenvalue(left - right)
        return Quantity(found.value, found.error + 2 * self.rounding)

    def along_mean(self, centred: Tensor, mean: Tensor) -> Tensor:
        """⟨row, mean/‖mean‖⟩; 0 for a zero mean."""
        norm = torch.linalg.vector_norm(mean)
        return centred @ (mean / norm) if float(norm) > 0 else torch.zeros(len(centred)).double()

    @cached_property
    def step_a_loss(self) -> Quantity:
        """max û² ‖B̃‖² + max v̂² ‖F̃‖²: what step (a) may cost."""
        u, v = self.along_mean(self.Ft, self.F_mean), self.along_mean(self.Bt, self.B_mean)
        F, B = (float(torch.linalg.matrix_norm(m, 2)) ** 2 for m in (self.Ft, self.Bt))
        value = float(u.square().max()) * B + float(v.square().max()) * F
        return Quantity(value, 8 * (self.F.shape[1] + self.B.shape[1]) * U * value)

    @cached_property
    def step_b_loss(self) -> Quantity:
        """‖a/m − m1‖², a_i = ⟨f̃_i⊗b̃_i, μ⟩, m = ‖μ‖, μ = E[f̃⊗b̃]: what step (b) may cost."""
        m_sq = self.product_mean_sq
        if m_sq == 0:
            return Quantity(0.0)
        value = float((self.along - m_sq).square().sum()) / m_sq
        return Quantity(value, 8 * (self.F.shape[1] + self.B.shape[1]) * U * value)


def centred(i: Instance) -> Centred:
    """The centred quantities of an instance, computed once."""
    return i.held("bombari centred", lambda: Centred(i))


def begin(i: Instance, out: Findings) -> Centred:
    """The assumptions, how expectations were taken, and the centred quantities."""
    setting(i, out)
    out.note(i.reference_note)
    return centred(i)


@statement(
    "bombari2022.eq-11",
    title="The centred Jacobian",
    source=f"{SOURCE}, eq. 11",
    sentence="J̃ has rows f̃ ⊗ D_Lφ̃′ minus their mean; its rows have mean 0 over the data.",
    latex=r"(\tilde J_{L-2})_i=\tilde f\otimes D_L\tilde\phi'-\mathbb{E}_x[\tilde f\otimes D_L\tilde\phi']",
    needs=SETTING,
    level2="J̃J̃ᵀ = J_FBJ_FBᵀ − a1ᵀ − 1aᵀ + ‖μ‖²11ᵀ ⪰ 0, against rows formed one by one",
)
def centred_jacobian(i: Instance, out: Findings) -> None:
    c = begin(i, out)
    out.at_least("λ_min(J̃J̃ᵀ) ≥ 0", c.smallest("full"), 0.0)
    rows = [
        (torch.outer(c.Ft[k], c.Bt[k]) - c.product_mean).reshape(-1)
        for k in range(min(3, len(c.F)))
    ]
    for a, left in enumerate(rows):
        for b in range(a, len(rows)):
            direct = Quantity(float(left @ rows[b]), c.rounding)
            fast = Quantity(float(c.kernel("full")[a, b]), c.rounding)
            out.equal(f"(J̃J̃ᵀ)_{a + 1}{b + 1} from its rows", fast, direct)


@statement(
    "bombari2022.centering-a",
    title="Step (a): centring features and signals together",
    source=f"{SOURCE}, §3.1, step (a) (Lemma D.1)",
    sentence="λ_min(JJᵀ) is at least λ_min(J_FBJ_FBᵀ) minus something smaller than n_(L-2) n_(L-1).",
    latex=r"\lambda_{\min}(J_{L-2}J_{L-2}^\top)\ge\lambda_{\min}(\tilde J_{FB}\tilde J_{FB}^\top)-o(n_{L-2}n_{L-1})",
    needs=SETTING,
    level2="λ_min(JJᵀ) ≥ λ_min(J_FBJ_FBᵀ) − max û²‖B̃‖² − max v̂²‖F̃‖²; JJᵀ ⪰ F̃PF̃ᵀ ∘ B̃QB̃ᵀ",
)
def step_a(i: Instance, out: Findings) -> None:
    c = begin(i, out)
    out.at_least("λ_min(JJᵀ) ≥ λ_min(J_FBJ_FBᵀ) − max û²‖B̃‖² − max v̂²‖F̃‖²", c.smallest("J"),
                 c.smallest("FB") - c.step_a_loss)  # fmt: skip
    u, v = c.along_mean(c.Ft, c.F_mean), c.along_mean(c.Bt, c.B_mean)
    projected = (c.Ft @ c.Ft.T - torch.outer(u, u)) * (c.Bt @ c.Bt.T - torch.outer(v, v))
    out.at_least("λ_min(JJᵀ − F̃PF̃ᵀ ∘ B̃QB̃ᵀ) ≥ 0", c.difference(c.kernel("J"), projected), 0.0,
                 note="P, Q project orthogonally to the means")  # fmt: skip
    loss = c.sampled("FB") - c.smallest("J")
    out.scaling("λ_min(J_FBJ_FBᵀ) − λ_min(JJᵀ)", loss, "O", size(i), "β_L² n_(L-2) n_(L-1)",
                note="the paper has o(·)")  # fmt: skip
    out.scaling("explicit loss", c.step_a_loss, "O", size(i), "β_L² n_(L-2) n_(L-1)")
    _difference_note(out, c, "FB")


def _difference_note(out: Findings, c: Centred, name: str) -> None:
    gap = c.difference(c.kernel("J"), c.kernel(name))
    if gap.value < -gap.error:
        out.note(
            f"JJᵀ does not dominate its centred version: λ_min of the difference is {gap.value:.4g}."
        )


@statement(
    "bombari2022.centering-b",
    title="Step (b): centring everything",
    source=f"{SOURCE}, §3.1, step (b) (Lemma D.2)",
    sentence="λ_min(J_FBJ_FBᵀ) is at least λ_min(J̃J̃ᵀ) minus something smaller than n_(L-2) n_(L-1).",
    latex=r"\lambda_{\min}(\tilde J_{FB}\tilde J_{FB}^\top)\ge\lambda_{\min}(\tilde J\tilde J^\top)-o(n_{L-2}n_{L-1})",
    needs=SETTING,
    level2="J_FBJ_FBᵀ = J̃J̃ᵀ + pp ᵀ − qqᵀ with q = a/m − m1, so λ_min drops by at most ‖q‖²",
)
def step_b(i: Instance, out: Findings) -> None:
    c = begin(i, out)
    out.at_least("λ_min(J_FBJ_FBᵀ) ≥ λ_min(J̃J̃ᵀ) − ‖a/m − m1‖²", c.smallest("FB"),
                 c.smallest("full") - c.step_b_loss)  # fmt: skip
    m = math.sqrt(c.product_mean_sq)
    if m > 0:
        p = c.along / m
        q = p - m
        rebuilt = c.kernel("full") + torch.outer(p, p) - torch.outer(q, q)
        error = float((rebuilt - c.kernel("FB")).abs().max())
        # p and q are large where m is small, and their difference cancels
        bar = c.rounding + 16 * U * float(p.abs().max() + m) ** 2
        out.equal("J_FBJ_FBᵀ − (J̃J̃ᵀ + ppᵀ − qqᵀ), largest entry", Quantity(error, bar), 0.0)
    out.scaling("λ_min(J̃J̃ᵀ) − λ_min(J_FBJ_FBᵀ)", c.sampled("full") - c.sampled("FB"), "O",
                size(i), "β_L² n_(L-2) n_(L-1)", note="the paper has o(·)")  # fmt: skip
    out.scaling("explicit loss", c.step_b_loss, "O", size(i), "β_L² n_(L-2) n_(L-1)")


@statement(
    "bombari2022.theorem-3.2",
    title="Jacobian centring",
    source=f"{SOURCE}, Theorem 3.2, eq. 12",
    sentence="λ_min(JJᵀ) is at least λ_min(J̃J̃ᵀ) minus something smaller than n_(L-2) n_(L-1).",
    latex=r"\lambda_{\min}(J_{L-2}J_{L-2}^\top)\ge\lambda_{\min}(\tilde J_{L-2}\tilde J_{L-2}^\top)-o(n_{L-2}n_{L-1})",
    needs=SETTING,
    level2="the two explicit losses of steps (a) and (b) together",
)
def jacobian_centring(i: Instance, out: Findings) -> None:
    c = begin(i, out)
    loss = c.step_a_loss + c.step_b_loss
    out.at_least("λ_min(JJᵀ) ≥ λ_min(J̃J̃ᵀ) − both losses", c.smallest("J"),
                 c.smallest("full") - loss)  # fmt: skip
    names = {"J": "J", "FB": "J_FB", "full": "J̃"}
    rows = [
        (label, c.smallest(n).value, c.smallest(n).value / size(i)) for n, label in names.items()
    ]
    out.table("The three Jacobians", ("Jacobian", "λ_min", "λ_min/(β_L² n_(L-2) n_(L-1))"), rows)
    out.scaling("λ_min(J̃J̃ᵀ) − λ_min(JJᵀ)", c.sampled("full") - c.smallest("J"), "O", size(i),
                "β_L² n_(L-2) n_(L-1)", note="the paper has o(·)")  # fmt: skip
    _difference_note(out, c, "full")


@statement(
    "bombari2022.centering-compared",
    title="Features only, signals only, both at once",
    source=f"{SOURCE}, §3.1, step (a)",
    sentence=(
        "Centring features and signals at once changes the kernel by far less than its mean "
        "directions do when only one of the two is centred."
    ),
    latex=r"\|F\!F^\top\!\circ BB^\top-\tilde F\tilde F^\top\!\circ\tilde B\tilde B^\top\|\ \text{against}\ \tilde F\tilde F^\top\!\circ BB^\top,\ F\!F^\top\!\circ\tilde B\tilde B^\top",
    needs=SETTING,
    level2="Weyl: λ_min(JJᵀ) ≥ λ_min(centred) + λ_min(JJᵀ − centred) for each of the three",
)
def compared(i: Instance, out: Findings) -> None:
    c = begin(i, out)
    labels = {"F": "features only", "B": "signals only", "FB": "both", "full": "both and the rows"}
    rows = [("none", c.smallest("J").value, 0.0, 0.0)]
    for name, label in labels.items():
        difference = c.kernel("J") - c.kernel(name)
        low = c.difference(c.kernel("J"), c.kernel(name))
        out.at_least(f"λ_min(JJᵀ) ≥ λ_min({label}) + λ_min(difference)", c.smallest("J"),
                     c.smallest(name) + low)  # fmt: skip
        top = float(torch.linalg.eigvalsh(difference)[-1])
        rows.append((label, c.smallest(name).value, low.value, top))
    out.table("Centred", ("what is centred", "λ_min", "λ_min of the difference",
              "λ_max of the difference"), rows)  # fmt: skip
    out.note("A negative entry in the third column: JJᵀ does not dominate that centred kernel.")


@statement(
    "bombari2022.proposition-3.3",
    title="Rows with bounded sub-exponential norm",
    source=f"{SOURCE}, Proposition 3.3, eq. 13-14",
    sentence="λ_min(J̃J̃ᵀ) ≥ η_min² − Δ with Δ = C ξ² N^(1/4) (n_(L-1) n_(L-2))^(3/4).",
    latex=r"\lambda_{\min}(\tilde J\tilde J^\top)\ge\eta_{\min}^2-C\xi^2N^{1/4}(n_{L-1}n_{L-2})^{3/4}",
    needs=SETTING,
    level2="Gershgorin: min_i(η_i² − Σ_j|⟨J̃_i, J̃_j⟩|) ≤ λ_min(J̃J̃ᵀ) ≤ η_min²",
)
def restricted_isometry(i: Instance, out: Findings) -> None:
    c = begin(i, out)
    K = c.kernel("full")
    eta_sq = K.diagonal()
    eta_min, eta_max = float(eta_sq.min().clamp_min(0)), float(eta_sq.max())
    value = c.smallest("full")
    out.at_most("λ_min(J̃J̃ᵀ) ≤ η_min²", value, Quantity(eta_min, c.rounding))
    off = K.abs().sum(dim=1) - eta_sq.abs()
    gershgorin = Quantity(float((eta_sq - off).min()), c.rounding * len(K))
    out.at_least("λ_min(J̃J̃ᵀ) ≥ min_i (η_i² − Σ_(j≠i) |⟨J̃_i, J̃_j⟩|)", value, gershgorin)
    psi = sub_exponential_norm(c)
    n = i.n[i.L - 2] * i.n[i.L - 1]
    xi = psi + math.sqrt(eta_max / n)
    delta = xi**2 * len(K) ** 0.25 * n**0.75
    out.scaling("η_min²", eta_min, "Ω", size(i), "β_L² n_(L-2) n_(L-1)")
    out.scaling("η_max²", eta_max, "O", size(i), "β_L² n_(L-2) n_(L-1)")
    out.scaling("ψ, from below", psi, "O", i.beta[i.L], "β_L",
                note="the largest over the directions tried; the supremum may be larger")  # fmt: skip
    out.scaling("η_min² − λ_min(J̃J̃ᵀ)", eta_min - value, "O", delta, "ξ² N^(1/4) (nn)^(3/4)",
                note="the constant C that this instance needs, with K = 1 and K′ = η_max/√(nn)")  # fmt: skip
    out.table("Eq. 13", ("ψ, from below", "η_min", "η_max", "ξ = ψ + η_max/√(nn)", "Δ at C = 1",
              "η_min² − Δ", "λ_min(J̃J̃ᵀ)"), [(psi, math.sqrt(eta_min), math.sqrt(eta_max), xi, delta,
              eta_min - delta, value.value)])  # fmt: skip
    if delta:
        needed = max(0.0, (eta_min - value.value) / delta)
        out.note(f"C = {needed:.4g} makes eq. 13 an equality here; the paper leaves C open.")


def sub_exponential_norm(c: Centred) -> float:
    """max over directions tried of ‖⟨J̃_x, u⟩‖_ψ1 over the reference points: a lower estimate of ψ.

    Directions: rank-one random and leading ones, dense random ones, μ, and J̃ᵀv of the smallest
    eigenvector.
    """
    F, B = (m[:2048] for m in c.reference)
    mean = c.product_mean
    generator = c.i.generator("proposition-3.3")
    shape = tuple(mean.shape)
    directions = [torch.randn(shape, generator=generator).double() for _ in range(3)]
    _, vectors = torch.linalg.eigh(c.kernel("full"))
    directions.append((c.Ft * vectors[:, :1]).T @ c.Bt)
    if c.product_mean_sq > 0:
        directions.append(mean)
    norms = []
    for U_ in directions:
        U_ = U_ / torch.linalg.matrix_norm(U_, "fro").clamp_min(1e-300)
        norms.append(psi1(((F @ U_) * B).sum(dim=1) - float((mean * U_).sum())))
    lead_f, lead_b = (torch.linalg.eigh(m.T @ m)[1][:, -1] for m in (F, B))
    for index in range(17):
        p = lead_f if index == 0 else torch.randn(shape[0], generator=generator).double()
        q = lead_b if index == 0 else torch.randn(shape[1], generator=generator).double()
        p, q = p / torch.linalg.vector_norm(p), q / torch.linalg.vector_norm(q)
        norms.append(psi1((F @ p) * (B @ q) - float(p @ mean @ q)))
    return max(norms)


def psi1(values: Tensor) -> float:
    """inf {t > 0: mean exp(|y|/t) ≤ 2} of a sample, by bisection."""
    size = values.abs()
    top = float(size.max())
    if top == 0:
        return 0.0
    low, high = top / 700.0, 2.0 * top  # at 2·top every exponential is below 2
    for _ in range(80):
        middle = math.sqrt(low * high)
        if float(torch.exp(size / middle).mean()) <= 2.0:
            high = middle
        else:
            low = middle
    return high


@statement(
    "bombari2022.theorem-3.4",
    title="The centred Jacobian is well conditioned",
    source=f"{SOURCE}, Theorem 3.4, eq. 15",
    sentence="λ_min(J̃J̃ᵀ) is at least of order n_(L-2) n_(L-1).",
    latex=r"\lambda_{\min}(\tilde J_{L-2}\tilde J_{L-2}^\top)=\Omega(n_{L-2}n_{L-1})",
    needs=SETTING,
    level2="0 ≤ λ_min(J̃J̃ᵀ) ≤ η_min²; a success rate over fresh data",
)
def well_conditioned(i: Instance, out: Findings) -> None:
    c = begin(i, out)
    value = c.smallest("full")
    diagonal = Quantity(float(c.kernel("full").diagonal().min()), c.rounding)
    out.at_least("λ_min(J̃J̃ᵀ) ≥ 0", value, 0.0)
    out.at_most("λ_min(J̃J̃ᵀ) ≤ η_min²", value, diagonal)
    measured = c.sampled("full")
    out.scaling("λ_min(J̃J̃ᵀ)", measured, "Ω", size(i), "β_L² n_(L-2) n_(L-1)")
    out.scaling("λ_min(J̃J̃ᵀ)", measured, "Ω", diagonal.value, "η_min²")
    if i.distribution is None:
        out.note("Fresh data need the distribution.")
        return
    if value.value <= 0:
        raise NotComputable("λ_min(J̃J̃ᵀ) is 0 here, so no rate over fresh data can be compared")
    met, trials = 0, min(i.trials, 5)
    for trial in range(trials):
        X = i.distribution.sample(i.N, i.generator(f"theorem-3.4 {trial}"))
        met += _fresh(i, c, X) >= 0.5 * value.value
    out.rate("λ_min(J̃J̃ᵀ) ≥ half of this instance's, over fresh data", met, trials,
             note="the paper's probability has unstated constants")  # fmt: skip


def _fresh(i: Instance, c: Centred, X: Tensor) -> float:
    """λ_min(J̃J̃ᵀ) on other data, the same weights and means."""
    with torch.no_grad():
        features, preactivations = i.model.layers(X.to(i.model.dtype))
    alpha = i.network.residual or 1.0
    slope = i.network.activation.derivative(preactivations[i.L - 2])
    F = features[i.L - 2] - c.F_mean
    B = alpha * slope * i.weight(i.L)[:, 0] - c.B_mean
    along = ((F @ c.product_mean) * B).sum(dim=1)
    K = (F @ F.T) * (B @ B.T) - along[:, None] - along[None, :] + c.product_mean_sq
    return float(torch.linalg.eigvalsh((K + K.T) / 2)[0])
