"""A command line in a forked process: what it said, how it ended, what it left behind."""

from __future__ import annotations

import contextlib
import io
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SECONDS = 30.0
_MEMORY = 12 << 30  # of addresses: torch alone takes five
_ESCAPE = "\x1b"


@dataclass(frozen=True)
class Run:
    """code: the exit code, negative for a signal, None where the time was up. said: all output."""

    arguments: tuple[str, ...]
    code: int | None
    said: str
    seconds: float
    left: tuple[str, ...]

    def faults(self, must_refuse: bool = False) -> list[str]:
        """What is wrong with it, whatever was asked of it."""
        found = []
        if self.code is None:
            found.append(f"no end after {SECONDS:.0f} s")
        elif self.code not in (0, 1, 2, 3):
            found.append(f"exit code {self.code}")
        if "Traceback (most recent call last)" in self.said:
            found.append("traceback")
        if _ESCAPE in self.said:
            found.append("escape sequence in the output")
        if self.code == 2:
            lines = [line for line in self.said.splitlines() if line.startswith("ntkscope:")]
            if len(lines) != 1:
                found.append(f"{len(lines)} lines of refusal")
            elif len(lines[0]) > 2000:
                found.append(f"a refusal of {len(lines[0])} characters")
        if must_refuse and self.code == 0:
            found.append("accepted")
        half = [name for name in self.left if name.endswith((".part", ".tmp"))]
        if half:
            found.append(f"left {', '.join(half)}")
        return found


def run(arguments: Sequence[str], folder: Path, seconds: float = SECONDS) -> Run:
    """Run ``ntkscope`` with ``arguments`` in ``folder``, in a fork of this process."""
    before = set(_files(folder))
    begin = time.monotonic()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        become(arguments, folder, writing)
    os.close(writing)
    said, code = _follow(child, reading, begin + seconds)
    os.close(reading)
    left = tuple(sorted(set(_files(folder)) - before))
    return Run(tuple(arguments), code, said, time.monotonic() - begin, left)


def become(arguments: Sequence[str], folder: Path, writing: int) -> None:
    """In the child: never returns."""
    code = 70
    try:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(writing, 1)
        os.dup2(writing, 2)
        os.chdir(folder)
        sys.stdout, sys.stderr = (
            io.TextIOWrapper(io.FileIO(n, "w"), "utf-8", "replace", write_through=True)
            for n in (1, 2)
        )
        from ntkscope.cli.main import main

        try:
            main(list(arguments))
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        except BaseException:
            import traceback

            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _follow(child: int, reading: int, until: float) -> tuple[str, int | None]:
    """Read what it says until it ends or its time is up; a session of its own is killed whole."""
    pieces: list[bytes] = []
    code: int | None = None
    while True:
        left = until - time.monotonic()
        ready = select.select([reading], [], [], max(0.0, left))[0]
        if not ready:
            os.kill(child, signal.SIGKILL)
            with contextlib.suppress(ProcessLookupError):  # it may have no session of its own yet
                os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            break
        piece = os.read(reading, 1 << 16)
        if piece:
            pieces.append(piece)
            continue
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        break
    return b"".join(pieces)[: 1 << 20].decode("utf-8", "replace"), code


def _files(folder: Path) -> list[str]:
    return [str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()]
