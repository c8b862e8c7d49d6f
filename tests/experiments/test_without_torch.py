"""What a stored sweep holds is read without torch, and so at once."""

import subprocess
import sys

import pytest

from ntkscope.engines.engine import Engine
from ntkscope.experiments.sweep import Sweep

SETTINGS = {
    "name": "stored",
    "seeds": 2,
    "grid": {"n": [10, 20]},
    "data": "sphere:N=6,d=4",
    "network": {"widths": [4, "n", 1]},
    "plot": {"x": "n"},
}
WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None  # an import of it raises from here on
from ntkscope.cli.main import main
main(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stored")
    Sweep(SETTINGS).run(folder, Engine(workers=0))
    return folder


@pytest.mark.parametrize(
    ("command", "said"),
    [("status", "4 of 4 done, 0 waiting"), ("export", "4 rows in"), ("plot", "plot.png")],
)
def test_a_stored_sweep_is_read_without_torch(stored, command, said):
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, "sweep", command, str(stored)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert said in ended.stdout
