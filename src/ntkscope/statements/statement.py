"""The papers' statements as objects that run on an instance, and the registry that holds them.

How to add one. Write a function of an :class:`Instance` and a :class:`Findings`, and register it::

    @statement(
        "nguyen2021.eq-5",
        title="Gradient bound",
        source="Nguyen et al. 2021, eq. 5",
        sentence="The squared gradient of the square loss is at least 2 λ_min(K) times the loss.",
        latex=r"\\|\\nabla\\Phi(\\theta)\\|_2^2 \\ge 2\\lambda_{\\min}(K)\\,\\Phi(\\theta)",
        needs=(),                      # predicates from ntkscope.statements.needs: relu, gaussian, …
    )
    def gradient_bound(i: Instance, out: Findings) -> None:
        residual = i.model(i.X)[:, 0] - y
        out.at_least("‖∇Φ‖² ≥ 2 λ_min(K) Φ", gradient_sq, 2.0 * i.lambda_K_q * loss)

- Put it in a module ``theory/<paper>*.py``: every module whose name begins with a paper's key
  (``PAPERS``) is imported when the registry is asked for. Ids are ``<paper>.<statement>``.
- ``needs`` are hypotheses on the network alone. They are recorded first and never stop the
  function: compute what can be computed, and ``raise NotComputable("why")`` where nothing can.
- ``out.hypothesis``: a condition with its number; ``holds=None`` where a sample cannot test it;
  ``out.order_of`` when the paper gives the threshold up to a constant.
- ``out.at_most`` / ``at_least`` / ``equal`` (level 2): inequalities with explicit constants. Sides
  are numbers, eigenvalues or :class:`Quantity`, whose rounding and Monte-Carlo errors decide how
  much the claim may miss by. Such a claim must hold on every instance to which it applies; if the
  paper's does not, mark it ``erratum=True`` and describe it in docs/ERRATA.md.
- ``out.rate``: a statement with a probability, over Monte-Carlo trials.
- ``out.scaling`` (level 3): a measured number against an expression without its constant.
- What several statements need belongs to :class:`Instance` as a cached property, or goes through
  ``i.held(key, make)``; random choices take ``i.generator("purpose")``.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, SupportsFloat

from ntkscope._base.specs import unknown
from ntkscope.data import Distribution
from ntkscope.networks.mlp import MLP
from ntkscope.networks.network import Network
from ntkscope.spectra.eigenvalue import Eigenvalue
from ntkscope.statements.instance import Instance, NotComputable
from ntkscope.statements.paper import Paper
from ntkscope.statements.quantity import Quantity, quantity
from ntkscope.statements.verdict import Claim, Hypothesis, Order, Rate, Relation, Scaling, Verdict

__all__ = [
    "Findings",
    "NotComputable",
    "Statement",
    "check",
    "check_all",
    "find",
    "statement",
    "statements",
]

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

    def at_most(
        self, name: str, left: Number, right: Number, note: str = "", erratum: bool = False
    ) -> bool | None:
        """left ≤ right; returns whether it holds."""
        return self._claim(name, left, "≤", right, note, erratum)

    def at_least(
        self, name: str, left: Number, right: Number, note: str = "", erratum: bool = False
    ) -> bool | None:
        """left ≥ right; returns whether it holds."""
        return self._claim(name, left, "≥", right, note, erratum)

    def equal(
        self, name: str, left: Number, right: Number, note: str = "", erratum: bool = False
    ) -> bool | None:
        """left = right within the errors of both; returns whether it holds."""
        return self._claim(name, left, "=", right, note, erratum)

    def _claim(
        self, name: str, left: Number, relation: Relation, right: Number, note: str, erratum: bool
    ) -> bool | None:
        claim = Claim(name, quantity(left), relation, quantity(right), note, erratum)
        self.claims.append(claim)
        return claim.holds

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
    ) -> None:
        """A measured number against an expression without its constant."""
        found = Scaling(name, quantity(measured), order, float(predicted), expression, note)
        self.scalings.append(found)

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


Need = Callable[[Network], Hypothesis]
Check = Callable[[Instance, Findings], None]


@dataclass(frozen=True)
class Statement:
    """A numbered statement of a paper that can be run on an :class:`Instance`.

    id: ``paper.statement``. sentence: the claim in one sentence. latex: the claim as printed.
    needs: what it asks of the network, each a function of it. section: where it stands.
    """

    id: str
    title: str
    source: str
    sentence: str
    latex: str
    run: Check
    needs: tuple[Need, ...] = ()
    level2: str = ""

    @property
    def paper(self) -> str:
        return self.id.partition(".")[0]

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
        facts = {
            "network": str(instance.network), "N": instance.N, "d": instance.d,
            "seed": instance.seed,
            "distribution": repr(instance.distribution) if instance.distribution else None,
        }  # fmt: skip
        return Verdict(
            self.id, self.title, self.source, self.sentence, self.latex,
            tuple(out.hypotheses), tuple(out.claims), tuple(out.rates), tuple(out.scalings),
            tuple(out.notes), tuple(out.tables), {**facts, **(settings or {})},
            time.perf_counter() - start,
        )  # fmt: skip


_REGISTRY: dict[str, Statement] = {}
_loaded = False


def statement(
    id: str,
    *,
    title: str,
    source: str,
    sentence: str,
    latex: str,
    needs: tuple[Need, ...] = (),
    level2: str = "",
) -> Callable[[Check], Check]:
    """Register the decorated function as a statement. Raises ValueError for an id given twice."""

    def register(run: Check) -> Check:
        if id in _REGISTRY:
            raise ValueError(f"statement {id!r} is registered twice")
        _REGISTRY[id] = Statement(id, title, source, sentence, latex, run, needs, level2)
        return run

    return register


def statements(paper: str | None = None) -> tuple[Statement, ...]:
    """All statements, in the papers' order; of one paper if named.

    Raises ValueError for an unknown paper, suggesting the nearest.
    """
    _load()
    keys = keys_of_papers()
    if paper is not None and paper not in keys:
        raise ValueError(unknown("paper", paper, keys))
    wanted = keys if paper is None else (paper,)
    return tuple(s for p in wanted for s in _REGISTRY.values() if s.paper == p)


def find(id: str) -> Statement:
    """The statement of an id. Raises ValueError for an unknown one, suggesting the nearest."""
    _load()
    if id not in _REGISTRY:
        # a paper's own number without the paper means it in each paper that has it
        keys = keys_of_papers()
        near = [f"{p}.{id}" for p in keys if f"{p}.{id}" in _REGISTRY]
        if not near:
            of = next((p for p in keys if id.startswith(p)), "")
            near = difflib.get_close_matches(id, [k for k in _REGISTRY if of in k], n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise ValueError(f"unknown statement {id!r}{hint} (ntkscope check --list shows all)")
    return _REGISTRY[id]


def check(
    id: str,
    net: Network | MLP,
    X: Any,
    *,
    seed: int = 0,
    distribution: Distribution | None = None,
    samples: int = 4096,
    trials: int = 100,
    delta: float = 0.1,
) -> Verdict:
    """Run one statement on a network and data.

    Parameters
    ----------
    id: such as ``"nguyen2021.theorem-4.1"``; ``ntkscope check --list`` shows all.
    net: a Network, sampled with ``seed``, or an MLP.
    X: (N, d) data.
    distribution: the law of X's rows, where it is known; without it, expectations over the data
        are taken over half of the sample and hypotheses on the law cannot be tested.
    samples, trials, delta: Monte-Carlo draws, repetitions behind a success rate, and δ.

    Raises ValueError for an unknown id, or data that do not fit the network.
    """
    found = find(id)
    return found.check(
        Instance(
            net, X, seed=seed, distribution=distribution, samples=samples, trials=trials,
            delta=delta,
        )
    )  # fmt: skip


def check_all(
    instance: Instance, ids: Iterable[str] = (), settings: dict[str, Any] | None = None
) -> list[Verdict]:
    """Several statements (all of them by default) on one instance, sharing what it caches."""
    chosen = [find(id) for id in ids] or list(statements())
    return [s.check(instance, settings) for s in chosen]


def _float(x: SupportsFloat | None) -> float | None:
    return None if x is None else float(x)


def papers() -> tuple[Paper, ...]:
    """The papers, in their order: every folder of ``ntkscope.papers``."""
    package = importlib.import_module("ntkscope.papers")
    found = (
        importlib.import_module(f"ntkscope.papers.{module.name}").PAPER
        for module in pkgutil.iter_modules(package.__path__)
    )
    return tuple(sorted(found, key=lambda paper: (paper.order, paper.key)))


def keys_of_papers() -> tuple[str, ...]:
    """The keys of the papers that have statements, in their order."""
    return tuple(paper.key for paper in papers() if paper.parts)


def _load() -> None:
    """Import the papers' modules; each registers its statements."""
    global _loaded
    if _loaded:
        return
    for paper in papers():
        for part in paper.parts:
            importlib.import_module(f"ntkscope.papers.{paper.key}.{part}")
    _loaded = True
