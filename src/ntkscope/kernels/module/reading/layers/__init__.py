"""The layers whose per-sample gradients are known: one file a kind, found by the torch function called.

To add a layer, write one file here and import it below. It holds

1. an :class:`~ntkscope.kernels.module.reading.layers.layer.Operation`, if none of those present
   fits: ``gradient`` is the one thing it has to write, ∂f/∂p from the layer's inputs x and the
   gradients g of its outputs. Where the gradient is larger than a vector (``heavy``), it also says
   how x and g lie (``form``, ``takes``); where it is a sum Σ_t g_t a_tᵀ, ``pairs`` and the flops
   let the kernel choose the cheaper contraction;
2. a reader of each torch function that does it, under ``@reads(function, names="…")``: from the
   call's arguments to the layer's input x and the operation of every watched parameter, or None
   for a call that it does not describe, whose parameters then go the general way.

Nothing else asks what kind an operation is. ``tests/kernels/module/test_module_layers.py`` compares
each with the Jacobian of plain autograd: add a model with the layer there.
"""

from ntkscope.kernels.module.reading.layers import (
    attention,
    contraction,
    convolution,
    dense,
    elementwise,
    embedding,
    norms,
    recurrent,
)

__all__ = [
    "attention",
    "contraction",
    "convolution",
    "dense",
    "elementwise",
    "embedding",
    "norms",
    "recurrent",
]
