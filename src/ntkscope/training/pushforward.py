"""J v of a model: by forward mode, by two backward passes, or from the rows of J; no second derivative."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel

from ntkscope._base import memory
from ntkscope.kernels.module.holding.per_sample import PerSample
from ntkscope.training.share import Share, split

Push = Callable[[Share, Tensor], Tensor]
"""(share, v (P,)) → J v, (b, C)."""

_REFUSED = (
    RuntimeError,
    TypeError,
    ValueError,
    AttributeError,
    LookupError,
    AssertionError,
)  # of a mode of torch


def pushforward(few: Share) -> Push:
    """The first way that agrees with the backward pass on ``few`` samples: ⟨u, Jv⟩ = ⟨Jᵀu, v⟩.

    Operations without a derivative of that mode raise, and some are left out without a word. The rows of
    J come from single backward passes, and are held.
    """
    return next((way for way in (_by_forward, _by_two_backward) if _agrees(way, few)), Rows())


def _agrees(way: Push, few: Share) -> bool:
    generator = torch.Generator().manual_seed(0)
    kind, P = few.gradient, few.subject.n_parameters
    v = torch.randn(P, generator=generator, dtype=torch.float64).to(kind)
    u = torch.randn(kind.shape, generator=generator, dtype=torch.float64).to(kind)
    try:
        with warnings.catch_warnings():  # forward mode's first use loads what torch deprecates
            warnings.simplefilter("ignore", DeprecationWarning)
            pushed = way(few, v)
    except _REFUSED:
        return False
    pulled = few.slope(u)
    apart = (u * pushed).sum() - pulled @ v
    size = torch.linalg.vector_norm(pushed) + torch.linalg.vector_norm(pulled)
    return bool(apart.abs() <= few.eps**0.5 * size)


def _by_forward(share: Share, v: Float[Tensor, P]) -> Float[Tensor, "b C"]:
    own = share.subject.parameters
    # fused attention has no forward derivative
    with forward_ad.dual_level(), sdpa_kernel(SDPBackend.MATH):
        parts = zip(own.items(), split(v, own), strict=True)
        duals = {name: forward_ad.make_dual(p, part) for (name, p), part in parts}
        outputs, tangent = forward_ad.unpack_dual(share.subject(duals, share.inputs))
        return share.blocks(torch.zeros_like(outputs) if tangent is None else tangent)


def _by_two_backward(share: Share, v: Float[Tensor, P]) -> Float[Tensor, "b C"]:
    """∂⟨Jᵀu, v⟩/∂u."""
    with share.subject.autograd() as (leaves, run), sdpa_kernel(SDPBackend.MATH):
        outputs = run(share.inputs)
        u = torch.zeros_like(outputs, requires_grad=True)
        slopes = torch.autograd.grad(
            outputs, list(leaves.values()), u, create_graph=True, allow_unused=True
        )
        inner = sum(
            (g * part).sum()
            for g, part in zip(slopes, split(v, leaves), strict=True)
            if g is not None and g.requires_grad
        )
        found = None
        if isinstance(inner, Tensor):
            found = torch.autograd.grad(inner, u, allow_unused=True)[0]
        return share.blocks(torch.zeros_like(outputs) if found is None else found)


class Rows:
    """Holds J of every share that comes by. Raises NotEnoughMemoryError."""

    def __init__(self) -> None:
        self._held: dict[int, Tensor] = {}

    def __call__(self, share: Share, v: Float[Tensor, P]) -> Float[Tensor, "b C"]:
        if share.number not in self._held:
            self._held[share.number] = self._made(share)
        return share.blocks(self._held[share.number] @ v)

    def _made(self, share: Share) -> Float[Tensor, "n C P"]:
        subject, n = share.subject, len(share.inputs[0])
        C = share.gradient.numel() // n
        memory.require(
            2.0 * share.gradient.numel() * subject.n_parameters * subject.dtype.itemsize,
            f"the Jacobian of {C} outputs of {n} samples (the model has no forward derivative)",
            "give its operations a jvp (torch.autograd.Function.jvp), pass fewer samples, or "
            "params= for some of the parameters", subject.device,
        )  # fmt: skip
        rows = PerSample(subject, tuple(range(C)), False)
        return torch.cat(list(rows.gradients(subject.parameters, share.inputs).values()), dim=2)
