"""``empirical_ntk``: the NTK of an MLP in closed form, of any other model through its passes."""

from __future__ import annotations

from typing import Any, overload

from ntkscope._base.samples import as_samples
from ntkscope.kernels.kernel import Kernel
from ntkscope.kernels.mlp import PreparedMLP
from ntkscope.kernels.module.making.prepare import PreparedModule
from ntkscope.kernels.module.reading.interface import Output
from ntkscope.kernels.outputs import OutputKernels
from ntkscope.kernels.prepared import Diagonal, Options, Prepared, Reduce
from ntkscope.networks.mlp import MLP


def prepare(model: Any, X: Any, options: Options | None = None, X2: Any = None) -> Prepared:
    """Read ``model`` and its data once; kernels, shapes and the outputs' kernels come from that.

    Errors as in :func:`empirical_ntk`.
    """
    options = options or Options()
    closed = isinstance(model, MLP) and type(model).forward is MLP.forward
    if closed and not options.as_module:
        rows, cols = as_samples(X).inputs, None if X2 is None else as_samples(X2, "X2").inputs
        return PreparedMLP(model, rows, cols)
    return PreparedModule(model, X, options, X2)


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
    output: Output = None,
) -> Kernel: ...
@overload
def empirical_ntk(
    model: Any,
    X: Any,
    X2: Any = None,
    *,
    reduce: Diagonal,
    params: Any = None,
    max_memory: float | int | None = None,
    chunk_size: int | None = None,
    self_check: bool = True,
    general: bool = False,
    output: Output = None,
) -> OutputKernels: ...
def empirical_ntk(
    model: Any,
    X: Any,
    X2: Any = None,
    *,
    reduce: Reduce | Diagonal = "trace",
    params: Any = None,
    max_memory: float | int | None = None,
    chunk_size: int | None = None,
    self_check: bool = True,
    general: bool = False,
    output: Output = None,
) -> Kernel | OutputKernels:
    """The NTK J(X) J(X2)ᵀ of ``model``, held as its terms, one for each parameter.

    Parameters
    ----------
    model: an :class:`MLP` (closed form), any ``nn.Module``, or a function of (params, X).
    X, X2: samples on the first axis; ``X2=None`` means the symmetric kernel of ``X``. Modules take
        any shape, integers, a tuple of tensors for several inputs, and a dict of them by keyword
        (``input_ids``, ``attention_mask``). Data frames, datasets and loaders that do not shuffle are
        read once, in their order; of pairs, and of columns ``labels``, the labels are left out.
    reduce: for several outputs: ``"trace"`` sums the outputs' kernels (N×M), ``"full"`` keeps all
        pairs (N·C × M·C, output index fastest), ``"diagonal"`` gives one kernel for each output
        (:class:`OutputKernels`), an integer takes one output (-1 the last).
    params: name patterns (``"layer4.*"``, or a list) of the parameters to differentiate, by default
        all that require a gradient; or a dict of values. For a function: its parameters.
    max_memory: bytes that the work may take; by default what is free.
    chunk_size: samples in one pass; by default what fits.
    self_check: recompute a few entries by plain autograd and compare.
    general: take per-sample gradients by ``torch.func`` throughout, and no structured form.
    output: which part of what the model returns holds its outputs: ``"logits"`` of a dict or
        dataclass, a place in a tuple, or a function of it (``lambda out: out.logits[:, -1]``).

    Returns
    -------
    Kernel, or :class:`OutputKernels` with ``reduce="diagonal"``.

    An MLP's closed form serves all of its weights; giving ``params``, ``max_memory``,
    ``chunk_size``, ``output`` or ``general`` treats it as a module.

    Raises TypeError for what is no model, ValueError for data that do not fit it or a model whose
    samples have no gradients of their own, NotEnoughMemoryError where the work does not fit,
    SelfCheckError (a ValueError) where the kernel disagrees with autograd.
    """
    options = Options(params, max_memory, chunk_size, self_check, general, output)
    return prepare(model, X, options, X2).kernel(reduce)
