"""Kernel regression's uncertainty, leave-one-out and influence, against refitting."""

import json
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

import ntkscope as ntk
from oracles.jacobian import jacobian
from oracles.regression import fitted, left_out_exactly, refitted

N, M, C = 9, 4, 2


def data(outputs=C):
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(N + M, 3, generator=generator, dtype=torch.float64)
    y = torch.randn(N, outputs, generator=generator, dtype=torch.float64)
    return X[:N], X[N:], y


def module(outputs=C):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, outputs)).double()


def full(model, A, B):
    """J(A) J(B)ᵀ of all pairs of outputs, by one backward pass each."""
    left, right = (jacobian(model, X).flatten(0, 1) for X in (A, B))
    return left @ right.T


@pytest.mark.parametrize("kind", ["module", "lazy", "network"])
def test_the_sum_of_several_outputs_kernels_is_taken_for_none_of_them(kind):
    X, at, y = data()
    network = ntk.Network([3, 8, C], "tanh").sample(0)
    model = network if kind == "network" else module()
    limit = {"max_memory": 1e6} if kind == "lazy" else {}
    made = lambda A, B: ntk.empirical_ntk(model, A, B, **limit)  # noqa: E731
    K = made(X, None)
    assert (K.summed, ntk.empirical_ntk(model, X, reduce=0).summed) == (C, 1)
    refused = [
        lambda: ntk.KernelPosterior(K, y, 0.1),
        lambda: ntk.LinearizedTraining(K, y),
        lambda: ntk.NTKRegressor(kernel=made, ridge=0.1).fit(X.numpy(), y.numpy()),
    ]
    for build in refused:
        with pytest.raises(ValueError, match=f"sum of those of {C} outputs"):
            build()
    assert ntk.KernelPosterior(K, y[:, 0], 0.1).n_outputs == 1
    pairs = ntk.empirical_ntk(model, X, reduce="full")
    assert ntk.KernelPosterior(pairs, y, 0.1).n_outputs == C
    ntk.LinearizedTraining(pairs, y)
    for c, own in enumerate(ntk.empirical_ntk(model, X, reduce="diagonal")):
        ntk.KernelPosterior(own, y[:, c], 0.1)
        ntk.LinearizedTraining(own, y[:, c])
    ntk.NTKRegressor(kernel=ntk.Linearized(model), ridge=0.1).fit(X, y).predict(at)


@pytest.mark.parametrize("options", [{}, {"general": True}, {"max_memory": 1e6}])
def test_a_module_s_sum_of_outputs_kernels_stays_one_in_its_other_forms(options):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(40, 60), torch.nn.Tanh(), torch.nn.Linear(60, 3))
    X = torch.randn(60, 40).double()
    K = ntk.empirical_ntk(model.double(), X, X[:50], **options)
    assert [each.summed for each in (K, K.T, K.to(torch.float32), K.group("0.*"))] == [3] * 4
    assert ntk.empirical_ntk(model, X, reduce="full", **options).summed == 1
    assert ntk.empirical_ntk(model, X, reduce=1, **options).summed == 1


def test_a_sum_of_outputs_kernels_stays_one_in_another_precision_and_on_disk(tmp_path):
    X = data()[0]
    K = ntk.empirical_ntk(ntk.Network([3, 8, C], "tanh").sample(0), X)
    ntk.save_kernel(K, tmp_path / "k.zarr")
    stored = ntk.load_kernel(tmp_path / "k.zarr")
    part = K.group("W_*")
    for same in (K.to(torch.float32), K.T, part, stored, stored.to(torch.float32)):
        assert same.summed == C


@pytest.mark.parametrize("kind", ["matrix", "stored", "operator", "factors", "limit"])
def test_leaving_out_is_refitting_for_every_kind_of_kernel(kind):
    X, at, y = data()
    net = ntk.Network([3, 20, 1], "tanh", bias_std=0.3)
    kernel = {
        "factors": lambda A, B=None: ntk.empirical_ntk(net.sample(0), A, B),
        "limit": lambda A, B=None: ntk.limiting_kernel(net, A, B),
    }.get(kind, lambda A, B=None: ntk.limiting_kernel(net, A, B))
    K, cross = kernel(X), kernel(at, X)
    dense, ridge = K.dense(), 0.01
    given = {
        "matrix": dense,
        "stored": ntk.MatrixKernel(dense, semidefinite=True),
        "operator": (lambda v: dense @ v, N),
    }.get(kind, K)
    posterior = ntk.KernelPosterior(given, y, ridge)
    found, moved = ntk.leave_one_out(posterior), ntk.influence(posterior, cross)
    whole = fitted(dense, y, cross.dense(), ridge)
    assert torch.allclose(posterior.mean(cross), whole, rtol=1e-10)
    for i in range(N):
        own = refitted(dense, y, dense[[i]], ridge, [i])[0]
        assert torch.allclose(found.predictions[i], own, rtol=1e-9, atol=1e-11)
        change = refitted(dense, y, cross.dense(), ridge, [i]) - whole
        assert torch.allclose(moved.change[:, i], change, rtol=1e-7, atol=1e-11)
        rest = [k for k in range(N) if k != i]
        inner = dense[rest][:, rest] + ridge * torch.eye(N - 1, dtype=torch.float64)
        variance = dense[i, i] - dense[i, rest] @ torch.linalg.solve(inner, dense[rest, i])
        assert float(found.std[i, 0]) == pytest.approx(float(variance) ** 0.5, rel=1e-8)
    assert torch.allclose(moved.contribution.sum(dim=1), whole, rtol=1e-9)
    assert bool((found.rounding < 1e-8).all())
    assert bool((moved.error < 1e-8).all())


@pytest.mark.parametrize(("scale", "ridge"), [(1.0, 0.5), (1e-6, 2.0**-30), (1e3, 2.0**-20)])
def test_rounding_holds_what_exact_arithmetic_shows(scale, ridge):
    """Near-duplicates make K + ridge ill-conditioned; fractions know the truth."""
    generator = torch.Generator().manual_seed(1)
    F = torch.randn(4, 6, generator=generator, dtype=torch.float64)
    F = torch.cat([F, F + 1e-3 * torch.randn(4, 6, generator=generator, dtype=torch.float64)])
    K = scale * F @ F.T
    K = torch.triu(K) + torch.triu(K, 1).T
    y = torch.randn(8, generator=generator, dtype=torch.float64)
    found = ntk.leave_one_out(ntk.KernelPosterior(K, y, ridge))
    exact = left_out_exactly(K, y, ridge)
    off = [
        abs(float(Fraction(float(r)) - e))
        for r, e in zip(found.residuals[:, 0], exact, strict=True)
    ]
    assert all(o <= float(b) for o, b in zip(off, found.rounding[:, 0], strict=True))
    assert max(off) > 0  # there is rounding to bound
    assert float(found.rounding.max()) < 1e-2 * float(found.residuals.abs().max())


def test_the_backward_error_holds_what_the_factor_leaves():
    """‖(K + ridge) x̂ − b‖ ≤ ε ‖x̂‖, the residual without rounding; the ridge's rounding alone is too little."""
    generator = torch.Generator().manual_seed(0)
    F = torch.randn(60, 5, generator=generator, dtype=torch.float64)
    K = 1 + 0.01 * F @ F.T  # ‖K‖ is about the trace
    K = K.triu() + K.triu(1).T
    y = torch.ones(60, dtype=torch.float64)
    posterior = ntk.KernelPosterior(K, y, 0.25)
    x = [Fraction(v) for v in posterior.solution[:, 0].tolist()]
    rows = [[Fraction(v) for v in row] for row in K.tolist()]
    left = [
        sum(a * b for a, b in zip(row, x, strict=True)) + Fraction(1, 4) * x[i] - 1
        for i, row in enumerate(rows)
    ]
    size = float(posterior.solution.norm())
    residual = float(sum(v**2 for v in left)) ** 0.5
    assert 2.0**-53 * float(K.diagonal().max() + 0.25) * size < residual
    assert residual <= posterior.backward_error * size


@pytest.mark.parametrize("seed", range(4))
def test_the_kernels_own_error_is_in(seed):
    """A matrix within γ√(K_ii K_jj) of the kernel that is meant: its numbers lie within the bounds."""
    X, at, y = data(1)
    K, cross, ridge = full(module(1), X, X), full(module(1), at, X), 0.5
    K = (K + K.T) / 2
    gamma = 1e-6
    generator = torch.Generator().manual_seed(seed)
    signs = 2 * torch.rand(N, N, generator=generator, dtype=torch.float64).round() - 1
    size = K.diagonal().sqrt()
    held = K + gamma / (1 + gamma) * (signs.triu() + signs.triu(1).T) * size[:, None] * size
    given = ntk.MatrixKernel(held, entry_error=gamma, semidefinite=True)
    meant, found = (ntk.KernelPosterior(k, y, ridge) for k in (K, given))
    for true, seen, bound in (
        (ntk.leave_one_out(meant).residuals, *(getattr(ntk.leave_one_out(found), n) for n in ("residuals", "rounding"))),
        (ntk.influence(meant, cross).change, *(getattr(ntk.influence(found, cross), n) for n in ("change", "error"))),
    ):  # fmt: skip
        off = (true - seen).abs()
        assert float(off.max()) > 1e-8
        assert bool((off <= bound).all())
        assert float(bound.max()) < 0.1 * float(seen.abs().max())


def test_the_cross_kernels_own_error_is_in_where_its_size_is_known():
    X, at, y = data(1)
    K, cross, own = (
        full(module(1), X, X),
        full(module(1), at, X),
        full(module(1), at, at).diagonal(),
    )
    posterior, gamma = ntk.KernelPosterior(K, y, 0.5), 1e-5
    size = own.sqrt()[:, None] * K.diagonal().sqrt()
    signs = torch.where(torch.arange(N) % 2 == 0, 1.0, -1.0).double()
    held = ntk.MatrixKernel(cross + gamma * signs * size, entry_error=gamma)
    meant, found = ntk.influence(posterior, cross), ntk.influence(posterior, held, own)
    off = (meant.change - found.change).abs()
    assert bool((off <= found.error).all())
    assert float(off.max()) > float(ntk.influence(posterior, held).error.max())


def test_correlated_outputs_are_left_out_together():
    X, at, y = data()
    model = module()
    regressor = ntk.NTKRegressor(kernel=ntk.Linearized(model), ridge=0.1).fit(X, y)
    K, cross = full(model, X, X), full(model, at, X)
    start, there = model(X).detach(), model(at).detach()
    residual = (y - start).flatten()
    whole = fitted(K, residual, cross, 0.1)
    mean, std = regressor.predict(at, return_std=True)
    np.testing.assert_allclose(mean, there + whole.reshape(M, C), rtol=1e-9)
    A = K + 0.1 * torch.eye(N * C, dtype=torch.float64)
    own = full(model, at, at) - cross @ torch.linalg.solve(A, cross.T)
    np.testing.assert_allclose(std, own.diagonal().reshape(M, C).sqrt(), rtol=1e-8)
    found, moved = regressor.leave_one_out(), regressor.influence(at)
    for i in range(N):
        out = [i * C + c for c in range(C)]
        again = start[i] + refitted(K, residual, K[out], 0.1, out)
        assert torch.allclose(found.predictions[i], again, rtol=1e-9)
        change = (refitted(K, residual, cross, 0.1, out) - whole).reshape(M, C)
        assert torch.allclose(moved.change[:, i], change, rtol=1e-8, atol=1e-12)


def test_first_order_is_the_derivative_in_a_samples_weight():
    X, at, y = data(1)
    K, cross = full(module(1), X, X), full(module(1), at, X)
    ridge, h, i = 0.2, 1e-5, 3
    moved = ntk.influence(ntk.KernelPosterior(K, y, ridge), cross)

    def weighted(q):  # the sample's squared error times q is its noise divided by q
        noise = torch.full((N,), ridge, dtype=torch.float64)
        noise[i] = ridge / q
        return cross @ torch.linalg.solve(K + noise.diag(), y)

    slope = (weighted(1 + h) - weighted(1 - h)) / (2 * h)
    assert torch.allclose(moved.first_order[:, i], -slope, rtol=1e-7)
    # a fit through the samples has no residual to move it, and yet each sample matters
    exact = ntk.influence(ntk.KernelPosterior(K, y, 0.0), cross)
    assert float(exact.first_order.abs().max()) == 0
    assert float(exact.change.abs().max()) > 0.1


def test_chunks_change_nothing_and_any_input_goes_in():
    X, at, y = data()
    regressor = ntk.NTKRegressor(kernel=ntk.Linearized(module()), ridge=0.1).fit(X, y)
    whole, few = regressor.predict(at, True), regressor.predict(at, True, chunk_size=1)
    np.testing.assert_allclose(whole[0], few[0], rtol=1e-12)
    np.testing.assert_allclose(whole[1], few[1], rtol=1e-10)
    with pytest.raises(ValueError, match="chunk_size"):
        regressor.predict(at, chunk_size=0)

    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = module()

        def forward(self, pixels):
            return {"logits": self.inner(pixels.flatten(1)), "rest": 0}

    kernel = ntk.Linearized(Named(), output="logits")
    held = {"pixels": X[:, None], "labels": y}
    named = ntk.NTKRegressor(kernel=kernel, ridge=0.1).fit(held)
    np.testing.assert_allclose(named.predict({"pixels": at[:, None]}), whole[0], rtol=1e-12)
    zero = ntk.NTKRegressor(kernel=ntk.Linearized(module(), prior="zero"), ridge=0.1).fit(X, y)
    expected = fitted(full(module(), X, X), y.flatten(), full(module(), at, X), 0.1)
    np.testing.assert_allclose(zero.predict(at), expected.reshape(M, C), rtol=1e-9)


def test_the_amplitude_has_the_largest_likelihood():
    X, _, y = data(1)
    K = full(module(1), X, X)
    s = ntk.KernelPosterior(K, y, 0.3).amplitude

    def log_likelihood(scale):
        A = scale**2 * (K + 0.3 * torch.eye(N, dtype=torch.float64))
        return torch.distributions.MultivariateNormal(torch.zeros(N).double(), A).log_prob(y[:, 0])

    assert log_likelihood(s) > max(log_likelihood(0.99 * s), log_likelihood(1.01 * s))


def test_results_say_what_they_hold(tmp_path):
    X, at, y = data()
    regressor = ntk.NTKRegressor(kernel=ntk.Linearized(module()), ridge=0.1).fit(X, y)
    found, moved = regressor.leave_one_out(), regressor.influence(at)
    assert repr(found).startswith("LeaveOneOut(9 samples, 2 outputs, RMSE")
    assert "rounding" in str(found)
    assert found.worst(1) == [int(found.residuals.norm(dim=1).argmax())]
    assert json.loads(json.dumps(found.to_dict()))["rmse"] == pytest.approx(found.rmse)
    assert found.r2 <= 1
    assert repr(moved) == "Influence(4 predictions of 2 outputs, 9 training samples)"
    assert "first order" in str(moved)
    first = moved.most(test=1, count=3, output=1)
    assert [s.sample for s in first] == moved.order(1, 1)[:3]
    assert abs(first[0].change) >= abs(first[1].change) >= abs(first[2].change)
    assert moved.order(2)[0] == int(moved.change[2].norm(dim=1).argmax())
    assert len(json.loads(json.dumps(moved.to_dict()))["change"]) == M
    for axes in (found.plot(), moved.plot(test=1)):
        axes.figure.savefig(tmp_path / "plot.png")
        assert (tmp_path / "plot.png").stat().st_size > 3000


def test_halves_that_differ_by_rounding_count():
    X, _, y = data(1)
    K = full(module(1), X, X)
    K = (K + K.T) / 2
    skew = K + 1e-15 * torch.ones(N, N, dtype=torch.float64).tril(-1)
    a, b = (ntk.KernelPosterior(k, y, 0.1).backward_error for k in (K, skew))
    assert b - a >= 0.9 * float((skew - skew.T).norm()) > 0


def test_what_rounding_hides_is_an_error():
    K = torch.ones(4, 4, dtype=torch.float64) + 1e-15 * torch.eye(4, dtype=torch.float64)
    posterior = ntk.KernelPosterior(K, torch.arange(4.0), 1e-14)
    with pytest.raises(ValueError, match="hides its inverse"):
        ntk.leave_one_out(posterior)
    with pytest.raises(ValueError, match="not positive semi-definite"):
        ntk.KernelPosterior(torch.eye(2).double(), [1.0, 2.0], 0.5).deviation(
            torch.tensor([[2.0, 0.0]]).double(), torch.tensor([1.0])
        )


def test_posterior_bad_input():
    K, y = torch.eye(3).double(), torch.arange(3.0)
    for arguments, words in [
        ((K, y[:2], 0.1), "do not fit a kernel of 3 rows"),
        ((K, y, -1.0), "ridge"),
        ((K, y * float("nan"), 0.1), "NaN"),
        ((K, y, 0.1, y[:2]), "prior has shape"),
        ((-K, y, 0.1), "larger ridge"),
    ]:
        with pytest.raises(ValueError, match=words):
            ntk.KernelPosterior(*arguments)
    posterior = ntk.KernelPosterior(K, y, 0.1)
    with pytest.raises(ValueError, match="3 samples of 1 rows"):
        ntk.influence(posterior, torch.ones(2, 4))
    with pytest.raises(ValueError, match="4 columns"):
        posterior.mean(torch.ones(2, 4))
    X, _, y = data()
    with pytest.raises(ValueError, match="one_hot"):
        ntk.NTKRegressor(kernel=ntk.Linearized(module())).fit(X, torch.arange(N) % C)
    with pytest.raises(ValueError, match="y is missing"):
        ntk.NTKRegressor(kernel=ntk.Linearized(module())).fit(X)
    with pytest.raises(ValueError, match='"model" or "zero"'):
        ntk.Linearized(module(), prior="one")


@pytest.mark.parametrize("modes", ["eval", "train"])
def test_a_fit_stays_as_it_was_when_the_model_trains_on(modes):
    X, at, y = data()
    inner, dropped = module(), nn.Dropout(0.5)
    model = nn.Sequential(inner, nn.BatchNorm1d(C), dropped).double().eval()
    held = X.clone()
    regressor = ntk.NTKRegressor(kernel=ntk.Linearized(model), ridge=0.1).fit(held, y)
    before, moved = regressor.predict(at, return_std=True), regressor.influence(at)
    with torch.no_grad():
        for p in model.parameters():
            p += 1
        model[1].running_mean += 3
        held += 1
    inner[0].requires_grad_(False)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    model.train(modes == "train")
    after = regressor.predict(at, return_std=True)
    np.testing.assert_array_equal(before[0], after[0])
    np.testing.assert_array_equal(before[1], after[1])
    assert torch.equal(moved.change, regressor.influence(at).change)
    # and the model goes on as it is
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert not inner[0].weight.requires_grad
    assert all(part.training == (modes == "train") for part in model.modules())
    again = ntk.NTKRegressor(kernel=ntk.Linearized(model.eval()), ridge=0.1).fit(X, y)
    assert not np.allclose(again.predict(at), before[0])


def test_a_function_s_parameters_are_those_of_the_fit():
    X, at, y = data(1)
    weights = {"W": torch.ones(3, 1, dtype=torch.float64)}
    kernel = ntk.Linearized(lambda p, x: (x @ p["W"]).tanh(), params=weights)
    regressor = ntk.NTKRegressor(kernel=kernel, ridge=0.1).fit(X, y)
    before = regressor.predict(at)
    weights["W"] += 1
    np.testing.assert_array_equal(regressor.predict(at), before)


@pytest.mark.parametrize("columns", [1, C])
def test_targets_may_be_data_frames(columns):
    import pandas

    X, at, y = data(columns)
    frame = pandas.DataFrame(y.numpy(), index=range(100, 100 + N), columns=list("ab")[:columns])
    table = frame if columns > 1 else frame["a"]
    model = module(columns)
    plain = ntk.NTKRegressor(kernel=ntk.Linearized(model), ridge=0.1).fit(X, y)
    given = ntk.NTKRegressor(kernel=ntk.Linearized(model), ridge=0.1).fit(X, table)
    np.testing.assert_array_equal(given.predict(at).reshape(M, columns), plain.predict(at))
    K = full(module(1), X, X)
    assert torch.equal(
        ntk.KernelPosterior(K, table, 0.1).solution, ntk.KernelPosterior(K, y, 0.1).solution
    )
    linear = ntk.LinearizedTraining((K + K.T) / 2, table)
    assert torch.equal(linear.targets, y)


@pytest.mark.parametrize("ridge", ["a", None, True, torch.ones(2)])
def test_a_ridge_that_is_no_number_is_said(ridge):
    X, _, y = data(1)
    for make in (
        lambda: ntk.NTKRegressor(ridge=ridge).fit(X, y),
        lambda: ntk.KernelPosterior(torch.eye(N), y, ridge),
    ):
        with pytest.raises(TypeError, match="ridge must be a number"):
            make()
