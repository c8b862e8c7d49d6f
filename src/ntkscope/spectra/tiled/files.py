"""Tiles in files: each written whole and once, each with a checksum that is compared at every reading.

Every step's result has a name of its own, and the first file written under it stays. So a task that runs
twice, after its worker seemed dead, does not change a file that others may have read.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import uuid
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

# mark; rows, columns, numbers beside, whether by columns; checks of all, and of what is not values
_HEADER = struct.Struct("<8sqqqqQQQ")
_MARK = b"ntktile2"
FORMAT = 2
FINISHED = -1


class DamagedTileError(OSError):
    """A file that differs from what was written."""


@dataclass(frozen=True)
class Tile:
    """A tile with ‖A_ij‖_F and, on the diagonal, the diagonal of A."""

    values: Tensor
    beside: Tensor


def tile_file(folder: Path, i: int, j: int, products: int = FINISHED) -> Path:
    """The file of tile (i, j) after a number of subtracted products, or finished."""
    state = "L" if products == FINISHED else str(products)
    return folder / f"{i}-{j}-{state}.tile"


def write_tile(file: Path, tile: Tile) -> None:
    """Write a tile unless it exists. Raises OSError if the disk is full."""
    values, beside = tile.values, tile.beside.contiguous().numpy()
    by_columns = (
        values.T.is_contiguous()
    )  # as LAPACK leaves them: to transpose takes as long as to write
    numbers = (values.T if by_columns else values.contiguous()).numpy()
    layout = [*values.shape, len(beside), int(by_columns)]
    small, _ = _checks(layout, beside)
    head = _HEADER.pack(_MARK, *layout, *_checks(layout, numbers, beside), small)
    partial = file.with_name(f"{file.name}.{uuid.uuid4().hex}.part")
    try:
        with open(partial, "wb") as out:
            out.write(head)
            out.write(numbers.data)
            out.write(beside.data)
        with contextlib.suppress(FileExistsError):
            os.link(partial, file)
    finally:
        partial.unlink(missing_ok=True)


def read_tile(file: Path) -> Tile:
    """A tile as it was written, copied into memory only where it is changed.

    Raises DamagedTileError if the file differs from what was written.
    """
    with open(file, "rb") as source:
        size = os.fstat(source.fileno()).st_size
        if size <= _HEADER.size:
            raise DamagedTileError(_damage(file))
        data = mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_COPY)
    mark, *layout, either, total, _ = _HEADER.unpack_from(data)
    rows, columns, extra, by_columns = layout
    if mark != _MARK or size != _HEADER.size + 8 * (rows * columns + extra):
        raise DamagedTileError(_damage(file))
    numbers = np.frombuffer(data, dtype=np.float64, offset=_HEADER.size)
    if _checks(layout, numbers) != (either, total):
        raise DamagedTileError(_damage(file))
    made = torch.from_numpy(numbers)
    values = made[: rows * columns]
    values = values.view(columns, rows).T if by_columns else values.view(rows, columns)
    return Tile(values, made[rows * columns :])


def read_beside(file: Path) -> Tensor:
    """The norm and diagonal of a tile, without its values."""
    with open(file, "rb") as source:
        head = source.read(_HEADER.size)
        if len(head) < _HEADER.size:
            raise DamagedTileError(_damage(file))
        mark, *layout, _, _, small = _HEADER.unpack(head)
        rows, columns, extra, _ = layout
        size = _HEADER.size + 8 * (rows * columns + extra)
        if mark != _MARK or os.fstat(source.fileno()).st_size != size:
            raise DamagedTileError(_damage(file))
        source.seek(-8 * extra, os.SEEK_END)
        beside = np.frombuffer(source.read(), dtype=np.float64).copy()
    if _checks(layout, beside)[0] != small:
        raise DamagedTileError(_damage(file))
    return torch.from_numpy(beside)


def _damage(file: Path) -> str:
    return (
        f"the tile in {str(file)!r} is damaged, or was cut short; remove the file and run the same "
        "again: tiles that do not depend on it are kept"
    )


def _checks(layout: list[int], *parts: npt.NDArray[np.float64]) -> tuple[int, int]:
    """Exclusive or and sum of the layout and the 64-bit words: any flipped bit changes the first.

    They run at the speed of memory. A CRC would take a fifth of the time of a product of two tiles.
    """
    either, total = 0, 0
    for part in (np.array(layout, dtype=np.int64), *parts):
        words = part.reshape(-1).view(np.uint64)
        either ^= int(np.bitwise_xor.reduce(words))
        total += int(words.sum(dtype=np.uint64))
    return either, total % 2**64


def found_in(folder: Path) -> dict[tuple[int, int], set[int]]:
    """(i, j) → the states of the tiles in a folder; unfinished files are removed."""
    states: dict[tuple[int, int], set[int]] = {}
    for file in folder.iterdir():
        if file.suffix == ".part":
            file.unlink(missing_ok=True)
        elif file.suffix == ".tile":
            i, j, state = file.stem.split("-")
            products = FINISHED if state == "L" else int(state)
            states.setdefault((int(i), int(j)), set()).add(products)
    return states
