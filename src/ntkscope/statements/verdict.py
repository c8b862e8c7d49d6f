"""What checking a statement leaves behind: its findings by kind, and the outcome of its conclusion."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any

from ntkscope.report.card import Card, Grid
from ntkscope.report.chart import Chart
from ntkscope.report.result import Drawn, Shown, Tabular
from ntkscope.statements.hypothesis import Hypothesis
from ntkscope.statements.kinds import Claim, Constant, Event
from ntkscope.statements.outcomes import (
    ClaimOutcome,
    ConstantOutcome,
    EventOutcome,
    HypothesisState,
    Outcome,
)


@dataclass(frozen=True)
class Verdict(Drawn, Tabular, Shown):
    """The outcome of one statement on one instance. Prints as a table; ``to_dict`` for JSON.

    Attributes
    ----------
    id, title, source, sentence, latex: of the statement.
    hypotheses: the conditions, each met or not.
    claims: inequalities and identities with explicit constants.
    events: what is promised with a probability, over trials.
    constants: what the conclusion needs, where its constant is hidden.
    notes: in plain words.
    tables: numbers behind the findings.
    settings: network, data and seed.
    seconds: wall time.
    """

    id: str
    title: str
    source: str
    sentence: str
    latex: str
    hypotheses: tuple[Hypothesis, ...]
    claims: tuple[Claim, ...]
    events: tuple[Event, ...]
    constants: tuple[Constant, ...]
    notes: tuple[str, ...]
    tables: tuple[dict[str, Any], ...]
    settings: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def applies(self) -> bool:
        """No hypothesis is refuted on this instance (hidden constants and unknown ones do not count)."""
        return not self.failing

    @property
    def failing(self) -> tuple[Hypothesis, ...]:
        """The hypotheses that are not met."""
        return tuple(h for h in self.hypotheses if h.state is HypothesisState.NOT_MET)

    @property
    def violations(self) -> tuple[Claim, ...]:
        """The inequalities that fail, whatever the hypotheses say."""
        return tuple(c for c in self.claims if c.outcome is ClaimOutcome.VIOLATED)

    @property
    def missed(self) -> tuple[Event, ...]:
        """The events that are rarer than promised, whatever the hypotheses say."""
        return tuple(e for e in self.events if e.outcome is EventOutcome.MISSED)

    @property
    def steps(self) -> tuple[Claim, ...]:
        """The proof's inequalities and identities with explicit constants."""
        return tuple(c for c in self.claims if not c.concludes)

    @property
    def conclusions(self) -> tuple[Claim, ...]:
        """The conclusions with explicit constants."""
        return tuple(c for c in self.claims if c.concludes)

    @cached_property
    def outcome(self) -> Outcome:
        """That of the conclusion, unless a hypothesis is not met or something fails.

        In this order: a hypothesis not met; a violated inequality; a missed event; conclusions with
        explicit constants; events that trials decide; where conclusions are promised with a
        probability only, every event, then those conclusions; conclusions up to a constant; the other events; where a lemma concludes
        nothing further, its steps, identities of linear algebra left out.
        """
        if not self.applies:
            return Outcome.DOES_NOT_APPLY
        if self.violations:
            printed = all(c.erratum for c in self.violations)
            return Outcome.VIOLATED_AS_PRINTED if printed else Outcome.VIOLATED
        if self.missed:
            printed = all(e.erratum for e in self.missed)
            return Outcome.MISSED_AS_PRINTED if printed else Outcome.MISSED
        evidence = [c for c in self.steps if not c.tautology]
        concluding = [c for c in self.constants if c.concludes]
        judged: tuple[tuple[Sequence[Claim | Event | Constant], Sequence[StrEnum]], ...] = (
            ([c for c in self.conclusions if c.promised is None], _CLAIMS),
            ([e for e in self.events if e.decides], _EVENTS),
            (self.events if self.conclusions else [], _EVENTS), (self.conclusions, _CLAIMS),
            (concluding, _CONSTANTS), (self.events, _EVENTS), (evidence, _CLAIMS),
            (self.constants, _CONSTANTS),
        )  # fmt: skip
        for found, order in judged:
            if found:
                return _first(found, order)
        return Outcome.IDENTITIES if self.claims else Outcome.OPEN

    @property
    def holds(self) -> bool | None:
        """True where the outcome is "holds" or "reached", False where something fails, else None."""
        if self.outcome in (Outcome.HOLDS, Outcome.REACHED):
            return True
        failed = self.outcome.bad or self.outcome in (
            Outcome.VIOLATED_AS_PRINTED, Outcome.MISSED_AS_PRINTED,
        )  # fmt: skip
        return False if failed else None

    @property
    def command(self) -> str:
        """The line that reproduces this verdict."""
        return f"ntkscope check {self.id} {self.settings.get('options', '')}".strip()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        from ntkscope.report.check_text import summary

        record: dict[str, Any] = {
            "id": self.id, "title": self.title, "source": self.source, "claim": self.sentence,
            "latex": self.latex, "outcome": self.outcome.value,
            "hypotheses": [h.to_dict() for h in self.hypotheses],
            "inequalities": [c.to_dict() for c in self.claims],
            "events": [e.to_dict() for e in self.events],
            "constants": [c.to_dict() for c in self.constants],
            "tables": list(self.tables), "notes": list(self.notes),
            "settings": self.settings, "command": self.command, "seconds": self.seconds,
        }  # fmt: skip
        record["summary"] = summary(record)
        return record

    @property
    def summary(self) -> str:
        """The conclusion in a line, such as ``c = 0.42 ± 3e-12 in λ_min(K) = Ω(d Π n_l)``."""
        return str(self.to_dict()["summary"])

    def __str__(self) -> str:
        from ntkscope.report.check_text import as_text

        return as_text(self.to_dict())

    def _chart(self) -> Chart:
        """Both sides of every inequality on one log axis."""
        from ntkscope.report import check_page

        return check_page.verdict(self.to_dict())

    def _card(self) -> Card:
        from ntkscope.report.check_text import card

        return card(self.to_dict())

    def _rows(self) -> list[dict[str, Any]]:
        from ntkscope.report.check_text import findings

        return findings(self.to_dict())

    def __repr__(self) -> str:
        return f"Verdict({self.id!r}, {self.outcome.value!r})"

    def to_latex(self) -> str:
        """A table for a paper, with the claim as printed, the settings, the seed and the line that finds it again.

        Needs amsmath, amssymb and array.
        """
        from ntkscope.report.check_latex import as_latex

        return as_latex(self.to_dict())


class Verdicts(Tabular, Shown, list[Verdict]):
    """The verdicts of several statements: a list that shows itself as a table."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"verdicts": [v.to_dict() for v in self]}

    def _rows(self) -> list[dict[str, Any]]:
        keys = ("id", "title", "source", "outcome", "summary", "seconds")
        return [{k: r[k] for k in keys} for r in self.to_dict()["verdicts"]]

    def _counted(self) -> str:
        counts = Counter(v.outcome.value for v in self)
        return ", ".join(f"{count} {word}" for word, count in counts.most_common())

    def _card(self) -> Card:
        rows = [(r["id"], r["outcome"], r["summary"]) for r in self._rows()]
        grid = Grid("", ("statement", "outcome", "conclusion"), rows, labels=3)
        return Card(f"{len(self)} statements: {self._counted()}", grids=[grid] if rows else [])

    def __repr__(self) -> str:
        return f"Verdicts({len(self)}: {self._counted()})"


# a statement comes to the first of these that one of its findings comes to: a lower bound that rounding
# swallows comes before the upper bound beside it, which always needs some constant
_CLAIMS = (
    ClaimOutcome.HOLDS, ClaimOutcome.OPEN, ClaimOutcome.BELOW_ROUNDING, ClaimOutcome.VACUOUS,
)  # fmt: skip
_EVENTS = (
    EventOutcome.REACHED, EventOutcome.OPEN, EventOutcome.NO_NUMBER, EventOutcome.PROMISED_NOTHING,
)  # fmt: skip
_CONSTANTS = (
    ConstantOutcome.CONTRADICTED, ConstantOutcome.BELOW_ROUNDING, ConstantOutcome.NEEDS_CONSTANT,
    ConstantOutcome.OPEN, ConstantOutcome.VACUOUS,
)  # fmt: skip


def _first(found: Sequence[Claim | Event | Constant], order: Sequence[StrEnum]) -> Outcome:
    met = {item.outcome.value for item in found}
    word = next((word.value for word in order if word.value in met), Outcome.OPEN.value)
    return next(outcome for outcome in Outcome if outcome.value == word)
