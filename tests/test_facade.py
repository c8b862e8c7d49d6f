"""The facade names the public things and nothing else."""

import subprocess
import sys

import ntkscope as ntk


def test_all_names_exist_and_are_sorted():
    for name in ntk.__all__:
        assert getattr(ntk, name) is not None
    assert len(ntk.__all__) == len(set(ntk.__all__))
    assert set(ntk.__all__) == set(ntk._HOMES) | set(ntk._MODULES)


def test_unknown_name_is_an_attribute_error():
    assert not hasattr(ntk, "no_such_thing")


def test_import_does_not_load_torch():
    code = "import ntkscope, sys; assert 'torch' not in sys.modules, 'torch was imported'"
    subprocess.run([sys.executable, "-c", code], check=True)
