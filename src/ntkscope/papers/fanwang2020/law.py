"""The laws of Fan and Wang 2020 by one fixed point.

K ≈ r₊ I + Σ_l q_l X_lᵀX_l, and given X_{l−1} the matrix X_lᵀX_l is a sample covariance of d_l rows with covariance
Φ_l = (1 − b_l²) I + b_l² X_{l−1}ᵀX_{l−1}. Its resolvent is that of (Φ_l/s_l in place of q X_lᵀX_l), for which the paper
recurs in functions t_l(z, w) and s_l. Every t_l that is met is one of M = n^{-1} tr R, R = (K − z)^{-1}, and
T_l = n^{-1} tr X_lᵀX_l R; with φ_l = n^{-1} tr Φ_l R, γ_l = n/d_l and c_l the coefficient of X_lᵀX_l once the layers
above are gone, the recursion reads

    u_l = 1/s_l = c_l/(1 + γ_l c_l φ_l),   c_{l−1} = q_{l−1} + b_l² u_l,            from the last layer down,
    φ_l = (1 − b_l²) M + b_l² T_{l−1},     T_l = φ_l/(1 + γ_l c_l φ_l),             from the first one up,

with ζ = r₊ − z + Σ_l (1 − b_l²) u_l, M = ∫ 1/(ζ + c_0 x) dμ_0(x), T_0 = ∫ x/(ζ + c_0 x) dμ_0(x): L − 1 numbers φ_l for
every z. Data with independent entries, or uniform on the sphere, are a layer more: b = 0 and γ_0 = n/d.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ntkscope._base.arrays import Array
from ntkscope._base.specs import unknown
from ntkscope.networks.network import Network
from ntkscope.papers.fanwang2020.constants import CENTRED, constants_of
from ntkscope.prediction.resolvent import TRACY_WIDOM_MEAN, NotConvergedError

Which = Literal["ntk", "ck"]
_STEPS = 60  # Newton steps
_ROUNDS, _PLAIN = 200, 64  # of the plain iteration, and its steps between two tries of Newton
_REAL = 4000  # steps below the spectrum


@dataclass(frozen=True, eq=False)
class LinearWidthLaw:
    """The limit law of r₊ I + Σ_l q_l X_lᵀX_l.

    Attributes
    ----------
    gamma: (J,) n/d_l of the layers that are drawn, the data's first where they are random.
    b_sq: (J,) b_l².
    q: (J+1,) coefficients of the fixed matrix and of the layers.
    shift: r₊.
    atoms, masses: the spectrum μ_0 of the fixed matrix X_0ᵀX_0; 0 with mass 1 where the data are random.
    """

    gamma: Array
    b_sq: Array
    q: Array
    shift: float
    atoms: Array
    masses: Array

    def stieltjes(self, z: Any) -> NDArray[np.complex128]:
        """m(z) = ∫ 1/(x − z) dμ(x), by continuation from far above the real axis.

        Raises ValueError for Im z ≤ 0, NotConvergedError where no solution is found.
        """
        points = np.atleast_1d(np.asarray(z, dtype=np.complex128))
        if not bool((points.imag > 0).all()):
            raise ValueError("the Stieltjes transform is taken at Im z > 0")
        phi = None
        top = max(float(points.imag.max()), 4.0 * self.mean)
        heights = np.geomspace(1.0, 1e-12, 25)
        for s in heights:
            at = points.real + 1j * np.maximum(points.imag, top * s)
            phi = self._solve(at, phi)
            if bool((points.imag >= top * s).all()):
                break
        assert phi is not None
        made: NDArray[np.complex128] = self._trace(points, phi)
        return made.reshape(np.shape(z)) if np.ndim(z) else made[0]

    def density(self, grid: Any, smoothing: float = 1e-4) -> Array:
        """The density of the eigenvalues at ``grid``, smoothed over ``smoothing`` times the mean eigenvalue.

        Point masses (at r₊, where the ranks of the layers sum to less than n) show as narrow peaks.
        """
        x = np.asarray(grid, dtype=np.float64)
        found = self.stieltjes(x + 1j * smoothing * self.mean)
        return np.asarray(found.imag / np.pi)

    def below(self, grid: Any, smoothing: float = 1e-4) -> Array:
        """The share of the law below each point of a rising ``grid``, by trapezoids on its density.

        What lies under the first point counts as nothing, and the whole is scaled to 1 if it exceeds it.
        """
        x = np.asarray(grid, dtype=np.float64)
        density = self.density(x, smoothing)
        mass = np.concatenate([[0.0], np.cumsum(0.5 * (density[1:] + density[:-1]) * np.diff(x))])
        return np.asarray(mass / max(1.0, mass[-1]))

    def resolvent_trace(self, t: float) -> float:
        """n^{-1} tr (K + t)^{-1}, t > 0."""
        return float(self.stieltjes(-t + 1e-9j * self.mean).real)

    @property
    def mean(self) -> float:
        """∫ x dμ."""
        mean = float(self.atoms @ self.masses) if self.atoms.any() else 0.0
        total, below = self.q[0] * mean, mean
        for b_sq, q in zip(self.b_sq, self.q[1:], strict=True):
            below = 1 - b_sq + b_sq * below
            total += q * below
        return float(self.shift + total)

    def _descend(self, phi: Any) -> tuple[Any, Any, Any]:
        """(c_0, u, 1 + γcφ) from the last layer down; the layers are the first axis."""
        J = len(self.gamma)
        u, grow = np.empty_like(phi), np.empty_like(phi)
        c = np.full(phi.shape[1:], self.q[J], dtype=phi.dtype)
        for j in range(J - 1, -1, -1):
            grow[j] = 1.0 + self.gamma[j] * c * phi[j]
            u[j] = c / grow[j]
            c = self.q[j] + self.b_sq[j] * u[j]
        return c, u, grow

    def _ascend(self, M: Any, T: Any, grow: Any) -> Any:
        """φ from the first layer up."""
        phi = np.empty_like(grow)
        for j in range(len(self.gamma)):
            phi[j] = (1 - self.b_sq[j]) * M + self.b_sq[j] * T
            T = phi[j] / grow[j]
        return phi

    def _integrals(self, zeta: Any, c: Any) -> tuple[Any, Any]:
        """(M, T_0)."""
        inverse = self.masses / (zeta[..., None] + c[..., None] * self.atoms)
        return inverse.sum(-1), inverse @ self.atoms

    def _zeta(self, z: Any, u: Any) -> Any:
        return self.shift - z + np.tensordot(1 - self.b_sq, u, 1)

    def _trace(self, z: Any, phi: Any) -> Any:
        c, u, _ = self._descend(phi)
        return self._integrals(self._zeta(z, u), c)[0]

    def _next(self, z: Any, phi: Any) -> Any:
        """One round of the recursion: φ → φ."""
        c, u, grow = self._descend(phi)
        return self._ascend(*self._integrals(self._zeta(z, u), c), grow)

    def _solve(self, z: Any, start: Any) -> Any:
        """φ (J, points) by Newton from ``start``, by the plain iteration where it leaves the half-plane."""
        if start is None:
            start = np.repeat((-1.0 / (z - self.mean))[None], len(self.gamma), 0)
        phi, good = self._newton(z, start)
        for _ in range(_ROUNDS):
            if good.all():
                return phi
            bad = ~good
            # damped: it maps the upper half-plane into itself
            phi[:, bad] = start[:, bad]
            moved = phi[:, bad]
            for _ in range(_PLAIN):
                moved = 0.5 * (moved + self._next(z[bad], moved))
            start = start.copy()
            start[:, bad] = moved
            again, fine = self._newton(z[bad], moved)
            phi[:, bad], good[bad] = again, fine
        raise NotConvergedError("the law at linear width", float((~good).mean()), _ROUNDS * _PLAIN)

    def _newton(self, z: Any, phi: Any) -> tuple[Any, Any]:
        """(φ, where it is a solution in the upper half-plane); all functions are holomorphic."""
        J = len(phi)
        phi = phi.copy()
        change = np.full(z.shape, np.inf)
        for _ in range(_STEPS):
            value = self._next(z, phi) - phi
            slope = np.empty((*z.shape, J, J), dtype=np.complex128)
            for j in range(J):
                h = 1e-7 * (np.abs(phi[j]) + 1e-300)
                moved = phi.copy()
                moved[j] += h
                slope[..., j] = (((self._next(z, moved) - moved) - value) / h).T
            with np.errstate(all="ignore"):
                try:
                    step = np.linalg.solve(slope, -value.T[..., None])[..., 0].T
                except np.linalg.LinAlgError:
                    break
            step[:, ~np.isfinite(step).all(0)] = 0.0
            phi = phi + step
            change = (np.abs(step) / (np.abs(phi) + 1e-300)).max(0)
            if bool((change < 1e-12).all()):
                break
        left = np.abs(self._next(z, phi) - phi).max(0) / np.abs(phi).max(0)
        return phi, (left < 1e-8) & (phi.imag > 0).all(0) & (self._trace(z, phi).imag > 0)

    # below the spectrum everything is real, and z is a function of M

    def inverse(self, M: Any) -> Array:
        """z at which n^{-1} tr (K − z)^{-1} = M > 0, below the spectrum: it rises up to the edge."""
        trace = np.atleast_1d(np.asarray(M, dtype=np.float64))
        phi = np.repeat(trace[None], len(self.gamma), 0)
        change, zeta = math.inf, None
        for _ in range(_REAL):
            c, u, grow = self._descend(phi)
            zeta = self._real_zeta(trace, c, zeta)
            T = (
                (1 - zeta * trace) / np.where(c > 0, c, 1.0)
                if self.atoms.any()
                else np.zeros_like(trace)
            )
            # alternating from above and below: the geometric mean settles
            new = np.sqrt(np.maximum(self._ascend(trace, T, grow), 1e-300) * phi)
            change = float((np.abs(new - phi) / new).max())
            phi = new
            if change < 1e-13:
                break
        else:
            raise NotConvergedError("the real branch", change, _REAL)
        _, u, _ = self._descend(phi)
        z = self.shift + np.tensordot(1 - self.b_sq, u, 1) - zeta
        return np.asarray(z.reshape(np.shape(M)))

    def _real_zeta(self, M: Array, c: Array, near: Array | None) -> Array:
        """ζ > −c min x with ∫ 1/(ζ + c x) dμ_0 = M: convex and falling, so that Newton comes from the left."""
        least = int(self.atoms.argmin())
        left = self.masses[least] / M - c * self.atoms[least]
        zeta = left if near is None else np.maximum(near, left)
        for _ in range(200):
            inverse = 1.0 / (zeta[:, None] + c[:, None] * self.atoms)
            step = (inverse @ self.masses - M) / (inverse**2 @ self.masses)
            zeta = np.maximum(zeta + step, left)
            if float(np.max(np.abs(step) / (np.abs(zeta) + 1.0 / M))) < 1e-13:
                break
        return zeta

    def edge(self, n_samples: float | None = None) -> float:
        """The lower edge of the spectrum; with n the mean of λ_min at that size, above it by Tracy-Widom.

        Where the layers' ranks sum to less than n it is r₊, a point mass.
        """
        scale = self.mean
        logs = np.linspace(math.log(0.1 / scale), math.log(1e9 / scale), 121)
        z = self.inverse(np.exp(logs))
        best = int(z.argmax())
        if best == len(z) - 1:
            return max(self.shift, float(z[-1]))
        for step in (logs[1] - logs[0], 0.04, 0.008, 0.002):
            logs = np.linspace(-step, step, 11) + logs[best]
            z = self.inverse(np.exp(logs))
            best = int(z.argmax())
        M = np.exp(logs)
        bend, slope, top = np.polyfit(M - M[best], z, 2)
        value = float(top - slope**2 / (4 * bend)) if bend < 0 else float(z[best])
        if n_samples is None or bend >= 0:
            return value
        return value + TRACY_WIDOM_MEAN * float(-bend) ** (1 / 3) * float(n_samples) ** (-2 / 3)


def linear_width_law(
    net: Network,
    n_samples: float,
    spectrum: Any = None,
    *,
    kernel: Which = "ntk",
    centre: bool = False,
    norm_sq: float | None = None,
) -> LinearWidthLaw:
    """The law of the spectrum of ``empirical_ntk`` (or of its last term, the conjugate kernel).

    Parameters
    ----------
    net: plain, finite widths, Gaussian weights, one output; σ centred at every layer's variance.
    n_samples: n; its ratios to the widths are what the law depends on.
    spectrum: the eigenvalues of XXᵀ/norm_sq; None: the data are random, uniform on the sphere.
    kernel: "ntk" or "ck", the latter in the NTK's units.
    centre: take σ − E σ for σ in every layer.
    norm_sq: ‖x‖² of the rows, d unless given.

    Raises
    ------
    ValueError
        For a network that the law does not cover.
    """
    if kernel not in ("ntk", "ck"):
        raise ValueError(unknown("kernel", kernel, ("ntk", "ck")))
    _require(net, n_samples)
    constants = constants_of(net, centre=centre, norm_sq=norm_sq)
    worst = max((layer.mean for layer in constants.layers), key=abs)
    if abs(worst) > CENTRED:
        raise ValueError(
            f"{net.activation} is not centred (E σ = {worst:.3g} of its standard deviation), and its mean "
            "gives the samples a common direction; pass centre=True for the law of σ − E σ"
        )
    b_sq = [layer.b**2 for layer in constants.layers]
    q, shift = list(constants.q), constants.shift
    if kernel == "ck":
        q, shift = [0.0] * (len(q) - 1) + [q[-1]], 0.0
    gamma = [n_samples / float(w) for w in net.widths[1:-1]]
    if spectrum is None:
        gamma, b_sq, q = [n_samples / net.dim, *gamma], [0.0, *b_sq], [0.0, *q]
        atoms, masses = np.zeros(1), np.ones(1)
    else:
        atoms = np.sort(np.asarray(spectrum, dtype=np.float64)).clip(min=0.0)
        masses = np.full(len(atoms), 1.0 / len(atoms))
    return LinearWidthLaw(np.array(gamma), np.array(b_sq), np.array(q), shift, atoms, masses)


def _require(net: Network, n_samples: float) -> None:
    faults = [
        (not net.finite, "it needs finite widths"),
        (net.n_outputs != 1, f"it needs a single output, got {net.n_outputs}"),
        (net.bias_std is not None, "it covers networks without biases"),
        (bool(net.residual), "it covers plain networks, without residual connections"),
        (net.weights != "gaussian", f"it needs Gaussian weights, got {net.weights}"),
        (net.paired, "it does not cover paired initializations"),
        (not n_samples >= 2, f"it needs two samples at least, got {n_samples}"),
    ]
    if any(fault for fault, _ in faults):
        words = "; ".join(text for fault, text in faults if fault)
        raise ValueError(f"no law at linear width: {words}")
