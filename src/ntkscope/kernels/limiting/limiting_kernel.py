"""The infinite-width kernels of a network, in the units of its finite kernels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ntkscope._base.devices import as_device
from ntkscope._base.inputs import as_data
from ntkscope.kernels.index import Index
from ntkscope.kernels.limiting.architectures.kernel import ArchitectureKernel
from ntkscope.kernels.limiting.architectures.variances import Variances
from ntkscope.kernels.limiting.dual import ACCURACY
from ntkscope.kernels.limiting.network_kernel import LimitingKernel
from ntkscope.kernels.limiting.recursion import (
    check_get,
)
from ntkscope.networks.mlp import MLP
from ntkscope.networks.network import Network


def limiting_ntk(
    net: Network | nn.Module,
    X: Any,
    X2: Any = None,
    *,
    get: str | tuple[str, ...] = "ntk",
    reduce: str | int = "trace",
    tile: tuple[Index, Index] | None = None,
    accuracy: float = ACCURACY,
    device: str | torch.device | None = None,
    variances: Variances = "measured",
    parameterization: str | None = None,
) -> Any:
    """The limiting kernel of ``net`` on X (N, d), or between X and X2 (M, d), in float64.

    ``net`` is a :class:`Network` or any ``nn.Module`` of operations that have a limit
    (:func:`plan_limit` shows them); a module takes samples of any shape.

    It has the units of ``empirical_ntk(net.sample(seed), X)``: the wide-limit recursion at the
    network's own widths (Nguyen et al. 2021, eq. 9-17). With infinite widths it is the common
    limit, which is the finite kernel times ``net.ntk_normalization``.

    Parameters
    ----------
    get: ``"ntk"``; ``"nngp"``, the covariance of the outputs; ``"terms"``, the L summands of
        Nguyen eq. 17; ``"G"``, the covariances C^1, …, C^L of the pre-activations; ``"G_dot"``, the
        L−1 factors n_l β_{l+1}² E[φ′φ′]; or a tuple of them, which gives a tuple.
    reduce: for several outputs, as in :func:`empirical_ntk`: ``"trace"`` or an output's index.
    tile: (rows, cols), slices or indices: only that part is computed.
    accuracy: the truncation error of Hermite series relative to √(K_ii K_jj), for activations
        without a closed form. For a Network.
    variances: of a module's parameters: ``"measured"``, their mean squares as the model stands;
        ``"nominal"``, those of torch's default initialization; or ``{pattern: variance}`` for
        some, the others measured.
    parameterization: of a module: ``"standard"`` (the default), the units of
        ``empirical_ntk(model, X)``; or ``"ntk"``, weights √β² ω with gradients with respect to ω.
        A Network has its own.
    net: a :class:`Network`, or a module of operations that have a limit.
    X, X2: (N, d) and (M, d) samples; ``X2=None`` means the symmetric kernel of ``X``.
    device: where it is computed; by default where X is. A module's limit is computed on the CPU.

    Returns
    -------
    An (N, M) tensor for "ntk" and "nngp", a list of tensors for the others.

    Raises ValueError for data that do not fit, networks without a wide limit, infinite E φ², or
    an accuracy that cannot be reached; NotEnoughMemoryError when the kernel does not fit.
    """
    kernel = limiting_kernel(
        net, X, X2, get=get, reduce=reduce, accuracy=accuracy, device=device,
        variances=variances, parameterization=parameterization,
    )  # fmt: skip
    if tile is not None:
        if not isinstance(tile, tuple) or len(tile) != 2:
            raise TypeError(f"tile must be a pair (rows, cols), got {tile!r}")
        return kernel.parts(*tile)
    return kernel.whole()


def limiting_kernel(
    net: Network | nn.Module,
    X: Any,
    X2: Any = None,
    *,
    get: str | tuple[str, ...] = "ntk",
    reduce: str | int = "trace",
    accuracy: float = ACCURACY,
    device: str | torch.device | None = None,
    variances: Variances = "measured",
    parameterization: str | None = None,
) -> LimitingKernel | ArchitectureKernel:
    """The same as an object that forms only what is asked of it: ``K @ v``, ``K.tile``, ….

    For N too large for an N×N matrix. Arguments and errors as in :func:`limiting_ntk`.

    Parameters
    ----------
    net, X, X2, get, reduce, accuracy, device, variances, parameterization: as in
        :func:`limiting_ntk`.

    Returns
    -------
    LimitingKernel; for a module the limiting kernel of its architecture.
    """
    where = None if device is None else as_device(device)
    if isinstance(net, nn.Module) and not isinstance(net, MLP):
        if where is not None and where.type != "cpu":
            raise ValueError(
                f"a module's limit is computed on the CPU: leave device={str(device)!r} out, and take "
                "what is to be done with the kernel there by .to(device=…)"
            )
        return ArchitectureKernel(
            net, X, X2, get=get, reduce=reduce, variances=variances,
            parameterization=parameterization or "standard",
        )  # fmt: skip
    if not isinstance(net, Network):
        raise TypeError(
            f"net must be a Network or an nn.Module, got {type(net).__name__}; a sampled MLP has "
            "its Network as .network"
        )
    if variances != "measured" or parameterization is not None:
        raise ValueError(
            "variances and parameterization are a module's; a Network has its own (init=, "
            "parameterization=)"
        )
    names = check_get(get)
    left = _fit(net, X, "X", where)
    right = None if X2 is None else _fit(net, X2, "X2", left.device)
    return LimitingKernel(
        net, left, right, get if isinstance(get, str) else names, reduce, accuracy
    )


def _fit(net: Network, X: Any, name: str, device: torch.device | None) -> Tensor:
    data = as_data(X, name, dtype=torch.float64)
    if data.shape[1] != net.dim:
        raise ValueError(f"{name} has {data.shape[1]} features, the network takes {net.dim}")
    return data if device is None else data.to(device)
