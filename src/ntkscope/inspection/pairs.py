"""The kernel of all pairs of outputs: formed where memory and time allow, otherwise applied to vectors."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ntkscope._base import memory
from ntkscope.kernels.kernel import Kernel
from ntkscope.kernels.prepared import Prepared

_ALWAYS = 1000  # rows that are formed, whatever an entry costs
_ALL = 4000  # rows up to which all eigenvalues are computed
_FLOPS = 1e12  # of forming, and the rows³ of what encloses λ_max: under a minute on one core
_COPIES = 5  # matrices in float64: the kernel, a matrix made of it, their float32 forms, a factor


@dataclass(frozen=True, eq=False)
class Pairs:
    """kernel: of N·C rows. formed: whether its dense matrix, and one made of it, fit in memory and time. small:
    whether all eigenvalues do too."""

    kernel: Kernel
    formed: bool
    small: bool


def pairs_of(
    prepared: Prepared, rows: int, device: torch.device, limit: float | None = None
) -> Pairs:
    """The kernel of the ``rows`` outputs of all samples on ``device``; ``limit``: bytes allowed, half of those
    that are free there where it is None."""
    room = memory.available(device) / 2 if limit is None else limit
    if 8.0 * _COPIES * rows**2 <= room and float(rows) ** 3 <= _FLOPS:
        kernel = prepared.beside("full")
        if rows <= _ALWAYS or forming_flops(kernel) + float(rows) ** 3 <= _FLOPS:
            return Pairs(kernel, True, rows <= _ALL)
    return Pairs(prepared.products("full"), False, False)


def forming_flops(kernel: Kernel) -> float:
    """What the dense matrix takes, term by term; infinite for terms that do not say."""
    return sum(_of_term(term, len(kernel)) for term in kernel.terms)


def _of_term(term: Kernel, rows: int) -> float:
    flops, inner = getattr(term, "flops", None), getattr(term, "inner", None)
    if flops is not None:
        return float(flops())
    if inner is not None:
        return float(rows) ** 2 * inner
    return 0.0 if getattr(term, "matrix", None) is not None else float("inf")
