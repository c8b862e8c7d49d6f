"""The kinds of findings beside hypotheses: claim (step or conclusion), event, constant. None mixes two."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ntkscope.statements.hypothesis import Order, plain
from ntkscope.statements.outcomes import ClaimOutcome, ConstantOutcome, EventOutcome
from ntkscope.statements.quantity import Quantity

Relation = Literal["≤", "≥", "="]
Parameter = int | float | str
# a Monte-Carlo comparison is decided at this many standard errors
SIGMAS = 6.0
# the share of intervals that may miss the true probability of an event
MISTAKE = 0.01


@dataclass(frozen=True)
class Claim:
    """An inequality or identity with explicit constants and numbers in it.

    concludes: it is (part of) what the statement claims; otherwise a step of the proof.
    tautology: true of every matrix whatever the theorem says (Weyl, Gershgorin, Schur, Rayleigh,
    Jensen): a step that is no evidence.
    nonnegative: the left side cannot be negative, so that "left ≥ 0" says nothing.
    promised: the probability with which the statement promises it; None: on every draw. One draw cannot
    violate what is promised with a probability.
    scale: the size of what is compared, where the sides are a residual and 0.
    at_kinks: a pre-activation of the instance is so near a kink that rounding decides on which side it lies;
    a failure is then none, as the sides may have taken two of them.
    erratum: it is known not to hold as printed; a violation is then what the errata describe.
    key, at: which claim of its statement it is, and at which layer, power, …: what programs go by,
    while ``name`` is for readers.
    """

    name: str
    left: Quantity
    relation: Relation
    right: Quantity
    note: str = ""
    erratum: bool = False
    key: str = ""
    at: Mapping[str, Parameter] = field(default_factory=dict)
    concludes: bool = False
    tautology: bool = False
    nonnegative: bool = True
    scale: float = 0.0
    promised: float | None = None
    at_kinks: bool = False

    @property
    def slack(self) -> float:
        """How far the claim is from failing, negative when it fails (rounding not counted)."""
        difference = self.right.value - self.left.value
        if self.relation == "=":
            return -abs(difference)
        return difference if self.relation == "≤" else -difference

    @property
    def allowance(self) -> float:
        """The rounding error that both sides may carry."""
        return self.left.error + self.right.error

    @property
    def spread(self) -> float:
        """The standard error of the difference."""
        return math.hypot(self.left.spread, self.right.spread)

    @property
    def outcome(self) -> ClaimOutcome:
        """What it comes to. "Holds" is said only of what could have failed."""
        slack, bar, allowance = self.slack, SIGMAS * self.spread, self.allowance
        if self.relation == "≤" and self.right.value == math.inf:
            return ClaimOutcome.VACUOUS
        if self.relation == "≥" and self.right.value == -math.inf:
            return ClaimOutcome.VACUOUS
        if math.isnan(slack) or math.isnan(bar) or math.isnan(allowance):
            return ClaimOutcome.OPEN
        if slack < -allowance - bar:
            if self.at_kinks:
                return ClaimOutcome.OPEN
            return ClaimOutcome.VIOLATED if self.promised is None else ClaimOutcome.FAILS_HERE
        if self._says_nothing():
            return ClaimOutcome.VACUOUS
        size = max(abs(self.left.value), abs(self.right.value), self.scale)
        if size <= allowance or self._bound_below_rounding():
            return ClaimOutcome.BELOW_ROUNDING
        if size <= bar or (self.relation != "=" and slack < bar - allowance):
            return ClaimOutcome.OPEN
        return ClaimOutcome.HOLDS

    def _says_nothing(self) -> bool:
        right = self.right
        if self.relation == "≥" and self.nonnegative:
            return right.value + right.error + SIGMAS * right.spread <= 0
        return self.scale == 0 and self.left == self.right == Quantity(0.0)

    def _bound_below_rounding(self) -> bool:
        """A lower bound that cannot be told from 0, for what cannot be negative."""
        return self.relation == "≥" and self.nonnegative and self.right.value <= self.right.error

    @property
    def holds(self) -> bool | None:
        """Whether it stands on this draw; ``None`` where nothing is decided."""
        failed = (ClaimOutcome.VIOLATED, ClaimOutcome.FAILS_HERE)
        return (
            True
            if self.outcome is ClaimOutcome.HOLDS
            else False
            if self.outcome in failed
            else None
        )

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": "conclusion" if self.concludes else "step", "name": self.name,
            "key": self.key, "at": dict(self.at), "relation": self.relation,
            "left": plain(self.left.value), "right": plain(self.right.value),
            "slack": plain(self.slack), "allowance": plain(self.allowance),
            "standard_error": plain(self.spread), "outcome": self.outcome.value,
            "tautology": self.tautology, "promised": plain(self.promised), "erratum": self.erratum, "note": self.note,
        }  # fmt: skip


@dataclass(frozen=True)
class Event:
    """An event with a probability, run over independent trials.

    promised: the probability that the statement promises, as printed or proved, negative values
    included; ``None`` when it hides a constant.
    undecided: trials in which rounding left open whether it occurred; they count for and against.
    over: what was drawn anew in each trial, such as "data and weights".
    erratum: the promise is known not to hold as printed. key, at: as of a :class:`Claim`.
    """

    name: str
    successes: int
    trials: int
    promised: float | None = None
    note: str = ""
    erratum: bool = False
    over: str = ""
    undecided: int = 0
    key: str = ""
    at: Mapping[str, Parameter] = field(default_factory=dict)

    @property
    def interval(self) -> tuple[float, float]:
        """The Clopper-Pearson interval of the probability at 99%."""
        from scipy.stats import beta

        n, tail = self.trials, MISTAKE / 2
        least, most = self.successes, self.successes + self.undecided
        lower = 0.0 if least == 0 else float(beta.ppf(tail, least, n - least + 1))
        upper = 1.0 if most == n else float(beta.ppf(1 - tail, most + 1, n - most))
        return lower, upper

    @property
    def decides(self) -> bool:
        """Whether the trials reached or missed what was promised."""
        return self.outcome in (EventOutcome.REACHED, EventOutcome.MISSED)

    @property
    def outcome(self) -> EventOutcome:
        """What the interval says of the promise."""
        if self.promised is None or math.isnan(self.promised):
            return EventOutcome.NO_NUMBER
        if self.promised <= 0:
            return EventOutcome.PROMISED_NOTHING
        lower, upper = self.interval
        if upper < self.promised:
            return EventOutcome.MISSED
        return EventOutcome.REACHED if lower >= self.promised else EventOutcome.OPEN

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name, "key": self.key, "at": dict(self.at), "over": self.over,
            "successes": self.successes, "undecided": self.undecided, "trials": self.trials,
            "interval_99": list(self.interval), "promised": plain(self.promised),
            "outcome": self.outcome.value, "erratum": self.erratum, "note": self.note,
        }  # fmt: skip


@dataclass(frozen=True)
class Constant:
    """A measured number against an expression whose constant the paper hides.

    concludes, erratum, key, at: as of a :class:`Claim`.
    """

    name: str
    measured: Quantity
    order: Order
    predicted: Quantity
    expression: str = ""
    note: str = ""
    key: str = ""
    at: Mapping[str, Parameter] = field(default_factory=dict)
    concludes: bool = True
    erratum: bool = False

    @property
    def value(self) -> Quantity:
        """The constant that this instance would need: measured / predicted, with its errors."""
        if math.isinf(self.predicted.value):
            return Quantity(math.nan, math.inf)
        return self.measured / self.predicted

    @property
    def outcome(self) -> ConstantOutcome:
        """What it comes to; a constant alone is never "holds"."""
        c, measured, predicted = self.value, self.measured, self.predicted.value
        lower_bound = self.order in ("Ω", "Θ")
        if predicted == 0 and math.isfinite(measured.value):
            if not lower_bound and measured.value > measured.error + SIGMAS * measured.spread:
                return ConstantOutcome.CONTRADICTED
            return ConstantOutcome.VACUOUS
        if predicted == math.inf and self.order == "O":
            return ConstantOutcome.VACUOUS
        if not all(map(math.isfinite, (c.value, c.error, c.spread))) or predicted < 0:
            return ConstantOutcome.OPEN
        if not lower_bound:
            return _of_upper(measured)
        if c.value + c.error + SIGMAS * c.spread <= 0:
            return ConstantOutcome.CONTRADICTED
        if c.value <= c.error:
            return ConstantOutcome.BELOW_ROUNDING
        if c.value <= c.error + SIGMAS * c.spread:
            return ConstantOutcome.OPEN
        return ConstantOutcome.NEEDS_CONSTANT

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": "conclusion" if self.concludes else "step", "name": self.name,
            "key": self.key, "at": dict(self.at), "order": self.order,
            "expression": self.expression, "measured": plain(self.measured.value),
            "error": plain(self.measured.error), "standard_error": plain(self.measured.spread),
            "predicted": plain(self.predicted.value), "constant": plain(self.value.value),
            "constant_error": plain(self.value.error),
            "constant_standard_error": plain(self.value.spread),
            "outcome": self.outcome.value, "erratum": self.erratum, "note": self.note,
        }  # fmt: skip


def _of_upper(measured: Quantity) -> ConstantOutcome:
    """measured = O(·): a number that is 0 asks for no constant at all."""
    if measured == Quantity(0.0):
        return ConstantOutcome.VACUOUS
    if abs(measured.value) + SIGMAS * measured.spread <= measured.error:
        return ConstantOutcome.BELOW_ROUNDING
    return ConstantOutcome.NEEDS_CONSTANT
