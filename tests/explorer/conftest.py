import pytest

import ntkscope as ntk


@pytest.fixture(scope="session")
def page():
    return ntk.explore()
