"""Labels as a vector of real targets, checked against the samples they belong to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ntkscope._base.inputs import as_seed, require_finite
from ntkscope._base.specs import parse_spec, reject_unknown_options, unknown

HOW = ("auto", "real", "signs", "random")


@dataclass(frozen=True, eq=False)
class Targets:
    """Real targets Y (N,) and a sentence on how they came from the labels."""

    Y: Float[Tensor, N]
    note: str


def as_real(values: Any, name: str) -> Tensor:
    """Numbers of any form and shape (tensors, arrays, data frames) as a finite float64 tensor on the CPU.

    Raises TypeError for what is no real number, ValueError for values that are not finite.
    """
    if not isinstance(values, Tensor):
        array = np.asarray(values)
        if array.dtype.kind not in "biuf":
            raise TypeError(
                f"{name} must be numbers, got dtype {array.dtype}; name the classes by numbers first, "
                f"e.g. numpy.unique({name}, return_inverse=True)[1]"
            )
        values = torch.from_numpy(np.array(array, dtype=np.float64))
    if values.is_complex():
        raise TypeError(f"{name} must be real, got {values.dtype}")
    made = values.detach().to("cpu", torch.float64)
    require_finite(made, name)
    return made


def require_own_kernel(K: Any, columns: int) -> None:
    """Raises ValueError where several columns of targets would share the sum of several outputs' kernels."""
    summed = getattr(K, "summed", 1)
    if columns > 1 and summed > 1:
        raise ValueError(
            f"the kernel is the sum of those of {summed} outputs, the kernel of none of the {columns} columns of "
            'targets; give empirical_ntk(..., reduce="full"), or for each column one kernel of '
            'reduce="diagonal", or to NTKRegressor kernel=Linearized(model)'
        )


def as_targets(Y: Any, N: int, name: str = "Y") -> Float[Tensor, N]:
    """``Y`` as N finite float64 numbers; integers are taken at their value.

    Raises TypeError for text, ValueError for another length, more axes, or values not finite.
    """
    made = as_real(Y, name)
    if made.ndim == 2 and made.shape[1] == 1:
        made = made[:, 0]
    if made.ndim != 1 or len(made) != N:
        raise ValueError(
            f"{name} must hold one label for each of the {N} samples, got shape {tuple(made.shape)}"
            + ("; pass one column, a network here has one output" if made.ndim == 2 else "")
        )
    return made


def make_targets(labels: Any, N: int, how: str = "auto") -> Targets:
    """Targets from a data set's labels, or without any.

    ``"signs"`` turns two classes into −1 and +1; ``"real"`` takes the numbers as they are;
    ``"random:seed=0"`` draws N(0, 1) and needs no labels; ``"auto"`` takes signs where there are
    exactly two values, the numbers otherwise.

    Raises ValueError for an unknown ``how``, missing labels, or signs of other than two classes.
    """
    spec = parse_spec(how)
    if spec.name not in HOW:
        raise ValueError(unknown("targets", spec.name, HOW))
    reject_unknown_options("targets", spec, ("seed",) if spec.name == "random" else ())
    if spec.name == "random":
        seed = spec.options.get("seed", 0)
        if not isinstance(seed, int):
            raise ValueError(f"targets 'random': seed must be an integer, got {seed!r}")
        drawn = torch.randn(N, generator=as_seed(seed, "labels"), dtype=torch.float64)
        return Targets(drawn, f"N(0, 1) labels of seed {seed}")
    if labels is None:
        raise ValueError(
            "these data come without labels; use --targets random, or a source with labels "
            "such as digits or file.csv:y=column"
        )
    Y = as_targets(labels, N)
    values = Y.unique()
    if spec.name == "signs" or (spec.name == "auto" and len(values) == 2):
        if len(values) != 2:
            raise ValueError(
                f"signs need two classes, the labels have {len(values)} values; keep two classes "
                "(digits:classes=0,1) or take the numbers with --targets real"
            )
        low, high = values.tolist()
        return Targets(
            torch.where(values[1] == Y, 1.0, -1.0).double(), f"{low:g} → −1, {high:g} → +1"
        )
    return Targets(Y, "the labels' own numbers")


def contradictions(X: Float[Tensor, "N d"], Y: Float[Tensor, N]) -> list[tuple[int, int]]:
    """Pairs of equal rows of X with different labels, each named by its first occurrence."""
    _, inverse = torch.unique(X, dim=0, return_inverse=True)
    first: dict[int, int] = {}
    found = []
    for row, group in enumerate(inverse.tolist()):
        origin = first.setdefault(group, row)
        if bool(Y[origin] != Y[row]):
            found.append((origin, row))
    return found


def reject_contradictions(X: Float[Tensor, "N d"], Y: Float[Tensor, N]) -> None:
    """Raise ValueError naming equal rows with different labels, which no function can fit."""
    found = contradictions(X, Y)
    if found:
        shown = ", ".join(
            f"{i} and {j} ({float(Y[i]):g} ≠ {float(Y[j]):g})" for i, j in found[:3]
        ) + (", …" if len(found) > 3 else "")
        raise ValueError(
            f"{len(found)} rows of X repeat an earlier one with another label, so no function fits "
            f"them: rows {shown}; remove one of each pair or make their labels agree"
        )
