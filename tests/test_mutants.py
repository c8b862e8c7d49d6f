"""The lists of wrong changes speak of the code and of tests as they are; `make mutants` runs them."""

from __future__ import annotations

import pytest

from mutants.__main__ import ROOT, read

MUTATIONS = read([])


def test_there_are_many_and_no_two_have_one_name():
    assert len(MUTATIONS) >= 362
    assert len({(m.name, m.file) for m in MUTATIONS}) == len(MUTATIONS)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.name)
def test_what_is_changed_is_there_once_and_its_tests_exist(mutation):
    assert (ROOT / mutation.file).read_text().count(mutation.old) == 1
    assert mutation.new != mutation.old
    assert mutation.tests
    for test in mutation.tests:
        path, _, name = test.partition("::")
        assert f"def {name.partition('[')[0]}(" in (ROOT / "tests" / path).read_text()
