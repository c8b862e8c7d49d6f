"""Plain text as LaTeX: ``λ_min(K) ≤ tr(K)/N`` in math mode, words as words, what LaTeX reads escaped."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator

_ESCAPED = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_", "{": r"\{",
    "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "$": r"\$",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
    "§": r"\S{}", "·": r"$\cdot$", "′": "'", "″": "''", "–": "--", "—": "---", "…": r"\dots{}", "’": "'", "‘": "`", "“": "``", "”": "''", "\u00a0": "~",
}  # fmt: skip
_SYMBOLS = {
    "≤": r"\le", "≥": r"\ge", "≠": r"\ne", "≈": r"\approx", "∝": r"\propto", "≪": r"\ll", "≫": r"\gg",
    "α": r"\alpha", "β": r"\beta", "γ": r"\gamma", "δ": r"\delta", "ε": r"\varepsilon", "ζ": r"\zeta",
    "η": r"\eta", "θ": r"\theta", "ι": r"\iota", "κ": r"\kappa", "λ": r"\lambda", "μ": r"\mu",
    "ν": r"\nu", "ξ": r"\xi", "π": r"\pi", "ρ": r"\rho", "σ": r"\sigma", "ς": r"\varsigma", "τ": r"\tau",
    "φ": r"\varphi", "ϕ": r"\phi", "χ": r"\chi", "ψ": r"\psi", "ω": r"\omega", "Γ": r"\Gamma",
    "Δ": r"\Delta", "Θ": r"\Theta", "Λ": r"\Lambda", "Ξ": r"\Xi", "Π": r"\prod", "∏": r"\prod",
    "Σ": r"\sum", "∑": r"\sum", "Φ": r"\Phi", "Ψ": r"\Psi", "Ω": r"\Omega", "‖": r"\|", "·": r"\cdot",
    "×": r"\times", "±": r"\pm", "∘": r"\circ", "⊗": r"\otimes", "⊙": r"\odot", "⊕": r"\oplus",
    "⪰": r"\succeq", "⪯": r"\preceq", "∞": r"\infty", "∇": r"\nabla", "∂": r"\partial", "→": r"\to",
    "↦": r"\mapsto", "↔": r"\leftrightarrow", "∈": r"\in", "∉": r"\notin", "⊂": r"\subset",
    "∪": r"\cup", "∩": r"\cap", "⟨": r"\langle", "⟩": r"\rangle", "ℓ": r"\ell", "−": "-", "∗": "*",
    "⟂": r"\perp", "⊥": r"\perp", "∀": r"\forall", "∃": r"\exists", "ℝ": r"\mathbb{R}", "∫": r"\int",
    "½": r"\tfrac{1}{2}", "¼": r"\tfrac{1}{4}", "ᵀ": r"^{\top}", "′": "'", "″": "''", "⌈": r"\lceil",
    "⌉": r"\rceil", "⌊": r"\lfloor", "⌋": r"\rfloor", "≡": r"\equiv", "∼": r"\sim", "∧": r"\wedge",
    "∨": r"\vee", "…": r"\dots", "√": r"\surd", "µ": r"\mu", "†": r"\dagger", "∅": r"\emptyset",
}  # fmt: skip
_ACCENTS = {"\u0304": r"\bar", "\u0307": r"\dot", "\u0302": r"\hat", "\u0303": r"\tilde"}
_RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿⁱᵏˡᵗᵖ", "0123456789+-()niklt" + "p", strict=True))
_LOWERED = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋ᵢⱼₖₗₘₙₚₛₜ", "0123456789+-ijklmnpst", strict=True))
_NAMED = {
    "min", "max", "log", "exp", "det", "inf", "sup", "lim", "sin", "cos", "ker", "dim", "arg", "ln", "tanh",
}  # fmt: skip
_OPERATORS = {"tr", "rank", "diag", "vec", "erf", "Var", "Cov", "Lip", "sgn", "op"}
_BARE = re.compile(r"∘?[A-Z]?[a-zα-ω]+|[A-Z]+|[−-]?[0-9]+(?:\.[0-9]+)?|[α-ωΑ-Ω∞⋆*]")
# a space ends a word, unless it stands inside of braces
_TIGHT = re.compile(r"(\\[A-Za-z]+) +(?![A-Za-z ])")  # a command ends at what is no letter
_WORD = re.compile(r"(?:\{[^{}]*\}|\S)+|\s+")
_MARKS = {*_SYMBOLS, *_RAISED, *_LOWERED, *_ACCENTS} - set("…’–′")
_RELATION = re.compile(r"[=+\-−<>/*|()\[\]{},.;:≤≥0-9]+")
_SCIENTIFIC = re.compile(r"(\d+(?:\.\d+)?)e([+-]?)0*(\d+)")
_INDEXED = re.compile(r"(?:^|[^A-Za-z])[A-Za-z)\]|][_^]|[\d)\]|][_^]|(?:min|max|log|sup|inf)_")


def tex(text: str, *, words: Callable[[str], str] | None = None) -> str:
    """A phrase as LaTeX (amsmath, amssymb). ``words``: how what is no math is written; escaped by default.

    A word is math where it holds a symbol, an index of one letter, or stands between such words as an
    operator or a single letter. Letters that LaTeX does not have become their code.
    """
    plain = words or escape
    tokens = _WORD.findall(_composed(text))
    math = _which(tokens)
    out, k = [], 0
    while k < len(tokens):
        if not math[k]:
            out.append(plain(tokens[k]))
            k += 1
            continue
        end = k
        while end + 2 < len(tokens) and math[end + 2]:
            end += 2
        out.append(_run(tokens[k : end + 1 : 2], plain))
        k = end + 1
    return "".join(out)


def escape(text: str) -> str:
    """Words as they are, with what LaTeX reads escaped."""
    return "".join(_letter(c) for c in text)


def typewriter(text: str) -> str:
    """A command line in typewriter letters; two hyphens stay two."""
    return rf"\texttt{{{escape(text).replace('--', '-{}-')}}}"


def _letter(c: str) -> str:
    if c in _ESCAPED:
        return _ESCAPED[c]
    if ord(c) < 128:
        return c if c.isprintable() or c.isspace() else ""
    if c in _MARKS:
        return f"${_math(c)}$"
    name = unicodedata.name(c, "")
    # Latin letters with accents are in every LaTeX
    return c if name.startswith("LATIN") and ord(c) < 0x180 else f"[U+{ord(c):04X}]"


def _composed(text: str) -> str:
    """Accents that are letters of their own (``Ġ``) as a letter and a mark, which math reads."""
    made = []
    for c in text:
        apart = unicodedata.normalize("NFD", c)
        made.append(apart if len(apart) == 2 and apart[1] in "\u0304\u0307" else c)
    return "".join(made)


def _which(tokens: list[str]) -> list[bool]:
    """Which tokens are math: those that show it, then what stands between two of them."""
    made = [_mathematical(t) for t in tokens]
    likely = [not t.isspace() and _likely(t) for t in tokens]
    for k in range(2, len(tokens) - 2):  # c > 0
        if tokens[k] in ("=", "<", ">") and likely[k - 2] and likely[k + 2]:
            made[k] = True
    grown = True
    while grown:
        grown = False
        for k in range(len(tokens)):
            if likely[k] and not made[k] and any(made[max(0, k - 2) : k + 3 : 2]):
                made[k] = grown = True
    return made


def _likely(token: str) -> bool:
    """Whether a word that stands beside a formula belongs to it: operators, numbers, single letters."""
    letters = re.findall(r"[A-Za-z]+", token)
    short = all((len(w) == 1 and w not in "aI") or w in _NAMED | _OPERATORS for w in letters)
    return short and (bool(letters) or bool(_RELATION.fullmatch(token)))


def _mathematical(token: str) -> bool:
    body = token.rstrip(",.;:")
    if _SCIENTIFIC.fullmatch(body):
        return True
    if re.search(r"[A-Za-z]{3,}", re.sub(r"[_^](?:\{[^{}]*\}|\([^()]*\)|\w+)", "", body)):
        letters = re.findall(r"[A-Za-z]{3,}", body)
        if not all(w in _NAMED or w in _OPERATORS for w in letters):
            return any(c in _MARKS and c not in "·×" for c in body) and "_" in body
    return any(c in _MARKS for c in body) or bool(_INDEXED.search(body))


def _run(words: list[str], plain: Callable[[str], str]) -> str:
    """One formula; the punctuation behind it is text."""
    last = words[-1]
    body = last.rstrip(",.;:")
    tail = last[len(body) :]
    inside = _TIGHT.sub(r"\1", _math(" ".join([*words[:-1], body])))
    return f"${inside}${plain(tail)}" if inside.strip() else plain(tail)


def _math(text: str) -> str:
    made: list[str] = []
    standing: set[str] = set()  # the scripts of what comes last, of which LaTeX allows one each
    for atom in _atoms(text):
        sign = "^" if atom[0] == "'" else atom[0]
        if sign not in "_^" or sign in standing:
            made += ["{}"] * (sign in standing)
            standing = set()
        standing |= {sign} & {"_", "^"}
        made.append(atom)
    return "".join(made).strip()


def _atoms(text: str) -> Iterator[str]:
    k = 0
    while k < len(text):
        c = text[k]
        word = re.match(r"[A-Za-z]+", text[k:])
        power = _SCIENTIFIC.match(text, k)
        if c == "√" and k + 1 < len(text):
            body, k = _radicand(text, k + 1)
            yield rf"\sqrt{{{_math(body)}}}"
        elif k + 1 < len(text) and text[k + 1] in _ACCENTS:
            yield rf"{_ACCENTS[text[k + 1]]}{{{_math(c)}}}"
            k += 2
        elif c in "_^":
            body, k = _index(text, k + 1)
            yield rf"{c}{{{_math(body)}}}" if body else escape(c)
        elif c in _RAISED or c in _LOWERED:
            table, sign = (_RAISED, "^") if c in _RAISED else (_LOWERED, "_")
            end = k
            while end < len(text) and text[end] in table:
                end += 1
            yield f"{sign}{{{''.join(table[d] for d in text[k:end])}}}"
            k = end
        elif power:
            yield rf"{power[1]}\cdot 10^{{{power[2].strip('+')}{power[3]}}}"
            k = power.end()
        elif word:
            yield _letters(word[0])
            k += len(word[0])
        else:
            yield _symbol(c)
            k += 1


def _letters(word: str) -> str:
    if word in _NAMED:
        return rf"\{word} "
    if word in _OPERATORS:
        return rf"\mathrm{{{word}}}\,"
    return rf"\mathrm{{{word}}}" if len(word) > 2 else word


def _symbol(c: str) -> str:
    if c in _SYMBOLS:
        made = _SYMBOLS[c]
        return made + " " if made[-1].isalpha() else made
    if c in _ACCENTS:  # of nothing
        return rf"{_ACCENTS[c]}{{}}"
    if c in "{}%#&$":
        return rf"\{c}"
    if c == "~":
        return r"\sim "
    if c == "\\":
        return r"\backslash "
    return c if ord(c) < 128 else rf"\text{{{_letter(c)}}}"


def _index(text: str, k: int) -> tuple[str, int]:
    """What stands behind ``_`` or ``^``: braces, parentheses, or a word; and where it ends."""
    for left, right in ("{}", "()"):
        if text[k : k + 1] == left:
            end = text.find(right, k)
            if end > 0:
                inside = text[k + 1 : end]
                return (
                    inside if left == "{" else f"({inside})" if text[k - 1] == "^" else inside
                ), end + 1
    found = _BARE.match(text, k)
    return (found[0], found.end()) if found else ("", k)


def _radicand(text: str, k: int) -> tuple[str, int]:
    """What stands under a root: parentheses, a number, or a letter with its index."""
    if text[k] == "(":
        end = text.find(")", k)
        if end > 0:
            return text[k + 1 : end], end + 1
    found = re.match(r"\d+|.[\u0304\u0307\u0302\u0303]?(?:_(?:\{[^{}]*\}|\w))?", text[k:])
    return (found[0], k + found.end()) if found else (text[k], k + 1)
