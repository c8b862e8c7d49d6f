"""Modules whose passes depend on the data, or whose gradients take a way of their own.

Every one, on both ways, has the kernel that one backward pass a sample on the module itself gives,
or is refused.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import ntkscope as ntk
from oracles import module_ntk

D, EXPERTS, SAMPLES = 5, 4, 30
TOLERANCE = 1e-12  # of the kernel's largest entry, float64


def experts(count=EXPERTS, width=D):
    return nn.ModuleList(
        nn.Sequential(nn.Linear(width, 6), nn.Tanh(), nn.Linear(6, width)) for _ in range(count)
    )


class Mixture(nn.Module):
    """Experts chosen by a gate; ``route(self, x, chosen, weights)`` says how they are applied."""

    def __init__(self, route, top=1):
        super().__init__()
        self.gate, self.experts, self.head = nn.Linear(D, EXPERTS), experts(), nn.Linear(D, 2)
        self.route, self.top = route, top

    def forward(self, x):
        weights, chosen = self.gate(x).softmax(-1).topk(self.top, dim=-1)
        return self.head(torch.tanh(self.route(self, x, chosen, weights)))


def by_where(self, x, chosen, weights):
    y = torch.zeros_like(x)
    for e, expert in enumerate(self.experts):
        rows, slot = torch.where(chosen == e)
        if len(rows):
            y = y.index_add(0, rows, weights[rows, slot, None] * expert(x[rows]))
    return y


def by_where_empty_too(self, x, chosen, weights):
    y = torch.zeros_like(x)
    for e, expert in enumerate(self.experts):
        rows, slot = torch.where(chosen == e)
        y.index_add_(0, rows, weights[rows, slot, None] * expert(x[rows]))
    return y


def by_mask(self, x, chosen, weights):
    y = torch.zeros_like(x)
    for e, expert in enumerate(self.experts):
        hit = (chosen == e).any(-1)
        weight = (weights * (chosen == e)).sum(-1)
        if hit.sum() > 0:
            y[hit] = y[hit] + weight[hit, None] * expert(x[hit])
    return y


def by_mask_without_asking(self, x, chosen, weights):
    y = torch.zeros_like(x)
    for e, expert in enumerate(self.experts):
        hit = (chosen == e).any(-1)
        part = x[hit]
        if part.shape[0]:
            weight = (weights * (chosen == e)).sum(-1)[hit, None]
            y = y.masked_scatter(hit[:, None], y[hit] + weight * expert(part))
    return y


def by_masked_select(self, x, chosen, weights):
    y = torch.zeros_like(x)
    for e, expert in enumerate(self.experts):
        hit = (chosen == e).any(-1, keepdim=True).expand_as(x)
        part = x.masked_select(hit).reshape(-1, D)
        if len(part):
            weight = (weights * (chosen == e)).sum(-1, keepdim=True)
            y = y + weight * torch.zeros_like(x).masked_scatter(hit, expert(part))
    return y


def by_argwhere(self, x, chosen, weights):
    y = torch.zeros_like(x)
    for e, expert in enumerate(self.experts):
        at = torch.argwhere(chosen == e)
        if at.numel():
            y = y.index_add(0, at[:, 0], weights[at[:, 0], at[:, 1], None] * expert(x[at[:, 0]]))
    return y


def by_unique(self, x, chosen, weights):
    y = torch.zeros_like(x)
    for e in torch.unique(chosen):
        part = self.experts[int(e)](x)
        y = y + part * (weights * (chosen == e)).sum(-1, keepdim=True)
    return y


def by_numpy(self, x, chosen, weights):
    import numpy as np

    y = torch.zeros_like(x)
    for e, expert in enumerate(self.experts):
        rows, slot = np.nonzero(np.asarray(chosen) == e)
        if len(rows):
            at = torch.as_tensor(rows)
            y = y.index_add(0, at, weights[at, torch.as_tensor(slot), None] * expert(x[at]))
    return y


def by_sorting(self, x, chosen, weights):
    order = chosen[:, 0].argsort()
    sizes = torch.bincount(chosen[:, 0], minlength=EXPERTS).tolist()
    parts = x[order].split(sizes)
    y = torch.cat([f(p) if len(p) else p for f, p in zip(self.experts, parts, strict=True)])
    return y[order.argsort()] * weights[:, :1]


def by_one_hot(self, x, chosen, weights):
    gates = (F.one_hot(chosen, EXPERTS) * weights[..., None]).sum(1)
    return torch.stack([f(x) for f in self.experts], 1).mul(gates[..., None]).sum(1)


@torch.jit.script
def scripted(x, w, hit):
    if bool(hit.any()):
        return x + hit[:, None] * torch.tanh(x @ w)
    return x


def by_script(self, x, chosen, weights):
    for e, expert in enumerate(self.experts):
        x = scripted(x, expert[0].weight[:D].t(), (chosen == e).any(-1))
    return x * weights.sum(-1, keepdim=True)


ROUTES = [
    by_where, by_where_empty_too, by_mask, by_mask_without_asking, by_masked_select, by_argwhere,
    by_unique, by_numpy, by_sorting, by_one_hot, by_script,
]  # fmt: skip


def made(make, seed, *shape):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make().double().eval(), torch.randn(*shape, dtype=torch.float64)


def deviation(K, expected):
    return float((K.dense() - expected).abs().max() / expected.abs().max())


def exact_or_refused(model, X, general, refusal=None):
    """The kernel deviates by rounding alone, or ``refusal`` is what is said."""
    expected = module_ntk.kernel(module_ntk.jacobian(model, X))
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    objects = dict(model.named_parameters())
    if refusal is not None:
        with pytest.raises(ValueError, match=refusal):
            ntk.empirical_ntk(model, X, general=general)
    else:
        assert deviation(ntk.empirical_ntk(model, X, general=general), expected) <= TOLERANCE
    for name, p in model.named_parameters():
        assert p is objects[name]
        assert torch.equal(p, before[name])
        assert p.grad is None


@pytest.mark.parametrize("general", [False, True])
@pytest.mark.parametrize("top", [1, 2])
@pytest.mark.parametrize("route", ROUTES)
def test_mixtures_of_experts(route, top, general):
    for seed in range(4):
        model, X = made(lambda: Mixture(route, top), seed, SAMPLES, D)
        exact_or_refused(model, X, general)


@pytest.mark.parametrize("general", [False, True])
def test_experts_for_tokens(general):
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.mixture = Mixture(by_where, 2)

        def forward(self, x):
            return self.mixture(x.flatten(0, 1)).unflatten(0, x.shape[:2]).mean(1)

    for seed in range(3):
        exact_or_refused(*made(Tokens, seed, SAMPLES, 2, D), general)


class Rare(nn.Module):
    def __init__(self, branch):
        super().__init__()
        self.a, self.rare, self.branch = nn.Linear(D, 3), nn.Linear(D, 3), branch

    def forward(self, x):
        return self.branch(self, x, self.a(x))


def rare_rows(self, x, y):
    i = torch.where(x[:, 0] > 1)[0]
    return y.index_add(0, i, self.rare(x[i])) if len(i) else y


def rare_whole(self, x, y):
    hit = x[:, :1] > 1
    return y + hit * self.rare(x) if hit.any() else y


def rare_only(self, x, y):
    hit = x[:, :1] > 1
    return torch.where(hit, self.rare(x), y.detach()) if hit.any() else y.detach()


@pytest.mark.parametrize("general", [False, True])
@pytest.mark.parametrize("branch", [rare_rows, rare_whole, rare_only])
def test_a_branch_that_the_first_samples_do_not_reach(branch, general):
    for seed in range(8):
        model, X = made(lambda: Rare(branch), seed, SAMPLES, D)
        X = X[X[:, 0].argsort()]
        assert bool((X[:, 0] > 1).any())
        exact_or_refused(model, X, general)
        expected = module_ntk.kernel(
            module_ntk.jacobian(model, X[:5]), module_ntk.jacobian(model, X)
        )
        cross = ntk.empirical_ntk(model, X[:5], X, general=general)
        assert float((cross.dense() - expected).abs().max()) <= TOLERANCE * float(
            expected.abs().max()
        )
        part = ntk.empirical_ntk(model, X, params=["rare.*"], general=general, max_memory=1e6)
        model.a.requires_grad_(False)
        expected = module_ntk.kernel(module_ntk.jacobian(model, X))
        assert deviation(part, expected) <= TOLERANCE


def test_parameters_that_no_sample_reaches_are_refused_or_left_out():
    model, X = made(lambda: Rare(rare_rows), 0, SAMPLES, D)
    X[:, 0] = -1
    exact_or_refused(model, X, False)
    with pytest.raises(ValueError, match=r"depend|use"):
        ntk.empirical_ntk(model, X, params=["rare.*"])


class Permuted(nn.Module):
    """Reads no value: the samples are sorted inside, and the first are sorted already."""

    def __init__(self):
        super().__init__()
        self.inner, self.last = nn.Linear(D, 4), nn.Linear(4, 2)

    def forward(self, x):
        order = x[:, 0].argsort()
        return self.last(torch.tanh(self.inner(x[order])))[order.argsort()]


@pytest.mark.parametrize("reduce", ["trace", "full", 1])
def test_samples_that_a_pass_sorts(reduce):
    model, X = made(Permuted, 0, 200, D)
    X[:, 0] = torch.arange(200.0)
    X[[150, 151]] = X[[151, 150]]  # two of them change places
    with pytest.raises(ntk.SelfCheckError, match="inner"):
        ntk.empirical_ntk(model, X, reduce=reduce)
    expected = module_ntk.kernel(module_ntk.jacobian(model, X), reduce=reduce)
    assert (
        deviation(ntk.empirical_ntk(model, X, reduce=reduce, general=True), expected) <= TOLERANCE
    )


class Replayed(torch.autograd.Function):
    """As torchdiffeq's adjoint: the backward pass runs the module again, at its parameters."""

    @staticmethod
    def forward(ctx, module, x, *parameters):
        ctx.module = module
        ctx.save_for_backward(x, *parameters)
        with torch.no_grad():
            return module(x)

    @staticmethod
    def backward(ctx, signal):
        x, *parameters = ctx.saved_tensors
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            y = ctx.module(x)
            found = torch.autograd.grad(y, [x, *parameters], signal, allow_unused=True)
        return None, *found


class Adjoint(nn.Module):
    def __init__(self, kept=False, alone=False):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(D, 6), nn.Tanh(), nn.Linear(6, D))
        self.head = nn.Linear(D, 2)
        self.alone = alone
        self.kept = tuple(self.inner.parameters()) if kept else None  # the objects of today

    def forward(self, x):
        y = Replayed.apply(self.inner, x, *(self.kept or self.inner.parameters()))
        return y if self.alone else self.head(torch.tanh(y))


class Weighted(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x, w):
        return x @ w.t()

    @staticmethod
    def setup_context(ctx, inputs, output):
        del output
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, signal):
        x, w = ctx.saved_tensors
        return signal @ w, signal.t() @ x


class Inside(nn.Module):
    """A function with the parameter among its inputs, and a closure over a parameter."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(D, 4), nn.Linear(4, 2)
        weight = self.second.weight
        self.last = lambda x: F.linear(x, weight)

    def forward(self, x):
        y = torch.tanh(Weighted.apply(x, self.first.weight) + self.first.bias)
        return self.last(y) + self.second(torch.sin(y))


class Checkpointed(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(D, 6), nn.Tanh(), nn.Linear(6, D))
        self.head = nn.Linear(D, 2)

    def forward(self, x):
        return self.head(torch.utils.checkpoint.checkpoint(self.inner, x, use_reentrant=False))


GRADIENTS = {
    "adjoint": Adjoint,
    "adjoint of kept parameters": lambda: Adjoint(kept=True),
    "adjoint alone": lambda: Adjoint(alone=True),
    "function and closure": Inside,
    "checkpoint": Checkpointed,
}


@pytest.mark.parametrize("general", [False, True])
@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_that_take_their_own_way(name, general):
    for seed in range(3):
        model, X = made(GRADIENTS[name], seed, 12, D)
        exact_or_refused(model, X, general)
        K = ntk.empirical_ntk(model, X, general=general, max_memory=1e6)
        expected = module_ntk.kernel(module_ntk.jacobian(model, X))
        assert deviation(K, expected) <= TOLERANCE
        v = torch.linspace(-1, 1, 12, dtype=torch.float64)
        product = expected @ v
        assert float((K @ v - product).abs().max()) <= 1e-11 * float(product.abs().max())


@pytest.mark.parametrize("general", [False, True])
def test_kernels_of_moved_parameters_are_those_they_were_made_with(general):
    model, X = made(lambda: Adjoint(kept=True), 0, 12, D)
    expected = module_ntk.kernel(module_ntk.jacobian(model, X))
    K = ntk.empirical_ntk(model, X, general=general)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(2)
    moved = {n: p.detach().clone() for n, p in model.named_parameters()}
    assert deviation(K, expected) <= TOLERANCE
    assert all(torch.equal(p, moved[n]) for n, p in model.named_parameters())


def test_a_module_registered_twice_stays_as_it_was():
    inner = nn.Linear(D, D)
    model = nn.Sequential(inner, nn.Tanh(), inner, nn.Linear(D, 2)).double()
    X = torch.randn(8, D, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for general in (False, True):
        exact_or_refused(model, X, general)
    assert isinstance(inner.weight, nn.Parameter)


class Observed(nn.Module):
    def __init__(self, write):
        super().__init__()
        self.inner, self.write = nn.Linear(D, 2), write
        self.register_buffer("seen", torch.ones(()))

    def forward(self, x):
        y = self.inner(x)
        self.write(self, y.detach())
        return y


WRITES = {
    "in place": lambda m, y: m.seen.copy_(y.abs().max()),
    "past the counter": lambda m, y: m.seen.data.copy_(y.abs().max()),
    "by numpy": lambda m, y: m.seen.numpy().fill(float(y.abs().max())),
}


@pytest.mark.parametrize("general", [False, True])
@pytest.mark.parametrize("name", WRITES)
def test_a_pass_that_changes_a_buffer_is_refused(name, general):
    model, X = made(lambda: Observed(WRITES[name]), 0, 8, D)
    exact_or_refused(model, X, general, refusal="changes the buffer 'seen'")


@pytest.mark.parametrize("general", [False, True])
def test_fake_quantisation_that_observes_is_refused(general):
    from torch.ao import quantization

    def make():
        return nn.Sequential(
            nn.Linear(D, 4), quantization.FusedMovingAvgObsFakeQuantize(), nn.Linear(4, 2)
        )

    model, X = made(make, 0, 8, D)
    model, X = model.float(), X.float()  # the operation takes no other precision
    with pytest.raises(ValueError, match=r"changes the buffer '1\."):
        ntk.empirical_ntk(model, X, general=general)
