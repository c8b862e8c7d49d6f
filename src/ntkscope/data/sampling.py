"""Samples of the papers' distributions in one call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntkscope.data.distributions import (
    BinaryCube,
    Circle,
    Cube,
    EquispacedCircle,
    Gaussian,
    GeneratedImage,
    Sphere,
)

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float
    from torch import Tensor


def gaussian(n_samples: int, dim: int, seed: int | torch.Generator = 0) -> Float[Tensor, "N d"]:
    """Samples of N(0, I_d).

    Parameters
    ----------
    n_samples: N.
    dim: d.
    seed: of the draw, or a torch generator.

    Returns
    -------
    (N, d) float64 samples.
    """
    return Gaussian(dim).sample(n_samples, seed)


def sphere(n_samples: int, dim: int, seed: int | torch.Generator = 0) -> Float[Tensor, "N d"]:
    """Samples of the uniform law on the sphere of radius √d.

    Parameters
    ----------
    n_samples: N.
    dim: d.
    seed: of the draw, or a torch generator.

    Returns
    -------
    (N, d) float64 samples.
    """
    return Sphere(dim).sample(n_samples, seed)


def cube(
    n_samples: int, dim: int, seed: int | torch.Generator = 0, centered: bool = True
) -> Float[Tensor, "N d"]:
    """Samples of the uniform law on [−√3, √3]^d, or on [0, 1]^d.

    Parameters
    ----------
    n_samples: N.
    dim: d.
    seed: of the draw, or a torch generator.
    centered: whether the mean is 0.

    Returns
    -------
    (N, d) float64 samples.
    """
    return Cube(dim, centered).sample(n_samples, seed)


def binary_cube(
    n_samples: int, dim: int, seed: int | torch.Generator = 0, centered: bool = True
) -> Float[Tensor, "N d"]:
    """Samples of the uniform law on {−1, 1}^d, or on {0, 1}^d.

    Parameters
    ----------
    n_samples: N.
    dim: d.
    seed: of the draw, or a torch generator.
    centered: whether the mean is 0.

    Returns
    -------
    (N, d) float64 samples.
    """
    return BinaryCube(dim, centered).sample(n_samples, seed)


def generated(
    n_samples: int, dim: int, seed: int | torch.Generator = 0, latent: int = 0
) -> Float[Tensor, "N d"]:
    """Samples of a random generator's Lipschitz image of a Gaussian.

    Parameters
    ----------
    n_samples: N.
    dim: d.
    seed: of the draw, or a torch generator.
    latent: dimension of the Gaussian; by default that of :class:`GeneratedImage`.

    Returns
    -------
    (N, d) float64 samples.
    """
    return GeneratedImage(dim, latent).sample(n_samples, seed)


def circle(n_samples: int, seed: int | torch.Generator = 0) -> Float[Tensor, "N d"]:
    """Random points on the circle of radius √2.

    Parameters
    ----------
    n_samples: N.
    seed: of the draw, or a torch generator.

    Returns
    -------
    (N, 2) float64 samples.
    """
    return Circle().sample(n_samples, seed)


def equispaced_circle(n_samples: int) -> Float[Tensor, "N d"]:
    """Equispaced points on the circle of radius √2.

    Parameters
    ----------
    n_samples: N.

    Returns
    -------
    (N, 2) float64 samples.
    """
    return EquispacedCircle().sample(n_samples, 0)
