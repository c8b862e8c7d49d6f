"""`sweep` and `reproduce` as a user types them."""

import json
import re
import statistics
import subprocess
import sys

import pytest

from ntkscope.cli.main import main
from ntkscope.engines.engine import Engine
from ntkscope.experiments.figures.gallery import figure, figures
from ntkscope.experiments.figures.reproduce import render, reproduce
from ntkscope.experiments.reading.drawing import heat_map, make_axes, over_map
from ntkscope.experiments.reading.table import Table, read_csv
from ntkscope.experiments.sweep import Sweep
from ntkscope.report.canvas import inline_svg, shorten_ticks
from ntkscope.report.html import math_html

TOML = """
name = "widths"
seeds = 4
data = "sphere:N=20,d=6"
grid = { n = [20, 40, 80, 160] }
network = { widths = [6, "n", 1], activation = "relu", init = "unit" }
plot = { x = "n", log = true }
fit = [{ x = "n", expected = 1.0 }]
"""


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return ended.value.code, out, err


@pytest.fixture
def swept(tmp_path, capsys):
    (tmp_path / "run.toml").write_text(TOML)
    folder = tmp_path / "out"
    code, out, _ = run(capsys, "sweep", tmp_path / "run.toml", "--out", folder, "--workers", 0)
    assert code == 0, out
    return folder, out


def test_a_sweep_ends_in_a_table_a_figure_and_an_exponent(swept, capsys, tmp_path):
    folder, out = swept
    assert "16 of 16 done" in out
    assert re.search(r"lambda_min ∝ n\^\S+ \[.*\], claimed 1: ", out)
    assert (folder / "plot.png").stat().st_size > 5000
    (fit,) = json.loads((folder / "fits.json").read_text())
    assert fit["constant"]["free"]["n_trials"] == 16
    assert fit["verdict"]["claimed"] == fit["constant"]["constant"]["exponent"] == 1
    for line in (
        "constant       c = ",
        "larger half    c = ",
        "free exponent  ",
        "straight line  ",
    ):
        assert f"\n    {line}" in out
    table = read_csv(folder / "table.csv")
    assert len(table) == 16
    assert table.to_csv() == (folder / "table.csv").read_text()
    _, out, _ = run(capsys, "sweep", tmp_path / "run.toml", "--out", folder, "--workers", 0)
    assert "in 0.0 s" in out


def test_status_export_and_plot(swept, capsys):
    folder, _ = swept
    assert "16 of 16 done, 0 waiting" in run(capsys, "sweep", "status", folder)[1]
    code, _, _ = run(capsys, "sweep", "export", folder, "--to", folder / "t.parquet", "--timings")
    assert code == 0
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(folder / "t.parquet")
    assert table.column_names[:2] == ["n", "seed"]
    assert min(table["seconds"].to_pylist()) > 0
    code, _, _ = run(capsys, "sweep", "plot", folder, "--x", "n", "--to", folder / "a.pdf")
    assert code == 0
    assert (folder / "a.pdf").read_bytes().startswith(b"%PDF")


def test_several_columns_and_groups(swept, capsys):
    folder, _ = swept
    picture = folder / "two.png"
    asked = ("--x", "n", "--y", "lambda_min,max(lambda_min, n)/n", "--to", picture)
    assert run(capsys, "sweep", "plot", folder, *asked)[0] == 0
    assert picture.stat().st_size > 5000
    code, out, _ = run(
        capsys, "sweep", "export", folder, "--aggregate", "--y", "lambda_min,lambda_min/n"
    )
    assert (code, out) == (0, f"4 rows in {folder / 'aggregate.csv'}\n")
    for row in read_csv(folder / "aggregate.csv").records:
        values = [r["lambda_min"] for r in read_csv(folder / "table.csv").where(n=row["n"]).records]
        assert row["lambda_min.n"] == 4
        assert row["lambda_min.mean"] == pytest.approx(statistics.mean(values))
        assert row["lambda_min/n.error"] == pytest.approx(statistics.stdev(values) / 2 / row["n"])
    code, out, _ = run(
        capsys, "fit", folder, "--x", "n", "--y", "lambda_min,lambda_min/n", "--json"
    )
    assert [f["y"] for f in json.loads(out)] == ["lambda_min", "lambda_min/n"]


def test_bad_input_is_one_line(swept, capsys, tmp_path):
    folder, _ = swept
    for arguments, message in [
        (("sweep", "none.toml"), "no settings file"),
        (("sweep", "status", tmp_path / "none"), "no sweep in"),
        (("sweep", "export", folder, "--to", "t.xlsx"), "as .csv or .parquet"),
        (("sweep", "export", folder, "--by", "n"), "add --aggregate"),
        (("sweep", "export", folder, "--aggregate", "--y", "m"), "unknown column 'm'"),
        (("sweep", "plot", folder, "--x", "m"), "unknown column 'm'"),
        (("sweep", "plot", folder, "--x", "n", "--y", "lambda_min,"), "has no empty part"),
        (("sweep", "plot", folder, "--x", "n", "--to", "p.gif"), "as .png or .pdf"),
        (("sweep", tmp_path / "run.toml", "--out", folder, "--no-resume"), "holds a sweep already"),
        (("sweep", tmp_path / "run.toml", "--workers", "1", "--cluster", "x"), "leave it out"),
        (("sweep", tmp_path / "run.toml", "--tls-files", "a,b"), "CA,CERTIFICATE,KEY"),
        (("reproduce", "bombari2022-figur-1"), "did you mean 'bombari2022-figure-"),
        (("reproduce",), "name a figure"),
    ]:
        code, _, err = run(capsys, *arguments)
        assert code == 2, arguments
        assert message in err
        assert err.count("\n") == 1


def test_a_failed_trial_shows_in_status_and_exit_code(tmp_path, capsys):
    folder = tmp_path / "out"
    (tmp_path / "run.toml").write_text(
        'name = "bad"\nmeasure = "experiments.trial_functions:fails"\nseeds = 2\n'
        f'grid = {{ scale = [1.0] }}\narguments = {{ folder = "{tmp_path}" }}\n'
    )
    code, out, _ = run(capsys, "sweep", tmp_path / "run.toml", "--out", folder, "--workers", 0)
    assert code == 1
    assert "--retry-failed" in out
    assert "1 × RuntimeError: no such luck" in run(capsys, "sweep", "status", folder)[1]


def test_the_list_names_every_figure(capsys):
    _, out, _ = run(capsys, "reproduce", "--list")
    for found in figures():
        assert found.id in out
        assert found.claim in out


SLOW = {"banerjee2023-tradeoff": [pytest.mark.slow]}


@pytest.mark.parametrize("id", [pytest.param(f.id, marks=SLOW.get(f.id, [])) for f in figures()])
def test_every_figure_draws_and_judges_its_own_table(id, tmp_path):
    """At a tenth of the quick size: the pictures, files and verdicts, not the claims."""
    found = figure(id)
    values = found.settings("quick")
    values["seeds"], values["batch"] = 2, 2 if "training" in values else 1
    if "training" in values:
        values["training"]["epochs"] = 200
    smaller = {"steps": 40, "N": 16, "n": 16, "tol": 0.3}
    arguments = values.get("arguments", {})
    values["arguments"] = {name: smaller.get(name, value) for name, value in arguments.items()}
    grid = values.get("grid", {})
    if "width" in grid:
        grid = {**grid, "width": [16, 24]}
    values["grid"] = {k: v[:4] if k != "activation" else v for k, v in grid.items()}
    for point in values.get("points", []):
        for name in point:
            if isinstance(point[name], int) and point[name] > 16:
                point[name] = max(8, point[name] // 4)
    for name in ("N", "m", "n"):
        if len(values["grid"].get(name, ())) > 1:
            values["grid"][name] = [20, 30, 40, 50]
        elif name in values["grid"]:
            values["grid"][name] = [60]
    sweep = Sweep(values)
    ended = sweep.run(tmp_path, Engine(workers=0))
    assert ended.failed == 0
    made = render(found, "quick", tmp_path, sweep, ended)
    names = {p.name for p in made.paths}
    made_by_all = {"report.html", "result.json", "settings.toml"}
    assert names == {f"{id}.{s}" for s in ("png", "pdf", "csv")} | made_by_all
    record = json.loads((tmp_path / "result.json").read_text())
    assert record["analysis"]["summary"]
    laws = [v["constant"] for v in record["analysis"]["verdicts"]] + record["analysis"]["constants"]
    for law in laws:
        c = law["constant"]["constant"]
        assert c["low"] <= c["value"] <= c["high"]
        assert law["line"]["slope"]
    shown_means_and_errors(record["plotted"])
    page = (tmp_path / "report.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")
    for choice in found.choices:
        assert str(math_html(choice)) in page


def shown_means_and_errors(panels):
    """Every panel has numbers; each mean over several trials its standard error."""
    assert panels
    for panel in panels:
        assert panel["curves"] or panel["maps"]
    measured = [c for p in panels for c in p["curves"] if "trials" in c]
    maps = [m for p in panels for m in p["maps"]]
    assert measured or maps
    for c in measured:
        n = len(c["x"])
        assert n == len(c["y"]) == len(c["standard_error"]) == len(c["trials"]) > 0
        for error, deviation, trials in zip(
            c["standard_error"], c["standard_deviation"], c["trials"], strict=True
        ):
            assert (error is None) == (trials < 2)
            assert error is None or error == pytest.approx(deviation / trials**0.5)
    for m in maps:
        shape = len(m["y"]), len(m["x"])
        for name in ("mean_log10", "standard_error", "trials"):
            assert (len(m[name]), len(m[name][0])) == shape


def test_a_record_holds_the_numbers_that_are_drawn(tmp_path):
    made = reproduce("width", "quick", tmp_path, Engine(workers=0), only="n <= 128 and N == 80")
    panels = json.loads((tmp_path / "result.json").read_text())["plotted"]
    table = read_csv(tmp_path / "width.csv")
    page = (tmp_path / "report.html").read_text()
    drawing = page[page.index('<div class="drawn"') : page.index("</svg>")]
    assert "currentColor" in drawing  # the page's own, light or dark
    assert not re.search("#000000|#ffffff|image/png|<metadata", drawing)
    assert made.progress.failed == 0
    for curve in (c for c in panels[0]["curves"] if "trials" in c):
        for x, mean, error in zip(curve["x"], curve["y"], curve["standard_error"], strict=True):
            values = [r["limit_error"] for r in table.records
                      if r["activation"] == curve["label"] and r["n"] == x]  # fmt: skip
            assert mean == pytest.approx(statistics.mean(values))
            assert error == pytest.approx(statistics.stdev(values) / len(values) ** 0.5)


def test_reproduce_takes_a_part_and_the_rest_later(tmp_path):
    part = "n <= 256 and N == 80"
    made = reproduce("width", "quick", tmp_path, Engine(workers=0), only=part)
    assert made.progress.total == 2 * 3 * 5
    assert "--only" in json.loads((tmp_path / "result.json").read_text())["command"]
    more = Sweep({**made.figure.settings("quick"), "where": "n <= 512"})
    assert more.progress(tmp_path).ended == 30
    seen = reproduce("width", "quick", tmp_path, run=False)
    assert (seen.progress.done, seen.progress.total) == (30, 50)
    small = reproduce("width", "quick", tmp_path, Engine(workers=0), only="n < 100")
    assert "No fit" in small.analysis.summary
    with pytest.raises(ValueError, match="scale is"):
        reproduce("depth", "huge")


def test_a_part_of_a_figure_with_a_condition_of_its_own(tmp_path):
    """d = 10 lies outside of the quick figure's band at N = 60, whatever part is asked for."""
    part = "N == 60 and (d == 6 or d == 10)"
    made = reproduce("bombari2022-figure-2", "quick", tmp_path, Engine(workers=0), only=part)
    assert made.progress.total == made.progress.done == 5
    record = json.loads((tmp_path / "result.json").read_text())
    assert record["command"] == f'ntkscope reproduce bombari2022-figure-2 --quick --only "{part}"'
    seen = reproduce("bombari2022-figure-2", "quick", tmp_path, run=False)
    assert seen.progress.done == 5
    command = json.loads((tmp_path / "result.json").read_text())["command"]
    assert command == "ntkscope reproduce bombari2022-figure-2 --quick"


def test_a_zero_loss_has_a_place_in_the_heat_map():
    records = tuple(
        {"N": n, "d2": d, "loss": 0.0 if d == 4 else 1.0} for n in (1, 2) for d in (1, 4)
    )
    _, axes = make_axes()
    heat_map(axes[0], Table(("N", "d2", "loss"), records), "N", "d2", "loss", "loss")
    assert axes[0].collections
    assert not axes[0].get_title("right")


def test_a_heat_map_shows_what_was_not_run_and_lines_upon_it_in_a_dark_page():
    records = tuple({"N": n, "d2": n, "loss": 1.0} for n in (1, 2))
    figure, axes = make_axes()
    heat_map(axes[0], Table(("N", "d2", "loss"), records), "N", "d2", "loss", "loss")
    (line,) = axes[0].plot([1, 2], [1, 2], **over_map())
    assert axes[0].get_title("right") == "grey: no finished trial"
    drawing = inline_svg(figure)
    grey = re.findall(r'style="fill: #8a8f98; fill-opacity: 0.25', drawing)
    assert len(grey) == 2
    # the line and what is around it change places in the dark
    assert line.get_color() == "black"
    assert "stroke: var(--card)" in drawing
    assert "stroke: currentColor" in drawing


def test_the_ticks_of_a_short_log_axis_are_plain_numbers():
    def ticks(low, high, **scale):
        figure, axes = make_axes()
        axes[0].set_xscale("log", **scale)
        axes[0].set_xlim(low, high)
        shorten_ticks(axes[0])
        figure.canvas.draw()
        labels = axes[0].get_xticklabels(which="both")
        return {text.get_text() for text in labels} - {""}

    assert {"60", "100", "200"} <= ticks(50, 400)
    assert all("$" in label for label in ticks(1e-3, 1e-2) | ticks(2, 64, base=2))


def test_help_does_not_import_torch():
    code = (
        "import sys; from ntkscope.cli.main import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\nassert 'torch' not in sys.modules"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "reproduce" in out.stdout
