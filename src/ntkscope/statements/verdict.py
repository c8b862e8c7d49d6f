"""What checking a statement leaves behind: hypotheses, inequalities, rates, scalings, a verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ntkscope.statements.quantity import Quantity

Relation = Literal["≤", "≥", "="]
Order = Literal["Ω", "O", "Θ"]
Parameter = int | float | str
# a Monte-Carlo comparison is decided at this many standard errors
SIGMAS = 6.0


def plain(x: Any) -> Any:
    """A JSON value: infinities and NaN become text, since JSON has neither."""
    if isinstance(x, float) and not math.isfinite(x):
        return "nan" if math.isnan(x) else ("inf" if x > 0 else "-inf")
    return x


@dataclass(frozen=True)
class Hypothesis:
    """A condition of a statement, on this instance.

    measured, threshold: the numbers compared, where there are such. order: the threshold is known
    up to a constant only, so the ratio is what counts. holds: ``None`` when a sample cannot test
    it (a property of the distribution that is not known, an order whose constant is hidden).
    """

    name: str
    holds: bool | None
    measured: float | None = None
    threshold: float | None = None
    order: bool = False
    note: str = ""

    @property
    def state(self) -> str:
        """``holds``, ``fails`` or ``cannot be tested by a sample``."""
        if self.holds is None:
            return "cannot be tested by a sample"
        return "holds" if self.holds else "fails"

    @property
    def ratio(self) -> float | None:
        """measured / threshold."""
        if self.measured is None or not self.threshold:
            return None
        return self.measured / self.threshold

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name, "state": self.state, "measured": plain(self.measured),
            "threshold": plain(self.threshold), "order_of": self.order,
            "ratio": plain(self.ratio), "note": self.note,
        }  # fmt: skip


@dataclass(frozen=True)
class Claim:
    """Level 2: an inequality (or identity) with explicit constants and numbers in it.

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
    def holds(self) -> bool | None:
        """Whether it stands; ``None`` when Monte-Carlo error or NaN leaves it open."""
        slack, bar = self.slack, SIGMAS * self.spread
        if math.isnan(slack) or math.isnan(bar):
            return None
        if slack < -self.allowance - bar:
            return False
        if self.relation == "=" or slack >= bar - self.allowance:
            return True
        return None

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name, "key": self.key, "at": dict(self.at), "relation": self.relation,
            "left": plain(self.left.value), "right": plain(self.right.value),
            "slack": plain(self.slack), "allowance": plain(self.allowance),
            "standard_error": plain(self.spread), "holds": self.holds,
            "erratum": self.erratum, "note": self.note,
        }  # fmt: skip


@dataclass(frozen=True)
class Rate:
    """A statement that holds with a probability, run over Monte-Carlo trials.

    claimed: the probability that the statement promises, ``None`` when it hides a constant.
    erratum: it is known not to hold as printed.
    """

    name: str
    successes: int
    trials: int
    claimed: float | None = None
    note: str = ""
    erratum: bool = False

    @property
    def interval(self) -> tuple[float, float]:
        """The Clopper-Pearson interval of the success probability at 99%."""
        from scipy.stats import beta

        k, n, tail = self.successes, self.trials, 0.005
        lower = 0.0 if k == 0 else float(beta.ppf(tail, k, n - k + 1))
        upper = 1.0 if k == n else float(beta.ppf(1 - tail, k + 1, n - k))
        return lower, upper

    @property
    def holds(self) -> bool | None:
        """False when the interval lies below the claimed probability, True when it reaches it."""
        if self.claimed is None or self.trials == 0:
            return None
        lower, upper = self.interval
        if upper < self.claimed:
            return False
        return True if lower >= self.claimed or self.successes == self.trials else None

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name, "successes": self.successes, "trials": self.trials,
            "interval_99": list(self.interval), "claimed": self.claimed, "holds": self.holds,
            "erratum": self.erratum, "note": self.note,
        }  # fmt: skip


@dataclass(frozen=True)
class Scaling:
    """Level 3: measured against an expression whose constant is hidden. ratio is that constant.

    key, at: as of a :class:`Claim`.
    """

    name: str
    measured: Quantity
    order: Order
    predicted: float
    expression: str = ""
    note: str = ""
    key: str = ""
    at: Mapping[str, Parameter] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        """The constant that this instance would need: measured / predicted."""
        return self.measured.value / self.predicted if self.predicted else math.nan

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name, "key": self.key, "at": dict(self.at), "order": self.order,
            "expression": self.expression,
            "measured": plain(self.measured.value),
            "standard_error": plain(self.measured.spread), "predicted": plain(self.predicted),
            "constant": plain(self.ratio), "note": self.note,
        }  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """The outcome of one statement on one instance. Prints as a table; ``to_dict`` for JSON."""

    id: str
    title: str
    source: str
    sentence: str
    latex: str
    hypotheses: tuple[Hypothesis, ...]
    claims: tuple[Claim, ...]
    rates: tuple[Rate, ...]
    scalings: tuple[Scaling, ...]
    notes: tuple[str, ...]
    tables: tuple[dict[str, Any], ...]
    settings: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def applies(self) -> bool:
        """No hypothesis fails on this instance (those that a sample cannot test do not count)."""
        return all(h.holds is not False for h in self.hypotheses)

    @property
    def failing(self) -> tuple[Hypothesis, ...]:
        """The hypotheses that fail."""
        return tuple(h for h in self.hypotheses if h.holds is False)

    @property
    def violations(self) -> tuple[Claim, ...]:
        """The inequalities that do not stand."""
        return tuple(c for c in self.claims if c.holds is False)

    @property
    def holds(self) -> bool | None:
        """All inequalities and rates stand (True), one does not (False), or nothing decides."""
        found = [c.holds for c in self.claims] + [r.holds for r in self.rates]
        if any(h is False for h in found):
            return False
        decided = [h for h in found if h is not None]
        return True if decided else None

    @property
    def outcome(self) -> str:
        """One word or two for a table's column."""
        if self.holds is False:
            failed = [c.erratum for c in self.violations]
            errata = all(failed + [r.erratum for r in self.rates if r.holds is False])
            return "violated as printed" if errata else "violated"
        stands = "holds" if self.holds else ("measured" if self.scalings else "open")
        return stands if self.applies else f"{stands}; hypothesis fails"

    @property
    def command(self) -> str:
        """The line that reproduces this verdict."""
        return f"ntkscope check {self.id} {self.settings.get('options', '')}".strip()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "id": self.id, "title": self.title, "source": self.source, "claim": self.sentence,
            "latex": self.latex, "applies": self.applies, "holds": self.holds,
            "outcome": self.outcome,
            "hypotheses": [h.to_dict() for h in self.hypotheses],
            "inequalities": [c.to_dict() for c in self.claims],
            "rates": [r.to_dict() for r in self.rates],
            "scalings": [s.to_dict() for s in self.scalings],
            "tables": list(self.tables), "notes": list(self.notes),
            "settings": self.settings, "command": self.command, "seconds": self.seconds,
        }  # fmt: skip

    def __str__(self) -> str:
        from ntkscope.report.check_text import as_text

        return as_text(self.to_dict())

    def figure(self) -> Any:
        """Both sides of every inequality on one log axis, as a Plotly figure."""
        from ntkscope.report import check_page

        return check_page.verdict(self.to_dict())

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(str(self))}</pre>"

    def to_latex(self) -> str:
        """A table with the settings, the seed and the line that reproduces it."""
        from ntkscope.report.check_text import as_latex

        return as_latex(self.to_dict())
