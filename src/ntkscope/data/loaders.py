"""``load("digits")``, ``load("gaussian:N=1000,d=100")``, ``load("file.npz:X")``: one way in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ntkscope._base.arrays import Array
from ntkscope._base.extras import needs
from ntkscope._base.specs import Spec, parse_spec, reject_unknown_options, unknown
from ntkscope.data import registry
from ntkscope.data.distribution import Distribution
from ntkscope.data.preprocessing import center, scale_rows
from ntkscope.report.result import Result

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Dataset(Result, without=("X", "y", "distribution"), also=("shape", "law")):
    """Data and where they come from.

    Attributes
    ----------
    X: (N, d) float64.
    y: (N,) labels, where the source has them.
    distribution: the law that X was drawn from, for synthetic data.
    source: the text it was loaded by, with its preprocessing.
    """

    X: Tensor
    y: Tensor | None
    distribution: Distribution | None
    source: str

    @property
    def shape(self) -> tuple[int, int]:
        """(N, d)."""
        N, d = self.X.shape
        return N, d

    @property
    def law(self) -> str:
        """The distribution in words, empty where it is not known."""
        return "" if self.distribution is None else repr(self.distribution)


REAL_DATA = ("digits", "breast_cancer", "diabetes", "wine", "iris")
_SUFFIXES = (".npy", ".npz", ".csv", ".txt", ".parquet", ".pt", ".pth")


def load(spec: str, *, seed: int = 0, centered: bool = False, scaled: bool = False) -> Dataset:
    """Load data from a short description.

    ``"digits"`` and the other sets of scikit-learn's wheel (options ``classes=0,1`` and
    ``N=500`` keep some classes, the first rows), ``"gaussian:N=1000,d=100"`` and the other
    distributions (drawn with ``seed``; an option ``seed=`` there overrides it), or a file: .npy,
    .npz (``file.npz:key``), .csv (``file.csv:y=label`` takes a column as labels), .parquet, .pt.

    ``centered`` subtracts the mean row; ``scaled`` then scales every row to norm √d.

    Parameters
    ----------
    spec: a name with options, or a file.
    seed: of the draw from a distribution.
    centered: subtract the mean of the rows.
    scaled: scale each row to norm √d.

    Returns
    -------
    Dataset, with the distribution where it is known.

    Raises ValueError for unknown names or unusable content, FileNotFoundError for a missing file.
    """
    dataset = _from_source(spec, seed)
    X, source = dataset.X, dataset.source
    if centered:
        X, source = center(X), source + ", centred"
    if scaled:
        X, source = scale_rows(X), source + ", rows scaled to √d"
    distribution = dataset.distribution if X is dataset.X else None
    return Dataset(X, dataset.y, distribution, source)


def load_vector(spec: str) -> Array:
    """One number a sample, (N,), from a file as in :func:`load`: an array of one axis or one column.

    Raises ValueError for another shape, unusable content or what is no data file, FileNotFoundError
    for a missing file.
    """
    path, key = _path_of(spec)
    array = np.asarray(_read(path, key)[0])
    if array.ndim not in (1, 2) or array.size != len(array):
        raise ValueError(
            f"{str(path)!r} must hold one number a sample, got shape {tuple(array.shape)}; "
            "save one axis or one column"
        )
    if array.dtype.kind not in "biuf" or not bool(np.isfinite(array).all()):
        raise ValueError(
            f"{str(path)!r} must hold finite real numbers, got dtype {array.dtype}; "
            "remove what is NaN, infinite or text"
        )
    return array.reshape(-1).astype(np.float64)


def load_array(spec: str) -> Any:
    """The array or tensor in a file, its numbers as they are stored: ``K.npy``, ``K.npz:K``, ….

    Raises ValueError for what is no such file or cannot be read, FileNotFoundError for a missing one.
    """
    return _read(*_path_of(spec))[0]


def _path_of(spec: str) -> tuple[Path, str]:
    path, key = split_path(spec)
    if path is None:
        raise ValueError(f"expected a file ending in {', '.join(_SUFFIXES)}, got {spec!r}")
    return path, key


def _from_source(spec: str, seed: int) -> Dataset:
    path, key = split_path(spec)
    if path is not None:
        return _load_file(path, key)
    parsed = parse_spec(spec)
    if parsed.name in registry.names():
        return _sample(parsed, seed)
    if parsed.name in REAL_DATA:
        return _load_real(parsed)
    raise ValueError(
        unknown("data", parsed.name, (*registry.names(), *REAL_DATA))
        + f"; or a file ending in {', '.join(_SUFFIXES)}"
    )


def split_path(spec: str) -> tuple[Path | None, str]:
    for suffix in _SUFFIXES:
        head, mark, tail = spec.partition(suffix)
        if mark and (not tail or tail.startswith(":")):
            return Path(head + mark), tail[1:]
    return None, ""


def _sample(spec: Spec, seed: int) -> Dataset:
    law = registry.distribution(spec)
    if "N" not in spec.options:
        raise ValueError(f"data {spec.name!r} needs N, e.g. {spec.name}:N=1000,d=100")
    # what is no integer is refused where the sample is drawn
    options: dict[str, Any] = dict(spec.options)
    return Dataset(law.sample(options["N"], options.get("seed", seed)), None, law, str(spec))


def _load_real(spec: Spec) -> Dataset:
    import torch

    with needs("data"):
        import sklearn.datasets

    reject_unknown_options("data", spec, ("classes", "N"))
    loaded = getattr(sklearn.datasets, f"load_{spec.name}")()
    X, y = torch.from_numpy(loaded.data).double(), torch.from_numpy(np.asarray(loaded.target))
    if "classes" in spec.options:
        wanted = _integers("classes", spec.options["classes"])
        missing = sorted(set(wanted) - set(y.unique().tolist()))
        if missing:
            raise ValueError(f"{spec.name} has no class {missing}; it has {y.unique().tolist()}")
        keep = torch.isin(y, torch.tensor(wanted, dtype=y.dtype))
        X, y = X[keep], y[keep]
    if "N" in spec.options:
        n = spec.options["N"]
        if not isinstance(n, int) or not 1 <= n <= len(X):
            raise ValueError(f"N must be an integer from 1 to {len(X)}, got {n!r}")
        X, y = X[:n], y[:n]
    return Dataset(X.contiguous(), y, None, str(spec))


def _integers(name: str, value: object) -> list[int]:
    try:
        return [int(part) for part in str(value).split(",")]
    except ValueError:
        raise ValueError(f"{name} must be integers such as 0,1, got {value!r}") from None


def _read(path: Path, key: str) -> tuple[Any, Any]:
    if not path.exists():
        raise FileNotFoundError(f"no file {str(path)!r}; give the path of an existing data file")
    return _READERS[path.suffix](path, key)


def _load_file(path: Path, key: str) -> Dataset:
    import torch

    from ntkscope._base.inputs import as_data

    X, y = _read(path, key)
    source = f"{path}:{key}" if key else str(path)
    labels = None if y is None else torch.from_numpy(np.asarray(y))
    return Dataset(as_data(X, str(path), torch.float64), labels, None, source)


def open_file(path: Path, read: Callable[[], Any]) -> Any:
    """What ``read`` returns; its errors, which come in many types, as a ValueError naming the file."""
    try:
        return read()
    except OSError as error:
        raise OSError(f"cannot read {str(path)!r}: {error}") from error
    except Exception as error:
        # NumPy and torch tell how to run what a file holds; that advice is not passed on
        objects = any(word in str(error).lower() for word in ("pickle", "weights_only"))
        why = "it is damaged, or holds Python objects and not numbers alone" if objects else error
        raise ValueError(f"cannot read {str(path)!r}: {why}") from error


def _read_npy(path: Path, key: str) -> tuple[Any, Any]:
    _no_key(path, key)
    return open_file(path, lambda: np.load(path, allow_pickle=False)), None


def _read_npz(path: Path, key: str) -> tuple[Any, Any]:
    with open_file(path, lambda: np.load(path, allow_pickle=False)) as archive:
        names = archive.files
        if not names:
            raise ValueError(f"{str(path)!r} holds no arrays")
        if not key and len(names) > 1:
            raise ValueError(f"{str(path)!r} holds {names}; say which, e.g. {path}:{names[0]}")
        name = key or names[0]
        if name not in names:
            raise ValueError(unknown("array", name, names) + f" in {str(path)!r}")
        return open_file(path, lambda: archive[name]), None


def _read_csv(path: Path, key: str) -> tuple[Any, Any]:
    import csv

    text = open_file(path, lambda: path.read_text(encoding="utf-8-sig"))
    rows = open_file(path, lambda: [row for row in csv.reader(text.splitlines()) if row])
    if not rows:
        raise ValueError(f"{str(path)!r} is empty")
    header = _header(path, rows[0])
    body = rows[1:] if header else rows
    columns = header or [str(i) for i in range(len(rows[0]))]
    for number, row in enumerate(body, 2 if header else 1):
        if len(row) != len(columns):
            raise ValueError(
                f"{str(path)!r} line {number}: {len(row)} fields, expected {len(columns)}"
            )
        bad = [cell for cell in row if not _is_number(cell)]
        if bad:
            raise ValueError(f"{str(path)!r} line {number}: {bad[0]!r} is not a number")
    table = np.array(body, dtype=np.float64).reshape(len(body), len(columns))
    return _take_labels(table, columns, key, path)


def _header(path: Path, first: list[str]) -> list[str] | None:
    """The names in the first row; None where it holds numbers. Raises ValueError for both at once."""
    numbers = list(map(_is_number, first))
    if all(numbers):
        return None
    if any(numbers):
        number, name = first[numbers.index(True)], first[numbers.index(False)]
        raise ValueError(
            f"{str(path)!r} line 1 is neither a row of numbers nor one of names: {number!r} is a "
            f"number and {name!r} is none; correct it, or name every column"
        )
    return first


def _read_txt(path: Path, key: str) -> tuple[Any, Any]:
    _no_key(path, key)
    return open_file(path, lambda: np.loadtxt(path, ndmin=2)), None


def _read_parquet(path: Path, key: str) -> tuple[Any, Any]:
    with needs("data"):
        import pyarrow.parquet
    table = open_file(path, lambda: pyarrow.parquet.read_table(path))
    columns = list(table.column_names)
    arrays = [table.column(name).to_numpy() for name in columns]
    for name, array in zip(columns, arrays, strict=True):
        if array.dtype.kind not in "biuf":
            raise ValueError(f"{str(path)!r}: column {name!r} is not numeric ({array.dtype})")
    return _take_labels(np.stack([a.astype(np.float64) for a in arrays], 1), columns, key, path)


def _take_labels(table: Any, columns: list[str], key: str, path: Path) -> tuple[Any, Any]:
    if not key:
        return table, None
    spec = parse_spec(f"csv:{key}")
    reject_unknown_options("data", spec, ("y",))
    name = str(spec.options.get("y", ""))
    if name not in columns:
        raise ValueError(unknown("column", name, columns) + f" in {str(path)!r}")
    index = columns.index(name)
    return np.delete(table, index, axis=1), table[:, index]


def _read_pt(path: Path, key: str) -> tuple[Any, Any]:
    from ntkscope._base.saved import load_saved

    loaded = open_file(path, lambda: load_saved(path))
    if isinstance(loaded, dict):
        if not key:
            raise ValueError(
                f"{str(path)!r} holds {sorted(map(str, loaded))}; say which, e.g. {path}:X"
            )
        if key not in loaded:
            raise ValueError(unknown("tensor", key, map(str, loaded)) + f" in {str(path)!r}")
        return loaded[key], None
    _no_key(path, key)
    return loaded, None


def _no_key(path: Path, key: str) -> None:
    if key:
        raise ValueError(f"{str(path)!r} holds one array and takes no key, got {key!r}")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


_READERS: dict[str, Callable[[Path, str], tuple[Any, Any]]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".csv": _read_csv,
    ".txt": _read_txt,
    ".parquet": _read_parquet,
    ".pt": _read_pt,
    ".pth": _read_pt,
}
