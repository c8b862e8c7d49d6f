"""A registry forgets what a failed block added."""

import pytest

from ntkscope._base.registry import Registry
from ntkscope._base.rollback import all_or_nothing


def test_what_a_failing_plugin_registered_is_gone():
    table = Registry("fruit")
    table.add("apple", 1)

    def fail():
        with all_or_nothing():
            table.add("pear", 2)
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        fail()
    assert table.names() == ("apple",)
    with all_or_nothing():
        table.add("pear", 3)
    assert table.get("pear") == 3
