"""The terms of a model's large layers formed on the way back through it: a layer is contracted, and dropped.

What is held is the graph of one pass and a matrix for each parameter, where the way of
:func:`ntkscope.kernels.module.making.collect.collect` holds every output's gradient of every layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ntkscope.kernels.module.holding.formed_block import FormedBlock
from ntkscope.kernels.module.making.collect import (
    bound,
    into,
    keep,
    keeps,
    matching,
    require_finite,
)
from ntkscope.kernels.module.making.forming import Forming, Sums
from ntkscope.kernels.module.making.invariant import (
    batches_of_others,
    require_own_gradients,
    require_sums,
    weights,
)
from ntkscope.kernels.module.making.passed import Passed, is_small, shares_signal
from ntkscope.kernels.module.reading.modes import with_gradients
from ntkscope.kernels.module.reading.recorder import record
from ntkscope.kernels.module.reading.subject import Inputs, Subject
from ntkscope.kernels.module.reading.survey import Survey
from ntkscope.kernels.module.reading.trace import Trace

_SHARE = 4  # of the budget: a contraction's scratch beside the graph
# bytes of factors below which they are held: tiles, and products of a part, are then free
LEAST = 64e6


def walked(survey: Survey) -> tuple[str, ...]:
    """The parameters that a walk forms: matrices at many positions, and what is used several times.

    None of them where a large layer makes patches of its inputs: a walk would make those again for every
    output, and the layer's signals, held, may be turned into fewer.
    """
    names = set()
    for name in survey.structured:
        sites = survey.uses(name)
        many = any(name in site.heavy and site.positions > 1 for site in sites)
        for site in sites if many else ():
            operation = site.operations[name]
            patches = operation.scratch(site.g_size, survey.shape(name)) > 1
            if patches and not is_small(site, operation, survey.size(name)):
                return ()
        if many or len(sites) > 1:
            names.add(name)
    for site in survey.sites:  # whose signals are not kept for a bias beside it
        if names & site.heavy.keys():
            names |= {name for name in site.operations if shares_signal(site, name)}
    return tuple(name for name in survey.structured if name in names)


@with_gradients
def walk(
    subject: Subject,
    survey: Survey,
    inputs: Inputs,
    outputs: Sequence[int],
    budget: float,
    checked: bool = True,
) -> Passed:
    """Pass all samples at once, and go back through the graph for every output.

    Checked and raising as :func:`collect` does.
    """
    n = len(inputs[0])
    checked = checked and not survey.reads  # which is checked in batches of others
    groups = batches_of_others(n) if survey.reads else [slice(0, n, 1)] if checked else []
    with subject.autograd() as (leaves, run):
        watched = {name: leaves[name] for name in survey.structured}
        trace = record(lambda: run(inputs), watched, survey.clone, survey.fixed, values=False)
        way = _Walk(survey, trace, outputs, n, groups, budget)
        for place in range(len(outputs)):
            way.back(place, checked or place < len(outputs) - 1)
        passed = way.passed
        if checked:
            (rows,), (totals,) = groups, way.totals
            require_sums(passed, survey, leaves, trace.output, outputs, rows, totals)
    passed.formed = way.formed()
    if survey.reads:
        require_own_gradients(passed, subject, survey, inputs, outputs, way.totals)
    return passed


class _Walk:
    """One pass's graph, the sums that grow as it is walked, and what is kept of the small layers."""

    def __init__(
        self,
        survey: Survey,
        trace: Trace,
        outputs: Sequence[int],
        n: int,
        groups: Sequence[slice],
        budget: float,
    ) -> None:
        self._survey, self._output, self._outputs, self._n = survey, trace.output, outputs, n
        self._groups = groups
        require_finite(trace.output, "outputs", survey.sites)
        self._calls = matching(trace.calls, survey, n)
        self._x = {
            site.index: None if call.x is None else site.arrange_x(call.x, n)
            for site, call in zip(survey.sites, self._calls, strict=True)
        }
        self.passed = Passed(n, len(outputs), trace.near_kinks, trace.output.detach())
        names = walked(survey)
        self._rest = survey.with_general(names, "formed on the way back")
        self._kept = {site.index: site for site in self._rest.sites}
        self._bound = {}
        for site in survey.sites:
            x = self._x[site.index]
            if x is not None:
                require_finite(x, "inputs", (site,))
            own = self._kept.get(site.index)
            if own is not None:
                if x is not None and keeps(self._rest, own):
                    into(self.passed.x, site.index, n, x)[:] = x
                self._bound[site.index] = bound(self._rest, own, x)
        r = trace.output.new_zeros(len(groups), n, len(outputs), requires_grad=False)
        for own, rows in zip(r, groups, strict=True):
            own[rows] = weights(rows, n, outputs, trace.output)
        sums = Sums(groups, r)
        self._terms = {
            name: Forming(
                name,
                survey.uses(name),
                survey.shape(name),
                self._x,
                len(outputs),
                sums,
                budget / _SHARE,
            )
            for name in names
        }
        edges = enumerate(call.edge for call in self._calls)
        self._edges = {k: edge for k, edge in edges if edge is not None}
        nodes = {edge.node for edge in self._edges.values()}
        self._last = _without_others_behind(trace.output.grad_fn, nodes)
        self._place, self._seen = 0, set[int]()

    def back(self, place: int, again: bool) -> None:
        """Walk the graph for the output at ``place``, and keep it to go back ``again``."""
        self._place, self._seen = place, set()
        if self._output.requires_grad and self._edges:
            hooks, ends = [], []
            for k, edge in self._edges.items():
                if edge.node in self._last:
                    ends.append((k, edge))
                else:
                    passes = partial(self._passes, k, edge.output_nr)
                    hooks.append(edge.node.register_prehook(passes))
            try:
                found = torch.autograd.grad(
                    self._output[:, self._outputs[place]].sum(), [edge for _, edge in ends],
                    retain_graph=again, allow_unused=True,
                )  # fmt: skip
            finally:
                for hook in hooks:
                    hook.remove()
            for (k, _), gradient in zip(ends, found, strict=True):
                self._arrives(k, gradient)
        for k in range(len(self._calls)):
            if k not in self._seen:  # the model does not use the layer's result
                self._arrives(k, None)

    def _passes(self, k: int, number: int, gradients: Sequence[Tensor | None]) -> None:
        self._arrives(k, gradients[number])

    @torch.no_grad()
    def _arrives(self, k: int, gradient: Tensor | None) -> None:
        """The gradient with respect to the output of call ``k``."""
        self._seen.add(k)
        site, call = self._survey.sites[k], self._calls[k]
        whole = self._output.new_zeros(call.out.shape) if gradient is None else gradient
        g = site.arrange_g(whole, self._n)
        require_finite(g, "gradients", (site,))
        own = self._kept.get(site.index)
        if own is not None:
            rows, places = slice(0, self._n), range(self._place, self._place + 1)
            made, x = self._bound[site.index], self._x[site.index]
            keep(self.passed, self._rest, own, made, x, [g], rows, places)
        for name in site.operations.keys() & self._terms.keys():
            self._terms[name].add(self._place, site, g)

    @property
    def totals(self) -> list[dict[str, Tensor]]:
        """For each of the groups the sums of :func:`require_sums`."""
        every = range(len(self._groups))
        return [{name: term.totals[k] for name, term in self._terms.items()} for k in every]

    def formed(self) -> dict[str, FormedBlock]:
        """The terms, once every output has been gone back from."""
        return {name: term.formed() for name, term in self._terms.items()}


def _without_others_behind(root: Any, nodes: set[Any]) -> set[Any]:
    """Those of ``nodes`` behind which no other one lies: the engine passes all others on its way to them."""
    leads: dict[Any, bool] = {}
    stack = [] if root is None else [(root, False)]
    while stack:
        node, done = stack.pop()
        after = [child for child, _ in node.next_functions if child is not None]
        if done:
            leads[node] = any(child in nodes or leads.get(child, False) for child in after)
        elif node not in leads:
            leads[node] = False
            stack.append((node, True))
            stack += [(child, False) for child in after if child not in leads]
    return {node for node in nodes if not leads.get(node, False)}
