"""‖J(z)‖ at one input, enclosed: the rounding of the pass, of φ′, of the product and of the norm."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ntkscope.lipschitz.maps import FeatureMap
from ntkscope.lipschitz.rounding import Enclosed, U

# evaluating φ or φ′ of a smooth activation, in units of u·max(1, |value|)
_EVALUATION = 16


def jacobian_norm(feature_map: FeatureMap, z: Float[Tensor, d]) -> tuple[float, float] | None:
    """(lower, upper) of ‖J(g_k)(z)‖; None where rounding leaves open on which side of a kink z lies.

    Where sup |φ″| is not known, the effect of the pass's rounding on φ′ is left out.
    """
    phi = feature_map.activation
    matrices = [m.double().cpu() for m in feature_map.matrices]
    features = Enclosed.exact(z.double().cpu()[None])
    through = Enclosed.exact(torch.eye(feature_map.dim, dtype=torch.float64))
    for index, matrix in enumerate(matrices[:-1]):
        g = features.times(matrix)
        if feature_map.biases:
            g = g.plus(Enclosed.exact(feature_map.biases[index].double().cpu()))
        if any(bool(((g.value - kink).abs() <= g.error).any()) for kink in phi.kinks):
            return None
        slope = _slope(feature_map, g)
        step = through.times(matrix).multiplied(slope)
        made = g.multiplied(slope) if feature_map.piecewise_linear else _features(feature_map, g)
        if feature_map.residual:
            alpha = torch.tensor(feature_map.residual, dtype=torch.float64)
            through, features = through.plus(step.scaled(alpha)), features.plus(made.scaled(alpha))
        else:
            through, features = step, made
    last = through.times(matrices[-1])
    return Enclosed(last.value[None], last.error[None]).norm()


def _slope(feature_map: FeatureMap, g: Enclosed) -> Enclosed:
    phi = feature_map.activation
    slope = phi.derivative(g.value)
    if feature_map.piecewise_linear:
        return Enclosed.exact(slope)
    steepest = phi.lipschitz_derivative
    known = steepest if steepest is not None and math.isfinite(steepest) else 0.0
    return Enclosed(slope, known * g.error + _EVALUATION * U * slope.abs().clamp_min(1.0))


def _features(feature_map: FeatureMap, g: Enclosed) -> Enclosed:
    phi = feature_map.activation
    value = phi(g.value)
    steepest = phi.lipschitz
    known = steepest if steepest is not None and math.isfinite(steepest) else 0.0
    return Enclosed(value, known * g.error + _EVALUATION * U * value.abs().clamp_min(1.0))
