"""A module and its data, read once: subject, survey, and the kernels made from one pass."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor

from ntkscope._base import memory
from ntkscope._base.samples import as_samples
from ntkscope._base.threads import workers
from ntkscope.kernels.kernel import Kernel
from ntkscope.kernels.module.holding.per_sample import batching_fails
from ntkscope.kernels.module.making.assemble import Recipe
from ntkscope.kernels.module.making.lazy import LazyKernel
from ntkscope.kernels.module.making.passed import Passed, numbers_held, scratch_held
from ntkscope.kernels.module.making.selfcheck import check_against_autograd
from ntkscope.kernels.module.making.walk import LEAST, walked
from ntkscope.kernels.module.reading.inputs import as_inputs
from ntkscope.kernels.module.reading.interface import Interface
from ntkscope.kernels.module.reading.models import make_subject
from ntkscope.kernels.module.reading.modes import with_gradients
from ntkscope.kernels.module.reading.probing import untouched
from ntkscope.kernels.module.reading.subject import Inputs, Subject, take
from ntkscope.kernels.module.reading.survey import (
    Survey,
    require_used,
    survey,
    used_anywhere,
)
from ntkscope.kernels.outputs import OutputKernels
from ntkscope.kernels.prepared import Diagonal, Options, Prepared, Reduce, chosen_outputs

Passes = tuple[Passed, Passed]
Made = TypeVar("Made", Kernel, OutputKernels)

_BUDGET = 64e6  # bytes of one contraction's gradients, or eight kernels of N×N if that is more
_MOST_IN_A_PASS = 1024
_SCRATCH = 256e6  # bytes of patches that a pass keeps for its outputs
_PASS = 200e6  # bytes that a pass may keep on a CPU, where a longer one is no faster
_LEAST_IN_A_PASS = 16  # samples, whatever they keep


class PreparedModule(Prepared):
    """Any model but an MLP in closed form. The survey is made at once, passes when first needed.

    rows, cols: the inputs of X and X2. Errors as in :func:`ntkscope.empirical_ntk`.
    """

    @with_gradients
    def __init__(self, model: Any, X: Any, options: Options, X2: Any = None) -> None:
        self.options = options
        self._walked: dict[tuple[int, ...], tuple[Recipe, Passes]] = {}
        self._tried: dict[tuple[tuple[str, ...], tuple[int, ...]], str] = {}
        given = options.max_memory
        self._limit = float(memory.available() if given is None else given)
        samples = as_samples(X)
        interface = Interface.of(samples.inputs, options.output)
        self.subject = make_subject(model, options.params, interface)
        self.shapes = {name: tuple(p.shape) for name, p in self.subject.parameters.items()}
        self.rows = as_inputs(samples.inputs, self.subject, "X")
        self.cols = None if X2 is None else self._columns(X2)
        found = survey(self.subject, self.rows)
        in_pass = 3 * found.numbers_per_pass * self.subject.dtype.itemsize
        most = min(options.chunk_size or _MOST_IN_A_PASS, _MOST_IN_A_PASS)
        made = scratch_held(found) * self.subject.dtype.itemsize
        fitting = min(self._limit / 8 / in_pass, min(self._limit / 16, _SCRATCH) / max(1, made))
        if options.chunk_size is None and self.subject.device.type == "cpu":
            most = min(most, max(_LEAST_IN_A_PASS, int(_PASS / in_pass)))
        most = max(1, min(most, int(fitting)))
        N = max(len(part[0]) for part in (self.rows, self.cols) if part is not None)
        self.chunk = most if options.chunk_size else -(-N // -(-N // most))  # of equal sizes
        self.survey = self._completed(found)
        self.n_outputs = self.survey.n_outputs

    def _columns(self, X2: Any) -> Inputs:
        inputs = as_samples(X2, "X2").inputs
        ours, theirs = self.subject.interface, Interface.of(inputs, self.options.output)
        if (ours.keywords, ours.settings) != (theirs.keywords, theirs.settings):
            named = [", ".join((*i.keywords, *i.settings)) or "no keywords" for i in (ours, theirs)]
            raise ValueError(
                f"X names {named[0]} and X2 {named[1]}; give both the same, in one order"
            )
        return as_inputs(inputs, self.subject, "X2")

    def outputs(self) -> Tensor:
        N = len(self.rows[0])
        parts = [
            self.subject({}, take(self.rows, slice(i, i + self.chunk))).detach()
            for i in range(0, N, self.chunk)
        ]
        return torch.cat(parts).reshape(N, *self.survey.output_shape)

    def _completed(self, found: Survey) -> Survey:
        """With what all samples show. Raises ValueError where they use no parameter."""
        for part in (self.rows,) if self.cols is None else (self.rows, self.cols):
            found = used_anywhere(self.subject, found, part, self.chunk)
        require_used(self.subject, found)
        if self.cols is not None:
            _require_same_outputs(self.subject, found, self.rows, self.cols)
        return found.all_general("asked for") if self.options.general else found

    def held(self, n_outputs: int) -> float:
        """Bytes of the factors for so many outputs."""
        samples = len(self.rows[0]) + (0 if self.cols is None else len(self.cols[0]))
        each = numbers_held(self.survey, n_outputs)
        return float(samples * each * self.subject.dtype.itemsize)

    def fits(self, n_outputs: int, apart: bool) -> bool:
        """Whether the factors can be held; ``apart``: with their copies for each output."""
        return (2.0 if apart else 1.0) * self.held(n_outputs) <= self._limit / 2

    def recipe(self, reduce: Reduce | Diagonal, held: bool = True) -> Recipe:
        """How the kernel of these outputs is made; ``held``: its factors are, where they fit."""
        outputs = chosen_outputs(reduce, self.n_outputs)
        found, N = self.survey, len(self.rows[0])
        # what is not held is applied by torch.func, structured or not
        fits = held and self.fits(len(outputs), reduce in ("full", "diagonal"))
        every = [*found.structured, *found.general]
        batched = [*found.general] if fits and not found.reads else every
        least = max(_BUDGET, 8.0 * self.subject.dtype.itemsize * N**2)
        return Recipe(
            self.subject, found, outputs, reduce == "full", self.options, self.chunk,
            min(least, self._limit / 8), self._limit,
            self._loop(tuple(batched), outputs),
        )  # fmt: skip

    def _loop(self, names: tuple[str, ...], outputs: tuple[int, ...]) -> str:
        """Why vmap cannot take these parameters, tried once; or nothing."""
        key = names, outputs
        if names and key not in self._tried:
            self._tried[key] = batching_fails(self.subject, names, self.rows, outputs)
        return self._tried.get(key, "")

    def products(self, reduce: Reduce) -> Kernel:
        """By a backward and a forward derivative for all samples, where vmap takes the model."""
        recipe = self.recipe(reduce, held=False)
        return self.beside(reduce) if recipe.loop else LazyKernel(recipe, self.rows, self.cols)

    @cached_property
    def _summed(self) -> tuple[Recipe, Passes]:
        """Of all outputs' sum, from which each output's is taken too."""
        return self.recipe("trace").made(self.rows, self.cols)

    @property
    def graph(self) -> float:
        """Bytes that one pass of all samples keeps to go backward, an estimate."""
        numbers = len(self.rows[0]) * self.survey.numbers_per_pass
        return float(numbers * self.subject.dtype.itemsize)

    def forms(self, n_outputs: int, apart: bool) -> bool:
        """Whether the large layers' terms are formed on the way back through one pass of all samples.

        On a CPU, where that has been measured. float64 alone: of a float32 model, solvers form the kernel
        from held factors in float64.
        """
        place = self.subject.device.type, self.subject.dtype
        if apart or self.cols is not None or place != ("cpu", torch.float64):
            return False
        N, names, held = len(self.rows[0]), walked(self.survey), self.held(n_outputs)
        copies = workers(n_outputs, self.subject.device)
        taken = self.graph + 8.0 * copies * len(names) * N**2
        fits = 3 * taken <= self._limit / 2 and self.options.chunk_size is None
        return bool(names) and held >= LEAST and taken <= held and fits

    def _walk(self, outputs: tuple[int, ...]) -> tuple[Recipe, Passes]:
        if outputs not in self._walked:
            everything = len(outputs) == self.n_outputs
            recipe = self.recipe("trace" if everything else outputs[0])
            self._walked[outputs] = replace(recipe, walked=True).made(self.rows, None)
        return self._walked[outputs]

    @with_gradients
    def _together(self, outputs: tuple[int, ...], full: bool, checked: bool = True) -> Kernel:
        everything = len(outputs) == self.n_outputs
        if "_summed" not in self.__dict__ and self.forms(len(outputs), full):
            recipe, passes = self._walk(outputs)
            kernel = recipe.assembled(*passes, self.rows, None)
            return self._checked(kernel, recipe, passes, checked)
        if not self.fits(len(outputs), full):
            recipe = self.recipe("full" if full else "trace" if everything else outputs[0])
            return self._checked(LazyKernel(recipe, self.rows, self.cols), recipe, None, checked)
        recipe, passes = (
            self._summed if everything else self.recipe(outputs[0]).made(self.rows, self.cols)
        )
        recipe = replace(recipe, full=full)
        kernel = recipe.assembled(*passes, self.rows, self.cols)
        return self._checked(kernel, recipe, passes, checked)

    def _checked(self, kernel: Made, recipe: Recipe, passes: Passes | None, checked: bool) -> Made:
        if checked and self.options.self_check:
            check_against_autograd(kernel, recipe, self.rows, self.cols, passes)
        return kernel

    @with_gradients
    def _apart(self, checked: bool = True) -> OutputKernels:
        C = self.n_outputs
        recipe, passes = self._summed if self.fits(C, True) else (self.recipe("diagonal"), None)
        made = OutputKernels([self._one(recipe.for_output(c), c, passes) for c in range(C)])
        return self._checked(made, recipe, passes, checked)

    def _one(self, recipe: Recipe, output: int, passes: Passes | None) -> Kernel:
        if passes is None:
            return LazyKernel(recipe, self.rows, self.cols)
        left, right = passes
        rows = left.output(output)
        cols = rows if left is right else right.output(output)
        return recipe.assembled(rows, cols, self.rows, self.cols)


def _require_same_outputs(subject: Subject, found: Survey, rows: Inputs, cols: Inputs) -> None:
    if len(rows) != len(cols):
        raise ValueError(f"X holds {len(rows)} inputs of the model and X2 {len(cols)}")
    few = take(cols, slice(0, 1))
    made = untouched(subject, lambda: subject({}, few), cols, "X2")
    shape = tuple(made.shape[1:])
    if shape != found.output_shape:
        raise ValueError(f"the model has {found.output_shape} outputs on X and {shape} on X2")
