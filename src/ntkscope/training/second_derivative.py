"""Products with the Hessian by differentiating twice, and whether that misses anything."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.nn.attention import SDPBackend, sdpa_kernel

from ntkscope.training.share import Share, joined, split

_STEPS = (
    2.0**-26,
    2.0**-12,
)  # relative to θ: √eps of float64, of float32 where a layer rounds to it
_ENOUGH = 1e-2  # of a finite difference's own error
_UNKNOWN = (
    "derivative for",
    "not implemented",
    "not been implemented",
    "differentiate twice",
    "double backward",
)


class SecondDerivativeError(ValueError):
    """The model has no second derivative, or torch's is wrong."""


def lacks_derivative(error: Exception) -> bool:
    """Whether torch says that an operation has no derivative of some kind, and nothing else went wrong."""
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _UNKNOWN)


def hessian_product(share: Share, V: Float[Tensor, "P k"]) -> Float[Tensor, "P k"]:
    """∇²L V by two backward passes. Operations whose backward pass has no gradient count as constants."""
    # fused attention has no second derivative
    with share.subject.autograd() as (leaves, run), sdpa_kernel(SDPBackend.MATH):
        own, outputs = list(leaves.values()), share.blocks(run(share.inputs))
        moved = share.roots.pull((outputs - outputs.detach())[..., None])
        surrogate = (share.gradient * outputs).sum() + 0.5 * moved.square().sum()
        slopes = torch.autograd.grad(surrogate, own, create_graph=True, allow_unused=True)
        kept = [g if g is not None and g.requires_grad else None for g in slopes]
        columns = []
        for v in V.T:
            parts = zip(kept, split(v, leaves), strict=True)
            inner = sum((g * part).sum() for g, part in parts if g is not None)
            if not isinstance(inner, Tensor):
                return torch.zeros_like(V)
            second = torch.autograd.grad(inner, own, retain_graph=True, allow_unused=True)
            columns.append(joined(second, own))
        return torch.stack(columns, dim=1)


def require_second_derivative(few: Share) -> float:
    """Compare a product with the Hessian of ``few`` samples with a finite difference of gradients.

    The finite difference is in float64 where the model runs there. Its own error is what halving the
    step changes in it: of a float32 model with kinks that does not run in float64 it may be all.

    Returns
    -------
    float: the part of the product that the comparison cannot see, relative; NaN where all is 0.

    Raises
    ------
    SecondDerivativeError
        Where they differ beyond that, or an operation has no second derivative, naming it.
    """
    v = _direction(few)
    try:
        product = hessian_product(few, v[:, None])[:, 0].to(torch.float64)
    except RuntimeError as error:
        if not lacks_derivative(error):
            raise
        said = str(error).strip().splitlines()[0].rstrip(".")
        raise SecondDerivativeError(
            f"the model has no second derivative: {said}; sharpness(gauss_newton=True) needs none"
        ) from error
    if not bool(product.isfinite().all()):
        raise SecondDerivativeError(
            "the second derivative is NaN or infinite at these samples (a root or a norm at 0); "
            "sharpness(gauss_newton=True) needs none"
        )
    difference, unsure = _finite_difference(few, v)
    size = float(torch.linalg.vector_norm(product) + torch.linalg.vector_norm(difference))
    apart = float(torch.linalg.vector_norm(product - difference))
    allowed = 10 * few.eps**0.5 * size + 4 * unsure
    if not apart <= allowed:
        raise SecondDerivativeError(
            f"a product with the Hessian by differentiating twice differs from a finite difference of "
            f"gradients by {apart / size:.2g} of both, where rounding allows {allowed / size:.1g}: "
            f"{_culprits(few)}; sharpness(gauss_newton=True) needs no second derivative"
        )
    return allowed / size if size else math.nan


def _direction(few: Share) -> Float[Tensor, P]:
    """Random, each parameter as far as its own size; those at 0 as far as all."""
    generator = torch.Generator().manual_seed(0)
    own = few.subject.parameters.values()
    whole = float(torch.cat([p.reshape(-1).to(torch.float64) for p in own]).square().mean().sqrt())
    parts = []
    for p in own:
        size = float(p.to(torch.float64).square().mean().sqrt()) or whole or 1.0
        parts.append(size * torch.randn(p.numel(), generator=generator, dtype=torch.float64))
    return torch.cat(parts).to(few.gradient)


def _finite_difference(few: Share, v: Float[Tensor, P]) -> tuple[Float[Tensor, P], float]:
    """In float64, of the step whose error is the least, and that error."""
    best, least = v.to(torch.float64), float("inf")
    wide = _running(few)
    outputs = wide.subject({}, wide.inputs).detach()
    still = wide.slope(wide.gradient)
    for step in _STEPS:
        if step**2 < torch.finfo(still.dtype).eps / 2:
            continue
        coarse, fine = (
            (wide.slope_near(h * v.to(still), outputs) - still).to(torch.float64) / h
            for h in (step, step / 2)
        )
        unsure = float(torch.linalg.vector_norm(coarse - fine))
        if unsure < least:
            best, least = fine, unsure
        if least <= _ENOUGH * float(torch.linalg.vector_norm(best)):
            break
    return best, least


def _running(few: Share) -> Share:
    """In float64, or as it is where its operations are of one precision."""
    if few.subject.dtype == torch.float64:
        return few
    try:
        wide = few.as_float64()
        wide.slope(wide.gradient)
    except (RuntimeError, TypeError, ValueError):
        return few
    return wide


def _culprits(few: Share) -> str:
    """The graph's own Functions, whose backward passes torch cannot know."""
    with few.subject.autograd() as (_, run):
        seen, left = set(), [run(few.inputs).grad_fn]
        while left:
            node = left.pop()
            if node is not None and node not in seen:
                seen.add(node)
                left += [after for after, _ in node.next_functions]
        names = sorted({type(n).__name__ for n in seen if isinstance(n, BackwardCFunction)})
    if not names:
        return "the model holds a value constant that depends on its parameters (detach, no_grad, round)"
    shown = ", ".join(name.removesuffix("Backward") for name in names)
    return f"the backward pass of {shown} is not differentiable"
