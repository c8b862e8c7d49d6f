"""What depends on the other samples of a batch: outputs of late samples, gradients, products."""

import pytest
import torch
from torch import nn

import ntkscope as ntk
from ntkscope.kernels.module.making import prepare
from oracles import module_ntk

WAYS = {
    "held": {},
    "in chunks": {"chunk_size": 4},
    "walked": {},
    "in panels": {"max_memory": 1e6},
}


@pytest.fixture(params=WAYS)
def way(request, monkeypatch):
    monkeypatch.setattr(prepare, "LEAST", 0.0 if request.param == "walked" else 1e18)
    return WAYS[request.param]


def draw(n, *shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, *shape, dtype=torch.float64, generator=generator)


class Capacity(nn.Module):
    """Experts that drop what comes after their ``room`` is full, without a look at a value."""

    def __init__(self, room=8, experts=4):
        super().__init__()
        self.gate, self.room, self.experts = nn.Linear(5, experts), room, experts
        self.inner = nn.Parameter(torch.randn(experts, 5, 6))
        self.outer = nn.Parameter(torch.randn(experts, 6, 3))

    def forward(self, x):
        p = self.gate(x).softmax(-1)
        chosen = (p.argmax(-1)[:, None] == torch.arange(self.experts)).long()
        kept = (((chosen.cumsum(0) * chosen).sum(-1) - 1) < self.room).to(x.dtype)
        y = torch.tanh(torch.einsum("bi,eio->beo", x, self.inner))
        y = torch.einsum("beo,eok->bek", y, self.outer)
        return (y * (chosen * p * kept[:, None])[..., None]).sum(1)


@pytest.mark.parametrize("seed", range(4))
def test_samples_that_find_no_room_are_seen(seed, monkeypatch):
    monkeypatch.setattr(prepare, "LEAST", 1e18)
    torch.manual_seed(seed)
    model, X = Capacity().double(), draw(40, 5, seed=seed)
    with pytest.raises(ValueError, match="the samples see one another: the output of sample"):
        ntk.empirical_ntk(model, X)


class OfTheBatch(torch.autograd.Function):
    """x, whose derivatives are divided by a ``size`` of the batch."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x, _):
        return x.clone()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.size = inputs[1](output)

    @staticmethod
    def backward(ctx, g):
        return g / ctx.size, None

    @staticmethod
    def jvp(ctx, t, _):
        return t / ctx.size


SIZES = {"count": len, "largest": lambda x: 1 + x.detach().abs().amax((0, 1, 2))}


class Means(nn.Module):
    """Outputs are each sample's own, and gradients are divided by something of the batch."""

    def __init__(self, size):
        super().__init__()
        self.a, self.b, self.size = nn.Linear(4, 4), nn.Linear(4, 2), size

    def forward(self, x):
        return self.b(torch.tanh(OfTheBatch.apply(self.a(x), self.size)).sum(1))


@pytest.mark.parametrize("size", SIZES)
def test_gradients_that_follow_from_the_batch_are_seen(size, way):
    model, X = Means(SIZES[size]).double(), draw(12, 3, 4)
    with pytest.raises(ValueError, match="the samples see one another: the gradients of"):
        ntk.empirical_ntk(model, X, **way).dense()


def test_products_of_such_a_model_are_of_its_samples_alone():
    torch.manual_seed(0)
    model, X = Means(len).double(), draw(12, 3, 4)
    expected = module_ntk.kernel(module_ntk.jacobian(model, X))
    K = ntk.empirical_ntk(model, X, general=True)
    V = draw(12, 2)
    assert float((K @ V - expected @ V).abs().max()) <= 1e-12 * float(expected.abs().max())


class Moved(nn.Module):
    """A pre-activation of 0 that rounding moves one way in small batches and the other way in large ones."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 2)
        with torch.no_grad():
            self.a.weight[0], self.a.bias[0] = torch.tensor([1.0, 0.0, 0.0]), -1.0

    def forward(self, x):
        return self.b(torch.relu(self.a(x) + 1e-18 * (len(x) - 6.5)))


def test_what_rounding_moves_across_a_kink_is_no_dependence():
    torch.manual_seed(0)
    model, X = Moved().double(), draw(9, 3)
    X[:, 0] = 1.0
    one, nine = (model.a(x)[:, 0] + 1e-18 * (len(x) - 6.5) for x in (X[:1], X))
    assert float(one[0]) < 0 < float(nine[0])
    K = ntk.empirical_ntk(model, X)
    assert float(K.dense().diagonal().min()) > 0


class Frequent(nn.Module):
    """The gradient of a word is divided by how often the batch has it."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(80, 12, scale_grad_by_freq=True)
        self.head = nn.Linear(12, 2)

    def forward(self, x):
        return self.head(torch.tanh(self.words(x)).sum(1))


class Hooked(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(4, 2)

    def forward(self, x):
        y = torch.tanh(self.a(x))
        if y.requires_grad:
            y.register_hook(lambda g: 3 * g)
        return self.b(torch.tanh(y).mean((2, 3)))


class Straight(torch.autograd.Function):
    """Rounds, and lets gradients pass; its forward derivative is another one."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return x.round()

    @staticmethod
    def setup_context(*_):
        pass

    @staticmethod
    def backward(_, g):
        return g

    @staticmethod
    def jvp(_, t):
        return 0 * t


class Rounded(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 2)

    def forward(self, x):
        return self.b(torch.tanh(Straight.apply(3 * self.a(x)) + self.a(x)))


PRODUCTS = {
    "frequent words": (Frequent, lambda: torch.randint(0, 6, (24, 4), generator=torch.Generator().manual_seed(0))),
    "a hook": (Hooked, lambda: draw(30, 1, 6, 6)),
    "a forward derivative of its own": (Rounded, lambda: draw(30, 4)),
}  # fmt: skip


@pytest.mark.parametrize("options", [{}, {"general": True}, {"max_memory": 1e6}])
@pytest.mark.parametrize("reduce", ["trace", "full"])
@pytest.mark.parametrize("name", PRODUCTS)
def test_products_are_those_of_the_samples_own_gradients(name, reduce, options):
    torch.manual_seed(0)
    make, data = PRODUCTS[name]
    model, X = make().double(), data()
    expected = module_ntk.kernel(module_ntk.jacobian(model, X), reduce=reduce)
    K = ntk.empirical_ntk(model, X, reduce=reduce, **options)
    V = draw(len(expected), 2)
    error = (K @ V - expected @ V).abs().max() / (expected.abs() @ V.abs()).max()
    assert float(error) <= 1e-12
