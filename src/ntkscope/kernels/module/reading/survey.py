"""Find out, on three samples, how a model uses its parameters and where its batch axis lies.

A parameter is *structured* when every use of it is an operation with a known per-sample gradient,
the autograd graph shows no use besides, and the samples can be told apart in the layer's inputs
and outputs. All others are *general*, each with the reason.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge

from ntkscope.kernels.module.reading.derived import Through, made_alike
from ntkscope.kernels.module.reading.independence import (
    outputs_alone,
    require_deterministic,
    require_own_outputs,
    slack_of,
    within,
)
from ntkscope.kernels.module.reading.probing import distinct, probe, untouched
from ntkscope.kernels.module.reading.sites import Site, site_of
from ntkscope.kernels.module.reading.subject import Inputs, Subject, take
from ntkscope.kernels.module.reading.trace import Call, Fixed, Trace
from ntkscope.kernels.module.reading.views import among, touched


@dataclass(frozen=True, eq=False)
class Survey:
    """What the probe found. ``general`` maps a parameter to why it is not structured.

    clone: which of the sites' inputs are written over after the call. fixed: see :func:`record`.
    shown: the entries of a structured parameter that the pass uses, where they are not all.
    reads: what reads values, so that another pass may be another one. eps: of the coarsest precision
    inside.
    """

    sites: tuple[Site, ...]
    structured: tuple[str, ...]
    general: dict[str, str]
    unused: tuple[str, ...]
    clone: frozenset[int]
    fixed: Fixed
    shapes: dict[str, tuple[int, ...]]
    shown: dict[str, Tensor]
    reads: str
    n_outputs: int
    output_shape: tuple[int, ...]
    numbers_per_pass: int  # held by autograd for one sample, an estimate
    rounding: float  # what it may leave in an output, by the size of the layers' outputs
    eps: float

    def all_general(self, reason: str) -> Survey:
        """The same with no structured parameter."""
        return self.with_general(self.structured, reason)

    def with_general(self, names: Collection[str], reason: str) -> Survey:
        """The same with fewer structured parameters."""
        general = {**self.general, **dict.fromkeys(names, reason)}
        kept = [(place, site.without(names)) for place, site in enumerate(self.sites)]
        kept = [(place, site) for place, site in kept if site.operations]
        return replace(
            self,
            sites=tuple(site for _, site in kept),
            structured=tuple(n for n in self.structured if n not in general),
            general={name: general[name] for name in self.shapes if name in general},
            clone=frozenset(i for i, (place, _) in enumerate(kept) if place in self.clone),
            shown={name: held for name, held in self.shown.items() if name not in general},
        )

    def uses(self, name: str) -> list[Site]:
        return [site for site in self.sites if name in site.operations]

    def shape(self, name: str) -> tuple[int, ...]:
        """Of the gradient that is held of a structured parameter."""
        return (len(self.shown[name]),) if name in self.shown else self.shapes[name]

    def size(self, name: str) -> int:
        return math.prod(self.shape(name))


def survey(subject: Subject, inputs: Inputs) -> Survey:
    """Record two small passes and compare them.

    Raises ValueError for a model whose outputs are random, not finite, not differentiable, or
    depend on the rest of the batch.
    """
    few = distinct(inputs)
    triple, pair = _probes(subject, inputs, few, None)
    fixed = _fixed(pair, triple)
    if fixed:
        triple, pair = _probes(subject, inputs, few, fixed)
    _require_digits(triple, subject.dtype)
    floor = _rounding(triple)
    _require_same_network(subject, pair, triple, inputs, few, floor)
    sites, clone, general = _sites(pair, triple)
    used = {n for call in triple.calls for n in call.operations} | {*general}
    everything = tuple(subject.parameters)
    structured = tuple(n for n in everything if n in used and n not in general)
    sites, shown = _of_shown_entries(sites, structured)
    output = tuple(triple.output.shape)
    return Survey(
        sites=tuple(sites),
        structured=structured,
        general={n: general[n] for n in everything if n in general},
        unused=tuple(n for n in everything if n not in used),
        clone=clone,
        fixed=fixed,
        shapes={name: tuple(p.shape) for name, p in subject.parameters.items()},
        shown=shown,
        reads=triple.depends_on_data or pair.depends_on_data,
        n_outputs=output[1],
        output_shape=output[1:],
        numbers_per_pass=_pass_size(triple),
        rounding=floor,
        eps=_eps(triple),
    )


def _probes(
    subject: Subject, inputs: Inputs, few: list[int], fixed: Fixed | None
) -> tuple[Trace, Trace]:
    """Of three samples and of two: a pass that reads values does so on any, so one look tells."""
    triple = probe(subject, take(inputs, few), inputs, fixed)
    reads = bool(triple.depends_on_data)
    return triple, probe(subject, take(inputs, few[:2]), inputs, fixed, closely=reads)


def _require_same_network(
    subject: Subject, pair: Trace, triple: Trace, inputs: Inputs, few: list[int], floor: float
) -> None:
    """Raises ValueError where a sample's outputs change from pass to pass or with its batch.

    The two passes share their first two samples, and the last one is passed alone: what looks at others
    shows in one of the two. Which of the reasons it is takes one more pass.
    """
    made = triple.output.detach()
    slack = slack_of(made, floor)
    if not within(made[:2], pair.output.detach(), slack):
        require_deterministic(subject, made, take(inputs, few), slack)
    if len(inputs[0]) > 1:
        elsewhere = [*pair.output.detach(), outputs_alone(subject, take(inputs, few[2:]))]
        together, apart = (dict(zip(few, rows, strict=True)) for rows in (made, elsewhere))
        require_own_outputs(subject, together, apart, slack)


def _fixed(pair: Trace, triple: Trace) -> Fixed:
    """The gathers whose indices the samples do not change, and the calls of which they change nothing."""
    return made_alike(triple.made, pair.made) | frozenset(
        (name, k)
        for name, gathers in triple.gathers.items()
        for k, (ours, theirs) in enumerate(zip(gathers, pair.gathers.get(name, []), strict=False))
        if ours.same(theirs)
    )


def _common(pair: Trace, triple: Trace) -> tuple[list[tuple[Call, Call]], dict[str, str]]:
    """The calls that both passes made alike, and why the other parameters are general."""
    general = pair.unknown | triple.unknown
    ours, theirs = (_by_name(trace.calls) for trace in (triple, pair))
    differing = {n for n in ours.keys() | theirs.keys() if ours.get(n) != theirs.get(n)}
    for name in differing:
        general.setdefault(name, "the pass differs from batch to batch")
    alike = [
        [c for c in trace.calls if not differing & set(c.operations)] for trace in (pair, triple)
    ]
    signatures = [[call.signature() for call in calls] for calls in alike]
    if signatures[0] == signatures[1]:
        return list(zip(*alike, strict=True)), general
    for name in ours:
        general.setdefault(name, "the pass differs from batch to batch")
    return [], general


def _by_name(calls: Sequence[Call]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for call in calls:
        for name in call.operations:
            found.setdefault(name, []).append(call.signature())
    return found


def _sites(pair: Trace, triple: Trace) -> tuple[list[Site], frozenset[int], dict[str, str]]:
    """The structured calls, those whose inputs are written over, and why other parameters are general."""
    calls, general = _common(pair, triple)
    made = triple.output
    output, shape = get_gradient_edge(made) if made.requires_grad else None, tuple(made.shape)
    kept: list[tuple[Site, bool]] = []
    before = -1
    while before < len(general):  # what lies beside a parameter takes its form without it
        before, kept = len(general), []
        for index, (two, three) in enumerate(calls):
            left = {n: op for n, op in three.operations.items() if n not in general}
            if not left:
                continue
            site = site_of(index, two, replace(three, operations=left), output, shape)
            if isinstance(site, Site):
                kept.append((site, two.changed or three.changed))
                continue
            for name in left:
                general.setdefault(name, site)
        _join_general([site for site, _ in kept], general)
    clone = frozenset(place for place, (_, changed) in enumerate(kept) if changed)
    return [site for site, _ in kept], clone, general


def _join_general(sites: Sequence[Site], general: dict[str, str]) -> None:
    """A tensor made of several parameters is watched where all of them are."""
    operations = [op for site in sites for op in site.operations.values()]
    groups = {op.derived.names for op in operations if isinstance(op, Through)}
    before = -1
    while before < len(general):
        before = len(general)
        for names in groups:
            found = next((name for name in names if name in general), None)
            if found is not None:
                for name in names:
                    general.setdefault(name, f"goes into one tensor with {found}: {general[found]}")


def _of_shown_entries(
    sites: list[Site], structured: Sequence[str]
) -> tuple[list[Site], dict[str, Tensor]]:
    """The sites with gradients of the entries alone that the pass shows, and these entries."""
    shown: dict[str, Tensor] = {}
    for name in structured:
        found = touched([s.operations[name] for s in sites if name in s.operations])
        if found is not None:
            shown[name] = found
    fewer = [
        replace(
            site,
            operations={
                n: among(op, shown[n]) if n in shown else op for n, op in site.operations.items()
            },
        )
        for site in sites
    ]
    return fewer, shown


def _require_digits(trace: Trace, dtype: torch.dtype) -> None:
    """Raises ValueError for half precision inside; warns of float32 in float64."""
    if trace.coarse is None:
        return
    kind, module = trace.coarse
    where = f"{module or 'the forward pass'} rounds to {kind} inside a model of {dtype}"
    if kind != torch.float32:
        raise ValueError(
            f"{where}, which cannot carry a spectrum; switch that off (an autocast, a cast)"
        )
    warnings.warn(
        f"{where}: gradients carry the digits of float32, and eigenvalues below 1e-7 of the trace "
        "are noise",
        stacklevel=2,
    )


def _eps(trace: Trace) -> float:
    kind = trace.coarse[0] if trace.coarse else trace.output.dtype
    return float(torch.finfo(kind).eps)


def _rounding(trace: Trace) -> float:
    """16·u·√n·(the largest number in a layer's output of n numbers a sample).

    Layers may cancel (f − f₀, two halves of opposite signs), and what is left is rounding. Numbers that
    swallow all others, as those of masks, do not count.
    """
    sizes = [0.0]
    for made in (call.out.detach().abs() for call in trace.calls):
        some = made[made > 0]
        if len(some):
            usual = some[some <= some.median() / _eps(trace)]
            sizes.append(float(usual.max()) * (made.numel() / len(trace.output)) ** 0.5)
    return 8.0 * _eps(trace) * max(sizes)


def _pass_size(trace: Trace) -> int:
    calls = sum(c.out.numel() + (0 if c.x is None else c.x.numel()) for c in trace.calls)
    return max(1, 2 * (calls + trace.output.numel()) // len(trace.output))


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
        raise ValueError(subject.runs.unused)
