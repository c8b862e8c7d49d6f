"""What empirical_ntk refuses, what its self-check catches, and what must not change its result."""

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import ntkscope as ntk
from ntkscope._base.memory import NotEnoughMemoryError
from ntkscope.kernels.module.making.lazy import LazyKernel
from ntkscope.kernels.module.reading.layers.convolution import Convolution
from ntkscope.kernels.module.reading.layers.dense import Dense
from oracles import models, module_ntk

LAYERS = {
    "linear": lambda c: nn.Linear(c, c),
    "tanh": lambda _: nn.Tanh(),
    "relu": lambda _: nn.ReLU(),
    "norm": lambda c: nn.LayerNorm(c),
    "rms": lambda c: nn.RMSNorm(c),
    "prelu": lambda _: nn.PReLU(),
    "encoder": lambda c: nn.TransformerEncoderLayer(c, 2, 6, dropout=0.0, batch_first=True),
}


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.sampled_from(sorted(LAYERS)), min_size=1, max_size=4),
    st.booleans(),
    st.integers(0, 10_000),
    st.sampled_from(["trace", "full", 0]),
)
def test_nets_drawn_at_random(names, shared, seed, reduce):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        body = [LAYERS[name](4) for name in names]
        parts = [nn.Linear(3, 4), *body, *(body if shared else []), nn.Flatten(), nn.Linear(8, 2)]
        model = nn.Sequential(*parts).double().eval()
        X = torch.randn(5, 2, 3, dtype=torch.float64)
    expected = module_ntk.kernel(module_ntk.jacobian(model, X), reduce=reduce)
    scale = float(expected.abs().max())
    for general in (False, True):
        K = ntk.empirical_ntk(model, X, reduce=reduce, general=general)
        assert float((K.dense() - expected).abs().max()) <= 1e-11 * scale


def residual(dtype=torch.float64):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = models.zoo()["residual"][0].to(dtype).eval()
        return model, torch.randn(7, 1, 6, 6, dtype=dtype)


def encoder():
    with torch.random.fork_rng():
        torch.manual_seed(2)
        layer = nn.TransformerEncoderLayer(6, 2, 8, dropout=0.0, batch_first=True)
        model = nn.Sequential(layer, nn.Flatten(), nn.Linear(18, 3)).double().eval()
        return model, torch.randn(6, 3, 6, dtype=torch.float64)


@pytest.mark.parametrize("make", [residual, encoder])
@pytest.mark.parametrize("general", [False, True])
def test_chunks_memory_and_order_do_not_change_the_kernel(make, general):
    model, X = make()
    K = ntk.empirical_ntk(model, X, general=general).dense()
    scale = float(K.abs().max())
    for chunk in (1, 2, 100):
        other = ntk.empirical_ntk(model, X, chunk_size=chunk, general=general).dense()
        assert float((other - K).abs().max()) <= 1e-12 * scale
    little = ntk.empirical_ntk(model, X, max_memory=1e6, general=general)
    assert float((little.dense() - K).abs().max()) <= 1e-12 * scale
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    permuted = ntk.empirical_ntk(model, X[order], general=general).dense()
    assert float((permuted - K[order][:, order]).abs().max()) <= 1e-12 * scale


def test_a_kernel_larger_than_the_memory_is_made_in_panels():
    model, _ = residual()
    X = torch.randn(300, 1, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    whole = ntk.empirical_ntk(model, X)
    K = ntk.empirical_ntk(model, X, max_memory=2e6)
    assert isinstance(K, LazyKernel)
    assert K.panel < 300
    expected = whole.dense()
    scale = float(expected.abs().max())
    rows, cols = slice(40, 90), torch.tensor([7, 299, 3])
    assert float((K.tile(rows, cols) - expected[rows][:, cols]).abs().max()) <= 1e-12 * scale
    v = torch.linspace(-1, 1, 300, dtype=torch.float64)
    assert float((K @ v - expected @ v).abs().max()) <= 1e-12 * scale * 300
    assert float((K.dense() - expected).abs().max()) <= 1e-12 * scale
    assert K.trace() == pytest.approx(whole.trace(), rel=1e-12)
    assert K.term(2).trace() == pytest.approx(whole.term(2).trace(), rel=1e-12)
    with pytest.raises(NotEnoughMemoryError, match="max_memory"):
        ntk.empirical_ntk(model, X, max_memory=1e6).dense()


def test_float32_and_patterns_and_frozen_parameters():
    model, X = residual(torch.float32)
    single = ntk.empirical_ntk(model, X)
    assert single.dtype == torch.float32
    double = ntk.empirical_ntk(copy.deepcopy(model).double(), X.double())
    error = (single.dense().double() - double.dense()).abs().max() / double.dense().abs().max()
    assert float(error) <= 1e-5
    model = model.double()
    part = ntk.empirical_ntk(model, X.double(), params=["inner.*", "head.*"])
    names = [t.name for t in part.terms]
    assert names == ["inner.weight", "inner.bias", "head.weight", "head.bias"]
    for name, p in model.named_parameters():
        p.requires_grad_(name.startswith(("inner", "head")))
    frozen = ntk.empirical_ntk(model, X.double())
    assert torch.equal(frozen.dense(), part.dense())
    J = module_ntk.jacobian(model, X.double())
    expected = module_ntk.kernel(J)
    assert float((frozen.dense() - expected).abs().max()) <= 1e-11 * float(expected.abs().max())


def test_functions_of_parameters_and_several_inputs():
    def f(params, X):
        return torch.tanh(X @ params["first"][0]) @ params["last"]

    g = torch.Generator().manual_seed(0)
    params = {
        "first": [torch.randn(4, 6, generator=g, dtype=torch.float64)],
        "last": torch.randn(6, 2, generator=g, dtype=torch.float64),
    }
    X = torch.randn(5, 4, generator=g, dtype=torch.float64)
    K = ntk.empirical_ntk(f, X, params=params)
    assert type(K) is ntk.HadamardKernel
    assert [t.name for t in K.terms] == ["first.0", "last"]

    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(4, 3)

        def forward(self, a, b):
            return torch.tanh(self.inner(a)) * b

    model = Both().double()
    b = torch.randn(5, 3, generator=g, dtype=torch.float64)
    expected = module_ntk.kernel(module_ntk.jacobian(model, X, b))
    got = ntk.empirical_ntk(model, (X, b)).dense()
    assert float((got - expected).abs().max()) <= 1e-11 * float(expected.abs().max())


def test_the_kernel_keeps_the_parameters_it_was_made_with():
    for general in (False, True):
        model, X = residual()
        K = ntk.empirical_ntk(model, X, general=general)
        fresh = ntk.empirical_ntk(model, X, general=general).dense()
        with torch.no_grad():
            for p in model.parameters():
                p.mul_(2)
        X.zero_()
        if general:
            model.train()
            with pytest.raises(ValueError, match="eval"):
                K.dense()
        else:
            assert torch.equal(K.dense(), fresh)


@pytest.mark.parametrize("operation", [Dense, Convolution])
def test_the_self_check_names_a_sabotaged_layer(monkeypatch, operation):
    gradient, pairs = operation.gradient, operation.pairs
    monkeypatch.setattr(
        operation, "gradient", lambda s, x, g, part: 1.001 * gradient(s, x, g, part)
    )
    monkeypatch.setattr(
        operation,
        "pairs",
        lambda s, x, g: (pairs(s, x, g)[0], [1.001 * h for h in pairs(s, x, g)[1]]),
    )
    model, X = residual() if operation is Convolution else encoder()
    with pytest.raises(ntk.SelfCheckError, match="weight"):
        ntk.empirical_ntk(model, X)
    assert ntk.empirical_ntk(model, X, self_check=False) is not None


class Returns(nn.Module):
    def __init__(self, what):
        super().__init__()
        self.inner, self.what = nn.Linear(3, 2).double(), what

    def forward(self, x):
        return self.what(self.inner(x))


class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 2).double()

    def forward(self, x):
        return self.inner(x + torch.randn_like(x))


def outputs(what):
    return lambda: Returns(what)


def trained(*layers):
    return lambda: nn.Sequential(nn.Linear(3, 4), *layers).double().train()


BAD = {
    "tuple": (outputs(lambda y: (y, y)), TypeError, "returns a tuple"),
    "dict": (outputs(lambda y: {"logits": y}), TypeError, "logits"),
    "scalar": (outputs(lambda y: y.sum()), ValueError, "first axis"),
    "detached": (outputs(lambda y: y.detach()), ValueError, "autograd can follow"),
    "classes": (outputs(lambda y: y.argmax(1)), TypeError, "precision"),
    "nan": (outputs(lambda y: torch.sqrt(-y.abs() - 1)), ValueError, "NaN"),
    "centred": (outputs(lambda y: y - y.mean(0)), ValueError, "other samples"),
    "no parameters": (nn.Tanh, ValueError, "no parameters"),
    "frozen": (lambda: nn.Linear(3, 2).requires_grad_(False), ValueError, "frozen"),
    "dropout": (trained(nn.Dropout(0.5)), ValueError, "eval"),
    "noise": (Noisy, ValueError, "random"),
    "functional dropout": (outputs(lambda y: F.dropout(y, 0.5)), ValueError, "random"),
    "batch norm": (trained(nn.BatchNorm1d(4)), ValueError, "GroupNorm"),
    "functional batch norm": (
        outputs(lambda y: F.batch_norm(y, None, None, training=True)), ValueError, "GroupNorm",
    ),
    "half": (lambda: nn.Linear(3, 2).half(), TypeError, "double"),
    "complex": (lambda: nn.Linear(3, 2).to(torch.complex128), TypeError, "real"),
    "mixed": (lambda: nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1).double()), TypeError, "precis"),
    "lazy": (lambda: nn.LazyLinear(2), ValueError, "no shape"),
    "wrong width": (lambda: nn.Linear(4, 2).double(), ValueError, "does not run"),
    "two inputs": (lambda: nn.Bilinear(3, 3, 2).double(), ValueError, "tuple"),
    "no model": (lambda: 3, TypeError, "nn.Module or a function"),
    "no params": (lambda: torch.matmul, TypeError, "give its parameters"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_models_are_said(name):
    make, error, words = BAD[name]
    X = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    state = torch.get_rng_state()
    model = make()
    before = torch.get_rng_state()
    with pytest.raises(error, match=words):
        ntk.empirical_ntk(model, X)
    assert torch.equal(torch.get_rng_state(), before)
    torch.set_rng_state(state)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"reduce": "trce"}, ValueError, "did you mean 'trace'"),
        ({"reduce": 2}, ValueError, "names no output"),
        ({"reduce": 1.5}, TypeError, "reduce"),
        ({"params": "wieght"}, ValueError, "did you mean 'weight'"),
        ({"params": [3]}, TypeError, "patterns"),
        ({"max_memory": 10}, ValueError, "at least"),
        ({"chunk_size": 0}, ValueError, "at least 1"),
    ],
)
def test_bad_options_are_said(options, error, words):
    from ntkscope.kernels.empirical import prepare
    from ntkscope.kernels.prepared import Options

    reduce = options.pop("reduce", "trace")
    try:
        with pytest.raises(error, match=words):
            prepare(nn.Linear(3, 2).double(), torch.ones(4, 3).double(), Options(**options)).kernel(
                reduce
            )
    except Exception as found:  # jaxtyping checks types first where it is on
        if "TypeCheckError" not in type(found).__name__:
            raise


def test_bad_data_are_said():
    model = nn.Linear(3, 2)
    with pytest.raises(ValueError, match="float64 and the model float32"):
        ntk.empirical_ntk(model, torch.ones(4, 3).double())
    with pytest.raises(ValueError, match="NaN"):
        ntk.empirical_ntk(model, torch.full((4, 3), float("nan")))
    with pytest.raises(ValueError, match="no samples"):
        ntk.empirical_ntk(model, torch.ones(0, 3))
    with pytest.raises(ValueError, match="different numbers"):
        ntk.empirical_ntk(model, (torch.ones(4, 3), torch.ones(3, 3)))


def test_one_sample_and_equal_samples():
    model, X = encoder()
    for few in (X[:1], X[:1].repeat(4, 1, 1)):
        expected = module_ntk.kernel(module_ntk.jacobian(model, few))
        got = ntk.empirical_ntk(model, few).dense()
        assert float((got - expected).abs().max()) <= 1e-11 * float(expected.abs().max())


def test_an_mlp_has_a_kernel_for_each_output():
    model = ntk.Network([4, 6, 3], "tanh", "lecun", bias_std=0.5).sample(0)
    X = ntk.data.gaussian(n_samples=5, dim=4, seed=1)
    kernels = ntk.empirical_ntk(model, X, reduce="diagonal")
    assert isinstance(kernels, ntk.OutputKernels)
    assert kernels.shape == (5, 5, 3)
    expected = module_ntk.kernel(module_ntk.jacobian(model, X), reduce="diagonal")
    assert float((kernels.dense() - expected).abs().max()) <= 1e-12 * float(expected.abs().max())
    general = ntk.empirical_ntk(model, X, reduce="diagonal", general=True).dense()
    assert float((general - expected).abs().max()) <= 1e-12 * float(expected.abs().max())
