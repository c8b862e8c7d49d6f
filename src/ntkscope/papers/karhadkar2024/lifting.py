"""Becchetti, Russo and Skorupinski 2026: rank lifting, a bound without the dimension.

For σ(t) = c₊ t₊^q + c₋ (−t)₊^q and g ~ N(0, I), E σ(⟨g, x⟩) σ(⟨g, y⟩) = Σ_k a_k ρ^k on unit vectors with

    a_k = (c₊ + (−1)^k c₋)² 2^{k−q−2} Γ(q+1)² / (k! Γ((q−k+2)/2)²).

With m rows at angles in [θ, π − θ] the k-th Hadamard power of their Gram matrix is at least
1 − (m − 1) cos^k θ (Gershgorin), for every k ≥ n at least what it is at n; hence, for every n,

    λ_min ≥ (1 − (m − 1) cos^n θ) Σ_{k≥n} a_k.

σ′ is of degree q − 1 with −c₋ for c₋, so the kernel of one hidden layer has κ_k = a_k + a′_{k−1}.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ntkscope.activations.hermite import Quadrature
from ntkscope.kernels.limiting.limiting_kernel import limiting_ntk
from ntkscope.networks.network import Network
from ntkscope.papers.karhadkar2024 import PAPER
from ntkscope.papers.karhadkar2024.geometry import Geometry, geometry, require_separated
from ntkscope.statements import needs
from ntkscope.statements.eigenvalues import power_eigenvalue
from ntkscope.statements.findings import Findings
from ntkscope.statements.instance import Instance, NotComputable
from ntkscope.statements.quantity import Quantity, U, rounded

_HIGHEST = 100_000  # of the powers n that are tried
_COMPARED = 8


@PAPER.statement(
    "rank-lifting",
    title="Rank lifting",
    section="with Becchetti et al. 2026",
    sentence="λ_min(E σσᵀ) ≥ (1 − (m − 1) cos^n θ) Σ_(k≥n) a_k for every n, at angles in [θ, π − θ].",
    latex=(
        r"\lambda_{\min}\big(\mathbb E\sigma\sigma^\top\big)\ge\big(1-(m-1)\cos^n\theta\big)\sum_{k\ge n}a_k,"
        r"\quad a_k=\frac{(c_++(-1)^kc_-)^2\,2^{k-q-2}\,\Gamma(q+1)^2}{k!\,\Gamma((q-k+2)/2)^2}"
    ),
    needs=(needs.homogeneous,),
    level2="a_k against quadrature for k ≤ 8; both bounds, at their best n, against λ_min of E σσᵀ and of one hidden layer's kernel",
)
def rank_lifting(i: Instance, out: Findings) -> None:
    phi = i.network.activation
    found = require_separated(i, out)
    if phi.homogeneity != 1:
        raise NotComputable("the a_k are those of positively homogeneous activations")
    plus, minus = (float(y) for y in phi.phi(np.array([1.0, -1.0])))
    _compare(i, out, coefficients(1, plus, minus))
    features, kernel = _one_layer(i, found)
    theta = 2 * math.asin(min(1.0, found.separation / 2))
    table = []
    for name, key, least in (
        ("E σσᵀ", "features", features),
        ("the kernel of one hidden layer", "kernel", kernel),
    ):
        n, bound = _best(i, key)
        out.conclude_at_least(
            f"λ_min of {name} ≥ (1 − (m−1) cos^n θ) Σ_(k≥n) a_k", least, bound, key=key
        )
        table.append([name, n, bound.value, least.value])
    out.table("The best n", ("matrix", "n", "bound", "λ_min"), table)
    if theta > 0:
        expression = theta**3 / math.log(2 * i.N) ** 1.5
        out.step_order("λ_min of E σσᵀ", features, "Ω", expression, "θ³/log^{3/2}(2m)", key="rate")


def best_power(i: Instance, key: str) -> int:
    """The n of the largest bound on "features", E σσᵀ, or the "kernel" of one hidden layer."""
    return _best(i, key)[0]


def _best(i: Instance, key: str) -> tuple[int, Quantity]:
    """(n, bound) of :func:`lifted` on the instance's rows; the error is what was rounded down."""
    plus, minus = (float(y) for y in i.network.activation.phi(np.array([1.0, -1.0])))
    series = coefficients(1, plus, minus)
    if key == "kernel":
        series = series + np.append(0.0, coefficients(0, plus, -minus)[:-1])
    found = geometry(i)
    theta = 2 * math.asin(min(1.0, found.separation / 2))
    # a smaller angle gives a smaller bound
    cosine = math.cos(max(0.0, theta - 4 * found.error)) * (1 + 4 * U)
    total = _total(plus, minus, key)
    n, bound = lifted(series, i.N, cosine, total)
    plain = (1.0 - (i.N - 1) * math.cos(theta) ** n) * (total - math.fsum(series[:n]))
    return n, Quantity(bound, max(0.0, plain - bound) + 4 * (n + 1) * U * total)


def coefficients(q: int, plus: float, minus: float) -> NDArray[np.float64]:
    """a_0, …, a_{_HIGHEST−1}, q = 0 or 1.

    By the ratio of two steps, a_{k+2}/a_k = (k − q)²/((k+1)(k+2)), from Γ((q−k)/2) = Γ((q−k+2)/2)/((q−k)/2).
    """
    a = np.zeros(_HIGHEST)
    for k in (0, 1, 2):
        place = (q - k + 2) / 2
        pole = place <= 0 and place == int(place)
        gamma = math.inf if pole else math.gamma(place)
        lead = (plus + (-1) ** k * minus) ** 2 * 2.0 ** (k - q - 2) * math.gamma(q + 1) ** 2
        a[k] = lead / (math.factorial(k) * gamma**2)
    for first in (1, 2):
        at = np.arange(first, _HIGHEST - 2, 2, dtype=float)
        a[first + 2 :: 2] = a[first] * np.cumprod((at - q) ** 2 / ((at + 1) * (at + 2)))
    return a


def lifted(a: NDArray[np.float64], m: int, cosine: float, total: float) -> tuple[int, float]:
    """(n, bound): the largest (1 − (m − 1) cosine^n) Σ_{k≥n} a_k, rounded down; 0 where none is positive.

    ``total`` is Σ_k a_k over all k.
    """
    n = np.arange(len(a), dtype=float)
    head = np.concatenate([[0.0], np.cumsum(a)[:-1]])
    tail = total - head - 4 * (n + 1) * U * total
    share = 1.0 - (m - 1) * np.exp(
        n * math.log(cosine) if cosine > 0 else np.where(n > 0, -math.inf, 0.0)
    )
    bound = share * tail * (1 - 64 * U) - 64 * U * np.maximum(tail, 0.0)
    bound[(share <= 0) | (tail <= 0)] = 0.0
    best = int(bound.argmax())
    return best, float(bound[best])


def _total(plus: float, minus: float, key: str) -> float:
    """Σ a_k = E σ² = (c₊² + c₋²)/2, and as much again for E σ′²."""
    half = 0.5 * (plus**2 + minus**2)
    return half if key == "features" else 2 * half


def _compare(i: Instance, out: Findings, a: NDArray[np.float64]) -> None:
    import torch

    # by quadrature, since the closed form is the claim
    table = Quadrature(i.network.activation, False)
    made = table.coefficients(torch.ones(1, dtype=torch.float64), _COMPARED)
    for k in range(_COMPARED + 1):
        mu = Quantity(float(made.values[0, k]), made.error + 64 * U)
        if a[k] > 0:
            out.equal(f"a_{k} = (E σ h_{k})²", mu**2, rounded(a[k], 64), key="coefficient", k=k)


def _one_layer(i: Instance, found: Geometry) -> tuple[Quantity, Quantity]:
    """λ_min of E σσᵀ and of E σσᵀ + XXᵀ ∘ E σ′σ′ᵀ on unit rows."""
    net = Network([i.d, math.inf, 1], i.network.activation, "unit", "ntk")
    made = limiting_ntk(net, found.unit * math.sqrt(i.d), get=("nngp", "ntk"))
    values = []
    for matrix in made:
        least = power_eigenvalue(matrix, 1, 0)
        error = (512.0 + 16.0 * i.d) * U * float(matrix.diagonal().sum())
        values.append(Quantity(least.value, least.error + error))
    return values[0], values[1]


@PAPER.statement(
    "linear-rate",
    title="Linear in the angle",
    section="rank lifting at q = 0, with constants",
    sentence="λ_min of the shallow limit is at least (2π)^{-3/2} θ/√(2 log(2m) + θ²): linear in δ, as its ceiling is.",
    latex=r"\lambda_{\min}(K^\infty)\ge\frac{\theta}{(2\pi)^{3/2}\sqrt{2\log(2m)+\theta^2}}",
    needs=(needs.relu, needs.plain),
    level2="the bound against λ_min of the limit, in dimension-free form; the theorem's δ² beside it",
)
def linear_rate(i: Instance, out: Findings) -> None:
    found = require_separated(i, out)
    if not i.relu:
        raise NotComputable("the constant is that of ReLU")
    _, kernel = _one_layer(i, found)
    theta = rounded(2 * math.asin(min(1.0, found.separation / 2)), 4) + Quantity(
        0.0, 4 * found.error
    )
    bound = linear_bound(theta, i.N)
    out.conclude_at_least(
        "λ_min of the limit ≥ (2π)^{-3/2} θ/√(2 log(2m) + θ²)", kernel, bound, key="linear"
    )


def linear_bound(theta: Quantity, m: int) -> Quantity:
    """(2π)^{-3/2} θ/√(2 log(2m) + θ²) ≤ λ_min of the shallow ReLU limit on m rows at angles in [θ, π − θ].

    At n = ⌈2 log(2m)/θ²⌉ cos^n θ ≤ e^{−nθ²/2} ≤ 1/2m, so that half of Σ_{k≥n} a′_{k−1} stays. For the step
    function a′_{2i+1} = C(2i, i)/(4^i (2i+1) 2π) ≥ √(2/π)/2π · (2i+1)^{-3/2}, since
    Γ(i+1)/Γ(i+½) ≤ √(i+½); the sum from the first odd number ≥ n − 1 on, at most n, is no less than the
    integral √(2/π)/2π · n^{-1/2}, and n ≤ (2 log(2m) + θ²)/θ².
    """
    under = (theta * theta + Quantity(2 * math.log(2 * m), 4 * U * math.log(2 * m))).sqrt()
    return theta / under * (2 * math.pi) ** -1.5
