"""A file that is written whole or not at all."""

from __future__ import annotations

import errno
import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


def no_file(path: Path) -> str:
    """Why a file cannot take the place of ``path``, links followed; empty where one can."""
    if path.is_dir():
        return "a folder stands there"
    stream = path.is_symlink() and os.readlink(path).startswith("/proc/")  # /dev/stdout
    if stream or (path.exists() and not path.is_file()):
        return "a device, a pipe or a stream stands there"
    return ""


@contextmanager
def whole(path: str | Path) -> Iterator[IO[bytes]]:
    """A binary file that takes the place of ``path`` when the block ends without an error.

    It is written under a name of its own beside ``path``, whatever stands at that name, a link
    included; an error or an interrupt removes it and leaves an older file as it was. Raises
    OSError, also where ``path`` is a device, a pipe or a folder, whose place no file can take.
    """
    target = Path(path)
    if reason := no_file(target):
        raise OSError(errno.EINVAL, reason, str(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    partial = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        partial.chmod(0o666 & ~umask)
        partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def save_figure(figure: Any, path: str | Path) -> None:
    """A matplotlib figure at 150 dots an inch, as the ending of ``path`` says, whole or not at all.

    A style that sets ``savefig.dpi`` is followed. Fonts go into a PDF as TrueType: venues refuse Type 3.
    Raises ValueError for an ending that matplotlib does not write, OSError.
    """
    with whole(path) as file:
        file.write(figure_bytes(figure, Path(path).suffix.removeprefix(".")))


def figure_bytes(figure: Any, kind: str) -> bytes:
    """The same as bytes of the format ``kind``, such as "pdf". Raises ValueError for others."""
    import matplotlib as mpl

    asked, file = mpl.rcParams["savefig.dpi"], io.BytesIO()
    with mpl.rc_context({"pdf.fonttype": 42, "ps.fonttype": 42}):
        dpi = 150 if asked == "figure" else asked
        figure.savefig(file, format=kind or None, dpi=dpi)
    return file.getvalue()
