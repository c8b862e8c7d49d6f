"""What depends on the other samples of a batch: outputs of late samples, gradients, products."""

import weakref

import pytest
import torch
from torch import nn

import ntkscope as ntk
from ntkscope.kernels.module.holding.general import General
from ntkscope.kernels.module.making import batching, collect, invariant, prepare
from ntkscope.kernels.module.making.lazy import LazyKernel
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


class Uneven(nn.Linear):
    """Its rounding, of 30 units in the last place, follows the size of the batch."""

    def forward(self, x):
        y = super().forward(x)
        generator = torch.Generator().manual_seed(len(x))
        noise = torch.rand(y.shape[1:], generator=generator) - 0.5
        return y + 60 * torch.finfo(y.dtype).eps * noise.to(y)


class Rows(nn.Module):
    def forward(self, x):
        return x.mean(1)


def uneven(*first):
    layers = [Uneven(16, 64), nn.ReLU(), Uneven(64, 64), nn.ReLU(), Uneven(64, 64), nn.ReLU()]
    return nn.Sequential(*first, *layers, Rows(), nn.Linear(64, 1))


def test_units_that_single_precision_moves_across_kinks_are_no_dependence(monkeypatch):
    asked = []
    plain = invariant.require_no_others
    monkeypatch.setattr(invariant, "require_no_others", lambda *a: asked.append(1) or plain(*a))
    for seed in range(3):
        torch.manual_seed(seed)
        ntk.empirical_ntk(uneven(), torch.randn(40, 100, 16))
    assert asked == []


class Logged(nn.Module):
    def forward(self, x):
        return torch.log1p(x)


class Worded(nn.Module):
    """A column of a float tensor holds words."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(5, 4)

    def forward(self, x):
        return torch.cat([x[..., 1:], self.words(x[..., 0].long())], -1)


@pytest.mark.parametrize("first", ["log of counts", "words beside numbers"])
def test_points_where_the_model_does_not_run_say_nothing(first, monkeypatch):
    monkeypatch.setattr(invariant, "KINKS", 0.0)  # so that the second look is taken
    torch.manual_seed(0)
    X = torch.poisson(torch.full((20, 10, 16), 2.0)).clamp(max=4)
    model = uneven(Logged())
    if first != "log of counts":
        model, X = uneven(Worded()), X[..., :13]
    ntk.empirical_ntk(model, X)


def test_sums_of_many_batches_take_no_more_room_than_one(monkeypatch):
    most, live = [0], []

    class Counted(batching.Totals):
        def add(self, part):
            live.append(weakref.ref(next(iter(part.values()))))
            super().add(part)
            most[0] = max(most[0], sum(one() is not None for one in live))

    monkeypatch.setattr(invariant, "Totals", Counted)
    torch.manual_seed(0)
    ntk.empirical_ntk(Rounded().double(), draw(60, 4), chunk_size=4)
    assert len(live) == 30
    assert most[0] <= 3


def test_products_are_checked_once_for_a_kernel_its_terms_and_its_transpose(monkeypatch):
    asked, plain = [], General._agree
    monkeypatch.setattr(General, "_agree", lambda *a: asked.append(1) or plain(*a))
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(300, 300), nn.Tanh(), nn.Linear(300, 2)).double()
    K = ntk.empirical_ntk(model, draw(200, 300), draw(150, 300, seed=1), max_memory=2e6)
    assert type(K) is LazyKernel
    for _ in range(2):
        for kernel in (K, *K.terms):
            kernel @ torch.ones(150, 1).double()
            kernel.T @ torch.ones(200, 1).double()
    assert len(asked) == 2


def test_a_panel_is_checked_once(monkeypatch):
    asked, plain = [], collect.require_own_gradients
    monkeypatch.setattr(collect, "require_own_gradients", lambda *a: asked.append(1) or plain(*a))
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(300, 300), nn.Tanh(), nn.Linear(300, 2)).double()
    K = ntk.empirical_ntk(model, draw(300, 300), max_memory=2e6)
    panels = -(-300 // K.panel)
    assert panels > 2
    asked.clear()
    K.dense()
    assert len(asked) == panels
    asked.clear()
    K.tile(slice(0, 300), slice(0, 300))
    assert len(asked) == 2 * panels


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


@pytest.mark.parametrize("count", [2, 3])
def test_few_samples_are_seen_beside_themselves(count, way):
    with pytest.raises(ValueError, match="the samples see one another: the gradients of"):
        ntk.empirical_ntk(Means(len).double(), draw(count, 3, 4), **way).dense()
