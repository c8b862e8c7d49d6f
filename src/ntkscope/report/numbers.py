"""Numbers of a record as people read them, in terminals and on pages."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

_NO_STEP = 1e100  # of a learning rate: more is rounding noise turned over
_NO_LIMIT = "no limit is known, as the curvature is 0 to rounding"


def count(value: float | int | str) -> str:
    """A whole number with separators, or ∞ (as JSON holds it, the string inf)."""
    return "∞" if float(value) == math.inf else f"{int(value):,}"


def counted(n: int, thing: str) -> str:
    """``1 piece``, ``2,000 pieces``."""
    return f"{n:,} {thing}{'' if n == 1 else 's'}"


def sentence(text: str) -> str:
    """Begun with a capital; a symbol stays as it is."""
    return text[:1].upper() + text[1:] + "." if text[:1].isascii() else f"{text}."


def number(value: Any, digits: int = 4) -> str:
    """A number as people read it: 4 significant digits, ∞ and — for none."""
    if value is None:
        return "—"
    value = float(value) + 0.0  # no −0
    if math.isnan(value):
        return "—"
    if value in (float("inf"), float("-inf")):
        return "∞" if value > 0 else "−∞"
    return f"{value:.{digits}g}"


def up(value: float, digits: int = 1) -> str:
    """A bound in few digits, rounded up so that it stays one."""
    if not 0 < value < math.inf:
        return number(value)
    unit = 10.0 ** (math.floor(math.log10(value)) - digits + 1)
    return number(math.ceil(value / unit * (1 - 1e-9)) * unit, digits)


def told_apart(one: float, other: float, least: int = 4, most: int = 15) -> tuple[str, str]:
    """Two numbers in as many digits as it takes to tell them apart."""
    for digits in range(least, most + 1):
        texts = number(one, digits), number(other, digits)
        if texts[0] != texts[1]:
            break
    return texts


def span(low: float, high: float) -> str:
    """``209.91 … 209.94``: an interval whose ends can be told apart."""
    return " … ".join(told_apart(low, high))


def many(count: float) -> str:
    """A count in words: 640, 26,000, 1.5 million."""
    if not count < 1e12:
        return number(count, 2)
    for size, word in ((1e9, " billion"), (1e6, " million")):
        if count >= size:
            return f"{float(f'{count:.2g}') / size:g}{word}"
    return f"{float(f'{count:.2g}') if count >= 1e4 else round(count):,.0f}"


def bars(value: Any, error: Any = 0.0, standard_error: Any = 0.0) -> str:
    """``0.42 ± 3e-12``: with the rounding error, and with the standard error where it was sampled.

    Infinite numbers and NaN come as the text that JSON holds.
    """
    text = number(value)
    for bar, kind in ((float(standard_error), " (1σ)"), (float(error), "")):
        if bar > 0 and text not in ("—", "∞", "−∞"):
            text += f" ± {number(bar, 2)}{kind}"
    return text


def interval(low: float, value: float, high: float) -> str:
    """Digits as far as the interval allows, then its half-width: ``1.2345678 ± 2e-13``."""
    error = max(high - value, value - low)
    if not error < float("inf"):
        return f"≤ {number(high, 6)}"
    digits = 6
    if error > 0 and value:
        digits = max(2, min(16, math.ceil(-math.log10(error / abs(value))) + 1))
    return f"{value:.{digits}g} ± {error:.2g}"


def enclosed(end: Mapping[str, Any]) -> str:
    """An eigenvalue or a quotient of two by its interval, ``≥`` where it has no upper end."""
    if not float(end["upper"]) < float("inf"):
        return f"≥ {number(end['lower'])}"
    return interval(end["lower"], end["value"], end["upper"])


def judged(end: Mapping[str, Any]) -> str:
    """An eigenvalue as one end or both ends of its interval, with its status where that is not OK."""
    low, value, high = (float(end[key]) for key in ("lower", "value", "upper"))
    if end["status"] == "BELOW_NOISE":
        return f"0 ± {number(max(-low, high), 2)} (below rounding)"
    text = enclosure(low, high, value)
    return text if end["status"] == "OK" else f"{text} ({end['status'].replace('_', ' ').lower()})"


def limit_of_steps(stable: float, short: float) -> str:
    """A step that is stable for certain, and how far the limit may lie above it."""
    stable, short = float(stable), float(short)
    if stable > _NO_STEP:
        return _NO_LIMIT
    if not short < math.inf:
        return f"below {number(stable)} for certain; {_NO_LIMIT}"
    if short <= 1e-2 * stable:
        return f"below {number(stable)}, at most {number(short, 2)} short of the limit"
    return (
        f"below {number(stable)} for certain; the limit lies at or below {number(stable + short)}"
    )


def any_batch(loss: Mapping[str, Any]) -> str:
    """The step below which no batch, whatever its size, is unstable on the linearised model."""
    step = loss["any_batch_step"]
    if step is None:
        return f"not known: {loss['loss']} is no mean of what it is on single {loss['unit']}s, such as a mean with weights"
    if float(step) > _NO_STEP:
        return _NO_LIMIT
    return f"below {number(step)} with batches of any size (linearised)"


def numbers_only(record: Mapping[str, Any]) -> str:
    """Of samples that are not described: their number and shapes, or that there are none."""
    n = record["n_samples"]
    if not record["inputs"]:
        return f"not given; N = {n}"
    source = record["settings"].get("data", "samples")
    return f"{source}: N = {n}, inputs {', '.join(record['inputs'])}"


def of_all_outputs(record: Mapping[str, Any]) -> str:
    """Which kernel gradient descent follows, where it is not the inspected one; else nothing."""
    training, n = record["training"], record["n_samples"]
    if training["rows"] == n:
        return ""
    low = training["smallest"]
    least = "its λ_min was not computed" if low is None else f"λ_min = {judged(low)}"
    return (
        f"the steps and the memorization below follow from the kernel of all pairs of outputs, of N·C = "
        f"{training['rows']} rows: λ_max = {judged(training['largest'])}, {least}"
    )


def with_error(value: float, error: float) -> str:
    """``value ± error``, in as many digits as the error allows."""
    return interval(value - error, value, value + error) if error < float("inf") else "unknown"


def share(value: float, error: float, digits: int = 1) -> str:
    """A part of a whole in percent; with its error where that can be seen, — where nothing is known."""
    if not error < 1.0:
        return "—"
    text = f"{100 * value:.{digits}f}"
    return f"{text}%" if 200 * error < 10.0**-digits else f"{text} ± {100 * error:.2g}%"


def predicted(found: Mapping[str, Any]) -> str:
    """A finite-width prediction with its interval and reason, or why it is 0."""
    if found["regime"] == "zero":
        return f"0 exactly: {found['reason']}"
    ends = span(found["lower"], found["upper"])
    return f"predicted {number(found['value'])} in {ends}: {found['reason']}"


def steps(pair: Any) -> str:
    """A count of steps, or the interval of counts."""
    if pair is None:
        return "not bounded"
    few, many = pair
    short = few == many or (many - few) <= 1e-3 * many
    return f"{number(many, 6)}" if short else f"{number(few)} – {number(many)}"


def own_smallest(layer: Mapping[str, Any], short: bool = False) -> str:
    """λ_min of one term, and where it is no number away from 0, what it is."""
    status = layer["smallest_status"]
    if status == "RANK_DEFICIENT":
        return "0: rank < N" if short else "0, exactly: rank below N"
    if status == "BELOW_NOISE":
        reach = number(abs(layer["smallest"]) + layer["smallest_error"], 2)
        return f"0 ± {reach}" if short else f"0 ± {reach}: below rounding"
    value = number(layer["smallest"])
    return value if status == "OK" else f"{value} ({status.replace('_', ' ').lower()})"


def telling(rungs: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The bounds without the Schur ones, where these are 0 for every parameter."""
    return [r for r in rungs if not (r["name"].endswith("Schur") and r["value"] == 0)]


def enclosure(low: float, high: float, value: float | None = None) -> str:
    """A proved interval: ``0.4590743437 ± 3e-13`` where it is narrow or about 0, else ``in [4.6, 9.3]``."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return f"≤ {number(high, 6)}" if math.isfinite(high) else f"≥ {number(low, 6)}"
    if low == high == 0.0:
        return "0"
    middle = 0.5 * low + 0.5 * high if value is None else value
    width = high - low
    if width <= 2e-3 * abs(middle) or 4.0 * abs(low + high) <= width:
        return interval(low, middle, high)
    told = "" if value is None else f"{number(value, 6)} "
    return f"{told}in [{number(low, 6)}, {number(high, 6)}]"


def shortly(found: Mapping[str, Any]) -> tuple[str, str, str]:
    """Of a tile: value, look and half-width of what is known to more digits than it has room for."""
    low, value, high = (float(found[key]) for key in ("lower", "value", "upper"))
    error = max(high - value, value - low)
    if error <= 1e-6 * abs(value):
        return number(value, 6), "", f"± {number(error, 2)}"
    return enclosed(found), "", ""
