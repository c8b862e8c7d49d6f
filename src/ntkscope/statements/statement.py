"""A numbered statement of a paper, and what running it on an instance means."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ntkscope.networks.network import Network
from ntkscope.report.result import Shown
from ntkscope.statements.findings import Findings
from ntkscope.statements.hypothesis import Hypothesis
from ntkscope.statements.instance import Instance, NotComputable
from ntkscope.statements.kinds import Claim
from ntkscope.statements.outcomes import ClaimOutcome
from ntkscope.statements.verdict import Verdict

Need = Callable[[Network], Hypothesis]
Run = Callable[[Instance, Findings], None]


@dataclass(frozen=True)
class Statement(Shown):
    """A numbered statement of a paper that can be run on an :class:`Instance`.

    Attributes
    ----------
    id: ``paper.statement``.
    title, source: its name, and where it stands in the paper.
    sentence: the claim in one sentence.
    latex: the claim as printed.
    run: computes the findings on an instance.
    needs: what it asks of the network, each a function of it.
    level2: what is compared with explicit constants, in a line.
    growth: in a sweep d and the widths grow by s and N by s^growth: 2 holds N/(n_{L-2} n_{L-1}) fixed.
    """

    id: str
    title: str
    source: str
    sentence: str
    latex: str
    run: Run
    needs: tuple[Need, ...] = ()
    level2: str = ""
    growth: int = 1

    def to_dict(self) -> dict[str, Any]:
        """What it says, in plain values."""
        return {
            "id": self.id, "title": self.title, "source": self.source, "sentence": self.sentence,
            "latex": self.latex, "level2": self.level2, "growth": self.growth,
        }  # fmt: skip

    def __repr__(self) -> str:
        return f"Statement({self.id!r}, {self.title!r})"

    @property
    def paper(self) -> str:
        """The key of its paper."""
        return self.id.partition(".")[0]

    @property
    def number(self) -> str:
        """The id without the paper's key."""
        return self.id.partition(".")[2]

    def applies_to(self, net: Network) -> tuple[Hypothesis, ...]:
        """The hypotheses on the network alone."""
        return tuple(need(net) for need in self.needs)

    def check(self, instance: Instance, settings: dict[str, Any] | None = None) -> Verdict:
        """Run on an instance."""
        start = time.perf_counter()
        out = Findings(hypotheses=list(self.applies_to(instance.network)))
        try:
            self.run(instance, out)
        except NotComputable as reason:
            out.note(f"Nothing further can be computed: {reason}.")
        out.claims = _undecided_at_kinks(out.claims, instance)
        facts = {
            "network": str(instance.network), "N": instance.N, "d": instance.d,
            "seed": instance.seed,
            "distribution": repr(instance.distribution) if instance.distribution else None,
        }  # fmt: skip
        return Verdict(
            self.id, self.title, self.source, self.sentence, self.latex,
            tuple(out.hypotheses), tuple(out.claims), tuple(out.events), tuple(out.constants),
            tuple(out.notes), tuple(out.tables), {**facts, **(settings or {})},
            time.perf_counter() - start,
        )  # fmt: skip


def _undecided_at_kinks(claims: list[Claim], instance: Instance) -> list[Claim]:
    """The claims, those that fail left open where a derivative may have jumped between their sides."""
    failed = (ClaimOutcome.VIOLATED, ClaimOutcome.FAILS_HERE)
    if not any(c.outcome in failed for c in claims) or not instance.at_kinks:
        return claims
    why = "a pre-activation is 0 to rounding, where the derivative jumps"
    return [
        replace(c, at_kinks=True, note="; ".join(filter(None, (c.note, why))))
        if c.outcome in failed
        else c
        for c in claims
    ]
