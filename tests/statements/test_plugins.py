"""A stranger's paper: used from the command line, inherited by processes, left out whole when it is bad."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import ntkscope as ntk
from ntkscope._base.rollback import all_or_nothing
from ntkscope.cli.main import main
from ntkscope.statements.plugins import INHERITED, PluginError
from ntkscope.statements.registry import papers

PAPER = """
from ntkscope import Paper
from ntkscope.experiments.figures.figure import Analysis, Figure
from ntkscope.experiments.reading.drawing import curves
from ntkscope.statements.balls.ball_instance import diagonal, smallest_of

PAPER = Paper("toy2026", short="Toy 2026", title="A share of the diagonal")


@PAPER.statement(
    "theorem-1",
    title="A share of the diagonal",
    section="Theorem 1",
    sentence="The smallest eigenvalue is at most a hundredth of the smallest diagonal entry.",
    latex=r"\\\\lambda_{\\\\min}(K)\\\\le\\\\tfrac1{100}\\\\min_iK_{ii}",
)
def share_of_diagonal(i, out):
    for share in (0.01, 1.0):
        out.at_most(f"λ_min(K) ≤ {share:g} min K_ii", i.lambda_K, share * i.K.diagonal().min(),
                    erratum=share < 1, key="share", share=share)


@PAPER.confirmer("theorem-1", "share")
def share_in_balls(b, share):
    return b.lambda_K, smallest_of(diagonal(b.K)) * share


FIGURE = Figure(
    id="toy-figure",
    title="λ_min over d",
    source="Toy 2026, Figure 1",
    claim="λ_min grows.",
    setup="One hidden layer.",
    choices=(),
    settings=lambda scale: {
        "name": "toy", "measure": "lambda_min", "seeds": 1, "grid": {"d": [6, 9]},
        "data": "gaussian:N=3,d={d}", "network": {"widths": ["d", 8, 1], "activation": "relu"},
    },
    draw=lambda table, axes: curves(axes[0], table, "d", "lambda_min", (), lambda: "toy"),
    analyse=lambda table: Analysis(f"{len(table)} trials."),
)
"""
BAD = {
    "not python (": "SyntaxError",
    "import no_such_module_anywhere": "ModuleNotFoundError",
    "raise RuntimeError('half way')": "RuntimeError: half way",
    "raise SystemExit('quits')": "SystemExit: quits",
    "PAPER = 3": "TypeError: PAPER must be a Paper, got int",
    "from ntkscope import Paper\nPAPER = Paper('nguyen2021', short='', title='')": "'nguyen2021' is there",
    "from ntkscope import Paper\nPAPER = Paper('a.b', short='', title='')": "a word without dots",
    "from ntkscope import Paper\nPAPER = Paper('lost', short='', title='', parts=('none',))": "none",
}
SMALL = ("--data", "gaussian:N=5,d=4", "--widths", "4,6,1", "--samples", "32", "--trials", "2")


SRC = str(Path(ntk.__file__).parents[1])


def in_a_new_process(*arguments, path=()):
    made = subprocess.run(
        [sys.executable, "-m", "ntkscope", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([SRC, *map(str, path)])}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return made.returncode, made.stdout, made.stderr


@pytest.fixture
def toy(tmp_path):
    file = tmp_path / "toy.py"
    file.write_text(PAPER.replace("\\\\\\\\", "\\\\"))
    return file


@pytest.fixture
def restored(monkeypatch):
    """Registrations and modules as they were before the test."""
    ntk.statements()
    monkeypatch.setenv(INHERITED, "")
    modules = set(sys.modules)
    context = all_or_nothing()
    context.__enter__()
    yield
    for name in set(sys.modules) - modules:
        if name.startswith("ntkscope_plugin_"):
            del sys.modules[name]
    context.__exit__(RuntimeError, RuntimeError(), None)


@pytest.fixture
def ntkscope(capsys, restored):  # noqa: ARG001
    """The command line in this process: (exit code, stdout, stderr)."""

    def run(*arguments):
        with pytest.raises(SystemExit) as stop:
            main([str(a) for a in arguments])
        found = capsys.readouterr()
        return stop.value.code or 0, found.out, found.err

    return run


def test_check_runs_its_statement(ntkscope, toy):
    code, out, err = ntkscope(
        "check", "toy2026.theorem-1", "--plugin", toy, *SMALL, "--seed", "1", "--json"
    )
    assert (code, err.strip()) == (0, "")
    (record,) = json.loads(out)
    assert record["source"] == "Toy 2026, Theorem 1"
    assert [c["at"] for c in record["inequalities"]] == [{"share": 0.01}, {"share": 1.0}]
    assert record["inequalities"][1]["outcome"] == "holds"
    assert record["command"].endswith(f"--plugin {toy}")
    code, out, _ = ntkscope("check", "--list", "--paper", "toy2026", "--plugin", toy)
    assert out.split()[0] == "toy2026.theorem-1"
    assert len(out.splitlines()) == 1


def test_falsify_refutes_it_in_balls(ntkscope, toy, tmp_path):
    found = tmp_path / "found.json"
    code, out, err = ntkscope(
        "falsify", "toy2026.theorem-1", "--plugin", toy, "--trials", 6, "--out", found
    )
    assert (code, err.strip()) == (0, "")
    assert "violated (a known erratum): λ_min(K) ≤ 0.01 min K_ii" in out
    (record,) = json.loads(found.read_text())
    assert record["confirmation"]["refuted"]
    assert record["confirmation"]["left"][0] > record["confirmation"]["right"][1]
    assert record["shrunk"]["N"] == 1  # where λ_min(K) is K_11 itself


def test_reproduce_draws_its_figure(ntkscope, toy, tmp_path):
    folder = tmp_path / "figure"
    code, out, err = ntkscope(
        "reproduce", "toy-figure", "--plugin", toy, "--out", folder, "--workers", 0, "--quiet"
    )
    assert (code, err.strip()) == (0, "")
    assert "2 trials." in out
    assert (folder / "toy-figure.png").stat().st_size > 1000
    _, out, _ = ntkscope("reproduce", "--list", "--plugin", toy)
    assert out.split().count("toy-figure") == 1


@pytest.mark.usefixtures("restored")
def test_processes_started_later_have_it(toy):
    module = ntk.load_plugin(toy)
    assert ntk.load_plugin(toy) is module
    assert os.environ[INHERITED] == str(toy.resolve())
    code, out, _ = in_a_new_process("check", "--list", "--paper", "toy2026")
    assert code == 0
    assert "toy2026.theorem-1" in out


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("source", BAD)
def test_a_bad_plugin_is_left_out_whole(source, tmp_path):
    bad = tmp_path / "bad_one.py"
    # what was registered before the error goes as well
    first = "from ntkscope.papers.bombari2022 import PAPER as theirs\n" + (
        "theirs.statement('extra', title='', section='', sentence='', latex='')(lambda i, out: None)\n"
    )
    bad.write_text(first + source)
    before = [s.id for s in ntk.statements()]
    with pytest.raises(PluginError) as error:
        ntk.load_plugin(bad)
    assert str(bad) in str(error.value)
    assert BAD[source] in str(error.value)
    assert "\n" not in str(error.value)
    assert [s.id for s in ntk.statements()] == before
    assert "ntkscope_plugin_bad_one" not in sys.modules
    assert not os.environ[INHERITED]
    bad.write_text("")  # once it is mended it loads
    assert ntk.load_plugin(bad).__name__ == "ntkscope_plugin_bad_one"


def test_beside_a_bad_plugin_the_rest_works(ntkscope, toy, tmp_path):
    bad = tmp_path / "bad.py"
    bad.write_text("raise RuntimeError('half way')")
    code, out, err = ntkscope(
        "check", "toy2026.theorem-1", "nguyen2021.eq-27", "--plugin", bad, "--plugin", toy, *SMALL
    )
    assert code == 0
    assert err.splitlines() == [f"ntkscope: the plugin {bad} is left out: RuntimeError: half way"]
    assert "toy2026.theorem-1" in out
    assert "nguyen2021.eq-27" in out
    code, _, err = ntkscope("check", "none2026.theorem-1", "--plugin", tmp_path / "none.py", *SMALL)
    assert code == 2
    assert "no file" in err.splitlines()[0]
    assert "unknown statement" in err.splitlines()[1]


def test_a_figure_that_is_taken_is_left_out(ntkscope, toy, tmp_path):
    other = tmp_path / "other.py"
    other.write_text(toy.read_text().replace("toy2026", "other2026"))
    code, out, err = ntkscope("reproduce", "--list", "--plugin", toy, "--plugin", other)
    assert code == 0
    assert "the figures of the plugin toy2026 are left out" in err
    assert "'toy-figure' is there already" in err
    assert len(err.splitlines()) == 1
    assert out.split().count("toy-figure") == 1
    assert "bombari2022-figure-1" in out


def installed(folder: Path, module: str):
    """Metadata of a distribution that names ``module`` as a paper."""
    about = folder / f"{module}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[ntkscope.papers]\n{module} = {module}\n")


def test_papers_of_installed_distributions_are_found(toy, tmp_path):
    package = tmp_path / "site" / "toypaper"
    package.mkdir(parents=True)
    head, body = toy.read_text().split("\n\n\n@PAPER.statement", 1)
    statement, figure = body.split("\n\n\nFIGURE", 1)
    inside = 'title="A share of the diagonal", parts=("theorem",), figures=("picture",)'
    (package / "__init__.py").write_text(head.replace('title="A share of the diagonal"', inside))
    imports = head.partition("PAPER = ")[0] + "from toypaper import PAPER\n"
    (package / "theorem.py").write_text(f"{imports}\n\n@PAPER.statement{statement}\n")
    (package / "picture.py").write_text(f"{imports}\n\nFIGURE{figure}")
    broken = tmp_path / "site" / "brokenpaper.py"
    broken.write_text("raise RuntimeError('half way')")
    for module in ("toypaper", "brokenpaper"):
        installed(tmp_path / "site", module)
    where = [tmp_path / "site"]
    code, out, err = in_a_new_process("check", "--list", path=where)
    assert code == 0
    assert "toy2026.theorem-1" in out
    assert "nguyen2021.eq-5" in out
    assert err.splitlines() == [
        "ntkscope: the plugin brokenpaper is left out: RuntimeError: half way"
    ]
    code, out, _ = in_a_new_process("reproduce", "--list", path=where)
    assert "toy-figure" in out


@pytest.mark.usefixtures("restored")
def test_a_folder_is_a_plugin_too(tmp_path):
    folder = tmp_path / "note"
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "from ntkscope import Paper\nPAPER = Paper('note', short='Note', title='', parts=('one',))\n"
    )
    (folder / "one.py").write_text(
        "from . import PAPER\n\n"
        "@PAPER.statement('eq-1', title='One', section='eq. 1', sentence='N is 1.', latex='N=1')\n"
        "def one(i, out):\n    out.equal('N = 1', i.N, 1, key='one')\n"
    )
    ntk.load_plugin(folder)
    assert [p.key for p in papers()][-1] == "note"
    verdict = ntk.check("note.eq-1", ntk.Network([3, 4, 1]), ntk.data.gaussian(2, 3, seed=0))
    assert [c.holds for c in verdict.claims] == [False]
