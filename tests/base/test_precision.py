"""float32 keeps its own precision inside, and the caller's setting comes back."""

import pytest
import torch

import ntkscope as ntk
from ntkscope._base import precision
from ntkscope._base.precision import ieee_float32

NEW = pytest.mark.skipif(not precision._places(), reason="torch 2.9 and later say formats by place")


@pytest.fixture
def allowing_bfloat16():
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision(before)


def formats():
    return [place.fp32_precision for place in precision._places()]


@NEW
@pytest.mark.usefixtures("allowing_bfloat16")
def test_no_shorter_format_inside_and_the_callers_after():
    before = formats()
    assert "bf16" in before
    with ieee_float32():
        assert set(formats()) <= {"none", "ieee"}
    assert formats() == before
    with pytest.raises(ZeroDivisionError), ieee_float32():
        raise ZeroDivisionError
    assert formats() == before


@NEW
@pytest.mark.usefixtures("allowing_bfloat16")
def test_a_models_pass_runs_without_it():
    seen = []

    class Noting(torch.nn.Linear):
        def forward(self, x):
            seen.append(set(formats()))
            return super().forward(x)

    ntk.empirical_ntk(Noting(3, 1), torch.randn(4, 3)).dense()
    assert seen
    assert set.union(*seen) <= {"none", "ieee"}
