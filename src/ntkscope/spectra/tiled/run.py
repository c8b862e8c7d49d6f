"""λ_min by tiles; a killed run resumes."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from ntkscope.engines.engine import Engine
from ntkscope.engines.pool import pool
from ntkscope.spectra.progress import Callback
from ntkscope.spectra.solvers import dense
from ntkscope.spectra.solvers.dense import Ends, Pairs
from ntkscope.spectra.storage.source import Source
from ntkscope.spectra.tiled.tiles import Tiles, tile_width

_ABOUT, _PAIRS = "run.json", "pairs.npz"
_PARTIAL = ("run.part", "partial-pairs.npz")  # of a run that was killed while it wrote them


def lowest_by_tiles(
    source: Source,
    engine: Engine,
    folder: str | Path | None,
    *,
    certify: bool,
    callback: Callback | None,
    width: int | None = None,
) -> Ends:
    """The smallest eigenvalue with bounds; the factors are in ``folder``, or in a temporary one.

    Raises
    ------
    ValueError
        For a folder of another kernel, and a kernel that cannot be sent to workers.
    OSError
        For a damaged tile, a full disk or a lost cluster; finished tiles stay in ``folder``.
    """
    threads = torch.get_num_threads()
    with _place(folder, source) as root, pool(engine, source.n, threads) as workers:
        tiles = Tiles(
            source.n, root, workers, width or tile_width(source.n, source.grain), engine.device
        )
        elsewhere = source.device.type != "cpu" or engine.device != "cpu"
        steps = dense.Engine(source, tiles, callback, afterwards=elsewhere, small=0)
        pairs = _kept(root / _PAIRS)
        if pairs is None:
            pairs = steps.pairs(1)
            _keep(root / _PAIRS, pairs)
        return steps.enclose(pairs, 1, certify=certify)


@contextlib.contextmanager
def _place(folder: str | Path | None, source: Source) -> Iterator[Path]:
    """The folder, for this kernel alone; its tiles are removed after a successful run."""
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="ntkscope-", ignore_cleanup_errors=True) as made:
            yield Path(made)
        return
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    about = root / _ABOUT
    digest = source.digest
    if about.exists() and json.loads(about.read_text()).get("digest") != digest:
        raise ValueError(
            f"{str(root)!r} holds the factor of another kernel; give another folder, or remove it"
        )
    if not about.exists() and any(f.name not in _PARTIAL for f in root.iterdir()):
        raise ValueError(f"{str(root)!r} is not empty and holds no factor; give another folder")
    _write(about, json.dumps({"digest": digest, "n": source.n}).encode())
    with _alone(root):
        yield root
        for factor in root.glob("factor-*"):
            shutil.rmtree(factor, ignore_errors=True)  # a task that was dropped may still write
        for name in (_PAIRS, *_PARTIAL, _ABOUT):
            (root / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        root.rmdir()


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[None]:
    """One run at a time in a folder; the system releases the lock when a run is killed."""
    handle = os.open(root, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise OSError(
            error.errno,
            "another run is at work in this folder; wait for it, or give another",
            str(root),
        ) from error
    try:
        yield
    finally:
        os.close(handle)


def _write(file: Path, content: bytes) -> None:
    partial = file.with_suffix(".part")
    partial.write_bytes(content)
    os.replace(partial, file)


def _keep(file: Path, pairs: Pairs) -> None:
    about = {**asdict(pairs), "vectors": None}
    partial = file.with_name("partial-" + file.name)
    np.savez(partial, vectors=pairs.vectors.numpy(), about=np.array(json.dumps(about)))
    os.replace(partial, file)


def _kept(file: Path) -> Pairs | None:
    """The stored pairs of an earlier run; a damaged file counts as missing."""
    if not file.exists():
        return None
    try:
        with np.load(file, allow_pickle=False) as found:
            about = json.loads(str(found["about"]))
            return Pairs(**{**about, "vectors": torch.from_numpy(found["vectors"])})
    except (zipfile.BadZipFile, ValueError, KeyError, OSError):
        file.unlink()
        return None
