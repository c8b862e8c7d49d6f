"""Nguyen et al. 2021, App. C: sizes of features, of their means, and of active sets.

The proofs bound each step by Bernstein's or Hoeffding's inequality with a hidden constant. Run
here: the identity or inequality for the mean over W_k, exactly, and the event over redraws of W_k
against Chebyshev's inequality, whose constant is explicit: for ReLU neurons f_j = σ(w_jᵀf),
E f_j² = s²/2 and Var f_j² = 5s⁴/4 with s² = β²‖f‖², so P(|Σ − E| > E/2) ≤ 20/n.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ntkscope.papers.nguyen2021 import PAPER
from ntkscope.statements.findings import Findings
from ntkscope.statements.instance import Instance, NotComputable
from ntkscope.statements.quantity import Quantity, U, rounded, sample_mean
from ntkscope.statements.shared import assumptions, chains, scales
from ntkscope.statements.shared.relu import feature_bound

PAIRED = 512  # reference points whose pairs stand for E_x E_y


def relu_only(i: Instance, what: str) -> None:
    """Stop for other activations, biases and residual connections."""
    if not i.relu or not i.plain:
        raise NotComputable(f"{what} is that of a plain ReLU layer")


@PAPER.statement(
    "lemma-c.1",
    title="Norm of the features",
    section="Lemma C.1",
    sentence="‖f_k(x)‖² and its mean over x are of the order of d Π n_l β_l².",
    latex=r"\|f_k(x)\|_2^2=\Theta\Big(d\prod_{l=1}^{k}n_l\beta_l^2\Big),\quad \mathbb E_x\|f_k(x)\|_2^2=\Theta\Big(d\prod_{l=1}^{k}n_l\beta_l^2\Big)",
    level2="½ ≤ ‖f_k‖²/E_{W_k}‖f_k‖² ≤ 3/2 with probability 1 − 20/n_k; ≤ Π M²‖W_l‖²_op ‖x‖² always",
)
def feature_norm(i: Instance, out: Findings) -> None:
    assumptions.require(i, out)
    out.note(i.reference_note)
    for k in range(i.L):
        predicted, expression = scales.features(i, k), f"d Π_(l≤{k}) n_l β_l²"
        out.extremes(f"‖f_{k}(x_i)‖²", i.norms_sq(i.F(k)), "Θ", predicted, expression, k=k)
        mean = sample_mean(i.norms_sq(i.reference_pass[0][k]))
        out.scaling(f"E_x‖f_{k}(x)‖²", mean, "Θ", predicted, expression, key="mean", k=k)
        if k:
            feature_bound(i, out, k)
    relu_only(i, "E f_j² = s²/2")
    for k in range(1, i.L):
        # given f_{k-1}(x) ≠ 0 the pre-activations are independent N(0, s²), and s cancels
        g = torch.randn(i.trials, i.n[k], generator=i.generator(f"C.1 {k}"), dtype=torch.float64)
        ratio = torch.relu(g).square().sum(dim=1) / (0.5 * i.n[k])
        _rate(out, f"½ ≤ ‖f_{k}‖²/E ≤ 3/2 over W_{k}", ratio, 20 / i.n[k])


def _rate(out: Findings, name: str, ratio: Tensor, failure: float) -> None:
    successes = int(((ratio >= 0.5) & (ratio <= 1.5)).sum())
    out.rate(name, successes, len(ratio), max(0.0, 1.0 - failure))


def pair_moment(i: Instance, k: int) -> tuple[float, Tensor]:
    """(E_x E_y E_w[σ(wᵀf_k(x)) σ(wᵀf_k(y))] for w ~ N(0, I), norms), over PAIRED reference points.

    The law is the empirical one of those points, so that the proofs' inequalities hold exactly.
    """

    def make() -> tuple[float, Tensor]:
        from ntkscope.kernels.limiting.dual import dual_activation

        f = i.reference_pass[0][k][:PAIRED]
        variance = i.norms_sq(f)
        bound = torch.sqrt(variance[:, None] * variance[None, :])
        covariance = torch.clamp(f @ f.T, -bound, bound)
        value = dual_activation("relu", variance[:, None], variance[None, :], covariance=covariance)
        return float(value.value.mean()), torch.sqrt(variance)

    return i.held(("pair moment", k), make)


@PAPER.statement(
    "lemma-c.2",
    title="Norm of the mean features",
    section="Lemma C.2",
    sentence="‖E_x f_k(x)‖² is of the order of d Π n_l β_l².",
    latex=r"\|\mathbb E_x[f_k(x)]\|_2^2=\Theta\Big(d\prod_{l=1}^{k}n_l\beta_l^2\Big)",
    level2=(
        "‖E f_k‖² ≤ E‖f_k‖² (Jensen); E_{W_k}‖E_x f_k‖² ≥ n_kβ_k²/2π (E‖f_{k-1}‖)² ≥ "
        "n_kβ_k²/2π ‖E f_{k-1}‖²; half of the mean with Chebyshev's probability"
    ),
)
def mean_norm(i: Instance, out: Findings) -> None:
    out.note(i.reference_note)
    for k in range(1, i.L):
        mean, exact = i.mean_features(k)
        size = Quantity(float(mean.square().sum()), 0.0, i.mean_spread(k, 2 * mean))
        features = i.reference_pass[0][k]
        second = sample_mean(i.norms_sq(features))
        empirical = rounded(features.mean(dim=0).square().sum(), len(features) + i.n[k], second)
        # of the empirical law of the reference points Jensen's inequality is exact
        out.at_most(f"‖E f_{k}‖² ≤ E‖f_{k}‖²", empirical, Quantity(second.value, second.error),
                    key="jensen", k=k)  # fmt: skip
        how = "closed form" if exact else "sampled"
        out.scaling(f"‖E_x f_{k}‖²", size, "Θ", scales.features(i, k), f"d Π_(l≤{k}) n_l β_l²", how,
                    key="mean", k=k)  # fmt: skip
    relu_only(i, "E σ(wᵀf) = ‖f‖/√(2π)")
    for k in range(1, i.L):
        moment, norms = pair_moment(i, k - 1)
        scale = i.n[k] * i.beta[k] ** 2
        previous = i.reference_pass[0][k - 1][:PAIRED]
        first = float(norms.mean()) ** 2
        length = 64 + i.n[k - 1] + len(previous)
        expected = rounded(scale * moment, length, scale * float(norms.square().mean()))
        lower = rounded(scale * first / (2 * math.pi), length)
        out.at_least(f"E_W‖E_x f_{k}‖² ≥ n_{k}β_{k}²/2π (E‖f_{k - 1}‖)²", expected, lower,
                     key="mean-below", k=k)  # fmt: skip
        smaller = scale * float(previous.mean(dim=0).square().sum()) / (2 * math.pi)
        out.at_least(f"(E‖f_{k - 1}‖)² ≥ ‖E f_{k - 1}‖², both · n_{k}β_{k}²/2π", lower,
                     rounded(smaller, length, float(lower)), key="mean-step", k=k)  # fmt: skip
        _mean_rate(i, out, k, previous, norms, moment)


def _mean_rate(i: Instance, out: Findings, k: int, f: Tensor, norms: Tensor, moment: float) -> None:
    """‖E_x f_k‖² ≥ ½ E_W‖E_x f_k‖² over redraws of W_k."""
    if moment <= 0:
        return
    trials = max(1, min(i.trials, int(2e9 // (len(f) * i.n[k - 1] * i.n[k]))))
    successes = 0
    for trial in range(trials):
        W = chains.gaussian_like(i, k, (i.n[k - 1], i.n[k]), f"C.2 {k} {trial}")
        size = float(torch.relu(f @ W).mean(dim=0).square().sum())
        successes += size >= 0.5 * i.n[k] * i.beta[k] ** 2 * moment
    # Var of a neuron's (E_x σ)² ≤ E_x E_w σ⁴ = (3/2) β⁴ E‖f‖⁴
    failure = 6.0 * float((norms**4).mean()) / (i.n[k] * moment**2)
    out.rate(f"‖E_x f_{k}‖² ≥ ½ E_W‖E_x f_{k}‖² over W_{k}", successes, trials,
             max(0.0, 1 - failure))  # fmt: skip


@PAPER.statement(
    "lemma-c.3",
    title="Centred features at every sample",
    section="Lemma C.3",
    sentence="‖f_k(x_i) − E_x f_k(x)‖² is of the order of d Π n_l β_l² at every sample.",
    latex=r"\|f_k(x_i)-\mathbb E_x[f_k(x)]\|_2^2=\Theta\Big(d\prod_{l=1}^{k}n_l\beta_l^2\Big),\quad\forall i\in[N]",
    level2=(
        "eq. 40: E[Z]² ≥ E[Z²] − C‖Z‖²_Lip for Z = ‖f_k − E f_k‖, with the Poincaré constant C of "
        "the law in place of 2/c and ‖Z‖_Lip ≤ Π M‖W_l‖_op"
    ),
)
def centred_norms(i: Instance, out: Findings) -> None:
    assumptions.require(i, out)
    out.note(i.reference_note)
    constant = assumptions.poincare(i.distribution)
    for k in range(1, i.L):
        logs = math.prod(math.log(i.n[l]) for l in range(1, k))
        out.order_of(f"Π_(l<{k}) log n_l = o(min_(l≤{k}) n_l)", logs, min(i.n[: k + 1]),
                     at_least=False)  # fmt: skip
        centred = i.centred(k)
        sizes = i.norms_sq(centred)
        predicted, expression = scales.features(i, k), f"d Π_(l≤{k}) n_l β_l²"
        for which, at in (("min", int(sizes.argmin())), ("max", int(sizes.argmax()))):
            size = Quantity(float(sizes[at]), 0.0, i.mean_spread(k, 2 * centred[at]))
            out.scaling(f"{which}_i ‖f_{k}(x_i) − Ef_{k}‖²", size, "Θ", predicted, expression,
                        key="row", which=which, k=k)  # fmt: skip
        if constant is None or i.slope is None or i.network.residual:
            continue
        # Z is a 1-Lipschitz function of f_k whatever point replaces E f_k
        Z = torch.linalg.vector_norm(i.reference_pass[0][k] - i.mean_features(k)[0], dim=1)
        variance = Quantity(
            float(Z.var()), 0.0, float((Z - Z.mean()).square().std()) / math.sqrt(len(Z))
        )
        bound = constant * math.prod((i.slope * float(i.op_norm(l))) ** 2 for l in range(1, k + 1))
        out.at_most(f"Var‖f_{k} − Ef_{k}‖ ≤ C_P Π M²‖W_l‖²_op", variance,
                    rounded(bound, 8 * max(i.n)), key="poincare", k=k)  # fmt: skip
    if constant is None:
        out.note("No Poincaré constant is known for this law, so eq. 40 has no number.")


@PAPER.statement(
    "lemma-c.4",
    title="Mean norm of the centred features",
    section="Lemma C.4",
    sentence="E_x‖f_k(x) − E_x f_k(x)‖² is of the order of d Π n_l β_l².",
    latex=r"\mathbb E_x\|f_k(x)-\mathbb E_x[f_k(x)]\|_2^2=\Theta\Big(d\prod_{l=1}^{k}n_l\beta_l^2\Big)",
    level2=(
        "E_{W_k}E_x‖f_k − Ef_k‖² between n_kβ_k²/4 E‖f_{k-1} − Ef_{k-1}‖² and n_kβ_k²/2 E‖f_{k-1}‖², "
        "and its two steps (Hermite, Jensen), for the empirical law of the reference points"
    ),
)
def centred_mean(i: Instance, out: Findings) -> None:
    out.note(i.reference_note)
    for k in range(1, i.L):
        centred = i.reference_pass[0][k] - i.mean_features(k)[0]
        measured = sample_mean(i.norms_sq(centred))
        out.scaling(f"E_x‖f_{k} − Ef_{k}‖²", measured, "Θ", scales.features(i, k),
                    f"d Π_(l≤{k}) n_l β_l²", key="centred", k=k)  # fmt: skip
    relu_only(i, "the Hermite expansion with μ_1² = 1/4")
    for k in range(1, i.L):
        moment, norms = pair_moment(i, k - 1)
        f = i.reference_pass[0][k - 1][:PAIRED]
        scale = i.n[k] * i.beta[k] ** 2
        second = float(norms.square().mean())
        mean_sq = float(f.mean(dim=0).square().sum())
        length = 64 + i.n[k - 1] + len(f)

        def with_error(x: float, top: float = scale * second, n: int = length) -> Quantity:
            return Quantity(x, n * U * top)

        left = with_error(scale * (0.5 * second - moment))
        hermite = with_error(
            scale * (0.5 * second - 0.25 * mean_sq - 0.25 * float(norms.mean()) ** 2)
        )
        lower = with_error(scale * 0.25 * (second - mean_sq))
        name = f"E_W E_x‖f_{k} − Ef_{k}‖²"
        out.at_least(f"{name} ≥ nβ²(E‖f‖²/2 − ‖Ef‖²/4 − (E‖f‖)²/4)", left, hermite, key="hermite",
                     k=k)  # fmt: skip
        out.at_least(f"… ≥ nβ²/4 E‖f_{k - 1} − Ef_{k - 1}‖²", hermite, lower, key="jensen", k=k)
        out.at_most(f"{name} ≤ nβ²/2 E‖f_{k - 1}‖²", left, with_error(0.5 * scale * second),
                    key="above", k=k)  # fmt: skip


@PAPER.statement(
    "lemma-c.5",
    title="Number of active neurons",
    section="Lemma C.5",
    sentence="‖Σ_k(x)‖_F² is of the order of n_k.",
    latex=r"\|\Sigma_k(x)\|_F^2=\Theta(n_k)",
    level2="n_k/4 ≤ ‖Σ_k‖_F² ≤ 3n_k/4 with probability 1 − 2exp(−n_k/8) (Hoeffding); ≤ M² n_k always",
)
def active_neurons(i: Instance, out: Findings) -> None:
    for k in range(1, i.L):
        active = i.network.activation.derivative(i.G(k)).square().sum(dim=1)
        out.extremes(f"‖Σ_{k}(x_i)‖_F²", active, "Θ", i.n[k], f"n_{k}", k=k)
        if i.slope is not None:
            out.at_most(f"‖Σ_{k}(x)‖_F² ≤ M² n_{k}", rounded(active.max(), i.n[k]),
                        i.n[k] * i.slope**2, key="slopes", k=k)  # fmt: skip
    relu_only(i, "σ′(t) = 1 − σ′(−t)")
    for k in range(1, i.L):
        alive = i.norms_sq(i.F(k - 1)) > 0
        out.hypothesis(f"f_{k - 1}(x_i) ≠ 0 at every sample", bool(alive.all()), int(alive.sum()),
                       i.N)  # fmt: skip
        if not bool(alive.any()):
            continue
        f = i.F(k - 1)[alive][0]
        draws = chains.gaussian_like(i, k, (i.trials, i.n[k]), f"C.5 {k}") * f.norm()
        counts = (draws > 0).double().sum(dim=1)
        successes = int(((counts >= i.n[k] / 4) & (counts <= 3 * i.n[k] / 4)).sum())
        claimed = max(0.0, 1 - 2 * math.exp(-i.n[k] / 8))
        out.rate(f"n_{k}/4 ≤ ‖Σ_{k}(x)‖_F² ≤ 3n_{k}/4 over W_{k}", successes, i.trials, claimed)


@PAPER.statement(
    "lemma-c.6",
    title="Norm of Σ_k Π W_l Σ_l",
    section="Lemma C.6",
    sentence="‖Σ_k(x) Π_{l=k+1}^p W_l Σ_l(x)‖_F² is of the order of n_k Π n_l β_l².",
    latex=r"\Big\|\Sigma_k(x)\prod_{l=k+1}^{p}W_l\Sigma_l(x)\Big\|_F^2=\Theta\Big(n_k\prod_{l=k+1}^{p}n_l\beta_l^2\Big)",
    level2="‖S_p‖_F² ≤ M²‖W_p‖²_op ‖S_{p-1}‖_F²; half to three halves of n_pβ_p²/2 ‖S_{p-1}‖_F² with probability 1 − 20/n_p",
)
def product_norm(i: Instance, out: Findings) -> None:
    products = {
        (k, p): chains.sigma_product(i, 0, k, p) for k in range(1, i.L) for p in range(k, i.L)
    }
    for (k, p), S in products.items():
        measured = rounded(S.square().sum(), S.numel() + sum(i.n[k : p + 1]))
        expression = f"n_{k} Π_(l={k + 1}…{p}) n_l β_l²"
        out.scaling(f"‖S_({k}→{p})(x_1)‖_F²", measured, "Θ", scales.chain(i, k, p), expression,
                    key="product", k=k, p=p)  # fmt: skip
        if p > k and i.slope is not None:
            previous = products[k, p - 1]
            length = previous.numel() + 4 * i.n[p]
            bound = (i.op_norm(p) * i.slope) ** 2 * rounded(previous.square().sum(), length)
            out.at_most(f"‖S_({k}→{p})‖_F² ≤ M²‖W_{p}‖²_op ‖S_({k}→{p - 1})‖_F²", measured, bound,
                        key="submultiplicative", k=k, p=p)  # fmt: skip
    relu_only(i, "σ′(t) = 1 − σ′(−t)")
    for k, p in products:
        if p > k:
            _product_rate(i, out, k, p, products[k, p - 1])


def _product_rate(i: Instance, out: Findings, k: int, p: int, previous: Tensor) -> None:
    """‖S_{p-1} W_p Σ_p‖_F² against its mean over W_p; only the Gram of S_{p-1} and f_{p-1} count."""
    f = i.F(p - 1)[0]
    frobenius = float(previous.square().sum())
    if frobenius == 0 or float(f.norm()) == 0:
        return
    trials = max(1, min(i.trials, int(2e9 // (previous.numel() * i.n[p] + 1))))
    ratios = []
    for trial in range(trials):
        W = chains.gaussian_like(i, p, (i.n[p - 1], i.n[p]), f"C.6 {k} {p} {trial}")
        moved = (previous @ W).square().sum(dim=0) * ((f @ W) > 0)
        ratios.append(float(moved.sum()) / (0.5 * i.n[p] * i.beta[p] ** 2 * frobenius))
    # Var(‖S w‖² σ′) ≤ ½E‖S w‖⁴ − ¼(β²‖S‖_F²)² ≤ (5/4)β⁴‖S‖_F⁴
    _rate(out, f"½ ≤ ‖S_({k}→{p})‖_F²/E ≤ 3/2 over W_{p}", torch.tensor(ratios), 20 / i.n[p])
