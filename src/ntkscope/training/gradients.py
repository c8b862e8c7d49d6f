"""Gradient descent in closed form: matrix products into buffers, no autograd graph.

For L(θ) = ½‖F(θ) − Y‖², r = F − Y and the signals B_l = ∂f/∂g_l of a sample, the gradient with
respect to W_l is s_l F_{l-1}ᵀ (r ∘ B_l); r ∘ B_l is propagated in place of B_l, so that one step costs
the products of one forward and one backward pass.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ntkscope._base import memory
from ntkscope.kernels.mlp import Backprop
from ntkscope.networks.mlp import MLP


class GradientStep:
    """One step of full-batch gradient descent on ½‖F − Y‖², in place on ``model``'s weights.

    The buffers (2N·Σ n_l numbers) are allocated once; a step allocates what φ and φ′ do, and nothing
    for ReLU, tanh and the sigmoid, which work in the buffers.
    Results do not depend on what ran before: the same weights give the same step in every bit.
    """

    def __init__(self, model: MLP, X: Float[Tensor, "N d"], Y: Float[Tensor, N]) -> None:
        network = model.network
        if network.n_outputs != 1:
            raise ValueError(f"training follows one output, the network has {network.n_outputs}")
        self.model, self.X, self.Y = model, X, Y[:, None]
        hidden = [int(n) for n in network.widths[1:-1]]
        if model.device.type == "cpu":
            memory.require(
                5.0 * len(X) * sum(hidden) * model.dtype.itemsize,
                f"a gradient step on {len(X)} samples", "use fewer samples or narrower layers",
            )  # fmt: skip
        self._g = [X.new_empty(len(X), n) for n in hidden]
        self._d = [X.new_empty(len(X), n) for n in hidden]
        # a skip connection needs the pre-activations beside the features
        self._fused = None if network.residual else network.activation.fused
        self._features: list[Tensor] = []
        self.residual = X.new_empty(len(X), 1)

    @torch.no_grad()
    def forward(self) -> Float[Tensor, ""]:
        """Evaluate F(θ) and keep the features; the loss ½‖F − Y‖²."""
        network, f = self.model.network, self.X
        self._features = [f]
        for index, g in enumerate(self._g):
            self._preactivation(f, index, g)
            activated = self._fused.forward(g) if self._fused else network.activation(g)
            f = f + network.residual * activated if network.residual else activated
            self._features.append(f)
        output = self.model._last(f)
        torch.sub(output, self.Y, out=self.residual)
        return 0.5 * torch.linalg.vecdot(self.residual[:, 0], self.residual[:, 0])

    def _preactivation(self, f: Tensor, index: int, g: Tensor) -> None:
        network, weight = self.model.network, self.model.weights[index].detach()
        if network.paired and index == network.depth - 2:
            half = weight.shape[1] // 2
            for part in (slice(0, half), slice(half, None)):
                # one product of one shape for each half: equal halves then give equal bits
                g[:, part] = f @ weight[:, part].contiguous()
        else:
            torch.mm(f, weight, out=g)
        if network.scales[index] != 1.0:
            g.mul_(network.scales[index])
        if len(self.model.biases):
            g.add_(self.model.biases[index].detach())

    @torch.no_grad()
    def backward(self, eta: float) -> None:
        """θ ← θ − η ∇L(θ) at the θ of the last ``forward``."""
        network, weights = self.model.network, self.model.weights
        signal = self.residual
        delta: Tensor | None = None
        for index in range(network.depth - 1, -1, -1):
            weight, scale = weights[index].detach(), network.scales[index]
            through: Tensor | None = None
            if index > 0:
                through = self._d[index - 1]
                torch.mm(signal, weight.T, out=through)
                if scale != 1.0:
                    through.mul_(scale)
            weight.addmm_(self._features[index].T, signal, alpha=-eta * scale)
            if len(self.model.biases):
                self.model.biases[index].detach().add_(signal.sum(dim=0), alpha=-eta)
            if through is None:
                break
            if self._fused:
                signal = self._fused.backward(through, self._g[index - 1])
                continue
            slope = network.activation.derivative(self._g[index - 1])
            if network.residual:
                # through stays ∂f/∂f_l for the skip; the signal is a product of its own
                delta = through if delta is None else through.add_(delta)
                signal = slope.mul_(delta).mul_(network.residual)
            else:
                signal = through.mul_(slope)

    def rounding(self) -> float:
        """An estimate of the loss that rounding alone leaves: ½ Σ_i (u (|F_{L-1}| |W_L|)_i)²."""
        unit = torch.finfo(self.X.dtype).eps / 2
        last = self.model.weights[-1].detach().abs() * abs(self.model.network.scales[-1])
        level = unit * (self._features[-1].abs() @ last + self.Y.abs())
        return 0.5 * float((level**2).sum())

    def __call__(self, eta: float) -> Float[Tensor, ""]:
        """One step; returns the loss before it."""
        loss = self.forward()
        self.backward(eta)
        return loss


def jacobian_transpose(
    model: MLP, passed: Backprop, alpha: Float[Tensor, N]
) -> list[Float[Tensor, ...]]:
    """Jᵀα for one output, as a list shaped like ``model.parameters()``: weights, then biases."""
    network = model.network
    weighted = [b[0] * alpha[:, None] for b in passed.signals]
    weights = [
        (f.T @ b) * scale
        for f, b, scale in zip(passed.features, weighted, network.scales, strict=True)
    ]
    return weights + ([b.sum(dim=0) for b in weighted] if len(model.biases) else [])
