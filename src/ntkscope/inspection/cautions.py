"""What the reader of an inspection should be told, in plain words."""

from __future__ import annotations

import torch

from ntkscope.data.summary import DataSummary
from ntkscope.inspection.examined import Examined
from ntkscope.inspection.meaning import Weakest
from ntkscope.inspection.spectrum import Descent
from ntkscope.kernels.kernel import Kernel
from ntkscope.networks.mlp import MLP
from ntkscope.spectra.eigenvalue import Eigenvalue


def cautions(
    seen: Examined,
    data: DataSummary | None,
    smallest: Eigenvalue,
    moves: Descent,
    weak: Weakest,
) -> list[str]:
    """One sentence or two each, the most telling first."""
    found = []
    if not smallest.status.trustworthy:
        found.append(f"λ_min: {smallest.status.value}. {smallest.status.advice}")
    found += _of_data(data) if data is not None else [_WITHOUT_DATA if seen.X is None else _WHOLE]
    found += _of_kernel(seen)
    if moves.smallest is None:
        found.append(
            f"the numbers of GD steps need λ_min of the kernel of all pairs of outputs "
            f"({moves.rows} rows), which is too large to compute here."
        )
    if weak.pair_angle is not None and weak.pair_share > 0.9:
        found.append(
            f"the weakest direction sits on the closest pair, rows {weak.rows[0]} and "
            f"{weak.rows[1]} (angle {weak.pair_angle:.3g} rad): near-duplicates set λ_min."
        )
    return found


_WITHOUT_DATA = (
    "without data nothing is said of norms, duplicates or the nearest pair; pass X to "
    "inspect(kernel, X)."
)


_WHOLE = (
    "the inputs hold whole numbers (token ids), whose norms and angles say nothing; equal samples "
    "show as λ_min below noise."
)


def _of_data(data: DataSummary) -> list[str]:
    found = []
    if data.duplicate_rows and data.duplicate_example is not None:
        i, j = data.duplicate_example
        found.append(
            f"{data.duplicate_rows} rows repeat an earlier one (first: {i} and {j}), so the exact "
            "λ_min is 0 and different labels on them cannot be fitted."
        )
    if data.zero_rows:
        found.append(f"{data.zero_rows} rows are zero; without biases the network cannot see them.")
    if data.norm_max > 3 * max(data.norm_min, 1e-300) and data.norm_min > 0:
        found.append(
            f"row norms differ by a factor {data.norm_max / data.norm_min:.3g}: λ_min ≤ min K_ii is "
            "then set by the smallest rows; consider scaling the rows."
        )
    return found


def _of_kernel(seen: Examined) -> list[str]:
    K: Kernel = seen.kernel
    found = []
    hidden = seen.model.network.widths[1:-1] if isinstance(seen.model, MLP) else ()
    narrow = [f"layer {k} has {n} neurons" for k, n in enumerate(hidden, 1) if n < len(K)]
    if narrow:
        found.append(
            f"F_k F_kᵀ is singular where a layer is narrower than N = {len(K)}: {', '.join(narrow)}; "
            "the layer-wise lower bounds are 0 there, though λ_min need not be."
        )
    if K.near_kinks:
        found.append(
            f"{K.near_kinks} pre-activations lie so near a kink of the activation that "
            "rounding decides their derivative; no error bar covers that."
        )
    if K.dtype == torch.float32:
        found.append("float32: λ_min below about 1e-6·λ_max is lost; use float64 to see it.")
    return found
