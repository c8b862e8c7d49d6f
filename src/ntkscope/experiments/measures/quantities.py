"""Quantities of the NTK of a sampled network on sampled data, by name; a user may add to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ntkscope._base.rollback import restorable
from ntkscope._base.specs import unknown
from ntkscope.experiments.measures.columns import (
    backward_error,
    eigenvalue,
    enclosed,
    exact_zero,
)
from ntkscope.experiments.measures.instances import TrialInstance
from ntkscope.experiments.measures.measure import Result, as_result
from ntkscope.kernels.kernel import Kernel
from ntkscope.spectra.smallest import smallest_eigenvalue

Quantity = Callable[[TrialInstance], Any]
_WHOLE = 2500  # N up to which all eigenvalues take no longer than a certified smallest one
OF_LIMITS = {"lambda_min", "lambda_max", "trace", "limiting_lambda_min"}  # of infinite widths, too
_QUANTITIES: dict[str, Quantity] = restorable({})


def quantity(name: str) -> Callable[[Quantity], Quantity]:
    """Make a function of a :class:`TrialInstance` a measure of sweeps, by this name.

    The function returns a number, which becomes the column ``name``, or a dict of columns.
    Raises ValueError for a name that is no word or is taken by another function.
    """
    if not name.isidentifier():
        raise ValueError(
            f"a quantity is named as a column is, such as effective_rank, got {name!r}"
        )

    def register(function: Quantity) -> Quantity:
        taken = _QUANTITIES.get(name)
        if taken is not None and (taken.__module__, taken.__qualname__) != (
            function.__module__,
            function.__qualname__,
        ):
            raise ValueError(
                f"the quantity {name!r} is taken by {taken.__module__}; choose another"
            )
        _QUANTITIES[name] = function
        return function

    return register


def quantity_names() -> tuple[str, ...]:
    """Every name that :func:`measured` takes."""
    return tuple(_QUANTITIES)


def check_quantities(names: list[str]) -> None:
    """Raise ValueError for an unknown name, suggesting the nearest."""
    for name in names:
        if name not in _QUANTITIES:
            raise ValueError(unknown("quantity", name, _QUANTITIES))


def measured(names: list[str], instance: TrialInstance) -> Result:
    """The columns of these quantities of one instance."""
    result: Result = {}
    for name in names:
        result |= as_result(_QUANTITIES[name](instance), name)
    return result


def _smallest(name: str, K: Kernel) -> Result:
    """λ_min by a method that N alone decides, so that every run gives the same bits."""
    if len(K) > _WHOLE:
        return eigenvalue(name, smallest_eigenvalue(K, method="dense"))
    smallest, _, bar = _ends(K)
    return enclosed(name, smallest, bar)


def _ends(K: Kernel) -> tuple[float, float, float]:
    """(λ_min, λ_max, error): all eigenvalues by LAPACK, its backward error and the forming's."""
    values = torch.linalg.eigvalsh(K.dense())
    smallest, largest = float(values[0]), float(values[-1])
    return smallest, largest, backward_error(len(K), largest, K.dtype) + K.forming_error()


@quantity("lambda_min")
def _lambda_min(instance: TrialInstance) -> Result:
    if instance.network.finite and len(instance.X) > instance.network.n_parameters:
        return exact_zero("lambda_min")
    return _smallest("lambda_min", instance.ntk)


@quantity("lambda_max")
def _lambda_max(instance: TrialInstance) -> Result:
    _, largest, bar = _ends(instance.ntk)
    return enclosed("lambda_max", largest, bar)


@quantity("trace")
def _trace(instance: TrialInstance) -> Result:
    return {"trace": instance.ntk.trace()}


@quantity("layers")
def _layers(instance: TrialInstance) -> Result:
    result: Result = {}
    for index, term in enumerate(instance.kernel.terms):
        inner = 1
        for factor in term.factors:
            inner *= factor.width
        name = f"layer_{index}"
        if len(instance.X) > inner:
            result |= exact_zero(name)
        else:
            result |= _smallest(name, instance.kernel.term(index))
    return result


@quantity("features")
def _features(instance: TrialInstance) -> Result:
    result: Result = {}
    for index, F in enumerate(instance.model.layers(instance.X)[0]):
        values = torch.linalg.svdvals(F.detach())
        # the σ_min of F as a map from the left: zero where there are more rows than columns
        wide = F.shape[0] <= F.shape[1]
        result[f"sigma_min_F{index}"] = float(values[-1]) if wide else 0.0
        result[f"sigma_max_F{index}"] = float(values[0])
    return result


@quantity("bounds")
def _bounds(instance: TrialInstance) -> Result:
    lower = 0.0
    for term in instance.kernel.terms:
        if term.features is None:
            continue
        F = term.features.rows
        if F.shape[0] > F.shape[1]:
            continue  # F Fᵀ is singular: the term adds nothing to the bound
        smallest = float(torch.linalg.svdvals(F)[-1]) ** 2
        least = 1.0 if term.signals is None else float(term.signals.rows.square().sum(1).min())
        lower += term.scale * smallest * least
    diagonal = instance.kernel.diagonal()
    return {
        "schur_lower": lower,
        "diagonal_upper": float(diagonal.min()),
        "trace_upper": float(diagonal.mean()),
    }


@quantity("limiting_lambda_min")
def _limiting(instance: TrialInstance) -> Result:
    return eigenvalue("limiting_lambda_min", smallest_eigenvalue(instance.limit, method="dense"))


@quantity("limit_error")
def _limit_error(instance: TrialInstance) -> Result:
    difference = instance.kernel.dense() - instance.limit
    scale = float(torch.linalg.eigvalsh(instance.limit)[-1])
    return {
        "limit_error": float(torch.linalg.eigvalsh(difference).abs().max()) / scale,
        "limit_error_entry": float(difference.abs().max() / instance.limit.abs().max()),
    }
