"""Nguyen et al. 2021, App. F: the linear pieces of the feature maps, and how many there are."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from ntkscope.lipschitz import FeatureMap, feature_map
from ntkscope.lipschitz.exact import exact_constant
from ntkscope.papers.nguyen2021 import PAPER
from ntkscope.papers.nguyen2021.walks import gain, pairs, pass_error, piecewise
from ntkscope.statements import needs
from ntkscope.statements.findings import Findings
from ntkscope.statements.instance import Instance, NotComputable
from ntkscope.statements.quantity import Quantity, rounded
from ntkscope.statements.shared import segments


@PAPER.statement(
    "lemma-f.2",
    title="Feature maps are piecewise linear",
    section="Lemma F.2",
    sentence="f_k and g_k are piecewise linear.",
    latex=r"f_k,\ g_k:\mathbb R^d\to\mathbb R^{n_k}\ \text{are piecewise linear},\quad k\in[L]",
    needs=(needs.relu,),
    level2="on each piece of a segment g_k(midpoint) is the mean of its ends",
)
def piecewise_linear(i: Instance, out: Findings) -> None:
    piecewise(i)
    for k in range(1, i.L + 1):
        mapping = feature_map(i.model, k)
        for a, b in pairs(i)[:2]:
            x, y = i.X[a], i.X[b]
            cuts = segments.breakpoints(mapping, x, y)
            ends = segments.value(mapping, segments.points(x, y, cuts))
            middle = segments.value(mapping, segments.points(x, y, 0.5 * (cuts[1:] + cuts[:-1])))
            gap = float((middle - 0.5 * (ends[1:] + ends[:-1])).norm(dim=1).max())
            size = gain(i, k) * (1 + float(torch.maximum(x.norm(), y.norm())))
            bar = 4 * pass_error(mapping, size * math.sqrt(max(i.n[: k + 1])))
            out.at_most(f"deviation of g_{k} from linear on {len(cuts) - 1} pieces, samples {a}, {b}",
                        gap, Quantity(0.0, bar), key="linear", k=k, a=a, b=b)  # fmt: skip


@PAPER.statement(
    "lemma-f.3",
    title="Polyhedra and matrices",
    section="Lemma F.3",
    sentence="A piecewise linear map is A_i x on polyhedra with disjoint nonempty interiors that cover the space.",
    latex=r"\mathbb R^n=\bigcup_iP_i,\quad \mathrm{int}P_i\ne\emptyset,\quad \mathrm{int}P_i\cap\mathrm{int}P_j=\emptyset,\quad f(x)=A_ix\ (x\in P_i)",
    needs=(needs.relu, needs.plain),
    level2="g_k(x_i) = J(g_k)(x_i) x_i at every sample, and on the ball inside its cell around x_1",
)
def polyhedra(i: Instance, out: Findings) -> None:
    piecewise(i)
    if i.network.bias_std is not None:
        raise NotComputable("with biases the pieces are affine, not linear")
    for k in range(1, i.L + 1):
        mapping = feature_map(i.model, k)
        worst = 0.0
        for row in range(min(i.N, 16)):
            z = i.X[row]
            moved = segments.directional(mapping, z[None], z)[0]
            size = float(moved.norm())
            gap = float((moved - segments.value(mapping, z[None])[0]).norm())
            worst = max(worst, gap / size if size else gap)
        out.at_most(f"‖g_{k}(x) − J(g_{k})(x) x‖/‖g_{k}(x)‖, 16 samples", worst,
                    Quantity(0.0, pass_error(mapping, 4.0)), key="homogeneous", k=k)  # fmt: skip
        if k > 1:
            _cell(i, out, k, mapping)


def _cell(i: Instance, out: Findings, k: int, mapping: FeatureMap) -> None:
    """The largest ball around x_1 that no kink of the layers before k enters."""
    x = i.X[0]
    radius = math.inf
    for l in range(1, k):
        inner = replace(mapping, matrices=mapping.matrices[:l])
        distances = i.G(l)[0].abs() / inner.jacobian(x).norm(dim=1)
        alive = torch.isfinite(distances)
        radius = min(radius, float(distances[alive].min()) if bool(alive.any()) else math.inf)
    out.hypothesis(f"x_1 lies inside a cell of g_{k}", radius > 0, radius, 0.0,
                   "its distance to the nearest wall")  # fmt: skip
    if not 0 < radius < math.inf:
        return
    direction = torch.randn(i.d, generator=i.generator("cell"), dtype=torch.float64)
    step = 0.5 * radius * direction / direction.norm()
    moved = segments.value(mapping, (x + step)[None])[0] - segments.value(mapping, x[None])[0]
    linear = segments.directional(mapping, x[None], step)[0]
    size = gain(i, k) * float(x.norm() + step.norm()) * math.sqrt(max(i.n[: k + 1]))
    bar = pass_error(mapping, size)
    out.at_most(f"‖g_{k}(x + h) − g_{k}(x) − A h‖ inside the cell", float((moved - linear).norm()),
                Quantity(0.0, bar), key="cell", k=k)  # fmt: skip


@PAPER.statement(
    "activation-patterns",
    title="Number of activation patterns",
    section="App. F.1 of v1",
    sentence="The R patterns that an L-layer net can have are of the order of n_max^d.",
    latex=r"R=O\big((n_{\max})^{n_p}\big),\quad n_{\max}=\max_{l\in[p+1,q-1]}n_l",
    needs=(needs.relu, needs.plain),
    level2=(
        "patterns met ≤ Π_l 2Σ_{j<d} C(n_l − 1, j) (hyperplanes through 0), and on a random plane "
        "≤ 2n_1 Π_{l≥2}(n_l + 1)"
    ),
)
def patterns(i: Instance, out: Findings) -> None:
    piecewise(i)
    if i.network.bias_std is not None:
        raise NotComputable("the counts are for hyperplanes through 0, without biases")
    if not i.network.activation.kinks:
        raise NotComputable("a linear network has no kinks and one pattern")
    if i.at_kinks:
        raise NotComputable("a pre-activation is 0 to rounding, so its sign is not known")
    basis = torch.linalg.qr(
        torch.randn(i.d, 2, generator=i.generator("plane"), dtype=torch.float64)
    )[0]
    for k in range(1, i.L):
        signs = torch.cat([i.G(l) > 0 for l in range(1, k + 1)], dim=1)
        met = len(torch.unique(signs, dim=0))
        log_bound = sum(_log_regions(i.n[l], i.d) for l in range(1, k + 1))
        out.at_most(f"log(patterns of the samples up to layer {k}) ≤ Σ log 2ΣC(n_l−1, j)",
                    math.log(met), rounded(log_bound, 64), key="samples", k=k)  # fmt: skip
        n_max = max(i.n[1 : k + 1])
        if n_max > 1:
            out.scaling(f"log R on the samples, layers 1…{k}", math.log(met), "O",
                        i.d * math.log(n_max), "d log n_max", key="order", k=k)  # fmt: skip
        mapping = feature_map(i.model, k + 1)
        plane = replace(mapping, matrices=(basis.T @ mapping.matrices[0], *mapping.matrices[1:]))
        if i.d > 1 and not mapping.residual:
            walked = exact_constant(plane)
            bound = 2 * i.n[1] * math.prod(n + 1 for n in i.n[2 : k + 1])
            if walked is not None and walked.pieces is not None:
                # the walk starts from three cuts of its own
                out.at_most(f"sectors of a random plane, layers 1…{k} ≤ 2n_1 Π(n_l + 1)",
                            walked.pieces - 3, bound, key="plane", k=k)  # fmt: skip
    out.note(f"{i.N} samples can show {i.N} patterns at most.")
    out.note(
        "The order n_max^d is Hanin and Rolnick's average over the weights; the worst case over "
        "several layers is a product over them."
    )


def _log_regions(n: int, d: int) -> float:
    """log of 2 Σ_{j<d} C(n−1, j), the cells of n hyperplanes through 0 in R^d."""
    logs = [math.lgamma(n) - math.lgamma(j + 1) - math.lgamma(n - j) for j in range(min(d, n))]
    top = max(logs)
    return math.log(2.0) + top + math.log(sum(math.exp(x - top) for x in logs))
