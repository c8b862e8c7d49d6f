"""What a statement's function writes down while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, SupportsFloat

from torch import Tensor

from ntkscope.spectra.eigenvalue import Eigenvalue
from ntkscope.statements.hypothesis import Hypothesis, Order
from ntkscope.statements.instance import Instance, NotComputable
from ntkscope.statements.kinds import (
    Claim,
    Constant,
    Event,
    Parameter,
    Relation,
)
from ntkscope.statements.outcomes import ClaimOutcome, ConstantOutcome, EventOutcome
from ntkscope.statements.quantity import Quantity, quantity

Number = Quantity | Eigenvalue | SupportsFloat


@dataclass
class Findings:
    """What a statement's function writes down while it runs.

    Each finding is of one kind: a hypothesis (:meth:`hypothesis`, :meth:`order_of`), a step of the
    proof (:meth:`at_most`, :meth:`at_least`, :meth:`equal`, :meth:`step_order`), an event
    (:meth:`event`, :meth:`event_over`) or the conclusion (:meth:`conclude_at_most`,
    :meth:`conclude_at_least`, :meth:`conclude_equal`, :meth:`conclusion`).
    """

    hypotheses: list[Hypothesis] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    constants: list[Constant] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    tables: list[dict[str, Any]] = field(default_factory=list)

    # hypotheses

    def hypothesis(
        self,
        name: str,
        met: bool | None,
        measured: SupportsFloat | None = None,
        threshold: SupportsFloat | None = None,
        note: str = "",
    ) -> bool | None:
        """A condition of the statement, ``None`` where a sample cannot test it; returns ``met``."""
        found = Hypothesis(name, met, _float(measured), _float(threshold), note=note)
        self.hypotheses.append(found)
        return met

    def order_of(
        self,
        name: str,
        measured: SupportsFloat,
        expression: SupportsFloat,
        *,
        at_least: bool | None,
        note: str = "",
    ) -> bool:
        """A condition whose constant the paper hides: shown is the constant that it would need.

        Parameters
        ----------
        measured, expression: the two sides.
        at_least: True for measured = Ω(expression), False for O(expression) or o(expression),
            None for Θ(expression).

        Returns
        -------
        Whether the constant 1 will do (for Θ: no).
        """
        left, right = float(measured), float(expression)
        order: Order = "Θ" if at_least is None else "Ω" if at_least else "O"
        self.hypotheses.append(Hypothesis(name, None, left, right, order, note))
        if at_least is None:
            return False
        return left >= right if at_least else left <= right

    # steps and conclusions with explicit constants

    def at_most(self, name: str, left: Number, right: Number, **about: Any) -> ClaimOutcome:
        """The step left ≤ right. ``about`` is that of :meth:`claim`."""
        return self.claim(name, left, "≤", right, **about)

    def at_least(self, name: str, left: Number, right: Number, **about: Any) -> ClaimOutcome:
        """The step left ≥ right. ``about`` is that of :meth:`claim`."""
        return self.claim(name, left, "≥", right, **about)

    def equal(self, name: str, left: Number, right: Number, **about: Any) -> ClaimOutcome:
        """The step left = right within the errors of both. ``about`` is that of :meth:`claim`."""
        return self.claim(name, left, "=", right, **about)

    def conclude_at_most(
        self, name: str, left: Number, right: Number, **about: Any
    ) -> ClaimOutcome:
        """The conclusion left ≤ right. ``about`` is that of :meth:`claim`."""
        return self.claim(name, left, "≤", right, concludes=True, **about)

    def conclude_at_least(
        self, name: str, left: Number, right: Number, **about: Any
    ) -> ClaimOutcome:
        """The conclusion left ≥ right. ``about`` is that of :meth:`claim`."""
        return self.claim(name, left, "≥", right, concludes=True, **about)

    def conclude_equal(self, name: str, left: Number, right: Number, **about: Any) -> ClaimOutcome:
        """The conclusion left = right. ``about`` is that of :meth:`claim`."""
        return self.claim(name, left, "=", right, concludes=True, **about)

    def claim(
        self,
        name: str,
        left: Number,
        relation: Relation,
        right: Number,
        note: str = "",
        erratum: bool = False,
        *,
        key: str = "",
        concludes: bool = False,
        tautology: bool = False,
        nonnegative: bool = True,
        scale: SupportsFloat = 0.0,
        promised: SupportsFloat | None = None,
        **at: Parameter,
    ) -> ClaimOutcome:
        """An inequality or identity with explicit constants; returns what it comes to.

        Parameters
        ----------
        name: what the reader sees.
        left, right: numbers, eigenvalues or quantities; their errors decide how much the claim may miss by.
        note: a remark. erratum: it is known not to hold as printed.
        key: what the claim is called by confirmers and searches, free of layers and other numbers; the
            name where none is given.
        concludes: it is the statement's conclusion, or a part of it, and no step of the proof.
        tautology: it is true of every matrix, whatever the theorem says: no evidence.
        nonnegative: the left side cannot be negative (λ_min of a Gram matrix, a norm, a variance), so
            that a lower bound ≤ 0 is vacuous. Say False for λ_min of a difference, for example.
        scale: the size of what is compared, where the sides are a residual and 0 (the largest entry of K
            for max|K − K′| = 0): rounding is then held against it.
        promised: the probability with which the statement promises it, where it is not on every draw; as
            it comes out, 0 and less included. Then an event beside it decides, see :meth:`event_over`.
        at: the layer, the power, … of this one among the claims of its key.
        """
        made = Claim(
            name, quantity(left), relation, quantity(right), note, erratum, key or name, at,
            concludes, tautology, nonnegative, abs(float(scale)),
            _float(promised),
        )  # fmt: skip
        self.claims.append(made)
        return made.outcome

    # conclusions up to a constant

    def conclusion(
        self,
        name: str,
        measured: Number,
        order: Order,
        predicted: Number,
        expression: str = "",
        note: str = "",
        *,
        key: str = "",
        concludes: bool = True,
        erratum: bool = False,
        **at: Parameter,
    ) -> ConstantOutcome:
        """The conclusion measured = order(predicted): the constant it would need, never "holds".

        Parameters
        ----------
        name, expression: of the measured and of the predicted number, for readers.
        measured, predicted: with their errors where they carry any.
        order: "Ω", "O" or "Θ".
        erratum: it is known not to hold as printed.
        key, at: as in :meth:`claim`; conclusions of one statement differ in one of them.
        """
        made = Constant(name, quantity(measured), order, quantity(predicted), expression, note,
                        key or name, at, concludes, erratum)  # fmt: skip
        self.constants.append(made)
        return made.outcome

    def step_order(
        self, name: str, measured: Number, order: Order, predicted: Number, expression: str = "",
        **about: Any,
    ) -> ConstantOutcome:  # fmt: skip
        """A step of the proof up to a constant; ``about`` is that of :meth:`conclusion`."""
        return self.conclusion(
            name, measured, order, predicted, expression, concludes=False, **about
        )

    def extremes(
        self, name: str, values: Tensor, order: Order, predicted: SupportsFloat, expression: str,
        **about: Any,
    ) -> None:  # fmt: skip
        """The least and the largest of values (N,) as conclusions, ``name`` as in "min_i name"."""
        for which, key, value in (("min", "least", values.min()), ("max", "largest", values.max())):
            self.conclusion(f"{which}_i {name}", float(value), order, float(predicted), expression,
                            key=key, **about)  # fmt: skip

    # events

    def event(
        self,
        name: str,
        successes: int,
        trials: int,
        promised: SupportsFloat | None = None,
        note: str = "",
        erratum: bool = False,
        *,
        over: str = "",
        undecided: int = 0,
        key: str = "",
        **at: Parameter,
    ) -> EventOutcome:
        """An event that occurred in ``successes`` of ``trials``; returns what it comes to.

        Parameters
        ----------
        promised: the probability as the paper gives it or as it is proved with explicit constants; as it
            comes out, negative ones included. ``None`` where a constant is hidden.
        over: what each trial drew anew, such as ``"W_k"`` or ``"data and weights"``.
        undecided: trials that rounding leaves open; they count for and against.
        erratum: the promise is known not to hold. key, at: as in :meth:`claim`.
        """
        made = Event(name, successes, trials, _float(promised), note, erratum, over, undecided,
                     key or name, at)  # fmt: skip
        self.events.append(made)
        return made.outcome

    def event_over(
        self,
        name: str,
        redraws: Iterable[Instance],
        occurs: Callable[[Instance], bool | None],
        promised: SupportsFloat | None = None,
        **about: Any,
    ) -> EventOutcome:
        """An event over redraws of the instance, such as ``i.redraws()``.

        Parameters
        ----------
        occurs: whether the event occurs on a redraw; ``None``, or raising NotComputable, where that cannot
            be told.
        promised, about: as in :meth:`event`; ``over`` is "data and weights" where it is not said.
        """
        found = [_occurrence(occurs, fresh) for fresh in redraws]
        about.setdefault("over", "data and weights")
        return self.event(name, sum(f is True for f in found), len(found), promised,
                          undecided=sum(f is None for f in found), **about)  # fmt: skip

    # older names of conclusion and event

    scaling = conclusion
    rate = event

    def note(self, text: str) -> None:
        """A sentence for the reader of the verdict."""
        if text not in self.notes:
            self.notes.append(text)

    def table(
        self,
        title: str,
        columns: Iterable[str],
        rows: Iterable[Iterable[Any]],
        plot: Iterable[str] = (),
    ) -> None:
        """A table of plain values, printed below the verdict.

        ``plot`` names the columns that the page draws as curves, the first one along the axis.
        """
        made: dict[str, Any] = {
            "title": title, "columns": list(columns), "rows": [list(row) for row in rows],
        }  # fmt: skip
        if plot:
            made["plot"] = list(plot)
        self.tables.append(made)


def _float(x: SupportsFloat | None) -> float | None:
    return None if x is None else float(x)


def _occurrence(occurs: Callable[[Instance], bool | None], fresh: Instance) -> bool | None:
    try:
        found = occurs(fresh)
    except NotComputable:
        return None
    return None if found is None else bool(found)
