"""Every kind of kernel against the one contract."""

import math
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import ntkscope as ntk
from kernels.conformance import Case, Conformance
from ntkscope.kernels.given import OperatorKernel
from ntkscope.kernels.hadamard import Factor, HadamardKernel, Term
from ntkscope.kernels.index import place
from ntkscope.kernels.kernel import Kernel
from ntkscope.kernels.limiting.architectures.kernel import ArchitectureKernel
from ntkscope.kernels.limiting.terms import limiting_terms
from ntkscope.kernels.matrix import MatrixKernel
from ntkscope.kernels.module.holding.module_kernel import ModuleKernel
from ntkscope.kernels.module.holding.weight_block import WeightBlock
from ntkscope.kernels.module.making.lazy import LazyKernel
from ntkscope.kernels.module.making.prepare import PreparedModule
from ntkscope.kernels.prepared import Options
from ntkscope.kernels.summed import SummedKernel
from oracles.jacobian import kernel as mlp_twin
from oracles.module_ntk import jacobian
from oracles.module_ntk import kernel as module_twin

N = 24
X = ntk.data.gaussian(N, 6, seed=1)
Z = ntk.data.gaussian(9, 6, seed=2)


def _mlp():
    model = ntk.Network([6, 30, 20, 1], "tanh", "he", bias_std=0.1).sample(0)
    return Case.symmetric(ntk.empirical_ntk(model, X), mlp_twin(model, X))


def _mlp_cross():
    model = ntk.Network([6, 30, 20, 1], "tanh", "he").sample(0)
    own = (mlp_twin(model, x).diagonal() for x in (X, Z))
    return Case(ntk.empirical_ntk(model, X, Z), mlp_twin(model, X, Z), *own)


def _one_term():
    model = ntk.Network([30, 40, 1], "tanh", "he").sample(0)
    kernel = ntk.empirical_ntk(model, ntk.data.gaussian(N, 30, seed=1)).terms[0]
    F, B = kernel.features.rows, kernel.signals.rows
    return Case.symmetric(kernel, kernel.scale * (F @ F.T) * (B @ B.T))


def _convolution():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(2, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(16, 3)).double()
    return model, torch.randn(N, 2, 6, dtype=torch.float64)


class _Mixed(nn.Module):
    """Gram terms, a convolution's block and a general parameter."""

    def __init__(self):
        super().__init__()
        self.conv, self.out = nn.Conv1d(2, 4, 3), nn.Linear(16, 3)
        self.power = nn.Parameter(torch.full((4, 1), 2.0))

    def forward(self, x):
        return self.out((torch.sigmoid(self.conv(x)) ** self.power).flatten(1))


def _mixed():
    torch.manual_seed(0)
    return _Mixed().double(), torch.randn(N, 2, 6, dtype=torch.float64)


def _case(model, X, X2=None, kind=ModuleKernel, reduce="trace", **options):
    kernel = ntk.empirical_ntk(model, X, X2, reduce=reduce, **options)
    assert type(kernel) is kind
    J = jacobian(model, X)
    if X2 is None:
        return Case.symmetric(kernel, module_twin(J, reduce=reduce))
    own = (module_twin(jacobian(model, x), reduce=reduce).diagonal() for x in (X, X2))
    return Case(kernel, module_twin(J, jacobian(model, X2), reduce=reduce), *own)


def _module():
    return _case(*_convolution())


def _module_mixed():
    return _case(*_mixed())


def _module_cross():
    model, X = _mixed()
    return _case(model, X, X[:9] + 1.0)


def _module_full():
    model, X = _mixed()
    return _case(model, X[:8], reduce="full")


def _module_general():
    return _case(*_mixed(), general=True)


def _one_block():
    kernel = ntk.empirical_ntk(*_convolution()).terms[0]
    assert type(kernel) is WeightBlock
    model, X = _convolution()
    return Case.symmetric(kernel, module_twin(jacobian(model, X)[..., : model[0].weight.numel()]))


def _on_demand(X2=None):
    model, X = _mixed()
    made = PreparedModule(model, X, Options(chunk_size=8), X2)
    return LazyKernel(replace(made.recipe("trace"), limit=6e4), made.rows, made.cols), model, X


def _gauss_newton():
    """Of a softmax; its twin from an explicit Jacobian in the same root of the Hessians."""
    model, x = _convolution()
    kernel = ntk.gauss_newton_kernel(model, x, torch.arange(N) % 3)
    J = jacobian(model, x)  # (N, C, P)
    turned = torch.einsum("nca,ncp->nap", kernel.roots.matrices, J).flatten(0, 1)
    return Case.symmetric(kernel, turned @ turned.T)


def _lazy():
    kernel, model, X = _on_demand()
    assert kernel.panel < N
    return Case.symmetric(kernel, module_twin(jacobian(model, X)))


def _lazy_cross():
    model, X = _mixed()
    twin = _case(model, X, X[:9] + 1.0)
    return replace(twin, kernel=_on_demand(X[:9] + 1.0)[0])


def _limit_network():
    return ntk.Network([6, 40, 40, 1], "relu", "he", bias_std=0.2)


def _limit():
    kernel = ntk.limiting_kernel(_limit_network(), X)
    return Case.symmetric(kernel, _limit_twin(X, X))


def _limit_twin(A, B):
    """Entry by entry, each pair in a kernel of its own."""
    net = _limit_network()
    rows = [[float(ntk.limiting_ntk(net, torch.stack([a, b]))[0, 1]) for b in B] for a in A]
    return torch.tensor(rows, dtype=torch.float64)


def _limit_cross():
    net = _limit_network()
    own = (ntk.limiting_ntk(net, x).diagonal() for x in (X, Z))
    return Case(ntk.limiting_kernel(net, X, Z), _limit_twin(X, Z), *own)


def _limit_of_a_module(*others):
    """The same network as a module of its layers."""
    net = _limit_network()
    module = nn.Sequential(
        nn.Linear(6, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 1)
    )
    variances = {f"{2 * i}.weight": beta**2 for i, beta in enumerate(net.betas)}
    kernel = ntk.limiting_kernel(module, X, *others, variances={**variances, "*.bias": 0.04})
    assert type(kernel) is ArchitectureKernel
    return kernel


def _limit_module():
    return replace(made(_limit), kernel=_limit_of_a_module())


def _limit_module_cross():
    return replace(made(_limit_cross), kernel=_limit_of_a_module(Z))


def _limit_of_a_series():
    net = ntk.Network([6, math.inf, math.inf, 1], "tanh", "unit", parameterization="ntk")
    whole = ntk.limiting_ntk(net, X, get=("terms", "ntk"))[0]
    return Case.symmetric(ntk.limiting_kernel(net, X), sum(whole))


def _summed():
    net = ntk.Network([6, math.inf, math.inf, 1], "tanh", "unit", parameterization="ntk")
    kernel = limiting_terms(net, X)
    assert type(kernel) is SummedKernel
    return Case.symmetric(kernel, ntk.limiting_ntk(net, X))


def _matrix():
    F = torch.randn(N, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return Case.symmetric(MatrixKernel((F @ F.T).numpy(), entry_error=40 * 2.0**-53), F @ F.T)


def _matrix_cross():
    F = torch.randn(N, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    G = F[:9] + 1.0
    own = ((f * f).sum(1) for f in (F, G))
    return Case(MatrixKernel(F @ G.T), F @ G.T, *own)


class Laplacian(Kernel):
    """A user's kernel: nothing but what the contract asks."""

    def __init__(self, points, others=None):
        self.points, self.others = points, points if others is None else others

    shape = property(lambda self: (len(self.points), len(self.others)))
    dtype = property(lambda self: self.points.dtype)
    device = property(lambda self: self.points.device)
    symmetric = property(lambda self: self.others is self.points)

    def tile(self, rows, cols):
        r, c = (place(i, n, self.device) for i, n in zip((rows, cols), self.shape, strict=True))
        return torch.exp(-torch.cdist(self.points[r], self.others[c], p=1.0))


def _own():
    return Case.symmetric(Laplacian(X), torch.exp(-(X[:, None] - X[None]).abs().sum(-1)))


def _own_cross():
    ones = (torch.ones(len(x), dtype=torch.float64) for x in (X, Z))
    return Case(Laplacian(X, Z), torch.exp(-(X[:, None] - Z[None]).abs().sum(-1)), *ones)


def _operator():
    F = torch.randn(N, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return Case.symmetric(OperatorKernel(lambda V: (F @ F.T) @ V, N), F @ F.T)


def _stored():
    case = _matrix()
    folder = Path(tempfile.mkdtemp()) / "k.zarr"
    return replace(case, kernel=ntk.save_kernel(case.kernel, folder, tile=16))


MAKERS = [
    _mlp, _mlp_cross, _one_term, _module, _module_mixed, _module_cross, _module_full,
    _module_general, _one_block, _lazy, _lazy_cross, _limit, _limit_cross, _limit_module, _limit_module_cross,
    _limit_of_a_series, _summed,
    _matrix, _matrix_cross, _own, _own_cross, _operator, _gauss_newton, _stored,
]  # fmt: skip


made = cache(lambda make: make())


class TestKernels(Conformance):
    @pytest.fixture(params=MAKERS, ids=lambda make: make.__name__.strip("_"))
    def case(self, request):
        return made(request.param)


def test_terms_of_both_signs_have_an_error_of_their_sizes():
    """K = FFᵀ − (1 − η) FFᵀ is small beside what it was added up from."""
    F = torch.randn(8, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    factor, eta = Factor.symmetric(F), 2.0**-20
    K = HadamardKernel([Term("a", factor, None, 1.0), Term("b", factor, None, -(1 - eta))])
    plain = HadamardKernel([Term("a", factor, None)])
    assert K.entry_error() > 2.0**19 * plain.entry_error()
    assert K.forming_error() > plain.forming_error()
    assert not K.semidefinite


def test_a_kernel_that_says_nothing_of_its_error_is_formed_once():
    kernel = Laplacian(X)
    with pytest.raises(ValueError, match="does not apply"):
        ntk.smallest_eigenvalue(kernel, method="disk")
    found = ntk.smallest_eigenvalue(kernel)
    assert found.status is ntk.Status.OK
    assert "tiles" in found.covers


def test_a_matrix_may_be_nearly_symmetric_or_not_at_all():
    K = torch.eye(4, dtype=torch.float64)
    K[0, 1] = 1e-15
    assert MatrixKernel(K).symmetric
    K[0, 1] = 1e-3
    assert not MatrixKernel(K).symmetric
    with pytest.raises(ValueError, match="entry_error"):
        MatrixKernel(K, entry_error=-1.0)
    with pytest.raises(ValueError, match="one dtype"):
        SummedKernel([MatrixKernel(K), MatrixKernel(K.float())])
    assert MatrixKernel(np.eye(3, dtype=np.float32)).to(torch.float64).dtype == torch.float64


def test_a_stated_error_widens_the_interval():
    K = torch.diag(torch.linspace(1, 2, 12, dtype=torch.float64))
    found = ntk.smallest_eigenvalue(MatrixKernel(K, entry_error=1e-6))
    assert found.lower <= 1 - 1e-6 * 18
    assert found.upper >= 1 + 1e-6 * 18
    assert found.upper - found.lower < 1e-4
    assert found.covers == "the kernel behind the matrix"
