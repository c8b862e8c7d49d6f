"""Bombari et al. 2022, eq. 18: the paired start with its last layer boosted by γ, and Lemma H.2."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ntkscope._base.specs import parse_spec
from ntkscope.networks.initialization import GIVEN
from ntkscope.networks.mlp import MLP
from ntkscope.networks.network import replace_network
from ntkscope.papers.bombari2022 import PAPER
from ntkscope.papers.bombari2022.hypotheses import lipschitz_activation
from ntkscope.spectra.smallest import smallest_eigenvalue
from ntkscope.statements import needs
from ntkscope.statements.findings import Findings
from ntkscope.statements.instance import Instance, NotComputable
from ntkscope.statements.quantity import Quantity, U
from ntkscope.training.boost import gamma_of, theorem_gamma, with_theorem_gamma

NEEDS = (lipschitz_activation, needs.plain, needs.standard)


def start(i: Instance) -> Instance:
    """The instance at θ_0 of eq. 18: itself where its network is paired and states γ.

    A paired network without γ takes the γ = d³N² of Theorem 4.2, as ``train`` does; any other network
    is replaced by the paired one of its widths and seed with that γ.

    Raises NotComputable for an odd n_(L-1), infinite γ, or a network that is not plain.
    """
    found: Instance = i.held("eq. 18", lambda: _start(i))
    return found


def _start(i: Instance) -> Instance:
    net = i.network
    if net.init == GIVEN or not i.plain or net.parameterization != "standard":
        raise NotComputable("eq. 18 is an initialization of plain networks with raw weights")
    if not net.paired:
        if i.n[i.L - 1] % 2:
            raise NotComputable("eq. 18 needs an even number of neurons in layer L−1")
        spec = parse_spec(net.init) if isinstance(net.init, str) else None
        beta = spec.options.get("beta", 1.0) if spec and spec.name == "bombari2022" else 1.0
        net = replace_network(net, init=f"bombari2022-paired:beta={beta!r}")
    net = with_theorem_gamma(net, i.N)
    if net.init == i.network.init:
        return i
    return _on(i, net.sample(i.seed))


def _on(i: Instance, model: MLP) -> Instance:
    return Instance(model, i.X, seed=i.seed, distribution=i.distribution, samples=i.samples,
                    trials=i.trials, delta=i.delta)  # fmt: skip


def with_gamma(start: Instance, gamma: float) -> Instance:
    """The same θ_0 with another γ: the last layer is multiplied by a number."""
    factor = math.sqrt(gamma / gamma_of(start.network))
    spec = parse_spec(str(start.network.init))
    text = ",".join(f"{k}={v!r}" for k, v in {**spec.options, "gamma": gamma}.items())
    net = replace_network(start.network, init=f"{spec.name}:{text}")
    weights = [w.detach() for w in start.model.weights]
    return _on(start, MLP(net, [*weights[:-1], weights[-1] * factor]))


def tell(i: Instance, start: Instance, out: Findings) -> None:
    """The θ_0 of the statement."""
    gamma, theirs = gamma_of(start.network), theorem_gamma(start.network, start.N)
    note = f"θ_0 is that of eq. 18 with γ = {gamma:.4g}"
    note += " = d³N²" if gamma == theirs else f" (Theorem 4.2 takes d³N² = {theirs:.4g})"
    out.note(note + (", drawn for these widths." if start is not i else "."))


def labels(i: Instance) -> Tensor:
    """Y ~ N(0, I), of norm about √N."""
    return torch.randn(i.N, generator=i.generator("labels"), dtype=torch.float64)


@PAPER.statement(
    "lemma-h.2",
    title="What the paired start gives",
    section="§4 (Lemma H.2)",
    sentence=(
        "At the paired start the network's output is 0, and λ_min(K) is at least γ times λ_min of the "
        "hidden layers' kernel at γ = 1."
    ),
    latex=r"F_L(\theta_0)=0,\qquad \sigma_{\min}(J(\theta_0))^2\ge\gamma\,\lambda_{\min}\Big(\sum_{k<L-1}K_k\big|_{\gamma=1}\Big)",
    needs=NEEDS,
    level2="both, and K_γ − K_(L-1) = γ(K_1 − K_(L-1)) entry by entry",
)
def paired_start(i: Instance, out: Findings) -> None:
    j = start(i)
    tell(i, j, out)
    last = j.F(j.L - 1)
    terms = float((last.abs() @ j.weight(j.L).abs()).max())
    size = 4 * j.n[j.L - 1] * U * terms
    out.conclude_equal("max_i |F_L(θ_0)_i| = 0", Quantity(float(j.G(j.L).abs().max()), size), 0.0,
                       key="zero", scale=terms)  # fmt: skip
    gamma = gamma_of(j.network)
    one = with_gamma(j, 1.0)
    hidden = one.K - last @ last.T
    found = smallest_eigenvalue(hidden)
    bar = found.error + one.kernel.forming_error() + 2 * j.n[j.L - 1] * U * _trace(one.K)
    out.conclude_at_least("λ_min(K_γ) ≥ γ λ_min(Σ_(k<L-1) K_k at γ = 1)", j.lambda_K,
                          gamma * Quantity(found.value, bar), key="spectrum")  # fmt: skip
    difference = (j.K - last @ last.T) - gamma * hidden
    rounding = 16 * sum(j.n) * U * float(j.K.diagonal().max())
    out.equal("K_γ − K_(L-1) − γ(K_1 − K_(L-1)), largest entry",
              Quantity(float(difference.abs().max()), rounding), 0.0, key="scaled",
              scale=gamma * float(hidden.diagonal().max()))  # fmt: skip


def _trace(K: Tensor) -> float:
    return float(K.diagonal().sum())
