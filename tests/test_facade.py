"""The facade names the public things and nothing else."""

import ast
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import ntkscope as ntk

STUB = ast.parse(Path(ntk.__file__).with_suffix(".pyi").read_text())
NAMED = [alias for node in STUB.body if isinstance(node, ast.ImportFrom) for alias in node.names]


@pytest.mark.parametrize("name", ntk.__all__)
def test_every_name_is_what_its_module_defines(name):
    found = getattr(ntk, name)
    home = getattr(found, "__module__", found.__name__)
    # lent from below the module that the stub names, never from above or from another library
    assert home.startswith("ntkscope.")
    assert found.__name__.split(".")[-1] == name


def test_all_is_sorted_and_each_name_is_said_once():
    names = [alias.name for alias in NAMED if not alias.name.startswith("_")]
    assert len(names) == len(set(names))
    assert list(ntk.__all__) == sorted(names)
    assert set(ntk.__all__) < set(dir(ntk))


def test_the_stub_gives_every_name_to_type_checkers():
    # `from x import y` alone is private to a stub
    assert [alias.name for alias in NAMED if alias.asname != alias.name] == []
    assert [node for node in STUB.body[1:] if not isinstance(node, ast.ImportFrom)] == []


def test_a_folder_of_the_same_name_does_not_hide_a_function():
    importlib.import_module("ntkscope.statements.statement")
    assert {s.paper for s in ntk.statements("nguyen2021")} == {"nguyen2021"}


def test_unknown_name_is_an_attribute_error():
    assert not hasattr(ntk, "no_such_thing")


@pytest.mark.parametrize(
    "code", ["import ntkscope", "from ntkscope.cli.main import _overview; _overview()"]
)
def test_import_and_help_do_without_torch(code):
    code += "; import sys; assert 'torch' not in sys.modules, 'torch was imported'"
    path = str(Path(ntk.__file__).parents[1])
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": path})
