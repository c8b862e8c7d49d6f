"""A few entries of every kernel, recomputed by plain autograd on one sample at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from ntkscope.kernels.kernel import Kernel
from ntkscope.kernels.module.holding.general_kernel import GeneralKernel
from ntkscope.kernels.module.holding.module_kernel import ModuleKernel
from ntkscope.kernels.module.making.assemble import Recipe
from ntkscope.kernels.module.making.errors import SelfCheckError
from ntkscope.kernels.module.making.lazy import LazyKernel
from ntkscope.kernels.module.making.passed import Passed
from ntkscope.kernels.module.reading.independence import (
    alike,
    require_own_outputs,
    slack_of,
)
from ntkscope.kernels.module.reading.plain import plain_pass
from ntkscope.kernels.module.reading.subject import Inputs, take
from ntkscope.kernels.outputs import OutputKernels

Gradients = dict[str, Tensor]


def check_against_autograd(
    kernel: Kernel | OutputKernels,
    recipe: Recipe,
    rows: Inputs,
    cols: Inputs | None,
    passes: tuple[Passed, Passed] | None = None,
) -> None:
    """Compare two random entries, term by term, with gradients of single samples.

    An entry may differ by half of the digits, √eps·√(K_ii K_jj) of its term, and by
    eps·√(K_ii K_jj) of the whole kernel, where a term is nothing but rounding. ``passes``: what the
    kernel was made from, if it holds that.

    Raises ValueError where the samples of a chunk see one another, whatever way they go, or where squares of
    gradients are out of the dtype's range, and SelfCheckError naming the parameter.
    """
    generator = torch.Generator().manual_seed(0)
    left = _Checked(recipe, rows, passes and passes[0])
    if cols is None:
        a, b = left.choose(2, generator)
        right, entries = left, [(a, b), (b, b)]
    else:
        right = _Checked(recipe, cols, passes and passes[1])
        entries = list(zip(left.choose(2, generator), right.choose(2, generator), strict=True))
    for side in (left,) if right is left else (left, right):
        side.require_own_outputs()
    chosen = [
        s.alone(i)[1] for s, k in ((left, 0), (right, 1)) for i in {entry[k] for entry in entries}
    ]
    _require_range(kernel, chosen, recipe.subject.dtype)
    for i, j in entries:
        wrong = _compare(kernel, recipe, left.alone(i)[1], right.alone(j)[1], i, j)
        if wrong and len(recipe.outputs) > 1:  # or a batching rule is
            wrong = _compare(kernel, recipe, left.one_by_one(i), right.one_by_one(j), i, j)
        # a sample's gradient may jump where its pre-activation is a rounding error away from a
        # kink: then the same sample inside its batch, by plain autograd, settles it, but where a
        # branch may have taken another way for the batch
        branches = bool(recipe.survey.reads and recipe.survey.structured)
        if wrong and not branches and left.agrees(i) and right.agrees(j):
            wrong = _compare(kernel, recipe, left.inside(i), right.inside(j), i, j)
        if wrong:
            raise SelfCheckError(wrong)


class _Checked:
    """One side's samples, alone by plain autograd and in the chunk that the kernel's pass had."""

    def __init__(self, recipe: Recipe, inputs: Inputs, passed: Passed | None) -> None:
        self._recipe, self._inputs = recipe, inputs
        self._outputs = None if passed is None else passed.outputs
        self._alone: dict[int, tuple[Tensor, Gradients]] = {}
        self._start, self._chosen = 0, [0]
        self._size = len(inputs[0]) if recipe.walked else recipe.chunk  # of a pass

    def choose(self, count: int, generator: torch.Generator) -> list[int]:
        """Samples of one chunk, different ones as far as it has them."""
        n, chunk = len(self._inputs[0]), self._size
        self._start = int(torch.randint(n, (1,), generator=generator)) // chunk * chunk
        size = min(chunk, n - self._start)
        order = (self._start + torch.randperm(size, generator=generator)).tolist()
        self._chosen = [order[k % size] for k in range(count)]
        return self._chosen

    @property
    def _chunk(self) -> Inputs:
        return take(self._inputs, slice(self._start, self._start + self._size))

    def alone(self, i: int) -> tuple[Tensor, Gradients]:
        """Outputs and gradients."""
        if i not in self._alone:
            sample = take(self._inputs, slice(i, i + 1))
            outputs = self._recipe.outputs
            self._alone[i] = plain_pass(self._recipe.subject, sample, outputs, at_once=True)
        return self._alone[i]

    def one_by_one(self, i: int) -> Gradients:
        """Gradients alone, without vmap."""
        sample = take(self._inputs, slice(i, i + 1))
        return plain_pass(self._recipe.subject, sample, self._recipe.outputs)[1]

    def inside(self, i: int) -> Gradients:
        """Gradients in the chunk, where rounding and kinks fall as in the kernel's pass."""
        subject, place = self._recipe.subject, i - self._start
        return plain_pass(subject, self._chunk, self._recipe.outputs, place)[1]

    def _together(self, i: int) -> Tensor:
        if self._outputs is None:
            made = self._recipe.subject({}, self._chunk)
            self._outputs = made.new_zeros(len(self._inputs[0]), made.shape[1])
            self._outputs[self._start : self._start + len(made)] = made
        return self._outputs[i]

    def agrees(self, i: int) -> bool:
        return alike(self._together(i), self.alone(i)[0])

    def require_own_outputs(self) -> None:
        # the survey's batch is small: a dependence may begin with the size of the kernel's own
        if min(self._size, len(self._inputs[0])) == 1:
            return
        together = {i: self._together(i) for i in self._chosen}
        alone = {i: self.alone(i)[0] for i in self._chosen}
        slack = slack_of(torch.stack([*together.values()]), self._recipe.survey.rounding)
        require_own_outputs(self._recipe.subject, together, alone, slack)


def _compare(
    kernel: Kernel | OutputKernels, recipe: Recipe, a: Gradients, b: Gradients, i: int, j: int
) -> str:
    """What is wrong with entry (i, j), in words, or nothing."""
    eps = recipe.survey.eps
    if isinstance(kernel, OutputKernels):
        for c, one in enumerate(kernel):
            wrong = _compare_terms(one, False, eps, _of(a, c), _of(b, c), i, j)
            if wrong:
                return f"output {c}: {wrong}"
        return ""
    return _compare_terms(kernel, recipe.full, eps, a, b, i, j)


def _of(gradients: Gradients, output: int) -> Gradients:
    return {name: g[output : output + 1] for name, g in gradients.items()}


def _compare_terms(
    kernel: Kernel, full: bool, eps: float, a: Gradients, b: Gradients, i: int, j: int
) -> str:
    C = len(next(iter(a.values())))
    lead = C if full else 1
    rows = torch.arange(i * lead, (i + 1) * lead)
    cols = torch.arange(j * lead, (j + 1) * lead)
    if isinstance(kernel, LazyKernel):
        kernel = kernel.for_samples(torch.tensor([i]), torch.tensor([j]))
        rows, cols = torch.arange(lead), torch.arange(lead)
    whole = torch.outer(_sizes([*a.values()], full), _sizes([*b.values()], full))
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
        own = torch.outer(_sizes(left, full), _sizes(right, full))
        # and what products below the dtype's range leave
        floor = torch.finfo(expected.dtype).tiny * sum(x.numel() for x in left)
        tolerance = eps**0.5 * own + eps * whole + floor
        error = (got - expected).abs().to(torch.float64)
        if not bool((error <= tolerance).all()):
            worst = int((error - tolerance).argmax())
            entry, error, tolerance = (t.flatten()[worst] for t in (expected, error, tolerance))
            shown = names[0] if len(names) == 1 else f"{names[0]} … {names[-1]}"
            return (
                f"the kernel's term of {shown} at samples ({i}, {j}) differs from plain autograd by "
                f"{float(error):.3g} (entry {float(entry):.6g}, rounding allows {float(tolerance):.1g}); pass general=True to avoid the structured form, and report it"
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


def _sizes(parts: list[Tensor], full: bool) -> Tensor:
    """Norms of the gradients in float64, of each output by itself for "full": an output may be much larger than others."""
    wide = [p.to(torch.float64) for p in parts]
    largest = torch.stack([p.abs().amax(dim=1) for p in wide if p.numel()]).amax(dim=0)
    if not full:
        largest = largest.amax().expand(len(largest))
    scale = torch.where(largest > 0, largest, 1.0)[:, None]  # so that no square underflows
    squares = torch.stack([(p / scale).square().sum(dim=1) for p in wide]).sum(dim=0)
    return (squares if full else squares.sum().reshape(1)).sqrt() * (
        scale[:, 0] if full else scale[:1, 0]
    )


def _require_range(
    kernel: Kernel | OutputKernels, gradients: list[Gradients], dtype: torch.dtype
) -> None:
    """Raises ValueError where squares of gradients overflow, or all lose digits as they underflow."""
    largest = max(float(g.abs().max()) for own in gradients for g in own.values() if g.numel())
    kind = torch.finfo(dtype)
    least = kind.tiny / kind.eps
    high, low = largest * largest > kind.max, largest > 0 and largest * largest < least
    if high or (low and float(kernel.diagonal().max()) < least):  # others may be larger
        raise ValueError(
            f"the gradients are of size {largest:.1e}, and their squares, the kernel's entries, have no place in {dtype}; "
            f"scale the outputs of the model{', or take float64' if dtype == torch.float32 else ''}"
        )
