"""An instance that one line reproduces, and what a search over such instances found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ntkscope.data import load
from ntkscope.data.registry import fixed_dim
from ntkscope.networks.network import Network
from ntkscope.report.result import Shown
from ntkscope.statements.balls.confirm import Confirmation
from ntkscope.statements.instance import Instance
from ntkscope.statements.kinds import Claim, Event

_SAMPLES = 512  # draws behind an expectation


@dataclass(frozen=True)
class Trial:
    """An instance that one line of the command line reproduces."""

    widths: tuple[int, ...]
    activation: str
    init: str
    parameterization: str
    law: str
    N: int
    seed: int
    trials: int = 2

    def network(self) -> Network:
        """The network, not sampled."""
        return Network(self.widths, self.activation, self.init, self.parameterization)

    @property
    def data(self) -> str:
        """The data, as the command line writes them."""
        free = fixed_dim(self.law) is None
        return f"{self.law}:N={self.N}" + (f",d={self.widths[0]}" if free else "")

    def instance(self) -> Instance:
        """The network sampled on the data."""
        made = load(self.data, seed=self.seed)
        return Instance(
            self.network(), made.X, seed=self.seed, distribution=made.distribution,
            samples=_SAMPLES, trials=self.trials,
        )  # fmt: skip

    @property
    def size(self) -> int:
        """What shrinking makes smaller: rows, then weights."""
        return 10 * self.N + sum(self.widths)

    @property
    def options(self) -> str:
        """The options of ``ntkscope check`` that make this instance."""
        widths = ",".join(map(str, self.widths))
        return (
            f"--data {self.data} --widths {widths} --activation {self.activation} "
            f"--init {self.init} --parameterization {self.parameterization} --seed {self.seed} "
            f"--samples {_SAMPLES} --trials {self.trials}"
        )


@dataclass(frozen=True)
class Extreme:
    """The smallest and the largest constant met for a scaling; its name as it was first met."""

    name: str
    order: str
    expression: str
    smallest: float
    at_smallest: Trial
    largest: float
    at_largest: Trial


@dataclass(frozen=True)
class Falsification(Shown):
    """What a search for a violation found.

    claim: the inequality violated most or the event missed most, or what came nearest where nothing is.
    excess: of an inequality by how much, relative to both sides, beyond rounding and Monte-Carlo error;
    of an event how far the 99% interval of its probability lies below the promised one.
    found, shrunk: the instance as it was found and as small as it could be made.
    confirmation: the claim on the shrunk instance in ball arithmetic, where a confirmer exists.
    """

    id: str
    violated: bool
    claim: Claim | Event | None
    excess: float
    found: Trial | None
    shrunk: Trial | None
    confirmation: Confirmation | None
    constants: tuple[Extreme, ...]
    trials: int
    failed: int
    seconds: float
    note: str = ""

    @property
    def command(self) -> str:
        """The line that shows the counterexample."""
        trial = self.shrunk or self.found
        return f"ntkscope check {self.id} {trial.options}" if trial else ""

    def __repr__(self) -> str:
        found = "violated" if self.violated else "not violated"
        return f"Falsification({self.id!r}, {self.trials} instances, {found})"

    def __str__(self) -> str:
        lines = [f"{self.id}: {self.trials} instances in {self.seconds:.1f} s"]
        if self.claim is None:
            lines.append(
                "nothing with explicit constants or a positive promised probability was met"
            )
        else:
            c = self.claim
            failed = "violated" if isinstance(c, Claim) else "missed"
            word = failed if self.violated else f"never {failed}; nearest to it"
            known = " (a known erratum)" if c.erratum and self.violated else ""
            lines.append(f"{word}{known}: {c.name}")
            lines.append(f"  {_numbers(c)}")
            lines.append(f"  {self.command}")
        if self.confirmation is not None:
            lines.append(f"  {self.confirmation}")
        if self.note:
            lines.append(f"  {self.note}")
        for e in self.constants:
            lines.append(f"{e.name} = {e.order}({e.expression}): constants {e.smallest:.4g} … "
                         f"{e.largest:.4g}")  # fmt: skip
            lines.append(f"  least at {e.at_smallest.options}")
            lines.append(f"  most at {e.at_largest.options}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "id": self.id, "violated": self.violated, "trials": self.trials, "failed": self.failed,
            "claim": None if self.claim is None else self.claim.to_dict(), "excess": self.excess,
            "found": None if self.found is None else self.found.__dict__,
            "shrunk": None if self.shrunk is None else self.shrunk.__dict__,
            "confirmation": None if self.confirmation is None else self.confirmation.__dict__,
            "constants": [
                {**e.__dict__, "at_smallest": e.at_smallest.__dict__,
                 "at_largest": e.at_largest.__dict__}
                for e in self.constants
            ],
            "command": self.command, "note": self.note, "seconds": self.seconds,
        }  # fmt: skip


def _numbers(found: Claim | Event) -> str:
    if isinstance(found, Claim):
        return f"{found.left.value:.10g} {found.relation} {found.right.value:.10g}"
    low, high = found.interval
    return (
        f"{found.successes} of {found.trials}, probability in [{low:.4g}, {high:.4g}] at 99%, "
        f"promised {found.promised:.4g}"
    )
