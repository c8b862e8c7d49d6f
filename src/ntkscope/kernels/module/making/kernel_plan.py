"""What ``empirical_ntk`` will do with a model, before it does it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch

from ntkscope._base.memory import human
from ntkscope.kernels.hadamard import Term
from ntkscope.kernels.module.holding.weight_block import WeightBlock
from ntkscope.kernels.module.making.assemble import Recipe
from ntkscope.kernels.module.making.passed import Passed, is_small, shares_signal
from ntkscope.kernels.module.making.prepare import PreparedModule
from ntkscope.kernels.module.reading.interface import Output
from ntkscope.kernels.module.reading.subject import take
from ntkscope.kernels.prepared import Diagonal, Options, Reduce
from ntkscope.report.card import Card, Grid
from ntkscope.report.result import Result, Tabular


@dataclass(frozen=True)
class PlanRow(Result):
    """One parameter: ``way`` is how its term is formed, ``flops`` what forming it takes."""

    name: str
    shape: tuple[int, ...]
    way: str
    flops: float


@dataclass(frozen=True)
class KernelPlan(Tabular, Result):
    """The way of each parameter, the memory and the expected time. ``print`` shows a table.

    Attributes
    ----------
    rows: one for each parameter.
    n_samples, n_outputs: N and C.
    factors: bytes held for all samples; with ``formed``, of the graph of their pass, an estimate.
    held: whether they fit; otherwise they are made panel by panel.
    formed: whether the large layers are contracted on the way back through that pass, and dropped.
    dense: bytes of the kernel.
    seconds: passes and contractions of ``dense()`` at this machine's measured rates; those of the general
        way are taken from the gradients of a few samples.
    """

    rows: list[PlanRow]
    n_samples: int
    n_outputs: int
    factors: float
    held: bool
    formed: bool
    dense: float
    seconds: float

    def _rows(self) -> list[PlanRow]:
        return self.rows

    def _card(self) -> Card:
        rows = [
            (
                r.name,
                "×".join(map(str, r.shape)) or "1",
                r.way,
                f"{r.flops:.1e}" if r.flops else "-",
            )
            for r in self.rows
        ]
        kept = "held" if self.held else "too large: made again panel by panel"
        what = f"factors {human(self.factors)} ({kept})"
        if self.formed:
            what = f"about {human(self.factors)} of one pass (a layer is contracted, then dropped)"
        total = (
            f"N = {self.n_samples}, {self.n_outputs} outputs; {what}, "
            f"kernel {human(self.dense)}, about {self.seconds:.2g} s"
        )
        heads = ("parameter", "shape", "way", "flops")
        return Card(total, grids=[Grid("", heads, rows, labels=3)])


def plan_kernel(
    model: Any,
    X: Any,
    *,
    reduce: Reduce | Diagonal = "trace",
    params: Any = None,
    max_memory: float | int | None = None,
    general: bool = False,
    output: Output = None,
) -> KernelPlan:
    """Survey ``model`` on three samples of ``X`` and say what :func:`empirical_ntk` would do.

    Parameters
    ----------
    model, X, reduce, params, max_memory, general, output: as in :func:`empirical_ntk`.

    Returns
    -------
    KernelPlan: how each parameter is treated, with memory and expected time.

    Raises as :func:`empirical_ntk` does.
    """
    options = Options(params=params, max_memory=max_memory, general=general, output=output)
    made = PreparedModule(model, X, options)
    recipe, N = made.recipe(reduce), len(made.rows[0])
    rows, C = _rows(recipe, N), len(recipe.outputs)
    apart = reduce in ("full", "diagonal")
    formed = made.forms(C, apart)
    return KernelPlan(
        rows, N, C, made.graph if formed else made.held(C), made.fits(C, apart), formed,
        float((N * recipe.lead) ** 2 * recipe.subject.dtype.itemsize),
        sum(row.flops for row in rows) / _rate(recipe) + _passes(recipe, made.rows, N),
    )  # fmt: skip


def _rows(recipe: Recipe, N: int) -> list[PlanRow]:
    found = recipe.survey
    passed = _imagined(recipe, N)
    terms = recipe.structured_terms(passed)
    rows = []
    for name, parameter in recipe.subject.parameters.items():
        shape = tuple(parameter.shape)
        if name in terms:
            term = terms[name]
            if not isinstance(term, Term):
                assert isinstance(term, WeightBlock)  # nothing was passed
                rows.append(PlanRow(name, shape, f"structured, {term.way(N, N)}", term.flops()))
            else:
                size = term.factors[0].rows.shape[0]
                way = "structured, Gram" + (" product" if len(term.factors) == 2 else "")
                rows.append(PlanRow(name, shape, way, float(size**2 * term.inner)))
        elif name in found.general:
            tool = "a loop over samples" if recipe.loop else "vmap"
            lead = len(recipe.outputs) ** 2 if recipe.full else len(recipe.outputs)
            flops = float(N * N * parameter.numel() * lead)
            rows.append(PlanRow(name, shape, f"general by {tool}: {found.general[name]}", flops))
        else:
            rows.append(PlanRow(name, shape, "not used: zero", 0.0))
    return rows


def _imagined(recipe: Recipe, N: int) -> Passed:
    """What a pass would leave behind, in shapes alone."""
    C = len(recipe.outputs)
    passed = Passed(N, C)
    like: dict[str, Any] = {"dtype": recipe.subject.dtype, "device": "meta"}
    for site in recipe.survey.sites:
        for name, operation in site.operations.items():
            size = recipe.survey.size(name)
            if not is_small(site, operation, size):
                assert site.x_shape is not None
                kind = {**like, "dtype": site.x_dtype}
                passed.x[site.index] = torch.empty(N, *site.x_shape, **kind)
                passed.g[site.index] = torch.empty(N, C, *site.g_shape, **like)
            elif not shares_signal(site, name):
                passed.ready[site.index, name] = torch.empty(N, C, size, **like)
    return passed


def _rate(recipe: Recipe) -> float:
    """Flops a second of a product of 512×512 matrices, the best of three."""
    kind: dict[str, Any] = {"dtype": recipe.subject.dtype, "device": recipe.subject.device}
    a = torch.ones(512, 512, **kind)
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        float((a @ a)[0, 0])
        best = min(best, time.perf_counter() - start)
    return 2.0 * 512**3 / best


def _passes(recipe: Recipe, inputs: tuple[torch.Tensor, ...], N: int) -> float:
    """Seconds of a forward and C backward passes, scaled up from 32 samples or fewer."""
    found, seconds = recipe.survey, 0.0
    if found.general:
        seconds = recipe.source(inputs, None).seconds(list(found.general))
    if not found.structured:
        return seconds
    few = take(inputs, slice(0, 32))
    start = time.perf_counter()
    recipe.subject({}, few)
    forward = time.perf_counter() - start
    return seconds + forward * (1 + 2 * len(recipe.outputs)) * N / len(few[0])
