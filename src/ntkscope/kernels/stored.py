"""Kernels on disk: a Zarr array whose chunks are tiles, each with its checksum.

Of a symmetric kernel the tiles on and below the diagonal are written. A chunk is written whole or
not at all, so an interrupted store resumes; a flipped bit is found when its tile is read.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ntkscope._base.extras import needs
from ntkscope._base.memory import human
from ntkscope._base.version import __version__
from ntkscope.kernels.index import Index, count, place
from ntkscope.kernels.kernel import Kernel

_FORMAT = "ntkscope-kernel-2"
_TILE = 960  # rows and columns of a chunk
_PROBE = 8  # rows and columns of a tile that tells one kernel from another, beside its diagonal


class StoredKernel(Kernel):
    """A kernel that :func:`save_kernel` wrote; every tile is read, and checked, when it is asked for.

    Its numbers are those that were stored, and its error bound is the one of the kernel that wrote
    them.
    """

    kept = True

    def __init__(self, path: Path, array: Any, about: dict[str, Any]) -> None:
        self.grain = int(array.chunks[0])
        self.path, self._array, self._about = path, array, about
        self._dtype = torch.float64 if array.dtype == np.float64 else torch.float32
        self.name, self.covers = about["name"], about["covers"]
        self.labels = tuple(about["labels"])
        self.n_parameters, self.near_kinks = about["n_parameters"], about["near_kinks"]
        self.summed = about.get("summed", 1)

    @property
    def shape(self) -> tuple[int, int]:
        n, m = self._array.shape
        return int(n), int(m)

    @property
    def dtype(self) -> torch.dtype:
        return self._dtype

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    @property
    def symmetric(self) -> bool:
        return bool(self._about["symmetric"])

    @property
    def semidefinite(self) -> bool:
        return bool(self._about["semidefinite"])

    def entry_error(self) -> float:
        return float(self._about["entry_error"])

    def forming_error(self) -> float:
        own = self._about["forming_error"]
        return super().forming_error() if own is None else float(own)

    def __repr__(self) -> str:
        return f"StoredKernel({str(self.path)!r}, shape={self.shape}, dtype={self.dtype})"

    def tile(self, rows: Index, cols: Index) -> Tensor:
        r, c = (place(i, n, self.device) for i, n in zip((rows, cols), self.shape, strict=True))
        out = torch.empty(count(r), count(c), dtype=self.dtype)
        for at, i in _chunks_of(r, self._array.chunks[0]):
            for to, j in _chunks_of(c, self._array.chunks[1]):
                left, right = _inside(r, at, i), _inside(c, to, j)
                _put(out, at, to, self._chunk(i, j)[left][:, right])
        return out

    def to(
        self, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> Kernel:
        longer = dtype == torch.float64 and self._dtype == torch.float32
        if not longer or torch.device(device or "cpu").type != "cpu":
            return super().to(dtype, device)
        made = copy.copy(self)  # what is stored, in products that round less
        made._dtype = torch.float64
        return made

    def matmul(self, V: Tensor) -> Tensor:
        """K V, every stored tile read once."""
        (N, M), (n, m) = self.shape, self._array.chunks
        out = torch.zeros(N, V.shape[1], dtype=self.dtype)
        for i in range(0, N, n):
            for j in range(0, i + 1 if self.symmetric else M, m):
                chunk = self._chunk(i, j)
                out[i : i + n] += chunk @ V[j : j + m]
                if self.symmetric and j < i:
                    out[j : j + m] += chunk.T @ V[i : i + n]
        return out

    def _diagonal(self) -> Tensor:
        return torch.cat([self._chunk(i, i).diagonal() for i in range(0, len(self), self.grain)])

    def _chunk(self, i: int, j: int) -> Tensor:
        """The chunk from row i and column j on, as it is in the matrix."""
        if self.symmetric and j > i:
            return self._chunk(j, i).T
        n, m = self._array.chunks
        file = _chunk_file(self.path, i // n, j // m)
        if not file.exists():  # Zarr takes it for one of NaN
            raise FileNotFoundError(
                f"{str(self.path)!r}: the tile at ({i}, {j}) is missing, its chunk {file}; store the "
                "kernel again: the other tiles are kept"
            )
        try:
            read = self._array[i : i + n, j : j + m]
        except (ValueError, OSError) as error:
            raise OSError(
                f"{str(self.path)!r}: the tile at ({i}, {j}) cannot be read ({error}); remove its "
                f"chunk {file} and store the kernel again: the other tiles are kept"
            ) from error
        made = torch.from_numpy(read).to(self._dtype)
        if not self.symmetric or i != j:
            return made
        return torch.tril(made) + torch.tril(made, -1).T


def save_kernel(
    K: Kernel,
    path: str | Path,
    *,
    tile: int = _TILE,
    progress: Callable[[float], None] | None = None,
) -> StoredKernel:
    """Write a kernel to the folder ``path`` (``"k.zarr"``), a tile at a time.

    Interrupted at any moment, the same call goes on with the tiles that are missing or damaged.

    Parameters
    ----------
    K: any kernel, float64 or float32.
    tile: rows and columns of a chunk, of a new store.
    progress: called with the share that is done.
    path: the folder.

    Returns
    -------
    StoredKernel that reads what was written.

    Raises
    ------
    ValueError
        Where ``path`` holds another kernel or something else, and for a tile size out of range.
    OSError
        Where the disk is full or cannot be written; what was written stays.
    """
    if isinstance(tile, bool) or not 16 <= tile <= 16384:
        raise ValueError(f"tile must be within 16 … 16384, got {tile}")
    folder, begun = Path(path), time.time()
    about = _description(K)
    array = _existing(folder, about) if folder.exists() else _created(folder, K, about, tile)
    n, m = array.chunks
    places = [
        (i, j)
        for i in range(0, K.shape[0], n)
        for j in range(0, i + 1 if K.symmetric else K.shape[1], m)
    ]
    for done, (i, j) in enumerate(places):
        if not _is_whole(array, folder, i, j):
            made = K.tile(slice(i, min(i + n, K.shape[0])), slice(j, min(j + m, K.shape[1])))
            array[i : i + n, j : j + m] = made.cpu().numpy()
        if progress is not None:
            progress((done + 1) / len(places))
    array.attrs["complete"] = True
    _tidy(folder, begun)
    return load_kernel(folder)


def load_kernel(path: str | Path) -> StoredKernel:
    """The kernel in a folder that :func:`save_kernel` wrote.

    Parameters
    ----------
    path: the folder.

    Returns
    -------
    StoredKernel, which reads its tiles as they are asked for.

    Raises
    ------
    FileNotFoundError
        Where there is none.
    ValueError
        For another kind or version of store, and one that was not finished.
    """
    folder = Path(path)
    if not folder.exists():
        raise FileNotFoundError(f"no kernel at {str(folder)!r}")
    array, about = _opened(folder)
    if not array.attrs.get("complete"):
        raise ValueError(
            f"{str(folder)!r} was not finished; store the kernel again, which resumes the work"
        )
    return StoredKernel(folder, array, about)


def _description(K: Kernel) -> dict[str, Any]:
    """What the store says of the kernel, with what tells it from another one."""
    generator = torch.Generator().manual_seed(0)
    rows, cols = (torch.randint(n, (_PROBE,), generator=generator) for n in K.shape)
    seen = K.diagonal() if K.symmetric else torch.zeros(0)
    digest = hashlib.sha256()
    for part in (seen, K.tile(rows, cols)):
        digest.update(part.cpu().numpy().tobytes())
    return {
        "format": _FORMAT, "ntkscope": __version__, "shape": list(K.shape),
        "dtype": str(K.dtype).removeprefix("torch."), "symmetric": K.symmetric,
        "semidefinite": K.semidefinite, "name": K.name, "covers": K.covers,
        "labels": list(K.labels), "n_parameters": K.n_parameters, "near_kinks": K.near_kinks,
        "entry_error": K.entry_error(),
        "forming_error": K.forming_error() if K.symmetric else None, "digest": digest.hexdigest(),
        **({"summed": K.summed} if K.summed > 1 else {}),
    }  # fmt: skip


def _created(folder: Path, K: Kernel, about: dict[str, Any], tile: int) -> Any:
    if K.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"kernels are stored in float32 or float64, got {K.dtype}")
    with needs("store"):
        import zarr
        from zarr.codecs import Crc32cCodec
    folder.parent.mkdir(parents=True, exist_ok=True)
    nbytes = K.nbytes_dense // (2 if K.symmetric else 1)
    free = shutil.disk_usage(folder.parent).free
    if nbytes > free:
        raise OSError(
            f"the kernel takes {human(nbytes)} on disk, and {human(free)} are free at "
            f"{str(folder.parent)!r}; store K.to(torch.float32), or on another disk"
        )
    sides = [min(tile, n) for n in K.shape]
    # tiles of a symmetric kernel are square, so that a transposed one has its mirror's place
    sides = [max(sides)] * 2 if K.symmetric else sides
    return zarr.create_array(
        store=str(folder), shape=K.shape, chunks=tuple(sides), dtype=about["dtype"],
        compressors=[Crc32cCodec()], fill_value=math.nan,
        attributes={"kernel": about, "sha256": _checksum(about)},
        config={"write_empty_chunks": True},
    )  # fmt: skip


def _existing(folder: Path, about: dict[str, Any]) -> Any:
    array, found = _opened(folder, writable=True)
    different = [k for k in about if k not in ("ntkscope",) and found.get(k) != about[k]]
    if different:
        raise ValueError(
            f"{str(folder)!r} holds another kernel (its {', '.join(different)} differ; other versions or "
            "numbers of threads may change the last bits); give another path"
        )
    return array


def _opened(folder: Path, writable: bool = False) -> tuple[Any, dict[str, Any]]:
    with needs("store"):
        import zarr
    try:
        array = zarr.open_array(str(folder), mode="r+" if writable else "r")
        about: Any = array.attrs["kernel"]
    except Exception as error:  # Zarr's own come in many types
        raise ValueError(f"{str(folder)!r} is no stored kernel: {error}") from error
    if not isinstance(about, dict) or about.get("format") != _FORMAT:
        found = about.get("format") if isinstance(about, dict) else about
        raise ValueError(
            f"{str(folder)!r} is a kernel of the format {found!r}, this ntkscope reads {_FORMAT!r}"
        )
    whole = _checksum(about) == array.attrs.get("sha256")
    if not whole or list(array.shape) != about["shape"] or str(array.dtype) != about["dtype"]:
        raise ValueError(
            f"{str(folder)!r}: what zarr.json says of the kernel was damaged; remove the folder and store the kernel again"
        )
    return array, about


def _checksum(about: dict[str, Any]) -> str:
    """Of what is said of the kernel; its tiles have their own."""
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def _is_whole(array: Any, folder: Path, i: int, j: int) -> bool:
    """Whether a chunk is there, and is what was written."""
    n, m = array.chunks
    file = _chunk_file(folder, i // n, j // m)
    if not file.exists():
        return False
    try:
        array[i : i + n, j : j + m]
    except (ValueError, OSError):
        os.unlink(file)
        return False
    return True


def _tidy(folder: Path, before: float) -> None:
    """Remove what a killed run had begun to write; what another run writes now is younger."""
    for file in folder.rglob("*.partial"):
        if file.stat().st_mtime < before:
            file.unlink(missing_ok=True)


def _chunk_file(folder: Path, i: int, j: int) -> Path:
    return folder / "c" / str(i) / str(j)


def _chunks_of(index: slice | Tensor, size: int) -> Iterator[tuple[slice | Tensor, int]]:
    """(places in the answer, first row) of every chunk that an index touches."""
    if isinstance(index, slice):
        for start in range(index.start - index.start % size, index.stop, size):
            low, high = max(start, index.start), min(start + size, index.stop)
            yield slice(low - index.start, high - index.start), start
        return
    for number in torch.unique(index // size).tolist():
        yield torch.nonzero(index // size == number)[:, 0], number * size


def _inside(index: slice | Tensor, at: slice | Tensor, start: int) -> slice | Tensor:
    """The same places, counted from the chunk's first row."""
    if isinstance(index, slice) and isinstance(at, slice):
        return slice(index.start + at.start - start, index.start + at.stop - start)
    assert isinstance(index, Tensor)
    return index[at] - start


def _put(out: Tensor, rows: slice | Tensor, cols: slice | Tensor, values: Tensor) -> None:
    if isinstance(rows, slice) or isinstance(cols, slice):
        out[rows, cols] = values
    else:
        out[rows[:, None], cols] = values
