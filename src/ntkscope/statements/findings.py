"""What a statement's function writes down while it runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, SupportsFloat

from torch import Tensor

from ntkscope.spectra.eigenvalue import Eigenvalue
from ntkscope.statements.quantity import Quantity, quantity
from ntkscope.statements.verdict import (
    Claim,
    Hypothesis,
    Order,
    Parameter,
    Rate,
    Relation,
    Scaling,
)

Number = Quantity | Eigenvalue | SupportsFloat


@dataclass
class Findings:
    """What a statement's function writes down while it runs."""

    hypotheses: list[Hypothesis] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    rates: list[Rate] = field(default_factory=list)
    scalings: list[Scaling] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    tables: list[dict[str, Any]] = field(default_factory=list)

    def hypothesis(
        self,
        name: str,
        holds: bool | None,
        measured: SupportsFloat | None = None,
        threshold: SupportsFloat | None = None,
        note: str = "",
    ) -> bool | None:
        """A condition of the statement; returns ``holds``."""
        found = Hypothesis(name, holds, _float(measured), _float(threshold), note=note)
        self.hypotheses.append(found)
        return holds

    def order_of(
        self, name: str, measured: SupportsFloat, expression: SupportsFloat, *, at_least: bool
    ) -> bool:
        """A condition up to a hidden constant: ``measured`` = Ω(expression), or O(expression).

        It counts as holding when constant 1 will do, and otherwise as not testable: the ratio is
        shown. Returns whether constant 1 will do.
        """
        left, right = float(measured), float(expression)
        ok = left >= right if at_least else left <= right
        note = "" if ok else "not with constant 1; the paper's constant is not stated"
        self.hypotheses.append(
            Hypothesis(name, True if ok else None, left, right, order=True, note=note)
        )
        return ok

    def at_most(self, name: str, left: Number, right: Number, **about: Any) -> bool | None:
        """left ≤ right; returns whether it holds. ``about`` is that of :meth:`claim`."""
        return self.claim(name, left, "≤", right, **about)

    def at_least(self, name: str, left: Number, right: Number, **about: Any) -> bool | None:
        """left ≥ right; returns whether it holds. ``about`` is that of :meth:`claim`."""
        return self.claim(name, left, "≥", right, **about)

    def equal(self, name: str, left: Number, right: Number, **about: Any) -> bool | None:
        """left = right within the errors of both. ``about`` is that of :meth:`claim`."""
        return self.claim(name, left, "=", right, **about)

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
        **at: Parameter,
    ) -> bool | None:
        """An inequality or identity; returns whether it holds, ``None`` where that is open.

        Parameters
        ----------
        name: what the reader sees.
        left, right: numbers, eigenvalues or quantities; their errors decide how much the claim may miss by.
        note: a remark. erratum: it is known not to hold as printed.
        key: what the claim is called by confirmers and searches, free of layers and other numbers; the
            name where none is given.
        at: the layer, the power, … of this one among the claims of its key.
        """
        made = Claim(
            name, quantity(left), relation, quantity(right), note, erratum, key or name, at
        )
        self.claims.append(made)
        return made.holds

    def rate(
        self,
        name: str,
        successes: int,
        trials: int,
        claimed: SupportsFloat | None = None,
        note: str = "",
        erratum: bool = False,
    ) -> None:
        """A success rate over trials; ``claimed`` where the paper gives a number."""
        self.rates.append(Rate(name, successes, trials, _float(claimed), note, erratum))

    def scaling(
        self,
        name: str,
        measured: Number,
        order: Order,
        predicted: SupportsFloat,
        expression: str = "",
        note: str = "",
        *,
        key: str = "",
        **at: Parameter,
    ) -> None:
        """A measured number against an expression without its constant; key, at as in :meth:`claim`."""
        self.scalings.append(
            Scaling(
                name, quantity(measured), order, float(predicted), expression, note, key or name, at
            )
        )

    def extremes(
        self, name: str, values: Tensor, order: Order, predicted: SupportsFloat, expression: str,
        **at: Parameter,
    ) -> None:  # fmt: skip
        """The least and the largest of values (N,) as scalings, ``name`` as in "min_i name"."""
        for which, key, value in (("min", "least", values.min()), ("max", "largest", values.max())):
            self.scaling(
                f"{which}_i {name}", float(value), order, predicted, expression, "", key=key, **at
            )

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
