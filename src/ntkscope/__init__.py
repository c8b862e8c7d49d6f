"""ntkscope: measure, bound, predict and reproduce the spectrum of the neural tangent kernel."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ntkscope import activations, data
    from ntkscope.activations import Activation
    from ntkscope.chain import Chain, limiting_chain
    from ntkscope.convergence import Convergence, WidthLimit, width_convergence, width_limit
    from ntkscope.experiments.reproduce import reproduce
    from ntkscope.experiments.sweep import Sweep
    from ntkscope.hermite import hermite_coefficients
    from ntkscope.inspection import Inspection, inspect
    from ntkscope.kernels.dual import dual_activation
    from ntkscope.kernels.empirical import empirical_ntk
    from ntkscope.kernels.hadamard import HadamardKernel
    from ntkscope.kernels.limiting import LimitingKernel, limiting_kernel, limiting_ntk
    from ntkscope.kernels.module.invariant import SelfCheckError
    from ntkscope.kernels.module.outputs import OutputKernels
    from ntkscope.kernels.module.plan import KernelPlan, plan_kernel
    from ntkscope.lipschitz import LipschitzInterval, lipschitz_interval
    from ntkscope.networks import MLP, Network
    from ntkscope.regression import NTKRegressor
    from ntkscope.spectra.density import Density, spectral_density
    from ntkscope.spectra.eigenvalue import Eigenvalue, Status
    from ntkscope.spectra.extremes import (
        ConditionNumber,
        Extremes,
        condition_number,
        extreme_eigenvalues,
    )
    from ntkscope.spectra.loewner import LoewnerResult, certify_loewner
    from ntkscope.spectra.plan import Plan, plan
    from ntkscope.spectra.progress import Progress
    from ntkscope.spectra.singular import smallest_singular_value
    from ntkscope.spectra.smallest import smallest_eigenvalue
    from ntkscope.theory.instance import Instance
    from ntkscope.theory.prediction import (
        Prediction,
        SpectrumPrediction,
        predict_smallest_eigenvalue,
        predict_spectrum,
    )
    from ntkscope.theory.statement import Statement, check, check_all, statements
    from ntkscope.theory.verdict import Verdict
    from ntkscope.training.checkpoints import load_model, save_model
    from ntkscope.training.curvature import hessian_norms
    from ntkscope.training.dynamics import Recipe, train
    from ntkscope.training.linearized import LinearizedTraining
    from ntkscope.training.memorization import Memorization, memorize
    from ntkscope.training.outcome import Training
    from ntkscope.training.tracker import Tracker

__version__ = "0.1.0"

# public name → module that holds it; imported on first use, so that `import ntkscope` and the
# command line's --help do not wait for torch
_HOMES = {
    "Activation": "ntkscope.activations",
    "Chain": "ntkscope.chain",
    "ConditionNumber": "ntkscope.spectra.extremes",
    "Convergence": "ntkscope.convergence",
    "Density": "ntkscope.spectra.density",
    "Eigenvalue": "ntkscope.spectra.eigenvalue",
    "Extremes": "ntkscope.spectra.extremes",
    "HadamardKernel": "ntkscope.kernels.hadamard",
    "Inspection": "ntkscope.inspection",
    "Instance": "ntkscope.theory.instance",
    "LimitingKernel": "ntkscope.kernels.limiting",
    "LinearizedTraining": "ntkscope.training.linearized",
    "LipschitzInterval": "ntkscope.lipschitz",
    "LoewnerResult": "ntkscope.spectra.loewner",
    "MLP": "ntkscope.networks",
    "Memorization": "ntkscope.training.memorization",
    "NTKRegressor": "ntkscope.regression",
    "Network": "ntkscope.networks",
    "KernelPlan": "ntkscope.kernels.module.plan",
    "OutputKernels": "ntkscope.kernels.module.outputs",
    "plan_kernel": "ntkscope.kernels.module.plan",
    "Statement": "ntkscope.theory.statement",
    "Plan": "ntkscope.spectra.plan",
    "Prediction": "ntkscope.theory.prediction",
    "Progress": "ntkscope.spectra.progress",
    "Recipe": "ntkscope.training.dynamics",
    "SelfCheckError": "ntkscope.kernels.module.invariant",
    "SpectrumPrediction": "ntkscope.theory.prediction",
    "Status": "ntkscope.spectra.eigenvalue",
    "Sweep": "ntkscope.experiments.sweep",
    "Tracker": "ntkscope.training.tracker",
    "Training": "ntkscope.training.outcome",
    "Verdict": "ntkscope.theory.verdict",
    "WidthLimit": "ntkscope.convergence",
    "certify_loewner": "ntkscope.spectra.loewner",
    "check": "ntkscope.theory.statement",
    "check_all": "ntkscope.theory.statement",
    "condition_number": "ntkscope.spectra.extremes",
    "dual_activation": "ntkscope.kernels.dual",
    "empirical_ntk": "ntkscope.kernels.empirical",
    "extreme_eigenvalues": "ntkscope.spectra.extremes",
    "hermite_coefficients": "ntkscope.hermite",
    "hessian_norms": "ntkscope.training.curvature",
    "inspect": "ntkscope.inspection",
    "limiting_chain": "ntkscope.chain",
    "limiting_kernel": "ntkscope.kernels.limiting",
    "limiting_ntk": "ntkscope.kernels.limiting",
    "lipschitz_interval": "ntkscope.lipschitz",
    "load_model": "ntkscope.training.checkpoints",
    "memorize": "ntkscope.training.memorization",
    "plan": "ntkscope.spectra.plan",
    "predict_smallest_eigenvalue": "ntkscope.theory.prediction",
    "predict_spectrum": "ntkscope.theory.prediction",
    "reproduce": "ntkscope.experiments.reproduce",
    "save_model": "ntkscope.training.checkpoints",
    "smallest_eigenvalue": "ntkscope.spectra.smallest",
    "smallest_singular_value": "ntkscope.spectra.singular",
    "spectral_density": "ntkscope.spectra.density",
    "statements": "ntkscope.theory.statement",
    "train": "ntkscope.training.dynamics",
    "width_convergence": "ntkscope.convergence",
    "width_limit": "ntkscope.convergence",
}
_MODULES = ("activations", "data")

__all__ = [
    "MLP",
    "Activation",
    "Chain",
    "ConditionNumber",
    "Convergence",
    "Density",
    "Eigenvalue",
    "Extremes",
    "HadamardKernel",
    "Inspection",
    "Instance",
    "KernelPlan",
    "LimitingKernel",
    "LinearizedTraining",
    "LipschitzInterval",
    "LoewnerResult",
    "Memorization",
    "NTKRegressor",
    "Network",
    "OutputKernels",
    "Plan",
    "Prediction",
    "Progress",
    "Recipe",
    "SelfCheckError",
    "SpectrumPrediction",
    "Statement",
    "Status",
    "Sweep",
    "Tracker",
    "Training",
    "Verdict",
    "WidthLimit",
    "activations",
    "certify_loewner",
    "check",
    "check_all",
    "condition_number",
    "data",
    "dual_activation",
    "empirical_ntk",
    "extreme_eigenvalues",
    "hermite_coefficients",
    "hessian_norms",
    "inspect",
    "limiting_chain",
    "limiting_kernel",
    "limiting_ntk",
    "lipschitz_interval",
    "load_model",
    "memorize",
    "plan",
    "plan_kernel",
    "predict_smallest_eigenvalue",
    "predict_spectrum",
    "reproduce",
    "save_model",
    "smallest_eigenvalue",
    "smallest_singular_value",
    "spectral_density",
    "statements",
    "train",
    "width_convergence",
    "width_limit",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    elif name in _MODULES:
        value = importlib.import_module(f"ntkscope.{name}")
    else:
        raise AttributeError(f"module 'ntkscope' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
