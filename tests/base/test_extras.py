"""The library does with its four core packages; what misses an extra says which."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXTRAS = [
    "cryptography", "dask", "dask_jobqueue", "distributed", "flint", "jinja2", "markupsafe",
    "matplotlib", "psutil", "pyarrow", "pydantic", "rich", "safetensors", "sklearn",
    "typer",
]  # fmt: skip
BLOCK = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {names}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Block())
"""
CORE = """
import ntkscope as ntk

net = ntk.Network([4, 32, 1], "relu")
X = ntk.data.gaussian(n_samples=6, dim=4, seed=0)
model = net.sample(0)
K = ntk.empirical_ntk(model, X)
least = ntk.smallest_eigenvalue(K)
assert least.status.trustworthy, least
assert ntk.smallest_eigenvalue(ntk.limiting_ntk(net, X)).value > 0
assert ntk.predict_smallest_eigenvalue(net, 6, 4).value > 0
assert ntk.hermite_coefficients("relu", 3)
assert ntk.train(model, X, X[:, 0], ntk.Recipe(steps=3)).to_dict()["status"] == "finished"
assert ntk.memorize(net, X, X[:, 0]).to_dict()["network"]["widths"]
assert ntk.inspect(model, X).to_dict()["smallest_eigenvalue"]["value"] == least.value
assert ntk.check("nguyen2021.lemma-5.4", model, X).to_dict()["inequalities"]
print(K, least, net, model)
"""


def run(code: str, blocked: list[str]) -> subprocess.CompletedProcess[str]:
    text = BLOCK.format(names=set(blocked)) + code
    return subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip


def test_the_core_needs_no_extra():
    done = run(CORE, EXTRAS)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("code", "missing", "extra"),
    [
        ("from ntkscope.__main__ import main; main()", "typer", "cli"),
        ("import ntkscope; ntkscope.Sweep", "pydantic", "sweep"),
        ("import ntkscope; ntkscope.NTKRegressor", "sklearn", "data"),
        ("import ntkscope; ntkscope.data.load('iris')", "sklearn", "data"),
        ("import ntkscope.report.html", "jinja2", "report"),
        ("import ntkscope.report.terminal", "rich", "report"),
        ("from ntkscope._base import balls; balls.flint()", "flint", "exact"),
    ],
)
def test_a_missing_extra_is_named(code, missing, extra):
    done = run(code, [missing])
    assert done.returncode != 0
    line = done.stderr.strip().splitlines()[-1]
    assert line.endswith(f"this needs it: pip install 'ntkscope[{extra}]'")
    assert f"{missing} is not installed" in line.replace(
        f"{missing}.", f"{missing} "
    )  # a part of it


def test_the_command_without_typer_is_one_line_and_code_2():
    done = run("from ntkscope.__main__ import main; main()", ["typer"])
    assert done.returncode == 2
    assert done.stderr.startswith("ntkscope: typer is not installed")
    assert len(done.stderr.splitlines()) == 1


def test_an_error_within_the_package_is_no_missing_extra():
    code = (
        "from ntkscope._base.extras import needs\nwith needs('cli'):\n    import ntkscope.nowhere"
    )
    done = run(code, [])
    assert "ModuleNotFoundError: No module named 'ntkscope.nowhere'" in done.stderr
    assert "pip install" not in done.stderr


def test_every_extra_that_code_names_is_declared():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = declared["optional-dependencies"]
    optional = set(extras) - {"all", "dev", "docs"}
    named = set()
    for path in (ROOT / "src").rglob("*.py"):
        text = path.read_text()
        named |= {extra for extra in optional if f'needs("{extra}")' in text}
        assert text.count("needs(") == text.count('needs("') + text.count("def needs("), path
    assert named == optional
    assert {d.split(">")[0] for d in declared["dependencies"]} == {
        "torch", "numpy", "scipy", "jaxtyping", "psutil",
    }  # fmt: skip
    assert all("sys_platform" in d for d in declared["dependencies"] if "psutil" in d)
