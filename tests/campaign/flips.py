"""A flipped bit in a file that is read back: refused, or nothing of the result changes."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from campaign import runs
from campaign.commands import DATA, SWEEP
from campaign.kills import without_times

_TRAIN = (
    "train", "--data", DATA, "--widths", "4,6,1", "--targets", "random", "--checkpoint-every", "5",
    "--out", "trained",
)  # fmt: skip


@dataclass(frozen=True)
class Store:
    """How files are made in an empty folder, which they are, and what is read of them."""

    name: str
    make: tuple[tuple[str, ...], ...]
    files: str
    read: tuple[str, ...]
    result: Callable[[Path, runs.Run], object]


def _exported(folder: Path, _: runs.Run) -> object:
    return (folder / "table.csv").read_text()


def _said(_: Path, ended: runs.Run) -> object:
    return without_times(json.loads(ended.said))


def _trained(folder: Path, _: runs.Run) -> object:
    return without_times(json.loads((folder / "trained" / "result.json").read_text()))


STORES = [
    Store(
        "sweep", (("sweep", "run", "sweep.toml", "--out", "swept", "--quiet", "--workers", "0"),),
        "swept/**/*", ("sweep", "export", "swept", "--to", "table.csv"), _exported,
    ),
    Store(
        "checkpoint", ((*_TRAIN, "--steps", "20"),), "trained/checkpoint.pt",
        (*_TRAIN, "--steps", "20", "--resume"), _trained,
    ),
    Store(
        "kernel",
        (("kernel", "--data", "gaussian:N=40,d=6", "--widths", "6,20,1", "--tile", "16", "--out",
          "made.zarr"),),
        "made.zarr/**/*", ("eig", "made.zarr", "--json"), _said,
    ),
]  # fmt: skip


class Flipping:
    """A store with what is read of it when it is whole."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store, self.folder = store, folder
        self.home = folder / f"whole-{store.name}"
        self.home.mkdir()
        (self.home / "sweep.toml").write_text(SWEEP)
        for line in store.make:
            made = runs.run(line, self.home)
            if made.code != 0:
                raise RuntimeError(f"{store.name} cannot be made: {made.said}")
        home = folder / f"read-{store.name}"
        shutil.copytree(self.home, home)
        whole = runs.run(store.read, home)
        if whole.code != 0:
            raise RuntimeError(f"{store.name} cannot be read: {whole.said}")
        self.expected = store.result(home, whole)

    def once(self, draw: random.Random, name: str) -> list[str]:
        """Flip a bit, or cut a file short, in a copy; say what was taken for good and is not."""
        home = self.folder / name
        shutil.copytree(self.home, home)
        try:
            files = sorted(p for p in home.glob(self.store.files) if p.is_file())
            path = draw.choice([p for p in files if p.stat().st_size])
            content = bytearray(path.read_bytes())
            at = draw.randrange(len(content))
            if draw.random() < 0.15:
                what, content = f"cut at {at}", content[:at]
            else:
                bit = draw.randrange(8)
                what = f"bit {bit} of byte {at}"
                content[at] ^= 1 << bit
            path.write_bytes(bytes(content))
            ended = runs.run(self.store.read, home)
            found = ended.faults()
            if ended.code == 0 and self.store.result(home, ended) != self.expected:
                found.append("another result")
            return [f"{f} ({path.relative_to(home)}, {what})" for f in found]
        finally:
            shutil.rmtree(home)
