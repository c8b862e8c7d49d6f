"""The instance that violates a statement most: searched for, shrunk, confirmed in ball arithmetic.

For Ω, O and Θ the search keeps the smallest and largest constant met instead, with its instance.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from ntkscope.statements.balls.confirm import Unproved, confirm
from ntkscope.statements.falsification import Extreme, Falsification, Trial
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
