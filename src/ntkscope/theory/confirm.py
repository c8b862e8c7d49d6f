"""Counterexamples confirmed in ball arithmetic: the stored weights and data, everything else proved.

Each confirmer evaluates both sides of one kind of claim as balls. A side that is an eigenvalue is
replaced by the bound that a refutation needs: a Rayleigh quotient above λ_min, a Cholesky
factorisation in balls below it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ntkscope import _balls
from ntkscope.activations import Activation
from ntkscope.data import Gaussian, Sphere
from ntkscope.theory.banerjee2023 import Setting
from ntkscope.theory.instance import Instance
from ntkscope.theory.verdict import Claim

_REACH = 14


@dataclass(frozen=True)
class Confirmation:
    """An inequality left ≤/≥ right refuted: enclosures of both sides that are disjoint."""

    claim: str
    left: tuple[float, float]
    right: tuple[float, float]
    refuted: bool
    bits: int = _balls.PRECISION

    def __str__(self) -> str:
        word = "refuted" if self.refuted else "not refuted"
        return (
            f"{self.claim}: {word} in ball arithmetic at {self.bits} bits, left in "
            f"[{self.left[0]:.12g}, {self.left[1]:.12g}], right in "
            f"[{self.right[0]:.12g}, {self.right[1]:.12g}]"
        )


Sides = tuple[Any, Any]
Confirmer = Callable[[Instance, str], Sides | None]


def confirm(id: str, instance: Instance, claim: Claim) -> Confirmation | None:
    """Evaluate a violated claim of a statement in balls; None where there is no confirmer for it.

    Raises ImportError where python-flint is missing.
    """
    for pattern, confirmer in _CONFIRMERS.get(id, ()):
        if re.search(pattern, claim.name) is None:
            continue
        with _balls.precision():
            sides = confirmer(instance, claim.name)
            if sides is None:
                return None
            left, right = sides
            refuted = bool(left < right) if claim.relation == "≥" else bool(left > right)
            return Confirmation(claim.name, _balls.bounds(left), _balls.bounds(right), refuted)
    return None


def features(i: Instance, k: int) -> Any | None:
    """F_k in balls; None where φ has no ball version."""
    phi = activation(i.network.activation)
    if phi is None or i.network.residual or len(i.model.biases):
        return None
    module = _balls.flint()
    f = _balls.matrix(i.X)
    for l in range(1, k + 1):
        g = f * _balls.matrix(i.model.weights[l - 1].detach())
        if i.network.parameterization == "ntk":
            g = g * (1 / module.arb(i.n[l - 1]).sqrt())
        f = _balls.entrywise(g, phi)
    return f


def activation(phi: Activation) -> Callable[[Any], Any] | None:
    """φ on balls (real or complex)."""
    if phi.custom:
        return None
    known: dict[str, Callable[[Any], Any]] = {
        "tanh": lambda z: z.tanh(),
        "sin": lambda z: z.sin(),
        "erf": lambda z: z.erf(),
        "sigmoid": lambda z: 1 / (1 + (-z).exp()),
        "identity": lambda z: z,
        "relu": lambda z: z.max(0),
        "abs": lambda z: abs(z),
    }
    return known.get(phi.name)


def bounded_expectation(phi: Activation, variance: Any, order: int | None = None) -> Any | None:
    """E φ(√a z)² (``order`` None) or E[φ(√a z) h_r(z)] in balls, for φ with values in [−1, 1].

    The integral runs over |z| ≤ 14. Beyond it |φ h_r| ≤ (|z| + √r)^r/√(r!), whose integral is below
    4 (14 + √r)^r e^{−98}/√(r!) < 1e-35 for r ≤ 7; 1e-30 is added to the radius.
    """
    if phi.custom or phi.name not in ("tanh", "sin", "erf", "sigmoid"):
        return None
    module = _balls.flint()
    function = activation(phi)
    assert function is not None
    root = module.arb(variance).sqrt()

    def integrand(z: Any, _: Any) -> Any:
        value = function(root * z)
        weight = (-z * z / 2).exp() / (2 * module.arb.pi()).sqrt()
        if order is None:
            return value * value * weight
        before, now = module.acb(0), module.acb(1)
        for r in range(order):
            before, now = now, (z * now - module.arb(r).sqrt() * before) / module.arb(r + 1).sqrt()
        return value * now * weight

    total = module.acb.integral(integrand, -_REACH, _REACH).real
    return total + module.arb(0, 1e-30)


def _centred_power(i: Instance, claim: str) -> tuple[Any, Any, Any] | None:
    """((FFᵀ)^{∘r}, (F̃F̃ᵀ)^{∘r}, r) for the first ReLU layer, where E f has a closed form."""
    found = re.search(r"F_(\d+), r = (\d+)", claim)
    law = i.distribution
    if found is None or int(found[1]) != 1 or not i.relu:
        return None
    if not isinstance(law, (Gaussian, Sphere)):
        return None
    r = int(found[2])
    F = features(i, 1)
    if F is None:
        return None
    module = _balls.flint()
    # E max(⟨w, x⟩, 0) = ‖w‖/√(2π), on the sphere of radius R ‖w‖ R Γ(d/2)/(2√π Γ((d+1)/2))
    if isinstance(law, Gaussian):
        factor = 1 / (2 * module.arb.pi()).sqrt()
    else:
        radius = module.arb(i.d).sqrt() if law.radius is None else module.arb(law.radius)
        gammas = (module.arb(i.d) / 2).gamma() / ((module.arb(i.d) + 1) / 2).gamma()
        factor = radius * gammas / (2 * module.arb.pi().sqrt())
    W = _balls.matrix(i.weight(1))
    means = []
    for j in range(W.ncols()):
        square = module.arb(0)
        for a in range(W.nrows()):
            square += W[a, j] * W[a, j]
        means.append(square.sqrt() * factor)
    N, n = F.nrows(), F.ncols()
    centred = module.arb_mat(N, n, [F[a, j] - means[j] for a in range(N) for j in range(n)])
    powers = [_balls.entrywise(M * M.transpose(), lambda x: x**r) for M in (F, centred)]
    return powers[0], powers[1], r


def _midpoint(M: Any) -> torch.Tensor:
    values = [float(x.mid()) for x in M.entries()]
    return torch.tensor(values, dtype=torch.float64).reshape(M.nrows(), M.ncols())


def _rayleigh(M: Any, v: torch.Tensor) -> Any:
    vector = _balls.matrix(v)
    return _balls.quadratic(M, vector) / (vector.transpose() * vector)[0, 0]


def _loewner(i: Instance, claim: str) -> Sides | None:
    powers = _centred_power(i, claim)
    if powers is None:
        return None
    difference = powers[0] - powers[1]
    v = torch.linalg.eigh(_midpoint(difference))[1][:, 0]
    return _rayleigh(difference, v), _balls.flint().arb(0)


def _smaller_eigenvalue(i: Instance, claim: str) -> Sides | None:
    """λ_min(FFᵀ) from above against λ_min(F̃F̃ᵀ) from below."""
    powers = _centred_power(i, claim)
    if powers is None:
        return None
    full, reduced, _ = powers
    values, vectors = torch.linalg.eigh(_midpoint(full))
    upper = _rayleigh(full, vectors[:, 0])
    below = float(torch.linalg.eigvalsh(_midpoint(reduced))[0])
    shift = below - 1e-9 * max(abs(below), abs(float(values[-1])) * 1e-3)
    return (upper, _balls.flint().arb(shift)) if _definite(reduced, shift) else None


def _definite(M: Any, shift: float) -> bool:
    """M − shift·I ≻ 0, by elimination in balls: every pivot is provably positive."""
    module = _balls.flint()
    n = M.nrows()
    rows = [[M[a, b] - (module.arb(shift) if a == b else 0) for b in range(n)] for a in range(n)]
    for k in range(n):
        if not rows[k][k] > 0:
            return False
        for a in range(k + 1, n):
            factor = rows[a][k] / rows[k][k]
            for b in range(k, n):
                rows[a][b] -= factor * rows[k][b]
    return True


def _band(i: Instance, claim: str) -> Sides | None:
    """‖α^(l)(x)‖²/(c m_l) against ½ or 3/2, at the sample that leaves the band furthest."""
    found = re.search(r"α\^\((\d+)\)", claim)
    if found is None:
        return None
    l = int(found[1])
    F = features(i, l)
    c = bounded_expectation(i.network.activation, Setting(i.network).sigma_sq)
    if F is None or c is None:
        return None
    upper = claim.startswith("max")
    norms = i.norms_sq(i.F(l))
    row = int(norms.argmax() if upper else norms.argmin())
    module = _balls.flint()
    square = module.arb(0)
    for j in range(F.ncols()):
        square += F[row, j] * F[row, j]
    return square / (c * i.n[l]), module.arb(1.5 if upper else 0.5)


def _first_layer(i: Instance, claim: str) -> Sides | None:
    """Theorem 4.2 at l = 1 and n = 1: ‖α^(1)(x)‖² ≥ m λ_1, λ_1 = E φ(√a z)², a = ν²‖x‖²/d."""
    if i.N != 1 or not claim.startswith("layer 1,"):
        return None
    F = features(i, 1)
    module = _balls.flint()
    square = module.arb(0)
    for entry in _balls.matrix(i.X).entries():
        square += entry * entry
    variance = module.arb(Setting(i.network).nu_sq) * square / i.d
    expected = bounded_expectation(i.network.activation, variance)
    if F is None or expected is None:
        return None
    left = module.arb(0)
    for entry in F.entries():
        left += entry * entry
    return left, expected * i.n[1]


def _chain(i: Instance, claim: str) -> Sides | None:
    """Lemma 4.3 at n = 1 and l = 1: λ_2 = E φ(√a z)² against (μ_r²/6c)(σ_0²/2)^{3r} λ_1."""
    found = re.search(r"λ_2, r = (\d+), as printed", claim)
    if found is None or i.N != 1:
        return None
    r, s = int(found[1]), Setting(i.network)
    phi = i.network.activation
    module = _balls.flint()
    F = features(i, 1)
    c = bounded_expectation(phi, s.sigma_sq)
    if F is None or c is None:
        return None
    nu_sq = module.arb(s.sigma_sq) / c
    norms = [sum((e * e for e in M.entries()), module.arb(0)) for M in (_balls.matrix(i.X), F)]
    first, second = nu_sq * norms[0] / i.d, nu_sq * norms[1] / i.n[1]
    lambda_1, lambda_2 = bounded_expectation(phi, first), bounded_expectation(phi, second)
    alpha = bounded_expectation(phi, second, r)
    assert lambda_1 is not None
    assert alpha is not None
    mu_sq = alpha * alpha / second**r
    return lambda_2, mu_sq / (6 * c) * (module.arb(s.sigma_sq) / 2) ** (3 * r) * lambda_1


def _hessian_regime(i: Instance, claim: str) -> Sides | None:
    """γ = 4ν_0 against 1."""
    found = re.search(r"σ_0² = ([0-9.e-]+)", claim)
    if found is None:
        return None
    sigma_sq = float(found[1])
    c = bounded_expectation(i.network.activation, sigma_sq)
    if c is None:
        return None
    module = _balls.flint()
    return 4 * (module.arb(sigma_sq) / c).sqrt(), module.arb(1)


_CONFIRMERS: dict[str, tuple[tuple[str, Confirmer], ...]] = {
    "nguyen2021.lemma-5.4": ((r"FFᵀ − F̃F̃ᵀ", _loewner), (r"λ_min\(FFᵀ\)", _smaller_eigenvalue)),
    "banerjee2023.lemma-4.2": ((r"‖α", _band),),
    "banerjee2023.theorem-4.2": ((r"^layer 1, .*as printed", _first_layer),),
    "banerjee2023.lemma-4.3": ((r"as printed", _chain),),
    "banerjee2023.tradeoff": ((r"^γ ≤ 1", _hessian_regime),),
}


def confirmable(id: str) -> bool:
    """Whether some claims of a statement have a confirmer."""
    return id in _CONFIRMERS
