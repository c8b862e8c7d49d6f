"""The wide limit for positively homogeneous activations: every layer carries 1 − ρ and norms."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ntkscope.activations.activation import Activation
from ntkscope.activations.arccosine import bending, slope_at_zero, step, step_opposite
from ntkscope.kernels.limiting.directions import Angles, Rows, angles
from ntkscope.kernels.limiting.error import LayerError, U
from ntkscope.kernels.limiting.recursion import Layer, Scales

Index = slice | Tensor


@dataclass(eq=False)
class Gram:
    """A Gram matrix as amplitudes and 1 − ρ: entry r_i c_j (1 − δ_ij). δ None stands for 0."""

    rows: Tensor
    cols: Tensor
    delta: Tensor | None

    def entries(self) -> Tensor:
        outer = self.rows * self.cols
        return outer if self.delta is None else outer * (1.0 - self.delta)


class HomogeneousChain:
    """Layers of Gram tiles for φ(z) = pz + q|z|; entries never pass through an arccos."""

    def __init__(
        self, scales: Scales, phi: Activation, X: Tensor, X2: Tensor | None, width: float
    ) -> None:
        parts = phi.homogeneous_parts
        assert parts is not None
        self.scales, self.width = scales, width
        self.p, self.q = parts
        if self.p == self.q == 0:
            raise ValueError(f"activation {phi} is zero, so its kernel is")
        self.c = self.p**2 + self.q**2
        self.at_zero = float(phi.derivative(torch.zeros((), dtype=X.dtype)))
        self.left = Rows.of(X)
        self.right = self.left if X2 is None else Rows.of(X2)
        if scales.residual:
            self.means = [X.sum(1), (X if X2 is None else X2).sum(1)]
            centred = [x - x.mean(1, keepdim=True) for x in (X, X if X2 is None else X2)]
            self.centred_left = Rows.of(centred[0])
            self.centred_right = self.centred_left if X2 is None else Rows.of(centred[1])

    def tile(self, rows: Index, cols: Index) -> Iterator[Layer]:
        """A_0, then (Ė^l, A_l) for l = 1, …, L−1."""
        seen = angles(self.left, self.right, rows, cols)
        first = Gram(self.left.norms[rows, None], self.right.norms[cols][None, :], seen.delta)
        return self.walk(first, seen, rows, cols)

    def walk(
        self, first: Gram, seen: Angles, rows: Index = slice(None), cols: Index = slice(None)
    ) -> Iterator[Layer]:
        """The same from given norms and angles, of any shape that broadcasts."""
        scales = self.scales
        gain = math.sqrt(scales.input)
        part = Gram(first.rows * gain, first.cols * gain, first.delta)
        yield Layer(part.entries(), None)
        skip = _Skip(self, rows, cols) if scales.residual else None
        for index, n in enumerate(scales.sizes):
            inner = _scaled(part, math.sqrt(scales.betas_sq[index]))
            seen = self._with_bias(inner, seen if index == 0 else None)
            after, slope = self._through(seen)
            inner_rows, inner_cols = self._amplitudes(inner)
            dot = slope_at_zero(self.c * slope, inner_rows**2, inner_cols**2, self.p, self.at_zero)
            gain = math.sqrt(n * self.c)
            if skip is None:
                part = Gram(inner_rows * gain, inner_cols * gain, after)
            else:
                part = skip.add(inner_rows, inner_cols, after)
            yield Layer(part.entries(), dot)

    def _amplitudes(self, part: Gram) -> tuple[Tensor, Tensor]:
        var = self.scales.bias_var
        if not var:
            return part.rows, part.cols
        return torch.sqrt(part.rows**2 + var), torch.sqrt(part.cols**2 + var)

    def _with_bias(self, part: Gram, seen: Angles | None) -> Angles:
        """1 − ρ of β²A + σ_b²; and 1 + ρ of the opposite pairs of the inputs."""
        assert part.delta is not None
        nothing = torch.zeros(0, dtype=torch.long, device=part.delta.device)
        where, epsilon = (
            (nothing, part.delta.new_zeros(0)) if seen is None else (seen.opposite, seen.epsilon)
        )
        var = self.scales.bias_var
        if not var:
            return Angles(part.delta, where, epsilon)
        delta = _merge(part, math.sqrt(var)).delta
        assert delta is not None
        if len(where):
            shape = part.delta.shape
            s, t = (x.expand(shape).reshape(-1)[where] for x in (part.rows, part.cols))
            norm = torch.sqrt((s * s + var) * (t * t + var))
            rest = var * (s * s + t * t + var) / (norm + s * t) + var
            epsilon = (rest + s * t * epsilon) / norm
            delta.view(-1)[where] = 2.0 - epsilon
        return Angles(delta, where, epsilon)

    def _through(self, seen: Angles) -> tuple[Tensor, Tensor]:
        """(δ after φ, E[φ′φ′]/(p² + q²))."""
        g = bending(self.p, self.q)
        after, slope = step(seen.delta, g)
        if len(seen.opposite):
            after = after.clone() if after is seen.delta else after
            found = step_opposite(seen.epsilon, g)
            after.view(-1)[seen.opposite] = found[0]
            slope.view(-1)[seen.opposite] = found[1]
        return after, slope

    def diagonal(self) -> Iterator[Layer]:
        """The layers on the diagonal: θ = 0 by definition."""
        scales = self.scales
        value = self.left.norms**2 * scales.input
        yield Layer(value, None)
        total = scales.input * self.means[0] if scales.residual else value
        for n, beta_sq in zip(scales.sizes, scales.betas_sq, strict=False):
            variance = beta_sq * value + scales.bias_var
            slope = torch.full_like(variance, self.c)
            slope[variance == 0] = self.at_zero**2
            grown = n * self.c * variance
            if scales.residual:
                alpha, mu = scales.residual, self._mean_factor * torch.sqrt(variance)
                value = value + alpha**2 * grown + 2.0 * alpha * total * mu
                total = total + alpha * self.width * mu
            else:
                value = grown
            yield Layer(value, slope)

    def errors(self) -> Iterator[LayerError]:
        """What the layers of :meth:`tile` are wrong by, with the angle θ carried along.

        The inputs' θ is wrong by 3.21 (d + 4) u: 1 − ρ by a product is off by (d + 4) u where it
        exceeds ``NEAR`` (and 1 + ρ likewise), sin θ ≥ 1/3.21 there, and below it comes from
        differences. A layer never widens an error of θ: dθ′/dθ = (1 − gθ/π) sin θ / sin θ′ lies in
        [−1, 1]; nor does a bias, which only adds a common coordinate to both vectors. It adds 12 u
        of its own (1 − ρ′ to 10 u, of relative accuracy where it is small). ρ is wrong by no more
        than θ, the derivative's 1 − (g/π)θ by g/π times as much.

        With skip connections centred and mean parts are joined. The wedge product of two joined
        vectors is at least each part's, so two inexact parts widen θ by √2; centring divides 1 − ρ′
        by Var φ/E φ², and so widens θ by at most the root of that.
        """
        scales, d = self.scales, self.left.matrix.shape[1]
        g = bending(self.p, self.q)
        angle, norm = 3.21 * (d + 4) * U, (d + 6) * U
        growth = 1.0
        if scales.residual:
            growth = math.sqrt(2 * self.c / (self.c - self._mean_factor**2))
            angle, norm = 2 * angle, 3 * norm  # of centred rows, and of their means
        yield LayerError(norm + angle, 0.0)
        for _ in scales.sizes:
            slope = g / math.pi * angle + 6 * U
            angle = growth * angle + 12 * U
            norm += (2 * d + 10) * U if scales.residual else 4 * U
            yield LayerError(norm + angle, slope)

    @property
    def _mean_factor(self) -> float:
        """E φ(√a z)/√a."""
        return self.q * math.sqrt(2.0 / math.pi)


class _Skip:
    """A_l of a residual network as a centred part and a mean part, each with its own 1 − ρ.

    The mean over coordinates has rank one; what is left of f_{l−1} and φ(g_l) after it is
    uncorrelated, so the centred parts add. Squared wedges replace every cancelling difference.
    """

    def __init__(self, chain: HomogeneousChain, rows: Index, cols: Index) -> None:
        self.chain = chain
        scales = chain.scales
        seen = angles(chain.centred_left, chain.centred_right, rows, cols)
        gain = math.sqrt(scales.input)
        self.centred = Gram(
            chain.centred_left.norms[rows, None] * gain,
            chain.centred_right.norms[cols][None, :] * gain,
            seen.delta,
        )
        self.totals = [
            scales.input * chain.means[0][rows, None],
            scales.input * chain.means[1][cols][None, :],
        ]

    def add(self, rows: Tensor, cols: Tensor, after: Tensor) -> Gram:
        """A_l from √C of both sides and δ of E[φφ]."""
        chain, k, n = self.chain, self.chain._mean_factor, self.chain.width
        alpha = chain.scales.residual
        rest = chain.c - k * k  # Var φ(√a z)/a
        gain = abs(alpha) * math.sqrt(n * rest)
        grown = Gram(rows * gain, cols * gain, after * (chain.c / rest))
        self.centred = _join(self.centred, grown)
        self.totals = [
            t + alpha * n * k * v for t, v in zip(self.totals, (rows, cols), strict=True)
        ]
        mean = Gram(self.totals[0] / math.sqrt(n), self.totals[1] / math.sqrt(n), None)
        return _join(self.centred, mean)


def _scaled(part: Gram, factor: float) -> Gram:
    return Gram(part.rows * factor, part.cols * factor, part.delta)


def _merge(part: Gram, amplitude: float) -> Gram:
    constant = torch.full_like(part.rows[:1, :1] if part.rows.ndim == 2 else part.rows, amplitude)
    return _join(part, Gram(constant, constant, None))


def _join(one: Gram, two: Gram) -> Gram:
    """The sum of two Gram matrices, 1 − ρ by Lagrange's identity.

    √(PQ) − s_i s_j − t_i t_j = (s_i t_j − s_j t_i)²/(√(PQ) + s_i s_j + t_i t_j) for
    P = s_i² + t_i², Q = s_j² + t_j²: no difference of nearly equal numbers.
    """
    rows, cols = torch.hypot(one.rows, two.rows), torch.hypot(one.cols, two.cols)
    norm = rows * cols
    inner = one.rows * one.cols + two.rows * two.cols
    wedge = (one.rows * two.cols - one.cols * two.rows) ** 2
    bent = torch.where(inner > 0, wedge / (norm + inner.clamp_min(0.0)), norm - inner)
    for part in (one, two):
        if part.delta is not None:
            bent = bent + part.rows * part.cols * part.delta
    delta = torch.where(norm > 0, bent / norm, torch.ones_like(norm))
    return Gram(rows, cols, delta)
