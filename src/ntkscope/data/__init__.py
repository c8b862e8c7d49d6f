"""Data: the papers' distributions, real data sets, and users' files.

A sampling function (``gaussian``) returns the tensor; the :class:`Distribution` beside it
(``Gaussian``) also knows what the theory asks about the distribution.
"""

from ntkscope.data.distribution import Distribution, Moments
from ntkscope.data.distributions import (
    BinaryCube,
    Circle,
    Cube,
    EquispacedCircle,
    Gaussian,
    GeneratedImage,
    Sphere,
)
from ntkscope.data.loaders import Dataset, load
from ntkscope.data.preprocessing import center, scale_rows
from ntkscope.data.registry import distribution, register_distribution
from ntkscope.data.sampling import (
    binary_cube,
    circle,
    cube,
    equispaced_circle,
    gaussian,
    generated,
    sphere,
)
from ntkscope.data.summary import DataSummary, summarize

__all__ = [
    "BinaryCube",
    "Circle",
    "Cube",
    "DataSummary",
    "Dataset",
    "Distribution",
    "EquispacedCircle",
    "Gaussian",
    "GeneratedImage",
    "Moments",
    "Sphere",
    "binary_cube",
    "center",
    "circle",
    "cube",
    "distribution",
    "equispaced_circle",
    "gaussian",
    "generated",
    "load",
    "register_distribution",
    "scale_rows",
    "sphere",
    "summarize",
]
