"""Square roots of a loss's Hessians at its blocks of outputs, held or as operators."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ntkscope._base import memory


class Roots(ABC):
    """R with R_b R_bᵀ = ∇²_{f_b} L, (C, r) for each of b blocks of C outputs."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int, int]:
        """b, C, r."""

    @property
    @abstractmethod
    def inner(self) -> int:
        """The length of the sums in a product with R or Rᵀ."""

    def __len__(self) -> int:
        return self.shape[0]

    @abstractmethod
    def __getitem__(self, blocks: slice | Tensor) -> Roots:
        """Of some of the blocks."""

    @abstractmethod
    def to(self, device: torch.device, dtype: torch.dtype) -> Roots:
        """The same elsewhere."""

    @abstractmethod
    def push(self, V: Float[Tensor, "b r k"]) -> Float[Tensor, "b C k"]:
        """R V."""

    @abstractmethod
    def pull(self, V: Float[Tensor, "b C k"]) -> Float[Tensor, "b r k"]:
        """Rᵀ V; can be differentiated."""

    @abstractmethod
    def spread(self, count: int, places: Int[Tensor, b]) -> Roots:
        """Of ``count`` blocks, zero but for those at ``places``."""

    @abstractmethod
    def magnitudes(self, sizes: Float[Tensor, "b C"]) -> Float[Tensor, "b r"]:
        """At least |R|ᵀ sizes."""

    @abstractmethod
    def largest(self) -> float:
        """At least ‖R_b‖² of every block."""

    def around(self, tile: Float[Tensor, "b C C"]) -> Float[Tensor, "b r r"]:
        """R_bᵀ T_b R_b."""
        return self.pull(self.pull(tile).mT).mT

    def between(self, tile: Float[Tensor, "bC mC"], other: Roots) -> Float[Tensor, "br mr"]:
        """Rᵀ T R′ block by block."""
        (n, C, r), m = self.shape, len(other)
        half = self.pull(tile.reshape(n, C, m * C)).reshape(n * r, m, C)
        return other.pull(half.permute(1, 2, 0)).permute(2, 0, 1).reshape(n * r, m * r)


@dataclass(frozen=True, eq=False)
class HeldRoots(Roots):
    """As matrices."""

    matrices: Float[Tensor, "b C r"]

    @property
    def shape(self) -> tuple[int, int, int]:
        b, C, r = self.matrices.shape
        return b, C, r

    @property
    def inner(self) -> int:
        return self.shape[1]

    def __getitem__(self, blocks: slice | Tensor) -> HeldRoots:
        return HeldRoots(self.matrices[blocks])

    def to(self, device: torch.device, dtype: torch.dtype) -> HeldRoots:
        return HeldRoots(self.matrices.to(device, dtype))

    def push(self, V: Tensor) -> Tensor:
        return self.matrices @ V

    def pull(self, V: Tensor) -> Tensor:
        return self.matrices.mT @ V

    def spread(self, count: int, places: Tensor) -> HeldRoots:
        held = self.matrices.new_zeros(count, *self.matrices.shape[1:])
        held[places] = self.matrices
        return HeldRoots(held)

    def magnitudes(self, sizes: Tensor) -> Tensor:
        return torch.einsum("nca,nc->na", self.matrices.abs(), sizes)

    def largest(self) -> float:
        return float(torch.linalg.matrix_norm(self.matrices, ord=2).max()) ** 2


@dataclass(frozen=True, eq=False)
class DiagonalRoots(Roots):
    """Of diagonal Hessians: their entries' roots."""

    entries: Float[Tensor, "b C"]

    @property
    def shape(self) -> tuple[int, int, int]:
        b, C = self.entries.shape
        return b, C, C

    @property
    def inner(self) -> int:
        return 1

    def __getitem__(self, blocks: slice | Tensor) -> DiagonalRoots:
        return DiagonalRoots(self.entries[blocks])

    def to(self, device: torch.device, dtype: torch.dtype) -> DiagonalRoots:
        return DiagonalRoots(self.entries.to(device, dtype))

    def push(self, V: Tensor) -> Tensor:
        return self.entries[:, :, None] * V

    def pull(self, V: Tensor) -> Tensor:
        return self.push(V)

    def spread(self, count: int, places: Tensor) -> DiagonalRoots:
        held = self.entries.new_zeros(count, self.entries.shape[1])
        held[places] = self.entries
        return DiagonalRoots(held)

    def magnitudes(self, sizes: Tensor) -> Tensor:
        return self.entries.abs() * sizes

    def largest(self) -> float:
        return float(self.entries.abs().max()) ** 2


@dataclass(frozen=True, eq=False)
class SoftmaxRoots(Roots):
    """R = √w (diag u − p uᵀ) Q with u = √p and Q ⟂ u, of the softmax p: R Rᵀ = w (diag p − p pᵀ).

    Q holds the columns behind the first of the Householder reflection of u to the first unit vector, so
    that R has no null direction. Nothing of size C² is formed. Coefficients are exact to a few roundings
    each: of the likeliest class, 1 − p is the sum of the others.

    p: (b, C), zero rows for blocks that do not count. weight: w.
    """

    p: Float[Tensor, "b C"]
    weight: float

    @classmethod
    def held(cls, p: Float[Tensor, "b C"], weight: float) -> HeldRoots:
        """The same as matrices. Raises NotEnoughMemoryError."""
        n, C = p.shape
        memory.require(
            3.0 * n * C * (C - 1) * p.element_size(),
            f"the Hessians of the cross-entropy of {C} classes at {n} places", "use fewer samples",
        )  # fmt: skip
        others = p @ (1 - torch.eye(C, dtype=p.dtype, device=p.device))  # 1 − p, no cancellation
        u = p.sqrt()
        full = -p[:, :, None] * u[:, None, :]
        full.diagonal(dim1=1, dim2=2).copy_(u * others)
        turned = full[:, :, 1:] - full[:, :, :1] * (u[:, 1:] / (1 + u[:, :1]))[:, None, :]
        return HeldRoots(turned * weight**0.5)

    @property
    def shape(self) -> tuple[int, int, int]:
        b, C = self.p.shape
        return b, C, C - 1

    @property
    def inner(self) -> int:
        return 2 * self.p.shape[1] + 8

    def __getitem__(self, blocks: slice | Tensor) -> SoftmaxRoots:
        return replace(self, p=self.p[blocks])

    def to(self, device: torch.device, dtype: torch.dtype) -> SoftmaxRoots:
        return replace(self, p=self.p.to(device, dtype))

    def _likeliest(self) -> tuple[Tensor, Tensor, Tensor]:
        """Where the likeliest class is (b, C, 1), 1 − p of it, and of it √p (b, 1, 1)."""
        top = self.p.argmax(dim=1, keepdim=True)
        at = torch.zeros_like(self.p, dtype=torch.bool).scatter_(1, top, True)
        rest = torch.where(at, 0.0, self.p).sum(dim=1, keepdim=True)
        return at[..., None], rest[..., None], self.p.gather(1, top).sqrt()[..., None]

    def push(self, V: Tensor) -> Tensor:
        u, p = self.p.sqrt()[..., None], self.p[..., None]
        first = -((u[:, 1:] / (1 + u[:, :1])) * V).sum(dim=1, keepdim=True)
        W = torch.cat([first, V], dim=1)
        at, rest, root = self._likeliest()
        own = torch.where(at, W, 0.0).sum(dim=1, keepdim=True)
        others = torch.where(at, 0.0, u * W).sum(dim=1, keepdim=True)
        made = torch.where(at, root * rest * own - p * others, u * W - p * (others + root * own))
        return made * self.weight**0.5

    def pull(self, V: Tensor) -> Tensor:
        u, p = self.p.sqrt()[..., None], self.p[..., None]
        at, rest, root = self._likeliest()
        own = torch.where(at, V, 0.0).sum(dim=1, keepdim=True)
        others = torch.where(at, 0.0, p * V).sum(dim=1, keepdim=True)
        Z = u * torch.where(at, rest * own - others, V - (others + root.square() * own))
        return (Z[:, 1:] - Z[:, :1] * (u[:, 1:] / (1 + u[:, :1]))) * self.weight**0.5

    def spread(self, count: int, places: Tensor) -> SoftmaxRoots:
        held = self.p.new_zeros(count, self.p.shape[1])
        held[places] = self.p
        return replace(self, p=held)

    def magnitudes(self, sizes: Tensor) -> Tensor:
        """|R_ij| ≤ √w (|A_ij| + |A_i0| u_j/(1 + u_0)), A = diag u − p uᵀ."""
        u, total = self.p.sqrt(), (self.p * sizes).sum(dim=1, keepdim=True)
        columns = u * (sizes + total)  # at least |A|ᵀ sizes
        turned = columns[:, 1:] + columns[:, :1] * (u[:, 1:] / (1 + u[:, :1]))
        return turned * self.weight**0.5

    def largest(self) -> float:
        """λ_max(diag p − p pᵀ) ≤ max p, and by Gershgorin ≤ max 2p(1 − p)."""
        at, rest, _ = self._likeliest()
        sums = 2 * self.p * torch.where(at[..., 0], rest[..., 0], 1 - self.p)
        each = torch.minimum(self.p.amax(dim=1), sums.amax(dim=1))
        return float(each.max()) * self.weight * (1 + 1e-6)
