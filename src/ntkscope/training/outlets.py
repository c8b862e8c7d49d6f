"""Where a tracker's measurements go, one after another: a table on disk, a writer of scalars."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

Row = dict[str, float]


@runtime_checkable
class Outlet(Protocol):
    """Takes measurements in their order."""

    def add(self, row: Row) -> None:
        """One more."""


def write_rows(path: Path, rows: list[Row], anew: bool) -> Path:
    """Add ``rows`` to a CSV file, or begin it with their names."""
    with path.open("w" if anew else "a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        if anew:
            writer.writeheader()
        writer.writerows(rows)
    return path


class Rows:
    """A CSV file, begun anew with the first row."""

    def __init__(self, path: Path) -> None:
        self._path, self._begun = path, False

    def add(self, row: Row) -> None:
        """Raises OSError where the file cannot be written."""
        write_rows(self._path, [row], anew=not self._begun)
        self._begun = True


class Scalars:
    """A writer with ``add_scalar(tag, value, step)``; numbers that are not finite are left out.

    Raises TypeError for a writer without that method.
    """

    def __init__(self, writer: Any) -> None:
        if not callable(getattr(writer, "add_scalar", None)):
            raise TypeError(
                "writer needs add_scalar(tag, value, step), as torch.utils.tensorboard.SummaryWriter "
                f"has, got {type(writer).__name__}"
            )
        self._writer = writer

    def add(self, row: Row) -> None:
        """Raises what the writer raises."""
        for name, value in row.items():
            if name != "step" and math.isfinite(value):
                self._writer.add_scalar(f"ntk/{name}", value, int(row["step"]))
