"""``empirical_ntk`` of any module or function: survey, plan, pass, check."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ntkscope import _memory
from ntkscope._specs import unknown
from ntkscope.kernels.hadamard import HadamardKernel
from ntkscope.kernels.module.assemble import Recipe, Reduce
from ntkscope.kernels.module.general import batching_fails
from ntkscope.kernels.module.lazy import LazyKernel
from ntkscope.kernels.module.modes import with_gradients
from ntkscope.kernels.module.outputs import OutputKernels
from ntkscope.kernels.module.passed import numbers_held
from ntkscope.kernels.module.selfcheck import check_against_autograd
from ntkscope.kernels.module.subject import Inputs, Subject, as_inputs, make_subject, take
from ntkscope.kernels.module.survey import Survey, require_used, survey, untouched, used_anywhere
from ntkscope.networks import MLP

_BUDGET = 64e6  # bytes of one contraction's gradients, or eight kernels of N×N if that is more
_MOST_IN_A_PASS = 1024


@dataclass(frozen=True, eq=False)
class Prepared:
    """A recipe, its data, and whether the factors of all samples fit at once."""

    recipe: Recipe
    rows: Inputs
    cols: Inputs | None
    survey: Survey
    held: float
    fits: bool


@with_gradients
def module_ntk(
    model: Any,
    X: Any,
    X2: Any = None,
    *,
    reduce: Reduce = "trace",
    params: Any = None,
    max_memory: float | int | None = None,
    chunk_size: int | None = None,
    self_check: bool = True,
    general: bool = False,
) -> HadamardKernel | OutputKernels:
    """See :func:`ntkscope.empirical_ntk`, which this serves for all models but an MLP."""
    made = prepare(
        model, X, X2, reduce=reduce, params=params, max_memory=max_memory,
        chunk_size=chunk_size, general=general, self_check=self_check,
    )  # fmt: skip
    recipe = made.recipe
    if not made.fits:
        kernel: HadamardKernel | OutputKernels
        if reduce == "diagonal":
            kernel = OutputKernels(
                [LazyKernel(recipe.for_output(c), made.rows, made.cols)
                 for c in range(len(recipe.outputs))]
            )  # fmt: skip
        else:
            kernel = LazyKernel(recipe, made.rows, made.cols)
    elif reduce == "diagonal":
        left, right = recipe.passes(made.rows, made.cols)
        kernels = []
        for c in range(len(recipe.outputs)):
            one = left.output(c)
            other = one if left is right else right.output(c)
            kernels.append(recipe.for_output(c).assembled(one, other, made.rows, made.cols))
        kernel = OutputKernels(kernels)
    else:
        kernel = recipe.kernel(made.rows, made.cols)
    if self_check:
        check_against_autograd(kernel, recipe, made.rows, made.cols)
    return kernel


@with_gradients
def prepare(
    model: Any,
    X: Any,
    X2: Any = None,
    *,
    reduce: Reduce,
    params: Any,
    max_memory: float | int | None,
    chunk_size: int | None,
    general: bool,
    self_check: bool = True,
) -> Prepared:
    """Everything up to the first full pass: what the plan prints."""
    limit = _limit(max_memory)
    _check_chunk(chunk_size)
    subject = make_subject(model, params)
    rows = as_inputs(X, subject, "X")
    cols = None if X2 is None else as_inputs(X2, subject, "X2")
    found = survey(subject, rows)
    in_pass = 3 * found.numbers_per_pass * subject.dtype.itemsize
    chunk = max(1, min(_MOST_IN_A_PASS, int(limit / 8 / in_pass)))
    for part in (rows,) if cols is None else (rows, cols):
        found = used_anywhere(subject, found, part, min(chunk, chunk_size or chunk))
    require_used(subject, found)
    if cols is not None:
        _same_outputs(subject, found, rows, cols)
    if general:
        found = found.all_general("asked for")
    outputs = chosen_outputs(reduce, found.n_outputs)
    samples = len(rows[0]) + (0 if cols is None else len(cols[0]))
    itemsize = subject.dtype.itemsize
    each = numbers_held(subject, found, len(outputs)) * itemsize
    held = float(samples * each)
    # the factors, and for "full" their copies for each output
    fits = (2.0 if reduce in ("full", "diagonal") else 1.0) * held <= limit / 2
    # what does not fit is applied by torch.func, structured or not
    batched = [*found.general] if fits else [*found.structured, *found.general]
    loop = batching_fails(subject, batched, rows, outputs) if batched else ""
    recipe = Recipe(
        subject, found, outputs, reduce == "full", min(chunk, chunk_size or chunk),
        min(max(_BUDGET, 8.0 * itemsize * len(rows[0]) ** 2), limit / 8), limit, loop, chunk_size, max_memory is not None,
        self_check,
    )  # fmt: skip
    return Prepared(recipe, rows, cols, found, held, fits)


def chosen_outputs(reduce: Reduce, n_outputs: int) -> tuple[int, ...]:
    """The outputs that ``reduce`` speaks of. Raises TypeError or ValueError for none."""
    if isinstance(reduce, str):
        if reduce not in ("trace", "full", "diagonal"):
            known = ("trace", "full", "diagonal")
            raise ValueError(unknown("reduce", reduce, known) + ", or an output index")
        return tuple(range(n_outputs))
    if isinstance(reduce, bool) or not isinstance(reduce, int):
        raise TypeError(
            f'reduce must be "trace", "full", "diagonal" or an output index, got {reduce!r}'
        )
    if not -n_outputs <= reduce < n_outputs:
        raise ValueError(f"reduce={reduce} names no output: the model has {n_outputs}")
    return (reduce % n_outputs,)


@with_gradients
def count_outputs(model: Any, X: Any, params: Any = None) -> int:
    """C, the outputs of ``model`` for one sample of ``X``."""
    if isinstance(model, MLP):
        return model.network.n_outputs
    subject = make_subject(model, params)
    inputs = as_inputs(X, subject, "X")
    few = take(inputs, slice(0, 1))
    return int(untouched(subject, lambda: subject({}, few), inputs, "X").shape[1])


def _limit(max_memory: float | int | None) -> float:
    if max_memory is None:
        return float(_memory.available())
    if isinstance(max_memory, bool) or not isinstance(max_memory, (int, float)):
        raise TypeError(f"max_memory is a number of bytes, such as 2e9, got {max_memory!r}")
    if not (math.isfinite(max_memory) and max_memory >= 1e6):
        raise ValueError(f"max_memory must be at least 1e6 bytes, got {max_memory}")
    return float(max_memory)


def _check_chunk(chunk_size: int | None) -> None:
    if chunk_size is None:
        return
    if isinstance(chunk_size, bool) or not isinstance(chunk_size, int):
        raise TypeError(f"chunk_size must be an integer, got {chunk_size!r}")
    if chunk_size < 1:
        raise ValueError(f"chunk_size must be at least 1, got {chunk_size}")


def _same_outputs(subject: Subject, found: Survey, rows: Inputs, cols: Inputs) -> None:
    if len(rows) != len(cols):
        raise ValueError(f"X holds {len(rows)} inputs of the model and X2 {len(cols)}")
    few = take(cols, slice(0, 1))
    made = untouched(subject, lambda: subject({}, few), cols, "X2")
    shape: Sequence[int] = made.shape[1:]
    if tuple(shape) != found.output_shape:
        raise ValueError(
            f"the model has {found.output_shape} outputs on X and {tuple(shape)} on X2"
        )
