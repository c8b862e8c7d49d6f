"""A model, its parameters and its data in the one form that the rest works with."""

from __future__ import annotations

import fnmatch
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ntkscope._checks import FLOATS
from ntkscope._specs import unknown
from ntkscope.kernels.module.installed import CHANGES, installed, same, substituted
from ntkscope.kernels.module.modes import ordinary, with_gradients

Parameters = dict[str, Tensor]
Inputs = tuple[Tensor, ...]
Pass = Callable[[Inputs], Any]


@dataclass(frozen=True, eq=False)
class Subject:
    """f(parameters, inputs) → (n, C), with copies of the parameters it was made with.

    parameters: the ones that the kernel differentiates, by name. fixed: the others, and buffers.
    call: the pass at any values, for torch.func. own: the pass of plain autograd at the values held.
    """

    title: str
    call: Callable[[Parameters, Inputs], Any]
    own: Callable[[bool], AbstractContextManager[tuple[Parameters, Pass]]]
    parameters: Parameters
    fixed: Parameters
    module: nn.Module | None

    @property
    def dtype(self) -> torch.dtype:
        return next(iter(self.parameters.values())).dtype

    @property
    def device(self) -> torch.device:
        return next(iter(self.parameters.values())).device

    @property
    def n_parameters(self) -> int:
        return sum(p.numel() for p in self.parameters.values())

    def __call__(self, parameters: Parameters, inputs: Inputs) -> Tensor:
        """Outputs (n, C) at ``parameters``, those that are not given as they were.

        Where gradients are taken by going backward, use :meth:`autograd`.
        """
        if not parameters:
            with self.autograd(False) as (_, run):
                return run(inputs)
        values = {**self.fixed, **self.parameters, **parameters}
        return self._plain(lambda X: self.call(values, X), inputs)

    @contextmanager
    def autograd(self, wanted: bool = True) -> Iterator[tuple[Parameters, Pass]]:
        """Leaves that hold the parameters' values, and the pass (n, C) through them.

        Go backward inside: a module's leaves are its own parameters, and hold these values meanwhile.
        """
        with self.own(wanted) as (leaves, run):
            yield leaves, lambda inputs: self._plain(run, inputs)

    def _plain(self, run: Pass, inputs: Inputs) -> Tensor:
        # half precision, entered silently by an outer autocast, would not carry a spectrum; the
        # fused transformer layer that torch takes without gradients has no derivative
        fused = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            with torch.autocast(self.device.type, enabled=False):
                raw = run(inputs)
        finally:
            torch.backends.mha.set_fastpath_enabled(fused)
        return self._checked(raw, len(inputs[0]))

    def _checked(self, raw: Any, n: int) -> Tensor:
        if not isinstance(raw, Tensor):
            keys = f" with {sorted(map(str, raw))}" if isinstance(raw, Mapping) else ""
            raise TypeError(
                f"the model returns a {type(raw).__name__}{keys}, and a kernel needs one tensor of "
                "shape (samples, outputs); pass a function that picks it, e.g. lambda params, X: "
                'torch.func.functional_call(model, params, (X,))["logits"] with '
                "params=dict(model.named_parameters())"
            )
        if raw.ndim == 0 or raw.shape[0] != n:
            raise ValueError(
                f"the model returns shape {tuple(raw.shape)} for {n} samples; its first axis must "
                "be the samples (return the outputs, not their loss or mean)"
            )
        if raw.dtype != self.dtype:
            raise TypeError(
                f"the model returns {raw.dtype} from {self.dtype} parameters; keep one precision "
                f"throughout, e.g. model.to({self.dtype})"
            )
        if raw.device != self.device:
            raise ValueError(
                f"the model's outputs are on {raw.device}, its parameters on {self.device}; "
                "keep the whole model on one device"
            )
        outputs = raw.reshape(n, -1)
        if outputs.shape[1] == 0:
            raise ValueError(f"the model returns no outputs: shape {tuple(raw.shape)}")
        return outputs


@with_gradients
def make_subject(model: Any, params: Any) -> Subject:
    """Take an ``nn.Module``, or a callable (params, X), and the parameters to differentiate.

    Raises TypeError for other models or parameters, ValueError where none is left to differentiate.
    """
    if isinstance(model, nn.DataParallel):
        raise ValueError("the model is spread over devices; pass model.module instead")
    if isinstance(model, nn.Module):
        model = getattr(model, "_orig_mod", model)  # what torch.compile wraps
        subject = _of_module(model, params)
    elif isinstance(model, type):
        raise TypeError(
            f"model is the class {model.__name__}; give an instance, {model.__name__}(...)"
        )
    elif callable(model):
        subject = _of_function(model, params)
    else:
        raise TypeError(
            f"model must be an nn.Module or a function of (params, X), got {type(model).__name__}"
        )
    _check_parameters(subject.parameters)
    return subject


def _of_module(module: nn.Module, params: Any) -> Subject:
    _refuse_random_modules(module)
    everything = dict(module.named_parameters())
    if not everything:
        raise ValueError(f"{type(module).__name__} has no parameters, so its NTK is zero")
    lazy = [n for n, p in everything.items() if isinstance(p, nn.parameter.UninitializedParameter)]
    if lazy:
        raise ValueError(
            f"parameter {lazy[0]!r} has no shape yet; run the model once on data before"
        )
    values = {name: p.detach().clone() for name, p in everything.items()}
    if isinstance(params, Mapping):
        wrong = [n for n in params if n not in everything]
        if wrong:
            raise ValueError(unknown("parameter", wrong[0], everything))
        values.update({n: torch.as_tensor(v).detach().clone() for n, v in params.items()})
        chosen = list(params)
        if not chosen:
            raise ValueError(_EMPTY)
    else:
        chosen = _choose(everything, params)
    buffers = {name: b.detach().clone() for name, b in module.named_buffers()}
    modes = [m.training for m in module.modules()]

    def require_modes() -> None:
        if [m.training for m in module.modules()] != modes:
            raise ValueError(
                "the model was switched between train() and eval() after its kernel was made; "
                "make the kernel again"
            )

    def call(parameters: Parameters, inputs: Inputs) -> Any:
        require_modes()
        # buffers as copies: a forward pass that writes to them must not change the user's
        held = {name: b.clone() for name, b in buffers.items()}
        with substituted(module, {**held, **parameters}):
            outputs = module(*inputs)
        for name in buffers:
            if held[name]._version and not same(held[name], buffers[name]):
                raise ValueError(CHANGES.format(name))
        return outputs

    @contextmanager
    def own(wanted: bool) -> Iterator[tuple[Parameters, Pass]]:
        require_modes()
        with installed(module, values, buffers, chosen if wanted else ()) as (leaves, run):
            yield {name: leaves[name] for name in chosen}, lambda inputs: run(*inputs)

    _refuse_hooks({name: everything[name] for name in chosen})
    differentiated = {name: values[name] for name in chosen}
    fixed = {name: v for name, v in values.items() if name not in differentiated}
    return Subject(type(module).__name__, call, own, differentiated, fixed, module)


def _of_function(function: Callable[..., Any], params: Any) -> Subject:
    title = getattr(function, "__name__", type(function).__name__)
    _require_two_arguments(function, title)
    if params is None:
        raise TypeError(
            f"{title} is a function of (params, X): give its parameters, "
            "empirical_ntk(f, X, params=...), as tensors in a dict, a list or nested ones"
        )
    leaves: Parameters = {}
    template = _flatten(params, "", leaves)
    _refuse_hooks(leaves)
    values = {name: t.detach().clone() for name, t in leaves.items()}
    differentiated = {n: t for n, t in values.items() if t.is_floating_point() or t.is_complex()}
    if not differentiated:
        raise ValueError(f"params of {title} hold no floating-point tensors to differentiate")

    def call(parameters: Parameters, inputs: Inputs) -> Any:
        X: Any = inputs[0] if len(inputs) == 1 else inputs
        return function(_unflatten(template, parameters), X)

    fixed = {n: t for n, t in values.items() if n not in differentiated}

    @contextmanager
    def own(wanted: bool) -> Iterator[tuple[Parameters, Pass]]:
        leaves = {n: t.detach().clone().requires_grad_(wanted) for n, t in differentiated.items()}
        yield leaves, lambda inputs: call({**fixed, **leaves}, inputs)

    return Subject(title, call, own, differentiated, fixed, None)


def _require_two_arguments(function: Callable[..., Any], title: str) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # built in: the first pass will tell
        return
    try:
        signature.bind("params", "X")
    except TypeError as error:
        raise TypeError(
            f"{title}{signature} is not a function of (params, X) ({error}); give the nn.Module "
            "itself, or lambda params, X: torch.func.functional_call(model, params, (X,)) with "
            "params=dict(model.named_parameters())"
        ) from None


def _flatten(tree: Any, path: str, leaves: Parameters) -> Any:
    """The tree with names in place of its tensors, which are put into ``leaves``."""
    if isinstance(tree, Tensor):
        name = path or "params"
        leaves[name] = tree
        return name
    prefix = f"{path}." if path else ""
    if isinstance(tree, Mapping):
        return {key: _flatten(value, f"{prefix}{key}", leaves) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        flat = [_flatten(value, f"{prefix}{i}", leaves) for i, value in enumerate(tree)]
        return flat if isinstance(tree, list) else tuple(flat)
    raise TypeError(
        f"params must be tensors in dicts and lists, got {type(tree).__name__} at {path or 'the top'}"
    )


def _unflatten(template: Any, values: Parameters) -> Any:
    if isinstance(template, str):
        return values[template]
    if isinstance(template, dict):
        return {key: _unflatten(value, values) for key, value in template.items()}
    parts = [_unflatten(value, values) for value in template]
    return parts if isinstance(template, list) else tuple(parts)


def _choose(everything: Mapping[str, nn.Parameter], params: Any) -> list[str]:
    """Names of the parameters to differentiate: trainable, and matched by a pattern if given."""
    trainable = [n for n, p in everything.items() if p.requires_grad]
    if params is None:
        if not trainable:
            raise ValueError(
                "every parameter of the model is frozen (requires_grad is False), so its NTK is "
                "zero; call model.requires_grad_(True)"
            )
        return trainable
    patterns = [params] if isinstance(params, str) else params
    if not isinstance(patterns, Sequence) or not all(isinstance(p, str) for p in patterns):
        raise TypeError(
            "params must be names or name patterns such as 'layer4.*', in a list if several, or a "
            f"dict of tensors by name, got {_outline(params)}"
        )
    if not patterns:
        raise ValueError(_EMPTY)
    chosen: set[str] = set()
    for pattern in patterns:
        hits = fnmatch.filter(everything, pattern)
        if not hits:
            raise ValueError(unknown("parameter", pattern, everything))
        if not set(hits) & set(trainable):
            raise ValueError(
                f"{pattern!r} matches frozen parameters only ({hits[0]}); set requires_grad first"
            )
        chosen |= set(hits)
    return [n for n in trainable if n in chosen]


_EMPTY = "params is empty, so nothing would be differentiated; leave it out to take all parameters"


def _outline(value: Any) -> str:
    """Type and length: the values may be a model's weights."""
    kind = type(value).__name__
    if not isinstance(value, Sequence):
        return kind
    kinds = sorted({type(v).__name__ for v in value})
    return f"a {kind} of {len(value)} ({', '.join(kinds)})"


def _refuse_hooks(parameters: Mapping[str, Tensor]) -> None:
    for name, p in parameters.items():
        if p._backward_hooks:
            raise ValueError(
                f"parameter {name!r} has a gradient hook (register_hook): the gradient that it "
                "makes is not the derivative, and the kernel would not pass it; remove the hook "
                "with handle.remove()"
            )


def _check_parameters(parameters: Parameters) -> None:
    for name, p in parameters.items():
        if p.is_meta:
            raise ValueError(
                f"parameter {name!r} is on the meta device and holds no values; call "
                "model.to_empty(device=...) and load them"
            )
        if p.is_complex():
            raise TypeError(
                f"parameter {name!r} is {p.dtype}; the NTK here is of real parameters: hold real "
                "and imaginary parts as two"
            )
        if p.dtype not in FLOATS:
            raise TypeError(
                f"parameter {name!r} is {p.dtype}, which cannot carry a spectrum; call "
                "model.double() (or .float())"
            )
        if not bool(torch.isfinite(p).all()):
            raise ValueError(f"parameter {name!r} holds values that are NaN or infinite")
    first_name, first = next(iter(parameters.items()))
    for name, p in parameters.items():
        if p.dtype != first.dtype:
            raise TypeError(
                f"parameters have two precisions: {first_name!r} is {first.dtype}, {name!r} "
                f"{p.dtype}; call model.to({first.dtype})"
            )
        if p.device != first.device:
            raise ValueError(
                f"parameters are on two devices: {first_name!r} on {first.device}, {name!r} on "
                f"{p.device}; move the model to one"
            )


def _refuse_random_modules(module: nn.Module) -> None:
    for name, part in module.named_modules():
        where = f"{name or type(part).__name__!r}"
        p = getattr(part, "p", None) or getattr(part, "dropout", None)
        drops = isinstance(part, (nn.modules.dropout._DropoutNd, nn.MultiheadAttention, nn.RNNBase))
        if part.training and drops and isinstance(p, float) and p > 0:
            raise ValueError(
                f"{where} is in training mode with dropout {p:g}, so the network is another one at "
                "each pass; call model.eval()"
            )
        if not isinstance(part, nn.modules.batchnorm._BatchNorm):
            continue
        if part.running_mean is None:
            raise ValueError(
                f"{where} ({type(part).__name__}) keeps no running statistics "
                "(track_running_stats=False), so it always normalises over the batch, in eval() "
                "too, and a sample has no gradient of its own; keep running statistics, or use "
                "GroupNorm"
            )
        if part.training:
            raise ValueError(
                f"{where} ({type(part).__name__}) is in training mode: it normalises over the "
                "batch, so a sample has no gradient of its own; call model.eval(), or use GroupNorm"
            )


@with_gradients
def as_inputs(X: Any, subject: Subject, name: str) -> Inputs:
    """``X`` as a tuple of tensors of one length, in the model's precision and on its device.

    Integers stay integers (indices of an embedding). Raises TypeError or ValueError otherwise.
    """
    _refuse_collections(X, name)
    parts = X if isinstance(X, tuple) else (X,)
    if not parts:
        raise ValueError(f"{name} is an empty tuple; give at least one tensor")
    tensors = tuple(
        _as_input(part, subject, name if len(parts) == 1 else f"{name}[{i}]")
        for i, part in enumerate(parts)
    )
    lengths = [len(t) for t in tensors]
    if len(set(lengths)) > 1:
        raise ValueError(f"the parts of {name} have different numbers of samples: {lengths}")
    return tensors


def _refuse_collections(X: Any, name: str) -> None:
    if isinstance(X, Mapping):
        raise TypeError(
            f"{name} is a {type(X).__name__} of {len(X)}; several inputs go in as a tuple of "
            "tensors, in the order of the model's arguments"
        )
    if not isinstance(X, list):
        return
    shapes = {part.shape for part in X if isinstance(part, np.ndarray)}
    if len(shapes) > 1 or any(isinstance(part, Tensor) for part in X):
        raise TypeError(
            f"{name} is a list of {len(X)} tensors; several inputs go in as a tuple of tensors, "
            "and samples as one tensor, torch.stack(X)"
        )


def _as_input(X: Any, subject: Subject, name: str) -> Tensor:
    if isinstance(X, Tensor):
        tensor = ordinary(X.detach())
    else:
        try:
            array = np.asarray(X)
            if array.dtype.kind not in "biuf":
                raise TypeError(f"dtype {array.dtype}")
            tensor = torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("=")))
        except (TypeError, ValueError) as error:
            raise TypeError(f"{name} must be a tensor or an array of numbers: {error}") from None
        if not hasattr(X, "dtype") and tensor.is_floating_point():
            tensor = tensor.to(subject.dtype)
    if tensor.ndim == 0 or tensor.numel() == 0:
        raise ValueError(f"{name} holds no samples: shape {tuple(tensor.shape)}")
    if tensor.is_complex() or tensor.dtype in (torch.float16, torch.bfloat16):
        raise TypeError(f"{name} is {tensor.dtype}; convert it with .to({subject.dtype})")
    if tensor.is_floating_point():
        if tensor.dtype == torch.float64 and subject.dtype == torch.float32:
            raise ValueError(
                f"{name} is float64 and the model float32; convert one of them: "
                f"{name}.to(torch.float32), or model.double() to keep the digits"
            )
        tensor = tensor.to(subject.dtype)
        if not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"{name} holds values that are NaN or infinite; remove or impute them")
    return tensor.to(subject.device)


@with_gradients
def take(inputs: Inputs, index: slice | Tensor | list[int]) -> Inputs:
    """The samples of ``index``."""
    return tuple(part[index] for part in inputs)
