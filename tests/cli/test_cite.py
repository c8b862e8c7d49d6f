"""``ntkscope cite``: BibTeX that a LaTeX reads."""

import os
import re
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

import ntkscope as ntk
from ntkscope._base.rollback import all_or_nothing
from ntkscope._base.version import __version__
from ntkscope.cli.main import main
from ntkscope.report import bibtex
from ntkscope.statements.registry import papers


@pytest.fixture(autouse=True)
def _registries_as_they_were():
    ntk.statements()  # what is ours stays
    with suppress(InterruptedError), all_or_nothing():
        yield
        raise InterruptedError


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as end:
        main(["cite", *arguments])
    out = capsys.readouterr()
    return end.value.code, out.out, out.err


def keys(text):
    return re.findall(r"^@\w+\{([^,]+),", text, re.MULTILINE)


def test_all_papers_and_this_version(capsys):
    code, out, _ = run(capsys)
    assert code == 0
    assert keys(out) == ["ntkscope", *(p.key for p in papers() if p.citation)]
    assert f"Version {__version__}" in out


def test_papers_are_cited_without_pytorch():
    program = (
        "import sys; from ntkscope.cli.main import main\n"
        "try: main(['cite', 'nguyen2021'])\n"
        "except SystemExit: print(sorted({'torch', 'ntkscope.papers.nguyen2021.limit'} & set(sys.modules)))"
    )
    src = str(Path(ntk.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": src},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert keys(done.stdout) == ["ntkscope", "nguyen2021"]
    assert done.stdout.splitlines()[-1] == "[]"


def test_chosen_papers(capsys):
    assert keys(run(capsys, "fanwang2020")[1]) == ["ntkscope", "fanwang2020"]
    assert keys(run(capsys, "--paper", "fanwang2020", "--paper", "nguyen2021")[1]) == [
        "fanwang2020",
        "nguyen2021",
    ]
    code, out, err = run(capsys, "nguen2021")
    assert (code, out) == (2, "")
    assert "did you mean 'nguyen2021'" in err


def test_a_plugin_brings_its_own_entry(capsys, tmp_path):
    file = tmp_path / "mine2026.py"
    file.write_text(
        "from ntkscope import Paper\n"
        "PAPER = Paper('mine2026', short='Mine', title='Mine', bibtex='''\n@misc{mine2026,\n"
        "  title = {50\\\\% of {NTK}},\n}\n''')\n"
    )
    code, out, _ = run(capsys, "--paper", "mine2026", "--plugin", str(file))
    assert code == 0
    assert out == "@misc{mine2026,\n  title = {50\\% of {NTK}},\n}\n"


def test_texts_are_escaped_and_capitals_kept():
    paper = ntk.Paper(
        "a_b c", short="", title="Bounds & λ_min of the NTK: 50%", citation="alpha_beta # C"
    )
    assert paper.to_bibtex().splitlines() == [
        "@misc{a_b-c,",
        r"  title = {{Bounds} \& $\lambda_{\min}$ of the {NTK}: 50\%},",
        r"  note = {alpha\_beta \# C},",
        "}",
    ]


@pytest.mark.parametrize(
    "text", ["title", "@misc{a, b = {c}", "@misc{a,} @misc{b,}", "@misc{a,}}", "@misc{,}"]
)
def test_what_is_no_entry_is_refused(text):
    with pytest.raises(ValueError, match="BibTeX"):
        ntk.Paper("a", short="", title="", bibtex=text)


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("pdflatex") is None or shutil.which("bibtex") is None,
    reason="no pdflatex or bibtex: apt-get install texlive-latex-base",
)
def test_the_entries_compile(tmp_path, capsys):
    odd = bibtex.entry("misc", "odd", {"title": "λ_min & 50% of ‖K̄‖² {", "note": "é _ #"})
    (tmp_path / "a.bib").write_text(f"{run(capsys)[1]}\n{odd}\n")
    (tmp_path / "a.tex").write_text(
        "\\documentclass{article}\\usepackage{amsmath,amssymb}\\begin{document}\\nocite{*}"
        "\\bibliographystyle{plain}\\bibliography{a}\\end{document}\n"
    )
    for program in (
        ["pdflatex", "-interaction=batchmode"],
        ["bibtex"],
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error"],
    ):
        done = subprocess.run(
            [*program, "a"], cwd=tmp_path, capture_output=True, text=True, errors="replace"
        )
        assert done.returncode == 0, done.stdout[-1500:]
    assert (
        "Reference" in (tmp_path / "a.aux").read_text()
        or "bibcite{odd}" in (tmp_path / "a.aux").read_text()
    )
