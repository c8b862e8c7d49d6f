"""The kernel of a module as an object: its terms, errors, precision, and a copy on disk."""

import gc
import pickle
import weakref

import pytest
import torch
from torch import nn

import ntkscope as ntk
from ntkscope.kernels.module.holding.general_kernel import GeneralKernel
from ntkscope.kernels.module.holding.weight_block import WeightBlock
from ntkscope.kernels.module.reading.layers.layer import READERS
from oracles import module_ntk


class Mixed(nn.Module):
    """A block, Gram terms and two general parameters, in the order conv, power, scale, out."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(2, 4, 3)
        self.power = nn.Parameter(torch.full((4, 1), 2.0))
        self.scale = nn.Parameter(torch.ones(4, 1))
        self.out = nn.Linear(16, 3)

    def forward(self, x):
        hidden = torch.sigmoid(self.conv(x)) ** self.power
        return self.out(torch.where(hidden > 0, self.scale, self.scale).mul(hidden).flatten(1))


def mixed():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Mixed().double(), torch.randn(10, 2, 6, dtype=torch.float64)


def test_terms_are_the_parameters_in_order_and_have_names():
    model, X = mixed()
    K = ntk.empirical_ntk(model, X)
    assert [t.name for t in K.terms] == [name for name, _ in model.named_parameters()]
    kinds = {t.name: type(t) for t in K.terms}
    assert kinds["conv.weight"] is WeightBlock
    assert kinds["power"] is kinds["scale"] is GeneralKernel
    J = module_ntk.jacobian(model, X)
    sizes = [p.numel() for p in model.parameters()]
    for (name, _), part in zip(model.named_parameters(), J.split(sizes, dim=2), strict=True):
        expected = module_ntk.kernel(part)
        got = K.term(name).dense()
        assert float((got - expected).abs().max()) <= 1e-12 * float(expected.abs().max())
    with pytest.raises(ValueError, match="no term is called"):
        K.term("conv")


def cancelling():
    """A convolution whose positions nearly cancel: Σ_t g_t a_t is small beside Σ_t |g_t||a_t|."""
    model = nn.Sequential(nn.Conv1d(1, 1, 1, bias=False), nn.Flatten(), nn.Linear(8, 1, bias=False))
    model = model.double()
    model[2].weight.data = torch.tensor([[1.0, -1.0] * 4], dtype=torch.float64)
    model[2].weight.requires_grad_(False)
    X = torch.ones(6, 1, 8, dtype=torch.float64)
    X[:, 0, 0] += 1e-6 * torch.arange(1, 7, dtype=torch.float64)
    return model, X


def test_the_error_of_an_entry_grows_where_positions_cancel():
    model, X = cancelling()
    K = ntk.empirical_ntk(model, X, max_memory=1e9)
    block = WeightBlock(
        "w", *_held(model, X), (1, 1, 1), False, 1e6
    )  # the parameter is so small that its gradient is held: the block is made by hand
    u = 2.0**-53
    assert block.entry_error() > 1e10 * u
    assert K.entry_error() < 1e3 * u
    exact = torch.outer(*(torch.arange(1, 7, dtype=torch.float64) * 1e-6,) * 2)
    for made in (block, K):
        scale = torch.sqrt(torch.outer(exact.diagonal(), exact.diagonal()))
        # 1e-6 is stored beside 1, so the twin itself is known to u / 1e-6 only
        assert bool(((made.dense() - exact).abs() <= (made.entry_error() + 1e-9) * scale).all())
    assert block.forming_error() >= float(torch.linalg.matrix_norm(block.dense() - exact, 2)) / 2


def _held(model, X):
    from ntkscope.kernels.module.holding.weight_block import Use
    from ntkscope.kernels.module.reading.layers.convolution import Convolution

    operation = Convolution((1,), (1,), (0,), (0,), (1,), 1)
    g = model[2].weight.detach().expand(len(X), -1).reshape(len(X), 1, 1, 1, 8)
    return ((Use(operation, (X[:, None],) * 2, (g,) * 2),),)


def test_float32_gradients_read_in_float64_keep_their_error():
    model, X = mixed()
    single = ntk.empirical_ntk(model.float(), X.float(), general=True)
    double = single.to(torch.float64)
    assert double.dtype == torch.float64
    # but for the parts' sum, which is of the precision read
    assert double.entry_error() > 0.9 * single.entry_error() > 1e3 * 2.0**-53
    found = ntk.smallest_eigenvalue(single)
    exact = torch.linalg.eigvalsh(module_ntk.kernel(module_ntk.jacobian(model.double(), X)))
    assert found.lower <= float(exact[0]) <= found.upper


@pytest.mark.parametrize(
    "options", [{}, {"general": True}, {"max_memory": 1e9}, {"reduce": "full"}]
)
def test_a_kernel_survives_a_pickle(options):
    model, X = mixed()
    K = ntk.empirical_ntk(model, X, **options)
    again = pickle.loads(pickle.dumps(K))
    assert type(again) is type(K)
    assert torch.equal(again.dense(), K.dense())
    assert torch.equal(again.tile(slice(0, 3), slice(2, 5)), K.tile(slice(0, 3), slice(2, 5)))
    v = torch.ones(len(K), dtype=torch.float64)
    assert torch.allclose(again @ v, K @ v, rtol=1e-12)


@pytest.mark.parametrize("shape", [(5, 3, 6), (5, 2, 3, 6), (5, 2, 2, 2, 6)])
def test_linear_layers_on_many_axes_keep_their_bias(shape):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 4), nn.Flatten()).double()
    X = torch.randn(*shape, dtype=torch.float64)
    K = ntk.empirical_ntk(model, X)
    assert not any(isinstance(t, GeneralKernel) for t in K.terms)
    expected = module_ntk.kernel(module_ntk.jacobian(model, X))
    assert float((K.dense() - expected).abs().max()) <= 1e-12 * float(expected.abs().max())


def test_every_reader_names_its_arguments_as_torch_does():
    # a reader binds by position and by name, so its names must be torch's own, in order
    import inspect

    for function, reader in READERS.items():
        try:
            own = ["input" if p == "self" else p for p in inspect.signature(function).parameters]
        except ValueError:
            continue  # built in
        assert own[: len(reader.names)] == list(reader.names), function


def test_a_conversion_is_made_once_while_it_is_held():
    model, X = mixed()
    K = ntk.empirical_ntk(model.float(), X.float())
    held = K.to(torch.float64)

    def block(kernel):
        (found,) = kernel.term("conv.weight").parts
        return found

    assert block(K).to(torch.float64) is block(held)
    assert block(K).to(torch.float64) is not block(K)
    gone = weakref.ref(block(held))
    del held
    gc.collect()
    assert gone() is None
