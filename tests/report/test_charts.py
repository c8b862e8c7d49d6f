"""Charts as SVG: places, ticks, marks, and what hostile names and numbers do not do."""

import json
import math
import re
from xml.etree import ElementTree

import pytest

from ntkscope.report.axes import scale, thin
from ntkscope.report.chart import DOTTED, Axis, Chart, Series
from ntkscope.report.svg import draw

SVG = "{http://www.w3.org/2000/svg}"


def tree(chart, label="a chart"):
    """The picture, parsed as a browser's parser would take it, and its numbers."""
    made = draw(chart, label)
    picture = re.search(r"<svg.*</svg>", made, re.DOTALL)[0]
    numbers = re.search(r'class="numbers">(.*?)</script>', made, re.DOTALL)[1]
    parsed = ElementTree.fromstring(
        picture.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"')
    )
    return parsed, json.loads(numbers)


def texts(parsed):
    return ["".join(t.itertext()).replace("\u200b", "") for t in parsed.iter(f"{SVG}text")]


def test_points_stand_where_their_numbers_say():
    chart = Chart(Axis("N", log=True), Axis("λ_min", log=True))
    chart.add(Series("measured", [1, 10, 100], [1.0, 0.1, 0.01], "marks"))
    parsed, numbers = tree(chart)
    places = [
        tuple(map(float, re.findall(r"[\d.]+", g.get("transform"))))
        for g in parsed.iter(f"{SVG}g")
        if g.find(f"{SVG}title") is not None
    ]
    (x0, y0), (x1, y1), (x2, y2) = places
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert x1 > x0
    assert y1 - y0 == pytest.approx(y2 - y1, abs=0.2)
    assert y1 > y0
    assert numbers == [{"name": "measured", "x": [1, 10, 100], "y": [1.0, 0.1, 0.01]}]
    said = [t.text for t in parsed.iter(f"{SVG}title")]
    assert said == ["measured\n1: 1", "measured\n10: 0.1", "measured\n100: 0.01"]
    assert {"N", "λmin", "100", "102"} <= set(texts(parsed))


@pytest.mark.parametrize(
    ("axis", "values", "expected"),
    [
        (Axis(), [0.0, 1.0], ["0", "0.2", "0.4", "0.6", "0.8", "1"]),
        (Axis(log=True), [1e-12, 1e12], ["10^{-12}", "10^{-8}", "10^{-4}", "10^{0}"]),
        (Axis(log=True), [2.0, 30.0], ["2", "5", "10", "20"]),
        (Axis(log=True), [5.0, 5.0], ["2", "5", "10"]),
        (Axis(log=True), [209.0, 690.0], ["200", "300", "400", "500", "600", "700"]),
        (Axis(log=True), [1.01, 1.03], ["1.01", "1.015", "1.02", "1.025", "1.03"]),
        (Axis(), [3.0, 3.0], ["2", "3", "4"]),
        (Axis(), [], ["0", "0.2", "0.4", "0.6", "0.8", "1"]),
        (Axis(categories=["a", "b"]), [], ["a", "b"]),
    ],
)
def test_ticks_are_round(axis, values, expected):
    names = [name for _, name in scale(axis, values, 0.0, 100.0).ticks]
    assert names[: len(expected)] == expected
    assert len(names) <= 9


def test_what_has_no_place_is_left_out_and_a_line_breaks_there():
    chart = Chart(Axis(), Axis(log=True))
    y = [1.0, math.nan, 2.0, -3.0, 0.0, 4.0, 5.0, math.inf]
    chart.add(Series("s", list(range(8)), y, "both"))
    parsed, numbers = tree(chart)
    assert len(list(parsed.iter(f"{SVG}circle"))) == 4
    assert len([p for p in parsed.iter(f"{SVG}path") if p.get("class") == "line"]) == 1  # 5 to 6
    assert numbers[0]["y"] == [1.0, None, 2.0, -3.0, 0.0, 4.0, 5.0, None]


def test_names_are_never_markup():
    nasty = '</script><img src=x onerror="alert(1)">&amp;'
    chart = Chart(Axis(nasty), Axis(categories=[nasty]), note=nasty)
    chart.add(Series(nasty, [1.0], [nasty], "marks", hover=[nasty], written=[nasty], dash=DOTTED))
    made = draw(chart, nasty)
    assert "<img" not in made
    assert made.count("</script>") == 1
    parsed, numbers = tree(chart, nasty)
    assert numbers[0]["name"] == nasty
    assert parsed.get("aria-label") == nasty


def test_names_fit_beside_their_axis_on_a_phone_too():
    """There a text is 17 units high, and a letter of it 9.6 wide; a longer name is smaller instead."""
    names = ["own2027.neighbour", "nguyen2021.theorem-3.2", "nguyen2021.lemma-5.4-projection"]
    chart = Chart(Axis(log=True), Axis(categories=names))
    chart.add(Series("", [1.0, 2.0, 3.0], names, "marks"))
    shown = [t for t in tree(chart)[0].iter(f"{SVG}text") if t.get("text-anchor") == "end"]
    assert [t.text for t in shown] == names
    for text in shown:
        letter = 7.4 if text.get("class") == "long" else 9.6
        assert float(text.get("x")) - letter * len(text.text) > 0, text.text
    assert [t.get("class") for t in shown] == [None, None, "long"]


def test_the_names_of_rules_stand_above_the_bars():
    chart = Chart(Axis(), Axis())
    chart.add(Series("", [1.0, 2.0], [5.0, 3.0], "bars", widths=[1.0, 1.0]))
    chart.rules.append((1.0, "here"))
    parsed, _ = tree(chart)
    (name,) = [t for t in parsed.iter(f"{SVG}text") if t.text == "here"]
    bars = [r for r in parsed.iter(f"{SVG}rect") if r.find(f"{SVG}title") is not None]
    assert float(name.get("y")) < min(float(b.get("y")) for b in bars)


def test_bars_stand_on_zero_and_beside_one_another():
    chart = Chart(Axis(categories=["a", "b"]), Axis("%"))
    chart.add(Series("one", ["a", "b"], [10.0, 20.0], "bars"))
    chart.add(Series("two", ["a", "b"], [5.0, -5.0], "bars"))
    boxes = [r for r in tree(chart)[0].iter(f"{SVG}rect") if r.find(f"{SVG}title") is not None]
    x, y, w, h = ([float(b.get(k)) for b in boxes] for k in ("x", "y", "width", "height"))
    assert h[1] == pytest.approx(2 * h[0], abs=0.2)
    assert y[0] + h[0] == pytest.approx(y[1] + h[1], abs=0.2) == pytest.approx(y[3], abs=0.2)
    assert x[2] == pytest.approx(x[0] + w[0], abs=0.2)


def test_many_points_are_thinned_but_for_their_numbers():
    chart = Chart()
    n = 20_000
    chart.add(Series("", list(range(n)), [float(i % 7) for i in range(n)], "marks"))
    parsed, numbers = tree(chart)
    assert len(list(parsed.iter(f"{SVG}circle"))) <= n
    assert len(numbers[0]["x"]) == n
    places = [(0.01 * i, 0.0) for i in range(1000)]
    kept = thin(places, 1.0)
    assert kept[0] == 0
    assert kept[-1] == 999
    assert len(kept) <= 12
