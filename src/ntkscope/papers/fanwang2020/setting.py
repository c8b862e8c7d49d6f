"""What the statements share: the normalised Gram matrices, the law, the hypotheses."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ntkscope.papers.fanwang2020.constants import CENTRED, Constants, constants_of
from ntkscope.papers.fanwang2020.law import LinearWidthLaw, Which, linear_width_law
from ntkscope.statements.findings import Findings
from ntkscope.statements.instance import Instance, NotComputable


@dataclass(frozen=True)
class Setting:
    """constants: of the network, of σ − E σ where σ is not centred (centre). grams: X_lᵀX_l, l = 0, …, L − 1.
    norm_sq: the mean ‖x‖² of the rows."""

    constants: Constants
    centre: bool
    grams: list[Tensor]
    norm_sq: float


def setting(i: Instance, out: Findings) -> Setting:
    """The hypotheses on data and sizes, and what the statements are made of.

    Raises NotComputable where the network has no such law.
    """
    made = i.held("fan-wang", lambda: _setting(i))
    epsilon = _epsilon(made.grams[0])
    out.order_of("ε = o(n^{-1/4})", epsilon, i.N**-0.25, at_least=False,
                 note="the largest |‖x‖² − 1| and |⟨x, x′⟩| of the data, scaled to mean square 1")  # fmt: skip
    top = math.sqrt(float(torch.linalg.eigvalsh(made.grams[0])[-1]))
    out.order_of("‖X‖ = O(1)", top, 1.0, at_least=False)
    for l in range(1, i.L):
        out.order_of(f"n/d_{l} = Θ(1)", i.N, i.n[l], at_least=None)
    if made.centre:
        out.note(
            "σ is not centred: the laws here are those of σ − E σ. With one hidden layer the mean moves only "
            "a few eigenvalues; with more the layers above see a common direction, and their b and a change."
        )
    return made


def _epsilon(gram: Tensor) -> float:
    return float((gram - torch.eye(len(gram), dtype=gram.dtype)).abs().max())


def _setting(i: Instance) -> Setting:
    if i.N < 2:
        raise NotComputable("a spectrum needs two samples")
    if not i.plain or i.network.weights != "gaussian" or i.network.paired:
        raise NotComputable("the laws are those of plain networks with Gaussian weights")
    norm_sq = float(i.norms_sq(i.X).mean())
    if norm_sq == 0:
        raise NotComputable("the data are 0")
    try:
        plain = constants_of(i.network, norm_sq=norm_sq)
        centre = max(abs(layer.mean) for layer in plain.layers) > CENTRED
        constants = constants_of(i.network, centre=True, norm_sq=norm_sq) if centre else plain
    except ValueError as reason:
        raise NotComputable(str(reason)) from None
    grams = [i.gram(0) / norm_sq]
    for l, layer in enumerate(constants.layers, 1):
        grams.append(i.gram(l) / (i.n[l] * layer.moment))
    return Setting(constants, centre, grams, norm_sq)


def law(i: Instance, found: Setting, kernel: Which, *, random: bool = False) -> LinearWidthLaw:
    """The law on the instance's own data, or on random data of its size; made once."""

    def make() -> LinearWidthLaw:
        spectrum = None if random else torch.linalg.eigvalsh(found.grams[0]).numpy()
        return linear_width_law(
            i.network, i.N, spectrum, kernel=kernel, centre=found.centre, norm_sq=found.norm_sq
        )

    return i.held(("fan-wang law", kernel, random), make)
