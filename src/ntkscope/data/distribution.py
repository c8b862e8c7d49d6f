"""What a distribution states of itself: the contract of a law of data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ntkscope._base import memory
from ntkscope._base.arrays import Array

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float
    from torch import Tensor


@dataclass(frozen=True)
class Moments:
    """E‖x‖², E‖x − Ex‖² and whether Ex = 0; ``error`` is a standard error where one was estimated.

    Attributes
    ----------
    norm_sq: E‖x‖².
    centered_norm_sq: E‖x − Ex‖².
    centered: whether Ex = 0.
    error: a standard error, where one was estimated.
    """

    norm_sq: float
    centered_norm_sq: float
    centered: bool
    error: float = 0.0


class Distribution(ABC):
    """A law of x in R^d: sampling, moments, and what is known of its concentration.

    A law of one's own says these things of itself and is registered with
    :func:`ntkscope.data.register_distribution`. torch is needed only to draw.
    """

    dim: int

    @abstractmethod
    def _draw(self, n_samples: int, generator: torch.Generator) -> Tensor:
        """(N, d) float64 samples."""

    def mean(self) -> Float[Tensor, d]:
        """Ex, 0 unless a law says otherwise."""
        import torch

        return torch.zeros(self.dim, dtype=torch.float64)

    @abstractmethod
    def moments(self) -> Moments:
        """Second moments, in closed form where there is one."""

    @property
    @abstractmethod
    def lipschitz_concentration(self) -> bool | None:
        """Whether every 1-Lipschitz function concentrates at a dimension-free rate; None: unknown."""

    @property
    @abstractmethod
    def concentration_note(self) -> str:
        """Why, in a sentence."""

    @property
    def poincare(self) -> float | None:
        """A constant C with Var h(x) ≤ C‖h‖²_Lip for every Lipschitz h; None where none is known."""
        return None

    @property
    def norm_note(self) -> str:
        """What a prediction calls the law of the norms."""
        return str(self)

    def norm_sq_quantile(self, q: Array) -> Array | None:  # noqa: ARG002
        """The q-quantiles of ‖x‖² for a law with uniform directions, None for any other.

        This is all that a prediction needs to know of such a law.
        """
        return None

    def sample(
        self,
        n_samples: int,
        seed: int | torch.Generator,
        dtype: torch.dtype | str = "float64",
        device: str | torch.device = "cpu",
    ) -> Float[Tensor, "N d"]:
        """``n_samples`` independent rows; the numbers depend on the seed alone."""
        from ntkscope._base.inputs import as_dtype, as_seed

        if isinstance(n_samples, bool) or not isinstance(n_samples, int):
            raise TypeError(f"n_samples must be an integer, got {n_samples!r}")
        if n_samples < 1:
            raise ValueError(f"n_samples must be at least 1, got {n_samples}")
        memory.require(
            3 * 8.0 * n_samples * self.dim, f"drawing {n_samples} samples of {self.dim} numbers",
            "use fewer samples",
        )  # fmt: skip
        return self._draw(n_samples, as_seed(seed, "data")).to(device=device, dtype=as_dtype(dtype))
