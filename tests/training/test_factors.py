"""A regression whose factor lies in tiles, against the one that holds it."""

import os

import pytest
import torch

import ntkscope as ntk
from ntkscope.training import factors

N, M = 150, 20  # three tiles in a row
HERE = ntk.Engine(workers=0)


def data(seed=0):
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(N + M, 4, generator=generator, dtype=torch.float64)
    return X[:N].numpy(), torch.sin(X[:N] @ torch.ones(4, 2).double()).numpy(), X[N:].numpy()


def regressor(engine=None, **options):
    return ntk.NTKRegressor(hidden_layers=1, ridge=1e-3, engine=engine, **options)


@pytest.fixture(scope="module")
def whole():
    X, y, _ = data()
    return regressor().fit(X, y)


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_tiles_say_what_the_whole_factor_says(workers, whole, monkeypatch):
    X, y, at = data()
    monkeypatch.setattr(factors, "_COLUMNS", 64)
    tiled = regressor(ntk.Engine(workers=workers)).fit(X, y)
    a, b = whole.leave_one_out(), tiled.leave_one_out()
    # each is within its own bound of the exact one
    assert bool(((a.residuals - b.residuals).abs() <= a.rounding + b.rounding).all())
    assert float(b.rounding.max()) < 1e-6
    assert torch.allclose(a.std, b.std, rtol=1e-8)
    (mean, spread), (own, deviation) = (
        r.predict(at, return_std=True, chunk_size=7) for r in (whole, tiled)
    )
    assert own == pytest.approx(mean, rel=1e-9, abs=1e-11)
    assert deviation == pytest.approx(spread, rel=1e-7)
    c, d = whole.influence(at[:3]), tiled.influence(at[:3])
    assert bool(((c.change - d.change).abs() <= c.error + d.error).all())


def test_the_solution_solves_the_regression(whole):
    X, y, _ = data()
    tiled = regressor(HERE).fit(X, y)
    K = whole.covariance_.within(torch.from_numpy(X)).dense()
    left = K @ torch.from_numpy(tiled.dual_coef_) + 1e-3 * torch.from_numpy(tiled.dual_coef_)
    posterior = tiled.posterior_
    allowed = posterior.backward_error * posterior.solution.norm(dim=0)
    assert bool(((left - torch.from_numpy(y)).norm(dim=0) <= 2 * allowed).all())


def test_pairs_of_outputs_have_blocks(monkeypatch):
    monkeypatch.setattr(factors, "_COLUMNS", 5)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
    X = torch.randn(30, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    K = ntk.empirical_ntk(model.double(), X, reduce="full")
    y = torch.ones(30, 3, dtype=torch.float64)
    dense, tiled = (ntk.KernelPosterior(K, y, 0.1, engine=e) for e in (None, HERE))
    inverse = torch.linalg.inv(K.dense() + 0.1 * torch.eye(90, dtype=torch.float64))
    for posterior in (dense, tiled):
        blocks, norms = posterior.inverse_parts
        expected = torch.stack([inverse[i : i + 3, i : i + 3] for i in range(0, 90, 3)])
        assert torch.allclose(blocks, expected, rtol=1e-9, atol=1e-11)
        assert torch.allclose(norms, inverse.norm(dim=0), rtol=1e-9)


def test_a_folder_holds_the_tiles_and_a_temporary_one_goes(tmp_path):
    K, y = torch.eye(70, dtype=torch.float64), torch.ones(70, dtype=torch.float64)
    kept = ntk.KernelPosterior(K, y, 1.0, engine=HERE, folder=tmp_path / "tiles")
    assert torch.allclose(kept.solution, torch.full((70, 1), 0.5, dtype=torch.float64))
    assert list((tmp_path / "tiles").glob("factor-*/*.tile"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="is not empty and holds no factor"):
        ntk.KernelPosterior(K, y, 1.0, engine=HERE, folder=tmp_path / "other")
    own = ntk.KernelPosterior(K, y, 1.0, engine=HERE)
    place = own.factor._folder
    assert place.exists()
    del own
    assert not os.path.exists(place)


def test_what_cannot_be_factored_is_said_for_tiles_too():
    K = -torch.eye(70, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"not positive definite at ridge=0.5: a pivot of 70"):
        ntk.KernelPosterior(K, torch.ones(70), 0.5, engine=HERE)
    engine = ntk.Engine(cluster="tcp://127.0.0.1:1", device="cuda")
    with pytest.raises(ValueError, match="the solves of a CPU, got device='cuda'"):
        ntk.KernelPosterior(-K, torch.ones(70), 0.5, engine=engine)
