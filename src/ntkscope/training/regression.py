"""Kernel regression with networks' kernels, in scikit-learn's conventions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ntkscope._base.devices import as_device
from ntkscope._base.extras import needs
from ntkscope._base.samples import as_samples
from ntkscope._base.specs import unknown
from ntkscope.networks.network import Network
from ntkscope.training.covariances import Covariance, Limiting, Linearized, OfFunction, targets_of
from ntkscope.training.influence import Influence, influence
from ntkscope.training.labels import as_real
from ntkscope.training.leave_one_out import LeaveOneOut, leave_one_out
from ntkscope.training.posterior import KernelPosterior, as_ridge, gamma, nonnegative
from ntkscope.training.snapshot import copied

with needs("data"):
    from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
    from sklearn.utils.validation import check_is_fitted, validate_data


class NTKRegressor(RegressorMixin, MultiOutputMixin, BaseEstimator):  # type: ignore[misc]
    """Ridge regression or a Gaussian process with a network's kernel.

    With ``kernel="ntk"`` the mean is what infinitely wide networks learn by gradient descent, with
    ``kernel="nngp"`` what they are as Gaussian processes (Lee et al. 2019).

    Parameters
    ----------
    hidden_layers: number of hidden layers, L − 1.
    activation, init, bias_std: as in :class:`Network`, in the "ntk" parameterization.
    kernel: ``"ntk"``, ``"nngp"``, an ``nn.Module`` whose limiting NTK it is, :class:`Linearized` of a module for its own
        kernel about its own outputs (with inputs as the module takes them), or a callable of (X, X2 or
        None) that returns a matrix or a :class:`Kernel`, called again by ``predict``. A kernel of a model's outputs
        summed is no kernel of one of them: of several columns of targets each needs its own.
    ridge: added to the diagonal of the kernel on the samples; the variance of the noise.
    uncertainty: what ``return_std`` means for ``kernel="ntk"``: ``"gp"``, the posterior of a
        Gaussian process with that covariance, or ``"ensemble"``, the spread of trained networks
        over their initial weights (Lee et al. 2019, eq. 16).
    accuracy: truncation error of series, as in :func:`limiting_ntk`.
    device: where a named kernel's entries are computed, such as ``"cuda"``. Factor and solves are the
        CPU's, whose rounding the errors are of.
    engine: an :class:`Engine` whose workers factor in tiles on disk, and share the solves.

    Attributes (after ``fit``)
    --------------------------
    network_: the :class:`Network`, of infinite widths; None with other kernels.
    posterior_: the :class:`KernelPosterior`, for :func:`influence` and :func:`leave_one_out`.
    dual_coef_: (N, C) or (N,) solution of (K + ridge) a = y − prior.
    n_features_in_: d, of arrays.
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
        device: Any = "cpu",
        engine: Any = None,
    ) -> None:
        self.hidden_layers = hidden_layers
        self.activation = activation
        self.init = init
        self.bias_std = bias_std
        self.kernel = kernel
        self.ridge = ridge
        self.uncertainty = uncertainty
        self.accuracy = accuracy
        self.device = device
        self.engine = engine

    def fit(self, X: Any, y: Any = None) -> NTKRegressor:
        """Solve (K + ridge) a = y for (N, d) inputs and (N,) or (N, C) targets.

        With :class:`Linearized`, X is what the module takes, y may come with it, and C is the number of
        its outputs.

        Raises ValueError for parameters out of range and where K + ridge is not positive definite
        in floating point.
        """
        self._check_parameters()
        self.network_ = None
        if isinstance(self.kernel, Linearized):
            inputs, y = targets_of(X, y)
            self.X_fit_ = copied(inputs)
            targets = as_real(y, "y")
        else:
            X, y = validate_data(
                self, X, y, dtype=np.float64, multi_output=True, y_numeric=True,
                ensure_min_samples=1,
            )  # fmt: skip
            self.X_fit_ = torch.tensor(X, device=as_device(self.device))
            targets = torch.tensor(y, dtype=torch.float64)
            if isinstance(self.kernel, str):
                self.network_ = self._network(X.shape[1])
        self.covariance_ = self._covariance().held()
        prior = self.covariance_.prior(self.X_fit_)
        self.posterior_ = KernelPosterior(
            self.covariance_.within(self.X_fit_),
            targets,
            self.ridge,
            prior,
            engine=self.engine,
        )
        self._flat = targets.ndim == 1
        self.dual_coef_ = self._shaped(self.posterior_.as_outputs(self.posterior_.solution))
        return self

    def predict(self, X: Any, return_std: bool = False, chunk_size: int | None = None) -> Any:
        """Predictions of y's form at M samples; with ``return_std`` also standard deviations.

        The deviation is of the function, without the noise ``ridge``. Variances within rounding of
        0 are 0. The kernel with the training samples is read ``chunk_size`` samples at a time, by
        default as many as fit in 128 MB.
        """
        inputs = self._inputs(X)
        with self.covariance_.at_fit():
            return self._predicted(inputs, return_std, chunk_size)

    def _predicted(self, inputs: Any, return_std: bool, chunk_size: int | None) -> Any:
        cross = self.covariance_.between(inputs, self.X_fit_)
        mean = self.posterior_.mean(cross, self.covariance_.prior(inputs), chunk_size)
        if not return_std:
            return self._shaped(mean)
        if self.kernel == "ntk" and self.uncertainty == "ensemble":
            spread = self._ensemble(inputs, chunk_size)[:, None].expand_as(mean)
        else:
            own, error = self.covariance_.own(inputs)
            spread = self.posterior_.deviation(cross, own, chunk_size, error)
        return self._shaped(mean), self._shaped(spread)

    def leave_one_out(self) -> LeaveOneOut:
        """What is predicted at each training sample from the others, with the Gaussian process's deviation."""
        check_is_fitted(self)
        return leave_one_out(self.posterior_)

    def influence(self, X: Any) -> Influence:
        """Which training samples the predictions at X rest on."""
        inputs = self._inputs(X)
        with self.covariance_.at_fit():
            cross = self.covariance_.between(inputs, self.X_fit_)
            return influence(self.posterior_, cross, self.covariance_.own(inputs)[0])

    def _inputs(self, X: Any) -> Any:
        check_is_fitted(self)
        if isinstance(self.kernel, Linearized):
            return as_samples(X).inputs
        return torch.tensor(
            validate_data(self, X, dtype=np.float64, reset=False), device=self.X_fit_.device
        )

    def _shaped(self, values: Tensor) -> Any:
        found = values.cpu().numpy().copy()
        return found[:, 0] if self._flat else found

    def _ensemble(self, inputs: Tensor, chunk_size: int | None) -> Tensor:
        """√diag(Σ** + W Σ Wᵀ − 2 W Σ*), W = Θ* (Θ + ridge)⁻¹, Θ the NTK and Σ the NNGP kernel."""
        assert self.network_ is not None
        posterior, nngp = self.posterior_, Limiting(self.network_, "nngp", accuracy=self.accuracy)
        posterior.require_resolved()
        own, _ = nngp.own(inputs)
        inner = nngp.within(self.X_fit_).dense().to(posterior.solution)
        columns = slice(0, len(self.X_fit_))
        cross, between = (k.between(inputs, self.X_fit_) for k in (self.covariance_, nngp))
        size, lost = float(torch.linalg.matrix_norm(inner)), gamma(4 * len(inner) + 8)
        lost += posterior.backward_error * posterior.inverse_norm
        found = []
        for rows in posterior.panels(cross, chunk_size):
            W = posterior.factor.solve(cross.tile(rows, columns).to(posterior.solution).T).T
            near = between.tile(rows, columns).to(W)
            parts = [
                own[rows].to(W),
                torch.linalg.vecdot(W @ inner, W),
                -2 * torch.linalg.vecdot(W, near),
            ]
            total = torch.stack(parts)
            length = torch.linalg.vector_norm(W, dim=1)
            moved = 2 * length * (size * length + torch.linalg.vector_norm(near, dim=1))
            noise = lost * (moved + total.abs().sum(dim=0))
            found.append(nonnegative(total.sum(dim=0), noise))
        return torch.cat(found).sqrt()

    def _covariance(self) -> Covariance:
        if self.network_ is not None:
            return Limiting(self.network_, str(self.kernel), accuracy=self.accuracy)
        if isinstance(self.kernel, Linearized):
            return self.kernel
        if isinstance(self.kernel, nn.Module):
            return Limiting(self.kernel)
        return OfFunction(self.kernel)

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
        as_ridge(self.ridge)
        known = isinstance(self.kernel, Linearized) or callable(self.kernel)
        if not known and self.kernel not in ("ntk", "nngp"):
            raise ValueError(unknown("kernel", self.kernel, ("ntk", "nngp")) + ", or a callable")
        if self.uncertainty not in ("gp", "ensemble"):
            raise ValueError(unknown("uncertainty", self.uncertainty, ("gp", "ensemble")))
