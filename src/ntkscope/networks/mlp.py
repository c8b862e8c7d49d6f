"""MLP, the torch module that a :class:`Network` samples."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ntkscope._base import memory
from ntkscope._base.inputs import as_dtype, as_seed, require_finite
from ntkscope.activations.activation import Activation, Elementwise
from ntkscope.networks import initialization
from ntkscope.networks.network import Network


def sample(
    net: Network,
    seed: int | torch.Generator,
    dtype: torch.dtype | str = torch.float64,
    device: str | torch.device = "cpu",
) -> MLP:
    """Draw the weights of ``net``. The numbers depend on the seed alone, not on dtype or device."""
    generator = as_seed(seed, "weights")
    memory.require(
        2 * 8.0 * net.n_parameters, f"drawing the {net.n_parameters:.3g} weights of {net}",
        "use smaller widths",
    )  # fmt: skip
    matrices = [
        _draw(net.weights, int(a), int(b), beta, generator)
        for a, b, beta in zip(net.widths[:-1], net.widths[1:], net.betas, strict=True)
    ]
    if net.paired:
        half = int(net.widths[-2]) // 2
        matrices[-2][:, half:] = matrices[-2][:, :half]
        matrices[-1][half:] = -matrices[-1][:half]
    if net.output_norm is not None:
        length = torch.linalg.vector_norm(matrices[-1], dim=0)
        matrices[-1] = matrices[-1] / (length / net.output_norm)
    biases = None
    if net.bias_std is not None:
        biases = [
            torch.randn(int(n), generator=generator, dtype=torch.float64) * net.bias_std
            for n in net.widths[1:]
        ]
    return MLP(net, matrices, biases).to(device=device, dtype=as_dtype(dtype))


class MLP(nn.Module):
    """A sampled network: f(X) of shape (N, n_L), with W_l of shape (n_{l-1}, n_l).

    ``weights`` and ``biases`` are ordinary parameters; the two halves of a paired network
    (Bombari eq. 18) are evaluated by separate products of one shape, so that f(θ_0, ·) is exactly 0.

    Parameters
    ----------
    network: the description.
    weights: W_1, …, W_L, of shapes (n_{l-1}, n_l).
    biases: b_1, …, b_L where the network has them.
    """

    network: Network

    def __init__(
        self, network: Network, weights: Sequence[Tensor], biases: Sequence[Tensor] | None = None
    ) -> None:
        super().__init__()
        self.network = network
        self.weights = nn.ParameterList([nn.Parameter(w) for w in weights])
        self.biases = nn.ParameterList([nn.Parameter(b) for b in biases or ()])

    @classmethod
    def from_weights(
        cls,
        weights: Sequence[Any],
        activation: str | Activation | Elementwise = "relu",
        *,
        biases: Sequence[Any] | None = None,
        parameterization: str = "standard",
        residual: float = 0.0,
        network: Network | None = None,
    ) -> MLP:
        """A network of your own weights, W_l of shape (n_{l-1}, n_l).

        ``network`` states how they were made (its widths must agree); without it the β_l are
        unknown. Raises ValueError for shapes that do not chain or values that are not finite.
        """
        matrices = [torch.as_tensor(w).detach().clone() for w in weights]
        _check_chain(matrices)
        dtype = matrices[0].dtype if matrices[0].is_floating_point() else torch.float64
        matrices = [m.to(dtype) for m in matrices]
        for index, matrix in enumerate(matrices, 1):
            require_finite(matrix, f"W_{index}")
        vectors = None
        if biases is not None:
            vectors = [torch.as_tensor(b).detach().clone().to(dtype) for b in biases]
            sizes = [m.shape[1] for m in matrices]
            if [tuple(v.shape) for v in vectors] != [(n,) for n in sizes]:
                got = [tuple(v.shape) for v in vectors]
                raise ValueError(f"biases must have shapes {[(n,) for n in sizes]}, got {got}")
            for index, vector in enumerate(vectors, 1):
                require_finite(vector, f"b_{index}")
        widths = [matrices[0].shape[0], *(m.shape[1] for m in matrices)]
        if network is None:
            network = Network(
                widths, activation, initialization.GIVEN, parameterization,
                bias_std=None if vectors is None else 0.0, residual=residual,
            )  # fmt: skip
        elif tuple(network.widths) != tuple(widths):
            raise ValueError(f"weights have widths {widths}, the network {list(network.widths)}")
        return cls(network, matrices, vectors)

    @property
    def dtype(self) -> torch.dtype:
        return self.weights[0].dtype

    @property
    def device(self) -> torch.device:
        return self.weights[0].device

    @property
    def n_parameters(self) -> int:
        """Number of weights and biases."""
        return sum(p.numel() for p in self.parameters())

    def layers(self, X: Float[Tensor, "N d"]) -> tuple[list[Tensor], list[Tensor]]:
        """([F_0, …, F_{L-1}], [G_1, …, G_L]): features and pre-activations, each (N, n_l)."""
        network = self.network
        features, preactivations = [X], []
        for index in range(network.depth):
            last = index == network.depth - 1
            g = self._last(features[-1]) if last else self._affine(features[-1], index)
            preactivations.append(g)
            if not last:
                f = network.activation(g)
                features.append(features[-1] + network.residual * f if network.residual else f)
        return features, preactivations

    def forward(self, X: Float[Tensor, "N d"]) -> Float[Tensor, "N k"]:
        return self.layers(X)[1][-1]

    def _affine(self, f: Tensor, index: int) -> Tensor:
        scale = self.network.scales[index]
        if self.network.paired and index == self.network.depth - 2:
            half = self.weights[index].shape[1] // 2
            # one product of one shape for each half: equal halves then give equal bits
            first, second = (
                f @ part.contiguous() for part in self.weights[index].split(half, dim=1)
            )
            g = torch.cat([first, second], dim=1)
        else:
            g = f @ self.weights[index]
        g = g * scale if scale != 1.0 else g
        return g + self.biases[index] if len(self.biases) else g

    def _last(self, f: Tensor) -> Tensor:
        if not self.network.paired:
            return self._affine(f, self.network.depth - 1)
        # φ₁w₁ + φ₂w₂ = (φ₁ − φ₂)w₁ + φ₂(w₁ + w₂): zero at the start in every bit, and free of
        # cancellation when γ makes w large
        half = f.shape[1] // 2
        first, second = f[:, :half], f[:, half:]
        w1, w2 = self.weights[-1][:half], self.weights[-1][half:]
        return ((first - second) @ w1 + second @ (w1 + w2)) * self.network.scales[-1]

    def extra_repr(self) -> str:
        return str(self.network)


def _check_chain(matrices: Sequence[Tensor]) -> None:
    shapes = [tuple(m.shape) for m in matrices]
    if len(shapes) < 2 or any(len(s) != 2 for s in shapes):
        raise ValueError(
            f"expected at least two matrices W_l of shape (n_(l-1), n_l), got {shapes}"
        )
    for left, right in itertools.pairwise(shapes):
        if left[1] != right[0]:
            raise ValueError(
                f"shapes do not chain: {left} then {right}; W_l has shape (n_(l-1), n_l), "
                "so transpose torch's Linear weights"
            )


def _draw(law: str, rows: int, columns: int, std: float, generator: torch.Generator) -> Tensor:
    shape = (rows, columns)
    if law == "uniform":
        unit = torch.rand(shape, generator=generator, dtype=torch.float64)
        return (unit - 0.5) * (std * math.sqrt(12.0))
    if law == "rademacher":
        return (torch.randint(0, 2, shape, generator=generator).double() * 2 - 1) * std
    normal = torch.randn(shape, generator=generator, dtype=torch.float64)
    if law == "gaussian":
        return normal * std
    tall = normal if rows >= columns else normal.T
    q, r = torch.linalg.qr(tall)
    q = q * torch.sign(torch.diagonal(r))  # Haar measure (Mezzadri 2007)
    haar = q if rows >= columns else q.T
    return (haar * (std * math.sqrt(max(shape)))).contiguous()
