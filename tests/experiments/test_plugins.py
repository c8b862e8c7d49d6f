"""Measures of one's own, from a file that the settings name."""

import pytest

from ntkscope.engines.engine import Engine
from ntkscope.experiments.measures.quantities import quantity, quantity_names
from ntkscope.experiments.sweep import Sweep

PLUGIN = """
import torch
from ntkscope.experiments.measures.quantities import quantity

@quantity("effective_rank_{name}")
def effective_rank(instance):
    spectrum = torch.linalg.eigvalsh(instance.kernel.dense())
    return spectrum.sum() / spectrum[-1]
"""


def settings(name: str) -> dict:
    return {
        "name": "own",
        "seeds": 2,
        "plugin": [f"{name}.py"],
        "measure": ["trace", "lambda_max", f"effective_rank_{name}"],
        "data": "gaussian:N=6,d=4",
        "network": {"widths": [4, 7, 1]},
    }


@pytest.mark.parametrize("workers", [0, 1])
def test_a_quantity_of_ones_own(tmp_path, monkeypatch, workers):
    name = f"own_{workers}"
    (tmp_path / f"{name}.py").write_text(PLUGIN.format(name=name))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NTKSCOPE_PLUGINS", "")
    sweep = Sweep(settings(name))
    monkeypatch.chdir("/")  # workers start elsewhere, and so may the next command
    assert sweep.run(tmp_path / "out", Engine(workers=workers)).done == 2
    for row in Sweep.of(tmp_path / "out").table(tmp_path / "out").records:
        assert row[f"effective_rank_{name}"] == pytest.approx(row["trace"] / row["lambda_max"])


def test_a_plugin_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"none\.py"):
        Sweep(settings("none"))


def test_names_of_quantities():
    assert "lambda_min" in quantity_names()
    with pytest.raises(ValueError, match="is taken by"):
        quantity("trace")(len)
    with pytest.raises(ValueError, match="named as a column is"):
        quantity("two words")
