"""Laws of data by name, a user's own among them, and what they know of themselves."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch

import ntkscope as ntk
from ntkscope import data


@dataclass(frozen=True)
class Shell(data.Distribution):
    """Uniform directions, norms √(d(1 + u)), u uniform on [0, width]."""

    dim: int
    width: float = 1.0

    def _draw(self, n_samples, generator):
        z = torch.randn(n_samples, self.dim, generator=generator, dtype=torch.float64)
        u = torch.rand(n_samples, generator=generator, dtype=torch.float64) * self.width
        norms = torch.sqrt(self.dim * (1.0 + u))
        return z * (norms / torch.linalg.vector_norm(z, dim=1))[:, None]

    def moments(self):
        size = self.dim * (1.0 + self.width / 2)
        return data.Moments(size, size, True)

    lipschitz_concentration = True
    concentration_note = "bounded norms and Lévy."

    def norm_sq_quantile(self, q):
        return self.dim * (1.0 + self.width * q)


data.register_distribution("shell_of_a_test", Shell)


def test_it_is_loaded_by_its_name():
    found = data.load("shell_of_a_test:N=50,d=6,width=2", seed=3)
    assert found.distribution == Shell(6, 2)
    assert torch.equal(found.X, Shell(6, 2).sample(50, 3))
    assert data.distribution("shell_of_a_test", 6) == Shell(6)
    with pytest.raises(ValueError, match="needs d"):
        data.distribution("shell_of_a_test")
    with pytest.raises(ValueError, match="did you mean 'width'"):
        data.load("shell_of_a_test:N=5,d=2,widht=1")
    with pytest.raises(ValueError, match="'gaussian' is registered already"):
        data.register_distribution("gaussian", Shell)


def test_it_is_predicted_for():
    net = ntk.Network([60, math.inf, math.inf, 1], "relu", "unit")
    found = ntk.predict_smallest_eigenvalue(net, 300, data="shell_of_a_test:width=0.5")
    values = [
        float(torch.linalg.eigvalsh(ntk.limiting_ntk(net, Shell(60, 0.5).sample(300, s)))[0])
        for s in range(4)
    ]
    noise = 3 * np.std(values, ddof=1) / 2
    assert np.mean(values) == pytest.approx(found.value, abs=0.02 * found.value + noise)


def test_laws_without_uniform_directions_are_refused():
    net = ntk.Network([20, math.inf, 1], "relu", "unit")
    with pytest.raises(ValueError, match="directions are not uniform"):
        ntk.predict_smallest_eigenvalue(net, 30, data="cube")
    with pytest.raises(ValueError, match="takes no N"):
        ntk.predict_smallest_eigenvalue(net, 30, data="gaussian:N=3")
    with pytest.raises(ValueError, match=r"d = 2, the network 20"):
        ntk.predict_smallest_eigenvalue(net, 30, data="circle")


@pytest.mark.parametrize("law", [data.Gaussian(7), data.Sphere(7), data.Sphere(4, 3.0), Shell(5)])
def test_quantiles_of_the_norm_are_the_samples(law):
    squares = np.sort(law.sample(20_000, 5).square().sum(dim=1).numpy())
    q = np.linspace(0.05, 0.95, 10)
    found = law.norm_sq_quantile(q)
    share = np.searchsorted(squares, found * (1 + 1e-12)) / len(squares)
    if found[0] == found[-1]:
        assert np.allclose(squares, found[0])
    else:
        # five standard errors of an empirical distribution function
        assert np.all(np.abs(share - q) < 5 * np.sqrt(q * (1 - q) / len(squares)))


@pytest.mark.parametrize(
    "law", [data.Gaussian(6), data.Sphere(6), data.Cube(6), data.Circle(), Shell(6)]
)
def test_poincare_bounds_a_linear_function(law):
    variance = float(law.sample(20_000, 1)[:, 0].var())
    if law.poincare is not None:
        assert variance <= law.poincare * (1 + 5 * math.sqrt(2 / 20_000))
