"""Passes that read values, indices that no sample changes, precision inside: what stays structured, what is said."""

import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import ntkscope as ntk
from oracles import module_ntk

D, N = 4, 40


class Asks(nn.Module):
    """Two layers, and a question between them."""

    def __init__(self, ask):
        super().__init__()
        self.first, self.second, self.rare, self.ask = (
            nn.Linear(D, 5),
            nn.Linear(5, 2),
            nn.Linear(D, 5),
            ask,
        )

    def forward(self, x):
        return self.second(torch.tanh(self.ask(self, x, self.first(x))))


def made(ask, seed=0, n=N):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Asks(ask).double().eval(), torch.randn(n, D, dtype=torch.float64)


def close(K, model, X):
    expected = module_ntk.kernel(module_ntk.jacobian(model, X))
    return float((K.dense() - expected).abs().max()) <= 1e-12 * float(expected.abs().max())


def general(model, X):
    return {r.name for r in ntk.plan_kernel(model, X).rows if r.way.startswith("general")}


def harmless(_, x, y):
    return y if bool((x < 100).all()) else y * 2


def sometimes(self, x, y):
    """Another layer for the samples beyond a bound, which the first ones are not."""
    hit = x[:, :1] > 1
    return torch.where(hit, self.rare(x), y) if hit.any() else y


def twice(self, x, y):
    """The first layer once more where some sample is beyond a bound."""
    hit = x[:, :1] > 1
    return y + hit * torch.sin(self.first(x.cos())) if hit.any() else y


def of_the_batch(_, x, y):
    return y * 2 if bool((x[:, 0] > 2).any()) else y


def detached_by_others(_, x, y):
    """The same outputs alone and beside others, and other gradients."""
    hit = x[:, :1] > 1
    return torch.where(hit, y, y.detach()) if hit.any() else y


def test_a_question_in_one_place_leaves_every_parameter_structured():
    model, X = made(harmless)
    model.rare.requires_grad_(False)
    assert general(model, X) == set()
    for options in ({}, {"self_check": False}, {"chunk_size": 3}, {"max_memory": 1e6}):
        assert close(ntk.empirical_ntk(model, X, **options), model, X)
    assert close(ntk.empirical_ntk(model, X[:1]), model, X[:1])


@pytest.mark.parametrize("ask", [sometimes, twice])
@pytest.mark.parametrize(
    "options", [{}, {"chunk_size": 3}, {"max_memory": 1e6}, {"self_check": False}]
)
def test_what_some_samples_use_otherwise_goes_the_general_way(ask, options):
    for seed in range(3):
        model, X = made(ask, seed)
        X = X[X[:, 0].argsort()]  # the first ones do not reach it
        K = ntk.empirical_ntk(model, X, **options)
        assert close(K, model, X)
        assert {"first.weight", "second.weight"} <= {t.name for t in K.terms}


@pytest.mark.parametrize("options", [{}, {"chunk_size": 3}, {"self_check": False}])
def test_a_question_about_the_batch_is_refused(options):
    model, X = made(of_the_batch)
    X[:, 0] = -1
    X[-1, 0] = 3  # one sample, of the last chunk
    with pytest.raises(ValueError, match="other samples"):
        ntk.empirical_ntk(model, X, **options)


def test_gradients_that_follow_from_the_others_are_not_taken():
    for seed in range(4):
        model, X = made(detached_by_others, seed)
        X = X[X[:, 0].argsort()]
        assert bool((X[:, 0] > 1).any())
        with pytest.raises(ntk.SelfCheckError, match="general=True"):
            ntk.empirical_ntk(model, X)
        assert close(ntk.empirical_ntk(model, X, general=True), model, X)


class Table(nn.Module):
    """Rows of a table by numbers that come from the sizes alone, or not."""

    def __init__(self, rows):
        super().__init__()
        self.places, self.inner, self.rows = nn.Embedding(30, D), nn.Linear(D, 3), rows

    def forward(self, x):
        return self.inner(torch.tanh(x + self.rows(self.places, x))).mean(1)


INDICES = {
    "by arange": lambda table, x: table(torch.arange(x.shape[1])),
    "by a row of arange": lambda table, x: table(torch.arange(x.shape[1])[None]),
    "the same rows twice": lambda table, x: table(torch.arange(x.shape[1]) // 2),
    "by getitem": lambda table, x: table.weight[torch.arange(x.shape[1])],
    "by index_select": lambda table, x: table.weight.index_select(0, torch.arange(x.shape[1])),
    "by a slice": lambda table, x: table.weight[: x.shape[1]],
    "in two parts": lambda table, x: (
        torch.cat([p[: x.shape[1] // 2] for p in table.weight.chunk(2)], 0)
        + table.weight[: x.shape[1]]
    ),
    "from the samples": lambda table, x: table((x[..., 0] > 0).long()),
}


@pytest.mark.parametrize("tokens", [2, 4, 6])
@pytest.mark.parametrize("name", INDICES)
def test_rows_of_a_table(name, tokens):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, X = Table(INDICES[name]).double(), torch.randn(6, tokens, D, dtype=torch.float64)
    for reduce in ("trace", "full"):
        expected = module_ntk.kernel(module_ntk.jacobian(model, X), reduce=reduce)
        K = ntk.empirical_ntk(model, X, reduce=reduce)
        assert float((K.dense() - expected).abs().max()) <= 1e-12 * float(expected.abs().max())
    if name != "in two parts":  # ``cat`` is no view
        assert general(model, X) == set()


class Rounds(nn.Module):
    def __init__(self, dtype):
        super().__init__()
        self.inner, self.head, self.dtype = nn.Linear(D, 5), nn.Linear(5, 2), dtype

    def forward(self, x):
        return self.head(torch.tanh(self.inner(x).to(self.dtype)).double())


def test_float32_inside_float64_is_said_and_allowed_for():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, X = Rounds(torch.float32).double(), torch.randn(9, D, dtype=torch.float64)
    with pytest.warns(UserWarning, match=r"Rounds rounds to torch\.float32"):
        K = ntk.empirical_ntk(model, X)
    expected = module_ntk.kernel(module_ntk.jacobian(model, X))
    assert float((K.dense() - expected).abs().max()) <= 1e-6 * float(expected.abs().max())
    exact = Rounds(torch.float64).double()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ntk.empirical_ntk(exact, X)


@pytest.mark.parametrize("generally", [False, True])
def test_half_precision_inside_is_refused(generally):
    model, X = Rounds(torch.bfloat16).double(), torch.randn(9, D, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"Rounds rounds to torch\.bfloat16"):
        ntk.empirical_ntk(model, X, general=generally)


class Steps(nn.Module):
    """One layer used at every step: its uses are contracted at once."""

    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.Linear(D, D), nn.Linear(D, 2)

    def forward(self, x):
        h = torch.zeros_like(x[:, 0])
        for t in range(x.shape[1]):
            h = torch.tanh(self.inner(h) + x[:, t])
        return self.head(h) + F.linear(h, self.inner.weight[:2])


def test_uses_of_one_layer_are_one_product():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, X = Steps().double(), torch.randn(7, 3, D, dtype=torch.float64)
    for reduce in ("trace", "full", 1):
        expected = module_ntk.kernel(module_ntk.jacobian(model, X), reduce=reduce)
        K = ntk.empirical_ntk(model, X, reduce=reduce)
        assert float((K.dense() - expected).abs().max()) <= 1e-12 * float(expected.abs().max())
        few = ntk.empirical_ntk(model, X[:3], X, reduce=reduce)
        rows = len(few.dense())
        assert float((few.dense() - expected[:rows]).abs().max()) <= 1e-12 * float(
            expected.abs().max()
        )
    assert general(model, X) == set()


class Rest(nn.Module):
    """A few rows of a table for all samples, and the rest of it for some."""

    def __init__(self):
        super().__init__()
        self.table, self.inner = nn.Parameter(torch.randn(64, D)), nn.Linear(D, 2)

    def forward(self, x):
        made = x + self.table[torch.arange(x.shape[1])]
        some = torch.where(x[:, 0, 0] > 1)[0]
        if len(some):
            made = made.index_add(0, some, self.table.sum(0).expand(len(some), x.shape[1], D))
        return self.inner(torch.tanh(made)).sum(1)


def test_a_table_of_which_later_samples_use_more():
    torch.manual_seed(0)
    model, X = Rest().double(), torch.randn(20, 3, D, dtype=torch.float64)
    X = X[X[:, 0, 0].argsort()]
    K = ntk.empirical_ntk(model, X).dense()
    expected = module_ntk.kernel(module_ntk.jacobian(model, X))
    assert float((K - expected).abs().max()) <= 1e-12 * float(expected.max())
