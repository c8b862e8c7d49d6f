"""The kernel of any module: a sum of kernels, one for each parameter, of three kinds."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ntkscope._base import memory
from ntkscope._base.threads import each
from ntkscope.kernels.hadamard import Factor, HadamardKernel, Term
from ntkscope.kernels.index import Index, count, place
from ntkscope.kernels.kernel import Kernel
from ntkscope.kernels.module.holding.formed_block import FormedBlock
from ntkscope.kernels.module.holding.general_kernel import GeneralKernel
from ntkscope.kernels.module.holding.magnitudes import RoundedByMagnitudes, largest_ratio
from ntkscope.kernels.module.holding.triangle import mirror
from ntkscope.kernels.module.holding.weight_block import WeightBlock

Part = HadamardKernel | WeightBlock | FormedBlock | GeneralKernel


class ModuleKernel(Kernel):
    """Σ_p of one term per parameter p of a module.

    ``terms`` are in the model's order: a :class:`Term` where the layer is dense (or its gradient
    small), a :class:`WeightBlock` for convolutions, layers on sequences, embeddings and shared
    matrices, or a :class:`FormedBlock` of the same, and a :class:`GeneralKernel` for a parameter
    without a structured form. They are computed in ``parts``: all Gram terms at once, block by
    block, and all general parameters in common passes. :meth:`dense` keeps what the general ones add up to, and the blocks where they take less
    than one 64th of the memory. ``limit``: bytes that the matrix and its making may take, where the
    caller gave a number.
    """

    covers = "the exact kernel of the held inputs and gradients"

    def __init__(
        self,
        parts: Sequence[Part],
        *,
        order: Sequence[str] = (),
        n_parameters: int | None = None,
        near_kinks: int = 0,
        labels: tuple[str, ...] = ("sample",),
        limit: float | None = None,
        summed: int = 1,
    ) -> None:
        if not parts:
            raise ValueError("a kernel needs at least one term")
        self.parts = tuple(parts)
        self.n_parameters, self.near_kinks, self.labels = n_parameters, near_kinks, labels
        self._order, self._limit, self.summed = tuple(order), limit, summed
        for part in self.parts:
            if part.shape != self.shape:
                raise ValueError(f"part {part.name!r} has shape {part.shape}, not {self.shape}")

    @property
    def shape(self) -> tuple[int, int]:
        return self.parts[0].shape

    @property
    def dtype(self) -> torch.dtype:
        return self.parts[0].dtype

    @property
    def device(self) -> torch.device:
        return self.parts[0].device

    @property
    def symmetric(self) -> bool:
        return all(part.symmetric for part in self.parts)

    @property
    def semidefinite(self) -> bool:
        return self.symmetric

    @property
    def terms(self) -> Sequence[Kernel]:
        found = {term.name: term for part in self.parts for term in part.terms}
        return [found[name] for name in self._order] if self._order else list(found.values())

    @property
    def nbytes_factors(self) -> int:
        """Bytes that the terms hold, shared ones counted once."""
        held: dict[int, Tensor] = {}
        for part in self.parts:
            if isinstance(part, (WeightBlock, FormedBlock)):
                held |= {id(t): t for t in part.tensors}
            elif isinstance(part, HadamardKernel):
                factors = [f for t in part.terms for f in t.factors]
                held |= {id(m): m for f in factors for m in (f.rows, f.columns)}
        return sum(t.numel() * t.element_size() for t in held.values())

    def _with(self, parts: Sequence[Part], order: Sequence[str]) -> ModuleKernel:
        return ModuleKernel(
            parts, order=order, n_parameters=self.n_parameters, near_kinks=self.near_kinks,
            labels=self.labels, limit=self._limit, summed=self.summed,
        )  # fmt: skip

    def term(self, which: int | str) -> Kernel:
        term = self.terms[self._place_of(which)]
        return self._with([as_part(term)], [term.name])

    def _of_terms(self, places: Sequence[int]) -> ModuleKernel:
        """The general ones among them are made in common passes, as in the whole."""
        terms = [self.terms[i] for i in places]
        gram = [term for term in terms if isinstance(term, Term)]
        parts: list[Part] = [HadamardKernel(gram)] if gram else []
        parts += [term for term in terms if isinstance(term, (WeightBlock, FormedBlock))]
        general = {term.name for term in terms if isinstance(term, GeneralKernel)}
        for part in self.parts:
            if isinstance(part, GeneralKernel):
                own = [i for i, name in enumerate(part.names) if name in general]
                parts += [part._of_terms(own)] if own else []
        return self._with(parts, [term.name for term in terms])

    def to(
        self, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> ModuleKernel:
        """The same with what it holds in another precision or on another device."""
        if dtype in (None, self.dtype) and device in (None, self.device):
            return self
        return self._with([part.to(dtype, device) for part in self.parts], self._order)

    @property
    def T(self) -> ModuleKernel:
        return self._with([part.T for part in self.parts], self._order)

    def tile(self, rows: Index, cols: Index) -> Tensor:
        r, c = (place(i, n, self.device) for i, n in zip((rows, cols), self.shape, strict=True))
        out = torch.zeros(count(r), count(c), dtype=self.dtype, device=self.device)
        for part in self.parts:
            out += part.tile(r, c)
        return out

    def _require_memory(self) -> None:
        if self._limit is not None or self.device.type == "cpu":
            copies = 2 if any(isinstance(part, GeneralKernel) for part in self.parts) else 1
            what = f"forming the {self.shape[0]}×{self.shape[1]} kernel in {self.dtype}"
            require_within(copies * self.nbytes_dense, what, self._limit)

    def _fill(self, out: Tensor) -> None:
        blocks = [part for part in self.parts if isinstance(part, WeightBlock)]
        # a block costs far more to form than to hold, and spectra ask for the same one repeatedly
        room = memory.available() if self._limit is None else self._limit
        keep = len(blocks) * self.nbytes_dense <= room / 64
        out.zero_()
        if keep and blocks:  # the longest first, so that no thread begins it when the others end
            longest_first = sorted(blocks, key=lambda block: -block.flops())
            fitting = room / 4 / max(block.scratch for block in blocks)
            each(WeightBlock.whole, longest_first, self.device, int(min(fitting, len(blocks))))
        for index, part in enumerate(self.parts):
            if isinstance(part, WeightBlock):
                part.add_dense(out)
            elif isinstance(part, FormedBlock):
                out += part.matrix
            elif index == 0:
                part.dense(out)
            else:
                out += part.dense()
        if self.symmetric and blocks:
            mirror(out)

    def release(self) -> None:
        """Forget what :meth:`dense` kept; it is formed again when needed."""
        for part in self.parts:
            if isinstance(part, GeneralKernel):
                part.release()
            elif isinstance(part, WeightBlock):
                part.held.clear()

    def _diagonal(self) -> Tensor:
        return sum_of([part.diagonal() for part in self.parts])

    def matmul(self, V: Tensor) -> Tensor:
        return sum_of([part.matmul(V) for part in self.parts])

    # --- rounding: an entry's parts are each wrong by γ √(M_i M_j), and adding them rounds again ----

    def _adding(self) -> float:
        return (len(self.parts) + 1) * torch.finfo(self.dtype).eps / 2

    def forming_error(self) -> float:
        """The parts' own errors, and those of adding them.

        An entry of a block is a sum of products of sums over positions, which may cancel: the
        bound is taken with norms (:class:`RoundedByMagnitudes`).
        """
        self._require_symmetric("forming error")
        own = sum(part.forming_error() for part in self.parts)
        size = sum(float(_magnitudes(part).sum(dtype=torch.float64)) for part in self.parts)
        return (own + self._adding() * size) * (1 + 1e-6)

    def entry_error(self) -> float:
        if not self.symmetric:
            return max(self._side(0).entry_error(), self._side(1).entry_error())
        errors = sum_of(
            [(_gamma(part) + self._adding()) * _magnitudes(part) for part in self.parts]
        )
        return largest_ratio(errors, self.diagonal()) * (1 + 1e-6)

    def _side(self, which: int) -> ModuleKernel:
        """The symmetric kernel of the rows (0) or the columns (1)."""
        return self._with([_side(part, which) for part in self.parts], self._order)


def as_part(term: Kernel) -> Part:
    """A single term as a part of its own."""
    if isinstance(term, Term):
        return HadamardKernel([term])
    assert isinstance(term, (WeightBlock, FormedBlock, GeneralKernel))
    return term


def sum_of(tensors: Sequence[Tensor]) -> Tensor:
    """Their sum, in the first one's memory."""
    total, *rest = tensors
    for tensor in rest:
        total += tensor
    return total


def _gamma(part: Part) -> float:
    return part.rounding() if isinstance(part, RoundedByMagnitudes) else part.entry_error()


def _magnitudes(part: Part) -> Tensor:
    """What :func:`_gamma` multiplies in an entry's error, row by row: at least the diagonal."""
    return part.magnitudes() if isinstance(part, RoundedByMagnitudes) else part.diagonal()


def _side(part: Part, which: int) -> Part:
    if not isinstance(part, HadamardKernel):
        return part.side(which)

    def own(factor: Factor | None) -> Factor | None:
        return factor and Factor.symmetric(factor.columns if which else factor.rows)

    return HadamardKernel(
        [Term(t.name, own(t.features), own(t.signals), t.scale) for t in part.terms]
    )


def require_within(nbytes: float | int, what: str, limit: float | None) -> None:
    """Refuse what exceeds the user's ``limit``, or the free memory where none was given.

    Raises NotEnoughMemoryError.
    """
    remedy = "use K @ v or K.tile(rows, cols), or fewer samples"
    if limit is None:
        memory.require(nbytes, what, remedy)
    elif nbytes > limit:
        raise memory.NotEnoughMemoryError(
            f"{what} needs {memory.human(nbytes)}, and max_memory allows "
            f"{memory.human(limit)}; {remedy}"
        )
