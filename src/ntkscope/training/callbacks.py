"""A tracker as a callback of training frameworks, by the names of their hooks alone."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch


@runtime_checkable
class Counts(Protocol):
    """What is told of an optimizer, its steps and the end."""

    @property
    def attached(self) -> bool:
        """Whether it knows an optimizer."""

    def attach(self, optimizer: Any) -> None:
        """This one trains."""

    def step(self, loss: Any = None) -> None:
        """One more."""

    def finish(self) -> None:
        """The last was it."""


class TrackerCallback:
    """Counts a framework's optimizer steps for a tracker.

    Lightning calls ``on_train_batch_end(trainer, module, outputs, …)``, Hugging Face's Trainer
    ``on_step_end(args, state, control, …)``; both begin with a hook that shows the optimizer, which a tracker
    without one is given, and end with ``on_train_end``. Every other hook does nothing, and none raises for a
    measurement that fails. Neither library is imported.
    """

    def __init__(self, tracker: Counts) -> None:
        self.tracker = tracker
        self._step = 0

    def _attach(self, optimizers: Any) -> None:
        """The only one, out of what a framework wraps it in."""
        if self.tracker.attached or len(optimizers) != 1:
            return
        optimizer = optimizers[0]
        while hasattr(optimizer, "optimizer"):
            optimizer = optimizer.optimizer
        if isinstance(optimizer, torch.optim.Optimizer):
            self.tracker.attach(optimizer)

    def on_train_start(self, trainer: Any, module: Any = None, *_: Any) -> None:
        """Lightning: its optimizers are made."""
        del module
        self._attach(getattr(trainer, "optimizers", None) or ())

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Hugging Face: its optimizer is made."""
        del args, state, control
        self._attach([kwargs.get("optimizer")])

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any = None, *_: Any) -> None:
        """Lightning: a batch, which is a step where the gradients were not accumulated further."""
        del module
        taken = int(getattr(trainer, "global_step", self._step + 1))
        if taken > self._step:
            self._step = taken
            self.tracker.step(outputs.get("loss") if isinstance(outputs, dict) else outputs)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Hugging Face: an optimizer step."""
        del args, state, control
        self.tracker.step()

    def on_train_end(self, *_: Any, **__: Any) -> None:
        """Either: the end counts too."""
        self.tracker.finish()

    state_key = "ntkscope.Tracker"  # what Lightning's checkpoints call it

    def state_dict(self) -> dict[str, Any]:
        """Nothing to resume."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing was kept."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("on_") or name in ("setup", "teardown"):
            return _nothing
        raise AttributeError(name)


def _nothing(*_: Any, **__: Any) -> None:
    """A hook that has nothing to do."""
