"""Products with parameters of any axes: structured, and the Jacobian's kernel on every way."""

import pytest
import torch
from torch import einsum, nn

import ntkscope as ntk
from ntkscope.kernels.module.making import prepare
from ntkscope.kernels.module.reading.layers.contraction import Contraction
from oracles import module_ntk

TOKENS, D, HEADS = 5, 4, 2


def by_head(x):
    """(N, tokens, heads, d / heads)."""
    return x.unflatten(2, (HEADS, -1))


def heads_first(x):
    return by_head(x).transpose(1, 2)


PRODUCTS = {
    "heads made": (lambda x, W: einsum("btd,dhk->bthk", x, W), (D, 3, 2)),
    "heads mixed": (lambda x, W: einsum("bthk,hkd->btd", by_head(x), W), (HEADS, 2, 6)),
    "each head's": (lambda x, W: einsum("bthk,hkr->bthr", by_head(x), W), (HEADS, 2, 3)),
    "axes in another order": (lambda x, W: einsum("bthk,rkh->brht", by_head(x), W), (3, 2, HEADS)),
    "one head": (lambda x, W: einsum("bthk,hkr->bthr", x[:, :, None], W), (1, D, 3)),
    "experts": (lambda x, W: einsum("btd,edh->beth", x, W), (3, D, 2)),
    "no arrow": (lambda x, W: einsum("btd,dk", x, W), (D, 3)),
    "dots": (lambda x, W: einsum("...d,dhk->...hk", x, W), (D, 3, 2)),
    "dots in both": (lambda x, W: einsum("...td,...dk->...tk", heads_first(x), W), (HEADS, 2, 3)),
    "operands in a list": (lambda x, W: einsum("btd,dhk->bthk", [x, W]), (D, 3, 2)),
    "over one entry": (lambda x, W: einsum("btd,dk->btk", x, W), (1, 3)),
    "positions in another order": (lambda x, W: einsum("bthk,kr->bhrt", by_head(x), W), (2, 3)),
    "summed before": (lambda x, W: einsum("btd,kt->bk", x, W), (3, TOKENS)),
    "elementwise": (lambda x, W: einsum("btd,td->btd", x, W), (TOKENS, D)),
    "all axes": (lambda x, W: einsum("btd,td->b", x, W)[:, None], (TOKENS, D)),
    "no axis": (lambda x, W: einsum("bt,k->btk", x[..., 0], W), (6,)),
    "tokens mixed": (lambda x, W: W @ x, (6, TOKENS)),
    "tokens mixed, transposed": (lambda x, W: W.T @ x, (TOKENS, 6)),
    "samples last": (lambda x, W: (W @ x.flatten(1).T).T, (3, TOKENS * D)),
    "a vector": (lambda x, w: x @ w, (D,)),
    "mv": (lambda x, w: torch.mv(x.flatten(1), w)[:, None], (TOKENS * D,)),
    "mm by name": (lambda x, W: torch.mm(x.flatten(1), mat2=W), (TOKENS * D, 3)),
    "bmm": (lambda x, W: torch.bmm(x.transpose(0, 1), W).transpose(0, 1), (TOKENS, D, 3)),
    "bmm, samples beside tokens": (
        lambda x, W: torch.bmm(heads_first(x).transpose(0, 1).flatten(1, 2), W).unflatten(1, (-1, TOKENS)).transpose(0, 1),
        (HEADS, 2, 3),
    ),
    "a matrix a head": (lambda x, W: heads_first(x) @ W, (HEADS, 2, 3)),
    "for every sample": (lambda x, W: heads_first(x) @ W, (1, HEADS, 2, 3)),
    "for every head": (lambda x, W: heads_first(x) @ W, (1, 1, 2, 3)),
    "on the left": (lambda x, W: W @ heads_first(x), (HEADS, 3, TOKENS)),
    "axes by number": (lambda x, W: einsum(x, [0, 1, 2], W, [2, 3, 4], [0, 1, 3, 4]), (D, 3, 2)),
    "tensordot": (lambda x, W: torch.tensordot(x, W, dims=([2], [1])), (3, D)),
    "tensordot of two axes": (lambda x, W: torch.tensordot(x, W), (TOKENS, D, 3)),
    "made of parameters": (lambda x, W: heads_first(x) @ torch.exp(W).mT, (HEADS, 3, 2)),
    "many entries": (lambda x, W: einsum("btd,dhk->bthk", x, W), (D, 30, 20)),
}  # fmt: skip


class Product(nn.Module):
    def __init__(self, product, *shapes):
        super().__init__()
        self.product = product
        self.W = nn.ParameterList([torch.randn(shape).double() / 2 for shape in shapes])

    def forward(self, x):
        y = torch.tanh(self.product(x, *self.W)).flatten(1)
        return torch.stack([y.sin().sum(1), (y * y.roll(1, 1)).sum(1), y.pow(3).sum(1)], 1)


def draw(n):
    return torch.randn(n, TOKENS, D, dtype=torch.float64)


def model_of(name):
    product, *shapes = PRODUCTS[name]
    torch.manual_seed(0)
    return Product(product, *shapes)


def require_kernels(model):
    X, X2 = draw(6), draw(3)
    J, J2 = module_ntk.jacobian(model, X), module_ntk.jacobian(model, X2)
    for reduce in ("trace", "full"):
        expected = module_ntk.kernel(J, reduce=reduce)
        scale = float(expected.abs().max())
        K = ntk.empirical_ntk(model, X, reduce=reduce)
        got = K.dense()
        assert float((got - expected).abs().max()) <= 1e-13 * scale
        assert float(torch.linalg.matrix_norm(got - expected)) <= 2 * K.forming_error()
        assert float((K.diagonal() - expected.diagonal()).abs().max()) <= 1e-13 * scale
        assert (
            float((K @ torch.ones(len(got)).double() - expected.sum(1)).abs().max())
            <= 1e-12 * scale
        )
        cross = ntk.empirical_ntk(model, X, X2, reduce=reduce).dense()
        theirs = module_ntk.kernel(J, J2, reduce)
        assert float((cross - theirs).abs().max()) <= 1e-13 * scale
    one = ntk.empirical_ntk(model, X[:1]).dense()
    assert torch.allclose(one, module_ntk.kernel(J[:1]), rtol=1e-12)


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_product_is_structured(name):
    plan = ntk.plan_kernel(model_of(name), draw(6))
    assert [row.way for row in plan.rows if not row.way.startswith("structured")] == []


@pytest.mark.parametrize("name", PRODUCTS)
def test_its_kernel_is_the_jacobians(name):
    require_kernels(model_of(name))


@pytest.mark.parametrize("name", ["heads made", "each head's", "tokens mixed", "many entries"])
def test_formed_on_the_way_back(name, monkeypatch):
    monkeypatch.setattr(prepare, "LEAST", 0.0)
    require_kernels(model_of(name))


def test_uses_of_one_parameter_add_up():
    def twice(x, W):
        return torch.cat(
            [einsum("btd,dhk->bthk", x, W).flatten(1), einsum("btk,dhk->btdh", x[..., :2], W).flatten(1)], 1
        )  # fmt: skip

    model = Product(twice, (D, 3, 2))
    assert "general" not in str(ntk.plan_kernel(model, draw(6)))
    require_kernels(model)


@pytest.mark.parametrize(
    "product",
    [
        lambda x, W: einsum("btd,dk->kbt", x[..., :3], W).movedim(1, 0),  # the samples move
        lambda x, W: einsum("btd,dd->btd", x[..., :3], W),  # a diagonal
        lambda x, W: einsum("btd,dk,bt->bk", x[..., :3], W, x[..., 0]),  # three of them
        lambda x, W: (x[..., :3] @ W) @ W,
        lambda x, W: x[:, None, :, :3] @ torch.stack([W, 2 * W]),  # x is broadcast
    ],
)  # fmt: skip
def test_what_is_no_such_product_is_right_too(product):
    require_kernels(Product(product, (3, 3)))


@pytest.mark.parametrize("weight", ["hkr", "rhk", "krh", "kr.h"])
def test_rows_of_its_gradient(weight):
    torch.manual_seed(0)
    operation = Contraction("thk", "rht", weight)
    x, g = torch.randn(3, 5, 2, 4).double(), torch.randn(3, 2, 5, 2, 6).double()
    sizes = {"h": 2, "k": 4, "r": 6, ".": 1}
    whole = einsum(f"nthk,ncthr->nc{weight.replace('.', '')}", x, g)
    assert torch.allclose(operation.gradient(x, g, slice(None)), whole.flatten(2), rtol=1e-12)
    for part in (slice(0, 1), slice(1, 2), slice(0, sizes[weight[0]])):
        got = operation.gradient(x, g, part)
        assert torch.allclose(got, whole[:, :, part].flatten(2), rtol=1e-12)
    a, b = operation.pairs(x, g)
    K = sum(einsum("ntp,msp,nctq,mcsq->nm", u, u, v, v) for u, v in zip(a, b, strict=True))
    assert torch.allclose(K, module_ntk.kernel(whole.flatten(2)), rtol=1e-12)


def test_the_size_of_its_sums_is_reached_at_one_position_and_not_passed_at_more():
    torch.manual_seed(0)
    operation = Contraction("thk", "thr", "hkr")
    x, g = torch.randn(3, 5, 2, 4).double(), torch.randn(3, 2, 5, 2, 6).double()
    for T in (1, 5):
        gradient = operation.gradient(x[:, :T], g[:, :, :T], slice(None))
        norms, sizes = gradient.norm(dim=2), operation.magnitude(x[:, :T], g[:, :, :T])
        assert bool((norms <= sizes * (1 + 1e-12)).all())
        assert torch.allclose(norms, sizes, rtol=1e-12) == (T == 1)
    parallel = x[:, :1].expand(3, 5, 2, 4), g[:, :, :1].expand(3, 2, 5, 2, 6)
    gradient = operation.gradient(*parallel, slice(None))  # nothing cancels
    assert torch.allclose(gradient.norm(dim=2), operation.magnitude(*parallel), rtol=1e-12)
