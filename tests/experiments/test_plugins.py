"""Measures of one's own, from a file that the settings name."""

import pytest
import torch

import ntkscope as ntk
from ntkscope.cli.main import main
from ntkscope.engines.engine import Engine
from ntkscope.experiments.design.trial import streams
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


OWN_NAMES = """
from dataclasses import dataclass

import torch
import ntkscope as ntk
from ntkscope.networks import register_initialization

ntk.activations.register_activation(
    "softsign_{tag}",
    lambda: ntk.activations.custom(lambda z: z / (1 + abs(z)), name="softsign_{tag}", lipschitz=1.0),
)
register_initialization("half_{tag}", lambda setting: [0.5] * (len(setting.widths) - 1), parameterization="ntk")


@dataclass(frozen=True)
class Corner(ntk.data.Distribution):
    dim: int
    lipschitz_concentration = False
    concentration_note = "only convex Lipschitz functions concentrate on the corners of a cube"

    def _draw(self, n_samples, generator):
        return 2**0.5 * torch.randint(0, 2, (n_samples, self.dim), generator=generator).double()

    def mean(self):
        return torch.full((self.dim,), 0.5**0.5, dtype=torch.float64)

    def moments(self):
        return ntk.data.Moments(norm_sq=self.dim, centered_norm_sq=self.dim / 2, centered=False)


ntk.data.register_distribution("corner_{tag}", Corner)
"""
OWN_SETTINGS = """
name = "own"
seeds = 2
data = "corner_{tag}:N=5,d=8"
grid = {{ activation = ["softsign_{tag}", "tanh"], init = ["half_{tag}", "he"] }}
measure = ["lambda_min", "trace"]
[network]
widths = [8, 9, 1]
activation = "{{activation}}"
init = "{{init}}"
parameterization = "ntk"
"""


@pytest.mark.parametrize("workers", [0, 1])
def test_activations_initializations_and_laws_of_ones_own_from_the_command_line(
    tmp_path, monkeypatch, capsys, workers
):
    """The numbers are those of the same network built by hand, from the same streams."""
    tag = f"{workers}"
    (tmp_path / f"names_{tag}.py").write_text(OWN_NAMES.format(tag=tag))
    (tmp_path / "own.toml").write_text(OWN_SETTINGS.format(tag=tag))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NTKSCOPE_PLUGINS", "")
    with pytest.raises(SystemExit) as ended:
        main(["sweep", "own.toml", "--plugin", f"names_{tag}.py", "--out", "out", "--quiet",
              "--workers", str(workers)])  # fmt: skip
    assert ended.value.code == 0, capsys.readouterr()
    assert "8 of 8 done" in capsys.readouterr().out
    sweep = Sweep.of(tmp_path / "out")
    rows = sweep.table(tmp_path / "out").records
    for trial, row in zip(sweep.trials, rows, strict=True):
        weights, drawn = streams(trial.plain, trial.seed, "weights", "data")
        X = ntk.data.load(f"corner_{tag}:N=5,d=8", seed=drawn).X
        assert set(X.unique().tolist()) == {0.0, 2**0.5}
        act, betas = row["activation"], (0.5, 0.5) if row["init"].startswith("half") else "he"
        net = ntk.Network([8, 9, 1], act, betas, parameterization="ntk")
        K = ntk.empirical_ntk(net.sample(weights), X).dense()
        assert row["trace"] == pytest.approx(float(K.trace()), rel=1e-12)
        lam = float(torch.linalg.eigvalsh(K)[0])
        assert row["lambda_min.lower"] - 1e-13 <= lam <= row["lambda_min.upper"] + 1e-13
