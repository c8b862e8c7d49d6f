"""What several of the ReLU statements share: Schur's sum, μ_r, the width conditions, norm bounds."""

from __future__ import annotations

import math

from ntkscope.statements.findings import Findings
from ntkscope.statements.instance import Instance, NotComputable
from ntkscope.statements.quantity import Quantity, U


def schur_sum(i: Instance) -> Quantity:
    """Σ_k λ_min(F_k F_kᵀ) min_j ‖(B_{k+1})_j‖², the right side of eq. 26."""

    def make() -> Quantity:
        total = Quantity(0.0)
        for k in range(i.L):
            scale = i.network.scales[k] ** 2
            total = total + i.lambda_features(k) * i.min_norm_sq(i.B(k + 1)) * scale
        return total

    return i.held("schur sum", make)


def relu_coefficient(r: int) -> float:
    """μ_r(ReLU): eq. 8 for even r ≥ 2, 1/√(2π) and 1/2 for r = 0, 1, and 0 for odd r ≥ 3."""
    if r in (0, 1):
        return 1 / math.sqrt(2 * math.pi) if r == 0 else 0.5
    if r % 2:
        return 0.0
    double_factorial = math.prod(range(r - 3, 0, -2))
    sign = -1.0 if (r // 2) % 2 == 0 else 1.0
    return sign * double_factorial / math.sqrt(2 * math.pi * math.factorial(r))


def width_conditions(i: Instance, out: Findings, k: int) -> bool:
    """Eq. 18-19 (27-28) for layer k, recorded; whether constant 1 will do."""
    if i.N < 2:
        raise NotComputable("with one sample log N = 0 and the width conditions are void")
    wide = out.order_of(
        f"n_{k} = Ω(N log N log(N/δ))", i.n[k], i.N * math.log(i.N) * math.log(i.N / i.delta),
        at_least=True,
    )  # fmt: skip
    logs = math.prod(math.log(i.n[l]) for l in range(1, k - 1))
    narrow = min(i.n[:k])
    name = f"Π_(l≤{k - 2}) log n_l = o(min_(l<{k}) n_l)" if k > 2 else f"1 = o(min_(l<{k}) n_l)"
    return out.order_of(name, logs, narrow, at_least=False) and wide


def norm_bound(i: Instance, slope: float, p: int, q: int) -> Quantity:
    """Π_{l=p}^q M²‖W_l‖²_op, M = ``slope``."""
    bound = Quantity(1.0)
    for l in range(p, q + 1):
        bound = bound * (i.op_norm(l) * slope) ** 2
    return bound


def feature_bound(i: Instance, out: Findings, k: int) -> None:
    """max ‖f_k(x)‖²/‖x‖² ≤ Π M²‖W_l‖²: it holds for every network with φ(0) = 0, no biases."""
    if i.network.activation.at_zero != 0 or i.slope is None or not i.plain:
        out.note(
            "No bound by operator norms: it needs φ(0) = 0, a known Lipschitz constant, no biases."
        )
        return
    bound = norm_bound(i, i.slope, 1, k)
    sizes, inputs = i.norms_sq(i.F(k)), i.norms_sq(i.X)
    alive = inputs > 0
    if not bool(alive.any()):
        return
    growth = float((sizes[alive] / inputs[alive]).max())
    length = sum(i.n[: k + 1]) + 4 * k
    out.at_most(f"max_i ‖f_{k}(x_i)‖²/‖x_i‖² ≤ Π_(l≤{k}) M²‖W_l‖²_op",
                Quantity(growth, length * U * bound.value), bound, key="shared.growth", k=k)  # fmt: skip


def natural_scale(i: Instance) -> float:
    """A bound on every K_ii by norms, Σ_k max‖F_k‖² Π (M‖W_l‖_op)², enlarged for rounding in φ′.

    φ′(z) can be far below sup φ′ (a saturated neuron), and an error in z then counts against the
    latter: so does the rounding of anything made of φ′.
    """
    slope = i.slope
    if slope is None:
        slope = max(
            1.0,
            *(float(i.network.activation.derivative(i.G(l)).abs().max()) for l in range(1, i.L)),
        )
    total = 0.0
    for k in range(i.L):
        gain = math.prod((slope * float(i.op_norm(l))) ** 2 for l in range(k + 2, i.L + 1))
        gain *= (1.0 + abs(i.network.residual)) ** (2 * i.L)
        total += float(i.norms_sq(i.F(k)).max()) * gain
    reach = max(float(i.G(l).abs().max()) for l in range(1, i.L + 1))
    return total * (1.0 + reach)
