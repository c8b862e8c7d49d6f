"""Where the tiled way works."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from ntkscope.engines.engine import Engine


@dataclass(frozen=True)
class Place:
    """Where the tiled way works: the engine of its workers, and the folder of its tiles."""

    engine: Engine | None = None
    folder: str | Path | None = None

    @property
    def asked(self) -> bool:
        return self.engine is not None or self.folder is not None

    @property
    def workers(self) -> Engine:
        """The engine; this process if none was given."""
        return Engine(workers=0) if self.engine is None else self.engine

    @property
    def disk(self) -> Path:
        """The folder, or the nearest one above it that exists."""
        wanted = Path(tempfile.gettempdir() if self.folder is None else self.folder).absolute()
        return next(p for p in (wanted, *wanted.parents) if p.is_dir())
