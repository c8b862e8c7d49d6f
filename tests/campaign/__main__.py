"""Try what a careless or a hostile user would, and count what held.

    python -m campaign [--minutes M] [--seed S] [--part PART ...] [--out FILE]

The parts run until their share of the time is up, in an order drawn from the seed. The exit code is
1 where something did not hold; every such case is printed as it is found.
"""

from __future__ import annotations

import argparse
import importlib
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from campaign import commands, flips, fuzz, kills, runs
from ntkscope.cli.main import COMMANDS

Case = tuple[str, Callable[[], list[str]]]  # what is tried, and what was wrong with it


def _of_commands(draw: random.Random, folder: Path) -> Iterator[Case]:
    """Every bad value of every option, once each."""
    home = folder / "files"
    home.mkdir()
    commands.prepare(home)
    drawn = list(commands.cases())
    draw.shuffle(drawn)
    for number, case in enumerate(drawn):
        yield str(case), lambda case=case, number=number: _command(case, home, folder / str(number))


def _command(case: commands.Case, files: Path, home: Path) -> list[str]:
    shutil.copytree(files, home, symlinks=True)
    try:
        ended = runs.run(case.arguments, home)
        shown = ended.said.strip().splitlines()
        return [f"{f} [{shown[-1][:200] if shown else ''}]" for f in ended.faults(case.must_refuse)]
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _of_kills(draw: random.Random, folder: Path) -> Iterator[Case]:
    jobs = [kills.Killing(job, folder) for job in kills.JOBS]
    for number in range(10**9):
        job, own = draw.choice(jobs), random.Random(draw.random())
        yield job.job.name, lambda job=job, own=own, n=number: job.once(own, f"kill-{n}")


def _of_flips(draw: random.Random, folder: Path) -> Iterator[Case]:
    stores = [flips.Flipping(store, folder) for store in flips.STORES]
    for number in range(10**9):
        store, own = draw.choice(stores), random.Random(draw.random())
        yield store.store.name, lambda store=store, own=own, n=number: store.once(own, f"flip-{n}")


def _of_fuzz(draw: random.Random, _: Path) -> Iterator[Case]:
    while True:
        what, faults = fuzz.once(draw)
        yield what, lambda faults=faults: faults


PARTS = {"commands": _of_commands, "kills": _of_kills, "flips": _of_flips, "fuzz": _of_fuzz}


def tried(name: str, seed: int, seconds: float, most: int | None = None) -> tuple[int, list[str]]:
    """How many cases of one part were tried, and those that did not hold."""
    for module, _ in COMMANDS.values():
        importlib.import_module(module)  # once, for all forks
    until, count, broken = time.monotonic() + seconds, 0, []
    with tempfile.TemporaryDirectory() as folder:
        for what, once in PARTS[name](random.Random(seed), Path(folder)):
            faults = once()
            count += 1
            if faults:
                broken.append(f"{name}: {what}: {'; '.join(faults)}")
                print(broken[-1], flush=True)
            if time.monotonic() > until or count == most:
                break
    return count, broken


def main() -> int:
    """Run the parts asked for and print the table."""
    asked = argparse.ArgumentParser(prog="campaign")
    asked.add_argument("--minutes", type=float, default=60.0)
    asked.add_argument("--seed", type=int, default=0)
    asked.add_argument("--part", action="append", choices=list(PARTS))
    asked.add_argument("--out", type=Path)
    given = asked.parse_args()
    names = given.part or list(PARTS)
    found = {n: tried(n, given.seed, 60.0 * given.minutes / len(names)) for n in names}
    print(f"{'part':12s}{'tried':>8s}{'held':>8s}")
    for name, (count, broken) in found.items():
        print(f"{name:12s}{count:8d}{count - len(broken):8d}")
    if given.out:
        record = {n: {"tried": c, "broken": b} for n, (c, b) in found.items()}
        given.out.write_text(json.dumps({"seed": given.seed, **record}, indent=1) + "\n")
    return int(any(broken for _, broken in found.values()))


if __name__ == "__main__":
    sys.exit(main())
