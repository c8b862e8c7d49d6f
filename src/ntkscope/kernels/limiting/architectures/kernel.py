"""The limiting kernel of an ``nn.Module``, tile by tile."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn

from ntkscope._base import memory
from ntkscope._base.specs import unknown
from ntkscope.kernels.index import Index, place
from ntkscope.kernels.kernel import Kernel
from ntkscope.kernels.limiting.architectures.budget import Budget, budget_of
from ntkscope.kernels.limiting.architectures.error import joined, kernel_error
from ntkscope.kernels.limiting.architectures.operation import Seen, State
from ntkscope.kernels.limiting.architectures.pairs import Pairing, Side
from ntkscope.kernels.limiting.architectures.samples import as_samples, identities
from ntkscope.kernels.limiting.architectures.tracing import trace
from ntkscope.kernels.limiting.architectures.variances import Variances
from ntkscope.kernels.limiting.architectures.walk import side_of, walk

GETS = ("ntk", "nngp")
_SIDES = 1 << 26  # bytes of variances that are kept from tile to tile


class ArchitectureKernel(Kernel):
    """The infinite-width kernel of a module, of shape (N, M), in float64.

    What a kernel can, it does for the first matrix that ``get`` names; :meth:`parts` and
    :meth:`whole` give everything that is named.
    """

    covers = "the exact limiting kernel of these inputs"

    def __init__(
        self,
        model: nn.Module,
        X: Any,
        X2: Any = None,
        *,
        get: str | tuple[str, ...] = "ntk",
        reduce: str | int = "trace",
        variances: Variances = "measured",
        parameterization: str = "standard",
    ) -> None:
        self.get = get if isinstance(get, str) else tuple(get)
        self.names = _checked(get)
        if parameterization not in ("standard", "ntk"):
            raise ValueError(unknown("parameterization", parameterization, ("standard", "ntk")))
        self._X = as_samples(X)
        self._X2 = None if X2 is None else as_samples(X2, "X2")
        if self._X2 is not None and self._X2.shape[1:] != self._X.shape[1:]:
            raise ValueError(
                f"X2 holds samples of shape {tuple(self._X2.shape[1:])}, X of "
                f"{tuple(self._X.shape[1:])}"
            )
        self._arguments: dict[str, Any] = {
            "get": get, "reduce": reduce, "variances": variances,
            "parameterization": parameterization,
        }  # fmt: skip
        self._model = model
        self._traced = trace(model, self._X, variances, parameterization)
        self.graph = self._traced.graph
        self._outputs = _outputs(self.graph[self.graph.output].layout.channels, reduce)
        self.budget: Budget = budget_of(self.graph)
        self._left = self._traced.entries(self._X)
        self._right = self._left if self._X2 is None else self._traced.entries(self._X2)
        self._numbers = identities(self._X, self._X2) if self.budget.mixes else None
        self._sides: OrderedDict[tuple[bool, int, int], tuple[Side, State]] = OrderedDict()
        self._seen: dict[int, Seen] = {}
        self._all_seen = False
        self._lock = Lock()
        self._require_finite()

    # -- what a kernel says ----------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, int]:
        return len(self._X), len(self._X if self._X2 is None else self._X2)

    @property
    def dtype(self) -> torch.dtype:
        return torch.float64

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    @property
    def symmetric(self) -> bool:
        return self._X2 is None

    @property
    def semidefinite(self) -> bool:
        return self.symmetric

    @property
    def T(self) -> Kernel:
        if self._X2 is None:
            return self
        return ArchitectureKernel(self._model, self._X2, self._X, **self._arguments)

    def __repr__(self) -> str:
        kind = type(self._model).__name__
        return f"ArchitectureKernel(shape={self.shape}, get={self.get!r}, model={kind})"

    def tile(self, rows: Index, cols: Index) -> Tensor:
        made = self._parts(rows, cols)
        return made[self.names[0]]

    def parts(self, rows: Index, cols: Index) -> Any:
        """K[rows, cols] of everything that ``get`` names, in its form."""
        return self._answer(self._parts(rows, cols))

    def whole(self) -> Any:
        """Everything that ``get`` names."""
        N, M = self.shape
        memory.require(
            8.0 * N * M * len(self.names) + self.budget.tile_bytes,
            f"forming {len(self.names)} limiting kernel(s) of {N}×{M} in float64",
            "use limiting_kernel(model, X), which forms tiles, or fewer samples",
        )
        made = {name: torch.empty(N, M, dtype=self.dtype) for name in self.names}
        self._write_all(made)
        return self._answer(made)

    def _fill(self, out: Tensor) -> None:
        self._write_all({self.names[0]: out})

    def _diagonal(self) -> Tensor:
        """From samples paired with themselves."""
        return self._own(self.names[0], 0, len(self))

    def entry_error(self) -> float:
        """A bound from the operations and the smallest angles that the pairs have.

        Those are known when all tiles have been formed, which is done here where it has not been.
        """
        if not self._all_seen:
            self._every_tile(self._tile)
        return kernel_error(self.graph, self._seen, self.names[0] == "nngp")

    def seconds(self) -> float:
        """The expected time of :meth:`whole`, from one tile."""
        N, M = self.shape
        rows, cols = _spans(N, self.budget.rows), _spans(M, self.budget.cols)
        started = time.perf_counter()
        self._tile(rows[0], cols[0])
        one = time.perf_counter() - started
        wanted = N * (N + self.budget.cols) / 2 if self.symmetric else N * M
        threads = min(torch.get_num_threads(), len(rows) * len(cols))
        return one * max(1.0, wanted / (rows[0][1] * cols[0][1])) / threads

    # -- how it is made --------------------------------------------------------------------------

    def _side(self, left: bool, start: int, stop: int) -> tuple[Side, State]:
        """Samples start … stop with their variances, and their state with themselves."""
        key = (left or self.symmetric, start, stop)
        with self._lock:
            found = self._sides.get(key)
            if found is not None:
                self._sides.move_to_end(key)
                return found
        entries = [e[..., start:stop] for e in (self._left if left else self._right)]
        side, state = side_of(self.graph, entries, every=True)
        assert state is not None
        with self._lock:
            found = side, state
            joined(self._seen, self.graph, side)
            held = sum(s.nbytes for s, _ in self._sides.values()) + side.nbytes
            while self._sides and held > _SIDES:
                _, (dropped, _) = self._sides.popitem(last=False)
                held -= dropped.nbytes
            self._sides[key] = found
        return found

    def _own(self, name: str, start: int, stop: int) -> Tensor:
        """The diagonal entries start … stop."""
        step = self.budget.rows
        parts = []
        for i in range(start, stop, step):
            _, state = self._side(True, i, min(i + step, stop))
            parts.append(self._read(name, state, listed=True).reshape(-1))
        return torch.cat(parts)

    def _read(self, name: str, state: State, listed: bool) -> Tensor:
        """The kernel of an output's state: a mean or sum over its positions p = p′."""
        state = state.plain()
        k = len(self.graph[self.graph.output].layout.positions)
        if name == "ntk":
            assert state.tangent is not None
            total = state.tangent.sum(tuple(range(k))) if k else state.tangent
            return total * self._outputs
        if listed:
            covariance = 0.5 * (state.left + state.right)[..., None, None, :] - state.distance
        else:
            rows, cols = state.left[..., :, None, None], state.right[..., None, :, None]
            covariance = 0.5 * (rows + cols) - state.distance
        return covariance.mean(tuple(range(k))) if k else covariance

    def _tile(self, left: tuple[int, int], right: tuple[int, int]) -> dict[str, Tensor]:
        """One tile of consecutive samples."""
        (row, _), (col, _) = self._side(True, *left), self._side(False, *right)
        own = None
        if self._numbers is not None:
            i, j = self._numbers[0][slice(*left)], self._numbers[1][slice(*right)]
            own = torch.nonzero(i[:, None] == j[None, :])
        state = walk(self.graph, Pairing(row, col, False, own))
        made = {}
        for name in self.names:
            tile = self._read(name, state, listed=False).reshape(
                left[1] - left[0], right[1] - right[0]
            )
            low, high = max(left[0], right[0]), min(left[1], right[1])
            if self.symmetric and low < high:
                both = torch.arange(low, high)
                tile[both - left[0], both - right[0]] = self._own_in(name, left)[both - left[0]]
            made[name] = tile
        return made

    def _own_in(self, name: str, span: tuple[int, int]) -> Tensor:
        _, state = self._side(True, *span)
        return self._read(name, state, listed=True).reshape(-1)

    def _write_all(self, made: dict[str, Tensor]) -> None:
        def write(left: tuple[int, int], right: tuple[int, int]) -> None:
            for name, tile in self._tile(left, right).items():
                if name in made:
                    made[name][slice(*left), slice(*right)] = tile

        self._every_tile(write)
        if self.symmetric:
            for out in made.values():
                _mirror(out)

    def _every_tile(self, use: Callable[[tuple[int, int], tuple[int, int]], object]) -> None:
        """``use`` the spans of every tile; of a symmetric kernel's, those that reach i ≤ j.

        A thread takes a tile: its operations are too small to be shared among threads.
        """
        N, M = self.shape
        jobs = [
            (left, right)
            for left in _spans(N, self.budget.rows)
            for right in _spans(M, self.budget.cols)
            if not (self.symmetric and right[1] <= left[0])
        ]
        memory.keep_freed()
        workers = min(torch.get_num_threads(), len(jobs))
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for _ in pool.map(lambda job: use(*job), jobs):
                pass
        self._all_seen = True

    def _parts(self, rows: Index, cols: Index) -> dict[str, Tensor]:
        """Tiles on the grid of the whole, so that they agree with it in each bit."""
        places = (place(x, n, self.device) for x, n in zip((rows, cols), self.shape, strict=True))
        i, j = torch.meshgrid(*(_numbers(x) for x in places), indexing="ij")
        shape = i.shape
        if self.symmetric:
            i, j = torch.minimum(i, j), torch.maximum(i, j)
        i, j = i.reshape(-1), j.reshape(-1)
        made = {name: torch.empty(i.numel(), dtype=self.dtype) for name in self.names}
        step = self.budget.rows, self.budget.cols
        keys = torch.stack([i // step[0], j // step[1]], 1)
        grid, which = torch.unique(keys, dim=0, return_inverse=True)
        for number, (a, b) in enumerate(grid.tolist()):
            left, right = (
                (k * s, min((k + 1) * s, n))
                for k, s, n in zip((a, b), step, self.shape, strict=True)
            )
            inside = torch.nonzero(which == number)[:, 0]
            for name, tile in self._tile(left, right).items():
                made[name][inside] = tile[i[inside] - left[0], j[inside] - right[0]]
        return {name: values.reshape(shape) for name, values in made.items()}

    def _answer(self, made: dict[str, Tensor]) -> Any:
        values = tuple(made[n] for n in self.names)
        return values[0] if isinstance(self.get, str) else values

    def _require_finite(self) -> None:
        first = min(self.budget.rows, len(self._X))
        if not bool(torch.isfinite(self._own("ntk", 0, first)).all()):
            raise ValueError(
                "the kernel overflows on these data (its diagonal is not finite); scale X down"
            )


def _checked(get: Any) -> tuple[str, ...]:
    names = (get,) if isinstance(get, str) else tuple(get)
    for name in names:
        if name not in GETS:
            raise ValueError(unknown("get", name, GETS) + " (for a module)")
    if not names:
        raise ValueError(f"get names nothing; known: {', '.join(GETS)}")
    return names


def _outputs(channels: int, reduce: str | int) -> int:
    if reduce == "trace":
        return channels
    if isinstance(reduce, str):
        raise ValueError(unknown("reduce", reduce, ("trace",)) + ", or an output's index")
    if isinstance(reduce, bool) or not 0 <= reduce < channels:
        raise ValueError(f"reduce={reduce} names no output: the model has {channels}")
    return 1


def _spans(size: int, step: int) -> list[tuple[int, int]]:
    return [(i, min(i + step, size)) for i in range(0, size, step)]


def _mirror(K: Tensor, step: int = 256) -> None:
    """Copy the upper half of K over the lower, block by block."""
    for i in range(0, len(K), step):
        s = slice(i, i + step)
        corner = K[s, s]
        corner.copy_(torch.triu(corner) + torch.triu(corner, 1).T)
        K[s, :i] = K[:i, s].T


def _numbers(index: slice | Tensor) -> Tensor:
    return torch.arange(index.start, index.stop) if isinstance(index, slice) else index
