"""The kernel of each output of a model on its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from ntkscope.inspection.shares import share, total, trace_error
from ntkscope.kernels.module.holding.module_kernel import ModuleKernel
from ntkscope.kernels.outputs import OutputKernels
from ntkscope.spectra.extremes import largest_eigenvalue
from ntkscope.spectra.smallest import smallest_eigenvalue


@dataclass(frozen=True)
class OutputSpectrum:
    """λ_min of one output's kernel as an interval, its λ_max, and its share of the trace kernel.

    largest_error: the larger distance of λ_max's interval from ``largest``. trace_error,
    trace_share_error: bounds on the errors of the numbers before them.
    """

    index: int
    smallest: float
    lower: float
    upper: float
    status: str
    largest: float
    largest_error: float
    trace: float
    trace_error: float
    trace_share: float
    trace_share_error: float


def inspect_outputs(
    kernels: OutputKernels, progress: Callable[[float], None] = lambda _: None
) -> list[OutputSpectrum]:
    """The spectrum's ends for each output."""
    found = []
    for index, kernel in enumerate(kernels):
        progress(index / len(kernels))
        double = kernel.to(torch.float64)  # held, so that both ends read the same blocks
        double.dense()  # first: a module's blocks then have their diagonals from it
        least = smallest_eigenvalue(kernel)
        largest = largest_eigenvalue(kernel)
        trace, error = double.trace(), trace_error(double)
        if isinstance(double, ModuleKernel):
            double.release()
        found.append(
            OutputSpectrum(
                index, least.value, least.lower, least.upper, least.status.name,
                largest.value, largest.error, trace, error, 0.0, 0.0,
            )
        )  # fmt: skip
    whole = total((one.trace, one.trace_error) for one in found)
    made = []
    for one in found:
        part, error = share(one.trace, one.trace_error, *whole)
        made.append(replace(one, trace_share=part, trace_share_error=error))
    return made
