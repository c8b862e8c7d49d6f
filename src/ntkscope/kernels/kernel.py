"""Every kernel matrix here: what its tiles give, and other readings of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ntkscope._base import memory
from ntkscope._base.inputs import as_dtype
from ntkscope._base.specs import matching
from ntkscope.kernels.contract import KernelContract
from ntkscope.kernels.index import Index
from ntkscope.report import plots
from ntkscope.report.card import Card
from ntkscope.report.chart import Chart
from ntkscope.report.result import Drawn, Shown

_DRAWN = 3000  # rows of a kernel whose eigenvalues are drawn


class Kernel(KernelContract, Drawn, Shown):
    """A kernel matrix K of shape (N, M), formed as far as it is asked for.

    A kind writes what :class:`KernelContract` names. It may write :meth:`to` and ``T`` where it has a better
    one than converting tiles.

    Attributes
    ----------
    name: of this kernel as a summand of another, such as ``"W_1"``.
    covers: the matrix that an interval on the kernel encloses, in words.
    labels: what the rows count: ``("sample",)``, or ``("sample", "output")`` with the output
        index fastest.
    n_parameters: a bound on the rank, where there is one.
    near_kinks: pre-activations so close to a kink of the activation that rounding may decide on
        which side they lie.
    summed: outputs whose kernels are added up; more than 1 of a trace kernel, which is no kernel of one output.
    semidefinite: whether a symmetric K is known to have no negative eigenvalue.
    kept: whether every reading of an entry gives the same bits, wherever it is read.
    grain: rows that are read at once, however few are asked for.
    """

    @property
    def terms(self) -> Sequence[Kernel]:
        """The summands by name; the kernel itself where there is one."""
        return (self,)

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
        self.summed = kernel.summed

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
