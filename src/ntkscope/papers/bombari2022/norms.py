"""Bombari et al. 2022, §3.1: the norms (i)-(v) of features and signals."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ntkscope.data import Gaussian
from ntkscope.papers.bombari2022 import PAPER
from ntkscope.papers.bombari2022.assumptions import sample_variance, setting
from ntkscope.papers.bombari2022.centred import begin
from ntkscope.papers.bombari2022.rows import squared_mean
from ntkscope.statements.findings import Findings
from ntkscope.statements.hypothesis import Order
from ntkscope.statements.instance import Instance
from ntkscope.statements.kinds import Parameter
from ntkscope.statements.quantity import Quantity, rounded, sample_mean


def poincare_bound(i: Instance, l: int) -> float | None:
    """(Π_{j≤l} M‖W_j‖)², which Var h(f_l) ≤ for 1-Lipschitz h and Gaussian data; None elsewhere."""
    if i.slope is None or not isinstance(i.distribution, Gaussian):
        return None
    total = 1.0
    for j in range(1, l + 1):
        through = i.slope * i.op_norm(j).value
        total *= 1 + abs(i.network.residual) * through if i.network.residual else through
    return total**2


@PAPER.statement(
    "norm-i",
    title="Norms of the features",
    section="§3.1 (i) (Lemma C.1)",
    sentence="‖f_l(x)‖ is of order √n_l for every sample.",
    latex=r"\|f_l(x)\|_2=\Theta(\sqrt{n_l})",
    level2="‖f_l(x)‖ ≤ |φ(0)|√n_l + M‖g_l(x)‖ and ‖g_l(x)‖ ≤ ‖W_l‖‖f_(l-1)(x)‖ (+ ‖b_l‖), every row",
)
def feature_norms(i: Instance, out: Findings) -> None:
    setting(i, out)
    at_zero = abs(i.network.activation.at_zero)
    for l in range(1, i.L):
        f, g, before = (torch.linalg.vector_norm(m, dim=1) for m in (i.F(l), i.G(l), i.F(l - 1)))
        bias = float(i.model.biases[l - 1].detach().norm()) if len(i.model.biases) else 0
        reach = i.op_norm(l).value * before + bias
        worst = int((g - reach).argmax())
        length = 8 * (i.n[l - 1] + i.n[l])
        out.at_most(f"‖g_{l}(x)‖ ≤ ‖W_{l}‖‖f_{l - 1}(x)‖", rounded(g[worst], length),
                    rounded(reach[worst], length), key="preactivations", l=l)  # fmt: skip
        if i.slope is not None:
            skip = before if i.network.residual else 0.0
            alpha = abs(i.network.residual) or 1.0
            reach = skip + alpha * (at_zero * math.sqrt(i.n[l]) + i.slope * g)
            worst = int((f - reach).argmax())
            out.at_most(f"‖f_{l}(x)‖ ≤ |φ(0)|√n_{l} + M‖g_{l}(x)‖", rounded(f[worst], length),
                        rounded(reach[worst], length), key="features", l=l)  # fmt: skip
        root = math.sqrt(i.n[l])
        low, high = (rounded(x, length) for x in (f.min(), f.max()))
        out.conclusion(f"min_x ‖f_{l}(x)‖", low, "Ω", root, f"√n_{l}", key="least", l=l)
        out.conclusion(f"max_x ‖f_{l}(x)‖", high, "O", root, f"√n_{l}", key="largest", l=l)


def _first_chaos(
    out: Findings, name: str, squares: Tensor, first: Quantity, **at: Parameter
) -> None:
    """The Ω half with explicit constants for x ~ N(0, I): Bessel's inequality for the linear part.

    E‖h − E h‖² ≥ ‖E[h xᵀ]‖_F² = ‖E Dh‖_F², which is positive unless h is even on average.
    """
    n = len(squares)
    out.at_least(name, sample_mean(squares * n / (n - 1)), first, key="linear-part", **at)


def _ends(rows: Tensor) -> tuple[tuple[str, Order, int], tuple[str, Order, int]]:
    """The Ω half at the least row, the O half at the largest."""
    return ("min", "Ω", int(rows.argmin())), ("max", "O", int(rows.argmax()))


def _norms(i: Instance, l: int) -> Tensor:
    return torch.linalg.vector_norm(i.reference_pass[0][l], dim=1)


@PAPER.statement(
    "norm-ii",
    title="Second moments of the features",
    section="§3.1 (ii)",
    sentence="E_x ‖f_l(x)‖² is of order n_l.",
    latex=r"\mathbb{E}_x\|f_l(x)\|_2^2=\Theta(n_l)",
    level2="(E‖f_l‖)² ≤ E‖f_l‖² over the reference points",
)
def second_moments(i: Instance, out: Findings) -> None:
    setting(i, out)
    for l in range(1, i.L):
        norms = _norms(i, l)
        length = len(norms) + i.n[l] + 4
        square = norms.square().mean()
        out.at_most(f"(E‖f_{l}‖)² ≤ E‖f_{l}‖²", rounded(norms.mean() ** 2, length),
                    rounded(square, length), key="jensen", tautology=True, l=l)  # fmt: skip
        out.conclusion(f"E‖f_{l}(x)‖²", sample_mean(norms.square()), "Θ", i.n[l], f"n_{l}",
                    key="second-moment", l=l)  # fmt: skip
    out.note(i.reference_note)


@PAPER.statement(
    "norm-iii",
    title="First moments of the norms",
    section="§3.1 (iii)",
    sentence="E_x ‖f_l(x)‖ is of order √n_l.",
    latex=r"\mathbb{E}_x\|f_l(x)\|_2=\Theta(\sqrt{n_l})",
    level2="Gaussian data: Var ‖f_l(x)‖ ≤ (Π_(j≤l) M‖W_j‖)² (Poincaré)",
)
def first_moments(i: Instance, out: Findings) -> None:
    setting(i, out)
    for l in range(1, i.L):
        norms = _norms(i, l)
        bound = poincare_bound(i, l)
        if bound is not None:
            out.at_most(f"Var ‖f_{l}(x)‖ ≤ (Π M‖W_j‖)²", sample_variance(norms), bound,
                        key="poincare", l=l)  # fmt: skip
        out.conclusion(f"E‖f_{l}(x)‖", sample_mean(norms), "Θ", math.sqrt(i.n[l]), f"√n_{l}",
                    key="first-moment", l=l)  # fmt: skip
    out.note(i.reference_note)


@PAPER.statement(
    "norm-iv",
    title="Centred features",
    section="§3.1 (iv) (Lemma C.4)",
    sentence="E‖f_l − E f_l‖², its first moment and every ‖f_l(x) − E f_l‖ are of order n_l, √n_l, √n_l.",
    latex=r"\mathbb{E}_x\|\tilde f_l\|_2^2=\Theta(n_l),\ \mathbb{E}_x\|\tilde f_l\|_2=\Theta(\sqrt{n_l}),\ \|\tilde f_l(x)\|_2=\Theta(\sqrt{n_l})",
    level2="Gaussian data: ‖E[f_l xᵀ]‖² ≤ E‖f̃_l‖² ≤ min(d, n_l)(Π M‖W_j‖)² (Bessel, Poincaré)",
)
def centred_features(i: Instance, out: Findings) -> None:
    setting(i, out)
    for l in range(1, i.L):
        features = i.reference_pass[0][l]
        mean = features.mean(dim=0)
        squares = (features - mean).square().sum(dim=1)
        square = features.square().sum(dim=1).mean()
        length = 4 * (len(features) + i.n[l])
        rest = rounded(square - mean.square().sum(), length, square)
        out.equal(f"E‖f̃_{l}‖² = E‖f_{l}‖² − ‖E f_{l}‖²", rounded(squares.mean(), length, square),
                  rest, key="variance", tautology=True, l=l)  # fmt: skip
        bound = poincare_bound(i, l)
        if bound is not None:
            n = len(features)
            out.at_most(f"E‖f̃_{l}‖² ≤ min(d, n_{l})(Π M‖W_j‖)²",
                        sample_mean(squares * n / (n - 1)), min(i.d, i.n[l]) * bound,
                        key="poincare", l=l)  # fmt: skip
        if isinstance(i.distribution, Gaussian):
            # the data's own mean is independent of the reference points
            first = squared_mean(features - i.F(l).mean(dim=0), i.reference)
            _first_chaos(out, f"E‖f̃_{l}‖² ≥ ‖E[f_{l} xᵀ]‖²", squares, first, l=l)
        root = math.sqrt(i.n[l])
        out.conclusion(f"E‖f̃_{l}‖²", sample_mean(squares), "Θ", i.n[l], f"n_{l}", key="second-moment",
                    l=l)  # fmt: skip
        out.conclusion(f"E‖f̃_{l}‖", sample_mean(squares.sqrt()), "Θ", root, f"√n_{l}",
                    key="first-moment", l=l)  # fmt: skip
        centred_rows = i.centred(l)
        rows = torch.linalg.vector_norm(centred_rows, dim=1)
        for which, order, at in _ends(rows):
            along = centred_rows[at] / rows[at].clamp_min(1e-300)
            size = Quantity(float(rows[at]), 0.0, i.mean_spread(l, along))
            out.conclusion(f"{which}_x ‖f̃_{l}(x)‖", size, order, root, f"√n_{l}", key="row",
                        which=which, l=l)  # fmt: skip
    out.note(i.reference_note)


@PAPER.statement(
    "norm-v",
    title="Centred signals",
    section="§3.1 (v) (Lemma C.5)",
    sentence="‖D_L(φ′(g_(L-1)(x)) − E φ′(g_(L-1)))‖ is of order √n_(L-1) for every sample.",
    latex=r"\|D_L\phi'(g_{L-1}(x))-\mathbb{E}_x[D_L\phi'(g_{L-1}(x))]\|_2=\Theta(\sqrt{n_{L-1}})",
    level2="‖D_L(φ′(g(x)) − φ′(g(x′)))‖ ≤ max|W_L| M′ ‖g(x) − g(x′)‖ between neighbouring rows",
)
def centred_signals(i: Instance, out: Findings) -> None:
    c = begin(i, out)
    phi = i.network.activation
    w = i.weight(i.L)[:, 0]
    bend = i.slope_of_derivative
    if bend is not None and i.N > 1:
        g = i.G(i.L - 1)
        moved = torch.linalg.vector_norm(phi.derivative(g).diff(dim=0) * w, dim=1)
        allowed = float(w.abs().max()) * bend * torch.linalg.vector_norm(g.diff(dim=0), dim=1)
        worst = int((moved - allowed).argmax())
        length, scale = (
            8 * i.n[i.L - 1],
            float(torch.linalg.vector_norm(w)) * (math.inf if i.slope is None else i.slope),
        )
        out.at_most("‖D_L(φ′(g(x)) − φ′(g(x′)))‖ ≤ max|W_L| M′ ‖g(x) − g(x′)‖",
                    rounded(moved[worst], length, scale), rounded(allowed[worst], length),
                    key="neighbours")  # fmt: skip
    rows = torch.linalg.vector_norm(c.Bt, dim=1)
    expected = i.beta[i.L] * math.sqrt(i.n[i.L - 1])
    for which, order, at in _ends(rows):
        # the standard error of the mean signal along the row that is shown
        along = c.reference_B @ (c.Bt[at] / rows[at].clamp_min(1e-300))
        size = Quantity(float(rows[at]), 0.0, sample_mean(along).spread)
        out.conclusion(f"{which}_x ‖D_L φ̃′‖", size, order, expected, "β_L√n_(L-1)", key="signals",
                       which=which)  # fmt: skip
    squares = (c.reference_B - c.B_mean).square().sum(dim=1)
    out.conclusion("E‖D_L φ̃′‖²", sample_mean(squares), "Θ", expected**2, "β_L² n_(L-1)",
                   key="second-moment")  # fmt: skip
    if isinstance(i.distribution, Gaussian):
        _first_chaos(out, "E‖D_L φ̃′‖² ≥ ‖E[D_L φ̃′ xᵀ]‖²", squares,
                     squared_mean(c.reference_B - i.B(i.L - 1).mean(dim=0), i.reference))  # fmt: skip
