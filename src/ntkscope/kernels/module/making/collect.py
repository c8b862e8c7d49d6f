"""One forward pass and one backward pass per output leave behind what the layers' terms need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from ntkscope._base import threads
from ntkscope.kernels.module.making.errors import OtherWayError
from ntkscope.kernels.module.making.invariant import Others, require_own_gradients
from ntkscope.kernels.module.making.passed import Passed, is_small, shares_signal
from ntkscope.kernels.module.reading.layers.layer import Operation
from ntkscope.kernels.module.reading.modes import with_gradients
from ntkscope.kernels.module.reading.recorder import record
from ntkscope.kernels.module.reading.sites import Site
from ntkscope.kernels.module.reading.subject import Inputs, Subject, take
from ntkscope.kernels.module.reading.survey import Survey
from ntkscope.kernels.module.reading.trace import Call, Trace

Made = dict[str, Operation]

_SIGNALS = 2**23  # numbers of several outputs' signals at a time
_TURNS = 2  # of each thread at least: one that a busy core holds up takes fewer
_OF_A_LAYER = (
    2**21
)  # of them in one tensor: larger ones are fresh memory each time, which costs more


@with_gradients
def collect(
    subject: Subject,
    survey: Survey,
    inputs: Inputs,
    outputs: Sequence[int],
    chunk: int,
    checked: bool = True,
) -> Passed:
    """Pass the samples through the model, ``chunk`` at a time.

    checked: hold outputs and sums against autograd's in other batches; a pass that reads values always is.
    Raises OtherWayError where sums differ or a chunk's pass is another one, ValueError where samples see one
    another or where values or gradients are not finite, naming the parameter.
    """
    passed = Passed(len(inputs[0]), len(outputs))
    for start in range(0, passed.n, chunk):
        rows = slice(start, min(start + chunk, passed.n))
        with subject.autograd() as (leaves, run):
            part = take(inputs, rows)
            watched = {name: leaves[name] for name in survey.structured}
            passed_on = lambda: run(part)  # noqa: B023, E731  # called at once
            several = len(outputs) > 1
            trace = record(
                passed_on, watched, survey.clone, survey.fixed, values=False, slopes=several
            )
            _keep_rows(passed, survey, trace, outputs, rows)
            del trace  # with its graph, before the next one
    if passed.outputs is not None and (checked or survey.reads):
        others = Others.of(passed.outputs, outputs, chunk, bool(survey.reads))
        require_own_gradients(passed, subject, survey, inputs, outputs, chunk, others)
    return passed


def _keep_rows(
    passed: Passed,
    survey: Survey,
    trace: Trace,
    outputs: Sequence[int],
    rows: slice,
) -> None:
    """Keep what the terms need of a chunk."""
    n = rows.stop - rows.start
    passed.near_kinks += trace.near_kinks
    calls = matching(trace.calls, survey, n)
    require_finite(trace.output, "outputs", survey.sites)
    if passed.outputs is None:
        passed.outputs = trace.output.new_empty(
            passed.n, trace.output.shape[1], requires_grad=False
        )
    passed.outputs[rows] = trace.output.detach()
    dtype = trace.output.dtype
    inputs = [input_of(s, c, n, dtype) for s, c in zip(survey.sites, calls, strict=True)]
    for site, x in zip(survey.sites, inputs, strict=True):
        if x is not None and keeps(survey, site):
            require_finite(x, "inputs", (site,))
            into(passed.x, site.index, passed.n, x)[rows] = x
    operations = [bound(survey, s, x) for s, x in zip(survey.sites, inputs, strict=True)]
    signals = _Signals(trace, survey.sites, calls)
    step = _outputs_at_a_time(survey, operations, n)

    def go_back(places: range) -> None:
        found = [signals.of(outputs[place]) for place in places]
        for site, x, made, *each in zip(survey.sites, inputs, operations, *found, strict=True):
            keep(passed, survey, site, made, x, each, rows, places)

    C, device = len(outputs), trace.output.device
    at_once = threads.workers(C, device)
    groups = -(-C // step)
    if at_once > 1:
        groups = min(C, max(groups, _TURNS * at_once))
    ends = [k * C // groups for k in range(groups + 1)]
    threads.each(go_back, [range(a, b) for a, b in pairwise(ends)], device)


def input_of(site: Site, call: Call, n: int, dtype: torch.dtype) -> Tensor | None:
    """x as the site's operations take it; numbers in the model's ``dtype``, whatever a layer rounds its own to."""
    if call.x is None:
        return None
    x = site.arrange_x(call.x, n)
    return x.to(dtype) if x.is_floating_point() else x


@dataclass(frozen=True)
class _Signals:
    """The gradients of a pass's outputs with respect to the layers' outputs."""

    trace: Trace
    sites: Sequence[Site]
    calls: Sequence[Call]

    def of(self, output: int) -> list[Tensor]:
        """Of the samples' sum of one output, as the sites' operations take them."""
        made, edges = self.trace.output, [call.edge for call in self.calls if call.edge is not None]
        gradients: Sequence[Tensor | None] = [None] * len(edges)
        if made.requires_grad:
            gradients = torch.autograd.grad(
                made[:, output].sum(), edges, retain_graph=True, allow_unused=True
            )
        arranged = []
        for site, call, gradient in zip(self.sites, self.calls, gradients, strict=True):
            # None where the model does not use the layer's result
            whole = made.new_zeros(call.out.shape) if gradient is None else gradient
            arranged.append(site.arrange_g(whole, len(made)).to(made.dtype))
            require_finite(arranged[-1], "gradients", (site,))
        return arranged


def _outputs_at_a_time(survey: Survey, operations: Sequence[Made], n: int) -> int:
    """So that the signals of ``n`` samples that are made into gradients at once fit a budget."""
    made_of = [n * s.g_size for s, own in zip(survey.sites, operations, strict=True) if own]
    together = _SIGNALS // max(1, sum(made_of))
    return max(1, min(together, _OF_A_LAYER // max(made_of, default=1)))


def matching(calls: list[Call], survey: Survey, n: int) -> list[Call]:
    """The calls of the structured sites; other calls vanish with their general parameters.

    Raises OtherWayError for the parameters whose calls are others.
    """
    names = set(survey.structured)
    found = [c for c in calls if names & set(c.operations)]
    other = set()
    for name in names:
        own = [(k, c) for k, c in enumerate(found) if name in c.operations]
        sites = survey.uses(name)
        fitting = len(own) == len(sites) and all(
            site.fits(c, n) and not (c.changed and k not in survey.clone)
            for site, (k, c) in zip(sites, own, strict=True)
        )
        if not fitting:
            other.add(name)
    order = [names & set(c.operations) for c in found]
    if not other and order != [set(site.operations) for site in survey.sites]:
        other = names
    if other:
        raise OtherWayError(
            other,
            f"the forward pass uses {min(other)} otherwise on these data than on the first samples; "
            "use general=True",
            by_calls=True,
        )
    return found


def keeps(survey: Survey, site: Site) -> bool:
    return any(not is_small(site, op, survey.size(name)) for name, op in site.operations.items())


def bound(survey: Survey, site: Site, x: Tensor | None) -> Made:
    """The operations whose gradients are held as they are."""
    found = {
        name: op for name, op in site.operations.items()
        if is_small(site, op, survey.size(name)) and not shares_signal(site, name)
    }  # fmt: skip
    return found if x is None else {name: op.bound(x) for name, op in found.items()}


def keep(
    passed: Passed,
    survey: Survey,
    site: Site,
    operations: Made,
    x: Tensor | None,
    signals: Sequence[Tensor],
    rows: slice,
    places: range,
) -> None:
    """``signals``: of the outputs at ``places``, whose gradients are made together."""
    here = rows, slice(places.start, places.stop)
    g: Tensor | None = None
    if keeps(survey, site) and not site.is_output:
        held = into(passed.g, site.index, passed.n, signals[0], passed.n_outputs)
        for place, signal in zip(places, signals, strict=True):
            held[rows, place] = signal
        g = held[here]
    for name, operation in operations.items():
        if g is None:
            g = torch.stack(list(signals), dim=1) if len(signals) > 1 else signals[0][:, None]
        if (site.index, name) not in passed.ready:
            made = g.new_empty(passed.n, passed.n_outputs, survey.size(name))
            passed.ready.setdefault((site.index, name), made)  # threads may come at once
        unused = g if x is None else x  # operations without x ignore it
        passed.ready[site.index, name][here] = operation.gradient(unused, g, slice(None))


def into(
    held: dict[int, Tensor], key: int, n: int, like: Tensor, n_outputs: int | None = None
) -> Tensor:
    if key not in held:
        if n_outputs is None:
            made = like.new_empty(n, *like.shape[1:])
        elif like.ndim == 3:  # positions outermost: then (output, unit) is one axis of a matrix
            T, q = like.shape[1:]
            made = like.new_empty(n, T, n_outputs, q).transpose(1, 2)
        else:
            made = like.new_empty(n, n_outputs, *like.shape[1:])
        held.setdefault(key, made)  # threads may come at once
    return held[key]


def require_finite(values: Tensor, what: str, sites: Sequence[Site]) -> None:
    if not values.is_floating_point() or bool(torch.isfinite(values.sum())):
        return  # a finite sum has finite summands, and takes one reading
    if not bool(torch.isfinite(values).all()):
        names = ", ".join(sites[0].operations) if len(sites) == 1 else "the model"
        raise ValueError(
            f"the {what} of {names} are NaN or infinite on these data; scale the data or the "
            "weights down, or check for a division by zero or the root of zero"
        )
