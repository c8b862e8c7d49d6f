"""The empirical NTK of a model: an MLP in closed form, everything else as a module."""

from __future__ import annotations

from typing import Any, Literal, overload

from ntkscope.kernels.hadamard import HadamardKernel
from ntkscope.kernels.mlp import Reduce, mlp_kernels
from ntkscope.kernels.module.holding.outputs import OutputKernels
from ntkscope.kernels.module.making.build import chosen_outputs, module_ntk
from ntkscope.networks.network import MLP


@overload
def empirical_ntk(
    model: Any,
    X: Any,
    X2: Any = None,
    *,
    reduce: Literal["diagonal"],
    params: Any = None,
    max_memory: float | int | None = None,
    chunk_size: int | None = None,
    self_check: bool = True,
    general: bool = False,
) -> OutputKernels: ...
@overload
def empirical_ntk(
    model: Any,
    X: Any,
    X2: Any = None,
    *,
    reduce: Reduce = "trace",
    params: Any = None,
    max_memory: float | int | None = None,
    chunk_size: int | None = None,
    self_check: bool = True,
    general: bool = False,
) -> HadamardKernel: ...
def empirical_ntk(
    model: Any,
    X: Any,
    X2: Any = None,
    *,
    reduce: Reduce | Literal["diagonal"] = "trace",
    params: Any = None,
    max_memory: float | int | None = None,
    chunk_size: int | None = None,
    self_check: bool = True,
    general: bool = False,
) -> HadamardKernel | OutputKernels:
    """The NTK J(X) J(X2)ᵀ of ``model``, held as its terms, one for each parameter.

    Parameters
    ----------
    model: an :class:`MLP` (closed form), any ``nn.Module``, or a function of (params, X).
    X, X2: samples on the first axis; ``X2=None`` means the symmetric kernel of ``X``. Modules take
        any shape, integers, and a tuple of tensors for several inputs.
    reduce: for several outputs: ``"trace"`` sums the outputs' kernels (N×M), ``"full"`` keeps all
        pairs (N·C × M·C, output index fastest), ``"diagonal"`` gives one kernel for each output
        (:class:`OutputKernels`), an integer takes one output (-1 the last).
    params: name patterns (``"layer4.*"``, or a list) of the parameters to differentiate, by default
        all that require a gradient; or a dict of values. For a function: its parameters.
    max_memory: bytes that the work may take; by default what is free.
    chunk_size: samples in one pass; by default what fits.
    self_check: recompute a few entries by plain autograd and compare.
    general: take per-sample gradients by ``torch.func`` throughout, and no structured form.

    An MLP's closed form serves all of its weights; giving ``params``, ``max_memory``,
    ``chunk_size`` or ``general`` treats it as a module.

    Raises TypeError for what is no model, ValueError for data that do not fit it or a model whose
    samples have no gradients of their own, NotEnoughMemoryError where the work does not fit,
    SelfCheckError (a ValueError) where the kernel disagrees with autograd.
    """
    asked = params is not None or max_memory is not None or chunk_size is not None or general
    if not isinstance(model, MLP) or asked or type(model).forward is not MLP.forward:
        return module_ntk(
            model, X, X2, reduce=reduce, params=params, max_memory=max_memory,
            chunk_size=chunk_size, self_check=self_check, general=general,
        )  # fmt: skip
    outputs = chosen_outputs(reduce, model.network.n_outputs)
    kernels = mlp_kernels(model, X, X2, reduce, outputs)
    return OutputKernels(kernels) if reduce == "diagonal" else kernels[0]
