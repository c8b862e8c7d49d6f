"""The wheel that ``make dist`` makes holds every file of the package, and runs."""

import subprocess
import sys
from pathlib import Path

import pytest

import wheel_check

HOME = Path(__file__).parent.parent


@pytest.mark.slow
def test_the_wheel_installs_and_runs(tmp_path):
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", tmp_path, HOME]
    subprocess.run(command, check=True, capture_output=True)
    assert wheel_check.main(tmp_path) == 0


def test_what_code_reads_is_asked_of_the_wheel():
    wanted = wheel_check.read_by_code()
    assert {"ntkscope/py.typed", "ntkscope/__init__.pyi"} <= wanted
    assert any(name.endswith(".html") for name in wanted)


def test_the_version_is_the_same_everywhere():
    from ntkscope._base.version import __version__

    assert f"\nversion: {__version__}\n" in (HOME / "CITATION.cff").read_text()
    assert f"\n## {__version__}" in (HOME / "CHANGELOG.md").read_text()
