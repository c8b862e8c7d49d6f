"""The sentence that answers: what a record comes to, at the head of its page. Plain text."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ntkscope.report.laws import symbol
from ntkscope.report.numbers import counted, interval, many, number, span, up

Record = Mapping[str, Any]

WELL, BADLY = 1e2, 1e4  # condition numbers
CONDITIONING = "“Well conditioned” is a condition number λ_max/λ_min below 100, “badly conditioned” one above 10⁴."


def eigenvalue(found: Record, name: str = "λ_min") -> str:
    """What is certain of an eigenvalue, by its status; without a full stop."""
    low, value, high = (float(found[key]) for key in ("lower", "value", "upper"))
    within = f"[{number(low)}, {number(high)}]"
    match found["status"]:
        case "OK":
            relative = max(high - value, value - low) / abs(value)
            if relative < 5e-5:
                return f"{name} = {number(value)}, certain to {up(relative)} of its value"
            return f"{name} = {interval(low, value, high)}, certainly not 0"
        case "RANK_DEFICIENT":
            return f"{name} = 0 exactly: there are more samples than parameters"
        case "BELOW_NOISE":
            return f"{name} cannot be told from 0 at this precision: it lies in {within}"
        case "INDEFINITE":
            return f"{name} = {interval(low, value, high)} is negative beyond rounding: this is no kernel matrix"
        case "ESTIMATE":
            return f"{name} is not certified: it is at most {number(high)}, and no lower bound is known"
        case _:
            return f"{name} is not determined: the iteration stopped early, at {number(value)}"


def conditioning(ratio: float) -> str:
    """A word for λ_max/λ_min."""
    if ratio < WELL:
        return "well conditioned"
    return "badly conditioned" if ratio > BADLY else "moderately conditioned"


def inspection(record: Record) -> str:
    """λ_min, and what it means for gradient descent."""
    smallest = record["smallest_eigenvalue"]
    said = eigenvalue(smallest)
    if smallest["status"] != "OK":
        return f"{said}. No number of steps of gradient descent is certain to fit the labels."
    ratio = record["condition_number"]["value"]
    pair = record["training"]["steps"]["2/(λ_max + λ_min)"]["1e+03"]
    steps = (
        "how many steps gradient descent needs is not bounded"
        if pair is None
        else f"gradient descent needs about {many(pair[1])} steps to divide the loss by 1000 "
        "(linearised, worst labels, best fixed step)"
    )
    training = record["training"]
    if training["rows"] != record["n_samples"]:
        steps = f"for all {training['rows']} outputs together, whose kernel is another, {steps}"
    return f"{said}: {conditioning(ratio)}, λ_max/λ_min = {number(ratio, 3)}; {steps}."


def matrix(record: Record) -> str:
    """λ_min or σ_min of a matrix, and its condition number where asked for."""
    if "singular" in record:
        return f"{eigenvalue(record['singular'], 'σ_min')}."
    said = eigenvalue(record["smallest"][0])
    ratio = record.get("condition_number")
    if ratio is None or not float(ratio["upper"]) < math.inf:
        return f"{said}."
    value = float(ratio["value"])
    return f"{said}: {conditioning(value)}, λ_max/λ_min = {number(value, 3)}."


def training(record: Record) -> str:
    """How far the loss fell, beside what the linearised network foretold."""
    first, last = float(record["loss"][0]), float(record["loss"][-1])
    steps = record["steps"]
    if record["status"] == "diverged":
        return f"Training diverged after {many(steps)} steps, from a loss of {number(first)}."
    fell = f"In {many(steps)} steps the loss went from {number(first)} to {number(last)}"
    foretold = record["predicted_loss"]
    if foretold is None:
        return f"{fell}; this optimizer has no linearised law to compare with."
    end = float(foretold[-1])
    if not 0 < end < math.inf or not 0 < last < math.inf:
        return f"{fell}; the linearised network ends at {number(end)}."
    ratio = last / end
    if abs(ratio - 1) < 0.01:
        return f"{fell}, as the network linearised at its start foretells (within 1%)."
    side = f"{number(ratio, 3)} times" if ratio > 1 else f"1/{number(1 / ratio, 3)} of"
    return f"{fell}, {side} what the network linearised at its start foretells ({number(end)})."


def positions(results: Mapping[int, Record]) -> str:
    """Where the wide layer keeps λ_min largest, and where the loss ends lowest."""
    if not results:
        return "There is no hidden layer to widen."
    best = max(results, key=lambda k: float(results[k]["probes"][0]["lambda_min"]["value"]))
    least = min(results, key=lambda k: float(results[k]["loss"][-1]))
    first, loss = results[best]["probes"][0]["lambda_min"], results[least]["loss"][-1]
    return (
        f"λ_min(K_0) is largest, {interval(first['lower'], first['value'], first['upper'])}, with the wide layer at "
        f"position {best}; the loss ends lowest, at {number(loss)}, with it at position {least}."
    )


def memorization(record: Record, question: Record) -> str:
    """Whether the labels can be fitted, and whether the network built fits them."""
    able = _able(question)
    error, tol = number(record["error"], 3), number(record["tol"], 3)
    built = (
        f"the network of twice the widths built here fits these to ‖F − Y‖ = {error} (asked for: {tol})"
        if record["reached"]
        else f"the network of twice the widths built here misses them by ‖F − Y‖ = {error}, more than the {tol} asked for"
    )
    return f"{able}; {built}."


def capacity(question: Record) -> str:
    """Whether the labels can be fitted, from λ_min alone."""
    return f"{_able(question)}."


def _able(question: Record) -> str:
    N = question["n_samples"]
    if question["fits"]:
        return f"Yes: any {N} real labels can be fitted at these widths"
    if question["fits_doubled"]:
        return f"Any {N} real labels can be fitted at twice the hidden widths; at these widths it is not established"
    return f"Whether any {N} real labels can be fitted is not established"


def width(record: Record) -> str:
    """The smallest width that meets the goal, or that there is none."""
    name, goal = record["quantity"], number(record["threshold"])
    if record["width"] is None:
        return f"No width meets {name} ≥ {goal}: {record['reason']}."
    point = next((p for p in record["points"] if p["width"] == record["width"]), None)
    seen = (
        ""
        if point is None
        else f" on all of {len(point['values'])} sampled networks (smallest: {number(min(point['values']))})"
    )
    narrow = record["too_narrow"]
    below = "" if narrow is None else f"; width {narrow:,} does not"
    return f"Hidden width {record['width']:,} reaches {name} ≥ {goal}{seen}{below}."


def prediction(record: Record) -> str:
    """λ_min of the limit and of a finite network, before any data."""
    found, finite = record["prediction"], record["empirical"]
    if found["regime"] == "zero":
        said = f"λ_min of the limiting kernel is 0 exactly: {found['reason']}"
    elif found["regime"] == "below rounding":
        said = f"λ_min of the limiting kernel is predicted to lie below rounding, in [0, {number(found['upper'], 2)}]"
    else:
        said = f"λ_min of the limiting kernel is predicted to be {number(found['value'])}, in nine samples of ten within {span(found['lower'], found['upper'])}"
    if finite is not None:
        said += "; at these widths it is " + (
            "0 exactly"
            if finite["regime"] == "zero"
            else f"about {number(finite['value'], 3)}, within {span(finite['lower'], finite['upper'])}"
        )
    doubt = "" if found["reliable"] else " Not to be relied on here: the assumptions below fail."
    return f"{said}.{doubt}"


def lipschitz(intervals: Sequence[Record]) -> str:
    """The constant of the last map enclosed."""
    last = intervals[-1]
    what = f"The Lipschitz constant of {last_map(last)}"
    if last["exact"]:
        return f"{what} is {number(last['upper'], 6)}, exact up to rounding, from {counted(last['pieces'], 'linear piece')}."
    ratio = last["upper"] / last["lower"] if last["lower"] > 0 else math.inf
    return f"{what} lies in [{number(last['lower'])}, {number(last['upper'])}]: known to a factor of {number(ratio, 3)}."


def last_map(found: Record) -> str:
    """``x ↦ g_3``, or ``f_1 ↦ g_3``."""
    return f"{'x' if not found['start'] else 'f_' + str(found['start'])} ↦ g_{found['layer']}"


BAD = ("violated", "missed", "contradicted for every c > 0")
GOOD = ("holds", "reached")


def verdicts(records: Sequence[Record]) -> str:
    """How many statements fail, hold, need a constant or do not apply."""
    if len(records) == 1:
        one = records[0]
        return (
            f"{one['title']}: {one['outcome']}"
            + (f". {one['summary']}" if one["summary"] else "")
            + "."
        )
    bad = [r["id"] for r in records if r["outcome"] in BAD]
    counts = Counter(r["outcome"] for r in records)
    holding = sum(counts.pop(word, 0) for word in GOOD)
    for word in BAD:
        counts.pop(word, None)
    known = any("as printed" in word for word in counts)
    head = (
        f"None of the {len(records)} statements fails here"
        + (" beyond the known errata" if known else "")
        if not bad
        else f"{len(bad)} of {len(records)} statements fail here: {', '.join(bad[:5])}"
        + (", …" if len(bad) > 5 else "")
    )
    rest = [f"{holding} {'holds' if holding == 1 else 'hold'}"] if holding or not counts else []
    rest += [f"{n} {_COUNTED.get(w, (w, w))[n > 1]}" for w, n in counts.most_common()]
    return f"{head}; {', '.join(rest)}."


_COUNTED = {
    "does not apply": ("does not apply", "do not apply"),
    "needs constant": (
        "needs a constant that the paper hides",
        "need a constant that the paper hides",
    ),
    "violated as printed": ("fails as the paper prints it", "fail as the paper prints them"),
    "missed as printed": ("is rarer than the paper prints", "are rarer than the paper prints"),
    "identities only": ("meets only identities", "meet only identities"),
    "below rounding": ("is below rounding", "are below rounding"),
    "open": ("is left open", "are left open"),
    "vacuous": ("says nothing here", "say nothing here"),
    "promised 0": ("is promised with probability 0", "are promised with probability 0"),
}  # outcome → of one statement, of several


def sweep(record: Record) -> str:
    """How far a sweep is, and what its fits say."""
    trials = record["trials"]
    said = f"{trials['done']:,} of {trials['total']:,} trials are done"
    if trials["failed"]:
        said += f", {trials['failed']:,} failed"
    if not record["fits"]:
        return f"{said}."
    return f"{said}. {' '.join(fit(f) for f in record['fits'][:3])}"


def swept(found: Sequence[Record]) -> str:
    """What the growth says of each statement's conclusions."""
    told = []
    for one in found:
        words = Counter(claim["outcome"] for claim in one["claims"])
        said = ", ".join(f"{n} {word}" for word, n in words.items()) or "no order to fit"
        told.append(
            f"{one['id']}: of {len(one['claims'])} conclusions {said}"
            if words
            else f"{one['id']}: {said}"
        )
    return "; ".join(told) + "."


def fit(found: Record) -> str:
    """A fitted power law beside the claim, if there is one."""
    of = "" if found["curve"] == "all" else f"{found['curve']}: "
    x, y = symbol(found["x"]), symbol(found["y"])
    free = found["constant"] and found["constant"]["free"]
    if not free:
        return f"{of}no power law of {y} in {x}: {found['note'] or 'too few points'}."
    law = free["exponent"]
    text = f"{of}{y} ∝ {x}^{{{law['value']:.3g}}}, the exponent within {law['low']:.3g} … {law['high']:.3g} (95%)"
    if found["verdict"] is None:
        return f"{text}."
    return f"{text}; claimed {found['verdict']['claimed']:g}: {found['verdict']['outcome']}."


def reproduction(analysis: Record) -> str:
    """On how many curves the claimed exponent was met, and what was measured on the others."""
    curves = analysis["verdicts"]
    if not curves:
        return analysis["summary"]
    met = [v for v in curves if v["outcome"] == "consistent"]
    if len(met) == len(curves):
        return f"The claimed exponent lies in the 95% interval on {_all(len(curves))}."
    others = [v for v in curves if v["outcome"] != "consistent"]
    told = "; ".join(measured(v) for v in others[:2])
    more = f"; and {len(others) - 2} more" if len(others) > 2 else ""
    return f"The claimed exponent lies in the 95% interval on {len(met)} of {len(curves)} curves. On the others: {told}{more}."


def measured(verdict: Record) -> str:
    """``d ≥ 100: measured 0.93 where 1 is claimed, 0.97 on the larger half (approached)``."""
    whole, late = (verdict[key]["exponent"]["value"] for key in ("whole", "late"))
    return (
        f"{verdict['curve']}: measured {whole:.3g} where {verdict['claimed']:g} is claimed, "
        f"{late:.3g} on the larger half ({verdict['outcome']})"
    )


def _all(count: int) -> str:
    return "the one curve" if count == 1 else f"all {count} curves"
