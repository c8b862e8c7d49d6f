"""Files of ``torch.save``, read with the checksums that ``torch.load`` ignores."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch

_FOLDER = 0x10


def load_saved(path: str | Path) -> Any:
    """Plain values and tensors of a file, on the CPU.

    Raises ValueError for a damaged archive, and what ``torch.load`` raises.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            # torch reads no bytes of a member that is marked as a folder, and leaves its tensor unset
            damaged = archive.testzip() or next(
                (i.filename for i in archive.infolist() if i.external_attr & _FOLDER), None
            )
        if damaged is not None:
            raise ValueError(
                f"{damaged} in it is not what was saved: the file was changed or damaged"
            )
    return torch.load(path, weights_only=True, map_location="cpu")
