"""Pages run in one process: what one of them registers is gone when it ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import pytest

import ntkscope as ntk
import ntkscope.experiments.measures.quantities  # a table that pages may add to
from ntkscope._base.rollback import all_or_nothing


class _Ended(Exception):
    """The page is over."""


@pytest.fixture(autouse=True)
def _registries_as_they_were() -> Iterator[None]:
    ntk.statements()  # finds the papers, which is no page's doing
    with suppress(_Ended), all_or_nothing():
        yield
        raise _Ended
