"""The arithmetic that settings files may use: ``8*N``, ``floor(sqrt(1000*i))``, ``{d},{8*N},1``."""

from __future__ import annotations

import ast
import itertools
import math
import operator
import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from ntkscope._base.specs import unknown

Value = int | float | str

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_CALLS: dict[str, Callable[..., Any]] = {
    "ceil": math.ceil,
    "floor": math.floor,
    "log": math.log,
    "max": max,
    "min": min,
    "round": round,
    "sqrt": math.sqrt,
}
_LONGEST = 1000  # characters of an expression
_LARGEST = 1e30  # of its whole numbers, which Python would let grow without end
_BRACES = re.compile(r"\{([^{}]*)\}")


def evaluate(text: str, variables: Mapping[str, Value]) -> Value:
    """The value of an arithmetic expression in ``variables``.

    Numbers, names, ``+ - * / // % **``, comparisons with ``and`` and ``or`` (1 or 0), and ceil,
    floor, log, max, min, round, sqrt. Whole floats stay floats: write ``floor(…)`` or ``//`` where
    an integer is meant.

    Raises ValueError for anything else, naming it.
    """
    if len(text) > _LONGEST:
        raise ValueError(f"an expression has at most {_LONGEST} characters, got {len(text)}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # of what looks odd to Python: it is read or refused here
            tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError(
            f"cannot read the expression {text!r}; write e.g. '8*N' or 'sqrt(d)'"
        ) from None
    try:
        return _value(tree.body, variables, text)
    except (ArithmeticError, TypeError, OverflowError) as error:
        raise ValueError(f"the expression {text!r} has no value: {error}") from None


def names(text: str) -> tuple[str, ...]:
    """The variables of an expression, each once. Raises ValueError for what cannot be read."""
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError(f"cannot read the expression {text!r}; write e.g. 'L*d'") from None
    called = {id(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call)}
    found = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and id(n) not in called}
    return tuple(sorted(found))


def listed(text: str) -> tuple[str, ...]:
    """The expressions of ``"lambda_min,max(a, b)/d"``: commas within brackets part nothing."""
    depth, found = 0, [""]
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            found.append("")
        else:
            found[-1] += letter
    parts = tuple(dict.fromkeys(part.strip() for part in found))
    if "" in parts:
        raise ValueError(f"a list such as 'lambda_min,trace/N' has no empty part, got {text!r}")
    return parts


def _combined(kind: type[ast.operator], left: Value, right: Value) -> Value:
    """One operation on two numbers; whole ones stay below 1e30."""
    if isinstance(left, str) or isinstance(right, str):
        raise TypeError(f"{left!r} and {right!r} are not both numbers")
    if kind is ast.Pow and isinstance(left, int) and isinstance(right, int):
        left = (
            left if abs(right) * math.log(max(2, abs(left))) < math.log(_LARGEST) else float(left)
        )
    made: Value = _BINARY[kind](left, right)
    if isinstance(made, complex):
        raise TypeError(f"{left} ** {right} is not real")
    if isinstance(made, int) and abs(made) > _LARGEST:
        raise OverflowError(f"whole numbers go up to {_LARGEST:.0e}")
    return made


def fill(text: str, variables: Mapping[str, Value]) -> str:
    """``text`` with every ``{expression}`` replaced by its value."""
    return _BRACES.sub(lambda match: str(evaluate(match[1], variables)), text)


def _value(node: ast.expr, variables: Mapping[str, Value], text: str) -> Value:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return node.value  # type: ignore[return-value]  # the line above narrows it at run time
    if isinstance(node, ast.Name):
        if node.id not in variables:
            raise ValueError(unknown("variable", node.id, variables) + f" (in {text!r})")
        return variables[node.id]
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        left, right = _value(node.left, variables, text), _value(node.right, variables, text)
        return _combined(type(node.op), left, right)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        operand: Any = _value(node.operand, variables, text)
        return -operand if isinstance(node.op, ast.USub) else operand
    if isinstance(node, ast.Compare) and all(type(op) in _COMPARE for op in node.ops):
        terms = [_value(n, variables, text) for n in (node.left, *node.comparators)]
        pairs = zip(node.ops, itertools.pairwise(terms), strict=True)
        return int(all(_COMPARE[type(op)](*pair) for op, pair in pairs))
    if isinstance(node, ast.BoolOp):
        truths = [bool(_value(n, variables, text)) for n in node.values]
        return int(all(truths) if isinstance(node.op, ast.And) else any(truths))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        if node.func.id not in _CALLS:
            raise ValueError(unknown("function", node.func.id, _CALLS) + f" (in {text!r})")
        return _CALLS[node.func.id](*(_value(a, variables, text) for a in node.args))
    raise ValueError(
        f"{ast.unparse(node)!r} is not allowed in {text!r}; "
        "use numbers, variables, + - * / // % **, comparisons and " + ", ".join(_CALLS)
    )
