"""Samples as people hold them: arrays, tables, datasets, loaders, dicts of keyword arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, SequentialSampler
from torch.utils.data import default_collate as collate

from ntkscope._base.caution import warn

LABELS = ("labels", "label")  # the columns that hold no input of the model


@dataclass(frozen=True, eq=False)
class Samples:
    """inputs: an array, a tuple of arrays, or a dict of them by keyword; targets where known."""

    inputs: Any
    targets: Any = None

    @property
    def parts(self) -> tuple[Any, ...]:
        """The arrays, in the order of the model's arguments; plain settings are left out."""
        if isinstance(self.inputs, Mapping):
            return tuple(v for v in self.inputs.values() if not is_setting(v))
        return self.inputs if isinstance(self.inputs, tuple) else (self.inputs,)

    def __len__(self) -> int:
        return len(self.parts[0]) if self.parts else 0


def is_setting(value: Any) -> bool:
    """Whether a keyword argument is one for all samples (``use_cache=False``), and no column."""
    return value is None or isinstance(value, (bool, int, float, str))


def as_samples(X: Any, name: str = "X") -> Samples:
    """Whatever holds samples, read once and in its order.

    A dict names the model's keyword arguments; its ``labels`` (or ``label``) are targets. A torch
    ``Dataset``, a list of its items, or a ``DataLoader`` gives inputs, dicts, or pairs of input and label; a table with
    ``column_names`` (Hugging Face) or ``columns`` (pandas, polars) its columns. All else, arrays and
    tuples of several inputs, stays as it is.

    Raises
    ------
    ValueError
        For a loader that shuffles or a dataset whose items are random: rows of a kernel have an order.
        For samples of several shapes, tuples of more than input and label, a list of batches, a column with
        missing values.
    TypeError
        For columns that hold no numbers, and data without a length.
    """
    if isinstance(X, Samples):
        return X
    if isinstance(X, DataLoader):
        return _of_loader(X, name)
    if isinstance(X, IterableDataset):
        raise TypeError(
            f"{name} is an IterableDataset, which has no length; give a list of its items"
        )
    if isinstance(X, Mapping):
        _refuse_splits(X, name)
        return _of_batch(dict(X), name)
    if hasattr(X, "column_names") and hasattr(X, "__getitem__"):
        columns = X[:]
        return _of_batch({key: _column(columns[key], f"{name}[{key!r}]") for key in columns}, name)
    if hasattr(X, "columns") and hasattr(X, "to_numpy"):
        return Samples(_of_frame(X, name))
    if isinstance(X, Dataset):
        return _of_items(X, name)
    if isinstance(X, list) and X and (isinstance(X[0], Mapping) or _has_arrays(X[0])):
        _refuse_batches(X, name)
        return _of_items(X, name)
    return Samples(X)


def _has_arrays(item: Any) -> bool:
    """Whether it is a pair or a batch, and no row of numbers or of a larger array."""
    if not isinstance(item, (tuple, list)):
        return False
    arrays = [part for part in item if isinstance(part, np.ndarray)]
    if isinstance(item, list) and len(arrays) == len(item):  # no loader makes those
        return len({part.shape for part in arrays}) > 1
    return any(_axes(part) for part in item)


def _axes(part: Any) -> int:
    return part.ndim if isinstance(part, (Tensor, np.ndarray)) else 0


def _refuse_batches(X: Sequence[Any], name: str) -> None:
    """Raises ValueError for a list of batches, ``list(loader)``, which would be stacked as samples.

    Warns of items that may be batches or samples: a table each, with a label for each of its rows.
    """
    lengths = [_rows_of(item) for item in X]
    first, last = lengths[0], lengths[-1]
    if not (first and last and {*lengths[:-1]} <= {first} and last <= first):
        return
    loader = "give the loader itself (without shuffling) or its dataset"
    if isinstance(X[0], Mapping):
        certain = last < first or "input_ids" in X[0]  # ids of words: (T,) a sample
        single = "stack them, {key: torch.stack(...)} of all"
        single = f"pad them to one length and {single}" if last < first else single
    else:
        certain, single = True, "write each as a tuple, (input, label)"
    if certain:
        raise ValueError(
            f"{name} is a list of {len(X)} items that look like batches of {first} samples; {loader}, or, "
            f"if each is one sample, {single}"
        )
    warn(
        f"each of the {len(X)} items of {name} is read as one sample with {first} rows and {first} labels; "
        f"if they are batches, {loader}"
    )


def _rows_of(item: Any) -> int:
    """The rows of what may be a batch; 0 of what is a sample.

    A batch of dicts holds arrays of two axes or more, and a label a row; a loader's pairs are lists of two
    tensors.
    """
    if isinstance(item, Mapping):
        labels = [item[key] for key in LABELS if key in item]
        parts = [item[key] for key in item if key not in LABELS and not is_setting(item[key])]
        batched = bool(parts) and all(_axes(part) > 1 for part in parts)
        batched &= all(_axes(label) == 1 for label in labels)
        batched &= bool(labels) or "input_ids" in item
    else:
        parts, labels = [*item] if isinstance(item, list) else [], []
        batched = len(parts) == 2 and all(isinstance(part, Tensor) for part in parts)
    lengths = {len(part) if _axes(part) else 0 for part in (*parts, *labels)}
    return lengths.pop() if batched and len(lengths) == 1 else 0


def _of_loader(loader: Any, name: str) -> Samples:
    """The batches of a loader, one after another."""
    if isinstance(loader.dataset, IterableDataset):
        known = True  # in the order of its own
    else:
        known = type(loader.batch_sampler) in (BatchSampler, type(None))
        known = known and isinstance(loader.sampler, SequentialSampler)
    if not known:
        sampler = type(loader.sampler).__name__
        raise ValueError(
            f"{name} is a loader that shuffles or picks its samples ({sampler}), so the kernel's rows "
            f"would be in an order of its own; give {name}.dataset, or "
            "DataLoader(dataset, batch_size=..., shuffle=False)"
        )
    with torch.random.fork_rng(devices=[]):  # iterating draws a seed for workers
        batches = [_of_batch(batch, name) for batch in loader]
    if not batches:
        raise ValueError(f"{name} is a loader without batches")
    inputs = _joined([batch.inputs for batch in batches], name)
    targets = [batch.targets for batch in batches]
    return Samples(inputs, None if targets[0] is None else _joined(targets, f"{name}'s labels"))


def _of_items(items: Any, name: str) -> Samples:
    """The items of a dataset, stacked."""
    try:
        count = len(items)
    except TypeError:
        raise TypeError(f"{name} is a {type(items).__name__} without a length") from None
    if count == 0:
        raise ValueError(f"{name} holds no samples")
    with torch.random.fork_rng(devices=[]):
        read = [items[i] for i in range(count)]
        _require_steady(read[0], items[0], name)
    try:
        batch = collate(read)
    except (RuntimeError, TypeError, KeyError) as error:
        raise ValueError(
            f"the items of {name} do not stack: {str(error).splitlines()[0]}; pad them to one shape, "
            "and leave out what holds no numbers"
        ) from None
    return _of_batch(batch, name)


def _require_steady(first: Any, again: Any, name: str) -> None:
    if not _equal(first, again):
        raise ValueError(
            f"the items of {name} differ each time they are read (random augmentation), so they are "
            "no fixed samples; switch the augmentation off, or read them once into tensors"
        )


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, Mapping):
        return all(_equal(a[key], b[key]) for key in a)
    if isinstance(a, (tuple, list)):
        return all(_equal(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, (Tensor, np.ndarray)):
        x, y = np.asarray(a), np.asarray(b)
        return x.shape == y.shape and np.array_equal(x, y, equal_nan=x.dtype.kind == "f")
    return bool(a == b) or a != a


def _of_batch(batch: Any, name: str) -> Samples:
    """Inputs and targets of what a loader yields or a dataset's items stack to."""
    inputs: Any
    if isinstance(batch, Mapping):
        inputs, targets = {key: batch[key] for key in batch if key not in LABELS}, None
        held = [key for key in LABELS if key in batch]
        if len(held) > 1:
            raise ValueError(f"{name} holds both {' and '.join(map(repr, held))}; keep one")
        if held:
            targets = batch[held[0]]
        if not inputs:
            raise ValueError(f"{name} holds no inputs of the model; give them by keyword")
        _require_numbers(inputs, name)
        return Samples(inputs, targets)
    if not isinstance(batch, (tuple, list)):
        return Samples(batch)
    if len(batch) not in (1, 2):
        raise ValueError(
            f"the items of {name} are tuples of {len(batch)}, and a pair is read as (input, label); "
            "for several inputs let them be dicts by keyword, or ((input, input), label)"
        )
    inputs = tuple(batch[0]) if isinstance(batch[0], list) else batch[0]
    return Samples(inputs, batch[1] if len(batch) == 2 else None)


def _require_numbers(inputs: Mapping[Any, Any], name: str) -> None:
    for key, value in inputs.items():
        if not isinstance(key, str):
            raise TypeError(f"{name} is a dict, whose keys name arguments; got the key {key!r}")
        if isinstance(value, (list, tuple)) and value and isinstance(value[0], str):
            raise TypeError(
                f"{name}[{key!r}] holds text; tokenise it, and leave the column out "
                f"(dataset.remove_columns({key!r}))"
            )
    if all(is_setting(value) for value in inputs.values()):
        raise ValueError(f"{name} holds settings ({', '.join(inputs)}) and no samples")


def _column(values: Any, name: str) -> Any:
    """A table's column as a tensor or array; text stays a list, which is refused later."""
    if isinstance(values, (Tensor, np.ndarray)):
        return values
    values = list(values)
    empty = [row for row, value in enumerate(values) if value is None]
    if empty:
        raise ValueError(
            f"{name} has no value (None) in {len(empty)} rows, the first at row {empty[0]}; leave these rows "
            "out, or fill them"
        )
    if values and isinstance(values[0], str):
        return values
    if values and isinstance(values[0], Tensor):
        return _joined([v[None] for v in values], name)
    try:
        return np.asarray(values)
    except ValueError:
        raise ValueError(
            f"the rows of {name} have different lengths; pad them to one (tokenizer(..., "
            "padding='max_length'), or padding=True on all at once)"
        ) from None


def _of_frame(frame: Any, name: str) -> Any:
    """A data frame's columns as one array."""
    columns = [np.asarray(frame[key]) for key in frame.columns]
    for key, column in zip(frame.columns, columns, strict=True):
        if column.dtype.kind not in "biuf":
            raise TypeError(
                f"column {key!r} of {name} is {column.dtype}; encode it as numbers or leave it out"
            )
    if not columns:
        raise ValueError(f"{name} has no columns")
    return np.column_stack(columns)


def _joined(parts: Sequence[Any], name: str) -> Any:
    """Batches of one structure as one."""
    first = parts[0]
    if isinstance(first, Mapping):
        return {
            key: first[key] if is_setting(first[key])
            else _joined([part[key] for part in parts], f"{name}[{key!r}]")
            for key in first
        }  # fmt: skip
    if isinstance(first, tuple):
        return tuple(
            _joined([part[i] for part in parts], f"{name}[{i}]") for i in range(len(first))
        )
    try:
        tensors = [torch.as_tensor(part) for part in parts]
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{name} holds {type(first).__name__} and no numbers") from None
    shapes = sorted({tuple(t.shape[1:]) for t in tensors})
    if len(shapes) > 1:
        raise ValueError(
            f"{name} has samples of several shapes, {shapes[0]} and {shapes[-1]}; pad all to one "
            "(padding='max_length' in place of padding a batch at a time)"
        )
    return torch.cat(tensors)


def _refuse_splits(X: Mapping[Any, Any], name: str) -> None:
    splits = [key for key, part in X.items() if hasattr(part, "column_names")]
    if splits:
        raise TypeError(f"{name} holds the splits {', '.join(map(str, splits))}; give one of them")
