"""Make each change of the lists beside this file in a copy of the tree and run its tests there.

    python -m mutants [-j PROCESSES] [WORD ...]

A change is ``name``, ``file``, ``old`` (which must occur exactly once), ``new`` and ``tests``; WORDs
keep those whose name, file or tests contain one. The tests must pass before the change and one must
fail after it. The exit code is 1 where a change survives, where its text is gone, or where a test
fails without it.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("src", "tests", "pyproject.toml")
# imported once, for all the processes that are forked from this one
SHARED = ("hypothesis", "scipy.linalg", "scipy.optimize", "scipy.sparse.linalg", "scipy.special",
          "scipy.stats", "torch.optim", "mpmath", "flint", "jaxtyping")  # fmt: skip


@dataclass(frozen=True)
class Mutation:
    """One wrong change: in ``file``, ``old`` becomes ``new``. Without a file: no change at all."""

    name: str
    tests: tuple[str, ...]
    file: str = ""
    old: str = ""
    new: str = ""

    def __str__(self) -> str:
        return " ".join((self.name, self.file, *self.tests))

    def apply(self, root: Path) -> None:
        """Write the change. Raises ValueError where ``old`` is not there exactly once."""
        if not self.file:
            return
        path = root / self.file
        text = path.read_text()
        if text.count(self.old) != 1 or self.old == self.new:
            raise ValueError(f"{self.file} holds {self.old!r} {text.count(self.old)} times, not 1")
        path.write_text(text.replace(self.old, self.new))


class _Failed:
    """A pytest plugin that remembers which tests failed."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.names.append(report.nodeid.removeprefix("tests/"))


def read(words: Sequence[str]) -> list[Mutation]:
    """The changes of every list, those that contain one of the words."""
    entries = [
        entry
        for path in sorted(Path(__file__).parent.glob("*.toml"))
        for entry in tomllib.loads(path.read_text())["mutation"]
    ]
    made = [Mutation(**{**e, "tests": tuple(e["tests"])}) for e in entries]
    return [m for m in made if not words or any(w in str(m) for w in words)]


def run(mutation: Mutation) -> tuple[Mutation, str, list[str], float]:
    """("killed", "survived" or an error; the tests that failed; seconds)."""
    begin, failed, heard = time.perf_counter(), _Failed(), io.StringIO()
    # without the run-time type checks of the other test runs, which cost most of the time
    options = ["-q", "-o", "addopts=", "-p", "no:cacheprovider", "--timeout=300"]
    options += ["-x"] * bool(mutation.file)
    with tempfile.TemporaryDirectory(prefix="ntkscope-mutant-") as folder:
        root = Path(folder)
        for part in PARTS:
            copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy2
            copy(ROOT / part, root / part)
        os.chdir(root)
        try:
            mutation.apply(root)
        except ValueError as error:
            return mutation, str(error), [], 0.0
        with contextlib.redirect_stdout(heard), contextlib.redirect_stderr(heard):
            tests = [f"tests/{test}" for test in mutation.tests]
            code = pytest.main([*options, *tests], plugins=[failed])
        os.chdir(ROOT)
    words = {0: "survived", 1: "killed"}.get(int(code), f"pytest ended with {code!r}")
    if code not in (0, 1):
        words += ": " + " ".join(heard.getvalue().split())[-300:]
    return mutation, words, failed.names, time.perf_counter() - begin


def judged(mutations: list[Mutation], processes: int) -> Iterator[str]:
    """Run them, say what became of each, and yield what is wrong."""
    files = sorted({test.partition("::")[0] for m in mutations for test in m.tests})
    named = [sorted({t for m in mutations for t in m.tests if t.startswith(f)}) for f in files]
    untouched = [Mutation("unchanged", tuple(tests)) for tests in named]
    context = multiprocessing.get_context("fork")
    with context.Pool(processes, maxtasksperchild=1) as pool:
        for done in pool.imap_unordered(run, [*untouched, *mutations], chunksize=1):
            mutation, words, failed, seconds = done
            right = words == ("killed" if mutation.file else "survived")
            label = words if mutation.file or not right else "passes"
            by = (failed or mutation.tests)[0]
            print(f"{label:<9}{seconds:6.1f} s  {mutation.name}  [{by}]", flush=True)
            if not right:
                yield f"{mutation.name} ({mutation.file or by}): {words}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m mutants", description=__doc__)
    parser.add_argument("-j", type=int, default=2, help="processes (default 2)")
    parser.add_argument("words", nargs="*", help="only changes that contain one of these")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for name in SHARED:
        importlib.import_module(name)
    mutations = read(asked.words)
    wrong = list(judged(mutations, asked.j))
    print(f"\n{len(mutations)} changes, {len(wrong)} not as they should be", *wrong, sep="\n  ")
    return 1 if wrong or not mutations else 0


if __name__ == "__main__":
    sys.exit(main())
