"""The papers' data distributions, each with what the theory needs to know of it.

Nguyen et al. 2021, Assumptions 2.1 and 2.2; Bombari et al. 2022, Assumptions 2.1 and 2.2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ntkscope._base.arrays import Array
from ntkscope.data.distribution import Distribution, Moments

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float
    from torch import Tensor


def _check_dim(dim: int, least: int = 1) -> None:
    if isinstance(dim, bool) or not isinstance(dim, int):
        raise TypeError(f"dim must be an integer, got {dim!r}")
    if dim < least:
        raise ValueError(f"dim must be at least {least}, got {dim}")


@dataclass(frozen=True)
class Gaussian(Distribution):
    """N(0, I_d).

    Parameters
    ----------
    dim: d.
    """

    dim: int

    def __post_init__(self) -> None:
        _check_dim(self.dim)

    def _draw(self, n_samples: int, generator: torch.Generator) -> Tensor:
        import torch

        return torch.randn(n_samples, self.dim, generator=generator, dtype=torch.float64)

    def moments(self) -> Moments:
        return Moments(float(self.dim), float(self.dim), True)

    @property
    def lipschitz_concentration(self) -> bool:
        return True

    @property
    def concentration_note(self) -> str:
        return "Gaussian concentration: a 1-Lipschitz function is subgaussian with constant 1."

    @property
    def poincare(self) -> float:
        return 1.0

    @property
    def norm_note(self) -> str:
        return f"gaussian, ‖x‖² ~ χ² of {self.dim} degrees"

    def norm_sq_quantile(self, q: Array) -> Array:
        from scipy.special import gammaincinv

        return np.asarray(2.0 * gammaincinv(0.5 * self.dim, q))


@dataclass(frozen=True)
class Sphere(Distribution):
    """Uniform on the sphere of radius √d (or ``radius``) in R^d.

    Parameters
    ----------
    dim: d.
    radius: √d where none is given.
    """

    dim: int
    radius: float | None = None

    def __post_init__(self) -> None:
        _check_dim(self.dim)
        if self.radius is not None and not (math.isfinite(self.radius) and self.radius > 0):
            raise ValueError(f"radius must be positive, got {self.radius}")

    @property
    def _radius(self) -> float:
        return math.sqrt(self.dim) if self.radius is None else self.radius

    def _draw(self, n_samples: int, generator: torch.Generator) -> Tensor:
        import torch

        z = torch.randn(n_samples, self.dim, generator=generator, dtype=torch.float64)
        return z * (self._radius / torch.linalg.vector_norm(z, dim=1, keepdim=True))

    def moments(self) -> Moments:
        return Moments(self._radius**2, self._radius**2, True)

    @property
    def lipschitz_concentration(self) -> bool:
        # the two points ±r of R^1 carry a 1-Lipschitz function with spread r
        return self.dim > 1

    @property
    def concentration_note(self) -> str:
        return "Lévy: on the sphere of radius √d a 1-Lipschitz function is subgaussian."

    @property
    def poincare(self) -> float | None:
        # its spectral gap, chords being shorter than arcs
        return self._radius**2 / (self.dim - 1) if self.dim > 1 else None

    @property
    def norm_note(self) -> str:
        return f"sphere of radius {self._radius:.6g}"

    def norm_sq_quantile(self, q: Array) -> Array:
        return np.full_like(q, self._radius * self._radius)


@dataclass(frozen=True)
class _Box(Distribution):
    dim: int
    centered: bool = True

    def __post_init__(self) -> None:
        _check_dim(self.dim)

    def mean(self) -> Float[Tensor, d]:
        import torch

        return torch.full((self.dim,), 0.0 if self.centered else 0.5, dtype=torch.float64)


@dataclass(frozen=True)
class Cube(_Box):
    """Uniform on [−√3, √3]^d, so that E‖x‖² = d; ``centered=False``: on [0, 1]^d.

    Parameters
    ----------
    dim: d.
    centered: [−√3, √3]^d (True) or [0, 1]^d.
    """

    def _draw(self, n_samples: int, generator: torch.Generator) -> Tensor:
        import torch

        unit = torch.rand(n_samples, self.dim, generator=generator, dtype=torch.float64)
        return (2.0 * unit - 1.0) * math.sqrt(3.0) if self.centered else unit

    def moments(self) -> Moments:
        if self.centered:
            return Moments(float(self.dim), float(self.dim), True)
        return Moments(self.dim / 3.0, self.dim / 12.0, False)

    @property
    def lipschitz_concentration(self) -> bool:
        return True

    @property
    def concentration_note(self) -> str:
        return "The uniform law on a cube is a Lipschitz image of a Gaussian, coordinate by coordinate."

    @property
    def poincare(self) -> float:
        # (side/π)²: the constant of an interval tensorises
        return ((2.0 * math.sqrt(3.0) if self.centered else 1.0) / math.pi) ** 2


@dataclass(frozen=True)
class BinaryCube(_Box):
    """Uniform on {−1, 1}^d, so that E‖x‖² = d; ``centered=False``: on {0, 1}^d.

    Parameters
    ----------
    dim: d.
    centered: {−1, 1}^d (True) or {0, 1}^d.
    """

    def _draw(self, n_samples: int, generator: torch.Generator) -> Tensor:
        import torch

        bits = torch.randint(0, 2, (n_samples, self.dim), generator=generator).double()
        return 2.0 * bits - 1.0 if self.centered else bits

    def moments(self) -> Moments:
        if self.centered:
            return Moments(float(self.dim), float(self.dim), True)
        return Moments(self.dim / 2.0, self.dim / 4.0, False)

    @property
    def lipschitz_concentration(self) -> bool:
        return False

    @property
    def concentration_note(self) -> str:
        return (
            "Only convex Lipschitz functions concentrate (Talagrand): the distance to the cube's own "
            "points with Σx_i ≤ 0 is 1-Lipschitz with a standard deviation of 0.68 d^(1/4), while "
            "the distance to the half-space, which is convex, has a bounded one."
        )


@dataclass(frozen=True)
class GeneratedImage(Distribution):
    """x = c·G(z): a Lipschitz image of z ~ N(0, I_latent), as a generative network makes it.

    G is a random two-layer tanh network with orthogonal layers scaled to operator norm 1, and c
    makes E‖x‖² = d; so x is ``lipschitz_constant``-Lipschitz in z. tanh is odd: the mean is 0.

    Parameters
    ----------
    dim: d.
    latent: dimension of z.
    generator_seed: of the generator's weights.
    """

    dim: int
    latent: int = 0
    generator_seed: int = 0

    def __post_init__(self) -> None:
        _check_dim(self.dim)
        if self.latent == 0:
            object.__setattr__(self, "latent", self.dim)
        _check_dim(self.latent)

    def _layers(self) -> tuple[Tensor, Tensor]:
        from ntkscope._base.inputs import as_seed

        generator = as_seed(self.generator_seed, "image")
        hidden = max(self.latent, self.dim)
        return (
            _isometry(self.latent, hidden, generator),
            _isometry(hidden, self.dim, generator),
        )

    def _raw(self, z: Tensor) -> Tensor:
        import torch

        first, second = self._layers()
        return torch.tanh(z @ first) @ second

    def _estimate(self, n_samples: int = 4096) -> tuple[float, float]:
        import torch

        from ntkscope._base.inputs import as_seed

        z = torch.randn(
            n_samples,
            self.latent,
            generator=as_seed(self.generator_seed, "moments"),
            dtype=torch.float64,
        )
        squares = self._raw(z).square().sum(dim=1)
        return float(squares.mean()), float(squares.std()) / math.sqrt(n_samples)

    @property
    def scale(self) -> float:
        """c = √(d / E‖G(z)‖²), estimated once from 4096 fixed samples."""
        return math.sqrt(self.dim / self._estimate()[0])

    @property
    def lipschitz_constant(self) -> float:
        """Of x as a function of z: c, since the layers have norm 1 and tanh is 1-Lipschitz."""
        return self.scale

    def _draw(self, n_samples: int, generator: torch.Generator) -> Tensor:
        import torch

        z = torch.randn(n_samples, self.latent, generator=generator, dtype=torch.float64)
        return self.scale * self._raw(z)

    def moments(self) -> Moments:
        value, error = self._estimate()
        return Moments(float(self.dim), float(self.dim), True, self.dim * error / value)

    @property
    def lipschitz_concentration(self) -> None:
        # its constant is √(d/latent) and more, so whether it is free of d is a matter of the family
        return None

    @property
    def concentration_note(self) -> str:
        return (
            f"A Lipschitz image of a Gaussian with constant {self.lipschitz_constant:.3g}: "
            "a 1-Lipschitz function of x is subgaussian with that constant."
        )

    @property
    def poincare(self) -> float:
        return self.lipschitz_constant**2


@dataclass(frozen=True)
class _OnCircle(Distribution):
    dim: int = 2

    def __post_init__(self) -> None:
        if self.dim != 2:
            raise ValueError(f"the circle lies in R^2, got dim={self.dim}")

    def moments(self) -> Moments:
        return Moments(2.0, 2.0, True)

    @property
    def lipschitz_concentration(self) -> bool:
        return True

    @property
    def concentration_note(self) -> str:
        return "The circle of radius √2 is bounded, so every 1-Lipschitz function on it is subgaussian."


@dataclass(frozen=True)
class Circle(_OnCircle):
    """Uniform on the circle of radius √2 in R².

    Parameters
    ----------
    dim: 2.
    """

    @property
    def poincare(self) -> float:
        return 2.0

    def norm_sq_quantile(self, q: Array) -> Array:
        return np.full_like(q, 2.0)

    def _draw(self, n_samples: int, generator: torch.Generator) -> Tensor:
        import torch

        return _on_circle(torch.rand(n_samples, generator=generator, dtype=torch.float64))


@dataclass(frozen=True)
class EquispacedCircle(_OnCircle):
    """N equispaced points on the circle of radius √2: the limiting kernel is then circulant.

    The points are the same for every seed.

    Parameters
    ----------
    dim: 2.
    """

    def _draw(self, n_samples: int, generator: torch.Generator) -> Tensor:  # noqa: ARG002
        import torch

        return _on_circle(torch.arange(n_samples, dtype=torch.float64) / n_samples)


def _on_circle(turns: Tensor) -> Tensor:
    import torch

    angle = 2.0 * math.pi * turns
    return math.sqrt(2.0) * torch.stack([torch.cos(angle), torch.sin(angle)], dim=1)


def _isometry(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """A (rows, columns) matrix with all singular values 1."""
    import torch

    tall = (max(rows, columns), min(rows, columns))
    q, _ = torch.linalg.qr(torch.randn(tall, generator=generator, dtype=torch.float64))
    return q if rows >= columns else q.T
