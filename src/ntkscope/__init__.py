"""ntkscope: measure, bound, predict and reproduce the spectrum of the neural tangent kernel."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ntkscope import activations, data
    from ntkscope.activations.activation import Activation
    from ntkscope.activations.hermite import hermite_coefficients
    from ntkscope.experiments.figures.reproduce import reproduce
    from ntkscope.experiments.running.sweep import Sweep
    from ntkscope.inspection.chain import Chain, limiting_chain
    from ntkscope.inspection.inspection import Inspection, inspect
    from ntkscope.inspection.width_limit import (
        Convergence,
        WidthLimit,
        width_convergence,
        width_limit,
    )
    from ntkscope.kernels.empirical import empirical_ntk
    from ntkscope.kernels.hadamard import HadamardKernel
    from ntkscope.kernels.limiting.dual import dual_activation
    from ntkscope.kernels.limiting.limiting_kernel import (
        LimitingKernel,
        limiting_kernel,
        limiting_ntk,
    )
    from ntkscope.kernels.module.making.invariant import SelfCheckError
    from ntkscope.kernels.module.making.kernel_plan import KernelPlan, plan_kernel
    from ntkscope.kernels.outputs import OutputKernels
    from ntkscope.lipschitz import LipschitzInterval, lipschitz_interval
    from ntkscope.networks.network import MLP, Network
    from ntkscope.prediction.smallest import (
        Prediction,
        SpectrumPrediction,
        predict_smallest_eigenvalue,
        predict_spectrum,
    )
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
    from ntkscope.statements.instance import Instance
    from ntkscope.statements.statement import Statement, check, check_all, statements
    from ntkscope.statements.verdict import Verdict
    from ntkscope.training.checkpoints import load_model, save_model
    from ntkscope.training.curvature import hessian_norms
    from ntkscope.training.dynamics import Recipe, train
    from ntkscope.training.linearized import LinearizedTraining
    from ntkscope.training.memorization import Memorization, memorize
    from ntkscope.training.outcome import Training
    from ntkscope.training.regression import NTKRegressor
    from ntkscope.training.tracker import Tracker

__version__ = "0.1.0"

# public name → module that holds it; imported on first use, so that `import ntkscope` and the
# command line's --help do not wait for torch
_HOMES = {
    "Activation": "ntkscope.activations.activation",
    "Chain": "ntkscope.inspection.chain",
    "ConditionNumber": "ntkscope.spectra.extremes",
    "Convergence": "ntkscope.inspection.width_limit",
    "Density": "ntkscope.spectra.density",
    "Eigenvalue": "ntkscope.spectra.eigenvalue",
    "Extremes": "ntkscope.spectra.extremes",
    "HadamardKernel": "ntkscope.kernels.hadamard",
    "Inspection": "ntkscope.inspection.inspection",
    "Instance": "ntkscope.statements.instance",
    "LimitingKernel": "ntkscope.kernels.limiting.limiting_kernel",
    "LinearizedTraining": "ntkscope.training.linearized",
    "LipschitzInterval": "ntkscope.lipschitz",
    "LoewnerResult": "ntkscope.spectra.loewner",
    "MLP": "ntkscope.networks.network",
    "Memorization": "ntkscope.training.memorization",
    "NTKRegressor": "ntkscope.training.regression",
    "Network": "ntkscope.networks.network",
    "KernelPlan": "ntkscope.kernels.module.making.kernel_plan",
    "OutputKernels": "ntkscope.kernels.outputs",
    "plan_kernel": "ntkscope.kernels.module.making.kernel_plan",
    "Statement": "ntkscope.statements.statement",
    "Plan": "ntkscope.spectra.plan",
    "Prediction": "ntkscope.prediction.smallest",
    "Progress": "ntkscope.spectra.progress",
    "Recipe": "ntkscope.training.dynamics",
    "SelfCheckError": "ntkscope.kernels.module.making.invariant",
    "SpectrumPrediction": "ntkscope.prediction.smallest",
    "Status": "ntkscope.spectra.eigenvalue",
    "Sweep": "ntkscope.experiments.running.sweep",
    "Tracker": "ntkscope.training.tracker",
    "Training": "ntkscope.training.outcome",
    "Verdict": "ntkscope.statements.verdict",
    "WidthLimit": "ntkscope.inspection.width_limit",
    "certify_loewner": "ntkscope.spectra.loewner",
    "check": "ntkscope.statements.statement",
    "check_all": "ntkscope.statements.statement",
    "condition_number": "ntkscope.spectra.extremes",
    "dual_activation": "ntkscope.kernels.limiting.dual",
    "empirical_ntk": "ntkscope.kernels.empirical",
    "extreme_eigenvalues": "ntkscope.spectra.extremes",
    "hermite_coefficients": "ntkscope.activations.hermite",
    "hessian_norms": "ntkscope.training.curvature",
    "inspect": "ntkscope.inspection.inspection",
    "limiting_chain": "ntkscope.inspection.chain",
    "limiting_kernel": "ntkscope.kernels.limiting.limiting_kernel",
    "limiting_ntk": "ntkscope.kernels.limiting.limiting_kernel",
    "lipschitz_interval": "ntkscope.lipschitz",
    "load_model": "ntkscope.training.checkpoints",
    "memorize": "ntkscope.training.memorization",
    "plan": "ntkscope.spectra.plan",
    "predict_smallest_eigenvalue": "ntkscope.prediction.smallest",
    "predict_spectrum": "ntkscope.prediction.smallest",
    "reproduce": "ntkscope.experiments.figures.reproduce",
    "save_model": "ntkscope.training.checkpoints",
    "smallest_eigenvalue": "ntkscope.spectra.smallest",
    "smallest_singular_value": "ntkscope.spectra.singular",
    "spectral_density": "ntkscope.spectra.density",
    "statements": "ntkscope.statements.statement",
    "train": "ntkscope.training.dynamics",
    "width_convergence": "ntkscope.inspection.width_limit",
    "width_limit": "ntkscope.inspection.width_limit",
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
