"""The Gauss-Newton matrix of a loss, seen in function space."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from ntkscope._base import memory
from ntkscope.kernels.index import Index, place
from ntkscope.kernels.kernel import Kernel
from ntkscope.kernels.loss.losses import AtOutputs
from ntkscope.kernels.module.holding.magnitudes import largest_ratio
from ntkscope.kernels.module.holding.rows import samples_of
from ntkscope.kernels.module.holding.triangle import mirror

_ENTRIES = 1 << 16  # of the kernel of all pairs, read at a time for samples' own blocks


class GaussNewtonKernel(Kernel):
    """Rᵀ K R, where K is the NTK of all pairs of outputs and R_i R_iᵀ = ∇²_{f_i} L.

    Its eigenvalues but for zeros are those of the Gauss-Newton matrix Jᵀ (∇²_f L) J = Σ_i J_iᵀ R_i R_iᵀ J_i
    of the loss L, the Fisher information for the cross-entropy of a softmax (Schraudolph 2002; Martens,
    JMLR 21, 2020, §9): with the symmetric root it is H^½ K H^½, and another root turns it by an orthogonal
    matrix in each sample. Directions without curvature in any sample are left out: of a softmax one of C.

    ``pairs``: K of all B blocks of outputs, (B·C, B·C). ``at``: the loss at the model's outputs. The rows
    are r for each of the b blocks that count, samples or tokens, those of a block one after another.
    """

    covers = "Rᵀ K R of the held factors and of the Hessians as they are computed"

    def __init__(self, pairs: Kernel, at: AtOutputs) -> None:
        if not pairs.symmetric or len(pairs) != at.gradient.numel():
            raise ValueError(
                f"the kernel of all pairs of outputs has {pairs.shape} entries, and the loss "
                f"{at.gradient.shape[0]} {at.unit}s with {at.gradient.shape[1]} outputs"
            )
        self.pairs, self.at = pairs, at
        self.roots, self._kept = at.roots.to(pairs.device, pairs.dtype), at.kept.to(pairs.device)
        self.labels = (at.unit, "direction")
        self.name, self.near_kinks = pairs.name, pairs.near_kinks
        self.n_parameters = pairs.n_parameters

    @property
    def loss(self) -> str:
        """The name of the loss."""
        return self.at.title

    @property
    def n_blocks(self) -> int:
        """b, the samples or tokens that count."""
        return int(self.roots.shape[0])

    @property
    def directions(self) -> int:
        """r, the rows of one block."""
        return int(self.roots.shape[2])

    @property
    def shape(self) -> tuple[int, int]:
        rows = self.n_blocks * self.directions
        return rows, rows

    @property
    def dtype(self) -> torch.dtype:
        return self.pairs.dtype

    @property
    def device(self) -> torch.device:
        return self.pairs.device

    @property
    def symmetric(self) -> bool:
        return True

    @property
    def semidefinite(self) -> bool:
        return self.pairs.semidefinite

    @property
    def terms(self) -> Sequence[Kernel]:
        if len(self.pairs.terms) == 1:
            return (self,)
        return tuple(GaussNewtonKernel(term, self.at) for term in self.pairs.terms)

    def _of_terms(self, places: Sequence[int]) -> Kernel:
        return GaussNewtonKernel(self.pairs._of_terms(places), self.at)

    def to(
        self, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> GaussNewtonKernel:
        """The same of K in another precision or on another device."""
        return GaussNewtonKernel(self.pairs.to(dtype, device), self.at)

    def tile(self, rows: Index, cols: Index) -> Tensor:
        (left, at_row), (right, at_col) = (
            samples_of(place(i, len(self), self.device), self.directions) for i in (rows, cols)
        )
        numbers = torch.arange(self.n_blocks, device=self.device)
        made = self._between(numbers[left], numbers[right])
        return made[at_row][:, at_col].contiguous()

    def _between(self, left: Tensor, right: Tensor) -> Tensor:
        tile = self.pairs.tile(self._rows_of(left), self._rows_of(right))
        return self.roots[left].between(tile, self.roots[right])

    def _rows_of(self, blocks: Tensor) -> Tensor:
        """Their rows of the kernel of pairs."""
        C = self.roots.shape[1]
        offsets = torch.arange(C, device=self.device)
        return (self._kept[blocks][:, None] * C + offsets).flatten()

    @cached_property
    def _rows(self) -> Tensor | None:
        """The rows of pairs that count, None where all do."""
        if len(self._kept) == len(self.at.gradient):
            return None
        return self._rows_of(torch.arange(self.n_blocks, device=self.device))

    def _counted(self, values: Tensor) -> Tensor:
        return values if self._rows is None else values[self._rows]

    def _require_memory(self) -> None:
        if self.device.type == "cpu":
            memory.require(
                self.nbytes_dense + (2 if self._rows is None else 3) * self.pairs.nbytes_dense,
                f"the Gauss-Newton matrix of {self.n_blocks} {self.at.unit}s", "use K @ v, or fewer samples",
            )  # fmt: skip

    def _fill(self, out: Tensor) -> None:
        pairs = self.pairs.dense()
        if self._rows is not None:
            pairs = pairs[self._rows[:, None], self._rows]
        out.copy_(self.roots.between(pairs, self.roots))
        mirror(out)

    def matmul(self, V: Tensor) -> Tensor:
        b, C, r = self.roots.shape
        inner = self.roots.push(V.reshape(b, r, -1)).reshape(b * C, -1)
        if self._rows is not None:
            whole = inner.new_zeros(len(self.pairs), inner.shape[1])
            whole[self._rows] = inner
            inner = whole
        product = self._counted(self.pairs @ inner)
        return self.roots.pull(product.reshape(b, C, -1)).reshape(b * r, -1)

    @cached_property
    def own_blocks(self) -> Float[Tensor, "b r r"]:
        """R_iᵀ K_ii R_i: each block's own."""
        b, C, _ = self.roots.shape
        step = max(1, int(_ENTRIES**0.5) // C)
        found = []
        for i in range(0, b, step):
            numbers = torch.arange(i, min(i + step, b), device=self.device)
            n, rows = len(numbers), self._rows_of(numbers)
            tile = self.pairs.tile(rows, rows).reshape(n, C, n, C)
            own = torch.stack([tile[k, :, k] for k in range(n)])
            found.append(self.roots[numbers].around(own))
        return torch.cat(found)

    def _diagonal(self) -> Tensor:
        return self.own_blocks.diagonal(dim1=1, dim2=2).flatten().clone()

    @cached_property
    def _magnitudes(self) -> Tensor:
        """w with |R|ᵀ |K| |R| ≤ w wᵀ: w_ia = Σ_c |R_ica| √K_ic,ic."""
        b, C, _ = self.roots.shape
        sizes = self._counted(self.pairs.diagonal()).clamp_min(0).sqrt().reshape(b, C)
        return self.roots.magnitudes(sizes).flatten()

    def _rounding(self) -> float:
        """Two products with R."""
        nu = (2 * self.roots.inner + 2) * torch.finfo(self.dtype).eps / 2
        return nu / (1 - nu)

    def entry_error(self) -> float:
        gamma = self.pairs.entry_error()
        gamma += self._rounding() * (1 + gamma)
        return largest_ratio(gamma * self._magnitudes.square(), self._diagonal()) * (1 + 1e-6)

    def forming_error(self) -> float:
        """‖R‖² ‖ΔK‖ and γ‖w‖², as |fl(RᵀKR) − RᵀKR| ≤ γ |R|ᵀ|K||R| entry by entry."""
        size = self.roots.largest()
        own = self._rounding() * float(self._magnitudes.square().sum(dtype=torch.float64))
        return (size * self.pairs.forming_error() + own) * (1 + 1e-6)
