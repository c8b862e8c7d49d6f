"""A module as a subject: what it must not be, and how it runs at given values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ntkscope._base.specs import unknown
from ntkscope.kernels.module.reading.history import source_of
from ntkscope.kernels.module.reading.installed import CHANGES, installed, same, substituted
from ntkscope.kernels.module.reading.interface import Interface
from ntkscope.kernels.module.reading.parameters import (
    EMPTY,
    choose,
    given,
    refuse_hooks,
    with_entries,
)
from ntkscope.kernels.module.reading.subject import Inputs, Parameters, Pass, Runs, Subject


@dataclass(frozen=True, eq=False)
class ModuleRuns(Runs):
    """A module with copies of its parameters and buffers, and the modes of its parts.

    chosen: the parameters that are differentiated.
    """

    module: nn.Module
    values: Parameters
    buffers: Parameters
    modes: list[bool]
    chosen: list[str]
    interface: Interface

    def _require_modes(self) -> None:
        if [m.training for m in self.module.modules()] != self.modes:
            raise ValueError(
                "the model was switched between train() and eval() after its kernel was made; "
                "make the kernel again"
            )

    def at(self, parameters: Parameters, inputs: Inputs) -> Any:
        self._require_modes()
        # buffers as copies: a forward pass that writes to them must not change the user's
        held = {name: b.clone() for name, b in self.buffers.items()}
        with substituted(self.module, {**held, **parameters}):
            outputs = self._called(self.module, inputs)
        for name, buffer in held.items():
            if buffer._version and not same(buffer, self.buffers[name]):
                raise ValueError(CHANGES.format(name))
        return outputs

    @contextmanager
    def own(self) -> Iterator[tuple[Parameters, Pass]]:
        self._require_modes()
        with installed(self.module, self.values, self.buffers, self.chosen) as (leaves, run):
            yield (
                {name: leaves[name] for name in self.chosen},
                lambda inputs: self._called(run, inputs),
            )

    def _called(self, run: Callable[..., Any], inputs: Inputs) -> Any:
        named = self.interface.named(inputs)
        with self._differentiable():
            return run(**named) if named else run(*inputs)

    def _differentiable(self) -> AbstractContextManager[None]:
        """cuDNN has no derivative of a recurrent layer in eval mode; torch's own kernels have."""
        on_gpu = any(value.device.type == "cuda" for value in self.values.values())
        if on_gpu and any(isinstance(part, nn.RNNBase) for part in self.module.modules()):
            return torch.backends.cudnn.flags(enabled=False)
        return nullcontext()

    @property
    def unused(self) -> str:
        names = ", ".join(self.chosen[:3])
        return (
            f"the outputs do not use the parameters to differentiate ({names}), so the NTK is zero; "
            "choose others"
        )


def of_module(module: nn.Module, params: Any, interface: Interface) -> Subject:
    """``params``: None, patterns of names, or values by name. Raises TypeError or ValueError."""
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
        values.update({n: given(n, v, everything[n]) for n, v in params.items()})
        chosen = list(params)
        if not chosen:
            raise ValueError(EMPTY)
    else:
        chosen = choose(everything, params)
    chosen = with_entries(chosen, values)
    own = {id(p) for p in everything.values()}  # a tensor registered as both is a parameter
    buffers = {n: b.detach().clone() for n, b in module.named_buffers() if id(b) not in own}
    modes = [m.training for m in module.modules()]

    own_chosen = {name: everything[name] for name in chosen}
    refuse_hooks(own_chosen)
    _refuse_computed_buffers(module, own_chosen)
    differentiated = {name: values[name] for name in chosen}
    fixed = {name: v for name, v in values.items() if name not in differentiated}
    runs = ModuleRuns(module, values, buffers, modes, chosen, interface)
    return Subject(type(module).__name__, runs, differentiated, fixed, interface)


def _refuse_computed_buffers(module: nn.Module, chosen: Mapping[str, Tensor]) -> None:
    """Raises ValueError for a buffer that was computed from one of these parameters."""
    for name, buffer in module.named_buffers():
        source = source_of(buffer, chosen)
        if source:
            raise ValueError(
                f"buffer {name!r} was computed from parameter {source!r} with gradients on, so "
                "autograd goes through it to values that may have moved since; register "
                "buffer.detach(), or compute it in forward"
            )


def _refuse_random_modules(module: nn.Module) -> None:
    for name, part in module.named_modules():
        where = f"{name or type(part).__name__!r}"
        p = _dropout(part)
        if part.training and p > 0:
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


def _dropout(part: nn.Module) -> float:
    """The probability by which torch's own layers drop; other classes mean what they like by its name."""
    if isinstance(part, nn.modules.dropout._DropoutNd):
        return part.p
    if isinstance(part, (nn.MultiheadAttention, nn.RNNBase)):
        return part.dropout
    return 0.0
