"""Models that are legal and rare: what is registered twice, scripted, empty, or differentiates inside.

Every one has the kernel that one backward pass a sample on the module itself gives, or is refused
with a reason; and is left as it was.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call, grad, hessian, jacrev, jvp, vmap

import ntkscope as ntk
from oracles import module_ntk

D, N = 4, 7
WAYS = [{}, {"general": True}, {"self_check": False}, {"max_memory": 1e6}]


def data():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(N, D, dtype=torch.float64, generator=generator)


class Net(nn.Module):
    """Two layers; ``what(net, x)`` is the forward pass, ``more(net)`` adds parts."""

    def __init__(self, what=lambda net, x: net.plain(x), more=lambda _: None):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.inner, self.outer = nn.Linear(D, D).double(), nn.Linear(D, 2).double()
        self.what = what
        more(self)

    def plain(self, x):
        return self.outer(torch.tanh(self.inner(x)))

    def forward(self, x):
        return self.what(self, x)


def require_exact(model, ways=WAYS, X=None):
    X = data() if X is None else X
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    before = {
        n: (t.data_ptr(), t.requires_grad) for n, t in tensors.items() if t.layout == torch.strided
    }
    expected = module_ntk.kernel(module_ntk.jacobian(model, X))
    for options in ways:
        K = ntk.empirical_ntk(model, X, **options)
        error = float((K.dense() - expected).abs().max())
        assert error <= 1e-12 * float(expected.abs().max()), options
    after = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    assert all(after[name] is tensor for name, tensor in tensors.items())
    assert all((after[n].data_ptr(), after[n].requires_grad) == kept for n, kept in before.items())


def register_weight(net):
    net.register_buffer("held", net.inner.weight)


def test_a_parameter_that_is_a_buffer_too():
    require_exact(Net(more=register_weight))
    require_exact(Net(lambda net, x: net.plain(x) + (x @ net.held).sum(1, True), register_weight))


def test_a_buffer_computed_from_a_parameter_is_refused():
    def double(net):
        net.register_buffer("held", 2 * net.inner.weight)

    model = Net(lambda net, x: net.plain(x @ net.held), double)
    with pytest.raises(ValueError, match=r"buffer 'held' was computed from .*'inner\.weight'"):
        ntk.empirical_ntk(model, data())
    model.inner.requires_grad_(False)
    assert len(ntk.empirical_ntk(model, data()).terms) == 2
    model.inner.requires_grad_(True)
    model.held = model.held.detach()
    require_exact(model)


def test_a_tensor_kept_from_before_the_pass():
    def keep(of):
        return Net(
            lambda net, x: net.plain(x) + (x @ net.kept).sum(1, True),
            lambda net: setattr(net, "kept", of(net.inner.weight)),
        )

    def in_the_first_pass(net, x):
        if not hasattr(net, "kept"):
            net.kept = torch.exp(net.inner.weight)
        return net.plain(x @ net.kept)

    message = r"from parameter 'inner\.weight' before it \(%s.*compute it in each pass"
    for general in (False, True):
        with pytest.raises(ValueError, match=message % "MulBackward0"):
            ntk.empirical_ntk(keep(lambda w: 2 * w), data(), general=general)
        with pytest.raises(ValueError, match=message % "ExpBackward0"):
            ntk.empirical_ntk(Net(in_the_first_pass), data(), general=general)
    require_exact(keep(lambda w: w.t()))  # a view is gone through as often as one likes
    require_exact(keep(lambda w: 2 * w.detach()))
    require_exact(keep(lambda w: 2 * nn.Parameter(w.detach().clone())))


def test_a_part_of_the_pass_on_a_thread_of_its_own():
    def on_a_thread(net, x):
        with ThreadPoolExecutor(1) as pool:  # whose autograd nodes have numbers of their own
            return net.plain(x) + pool.submit(lambda: net.plain(2 * x)).result()

    for _ in range(3):
        torch.ones((), requires_grad=True).exp()
    require_exact(Net(on_a_thread))


def shrink_data(net, x):
    net.inner.weight.data = 0.9 * net.inner.weight.data
    return net.plain(x)


def shrink_object(net, x):
    net.inner.weight = nn.Parameter(0.9 * net.inner.weight.detach())
    return net.plain(x)


@pytest.mark.parametrize("shrink", [shrink_data, shrink_object])
@pytest.mark.parametrize("general", [False, True])
def test_a_pass_that_changes_a_parameter_is_refused(shrink, general):
    model = Net(shrink)
    weight = model.inner.weight
    before = weight.detach().clone()
    with pytest.raises(ValueError, match=r"puts other values into the parameter 'inner\.weight'"):
        ntk.empirical_ntk(model, data(), general=general)
    assert model.inner.weight is weight
    assert torch.equal(weight, before)


def test_a_pass_that_puts_the_same_values_into_a_parameter():
    def clamp(net, x):
        net.inner.weight.data = net.inner.weight.data.clamp(-1, 1)
        return net.plain(x)

    model, X = Net(clamp), data()
    K = ntk.empirical_ntk(model, X)
    assert torch.equal(K.dense(), ntk.empirical_ntk(Net(), X).dense())


@pytest.mark.parametrize("value", [nn.Parameter(torch.ones(D).double()), np.ones(D)])
def test_a_part_may_call_anything_p(value):
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.p = self.dropout = value

        def forward(self, x):
            return x * torch.as_tensor(self.p)

    require_exact(nn.Sequential(Scaled(), nn.Linear(D, 2).double()).train())


def test_dropout_of_any_number_is_refused_in_training_mode():
    for part in (nn.Dropout(1), nn.Dropout(0.5), nn.MultiheadAttention(D, 2, dropout=0.5)):
        model = nn.Sequential(nn.Linear(D, D), part).double().train()
        with pytest.raises(ValueError, match="training mode with dropout"):
            ntk.empirical_ntk(model, data())


def layers():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        parts = nn.Linear(D, 5), nn.ReLU(), nn.BatchNorm1d(5), nn.Linear(5, 2)
        return nn.Sequential(*parts).double().eval()


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.jit.script(layers()),
        lambda: torch.jit.trace(layers(), data()),
        lambda: nn.Sequential(nn.Linear(D, D).double(), torch.jit.script(layers())),
    ],
)
def test_scripted_and_traced_modules(make):
    require_exact(make())


def loss(net, z):
    return net.plain(z).square().sum()


INSIDE = {
    "gradients": lambda net, x: vmap(grad(lambda z: loss(net, z)))(x),
    "a gradient of the sum": lambda net, x: grad(lambda z: loss(net, z))(x),
    "gradients beside outputs": lambda net, x: torch.cat(
        [net.plain(x), vmap(grad(lambda z: loss(net, z)))(x)], 1
    ),
    "a Laplacian": lambda net, x: vmap(
        lambda z: hessian(lambda q: loss(net, q))(z).diagonal().sum(0, True)
    )(x),
    "Jacobians at kinks": lambda net, x: vmap(
        jacrev(lambda z: net.outer(F.relu(F.gelu(net.inner(z)))))
    )(x).flatten(1),
    "a tangent": lambda net, x: jvp(net.plain, (x,), (torch.ones_like(x),))[1],
    "a stateless call": lambda net, x: vmap(
        lambda z: functional_call(net.outer, dict(net.outer.named_parameters()), (z,))
    )(x),
}


@pytest.mark.parametrize("name", INSIDE)
def test_transforms_of_torch_func_inside(name):
    require_exact(Net(INSIDE[name]))


def test_half_precision_inside_a_transform_is_refused():
    model = Net(lambda net, x: vmap(lambda z: net.outer(net.inner(z).half().double()))(x))
    with pytest.raises(ValueError, match=r"rounds to torch\.float16"):
        ntk.empirical_ntk(model, data())


def nothing(net):
    net.empty, net.none, net.wide = nn.Linear(0, 2), nn.Linear(D, 0), nn.Embedding(5, 0)
    net.double()


EMPTY = {
    "a layer without inputs": lambda net, x: net.plain(x) + net.empty(x[:, :0]),
    "a layer without outputs": lambda net, x: net.plain(x) + net.empty(net.none(x)),
    "a table without columns": lambda net, x: net.plain(x) + net.empty(net.wide((x[:, 0] > 0).long())),
    "no positions": lambda net, x: net.plain(x) + net.plain(x[:, None][:, :0]).sum(1),
    "a product of nothing": lambda net, x: (
        net.plain(x) + (x[:, None][:, :0] @ net.inner.weight).sum((1, 2))[:, None]
    ),
    "a shift of nothing": lambda net, x: (
        net.plain(x) + (x[:, :0] + net.none.weight[:, 0]).sum(1, True)
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Initializing zero-element")
@pytest.mark.parametrize("name", EMPTY)
def test_tensors_without_entries(name):
    model = Net(EMPTY[name], nothing)
    require_exact(model)
    with pytest.raises(ValueError, match=r"hold no entries \('none.weight' has shape \(0, 4\)"):
        ntk.empirical_ntk(model, data(), params="none.*")


def test_functions_of_parameters_without_entries():
    params = {"w": torch.randn(2, D).double(), "none": torch.zeros(0, D).double()}
    call = lambda p, X: X @ p["w"].T + (X @ p["none"].T).sum(1, True)  # noqa: E731
    K = ntk.empirical_ntk(call, data(), params=params)
    assert [t.name for t in K.terms] == ["w"]
    assert torch.allclose(K.dense(), 2 * data() @ data().T)


def inner_step(net, x):
    """One step of gradient descent for each sample, as in MAML."""
    W, made = net.inner.weight, []
    for z in x:
        (step,) = torch.autograd.grad(torch.tanh(W @ z).square().sum(), W, create_graph=True)
        made.append(net.outer(torch.tanh((W - 0.1 * step) @ z)))
    return torch.stack(made)


def test_a_pass_that_takes_gradients_by_its_own_parameters():
    model = Net(inner_step)
    require_exact(model)
    K = ntk.empirical_ntk(model, data())
    with torch.no_grad():
        assert torch.equal(ntk.empirical_ntk(model, data()).dense(), K.dense())
        ntk.gauss_newton_kernel(model, data(), torch.zeros(N, 2).double(), loss="mse")
    message = r"takes a gradient by a parameter that params leaves out.*K\.group"
    with pytest.raises(ValueError, match=message):
        ntk.empirical_ntk(model, data(), params="outer.*")
    sizes = [p.numel() for p in model.inner.parameters()]  # the first of the Jacobian's columns
    expected = module_ntk.kernel(module_ntk.jacobian(model, data())[:, :, sum(sizes) :])
    assert torch.allclose(K.group("outer.*").dense(), expected, rtol=1e-12)


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
@pytest.mark.parametrize(
    "layout", [torch.sparse_coo, torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr]
)
def test_a_sparse_buffer(layout):
    def graph(net):
        edges = torch.eye(D).double() + torch.diag(torch.ones(D - 1).double(), 1)
        block = {"blocksize": (2, 2)} if layout == torch.sparse_bsr else {}
        net.register_buffer("graph", edges.to_sparse(layout=layout, **block))

    model = Net(lambda net, x: net.plain((net.graph @ x.T).T), graph)
    require_exact(model)


def test_a_sparse_buffer_that_a_pass_changes_is_refused():
    def write(net, x):
        net.seen._values().add_(1)
        return net.plain(x)

    model = Net(write, lambda net: net.register_buffer("seen", torch.eye(D).to_sparse()))
    for general in (False, True):
        with pytest.raises(ValueError, match="changes the buffer 'seen'"):
            ntk.empirical_ntk(model, data(), general=general)


def weight(value):
    return {"params": {"inner.weight": value}}


BAD = {
    "a sparse parameter": (
        Net(more=lambda n: setattr(n.inner, "bias", nn.Parameter(torch.ones(D).to_sparse()))),
        {}, TypeError, r"'inner\.bias' has the layout torch.sparse_coo; .*to_dense",
    ),
    "float32 in a float64 model": (
        Net(), weight(torch.ones(D, D)), TypeError,
        r"params\['inner\.weight'\] is torch.float32, and the model's torch.float64",
    ),
    "another shape": (
        Net(), weight(torch.ones(D, 3)), ValueError,
        r"has shape \(4, 3\), and the model's \(4, 4\)",
    ),
    "on meta": (Net(), weight(torch.ones(D, D, device="meta")), TypeError, "meta device"),
    "no numbers": (Net(), weight(None), TypeError, "must be a tensor or an array of numbers"),
    "an output that is NaN": (
        Net(lambda net, x: torch.cat([net.plain(x), net.plain(x)[:, :1] * float("nan")], 1)),
        {"reduce": 0}, ValueError, r"NaN or infinite on these data \(output 2\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_is_said(name):
    model, options, error, words = BAD[name]
    with pytest.raises(error, match=words):
        ntk.empirical_ntk(model, data(), **options)


def test_values_for_parameters_may_be_arrays_and_lists():
    values = np.linspace(-1, 1, D * D).reshape(D, D)
    kernels = [
        ntk.empirical_ntk(Net(), data(), **weight(v)).dense()
        for v in (torch.from_numpy(values), values, values.tolist())
    ]
    assert all(torch.equal(K, kernels[0]) for K in kernels)


HELD = {
    "sparse": (lambda X: X.to_sparse(), r"has the layout torch.sparse_coo; .*\.to_dense"),
    "csr": (lambda X: X.to_sparse_csr(), r"has the layout torch.sparse_csr; .*\.to_dense"),
    "nested": (
        lambda X: torch.nested.nested_tensor([X[:3], X[:2]]),
        r"is a nested tensor.*torch\.nested\.to_padded_tensor\(",
    ),
    "jagged": (
        lambda X: torch.nested.nested_tensor([X[:3], X[:2]], layout=torch.jagged),
        r"is a nested tensor.*torch\.nested\.to_padded_tensor\(",
    ),
    "meta": (lambda X: X.to("meta"), "is on the meta device"),
    "masked": (
        lambda X: np.ma.masked_array(X.numpy(), mask=X.numpy() > 1),
        r"a masked array with \d+ masked entries.*\.filled\(",
    ),
}


@pytest.mark.filterwarnings("ignore")  # torch's, of prototypes
@pytest.mark.parametrize("name", HELD)
def test_samples_without_an_array_of_entries_are_refused(name):
    make, words = HELD[name]
    X, model = data(), nn.Linear(D, 2).double()
    for held in (make(X), (make(X),), {"input": make(X)}):
        with pytest.raises(TypeError, match=f"^X.*{words}"):
            ntk.empirical_ntk(model, held)
    with pytest.raises(TypeError, match=f"^X2.*{words}"):
        ntk.empirical_ntk(model, X, make(X))
    with pytest.raises(TypeError, match=f"^X.*{words}"):
        ntk.empirical_ntk(ntk.Network([D, 8, 1], "tanh").sample(0), make(X))


def test_numbers_of_numpy_are_options_too():
    model, X = Net(), data()
    plain = ntk.empirical_ntk(model, X, reduce=1, chunk_size=3).dense()
    K = ntk.empirical_ntk(
        model, X, reduce=np.int64(1), chunk_size=np.int64(3), max_memory=np.int64(10**9)
    )
    assert torch.equal(K.dense(), plain)
    with pytest.raises(TypeError, match="output index"):
        ntk.empirical_ntk(model, X, reduce=np.bool_(True))
