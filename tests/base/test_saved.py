"""What torch saved is read as it was written, or refused."""

import io
import zipfile

import pytest
import torch

from ntkscope._base.saved import load_saved


def saved():
    file = io.BytesIO()
    torch.save({"a": torch.arange(6.0), "b": torch.ones(3)}, file)
    return file.getvalue()


def read(path, content):
    path.write_bytes(content)
    return load_saved(path)


def test_a_flipped_bit_of_the_directory_is_refused_or_changes_nothing(tmp_path):
    """Also where it marks a tensor as a folder, whose numbers torch leaves unset."""
    content = saved()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        start = archive.start_dir
    refused = 0
    for at in range(start, len(content)):
        damaged = bytearray(content)
        damaged[at] ^= 0x10
        try:
            found = read(tmp_path / "a.pt", bytes(damaged))
        except Exception:
            refused += 1
            continue
        assert torch.equal(found["a"], torch.arange(6.0)), at
        assert torch.equal(found["b"], torch.ones(3)), at
    assert refused


def test_a_tensor_that_is_marked_as_a_folder_is_named(tmp_path):
    content = saved()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        at = archive.start_dir
        for info in archive.infolist():
            if info.filename.endswith("data/0"):
                break
            at += 46 + len(info.filename) + len(info.extra) + len(info.comment)
    damaged = bytearray(content)
    damaged[at + 38] ^= 0x10
    with pytest.raises(ValueError, match=r"data/0 in it is not what was saved"):
        read(tmp_path / "a.pt", bytes(damaged))
