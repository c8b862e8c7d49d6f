"""Find out, on three samples, how a model uses its parameters and where its batch axis lies.

A parameter is *structured* when every use of it is an operation with a known per-sample gradient,
the autograd graph shows no use besides, and the samples can be told apart in the layer's inputs
and outputs. All others are *general*, each with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch.autograd.graph import get_gradient_edge

from ntkscope.kernels.module.reading.independence import (
    half_of_digits,
    outputs_alone,
    require_deterministic,
    require_own_outputs,
)
from ntkscope.kernels.module.reading.probing import distinct, probe, untouched
from ntkscope.kernels.module.reading.recorder import Trace
from ntkscope.kernels.module.reading.sites import Site, site_of
from ntkscope.kernels.module.reading.subject import Inputs, Subject, take


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
    few = distinct(inputs)
    pair, triple = (probe(subject, take(inputs, few[:n]), inputs) for n in (2, 3))
    floor = _rounding(triple)
    require_deterministic(subject, triple.output, take(inputs, few), floor)
    if len(inputs[0]) > 1:
        together = dict(zip(few, triple.output.detach(), strict=True))
        alone = {i: outputs_alone(subject, take(inputs, [i])) for i in together}
        require_own_outputs(subject, together, alone, floor + half_of_digits(triple.output))
    used = {n for call in triple.calls for n in call.operations} | set(triple.unknown)
    reason = _unsteady(pair, triple)
    sites, general = ([], dict.fromkeys(used, reason)) if reason else _sites(pair, triple)
    everything = tuple(subject.parameters)
    shape = tuple(triple.output.shape)
    return Survey(
        sites=tuple(sites),
        structured=tuple(n for n in everything if n in used and n not in general),
        general={n: general[n] for n in everything if n in general},
        unused=tuple(n for n in everything if n not in used),
        clone=frozenset(pair.changed_in_place() | triple.changed_in_place()),
        n_outputs=shape[1],
        output_shape=shape[1:],
        numbers_per_pass=_pass_size(triple),
        rounding=floor,
    )


def _unsteady(pair: Trace, triple: Trace) -> str:
    """Why a pass may be another one on other samples, or nothing."""
    if triple.depends_on_data or pair.depends_on_data:
        return f"the pass reads values ({triple.depends_on_data or pair.depends_on_data})"
    if [c.signature() for c in pair.calls] != [c.signature() for c in triple.calls]:
        return "the pass differs from batch to batch"
    return ""


def _sites(pair: Trace, triple: Trace) -> tuple[list[Site], dict[str, str]]:
    """The structured calls, and why the other parameters are general."""
    general = dict(triple.unknown)
    found: list[Site] = []
    output, shape = get_gradient_edge(triple.output), tuple(triple.output.shape)
    for index, (two, three) in enumerate(zip(pair.calls, triple.calls, strict=True)):
        site = site_of(index, two, three, output, shape)
        if isinstance(site, Site):
            found.append(site)
            continue
        for name in three.operations:
            general.setdefault(name, site)
    kept = [site.without(general) for site in found]
    return [site for site in kept if site.operations], general


def _rounding(trace: Trace) -> float:
    """16·u·√n·(the largest number in a layer's output of n numbers a sample).

    Layers may cancel (f − f₀, two halves of opposite signs), and what is left is rounding.
    """
    made = [c.out.detach() for c in trace.calls if c.out.numel()]
    sizes = [float(t.abs().max()) * (t.numel() / len(trace.output)) ** 0.5 for t in made]
    return 8.0 * torch.finfo(trace.output.dtype).eps * max(sizes, default=0.0)


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
