"""A few entries of every kernel, recomputed by plain autograd on one sample at a time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ntkscope.kernels.kernel import Kernel
from ntkscope.kernels.module.holding.general import plain_gradients
from ntkscope.kernels.module.holding.general_kernel import GeneralKernel
from ntkscope.kernels.module.holding.module_kernel import ModuleKernel
from ntkscope.kernels.module.making.assemble import Recipe
from ntkscope.kernels.module.making.invariant import SelfCheckError
from ntkscope.kernels.module.making.lazy import LazyKernel
from ntkscope.kernels.module.reading.independence import alike, require_own_outputs
from ntkscope.kernels.module.reading.subject import Inputs, take
from ntkscope.kernels.outputs import OutputKernels

Gradients = dict[str, Tensor]


def check_against_autograd(
    kernel: Kernel | OutputKernels, recipe: Recipe, rows: Inputs, cols: Inputs | None
) -> None:
    """Compare random entries, term by term, with gradients of single samples.

    An entry may differ by half of the digits, √eps·√(K_ii K_jj) of its term, and by
    eps·√(K_ii K_jj) of the whole kernel, where a term is nothing but rounding.

    Raises ValueError where the samples of a chunk see one another, whatever way they go, and
    SelfCheckError naming the parameter.
    """
    # the survey's batch is small: a dependence may begin with the size of the kernel's own
    for part in (rows,) if cols is None else (rows, cols):
        chunk = list(range(min(recipe.chunk, len(part[0]))))
        require_own_outputs(recipe.subject, part, chunk, recipe.survey.rounding)
    generator = torch.Generator().manual_seed(0)
    other = rows if cols is None else cols
    left, right = (torch.randint(len(part[0]), (2,), generator=generator) for part in (rows, other))
    if cols is None:
        right[0] = left[1]
    single = _Reference(lambda X, i: _alone(recipe, take(X, slice(i, i + 1))))
    for i, j in zip(left.tolist(), right.tolist(), strict=True):
        wrong = _compare(kernel, recipe, single, (rows, i), (other, j))
        if not wrong:
            continue
        # a sample's gradient may jump where its pre-activation is a rounding error away from a
        # kink: then the same sample inside its batch, by plain autograd, settles it
        in_batch = _Reference(lambda X, i: _inside(recipe, X, i))
        if _outputs_agree(recipe, rows, i) and _outputs_agree(recipe, other, j):
            wrong = _compare(kernel, recipe, in_batch, (rows, i), (other, j))
        if wrong:
            raise SelfCheckError(wrong)


class _Reference:
    def __init__(self, make: Callable[[Inputs, int], Gradients]) -> None:
        self._make = make
        self._held: dict[tuple[int, int], Gradients] = {}

    def __call__(self, X: Inputs, i: int) -> Gradients:
        key = (id(X), i)
        if key not in self._held:
            self._held[key] = self._make(X, i)
        return self._held[key]


def _alone(recipe: Recipe, sample: Inputs) -> Gradients:
    return plain_gradients(recipe.subject, sample, recipe.outputs)


def _inside(recipe: Recipe, X: Inputs, i: int) -> Gradients:
    """∂f_c(x_i) as part of the chunk that the kernel's own pass held it in."""
    start = i // recipe.chunk * recipe.chunk
    part = take(X, slice(start, start + recipe.chunk))
    return plain_gradients(recipe.subject, part, recipe.outputs, i - start)


def _outputs_agree(recipe: Recipe, X: Inputs, i: int) -> bool:
    start = i // recipe.chunk * recipe.chunk
    batch = recipe.subject({}, take(X, slice(start, start + recipe.chunk)))[i - start]
    alone = recipe.subject({}, take(X, slice(i, i + 1)))[0]
    return alike(batch, alone)


def _compare(
    kernel: Kernel | OutputKernels,
    recipe: Recipe,
    reference: _Reference,
    row: tuple[Inputs, int],
    col: tuple[Inputs, int],
) -> str:
    """What is wrong with entry (i, j), in words, or nothing."""
    a, b = reference(*row), reference(*col)
    if isinstance(kernel, OutputKernels):
        for c, one in enumerate(kernel):
            wrong = _compare_terms(one, False, _of(a, c), _of(b, c), row[1], col[1])
            if wrong:
                return f"output {c}: {wrong}"
        return ""
    return _compare_terms(kernel, recipe.full, a, b, row[1], col[1])


def _of(gradients: Gradients, output: int) -> Gradients:
    return {name: g[output : output + 1] for name, g in gradients.items()}


def _compare_terms(kernel: Kernel, full: bool, a: Gradients, b: Gradients, i: int, j: int) -> str:
    C = len(next(iter(a.values())))
    lead = C if full else 1
    rows = torch.arange(i * lead, (i + 1) * lead)
    cols = torch.arange(j * lead, (j + 1) * lead)
    if isinstance(kernel, LazyKernel):
        kernel = kernel.for_samples(torch.tensor([i]), torch.tensor([j]))
        rows, cols = torch.arange(lead), torch.arange(lead)
    eps = torch.finfo(kernel.dtype).eps
    whole = _scale(list(a.values())) * _scale(list(b.values()))
    held = {term.name for term in kernel.terms}
    left_out = [n for n in a if n not in held and (bool(a[n].any()) or bool(b[n].any()))]
    if left_out:
        return (
            f"plain autograd has a gradient of {left_out[0]} at samples ({i}, {j}), and the kernel "
            "leaves that parameter out; report it"
        )
    for one, names in _groups(kernel):
        got = one.tile(rows, cols)
        left, right = [a[n] for n in names], [b[n] for n in names]
        expected = sum(
            (_product(x, y, full) for x, y in zip(left, right, strict=True)),
            torch.zeros(lead, lead, dtype=kernel.dtype, device=kernel.device),
        )
        tolerance = eps**0.5 * _scale(left) * _scale(right) + eps * whole
        error = float((got - expected).abs().max())
        if not error <= tolerance:
            shown = names[0] if len(names) == 1 else f"{names[0]} … {names[-1]}"
            return (
                f"the kernel's term of {shown} at samples ({i}, {j}) differs from plain autograd by "
                f"{error:.3g} (entry {float(expected.abs().max()):.6g}, rounding allows "
                f"{tolerance:.1g}); pass general=True to avoid the structured form, and report it"
            )
    return ""


def _groups(kernel: Kernel) -> list[tuple[Kernel, list[str]]]:
    """Terms one by one; the general ones together, since their tiles run the model."""
    parts = kernel.parts if isinstance(kernel, ModuleKernel) else (kernel,)
    groups: list[tuple[Kernel, list[str]]] = []
    for part in parts:
        if isinstance(part, GeneralKernel):
            groups.append((part, list(part.names)))
        else:
            groups += [(term, [term.name]) for term in part.terms]
    return groups


def _product(x: Tensor, y: Tensor, full: bool) -> Tensor:
    return x @ y.T if full else (x * y).sum().reshape(1, 1)


def _scale(parts: list[Tensor]) -> float:
    return sum(float((p * p).sum()) for p in parts) ** 0.5
