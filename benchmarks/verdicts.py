"""The table of a paper's page: each statement's conclusion on instances inside and outside its regime.

``python -m benchmarks.verdicts nguyen2021`` prints it; ``--write`` puts it between the marks
``<!-- verdicts -->`` of ``docs/papers/nguyen2021.md``. Of a conclusion with explicit constants and of
steps the cells count outcomes, of events they show the rate, and of orders the constant needed (over all
layers, powers, … the range). Hypotheses that are not met are numbered below the table.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1] / "docs" / "papers"
MARK = "<!-- verdicts -->"
# paper → (column, options): three instances in its regime, the last one outside
INSTANCES: dict[str, dict[str, str]] = {
    "nguyen2021": {
        "A": "--data gaussian:N=40,d=40 --widths 40,800,30,1 --init he",
        "B": "--data sphere:N=40,d=40 --widths 40,30,800,1 --init lecun",
        "C": "--data gaussian:N=30,d=60 --widths 60,600,1 --init he",
        "outside": "--data sphere:N=80,d=3 --widths 3,4,4,1 --init he",
    },
    "bombari2022": {
        "A": "--data gaussian:N=60,d=40 --widths 40,36,32,1 --activation tanh --init bombari2022",
        "B": "--data sphere:N=80,d=60 --widths 60,50,40,1 --activation sigmoid --init bombari2022",
        "C": "--data gaussian:N=80,d=50 --widths 50,40,36,32,1 --activation tanh --init bombari2022",
        "outside": "--data gaussian:N=80,d=4 --widths 4,4,4,1 --activation tanh --init he",
    },
    "banerjee2023": {
        "A": (
            "--data sphere:N=40,d=30 --widths 30,400,400,1 --activation tanh --parameterization ntk "
            "--init banerjee2023"
        ),
        "B": (
            "--data sphere:N=40,d=60 --widths 60,600,1 --activation tanh --parameterization ntk "
            "--init banerjee2023"
        ),
        "C": (
            "--data sphere:N=30,d=30 --widths 30,300,300,300,1 --activation tanh "
            "--parameterization ntk --init banerjee2023:sigma0_sq=0.5"
        ),
        "outside": (
            "--data sphere:N=60,d=4 --widths 4,6,6,1 --activation sigmoid --parameterization ntk "
            "--init banerjee2023"
        ),
    },
    "karhadkar2024": {
        "A": "--data sphere:N=60,d=5 --widths 5,800,1 --init he --parameterization ntk",
        "B": "--data sphere:N=40,d=20 --widths 20,400,1 --init he --parameterization ntk",
        "C": "--data sphere:N=40,d=10 --widths 10,800,200,1 --init he",
        "outside": "--data gaussian:N=40,d=3 --widths 3,40,80,1 --init he",
    },
    "fanwang2020": {
        "A": "--data sphere:N=200,d=150 --widths 150,300,1 --activation tanh --parameterization ntk --init 1,1",
        "B": "--data gaussian:N=200,d=200 --widths 200,250,300,1 --activation tanh --init lecun",
        "C": "--data sphere:N=150,d=50 --widths 50,40,30,1 --activation erf --parameterization ntk --init 1,1,1",
        "outside": "--data sphere:N=150,d=150 --widths 150,200,150,1 --init he",
    },
}


def verdicts(paper: str, options: str) -> list[dict[str, Any]]:
    """The records of ``ntkscope check --paper … --json``."""
    from ntkscope.cli.main import main as command

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        arguments = ["check", "--paper", paper, *options.split(), "--out", folder]
        with contextlib.suppress(SystemExit):
            command(arguments)
        found: list[dict[str, Any]] = json.loads((Path(folder) / "result.json").read_text())
    return found


def cell(record: Mapping[str, Any], unmet: dict[str, int]) -> str:
    """The outcome and the numbers behind it; ``unmet`` numbers the hypotheses that are not met, in order."""
    outcome = record["outcome"]
    if outcome == "does not apply":
        names = [h["name"] for h in record["hypotheses"] if h["state"] == "not met"]
        return f"n/a ({', '.join(str(unmet.setdefault(n, len(unmet) + 1)) for n in names)})"
    claims = record["inequalities"]
    concluding = [c for c in claims if c["kind"] == "conclusion"]
    evidence = concluding or [c for c in claims if not c["tautology"]]
    orders = [c for c in record["constants"] if c["kind"] == "conclusion"] or record["constants"]
    failed = [c for c in claims if c["outcome"] == "violated"]
    parts = []
    if failed or concluding or not (record["events"] or orders):
        parts.append(_counts((c["outcome"] for c in (failed or evidence)), outcome))
    if record["events"]:
        parts.append(", ".join(dict.fromkeys(map(_rate, record["events"]))))
    parts += [_range(order, [c for c in orders if c["order"] == order]) for order in "ΩΘO"]
    found = "; ".join(p for p in parts if p)
    return found if outcome == "needs constant" and found else f"**{outcome}** {found}".rstrip()


def _counts(words: Iterable[str], outcome: str) -> str:
    """``6 fails on this draw``; what the outcome says already is first, its count alone."""
    counts = Counter(words)
    said = [word for word in counts if outcome in (word, f"{word} as printed")]
    return ", ".join(
        [str(counts.pop(word)) for word in said] + [f"{n} {word}" for word, n in counts.items()]
    )


def _rate(event: Mapping[str, Any]) -> str:
    """``91/100 ≥ 0.5``, the rate alone where no number is promised."""
    rate, promised = f"{event['successes']}/{event['trials']}", event["promised"]
    return rate if promised is None else f"{rate} ≥ {float(promised):.3g}"


def _range(order: str, items: list[Mapping[str, Any]]) -> str:
    """``Ω 0.42`` or ``Ω 0.1 … 0.3``; what is no number is left out."""
    found = [float(c["constant"]) for c in items if c["constant"] not in (None, "nan")]
    if not found:
        return ""
    low, high = (f"{x:.2g}" for x in (min(found), max(found)))
    return f"{order} {low}" + ("" if low == high else f" … {high}")


def table(paper: str) -> str:
    """The instances and the table, as Markdown."""
    from ntkscope.statements.registry import statements

    columns = INSTANCES[paper]
    records = {
        name: {r["id"]: r for r in verdicts(paper, options)} for name, options in columns.items()
    }
    unmet: dict[str, int] = {}
    lines = [f"- {name}: `{options}`" for name, options in columns.items()]
    lines += ["", f"| statement | {' | '.join(columns)} |", "|---|" + "---|" * len(columns)]
    for s in statements(paper):
        cells = [cell(records[name][s.id], unmet).replace("|", "\\|") for name in columns]
        lines.append(f"| `{s.number}` | {' | '.join(cells)} |")
    if unmet:
        lines += ["", "Not met:", "", *(f"{number}. {name}" for name, number in unmet.items())]
    return "\n".join(lines)


def main(papers: list[str] | None = None, write: bool = False) -> None:
    for paper in papers or list(INSTANCES):
        made = table(paper)
        print(made)
        if write:
            page = DOCS / f"{paper}.md"
            before, _, after = page.read_text().split(MARK)
            page.write_text(f"{before}{MARK}\n{made}\n{MARK}{after}")


if __name__ == "__main__":
    main([a for a in sys.argv[1:] if a != "--write"], "--write" in sys.argv)
