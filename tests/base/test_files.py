"""A file is written whole or not at all."""

import os

import pytest

from ntkscope._base.files import save_figure, whole


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes(b"old")

    def write():
        with whole(path) as file:
            file.write(b"half")
            raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        write()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "victim").write_bytes(b"precious")
    path = tmp_path / "out.json"
    path.symlink_to(tmp_path / "victim")
    with whole(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"
    assert not path.is_symlink()
    assert (tmp_path / "victim").read_bytes() == b"precious"
    assert path.stat().st_mode & 0o400


def test_a_pipe_or_a_device_keeps_its_place(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    link = tmp_path / "link"
    link.symlink_to(pipe)
    stream = tmp_path / "stream"
    stream.symlink_to("/proc/self/fd/1")  # as /dev/stdout is
    for path in (pipe, link, stream, tmp_path):
        with pytest.raises(OSError, match=r"a device, a pipe or a stream|a folder"), whole(path):
            pass
    assert pipe.is_fifo()
    assert link.is_symlink()
    assert stream.is_symlink()
    assert sorted(tmp_path.iterdir()) == [link, pipe, stream]


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
def test_figures_are_of_the_kind_that_they_are_called(tmp_path, suffix):
    from ntkscope.report.canvas import make_axes

    figure, axes = make_axes()
    axes[0].plot([0, 1])
    save_figure(figure, tmp_path / f"a{suffix}")
    head = (tmp_path / f"a{suffix}").read_bytes()[:200]
    assert {".png": b"PNG", ".pdf": b"%PDF", ".svg": b"<?xml"}[suffix] in head
    with pytest.raises(ValueError, match="not supported"):
        save_figure(figure, tmp_path / "a.nonsense")
    assert not (tmp_path / "a.nonsense").exists()
