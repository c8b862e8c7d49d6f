"""Where the tracker's numbers go, and what it says of an optimizer's edge."""

import math

import pytest
import torch
from torch import nn

import ntkscope as ntk


def setting():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 9), nn.Tanh(), nn.Linear(9, 3)).double()
    return model, ntk.data.gaussian(n_samples=6, dim=4, seed=0), torch.arange(6) % 3


def train(model, X, y, optimizer, count):
    for _ in range(count):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(X), y).backward()
        optimizer.step()


class Writer:
    """Keeps what it is told, and fails from a call on."""

    def __init__(self, fails_at=math.inf):
        self.told, self.fails_at = [], fails_at

    def add_scalar(self, tag, scalar_value, global_step):
        if len(self.told) >= self.fails_at:
            raise ConnectionError("no board")
        self.told.append((tag, scalar_value, global_step))


def test_a_writer_is_told_each_finite_number():
    model, X, y = setting()
    writer, optimizer = Writer(), torch.optim.SGD(model.parameters(), lr=0.1)
    with ntk.Tracker(
        model, X, every=2, optimizer=optimizer, writer=writer, loss="cross_entropy", targets=y
    ) as tracker:
        train(model, X, y, optimizer, 3)
    expected = [
        (f"ntk/{name}", value, int(row["step"]))
        for row in tracker.history
        for name, value in row.items()
        if name not in ("step", "loss")  # not told where the optimizer is followed
    ]
    assert writer.told == expected
    assert {step for _, _, step in writer.told} == {0, 2, 3}
    assert tracker.history[-1]["probe_loss"] == pytest.approx(
        float(nn.functional.cross_entropy(model(X), y).detach()), rel=1e-12
    )


@pytest.mark.parametrize("labels", ["classes", "real", "columns"])
def test_the_kernels_alignment_with_the_labels(labels):
    model, X, y = setting()
    Y = {
        "classes": y, "real": X[:, 0] ** 2, "columns": nn.functional.one_hot(y, 3).double()
    }[labels]  # fmt: skip
    tracker = ntk.Tracker(model, X, targets=Y)
    columns = nn.functional.one_hot(y, 3).double() if labels != "real" else Y[:, None]
    H = torch.eye(6, dtype=torch.float64) - 1 / 6
    A, B = H @ ntk.empirical_ntk(model, X).dense() @ H, H @ columns @ columns.T @ H
    expected = float((A * B).sum() / (A.norm() * B.norm()))
    assert tracker.history[0]["alignment"] == pytest.approx(expected, rel=1e-10)


def test_without_a_label_a_sample_there_is_no_alignment():
    model, X, _ = setting()
    tokens = torch.zeros(6, 2, dtype=torch.long)
    for targets in (None, torch.ones(6), torch.arange(5), tokens, ["a"] * 6):
        assert "alignment" not in ntk.Tracker(model, X, targets=targets).history[0]


def test_a_writer_that_fails_does_not_end_the_run(tmp_path):
    model, X, _ = setting()
    tracker = ntk.Tracker(model, X, every=1, writer=Writer(fails_at=7), csv=tmp_path / "ntk.csv")
    tracker.step(1.0)
    tracker.step(0.5)
    assert set(tracker.errors) == {1, 2}
    assert tracker.errors[2] == "ConnectionError: no board"
    assert len((tmp_path / "ntk.csv").read_text().splitlines()) == 4
    assert tracker.history[-1]["lambda_max"] > 0
    # what is wrong from the start is said at the start
    with pytest.raises(ConnectionError):
        ntk.Tracker(model, X, writer=Writer(fails_at=0))
    with pytest.raises(TypeError, match="add_scalar"):
        ntk.Tracker(model, X, writer=print)


def test_tensorboard_reads_it(tmp_path):
    board = pytest.importorskip("torch.utils.tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    model, X, _ = setting()
    with board.SummaryWriter(tmp_path) as writer:
        tracker = ntk.Tracker(model, X, every=1, writer=writer)
        tracker.step(0.25)
    events = EventAccumulator(str(tmp_path)).Reload()
    assert "ntk/lambda_min" in events.Tags()["scalars"]
    found = [(e.step, e.value) for e in events.Scalars("ntk/lambda_max")]
    assert found == [
        (int(row["step"]), pytest.approx(row["lambda_max"], rel=1e-6)) for row in tracker.history
    ]


def test_the_edge_is_the_optimizers_own():
    """Of Adam: its preconditioned curvature, against 38/η."""
    model, X, y = setting()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, eps=1e-3)
    with ntk.Tracker(
        model, X, every=3, optimizer=optimizer, loss="cross_entropy", targets=y
    ) as tracker:
        train(model, X, y, optimizer, 3)
    first, last = tracker.history
    assert all(math.isnan(first[name]) for name in ("curvature", "sharpness", "edge"))
    assert last["edge"] == pytest.approx(3800)
    for name, gauss_newton in (("curvature", True), ("sharpness", False)):
        found = ntk.sharpness(model, X, y, optimizer=optimizer, gauss_newton=gauss_newton)
        assert last[name] == pytest.approx(found.value, rel=1e-10)
    assert tracker.errors == {}

    heavy = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    tracker = ntk.Tracker(model, X, optimizer=heavy, loss="cross_entropy", targets=y)
    assert tracker.history[0]["edge"] == pytest.approx(38)
    alone = ntk.Tracker(model, X, loss="cross_entropy", targets=y)
    assert math.isnan(alone.history[0]["edge"])
    assert alone.history[0]["sharpness"] == tracker.history[0]["sharpness"]


def test_an_optimizer_without_a_known_edge_is_followed_all_the_same():
    model, X, y = setting()
    optimizer = torch.optim.RMSprop(model.parameters(), lr=0.01)
    tracker = ntk.Tracker(model, X, every=1, optimizer=optimizer, loss="cross_entropy", targets=y)
    with tracker:
        train(model, X, y, optimizer, 1)
    assert "SGD, Adam and AdamW" in tracker.errors[1]
    last = tracker.history[-1]
    assert math.isnan(last["edge"])
    assert last["sharpness"] == pytest.approx(ntk.sharpness(model, X, y).value, rel=1e-10)
    # at a schedule's rate of 0 no curvature is too large
    warm = torch.optim.AdamW(model.parameters(), lr=0.0)
    with ntk.Tracker(model, X, optimizer=warm, loss="cross_entropy", targets=y) as tracker:
        train(model, X, y, warm, 1)
    assert tracker.history[-1]["edge"] == math.inf
    assert tracker.history[-1]["curvature"] > 0
    assert tracker.errors == {}
