"""How far the Jacobian can move in a ball around θ_0: an upper bound with explicit constants.

In ‖θ − θ_0‖ ≤ r every layer's weights move by at most r in Frobenius norm. With φ M-Lipschitz, φ′
M′-Lipschitz and everything at θ_0 computed, sample by sample (and in Frobenius norm over the samples)

- ‖Δg_l‖ ≤ ‖Δf_(l-1)‖(‖W_l‖ + r) + ‖f_(l-1)‖ r and ‖Δf_l‖ ≤ M‖Δg_l‖;
- with u_l = W_(l+1) b_(l+1), b_l = φ′(g_l) ∘ u_l: ‖Δu_l‖ ≤ ‖Δb_(l+1)‖(‖W_(l+1)‖ + r) + ‖b_(l+1)‖ r and
  ‖Δb_l‖ ≤ M′ max|u_l| ‖Δg_l‖ + M‖Δu_l‖;
- the block of W_(k+1) has rows f_k ⊗ b_(k+1), so it moves by (Δf_k) ⊗ b_(k+1) + f_k ⊗ Δb_(k+1), and the
  matrix with rows a_i ⊗ c_i has norm at most ‖A‖ max‖c_i‖, max‖a_i‖ ‖C‖ and (Σ‖a_i‖²‖c_i‖²)^½.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ntkscope.statements.instance import Instance, NotComputable
from ntkscope.statements.quantity import Quantity, U

SHARES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)  # of σ_min(J(θ_0)), tried for α


@dataclass(frozen=True)
class _Moves:
    """Bounds on how far the rows of a matrix (N, n) move: each row, and all in Frobenius norm."""

    rows: Tensor
    all: float


def jacobian_change(i: Instance, radius: float) -> Quantity:
    """An upper bound on ‖J(θ) − J(θ_0)‖ over ‖θ − θ_0‖ ≤ radius.

    Raises NotComputable for biases, residual connections, the "ntk" parameterization, or an
    activation without known M and M′.
    """
    if not i.plain or i.network.parameterization != "standard":
        raise NotComputable("the bound over the ball is for plain networks with raw weights")
    if i.slope is None or i.slope_of_derivative is None:
        raise NotComputable("the bound over the ball needs M and M′")
    preactivations, features = _forward(i, radius, i.slope)
    signals = _backward(i, radius, preactivations, i.slope, i.slope_of_derivative)
    total = 0.0
    for k in range(i.L):
        f, b = _row_norms(i.F(k)), _row_norms(i.B(k + 1))
        moved, turned = features[k], signals[k + 1]
        reached = b + turned.rows
        first = min(moved.all * _top(reached), _norm(moved.rows * reached))
        second = min(turned.all * _top(f), _operator(i, k) * _top(turned.rows),
                     _norm(f * turned.rows))  # fmt: skip
        total += (first + second) ** 2
    value = math.sqrt(total)
    return Quantity(value, 64 * (sum(i.n) + i.N) * i.L * U * value)


def _forward(i: Instance, r: float, slope: float) -> tuple[list[_Moves], list[_Moves]]:
    """Of g_1, …, g_(L-1) (the first entry is idle) and of f_0, …, f_(L-1)."""
    still = _Moves(torch.zeros(i.N, dtype=torch.float64), 0.0)
    pre, features = [still], [still]
    for l in range(1, i.L):
        through, before = _weight(i, l) + r, features[-1]
        rows = before.rows * through + _row_norms(i.F(l - 1)) * r
        both = min(before.all * through + _operator(i, l - 1) * r, _norm(rows))
        pre.append(_Moves(rows, both))
        features.append(_Moves(slope * rows, slope * both))
    return pre, features


def _backward(
    i: Instance, r: float, pre: list[_Moves], slope: float, bend: float
) -> dict[int, _Moves]:
    """Of b_1, …, b_L; b_L = 1 does not move."""
    found = {i.L: _Moves(torch.zeros(i.N, dtype=torch.float64), 0.0)}
    for k in range(i.L - 1, 0, -1):
        after, through, b = found[k + 1], _weight(i, k + 1) + r, i.B(k + 1).double()
        u = (b @ i.weight(k + 1).double().T).abs()
        rows = after.rows * through + _row_norms(b) * r
        both = min(after.all * through + float(torch.linalg.matrix_norm(b, 2)) * r, _norm(rows))
        rows = bend * u.amax(dim=1) * pre[k].rows + slope * rows
        both = bend * float(u.max()) * pre[k].all + slope * both
        found[k] = _Moves(rows, min(both, _norm(rows)))
    return found


def _weight(i: Instance, l: int) -> float:
    norm = i.op_norm(l)
    return norm.value + norm.error


def _operator(i: Instance, k: int) -> float:
    return i.held(("‖F‖", k), lambda: float(torch.linalg.matrix_norm(i.F(k).double(), 2)))


def _row_norms(matrix: Tensor) -> Tensor:
    return torch.linalg.vector_norm(matrix.double(), dim=1)


def _norm(rows: Tensor) -> float:
    return float(torch.linalg.vector_norm(rows))


def _top(rows: Tensor) -> float:
    return float(rows.max())


@dataclass(frozen=True)
class Certificate:
    """Eq. 21 with α a share of σ_min(J(θ_0)), as far as the bound over the ball proves it.

    moved bounds ‖J(θ) − J(θ_0)‖ in the ball of radius 4‖F(θ_0) − Y‖/α from above, so that there
    σ_min(J) ≥ σ_min(J(θ_0)) − moved, ‖J‖ ≤ beta = ‖J(θ_0)‖ + moved and two points differ by 2·moved.
    """

    alpha: float
    beta: float
    radius: float
    moved: float
    room: float  # what is left above α at the weakest point of the ball

    @property
    def allowed(self) -> float:
        """α²/(2β)."""
        return self.alpha**2 / (2 * self.beta)

    @property
    def ratio(self) -> float:
        """What both conditions ask for over what there is; eq. 21 is proved where it is ≤ 1."""
        lower = self.moved / self.room if self.room > 0 else math.inf
        return max(2 * self.moved / self.allowed, lower)


def certificate(i: Instance, residual: float) -> Certificate:
    """The best of the α tried for the instance's θ_0 and ‖F_L(θ_0) − Y‖ = residual.

    Raises NotComputable where K is singular to working precision, or as :func:`jacobian_change`.
    """
    if i.lambda_K.lower <= 0:
        raise NotComputable("K is singular at θ_0 to working precision, so α = 0")
    least, most = math.sqrt(i.lambda_K.lower), largest_singular(i)
    tried = []
    for share in SHARES:
        alpha = share * least
        radius = 4 * residual / alpha
        moved = jacobian_change(i, radius)
        far = moved.value + moved.error
        tried.append(Certificate(alpha, most + far, radius, far, least - alpha))
    return min(tried, key=lambda c: c.ratio)


def largest_singular(i: Instance) -> float:
    """‖J(θ_0)‖ with the rounding of the kernel added."""

    def make() -> float:
        top = float(torch.linalg.eigvalsh(i.K.double())[-1])
        return math.sqrt(top + i.kernel.forming_error() + 16 * i.N * U * top)

    found: float = i.held("‖J‖", make)
    return found
