"""Every public result shows itself: a line, a table, a small piece of a page, a drawing, plain values."""

import functools
import inspect
import json
import re
from html.parser import HTMLParser

import matplotlib as mpl
import pytest
import torch
from matplotlib.figure import Figure

import ntkscope as ntk
from ntkscope.experiments.figures.figure import Analysis
from ntkscope.experiments.figures.figure import Figure as PaperFigure
from ntkscope.experiments.figures.reproduce import render
from ntkscope.experiments.reading.constants import fit_constant
from ntkscope.experiments.reading.table import Table
from ntkscope.report.card import MOST_BYTES
from ntkscope.report.files import to_json
from ntkscope.report.result import Drawn, Shown, Tabular
from ntkscope.report.style import Style
from ntkscope.statements.falsification import Falsification
from ntkscope.statements.verdict import Verdicts
from ntkscope.training.memorization import capacity
from ntkscope.training.tradeoff import curvature_scaling
from ntkscope.training.width_advice import advise_width
from ntkscope.training.width_goal import Goal

mpl.use("Agg")

EVIL = '<img src="x" onerror="alert(1)">&amp;'
N, D = 12, 4


@functools.cache
def data():
    return ntk.data.sphere(N, D, seed=0)


@functools.cache
def targets():
    return torch.sin(3 * data()[:, :1])


@functools.cache
def net():
    """A network whose activation has a name that would be markup."""
    evil = ntk.activations.custom(torch.tanh, name=EVIL, lipschitz=1.0)
    return ntk.Network([D, 8, 1], evil, "lecun")


@functools.cache
def model():
    return net().sample(0)


@functools.cache
def kernel():
    return ntk.empirical_ntk(model(), data())


@functools.cache
def limit():
    return ntk.Network([D, float("inf"), 1], init="he", parameterization="ntk")


@functools.cache
def evil_module():
    torch.manual_seed(0)
    made = torch.nn.Sequential(torch.nn.Linear(D, 5), torch.nn.Tanh(), torch.nn.Linear(5, 1))
    made = made.double()
    made.add_module("odd", torch.nn.Identity())
    return made


@functools.cache
def posterior():
    return ntk.KernelPosterior(kernel(), targets(), ridge=0.1)


def table():
    rows = [
        {"d": d, "name": EVIL, "seed": s, "lambda_min": d * (1 + 0.1 * s)}
        for d in (2, 4, 8, 16)
        for s in (0, 1)
    ]
    failed = {"d": 32, "name": EVIL, "seed": 0, "error": f"ValueError: {EVIL}"}
    return Table(("d", "name", "seed", "lambda_min", "error"), (*rows, failed))


def instance():
    return ntk.Instance(net(), data(), samples=64, trials=4)


def tracker():
    made = ntk.Tracker(evil_module(), data(), every=1)
    made.step()
    made.step()
    return made


def falsification():
    return Falsification(EVIL, False, None, 0.0, None, None, None, (), 3, 0, 0.1, EVIL)


def stored(folder):
    ntk.save_kernel(kernel(), folder / "K")
    return ntk.load_kernel(folder / "K")


def swept(folder):
    sweep = ntk.Sweep(
        {"name": "tiny", "seeds": 2, "grid": {"d": [4, 8]}, "data": "gaussian:N=6,d={d}",
         "network": {"widths": ["d", 8, 1]}}
    )  # fmt: skip
    return sweep, sweep.run(folder / "sweep", ntk.Engine(workers=0))


def reproduction(folder, style="screen"):
    """Of a figure whose title would be markup."""

    def draw(rows, axes):
        axes[0].plot(rows.column("d"), rows.column("lambda_min"))

    figure = PaperFigure(
        "tiny", EVIL, "nobody", EVIL, "", (), lambda _: {}, draw, lambda _: Analysis("none")
    )
    sweep, ended = swept(folder)
    return render(figure, "quick", folder / "sweep", sweep, ended, style=Style(style))


RESULTS = {
    "Chain": lambda _: ntk.limiting_chain(limit(), data()),
    "ConditionNumber": lambda _: ntk.condition_number(kernel()),
    "ArchitectureKernel": lambda _: ntk.limiting_kernel(evil_module(), data()),
    "Coefficients": lambda _: ntk.hermite_coefficients("relu", 6),
    "Convergence": lambda _: ntk.width_convergence(
        ntk.Network([D, 8, 1]), data(), scales=(0.5, 1, 2), draws=2
    ),
    "Dataset": lambda _: ntk.data.load("gaussian:N=6,d=3"),
    "Density": lambda _: ntk.spectral_density(kernel()),
    "Density of probes": lambda _: ntk.spectral_density(kernel(), exact=False, n_probes=3),
    "Eigenvalue": lambda _: ntk.smallest_eigenvalue(kernel()),
    "Extremes": lambda _: ntk.extreme_eigenvalues(kernel(), 2),
    "Falsification": lambda _: falsification(),
    "Fit": lambda _: fit_constant(table(), "lambda_min", "d")[0],
    "GaussNewtonKernel": lambda _: ntk.gauss_newton_kernel(
        evil_module(), data(), targets(), loss="mse"
    ),
    "HadamardKernel": lambda _: kernel(),
    "HessianNorms": lambda _: ntk.hessian_norms(model(), data()),
    "Influence": lambda _: ntk.influence(posterior(), kernel().dense()[:2]),
    "Inspection": lambda _: ntk.inspect(model(), data(), loss="mse", targets=targets()),
    "Inspection of outputs": lambda _: ntk.inspect(net().with_widths([D, 40, 3]), data()),
    "Instance": lambda _: instance(),
    "KernelComparison": lambda _: ntk.compare_kernels(
        kernel(), ntk.empirical_ntk(net().sample(1), data())
    ),
    "KernelPlan": lambda _: ntk.plan_kernel(evil_module(), data()),
    "KernelPosterior": lambda _: posterior(),
    "LeaveOneOut": lambda _: ntk.leave_one_out(posterior()),
    "LimitPlan": lambda _: ntk.plan_limit(evil_module(), data(), time=False),
    "LimitingKernel": lambda _: ntk.limiting_kernel(limit(), data()),
    "LinearizedTraining": lambda _: ntk.LinearizedTraining(kernel(), targets()),
    "LipschitzInterval": lambda _: ntk.lipschitz_interval(
        ntk.Network([2, 3, 1]).sample(0), starts=2, steps=2
    ),
    "LoewnerResult": lambda _: ntk.certify_loewner(kernel()),
    "MatrixKernel": lambda _: ntk.MatrixKernel(kernel().dense()),
    "Memorization": lambda _: ntk.memorize(net().with_widths([D, 30, 1]), data(), targets()),
    "Capacity": lambda _: capacity(net(), data()),
    "ModuleKernel": lambda _: ntk.empirical_ntk(evil_module(), data()),
    "Network": lambda _: net(),
    "OutputKernels": lambda _: ntk.empirical_ntk(
        net().with_widths([D, 8, 3]).sample(0), data(), reduce="diagonal"
    ),
    "Outputs": lambda _: ntk.LinearizedTraining(kernel(), targets()).flow(1.0),
    "Paper": lambda _: ntk.Paper("evil", short=EVIL, title=EVIL),
    "Plan": lambda _: ntk.plan(kernel()),
    "PowerSeries": lambda _: ntk.power_series(limit(), 20),
    "Prediction": lambda _: ntk.predict_smallest_eigenvalue(ntk.Network([30, 60, 1]), 50),
    "Progress": lambda _: ntk.Progress(EVIL, 0.5, None, 1.0, 2.0),
    "Recipe": lambda _: ntk.Recipe(),
    "Reproduction": reproduction,
    "Sharpness": lambda _: ntk.sharpness(evil_module(), data(), targets(), loss="mse"),
    "Solution": lambda _: ntk.solve(kernel(), targets()[:, 0], ridge=0.1),
    "SpectrumPrediction": lambda _: ntk.predict_spectrum(ntk.Network([30, 60, 1]), 50),
    "Statement": lambda _: ntk.statements("nguyen2021")[0],
    "StoredKernel": stored,
    "StreamedBound": lambda _: ntk.streamed_bound(limit(), data(), degree=20),
    "Sweep": lambda folder: swept(folder)[0],
    "SweepProgress": lambda folder: swept(folder)[1],
    "Table": lambda _: table(),
    "Tracker": lambda _: tracker(),
    "Training": lambda _: ntk.train(model(), data(), targets()[:, 0], ntk.Recipe(20, probes=2)),
    "Curvature": lambda _: curvature_scaling(net(), data(), [4, 8, 16], networks=1),
    "Verdict": lambda _: ntk.check("nguyen2021.theorem-4.1", net(), data(), samples=64, trials=4),
    "Verdicts": lambda _: ntk.check_all(instance(), ["nguyen2021.eq-5", "nguyen2021.theorem-4.1"]),
    "WidthAdvice": lambda _: advise_width(
        ntk.Network([D, 8, 1], init="he"), data(), Goal(lambda_min=1e-3), networks=1
    ),
    "WidthLimit": lambda _: ntk.width_limit(
        ntk.Network([D, 8, 1]).sample(0), data(), scales=(0.5, 1, 2), draws=2
    ),
    "WidthLimit of a module": lambda _: ntk.width_limit(evil_module(), data()),
}
# what holds nothing but arrays, and prints as arrays do
PLAIN = {"Dual"}
# nothing to draw, or drawn of something that is given beside it
UNDRAWN = {
    "ConditionNumber", "Dataset", "Falsification", "Instance", "KernelPlan", "KernelPosterior",
    "LimitPlan", "LoewnerResult", "Capacity", "Network", "OutputKernels", "Outputs", "Paper", "Plan",
    "Progress", "Recipe", "Sharpness", "Solution", "Statement", "Sweep", "SweepProgress", "Tracker",
    "Verdicts",
}  # fmt: skip
# public classes that no function returns as what it found
OTHERS = {
    "Activation", "Engine", "Explorer", "Kernel", "Linearized", "MLP", "NTKRegressor", "SelfCheckError",
    "Status", "Tls",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def made(folder):
    cache = {}

    def make(name):
        if name not in cache:
            cache[name] = RESULTS[name](folder)
        return cache[name]

    return make


class Tags(HTMLParser):
    """The tags of a fragment with their attributes, and the text between them."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, text):
        self.text += text


ALLOWED = {"div", "style", "b", "table", "caption", "tr", "th", "td", "pre", "p"}


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_shows_itself(name, made):
    result = made(name)
    assert isinstance(result, Shown)
    line = repr(result)
    assert "\n" not in line
    assert 4 < len(line) <= 300
    assert not re.search(r"0x[0-9a-f]{6,}|<built-in|<function|tensor\(|array\(", line + str(result))
    assert str(result).strip()
    assert all(len(text) <= 240 for text in str(result).splitlines())
    page = result._repr_html_()
    found = Tags(page)
    assert len(page.encode()) <= MOST_BYTES
    assert {tag for tag, _ in found.tags} <= ALLOWED
    assert {key for _, attrs in found.tags for key in attrs} <= {"class"}
    json.loads(to_json(result.to_dict()))


@pytest.mark.parametrize("name", [n for n in RESULTS if n not in UNDRAWN])
def test_a_result_draws_itself(name, made):
    result = made(name)
    assert isinstance(result, Drawn) or "plot" in vars(type(result))
    figure = Figure(figsize=(3, 2), dpi=50)
    own = figure.subplots()
    assert result.plot(own) is own
    assert own.has_data()
    figure.canvas.draw()  # labels that matplotlib cannot set fail here


def test_without_axes_pyplot_makes_a_figure(made):
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    ax = made("Eigenvalue").plot()
    assert len(plt.get_fignums()) == len(before) + 1
    plt.close(ax.figure)


def test_what_is_not_drawn_has_no_plot_that_fails(made):
    for name in UNDRAWN - {"Sweep", "Tracker"}:
        assert not hasattr(made(name), "plot"), name


@pytest.mark.parametrize("name", RESULTS)
def test_a_table_is_a_data_frame(name, made):
    result = made(name)
    if not isinstance(result, Tabular):
        assert not hasattr(result, "to_pandas")
        return
    frame = result.to_pandas()
    assert len(frame) == len(result._rows()) > 0
    assert all(isinstance(column, str) for column in frame.columns)


def test_names_are_escaped(made):
    for name in ("Inspection", "Network", "Verdict", "Training", "Table", "Progress", "Instance"):
        found = Tags(made(name)._repr_html_())
        assert "img" not in [tag for tag, _ in found.tags], name
        assert '<img src="x"' in found.text, name


def test_every_public_class_and_every_returned_one_is_here(made):
    shown = {cls for name in RESULTS for cls in type(made(name)).__mro__}
    shown |= {ntk.Kernel, Verdicts}
    public = {n for n in ntk.__all__ if inspect.isclass(getattr(ntk, n))}
    assert {n for n in public - OTHERS if getattr(ntk, n) not in shown} == set()
    assert public >= OTHERS
    for name in sorted(set(ntk.__all__) - public):
        returned = getattr(getattr(ntk, name), "__annotations__", {}).get("return", "")
        known = {c.__name__ for c in shown} | OTHERS | PLAIN
        words = set(re.findall(r"[A-Z]\w+", str(returned)))
        assert words <= known | {"Tensor", "Array", "Any", "None", "Path", "ModuleType"}, name


def test_ten_inspections_make_a_small_notebook(made):
    pages = made("Inspection")._repr_html_()
    assert 10 * len(json.dumps(pages)) < 120_000  # as a notebook's file holds them


def test_a_sweep_draws_a_folder(folder, made):
    made("Sweep")
    ax = made("Sweep").plot(folder / "sweep", Figure().subplots())
    assert ax.get_xlabel() == "d"
    with pytest.raises(ValueError, match="no column of numbers varies"):
        Table(("a",), ({"a": "x"},)).plot()
    with pytest.raises(ValueError, match="unknown column"):
        table().plot(x="d", y="nothing")


def test_a_reproduction_for_a_paper_is_as_wide_as_a_column(tmp_path, monkeypatch):
    monkeypatch.setattr("ntkscope.report.style.has_latex", lambda: False)
    reproduction(tmp_path, "paper")
    assert b"/MediaBox [ 0 0 234 " in (tmp_path / "sweep" / "tiny.pdf").read_bytes()
