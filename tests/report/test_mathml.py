"""Every statement's LaTeX becomes MathML; what is no LaTeX stands as it was typed."""

import re
from xml.etree import ElementTree

import pytest

from ntkscope.report.mathml import formula
from ntkscope.statements.registry import statements


@pytest.mark.parametrize("statement", statements(), ids=lambda s: s.id)
def test_every_statement_converts_without_a_command_left(statement):
    made = str(formula(statement.latex))
    assert ElementTree.fromstring(made).tag == "math"
    assert "\\" not in re.sub(r"<[^>]+>", "", made)


def test_norms_and_alphabets_are_characters():
    made = str(formula(r"\Big\|\mathbb E[x]\Big\|_2<\mathcal{D},\ x\in\mathbb R^d,\ \mathbf v"))
    text = "".join(ElementTree.fromstring(made).itertext())
    assert text.count("‖") == 2
    assert "𝔼" in text
    assert "ℝ" in text
    assert "𝐯" in text
    assert "<" in text


@pytest.mark.parametrize(
    "latex",
    [
        r"\frac{", r"x_1_2", "<b>&amp;", r"\left( x", r"\unknown x", r"\text{<img src=x onerror=alert(1)>}",
        r"\href{javascript:alert(1)}{x}", r"\mathrm{</math><script>}",
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_text(latex):
    made = str(formula(latex))
    parsed = ElementTree.fromstring(made)
    assert {part.tag for part in parsed.iter()} <= {"code", "math", "mrow", "mi", "mo"}
    assert "href" not in re.sub(r"<code>.*</code>", "", made)
    if parsed.tag == "code":
        assert parsed.text == latex
