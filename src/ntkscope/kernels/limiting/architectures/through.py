"""An activation acting on V, D and T, by its closed form, its angles or its Hermite series.

T → T ∘ E φ′φ′ and S → E φφ; D follows from S, for positively homogeneous φ without a difference:
with q = √(VV′) and δ = 1 − ρ, D → c(D − q (g/π)(sin θ − θ cos θ)) and T → c(T − T (2g/π) θ/2), c and
g those of :mod:`ntkscope.activations.arccosine`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ntkscope.activations.activation import Activation, DualForm
from ntkscope.activations.arccosine import bending
from ntkscope.activations.hermite import Quadrature
from ntkscope.kernels.limiting.architectures.compiled import compiled
from ntkscope.kernels.limiting.architectures.operation import Error, Seen, U
from ntkscope.kernels.limiting.dual import ACCURACY
from ntkscope.kernels.limiting.series import MAX_ORDER, Expansion

_NEAR = 1e-2  # angles below it are looked at one by one
_CHUNK = 1 << 15  # entries of a chunk: a handful of them stay in a core's cache


class Through(ABC):
    """How one activation takes a chunk of pairs."""

    @property
    def gain(self) -> float | None:
        """The factor of D and T that :meth:`chunk`, in any units, leaves out; None: units of V."""
        return None

    @abstractmethod
    def moment(self, V: Tensor) -> Tensor:
        """E φ(u)², u ~ N(0, V)."""

    @abstractmethod
    def chunk(
        self, D: Tensor, T: Tensor | None, a: Tensor, b: Tensor, to: tuple[Tensor, Tensor | None]
    ) -> None:
        """Write D and T behind φ ``to``, from those before it and variances that broadcast."""

    @abstractmethod
    def error(self, before: Error, seen: Seen) -> Error:
        """The errors behind φ."""

    def __call__(
        self, D: Tensor, T: Tensor | None, a: Tensor, b: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """The same for any size, in chunks along the first axis."""
        out = torch.empty_like(D, memory_format=torch.contiguous_format)
        tangent = None if T is None else torch.empty_like(out)
        step = max(1, _CHUNK // max(1, D[0].numel()))
        for i in range(0, len(D), step):
            s = slice(i, i + step)
            left, right = (v[s] if len(v) > 1 else v for v in (a, b))
            part, to = (None, None) if T is None or tangent is None else (T[s], tangent[s])
            self.chunk(D[s], part, left, right, (out[s], to))
        return out, tangent


@dataclass(eq=False)
class Homogeneous(Through):
    """φ(z) = pz + q|z|."""

    p: float
    q: float
    at_zero: float
    nearest: float = _NEAR  # the smallest angle below it of two variables that are not one
    farthest: float = 0.0
    uneven: float = 0.0  # the largest part of 1 − ρ + … = D/√(VV′) that norms make, of near pairs

    def error(self, before: Error, seen: Seen) -> Error:
        """An error ε of 1 − ρ moves θ by at most √(2ε), and by ε/sin θ in between.

        Relative errors of D move it by relatively as much, but for what differing norms add to D;
        what :class:`Error` calls angle moves it by that much, here and behind φ, since no layer
        widens an error of θ. sin θ − θ cos θ is off by 16 roundings of θ at most, and the angle
        behind φ is at least θ/2, unless |z| takes opposite inputs for equal ones.
        """
        r = before.relative + 8 * U
        a = before.absolute
        moved = before.angle + 2 * r + min(math.sqrt(2 * a), 2 * a / max(self.nearest, 1e-300))
        apart = 2 * r * (seen.spread - 1.0) / _NEAR
        moved += max(math.sqrt(2 * r * self.uneven), apart)
        opposite = math.pi - self.farthest
        whole = before.of_covariance(seen.spread)
        if opposite < 1.0:
            moved += min(math.sqrt(2 * whole), 2 * whole / max(opposite, 1e-300))
        c = self.p**2 + self.q**2
        g = bending(self.p, self.q) if c else 0.0
        slope = g / math.pi * moved + 8 * U
        tangent = before.tangent + slope * (1 + before.tangent)
        if g > 1.0 and opposite < 1.0:
            a += whole + 16 * U
        return Error(before.relative + 8 * U, a, before.angle + 12 * g * U, tangent)

    @property
    def gain(self) -> float:
        return self.p**2 + self.q**2

    def moment(self, V: Tensor) -> Tensor:
        return V * self.gain

    @property
    def _bend(self) -> float:
        return bending(self.p, self.q) / math.pi if self.gain else 0.0

    def __call__(
        self, D: Tensor, T: Tensor | None, a: Tensor, b: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        fused = compiled()
        if fused is None:
            return super().__call__(D, T, a, b)
        out = torch.empty_like(D, memory_format=torch.contiguous_format)
        tangent = None if T is None else torch.empty_like(out)
        none = torch.empty(0, 0, 0, dtype=D.dtype)
        size = math.sqrt(self.gain) or 1.0
        self._note(
            *fused.propagate(
                D.contiguous().numpy(), (none if T is None else T.contiguous()).numpy(),
                a.sqrt().numpy(), b.sqrt().numpy(), self._bend,
                (self.at_zero / size, self.p / size), _NEAR**2 / 4, out.numpy(),
                (none if tangent is None else tangent).numpy(),
            )
        )  # fmt: skip
        return out, tangent

    def chunk(
        self, D: Tensor, T: Tensor | None, a: Tensor, b: Tensor, to: tuple[Tensor, Tensor | None]
    ) -> None:
        g = self._bend
        left, right = torch.sqrt(a), torch.sqrt(b)
        norm = (2.0 * left) * right
        half = torch.sub(left, right)
        half = torch.addcmul(D, half, half, value=-0.5, out=half).div_(norm)  # δ/2
        dead_a, dead_b = a == 0, b == 0
        dead = dead_a | dead_b if bool(dead_a.any()) or bool(dead_b.any()) else None
        if dead is not None:
            half.masked_fill_(dead, 0.5)
        low, high = (float(x) for x in torch.aminmax(half))
        if low < 0.0 or high > 1.0:
            half.clamp_(0.0, 1.0)  # rounding at equal or opposite directions
        turn = _root(half, torch.empty_like(half)).asin_()  # θ/2
        self._note(high, *_nearest(low, half, D, norm))
        bent = torch.addcmul(half, half, half, value=-1.0)
        bent = _root(bent, bent)  # sin θ/2
        bent.sub_(turn).addcmul_(turn, half, value=2.0)  # (sin θ − θ cos θ)/2
        torch.addcmul(D, bent, norm, value=-g, out=to[0])
        if T is None or to[1] is None:
            return
        torch.addcmul(T, T, turn, value=-2.0 * g, out=to[1])
        if dead is not None and self.gain:  # u ≡ 0 there: φ′(0) E φ′(v), E φ′ = p
            left, right = (torch.where(d, self.at_zero, self.p) for d in (dead_a, dead_b))
            to[1].copy_(torch.where(dead, T * (left * right / self.gain), to[1]))

    def _note(self, high: float, nearest: float, uneven: float) -> None:
        """What :meth:`error` wants to know, of δ/2; ``uneven`` is half of what it keeps."""
        self.farthest = max(self.farthest, _angle(high))
        self.nearest = min(self.nearest, _angle(nearest))
        self.uneven = max(self.uneven, 2.0 * uneven)


def _nearest(low: float, half: Tensor, D: Tensor, norm: Tensor) -> tuple[float, float]:
    """Of near pairs that are not one: the smallest ``half`` = δ/2, the largest D/norm − δ/2."""
    if low >= _NEAR**2 / 4:
        return 1.0, 0.0
    near = torch.nonzero((half < _NEAR**2 / 4).logical_and_(D > 0).reshape(-1))[:, 0]
    if not near.numel():
        return 1.0, 0.0
    half = half.reshape(-1)[near]
    uneven = D.reshape(-1)[near] / norm.reshape(-1)[near] - half
    return float(half.min()), float(uneven.max())


def _angle(half: float) -> float:
    """θ of δ/2."""
    return 2.0 * math.asin(math.sqrt(min(max(half, 0.0), 1.0)))


def _root(x: Tensor, out: Tensor) -> Tensor:
    """√x: NumPy's loop takes half the time of torch's, which is MKL's."""
    np.sqrt(x.numpy(), out=out.numpy())
    return out


class _Bounded(Through):
    """A φ whose kernel moves with the covariance at a bounded rate."""

    phi: Activation

    def error(self, before: Error, seen: Seen) -> Error:
        """By Price's theorem, as :meth:`SmoothChain.errors` has it; the series' truncation on top."""
        moved = before.of_covariance(seen.spread)
        value, slope, spread = self._sensitivities(seen)
        own = (256 + 16 * min(seen.highest, 64.0)) * U + 2 * ACCURACY
        absolute = moved * (value + math.sqrt(value * slope)) + own
        change = moved * (slope + spread) + own
        return Error(0.0, absolute, 0.0, before.tangent + change * (1 + before.tangent))

    def _sensitivities(self, seen: Seen) -> tuple[float, float, float]:
        """The largest V E φ′²/E φ², V E φ″²/E φ′² and √(E (uφ″)²/E φ′²) over the variances met."""
        if seen.highest <= 0.0:
            return 0.0, 0.0, 0.0
        V = torch.logspace(
            math.log10(seen.lowest), math.log10(seen.highest), 33, dtype=torch.float64
        )
        second = self.phi.second
        moments = [
            Quadrature(replace(self.phi, phi=f)).moments(V)[0]
            for f in (self.phi.phi, self.phi.derivative)
        ]
        value = float((V * moments[1] / moments[0]).max())
        if self.phi.kinks:
            return value, float(MAX_ORDER), float(MAX_ORDER)  # φ″ has no second moment
        bent, spread = (
            Quadrature(replace(self.phi, phi=f)).moments(V)[0] / moments[1]
            for f in (second, lambda z: z * second(z))
        )
        return value, float((V * bent).max()), math.sqrt(float(spread.max()))


class Smooth(_Bounded):
    """φ with a closed form that is smooth in the covariance."""

    def __init__(self, closed: DualForm, phi: Activation) -> None:
        self.closed, self.phi = closed, phi

    def moment(self, V: Tensor) -> Tensor:
        value: Tensor = self.closed(V, V, torch.zeros_like(V))[0]
        return value

    def chunk(
        self, D: Tensor, T: Tensor | None, a: Tensor, b: Tensor, to: tuple[Tensor, Tensor | None]
    ) -> None:
        left, right = torch.broadcast_tensors(a, b)
        value, slope = self.closed(left, right, _delta(D, a, b))
        to[0].copy_(_distance(value, self.moment(a), self.moment(b), D))
        if T is not None and to[1] is not None:
            torch.mul(slope, T, out=to[1])


class Series(_Bounded):
    """Any other φ: Σ_r α_r(V) α_r(V′) ρ^r, and the moments where D = 0."""

    def __init__(self, phi: Activation) -> None:
        self.phi = phi
        self._value, self._slope = Quadrature(phi), Quadrature(phi, True)

    def moment(self, V: Tensor) -> Tensor:
        return self._moment(self._value, V)

    def _moment(self, quadrature: Quadrature, V: Tensor) -> Tensor:
        values, error = quadrature.moments(V.reshape(-1))
        if error > ACCURACY:
            raise ValueError(
                f"E φ² of {self.phi} is known to {error:.2g} only; if it has kinks, name "
                "them in an attribute of its module, kinks = (0.0, …)"
            )
        return values.reshape(V.shape)

    def chunk(
        self, D: Tensor, T: Tensor | None, a: Tensor, b: Tensor, to: tuple[Tensor, Tensor | None]
    ) -> None:
        rho = 1.0 - _delta(D, a, b)
        same = D <= 0
        rho[same] = 0.0
        value = self._sum(False, rho, a, b)
        to[0].copy_(_distance(value, self.moment(a), self.moment(b), D))
        if T is None or to[1] is None:
            return
        slope = self._sum(True, rho, a, b)
        roots = [self._moment(self._slope, v).sqrt().expand_as(slope) for v in (a, b)]
        torch.mul(torch.where(same, roots[0] * roots[1], slope), T, out=to[1])

    def _sum(self, derivative: bool, rho: Tensor, a: Tensor, b: Tensor) -> Tensor:
        variances = torch.cat([a.reshape(-1), b.reshape(-1)])
        n = a.numel()
        expansion = Expansion(self.phi, variances, derivative, ACCURACY)
        left = torch.arange(n).reshape(a.shape).expand_as(rho)
        right = (torch.arange(b.numel()) + n).reshape(b.shape).expand_as(rho)
        if rho.shape[1] == 1 and a.shape[2] == 1 and b.shape[0] == 1:
            made = expansion.tile(rho[:, 0], slice(0, n), slice(n, len(variances)))
            return made[:, None]
        if a.shape[2] == 1 and b.shape[1] == 1:
            rows, cols = a.shape[1], b.shape[2]
            tiles = [
                expansion.tile(
                    rho[i], slice(i * rows, (i + 1) * rows), slice(n + i * cols, n + (i + 1) * cols)
                )
                for i in range(len(rho))
            ]
            return torch.stack(tiles)
        made = expansion.pairs(rho.reshape(-1), left.reshape(-1), right.reshape(-1))
        return made.reshape(rho.shape)


def through(phi: Activation) -> Through:
    """The way that ``phi`` has."""
    parts = phi.homogeneous_parts
    if parts is not None:
        return Homogeneous(*parts, float(phi.derivative(torch.zeros((), dtype=torch.float64))))
    return Series(phi) if phi.dual is None else Smooth(phi.dual, phi)


def _delta(D: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """1 − ρ; 1 where a variance is 0."""
    left, right = torch.sqrt(a), torch.sqrt(b)
    norm = left * right
    delta = torch.sub(left, right).square_().mul_(-0.5).add_(D).div_(norm)
    delta[norm == 0] = 1.0
    return delta.clamp_(0.0, 2.0)  # rounding at equal or opposite directions


def _distance(value: Tensor, left: Tensor, right: Tensor, before: Tensor) -> Tensor:
    """½(V + V′) − S, and 0 where it was 0 before: u and v are one variable there."""
    made = (0.5 * (left + right)).sub(value)
    made[before <= 0] = 0.0
    return made
