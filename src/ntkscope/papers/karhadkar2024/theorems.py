"""Karhadkar et al. 2024: the shallow and the deep bound, and uniform data."""

from __future__ import annotations

import itertools
import math

import torch

from ntkscope.data import Sphere
from ntkscope.networks.network import Network
from ntkscope.papers.karhadkar2024 import PAPER
from ntkscope.papers.karhadkar2024 import geometry as g
from ntkscope.statements.findings import Findings
from ntkscope.statements.hypothesis import Hypothesis
from ntkscope.statements.instance import Instance, NotComputable
from ntkscope.statements.quantity import Quantity

EPSILON = "ε = 1 − the probability"
CLIPPED = (
    "The printed (1 + d log(1/δ)/log d)^{-3} grows without bound as δ rises to d^{1/d} and is negative "
    "beyond (δ < √2 is allowed, d ≥ 4): λ is taken at min(δ, 1), which a δ-separated set allows."
)


def shallow(net: Network) -> Hypothesis:
    """One hidden layer."""
    return Hypothesis(
        "L = 2", net.depth == 2, note="" if net.depth == 2 else f"got L = {net.depth}"
    )


def deep(net: Network) -> Hypothesis:
    """Two hidden layers at least."""
    return Hypothesis(
        "L ≥ 3", net.depth >= 3, note="" if net.depth >= 3 else f"got L = {net.depth}"
    )


def pyramidal(net: Network) -> Hypothesis:
    """d_1 ≥ d_2 ≥ …, as the deep theorem asks."""
    hidden = net.widths[1:-1]
    falls = all(a >= b for a, b in itertools.pairwise(hidden))
    return Hypothesis("d_l ≥ d_(l+1)", falls, note="" if falls else f"got widths {list(hidden)}")


@PAPER.statement(
    "shallow",
    title="One hidden layer",
    section="shallow networks",
    sentence="If d_1 ≳ ‖X‖² λ^{-1} log(n/ε), then λ ≲ λ_min(K) ≲ δ′ with probability 1 − ε.",
    latex=(
        r"\lambda=\Big(1+\tfrac{d\log(1/\delta)}{\log d}\Big)^{-3}\delta^2\lesssim"
        r"\lambda_{\min}(K)\lesssim\delta'"
    ),
    needs=(*PAPER.needs, shallow),
    level2="λ_min of the limit ≤ δ′, with constant 1; the printed λ where δ > 1",
)
def shallow_bound(i: Instance, out: Findings) -> None:
    found = _data(i, out)
    rate = g.rate(i.d, found.delta, 2)
    norm_sq = float(torch.linalg.matrix_norm(found.unit, 2) ** 2)
    _width(i, out, "‖X‖² λ^{-1} log(n/ε)", norm_sq / rate.value * math.log(i.N / i.delta))
    value = g.smallest(i, "kernel")
    out.conclusion("λ_min(K)", value, "Ω", rate, "λ", key="lower")
    out.conclusion("λ_min(K)", value, "O", found.delta_prime, "δ′", key="upper")
    wide = g.smallest(i, "limit")
    out.at_most("λ_min of the limit ≤ δ′", wide, found.delta_prime, key="limit-distance")
    out.step_order("λ_min of the limit", wide, "Ω", rate, "λ", key="limit-lower")
    _printed(i, out, found, 2)


@PAPER.statement(
    "uniform",
    title="Uniform data",
    section="corollary on the uniform law",
    sentence="For n uniform points of the sphere λ_min(K) is between (1 + log(n/ε)/log d)^{-3}(ε²/n⁴)^{1/(d−1)} and (log(1/ε)/n²)^{1/(d−1)}.",
    latex=(
        r"\Big(1+\tfrac{\log(n/\epsilon)}{\log d}\Big)^{-3}\Big(\tfrac{\epsilon^2}{n^4}\Big)^{1/(d-1)}\lesssim"
        r"\lambda_{\min}(K)\lesssim\Big(\tfrac{\log(1/\epsilon)}{n^2}\Big)^{1/(d-1)}"
    ),
    needs=(*PAPER.needs, shallow),
    level2="the union bound for δ behind it, its constant explicit, over draws of the data",
)
def uniform(i: Instance, out: Findings) -> None:
    law = i.distribution
    is_uniform = None if law is None else isinstance(law, Sphere)
    out.hypothesis("the rows are uniform on a sphere", is_uniform)
    found = _data(i, out)
    n, d, epsilon = i.N, i.d, i.delta
    low = (1 + math.log(n / epsilon) / math.log(d)) ** -3 * (epsilon**2 / n**4) ** (1 / (d - 1))
    high = (math.log(1 / epsilon) / n**2) ** (1 / (d - 1))
    _width(i, out, "λ^{-1}(1 + (n + log(1/ε))/d) log(n/ε)",
           (1 + (n + math.log(1 / epsilon)) / d) * math.log(n / epsilon) / low)  # fmt: skip
    value = g.smallest(i, "kernel")
    out.conclusion(
        "λ_min(K)", value, "Ω", low, "(1 + log(n/ε)/log d)^{-3}(ε²/n⁴)^{1/(d−1)}", key="lower"
    )
    out.conclusion("λ_min(K)", value, "O", high, "(log(1/ε)/n²)^{1/(d−1)}", key="upper")
    out.step_order("δ", found.delta, "Ω", (epsilon / n**2) ** (1 / (d - 1)), "(ε/n²)^{1/(d−1)}",
                   key="separation")  # fmt: skip
    if is_uniform:
        _separation_event(i, out)


def separation_bound(n: int, d: int, epsilon: float) -> float:
    """δ that n uniform points of the sphere S^{d−1}, d ≥ 3, exceed with probability at least 1 − ε.

    A cap of chord δ has the share C ∫ t^{d−2} (1 − t²/4)^{(d−3)/2} dt ≤ C δ^{d−1}/(d−1) of the sphere,
    C = Γ(d/2)/(√π Γ((d−1)/2)), and there are n(n−1)/2 pairs with two caps each.
    """
    log_c = math.lgamma(d / 2) - math.lgamma((d - 1) / 2) - 0.5 * math.log(math.pi)
    log_delta = (math.log(epsilon) + math.log(d - 1) - math.log(n * (n - 1)) - log_c) / (d - 1)
    return math.exp(log_delta)


def _separation_event(i: Instance, out: Findings) -> None:
    assert i.distribution is not None
    bound = separation_bound(i.N, i.d, i.delta)
    trials, met = i.affordable(4.0 * i.N**2 * i.d), 0
    for trial in range(trials):
        X = i.distribution.sample(i.N, i.generator(f"separation {trial}"))
        met += g.measure(X).separation >= bound
    out.event("δ ≥ (ε(d−1)/(C n(n−1)))^{1/(d−1)}, C = Γ(d/2)/(√π Γ((d−1)/2))", met, trials, 1 - i.delta,
              over="the data", key="separation")  # fmt: skip


@PAPER.statement(
    "deep",
    title="Any depth",
    section="deep networks",
    sentence="For pyramidal networks with L ≥ 3 layers, λ ≲ λ_min(K) ≲ L with δ⁴ in place of δ².",
    latex=(
        r"\lambda=\Big(1+\tfrac{d\log(1/\delta)}{\log d}\Big)^{-3}\delta^4\lesssim\lambda_{\min}(K)\lesssim L"
    ),
    needs=(*PAPER.needs, deep, pyramidal),
    level2="λ_min of the limit ≤ L, with constant 1, and ≤ Lδ′; the printed λ where δ > 1",
)
def deep_bound(i: Instance, out: Findings) -> None:
    found = _data(i, out)
    rate = g.rate(i.d, found.delta, 4)
    n = i.N
    ratio = n / rate.value
    _width(i, out, "(n/λ) log(n/λ) log(n/ε)", ratio * math.log(ratio) * math.log(n / i.delta))
    out.order_of(f"d_{i.L - 1} ≳ 2^L log(nL/ε)", i.n[i.L - 1],
                 2.0**i.L * math.log(n * i.L / i.delta), at_least=True)  # fmt: skip
    value = g.smallest(i, "kernel")
    out.conclusion("λ_min(K)", value, "Ω", rate, "λ", key="lower")
    out.conclusion("λ_min(K)", value, "O", i.L, "L", key="upper")
    wide = g.smallest(i, "limit")
    out.at_most("λ_min of the limit ≤ L", wide, float(i.L), key="limit-depth")
    out.step_order("λ_min of the limit", wide, "Ω", rate, "λ", key="limit-lower")
    out.step_order(
        "λ_min of the limit", wide, "O", found.delta_prime * i.L, "L δ′", key="limit-distance"
    )
    _printed(i, out, found, 4)


def _data(i: Instance, out: Findings) -> g.Geometry:
    """The hypotheses that the theorems share."""
    found = g.require_separated(i, out)
    out.hypothesis("d ≥ 3", i.d >= 3, i.d, 3)
    if not i.relu or not i.plain:
        raise NotComputable("the paper's kernel is that of a plain ReLU network")
    if i.d < 3:
        raise NotComputable("log d and d − 1 leave nothing of the bound")
    if found.separation <= found.error:
        raise NotComputable("δ = 0 up to rounding, and every lower bound is 0")
    g.require_limit(i)
    return found


def _width(i: Instance, out: Findings, words: str, expression: float) -> None:
    out.order_of(f"d_1 ≳ {words}", i.n[1], expression, at_least=True, note=EPSILON)


def _printed(i: Instance, out: Findings, found: g.Geometry, power: int) -> None:
    """Where δ > 1 the printed λ is no bound whatever its constant: shown beside the clipped one."""
    if found.separation <= 1.0:
        return
    printed = g.as_printed(i.d, found.separation, power)
    out.note(f"{CLIPPED} As printed it is {printed:.6g} at δ = {found.separation:.6g}.")
    out.conclusion("λ_min(K)", g.smallest(i, "kernel"), "Ω", Quantity(printed), "λ as printed",
                   key="as-printed", concludes=False, erratum=True)  # fmt: skip
