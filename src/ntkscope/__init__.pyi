"""The public names, each said once: type checkers read this file, and so does ``__init__.py``."""

from ntkscope import activations as activations, data as data
from ntkscope._base.version import __version__ as __version__
from ntkscope.activations.activation import Activation as Activation
from ntkscope.activations.hermite import hermite_coefficients as hermite_coefficients
from ntkscope.engines.engine import Engine as Engine, Tls as Tls
from ntkscope.experiments.figures.reproduce import reproduce as reproduce
from ntkscope.experiments.sweep import Sweep as Sweep
from ntkscope.explorer.explore import Explorer as Explorer, explore as explore
from ntkscope.inspection.chain import Chain as Chain, limiting_chain as limiting_chain
from ntkscope.inspection.comparison import (
    KernelComparison as KernelComparison,
    compare_kernels as compare_kernels,
)
from ntkscope.inspection.convergence import (
    Convergence as Convergence,
    width_convergence as width_convergence,
)
from ntkscope.inspection.inspection import Inspection as Inspection, inspect as inspect
from ntkscope.inspection.width_limit import (
    WidthLimit as WidthLimit,
    width_limit as width_limit,
)
from ntkscope.kernels.empirical import empirical_ntk as empirical_ntk
from ntkscope.kernels.hadamard import HadamardKernel as HadamardKernel
from ntkscope.kernels.kernel import Kernel as Kernel
from ntkscope.kernels.limiting.architectures.plan import LimitPlan as LimitPlan
from ntkscope.kernels.limiting.architectures.plan import plan_limit as plan_limit
from ntkscope.kernels.limiting.dual import dual_activation as dual_activation
from ntkscope.kernels.limiting.limiting_kernel import (
    limiting_kernel as limiting_kernel,
    limiting_ntk as limiting_ntk,
)
from ntkscope.kernels.limiting.network_kernel import LimitingKernel as LimitingKernel
from ntkscope.kernels.limiting.power_series import (
    PowerSeries as PowerSeries,
    power_series as power_series,
)
from ntkscope.kernels.loss.kernel import GaussNewtonKernel as GaussNewtonKernel
from ntkscope.kernels.loss.make import gauss_newton_kernel as gauss_newton_kernel
from ntkscope.kernels.matrix import MatrixKernel as MatrixKernel
from ntkscope.kernels.outputs import OutputKernels as OutputKernels
from ntkscope.kernels.module.making.kernel_plan import (
    KernelPlan as KernelPlan,
    plan_kernel as plan_kernel,
)
from ntkscope.kernels.module.making.errors import SelfCheckError as SelfCheckError
from ntkscope.kernels.stored import (
    StoredKernel as StoredKernel,
    load_kernel as load_kernel,
    save_kernel as save_kernel,
)
from ntkscope.lipschitz import (
    LipschitzInterval as LipschitzInterval,
    lipschitz_interval as lipschitz_interval,
)
from ntkscope.networks.mlp import MLP as MLP
from ntkscope.networks.network import Network as Network
from ntkscope.prediction.predict import (
    predict_smallest_eigenvalue as predict_smallest_eigenvalue,
    predict_spectrum as predict_spectrum,
)
from ntkscope.prediction.result import (
    Prediction as Prediction,
    SpectrumPrediction as SpectrumPrediction,
)
from ntkscope.spectra.density import Density as Density, spectral_density as spectral_density
from ntkscope.spectra.eigenvalue import Eigenvalue as Eigenvalue, Status as Status
from ntkscope.spectra.extremes import (
    ConditionNumber as ConditionNumber,
    Extremes as Extremes,
    condition_number as condition_number,
    extreme_eigenvalues as extreme_eigenvalues,
)
from ntkscope.spectra.loewner import (
    LoewnerResult as LoewnerResult,
    certify_loewner as certify_loewner,
)
from ntkscope.spectra.plan import Plan as Plan, plan as plan
from ntkscope.spectra.progress import Progress as Progress
from ntkscope.spectra.singular import smallest_singular_value as smallest_singular_value
from ntkscope.spectra.smallest import smallest_eigenvalue as smallest_eigenvalue
from ntkscope.spectra.solve import Solution as Solution, solve as solve
from ntkscope.spectra.streamed import (
    StreamedBound as StreamedBound,
    streamed_bound as streamed_bound,
)
from ntkscope.statements.check import check as check, check_all as check_all
from ntkscope.statements.instance import Instance as Instance
from ntkscope.statements.paper import Paper as Paper
from ntkscope.statements.registry import load_plugin as load_plugin, statements as statements
from ntkscope.statements.statement import Statement as Statement
from ntkscope.statements.verdict import Verdict as Verdict
from ntkscope.training.checkpoints import load_model as load_model, save_model as save_model
from ntkscope.training.covariances import Linearized as Linearized
from ntkscope.training.curvature import hessian_norms as hessian_norms
from ntkscope.training.dynamics import train as train
from ntkscope.training.recipe import Recipe as Recipe
from ntkscope.training.influence import Influence as Influence, influence as influence
from ntkscope.training.leave_one_out import (
    LeaveOneOut as LeaveOneOut,
    leave_one_out as leave_one_out,
)
from ntkscope.training.linearized import LinearizedTraining as LinearizedTraining
from ntkscope.training.memorization import Memorization as Memorization, memorize as memorize
from ntkscope.training.outcome import Training as Training
from ntkscope.training.posterior import KernelPosterior as KernelPosterior
from ntkscope.training.regression import NTKRegressor as NTKRegressor
from ntkscope.training.sharpness import Sharpness as Sharpness, sharpness as sharpness
from ntkscope.training.tracker import Tracker as Tracker
