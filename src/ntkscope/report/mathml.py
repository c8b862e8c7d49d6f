r"""LaTeX of the statements as MathML, which browsers draw without a script or a network."""

from __future__ import annotations

import functools
import html
import re
import unicodedata
from xml.etree import ElementTree

from ntkscope._base.extras import needs

with needs("report"):
    from latex2mathml.converter import convert
    from markupsafe import Markup

_SIZED = re.compile(r"\\([bB]igg?[lrm]?)\\(?:\||Vert)")  # of \Big\| the name would be printed
_CODE = re.compile(r"&#x([0-9A-F]{5});")
_LETTER = re.compile(r'<mi mathvariant="(double-struck|script|bold)">(\w)</mi>')
# what formulas are made of: no links, no styles, no text of another kind
_TAG = re.compile(
    "math|m(row|i|o|n|text|space|frac|sqrt|root|sub|sup|subsup|over|under|underover|table|tr|td|style|padded)"
)
_MARK = re.compile(
    "accent|columnalign|depth|display(style)?|fence|form|height|linethickness|[lr]space|mathvariant|m(ax|in)size|"
    "movablelimits|scriptlevel|separator|stretchy|voffset|width"
)


@functools.cache
def formula(latex: str) -> Markup:
    """``latex`` as MathML; what cannot be read stands as it was typed."""
    try:
        made = convert(_SIZED.sub(r"\\\1‖", latex))
        made = made.replace(' xmlns="http://www.w3.org/1998/Math/MathML" display="inline"', "", 1)
        parts = list(ElementTree.fromstring(made).iter())
    except Exception:  # the library's errors have no class in common
        parts = []
    if not parts or not all(map(_known, parts)):
        return Markup("<code>{}</code>").format(latex)
    return Markup(_LETTER.sub(_styled, _CODE.sub(_plain, made)))


def _known(part: ElementTree.Element) -> bool:
    """No tag of a statement's own making, and no command left in the text."""
    tag, marks = _TAG.fullmatch(part.tag), all(map(_MARK.fullmatch, part.attrib))
    return bool(tag) and marks and "\\" not in (part.text or "")


def _plain(found: re.Match[str]) -> str:
    """A character by itself, but for < and &."""
    return html.escape(chr(int(found[1], 16)), quote=False)


def _styled(found: re.Match[str]) -> str:
    """A letter of its own for what browsers no longer do by an attribute: 𝔼, 𝒟, 𝐯."""
    style, letter = found[1].upper(), found[2]
    case = "CAPITAL" if letter.isupper() else "SMALL"
    for name in (
        f"MATHEMATICAL {style} {case} {letter.upper()}",
        f"{style} {case} {letter.upper()}",
    ):
        try:
            return f"<mi>{unicodedata.lookup(name)}</mi>"
        except KeyError:  # ℝ and ℬ stand apart from their alphabets
            continue
    return f"<mi>{letter}</mi>"
