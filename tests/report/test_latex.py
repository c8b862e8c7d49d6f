"""Texts as LaTeX: formulas in math mode, words escaped, and whole tables that a LaTeX compiles."""

import re
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ntkscope as ntk
from ntkscope.report.latex import tex, typewriter


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("λ_min(K) ≤ tr(K)/N", r"$\lambda_{\min}(K) \le\mathrm{tr}\,(K)/N$"),
        ("F_kF_kᵀ", r"$F_{k}F_{k}^{\top}$"),
        ("Π_{l<L} n_l", r"$\prod_{l<L} n_{l}$"),
        ("K̄ of Ġ^{(l)}", r"$\bar{K}$ of $\dot{G}^{(l)}$"),
        ("a number, by √(d n_l)", r"a number, by $\sqrt{d n_{l}}$"),
        ("0.42 ± 3e-12", r"$0.42 \pm3\cdot10^{-12}$"),
        ("for every c > 0", "for every $c > 0$"),
        ("x^(2r) in A^(l)", r"$x^{(2r)}$ in $A^{(l)}$"),
        ("10-40-1 (relu, he, standard)", "10-40-1 (relu, he, standard)"),
        ("0.weight_ih", r"0.weight\_ih"),
        ("50% & #1 {~}", r"50\% \& \#1 \{\textasciitilde{}\}"),
        ("Montúfar, §5", r"Montúfar, \S{}5"),
        ("中", "[U+4E2D]"),
        ("xᵀ²", r"$x^{\top}{}^{2}$"),
    ],
)
def test_text_as_latex(text, expected):
    assert tex(text) == expected


@settings(max_examples=60, deadline=None)
@given(
    st.text(
        alphabet=st.characters(codec="utf-8") | st.sampled_from("λ_min{}^()$\\ ²ᵀ√̄≤ a,"),
        max_size=40,
    )
)
def test_any_text_is_balanced_latex(text):
    made = tex(text)
    bare = re.sub(r"\\[{}$\\%#&_^]", "", made)
    assert bare.count("$") % 2 == 0
    depth = 0
    for c in bare:
        depth += (c == "{") - (c == "}")
        assert depth >= 0
    assert depth == 0
    assert all(ord(c) < 0x180 for c in made)


def test_a_command_keeps_its_hyphens():
    assert typewriter("check a_b --N 3") == r"\texttt{check a\_b -{}-N 3}"


def verdicts(ids=()):
    X = ntk.data.sphere(8, 4, seed=0)
    net = ntk.Network([4, 12, 10, 1], "relu", "he")
    made = ntk.Instance(net, X, distribution=ntk.data.Sphere(4), samples=64, trials=4)
    return ntk.check_all(made, ids)


def test_a_verdict_is_a_table_with_the_claim_as_printed():
    (verdict,) = verdicts(["nguyen2021.eq-27"])
    table = verdict.to_latex()
    assert verdict.latex.strip() in table
    assert table.count(r"\begin{") == table.count(r"\end{") == 2
    assert r"\label{tab:nguyen2021.eq-27}" in table
    assert table.splitlines()[0] == r"% \usepackage{amsmath,amssymb,array}"


PAPER = r"""\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage{amsmath,amssymb,array}
\begin{document}
%s
\end{document}
"""


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("pdflatex") is None,
    reason="no pdflatex: apt-get install texlive-latex-base texlive-latex-recommended",
)
def test_every_statement_compiles_into_a_paper(tmp_path):
    tables = "\n\\clearpage\n".join(v.to_latex() for v in verdicts())
    odd = "\n\n".join(
        map(tex, ("λ_min(K) ≤ ½", '50% & #1 {~} _ ^ \\ < > | "', "中 é K̄ Ġ ‖x‖²", "xᵀ²′"))
    )
    (tmp_path / "a.tex").write_text(PAPER % f"{odd}\n{tables}")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "a.tex"],
        cwd=tmp_path, capture_output=True, text=True, errors="replace",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-1500:]
