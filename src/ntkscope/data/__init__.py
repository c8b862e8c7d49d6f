"""Data: the papers' distributions, real data sets, and users' files.

A sampling function (``gaussian``) returns the tensor; the :class:`Distribution` beside it
(``Gaussian``) also knows what the theory asks about the distribution.
"""

from ntkscope.data.distributions import (
    BinaryCube,
    Circle,
    Cube,
    Distribution,
    EquispacedCircle,
    Gaussian,
    GeneratedImage,
    Moments,
    Sphere,
    binary_cube,
    circle,
    cube,
    equispaced_circle,
    gaussian,
    generated,
    sphere,
)
from ntkscope.data.loaders import Dataset, load
from ntkscope.data.preprocessing import center, scale_rows
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
    "equispaced_circle",
    "gaussian",
    "generated",
    "load",
    "scale_rows",
    "sphere",
    "summarize",
]
