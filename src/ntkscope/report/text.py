"""Indices, powers of ten and minus signs in the texts of pages."""

from __future__ import annotations

import re

_BRACKETED = re.compile(r"([_^])(?:\{([^{}]*)\}|\(((?:[^()]|\([^()]*\))*)\))")
_POWER = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)e([+-]?)0*(\d+)(?!\w|\.\d)")
_MINUS = re.compile(r"(?<![^\s(\[{=,;:·/<>≤≥≈…→^])-(?=\d)")
_LESS = re.compile(r"-(?=\d)")  # the L-1 of an index
_RAISED = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")
# a name, a number: the k of F_kF_kᵀ ends where the F begins, the L of D_Lφ′ at the φ
_BARE = re.compile(
    r"(?<=[^\s_])([_^])(FB|∘?[A-Z]?[a-z]+|[A-Z]+|[α-ω]+|[−-]?(?:[0-9]+(?:\.[0-9]+)?|[½∞]))"
)


def subscripts(text: str) -> str:
    """``λ_min``, ``F_(k+1)`` and ``x^(2r)`` with real indices, in HTML."""

    def indexed(found: re.Match[str]) -> str:
        body = next(group for group in found.groups()[1:] if group is not None)
        if found[0].startswith("^("):
            body = f"({body})"  # A^(l) is no power
        tag = "sub" if found[1] == "_" else "sup"
        return f"<{tag}>{_LESS.sub('−', body)}</{tag}>"

    return _BARE.sub(indexed, _BRACKETED.sub(indexed, text))


def powers(text: str) -> str:
    """``1.51e+08`` as 1.51·10⁸, and ``1e-06`` as 10⁻⁶."""

    def raised(found: re.Match[str]) -> str:
        mantissa, sign, exponent = found.groups()
        power = "10" + (sign.strip("+") + exponent).translate(_RAISED)
        return power if float(mantissa) == 1 else f"{mantissa}·{power}"

    return _POWER.sub(raised, text)


def typeset(text: str) -> str:
    """A text in HTML with real indices, powers of ten and minus signs."""
    return subscripts(minus(powers(text)))


def minus(text: str) -> str:
    """``-0.5`` as −0.5; a hyphen within a word, a range or a date stays."""
    return _MINUS.sub("−", text)
