"""Every layer alone, and shared weights, against one gradient per row of plain autograd."""

import pickle

import pytest
import torch

import ntkscope as ntk
from oracles import models, module_ntk

NAMES = list(models.zoo())


def agree(K, expected, reduce, tolerance=1e-11):
    """Relative to √(K_ii K_jj), or for a cross kernel to the largest entry."""
    assert K.shape == expected.shape
    scale = float(expected.abs().max())
    assert float((K - expected).abs().max()) <= tolerance * scale, reduce


@pytest.fixture
def double():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(before)


def make(name):
    model, draw = models.zoo()[name]
    return model.eval(), draw


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("name", NAMES)
def test_layer_equals_plain_autograd(name):
    model, draw = make(name)
    X, X2 = draw(6), draw(4)
    J, J2 = module_ntk.jacobian(model, X), module_ntk.jacobian(model, X2)
    for reduce in ("trace", "full", "diagonal", 0):
        expected = module_ntk.kernel(J, reduce=reduce)
        K = ntk.empirical_ntk(model, X, reduce=reduce)
        agree(K.dense(), expected, reduce)
        agree(
            ntk.empirical_ntk(model, X, X2, reduce=reduce).dense(),
            module_ntk.kernel(J, J2, reduce),
            reduce,
        )
        if reduce == "diagonal":
            agree(K.diagonal(), torch.einsum("ncp,ncp->nc", J, J), reduce)
            continue
        N = len(expected)
        agree(K.diagonal(), expected.diagonal(), reduce)
        agree(K @ torch.eye(N), expected, reduce)
        agree(K @ torch.ones(N), expected.sum(1), reduce)
        agree(K.tile(slice(1, 5), torch.tensor([4, 0])), expected[1:5][:, [4, 0]], reduce)
        agree(sum(K.term(i).dense() for i in range(len(K.terms))), expected, reduce)
        assert torch.equal(K.dense(), K.dense().T)
        assert float((K.dense() - expected).abs().max()) <= K.forming_error() + 1e-12 * K.trace()


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("name", NAMES)
def test_general_way_agrees(name):
    model, draw = make(name)
    X, X2 = draw(5), draw(3)
    J, J2 = module_ntk.jacobian(model, X), module_ntk.jacobian(model, X2)
    for reduce in ("trace", "full"):
        K = ntk.empirical_ntk(model, X, reduce=reduce, general=True)
        expected = module_ntk.kernel(J, reduce=reduce)
        agree(K @ torch.eye(len(expected)), expected, reduce)  # vjp and jvp: before K is formed
        agree(K.diagonal(), expected.diagonal(), reduce)
        agree(K.tile(slice(0, 2), slice(1, 4)), expected[:2, 1:4], reduce)
        agree(K.dense(), expected, reduce)
        cross = ntk.empirical_ntk(model, X, X2, reduce=reduce, general=True)
        agree(cross.dense(), module_ntk.kernel(J, J2, reduce), reduce)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("name", ["weight-norm", "orthogonal", "continuous-bias"])
def test_what_parameters_make_travels_and_changes_precision(name):
    model, draw = make(name)
    X = draw(5)
    K = ntk.empirical_ntk(model, X)
    assert K.forming_error() > 0  # keeps a norm, which must not stand in the way
    held = pickle.loads(pickle.dumps(K))
    assert torch.equal(held.dense(), K.dense())
    fresh = ntk.empirical_ntk(model, X).to(torch.float32)
    assert torch.allclose(fresh.dense().double(), K.dense(), rtol=1e-4, atol=1e-5)


STRUCTURED = set(NAMES) - {
    "conv-transpose", "bilinear", "packed", "gather", "branching", "general-beside-bias",
}  # fmt: skip


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("name", sorted(STRUCTURED))
def test_layer_has_a_structured_form(name):
    model, draw = make(name)
    plan = ntk.plan_kernel(model, draw(6))
    assert [(row.name, row.way) for row in plan.rows if row.way.startswith("general")] == []


@pytest.mark.usefixtures("double")
def test_plain_nets_give_a_plain_hadamard_kernel():
    model = torch.nn.Sequential(
        torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.LayerNorm(8), torch.nn.Linear(8, 2)
    )
    K = ntk.empirical_ntk(model, torch.randn(6, 4))
    assert type(K) is ntk.HadamardKernel
    assert [t.name for t in K.terms] == [n for n, _ in model.named_parameters()]
    assert ntk.smallest_eigenvalue(K).lower > 0
