"""Lipschitz constants of the feature maps, as intervals."""

from ntkscope.lipschitz.bounds import LipschitzInterval, lipschitz_interval, theorem_scaling
from ntkscope.lipschitz.maps import FeatureMap, feature_map, slope_range

__all__ = [
    "FeatureMap",
    "LipschitzInterval",
    "feature_map",
    "lipschitz_interval",
    "slope_range",
    "theorem_scaling",
]
