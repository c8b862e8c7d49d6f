"""The spectrum of a zonal kernel on random points, from a scalar equation for its resolvent.

Row i has a norm class t; the degree-r part of the kernel is √(c_r(t_i) c_r(t_j)) P_r(ρ_ij), and
P_r(ρ_ij) is a Gram matrix of D_r harmonics: nearly a Marchenko-Pastur matrix of ratio γ_r = N/D_r,
nearly free of the other degrees. With a_r = (1/N) Σ_i c_r(t_i) [(K − z)^{-1}]_ii,

    S_t = Σ_r c_r(t)/(1 + γ_r a_r),    [(K − z)^{-1}]_ii = 1/(S_{t_i} − z),

and λ_min is near the largest z below the spectrum, where z(m), m = (1/N) tr (K − z)^{-1}, turns.
At equal norms a_r = c_r m and z(m) = S(m) − 1/m.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ntkscope._base.arrays import Array
from ntkscope.prediction.roots import find_root

Complex = NDArray[np.complex128]

_STATE_STEPS, _Z_STEPS, _NEWTON_STEPS, _DENSITY_STEPS = 500, 60, 200, 400

TRACY_WIDOM_MEAN = 1.2065335745820  # −E of the β = 1 law, to which an edge's fluctuation tends
TRACY_WIDOM_SD = 1.2680340580  # its standard deviation (Bornemann 2010)


class NotConvergedError(ValueError):
    """An equation of the resolvent that was not solved to its tolerance: there is no prediction."""

    def __init__(self, what: str, change: float, steps: int) -> None:
        super().__init__(
            f"no prediction: {what} did not settle in {steps} steps (relative change {change:.2g}); "
            "the kernel's coefficients may be below the rounding of float64 at these sizes"
        )


@dataclass(frozen=True)
class State:
    """The resolvent at one m = (1/N) tr (K − z)^{-1}: z, S_t of every class and a_r."""

    m: float
    z: float
    S: Array
    a: Array


@dataclass(frozen=True)
class Edge:
    """The lower edge of the spectrum, and the scale on which λ_min of one instance fluctuates."""

    state: State
    scale: float

    @property
    def value(self) -> float:
        return self.state.z


@dataclass(frozen=True)
class Resolvent:
    """The self-consistent equation of one kernel.

    Attributes
    ----------
    n_samples: N.
    gamma: (R+2,) N/D_r, the last entry 0: the tail acts as a multiple of the identity.
    c: (T, R+2) c_r(t) of every class, the tail last.
    weights: (T,) share of the rows in each class; they sum to 1.
    scales: (T,) t where c = t ⊗ c̄ (a homogeneous kernel), of mean 1; None elsewhere.
    """

    n_samples: int | float
    gamma: Array
    c: Array
    weights: Array
    scales: Array | None = None

    def state(self, m: float, near: State | None = None) -> State:
        """Solve for z and a_r at one m > 0, starting from a state ``near`` it.

        m parametrises the curve: it is (1/N) tr (K − z)^{-1}, and for a homogeneous kernel
        (1/N) Σ t_i [(K − z)^{-1}]_ii, of which a_r is then a multiple, so that nothing is iterated.
        """
        if self.scales is not None:
            mean = self.weights @ self.c
            shrunk = float(mean @ (1.0 / (1.0 + self.gamma * mean * m)))
            S = self.scales * shrunk
            return State(m, _solve_z(S, self.weights * self.scales, m), S, mean * m)
        if len(self.weights) == 1:
            a = self.c[0] * m
            S = self._shrunk(a)
            return State(m, float(S[0]) - 1.0 / m, S, a)
        a = (self.weights @ self.c) * m if near is None else near.a * (m / near.m)
        S = self._shrunk(a)
        change = math.inf
        for _ in range(_STATE_STEPS):
            z = _solve_z(S, self.weights, m)
            a = (self.weights / (S - z)) @ self.c
            last, S = S, self._shrunk(a)
            change = float(np.max(np.abs(S - last))) / float(np.max(np.abs(S)))
            if change <= 1e-12:
                return State(m, z, S, a)
        raise NotConvergedError("the equation of unequal rows", change, _STATE_STEPS)

    def _shrunk(self, a: Array) -> Array:
        return self.c @ (1.0 / (1.0 + self.gamma * a))

    def turning(self, mean: Array) -> float:
        """m where z(m) turns for one class with coefficients ``mean``; inf where it never does.

        dz/dm = 0 is Σ_r γ_r (c_r m)²/(1 + γ_r c_r m)² = 1, whose left side grows to Σ_r 1/γ_r =
        Σ_r D_r/N: with a tail of 0 and fewer harmonics than samples the kernel is singular.
        """
        live = self.gamma > 0
        g, c = self.gamma[live], mean[live]

        def excess(log_m: float) -> float:
            x = c * math.exp(log_m)
            return math.log(max(float(np.sum(g * (x / (1.0 + g * x)) ** 2)), 1e-300))

        scale = -math.log(float(np.sum(mean)))
        if excess(scale + 80.0) <= 0.0:
            return math.inf
        return math.exp(find_root(excess, scale - 40.0, scale + 80.0, 1e-14))

    def edge(self) -> Edge:
        """The largest z(m), m > 0. Its scale is that of Tracy-Widom at a square-root edge."""
        mean = self.weights @ self.c
        m = self.turning(mean)
        if math.isinf(m):
            state = self.state(1e8 / max(float(mean[-1]), 1e-12 * float(mean.sum())))
            return Edge(state, 0.0)
        state = self.state(m)
        if len(self.weights) > 1:
            state = self._climb(m)
        return Edge(state, self._scale(state))

    def _climb(self, start: float) -> State:
        """Maximise z over ln m; unequal norms turn earlier than their mean does."""
        logs = list(math.log(start) + np.linspace(-4.0, 0.5, 13))
        states = [self.state(math.exp(logs[0]))]
        for x in logs[1:]:
            states.append(self.state(math.exp(x), states[-1]))
        while states[-1].z > states[-2].z and len(states) < 60:
            # by the plain trace, small rows can make m turn later than the mean does
            logs.append(logs[-1] + 0.375)
            states.append(self.state(math.exp(logs[-1]), states[-1]))
        best = int(np.argmax([state.z for state in states]))
        found = states[best]
        for step in (0.2, 0.04, 0.008):
            found = self.near(found, step)
        return found

    def near(self, state: State, step: float = 0.1) -> State:
        """Where z is largest near ``state``, by a parabola in ln m; a smaller z is not taken."""
        here = self.state(state.m, state)
        below, above = (self.state(state.m * math.exp(s), state) for s in (-step, step))
        bend = 2.0 * here.z - below.z - above.z
        if bend <= 0.0:
            return max((below, here, above), key=lambda s: s.z)
        move = min(max(0.5 * step * (above.z - below.z) / bend, -3.0 * step), 3.0 * step)
        peak = self.state(state.m * math.exp(move), state)
        return max((below, here, above, peak), key=lambda s: s.z)

    def _scale(self, state: State) -> float:
        """(|z″|/2)^{1/3} N^{−2/3}: z = z* − ½|z″|(m − m*)² is a density √(2(x − z*)/|z″|)/π.

        The derivatives are by m = (1/N) tr (K − z)^{-1}, whatever parametrises the curve.
        """
        h = 1e-3
        below, above = (self.state(state.m * (1.0 + s), state) for s in (-h, h))
        bend = max(2.0 * state.z - below.z - above.z, 0.0)
        run = 0.5 * (self._trace(above) - self._trace(below))
        return float((0.5 * bend / run**2) ** (1.0 / 3.0) * self.n_samples ** (-2.0 / 3.0))

    def _trace(self, state: State) -> float:
        """(1/N) tr (K − z)^{-1}."""
        return float(np.sum(self.weights / (state.S - state.z)))

    def density(self, grid: Array, smoothing: float) -> Array:
        """Density of the eigenvalues on ``grid``, smoothed by a Cauchy kernel of relative width.

        The equation at z = x(1 + i s), with s lowered from 1 to ``smoothing``: by Newton where one
        number carries it, else by damped iteration, which converges in the upper half-plane
        (it maps Stieltjes transforms to Stieltjes transforms).
        """
        one = self.scales is not None or len(self.weights) == 1
        start = -1.0 / (grid * (1.0 + 1j))
        inverse: Complex = np.repeat(start[:, None], len(self.weights), axis=1)
        mu = inverse @ self.weights
        for s in np.geomspace(1.0, smoothing, max(2, math.ceil(-2.0 * math.log2(smoothing)))):
            z = (grid * (1.0 + 1j * s))[:, None]
            if one:
                mu, inverse = self._newton(mu, z)
            else:
                inverse = self._iterate(inverse, z)
        return np.asarray(np.imag(inverse @ self.weights) / np.pi)

    def _newton(self, mu: Complex, z: Complex) -> tuple[Complex, Complex]:
        """Σ w t/(t S(μ) − z) = μ at every z."""
        t = np.ones(1) if self.scales is None else self.scales
        mean = self.weights @ self.c
        change = math.inf
        for _ in range(_NEWTON_STEPS):
            shrink = 1.0 / (1.0 + self.gamma * mean * mu[:, None])
            S, slope = shrink @ mean, -(shrink**2) @ (self.gamma * mean**2)
            inverse = 1.0 / (t * S[:, None] - z)
            value = inverse @ (self.weights * t) - mu
            step = value / (-slope * (inverse**2 @ (self.weights * t**2)) - 1.0)
            mu = mu - step
            # a step across the real axis leaves the branch: stay in the upper half-plane
            mu = np.where(mu.imag > 0, mu, mu.real + 1j * 0.5 * np.abs((mu + step).imag))
            change = float(np.max(np.abs(step) / np.abs(mu)))
            if change < 1e-10:
                return mu, inverse
        raise NotConvergedError("the density", change, _NEWTON_STEPS)

    def _iterate(self, inverse: Complex, z: Complex) -> Complex:
        change = math.inf
        for _ in range(_DENSITY_STEPS):
            a = (inverse * self.weights) @ self.c
            S = (1.0 / (1.0 + self.gamma * a)) @ self.c.T
            new = 0.5 * inverse + 0.5 / (S - z)
            change = float(np.max(np.abs(new - inverse) / np.abs(new)))
            inverse = new
            if change < 1e-6:
                return inverse
        raise NotConvergedError("the density of unequal rows", change, _DENSITY_STEPS)


def _solve_z(S: Array, weights: Array, m: float) -> float:
    """z < min S with Σ w/(S − z) = m, by Newton on the reciprocal, which is nearly linear."""
    whole = float(weights.sum())
    z = min(float(weights @ S - whole * whole / m) / whole, float(np.min(S - weights / m)))
    step = math.inf
    for _ in range(_Z_STEPS):
        inverse = 1.0 / (S - z)
        part = weights * inverse
        total = float(part.sum())
        step = (1.0 / m - 1.0 / total) * total**2 / float(part @ inverse)
        z -= step
        if abs(step) <= 1e-14 * (abs(z) + 1.0 / m):
            return z
    raise NotConvergedError("z at a given trace", abs(step) / (abs(z) + 1.0 / m), _Z_STEPS)
