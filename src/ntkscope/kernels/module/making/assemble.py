"""From what the passes left behind to the kernel's terms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor

from ntkscope.kernels.hadamard import Factor, HadamardKernel, Term
from ntkscope.kernels.module.holding.weight_block import Use, WeightBlock
from ntkscope.kernels.module.making.collect import collect
from ntkscope.kernels.module.holding.compress import fewer_outputs
from ntkscope.kernels.module.holding.general import General
from ntkscope.kernels.module.holding.module_kernel import GeneralTerm, ModuleKernel, Summand
from ntkscope.kernels.module.reading.operations import Dense, Operation, Ready
from ntkscope.kernels.module.making.passed import Passed, is_small, shares_signal
from ntkscope.kernels.module.reading.subject import Inputs, Subject
from ntkscope.kernels.module.reading.survey import Site, Survey

_LOOP_BUDGET = 2e9  # bytes of gradients made one sample at a time

Reduce = Literal["trace", "full", "diagonal"] | int


@dataclass(frozen=True, eq=False)
class Recipe:
    """How to make the kernel of a subject for any samples.

    chunk: samples in one pass. budget: bytes a contraction may take beyond its result.
    limit: bytes in all. loop: why vmap cannot take the general parameters, or empty.
    """

    subject: Subject
    survey: Survey
    outputs: tuple[int, ...]
    full: bool
    chunk: int
    budget: float
    limit: float
    loop: str
    general_chunk: int | None = None
    strict: bool = False  # ``limit`` was asked for, and not what happens to be free
    checked: bool = True  # whether every pass is held against autograd's sum over its samples

    def passes(self, rows: Inputs, cols: Inputs | None) -> tuple[Passed, Passed]:
        """One pass for the rows and, of a cross kernel, one for the columns."""
        if not self.survey.structured:
            empty = Passed(len(rows[0]), len(self.outputs))
            return empty, empty
        run: Callable[[Inputs], Passed] = lambda X: collect(  # noqa: E731  # said twice below
            self.subject, self.survey, X, self.outputs, self.chunk, self.checked
        )
        left = run(rows)
        return left, left if cols is None else run(cols)

    def kernel(self, rows: Inputs, cols: Inputs | None) -> HadamardKernel:
        """The kernel of these samples, its factors held."""
        return self.assembled(*self.passes(rows, cols), rows, cols)

    def assembled(
        self, left: Passed, right: Passed, rows: Inputs, cols: Inputs | None
    ) -> HadamardKernel:
        """The terms of every parameter that is used, in the model's order."""
        terms = _Assembly(self, left, right).terms()
        if self.survey.general:
            source = self.source(rows, cols)
            terms |= {name: GeneralTerm(name, source) for name in self.survey.general}
        ordered = [terms[name] for name in self.subject.parameters if name in terms]
        labels = ("sample", "output") if self.full else ("sample",)
        summed = 1 if self.full else len(self.outputs)
        count = self.subject.n_parameters * summed  # a bound on the rank
        gram = [t for t in ordered if isinstance(t, Term)]
        if len(gram) == len(ordered) and not self.strict:
            return HadamardKernel(
                gram, n_parameters=count, near_kinks=left.near_kinks, labels=labels
            )
        return ModuleKernel(
            ordered, n_parameters=count, near_kinks=left.near_kinks, labels=labels,
            chunk=self.chunk,
            limit=self.limit if self.strict else None,
        )  # fmt: skip

    def source(self, rows: Inputs, cols: Inputs | None) -> General:
        """The gradients of the general parameters.

        A loop's passes cost far more than the room to hold what they leave.
        """
        inputs = (rows, rows if cols is None else cols)
        budget = max(self.budget, min(self.limit / 4, _LOOP_BUDGET)) if self.loop else self.budget
        return General(
            self.subject, inputs, self.outputs, self.full, not self.loop, self.loop, budget,
            self.general_chunk,
        )  # fmt: skip

    def structured_terms(self, passed: Passed) -> dict[str, Summand]:
        """The structured terms of a symmetric kernel, of whatever ``passed`` holds."""
        return _Assembly(self, passed, passed).terms()

    def for_output(self, place: int) -> Recipe:
        """The same for one of the outputs."""
        return replace(self, outputs=(self.outputs[place],), full=False)


@dataclass
class _Assembly:
    recipe: Recipe
    left: Passed
    right: Passed
    factors: dict[tuple[Any, ...], Factor] = field(default_factory=dict)

    def terms(self) -> dict[str, Summand]:
        made: dict[str, Summand] = {}
        for name in self.recipe.survey.structured:
            sites = self.recipe.survey.uses(name)
            made[name] = self._term(name, sites)
        return made

    def _term(self, name: str, sites: Sequence[Site]) -> Summand:
        if len(sites) == 1:
            (site,) = sites
            operation = site.operations[name]
            if self._is_ready(site, name):
                if site.is_output and shares_signal(site, name):
                    return self._of_output(name, None)
                return Term(name, None, self._signals(site, name))
            if isinstance(operation, Dense) and site.positions == 1:
                features = self._features(site)
                if site.is_output:
                    return self._of_output(name, features)
                return Term(name, features, self._signals(site, None))
        uses = tuple(self._use(site, name) for site in sites)
        shape = tuple(self.recipe.subject.parameters[name].shape)
        rotated = 0
        if len(uses) == 1 and uses[0].operation.is_outer and not self.recipe.full:
            (use,) = uses
            fewer = fewer_outputs(use.g, use.operation.unit_axis)
            if fewer is not use.g:
                rotated, uses = use.g[0].shape[1], (replace(use, g=fewer),)
        return WeightBlock(name, uses, shape, self.recipe.full, self.recipe.budget, rotated=rotated)

    def _is_ready(self, site: Site, name: str) -> bool:
        size = self.recipe.subject.parameters[name].numel()
        return is_small(site, site.operations[name], size)

    def _of_output(self, name: str, features: Factor | None) -> Term:
        """The last layer: its signals are the unit vectors, which need not be held."""
        C = len(self.recipe.outputs)
        if self.recipe.full:
            return Term(name, features, self._units())
        if features is None:
            return Term(name, None, self._ones(), float(C))
        return Term(name, features, None, float(C))

    def _units(self) -> Factor:
        C = len(self.recipe.outputs)
        return self._both(("units",), lambda p: torch.eye(C, **self._like()).repeat(p.n, 1))

    def _ones(self) -> Factor:
        return self._both(("ones",), lambda p: torch.ones(p.n, 1, **self._like()))

    def _like(self) -> dict[str, Any]:
        held = [*self.left.g.values(), *self.left.ready.values(), *self.left.x.values()]
        meta = any(t.device.type == "meta" for t in held)
        subject = self.recipe.subject
        return {"dtype": subject.dtype, "device": "meta" if meta else subject.device}

    def _features(self, site: Site) -> Factor:
        C = len(self.recipe.outputs)

        def make(passed: Passed) -> Tensor:
            x = passed.x[site.index].flatten(1)
            return x.repeat_interleave(C, dim=0) if self.recipe.full else x

        return self._both(("x", site.index), make)

    def _signals(self, site: Site, name: str | None) -> Factor:
        """Gradients as one row for each sample (and output, for "full")."""
        shared = name is None or shares_signal(site, name)
        key = ("g", site.index) if shared else ("ready", site.index, name)

        def make(passed: Passed) -> Tensor:
            held = passed.g[site.index] if shared else passed.ready[site.index, str(name)]
            g = held.flatten(2)
            return g.flatten(0, 1) if self.recipe.full else g.flatten(1)

        return self._both(key, make)

    def _both(self, key: tuple[Any, ...], make: Callable[[Passed], Tensor]) -> Factor:
        if key not in self.factors:
            self.factors[key] = Factor(*self._sides(make))
        return self.factors[key]

    def _use(self, site: Site, name: str) -> Use:
        if self._is_ready(site, name):
            parameter = self.recipe.subject.parameters[name]
            operation: Operation = Ready(parameter.shape[0] if parameter.ndim else 1)
            pair = self._sides(lambda p: self._gradient(p, site, name))
            return Use(operation, pair, pair)
        x = self._sides(lambda p: p.x[site.index])
        g = self._sides(lambda p: self._output_gradient(p, site))
        operation = site.operations[name]
        return Use(operation, x, g)

    def _sides(self, make: Callable[[Passed], Tensor]) -> tuple[Tensor, Tensor]:
        rows = make(self.left)
        return rows, rows if self.left is self.right else make(self.right)

    def _output_gradient(self, passed: Passed, site: Site) -> Tensor:
        if not site.is_output:
            return passed.g[site.index]
        C, total = len(self.recipe.outputs), self.recipe.survey.n_outputs
        units = torch.eye(total, **self._like())[list(self.recipe.outputs)]
        return units[None, :, None, :].expand(passed.n, C, 1, total).contiguous()

    def _gradient(self, passed: Passed, site: Site, name: str) -> Tensor:
        if shares_signal(site, name):
            return self._output_gradient(passed, site).flatten(2)
        return passed.ready[site.index, name]
