"""The terms of a model's large layers formed on the way back through it: a layer is contracted, and dropped.

What is held is the graph of one pass and a matrix for each parameter, where the way of
:func:`ntkscope.kernels.module.making.collect.collect` holds every output's gradient of every layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from threading import local
from typing import Any

import torch
from torch import Tensor

from ntkscope._base import threads
from ntkscope.kernels.module.holding.formed_block import FormedBlock
from ntkscope.kernels.module.making.collect import (
    bound,
    input_of,
    into,
    keep,
    keeps,
    matching,
    require_finite,
)
from ntkscope.kernels.module.making.forming import Forming, Growing, Sums
from ntkscope.kernels.module.making.invariant import Others, require_own_gradients
from ntkscope.kernels.module.making.passed import Passed, is_small, shares_signal
from ntkscope.kernels.module.making.turning import Turned, rotations
from ntkscope.kernels.module.reading.modes import with_gradients
from ntkscope.kernels.module.reading.recorder import record
from ntkscope.kernels.module.reading.sites import Site
from ntkscope.kernels.module.reading.subject import Inputs, Subject
from ntkscope.kernels.module.reading.survey import Survey
from ntkscope.kernels.module.reading.trace import Trace

_SHARE = 4  # of the budget: a contraction's scratch beside the graph
# bytes of factors below which they are held: tiles, and products of a part, are then free
LEAST = 100e6


def walked(survey: Survey) -> tuple[str, ...]:
    """The parameters that a walk forms: matrices at many positions, and what is used several times.

    A walk would make patches of a layer's inputs again for every output. So a small layer that takes some has
    its gradients held; and where a large one does, whose signals, held, may be turned into fewer, nothing is walked.
    """
    names = set()
    for name in survey.structured:
        sites = survey.uses(name)
        many = any(name in site.heavy and site.positions > 1 for site in sites)
        patches = [site for site in sites if many and _makes_patches(survey, site, name)]
        if not all(is_small(site, site.operations[name], survey.size(name)) for site in patches):
            return ()
        if len(sites) > 1 or (many and not patches):
            names.add(name)
    for site in survey.sites:  # whose signals are not kept for a bias beside it
        if names & site.heavy.keys():
            names |= {name for name in site.operations if shares_signal(site, name)}
    return tuple(name for name in survey.structured if name in names)


def _makes_patches(survey: Survey, site: Site, name: str) -> bool:
    return site.operations[name].scratch(site.g_size, survey.shape(name)) > 1


@with_gradients
def walk(
    subject: Subject,
    survey: Survey,
    inputs: Inputs,
    outputs: Sequence[int],
    budget: float,
    checked: bool = True,
    turns: bool = True,
) -> Passed:
    """Pass all samples at once, and go back through the graph for every output.

    turns: signals that carry few outputs on some samples are turned, unless others carry more.
    Checked and raising as :func:`collect` does.
    """
    n, names = len(inputs[0]), walked(survey)
    turned: dict[str, Tensor] = {}
    if turns and not survey.reads:
        turned = rotations(subject, survey, inputs, outputs, names, budget)
    with subject.autograd() as (leaves, run):
        watched = {name: leaves[name] for name in survey.structured}
        several = len(outputs) > 1
        trace = record(
            lambda: run(inputs), watched, survey.clone, survey.fixed, values=False, slopes=several
        )
        others = None
        if checked or survey.reads:
            others = Others.of(trace.output, outputs, n, bool(survey.reads))
        way = _Walk(survey, trace, outputs, names, turned, n, others, budget)
        del trace
        way.back()
        passed, formed = way.passed, way.formed()
    totals = way.totals
    del way  # with its graph
    if formed is None:
        del passed, totals, others  # before another pass of all samples
        return walk(subject, survey, inputs, outputs, budget, checked, turns=False)
    passed.formed = formed
    if others is not None:
        require_own_gradients(passed, subject, survey, inputs, outputs, n, others, totals)
    return passed


class _Own(local):
    """A thread's: its terms, the place of the output that it goes back from, the calls whose gradients came."""

    terms: dict[str, Growing]
    place: int
    seen: set[int]


class _Walk:
    """One pass's graph, the sums that grow as it is walked, and what is kept of the small layers."""

    def __init__(
        self,
        survey: Survey,
        trace: Trace,
        outputs: Sequence[int],
        names: Sequence[str],
        turned: Mapping[str, Tensor],
        n: int,
        others: Others | None,
        budget: float,
    ) -> None:
        self._survey, self._output, self._outputs, self._n = survey, trace.output, outputs, n
        require_finite(trace.output, "outputs", survey.sites)
        self._calls = matching(trace.calls, survey, n)
        self._x = {
            site.index: input_of(site, call, n, trace.output.dtype)
            for site, call in zip(survey.sites, self._calls, strict=True)
        }
        self.passed = Passed(n, len(outputs), trace.near_kinks, trace.output.detach())
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
        none = trace.output.new_zeros(0, n, len(outputs), requires_grad=False)
        self._groups = [] if others is None else others.groups
        sums = Sums(self._groups, none if others is None else others.apart())
        terms: dict[str, Growing] = {}
        for name in names:
            sites, shape, most = survey.uses(name), survey.shape(name), budget / _SHARE
            x = self._x[sites[0].index]
            if name in turned and x is not None:
                terms[name] = Turned(name, sites[0], shape, x, turned[name], sums, most)
            else:
                terms[name] = Forming(name, sites, shape, self._x, len(outputs), sums, most)
        self._terms = [terms]  # of each thread
        edges = enumerate(call.edge for call in self._calls)
        self._edges = {k: edge for k, edge in edges if edge is not None}
        nodes = {edge.node for edge in self._edges.values()}
        self._last = _without_others_behind(trace.output.grad_fn, nodes)
        self._own = _Own()

    def back(self) -> None:
        """Walk the graph for every output.

        Each thread has its share of the outputs and terms of its own, so that sums do not depend on when it runs.
        """
        C = len(self._outputs)
        shares = threads.workers(C, self._output.device)
        first = self._terms[0]
        beside = range(1, shares)
        self._terms += [{name: term.beside() for name, term in first.items()} for _ in beside]
        hooks = [
            edge.node.register_prehook(partial(self._passes, k, edge.output_nr))
            for k, edge in self._edges.items()
            if edge.node not in self._last
        ]
        try:
            threads.each(
                lambda share: self._share(share, shares), range(shares), self._output.device
            )
        finally:
            for hook in hooks:
                hook.remove()
        for name, term in first.items():
            for other in self._terms[1:]:
                term.join(other[name])
        del self._terms[1:]

    def _share(self, share: int, shares: int) -> None:
        places = range(share, len(self._outputs), shares)
        self._own.terms = self._terms[share]
        for place in places:
            self._back(place, shares > 1 or place != places[-1])

    def _back(self, place: int, again: bool) -> None:
        self._own.place, self._own.seen = place, set()
        if self._output.requires_grad and self._edges:
            ends = [(k, edge) for k, edge in self._edges.items() if edge.node in self._last]
            found = torch.autograd.grad(
                self._output[:, self._outputs[place]].sum(), [edge for _, edge in ends],
                retain_graph=again, allow_unused=True,
            )  # fmt: skip
            left = [*found]
            del found
            for k, _ in reversed(ends):  # as a pass back would come to them; each is dropped then
                self._arrives(k, left.pop())
        for k in range(len(self._calls)):
            if k not in self._own.seen:  # the model does not use the layer's result
                self._arrives(k, None)

    def _passes(self, k: int, number: int, gradients: Sequence[Tensor | None]) -> None:
        self._arrives(k, gradients[number])

    @torch.no_grad()
    def _arrives(self, k: int, gradient: Tensor | None) -> None:
        """The gradient with respect to the output of call ``k``."""
        self._own.seen.add(k)
        site, call = self._survey.sites[k], self._calls[k]
        whole = self._output.new_zeros(call.out.shape) if gradient is None else gradient
        g = site.arrange_g(whole, self._n).to(self._output.dtype)
        require_finite(g, "gradients", (site,))
        own = self._kept.get(site.index)
        if own is not None:
            rows, places = slice(0, self._n), range(self._own.place, self._own.place + 1)
            made, x = self._bound[site.index], self._x[site.index]
            keep(self.passed, self._rest, own, made, x, [g], rows, places)
        for name in site.operations.keys() & self._own.terms.keys():
            self._own.terms[name].add(self._own.place, site, g)

    @property
    def totals(self) -> list[dict[str, Tensor]]:
        """For each of the groups the sums of :func:`require_own_gradients`."""
        every = range(len(self._groups))
        return [{name: term.totals[k] for name, term in self._terms[0].items()} for k in every]

    def formed(self) -> dict[str, FormedBlock] | None:
        """The terms, once every output has been gone back from; None where signals would not turn."""
        found: dict[str, FormedBlock] = {}
        for name, term in self._terms[0].items():
            made = term.formed()
            if made is None:
                return None
            found[name] = made
        return found


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
