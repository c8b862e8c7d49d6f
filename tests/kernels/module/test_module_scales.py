"""Outputs of very different sizes, and gradients whose squares a dtype cannot hold."""

import pytest
import torch
from torch import nn

import ntkscope as ntk
from ntkscope.kernels.module.making import assemble
from oracles import module_ntk


class Scaled(nn.Module):
    def __init__(self, c, outputs=2):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(4, outputs), c

    def forward(self, x):
        return self.b(torch.tanh(self.a(x))) * self.c


class Beside(nn.Module):
    """An output beside one 1e9 times larger; ``small`` makes it."""

    def __init__(self, small):
        super().__init__()
        self.a, self.b, self.c, self.small = (
            nn.Linear(4, 4),
            nn.Linear(4, 1),
            nn.Linear(4, 1),
            small,
        )

    def forward(self, x):
        return torch.cat([1e9 * self.b(x), self.small(self.c(torch.tanh(self.a(x))))], 1)


def count(y, seen=[0]):  # noqa: B006  # what the last call left
    seen[0] += 1
    return y * (1 + seen[0] % 5)


SMALL = {
    "another at each pass": (count, "not deterministic"),
    "of the batch": (lambda y: y - 0.1 * y.mean(0), "see one another"),
}


def draw(n):
    return torch.randn(n, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("reduce", ["trace", "full", "diagonal"])
@pytest.mark.parametrize("name", SMALL)
def test_a_small_output_is_checked_by_its_own_size(name, reduce):
    small, message = SMALL[name]
    torch.manual_seed(0)
    with pytest.raises(ValueError, match=message):
        ntk.empirical_ntk(Beside(small).double(), draw(6), reduce=reduce)


def test_a_wrong_entry_of_a_small_output_is_seen(monkeypatch):
    torch.manual_seed(0)
    model = Beside(lambda y: y).double()
    plain = assemble.Recipe.made

    def spoiled(self, rows, cols):
        recipe, passes = plain(self, rows, cols)
        for held in passes[0].g.values():
            held[:, 1] *= 1.01
        return recipe, passes

    X = draw(6)
    expected = module_ntk.kernel(module_ntk.jacobian(model, X), reduce="full")
    K = ntk.empirical_ntk(model, X, reduce="full").dense()
    assert (
        float(((K - expected).abs() / expected.diagonal().outer(expected.diagonal()).sqrt()).max())
        < 1e-12
    )
    monkeypatch.setattr(assemble.Recipe, "made", spoiled)
    with pytest.raises(ValueError, match="differs from plain autograd"):
        ntk.empirical_ntk(model, X, reduce="full")


@pytest.mark.parametrize(
    ("scale", "dtype"),
    [
        (1e170, torch.float64),
        (1e-170, torch.float64),
        (1e-25, torch.float32),
        (1e20, torch.float32),
    ],
)
@pytest.mark.parametrize("options", [{}, {"general": True}, {"reduce": "diagonal"}])
def test_squares_out_of_range_are_refused(scale, dtype, options):
    torch.manual_seed(0)
    with pytest.raises(ValueError, match="scale the outputs"):
        ntk.empirical_ntk(Scaled(scale).to(dtype), draw(6).to(dtype), **options)


def test_saturated_samples_that_are_drawn_do_not_speak_for_the_others():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 1), nn.Sigmoid())
    X = draw(12).float()
    for order in (range(12), range(11, -1, -1)):
        Y = X.clone()
        Y[[*order][:9]] = 0  # three of four samples
        model[0].bias.data.fill_(-44.0)
        model[0].weight.data.fill_(12.0)
        K = ntk.empirical_ntk(model, Y.abs()).dense()
        assert float(K.diagonal().max()) > 0


def test_a_sample_without_a_gradient_and_a_tiny_one_beside_others_are_in_range():
    torch.manual_seed(0)
    model, X = nn.Sequential(nn.Linear(4, 2, bias=False)).double(), draw(6)
    X[0], X[1] = 0, 1e-170
    K = ntk.empirical_ntk(model, X).dense()
    assert torch.allclose(K, module_ntk.kernel(module_ntk.jacobian(model, X)), rtol=1e-12)


class Masked(nn.Module):
    """Scores that a mask moves by -1e30 before a parameter is added; ``mixed``: samples see one another."""

    def __init__(self, mixed):
        super().__init__()
        self.q, self.shift, self.head, self.mixed = (
            nn.Linear(4, 3),
            nn.Parameter(torch.randn(3)),
            nn.Linear(3, 2),
            mixed,
        )

    def forward(self, x):
        scores = self.q(x) + torch.tensor([0.0, -1e30, 0.0], dtype=x.dtype) + self.shift
        y = self.head(scores.softmax(-1))
        return y + 0.01 * y.mean(0) if self.mixed else y


def test_a_mask_does_not_switch_the_checks_off():
    torch.manual_seed(0)
    ntk.empirical_ntk(Masked(False).double(), draw(6))
    with pytest.raises(ValueError, match="see one another"):
        ntk.empirical_ntk(Masked(True).double(), draw(6), self_check=False)


class Confident(nn.Module):
    """Two probabilities, of which one is all but 1 on every sample."""

    def __init__(self):
        super().__init__()
        self.m = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 2))

    def forward(self, x):
        sides = torch.tensor([0.5, -0.5]).to(x)
        return (0.1 * self.m(x) + x[:, -1:] * sides).softmax(-1)


@pytest.mark.parametrize(
    ("gap", "dtype"), [(14, torch.float32), (20, torch.float32), (30, torch.float64)]
)
@pytest.mark.parametrize("n", [6, 34])
def test_confident_probabilities_are_no_dependence(gap, dtype, n):
    torch.manual_seed(0)
    model = Confident().to(dtype)
    sides = gap * (2.0 * (torch.arange(n) % 2) - 1)
    X = torch.cat([torch.randn(n, 4), sides[:, None]], 1).to(dtype)
    K = ntk.empirical_ntk(model, X).dense()
    expected = module_ntk.kernel(module_ntk.jacobian(model, X))
    eps = torch.finfo(dtype).eps
    assert float((K - expected).abs().max()) <= 100 * eps * float(expected.max())


FAINT = {
    "one output": lambda o: torch.sigmoid(o - torch.tensor([0.0, 50.0]).to(o)),
    "beside usual ones": lambda o: o * torch.tensor([1.0, 1e-22]).to(o),
    "far out": lambda o: torch.sigmoid(o * 1000),
}


class Faint(nn.Module):
    def __init__(self, last):
        super().__init__()
        self.m, self.last = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 2)), last

    def forward(self, x):
        return self.last(self.m(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("reduce", ["trace", "full", "diagonal"])
@pytest.mark.parametrize("name", FAINT)
def test_entries_below_the_range_are_no_differences(name, reduce, dtype):
    torch.manual_seed(0)
    ntk.empirical_ntk(Faint(FAINT[name]).to(dtype), draw(9).to(dtype), reduce=reduce)
