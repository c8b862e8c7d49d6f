"""The distance to the wide limit: its error, and inputs by keyword."""

import json

import pytest
import torch
from torch import nn

import ntkscope as ntk


def rows(n=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 2, 6, generator=generator, dtype=torch.float64)


def plain():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv1d(2, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 1)
        ).double()  # fmt: skip


class ByKeyword(nn.Module):
    """As Hugging Face's vision models: one array by its name, an object with logits."""

    def __init__(self):
        super().__init__()
        self.inner = plain()

    def forward(self, pixel_values, return_dict=True):
        made = self.inner(pixel_values)
        return {"logits": made, "rest": 0} if return_dict else (made,)


def test_float32_stays_within_the_error():
    """The same weights in two precisions: what the shorter one lost is in its error."""
    net = ntk.Network([5, 40, 30, 1], "tanh", "lecun", "ntk")
    X = ntk.data.gaussian(10, 5, seed=0).float()
    short = net.sample(seed=0).float()
    long = ntk.Network([5, 40, 30, 1], "tanh", "lecun", "ntk").sample(seed=0)
    long.load_state_dict(short.state_dict())
    a = ntk.width_limit(short, X, scales=(1.0, 2.0), draws=2)
    b = ntk.width_limit(long.double(), X.double(), scales=(1.0, 2.0), draws=2)
    assert 0 < abs(a.distance - b.distance) <= a.distance_error + b.distance_error
    assert 0 < abs(a.relative - b.relative) <= a.relative_error + b.relative_error
    assert b.distance_error < 1e-10 * b.distance
    assert a.distance_error < 1e-3 * a.distance
    record = json.loads(json.dumps(b.to_dict()))
    assert record["distance_error"] == b.distance_error
    assert "±" in str(b).splitlines()[1]


def test_one_array_by_keyword_is_the_array():
    X = rows()
    expected = ntk.width_limit(plain(), X)
    for data in (
        {"pixel_values": X},
        {"pixel_values": X.numpy(), "return_dict": True, "labels": torch.zeros(6)},
        [{"pixel_values": x, "labels": 0} for x in X],
    ):
        found = ntk.width_limit(ByKeyword(), data, output="logits")
        assert found.distance == pytest.approx(expected.distance, rel=1e-12)
        assert found.limiting.value == pytest.approx(expected.limiting.value, rel=1e-9)
        assert [t.name for t in found.terms] == [f"inner.{t.name}" for t in expected.terms]
        for a, b in zip(found.terms, expected.terms, strict=True):
            assert a.relative == pytest.approx(b.relative, rel=1e-10)
            assert 0 < a.relative_error < 1e-9
    report = ntk.inspect(ByKeyword(), {"pixel_values": X}, output="logits", width_limit=True)
    section = report.extra["width_limit"]
    assert section["distance"] == pytest.approx(expected.distance, rel=1e-12)
    assert "±" in dict(section["lines"])["‖K̄ − K‖₂"]


def test_inputs_without_a_limit_are_said():
    X = rows()
    for data, words in [
        ({"pixel_values": X, "mask": X}, "one input, and X holds pixel_values, mask"),
        ({"pixel_values": X.long()}, r"pixel_values holds torch\.int64"),
        ((X, X), "X holds 2"),
    ]:
        with pytest.raises(ValueError, match=words):
            ntk.width_limit(ByKeyword(), data, output="logits")
