"""NTKRegressor against scikit-learn's own checks and closed formulas."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_diabetes
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Kernel
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import parametrize_with_checks

import ntkscope as ntk


@parametrize_with_checks([ntk.NTKRegressor(hidden_layers=1)])
def test_scikit_learn_conventions(estimator, check):
    check(estimator)


def _data(n=30, d=3, outputs=None):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d))
    y = np.sin(X @ rng.standard_normal((d, outputs or 1)))
    return X, y if outputs else y[:, 0]


class _Limiting(Kernel):
    """The limiting kernel in scikit-learn's Gaussian process: an independent solver."""

    def __init__(self, get="nngp"):
        self.get = get

    def __call__(self, X, Y=None, eval_gradient=False):  # noqa: ARG002 (scikit-learn's signature)
        net = ntk.Network([X.shape[1], float("inf"), float("inf"), 1], "erf", "lecun", "ntk", bias_std=0.1)  # fmt: skip
        return ntk.limiting_ntk(net, X, Y, get=self.get).numpy()

    def diag(self, X):
        return np.diag(self(X))

    def is_stationary(self):
        return False


@pytest.mark.parametrize("get", ["nngp", "ntk"])
def test_mean_and_deviation_are_the_gaussian_process(get):
    X, y = _data()
    ours = ntk.NTKRegressor(2, "erf", "lecun", bias_std=0.1, kernel=get, ridge=1e-2).fit(X, y)
    theirs = GaussianProcessRegressor(_Limiting(get), alpha=1e-2, optimizer=None).fit(X, y)
    at = _data(7)[0] * 1.5
    mean, std = ours.predict(at, return_std=True)
    expected, bar = theirs.predict(at, return_std=True)
    np.testing.assert_allclose(mean, expected, rtol=1e-9)
    np.testing.assert_allclose(std, bar, rtol=1e-8)


def test_ensemble_deviation_is_the_spread_of_trained_linear_models():
    # y = f_0 + J(θ − θ_0) trained to the end: f_∞(x) = f_0(x) + Θ* Θ⁻¹ (y − f_0(X)), f_0 ~ GP(0, Σ)
    X, y = _data(6)
    at = _data(9)[0][6:] * 0.7
    net = ntk.Network([3, float("inf"), 1], "erf", "lecun", "ntk", bias_std=0.3)
    both = np.concatenate([X, at])
    theta, sigma = (m.numpy() for m in ntk.limiting_ntk(net, both, get=("ntk", "nngp")))
    root = np.linalg.cholesky(sigma + 1e-12 * np.eye(9))
    f0 = root @ np.random.default_rng(1).standard_normal((9, 40_000))
    W = theta[6:, :6] @ np.linalg.inv(theta[:6, :6])
    trained = f0[6:] + W @ (y[:, None] - f0[:6])
    model = ntk.NTKRegressor(
        1, "erf", "lecun", bias_std=0.3, ridge=0.0, uncertainty="ensemble"
    ).fit(X, y)
    mean, std = model.predict(at, return_std=True)
    bar = std / np.sqrt(40_000)
    assert np.all(np.abs(mean - trained.mean(1)) < 5 * bar + 1e-6)
    np.testing.assert_allclose(std, trained.std(1), rtol=5 / np.sqrt(80_000) + 1e-6)


def test_outputs_grid_search_and_clone():
    X, Y = _data(40, 3, 2)
    model = ntk.NTKRegressor(1, ridge=1e-3)
    mean, std = model.fit(X, Y).predict(X[:5], return_std=True)
    assert mean.shape == std.shape == (5, 2)
    one = clone(model).fit(X, Y[:, 1]).predict(X[:5])
    np.testing.assert_allclose(mean[:, 1], one, rtol=1e-10)
    search = GridSearchCV(model, {"hidden_layers": [1, 2], "kernel": ["ntk", "nngp"]}, cv=3)
    assert search.fit(X, Y).best_score_ > 0.3


def test_an_empirical_kernel_is_a_callable():
    X, y = _data(20)
    net = ntk.Network([3, 64, 1], "tanh", "lecun", "ntk").sample(seed=0)

    def kernel(A, B):
        return ntk.empirical_ntk(net, A, B)

    model = ntk.NTKRegressor(kernel=kernel, ridge=1e-3).fit(X, y)
    K = ntk.empirical_ntk(net, X).dense() + 1e-3 * torch.eye(20, dtype=torch.float64)
    expected = ntk.empirical_ntk(net, X[:4], X).dense() @ torch.linalg.solve(K, torch.from_numpy(y))
    mean, std = model.predict(X[:4], return_std=True)
    np.testing.assert_allclose(mean, expected.numpy(), rtol=1e-8)
    assert np.all(std >= 0)


def test_diabetes_is_learned():
    X, y = load_diabetes(return_X_y=True)
    X, y = X / X.std(), (y - y.mean()) / y.std()
    model = ntk.NTKRegressor(1, ridge=10.0).fit(X[:300], y[:300])
    assert model.score(X[300:], y[300:]) > 0.4


@pytest.mark.parametrize("made", [np.float32, np.array, torch.tensor])
def test_a_ridge_may_be_an_array_of_no_axes(made):
    X, y = _data()
    found, own = (ntk.NTKRegressor(1, ridge=r).fit(X, y).dual_coef_ for r in (made(0.5), 0.5))
    assert np.array_equal(found, own)


def test_bad_parameters():
    X, y = _data()
    for bad, match in [
        ({"ridge": -1.0}, "ridge"),
        ({"kernel": "ntkk"}, "did you mean 'ntk'"),
        ({"uncertainty": "std"}, "uncertainty"),
        ({"hidden_layers": 0}, "hidden_layers"),
        ({"activation": "rellu"}, "did you mean 'relu'"),
        ({"kernel": lambda A, B: torch.ones(2, 2)}, "shape"),  # noqa: ARG005
    ]:
        with pytest.raises(ValueError, match=match):
            ntk.NTKRegressor(**bad).fit(X, y)
    with pytest.raises(TypeError, match="ridge must be a number"):
        ntk.NTKRegressor(ridge=np.array([1.0])).fit(X, y)
    with pytest.raises(ValueError, match="larger ridge"):
        ntk.NTKRegressor(ridge=0.0).fit(np.concatenate([X, X]), np.concatenate([y, y]))
