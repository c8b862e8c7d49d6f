"""The instance that violates a statement most: searched for, shrunk, confirmed in ball arithmetic.

An instance counts where no hypothesis is refuted. What is promised with a probability is refuted by the
interval of that probability over many trials, where the promised one is positive, and by no single draw.
For Ω, O and Θ the search keeps the smallest and largest constant met instead, with its instance.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from ntkscope.activations import registry as activations
from ntkscope.data import registry
from ntkscope.networks import initialization
from ntkscope.statements.balls.confirm import Unproved, confirm
from ntkscope.statements.falsification import Extreme, Falsification, Trial
from ntkscope.statements.kinds import SIGMAS, Claim, Constant, Event
from ntkscope.statements.outcomes import ClaimOutcome, EventOutcome
from ntkscope.statements.registry import find
from ntkscope.statements.statement import Statement
from ntkscope.statements.verdict import Verdict

# beside what is registered, with its defaults
_VARIANTS = ("banerjee2023:sigma0_sq=0.25", "banerjee2023:sigma0_sq=10")
_FEW_TRIALS = 8  # behind the probability of an event at first
_EVENT_TRIALS = 200  # behind the probability of an event that looks too rare
_RETRIES = 6  # seeds tried before a smaller instance is given up


Finding = Claim | Event


@dataclass
class _Search:
    statement: Statement
    random: random.Random
    everywhere: bool = False
    seconds: float = math.inf
    best: tuple[float, Trial, Finding] | None = None
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

    def examine(self, trial: Trial) -> tuple[Trial, Verdict] | None:
        """The verdict where the instance counts, over more trials where an event looks too rare."""
        verdict = None
        for trials in (_FEW_TRIALS, _EVENT_TRIALS):
            trial = replace(trial, trials=trials)
            verdict = self.check(trial)
            if verdict is None or not self.admits(verdict):
                return None
            if not any(map(_looks_rare, verdict.events)):
                break
        return None if verdict is None else (trial, verdict)

    def visit(self, trial: Trial) -> None:
        examined = self.examine(trial)
        if examined is None:
            return
        trial, verdict = examined
        worst = _worst(verdict)
        if worst is not None and (self.best is None or worst[0] > self.best[0]):
            self.best = (worst[0], trial, worst[1])
        for s in verdict.constants:
            ratio = s.value.value
            if ratio > 0:
                kind = _kind(s)
                e = self.extremes.get(kind)
                if e is None:
                    e = Extreme(s.name, s.order, s.expression, ratio, trial, ratio, trial)
                if ratio < e.smallest:
                    e = replace(e, smallest=ratio, at_smallest=trial)
                if ratio > e.largest:
                    e = replace(e, largest=ratio, at_largest=trial)
                self.extremes[kind] = e

    def draw(self) -> Trial:
        """A random instance to which the statement applies, as far as the network tells."""
        pick = self.random
        for _ in range(200):
            depth = pick.choice((1, 2, 2, 3))
            width = pick.choice((3, 8, 20, 40))
            equal = pick.random() < 0.5
            hidden = [width if equal else pick.randint(1, 40) for _ in range(depth)]
            law = pick.choice(registry.names())
            dim = registry.fixed_dim(law) or pick.randint(1, 20)
            trial = Trial(
                (dim, *hidden, 1), pick.choice(activations.names()),
                pick.choice((*initialization.names(), *_VARIANTS)), pick.choice(("standard", "ntk")),
                law, pick.randint(2, 25), pick.randrange(10_000),
            )  # fmt: skip
            if self.suits(trial):
                return trial
        return trial

    def suits(self, trial: Trial) -> bool:
        """Whether there is such a network and none of its hypotheses is refuted."""
        try:
            net = trial.network()
        except ValueError:
            return False
        return all(h.met is not False for h in self.statement.applies_to(net))

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


def _kind(item: Finding | Constant) -> tuple[str, ...]:
    """What instances are compared by: the key, and the part of the statement; not the layer or power."""
    return (item.key, *(value for value in item.at.values() if isinstance(value, str)))


def _looks_rare(event: Event) -> bool:
    promised = event.promised or 0.0
    return promised > 0 and event.successes < promised * event.trials


def _failed(item: Finding) -> bool:
    return item.outcome in (ClaimOutcome.VIOLATED, EventOutcome.MISSED)


def _excess(item: Finding) -> float:
    if isinstance(item, Event):
        return (item.promised or 0.0) - item.interval[1]
    scale = abs(item.left.value) + abs(item.right.value)
    beyond = -item.slack - item.allowance - SIGMAS * item.spread
    return beyond / scale if scale > 0 else beyond


# what says how near a statement comes to failing; identities hold to rounding and say nothing of it
_TELLING = (ClaimOutcome.HOLDS, ClaimOutcome.OPEN, EventOutcome.REACHED, EventOutcome.OPEN)


def _worst(verdict: Verdict) -> tuple[float, Finding] | None:
    found: list[Finding] = [*verdict.claims, *verdict.events]
    failed = [item for item in found if _failed(item)]
    telling = [item for item in found if item.outcome in _TELLING and not _identity(item)]
    identities = [item for item in verdict.claims if item.outcome is ClaimOutcome.HOLDS]
    pairs = [(_excess(item), item) for item in failed or telling or identities]
    return max(pairs, key=lambda p: p[0]) if pairs else None


def _identity(item: Finding) -> bool:
    return isinstance(item, Claim) and (item.relation == "=" or item.tautology)


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
    """Search for the instance that violates a statement most, among those to which it applies.

    Half of the ``trials`` are random, the other half move about the best one; the search stops
    after ``seconds``, and so does the shrinking. A violation is shrunk (fewest rows, smallest widths) and, where its claim has
    a confirmer, evaluated in ball arithmetic. An event counts as missed where the 99% interval of its
    probability over 200 trials lies below a promised one that is positive. ``everywhere`` counts
    instances on which a hypothesis about the data or the widths is not met as well.

    Raises ValueError for an unknown id or no trials, ImportError where a confirmation needs
    python-flint and it is missing.
    """
    if trials < 1:
        raise ValueError(f"trials must be at least 1, got {trials}")
    start = time.perf_counter()
    search = _Search(find(id), random.Random(seed), everywhere, seconds)
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
            note += "; --everywhere counts those on which a hypothesis is not met as well"
        return Falsification(id, False, None, 0.0, None, None, None, constants, search.count,
                             search.failed, time.perf_counter() - start, note)  # fmt: skip
    excess, trial, claim = search.best
    violated, small, confirmation, note = _failed(claim), trial, None, ""
    if violated:
        if shrink:
            small, claim = _shrink(search, trial, claim)
        if isinstance(claim, Event):
            note = f"{claim.trials} independent trials, over {claim.over or 'what the event says'}"
        else:
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


def _shrink(search: _Search, trial: Trial, item: Finding) -> tuple[Trial, Finding]:
    """The smallest instance, by greedy steps, on which a finding of the same kind fails.

    An event fails only where its promised probability is positive, on each instance on the way.
    """
    moved, start = True, time.perf_counter()
    while moved:
        moved = False
        for smaller in _smaller(trial):
            if time.perf_counter() - start > search.seconds:
                return trial, item
            found = _violation(search, smaller, _kind(item))
            if found is not None:
                trial, item = found
                moved = True
                break
    return trial, item


def _violation(
    search: _Search, trial: Trial, kind: tuple[str, ...]
) -> tuple[Trial, Finding] | None:
    for seed in (trial.seed, *range(_RETRIES)):
        examined = search.examine(replace(trial, seed=seed))
        if examined is None:
            continue
        candidate, verdict = examined
        failed: list[Finding] = [*verdict.violations, *verdict.missed]
        for item in failed:
            if _kind(item) == kind:
                return candidate, item
    return None
