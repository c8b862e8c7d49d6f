"""Memory, counted before it is taken."""

from __future__ import annotations

import pytest

from ntkscope._base import memory


@pytest.mark.parametrize(
    ("free", "resident", "limit", "expected"),
    [
        (900, 50, None, 900),
        (900, 50, 500, 450),  # a container's limit counts what the process holds already
        (300, 50, 500, 300),
        (900, 600, 500, 0),
    ],
)
def test_what_is_free_is_the_lesser_of_system_and_container(
    monkeypatch, free, resident, limit, expected
):
    monkeypatch.setattr(memory, "_system", lambda: (free, resident))
    monkeypatch.setattr(memory, "_cgroup_limit", lambda: limit)
    assert memory.available() == expected


def test_what_fits_is_taken_and_one_byte_more_is_refused(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 2_000_000)
    memory.require(2_000_000, "a matrix", "use tiles")
    with pytest.raises(memory.NotEnoughMemoryError, match="a matrix needs 2 MB, and 2 MB are free; use tiles"):  # fmt: skip
        memory.require(2_000_001, "a matrix", "use tiles")


def test_sizes_are_decimal():
    assert [memory.human(n) for n in (999, 1000, 12.34e9, 5e12)] == [
        "999 B", "1 kB", "12.3 GB", "5 TB",
    ]  # fmt: skip
    assert memory.peak() > 10**7
