"""The tutorials run as notebooks, in a kernel of their own."""

import doctest
import importlib.util
import json
import os
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="the tutorials as notebooks need nbformat")

ROOT = Path(__file__).parents[1]
SPEC = importlib.util.spec_from_file_location("notebooks", ROOT / "docs" / "notebooks.py")
notebooks = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(notebooks)

PAGES = sorted(notebooks.TUTORIALS.glob("*.md"))
SMALL = "how-small-is-small"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_every_example_is_in_the_notebook(page, tmp_path):
    notebook = notebooks.convert(page, tmp_path)
    nbformat.validate(notebook)
    code = "\n".join(c["source"] for c in notebook["cells"] if c["cell_type"] == "code")
    for example in doctest.DocTestParser().get_examples(page.read_text()):
        assert example.source.strip() in code
    assert ">>>" not in code
    assert nbformat.writes(notebook) == nbformat.writes(notebooks.convert(page, tmp_path))


def test_links_lead_from_the_notebook_to_the_page(tmp_path):
    page = tmp_path / "docs" / "tutorials" / "a.md"
    page.parent.mkdir(parents=True)
    page.write_text("# A\n[b](../b.md#c) [w](https://x.org/y) [h](#here)\n```bash\nls\n```\n")
    (cell,) = notebooks.convert(page, tmp_path / "out")["cells"]
    assert cell["source"].splitlines()[1] == "[b](../docs/b.md#c) [w](https://x.org/y) [h](#here)"
    assert cell["source"].endswith("```bash\nls\n```")


SHOWN = (
    "X = ntk.data.sphere(20, 6, seed=0)\nnet = ntk.Network([6, 20, 1])",
    "ntk.inspect(net, X)",
    "verdict = ntk.check('nguyen2021.eq-5', net, X, samples=64, trials=4)\nprint(verdict)",
    "ntk.empirical_ntk(net.sample(0), X).plot();",
)


def test_a_tutorial_and_what_a_kernel_shows(tmp_path, monkeypatch):
    """The tutorial's outputs are its doctest's; a result is one output without a script, or a picture."""
    pytest.importorskip("nbclient", reason="running notebooks needs nbclient")
    pytest.importorskip("ipykernel", reason="running notebooks needs ipykernel")
    page = notebooks.TUTORIALS / f"{SMALL}.md"
    notebook = notebooks.convert(page, tmp_path)
    tutorial = len(notebook["cells"])
    notebook["cells"] += [nbformat.v4.new_code_cell(source) for source in SHOWN]
    made = executed(notebook, tmp_path, monkeypatch)["cells"]
    told = [
        output["text"].strip() if "text" in output else output["data"]["text/plain"]
        for cell in made[:tutorial]
        for output in cell.get("outputs", ())
    ]
    examples = doctest.DocTestParser().get_examples(page.read_text())
    assert told == [e.want.strip() for e in examples if e.want]
    assert [len(cell["outputs"]) for cell in made[tutorial:]] == [0, 1, 1, 1]
    inspection, verdict, drawing = (cell["outputs"][0] for cell in made[tutorial + 1 :])
    assert len(json.dumps(inspection)) < 20_000
    assert "<script" not in inspection["data"]["text/html"]
    assert "outcome:" in verdict["text"]
    assert "image/png" in drawing["data"]


def executed(notebook, folder, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'src'}{os.pathsep}{ROOT}")
    return notebooks.run(notebook, folder)


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in PAGES if p.stem != SMALL], ids=lambda p: p.stem)
def test_all_tutorials_run_as_notebooks(page, tmp_path, monkeypatch):
    assert executed(notebooks.convert(page, tmp_path), tmp_path, monkeypatch)["cells"]
