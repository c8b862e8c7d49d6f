"""The pages of the commands: what their first sentence says, what they write, and what bad input does to them."""

import copy
import json
import math
import os
import re
import tomllib
from html.parser import HTMLParser

import pytest

import ntkscope as ntk
from ntkscope.cli.main import main
from ntkscope.report import answers, html, numbers, svg, width_page
from ntkscope.report.chart import Axis, Chart, Series
from ntkscope.report.text import minus, powers

NASTY = '<img src=x onerror="alert(1)">'


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("1.51185e+08", "1.51185·10⁸"), ("λ ± 2e-13.", "λ ± 2·10⁻¹³."), ("1e-06", "10⁻⁶"),
        ("-3.2e+10", "-3.2·10¹⁰"), ("1e5 steps", "10⁵ steps"), ("W1e2x", "W1e2x"), ("1.2.3e4", "1.2.3e4"),
        ("0x1e5", "0x1e5"),
    ],
)  # fmt: skip
def test_powers_of_ten(typed, shown):
    assert powers(typed) == shown


def test_a_minus_is_no_hyphen():
    said = "-0.5 [-1, -2e-3], 2026-11-26, n_{L-2}, 3-5, x^-2, GD-like, --only, 60-∞-1"
    shown = "−0.5 [−1, −2e-3], 2026-11-26, n_{L-2}, 3-5, x^−2, GD-like, --only, 60-∞-1"
    assert minus(said) == shown
    assert str(html.math_html("-0.5")) == "−0.5"


def test_numbers_that_differ_are_told_apart_and_bounds_stay_bounds():
    one, other = 2 / 3.1e7, 2 / (3.1e7 + 24.5)
    stable, best = numbers.told_apart(one, other)
    assert stable != best
    assert float(stable) > float(best)
    assert numbers.told_apart(0.5, 0.25) == ("0.5", "0.25")
    assert numbers.told_apart(0.5, 0.5)[0] == "0.5"
    for value in (7.21e-5, 9.99e-12, 1e-3, 123.4):
        assert value <= float(numbers.up(value)) <= 2 * value
    assert [numbers.many(n) for n in (640, 26123, 1.49e6, 3.2e9)] == [
        "640", "26,000", "1.5 million", "3.2 billion",
    ]  # fmt: skip


def found(status, low, value, high):
    return {"status": status, "lower": low, "value": value, "upper": high}


@pytest.mark.parametrize(
    ("eigenvalue", "said"),
    [
        (found("OK", 341.69, 341.7, 341.71), "λ_min = 341.7, certain to 3e-05 of its value"),
        (found("OK", 1.0, 2.0, 3.0), "certainly not 0"),
        (found("RANK_DEFICIENT", 0.0, 0.0, 0.0), "λ_min = 0 exactly"),
        (found("BELOW_NOISE", -1e-13, 2e-14, 2e-13), "cannot be told from 0"),
        (found("INDEFINITE", -2.1, -2.0, -1.9), "negative beyond rounding"),
        (found("ESTIMATE", -math.inf, 0.3, 0.31), "not certified: it is at most 0.31"),
        (found("NOT_CONVERGED", -math.inf, 0.3, math.inf), "not determined"),
    ],
)
def test_the_first_sentence_follows_the_status(eigenvalue, said):
    assert said in answers.eigenvalue(eigenvalue)


@pytest.fixture(scope="module")
def record():
    net = ntk.Network([5, 30, 20, 2], "tanh", parameterization="ntk")
    return ntk.inspect(net, ntk.data.gaussian(12, 5, seed=0)).to_dict()


class Seen(HTMLParser):
    """Tags, and whether every one that opens is closed."""

    VOID = ("meta", "link", "img", "input", "br")

    def __init__(self, page):
        super().__init__()
        self.tags, self.open = set(), []
        self.feed(page)

    def handle_starttag(self, tag, _attrs):
        self.tags.add(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in ("td", "th", "tr", "option", "p", "li"):
            while self.open[-1] != tag:
                self.open.pop()
        assert self.open.pop() == tag


def whole(page):
    """The page is complete and nobody's name has become an element of it."""
    seen = Seen(page)
    assert "img" not in seen.tags
    assert seen.open in ([], ["html"])
    assert {"header", "main", "footer"} <= seen.tags
    return page


def answer_of(page):
    return re.search(r'<p class="answer">(.*?)</p>', page)[1]


def test_inspect_answers_and_marks_its_smallest_eigenvalue(record):
    page = whole(html.page(record))
    assert "gradient descent needs about" in answer_of(page)
    assert "conditioned" in answer_of(page)
    assert page.count("λ<tspan") >= 2
    assert not re.search(
        r"\de[+-]\d", re.sub(r"<(script|code|style).*?</\1>", "", page, flags=re.S)
    )


def test_hostile_names_many_outputs_and_many_samples(record):
    hostile = copy.deepcopy(record)
    hostile["network"]["text"] = hostile["settings"]["data"] = NASTY
    for layer in hostile["layers"]:
        layer["name"] = NASTY + layer["name"]
    hostile["warnings"].append(NASTY)
    hostile["outputs"] = [hostile["outputs"][0] | {"index": i} for i in range(200)]
    hostile["spectrum"], hostile["n_samples"] = None, 10_000
    page = whole(html.page(hostile))
    assert "&lt;img" in page
    assert "<td>199</td>" in page
    assert "N = 10000 is above the size" in page


def test_zero_negative_and_missing_eigenvalues_are_said(record):
    singular = copy.deepcopy(record)
    singular["spectrum"] = [math.nan, -1e-9, 0.0, *record["spectrum"][3:]]
    singular["smallest_eigenvalue"] |= found("RANK_DEFICIENT", 0.0, 0.0, 0.0)
    singular["training"]["steps"]["2/(λ_max + λ_min)"]["1e+03"] = None
    page = whole(html.page(singular))
    assert "= 0 exactly" in answer_of(page)
    assert "not shown" in page


def test_a_chart_says_what_has_no_place_on_its_axes():
    chart = Chart(Axis("x", log=True), Axis("y", log=True))
    chart.add(Series("s", [1.0, 2.0, 3.0, 4.0], [1.0, -1.0, 0.0, math.nan], "both"))
    chart.rules.append((0.0, "λ_min"))
    assert "not shown: 2 values ≤ 0, 1 not finite" in svg.draw(chart, "")
    nothing = Chart(Axis("x", log=True), Axis("y", log=True))
    nothing.add(Series("s", [1.0], [-1.0], "both"))
    assert "not shown: 1 value ≤ 0" in svg.draw(nothing, "")


def test_the_fitted_law_does_not_press_the_data_together():
    points = [
        {"width": n, "mean": m, "spread": 0.01, "values": [m], "limit": 1.0}
        for n, m in ((64, 0.5), (128, 0.7), (256, 0.8))
    ]
    law = {"loss": 63.999**0.5, "exponent": 0.5}  # 0 at the first width
    record = {"points": points, "threshold": 0.75, "quantity": "λ_min", "concentration": law}
    low, high = width_page.curve(record, points).y.ends
    assert 0.3 < low < 0.5
    assert 1.0 < high < 1.5


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(a) for a in arguments])
    return ended.value.code or 0, capsys.readouterr()


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("lipschitz", ["--widths", "3,4,1"]),
        ("width", ["--data", "sphere:N=8,d=4", "--depth", "2", "--target-lambda-min", "0.001"]),
        ("memorize", ["--data", "sphere:N=8,d=4", "--widths", "4,20,1", "--certificate-only"]),
    ],
)
def test_settings_make_the_run_again(capsys, tmp_path, command, arguments):
    one, two = tmp_path / "one", tmp_path / "two"
    assert run(capsys, command, *arguments, "--out", one)[0] == 0
    assert {p.name for p in one.iterdir()} == {"report.html", "result.json", "settings.toml"}
    assert run(capsys, command, "--config", one / "settings.toml", "--out", two)[0] == 0
    first, second = (
        _without_times(json.loads((f / "result.json").read_text())) for f in (one, two)
    )
    assert first == second
    whole((one / "report.html").read_text())


def _without_times(value):
    if isinstance(value, dict):
        return {k: _without_times(v) for k, v in value.items() if k != "seconds"}
    return [_without_times(v) for v in value] if isinstance(value, list) else value


def test_predict_and_eig_write_the_same_files(capsys, tmp_path):
    import numpy as np

    np.save(tmp_path / "K.npy", np.diag([1.0, 2.0, 5.0]))
    code, said = run(capsys, "eig", tmp_path / "K.npy", "--condition", "--out", tmp_path / "eig")
    assert code == 0, said.err
    page = whole((tmp_path / "eig" / "report.html").read_text())
    assert "well conditioned" in answer_of(page)
    code, _ = run(
        capsys, "predict", "--widths", "20,inf,1", "--samples", "50", "--over", "samples=10:100",
        "--out", tmp_path / "predict",
    )  # fmt: skip
    assert code == 0
    page = whole((tmp_path / "predict" / "report.html").read_text())
    assert "nine samples of ten" in answer_of(page)
    for folder in ("eig", "predict"):
        again = (tmp_path / folder / "settings.toml").read_text()
        assert again.startswith(f"# Again: ntkscope {folder} ")
        assert f"begin at {os.getcwd()!r}" in again.splitlines()[1]
        tomllib.loads(again)


def test_a_sweep_has_a_page_and_settings_that_are_its_own(capsys, tmp_path):
    from ntkscope.experiments.sweep import Sweep

    (tmp_path / "run.toml").write_text(
        'name = "tiny"\nseeds = 2\ndata = "gaussian:N=8,d=4"\ngrid = { n = [16, 32, 64] }\n'
        'network = { widths = [4, "n", 1], init = "unit" }\nfit = [{ x = "n", expected = 1.0 }]\n'
    )
    out = tmp_path / "out"
    code, said = run(
        capsys, "sweep", tmp_path / "run.toml", "--out", out, "--workers", 0, "--quiet"
    )
    assert code == 0, said.err
    page = whole((out / "report.html").read_text())
    assert "6 of 6 trials are done" in answer_of(page)
    assert "claimed 1:" in answer_of(page)
    assert Sweep(out / "settings.toml").trials == Sweep(tmp_path / "run.toml").trials
