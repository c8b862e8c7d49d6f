r"""The record of a verdict as a LaTeX table, for a paper that loads amsmath, amssymb and array."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ntkscope.report.check_text import claims_of, constants_of, event_rows
from ntkscope.report.latex import tex, typewriter

Record = Mapping[str, Any]
NEEDS = r"% \usepackage{amsmath,amssymb,array}"


def as_latex(record: Record) -> str:
    """A table float: what is claimed as it is printed, what was found, and the line that finds it again."""
    settings = record["settings"]
    on = f"{settings.get('network')}, N = {settings.get('N')}, seed {settings.get('seed')}"
    rows = list(_rows(record))
    return "\n".join(
        [
            NEEDS,
            r"\begin{table}[htbp]",
            r"\centering\footnotesize",
            rf"\caption{{{tex(record['title'])} ({tex(record['source'])}): {tex(record['outcome'])}. "
            rf"On {tex(on)}.}}",
            rf"\label{{tab:{_label(record['id'])}}}",
            *_claim(record["latex"]),
            *([_HEAD, *rows, r"\hline", r"\end{tabular}", r"\par\smallskip"] if rows else []),
            rf"{{\raggedright\scriptsize {typewriter(record['command'])}\par}}",
            r"\end{table}",
        ]
    )


# the columns with words break their lines, so that the table is as wide as the text
_COLUMNS = "".join(
    rf">{{\raggedright\arraybackslash}}p{{{width}\linewidth}}" if width else "c"
    for width in (0.34, 0.22, 0, 0.13, 0.19)
)
_HEAD = (
    rf"\setlength{{\tabcolsep}}{{3pt}}\begin{{tabular}}{{@{{}}{_COLUMNS}@{{}}}}"
    "\n\\hline\nclaim & left & & right & outcome \\\\\n\\hline"
)


def _claim(formula: str) -> list[str]:
    """The statement's own formula; a long one breaks where TeX lets a formula break."""
    return [rf"{{\raggedright ${formula.strip()}$\par}}", r"\smallskip"] if formula.strip() else []


def _label(id: str) -> str:
    return re.sub(r"[^A-Za-z0-9.:-]", "-", id)


def _rows(record: Record) -> Iterator[str]:
    for kind in ("conclusion", "step"):
        for name, left, relation, right, _, outcome in claims_of(kind)(record):
            yield _row(name, left, relation, right, outcome)
        for name, measured, predicted, needed, outcome in constants_of(kind)(record):
            yield _row(name, measured, "", predicted, f"{outcome}: c = {needed}")
    for name, met, interval, promised, outcome in event_rows(record):
        yield _row(f"{name} ({interval})", met, "≥", promised, outcome)


def _row(*cells: str) -> str:
    return " & ".join(map(tex, cells)) + r" \\"
