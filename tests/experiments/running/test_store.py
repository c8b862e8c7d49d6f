"""The store keeps what it was given, and says so when it cannot."""

import shutil
import sqlite3
import subprocess
import sys
import textwrap

import pytest

from ntkscope.experiments.running.rows import Row
from ntkscope.experiments.running.store import FILE, Store, StoreBusyError, StoreError


def row(key: str, value: float = 1.0, error: str = "") -> Row:
    return Row(
        key, 0, {"d": 3, "name": "größe"}, {"y": value} if not error else {}, error, 0.5, "w"
    )


def test_rows_come_back_as_they_were(tmp_path):
    values = [0.1, 1e-300, float("inf"), -0.0, 5e-324]
    with Store.open(tmp_path) as store:
        store.insert([row(f"k{i}", v) for i, v in enumerate(values)])
    with Store.read(tmp_path) as store:
        assert [r.results["y"] for r in store.rows()] == values
        assert store.rows()[0].coordinates == {"d": 3, "name": "größe"}


def test_a_finished_row_is_never_overwritten_and_a_failed_one_is(tmp_path):
    with Store.open(tmp_path) as store:
        store.insert([row("a", 1.0), row("b", error="RuntimeError: no")])
        store.insert([row("a", 2.0), row("b", 3.0)])
        assert {r.key: r.results for r in store.rows()} == {"a": {"y": 1.0}, "b": {"y": 3.0}}
        assert store.statuses() == {"a": False, "b": False}


def test_the_second_writer_is_told_and_a_reader_is_not_kept_out(tmp_path):
    with Store.open(tmp_path) as store:
        store.insert([row("a")])
        with pytest.raises(StoreBusyError, match=r"written by process \d+ on"):
            Store.open(tmp_path)
        with Store.read(tmp_path) as reader:
            assert len(reader.rows()) == 1
    Store.open(tmp_path).close()


def snapshot(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name == FILE}


def make(folder):
    with Store.open(folder) as store:
        store.insert([row(f"key-{i:05d}", float(i)) for i in range(2000)])


def older(path):
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 0")
    connection.close()


def foreign(path):
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE mine (x)")
    connection.close()


def text(path):
    path.write_text("d,N,seed\n" * 100)


def torn(path):
    data = bytearray(path.read_bytes())
    data[4096:20000] = bytes(15904)
    path.write_bytes(data)


def cut(path):
    path.write_bytes(path.read_bytes()[:9000])


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (older, "version 0"),
        (foreign, "another program"),
        (text, "damaged or no sweep store"),
        (torn, "damaged or no sweep store"),
        (cut, "damaged or no sweep store"),
    ],
)
@pytest.mark.parametrize("way", [Store.open, Store.read])
def test_a_store_that_cannot_be_used_is_left_alone(tmp_path, harm, message, way):
    make(tmp_path)
    harm(tmp_path / FILE)
    before = snapshot(tmp_path)
    with pytest.raises(StoreError, match=message):
        way(tmp_path)
    assert snapshot(tmp_path) == before


def test_reading_where_there_is_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="no sweep in"):
        Store.read(tmp_path / "none")
    assert not (tmp_path / "none").exists()


FULL = """
    import sys
    from pathlib import Path
    from ntkscope.experiments.running.store import Store
    from ntkscope.experiments.running.rows import Row
    folder, written = Path(sys.argv[1]), 0
    store = Store.open(folder)
    try:
        while True:
            store.insert([Row(f"k{written}", 0, {}, {"y": "x" * 2000}, "", 0.0, "w")])
            written += 1
    except OSError as error:
        print(f"told: {error}")
    store.close()
    with Store.read(folder) as reader:
        print("kept", len(reader.rows()), written)
"""


def test_a_full_disk_is_told_and_what_was_written_stays(tmp_path):
    script = tmp_path / "fill.py"
    script.write_text(textwrap.dedent(FULL))
    disk = tmp_path / "disk"
    disk.mkdir()
    if not shutil.which("unshare"):
        pytest.skip("needs unshare to mount a small disk")
    mounted = f"mount -t tmpfs -o size=600k none {disk} && {sys.executable} {script} {disk}"
    found = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", mounted], capture_output=True, text=True, timeout=120
    )
    if "mount:" in found.stderr or "unshare:" in found.stderr:
        pytest.skip(f"cannot mount a small disk here: {found.stderr.strip()[:100]}")
    assert "told: cannot use" in found.stdout, found.stdout + found.stderr
    assert "full" in found.stdout
    _, kept, written = found.stdout.split("\n")[1].split()
    assert kept == written
    assert int(kept) > 20


def test_a_changed_value_is_found(tmp_path):
    with Store.open(tmp_path) as store:
        store.insert([row("a", 1.5), row("b", 2.5)])
    for column, value in (("results", '{"y": 1.25}'), ("seed", 3), ("seconds", 0.25)):
        with sqlite3.connect(tmp_path / "trials.sqlite") as connection:
            (old,) = connection.execute(f"SELECT {column} FROM trials WHERE key = 'a'").fetchone()
            connection.execute(f"UPDATE trials SET {column} = ? WHERE key = 'a'", (value,))
        with Store.read(tmp_path) as store, pytest.raises(StoreError, match="row a is not what"):
            store.rows()
        with sqlite3.connect(tmp_path / "trials.sqlite") as connection:
            connection.execute(f"UPDATE trials SET {column} = ? WHERE key = 'a'", (old,))
    with Store.read(tmp_path) as store:
        assert len(store.rows()) == 2


def test_a_link_in_the_place_of_the_lock_is_not_followed(tmp_path):
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "writer.lock").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic links"):
        Store.open(tmp_path)
    assert (tmp_path / "victim").read_text() == "precious"
