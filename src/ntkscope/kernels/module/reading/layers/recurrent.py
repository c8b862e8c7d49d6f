"""Recurrent layers, opened into the linear layers of their steps.

torch runs a whole sequence in one call, whose parameters would go the general way: vmap has no rule for
it, and a loop takes a pass a sample. Run step by step, W_ih is a linear layer on the sequence and
W_hh one that is used at every step. Packed sequences, projections and dropout stay closed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ntkscope.kernels.module.reading.layers.layer import OPENED

State = tuple[Tensor, ...]  # (h,), or (h, c)
Step = Callable[[Tensor, Tensor, State], State]


def _lstm_step(inner: Tensor, outer: Tensor, state: State) -> State:
    i, f, g, o = (inner + outer).chunk(4, dim=-1)
    c = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def _gru_step(inner: Tensor, outer: Tensor, state: State) -> State:
    (r, z, n), (s, y, m) = inner.chunk(3, dim=-1), outer.chunk(3, dim=-1)
    update = torch.sigmoid(z + y)
    new = torch.tanh(n + torch.sigmoid(r + s) * m)
    return ((1 - update) * new + update * state[0],)


def _tanh_step(inner: Tensor, outer: Tensor, state: State) -> State:
    del state
    return (torch.tanh(inner + outer),)


def _relu_step(inner: Tensor, outer: Tensor, state: State) -> State:
    del state
    return (torch.relu(inner + outer),)


def _direction(
    step: Step, x: Tensor, state: State, weights: Sequence[Tensor], time: int, backward: bool
) -> tuple[Tensor, State]:
    """One layer in one direction: outputs as x lies, and the last state."""
    w_ih, w_hh, *biases = weights
    b_ih, b_hh = biases or (None, None)
    inner = F.linear(x, w_ih, b_ih).unbind(time)
    made = []
    for at in reversed(inner) if backward else inner:
        state = step(at, F.linear(state[0], w_hh, b_hh), state)
        made.append(state[0])
    return torch.stack(made[::-1] if backward else made, dim=time), state


def _sequence(step: Step, several: bool) -> Callable[..., Any]:
    """In place of ``torch.lstm`` (several states), ``torch.gru``, …; NotImplemented for other calls."""

    def run(
        x: Tensor,
        hx: Any,
        weights: Any,
        biased: Any,
        layers: Any = None,
        dropout: Any = None,
        training: Any = None,
        bidirectional: Any = None,
        batch_first: Any = None,
    ) -> Any:
        directions = 2 if bidirectional else 1
        each = 4 if biased is True else 2
        sequences = isinstance(biased, bool) and isinstance(batch_first, bool) and x.ndim == 3
        if not sequences or len(weights) != layers * directions * each or (dropout and training):
            return NotImplemented
        states = tuple(hx) if several else (hx,)
        time, ends = (1 if batch_first else 0), []
        for layer in range(layers):
            outs = []
            for way in range(directions):
                k = layer * directions + way
                own = weights[k * each : (k + 1) * each]
                start = tuple(s[k] for s in states)
                out, end = _direction(step, x, start, own, time, way == 1)
                outs.append(out)
                ends.append(end)
            x = torch.cat(outs, dim=-1) if directions == 2 else outs[0]
        last = tuple(torch.stack(parts) for parts in zip(*ends, strict=True))
        return (x, *last)

    return run


def _cell(step: Step, several: bool) -> Callable[..., Any]:
    def run(
        x: Tensor, hx: Any, w_ih: Tensor, w_hh: Tensor, b_ih: Any = None, b_hh: Any = None
    ) -> Any:
        state = tuple(hx) if several else (hx,)
        made = step(F.linear(x, w_ih, b_ih), F.linear(state[0], w_hh, b_hh), state)
        return made if several else made[0]

    return run


_torch: Any = torch  # whose recurrent functions type checkers do not know

for _name, _step in (
    ("lstm", _lstm_step), ("gru", _gru_step), ("rnn_tanh", _tanh_step), ("rnn_relu", _relu_step),
):  # fmt: skip
    OPENED[getattr(_torch, _name)] = _sequence(_step, _name == "lstm")
    OPENED[getattr(_torch, f"{_name}_cell")] = _cell(_step, _name == "lstm")
