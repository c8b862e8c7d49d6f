"""The report: its numbers against plain formulas, its files, its bad input."""

import io
import json
import math
import tomllib

import pytest
import torch
from rich.console import Console

import ntkscope as ntk
from ntkscope.report import files, plots, svg, terminal
from oracles.jacobian import kernel


@pytest.fixture(scope="module")
def report():
    net = ntk.Network([8, 90, 70, 1], "relu", "he")
    return ntk.inspect(net, ntk.data.gaussian(60, 8, seed=1), seed=2)


@pytest.fixture(scope="module")
def exact():
    model = ntk.Network([8, 90, 70, 1], "relu", "he").sample(2)
    return kernel(model, ntk.data.gaussian(60, 8, seed=1))


def test_spectrum_against_the_jacobian(report, exact):
    eigenvalues = torch.linalg.eigvalsh(exact)
    slack = 60 * 2.2e-16 * float(eigenvalues[-1]) * 10
    assert report.smallest.lower - slack <= float(eigenvalues[0]) <= report.smallest.upper + slack
    assert report.largest.value == pytest.approx(float(eigenvalues[-1]), rel=1e-12)
    assert report.largest.lower - slack <= float(eigenvalues[-1]) <= report.largest.upper + slack
    torch.testing.assert_close(report.spectrum, eigenvalues, rtol=0, atol=slack)
    assert report.trace == pytest.approx(float(exact.trace()), rel=1e-12)


def test_layers_add_up_and_the_ladder_is_in_order(report):
    assert sum(x.trace_share for x in report.layers) == pytest.approx(1)
    assert sum(x.rayleigh for x in report.layers) == pytest.approx(report.smallest.value, rel=1e-8)
    best, schur, weyl, value, pair, least, mean = (rung.value for rung in report.ladder)
    assert 0 < best <= schur <= weyl <= value * (1 + 1e-12)
    assert value <= pair <= least <= mean
    for layer in report.layers:
        assert layer.schur <= layer.smallest + layer.smallest_error


def test_training_numbers(report, exact):
    low, high = (float(x) for x in torch.linalg.eigvalsh(exact)[[0, -1]])
    t = report.training
    assert t.largest_stable_step == pytest.approx(2 / high)
    assert t.largest_stable_step_mse == pytest.approx(60 / high)
    assert t.best_step == pytest.approx(2 / (high + low))
    few, many = t.steps["1/λ_max"]["1e+03"]
    assert few - 1 <= math.log(1e3) / (-2 * math.log1p(-low / high)) <= many


def test_gradient_descent_needs_the_steps_it_says(report, exact):
    """Run linear gradient descent on the worst labels: the weakest eigenvector."""
    eigenvalues, vectors = torch.linalg.eigh(exact)
    residual = vectors[:, 0].clone()
    count, step = 0, 1 / float(eigenvalues[-1])
    while float(residual.square().sum()) > 1e-3:
        residual -= step * (exact @ residual)
        count += 1
    few, many = report.training.steps["1/λ_max"]["1e+03"]
    assert few - 1 <= count <= many + 1


def test_terminal_page_and_files(report, tmp_path):
    text = str(report)
    for words in ("λ_min", "The layers", "Bounds around", "GD step, MSELoss", "memorization"):
        assert words in text
    page = report.save(tmp_path / "out")
    html = page.read_text()
    assert html.count('<svg class="chart"') == 5
    assert "src=" not in html.split("<body>")[1]
    assert len(html) < 100_000
    record = json.loads((tmp_path / "out" / "result.json").read_text())
    assert record["smallest_eigenvalue"]["value"] == report.smallest.value
    assert tomllib.loads((tmp_path / "out" / "settings.toml").read_text())["seed"] == 2
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "report.html", "result.json", "settings.toml",
    ]  # fmt: skip


def test_duplicates_and_too_many_samples_are_said():
    X = ntk.data.gaussian(12, 4, seed=0)
    X[7] = X[2]
    report = ntk.inspect(ntk.Network([4, 40, 1]), X)
    assert report.smallest.status in (ntk.Status.BELOW_NOISE, ntk.Status.INDEFINITE)
    assert report.memorization.possible is False
    assert "rows 2 and 7 are equal" in report.memorization.reason
    assert report.training.steps["1/λ_max"]["1e+03"] is None
    assert any("repeat" in w for w in report.warnings)
    assert sorted(report.weakest.rows[:2]) == [2, 7]
    assert "not bounded" in str(report)
    assert report.condition_number.upper == math.inf
    small = ntk.inspect(ntk.Network([2, 2, 1]), ntk.data.gaussian(20, 2, seed=0))
    assert small.smallest.status is ntk.Status.RANK_DEFICIENT
    assert small.memorization.possible is False
    assert "exceeds the 6 parameters" in small.memorization.reason


def test_biases_several_outputs_and_float32_work(tmp_path):
    net = ntk.Network([5, 30, 20, 3], "tanh", bias_std=0.1, parameterization="ntk")
    X = ntk.data.gaussian(15, 5, seed=0)
    report = ntk.inspect(net, X)
    assert [x.name for x in report.layers] == ["W_1", "b_1", "W_2", "b_2", "W_3", "b_3"]
    assert ntk.inspect(net, X, reduce=1).smallest.value < report.smallest.value
    single = ntk.inspect(net.sample(0, dtype="float32"), X.float())
    assert any("float32" in w for w in single.warnings)
    single.save(tmp_path)


def test_bad_input():
    net = ntk.Network([4, 8, 1])
    X = ntk.data.gaussian(5, 4, seed=0)
    with pytest.raises(ValueError, match="at least 2 samples"):
        ntk.inspect(net, X[:1])
    with pytest.raises(ValueError, match="an index"):
        ntk.inspect(net, X, reduce="full")
    with pytest.raises(ValueError, match="takes 4"):
        ntk.inspect(net, X[:, :3])


def test_progress_reaches_one():
    seen = []

    def listen(_phase, fraction):
        seen.append(fraction)

    ntk.inspect(
        ntk.Network([4, 8, 1]), ntk.data.gaussian(5, 4, seed=0),
        progress=listen,
    )  # fmt: skip
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_a_failed_write_leaves_the_old_files(tmp_path):
    for name in ("a", "file"):
        (tmp_path / name).write_text("old")
    with pytest.raises(OSError, match="file"):
        files.write_all(tmp_path, {"a": "new", "file/is no folder": "x"})
    assert (tmp_path / "a").read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "file"]


def test_numbers_and_toml():
    assert terminal.interval(1.0 - 1e-9, 1.0, 1.0 + 1e-9).startswith("1 ± 1e-09")
    assert terminal.interval(-math.inf, 1.0, 2.0) == "≤ 2"
    assert json.loads(files.to_json({"x": math.inf, "y": [math.nan]})) == {"x": "inf", "y": ["nan"]}
    settings = {"a": 'q"\\', "b": True, "c": 3, "d": 0.1, "e": None, "f": [1, 2.5]}
    assert tomllib.loads(files.to_toml(settings)) == {
        k: v for k, v in settings.items() if v is not None
    }


def test_plots_take_spectra_with_zeros():
    assert "1 eigenvalues ≤ 0 not shown" in svg.draw(plots.eigenvalues([0.0, 1.0, 2.0]), "")
    nothing = [{"name": "a", "value": 0.0, "side": "lower", "formula": "", "source": ""}]
    for chart in (
        plots.density([1.0, 1.0]), plots.density([0.0, -1.0]), plots.eigenvalues([0.0]),
        plots.ladder(nothing, 0.0, 0.0),
    ):  # fmt: skip
        assert svg.draw(chart, "").startswith("<figure")


def test_infinite_widths_are_inspected_at_their_limit():
    net = ntk.Network([20, math.inf, math.inf, 1], "relu", "unit")
    X = ntk.data.sphere(80, 20, seed=3)
    found = ntk.inspect(net, X)
    exact = torch.linalg.eigvalsh(ntk.limiting_ntk(net, X))
    slack = 80 * 2.3e-16 * float(exact[-1])
    assert found.smallest.lower - slack <= float(exact[0]) <= found.smallest.upper + slack
    assert [layer.shape for layer in found.layers] == ["20×inf", "inf×inf", "inf×1"]
    assert sum(x.rayleigh for x in found.layers) == pytest.approx(found.smallest.value, rel=1e-8)
    assert found.prediction.prediction is not None
    assert "∞ parameters" in str(found)
    floor = found.ladder[0]
    assert (floor.name, floor.side) == ("correlations", "lower")
    assert floor.value == ntk.streamed_bound(net, X).lower
    assert 0.1 * found.smallest.value < floor.value < found.smallest.lower
    assert "∞" in found.to_html()
    files.to_json(found.to_dict())
    with pytest.raises(ValueError, match="limit already"):
        ntk.inspect(net, X, width_limit=True)
    with pytest.raises(ValueError, match="infinite"):
        ntk.inspect(net, X, params=["W_1"])


def test_a_kernel_that_is_no_function_of_correlations_has_no_floor_of_them():
    X = ntk.data.gaussian(30, 10, seed=0)
    for net in (
        ntk.Network([10, math.inf, 1], "tanh", parameterization="ntk"),
        ntk.Network([10, 40, 1]),
    ):
        assert ntk.inspect(net, X).ladder[0].name == "best layer, Schur"


def test_bounds_that_are_zero_for_every_layer_are_left_out():
    net, X = ntk.Network([8, 30, 30, 1], "relu", "he"), ntk.data.gaussian(50, 8, seed=1)
    narrow = ntk.inspect(net, X, seed=2)
    assert all(layer.schur == 0 for layer in narrow.layers)
    assert "Schur" not in str(narrow)
    page = narrow.to_html()
    assert "best layer, Schur" not in page
    assert "Schur bounds are 0 for every parameter" in page
    assert "(FFᵀ) ≥" not in page
    # the last layer has 30 parameters for 50 samples
    assert narrow.layers[-1].smallest_status == "RANK_DEFICIENT"
    assert "0: rank &lt; N" not in page
    assert "0, exactly: rank below N" in page
    assert "0: rank < N" in str(narrow)


def test_bounds_that_are_not_zero_stay(report):
    assert "Schur bound" in str(report)
    page = report.to_html()
    assert "best layer, Schur" in page
    assert "(FFᵀ) ≥" in page


def test_the_band_is_spoken_of_where_it_can_be_seen(report):
    rungs = terminal.telling(report.to_dict()["ladder"])
    low, value, high = report.smallest.lower, report.smallest.value, report.smallest.upper
    assert high - low < 1e-6 * value
    assert not plots.band_shows(rungs, low, high)
    assert "grey band" not in report.to_html()
    assert plots.ladder(rungs, low, high).bands == []
    assert plots.band_shows(rungs, 0.5 * value, 2 * value)
    assert len(plots.ladder(rungs, 0.5 * value, 2 * value).bands) == 1
    assert not plots.band_shows(rungs, 0.0, 2 * value)
    assert not plots.band_shows(rungs, 0.5 * value, math.inf)


def test_a_layer_s_own_zero_has_its_status():
    layer = {"smallest": 1e-20, "smallest_error": 3e-11, "smallest_status": "BELOW_NOISE"}
    assert terminal.own_smallest(layer) == "0 ± 3e-11: below rounding"
    assert terminal.own_smallest(layer | {"smallest": -2e-11}, short=True) == "0 ± 5e-11"
    layer["smallest_status"] = "INDEFINITE"
    assert terminal.own_smallest(layer) == "1e-20 (indefinite)"


@pytest.mark.parametrize("width", [60, 80, 100])
def test_names_of_parameters_keep_their_ends(width):
    layer = {
        "shape": "16×16×3×3", "trace_share": 0.1, "trace_share_error": 0.0,
        "rayleigh_share": 0.2, "rayleigh_share_error": 0.0, "smallest": 0.1,
        "smallest_error": 1e-9, "smallest_status": "OK", "schur": 0.0,
    }  # fmt: skip
    names = [f"encoder.blocks.0.branch.conv{i}.weight" for i in (1, 2)]
    table = terminal._layers([layer | {"name": name} for name in names])
    console = Console(file=io.StringIO(), width=width, record=True)
    console.print(table)
    cells = [
        line.split("│")[1].strip() for line in console.export_text().splitlines() if "│" in line
    ]
    assert "".join(cells) == "".join(names)


def test_many_terms_lie_down():
    record = [{"name": f"block.{i}.weight", "trace_share": i / 45, "rayleigh_share": i / 45}
              for i in range(10)]  # fmt: skip
    few, many = plots.layers(record[:3]), plots.layers(record)
    names = [layer["name"] for layer in record]
    assert few.x.categories == names[:3]
    assert many.y.categories == names[::-1]
    assert many.series[0].y == names
    assert many.height > few.height
