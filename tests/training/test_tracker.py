"""The tracker in a loop of one's own."""

import math

import pytest
import torch

import ntkscope as ntk
from ntkscope.training.alignment import as_label_columns
from ntkscope.training.tracker import Tracker
from oracles.jacobian import kernel


def setting(seed=0):
    model = ntk.Network([4, 30, 1], "tanh", "he", "ntk").sample(seed)
    X = ntk.data.gaussian(n_samples=8, dim=4, seed=seed)
    return model, X, torch.sign(X[:, :1])


def steps(model, X, Y, optimizer, count, after=id):
    for _ in range(count):
        optimizer.zero_grad()
        loss = 0.5 * ((model(X) - Y) ** 2).sum()
        loss.backward()
        optimizer.step()
        after(loss)


@pytest.mark.parametrize("make", [torch.optim.Adam, torch.optim.SGD, torch.optim.RMSprop])
def test_it_follows_any_optimizer_and_measures_the_kernel(make, tmp_path):
    model, X, Y = setting()
    optimizer = make(model.parameters(), lr=1e-2)
    with Tracker(model, X, every=4, optimizer=optimizer) as tracker:
        steps(model, X, Y, optimizer, 10)
    assert tracker.column("step") == [0, 4, 8, 10]
    expected = ntk.smallest_eigenvalue(ntk.empirical_ntk(model, X))
    last = tracker.history[-1]
    assert abs(last["lambda_min"] - expected.value) <= last["lambda_min_error"] + expected.error
    start = ntk.empirical_ntk(setting()[0], X).dense()
    drift = torch.linalg.matrix_norm(ntk.empirical_ntk(model, X).dense() - start)
    assert last["drift"] == pytest.approx(float(drift / torch.linalg.matrix_norm(start)), rel=1e-12)
    assert tracker.history[0]["drift"] == 0.0
    steps(model, X, Y, optimizer, 4)
    assert tracker.steps_seen == 10  # the hook is gone
    tracker.plot(tmp_path / "ntk.png")
    assert (tmp_path / "ntk.png").stat().st_size > 5000


def test_as_a_callback_it_keeps_the_loss():
    model, X, Y = setting()
    tracker = Tracker(model, X, every=3)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    steps(model, X, Y, optimizer, 6, after=tracker)
    assert tracker.column("step") == [0, 3, 6]
    assert math.isnan(tracker.history[0]["loss"])
    assert tracker.history[1]["loss"] > tracker.history[2]["loss"]


def test_measuring_changes_nothing():
    plain, tracked = setting(), setting()
    state = torch.get_rng_state()
    for model, X, Y in (plain, tracked):
        optimizer = torch.optim.Adam(model.parameters())
        if model is plain[0]:
            steps(model, X, Y, optimizer, 7)
        else:
            with Tracker(model, X, every=1, optimizer=optimizer):
                steps(model, X, Y, optimizer, 7)
    for p, q in zip(plain[0].parameters(), tracked[0].parameters(), strict=True):
        assert torch.equal(p, q)
    assert torch.equal(state, torch.get_rng_state())


def test_an_error_in_the_loop_passes_through():
    model, X, _ = setting()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(RuntimeError, match="own"), Tracker(model, X, optimizer=optimizer):
        raise RuntimeError("the loop's own")
    assert not optimizer._optimizer_step_post_hooks


def test_bad_input():
    model, X, _ = setting()
    with pytest.raises(ValueError, match="every must be"):
        Tracker(model, X, every=0)
    with pytest.raises(ValueError, match="features"):
        Tracker(model, X[:, :2])
    with pytest.raises(TypeError, match=r"torch\.optim\.Optimizer.*got 'adam'"):
        Tracker(model, X, optimizer="adam")
    with pytest.raises(TypeError, match="got None"):
        Tracker(model, X).attach(None)


def test_a_module_of_several_outputs_counts_by_its_trace():
    torch_model = torch.nn.Sequential(
        torch.nn.Linear(4, 9), torch.nn.Tanh(), torch.nn.Linear(9, 3)
    ).double()
    X = ntk.data.gaussian(n_samples=5, dim=4, seed=0)
    tracker = Tracker(torch_model, X, every=1)
    optimizer = torch.optim.SGD(torch_model.parameters(), lr=1e-2)
    steps(torch_model, X, torch.zeros(5, 3), optimizer, 2, after=tracker)
    expected = torch.linalg.eigvalsh(kernel(torch_model, X))
    assert tracker.history[-1]["lambda_min"] == pytest.approx(float(expected[0]), rel=1e-9)
    assert tracker.history[-1]["lambda_max"] == pytest.approx(float(expected[-1]), rel=1e-12)
    assert all(p.grad is not None for p in torch_model.parameters())


def test_the_modes_are_those_of_the_beginning():
    """A loop in train() with dropout and batch statistics is measured in eval(), and goes on."""
    model = torch.nn.Sequential(
        torch.nn.Linear(4, 9), torch.nn.BatchNorm1d(9), torch.nn.Tanh(), torch.nn.Dropout(0.5),
        torch.nn.Linear(9, 1),
    ).double()  # fmt: skip
    X = ntk.data.gaussian(n_samples=6, dim=4, seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    with pytest.raises(ValueError, match=r"model\.eval\(\).*call model\.train\(\) again"):
        Tracker(model.train(), X)
    with Tracker(model.eval(), X, every=1, optimizer=optimizer) as tracker:
        model.train()
        steps(model, X, torch.zeros(6, 1), optimizer, 2)
        assert all(part.training for part in model.modules())
    assert tracker.column("step") == [0, 1, 2]
    expected = torch.linalg.eigvalsh(kernel(model.eval(), X))
    # a kernel is measured when the statistics have moved with the steps
    assert tracker.history[-1]["lambda_max"] == pytest.approx(float(expected[-1]), rel=1e-10)


def test_options_reach_the_kernel():
    model, X, _ = setting()
    module = torch.nn.Sequential(torch.nn.Linear(4, 9), torch.nn.Tanh(), torch.nn.Linear(9, 1))
    tracker = Tracker(module.double(), X, params="0.*", general=True)
    expected = ntk.empirical_ntk(module, X, params="0.*").dense()
    assert tracker.history[0]["lambda_max"] == pytest.approx(
        float(torch.linalg.eigvalsh(expected)[-1]), rel=1e-10
    )
    with pytest.raises(ValueError, match="max_memory"):
        Tracker(model, X, max_memory=3)


class Fragile(torch.nn.Module):
    """A model that loses the input it was made for."""

    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(4, 1).double()

    def forward(self, x):
        return self.inner(x)


def test_a_failing_measurement_does_not_end_the_run(tmp_path):
    model, X = Fragile(), ntk.data.gaussian(n_samples=5, dim=4, seed=0)
    tracker = Tracker(model, X, every=1, csv=tmp_path / "ntk.csv")
    tracker.step(0.5)
    model.inner = torch.nn.Linear(3, 1).double()  # changes shape
    with pytest.warns(UserWarning, match="could not be measured at step 2"):
        tracker.step(0.25)
    tracker.step(0.125)  # one warning is enough
    assert sorted(tracker.errors) == [2, 3]
    assert "does not run" in tracker.errors[2]
    assert math.isnan(tracker.history[2]["lambda_min"])
    model.inner = torch.nn.Linear(4, 1).double()
    tracker.step()
    assert tracker.history[-1]["lambda_max"] > 0
    rows = (tmp_path / "ntk.csv").read_text().splitlines()
    assert rows[0].startswith("step,loss,")
    assert len(rows) == 1 + len(tracker.history)
    assert tracker.to_csv(tmp_path / "again.csv").read_text().splitlines() == rows
    tracker.plot(tmp_path / "ntk.png")


def test_the_cost_is_held_under_a_share(monkeypatch):
    """A clock that gives training 1 s a step and a measurement 10 s."""
    from ntkscope.training import tracker as module

    now = [0.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    model, X, _ = setting()

    class Slow(Tracker):
        def _values(self):
            now[0] += 10.0
            return super()._values()

    tracker = Slow(model, X, every=1, share=0.1)
    for _ in range(350):
        now[0] += 1.0
        tracker.step()
    # after the first, each needs 100 s of training: 20/200, 30/300
    assert tracker.column("step") == [0, 200, 300]
    assert tracker.seconds == 30
    assert tracker.skipped == 348
    with pytest.raises(ValueError, match="share"):
        Tracker(model, X, share=0.0)


def classifier(middle=torch.tanh):
    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = torch.nn.Linear(4, 9), torch.nn.Linear(9, 3)

        def forward(self, x):
            return self.head(middle(self.body(x)))

    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Model().double(), ntk.data.gaussian(n_samples=6, dim=4, seed=0), torch.arange(6) % 3


def fit(model, X, Y, optimizer, count):
    for _ in range(count):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(X), Y).backward()
        optimizer.step()


@pytest.mark.parametrize("make", [torch.optim.Adam, torch.optim.SGD])
def test_an_edge_that_is_unknown_leaves_the_other_columns(make):
    model, X, Y = classifier()
    optimizer = make(model.head.parameters(), lr=0.01)
    with Tracker(
        model, X, every=2, optimizer=optimizer, loss="cross_entropy", targets=Y
    ) as tracker:
        fit(model, X, Y, optimizer, 2)
    last = tracker.history[-1]
    assert all(last[name] > 0 for name in ("lambda_max", "drift", "alignment", "probe_loss"))
    assert math.isnan(last["edge"])
    assert math.isnan(last["curvature"]) == (make is torch.optim.Adam)
    assert "does not hold body.weight" in tracker.errors[2]


def test_a_model_without_a_second_derivative_has_all_but_a_sharpness():
    anchors = torch.linspace(-1, 1, 36).reshape(4, 9).double()
    model, X, Y = classifier(lambda z: torch.cdist(z, anchors) @ anchors)
    with pytest.warns(UserWarning, match="no sharpness could be measured at step 0"):
        tracker = Tracker(model, X, loss="cross_entropy", targets=Y)
    row = tracker.history[0]
    assert row["curvature"] > 0
    assert row["lambda_max"] > 0
    assert math.isnan(row["sharpness"])
    assert "_cdist_backward" in tracker.errors[0]


def test_a_loss_that_fails_later_leaves_the_kernels_columns():
    model, X, Y = classifier()
    fails = []

    def loss(outputs, targets):
        if fails:
            raise RuntimeError("out of luck")
        return torch.nn.functional.cross_entropy(outputs, targets)

    tracker = Tracker(model, X, every=1, loss=loss, targets=Y)
    fails.append(True)
    with pytest.warns(UserWarning, match="no probe_loss, curvature.* could be measured at step 1"):
        tracker.step()
    assert tracker.history[-1]["lambda_max"] > 0
    assert math.isnan(tracker.history[-1]["probe_loss"])
    with pytest.raises(ValueError, match="out of luck"):  # said at once at the start
        Tracker(model, X, loss=loss, targets=Y)


def test_there_is_no_drift_once_parameters_were_freed():
    model, X, Y = classifier()
    model.head.requires_grad_(False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Tracker(model, X, every=1, optimizer=optimizer) as tracker:
        fit(model, X, Y, optimizer, 1)
        model.head.requires_grad_(True)
        with pytest.warns(
            UserWarning, match="drift is unknown at step 2: no drift: .*head"
        ) as said:
            fit(model, X, Y, optimizer, 1)
        assert said[0].filename == __file__  # and not the hook's caller in torch
        model.head.requires_grad_(False)
        fit(model, X, Y, optimizer, 1)
    drift = tracker.column("drift")
    assert math.isnan(drift[2])
    assert drift[3] > drift[1] > drift[0] == 0
    assert all(value > 0 for value in tracker.column("lambda_max"))
    assert list(tracker.errors) == [2]


def test_class_156_of_unsigned_bytes_counts():
    labels = torch.tensor([156, 1, 156, 2], dtype=torch.uint8)
    found = as_label_columns(labels, 4)
    assert found.kept.tolist() == [0, 1, 2, 3]
    assert torch.equal(found.Y, as_label_columns(labels.long(), 4).Y)


def test_targets_that_do_not_count_are_no_class_of_the_alignment():
    model, X, Y = classifier()
    some = torch.where(torch.arange(6) < 4, Y, -100)
    found = Tracker(model, X, targets=some).history[0]["alignment"]
    assert found == pytest.approx(Tracker(model, X[:4], targets=Y[:4]).history[0]["alignment"])


def test_a_step_counts_once_by_whatever_ways_it_is_told():
    model, X, Y = classifier()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Tracker(model, X, every=2, optimizer=optimizer) as tracker:
        trainer = LightningTrainer([tracker.callback()])
        for index in range(4):
            fit(model, X, Y, optimizer, 1)
            trainer.global_step += 1
            trainer.call("on_train_batch_end", model, None, None, index)
            tracker.step()
    assert tracker.steps_seen == 4
    tracker.step()
    assert tracker.steps_seen == 5


class Wrapped(torch.optim.Optimizer):
    """As accelerate's, around another."""

    def __init__(self, optimizer):
        self.optimizer = optimizer


@pytest.mark.parametrize("framework", ["lightning", "hugging face"])
def test_a_callback_finds_the_optimizer_that_is_made_later(framework):
    model, X, Y = classifier()
    tracker = Tracker(model, X, every=1, loss="cross_entropy", targets=Y)
    callback, optimizer = tracker.callback(), torch.optim.SGD(model.parameters(), lr=0.1)
    if framework == "lightning":
        trainer = LightningTrainer([callback])
        trainer.optimizers = [optimizer]
        trainer.fit(model, 1)
    else:
        callback.on_train_begin(None, None, None, model=model, optimizer=Wrapped(optimizer))
        callback.on_step_end(None, None, None)
    assert math.isnan(tracker.history[0]["edge"])
    assert tracker.history[1]["edge"] == 20
    own = torch.optim.SGD(model.parameters(), lr=0.2)
    given = Tracker(model, X, optimizer=own, every=1, loss="cross_entropy", targets=Y)
    given.callback().on_train_begin(None, None, None, optimizer=optimizer)
    given.step()
    assert given.history[1]["edge"] == 10  # what was given stays


class LightningTrainer:
    """Calls hooks by their names, every one that its own callbacks have."""

    HOOKS = ("setup", "on_fit_start", "on_train_start", "on_train_epoch_start")

    def __init__(self, callbacks, accumulate=1):
        self.callbacks, self.accumulate, self.global_step = callbacks, accumulate, 0

    def call(self, hook, *arguments):
        for callback in self.callbacks:
            getattr(callback, hook)(self, *arguments)

    def fit(self, module, batches):
        for hook in self.HOOKS:
            self.call(hook, module)
        for index in range(batches):
            if (index + 1) % self.accumulate == 0:
                self.global_step += 1
            self.call("on_train_batch_end", module, {"loss": torch.tensor(0.5)}, None, index)
        self.call("on_train_end", module)


def test_as_a_callback_of_lightning():
    model, X, _ = setting()
    tracker = Tracker(model, X, every=2)
    trainer = LightningTrainer([tracker.callback()], accumulate=2)
    trainer.fit(model, 10)
    assert tracker.column("step") == [0, 2, 4, 5]
    assert tracker.history[1]["loss"] == 0.5
    callback = trainer.callbacks[0]
    assert callback.state_dict() == {}
    callback.load_state_dict({})
    assert not hasattr(callback, "no_hook")


def test_as_a_callback_of_hugging_face():
    model, X, _ = setting()
    tracker = Tracker(model, X, every=2)
    callback = tracker.callback()
    arguments, state, control = object(), object(), object()
    for event in ("on_init_end", "on_train_begin", "on_epoch_begin"):
        assert getattr(callback, event)(arguments, state, control, model=model) is None
    for _ in range(3):
        callback.on_step_begin(arguments, state, control)
        assert callback.on_step_end(arguments, state, control, model=model) is None
    callback.on_train_end(arguments, state, control, model=model)
    assert tracker.column("step") == [0, 2, 3]


def test_the_loss_that_is_trained_is_followed():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 9), torch.nn.Tanh(), torch.nn.Linear(9, 3))
    model = model.double()
    X, Y = ntk.data.gaussian(n_samples=6, dim=4, seed=0), torch.arange(6) % 3
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Tracker(
        model, X, every=5, optimizer=optimizer, loss="cross_entropy", targets=Y
    ) as tracker:
        for _ in range(5):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(X), Y).backward()
            optimizer.step()
    last = tracker.history[-1]
    expected = torch.linalg.eigvalsh(ntk.gauss_newton_kernel(model, X, Y).dense())[-1]
    assert last["curvature"] == pytest.approx(float(expected), rel=1e-10)
    assert last["sharpness"] == pytest.approx(ntk.sharpness(model, X, Y).value, rel=1e-10)
    assert last["edge"] == 20
    assert tracker.errors == {}
