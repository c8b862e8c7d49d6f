"""How a model takes its inputs and which part of what it returns are its outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from torch import Tensor

from ntkscope._base.samples import is_setting
from ntkscope._base.specs import unknown

Output = str | int | Callable[[Any], Any] | None
PICK = "pass a function that picks the tensor, output=lambda out: …"


@dataclass(frozen=True, eq=False)
class Interface:
    """keywords: the names that tensors go in by, none where they go in by place. settings: keyword
    arguments that are the same for all samples. output: a name, a place, or what picks the outputs.
    """

    keywords: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    output: Output = None

    @classmethod
    def of(cls, inputs: Any, output: Output) -> Interface:
        """For inputs as :class:`Samples` holds them. Raises TypeError for an ``output`` that picks none."""
        if isinstance(output, bool) or not (
            output is None or isinstance(output, (str, int)) or callable(output)
        ):
            raise TypeError(
                "output is the name or place of the model's outputs in what it returns, or a function "
                f'that picks them, such as "logits"; got {output!r}'
            )
        if not isinstance(inputs, Mapping):
            return cls(output=output)
        settings = {key: value for key, value in inputs.items() if is_setting(value)}
        return cls(tuple(key for key in inputs if key not in settings), settings, output)

    def named(self, inputs: tuple[Tensor, ...]) -> dict[str, Any]:
        """The inputs by keyword; empty where they go in by place."""
        return (
            {**dict(zip(self.keywords, inputs, strict=True)), **self.settings}
            if self.keywords
            else {}
        )

    def pick(self, raw: Any) -> Any:
        """The outputs in what the model returned. Raises ValueError where they are not there."""
        wanted = self.output
        if wanted is None:
            return raw
        if callable(wanted):
            return wanted(raw)
        entries = parts_of(raw)
        if isinstance(wanted, int):
            if not isinstance(raw, (tuple, list)) or not -len(raw) <= wanted < len(raw):
                raise ValueError(
                    f"output={wanted} names no part of what the model returns: {outline(raw)}; {remedy(raw)}"
                )
            return raw[wanted]
        if wanted not in entries:
            raise ValueError(
                unknown("output", wanted, entries)
                if entries
                else f"output={wanted!r}, but the model returns {outline(raw)}; {remedy(raw)}"
            )
        return entries[wanted]


def parts_of(raw: Any) -> dict[str, Any]:
    """The named parts of a dict, a dataclass or a named tuple (a ``ModelOutput`` is a dict)."""
    if isinstance(raw, Mapping):
        return {str(key): raw[key] for key in raw}
    if is_dataclass(raw) and not isinstance(raw, type):
        return {f.name: getattr(raw, f.name) for f in fields(raw)}
    if isinstance(raw, tuple) and hasattr(raw, "_fields"):
        return {name: getattr(raw, name) for name in raw._fields}
    return {}


def remedy(raw: Any) -> str:
    """What to give as ``output`` for what a model returned: a part that holds a tensor, if there is one."""
    if isinstance(raw, Tensor):
        return "leave output out"
    parts = dict(enumerate(raw)) if isinstance(raw, (tuple, list)) else {}
    found = [key for key, value in (parts_of(raw) or parts).items() if isinstance(value, Tensor)]
    if not found:
        return PICK
    first = "logits" if "logits" in found else found[0]
    return f"name the part that holds the outputs, such as output={first!r}, or {PICK}"


def outline(raw: Any) -> str:
    """Type and parts of what a model returned, with their shapes."""
    kind = type(raw).__name__
    if isinstance(raw, Tensor):
        return f"a tensor of shape {tuple(raw.shape)}"
    named = parts_of(raw).items()
    places = enumerate(raw) if isinstance(raw, (tuple, list)) else ()
    parts = [f"{key}: {_size(value)}" for key, value in (named or places)]
    return f"a {kind} of {', '.join(parts)}" if parts else f"a {kind}"


def _size(value: Any) -> str:
    return str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__
