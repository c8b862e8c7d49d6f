"""What a paper is: the folder, or the one file, that holds its statements, confirmers and figures.

Everything of a paper registers with the paper itself, so that a paper that cannot be had leaves no
trace. A file of one's own::

    from ntkscope import Paper

    PAPER = Paper("mine2026", short="My note", title="Bounds of mine")

    @PAPER.statement(
        "theorem-1",
        title="Half the diagonal",
        section="Theorem 1",
        sentence="λ_min of the kernel is at most half of its smallest diagonal entry.",
        latex=r"\\lambda_{\\min}(K)\\le\\tfrac12\\min_iK_{ii}",
    )
    def half(i, out):
        out.conclude_at_most("λ_min(K) ≤ ½ min K_ii", i.lambda_K, i.K.diagonal().min() / 2, key="half")

    @PAPER.confirmer("theorem-1", "half")
    def half_in_balls(b):
        return b.lambda_K, smallest_of(diagonal(b.K)) / 2

A statement's function takes (Instance, Findings) and writes down findings, each of one kind.
:mod:`ntkscope.statements.outcomes` has what each may come to.

- **Hypotheses.** ``needs`` are those on the network alone (``ntkscope.statements.needs``: relu,
  gaussian, …), the paper's own where a statement names none. They are recorded first and never stop
  the function: compute what can be computed, and ``raise NotComputable("why")`` where nothing can.
  ``out.hypothesis(name, met, measured, threshold)`` is a condition with its numbers, ``None`` for
  ``met`` where a sample cannot test it; ``out.order_of`` one whose constant the paper hides, of which
  the constant needed is shown. Record the condition that the paper prints, not a repaired one.
- **The conclusion**, which every statement with more than steps declares. With explicit constants:
  ``out.conclude_at_most`` / ``conclude_at_least`` / ``conclude_equal``. With a hidden one:
  ``out.conclusion(name, measured, "Ω", predicted, "expression")``, which shows the constant needed
  with its error and never "holds". A statement may have several; give each a ``key`` of its own or
  another layer, power, …: sweeps and searches tell them apart by these.
- **Steps** of the proof: ``out.at_most`` / ``at_least`` / ``equal`` with explicit constants,
  ``out.step_order`` with a hidden one. ``tautology=True`` marks what is true of every matrix (Weyl,
  Gershgorin, Schur, Rayleigh, Jensen of the very matrices): it is shown and never counts as evidence.
  A lemma that is only inequalities needs no conclusion: its steps decide.
- **Events**: ``out.event(name, successes, trials, promised)``, or ``out.event_over(name, i.redraws(),
  occurs, promised)`` with data and weights drawn anew in every trial. ``promised`` is the number as it
  comes out of the paper's or our constants, negative ones included, and ``None`` where a constant is
  hidden. ``i.affordable(flops)`` says how many trials fit a budget. An inequality that is promised with a
  probability only takes ``promised`` too: one draw cannot violate it, and the event decides.
- Sides are numbers, eigenvalues or quantities, whose rounding and Monte-Carlo errors decide how much
  an inequality may miss by. A left side is taken to be a number that cannot be negative (λ_min of a
  Gram matrix, a norm), so that a lower bound ≤ 0 is *vacuous*; say ``nonnegative=False`` where it can,
  such as λ_min(A − B) ≥ 0. Where the sides are a residual and 0, ``scale`` is the size of what is
  compared; without it rounding makes the claim *below rounding*. What does not hold as printed is marked ``erratum=True`` and described in
  docs/reference/errata.md. ``key`` is what confirmers and searches know a claim by, and layers, powers, … are
  given beside it: ``key="hermite", k=k, r=r``.
- A confirmer takes the instance in ball arithmetic and the claim's parameters, and returns both
  sides as balls.
- What several statements need belongs to :class:`Instance` as a cached property, or goes through
  ``i.held(key, make)``; random choices take ``i.generator("purpose")``.
- A figure is the ``FIGURE`` of a module that ``figures`` names, or of the paper's own file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from ntkscope._base.rollback import restorable
from ntkscope.report import bibtex
from ntkscope.report.result import Shown

if TYPE_CHECKING:  # listed and cited without PyTorch
    from ntkscope.statements.statement import Need, Run, Statement

# (an instance in balls, the claim's parameters by name) → (left, right)
Confirmer = Callable[..., tuple[Any, Any]]
_F = TypeVar("_F", bound=Callable[..., Any])
SHARED = (
    "shared."  # keys of the claims that several papers make, and balls/shared_claims.py confirms
)


@dataclass(frozen=True, eq=False)
class Paper(Shown):
    """A paper's statements, confirmers and figures.

    Attributes
    ----------
    key: what ids begin with; the folder's name.
    short: as sources cite it, such as "Nguyen et al. 2021".
    title, citation: for lists and pages.
    order: where it stands in lists, smallest first.
    needs: what its statements ask of the network, where they do not say otherwise.
    growth: how its statements grow in a sweep, where they do not say otherwise: d and the widths by a
        factor s, N by s^growth. 2 holds N/(n_{L-2} n_{L-1}) fixed, as minimum over-parameterization asks.
    parts: the folder's modules with statements and confirmers, in the order of the statements.
    figures: the folder's modules with figures, in the gallery's order.
    bibtex: its entry, which ``ntkscope cite`` prints; made of title and citation unless given.
    statements: by number, such as "theorem-4.1". confirmers: by number and claim key.
    """

    key: str
    short: str
    title: str
    citation: str = ""
    order: int = 100
    needs: tuple[Need, ...] = ()
    growth: int = 1
    parts: tuple[str, ...] = ()
    figures: tuple[str, ...] = ()
    bibtex: str = field(default="", repr=False)
    statements: dict[str, Statement] = field(default_factory=dict, init=False, repr=False)
    confirmers: dict[tuple[str, str], Confirmer] = field(
        default_factory=dict, init=False, repr=False
    )

    def __post_init__(self) -> None:
        if not self.key or "." in self.key:
            raise ValueError(f"a paper's key is a word without dots, got {self.key!r}")
        if self.bibtex:
            object.__setattr__(self, "bibtex", bibtex.read(self.bibtex))
        restorable(self.statements)
        restorable(self.confirmers)

    def to_bibtex(self) -> str:
        """The paper's own entry, or one of its title and citation."""
        if self.bibtex:
            return self.bibtex
        return bibtex.entry("misc", self.key, {"title": self.title, "note": self.citation})

    def to_dict(self) -> dict[str, Any]:
        """Its names in plain values, and the numbers of its statements."""
        return {
            "key": self.key, "short": self.short, "title": self.title, "citation": self.citation,
            "statements": list(self.statements),
        }  # fmt: skip

    def statement(
        self,
        number: str,
        *,
        title: str,
        section: str,
        sentence: str,
        latex: str,
        needs: tuple[Need, ...] | None = None,
        level2: str = "",
        growth: int | None = None,
    ) -> Callable[[Run], Run]:
        """Register the decorated function of (Instance, Findings) as the statement ``key.number``.

        Parameters
        ----------
        number: the rest of its id, such as ``"theorem-4.1"``.
        title, sentence, latex: a few words, the claim in one sentence, the claim as printed.
        section: where it stands in the paper.
        needs, growth: what it asks of the network, how it grows in a sweep; the paper's by default.
        level2: what is compared with explicit constants, in a line.

        Raises ValueError for a number given twice.
        """

        from ntkscope.statements.statement import Statement

        def register(run: Run) -> Run:
            id = f"{self.key}.{number}"
            if number in self.statements:
                raise ValueError(f"statement {id!r} is registered twice")
            self.statements[number] = Statement(
                id, title, f"{self.short}, {section}", sentence, latex, run,
                self.needs if needs is None else needs, level2,
                self.growth if growth is None else growth,
            )  # fmt: skip
            return run

        return register

    def confirmer(self, number: str, key: str) -> Callable[[_F], _F]:
        """Register the decorated function as what evaluates a claim in ball arithmetic.

        It takes a :class:`BallInstance` and the claim's parameters by name, and returns
        (left, right) as balls. Raises ValueError for a claim given twice or a shared key.
        """

        if key.startswith(SHARED):
            raise ValueError(f"claims {key!r} are confirmed for all papers alike")

        def register(confirm: _F) -> _F:
            if (number, key) in self.confirmers:
                raise ValueError(f"claim {key!r} of {self.key}.{number} has a confirmer already")
            self.confirmers[number, key] = confirm
            return confirm

        return register
