"""The Gauss-Newton matrix of a loss in function space, against explicit J and H."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import ntkscope as ntk
from ntkscope.kernels.loss import losses
from ntkscope.kernels.loss.losses import loss_at
from ntkscope.kernels.loss.roots import DiagonalRoots, HeldRoots, SoftmaxRoots
from oracles.bert import small_bert, tokens
from oracles.gauss_newton import gauss_newton, hessian

N, C = 8, 3


def setting():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv1d(2, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(16, C)
    ).double()  # fmt: skip
    return model, torch.randn(N, 2, 6, dtype=torch.float64)


CLASSES = torch.arange(N) % C
REAL = torch.linspace(-2, 2, N * C, dtype=torch.float64).reshape(N, C)
SOFT = torch.softmax(REAL, dim=1)
WEIGHTED = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))

# loss as given, targets, the same as a function, rows of a sample
LOSSES = {
    "cross_entropy": ("cross_entropy", CLASSES, F.cross_entropy, C - 1),
    "probabilities": ("cross_entropy", SOFT, F.cross_entropy, C - 1),
    "mse": ("mse", REAL, F.mse_loss, C),
    "weighted": (WEIGHTED, CLASSES, WEIGHTED, C - 1),
    "summed": (nn.CrossEntropyLoss(reduction="sum"), CLASSES, nn.CrossEntropyLoss(reduction="sum"), C - 1),
    "binary": (F.binary_cross_entropy_with_logits, (REAL > 0).double(), F.binary_cross_entropy_with_logits, C),
    "logits": ("binary_cross_entropy", REAL > 0, lambda f, y: F.binary_cross_entropy_with_logits(f, y.to(f)), C),
    "one-hot": ("cross_entropy", F.one_hot(CLASSES, C), lambda f, y: F.cross_entropy(f, y.to(f)), C - 1),
    "classes for mse": ("mse", CLASSES, lambda f, y: F.mse_loss(f, F.one_hot(y, C).to(f)), C),
    "ignored": (F.cross_entropy, torch.where(CLASSES == 2, -100, CLASSES), F.cross_entropy, C - 1),
}  # fmt: skip


@pytest.mark.parametrize("name", LOSSES)
def test_the_eigenvalues_are_those_of_the_gauss_newton_matrix(name):
    loss, targets, function, rows = LOSSES[name]
    model, X = setting()
    K = ntk.gauss_newton_kernel(model, X, targets, loss=loss)
    assert K.shape == (N * rows, N * rows)
    G = torch.linalg.eigvalsh(gauss_newton(model, (X,), targets, function)).flip(0)
    found = torch.linalg.eigvalsh(K.dense()).flip(0)
    bar = K.forming_error() + 1e-13 * float(G[0])
    count = min(len(G), len(found))
    assert float((G[:count] - found[:count]).abs().max()) <= bar
    assert float(G[count:].abs().max()) <= bar  # nothing was left out
    assert float(found[count:].abs().max() if len(found) > count else 0) <= bar


def test_roots_as_operators_are_the_matrices(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    scores = 3 * torch.randn(5, 7, dtype=torch.float64, generator=generator)
    p = torch.softmax(scores, dim=1)
    held, implicit = SoftmaxRoots.held(p, 0.2), SoftmaxRoots(p, 0.2)
    left, right = (torch.randn(5, n, 2, dtype=torch.float64, generator=generator) for n in (6, 7))
    assert torch.allclose(implicit.push(left), held.push(left), rtol=1e-13, atol=1e-15)
    assert torch.allclose(implicit.pull(right), held.pull(right), rtol=1e-13, atol=1e-15)
    H = 0.2 * (torch.diag_embed(p) - p[:, :, None] * p[:, None])
    assert torch.allclose(held.matrices @ held.matrices.mT, H, atol=1e-16)
    assert float(torch.linalg.matrix_norm(H, ord=2).max()) <= implicit.largest() <= 0.2
    sizes = torch.rand(5, 7, dtype=torch.float64, generator=generator)
    assert bool((implicit.magnitudes(sizes) >= held.magnitudes(sizes)).all())
    model, X = setting()
    matrix = ntk.gauss_newton_kernel(model, X, CLASSES)
    monkeypatch.setattr(losses, "_HELD", 0)
    products = ntk.gauss_newton_kernel(model, X, CLASSES)
    assert isinstance(products.roots, SoftmaxRoots)
    bar = 1e-14 * float(matrix.trace())
    assert float((products.dense() - matrix.dense()).abs().max()) <= bar
    assert float((products.diagonal() - matrix.diagonal()).abs().max()) <= bar
    some = torch.randn(len(matrix), 2, dtype=torch.float64, generator=generator)
    assert torch.allclose(products @ some, matrix @ some, atol=1e-13)
    assert products.forming_error() >= 0.5 * matrix.forming_error()


def test_an_mlp_in_closed_form_and_a_model_of_keywords():
    mlp = ntk.Network([5, 9, C], "tanh").sample(0)
    X = ntk.data.gaussian(N, 5, seed=0)
    K = ntk.gauss_newton_kernel(mlp, X, CLASSES)
    G = torch.linalg.eigvalsh(gauss_newton(mlp, (X,), CLASSES, F.cross_entropy))[-N * (C - 1) :]
    assert float((torch.linalg.eigvalsh(K.dense()) - G).abs().max()) <= 1e-12 * float(G[-1])
    data = {**tokens(N), "labels": CLASSES}
    K = ntk.gauss_newton_kernel(small_bert(), data, output="logits")
    given = ntk.gauss_newton_kernel(small_bert(), tokens(N), CLASSES, output="logits")
    assert torch.equal(K.dense(), given.dense())
    assert K.at.value == pytest.approx(
        float(F.cross_entropy(small_bert()(**tokens(N))["logits"], CLASSES).detach()), rel=1e-13
    )


def test_products_without_the_matrix():
    model, X = setting()
    K = ntk.gauss_newton_kernel(model, X, CLASSES, max_memory=1e6, chunk_size=2)
    dense = ntk.gauss_newton_kernel(model, X, CLASSES).dense()
    v = torch.randn(len(K), 2, dtype=torch.float64)
    assert float((K @ v - dense @ v).abs().max()) <= 1e-13 * float(dense.abs().max()) * len(K)
    assert K.trace() == pytest.approx(float(dense.trace()), rel=1e-13)


def test_terms_add_up():
    model, X = setting()
    K = ntk.gauss_newton_kernel(model, X, CLASSES)
    total = sum(K.term(t.name).dense() for t in K.terms)
    assert [t.name for t in K.terms] == ["0.weight", "0.bias", "3.weight", "3.bias"]
    assert torch.allclose(total, K.dense(), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("implicit", [False, True])
def test_a_certain_softmax_keeps_its_digits(implicit):
    """1 − p is added up from the other classes: p(1 − p) of p = 1 − 8e-18 is not 0."""

    def root_of(outputs):
        R = loss_at("cross_entropy", outputs, [0]).roots
        R = SoftmaxRoots(torch.softmax(outputs, 1), 1.0) if implicit else R
        eye = torch.eye(R.shape[2], dtype=torch.float64)[None]
        assert torch.allclose(R.push(eye), R.pull(torch.eye(3, dtype=torch.float64)[None]).mT)
        return (R.push(eye) @ R.push(eye).mT)[0]

    outputs = torch.tensor([[40.0, 0.0, 0.0]], dtype=torch.float64)
    H = root_of(outputs)
    small = math.exp(-40) / (1 + 2 * math.exp(-40))
    assert float(H[0, 0]) == pytest.approx(2 * small, rel=1e-12)
    assert float(H[1, 1]) == pytest.approx(small, rel=1e-12)
    assert float(H[0, 1]) == pytest.approx(-small, rel=1e-12)


def test_gradient_descent_obeys_the_limit():
    """On a linear model the square loss is a quadratic: stable below 2/λ_max, not above."""
    torch.manual_seed(0)
    model, X = nn.Linear(4, C).double(), torch.randn(N, 4, dtype=torch.float64)
    found = ntk.inspect(model, X, loss="mse", targets=REAL)
    assert found.loss.largest_stable_step == pytest.approx(
        found.training.largest_stable_step_mse, rel=1e-12
    )

    def after(step, batch=N, count=400):
        net = nn.Linear(4, C).double()
        net.load_state_dict(model.state_dict())
        for k in range(count):
            rows = slice(k * batch % N, k * batch % N + batch)
            loss = F.mse_loss(net(X[rows]), REAL[rows])
            for p, g in zip(
                net.parameters(), torch.autograd.grad(loss, list(net.parameters())), strict=True
            ):
                p.data -= step * g
        return float(F.mse_loss(net(X), REAL).detach())

    limit = found.loss.largest_stable_step
    assert after(0.99 * limit) < found.loss.value < after(1.05 * limit)
    assert after(found.loss.any_batch_step, batch=2) < found.loss.value
    assert found.loss.any_batch_step <= limit
    # the square loss of a linear model has no curvature but Gauss-Newton's
    assert found.loss.sharpness.value == pytest.approx(found.loss.largest.value, rel=1e-5)


def test_sharpness_is_that_of_the_hessian():
    model, X = setting()
    H = torch.linalg.eigvalsh(hessian(model, (X,), CLASSES, F.cross_entropy))[-1]
    whole = ntk.sharpness(model, X, CLASSES, tol=1e-6)
    assert whole.converged
    assert float(H) - whole.residual <= whole.value <= float(H) * (1 + 1e-12)
    assert whole.edge_step == 2 / whole.value
    chunks = ntk.sharpness(model, X, CLASSES, tol=1e-6, chunk_size=3)
    assert chunks.value == pytest.approx(whole.value, rel=1e-9)
    few = ntk.sharpness(model, X, CLASSES, tol=1e-12, max_products=2)
    assert not few.converged
    assert few.value < float(H)


def test_inspect_speaks_of_the_loss():
    model, X = setting()
    dataset = torch.utils.data.TensorDataset(X, CLASSES)
    found = ntk.inspect(model, dataset, loss="cross_entropy")
    G = torch.linalg.eigvalsh(gauss_newton(model, (X,), CLASSES, F.cross_entropy))[-N * (C - 1) :]
    loss = found.loss
    assert loss.largest.lower <= float(G[-1]) * (1 + 1e-14)
    assert float(G[-1]) * (1 - 1e-14) <= loss.largest.upper
    assert loss.trace == pytest.approx(float(G.sum()), rel=1e-12)
    ridge = float(G[-1]) / 100
    assert loss.effective_dimension.value == pytest.approx(float((G / (G + ridge)).sum()), rel=1e-9)
    text, page = str(found), found.to_html()
    for words in ("cross-entropy", "edge of stability"):
        assert words in text
        assert words in page
    assert ntk.inspect(model, X).loss is None


def bad(loss, targets, model=None):
    made, X = setting()
    return ntk.gauss_newton_kernel(model or made, X, targets, loss=loss)


BAD = {
    "no targets": ("cross_entropy", None, "targets are missing"),
    "a class too many": ("cross_entropy", CLASSES + 1, "class 3, and the model has 3 outputs"),
    "a negative class": ("cross_entropy", CLASSES - 1, "class -1"),
    "fractions": ("cross_entropy", CLASSES + 0.5, "fractions"),
    "too few": ("cross_entropy", CLASSES[:5], "5 rows for 8 samples"),
    "no distribution": ("cross_entropy", SOFT * 2, "sum 1"),
    "another shape": ("cross_entropy", CLASSES.repeat(2, 1).T, "8 classes or"),
    "several ones": ("cross_entropy", torch.ones(N, C, dtype=torch.long), "sum 1"),
    "a class too many for mse": ("mse", CLASSES + 1, "classes 0 … 2 for 3 outputs, and these go from 1 to 3"),
    "numbers for several outputs": ("mse", CLASSES + 0.5, "or are classes as whole numbers"),
    "classes for logits": ("binary_cross_entropy", CLASSES, "take the loss cross_entropy"),
    "no probabilities": ("binary_cross_entropy", REAL, "0 or 1 for each output"),
    "NaN": ("mse", REAL * math.nan, "NaN"),
    "unknown": ("cross_entropi", CLASSES, "did you mean 'cross_entropy'"),
    "linear": (lambda f, y: (f * y).sum(), REAL, "linear|curvature"),
    "not convex": (lambda f, y: -F.mse_loss(f, y), REAL, "not convex"),
    "mixed": (lambda f, y: ((f - y).sum(0) ** 2).sum(), REAL, "no sum over the samples"),
    "no number": (lambda f, y: F.mse_loss(f, y, reduction="none"), REAL, "one number"),
    "does not fit": (F.mse_loss, REAL[:, :2], "does not take outputs"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_losses_and_labels_are_said(name):
    loss, targets, words = BAD[name]
    with pytest.raises(ValueError, match=words):
        bad(loss, targets)


def test_more_bad_input():
    with pytest.raises(TypeError, match="unique"):
        bad("cross_entropy", np.array(list("abcabcab")))
    with pytest.raises(TypeError, match="loss must be"):
        bad(nn.MSELoss, REAL)
    one = nn.Sequential(nn.Flatten(), nn.Linear(12, 1)).double()
    with pytest.raises(ValueError, match="take the loss binary_cross_entropy"):
        bad("cross_entropy", CLASSES, one)
    with pytest.raises(TypeError, match=r"dict of 'a', 'b'; give one array"):
        bad(lambda f, y: F.mse_loss(f, y["a"]), {"a": REAL, "b": CLASSES})
    with pytest.raises(TypeError, match="a tuple of several arrays; give one array"):
        bad(lambda f, y: F.mse_loss(f, y[0]), (REAL, CLASSES))
    with pytest.raises(TypeError, match="sparse"):
        bad("mse", REAL.to_sparse())
    model, X = setting()
    with pytest.raises(ValueError, match="belong to a loss"):
        ntk.inspect(model, X, targets=CLASSES)
    with pytest.raises(ValueError, match="have none"):
        ntk.inspect(ntk.empirical_ntk(model, X), loss="mse", targets=REAL)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_probabilities_of_low_precision_are_rows_that_sum_to_one(dtype):
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(4, 30000, dtype=torch.float64, generator=generator)
    soft = torch.softmax(3 * torch.randn(4, 30000, generator=generator), 1).to(dtype)
    at = loss_at("cross_entropy", outputs, soft)
    exact = soft.double() / soft.double().sum(1, keepdim=True)
    assert at.value == pytest.approx(float(F.cross_entropy(outputs, exact)), rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("margin", [10.0, 20.0, 40.0])
def test_a_function_stays_convex_where_every_sample_is_certain(dtype, margin):
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(N, C, dtype=torch.float64, generator=generator)
    outputs = (margin * F.one_hot(CLASSES, C) + noise).to(dtype)
    for loss in (nn.CrossEntropyLoss(), nn.CrossEntropyLoss(label_smoothing=0.1)):
        found = loss_at(loss, outputs, CLASSES).roots.matrices.double()
        p = torch.softmax(outputs.double(), 1)
        H = (torch.diag_embed(p) - p[:, :, None] * p[:, None]) / N
        assert float((found @ found.mT - H).abs().max()) <= 20 * torch.finfo(dtype).eps / N


def test_a_function_that_bends_down_by_more_than_rounding_is_refused_beside_a_flat_place():
    outputs = torch.full((N, C), 30.0, dtype=torch.float64)
    bent = lambda f, y: F.cross_entropy(f, y) - 1e-10 * (f**2).sum()  # noqa: E731
    with pytest.raises(ValueError, match="not convex"):
        loss_at(bent, outputs + 40 * F.one_hot(CLASSES, C), CLASSES)


def test_many_labels_of_each_sample_need_no_matrix_of_their_pairs():
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    targets = (outputs > 0).double()
    for name in ("binary_cross_entropy", "mse"):
        roots = loss_at(name, outputs, targets).roots
        H = torch.diag_embed(roots.entries.square())
        function = getattr(
            torch.nn.functional, {"mse": "mse_loss"}.get(name, name + "_with_logits")
        )
        whole = torch.func.hessian(lambda f: function(f, targets))(outputs)  # noqa: B023
        blocks = torch.stack([whole[i, :, i] for i in range(4)])
        assert torch.allclose(H, blocks, atol=1e-15)
        tile = torch.randn(12, 12, generator=generator, dtype=torch.float64)
        dense = HeldRoots(torch.diag_embed(roots.entries))
        assert torch.allclose(roots.between(tile, roots), dense.between(tile, dense))
        assert torch.allclose(roots.spread(6, torch.arange(4)).entries[:4], roots.entries)
        assert roots.largest() == pytest.approx(dense.largest())
        sizes = outputs.abs()
        assert torch.allclose(roots.magnitudes(sizes), dense.magnitudes(sizes))
    wide = torch.zeros(1000, 2000)
    held = loss_at("binary_cross_entropy", wide, wide).roots
    assert isinstance(held, DiagonalRoots)
    assert held.entries.numel() == wide.numel()  # as matrices 16 GB


def test_targets_may_be_a_list_of_tensors_that_numpy_does_not_read():
    outputs = torch.zeros(2, 3)
    scores = torch.ones(3, requires_grad=True)  # as with those of a GPU, numpy refuses
    held = loss_at("mse", outputs, [scores, 2 * scores])
    assert held.value == pytest.approx((1 + 4) / 2)


def test_the_loss_of_logits_keeps_its_digits_where_it_is_certain():
    outputs = torch.tensor([[40.0], [-40.0]], dtype=torch.float64)
    at = loss_at("binary_cross_entropy", outputs, torch.tensor([1, 0]))
    small = math.exp(-40) / (1 + math.exp(-40))
    found = (at.roots.entries**2).flatten().tolist()
    assert found == pytest.approx([small * (1 - small) / 2] * 2, rel=1e-12)
    assert at.gradient.flatten().tolist() == pytest.approx([-small / 2, small / 2], rel=1e-12)
