"""Nguyen et al. 2021, §6 and App. F: Lipschitz constants, operator norms, activation patterns."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import torch

from ntkscope.lipschitz import FeatureMap, feature_map
from ntkscope.lipschitz.exact import exact_constant
from ntkscope.statements import needs
from ntkscope.statements.instance import Instance, NotComputable
from ntkscope.statements.quantity import Quantity, U, rounded
from ntkscope.statements.shared import chains, scales, segments
from ntkscope.statements.statement import Findings, statement

SOURCE = "Nguyen et al. 2021"
SETTING = (needs.relu, needs.plain, needs.standard, needs.gaussian)
PAIRS = 3  # segments walked


def piecewise(i: Instance) -> None:
    """Stop unless φ is piecewise linear with its kink at 0."""
    if i.network.activation.homogeneity != 1:
        raise NotComputable(f"{i.network.activation} networks are not piecewise linear")


def _pairs(i: Instance) -> list[tuple[int, int]]:
    order = torch.randperm(i.N, generator=i.generator("segments")).tolist()
    return [(order[2 * j], order[2 * j + 1]) for j in range(min(PAIRS, i.N // 2))]


def _bar(mapping: FeatureMap, scale: float) -> float:
    """Rounding of a pass through the map, relative to the product of its norms."""
    length = sum(m.shape[0] for m in mapping.matrices) + 8 * len(mapping.matrices)
    return 4 * length * U * scale


@statement(
    "nguyen2021.lemma-6.1",
    title="Lipschitz constant and Jacobians",
    source=f"{SOURCE}, Lemma 6.1",
    sentence="‖g_k‖_Lip is the largest Jacobian norm over inputs whose pre-activations are all nonzero.",
    latex=(
        r"\|g_k\|_{\mathrm{Lip}}=\max_{z:\ \mathcal A_{1\to k-1}(z)\in\{-1,+1\}^{\sum n_l}}\|J(g_k)(z)\|_{\mathrm{op}}"
    ),
    needs=(needs.relu,),
    level2=(
        "‖g_k(x) − g_k(y)‖ ≤ max_pieces ‖J(z)u‖ ‖x − y‖ along segments, ≤ the certified upper "
        "bound; J by eq. 33 equals autograd's"
    ),
)
def jacobian_norm(i: Instance, out: Findings) -> None:
    zeros = i.kernel.near_kinks
    out.hypothesis("g_lj(x_i) ≠ 0 at every sample, to rounding", zeros == 0, zeros, 0)
    piecewise(i)
    for k in range(1, i.L + 1):
        mapping, interval = feature_map(i.model, k), i.lipschitz(k)
        bar = _bar(mapping, interval.uppers.get("product", interval.upper))
        _check_chain_rule(i, out, k, mapping, bar)
        for a, b in _pairs(i):
            x, y = i.X[a], i.X[b]
            distance = float((y - x).norm())
            if distance == 0:
                continue
            cuts = segments.breakpoints(mapping, x, y)
            middle = segments.points(x, y, 0.5 * (cuts[1:] + cuts[:-1]))
            steepest = float(
                segments.directional(mapping, middle, (y - x) / distance).norm(dim=1).max()
            )
            difference = segments.value(mapping, torch.stack([x, y])).diff(dim=0).norm()
            reach = float(torch.maximum(x.norm(), y.norm())) / distance
            name = f"k = {k}, samples {a}, {b}, {len(cuts) - 1} pieces"
            out.at_most(
                f"‖g(x) − g(y)‖/‖x − y‖ ≤ max‖J(z)u‖, {name}",
                Quantity(float(difference) / distance, bar * (1 + 2 * reach)), Quantity(steepest, bar),
            )  # fmt: skip
            out.at_most(
                f"max‖J(z)u‖ ≤ upper bound of ‖g_{k}‖_Lip, {name}",
                Quantity(steepest, bar),
                interval.upper,
            )
        out.at_most(
            f"largest ‖J(g_{k})(z)‖ found ≤ upper bound",
            interval.lower,
            Quantity(interval.upper, bar),
        )
        out.note(
            f"‖g_{k}‖_Lip in [{interval.lower:.5g}, {interval.upper:.5g}]"
            + (", exact" if interval.exact else "")
        )


def _check_chain_rule(i: Instance, out: Findings, k: int, mapping: FeatureMap, bar: float) -> None:
    """Eq. 33 at x_1 against automatic differentiation."""
    if i.network.bias_std is not None or i.network.residual or i.at_kinks:
        return
    z = i.X[0].clone().requires_grad_()
    with torch.enable_grad():
        probe = torch.randn(i.n[k], generator=i.generator("probe"), dtype=torch.float64)
        (pulled,) = torch.autograd.grad((segments.value(mapping, z[None])[0] * probe).sum(), z)
    by_product = chains.jacobian(i, 0, 0, k) @ probe
    gap = float((pulled - by_product).norm())
    out.at_most(
        f"‖Jᵀv − (Π W_lΣ_l)W_{k} v‖ at x_1", gap, Quantity(0.0, 4 * bar * float(probe.norm()))
    )  # fmt: skip


@statement(
    "nguyen2021.theorem-6.2",
    title="Lipschitz constant of the feature maps",
    source=f"{SOURCE}, Theorem 6.2",
    sentence="‖g_k‖²_Lip is at most of the order of Π n_l / min n_l Π log n_l Π β_l².",
    latex=(
        r"\|g_k\|_{\mathrm{Lip}}^2=O\Big(\frac{\prod_{l=0}^{k}n_l}{\min_{l\in[0,k]}n_l}"
        r"\prod_{l=1}^{k-1}\log(n_l)\prod_{l=1}^{k}\beta_l^2\Big)"
    ),
    needs=SETTING,
    level2="largest Jacobian found ≤ ‖g_k‖_Lip ≤ Π M^{k-1}‖W_l‖_op, the bound that the theorem improves",
)
def lipschitz_scaling(i: Instance, out: Findings) -> None:
    for k in range(1, i.L + 1):
        interval = i.lipschitz(k)
        _between(i, out, 0, k)
        predicted = scales.lipschitz(i, 0, k)
        expression = "Πn_l/min n_l Πlog n_l Πβ_l²"
        out.scaling(f"‖g_{k}‖²_Lip, lower", interval.lower**2, "O", predicted, expression)
        if not interval.exact:
            out.scaling(f"‖g_{k}‖²_Lip, upper", interval.upper**2, "O", predicted, expression)
        product = math.prod(i.beta[l] ** 2 * max(i.n[l - 1], i.n[l]) for l in range(1, k + 1))
        if k > 1:
            out.note(
                f"k = {k}: the expression is {predicted / product:.3g} of that of the product of "
                "operator norms, Π β_l² max(n_{l-1}, n_l)."
            )


def _between(i: Instance, out: Findings, p: int, q: int) -> None:
    """The interval's lower end lies below the product of operator norms."""
    slope = i.network.activation.lipschitz
    if slope is None or not math.isfinite(slope) or i.network.residual:
        return
    product = Quantity(slope ** (q - p - 1))
    for l in range(p + 1, q + 1):
        product = product * i.op_norm(l)
    name = f"g_{q}" if p == 0 else f"h_({p}→{q})"
    interval = i.lipschitz(q, p)
    exact = 1e-9 * interval.upper if interval.exact else 0.0
    bar = _bar(feature_map(i.model, q, p), product.value) + exact
    out.at_most(
        f"‖J({name})‖ found ≤ M^{q - p - 1} Π‖W_l‖_op", Quantity(interval.lower, bar), product
    )


@statement(
    "nguyen2021.eq-42",
    title="Operator norm of Π W_l Σ_l",
    source=f"{SOURCE} (v1), eq. 42",
    sentence="‖Π_{l=p}^q W_l Σ_l(x)‖²_op is at most of the order of Π n_l / min n_l Π β_l².",
    latex=(
        r"\Big\|\prod_{l=p}^{q}W_l\Sigma_l(x)\Big\|_{\mathrm{op}}^2=O\Big(\frac{\prod_{l=p-1}^{q}n_l}"
        r"{\min_{l\in[p-1,q]}n_l}\prod_{l=p}^{q}\beta_l^2\Big)"
    ),
    needs=SETTING,
    level2="submultiplicativity at every cut j, and ≤ Π M²‖W_l‖²_op",
)
def operator_norms(i: Instance, out: Findings) -> None:
    norms = {}
    for p, q in _spans(1, i.L - 1):
        product = chains.weight_product(i, 0, p, q)
        norms[p, q] = rounded(torch.linalg.matrix_norm(product, 2), 4 * sum(i.n[p - 1 : q + 1]))
    slope = i.network.activation.lipschitz
    for (p, q), norm in norms.items():
        size = math.prod(float(norms[l, l]) for l in range(p, q + 1))
        # the product's own rounding, relative to the norms of its factors
        norm = Quantity(norm.value, norm.error + 4 * sum(i.n[p - 1 : q + 1]) * U * size)
        squared = norm**2
        predicted = scales.operator(i, p, q)
        out.scaling(
            f"‖Π_(l={p}…{q}) W_lΣ_l(x_1)‖²_op", squared, "O", predicted, "Πn_l/min n_l Πβ_l²"
        )
        for j in range(p, q):
            out.at_most(
                f"‖Π_({p}…{q})‖² ≤ ‖Π_({p}…{j})‖² ‖Π_({j + 1}…{q})‖²", squared,
                (norms[p, j] * norms[j + 1, q]) ** 2,
            )  # fmt: skip
        if slope is not None and math.isfinite(slope):
            bound = Quantity(1.0)
            for l in range(p, q + 1):
                bound = bound * (i.op_norm(l) * slope) ** 2
            out.at_most(f"‖Π_({p}…{q}) W_lΣ_l(x_1)‖² ≤ Π M²‖W_l‖²", squared, bound)


def _spans(first: int, last: int) -> list[tuple[int, int]]:
    return [(p, q) for p in range(first, last + 1) for q in range(p, last + 1)]


@statement(
    "nguyen2021.eq-58",
    title="Lipschitz constants of sub-maps",
    source=f"{SOURCE} (v1), eq. 58",
    sentence="‖h_{p→q}‖²_Lip is at most of the order of Π n_l / min n_l Π log n_l Π β_l² (printed without the square).",
    latex=(
        r"\|h_{p\to q}\|_{\mathrm{Lip}}^2=O\Big(\frac{\prod_{l=p}^{q}n_l}{\min_{l\in[p,q]}n_l}"
        r"\prod_{l=p+1}^{q-1}\log(n_l)\prod_{l=p+1}^{q}\beta_l^2\Big)"
    ),
    needs=SETTING,
    level2="‖h_{p→q}‖ ≤ M‖h_{p→j}‖‖h_{j→q}‖ at every cut j (lower end against upper ends)",
)
def submaps(i: Instance, out: Findings) -> None:
    slope = i.network.activation.lipschitz
    for p, q in itertools.combinations(range(i.L + 1), 2):
        interval = i.lipschitz(q, p)
        predicted = scales.lipschitz(i, p, q)
        out.scaling(
            f"‖h_({p}→{q})‖²_Lip, lower",
            interval.lower**2,
            "O",
            predicted,
            "Πn_l/min n_l Πlog n_l Πβ_l²",
        )
        if slope is None or not math.isfinite(slope) or i.network.residual:
            continue
        for j in range(p + 1, q):
            bound = slope * i.lipschitz(j, p).upper * i.lipschitz(q, j).upper
            bar = _bar(feature_map(i.model, q, p), bound)
            out.at_most(
                f"‖h_({p}→{q})‖ ≤ M‖h_({p}→{j})‖‖h_({j}→{q})‖", Quantity(interval.lower, bar), bound
            )
    out.note("App. F.1 of v1 writes ‖h‖_Lip where its right sides are those of ‖h‖²_Lip.")


@statement(
    "nguyen2021.eq-59",
    title="Finitely many Jacobians",
    source=f"{SOURCE} (v1), eq. 59",
    sentence="‖h_{p→q}‖_Lip is at most the largest ‖(Π W_l Σ_l) W_q‖_op over the R activation patterns.",
    latex=(
        r"\|h_{p\to q}\|_{\mathrm{Lip}}\le\max_{(\Sigma_{p+1},\dots,\Sigma_{q-1})\in\mathcal D}"
        r"\Big\|\Big(\prod_{l=p+1}^{q-1}W_l\Sigma_l\Big)W_q\Big\|_{\mathrm{op}}"
    ),
    needs=(needs.relu, needs.plain),
    level2="on every segment between samples ‖h(x) − h(y)‖/‖x − y‖ ≤ max over the patterns met of ‖(ΠW_lΣ_l)W_q‖",
)
def finitely_many(i: Instance, out: Findings) -> None:
    piecewise(i)
    for p, q in itertools.combinations(range(i.L + 1), 2):
        if q == p + 1:
            continue
        mapping = feature_map(i.model, q, p)
        interval = i.lipschitz(q, p)
        bar = _bar(mapping, interval.uppers.get("product", interval.upper))
        for a, b in _pairs(i)[:1]:
            x, y = i.F(p)[a], i.F(p)[b]
            distance = float((y - x).norm())
            if distance == 0:
                continue
            cuts = segments.breakpoints(mapping, x, y)
            middle = segments.points(x, y, 0.5 * (cuts[1:] + cuts[:-1]))
            speed = segments.directional(mapping, middle, (y - x) / distance).norm(dim=1)
            steepest = middle[int(speed.argmax())]
            norm = float(torch.linalg.matrix_norm(mapping.jacobian(steepest), 2))
            difference = segments.value(mapping, torch.stack([x, y])).diff(dim=0).norm()
            reach = float(torch.maximum(x.norm(), y.norm())) / distance
            name = f"h_({p}→{q}), {len(middle)} pieces"
            out.at_most(
                f"‖h(x) − h(y)‖/‖x − y‖ ≤ max‖(ΠW_lΣ_l)W_{q}‖, {name}",
                Quantity(float(difference) / distance, bar * (1 + 2 * reach)), Quantity(norm, bar),
            )  # fmt: skip
            out.at_most(
                f"‖(ΠW_lΣ_l)W_{q}‖ ≤ upper bound, {name}", Quantity(norm, bar), interval.upper
            )


@statement(
    "nguyen2021.eq-60",
    title="The ½-net step",
    source=f"{SOURCE} (v1), eq. 44 and 60",
    sentence="‖A‖²_op is at most twice the largest ‖yᵀA‖² over a ½-net of the sphere.",
    latex=r"\|A\|_{\mathrm{op}}^2\le2\sup_{y\in N_{1/2}}\|y^\top A\|_2^2,\quad A=\Big(\prod W_l\Sigma_l\Big)W_q",
    needs=(needs.plain,),
    level2=(
        "the worst point of a ½-net: ‖yᵀA‖² ≥ (7/8)²‖A‖² for every unit y within ½ of the top left "
        "singular vector, so the factor 64/49 would do"
    ),
)
def half_net(i: Instance, out: Findings) -> None:
    for q in range(1, i.L + 1):
        A = chains.jacobian(i, 0, 0, q)
        U_left, values, _ = torch.linalg.svd(A, full_matrices=True)
        if float(values[0]) == 0:
            continue
        squared = rounded(values[0] ** 2, 8 * max(A.shape))
        # the unit vector at distance exactly ½ of the top one that sees least of A
        cosine, sine = 7.0 / 8.0, math.sqrt(15.0) / 8.0
        y = (
            U_left[:, 0].clone()
            if len(U_left) == 1
            else cosine * U_left[:, 0] + sine * U_left[:, -1]
        )
        seen = Quantity(float((y @ A).square().sum()), 8 * sum(A.shape) * U * squared.value)
        out.at_most(f"‖A‖² ≤ 2‖yᵀA‖² at the worst y, q = {q}", squared, seen * 2)
        out.at_most(f"(7/8)²‖A‖² ≤ ‖yᵀA‖², q = {q}", squared * (49 / 64), seen)
    out.note("Eq. 60 has ‖h‖_Lip unsquared before it; App. F.1 means ‖h‖²_Lip.")


@statement(
    "nguyen2021.eq-61",
    title="Size of z = yᵀ Π W_l Σ_l",
    source=f"{SOURCE} (v1), eq. 45 and 61",
    sentence="‖z‖² is at most ‖Π W_l Σ_l‖²_op, of the order of Π n_l / min n_l Π β_l².",
    latex=(
        r"\|z\|_2^2\le\Big\|\prod_{l=p+1}^{q-1}W_l\Sigma_l\Big\|_{\mathrm{op}}^2=O\Big("
        r"\frac{\prod_{l=p}^{q-1}n_l}{\min_{l\in[p,q-1]}n_l}\prod_{l=p+1}^{q-1}\beta_l^2\Big)"
    ),
    needs=SETTING,
    level2="‖yᵀΠW_lΣ_l‖² ≤ ‖ΠW_lΣ_l‖²_op for random unit y",
)
def row_sizes(i: Instance, out: Findings) -> None:
    for p, q in _spans(1, i.L - 1):
        product = chains.weight_product(i, 0, p, q)
        norm = rounded(torch.linalg.matrix_norm(product, 2), 4 * max(product.shape))
        y = torch.randn(i.n[p - 1], generator=i.generator(f"y {p} {q}"), dtype=torch.float64)
        z = (y / y.norm()) @ product
        length = 4 * sum(product.shape)
        measured = rounded(z.square().sum(), length, float(norm) ** 2)
        out.at_most(f"‖z‖² ≤ ‖Π_({p}…{q}) W_lΣ_l‖²_op", measured, norm**2)
        out.scaling(
            f"‖z‖², l = {p}…{q}", measured, "O", scales.operator(i, p, q), "Πn_l/min n_l Πβ_l²"
        )


@statement(
    "nguyen2021.lemma-f.2",
    title="Feature maps are piecewise linear",
    source=f"{SOURCE}, Lemma F.2",
    sentence="f_k and g_k are piecewise linear.",
    latex=r"f_k,\ g_k:\mathbb R^d\to\mathbb R^{n_k}\ \text{are piecewise linear},\quad k\in[L]",
    needs=(needs.relu,),
    level2="on each piece of a segment g_k(midpoint) is the mean of its ends",
)
def piecewise_linear(i: Instance, out: Findings) -> None:
    piecewise(i)
    for k in range(1, i.L + 1):
        mapping = feature_map(i.model, k)
        product = math.prod(float(i.op_norm(l)) for l in range(1, k + 1))
        slope = (
            max(1.0, i.network.activation.lipschitz or 1.0) ** k
            * (1 + abs(i.network.residual)) ** k
        )
        for a, b in _pairs(i)[:2]:
            x, y = i.X[a], i.X[b]
            cuts = segments.breakpoints(mapping, x, y)
            ends = segments.value(mapping, segments.points(x, y, cuts))
            middle = segments.value(mapping, segments.points(x, y, 0.5 * (cuts[1:] + cuts[:-1])))
            gap = float((middle - 0.5 * (ends[1:] + ends[:-1])).norm(dim=1).max())
            size = product * slope * (1 + float(torch.maximum(x.norm(), y.norm())))
            bar = 4 * _bar(mapping, size * math.sqrt(max(i.n[: k + 1])))
            out.at_most(
                f"deviation of g_{k} from linear on {len(cuts) - 1} pieces, samples {a}, {b}", gap,
                Quantity(0.0, bar),
            )  # fmt: skip


@statement(
    "nguyen2021.lemma-f.3",
    title="Polyhedra and matrices",
    source=f"{SOURCE}, Lemma F.3",
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
        out.at_most(
            f"‖g_{k}(x) − J(g_{k})(x) x‖/‖g_{k}(x)‖, 16 samples",
            worst,
            Quantity(0.0, _bar(mapping, 4.0)),
        )
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
    out.hypothesis(
        f"x_1 lies inside a cell of g_{k}",
        radius > 0,
        radius,
        0.0,
        "its distance to the nearest wall",
    )
    if not 0 < radius < math.inf:
        return
    direction = torch.randn(i.d, generator=i.generator("cell"), dtype=torch.float64)
    step = 0.5 * radius * direction / direction.norm()
    moved = segments.value(mapping, (x + step)[None])[0] - segments.value(mapping, x[None])[0]
    linear = segments.directional(mapping, x[None], step)[0]
    product = math.prod(float(i.op_norm(l)) for l in range(1, k + 1))
    slope = (
        max(1.0, i.network.activation.lipschitz or 1.0) ** k * (1 + abs(i.network.residual)) ** k
    )
    bar = _bar(
        mapping, product * slope * float(x.norm() + step.norm()) * math.sqrt(max(i.n[: k + 1]))
    )
    out.at_most(
        f"‖g_{k}(x + h) − g_{k}(x) − A h‖ inside the cell", float((moved - linear).norm()),
        Quantity(0.0, bar),
    )  # fmt: skip


@statement(
    "nguyen2021.activation-patterns",
    title="Number of activation patterns",
    source=f"{SOURCE} (v1), App. F.1",
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
        out.at_most(
            f"log(patterns of the samples up to layer {k}) ≤ Σ log 2ΣC(n_l−1, j)", math.log(met),
            rounded(log_bound, 64),
        )  # fmt: skip
        n_max = max(i.n[1 : k + 1])
        if n_max > 1:
            out.scaling(
                f"log R on the samples, layers 1…{k}",
                math.log(met),
                "O",
                i.d * math.log(n_max),
                "d log n_max",
            )
        mapping = feature_map(i.model, k + 1)
        plane = replace(mapping, matrices=(basis.T @ mapping.matrices[0], *mapping.matrices[1:]))
        if i.d > 1 and not mapping.residual:
            walked = exact_constant(plane)
            bound = 2 * i.n[1] * math.prod(n + 1 for n in i.n[2 : k + 1])
            if walked is not None and walked.pieces is not None:
                # the walk starts from three cuts of its own
                out.at_most(
                    f"sectors of a random plane, layers 1…{k} ≤ 2n_1 Π(n_l + 1)",
                    walked.pieces - 3,
                    bound,
                )
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
