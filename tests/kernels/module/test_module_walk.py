"""Terms formed on the way back through one pass, beside those of held factors and single backward passes."""

import pytest
import test_module_hostile as hostile
import torch
from torch import nn

import ntkscope as ntk
from ntkscope.kernels.module.holding.formed_block import FormedBlock
from ntkscope.kernels.module.holding.weight_block import WeightBlock
from ntkscope.kernels.module.making import prepare, walk
from ntkscope.kernels.module.reading.layers.dense import Dense
from ntkscope.kernels.module.reading.layers.layer import Ready
from oracles import module_ntk
from oracles.twins import TWINS

EPS = 2.0**-52


@pytest.fixture
def walks(monkeypatch):
    force(monkeypatch, everything=True)


def force(monkeypatch, everything):
    """Every kernel that can be formed on the way is, whatever its size; ``everything``: small layers too."""
    if everything:
        for module in (walk, prepare):
            monkeypatch.setattr(module, "walked", lambda survey: survey.structured)
    monkeypatch.setattr(
        prepare.PreparedModule, "forms",
        lambda self, _, full: (
            not full and self.cols is None and self.subject.dtype == torch.float64
            and bool(self.survey.structured)
        ),
    )  # fmt: skip


def twin(name, count=5):
    build, draw, _ = TWINS[name]
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model, X = build().double().eval(), draw(count)
    X = X if isinstance(X, tuple) else (X,)
    return model, tuple(t.double() if t.is_floating_point() else t for t in X)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.lstm(x)[0].mean(1))


class Tied(nn.Module):
    """A table that reads words and weighs them, a matrix used twice, one way and the other."""

    def __init__(self):
        super().__init__()
        self.words, self.mix = nn.Embedding(7, 4), nn.Parameter(torch.randn(4, 4))

    def forward(self, x):
        y = torch.tanh(self.words(x) @ self.mix)
        return (torch.tanh(y @ self.mix.T).mean(1) @ self.words.weight.T)[:, :3]


OTHERS = {
    "LSTM": (Recurrent, lambda g: torch.randn(6, 5, 3, generator=g, dtype=torch.float64)),
    "tied table": (Tied, lambda g: torch.randint(0, 7, (6, 5), generator=g)),
}


def other(name):
    build, draw = OTHERS[name]
    with torch.random.fork_rng():
        torch.manual_seed(2)
        model = build().double()
    return model, (draw(torch.Generator().manual_seed(3)),)


@pytest.mark.usefixtures("walks")
@pytest.mark.parametrize("name", [*TWINS, *OTHERS])
def test_it_is_the_kernel_of_single_backward_passes(name):
    model, X = twin(name) if name in TWINS else other(name)
    K = ntk.empirical_ntk(model, X)
    exact = module_ntk.kernel(module_ntk.jacobian(model, *X))
    assert float((K.dense() - exact).abs().max()) <= 5000 * EPS * float(exact.abs().max())
    close = 20 * EPS * float(exact.abs().max())
    assert float((K.diagonal() - K.dense().diagonal()).abs().max()) <= close
    first = ntk.empirical_ntk(model, X, reduce=0)
    exact = module_ntk.kernel(module_ntk.jacobian(model, *X), reduce=0)
    assert float((first.dense() - exact).abs().max()) <= 5000 * EPS * float(exact.abs().max())


@pytest.mark.parametrize(
    ("name", "everything"),
    [(name, True) for name in (*TWINS, *OTHERS)]
    + [(name, False) for name in ("ViT block", "BERT with a mask", "GPT with all logits", *OTHERS)],
)
def test_terms_and_their_errors_are_those_of_held_factors(name, everything, monkeypatch):
    model, X = twin(name) if name in TWINS else other(name)
    held = ntk.empirical_ntk(model, X)
    force(monkeypatch, everything)
    formed = ntk.empirical_ntk(model, X)
    assert [t.name for t in formed.terms] == [t.name for t in held.terms]
    assert formed.near_kinks == held.near_kinks
    assert formed.n_parameters == held.n_parameters
    for near, far in zip(formed.terms, held.terms, strict=True):
        scale = float(held.diagonal().max())
        assert float((near.dense() - far.dense()).abs().max()) <= 5000 * EPS * scale
        if isinstance(near, FormedBlock):
            assert torch.equal(near.matrix, near.matrix.T)
            assert torch.equal(near.tile(slice(1, 3), slice(0, 2)), near.matrix[1:3, :2])
            assert bool((near.magnitudes() * (1 + 1e-12) >= near.diagonal()).all())
        if isinstance(near, FormedBlock) and comparable(far):
            assert far.inner // 2 < near.inner <= far.inner
            largest = float(far.magnitudes().max())
            assert float((near.magnitudes() - far.magnitudes()).abs().max()) <= 1e-9 * largest
    assert not everything or any(isinstance(term, FormedBlock) for term in formed.terms)
    v = torch.linspace(-1, 1, len(X[0]), dtype=torch.float64)
    assert float((formed @ v - held @ v).abs().max()) <= 5000 * EPS * float(held.diagonal().sum())


class Twice(nn.Module):
    """One matrix at two places, with a bias of its own at each."""

    def __init__(self):
        super().__init__()
        self.W = nn.Parameter(torch.randn(4, 4))
        self.a, self.b = nn.Parameter(torch.randn(4)), nn.Parameter(torch.randn(4))
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        y = torch.tanh(nn.functional.linear(x, self.W, self.a))
        return self.head(torch.tanh(nn.functional.linear(y, self.W, self.b)))


class Dropped(nn.Module):
    """A layer at work twice, once for nobody."""

    def __init__(self):
        super().__init__()
        self.first, self.head = nn.Linear(4, 3), nn.Linear(3, 2)

    def forward(self, x):
        self.first(2 * x)
        return self.head(torch.tanh(self.first(x)))


@pytest.mark.parametrize("everything", [False, True])
def test_a_bias_of_its_own_beside_a_matrix_used_twice(everything, monkeypatch):
    exact_when_walked(Twice, everything, monkeypatch)


@pytest.mark.parametrize("everything", [False, True])
def test_a_result_that_nobody_takes(everything, monkeypatch):
    exact_when_walked(Dropped, everything, monkeypatch)


def exact_when_walked(build, everything, monkeypatch):
    with torch.random.fork_rng():
        torch.manual_seed(4)
        model = build().double()
    force(monkeypatch, everything)
    X = torch.randn(7, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    K = ntk.empirical_ntk(model, X)
    exact = module_ntk.kernel(module_ntk.jacobian(model, X))
    assert float((K.dense() - exact).abs().max()) <= 5000 * EPS * float(exact.abs().max())


def comparable(term):
    """Whether it holds x and g of every output: held gradients do not count their own sums as what rounds."""
    if not isinstance(term, WeightBlock) or term.rotated:
        return False
    return not any(isinstance(use.operation, Ready) for use in term.uses)


def test_the_rounding_bound_covers_what_a_longer_sum_shows():
    """Positions that cancel: the entries are wrong by more than rounding of themselves, within the bound."""
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5, bias=False), Opposed(), nn.Linear(5, 2, bias=False))
    model = model.double()
    x = torch.randn(12, 1, 6, generator=generator, dtype=torch.float64) * 1e6
    X = torch.cat([x, x + torch.randn(12, 1, 6, generator=generator, dtype=torch.float64)], dim=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare.PreparedModule, "forms", lambda *_: True)
        K = ntk.empirical_ntk(model, X)
    (term,) = (t for t in K.terms if isinstance(t, FormedBlock))
    weight = model[2].weight.detach()
    steps = torch.stack([X[:, 0], -X[:, 1]], dim=1).sum(
        1
    )  # exact: the halves share their exponents
    inner = torch.linalg.norm(weight) ** 2
    exact = inner * (steps @ steps.T)
    wrong = float((term.matrix - exact).abs().max())
    sizes = term.magnitudes()
    assert wrong <= term.rounding() * float(sizes.max())
    assert wrong > 50 * EPS * float(
        exact.abs().max()
    )  # which rounding of the entries would not explain


class Opposed(nn.Module):
    def forward(self, x):
        return x[:, 0] - x[:, 1]


@pytest.mark.parametrize("route", hostile.ROUTES)
@pytest.mark.usefixtures("walks")
def test_mixtures_of_experts(route):
    for seed in range(2):
        model, X = hostile.made(lambda: hostile.Mixture(route, 2), seed, hostile.SAMPLES, hostile.D)
        hostile.exact_or_refused(model, X, False)


@pytest.mark.parametrize("branch", [hostile.rare_rows, hostile.rare_whole, hostile.rare_only])
@pytest.mark.usefixtures("walks")
def test_branches_that_the_first_samples_do_not_reach(branch):
    hostile.test_a_branch_that_the_first_samples_do_not_reach(branch, False)


@pytest.mark.parametrize("name", hostile.GRADIENTS)
@pytest.mark.usefixtures("walks")
def test_gradients_that_take_their_own_way(name):
    hostile.test_gradients_that_take_their_own_way(name, False)


@pytest.mark.parametrize("name", hostile.WRITES)
@pytest.mark.usefixtures("walks")
def test_a_buffer_that_changes(name):
    hostile.test_a_pass_that_changes_a_buffer_is_refused(name, False)


@pytest.mark.usefixtures("walks")
def test_a_wrong_contraction_is_found(monkeypatch):
    model, X = twin("ViT block")
    pairs = Dense.pairs
    monkeypatch.setattr(Dense, "pairs", lambda self, x, g: pairs(self, x * (1 + 1e-6), g))
    with pytest.raises(ValueError, match="add up to another sum than plain autograd's"):
        ntk.empirical_ntk(model, X)


@pytest.mark.usefixtures("walks")
def test_values_that_are_not_finite_are_named():
    model, X = twin("ViT block")
    with torch.no_grad():
        next(iter(model.parameters())).fill_(1e300)
    with pytest.raises(ValueError, match=r"finite|infinite"):
        ntk.empirical_ntk(model, X)


def test_it_is_taken_where_factors_are_large_and_nothing_asks_for_them(monkeypatch):
    model = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True).double().eval()
    model = nn.Sequential(model, Mean(), nn.Linear(8, 6)).double()
    X = torch.randn(4, 12, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def forms(X2=None, dtype=torch.float64, **more):
        inputs = (X.to(dtype),) if X2 is None else (X.to(dtype), X2.to(dtype))
        K = ntk.empirical_ntk(model.to(dtype), *inputs, **more)
        return any(isinstance(term, FormedBlock) for term in K.terms)

    assert not forms()  # a few kilobytes
    monkeypatch.setattr(prepare, "LEAST", 0.0)
    assert forms()
    assert not forms(X[:3])
    assert not forms(reduce="full")
    assert not forms(general=True)
    assert not forms(chunk_size=2)
    assert not forms(dtype=torch.float32)


class Mean(nn.Module):
    def forward(self, x):
        return x.mean(1)
