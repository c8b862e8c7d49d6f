"""From what the passes left behind to the kernel's terms."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ntkscope.kernels.hadamard import Factor, HadamardKernel, Term
from ntkscope.kernels.kernel import Kernel
from ntkscope.kernels.module.holding.compress import fewer_outputs
from ntkscope.kernels.module.holding.formed_block import FormedBlock
from ntkscope.kernels.module.holding.general import General
from ntkscope.kernels.module.holding.general_kernel import GeneralKernel
from ntkscope.kernels.module.holding.module_kernel import ModuleKernel, Part
from ntkscope.kernels.module.holding.use import Use, at_used_positions, together
from ntkscope.kernels.module.holding.weight_block import WeightBlock
from ntkscope.kernels.module.making.collect import collect
from ntkscope.kernels.module.making.errors import OtherWayError
from ntkscope.kernels.module.making.passed import Passed, is_small, shares_signal
from ntkscope.kernels.module.making.walk import walk
from ntkscope.kernels.module.reading.layers.layer import Operation, Ready
from ntkscope.kernels.module.reading.sites import Site
from ntkscope.kernels.module.reading.subject import Inputs, Subject
from ntkscope.kernels.module.reading.survey import Survey
from ntkscope.kernels.prepared import Options

Block = WeightBlock | FormedBlock

_GENERAL_BUDGET = 2e9  # bytes of per-sample gradients at a time


@dataclass(frozen=True, eq=False)
class Recipe:
    """How to make the kernel of a subject for any samples.

    full: keep the pairs of outputs apart. chunk: samples in one pass. budget: bytes a contraction
    may take beyond its result. limit: bytes in all. loop: why vmap cannot take the parameters that
    need it, or empty. walked: the terms are formed as the model is passed, see :func:`walk`.
    """

    subject: Subject
    survey: Survey
    outputs: tuple[int, ...]
    full: bool
    options: Options
    chunk: int
    budget: float
    limit: float
    loop: str
    walked: bool = False

    @property
    def lead(self) -> int:
        """Rows of the kernel for one sample."""
        return len(self.outputs) if self.full else 1

    @property
    def labels(self) -> tuple[str, ...]:
        return ("sample", "output") if self.full else ("sample",)

    @property
    def rank_bound(self) -> int:
        """All gradients' entries: those of each output where outputs are summed."""
        return self.subject.n_parameters * (1 if self.full else len(self.outputs))

    @property
    def strict(self) -> bool:
        """Whether ``limit`` was asked for, and is not what happens to be free."""
        return self.options.max_memory is not None

    @property
    def used(self) -> list[str]:
        """The parameters with a term, in the model's order."""
        return [n for n in self.subject.parameters if n not in self.survey.unused]

    def made(
        self, rows: Inputs, cols: Inputs | None, checked: tuple[bool, bool] = (True, True)
    ) -> tuple[Recipe, tuple[Passed, Passed]]:
        """One pass for the rows and, of a cross kernel, one for the columns; ``checked``: which of them are.

        What a pass uses by other calls than the first samples' did goes the general way, and where a pass reads
        values, what it uses otherwise: the recipe is the one that the passes followed.
        """
        recipe = self
        while True:
            try:
                left = recipe._pass(rows, checked[0])
                return recipe, (left, left if cols is None else recipe._pass(cols, checked[1]))
            except OtherWayError as error:
                if not self.survey.reads and not error.by_calls:
                    raise
                reads = (
                    f"the pass reads values ({self.survey.reads}) and "
                    if self.survey.reads
                    else "the pass "
                )
                reason = f"{reads}uses it otherwise on some samples"
                recipe = replace(recipe, survey=recipe.survey.with_general(error.names, reason))

    def _pass(self, inputs: Inputs, checked: bool) -> Passed:
        checked = checked and self.options.self_check
        if not self.survey.structured:
            return Passed(len(inputs[0]), len(self.outputs))
        if self.walked:
            return walk(
                self.subject,
                self.survey,
                inputs,
                self.outputs,
                self.budget,
                checked,
            )
        return collect(self.subject, self.survey, inputs, self.outputs, self.chunk, checked)

    def kernel(
        self,
        rows: Inputs,
        cols: Inputs | None,
        names: Collection[str] | None = None,
        checked: tuple[bool, bool] = (True, True),
    ) -> Kernel:
        """The kernel of these samples, its factors held; of some of the parameters."""
        recipe, passes = self.made(rows, cols, checked)
        return recipe.assembled(*passes, rows, cols, names)

    def assembled(
        self,
        left: Passed,
        right: Passed,
        rows: Inputs,
        cols: Inputs | None,
        names: Collection[str] | None = None,
    ) -> Kernel:
        """The terms of every parameter that is used, or of ``names``, in the model's order."""
        order = [name for name in self.used if names is None or name in names]
        terms = _Assembly(self, left, right).terms(order)
        common: dict[str, Any] = {
            "n_parameters": self.rank_bound, "near_kinks": left.near_kinks, "labels": self.labels,
            "summed": 1 if self.full else len(self.outputs),
        }  # fmt: skip
        gram = [t for t in terms.values() if isinstance(t, Term)]
        if len(gram) == len(order) and not self.strict:
            return HadamardKernel(gram, **common)
        parts: list[Part] = [HadamardKernel(gram)] if gram else []
        parts += [t for t in terms.values() if not isinstance(t, Term)]
        general = [name for name in order if name not in terms]
        if general:
            parts.append(GeneralKernel(self.source(rows, cols), general, self.chunk))
        limit = self.limit if self.strict else None
        return ModuleKernel(parts, order=order, limit=limit, **common)

    def source(self, rows: Inputs, cols: Inputs | None) -> General:
        """The gradients of the general parameters: passes cost more than the room for what they leave."""
        inputs = (rows, rows if cols is None else cols)
        budget = max(self.budget, min(self.limit / 4, _GENERAL_BUDGET))
        return General(
            self.subject, inputs, self.outputs, self.full, not self.loop, self.loop, budget,
            self.options.chunk_size, self.options.self_check,
        )  # fmt: skip

    def structured_terms(self, passed: Passed) -> dict[str, Term | Block]:
        """The structured terms of a symmetric kernel, of whatever ``passed`` holds."""
        return _Assembly(self, passed, passed).terms(self.used)

    def for_output(self, place: int) -> Recipe:
        """The same for one of the outputs."""
        return replace(self, outputs=(self.outputs[place],), full=False)


@dataclass
class _Assembly:
    recipe: Recipe
    left: Passed
    right: Passed
    factors: dict[tuple[Any, ...], Factor] = field(default_factory=dict)

    def terms(self, names: Sequence[str]) -> dict[str, Term | Block]:
        """Those of ``names`` that are structured."""
        survey = self.recipe.survey
        return {
            n: self.left.formed.get(n) or self._term(n, survey.uses(n))
            for n in names if n in survey.structured
        }  # fmt: skip

    def _term(self, name: str, sites: Sequence[Site]) -> Term | Block:
        if len(sites) == 1:
            (site,) = sites
            operation = site.operations[name]
            if self._is_ready(site, name):
                if site.is_output and shares_signal(site, name):
                    return self._of_output(name, None)
                return Term(name, None, self._signals(site, name))
            if operation.by_vectors and site.positions == 1:
                features = self._features(site)
                if site.is_output:
                    return self._of_output(name, features)
                return Term(name, features, self._signals(site, None))
        uses = together([self._use(site, name) for site in sites])
        if len(uses) < len(sites):
            self._hold_once(sites, uses[0])
        uses = tuple(at_used_positions(use) for use in uses)
        shape = self.recipe.survey.shape(name)
        rotated = 0
        if len(uses) == 1 and uses[0].operation.is_outer and not self.recipe.full:
            (use,) = uses
            fewer = fewer_outputs(use.g, use.operation.unit_axis)
            if fewer is not use.g:
                rotated, uses = use.g[0].shape[1], (replace(use, g=fewer),)
        return WeightBlock(name, uses, shape, self.recipe.full, self.recipe.budget, rotated)

    def _hold_once(self, sites: Sequence[Site], joined: Use) -> None:
        """What the steps of a matrix left becomes parts of what they are ``joined`` to."""
        for which, passed in enumerate((self.left, self.right)):
            start = 0
            for site in sites:
                part = slice(start, start + passed.x[site.index].shape[1])
                passed.x[site.index] = joined.x[which][:, part]
                if site.index in passed.g:
                    passed.g[site.index] = joined.g[which][:, :, part]
                start = part.stop

    def _is_ready(self, site: Site, name: str) -> bool:
        return is_small(site, site.operations[name], self.recipe.survey.size(name))

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
            shape = self.recipe.survey.shape(name)
            operation: Operation = Ready(shape[0] if shape else 1)
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
