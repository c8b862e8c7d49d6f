"""Pictures for papers: as wide as a column, with fonts that venues take, and labels as formulas."""

import re

import pytest
from matplotlib.figure import Figure

from ntkscope._base.files import figure_bytes, save_figure
from ntkscope.activations.hermite import summary
from ntkscope.report import hermite, style
from ntkscope.report.canvas import make_axes
from ntkscope.report.curves import prediction_pictures
from ntkscope.report.style import Style

TYPE_3 = re.compile(rb"/Subtype\s*/Type3\b|/FontType\s*3\b")


def inches(pdf):
    """The width of the first page."""
    box = re.search(rb"/MediaBox \[ ?0 0 ([\d.]+) [\d.]+ ?\]", pdf)
    return float(box[1]) / 72


@pytest.fixture
def no_latex(monkeypatch):
    monkeypatch.setattr(style, "has_latex", lambda: False)


def drawn(name, path):
    look = Style(name)
    with look.drawing():
        figure, (ax,) = make_axes(style=look)
        ax.set(xlabel="λ_min(K)", ylabel="‖K̄‖², 5%")
        look.typeset(figure)
        save_figure(figure, path)
    return path.read_bytes()


@pytest.mark.usefixtures("no_latex")
@pytest.mark.parametrize(("name", "width"), [("paper", 3.25), ("paper:double", 6.75)])
def test_a_picture_is_as_wide_as_a_column(tmp_path, name, width):
    pdf = drawn(name, tmp_path / "a.pdf")
    assert inches(pdf) == pytest.approx(width, abs=0.01)
    assert not TYPE_3.search(pdf)


def test_no_pdf_has_a_type_3_font(tmp_path):
    assert not TYPE_3.search(drawn("screen", tmp_path / "a.pdf"))
    figure = Figure()
    figure.subplots().set_title("λ_min")
    save_figure(figure, tmp_path / "b.pdf")
    assert not TYPE_3.search((tmp_path / "b.pdf").read_bytes())
    assert not TYPE_3.search(figure_bytes(figure, "ps"))
    figure.savefig(tmp_path / "c.pdf")  # matplotlib by itself: what the pattern must find
    assert TYPE_3.search((tmp_path / "c.pdf").read_bytes())


@pytest.mark.usefixtures("no_latex")
def test_labels_become_formulas():
    look = Style("paper")
    with look.drawing():
        figure, (ax,) = make_axes(style=look)
        ax.set(xlabel="λ_min(K) of 5 $", ylabel="words", xticks=[0, 1])
        ax.set_xticks([0, 1], ["F_k", "0.weight"])
        look.typeset(figure)
        figure.canvas.draw()
    assert ax.get_xlabel() == r"$\lambda_{\min}(K)$ of 5 \$"
    assert ax.get_ylabel() == "words"
    assert [t.get_text() for t in ax.get_xticklabels()] == ["$F_{k}$", "0.weight"]


def test_a_screen_keeps_its_labels_and_its_fonts():
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    look = Style()
    with look.drawing():
        figure, (ax,) = make_axes(style=look)
        ax.set_xlabel("λ_min")
        look.typeset(figure)
    with Style("paper").drawing():
        assert mpl.rcParams["font.size"] == 8
    assert ax.get_xlabel() == "λ_min"
    assert dict(mpl.rcParams) == before


def test_panels_stand_in_a_single_column_and_lie_in_a_double_one():
    assert Style("screen").size(2, 5, 4) == (2, 10, 4)
    assert Style("paper").size(2, 5, 4)[:2] == (1, 3.25)
    assert Style("paper:double").size(2, 5, 4)[:2] == (2, 6.75)


@pytest.mark.usefixtures("no_latex")
def test_a_prediction_has_a_pdf_in_a_paper():
    records = [{"value": v, "lower": v / 2, "upper": 2 * v, "edge": v} for v in (1.0, 0.5, 0.0)]
    made = prediction_pictures([10, 20, 30], records, "N, samples", "a network", Style("paper"))
    assert sorted(made) == ["pdf", "png"]
    assert inches(made["pdf"]) == pytest.approx(3.25, abs=0.01)
    assert list(prediction_pictures([10], records[:1], "N", "a network")) == ["png"]


def test_an_unknown_style_is_refused():
    with pytest.raises(ValueError, match="did you mean 'paper'"):
        Style("papre")


@pytest.mark.slow
@pytest.mark.skipif(
    not style.has_latex(),
    reason="no LaTeX with scalable fonts: apt-get install texlive-latex-extra cm-super dvipng",
)
def test_with_latex_the_fonts_are_latex_s(tmp_path):
    pdf = drawn("paper", tmp_path / "a.pdf")
    assert not TYPE_3.search(pdf)
    assert b"CMR" in pdf or b"SFRM" in pdf
    drawn("paper", tmp_path / "a.png")
    hermite.figure(summary("tanh", 4, 1.0), tmp_path / "h.pdf", Style("paper:double"))
    assert inches((tmp_path / "h.pdf").read_bytes()) == pytest.approx(6.75, abs=0.01)
