"""The kernel of each output of a model on its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from scipy.sparse.linalg import eigsh

from ntkscope.kernels.module.holding.module_kernel import ModuleKernel
from ntkscope.kernels.outputs import OutputKernels
from ntkscope.spectra.smallest import smallest_eigenvalue


@dataclass(frozen=True)
class OutputSpectrum:
    """λ_min of one output's kernel as an interval, its λ_max, and its share of the trace kernel."""

    index: int
    smallest: float
    lower: float
    upper: float
    status: str
    largest: float
    trace: float
    trace_share: float


def inspect_outputs(
    kernels: OutputKernels, progress: Callable[[float], None] = lambda _: None
) -> list[OutputSpectrum]:
    """The spectrum's ends for each output."""
    found = []
    for index, kernel in enumerate(kernels):
        progress(index / len(kernels))
        K = kernel.dense().cpu()  # first: a module's blocks then have their diagonals from it
        least = smallest_eigenvalue(kernel)
        largest = float(eigsh(K.numpy(), k=1, which="LA")[0][0])
        trace = float(K.trace())
        if isinstance(kernel, ModuleKernel):
            kernel.release()
        found.append(
            OutputSpectrum(
                index, least.value, least.lower, least.upper, least.status.name, largest, trace, 0.0
            )
        )
    total = sum(one.trace for one in found)
    return [replace(one, trace_share=one.trace / total if total else 0.0) for one in found]
