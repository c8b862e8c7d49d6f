"""The kernel of any module: a HadamardKernel whose terms may also be blocks of other kinds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ntkscope._base import memory
from ntkscope.kernels.hadamard import Factor, HadamardKernel, Term
from ntkscope.kernels.kernel import Index, count, place
from ntkscope.kernels.module.holding.blocks import WeightBlock, mirror
from ntkscope.kernels.module.holding.general import General


@dataclass(frozen=True, eq=False)
class GeneralTerm:
    """The term of one parameter that goes the general way."""

    name: str
    source: General
    scale: float = 1.0
    features: Factor | None = None
    signals: Factor | None = None

    @property
    def factors(self) -> tuple[Factor, ...]:
        return ()

    @property
    def shape(self) -> tuple[int, int]:
        n, m = self.source.samples
        return n * self.source.lead, m * self.source.lead

    @property
    def inner(self) -> int:
        outputs = 1 if self.source.full else len(self.source.outputs)
        return outputs * self.source.subject.parameters[self.name].numel()


Summand = Term | WeightBlock | GeneralTerm


class ModuleKernel(HadamardKernel):
    """Σ_p of one term per parameter p of a module; see :class:`HadamardKernel` for its use.

    ``terms`` holds :class:`Term` where the layer is dense (or its gradient small), ``WeightBlock``
    for convolutions, layers on sequences, embeddings and shared matrices, and ``GeneralTerm`` for
    parameters without a structured form: these run the model again (at the parameters it had when
    the kernel was made) for tiles. :meth:`dense` keeps their sum, and the blocks where they take
    less than one 64th of the memory.
    """

    def __init__(
        self,
        terms: Sequence[Summand],
        *,
        n_parameters: int | None = None,
        near_kinks: int = 0,
        labels: tuple[str, ...] = ("sample",),
        chunk: int = 256,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        limit: float | int | None = None,
    ) -> None:
        if not terms:
            raise ValueError("a kernel needs at least one term")
        self._summands = tuple(terms)
        self.n_parameters = n_parameters
        self.near_kinks = near_kinks
        self.labels = labels
        self._shape = _shape(self.terms[0])
        for term in self.terms:
            if _shape(term) != self.shape:
                raise ValueError(f"term {term.name!r} has shape {_shape(term)}, not {self.shape}")
        self._chunk = chunk
        self._limit = limit
        self._asked = dtype, device
        gram = [t for t in self.terms if isinstance(t, Term)]
        self._gram = HadamardKernel(gram) if gram else None
        self._blocks = [t for t in self.terms if isinstance(t, WeightBlock)]
        general = [t for t in self.terms if isinstance(t, GeneralTerm)]
        self._general = general[0].source if general else None
        self._general_names = [t.name for t in general]
        self._general_dense: Tensor | None = None

    @property
    def terms(self) -> tuple[Summand, ...]:  # type: ignore[override]  # more kinds than the base's
        return self._summands

    @property
    def shape(self) -> tuple[int, int]:
        return self._shape

    @property
    def dtype(self) -> torch.dtype:
        if self._asked[0] is not None:
            return self._asked[0]
        if self._gram is not None:
            return self._gram.dtype
        return self._blocks[0].dtype if self._blocks else self._source.subject.dtype

    @property
    def device(self) -> torch.device:
        if self._asked[1] is not None:
            return torch.device(self._asked[1])
        if self._gram is not None:
            return self._gram.device
        return self._blocks[0].device if self._blocks else self._source.subject.device

    @property
    def _source(self) -> General:
        assert self._general is not None
        return self._general

    @property
    def symmetric(self) -> bool:
        return (
            (self._gram is None or self._gram.symmetric)
            and all(b.symmetric for b in self._blocks)
            and (self._general is None or self._general.symmetric)
        )

    @property
    def nbytes_factors(self) -> int:
        held = {id(t): t for b in self._blocks for t in b.tensors}
        if self._gram is not None:
            factors = [f for t in self._gram.terms for f in t.factors]
            held |= {id(m): m for f in factors for m in (f.rows, f.columns)}
        return sum(t.numel() * t.element_size() for t in held.values())

    def __repr__(self) -> str:
        names = ", ".join(t.name for t in self.terms)
        return f"ModuleKernel(shape={self.shape}, dtype={self.dtype}, terms=[{names}])"

    def to(
        self, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> HadamardKernel:
        moved: dict[int, Tensor] = {}
        gram = list(self._gram.to(dtype, device).terms) if self._gram else []
        terms: list[Summand] = []
        for term in self.terms:
            if isinstance(term, Term):
                terms.append(gram.pop(0))
            elif isinstance(term, WeightBlock):
                terms.append(term.to(dtype, device, moved))
            else:
                terms.append(term)  # its tiles are converted: the model stays as it is
        other = self._with(terms)
        assert isinstance(other, ModuleKernel)
        other._asked = dtype or self._asked[0], device or self._asked[1]
        return other

    def _with(self, terms: Sequence[Summand]) -> HadamardKernel:
        return ModuleKernel(
            terms, n_parameters=self.n_parameters, near_kinks=self.near_kinks, labels=self.labels,
            chunk=self._chunk, dtype=self._asked[0], device=self._asked[1],
            limit=self._limit,
        )  # fmt: skip

    @property
    def T(self) -> HadamardKernel:
        gram = list(self._gram.T.terms) if self._gram else []
        terms: list[Summand] = []
        for term in self.terms:
            if isinstance(term, Term):
                terms.append(gram.pop(0))
            elif isinstance(term, WeightBlock):
                terms.append(term.T)
            else:
                terms.append(replace(term, source=term.source.T))
        return self._with(terms)

    def tile(self, rows: Index, cols: Index) -> Tensor:
        rows, cols = (
            place(i, n, self.device) for i, n in zip((rows, cols), self.shape, strict=True)
        )
        if self._gram is not None:
            out = self._gram.tile(rows, cols)
        else:
            shape = (count(rows), count(cols))
            out = torch.zeros(shape, dtype=self.dtype, device=self.device)
        for block in self._blocks:
            out += block.tile(rows, cols)
        if self._general is not None:
            out += self._general_tile(rows, cols)
        return out

    def _general_tile(self, rows: slice | Tensor, cols: slice | Tensor) -> Tensor:
        if self._general_dense is not None:
            return self._general_dense[rows][:, cols]
        source, C = self._source, self._source.lead
        sides = []
        for index, size in zip((rows, cols), self.shape, strict=True):
            flat = torch.arange(size, device=source.subject.device)[index]
            sides.append((*torch.unique(flat // C, return_inverse=True), flat % C))
        (left, at_row, row_output), (right, at_col, col_output) = sides
        part = source.select(left, right)
        out = torch.zeros(
            len(left) * C, len(right) * C, dtype=source.subject.dtype, device=source.subject.device
        )
        part.add(self._general_names, out)
        return self._converted(out[at_row * C + row_output][:, at_col * C + col_output])

    def _converted(self, tensor: Tensor) -> Tensor:
        return tensor.to(dtype=self.dtype, device=self.device)

    def dense(self, out: Tensor | None = None) -> Tensor:
        N, M = self.shape
        if out is None:
            copies = 2 if self._general is not None else 1
            if self._limit is not None or self.device.type == "cpu":
                require_within(
                    copies * self.nbytes_dense, f"forming the {N}×{M} kernel in {self.dtype}",
                    self._limit,
                )  # fmt: skip
            out = torch.empty(N, M, dtype=self.dtype, device=self.device)
        elif out.shape != self.shape or out.dtype != self.dtype:
            raise ValueError(f"out must be {self.shape} {self.dtype}, got {out.shape} {out.dtype}")
        if self._gram is not None:
            self._gram.dense(out)
        else:
            out.zero_()
        # a block costs far more to form than to hold, and spectra ask for the same one repeatedly
        room = memory.available() if self._limit is None else self._limit
        keep = len(self._blocks) * self.nbytes_dense <= room / 64
        for block in self._blocks:
            block.add_dense(out, keep)
        if self._general is not None:
            out += self._general_sum()
        if self.symmetric and (self._blocks or self._general is not None):
            mirror(out)
        return out

    def release(self) -> None:
        """Forget what :meth:`dense` kept; it is formed again when needed."""
        self._general_dense = None
        for block in self._blocks:
            block.held.clear()

    def _general_sum(self) -> Tensor:
        """The general terms' sum, formed once and kept."""
        if self._general_dense is None:
            source = self._source
            held = torch.zeros(self.shape, dtype=source.subject.dtype, device=source.subject.device)
            source.add(self._general_names, held)
            self._general_dense = self._converted(held)
        return self._general_dense

    def diagonal(self) -> Tensor:
        self._require_symmetric("diagonal")
        total = torch.zeros(self.shape[0], dtype=self.dtype, device=self.device)
        if self._gram is not None:
            total += self._gram.diagonal()
        for block in self._blocks:
            total += block.diagonal()
        if self._general is not None:
            if self._general_dense is not None:
                total += self._general_dense.diagonal()
            else:
                total += self._converted(self._general.diagonal(self._general_names))
        return total

    def forming_error(self) -> float:
        """A bound on ‖fl(K) − K‖₂ for the held inputs and gradients (and the computed gradients).

        An entry of a block is a sum of products of sums over positions, which may cancel: the
        bound is taken with norms, u · length · Σ_i (Σ_t ‖x_it‖ ‖g_it‖)². For general terms it
        covers the product of the per-sample gradients as torch computed them, not their own error.
        """
        self._require_symmetric("forming error")
        u = torch.finfo(self.dtype).eps / 2
        extra = len(self.terms) + 1
        # ``size`` bounds the trace: a block's magnitude is at least its own, and costs no gradients
        error = size = 0.0
        if self._gram is not None:
            error += self._gram.forming_error() * (1 + extra * u)
            size += self._gram.trace()
        for block in self._blocks:
            gamma = (block.inner + extra) * u
            magnitude = block.magnitude()
            error += gamma / (1 - gamma) * magnitude
            size += magnitude
        if self._general is not None:
            lengths = [t.inner for t in self.terms if isinstance(t, GeneralTerm)]
            gamma = (sum(lengths) + extra) * u
            trace = float(self._general_diagonal().sum())
            error += gamma / (1 - gamma) * trace
            size += trace
        # adding the terms to one another rounds each entry extra times
        return (error + extra * u * size) * (1 + 1e-6)

    def _general_diagonal(self) -> Tensor:
        if self._general_dense is not None:
            return self._general_dense.diagonal()
        return self._source.diagonal(self._general_names)

    def __matmul__(self, other: Tensor) -> Tensor:
        if not isinstance(other, Tensor):
            return NotImplemented
        if other.shape[0] != self.shape[1] or other.ndim not in (1, 2):
            raise ValueError(f"cannot apply a {self.shape} kernel to shape {tuple(other.shape)}")
        V = (other[:, None] if other.ndim == 1 else other).to(self.dtype)
        product = torch.zeros(self.shape[0], V.shape[1], dtype=self.dtype, device=self.device)
        if self._gram is not None:
            product += self._gram @ V
        for block in self._blocks:
            product += block.apply(V)
        if self._general is not None:
            product += self._general_product(V)
        return product[:, 0] if other.ndim == 1 else product

    def _general_product(self, V: Tensor) -> Tensor:
        if self._general_dense is not None:
            return self._general_dense @ V
        source = self._source
        v = V.to(dtype=source.subject.dtype, device=source.subject.device)
        return self._converted(source.apply(self._general_names, v, self._chunk))


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


def _shape(term: Summand) -> tuple[int, int]:
    if isinstance(term, Term):
        first = term.factors[0]
        return int(first.rows.shape[0]), int(first.columns.shape[0])
    return term.shape
