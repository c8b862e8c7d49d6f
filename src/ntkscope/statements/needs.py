"""What statements ask of a network: predicates that say what was found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntkscope.statements.hypothesis import Hypothesis

if TYPE_CHECKING:  # a paper names its needs long before a network, and PyTorch, is there
    from ntkscope.networks.network import Network


def relu(net: Network) -> Hypothesis:
    """φ = ReLU."""
    from ntkscope.activations import activation

    ok = net.activation == activation("relu")
    return _is("the activation is ReLU", ok, str(net.activation))


def homogeneous(net: Network) -> Hypothesis:
    """φ(cz) = cφ(z) for c > 0."""
    ok = net.activation.homogeneity == 1
    return _is("the activation is positively homogeneous", ok, str(net.activation))


def smooth(net: Network) -> Hypothesis:
    """φ has no kinks."""
    return _is("the activation is smooth", net.activation.smooth, str(net.activation))


def plain(net: Network) -> Hypothesis:
    """Neither biases nor residual connections."""
    found = []
    found += ["biases"] if net.bias_std is not None else []
    found += [f"residual {net.residual:g}"] if net.residual else []
    return _is("no biases, no residual connections", not found, ", ".join(found))


def standard(net: Network) -> Hypothesis:
    """Raw weights in the forward pass."""
    ok = net.parameterization == "standard"
    return _is("standard parameterization", ok, net.parameterization)


def ntk(net: Network) -> Hypothesis:
    """W_l/√n_{l-1} in the forward pass."""
    return _is("ntk parameterization", net.parameterization == "ntk", net.parameterization)


def gaussian(net: Network) -> Hypothesis:
    """Independent Gaussian weights in every layer."""
    from ntkscope.networks import initialization

    got: str = net.weights if net.weights != "gaussian" else ""
    got = "two equal halves of neurons" if net.paired else got
    got = "a last layer of norm 1" if initialization.unit_output(net.init) else got
    got = "weights that were given" if net.init == initialization.GIVEN else got
    return _is("independent Gaussian weights", not got, got)


def _is(name: str, ok: bool, got: str) -> Hypothesis:
    return Hypothesis(name, ok, note="" if ok else f"got {got}")
