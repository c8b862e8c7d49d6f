"""Bombari et al. 2022, Assumptions 2.1-2.5."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ntkscope.papers.bombari2022 import PAPER
from ntkscope.papers.bombari2022.hypotheses import lipschitz_activation
from ntkscope.spectra.smallest import smallest_eigenvalue
from ntkscope.statements.findings import Findings
from ntkscope.statements.instance import Instance, NotComputable
from ntkscope.statements.quantity import Quantity, U, rounded
from ntkscope.statements.shared import assumptions


def topology(i: Instance, out: Findings) -> None:
    """Assumption 2.4 with the constant that this network needs."""
    for l in range(1, i.L):
        out.order_of(f"Assumption 2.4: n_{l} = O(n_{l - 1})", i.n[l], i.n[l - 1], at_least=False)


def overparameterization(i: Instance, out: Findings) -> None:
    """Assumption 2.5: eq. 4 and 5."""
    pairs = i.n[i.L - 2] * i.n[i.L - 1]
    out.order_of("eq. 4: N log⁸N = o(n_(L-2) n_(L-1))", i.N * math.log(i.N) ** 8, pairs,
                 at_least=False)  # fmt: skip
    out.hypothesis("N ≤ n_(L-2) n_(L-1), without which K_(L-2) is singular", pairs >= i.N, i.N,
                   pairs)  # fmt: skip
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


@PAPER.statement(
    "assumption-2.1",
    title="Data scaling",
    section="Assumption 2.1",
    sentence="E‖x‖ is of order √d, E‖x‖² of order d, and E‖x − Ex‖² at least of order d.",
    latex=r"\textstyle\int\|x\|\,dP_X=\Theta(\sqrt d),\ \int\|x\|^2dP_X=\Theta(d),\ \int\|x-\mathbb{E}x\|^2dP_X=\Omega(d)",
    needs=(),
    level2="(E‖x‖)² ≤ E‖x‖² and E‖x − Ex‖² ≤ E‖x‖² on the reference points",
)
def data_scaling(i: Instance, out: Findings) -> None:
    assumptions.scaling(i, out)
    x = i.reference
    squares = x.square().sum(dim=1)
    mean, square = squares.sqrt().mean(), squares.mean()
    centred = (x - x.mean(dim=0)).square().sum(dim=1).mean()
    length = len(x) + i.d + 4
    out.at_most("(E‖x‖)² ≤ E‖x‖²", rounded(mean**2, length), rounded(square, length), key="jensen")
    out.at_most("E‖x − Ex‖² ≤ E‖x‖²", rounded(centred, length), rounded(square, length),
                key="variance")  # fmt: skip
    out.scaling("E‖x‖", float(mean), "Θ", math.sqrt(i.d), "√d", key="norm")
    out.scaling("E‖x‖²", float(square), "Θ", i.d, "d", key="norm-sq")
    out.scaling("E‖x − Ex‖²", float(centred), "Ω", i.d, "d", key="centred-norm-sq")
    out.note(i.reference_note)


@PAPER.statement(
    "assumption-2.2",
    title="Lipschitz concentration",
    section="Assumption 2.2",
    sentence="Every 1-Lipschitz function of x is subgaussian with a constant free of the dimension.",
    latex=r"\mathbb{P}\big(|\varphi(x)-\mathbb{E}\varphi|>t\big)\le 2e^{-ct^2/\|\varphi\|_{\mathrm{Lip}}^2}",
    needs=(),
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
            out.at_most(f"Var {name} ≤ 1", variance, 1.0, key="poincare", h=name)
        out.scaling(f"standard deviation of {name}", variance.sqrt(), "O", 1.0, "1",
                    key="deviation", h=name)  # fmt: skip
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


@PAPER.statement(
    "assumption-2.3",
    title="Activation",
    section="Assumption 2.3",
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
        ("φ", phi.phi, i.slope),
        ("φ′", phi.derivative, i.slope_of_derivative),
    ):
        if bound is None:
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
            out.at_most(name, left_side, float(allowed.flatten()[at]), key="lipschitz", of=what,
                        l=l)  # fmt: skip


@PAPER.statement(
    "assumption-2.4",
    title="Loose pyramidal topology",
    section="Assumption 2.4",
    sentence="A layer is at most a constant factor wider than the one before it.",
    latex=r"n_l=\mathcal{O}(n_{l-1}),\quad l\in[L-1]",
    needs=(),
)
def pyramid(i: Instance, out: Findings) -> None:
    topology(i, out)
    for l in range(1, i.L):
        out.scaling(f"n_{l}", i.n[l], "O", i.n[l - 1], f"n_{l - 1}", key="width", l=l)


@PAPER.statement(
    "assumption-2.5",
    title="Over-parameterization",
    section="Assumption 2.5, eq. 4-5",
    sentence="n_(L-2) n_(L-1) exceeds N log⁸N, and n_(L-1) exceeds some power of N.",
    latex=r"N\log^8N=o(n_{L-2}n_{L-1}),\qquad N^\gamma=\mathcal{O}(n_{L-1})",
    needs=(),
    level2="rank K_(L-2) ≤ n_(L-2) n_(L-1), so λ_min(K_(L-2)) = 0 beyond it",
)
def minimum_overparameterization(i: Instance, out: Findings) -> None:
    overparameterization(i, out)
    pairs = i.n[i.L - 2] * i.n[i.L - 1]
    out.scaling("N log⁸N", i.N * math.log(max(i.N, 2)) ** 8, "O", pairs, "n_(L-2) n_(L-1)",
                note="log⁸ makes the constant huge at any N that can be run", key="samples-log")  # fmt: skip
    out.scaling("N", i.N, "O", pairs, "n_(L-2) n_(L-1)", key="samples")
    if pairs < i.N:
        names = [t.name for t in i.kernel.terms]
        term = i.kernel.term(names.index(f"W_{i.L - 1}"))
        found = smallest_eigenvalue(term.dense())
        bar = found.error + term.forming_error()
        out.equal("λ_min(K_(L-2)) = 0", Quantity(found.value, bar), 0.0, key="singular")
