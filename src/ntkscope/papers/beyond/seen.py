"""How an open question is answered by runs: seen or not seen, case by case."""

from __future__ import annotations

from collections.abc import Mapping


def answer(what: str, cases: Mapping[str, bool]) -> str:
    """One sentence: the cases in which every run showed it, and those in which one did not."""
    seen = [name for name, shown in cases.items() if shown]
    missing = [name for name, shown in cases.items() if not shown]
    if not missing:
        return f"Seen in all {len(cases)} cases: {what}."
    if not seen:
        return f"Not seen in any of {len(cases)} cases: {what}."
    return f"{what[0].upper()}{what[1:]}. Seen: {'; '.join(seen)}. Not seen: {'; '.join(missing)}."
