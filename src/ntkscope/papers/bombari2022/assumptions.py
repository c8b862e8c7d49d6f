"""Bombari et al. 2022, Assumptions 2.1-2.5."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ntkscope.data import BinaryCube, Gaussian
from ntkscope.papers.bombari2022 import PAPER
from ntkscope.papers.bombari2022.hypotheses import lipschitz_activation
from ntkscope.spectra.smallest import smallest_eigenvalue
from ntkscope.statements.findings import Findings
from ntkscope.statements.instance import Instance, NotComputable
from ntkscope.statements.quantity import Quantity, U, rounded, sample_mean
from ntkscope.statements.shared import assumptions


def topology(i: Instance, out: Findings) -> None:
    """Assumption 2.4 with the constant that this network needs."""
    for l in range(1, i.L):
        out.order_of(f"Assumption 2.4: n_{l} = O(n_{l - 1})", i.n[l], i.n[l - 1], at_least=False)


def overparameterization(i: Instance, out: Findings) -> None:
    """Assumption 2.5: eq. 4 and 5.

    Eq. 4 with a constant of at most 1 asks for more than N ≤ n_(L-2) n_(L-1), which can be tested.
    """
    pairs, log = i.n[i.L - 2] * i.n[i.L - 1], math.log(i.N)
    out.order_of("eq. 4: N log⁸N = o(n_(L-2) n_(L-1))", i.N * log**8, pairs, at_least=False)
    out.hypothesis("eq. 4 implies N ≤ n_(L-2) n_(L-1)", pairs >= i.N, i.N, pairs,
                   "beyond it K_(L-2) is singular")  # fmt: skip
    out.order_of("eq. 5: log n_(L-1) = Ω(log N), that is N^γ = O(n_(L-1)), γ > 0",
                 math.log(i.n[i.L - 1]), log, at_least=True,
                 note="the constant is the largest γ")  # fmt: skip


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
    x = i.reference
    squares = x.square().sum(dim=1)
    mean, square = squares.sqrt().mean(), squares.mean()
    centred = (x - x.mean(dim=0)).square().sum(dim=1).mean()
    length = len(x) + i.d + 4
    out.at_most("(E‖x‖)² ≤ E‖x‖²", rounded(mean**2, length), rounded(square, length), key="jensen",
                tautology=True)  # fmt: skip
    out.at_most("E‖x − Ex‖² ≤ E‖x‖²", rounded(centred, length), rounded(square, length),
                key="variance", tautology=True)  # fmt: skip
    norms = squares.sqrt()
    out.conclusion("E‖x‖", sample_mean(norms), "Θ", math.sqrt(i.d), "√d", key="norm")
    out.conclusion("E‖x‖²", sample_mean(squares), "Θ", i.d, "d", key="norm-sq")
    out.conclusion("E‖x − Ex‖²", sample_mean((x - x.mean(dim=0)).square().sum(dim=1)), "Ω", i.d,
                   "d", key="centred-norm-sq")  # fmt: skip
    out.note(i.reference_note)


@PAPER.statement(
    "assumption-2.2",
    title="Lipschitz concentration",
    section="Assumption 2.2",
    sentence="Every 1-Lipschitz function of x is subgaussian with a constant free of the dimension.",
    latex=r"\mathbb{P}\big(|\varphi(x)-\mathbb{E}\varphi|>t\big)\le 2e^{-ct^2/\|\varphi\|_{\mathrm{Lip}}^2}",
    needs=(),
    level2="Var φ(x) ≤ the law's Poincaré constant, and for Gaussian data the tail at t = 2, of five functions",
)
def lipschitz_concentration(i: Instance, out: Findings) -> None:
    assumptions.concentration(i, out)
    constant = assumptions.poincare(i.distribution)
    for name, values in _one_lipschitz(i).items():
        variance = sample_variance(values)
        if constant is not None:
            out.at_most(f"Var {name} ≤ {constant:.3g}", variance, constant, key="poincare", h=name)
        out.conclusion(f"standard deviation of {name}", variance.sqrt(), "O", 1.0, "1",
                       key="deviation", h=name)  # fmt: skip
        if isinstance(i.distribution, Gaussian):
            # c = 1/2 for Gaussian data; the mean is sampled, so its 6σ are added to t = 2
            bar = 2 + 6 * sample_mean(values).spread
            inside = int(((values - values.mean()).abs() <= bar).sum())
            out.event(f"|{name} − its mean| ≤ 2", inside, len(values), 1 - 2 * math.exp(-2),
                      "1 − 2e^(−t²/2)", over="data", key="tail", h=name)  # fmt: skip
    if isinstance(i.distribution, BinaryCube):
        out.note(
            "On the binary cube only convex Lipschitz functions concentrate: the distance within the "
            "cube is 1-Lipschitz with a standard deviation of about 0.68 d^(1/4); the distance to the "
            "half-space {⟨1, y⟩ ≤ 0} is convex, and its standard deviation stays bounded."
        )
    out.note(i.reference_note)


def _one_lipschitz(i: Instance) -> dict[str, Tensor]:
    """1-Lipschitz functions of x by name, on the reference points."""
    x = i.reference
    direction = torch.randn(i.d, generator=i.generator("assumption-2.2"), dtype=torch.float64)
    direction /= torch.linalg.vector_norm(direction)
    functions = {
        "‖x‖": torch.linalg.vector_norm(x, dim=1),
        "⟨u, x⟩, u random": x @ direction,
        "max_i x_i": x.amax(dim=1),
        "‖x‖₁/√d": x.abs().sum(dim=1) / math.sqrt(i.d),
        "dist(x, {⟨1, y⟩ ≤ 0})": (x.sum(dim=1) / math.sqrt(i.d)).clamp_min(0.0),
    }
    if isinstance(i.distribution, BinaryCube) and i.distribution.centered:
        # the nearest cube point with Σy ≤ 0 flips ⌈Σx/2⌉ signs, each at distance 2
        flips = torch.ceil(x.sum(dim=1).clamp_min(0.0) / 2)
        functions["dist(x, {y in the cube: ⟨1, y⟩ ≤ 0})"] = 2 * flips.sqrt()
    return functions


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
            out.conclude_at_most(name, left_side, float(allowed.flatten()[at]), key="lipschitz",
                                 of=what, l=l)  # fmt: skip


@PAPER.statement(
    "assumption-2.4",
    title="Loose pyramidal topology",
    section="Assumption 2.4",
    sentence="A layer is at most a constant factor wider than the one before it.",
    latex=r"n_l=\mathcal{O}(n_{l-1}),\quad l\in[L-1]",
    needs=(),
)
def pyramid(i: Instance, out: Findings) -> None:
    for l in range(1, i.L):
        out.conclusion(f"n_{l}", i.n[l], "O", i.n[l - 1], f"n_{l - 1}", key="width", l=l)


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
    pairs = i.n[i.L - 2] * i.n[i.L - 1]
    out.conclusion("N log⁸N", i.N * math.log(i.N) ** 8, "O", pairs, "n_(L-2) n_(L-1)",
                   note="the paper has o(·); log⁸N makes the constant huge at any N that can be run",
                   key="samples-log")  # fmt: skip
    out.conclusion("N", i.N, "O", pairs, "n_(L-2) n_(L-1)", key="samples")
    if pairs < i.N:
        top = i.kernel.term([t.name for t in i.kernel.terms].index(f"W_{i.L - 1}"))
        found = smallest_eigenvalue(top.dense())
        bar = found.error + top.forming_error()
        out.equal("λ_min(K_(L-2)) = 0", Quantity(found.value, bar), 0.0, key="singular",
                  scale=float(top.diagonal().max()), tautology=True)  # fmt: skip
