"""Find out, on three samples, how a model uses its parameters and where its batch axis lies.

A parameter is *structured* when every use of it is an operation with a known per-sample gradient,
the autograd graph shows no use besides, and the samples can be told apart in the layer's inputs
and outputs. All others are *general*, each with the reason.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ntkscope.kernels.module.reading.independence import (
    alike,
    half_of_digits,
    outputs_alone,
    require_deterministic,
    require_own_outputs,
)
from ntkscope.kernels.module.reading.layers.layer import Operation
from ntkscope.kernels.module.reading.recorder import Call, Trace, record
from ntkscope.kernels.module.reading.subject import Inputs, Subject, take


@dataclass(frozen=True)
class Layout:
    """Where the samples lie: on ``axis``, of ``fold`` positions each, sample by sample if major."""

    axis: int
    fold: int
    major: bool = True

    def arrange(self, tensor: Tensor, n: int) -> Tensor:
        """The samples' axis first; folded positions stay as an axis of their own."""
        if self.fold == 1:
            return tensor.movedim(self.axis, 0)
        sizes = (n, self.fold) if self.major else (self.fold, n)
        parts = tensor.unflatten(self.axis, sizes)
        return parts.movedim(self.axis if self.major else self.axis + 1, 0)


@dataclass(frozen=True)
class Site:
    """One structured call: its operations, layouts, and numbers held per sample (and output)."""

    index: int
    function: str
    operations: dict[str, Operation]
    x_layout: Layout | None
    g_layout: Layout
    x_shape: tuple[int, ...] | None  # of one sample, as the operations take it
    g_shape: tuple[int, ...]
    x_dtype: torch.dtype | None
    is_output: bool

    @property
    def positions(self) -> int:
        """T: positions that a dense layer sums over; 1 for one input vector a sample."""
        return self.g_shape[0] if any(op.by_vectors for op in self.heavy.values()) else 2

    @property
    def x_size(self) -> int:
        return 0 if self.x_shape is None else math.prod(self.x_shape)

    @property
    def g_size(self) -> int:
        return math.prod(self.g_shape)

    @property
    def heavy(self) -> dict[str, Operation]:
        """Operations whose gradient is larger than a vector: x and g are kept for them."""
        return {n: op for n, op in self.operations.items() if op.heavy}

    def arrange_x(self, x: Tensor, n: int) -> Tensor:
        """x as the operations take it."""
        assert self.x_layout is not None
        return self._form(self.x_layout, x, n)

    def arrange_g(self, g: Tensor, n: int) -> Tensor:
        return self._form(self.g_layout, g, n)

    def _form(self, layout: Layout, tensor: Tensor, n: int) -> Tensor:
        arranged = layout.arrange(tensor, n)
        heavy = next(iter(self.heavy.values()), None)
        return arranged if heavy is None else heavy.form(arranged, layout.fold > 1)


@dataclass(frozen=True, eq=False)
class Survey:
    """What the probe found. ``general`` maps a parameter to why it is not structured."""

    sites: tuple[Site, ...]
    structured: tuple[str, ...]
    general: dict[str, str]
    unused: tuple[str, ...]
    clone: frozenset[int]
    n_outputs: int
    output_shape: tuple[int, ...]
    numbers_per_pass: int  # held by autograd for one sample, an estimate
    rounding: float  # what it may leave in an output, by the size of the layers' outputs

    def all_general(self, reason: str) -> Survey:
        """The same with no structured parameter."""
        names = (*self.structured, *self.general)
        return replace(self, sites=(), structured=(), general=dict.fromkeys(names, reason))

    def uses(self, name: str) -> list[Site]:
        return [site for site in self.sites if name in site.operations]


def survey(subject: Subject, inputs: Inputs) -> Survey:
    """Record two small passes and compare them.

    Raises ValueError for a model whose outputs are random, not finite, not differentiable, or
    depend on the rest of the batch.
    """
    few = _distinct(inputs)
    pair, triple = (_probe(subject, take(inputs, few[:n]), inputs) for n in (2, 3))
    _require_finite(pair, triple)
    floor = _rounding(triple)
    require_deterministic(subject, triple.output, take(inputs, few), floor)
    if len(inputs[0]) > 1:
        together = dict(zip(few, triple.output.detach(), strict=True))
        alone = {i: outputs_alone(subject, take(inputs, [i])) for i in together}
        require_own_outputs(subject, together, alone, floor + half_of_digits(triple.output))
    shape = tuple(triple.output.shape)
    general = dict(triple.unknown)
    everything = tuple(subject.parameters)
    used = {n for call in triple.calls for n in call.operations} | set(general)
    reason = ""
    if triple.depends_on_data or pair.depends_on_data:
        reason = f"the pass reads values ({triple.depends_on_data or pair.depends_on_data})"
    elif [c.signature() for c in pair.calls] != [c.signature() for c in triple.calls]:
        reason = "the pass differs from batch to batch"
    sites: list[Site] = []
    if reason:
        general = dict.fromkeys(used, reason)
    else:
        output_edge = torch.autograd.graph.get_gradient_edge(triple.output)
        for index, (two, three) in enumerate(zip(pair.calls, triple.calls, strict=True)):
            site = _site(index, two, three, _same_edge(three, output_edge, shape))
            if isinstance(site, str):
                for name in three.operations:
                    general.setdefault(name, site)
            else:
                sites.append(site)
    kept = [replace(s, operations={n: op for n, op in s.operations.items() if n not in general}) for s in sites]  # fmt: skip
    kept = [s for s in kept if s.operations]
    return Survey(
        sites=tuple(kept),
        structured=tuple(n for n in everything if n in used and n not in general),
        general={n: general[n] for n in everything if n in general},
        unused=tuple(n for n in everything if n not in used),
        clone=frozenset(pair.changed_in_place() | triple.changed_in_place()),
        n_outputs=shape[1],
        output_shape=shape[1:],
        numbers_per_pass=_pass_size(triple),
        rounding=floor,
    )


def _rounding(trace: Trace) -> float:
    """16·u·√n·(the largest number in a layer's output of n numbers a sample).

    Layers may cancel (f − f₀, two halves of opposite signs), and what is left is rounding.
    """
    made = [c.out.detach() for c in trace.calls if c.out.numel()]
    sizes = [float(t.abs().max()) * (t.numel() / len(trace.output)) ** 0.5 for t in made]
    return 8.0 * torch.finfo(trace.output.dtype).eps * max(sizes, default=0.0)


def used_anywhere(subject: Subject, found: Survey, inputs: Inputs, chunk: int) -> Survey:
    """``found`` with the parameters in use that other samples than the probe's reach.

    One pass over all samples, where the probe left parameters out. Their gradients are taken one
    sample at a time in general, and asked here for a chunk.
    """
    for start in range(0, len(inputs[0]), chunk):
        if not found.unused:
            break
        few = take(inputs, slice(start, start + chunk))
        with subject.autograd() as (leaves, run):
            output = untouched(subject, lambda: run(few), inputs, "X")  # noqa: B023  # called at once
            if not output.requires_grad:
                continue
            left = [leaves[name] for name in found.unused]
            gradients = torch.autograd.grad(output.sum(), left, allow_unused=True)
        reached = [n for n, g in zip(found.unused, gradients, strict=True) if g is not None]
        if reached:
            reasons = dict.fromkeys(reached, "not used by the first samples")
            general = found.general | reasons
            found = replace(
                found,
                general={name: general[name] for name in subject.parameters if name in general},
                unused=tuple(n for n in found.unused if n not in reached),
            )
    return found


def require_used(subject: Subject, found: Survey) -> None:
    """Raises ValueError where no sample's outputs use any of the parameters."""
    if not found.structured and not found.general:
        _refuse_unused(subject, followed=True)


def _refuse_unused(subject: Subject, followed: bool) -> None:
    if not followed:
        raise ValueError(
            "the outputs do not depend on the parameters in a way that autograd can follow "
            "(no_grad, detach, argmax or rounding in the forward pass); return the values before it"
        )
    if subject.module is None:
        raise ValueError(
            f"the function {subject.title} does not use its params; call "
            "torch.func.functional_call(model, params, (X,)) in it"
        )
    names = ", ".join(list(subject.parameters)[:3])
    raise ValueError(
        f"the outputs do not use the parameters to differentiate ({names}), so the NTK is zero; "
        "choose others"
    )


def _pass_size(trace: Trace) -> int:
    calls = sum(c.out.numel() + (0 if c.x is None else c.x.numel()) for c in trace.calls)
    return max(1, 2 * (calls + trace.output.numel()) // len(trace.output))


def _distinct(inputs: Inputs) -> list[int]:
    """Three samples, different from one another where there are such."""
    chosen = [0]
    n = len(inputs[0])
    for _ in range(2):
        fresh = torch.ones(n, dtype=torch.bool, device=inputs[0].device)
        for row in set(chosen):
            differs = torch.zeros_like(fresh)
            for part in inputs:
                differs |= (part != part[row]).reshape(n, -1).any(dim=1)
            fresh &= differs
        chosen.append(int(fresh.nonzero()[0]) if bool(fresh.any()) else chosen[-1])
    return chosen


def _probe(subject: Subject, few: Inputs, inputs: Inputs) -> Trace:
    with subject.autograd() as (leaves, run):
        watched = lambda: record(lambda: run(few), leaves, closely=True)  # noqa: E731
        trace = untouched(subject, watched, inputs, "X")
        trace.require_complete()
    if not trace.output.requires_grad and not trace.depends_on_data:
        _refuse_unused(subject, followed=False)
    return trace


def untouched(subject: Subject, run: Callable[[], Any], inputs: Inputs, name: str) -> Any:
    """Run a pass over some of ``inputs``, which the user knows as ``name``.

    Raises ValueError if it fails on such inputs or draws random numbers.
    """
    cuda = subject.device if subject.device.type == "cuda" else None
    before = torch.get_rng_state(), torch.cuda.get_rng_state(cuda) if cuda else None
    try:
        result = run()
    except (RuntimeError, TypeError, IndexError, AttributeError, KeyError, AssertionError) as error:
        if isinstance(error, TypeError) and _is_own(error):
            raise
        shapes = ", ".join(f"{tuple(t.shape)} {t.dtype}" for t in inputs)
        missing = "required positional argument" in str(error)
        several = "; pass several inputs as a tuple of tensors" if missing else ""
        raise ValueError(
            f"the model does not run on {name} of shape {shapes}: {str(error).strip()}{several}"
        ) from error
    drew = not torch.equal(torch.get_rng_state(), before[0])
    if drew:
        torch.set_rng_state(before[0])
    if (
        cuda
        and before[1] is not None
        and not torch.equal(torch.cuda.get_rng_state(cuda), before[1])
    ):
        torch.cuda.set_rng_state(before[1], cuda)
        drew = True
    if drew:
        raise ValueError(
            "the forward pass draws random numbers (dropout, noise, sampling), so the network is "
            "another one at each pass; call model.eval(), or fix the noise as an input"
        )
    return result


def _is_own(error: TypeError) -> bool:
    return str(error).startswith("the model returns")


def _require_finite(pair: Trace, triple: Trace) -> None:
    for trace in (pair, triple):
        if not bool(torch.isfinite(trace.output).all()):
            first = next((c for c in trace.calls if not bool(torch.isfinite(c.out).all())), None)
            where = f", first in the layer of {', '.join(first.operations)}" if first else ""
            raise ValueError(f"the model's outputs are NaN or infinite on these data{where}")


def _same_edge(call: Call, edge: Any, shape: tuple[int, ...]) -> bool:
    own = call.edge
    same = own is not None and own.node is edge.node and own.output_nr == edge.output_nr
    return same and tuple(call.out.shape) == shape


def _site(index: int, two: Call, three: Call, is_output: bool) -> Site | str:
    """The structured form of a call, or why it has none."""
    g_layout = _layout(two.out.detach(), three.out.detach())
    if isinstance(g_layout, str):
        return g_layout
    x_layout = None
    if three.x is not None and two.x is not None:
        found = _layout(two.x, three.x)
        if isinstance(found, str):
            return found
        x_layout = found
        if x_layout != g_layout:
            return f"{three.function} moves the samples to another axis"
    operations = _of_samples(three, g_layout)
    if isinstance(operations, str):
        return operations
    site = Site(index, three.function, operations, x_layout, g_layout, None, (), None, False)
    g = site.arrange_g(three.out.detach(), 3)
    x = None if three.x is None else site.arrange_x(three.x, 3)
    site = replace(
        site,
        x_shape=None if x is None else tuple(x.shape[1:]),
        g_shape=tuple(g.shape[1:]),
        x_dtype=None if x is None else x.dtype,
    )
    return replace(site, is_output=is_output and site.positions == 1)


def _of_samples(call: Call, layout: Layout) -> dict[str, Operation] | str:
    """The operations of a call as samples on the first axis see them, or why they cannot."""
    heavy = next((op for op in call.operations.values() if op.heavy), None)
    shapes = tuple(call.out.shape if call.x is None else call.x.shape), tuple(call.out.shape)
    if heavy is not None and not heavy.takes(*shapes, layout.axis):
        return f"{call.function} on axes that are not a batch of layers' inputs"
    found: dict[str, Operation] = {}
    for name, operation in call.operations.items():
        own = operation.for_samples(call.out.ndim, layout.axis, layout.fold > 1)
        if own is None:
            return f"{name} differs from sample to sample"
        found[name] = own if heavy is None else own.beside(heavy)
    return found


def _layout(two: Tensor, three: Tensor) -> Layout | str:
    """The samples' axis: the one whose size follows the batch, confirmed by the values on it."""
    if two.ndim != three.ndim:
        return "a layer's inputs change their number of axes with the batch"
    moved = [i for i, (a, b) in enumerate(zip(two.shape, three.shape, strict=True)) if a != b]
    if len(moved) != 1:
        return "a layer's inputs hold no single axis of samples"
    axis = moved[0]
    fold, rest = divmod(two.shape[axis], 2)
    if rest or three.shape[axis] != 3 * fold:
        return "a layer's inputs do not grow with the batch"
    candidates = [Layout(axis, fold)] + ([Layout(axis, fold, False)] if fold > 1 else [])
    fitting = [c for c in candidates if alike(c.arrange(two, 2), c.arrange(three, 3)[:2])]
    if not fitting:
        return "a layer's values depend on the rest of the batch"
    if len(fitting) > 1 and not alike(fitting[0].arrange(three, 3), fitting[1].arrange(three, 3)):
        return "a layer's inputs do not show which sample they come from"
    return fitting[0]
