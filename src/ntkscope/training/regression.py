"""Kernel regression with infinite-width networks, in scikit-learn's conventions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ntkscope._base import memory
from ntkscope._base.extras import needs
from ntkscope._base.specs import unknown
from ntkscope.kernels.given import as_kernel
from ntkscope.kernels.limiting.limiting_kernel import limiting_kernel, limiting_ntk
from ntkscope.networks.network import Network

with needs("data"):
    from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
    from sklearn.utils.validation import check_is_fitted, validate_data

Kernel = Callable[[Tensor, Tensor | None], Any]


class NTKRegressor(RegressorMixin, MultiOutputMixin, BaseEstimator):  # type: ignore[misc]
    """Ridge regression or a Gaussian process with a network's limiting kernel.

    With ``kernel="ntk"`` the mean is what infinitely wide networks learn by gradient descent, with
    ``kernel="nngp"`` what they are as Gaussian processes (Lee et al. 2019).

    Parameters
    ----------
    hidden_layers: number of hidden layers, L − 1.
    activation, init, bias_std: as in :class:`Network`, in the "ntk" parameterization.
    kernel: ``"ntk"``, ``"nngp"``, an ``nn.Module`` whose limiting NTK it is, or a callable of (X, X2 or None) that returns a matrix or an
        :class:`Kernel`, for example an empirical kernel.
    ridge: added to the diagonal of the kernel on the samples; the variance of the noise.
    uncertainty: what ``return_std`` means for ``kernel="ntk"``: ``"gp"``, the posterior of a
        Gaussian process with that covariance, or ``"ensemble"``, the spread of trained networks
        over their initial weights (Lee et al. 2019, eq. 16).
    accuracy: truncation error of series, as in :func:`limiting_ntk`.

    Attributes (after ``fit``)
    --------------------------
    network_: the :class:`Network`, of infinite widths; None with a callable.
    dual_coef_: (N, C) or (N,) solution of (K + ridge) a = y.
    n_features_in_: d.
    """

    def __init__(
        self,
        hidden_layers: Any = 2,
        activation: Any = "relu",
        init: Any = "he",
        bias_std: Any = 0.1,
        kernel: Any = "ntk",
        ridge: Any = 1e-6,
        uncertainty: Any = "gp",
        accuracy: Any = 1e-14,
    ) -> None:
        self.hidden_layers = hidden_layers
        self.activation = activation
        self.init = init
        self.bias_std = bias_std
        self.kernel = kernel
        self.ridge = ridge
        self.uncertainty = uncertainty
        self.accuracy = accuracy

    def fit(self, X: Any, y: Any) -> NTKRegressor:
        """Solve (K + ridge) a = y for (N, d) inputs and (N,) or (N, C) targets.

        Raises ValueError for parameters out of range and where K + ridge is not positive definite
        in floating point.
        """
        X, y = validate_data(
            self, X, y, dtype=np.float64, multi_output=True, y_numeric=True, ensure_min_samples=1
        )
        self._check_parameters()
        self.network_ = None if callable(self.kernel) else self._network(X.shape[1])
        self.X_fit_ = torch.tensor(X)
        targets = torch.tensor(y, dtype=torch.float64)
        N = len(X)
        memory.require(
            2.1 * 8 * N * N, f"the kernel and its factor at N = {N}", "use fewer samples"
        )
        matrix = self._kernel(self.X_fit_, None)
        matrix.diagonal().add_(float(self.ridge))
        factor, info = torch.linalg.cholesky_ex(matrix)
        if int(info):
            raise ValueError(
                f"kernel + ridge is not positive definite at ridge={self.ridge}: leading minor "
                f"{int(info)} of {N} fails; use a larger ridge or remove duplicate rows"
            )
        self.factor_ = factor
        columns = targets if targets.ndim == 2 else targets[:, None]
        solution = torch.cholesky_solve(columns, factor)
        self.dual_coef_ = (solution if targets.ndim == 2 else solution[:, 0]).numpy()
        return self

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Predictions of y's form at (M, d) inputs; with ``return_std`` also standard deviations.

        The deviation is of the function, without the noise ``ridge``. Variances within rounding of
        0 are 0; a callable kernel has the Gaussian process's deviation.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        inputs = torch.tensor(X)
        cross = self._kernel(inputs, self.X_fit_)
        mean = (cross @ torch.from_numpy(self.dual_coef_)).numpy()
        if not return_std:
            return mean
        spread = np.sqrt(self._variance(inputs, cross).numpy())
        return mean, spread if mean.ndim == 1 else np.repeat(spread[:, None], mean.shape[1], 1)

    def _variance(self, inputs: Tensor, cross: Tensor) -> Tensor:
        white = torch.linalg.solve_triangular(self.factor_, cross.T, upper=False)
        if self.network_ is not None and self._ensemble:
            # Σ** + W Σ Wᵀ − 2 W Σ*, W = Θ* Θ⁻¹
            weights = torch.linalg.solve_triangular(self.factor_.T, white, upper=True).T
            own = self._limiting(inputs, None, "nngp", diagonal=True)
            between = self._limiting(inputs, self.X_fit_, "nngp")
            inner = self._limiting(self.X_fit_, None, "nngp")
            parts = [
                own,
                torch.linalg.vecdot(weights @ inner, weights),
                -2.0 * torch.linalg.vecdot(weights, between),
            ]
        else:
            parts = [self._own(inputs), -torch.linalg.vecdot(white, white, dim=0)]
        total = torch.stack(parts)
        slack = 100 * len(self.X_fit_) * torch.finfo(torch.float64).eps
        noise = slack * total.abs().sum(0) * self._condition()
        variance = total.sum(0)
        if bool((variance < -noise).any()):
            raise ValueError(
                f"a predicted variance is {float(variance.min()):.3g} < 0 beyond rounding: "
                "the kernel is not positive semi-definite"
            )
        return variance.clamp_min(0.0)

    def _condition(self) -> float:
        """A cheap estimate of the condition number behind the triangular solves."""
        diagonal = self.factor_.diagonal()
        return float((diagonal.max() / diagonal.min()) ** 2)

    @property
    def _ensemble(self) -> bool:
        return self.kernel == "ntk" and self.uncertainty == "ensemble"

    def _own(self, inputs: Tensor) -> Tensor:
        """k(x, x) at every input."""
        if self.network_ is not None:
            return self._limiting(inputs, None, str(self.kernel), diagonal=True)
        if isinstance(self.kernel, nn.Module):
            return limiting_kernel(self.kernel, inputs).diagonal()
        return torch.stack([self._kernel(row[None], None)[0, 0] for row in inputs])

    def _kernel(self, X: Tensor, X2: Tensor | None) -> Tensor:
        if self.network_ is not None:
            return self._limiting(X, X2, str(self.kernel))
        if isinstance(self.kernel, nn.Module):
            return limiting_ntk(self.kernel, X, X2)
        matrix = as_kernel(self.kernel(X, X2)).dense().to(torch.float64)
        expected = (len(X), len(X if X2 is None else X2))
        if tuple(matrix.shape) != expected:
            raise ValueError(f"kernel returned shape {tuple(matrix.shape)}, expected {expected}")
        return matrix

    def _limiting(self, X: Tensor, X2: Tensor | None, get: str, diagonal: bool = False) -> Tensor:
        assert self.network_ is not None
        if diagonal:
            return limiting_kernel(self.network_, X, get=get, accuracy=self.accuracy).diagonal()
        return limiting_ntk(self.network_, X, X2, get=get, accuracy=self.accuracy)

    def _network(self, dim: int) -> Network:
        widths = [dim, *[math.inf] * self.hidden_layers, 1]
        return Network(
            widths, self.activation, self.init, parameterization="ntk", bias_std=self.bias_std
        )

    def _check_parameters(self) -> None:
        if isinstance(self.hidden_layers, bool) or not isinstance(self.hidden_layers, int):
            raise TypeError(f"hidden_layers must be an integer, got {self.hidden_layers!r}")
        if self.hidden_layers < 1:
            raise ValueError(f"hidden_layers must be at least 1, got {self.hidden_layers}")
        if not (math.isfinite(self.ridge) and self.ridge >= 0):
            raise ValueError(f"ridge must be at least 0 and finite, got {self.ridge}")
        if not callable(self.kernel) and self.kernel not in ("ntk", "nngp"):
            raise ValueError(unknown("kernel", self.kernel, ("ntk", "nngp")) + ", or a callable")
        if self.uncertainty not in ("gp", "ensemble"):
            raise ValueError(unknown("uncertainty", self.uncertainty, ("gp", "ensemble")))
