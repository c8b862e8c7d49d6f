"""What a regression may have as its covariance, and the prior mean that goes with it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ntkscope._base.samples import as_samples
from ntkscope.kernels.empirical import prepare
from ntkscope.kernels.given import as_kernel
from ntkscope.kernels.kernel import Kernel
from ntkscope.kernels.limiting.limiting_kernel import limiting_kernel
from ntkscope.kernels.module.reading.interface import Output
from ntkscope.kernels.prepared import Options
from ntkscope.networks.network import Network
from ntkscope.training.snapshot import Snapshot, copied

_ROWS = 64  # of k(x, x) of a function that returns matrices


class Covariance(ABC):
    """k(x, x′), and E f(x) before the data."""

    @abstractmethod
    def within(self, X: Any) -> Kernel:
        """The kernel of X with itself."""

    @abstractmethod
    def between(self, X: Any, X2: Any) -> Kernel:
        """The kernel of X with X2."""

    def own(self, X: Any) -> tuple[Tensor, float]:
        """k(x, x), and the relative error of its entries."""
        kernel = self.within(X)
        return kernel.diagonal(), kernel.entry_error()

    def prior(self, X: Any) -> Tensor | None:
        """(N, C) outputs before the data, None for 0."""
        del X
        return None

    def held(self) -> Covariance:
        """The same, of the model as it is now, inside :meth:`at_fit`."""
        return self

    def at_fit(self) -> AbstractContextManager[None]:
        """The model as it was when the covariance was held."""
        return nullcontext()


class Limiting(Covariance):
    """Of a network or module of infinite width."""

    def __init__(self, model: Network | nn.Module, get: str = "ntk", **options: Any) -> None:
        self._model, self._get, self._options = model, get, options

    def within(self, X: Any) -> Kernel:
        return limiting_kernel(self._model, X, get=self._get, **self._options)

    def between(self, X: Any, X2: Any) -> Kernel:
        return limiting_kernel(self._model, X, X2, get=self._get, **self._options)


class OfFunction(Covariance):
    """A function of (X, X2 or None) that returns a matrix or a :class:`Kernel`."""

    def __init__(self, function: Callable[[Tensor, Tensor | None], Any]) -> None:
        self._function = function

    def within(self, X: Any) -> Kernel:
        return self._made(X, None)

    def between(self, X: Any, X2: Any) -> Kernel:
        return self._made(X, X2)

    def own(self, X: Any) -> tuple[Tensor, float]:
        kernels = [self._made(X[i : i + _ROWS], None) for i in range(0, len(X), _ROWS)]
        diagonals = torch.cat([k.diagonal().to(torch.float64) for k in kernels])
        return diagonals, max(k.entry_error() for k in kernels)

    def _made(self, X: Tensor, X2: Tensor | None) -> Kernel:
        kernel = as_kernel(self._function(X, X2))
        expected = (len(X), len(X if X2 is None else X2))
        if kernel.shape != expected:
            raise ValueError(f"kernel returned shape {kernel.shape}, expected {expected}")
        return kernel


class Linearized(Covariance):
    """A module linearised at its weights: mean f₀(x), covariance its NTK of all pairs of outputs.

    Given data, that is Bayesian linear regression on the Jacobian with θ ~ N(θ₀, I), whose covariance
    is that of the linearised Laplace approximation (Khan et al. 2019; Immer et al. 2021), and whose mean is
    what the linearised model learns with weight decay towards θ₀. For ``NTKRegressor(kernel=…)``, whose
    ``fit`` copies the weights: what it predicts does not change when the model trains on.

    Parameters
    ----------
    model: what :func:`empirical_ntk` takes, as are its inputs: images, token dicts, datasets.
    prior: ``"model"``, the mean before the data is the model's outputs, or ``"zero"``.
    params, max_memory, chunk_size, self_check, general, output: as in :func:`empirical_ntk`.
    """

    def __init__(
        self,
        model: Any,
        *,
        prior: str = "model",
        params: Any = None,
        max_memory: float | int | None = None,
        chunk_size: int | None = None,
        self_check: bool = True,
        general: bool = False,
        output: Output = None,
    ) -> None:
        if prior not in ("model", "zero"):
            raise ValueError(f'prior must be "model" or "zero", got {prior!r}')
        self.model, self.start = model, prior
        self.options = Options(params, max_memory, chunk_size, self_check, general, output)
        self._snapshot: Snapshot | None = None

    def held(self) -> Linearized:
        found = copy(self)
        found.options = replace(self.options, params=copied(self.options.params))
        found._snapshot = Snapshot(self.model)
        return found

    def at_fit(self) -> AbstractContextManager[None]:
        return nullcontext() if self._snapshot is None else self._snapshot.restored()

    def __repr__(self) -> str:
        return f"Linearized({type(self.model).__name__}, prior={self.start!r})"

    def within(self, X: Any) -> Kernel:
        return prepare(self.model, X, self.options).kernel("full")

    def between(self, X: Any, X2: Any) -> Kernel:
        return prepare(self.model, X, self.options, X2).kernel("full")

    def prior(self, X: Any) -> Tensor | None:
        if self.start == "zero":
            return None
        return prepare(self.model, X, self.options).outputs().flatten(1).to("cpu", torch.float64)


def targets_of(X: Any, y: Any) -> tuple[Any, Any]:
    """Samples as a module takes them, and y or the labels that come with them."""
    samples = as_samples(X)
    y = samples.targets if y is None else y
    if y is None:
        raise ValueError("y is missing: give it, or samples that come with labels")
    return samples.inputs, y
