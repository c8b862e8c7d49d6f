"""Results become plain values, whole and in one way."""

import json
import math
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from pathlib import Path

import numpy as np
import pytest
import torch

from ntkscope._base.records import Record, plain


class Colour(Enum):
    RED = "a sentence about red"


class Word(StrEnum):
    YES = "yes"


@dataclass(frozen=True)
class Part:
    size: int
    where: tuple[float, ...]


@dataclass(frozen=True)
class Whole(Record, without=("weights",), also=("double", "name")):
    values: torch.Tensor
    parts: dict[int, Part]
    colour: Colour = Colour.RED
    weights: object = field(default_factory=object)

    @property
    def double(self):
        return 2 * self.values

    def name(self):
        return Word.YES


@dataclass(frozen=True)
class Wider(Whole, also={"first": "parts.copy"}):
    width: np.float32 = field(default_factory=lambda: np.float32(0.5))


def test_nested_records_become_what_json_reads():
    made = Whole(torch.tensor([1.5, 2.5]), {3: Part(4, (0.25, 0.5))}).to_dict()
    assert made == {
        "values": [1.5, 2.5],
        "parts": {"3": {"size": 4, "where": [0.25, 0.5]}},
        "colour": "RED",
        "double": [3.0, 5.0],
        "name": "yes",
    }
    assert json.loads(json.dumps(made)) == made


def test_a_subclass_adds_to_its_base():
    made = Wider(torch.zeros(1), {1: Part(1, ())}).to_dict()
    assert "weights" not in made
    assert made["width"] == 0.5
    assert type(made["width"]) is float
    assert made["first"] == made["parts"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.int64(3), 3), (np.bool_(True), True), (np.eye(2), [[1.0, 0.0], [0.0, 1.0]]),
        (torch.tensor(2.0), 2.0), (torch.zeros(2, 0), [[], []]), (Path("a") / "b", "a/b"),
        (range(2), [0, 1]), (np.str_("x"), "x"), (torch.tensor([1, 2], requires_grad=False), [1, 2]),
    ],
)  # fmt: skip
def test_values_of_arrays_keep_type_and_shape(value, expected):
    made = plain(value)
    assert made == expected
    assert type(made) is type(expected)


def test_floats_that_are_not_finite_stay_floats():
    made = plain([math.inf, torch.tensor(math.nan)])
    assert made[0] == math.inf
    assert math.isnan(made[1])


@pytest.mark.parametrize("value", [object(), 1j, Part, torch.float64, lambda: 0])
def test_what_has_no_plain_form_is_refused(value):
    with pytest.raises(TypeError, match=r"got .*without"):
        plain({"deep": [value]})
