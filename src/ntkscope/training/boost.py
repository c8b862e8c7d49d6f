"""γ, the boost of the last layer of Bombari et al. 2022's paired initialization."""

from __future__ import annotations

from ntkscope._base.specs import parse_spec
from ntkscope.networks.network import Network, replace_network


def theorem_gamma(net: Network, N: int) -> float:
    """γ = d³N², the boost of the last layer in Theorem 4.2."""
    return float(net.dim) ** 3 * float(N) ** 2


def with_theorem_gamma(net: Network, N: int) -> Network:
    """A paired network that states no γ, with the theorem's; any other unchanged."""
    if not net.paired or not isinstance(net.init, str):
        return net
    spec = parse_spec(net.init)
    if "gamma" in spec.options:
        return net
    options = {**spec.options, "gamma": theorem_gamma(net, N)}
    text = ",".join(f"{k}={v!r}" for k, v in options.items())
    return replace_network(net, init=f"{spec.name}:{text}")


def gamma_of(net: Network) -> float:
    """γ of a paired network, 1 elsewhere."""
    if not net.paired or not isinstance(net.init, str):
        return 1.0
    return float(parse_spec(net.init).options.get("gamma", 1.0))


def theorem_unit(net: Network) -> float | None:
    """γ n_{L-2} n_{L-1} of eq. 20 for the paired initialization; ``None`` elsewhere."""
    if not net.paired:
        return None
    return gamma_of(net) * float(net.widths[-3]) * (float(net.widths[-2]) / 2.0)
