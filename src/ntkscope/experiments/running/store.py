"""Where a sweep's rows live: one SQLite file, written by one process, read by any."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import socket
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ntkscope._base.extras import needs
from ntkscope.experiments.running.rows import Row

with needs("sweep"):
    import psutil

FILE = "trials.sqlite"
LOCK = "writer.lock"
VERSION = 2  # 2: a checksum in every row
_APPLICATION = 0x4E544B53  # "NTKS" in the file's header: no other SQLite file is taken for a store
_NETWORK = ("nfs", "cifs", "smb", "lustre", "gpfs", "beegfs", "ceph", "fuse.sshfs", "9p", "afs")

_SCHEMA = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE trials (
  key TEXT PRIMARY KEY,
  seed INTEGER NOT NULL,
  coordinates TEXT NOT NULL,
  results TEXT NOT NULL,
  error TEXT NOT NULL,
  seconds REAL NOT NULL,
  worker TEXT NOT NULL,
  checksum TEXT NOT NULL
);
"""
_INSERT = """
INSERT INTO trials VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE SET
  results = excluded.results, error = excluded.error, seconds = excluded.seconds,
  worker = excluded.worker, checksum = excluded.checksum
WHERE trials.error != ''
"""


class StoreError(ValueError):
    """A file that is no usable store; it is left as it was."""


class StoreBusyError(OSError):
    """Another process is writing to the store."""


class Store:
    """The rows of a sweep in a folder. A finished row is never overwritten, a failed one may be.

    ``Store.open(folder)`` is the writer, of which there is one at a time; ``Store.read(folder)``
    looks on, also while the writer runs.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path, lock: int | None) -> None:
        self._connection, self.path, self._lock = connection, path, lock

    @classmethod
    def open(cls, folder: Path) -> Store:
        """The writer's store, made where there is none.

        Raises StoreBusyError when another process holds it, StoreError for a file of another kind
        or version or a damaged one, OSError where the folder cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        lock = _take_lock(folder)
        path = folder / FILE
        try:
            new = not path.exists() or path.stat().st_size == 0
            with _explained(path):
                connection = sqlite3.connect(path, isolation_level=None)
                store = cls(connection, path, lock)
                if new:
                    _create(connection, path)
                else:
                    _check(connection, path)
                    _journal(connection, path)
        except BaseException:
            os.close(lock)
            raise
        return store

    @classmethod
    def read(cls, folder: Path) -> Store:
        """A view of the store. Raises FileNotFoundError where there is none, StoreError as open."""
        path = folder / FILE
        if not path.exists():
            raise FileNotFoundError(
                f"no sweep in {str(folder)!r}; give the folder that `ntkscope sweep` wrote to"
            )
        with _explained(path):
            connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
            _check(connection, path)
        return cls(connection, path, None)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def insert(self, rows: Iterable[Row]) -> None:
        """Write rows in one transaction. Raises OSError when the disk is full."""
        values = [
            _with_checksum(
                r.key, r.seed, _json(r.coordinates), _json(r.results), r.error, r.seconds, r.worker
            )
            for r in rows
        ]
        with _explained(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._connection.executemany(_INSERT, values)
                self._connection.execute("COMMIT")
            except sqlite3.Error:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def statuses(self) -> dict[str, bool]:
        """key → whether the trial failed, of all that ended."""
        with _explained(self.path):
            found = self._connection.execute("SELECT key, error != '' FROM trials")
            return {key: bool(failed) for key, failed in found}

    def rows(self) -> list[Row]:
        """Every row, ordered by key. Raises StoreError for one that its checksum does not fit."""
        with _explained(self.path):
            found = self._connection.execute("SELECT * FROM trials ORDER BY key").fetchall()
        for row in found:
            if _with_checksum(*row[:-1]) != row:
                raise StoreError(
                    f"{str(self.path)!r}: row {row[0]} is not what was written (its checksum is wrong); "
                    "nothing was changed; delete that row from the table `trials` and run the sweep again"
                )
        return [
            Row(key, seed, json.loads(where), json.loads(results), error, seconds, worker)
            for key, seed, where, results, error, seconds, worker, _ in found
        ]

    def about(self) -> dict[str, Any]:
        """What the store says of itself: the sweep's settings, the versions that made it."""
        with _explained(self.path):
            found = self._connection.execute("SELECT name, value FROM about")
            return {name: json.loads(value) for name, value in found}

    def describe(self, **facts: Any) -> None:
        """Write facts for :meth:`about`."""
        with _explained(self.path):
            self._connection.executemany(
                "INSERT OR REPLACE INTO about VALUES (?, ?)",
                [(name, _json(value)) for name, value in facts.items()],
            )


def _with_checksum(*values: Any) -> tuple[Any, ...]:
    return (*values, hashlib.sha256(_json(values).encode()).hexdigest()[:32])


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _take_lock(folder: Path) -> int:
    handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.pread(handle, 200, 0).decode(errors="replace").strip() or "another process"
        os.close(handle)
        raise StoreBusyError(
            f"{str(folder)!r} is being written by {holder}; wait for it, follow it with "
            "`ntkscope sweep status`, or give another --out"
        ) from None
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
    except OSError:
        os.close(handle)
        raise
    return handle


def _create(connection: sqlite3.Connection, path: Path) -> None:
    _journal(connection, path)
    connection.executescript(
        f"BEGIN; {_SCHEMA} PRAGMA application_id = {_APPLICATION}; "
        f"PRAGMA user_version = {VERSION}; COMMIT;"
    )


def _journal(connection: sqlite3.Connection, path: Path) -> None:
    # WAL shares memory between processes, which network file systems cannot
    network = _file_system(path).startswith(_NETWORK)
    connection.execute(f"PRAGMA journal_mode = {'DELETE' if network else 'WAL'}")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA busy_timeout = 5000")


def _file_system(path: Path) -> str:
    where = path.resolve()
    mounts = [
        (len(p.mountpoint), p.fstype)
        for p in psutil.disk_partitions(all=True)
        if where.is_relative_to(p.mountpoint)
    ]
    return max(mounts)[1] if mounts else ""


def _check(connection: sqlite3.Connection, path: Path) -> None:
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    if application != _APPLICATION:
        raise StoreError(
            f"{str(path)!r} is an SQLite file of another program; nothing was changed; "
            "give another --out"
        )
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version != VERSION:
        raise StoreError(
            f"{str(path)!r} is a sweep store of version {version}, this ntkscope writes version "
            f"{VERSION}; nothing was changed; use the ntkscope that made it, or another --out"
        )
    health = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if health != "ok":
        raise StoreError(_damaged(path, health))


def _damaged(path: Path, why: object) -> str:
    return (
        f"{str(path)!r} is damaged or no sweep store ({why}); nothing was changed; move it away "
        "and run again, or try `sqlite3 FILE .recover` on a copy"
    )


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """SQLite's errors as ours."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise OSError(
            f"cannot use {str(path)!r}: {error}; what was written before is safe: see to the disk "
            "and run the same command again"
        ) from error
    except sqlite3.DatabaseError as error:
        raise StoreError(_damaged(path, error)) from error
