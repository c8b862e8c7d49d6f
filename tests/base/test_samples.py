"""Samples as people hold them, read once into arrays."""

import collections

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from ntkscope._base.samples import as_samples

X = torch.arange(24.0).reshape(6, 4)
Y = torch.arange(6)
IDS = torch.arange(18).reshape(6, 3)


class Items(Dataset):
    """Map-style, of whatever items."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


class Table:
    """The shape of a Hugging Face Dataset: columns by name, rows by slices."""

    def __init__(self, columns):
        self.columns_held = columns
        self.column_names = list(columns)

    def __len__(self):
        return len(next(iter(self.columns_held.values())))

    def __getitem__(self, rows):
        return {name: values[rows] for name, values in self.columns_held.items()}


class Frame:
    """The shape of a pandas DataFrame."""

    def __init__(self, columns):
        self.held, self.columns = columns, list(columns)

    def __getitem__(self, name):
        return self.held[name]

    def to_numpy(self):
        raise AssertionError("mixed columns come out as objects")


class Encoding(collections.UserDict):
    """The shape of a tokenizer's BatchEncoding."""


def tables():
    return [{"x": X[i], "labels": int(Y[i])} for i in range(6)]


def dicts():
    return [{"input_ids": IDS[i], "labels": int(Y[i])} for i in range(6)]


ROWS = {
    "pairs": TensorDataset(X, Y),
    "alone": TensorDataset(X),
    "items": Items([(np.asarray(x), int(y)) for x, y in zip(X, Y, strict=True)]),
    "list of pairs": list(TensorDataset(X, Y)),
    "loader": DataLoader(TensorDataset(X, Y), batch_size=4),
    "loader-of-samples": DataLoader(Items(list(X)), batch_size=4),
    "frame": Frame(
        {"a": X[:, 0].numpy(), "b": X[:, 1].numpy(), "c": X[:, 2].numpy(), "d": X[:, 3]}
    ),
}
TOKENS = {
    "dict": {"input_ids": IDS, "labels": Y},
    "encoding": Encoding(input_ids=IDS.numpy(), label=Y),
    "list": dicts(),
    "items": Items(dicts()),
    "loader": DataLoader(Items(dicts()), batch_size=4),
    "table": Table({"input_ids": IDS.tolist(), "label": Y.tolist()}),
    "table-of-tensors": Table({"input_ids": list(IDS), "label": Y}),
    "loader-of-encodings": DataLoader(
        Items(dicts()),
        batch_size=2,
        collate_fn=lambda b: Encoding(torch.utils.data.default_collate(b)),
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_rows(name):
    found = as_samples(ROWS[name])
    assert len(found) == 6
    assert np.array_equal(np.asarray(found.inputs), X.numpy())
    known = name in ("pairs", "items", "list of pairs", "loader")
    assert (found.targets is not None) == known
    if known:
        assert np.array_equal(np.asarray(found.targets), Y.numpy())


@pytest.mark.parametrize("name", TOKENS)
def test_keywords(name):
    found = as_samples(TOKENS[name])
    assert list(found.inputs) == ["input_ids"]
    assert len(found) == 6
    assert np.array_equal(np.asarray(found.inputs["input_ids"]), IDS.numpy())
    assert np.asarray(found.inputs["input_ids"]).dtype.kind == "i"
    assert np.array_equal(np.asarray(found.targets), Y.numpy())


def test_a_list_of_samples_of_several_axes_is_no_list_of_batches():
    images = [{"pixels": torch.randn(3, 8, 8), "label": i} for i in range(2)]
    assert as_samples(images).inputs["pixels"].shape == (2, 3, 8, 8)
    tokens = [{"input_ids": IDS[i], "labels": IDS[i]} for i in range(6)]
    assert torch.equal(as_samples(tokens).targets, IDS)
    unlabelled = [{"pixels": torch.randn(3, 8, 8)} for _ in range(2)]
    assert as_samples(unlabelled).inputs["pixels"].shape == (2, 3, 8, 8)
    assert as_samples([(1.0, 2.0), (3.0, 4.0)]).inputs == [(1.0, 2.0), (3.0, 4.0)]


def test_samples_with_a_label_a_row_are_samples_and_a_warning_says_so():
    held = [{"x": torch.randn(7, 4), "labels": torch.randint(2, (7,))} for _ in range(3)]
    with pytest.warns(
        UserWarning, match=r"read as one sample with 7 rows.*if they are batches"
    ) as said:
        found = as_samples(held)
    assert said[0].filename == __file__
    assert torch.equal(found.inputs["x"], torch.stack([item["x"] for item in held]))
    assert found.targets.shape == (3, 7)
    assert torch.equal(found.targets, as_samples(Items(held)).targets)


def test_samples_of_whole_numbers_of_two_axes_are_samples():
    held = [{"pixels": torch.randint(256, (5, 5), dtype=torch.uint8)} for _ in range(3)]
    assert as_samples(held).inputs["pixels"].shape == (3, 5, 5)


def test_lists_of_numpys_rows_stay_one_array():
    held = [[np.ones(3) * i, np.arange(3.0)] for i in range(5)]
    assert as_samples(held).inputs is held
    pairs = as_samples([(np.ones(3) * i, np.arange(3.0)) for i in range(5)])
    assert pairs.inputs.shape == pairs.targets.shape == (5, 3)


def test_what_a_refusal_of_batches_advises_is_taken():
    pairs = [[torch.randn(7, 4), torch.zeros(7)] for _ in range(3)]
    with pytest.raises(ValueError, match="write each as a tuple"):
        as_samples(pairs)
    assert as_samples([tuple(pair) for pair in pairs]).inputs.shape == (3, 7, 4)


def test_several_inputs_and_a_label():
    found = as_samples(Items([((X[i], IDS[i]), int(Y[i])) for i in range(6)]))
    assert torch.equal(found.parts[0], X)
    assert torch.equal(found.parts[1], IDS)
    assert found.targets.tolist() == Y.tolist()
    loader = DataLoader(Items([((X[i], IDS[i]), int(Y[i])) for i in range(6)]), batch_size=4)
    assert torch.equal(as_samples(loader).parts[1], IDS)


def test_arrays_stay_as_they_are():
    for held in (X, X.numpy(), (X, IDS), X.tolist()):
        assert as_samples(held).inputs is held
    found = as_samples({"x": X, "use_cache": False})
    assert (len(found), len(found.parts)) == (6, 1)


def test_reading_draws_no_random_numbers():
    state = torch.get_rng_state()
    as_samples(DataLoader(TensorDataset(X, Y), batch_size=4))
    assert torch.equal(state, torch.get_rng_state())


class Stream(IterableDataset):
    def __iter__(self):
        return iter(X)


class Augmented(Items):
    def __getitem__(self, i):
        return self.items[i] + torch.randn(4)


@pytest.mark.parametrize(
    ("held", "error", "words"),
    [
        (lambda: DataLoader(TensorDataset(X), shuffle=True), ValueError, "shuffles"),
        (
            lambda: DataLoader(TensorDataset(X), batch_sampler=[[3, 1], [0, 2]]),
            ValueError, "order",
        ),
        (Stream, TypeError, "no length"),
        (lambda: Augmented(list(X)), ValueError, "augmentation"),
        (lambda: TensorDataset(X, X, Y), ValueError, "tuples of 3"),
        (lambda: Items([]), ValueError, "no samples"),
        (lambda: Items([X[0], X[1, :2]]), ValueError, "stack"),
        (lambda: DataLoader(Items([IDS[:1], IDS[:2]]), batch_size=1), ValueError, "pad all"),
        (lambda: Table({"input_ids": [[1, 2], [3]]}), ValueError, "different lengths"),
        (lambda: Table({"ids": [[1, 2], None, [3, 4]]}), ValueError, "1 rows, the first at row 1"),
        (lambda: list(DataLoader(Items(dicts()), 3)), ValueError, "look like batches of 3 samples"),
        (lambda: [{"input_ids": IDS[:3]}, {"input_ids": IDS[3:]}], ValueError, "batches of 3"),
        (lambda: list(DataLoader(Items(tables()), 4)), ValueError, "batches of 4.*pad them"),
        (lambda: list(DataLoader(TensorDataset(X, Y), 2)), ValueError, "look like batches of 2"),
        (lambda: Table({"text": ["a", "b"], "input_ids": [[1], [2]]}), TypeError, "tokenise"),
        (lambda: {"train": Table({"x": [1]}), "test": Table({"x": [1]})}, TypeError, "splits"),
        (lambda: {"labels": Y}, ValueError, "no inputs"),
        (lambda: {"x": X, "label": Y, "labels": Y}, ValueError, "both"),
        (lambda: {3: X}, TypeError, "key 3"),
        (lambda: {"use_cache": False}, ValueError, "no samples"),
        (lambda: Frame({"city": np.array(["a", "b"])}), TypeError, "'city'"),
    ],
)  # fmt: skip
def test_bad_samples_are_said(held, error, words):
    with pytest.raises(error, match=words):
        as_samples(held())
