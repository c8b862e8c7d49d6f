"""What needs sizes alone runs without torch: its import is forbidden while it runs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import ntkscope

FORBID = """
import sys

class Forbidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ImportError("torch is forbidden here")

sys.meta_path.insert(0, Forbidden())
"""


def run(code, *arguments):
    env = {**os.environ, "PYTHONPATH": str(Path(ntkscope.__file__).parents[1])}
    command = [sys.executable, "-c", FORBID + code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=env)


CLI = "from ntkscope.cli.main import main; main(sys.argv[1:])"


@pytest.mark.parametrize(
    "arguments",
    [
        "--help",
        "hermite tanh --order 6",
        "hermite relu --order 6 --json",
        "hermite gelu --order 4",
        "predict --widths 60,inf,inf,1 --samples 1000",
        "predict --widths 60,inf,inf,1 --samples 1000 --data gaussian --activation tanh --json",
        "predict --widths 60,300,300,1 --samples 200 --activation gelu --init bombari2022",
        "predict --widths 60,300,1 --samples 200 --activation sin --over samples=100:1000",
        "predict --widths 60,300,1 --samples 200 --init banerjee2023 --parameterization ntk",
    ],
)
def test_commands(arguments):
    done = run(CLI, *arguments.split())
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_the_finder_forbids_torch():
    assert "torch is forbidden" in run("import torch").stderr


@pytest.mark.parametrize(
    "code",
    [
        "import ntkscope; repr(ntkscope.Network([5, 8, 1], 'tanh')); ntkscope.Network([5, 3, 1]).betas",
        "import numpy as np, ntkscope; ntkscope.hermite_coefficients('erf', 3, np.ones(1)).tails",
        "import ntkscope; ntkscope.predict_spectrum(ntkscope.Network([30, 60, 1]), 50).quantile(0.5)",
        "import ntkscope.data as data; data.Gaussian(3).moments(); data.distribution('cube:d=3')",
        "import numpy as np, ntkscope.activations as a\n"
        "for name in a.NAMES:\n"
        "    phi = a.activation(name)\n"
        "    z = np.linspace(-3, 3, 7)\n"
        "    phi(z), phi.derivative(z), phi.second(z), phi.at_zero, phi.slope_range",
    ],
)
def test_library(code):
    done = run(code)
    assert done.returncode == 0, done.stderr
