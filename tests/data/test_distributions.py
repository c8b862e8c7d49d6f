"""What the distributions say of themselves holds for their samples."""

import math

import pytest
import torch

import ntkscope as ntk
from ntkscope import data

LAWS = [
    data.Gaussian(30),
    data.Sphere(30),
    data.Sphere(8, radius=2.0),
    data.Cube(30),
    data.Cube(30, centered=False),
    data.BinaryCube(30),
    data.BinaryCube(30, centered=False),
    data.GeneratedImage(30, latent=12),
    data.Circle(),
    data.EquispacedCircle(),
]
N = 20_000


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_moments_and_mean_within_five_standard_errors(law):
    X = law.sample(N, seed=11)
    assert X.shape == (N, law.dim)
    moments = law.moments()
    squares = X.square().sum(dim=1)
    bar = 5 * (float(squares.std()) / math.sqrt(N) + moments.error) + 1e-9 * law.dim
    assert abs(float(squares.mean()) - moments.norm_sq) < bar
    mean_bar = 5 * float(X.std(dim=0).max()) / math.sqrt(N) + 1e-9
    assert float((X.mean(dim=0) - law.mean()).abs().max()) < mean_bar
    spread = (X - law.mean()).square().sum(dim=1)
    bar = 5 * (float(spread.std()) / math.sqrt(N) + moments.error) + 1e-9 * law.dim
    assert abs(float(spread.mean()) - moments.centered_norm_sq) < bar
    assert moments.centered == (not bool(law.mean().any()))
    assert law.concentration_note.endswith(".")


def test_the_binary_cube_does_not_concentrate_and_the_gaussian_does():
    """The 1-Lipschitz distance to {Σx ≤ 0} spreads like d^(1/4) on the binary cube only."""

    def spread(law):
        X = law.sample(4000, seed=0)
        if isinstance(law, data.BinaryCube):
            # nearest point of the cube's half: flip the fewest +1s, each moves by 2
            excess = X.sum(dim=1).clamp_min(0)
            distance = 2 * torch.sqrt(torch.ceil(excess / 2))
        else:
            distance = (X.sum(dim=1) / math.sqrt(X.shape[1])).clamp_min(0)
        return float(distance.std())

    assert spread(data.BinaryCube(4096)) > 2.5 * spread(data.BinaryCube(64))
    assert spread(data.Gaussian(4096)) < 1.2 * spread(data.Gaussian(64))
    assert data.BinaryCube(5).lipschitz_concentration is False
    assert data.Gaussian(5).lipschitz_concentration is True


def test_generated_images_are_as_lipschitz_as_they_say():
    law = data.GeneratedImage(20, latent=6)
    z = torch.randn(500, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    step = 1e-4 * torch.randn(
        500, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )
    change = law.scale * (law._raw(z + step) - law._raw(z))
    ratio = torch.linalg.vector_norm(change, dim=1) / torch.linalg.vector_norm(step, dim=1)
    assert float(ratio.max()) <= law.lipschitz_constant * (1 + 1e-6)


def test_sampling_functions_are_the_distributions():
    assert torch.equal(ntk.data.sphere(5, 3, seed=2), data.Sphere(3).sample(5, 2))
    assert torch.equal(ntk.data.cube(5, 3, seed=2), data.Cube(3).sample(5, 2))
    assert torch.equal(ntk.data.equispaced_circle(4), data.EquispacedCircle().sample(4, 0))


@pytest.mark.parametrize("dim", [0, -1])
def test_bad_dimensions(dim):
    with pytest.raises(ValueError, match="at least 1"):
        data.Gaussian(dim)
    with pytest.raises(ValueError, match="at least 1"):
        data.Gaussian(3).sample(dim, 0)


def test_center_and_scale_rows():
    X = ntk.data.gaussian(9, 4, seed=0) + 3
    assert float(data.center(X).mean(dim=0).abs().max()) < 1e-14
    norms = torch.linalg.vector_norm(data.scale_rows(X), dim=1)
    torch.testing.assert_close(norms, torch.full_like(norms, 2.0))
    X[4] = 0
    with pytest.raises(ValueError, match="row 4 is zero"):
        data.scale_rows(X)


def test_summary_finds_duplicates_and_the_nearest_pair():
    X = ntk.data.gaussian(1500, 6, seed=0)
    X[1400] = X[3] * (1 + 1e-9)
    X[1200] = X[77]
    X[5] = 0
    summary = data.summarize(X)
    assert summary.duplicate_rows == 1
    assert summary.duplicate_example == (77, 1200)
    assert summary.nearest_pair in {(77, 1200), (3, 1400)}
    assert summary.nearest_angle < 1e-8
    assert summary.zero_rows == 1
    assert data.summarize(X[:1]).nearest_pair is None
