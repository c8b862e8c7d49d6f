"""The record of a verdict as text and as LaTeX."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping
from typing import Any

Record = Mapping[str, Any]


def short(x: float | str | None, digits: int = 5) -> str:
    """A number for a table, infinite ones as the text they are in JSON; a dash where there is none."""
    if x is None or x == "nan":
        return "–"
    if isinstance(x, str):
        return x
    return "–" if math.isnan(x) else f"{x + 0.0:.{digits}g}"  # no −0


def mark(item: Record) -> str:
    """yes, no or open."""
    if item["holds"] is None:
        return "open"
    return "yes" if item["holds"] else ("no (erratum)" if item["erratum"] else "no")


def claim_rows(record: Record) -> list[tuple[str, ...]]:
    """(claim, left, relation, right, slack, holds) of every inequality."""
    return [
        (
            c["name"], short(c["left"]), c["relation"], short(c["right"]), short(c["slack"], 3),
            mark(c),
        )
        for c in record["inequalities"]
    ]  # fmt: skip


def hypothesis_rows(record: Record) -> list[tuple[str, ...]]:
    """(hypothesis, measured, threshold, state, note)."""
    return [
        (
            h["name"], short(h["measured"]),
            ("order of " if h["order_of"] else "") + short(h["threshold"]), h["state"], h["note"],
        )
        for h in record["hypotheses"]
    ]  # fmt: skip


def rate_rows(record: Record) -> list[tuple[str, ...]]:
    """(statement, successes of trials, 99% interval, claimed, holds)."""
    return [
        (
            r["name"], f"{r['successes']}/{r['trials']}",
            "{:.3f} … {:.3f}".format(*r["interval_99"]), short(r["claimed"]), mark(r),
        )
        for r in record["rates"]
    ]  # fmt: skip


def scaling_rows(record: Record) -> list[tuple[str, ...]]:
    """(quantity, measured, order of, predicted, constant)."""
    rows: list[tuple[str, ...]] = []
    for s in record["scalings"]:
        bar = f" ± {short(s['standard_error'], 2)}" if s["standard_error"] else ""
        name = f"{s['name']} = {s['order']}({s['expression']})" if s["expression"] else s["name"]
        rows.append(
            (
                name,
                short(s["measured"]) + bar,
                s["order"],
                short(s["predicted"]),
                short(s["constant"], 4),
            )
        )
    return rows


SECTIONS = (
    ("Hypotheses", ("hypothesis", "measured", "threshold", "state", "note"), hypothesis_rows),
    ("Inequalities", ("claim", "left", "", "right", "slack", "holds"), claim_rows),
    ("Rates", ("event", "met", "99% interval", "claimed", "holds"), rate_rows),
    ("Scaling", ("quantity", "measured", "", "expression", "constant"), scaling_rows),
)


def as_text(record: Record, width: int = 120) -> str:
    """Tables for a terminal of ``width`` columns."""
    from rich.console import Console
    from rich.table import Table

    console = Console(file=io.StringIO(), width=width, highlight=False, color_system=None)
    console.print(f"{record['id']}: {record['title']} ({record['source']})", markup=False)
    console.print(record["claim"], markup=False)
    settings = record["settings"]
    console.print(f"on {settings.get('network')}, N = {settings.get('N')}", markup=False)
    console.print(f"outcome: {record['outcome']}", markup=False)
    for title, columns, rows_of in SECTIONS:
        rows = rows_of(record)
        if rows:
            table = Table(*columns, title=title, title_justify="left")
            for row in rows:
                table.add_row(*(_escape(cell) for cell in row))
            console.print(table)
    for extra in record["tables"]:
        table = Table(*map(str, extra["columns"]), title=_escape(extra["title"]))
        for row in extra["rows"]:
            table.add_row(*(_escape(_cell(x)) for x in row))
        console.print(table)
    for note in record["notes"]:
        console.print(f"· {note}", markup=False)
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue().rstrip()


def _cell(x: object) -> str:
    return short(x) if isinstance(x, float) else str(x)


def _escape(text: str) -> str:
    return text.replace("[", r"\[")


_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_", "{": r"\{",
    "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "$": r"\$",
}  # fmt: skip
_MATH = {
    "≤": r"\le", "≥": r"\ge", "λ": r"\lambda", "σ": r"\sigma", "μ": r"\mu", "β": r"\beta",
    "Σ": r"\Sigma", "∏": r"\prod", "Π": r"\prod", "Ω": r"\Omega", "Θ": r"\Theta", "ξ": r"\xi",
    "‖": r"\|", "·": r"\cdot", "√": r"\surd", "∘": r"\circ", "⪰": r"\succeq", "∞": r"\infty",
    "∇": r"\nabla", "Φ": r"\Phi", "φ": r"\varphi", "γ": r"\gamma", "δ": r"\delta", "ε": r"\varepsilon",
    "²": r"^2", "³": r"^3", "ᵀ": r"^\top", "±": r"\pm", "→": r"\to", "α": r"\alpha", "η": r"\eta",
    "ψ": r"\psi", "ν": r"\nu", "Δ": r"\Delta", "π": r"\pi", "θ": r"\theta", "ρ": r"\rho", "∈": r"\in",
    "κ": r"\kappa", "∂": r"\partial", "⟨": r"\langle", "⟩": r"\rangle", "≈": r"\approx",
    "−": "-", "…": r"\dots", "ℓ": r"\ell", "≠": r"\ne", "⊗": r"\otimes", "¹": "^1", "∗": "*", "⁻": "^-",
}  # fmt: skip


def tex(text: str) -> str:
    """Plain text as LaTeX, symbols and indices in math mode."""
    out = []
    # λ_min, F_(k+1) and Σ_k read as subscripts
    pieces = re.split(r"([_^])(\([^()]*\)|min|max|op|Lip|ij|ii|\d+|[A-Za-z])", text)
    for index in range(1, len(pieces), 3):
        body = pieces[index + 1].strip("()")
        out.append((index, f"${pieces[index]}{{\\mathrm{{{_plain_tex(body)}}}}}$"))
    made = dict(out)
    parts = [
        made[n] if n in made else ("" if n % 3 == 2 else _plain_tex(piece))
        for n, piece in enumerate(pieces)
    ]
    return "".join(parts)


def _plain_tex(text: str) -> str:
    out = []
    for char in text:
        if char in _MATH:
            out.append(f"${_MATH[char]}$")
        elif char == "\u0307":
            out.append("$'$")  # a combining dot (Ġ without a precomposed letter) reads as a prime
        else:
            out.append(_TEX.get(char, char))
    return "".join(out)


def as_latex(record: Record) -> str:
    """A tabular of the inequalities, rates and scalings, with settings, seed and command."""
    settings = record["settings"]
    lines = [
        r"\begin{table}",
        rf"\caption{{{tex(record['title'])} ({tex(record['source'])}): {tex(record['outcome'])}. "
        rf"{tex(str(settings.get('network')))}, $N = {settings.get('N')}$, "
        rf"seed {settings.get('seed')}.}}",
        r"\begin{tabular}{lrcrl}",
        r"\hline",
    ]
    for name, left, relation, right, _, holds in claim_rows(record):
        cells = (tex(name), tex(left), tex(relation), tex(right), tex(holds))
        lines.append(" & ".join(cells) + r" \\")
    for name, met, interval, claimed, holds in rate_rows(record):
        cells = (f"{tex(name)} ({tex(interval)})", met, r"$\ge$", tex(claimed), tex(holds))
        lines.append(" & ".join(cells) + r" \\")
    for name, measured, _, predicted, constant in scaling_rows(record):
        cells = (tex(name), tex(measured), "", tex(predicted), f"constant {tex(constant)}")
        lines.append(" & ".join(cells) + r" \\")
    lines += [
        r"\hline",
        r"\end{tabular}",
        rf"\\\texttt{{{tex(record['command'])}}}",
        r"\end{table}",
    ]
    return "\n".join(lines)
