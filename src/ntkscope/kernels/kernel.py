"""The contract of every kernel matrix here: what a kind has to say, and what it is given for it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ntkscope._base import memory
from ntkscope._base.inputs import as_dtype
from ntkscope._base.specs import matching
from ntkscope.report import plots
from ntkscope.report.card import Card
from ntkscope.report.chart import Chart
from ntkscope.report.result import Drawn, Shown

Index = slice | Sequence[int] | Tensor

_TILE = (512, 1024)
_DRAWN = 3000  # rows of a kernel whose eigenvalues are drawn
_PANEL = 1 << 22  # entries of the panel of rows that a product forms at a time


class Kernel(Drawn, Shown, ABC):
    """A kernel matrix K of shape (N, M), formed as far as it is asked for.

    A kind writes :meth:`tile`, and :meth:`entry_error` where its tiles are not the truth. It may
    write :meth:`matmul`, :meth:`_diagonal` and :meth:`_fill` where it has a faster way than tiles,
    and :meth:`to` and ``T`` where it has a better one than converting tiles. What they are
    given has been checked.

    Attributes
    ----------
    name: of this kernel as a summand of another, such as ``"W_1"``.
    covers: the matrix that an interval on the kernel encloses, in words.
    labels: what the rows count: ``("sample",)``, or ``("sample", "output")`` with the output
        index fastest.
    n_parameters: a bound on the rank, where there is one.
    near_kinks: pre-activations so close to a kink of the activation that rounding may decide on
        which side they lie.
    semidefinite: whether a symmetric K is known to have no negative eigenvalue.
    kept: whether every reading of an entry gives the same bits, wherever it is read.
    grain: rows that are read at once, however few are asked for.
    """

    name: str = ""
    covers: str = "the tiles as they are computed"
    labels: tuple[str, ...] = ("sample",)
    n_parameters: int | None = None
    near_kinks: int = 0
    kept: bool = False
    grain: int = 1

    # -- what a kind says ------------------------------------------------------------------------

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """(N, M)."""

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """The precision of the tiles."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where the tiles are made."""

    @property
    @abstractmethod
    def symmetric(self) -> bool:
        """False for a cross kernel."""

    @abstractmethod
    def tile(self, rows: Index, cols: Index) -> Float[Tensor, "r c"]:
        """The entries K[rows, cols], in memory of their own."""

    @property
    def semidefinite(self) -> bool:
        return False

    @property
    def terms(self) -> Sequence[Kernel]:
        """The summands by name; the kernel itself where there is one."""
        return (self,)

    def entry_error(self) -> float:
        """A bound γ with |computed K_ij − K_ij| ≤ γ √(k(x_i, x_i) k(x_j, x_j)) for every entry.

        The diagonals are those of the two symmetric kernels where K is a cross kernel. 0 says that
        the numbers that the tiles give are the kernel.
        """
        return 0.0

    def forming_error(self) -> float:
        """A bound on ‖fl(K) − K‖₂ of ``dense()`` for a symmetric kernel: entry_error · tr K.

        |ΔK| ≤ γ s sᵀ entry by entry with s_i = √K_ii, so ‖ΔK‖₂ ≤ γ ‖s‖² = γ tr K.
        """
        self._require_symmetric("forming error")
        gamma = self.entry_error()
        # the trace is itself summed from computed diagonal entries
        u = torch.finfo(self.dtype).eps / 2
        slack = 1 + 2 * (gamma + (len(self) + 4) * u)
        return gamma * self.trace() * slack

    def matmul(self, V: Float[Tensor, "M k"]) -> Float[Tensor, "N k"]:
        """K V for V of the kernel's dtype and device, a panel of rows at a time."""
        N, M = self.shape
        out = torch.empty(N, V.shape[1], dtype=self.dtype, device=self.device)
        step = max(1, min(N, _PANEL // M))
        for i in range(0, N, step):
            rows = slice(i, min(i + step, N))
            torch.mm(self.tile(rows, slice(0, M)), V, out=out[rows])
        return out

    def _diagonal(self) -> Float[Tensor, N]:
        """K_ii of a symmetric kernel."""
        out = torch.empty(len(self), dtype=self.dtype, device=self.device)
        for i in range(0, len(self), 64):
            span = slice(i, min(i + 64, len(self)))
            out[span] = self.tile(span, span).diagonal()
        return out

    def _fill(self, out: Float[Tensor, "N M"]) -> None:
        """Write the matrix, a symmetric one with both halves equal in each bit."""
        N, M = self.shape
        for i in range(0, N, _TILE[0]):
            rows = slice(i, min(i + _TILE[0], N))
            if self.symmetric:
                corner = self.tile(rows, rows)
                # a product may round (i, j) and (j, i) apart
                out[rows, rows] = torch.triu(corner) + torch.triu(corner, 1).T
            for j in range(rows.stop if self.symmetric else 0, M, _TILE[1]):
                cols = slice(j, min(j + _TILE[1], M))
                made = self.tile(rows, cols)
                out[rows, cols] = made
                if self.symmetric:
                    out[cols, rows] = made.T

    def to(
        self, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> Kernel:
        """The same kernel with tiles in another precision or on another device."""
        dtype = self.dtype if dtype is None else as_dtype(dtype)
        device = self.device if device is None else torch.device(device)
        if (dtype, device) == (self.dtype, self.device):
            return self
        return Converted(self, dtype, device)

    @property
    def T(self) -> Kernel:
        """The transpose; a symmetric kernel is its own."""
        return self if self.symmetric else Transposed(self)

    def _require_memory(self) -> None:
        """Raise NotEnoughMemoryError where ``dense()`` does not fit."""
        if self.device.type == "cpu":
            N, M = self.shape
            memory.require(
                self.nbytes_dense, f"forming the {N}×{M} kernel in {self.dtype}",
                "use K @ v or K.tile(rows, cols), or K.to(torch.float32) for half of it",
            )  # fmt: skip

    # -- what it is given ------------------------------------------------------------------------

    def dense(self, out: Tensor | None = None) -> Float[Tensor, "N M"]:
        """The matrix, in ``nbytes_dense`` bytes of its own or in ``out``.

        Raises
        ------
        NotEnoughMemoryError
            When it does not fit.
        ValueError
            For an ``out`` of another shape, dtype or device.
        """
        if out is None:
            self._require_memory()
            out = torch.empty(self.shape, dtype=self.dtype, device=self.device)
        elif (out.shape, out.dtype, out.device.type) != (self.shape, self.dtype, self.device.type):
            raise ValueError(
                f"out must be {self.shape} {self.dtype} on {self.device}, "
                f"got {tuple(out.shape)} {out.dtype} on {out.device}"
            )
        self._fill(out)
        return out

    def diagonal(self) -> Float[Tensor, N]:
        """K_ii, without forming K. Raises ValueError for a cross kernel."""
        self._require_symmetric("diagonal")
        return self._diagonal()

    def trace(self) -> float:
        """Σ_i K_ii."""
        return float(self.diagonal().sum(dtype=torch.float64))

    def __matmul__(self, other: Tensor) -> Tensor:
        """K v or K V, for an (M,) or (M, k) tensor."""
        if not isinstance(other, Tensor):
            return NotImplemented
        if other.ndim not in (1, 2) or other.shape[0] != self.shape[1]:
            raise ValueError(f"cannot apply a {self.shape} kernel to shape {tuple(other.shape)}")
        V = (other[:, None] if other.ndim == 1 else other).to(self.device, self.dtype)
        product = self.matmul(V)
        return product[:, 0] if other.ndim == 1 else product

    def term(self, which: int | str) -> Kernel:
        """One summand by its place or name: Bombari's K_{L-2} is term L−2 of a network's NTK."""
        return self.terms[self._place_of(which)]

    def group(self, *patterns: str) -> Kernel:
        """The sum of the terms whose names match: ``K.group("lora_*", "head.*")``.

        A pattern that matches no whole name is held against what follows the dots of a name.

        Raises
        ------
        ValueError
            For no pattern, or one that matches no term.
        """
        names = [term.name for term in self.terms]
        if not patterns:
            raise ValueError(f"group needs a pattern of names; there are {', '.join(names)}")
        hits = {name for p in patterns for name in matching("term", p, names)}
        places = [i for i, name in enumerate(names) if name in hits]
        if len(places) == len(names):
            return self
        return self.term(places[0]) if len(places) == 1 else self._of_terms(places)

    def _of_terms(self, places: Sequence[int]) -> Kernel:
        """The sum of some of the terms."""
        names = ", ".join(self.terms[i].name for i in places)
        raise TypeError(
            f"{type(self).__name__} does not say what {names} add up to; use SummedKernel of the terms"
        )

    def _place_of(self, which: int | str) -> int:
        if isinstance(which, str):
            names = [t.name for t in self.terms]
            if which not in names:
                raise ValueError(f"no term is called {which!r}; there are {', '.join(names)}")
            return names.index(which)
        if not -len(self.terms) <= which < len(self.terms):
            raise IndexError(f"the kernel has {len(self.terms)} terms, got {which}")
        return which % len(self.terms)

    def to_scipy(self) -> Any:
        """A ``scipy.sparse.linalg.LinearOperator`` of the kernel (CPU copies in and out)."""
        from scipy.sparse.linalg import LinearOperator

        def apply(kernel: Kernel, v: Any) -> Any:
            return (kernel @ torch.as_tensor(v, dtype=self.dtype)).cpu().numpy()

        return LinearOperator(
            dtype=torch.empty(0, dtype=self.dtype).numpy().dtype,
            shape=self.shape,
            matvec=lambda v: apply(self, v.reshape(-1)),
            rmatvec=lambda v: apply(self.T, v.reshape(-1)),
            matmat=lambda V: apply(self, V),
        )

    @property
    def nbytes_dense(self) -> int:
        """Bytes of ``dense()``: itemsize · N · M."""
        return self.shape[0] * self.shape[1] * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        names = ", ".join(t.name for t in self.terms if t.name)
        return f"{type(self).__name__}(shape={self.shape}, dtype={self.dtype}, terms=[{names}])"

    def to_dict(self) -> dict[str, Any]:
        """What it is, in plain values; its entries are in :meth:`dense`."""
        return {
            "kernel": type(self).__name__, "shape": list(self.shape), "symmetric": self.symmetric,
            "dtype": str(self.dtype).removeprefix("torch."), "device": str(self.device),
            "nbytes_dense": self.nbytes_dense, "terms": [t.name for t in self.terms if t.name],
            "entry_error": self.entry_error(), "covers": self.covers,
        }  # fmt: skip

    def _card(self) -> Card:
        of = self.to_dict()
        N, M = self.shape
        pairs = {
            "shape": f"{N} × {M}" + (", symmetric" if self.symmetric else ""),
            "dtype": f"{of['dtype']} on {of['device']}",
            "dense": memory.human(self.nbytes_dense),
            "terms": ", ".join(of["terms"]) or "one",
            "intervals are for": self.covers,
        }
        return Card(type(self).__name__, list(pairs.items()))

    def _chart(self) -> Chart:
        """All eigenvalues of a symmetric kernel of at most 3000 rows, and how far they may be off."""
        self._require_symmetric("spectrum")
        if len(self) > _DRAWN:
            raise ValueError(
                f"the spectrum of at most {_DRAWN} rows is drawn, got {len(self)}; "
                "spectral_density(K).plot() draws an estimate"
            )
        found = torch.linalg.eigvalsh(self.dense().to("cpu", torch.float64))
        unit = torch.finfo(self.dtype).eps / 2
        error = self.forming_error() + len(self) * unit * float(found.abs().max())
        return plots.eigenvalues(found.tolist(), error)

    def _require_symmetric(self, what: str) -> None:
        if not self.symmetric:
            raise ValueError(
                f"the {what} needs a symmetric kernel, this is a cross kernel {self.shape}"
            )


class _View(Kernel):
    """Another kernel, read differently."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.name, self.covers, self.near_kinks = kernel.name, kernel.covers, kernel.near_kinks
        self.labels, self.n_parameters = kernel.labels, kernel.n_parameters

    @property
    def shape(self) -> tuple[int, int]:
        return self._kernel.shape

    @property
    def dtype(self) -> torch.dtype:
        return self._kernel.dtype

    @property
    def device(self) -> torch.device:
        return self._kernel.device

    @property
    def symmetric(self) -> bool:
        return self._kernel.symmetric

    def entry_error(self) -> float:
        return self._kernel.entry_error()


class Transposed(_View):
    """Kᵀ of a cross kernel."""

    @property
    def shape(self) -> tuple[int, int]:
        N, M = self._kernel.shape
        return M, N

    def tile(self, rows: Index, cols: Index) -> Tensor:
        return self._kernel.tile(cols, rows).T.contiguous()

    @property
    def terms(self) -> Sequence[Kernel]:
        if len(self._kernel.terms) == 1:
            return (self,)
        return tuple(t.T for t in self._kernel.terms)

    def _of_terms(self, places: Sequence[int]) -> Kernel:
        return self._kernel._of_terms(places).T

    @property
    def T(self) -> Kernel:
        return self._kernel


class Converted(_View):
    """A kernel whose tiles and products are rounded to another precision, or moved."""

    def __init__(self, kernel: Kernel, dtype: torch.dtype, device: torch.device) -> None:
        super().__init__(kernel)
        self._dtype, self._device = dtype, device

    @property
    def dtype(self) -> torch.dtype:
        return self._dtype

    @property
    def device(self) -> torch.device:
        return self._device

    @property
    def semidefinite(self) -> bool:
        return self._kernel.semidefinite

    @property
    def terms(self) -> Sequence[Kernel]:
        if len(self._kernel.terms) == 1:
            return (self,)
        return tuple(t.to(self._dtype, self._device) for t in self._kernel.terms)

    def _of_terms(self, places: Sequence[int]) -> Kernel:
        return self._kernel._of_terms(places).to(self._dtype, self._device)

    def _moved(self, tensor: Tensor) -> Tensor:
        return tensor.to(dtype=self._dtype, device=self._device)

    def tile(self, rows: Index, cols: Index) -> Tensor:
        return self._moved(self._kernel.tile(rows, cols))

    def matmul(self, V: Tensor) -> Tensor:
        return self._moved(self._kernel @ V)

    def _diagonal(self) -> Tensor:
        return self._moved(self._kernel.diagonal())

    def entry_error(self) -> float:
        """The kernel's own, and one rounding where the new precision is the shorter."""
        own = self._kernel.entry_error()
        if self._dtype.itemsize >= self._kernel.dtype.itemsize:
            return own
        return own + torch.finfo(self._dtype).eps / 2 * (1 + own)

    def to(
        self, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> Kernel:
        if self._kernel.dtype.itemsize > self._dtype.itemsize:
            return super().to(dtype, device)  # its roundings stay
        return self._kernel.to(dtype or self._dtype, device or self._device)


def place(index: Index, size: int, device: torch.device) -> slice | Tensor:
    """``index`` as a slice of step 1 or as sample numbers. Raises IndexError outside 0 … size−1."""
    if isinstance(index, slice):
        start, stop, step = index.indices(size)
        if step == 1:
            return slice(start, max(start, stop))
        return torch.arange(start, stop, step, device=device)
    numbers = torch.as_tensor(index, device=device)
    if numbers.dtype == torch.bool:
        if numbers.shape != (size,):
            raise IndexError(f"a mask must have {size} entries, got shape {tuple(numbers.shape)}")
        numbers = torch.nonzero(numbers)[:, 0]
    numbers = numbers.to(torch.long)
    if len(numbers) and not bool(((numbers >= -size) & (numbers < size)).all()):
        raise IndexError(f"tile indices must be within 0 … {size - 1}")
    return torch.where(numbers < 0, numbers + size, numbers)


def count(index: slice | Tensor) -> int:
    """Rows that a placed index names."""
    return index.stop - index.start if isinstance(index, slice) else len(index)
