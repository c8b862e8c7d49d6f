"""Bombari, Amani and Mondelli 2022: the assumptions, the kernel and its terms, Theorem 3.1."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ntkscope._base.specs import parse_spec
from ntkscope.networks.network import Network
from ntkscope.spectra.smallest import smallest_eigenvalue
from ntkscope.statements import needs
from ntkscope.statements.instance import Instance, NotComputable
from ntkscope.statements.quantity import Quantity, U, quantity, rounded
from ntkscope.statements.shared import assumptions
from ntkscope.statements.statement import Findings, statement
from ntkscope.statements.verdict import Hypothesis

SOURCE = "Bombari et al. 2022"


def lipschitz_activation(net: Network) -> Hypothesis:
    """Assumption 2.3 as a property of the network: φ nonlinear, φ and φ′ Lipschitz."""
    phi = net.activation
    nonlinear = phi.name != "identity"
    bounds = (phi.lipschitz, phi.lipschitz_derivative)
    known = [b for b in bounds if b is not None]
    holds: bool | None = len(known) == 2 and all(math.isfinite(b) for b in known)
    note = "" if holds else f"{phi}: a Lipschitz constant is infinite"
    if not nonlinear or phi.kinks:
        holds, note = False, f"{phi}: " + ("linear" if not nonlinear else "φ′ jumps")
    elif len(known) < 2:
        holds, note = None, f"{phi}: its constants are not known"
    return Hypothesis(
        "Assumption 2.3: φ is nonlinear, φ and φ′ are Lipschitz (M′)", holds,
        phi.lipschitz_derivative, note=note,
    )  # fmt: skip


def initialization(net: Network) -> Hypothesis:
    """β_l√n_(l-1) for l < L and β_L do not depend on the widths."""
    name = "W_l ~ N(0, β²/n_(l-1)) for l < L and W_L ~ N(0, β_L²), β free of the widths"
    if not isinstance(net.init, str):
        return Hypothesis(name, None, note="the β_l were given as numbers")
    rule = parse_spec(net.init).name
    ok = rule in ("bombari2022", "bombari2022-paired") and net.parameterization == "standard"
    note = "" if ok else (
        "β_L = √(c/n_(L-1)) shrinks with the width" if rule in ("he", "lecun") else f"got {rule}"
    )  # fmt: skip
    return Hypothesis(name, ok, note=note)


SETTING = (lipschitz_activation, needs.plain, needs.standard, needs.gaussian, initialization)


def topology(i: Instance, out: Findings) -> None:
    """Assumption 2.4 with the constant that this network needs."""
    for l in range(1, i.L):
        out.order_of(f"Assumption 2.4: n_{l} = O(n_{l - 1})", i.n[l], i.n[l - 1], at_least=False)


def overparameterization(i: Instance, out: Findings) -> None:
    """Assumption 2.5: eq. 4 and 5."""
    pairs = i.n[i.L - 2] * i.n[i.L - 1]
    out.order_of("eq. 4: N log⁸N = o(n_(L-2) n_(L-1))", i.N * math.log(i.N) ** 8, pairs,
                 at_least=False)  # fmt: skip
    out.hypothesis(
        "N ≤ n_(L-2) n_(L-1), without which K_(L-2) is singular", pairs >= i.N, i.N, pairs
    )
    if i.N > 1:
        gamma = math.log(i.n[i.L - 1]) / math.log(i.N)
        out.hypothesis("eq. 5: N^γ = O(n_(L-1)) for some γ > 0", gamma > 0, gamma, 0.0,
                       "γ = log n_(L-1)/log N")  # fmt: skip


def setting(i: Instance, out: Findings) -> None:
    """Assumptions 2.1, 2.2, 2.4, 2.5; 2.3 and the initialization are properties of the network."""
    assumptions.require(i, out)
    topology(i, out)
    overparameterization(i, out)


def size(i: Instance) -> float:
    """β_L² n_(L-2) n_(L-1), the scale of K_(L-2) in eq. 6 with the last layer's β kept."""
    return i.beta[i.L] ** 2 * i.n[i.L - 2] * i.n[i.L - 1]


@statement(
    "bombari2022.assumption-2.1",
    title="Data scaling",
    source=f"{SOURCE}, Assumption 2.1",
    sentence="E‖x‖ is of order √d, E‖x‖² of order d, and E‖x − Ex‖² at least of order d.",
    latex=r"\textstyle\int\|x\|\,dP_X=\Theta(\sqrt d),\ \int\|x\|^2dP_X=\Theta(d),\ \int\|x-\mathbb{E}x\|^2dP_X=\Omega(d)",
    level2="(E‖x‖)² ≤ E‖x‖² and E‖x − Ex‖² ≤ E‖x‖² on the reference points",
)
def data_scaling(i: Instance, out: Findings) -> None:
    assumptions.scaling(i, out)
    x = i.reference
    squares = x.square().sum(dim=1)
    mean, square = squares.sqrt().mean(), squares.mean()
    centred = (x - x.mean(dim=0)).square().sum(dim=1).mean()
    length = len(x) + i.d + 4
    out.at_most("(E‖x‖)² ≤ E‖x‖²", rounded(mean**2, length), rounded(square, length))
    out.at_most("E‖x − Ex‖² ≤ E‖x‖²", rounded(centred, length), rounded(square, length))
    out.scaling("E‖x‖", float(mean), "Θ", math.sqrt(i.d), "√d")
    out.scaling("E‖x‖²", float(square), "Θ", i.d, "d")
    out.scaling("E‖x − Ex‖²", float(centred), "Ω", i.d, "d")
    out.note(i.reference_note)


@statement(
    "bombari2022.assumption-2.2",
    title="Lipschitz concentration",
    source=f"{SOURCE}, Assumption 2.2",
    sentence="Every 1-Lipschitz function of x is subgaussian with a constant free of the dimension.",
    latex=r"\mathbb{P}\big(|\varphi(x)-\mathbb{E}\varphi|>t\big)\le 2e^{-ct^2/\|\varphi\|_{\mathrm{Lip}}^2}",
    level2="Gaussian data: Var φ(x) ≤ 1 for 1-Lipschitz φ (Poincaré), five functions tried",
)
def lipschitz_concentration(i: Instance, out: Findings) -> None:
    assumptions.concentration(i, out)
    from ntkscope.data import BinaryCube, Gaussian

    x = i.reference
    direction = torch.randn(i.d, generator=i.generator("assumption-2.2"), dtype=torch.float64)
    direction /= torch.linalg.vector_norm(direction)
    trials = {
        "‖x‖": torch.linalg.vector_norm(x, dim=1),
        "⟨u, x⟩, u random": x @ direction,
        "max_i x_i": x.amax(dim=1),
        "‖x‖₁/√d": x.abs().sum(dim=1) / math.sqrt(i.d),
        "dist(x, {⟨1, x⟩ ≤ 0})": (x.sum(dim=1) / math.sqrt(i.d)).clamp_min(0.0),
    }
    if isinstance(i.distribution, BinaryCube) and i.distribution.centered:
        # the nearest cube point with Σx ≤ 0 flips ⌈Σx/2⌉ signs, each at distance 2
        flips = torch.ceil(x.sum(dim=1).clamp_min(0.0) / 2)
        trials["dist(x, {y in the cube: Σy_i ≤ 0})"] = 2 * flips.sqrt()
    for name, values in trials.items():
        variance = sample_variance(values)
        if isinstance(i.distribution, Gaussian):
            out.at_most(f"Var {name} ≤ 1", variance, 1.0)
        out.scaling(f"standard deviation of {name}", variance.sqrt(), "O", 1.0, "1")
    if isinstance(i.distribution, BinaryCube):
        out.note(
            "On the binary cube only convex Lipschitz functions concentrate: the last distance is "
            "1-Lipschitz with a standard deviation that grows like d^(1/4)."
        )
    out.note(i.reference_note)


def sample_variance(values: Tensor) -> Quantity:
    """A sample variance with its standard error, from the fourth moment."""
    n = len(values)
    centred = values - values.mean()
    variance = float(centred.square().sum()) / max(n - 1, 1)
    spread = float(centred.square().std()) / math.sqrt(n) if n > 1 else math.inf
    return Quantity(variance, 4 * n * U * variance, spread)


@statement(
    "bombari2022.assumption-2.3",
    title="Activation",
    source=f"{SOURCE}, Assumption 2.3",
    sentence="φ is nonlinear and M-Lipschitz, and φ′ is M′-Lipschitz.",
    latex=r"|\phi(a)-\phi(b)|\le M|a-b|,\qquad |\phi'(a)-\phi'(b)|\le M'|a-b|",
    needs=(lipschitz_activation,),
    level2="both inequalities between the pre-activations of neighbouring rows, in every layer",
)
def activation(i: Instance, out: Findings) -> None:
    phi = i.network.activation
    probe = torch.linspace(-3, 3, 7, dtype=torch.float64)
    bend = float((phi(probe).diff(n=2)).abs().max())
    out.hypothesis("φ is nonlinear on [−3, 3] (largest second difference)", bend > 1e-12, bend)
    if i.N < 2:
        raise NotComputable("one sample has no neighbour")
    for what, function, bound in (
        ("φ", phi.phi, phi.lipschitz),
        ("φ′", phi.derivative, phi.lipschitz_derivative),
    ):
        if bound is None or not math.isfinite(bound):
            out.note(f"{what} has no finite Lipschitz constant: nothing to compare with.")
            continue
        for l in range(1, i.L):
            left, right = i.G(l)[:-1], i.G(l)[1:]
            moved = (function(left) - function(right)).abs()
            allowed = bound * (left - right).abs()
            at = int((moved - allowed).argmax())
            # near 0 difference the values' own rounding is what remains of the left side
            scale = float(function(left).abs().max() + function(right).abs().max())
            left_side = Quantity(float(moved.flatten()[at]), 16 * U * (scale + 1))
            name = f"|{what}(a) − {what}(b)| ≤ {'M' if what == 'φ' else 'M′'}|a − b|, layer {l}"
            out.at_most(name, left_side, float(allowed.flatten()[at]))


@statement(
    "bombari2022.assumption-2.4",
    title="Loose pyramidal topology",
    source=f"{SOURCE}, Assumption 2.4",
    sentence="A layer is at most a constant factor wider than the one before it.",
    latex=r"n_l=\mathcal{O}(n_{l-1}),\quad l\in[L-1]",
)
def pyramid(i: Instance, out: Findings) -> None:
    topology(i, out)
    for l in range(1, i.L):
        out.scaling(f"n_{l}", i.n[l], "O", i.n[l - 1], f"n_{l - 1}")


@statement(
    "bombari2022.assumption-2.5",
    title="Over-parameterization",
    source=f"{SOURCE}, Assumption 2.5, eq. 4-5",
    sentence="n_(L-2) n_(L-1) exceeds N log⁸N, and n_(L-1) exceeds some power of N.",
    latex=r"N\log^8N=o(n_{L-2}n_{L-1}),\qquad N^\gamma=\mathcal{O}(n_{L-1})",
    level2="rank K_(L-2) ≤ n_(L-2) n_(L-1), so λ_min(K_(L-2)) = 0 beyond it",
)
def minimum_overparameterization(i: Instance, out: Findings) -> None:
    overparameterization(i, out)
    pairs = i.n[i.L - 2] * i.n[i.L - 1]
    out.scaling("N log⁸N", i.N * math.log(max(i.N, 2)) ** 8, "O", pairs, "n_(L-2) n_(L-1)",
                note="log⁸ makes the constant huge at any N that can be run")  # fmt: skip
    out.scaling("N", i.N, "O", pairs, "n_(L-2) n_(L-1)")
    if pairs < i.N:
        names = [t.name for t in i.kernel.terms]
        term = i.kernel.term(names.index(f"W_{i.L - 1}"))
        found = smallest_eigenvalue(term.dense())
        bar = found.error + term.forming_error()
        out.equal("λ_min(K_(L-2)) = 0", Quantity(found.value, bar), 0.0)


@statement(
    "bombari2022.loewner",
    title="The kernel dominates its terms",
    source=f"{SOURCE}, §3.1 after eq. 9",
    sentence="K minus K_(L-2) is positive semidefinite, so λ_min(K) ≥ λ_min(K_(L-2)).",
    latex=r"K\succeq K_{L-2},\qquad \lambda_{\min}(K)\ge\lambda_{\min}(K_{L-2})",
    level2="λ_min(K − K_k) ≥ 0 and λ_min(K) ≥ λ_min(K_k) for every k",
)
def dominates(i: Instance, out: Findings) -> None:
    forming = i.kernel.forming_error()
    names = [t.name for t in i.kernel.terms]
    for k in range(i.L):
        part = i.kernel.term(names.index(f"W_{k + 1}")).dense()
        rest = smallest_eigenvalue(i.K - part)
        bar = rest.error + 2 * forming + 2 * U * float(i.K.diagonal().sum())
        mark = f"K_{k}" + (" = K_(L-2)" if k == i.L - 2 else "")
        out.at_least(f"λ_min(K − {mark}) ≥ 0", Quantity(rest.value, bar), 0.0)
        out.at_least(f"λ_min(K) ≥ λ_min({mark})", i.lambda_K, i.lambda_term(k))


@statement(
    "bombari2022.theorem-3.1",
    title="Smallest eigenvalue under minimum over-parameterization",
    source=f"{SOURCE}, Theorem 3.1, eq. 6-7",
    sentence="λ_min(K) is at least of order n_(L-2) n_(L-1) and at most of order d n_(L-1).",
    latex=r"\lambda_{\min}(K)=\Omega(n_{L-2}n_{L-1}),\qquad \lambda_{\min}(K)=\mathcal{O}(d\,n_{L-1})",
    needs=SETTING,
    level2="λ_min(K_(L-2)) ≤ λ_min(K) ≤ min_i K_ii ≤ K_11",
)
def smallest_eigenvalue_bounds(i: Instance, out: Findings) -> None:
    setting(i, out)
    value = quantity(i.lambda_K)
    out.at_least("λ_min(K) ≥ λ_min(K_(L-2))", value, i.lambda_term(i.L - 2))
    diagonal = i.kernel.diagonal()
    length = max(t.inner for t in i.kernel.terms) + len(i.kernel.terms) + 1
    out.at_most("λ_min(K) ≤ min_i K_ii", value, rounded(diagonal.min(), length))
    out.at_most("λ_min(K) ≤ K_11", value, rounded(diagonal[0], length))
    out.scaling("λ_min(K)", value, "Ω", size(i), "β_L² n_(L-2) n_(L-1)")
    upper = i.beta[i.L] ** 2 * i.d * i.n[i.L - 1]
    out.scaling("λ_min(K)", value, "O", upper, "β_L² d n_(L-1)")
    out.scaling("λ_min(K_(L-2))", i.lambda_term(i.L - 2), "Ω", size(i), "β_L² n_(L-2) n_(L-1)")
    out.note("The paper has β_L constant; it is kept here so that other last layers compare.")


@statement(
    "bombari2022.eq-16",
    title="Upper bound by a diagonal entry",
    source=f"{SOURCE}, eq. 16",
    sentence="λ_min(K) is at most K_11, the squared norm of one sample's gradient.",
    latex=r"\lambda_{\min}(K)\le (JJ^\top)_{11}=\sum_{l=0}^{L-1}\|(F_l)_1\|_2^2\,\|(B_{l+1})_1\|_2^2",
    level2="λ_min(K) ≤ K_ii for all i, K_11 = Σ‖F_l‖²‖B_(l+1)‖² = ‖∇f(x_1)‖² by autograd",
)
def diagonal_bound(i: Instance, out: Findings) -> None:
    setting(i, out)
    diagonal = i.kernel.diagonal()
    length = max(t.inner for t in i.kernel.terms) + len(i.kernel.terms) + 1
    out.at_most("λ_min(K) ≤ min_i K_ii", i.lambda_K, rounded(diagonal.min(), length))
    total = 0.0
    for k in range(i.L):
        f, b = (float(m[0].square().sum()) for m in (i.F(k), i.B(k + 1)))
        bias = b if len(i.model.biases) else 0.0
        total += f * b * i.network.scales[k] ** 2 + bias
        out.scaling(f"‖(F_{k})_1‖²", f, "O", i.n[k], f"n_{k}")
        out.scaling(
            f"‖(B_{k + 1})_1‖²", b, "O",
            i.beta[i.L] ** 2 * i.n[i.L - 1] if k < i.L - 1 else 1.0,
            "β_L² n_(L-1)" if k < i.L - 1 else "1",
        )  # fmt: skip
    exact = rounded(total, 2 * length)
    out.equal("K_11 = Σ_l ‖(F_l)_1‖²‖(B_(l+1))_1‖²", rounded(diagonal[0], length), exact)
    gradient = sum(float(g.square().sum()) for g in gradients(i, 0))
    out.equal(
        "K_11 = ‖∇_θ f(x_1)‖² by autograd", rounded(gradient, autograd_length(i), total), exact
    )
    out.scaling("K_11", total, "O", i.beta[i.L] ** 2 * i.d * i.n[i.L - 1], "β_L² d n_(L-1)")


def gradients(i: Instance, row: int) -> list[Tensor]:
    """∂f(x_row)/∂W_1, …, ∂f/∂W_L and the biases', by autograd."""
    with torch.enable_grad():
        value = i.model(i.X[row : row + 1].to(i.model.dtype))[0, 0]
        found = torch.autograd.grad(value, list(i.model.parameters()), allow_unused=True)
    return [
        torch.zeros_like(p) if g is None else g.detach()
        for g, p in zip(found, i.model.parameters(), strict=True)
    ]


def autograd_length(i: Instance) -> int:
    """Roundings between two ways to the same gradient: every sum of both passes, with φ″."""
    bend = i.network.activation.lipschitz_derivative
    curved = 1.0 + (bend if bend is not None and math.isfinite(bend) else 0.0)
    return int(64 * sum(i.n) * i.L * curved)
