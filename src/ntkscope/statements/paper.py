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
        out.at_most("λ_min(K) ≤ ½ min K_ii", i.lambda_K, i.K.diagonal().min() / 2, key="half")

    @PAPER.confirmer("theorem-1", "half")
    def half_in_balls(b):
        return b.lambda_K, smallest_of(diagonal(b.K)) / 2

- ``needs`` are hypotheses on the network alone (``ntkscope.statements.needs``: relu, gaussian, …),
  the paper's own where a statement names none. They are recorded first and never stop the
  function: compute what can be computed, and ``raise NotComputable("why")`` where nothing can.
- ``out.hypothesis``: a condition with its number; ``holds=None`` where a sample cannot test it;
  ``out.order_of`` when the paper gives the threshold up to a constant.
- ``out.at_most`` / ``at_least`` / ``equal`` (level 2): inequalities with explicit constants. Sides
  are numbers, eigenvalues or quantities, whose rounding and Monte-Carlo errors decide how much the
  claim may miss by. Such a claim must hold on every instance to which it applies; if the paper's
  does not, mark it ``erratum=True`` and describe it in docs/ERRATA.md. Its ``key`` is what confirmers
  and searches know it by, and layers, powers, … are given beside it: ``key="hermite", k=k, r=r``.
- ``out.rate``: a statement with a probability, over Monte-Carlo trials.
- ``out.scaling`` (level 3): a measured number against an expression without its constant.
- A confirmer takes the instance in ball arithmetic and the claim's parameters, and returns both
  sides as balls.
- What several statements need belongs to :class:`Instance` as a cached property, or goes through
  ``i.held(key, make)``; random choices take ``i.generator("purpose")``.
- A figure is the ``FIGURE`` of a module that ``figures`` names, or of the paper's own file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ntkscope._base.rollback import restorable
from ntkscope.statements.statement import Need, Run, Statement

# (an instance in balls, the claim's parameters by name) → (left, right)
Confirmer = Callable[..., tuple[Any, Any]]
_F = TypeVar("_F", bound=Callable[..., Any])
SHARED = (
    "shared."  # keys of the claims that several papers make, and balls/shared_claims.py confirms
)


@dataclass(frozen=True, eq=False)
class Paper:
    """A paper's statements, confirmers and figures.

    Attributes
    ----------
    key: what ids begin with; the folder's name.
    short: as sources cite it, such as "Nguyen et al. 2021".
    title, citation: for lists and pages.
    order: where it stands in lists, smallest first.
    needs: what its statements ask of the network, where they do not say otherwise.
    parts: the folder's modules with statements and confirmers, in the order of the statements.
    figures: the folder's modules with figures, in the gallery's order.
    statements: by number, such as "theorem-4.1". confirmers: by number and claim key.
    """

    key: str
    short: str
    title: str
    citation: str = ""
    order: int = 100
    needs: tuple[Need, ...] = ()
    parts: tuple[str, ...] = ()
    figures: tuple[str, ...] = ()
    statements: dict[str, Statement] = field(default_factory=dict, init=False, repr=False)
    confirmers: dict[tuple[str, str], Confirmer] = field(
        default_factory=dict, init=False, repr=False
    )

    def __post_init__(self) -> None:
        if not self.key or "." in self.key:
            raise ValueError(f"a paper's key is a word without dots, got {self.key!r}")
        restorable(self.statements)
        restorable(self.confirmers)

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
    ) -> Callable[[Run], Run]:
        """Register the decorated function of (Instance, Findings) as the statement ``key.number``.

        Parameters
        ----------
        number: the rest of its id, such as ``"theorem-4.1"``.
        title, sentence, latex: a few words, the claim in one sentence, the claim as printed.
        section: where it stands in the paper.
        needs: what it asks of the network; the paper's ``needs`` by default.
        level2: what is compared with explicit constants, in a line.

        Raises ValueError for a number given twice.
        """

        def register(run: Run) -> Run:
            id = f"{self.key}.{number}"
            if number in self.statements:
                raise ValueError(f"statement {id!r} is registered twice")
            self.statements[number] = Statement(
                id, title, f"{self.short}, {section}", sentence, latex, run,
                self.needs if needs is None else needs, level2,
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
