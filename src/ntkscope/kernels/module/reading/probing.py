"""Small passes: on which samples, and what they may not do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ntkscope.kernels.module.reading.history import now, require_fresh
from ntkscope.kernels.module.reading.recorder import record
from ntkscope.kernels.module.reading.subject import Inputs, Subject, WrongOutputError
from ntkscope.kernels.module.reading.trace import Fixed, Trace


def distinct(inputs: Inputs) -> list[int]:
    """Three samples, different from one another where there are such."""
    chosen = [0]
    n = len(inputs[0])
    for _ in range(2):
        fresh = torch.ones(n, dtype=torch.bool, device=inputs[0].device)
        for row in set(chosen):
            differs = torch.zeros_like(fresh)
            for part in inputs:
                differs |= (part != part[row]).reshape(n, -1).any(dim=1)
            fresh &= differs
        chosen.append(int(fresh.nonzero()[0]) if bool(fresh.any()) else chosen[-1])
    return chosen


def probe(
    subject: Subject,
    few: Inputs,
    inputs: Inputs,
    fixed: Fixed | None = None,
    *,
    closely: bool = True,
) -> Trace:
    """What a pass over ``few`` of the inputs shows; ``fixed`` and ``closely`` as in :func:`record`.

    Raises ValueError where its outputs are not finite or do not follow from the parameters.
    """
    with subject.autograd() as (leaves, run):
        watched = lambda: record(lambda: run(few), leaves, fixed=fixed, closely=closely)  # noqa: E731
        began = now()
        trace = untouched(subject, watched, inputs, "X")
        trace.require_complete()
        require_fresh(trace.output, leaves, began, lambda: run(few))
    if not trace.output.requires_grad and not trace.depends_on_data:
        raise ValueError(
            "the outputs do not depend on the parameters in a way that autograd can follow "
            "(no_grad, detach, argmax or rounding in the forward pass); return the values before it"
        )
    if not bool(torch.isfinite(trace.output).all()):
        first = next((c for c in trace.calls if not bool(torch.isfinite(c.out).all())), None)
        where = f", first in the layer of {', '.join(first.operations)}" if first else ""
        bad = ~torch.isfinite(trace.output).all(dim=0)
        some = "" if bool(bad.all()) else f" (output {int(bad.nonzero()[0])})"
        rest = "; if it is of no use, let forward leave it out" if some else ""
        raise ValueError(
            f"the model's outputs are NaN or infinite on these data{some}{where}{rest}"
        )
    return trace


def untouched(subject: Subject, run: Callable[[], Any], inputs: Inputs, name: str) -> Any:
    """Run a pass over some of ``inputs``, which the user knows as ``name``.

    Raises ValueError if it fails on such inputs or draws random numbers.
    """
    states = _random_states(subject.device)
    try:
        result = run()
    except WrongOutputError:
        raise
    except (RuntimeError, TypeError, IndexError, AttributeError, KeyError, AssertionError) as error:
        shapes = ", ".join(f"{tuple(t.shape)} {t.dtype}" for t in inputs)
        remedy = next((said for words, said in _REMEDIES.items() if words in str(error)), "")
        raise ValueError(
            f"the model does not run on {name} of shape {shapes}: {str(error).strip()}{remedy}"
        ) from error
    drawn = [put_back for state, now, put_back in states if not torch.equal(now(), state)]
    for put_back in drawn:
        put_back()
    if drawn:
        raise ValueError(
            "the forward pass draws random numbers (dropout, noise, sampling), so the network is "
            "another one at each pass; call model.eval(), or fix the noise as an input"
        )
    return result


_REMEDIES = {
    "required positional argument": "; pass several inputs as a tuple of tensors, or by keyword",
    "unexpected keyword argument": "; leave out what is no input of the model",
    "does not require grad": "; where forward takes a gradient by a parameter that params leaves out: "
    "take the kernel of all of them, and K.group(...) of it",
    "same dtype": "; whole numbers that are features and no indices: convert them to floats",
}


State = tuple[Tensor, Callable[[], Tensor], Callable[[], None]]


def _random_states(device: torch.device) -> list[State]:
    """Torch's generators: a state, how to ask for it, how to put it back."""
    cpu = torch.get_rng_state()
    states: list[State] = [(cpu, torch.get_rng_state, lambda: torch.set_rng_state(cpu))]
    if device.type == "cuda":
        own = torch.cuda.get_rng_state(device)
        states.append(
            (
                own,
                lambda: torch.cuda.get_rng_state(device),
                lambda: torch.cuda.set_rng_state(own, device),
            )
        )
    return states
