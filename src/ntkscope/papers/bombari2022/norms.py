"""Bombari et al. 2022, §3.1: the norms (i)-(v) of features and signals, and the condition eq. 21."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from ntkscope.data import Gaussian
from ntkscope.kernels.hadamard import HadamardKernel
from ntkscope.kernels.mlp import mlp_ntk
from ntkscope.networks.network import MLP
from ntkscope.papers.bombari2022.centering import begin
from ntkscope.papers.bombari2022.gradients import pull_back
from ntkscope.papers.bombari2022.setting import SETTING, SOURCE, sample_variance, setting
from ntkscope.statements.instance import Instance, NotComputable
from ntkscope.statements.quantity import Quantity, U, rounded, sample_mean
from ntkscope.statements.statement import Findings, statement


def slope(i: Instance) -> float:
    """M = sup |φ′|; ``inf`` where it is not known."""
    bound = i.network.activation.lipschitz
    return math.inf if bound is None else bound


def feature_lipschitz(i: Instance, l: int) -> float:
    """Π_{j≤l} M‖W_j‖, a Lipschitz constant of f_l."""
    total = 1.0
    for j in range(1, l + 1):
        through = slope(i) * i.op_norm(j).value
        total *= 1 + abs(i.network.residual) * through if i.network.residual else through
    return total


@statement(
    "bombari2022.norm-i",
    title="Norms of the features",
    source=f"{SOURCE}, §3.1 (i) (Lemma C.1)",
    sentence="‖f_l(x)‖ is of order √n_l for every sample.",
    latex=r"\|f_l(x)\|_2=\Theta(\sqrt{n_l})",
    needs=SETTING,
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
                    rounded(reach[worst], length))  # fmt: skip
        if math.isfinite(slope(i)):
            skip = before if i.network.residual else 0.0
            alpha = abs(i.network.residual) or 1.0
            reach = skip + alpha * (at_zero * math.sqrt(i.n[l]) + slope(i) * g)
            worst = int((f - reach).argmax())
            out.at_most(f"‖f_{l}(x)‖ ≤ |φ(0)|√n_{l} + M‖g_{l}(x)‖", rounded(f[worst], length),
                        rounded(reach[worst], length))  # fmt: skip
        root = math.sqrt(i.n[l])
        out.scaling(f"min_x ‖f_{l}(x)‖", float(f.min()), "Θ", root, f"√n_{l}")
        out.scaling(f"max_x ‖f_{l}(x)‖", float(f.max()), "Θ", root, f"√n_{l}")


def _norms(i: Instance, l: int) -> Tensor:
    return torch.linalg.vector_norm(i.reference_pass[0][l], dim=1)


@statement(
    "bombari2022.norm-ii",
    title="Second moments of the features",
    source=f"{SOURCE}, §3.1 (ii)",
    sentence="E_x ‖f_l(x)‖² is of order n_l.",
    latex=r"\mathbb{E}_x\|f_l(x)\|_2^2=\Theta(n_l)",
    needs=SETTING,
    level2="(E‖f_l‖)² ≤ E‖f_l‖² over the reference points",
)
def second_moments(i: Instance, out: Findings) -> None:
    setting(i, out)
    for l in range(1, i.L):
        norms = _norms(i, l)
        length = len(norms) + i.n[l] + 4
        square = norms.square().mean()
        out.at_most(f"(E‖f_{l}‖)² ≤ E‖f_{l}‖²", rounded(norms.mean() ** 2, length),
                    rounded(square, length))  # fmt: skip
        out.scaling(f"E‖f_{l}(x)‖²", sample_mean(norms.square()), "Θ", i.n[l], f"n_{l}")
    out.note(i.reference_note)


@statement(
    "bombari2022.norm-iii",
    title="First moments of the norms",
    source=f"{SOURCE}, §3.1 (iii)",
    sentence="E_x ‖f_l(x)‖ is of order √n_l.",
    latex=r"\mathbb{E}_x\|f_l(x)\|_2=\Theta(\sqrt{n_l})",
    needs=SETTING,
    level2="Gaussian data: Var ‖f_l(x)‖ ≤ (Π_(j≤l) M‖W_j‖)² (Poincaré)",
)
def first_moments(i: Instance, out: Findings) -> None:
    setting(i, out)
    for l in range(1, i.L):
        norms = _norms(i, l)
        if isinstance(i.distribution, Gaussian) and math.isfinite(slope(i)):
            out.at_most(f"Var ‖f_{l}(x)‖ ≤ (Π M‖W_j‖)²", sample_variance(norms),
                        feature_lipschitz(i, l) ** 2)  # fmt: skip
        out.scaling(f"E‖f_{l}(x)‖", sample_mean(norms), "Θ", math.sqrt(i.n[l]), f"√n_{l}")
    out.note(i.reference_note)


@statement(
    "bombari2022.norm-iv",
    title="Centred features",
    source=f"{SOURCE}, §3.1 (iv) (Lemma C.4)",
    sentence="E‖f_l − E f_l‖², its first moment and every ‖f_l(x) − E f_l‖ are of order n_l, √n_l, √n_l.",
    latex=r"\mathbb{E}_x\|\tilde f_l\|_2^2=\Theta(n_l),\ \mathbb{E}_x\|\tilde f_l\|_2=\Theta(\sqrt{n_l}),\ \|\tilde f_l(x)\|_2=\Theta(\sqrt{n_l})",
    needs=SETTING,
    level2="E‖f̃‖² = E‖f‖² − ‖Ef‖²; Gaussian data: E‖f̃_l‖² ≤ min(d, n_l)(Π M‖W_j‖)² (Poincaré)",
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
                  rest)  # fmt: skip
        if isinstance(i.distribution, Gaussian) and math.isfinite(slope(i)):
            bound = min(i.d, i.n[l]) * feature_lipschitz(i, l) ** 2
            n = len(features)
            measured = sample_mean(squares * n / (n - 1))
            out.at_most(f"E‖f̃_{l}‖² ≤ min(d, n_{l})(Π M‖W_j‖)²", measured, bound)
        root = math.sqrt(i.n[l])
        out.scaling(f"E‖f̃_{l}‖²", sample_mean(squares), "Θ", i.n[l], f"n_{l}")
        out.scaling(f"E‖f̃_{l}‖", sample_mean(squares.sqrt()), "Θ", root, f"√n_{l}")
        centred_rows = i.centred(l)
        rows = torch.linalg.vector_norm(centred_rows, dim=1)
        for which, at in (("min", int(rows.argmin())), ("max", int(rows.argmax()))):
            along = centred_rows[at] / rows[at].clamp_min(1e-300)
            size = Quantity(float(rows[at]), 0.0, i.mean_spread(l, along))
            out.scaling(f"{which}_x ‖f̃_{l}(x)‖", size, "Θ", root, f"√n_{l}")
    out.note(i.reference_note)


@statement(
    "bombari2022.norm-v",
    title="Centred signals",
    source=f"{SOURCE}, §3.1 (v) (Lemma C.5)",
    sentence="‖D_L(φ′(g_(L-1)(x)) − E φ′(g_(L-1)))‖ is of order √n_(L-1) for every sample.",
    latex=r"\|D_L\phi'(g_{L-1}(x))-\mathbb{E}_x[D_L\phi'(g_{L-1}(x))]\|_2=\Theta(\sqrt{n_{L-1}})",
    needs=SETTING,
    level2="‖D_L(φ′(g(x)) − φ′(g(x′)))‖ ≤ max|W_L| M′ ‖g(x) − g(x′)‖ between neighbouring rows",
)
def centred_signals(i: Instance, out: Findings) -> None:
    c = begin(i, out)
    phi = i.network.activation
    w = i.weight(i.L)[:, 0]
    bend = phi.lipschitz_derivative
    if bend is not None and math.isfinite(bend) and i.N > 1:
        g = i.G(i.L - 1)
        moved = torch.linalg.vector_norm(phi.derivative(g).diff(dim=0) * w, dim=1)
        allowed = float(w.abs().max()) * bend * torch.linalg.vector_norm(g.diff(dim=0), dim=1)
        worst = int((moved - allowed).argmax())
        length, scale = 8 * i.n[i.L - 1], float(torch.linalg.vector_norm(w)) * slope(i)
        out.at_most("‖D_L(φ′(g(x)) − φ′(g(x′)))‖ ≤ max|W_L| M′ ‖g(x) − g(x′)‖",
                    rounded(moved[worst], length, scale), rounded(allowed[worst], length))  # fmt: skip
    rows = torch.linalg.vector_norm(c.Bt, dim=1)
    expected = i.beta[i.L] * math.sqrt(i.n[i.L - 1])
    for which, at in (("min", int(rows.argmin())), ("max", int(rows.argmax()))):
        # the standard error of the mean signal along the row that is shown
        along = c.reference_B @ (c.Bt[at] / rows[at].clamp_min(1e-300))
        size = Quantity(float(rows[at]), 0.0, sample_mean(along).spread)
        out.scaling(f"{which}_x ‖D_L φ̃′‖", size, "Θ", expected, "β_L√n_(L-1)")


@statement(
    "bombari2022.eq-21",
    title="The condition for gradient descent",
    source=f"{SOURCE}, eq. 21 (Proposition H.1)",
    sentence=(
        "In the ball of radius R = 4‖F_L(θ_0) − Y‖/α the Jacobian keeps its singular values between "
        "α and β and moves by at most α²/(2β)."
    ),
    latex=r"\alpha\le\sigma_{\min}(J(\theta))\le\|J(\theta)\|\le\beta,\quad \|J(\theta_1)-J(\theta_2)\|\le\tfrac{\alpha^2}{2\beta}",
    needs=SETTING,
    level2="|σ(J(θ_1)) − σ(J(θ_2))| ≤ ‖J(θ_1) − J(θ_2)‖ for the smallest and the largest (Weyl)",
)
def gradient_descent_condition(i: Instance, out: Findings) -> None:
    setting(i, out)
    alpha = math.sqrt(max(i.lambda_K.value, 0.0))
    if i.lambda_K.lower <= 0:
        raise NotComputable("K is singular at θ_0 to working precision, so α = 0")
    beta = math.sqrt(float(torch.linalg.eigvalsh(i.K)[-1]))
    Y = torch.randn(i.N, generator=i.generator("eq-21"), dtype=torch.float64)
    residual = i.G(i.L)[:, 0] - Y
    radius = 4 * float(torch.linalg.vector_norm(residual)) / alpha
    allowed = alpha**2 / (2 * beta)
    found = _moves(i, residual, radius)
    if not found:
        raise NotComputable("the network overflows everywhere that was tried in the ball")
    rows = []
    steepest = 0.0
    for name, distance, kernel, move in found:
        values = torch.linalg.eigvalsh(kernel)
        low, high = math.sqrt(max(float(values[0]), 0.0)), math.sqrt(float(values[-1]))
        # a σ below √(N u)·‖J‖ is rounding of its square
        bar = math.sqrt(64 * sum(i.n) * i.N * U) * max(high, beta)
        moved = Quantity(move, bar)
        out.at_least(f"‖J(θ) − J(θ_0)‖ ≥ |σ_min(J(θ)) − α|, {name}", moved, abs(low - alpha))
        out.at_least(f"‖J(θ) − J(θ_0)‖ ≥ |‖J(θ)‖ − β|, {name}", moved, abs(high - beta))
        rows.append((name, distance, low, high, move))
        # of a step whose change of J is rounding the quotient says nothing
        steepest = max(steepest, (move - bar) / distance)
    largest = max(row[4] for row in rows)
    columns = ("θ", "‖θ − θ_0‖", "σ_min(J)", "‖J‖", "‖J(θ) − J(θ_0)‖")
    out.table("Points of the ball around θ_0", columns, rows)
    refuted = largest > allowed
    note = "refuted" if refuted else "not refuted by the points tried; the supremum is not computed"
    out.hypothesis("eq. 21: ‖J(θ_1) − J(θ_2)‖ ≤ α²/(2β) in the ball", False if refuted else None,
                   largest, allowed, note)  # fmt: skip
    out.scaling("α² at θ_0", alpha**2, "Ω", i.beta[i.L] ** 2 * i.n[i.L - 2] * i.n[i.L - 1],
                "β_L² n_(L-2) n_(L-1)")  # fmt: skip
    out.scaling("R", radius, "O", math.sqrt(i.N) / alpha, "√N/α")
    out.scaling("Lipschitz constant of θ ↦ J(θ) in the ball, from below", steepest, "O",
                allowed / radius, "α²/(2βR), what eq. 21 allows over the whole ball")  # fmt: skip
    out.note(f"Labels Y ~ N(0, I); α = {alpha:.4g}, β = {beta:.4g}, R = {radius:.4g}.")


def _moves(i: Instance, residual: Tensor, radius: float) -> list[tuple[str, float, Tensor, float]]:
    """(name, ‖θ − θ_0‖, kernel at θ, ‖J(θ) − J(θ_0)‖) on the ball's boundary and near its centre."""
    values = [p.detach() for p in i.model.parameters()]
    generator = i.generator("eq-21 ball")
    directions = {
        f"random {k + 1}": [torch.randn(p.shape, generator=generator).to(p) for p in values]
        for k in range(2)
    }
    directions["down the gradient"] = [-g for g in pull_back(i, residual)]
    found = []
    for (name, direction), share in itertools.product(directions.items(), (1.0, 0.01)):
        norm = math.sqrt(sum(float(t.square().sum()) for t in direction))
        step = share * radius
        moved = _moved(i.model, [t * (step / max(norm, 1e-300)) for t in direction])
        X = i.X.to(i.model.dtype)
        try:
            kernel = mlp_ntk(moved, X)
        except ValueError:
            continue  # the network overflows there
        here, there = i.K, kernel.dense()
        difference = here + there - _cross(i.kernel, kernel) - _cross(kernel, i.kernel)
        top = float(torch.linalg.eigvalsh((difference + difference.T) / 2)[-1])
        found.append((f"{name}, {share:g} R", step, there, math.sqrt(max(top, 0.0))))
    return found


def _moved(model: MLP, direction: list[Tensor]) -> MLP:
    """The network at θ_0 + direction."""
    values = [p.detach() + t for p, t in zip(model.parameters(), direction, strict=True)]
    count = len(model.weights)
    return MLP(model.network, values[:count], values[count:] or None)


def _cross(left: HadamardKernel, right: HadamardKernel) -> Tensor:
    """J(θ_1) J(θ_2)ᵀ from the factors of both kernels."""
    total: Tensor | None = None
    for a, b in zip(left.terms, right.terms, strict=True):
        part: Tensor | None = None
        for x, y in ((a.features, b.features), (a.signals, b.signals)):
            if x is not None and y is not None:
                gram = x.rows @ y.rows.T
                part = gram if part is None else part * gram
        if part is not None:
            total = part * a.scale if total is None else total + part * a.scale
    if total is None:
        raise ValueError("a kernel needs at least one term")
    return total
