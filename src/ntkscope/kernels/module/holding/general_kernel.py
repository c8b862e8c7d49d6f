"""The kernel of the parameters that go the general way, as per-sample gradients are asked for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ntkscope.kernels.index import Index, place
from ntkscope.kernels.kernel import Kernel
from ntkscope.kernels.module.holding.conversions import converted
from ntkscope.kernels.module.holding.general import General
from ntkscope.kernels.module.holding.rows import samples_of


class GeneralKernel(Kernel):
    """Σ over the parameters ``names`` of their gradients' products, made by running the model.

    The model runs at the parameters that it had when the kernel was made. :meth:`dense` keeps the
    matrix until :meth:`release`. An error bound covers the products of the per-sample gradients as
    torch computed them, not the gradients' own error.
    """

    covers = "the exact kernel of the gradients as torch computes them"

    def __init__(
        self,
        source: General,
        names: Sequence[str],
        chunk: int,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        self.source, self.names, self._chunk = source, tuple(names), chunk
        self.name = self.names[0] if len(self.names) == 1 else ""
        self._dtype = dtype or source.subject.dtype
        self._device = torch.device(device or source.subject.device)
        self._dense: Tensor | None = None

    @property
    def shape(self) -> tuple[int, int]:
        n, m = self.source.samples
        return n * self.source.lead, m * self.source.lead

    @property
    def dtype(self) -> torch.dtype:
        return self._dtype

    @property
    def device(self) -> torch.device:
        return self._device

    @property
    def symmetric(self) -> bool:
        return self.source.symmetric

    @property
    def semidefinite(self) -> bool:
        return self.symmetric

    @property
    def terms(self) -> Sequence[Kernel]:
        if len(self.names) == 1:
            return (self,)
        return tuple(self._with(self.source, [name]) for name in self.names)

    def _of_terms(self, places: Sequence[int]) -> GeneralKernel:
        return self._with(self.source, [self.names[i] for i in places])

    def _with(self, source: General, names: Sequence[str]) -> GeneralKernel:
        return GeneralKernel(source, names, self._chunk, self.dtype, self.device)

    def to(
        self, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> GeneralKernel:
        """Its entries are converted: the model stays as it is."""
        if dtype in (None, self.dtype) and device in (None, self.device):
            return self
        target = dtype or self.dtype, device or self.device
        return converted(
            self, *target, lambda: GeneralKernel(self.source, self.names, self._chunk, *target)
        )

    @property
    def T(self) -> GeneralKernel:
        return self._with(self.source.T, self.names)

    def side(self, which: int) -> GeneralKernel:
        """The symmetric kernel of the rows (0) or the columns (1)."""
        return self if self.symmetric else self._with(self.source.side(which), self.names)

    def _own(self, *shape: int) -> Tensor:
        """Zeros where and as the model computes."""
        subject = self.source.subject
        return torch.zeros(*shape, dtype=subject.dtype, device=subject.device)

    def _converted(self, tensor: Tensor) -> Tensor:
        return tensor.to(dtype=self.dtype, device=self.device)

    def tile(self, rows: Index, cols: Index) -> Tensor:
        r, c = (
            place(i, n, self.source.subject.device)
            for i, n in zip((rows, cols), self.shape, strict=True)
        )
        if self._dense is not None:
            return self._dense[r][:, c].clone()
        lead = self.source.lead
        (left, at_row), (right, at_col) = (samples_of(index, lead) for index in (r, c))
        part = self.source.select(left, right)
        made = self._own(*(n * lead for n in part.samples))
        if made.numel():
            part.add(self.names, made)
        return self._converted(made[at_row][:, at_col])

    def _fill(self, out: Tensor) -> None:
        if self._dense is None:
            made = self._own(*self.shape)
            self.source.add(self.names, made)
            self._dense = self._converted(made)
        out.copy_(self._dense)

    def release(self) -> None:
        """Forget what :meth:`dense` kept."""
        self._dense = None

    def _diagonal(self) -> Tensor:
        if self._dense is not None:
            return self._dense.diagonal().clone()
        return self._converted(self.source.diagonal(self.names))

    def matmul(self, V: Tensor) -> Tensor:
        if self._dense is not None:
            return self._dense @ V
        subject = self.source.subject
        v = V.to(dtype=subject.dtype, device=subject.device)
        return self._converted(self.source.apply(self.names, v, self._chunk))

    @property
    def inner(self) -> int:
        """The length of the sums behind an entry."""
        outputs = 1 if self.source.full else len(self.source.outputs)
        return outputs * sum(self.source.subject.parameters[n].numel() for n in self.names)

    def entry_error(self) -> float:
        computed = self.source.subject.dtype  # whatever the entries were converted to
        eps = max(torch.finfo(kind).eps for kind in (computed, self.dtype))
        gamma = (self.inner + len(self.names) + 1) * eps / 2
        return gamma / (1 - gamma)
