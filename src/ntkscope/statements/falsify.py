"""The instance that violates a statement most: searched for, shrunk, confirmed in ball arithmetic.

For Ω, O and Θ the search keeps the smallest and largest constant met instead, with its instance.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from ntkscope.data import load
from ntkscope.networks.network import Network
from ntkscope.statements.balls.confirm import Confirmation, Unproved, confirm
from ntkscope.statements.instance import Instance
from ntkscope.statements.registry import find
from ntkscope.statements.statement import Statement
from ntkscope.statements.verdict import SIGMAS, Claim, Scaling, Verdict

ACTIVATIONS = ("relu", "leaky_relu:alpha=0.2", "tanh", "sigmoid", "erf", "gelu", "softplus", "sin")
INITS = (
    "he", "lecun", "unit", "bombari2022", "banerjee2023", "banerjee2023:sigma0_sq=0.25",
    "banerjee2023:sigma0_sq=10",
)  # fmt: skip
LAWS = ("gaussian", "sphere", "cube", "binary")
_RETRIES = 6  # seeds tried before a smaller instance is given up


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

    def network(self) -> Network:
        """The network, not sampled."""
        return Network(self.widths, self.activation, self.init, self.parameterization)

    @property
    def data(self) -> str:
        """The data, as the command line writes them."""
        return f"{self.law}:N={self.N},d={self.widths[0]}"

    def instance(self, samples: int = 512, trials: int = 2) -> Instance:
        """The network sampled on the data."""
        made = load(self.data, seed=self.seed)
        return Instance(
            self.network(), made.X, seed=self.seed, distribution=made.distribution,
            samples=samples, trials=trials,
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
            "--samples 512 --trials 2"
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
class Falsification:
    """What a search for a violation found.

    claim: the inequality violated most, or the one that came nearest where none is violated.
    excess: by how much, relative to both sides, beyond rounding and Monte-Carlo error.
    found, shrunk: the instance as it was found and as small as it could be made.
    confirmation: the claim on the shrunk instance in ball arithmetic, where a confirmer exists.
    """

    id: str
    violated: bool
    claim: Claim | None
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

    def __str__(self) -> str:
        lines = [f"{self.id}: {self.trials} instances in {self.seconds:.1f} s"]
        if self.claim is None:
            lines.append("no inequality with explicit constants was met")
        else:
            c = self.claim
            word = "violated" if self.violated else "stands in all of them; nearest to failing"
            known = " (a known erratum)" if c.erratum and self.violated else ""
            lines.append(f"{word}{known}: {c.name}")
            lines.append(f"  {c.left.value:.10g} {c.relation} {c.right.value:.10g}")
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


@dataclass
class _Search:
    statement: Statement
    random: random.Random
    everywhere: bool = False
    best: tuple[float, Trial, Claim] | None = None
    extremes: dict[tuple[str, ...], Extreme] = field(default_factory=dict)
    count: int = 0
    failed: int = 0

    def check(self, trial: Trial) -> Verdict | None:
        """The verdict; None where the instance is none (a layer overflows, data do not fit)."""
        self.count += 1
        try:
            return self.statement.check(trial.instance())
        except ValueError:
            self.failed += 1
            return None

    def admits(self, verdict: Verdict) -> bool:
        """Whether the instance counts: all hypotheses stand, unless everything does."""
        return self.everywhere or verdict.applies

    def visit(self, trial: Trial) -> None:
        verdict = self.check(trial)
        if verdict is None or not self.admits(verdict):
            return
        worst = _worst(verdict)
        if worst is not None and (self.best is None or worst[0] > self.best[0]):
            self.best = (worst[0], trial, worst[1])
        for s in verdict.scalings:
            if s.ratio > 0:
                kind = _kind(s)
                e = self.extremes.get(kind)
                if e is None:
                    e = Extreme(s.name, s.order, s.expression, s.ratio, trial, s.ratio, trial)
                if s.ratio < e.smallest:
                    e = replace(e, smallest=s.ratio, at_smallest=trial)
                if s.ratio > e.largest:
                    e = replace(e, largest=s.ratio, at_largest=trial)
                self.extremes[kind] = e

    def draw(self) -> Trial:
        """A random instance to which the statement applies, as far as the network tells."""
        pick = self.random
        for _ in range(200):
            depth = pick.choice((1, 2, 2, 3))
            width = pick.choice((3, 8, 20, 40))
            equal = pick.random() < 0.5
            hidden = [width if equal else pick.randint(1, 40) for _ in range(depth)]
            trial = Trial(
                (pick.randint(1, 20), *hidden, 1), pick.choice(ACTIVATIONS), pick.choice(INITS),
                pick.choice(("standard", "ntk")), pick.choice(LAWS), pick.randint(2, 25),
                pick.randrange(10_000),
            )  # fmt: skip
            if all(h.holds is not False for h in self.statement.applies_to(trial.network())):
                return trial
        return trial

    def mutate(self, trial: Trial) -> Trial:
        """A neighbour: other numbers of rows and neurons, or another seed."""
        pick = self.random
        scale = pick.choice((0.5, 0.8, 1.25, 2.0))
        choice = pick.randrange(3)
        if choice == 0:
            return replace(trial, N=min(40, max(2, round(trial.N * scale))))
        if choice == 1:
            inner = trial.widths[1:-1]
            if len(set(inner)) == 1:
                inner = (min(80, max(1, round(inner[0] * scale))),) * len(inner)
            else:
                at = pick.randrange(len(inner))
                inner = tuple(min(80, max(1, round(n * scale))) if k == at else n
                              for k, n in enumerate(inner))  # fmt: skip
            return replace(trial, widths=(trial.widths[0], *inner, 1))
        return replace(trial, seed=pick.randrange(10_000))


def _kind(item: Claim | Scaling) -> tuple[str, ...]:
    """What instances are compared by: the key, and which part it speaks of; not the layer or power."""
    return (item.key, *(value for value in item.at.values() if isinstance(value, str)))


def _excess(claim: Claim) -> float:
    scale = abs(claim.left.value) + abs(claim.right.value)
    beyond = -claim.slack - claim.allowance - SIGMAS * claim.spread
    return beyond / scale if scale > 0 else beyond


def _worst(verdict: Verdict) -> tuple[float, Claim] | None:
    pairs = [(_excess(c), c) for c in verdict.claims if c.slack == c.slack]
    if any(c.relation != "=" for _, c in pairs):
        # identities hold to rounding and say nothing about how near an inequality comes
        pairs = [p for p in pairs if p[1].relation != "=" or p[1].holds is False]
    return max(pairs, key=lambda p: p[0]) if pairs else None


def falsify(
    id: str,
    *,
    trials: int = 200,
    seed: int = 0,
    seconds: float = 60.0,
    shrink: bool = True,
    everywhere: bool = False,
    progress: Callable[[str, float], None] | None = None,
) -> Falsification:
    """Search for the instance that violates a statement most.

    Half of the ``trials`` are random, the other half move about the best one; the search stops
    after ``seconds``. A violation is shrunk (fewest rows, smallest widths) and, where its claim has
    a confirmer, evaluated in ball arithmetic. ``everywhere`` counts instances on which a hypothesis
    about the data or the widths fails as well.

    Raises ValueError for an unknown id or no trials, ImportError where a confirmation needs
    python-flint and it is missing.
    """
    if trials < 1:
        raise ValueError(f"trials must be at least 1, got {trials}")
    start = time.perf_counter()
    search = _Search(find(id), random.Random(seed), everywhere)
    for index in range(trials):
        if time.perf_counter() - start > seconds:
            break
        explore = search.best is None or index < trials // 2
        search.visit(search.draw() if explore or search.best is None else
                     search.mutate(search.best[1]))  # fmt: skip
        if progress is not None:
            progress(id, (index + 1) / trials)
    constants = tuple(search.extremes.values())
    if search.best is None:
        note = "" if constants else "no instance was found to which the statement applies"
        if note and not everywhere:
            note += "; --everywhere counts those on which a hypothesis fails as well"
        return Falsification(id, False, None, 0.0, None, None, None, constants, search.count,
                             search.failed, time.perf_counter() - start, note)  # fmt: skip
    excess, trial, claim = search.best
    violated, small, confirmation, note = claim.holds is False, trial, None, ""
    if violated:
        if shrink:
            small, claim = _shrink(search, trial, claim)
        try:
            confirmation = confirm(id, small.instance(), claim)
        except Unproved as reason:
            note = f"floating point with error bounds: {reason}"
    return Falsification(id, violated, claim, excess, trial, small, confirmation, constants,
                         search.count, search.failed, time.perf_counter() - start, note)  # fmt: skip


def _to_one(n: int) -> int:
    return min(n, 1)


def _half(n: int) -> int:
    return n // 2


def _one_less(n: int) -> int:
    return n - 1


def _smaller(trial: Trial) -> list[Trial]:
    """Smaller instances, the boldest first."""
    made = []
    for N in (1, 2, trial.N // 2, trial.N - 1):
        made.append(replace(trial, N=N))
    inner = trial.widths[1:-1]
    equal = len(set(inner)) == 1
    if len(inner) > 1:
        made += [replace(trial, widths=(trial.widths[0], *inner[:k], *inner[k + 1 :], 1))
                 for k in range(len(inner))]  # fmt: skip
    for cut in (_to_one, _half, _one_less):
        made.append(replace(trial, widths=(cut(trial.widths[0]), *trial.widths[1:])))
        if equal:
            made.append(replace(trial, widths=(trial.widths[0], *map(cut, inner), 1)))
        else:
            made += [
                replace(trial, widths=(*trial.widths[: k + 1], cut(n), *trial.widths[k + 2 :]))
                for k, n in enumerate(inner)
            ]
    return [t for t in made if t.N >= 1 and min(t.widths) >= 1 and t.size < trial.size]


def _shrink(search: _Search, trial: Trial, claim: Claim) -> tuple[Trial, Claim]:
    """The smallest instance, by greedy steps, on which a claim of the same kind is violated."""
    moved = True
    while moved:
        moved = False
        for smaller in _smaller(trial):
            found = _violation(search, smaller, _kind(claim))
            if found is not None:
                trial, claim = found
                moved = True
                break
    return trial, claim


def _violation(search: _Search, trial: Trial, kind: tuple[str, ...]) -> tuple[Trial, Claim] | None:
    for seed in (trial.seed, *range(_RETRIES)):
        candidate = replace(trial, seed=seed)
        verdict = search.check(candidate)
        if verdict is None or not search.admits(verdict):
            continue
        for claim in verdict.violations:
            if _kind(claim) == kind:
                return candidate, claim
    return None
