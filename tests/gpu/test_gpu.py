"""On a GPU: every kind of kernel, spectrum, training and command, beside the same on the CPU.

Skipped where torch sees no GPU. ``NTKSCOPE_TEST_DEVICE=cpu`` runs the tests there on the CPU, against itself.
"""

import copy
import json
import math
import os

import pytest
import torch

import ntkscope as ntk
from ntkscope.cli.main import main
from ntkscope.experiments.measures.adam import _Batch, _corrections, _stream, adam
from ntkscope.spectra.extremes import largest_eigenvalue
from ntkscope.training.recipe import Checkpoint
from oracles.twins import TWINS

DEVICE = os.environ.get("NTKSCOPE_TEST_DEVICE", "cuda")
pytestmark = pytest.mark.skipif(
    DEVICE == "cuda" and not torch.cuda.is_available(), reason="torch sees no GPU here"
)
INF, EPS = math.inf, 2.0**-52
NTK = {"parameterization": "ntk"}


def samples(n=40, d=5, seed=0):
    return ntk.data.gaussian(n, d, seed=seed)


def here_and_there(make, *arguments):
    """What ``make`` gives for inputs on the CPU and for the same on the device."""
    return make(*arguments), make(*(moved(a) for a in arguments))


def moved(value):
    if isinstance(value, torch.Tensor):
        return value.to(DEVICE)
    if isinstance(value, torch.nn.Module):  # whose own move is in place
        return copy.deepcopy(value).to(DEVICE)
    if isinstance(value, tuple):
        return tuple(moved(v) for v in value)
    return value


def agree(here, there, tolerance=2000 * EPS):
    """Entries relative to √(K_ii K_jj), beside what the kernels say of their errors."""
    assert there.device.type == torch.device(DEVICE).type
    a, b = here.dense(), there.dense()
    assert b.device.type == torch.device(DEVICE).type
    scale = float(a.abs().max())
    assert (
        float((a - b.cpu()).abs().max())
        <= (tolerance + here.entry_error() + there.entry_error()) * scale
    )
    V = torch.linspace(-1, 1, 2 * a.shape[1], dtype=torch.float64).reshape(-1, 2)
    slack = tolerance * scale * a.shape[1] * 10
    assert float((a @ V - (there @ V.to(there.device)).cpu()).abs().max()) <= slack
    assert float((there.tile(slice(0, 3), slice(1, 4)).cpu() - a[:3, 1:4]).abs().max()) <= slack
    if there.symmetric:
        assert float((there.diagonal().cpu() - a.diagonal()).abs().max()) <= slack


# -- kernels --------------------------------------------------------------------------------------

SAMPLED = {
    "relu": ([5, 32, 16, 1], {}),
    "tanh, biases": ([5, 32, 16, 1], {"activation": "tanh", "bias_std": 0.1}),
    "three outputs": ([5, 32, 3], {}),
    "residual": ([5, 5, 5, 1], {"residual": 0.5}),
}


@pytest.mark.parametrize("name", SAMPLED)
def test_a_sampled_network(name):
    widths, more = SAMPLED[name]
    model, X = ntk.Network(widths, **more).sample(0), samples()
    agree(*here_and_there(ntk.empirical_ntk, model, X))
    agree(*here_and_there(ntk.empirical_ntk, model, X, X[:7]))


LIMITS = {
    "relu": ([5, INF, INF, 1], "relu"), "erf": ([5, INF, INF, 1], "erf"),
    "gelu": ([5, INF, INF, 1], "gelu"), "sin": ([5, INF, 1], "sin"),
    "tanh": ([5, INF, 1], "tanh"),
}  # fmt: skip


@pytest.mark.parametrize("name", LIMITS)
def test_a_limiting_kernel(name):
    widths, activation = LIMITS[name]
    net = ntk.Network(widths, activation, **NTK)
    agree(*here_and_there(lambda X: ntk.limiting_kernel(net, X), samples()))
    agree(*here_and_there(lambda X: ntk.limiting_kernel(net, X, X[:9]), samples()))


def convolutional():
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1, bias=False), torch.nn.ReLU(),
        torch.nn.Conv2d(8, 8, 3, padding=1, bias=False), torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(8, 1, bias=False),
    ).double()  # fmt: skip


def test_the_limit_of_a_module_is_computed_on_the_cpu():
    X = torch.randn(6, 3, 5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    model = convolutional()
    near, far = here_and_there(lambda m, x: ntk.limiting_kernel(m, x), model, X)
    assert far.device.type == "cpu"
    assert torch.equal(far.dense(), near.dense())


# torch's hardswish takes 1/6 in float32 on a GPU, which moves this kernel by 2.4e-10 of its entries
LOOSER = {"MobileNet block": 1e-9}


@pytest.mark.parametrize("name", TWINS)
def test_a_module(name):
    close = LOOSER.get(name, 2000 * EPS) if DEVICE == "cuda" else 2000 * EPS
    build, draw, _ = TWINS[name]
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model, X = build().double().eval(), draw(5)
    X = X if isinstance(X, tuple) else (X,)
    X = tuple(t.double() if t.is_floating_point() else t for t in X)
    here = ntk.empirical_ntk(model, X)
    full = ntk.empirical_ntk(model, X, reduce="full")
    model.to(DEVICE)
    there = moved(X)
    agree(here, ntk.empirical_ntk(model, there), close)
    agree(here, ntk.empirical_ntk(model, there, general=True), close)
    agree(full, ntk.empirical_ntk(model, there, reduce="full"), close)


@pytest.mark.parametrize("name", ["ViT block", "ResNet block with GroupNorm", "ConvNeXt block"])
def test_a_module_in_float32_within_what_float32_allows(name):
    """TF32, which a GPU's convolutions take by default, is off by 5e-4."""
    build, draw, _ = TWINS[name]
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model, X = build().eval(), draw(5)
    exact = ntk.empirical_ntk(model.double(), X.double()).dense()
    model.float().to(DEVICE)
    near = ntk.empirical_ntk(model, X.to(DEVICE)).dense().double().cpu()
    assert float((near - exact).abs().max()) <= 2e-5 * float(exact.abs().max())


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_the_kernel_of_a_loss(loss):
    model, X = ntk.Network([5, 32, 3]).sample(0), samples(20)
    y = torch.arange(20) % 3
    targets = y if loss == "cross_entropy" else torch.nn.functional.one_hot(y, 3).double()
    here = ntk.gauss_newton_kernel(model, X, targets, loss=loss)
    there = ntk.gauss_newton_kernel(moved(model), moved(X), moved(targets), loss=loss)
    agree(here, there)


def test_a_stored_kernel_of_a_gpu_is_read_anywhere(tmp_path):
    K = ntk.empirical_ntk(moved(ntk.Network([5, 32, 1]).sample(0)), moved(samples()))
    kept = ntk.save_kernel(K, tmp_path / "k.zarr")
    assert float((kept.dense() - K.dense().cpu()).abs().max()) <= 4 * EPS * float(K.dense().max())


# -- spectra --------------------------------------------------------------------------------------


def pair_of_kernels(n=300):
    model, X = ntk.Network([5, 64, 32, 1]).sample(0), samples(n)
    return here_and_there(ntk.empirical_ntk, model, X)


def meet(near, far):
    assert far.lower <= near.upper
    assert near.lower <= far.upper
    assert abs(far.value - near.value) <= 1e-10 * abs(near.value)


@pytest.mark.parametrize("method", ["auto", "dense", "packed", "in place", "float32", "products", "disk"])  # fmt: skip
def test_the_smallest_eigenvalue(method):
    here, there = pair_of_kernels()
    near = ntk.smallest_eigenvalue(here)
    if method == "in place":
        far = ntk.smallest_eigenvalue(there.dense(), in_place=True)
        near = ntk.smallest_eigenvalue(here.dense())
    else:
        far = ntk.smallest_eigenvalue(there, method=method, tolerance=1e-12)
    if far.status.name == "OK":
        meet(near, far)
        assert far.certificate in ("B", "C") or DEVICE == "cpu"
        assert far.upper - far.lower <= 1e-6 * near.value
    else:
        assert method in ("float32", "products")
        assert abs(far.value - near.value) <= 1e-6 * abs(near.value)


def test_the_ends_and_the_condition():
    here, there = pair_of_kernels()
    near, far = (ntk.extreme_eigenvalues(K, 3) for K in (here, there))
    for a, b in zip([*near.smallest, *near.largest], [*far.smallest, *far.largest], strict=True):
        meet(a, b)
    meet(largest_eigenvalue(here), largest_eigenvalue(there))
    a, b = (ntk.condition_number(K) for K in (here, there))
    assert b.value == pytest.approx(a.value, rel=1e-9)


def test_density_singular_values_order_and_solves():
    here, there = pair_of_kernels()
    near, far = (ntk.spectral_density(K, exact=True) for K in (here, there))
    assert far.nodes.flatten().tolist() == pytest.approx(near.nodes.flatten().tolist(), abs=near.error + far.error)  # fmt: skip
    near, far = (ntk.spectral_density(K, exact=False) for K in (here, there))
    means = [float((d.nodes * d.weights).sum() / len(d.nodes)) for d in (near, far)]
    assert means[1] == pytest.approx(means[0], rel=1e-8)  # one seed, so one set of probes
    F = torch.randn(80, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    meet(ntk.smallest_singular_value(F), ntk.smallest_singular_value(F.to(DEVICE)))
    M = there.dense()
    assert ntk.certify_loewner(M, 0.5 * M).dominates is True
    y = torch.ones(300, dtype=torch.float64)
    near, far = ntk.solve(here, y), ntk.solve(there, y.to(DEVICE))
    assert float((far.x.cpu() - near.x).norm()) <= 1e-6 * float(near.x.norm())


def test_a_streamed_bound():
    net = ntk.Network([5, INF, INF, 1], **NTK)
    X = ntk.data.sphere(60, 5, seed=0)
    near, far = here_and_there(lambda x: ntk.streamed_bound(net, x), X)
    assert far.lower == pytest.approx(near.lower, rel=1e-8, abs=1e-12)
    assert far.upper == pytest.approx(near.upper, rel=1e-6)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_tiled_factor(tmp_path, workers):
    here, _ = pair_of_kernels()
    engine = ntk.Engine(workers=workers, device=DEVICE)
    far = ntk.smallest_eigenvalue(here, engine=engine, folder=tmp_path / "t")
    meet(ntk.smallest_eigenvalue(here), far)
    assert far.status.name == "OK"


# -- training -------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["gd", "momentum:beta=0.8", "adam"])
def test_training(optimizer, tmp_path):
    model, X = ntk.Network([5, 32, 16, 1]).sample(0), samples()
    Y = torch.sin(X[:, :1])
    recipe = ntk.Recipe(steps=20, optimizer=optimizer, probes=3)
    near, far = here_and_there(lambda m, x, y: ntk.train(m, x, y, recipe), model, X, Y)
    assert [float(v) for v in far.losses] == pytest.approx([float(v) for v in near.losses], rel=1e-9)  # fmt: skip
    there = [moved(v) for v in (model, X, Y)]
    ntk.train(*there, recipe, checkpoint=Checkpoint(tmp_path / "c.pt", every=5))
    assert (tmp_path / "c.pt").exists()


def test_curvature_and_sharpness():
    model, X = ntk.Network([5, 32, 1], "tanh").sample(0), samples(12)
    near, far = here_and_there(lambda m, x: ntk.hessian_norms(m, x), model, X)
    assert far.maximum == pytest.approx(near.maximum, rel=1e-4)
    classes = ntk.Network([5, 32, 3], "tanh").sample(0)
    y = torch.arange(12) % 3
    near, far = here_and_there(lambda m, x, t: ntk.sharpness(m, x, t), classes, X, y)
    assert far.value == pytest.approx(near.value, rel=1e-3)


def test_memorizing():
    net, X = ntk.Network([5, 64, 1]), samples(20)
    Y = torch.ones(20, 1, dtype=torch.float64)
    near, far = here_and_there(lambda m, x, y: ntk.memorize(m, x, y), net.sample(0), X, Y)
    assert near.reached
    assert far.reached


def test_regression_its_influence_and_what_is_left_out():
    X, new = samples(40), samples(7, seed=1)
    y = torch.sin(X[:, 0])
    near, far = (
        ntk.NTKRegressor(hidden_layers=1, ridge=1e-3, device=d).fit(X.numpy(), y.numpy())
        for d in ("cpu", DEVICE)
    )
    a, b = (r.predict(new.numpy(), return_std=True) for r in (near, far))
    assert b[0] == pytest.approx(a[0], rel=1e-7)
    assert b[1] == pytest.approx(a[1], rel=1e-6)
    kernels = here_and_there(ntk.empirical_ntk, ntk.Network([5, 64, 1]).sample(0), X)
    near, far = (ntk.leave_one_out(ntk.KernelPosterior(K, y, 1e-3)).predictions for K in kernels)
    assert far.flatten().tolist() == pytest.approx(near.flatten().tolist(), rel=1e-7)


def test_comparing_kernels():
    here, there = pair_of_kernels(60)
    other = ntk.empirical_ntk(moved(ntk.Network([5, 64, 32, 1]).sample(1)), moved(samples(60)))
    assert ntk.compare_kernels(there, other).cka < 1.0 + 1e-12
    assert ntk.compare_kernels(here, here).cka == pytest.approx(1.0)


@pytest.mark.parametrize("loss", [None, "cross_entropy"])
def test_inspecting(loss):
    model, X, y = ntk.Network([5, 32, 3]).sample(0), samples(20), torch.arange(20) % 3
    more = {} if loss is None else {"loss": loss}
    near, far = here_and_there(
        lambda m, x, t: ntk.inspect(m, x, **more, **({} if loss is None else {"targets": t})), model, X, y
    )  # fmt: skip
    assert far.smallest.value == pytest.approx(near.smallest.value, rel=1e-8)


def test_a_module_in_the_loop():
    model = torch.nn.Sequential(torch.nn.Linear(5, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1)).double().to(DEVICE)  # fmt: skip
    X = samples(20).to(DEVICE)
    tracker = ntk.Tracker(model, X)
    optimizer = torch.optim.SGD(model.parameters(), 1e-2)
    for _ in range(3):
        model(X).square().mean().backward()
        optimizer.step()
        tracker.step()
    assert len(tracker.column("step")) >= 1


# -- many networks at once ------------------------------------------------------------------------


def a_batch():
    network = ntk.Network([6, 8, 8, 1], init="bombari2022")
    models = [network.sample(seed, torch.float64) for seed in range(3)]
    weights = [torch.stack([m.weights[l].detach() for m in models]) for l in range(3)]
    X = torch.stack([samples(20, 6, seed) for seed in range(3)])
    Y = torch.stack([samples(20, 1, 10 + seed) for seed in range(3)])
    return network, weights, X, Y


def test_recorded_steps_are_the_steps():
    network, weights, X, Y = a_batch()
    table = _corrections(1e-2, 30, torch.device("cpu"))
    here = _Batch(network, [w.clone() for w in weights], X, Y, table)
    with _stream(torch.device(DEVICE)):
        there = _Batch(network, [w.to(DEVICE) for w in weights], moved(X), moved(Y), table.to(DEVICE))  # fmt: skip
        for batch in (here, there):
            batch.run(0, 10)
        keep = torch.tensor([True, False, True])
        here.keep(keep)
        there.keep(keep.to(DEVICE))
        a, b = here.run(10, 10), there.run(10, 10)
    assert b.tolist() == pytest.approx(a.tolist(), rel=1e-11)
    assert float((there.parameters.cpu() - here.parameters).abs().max()) <= 1e-11


def test_descents_end_alike():
    network, weights, X, Y = a_batch()
    near = adam(network, [w.clone() for w in weights], X, Y, 1e-2, 400, 20)
    far = adam(network, [w.to(DEVICE) for w in weights], moved(X), moved(Y), 1e-2, 400, 20)
    assert far.first.tolist() == pytest.approx(near.first.tolist(), rel=1e-12)
    assert far.loss.tolist() == pytest.approx(near.loss.tolist(), rel=1e-2)


# -- commands -------------------------------------------------------------------------------------

MODEL = """
from torch import nn
def build():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1)).double()
"""
COMMANDS = {
    "inspect": "inspect --data gaussian:N=30,d=4 --widths 4,16,1 --json",
    "kernel": "kernel --data gaussian:N=30,d=4 --widths 4,16,1 --out {}/k.zarr --json",
    "eig": "eig {}/K.pt --json",
    "eig, tiles": "eig {}/K.pt --folder {}/tiles --json",
    "floor": "floor --data sphere:N=30,d=4 --widths 4,inf,1 --parameterization ntk --json",
    "limit": "limit --data gaussian:N=12,d=4 --model {}/net.py:build --json",
    "train": "train --data gaussian:N=20,d=4 --targets random --widths 4,16,1 --steps 10 --out {}/t --json",
    "memorize": "memorize --data gaussian:N=10,d=4 --targets random --widths 4,32,1 --out {}/m --json",
    "reproduce": "reproduce bombari2022-figure-1 --only N==200 --out {}/r --workers 0",
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command(tmp_path, capsys, name):
    K = pair_of_kernels(40)[0].dense()
    answers = []
    for device in ("cpu", DEVICE):
        place = tmp_path / device
        place.mkdir(exist_ok=True)
        torch.save(K, place / "K.pt")
        (place / "net.py").write_text(MODEL)
        arguments = [*COMMANDS[name].replace("{}", str(place)).split(), "--device", device]
        try:
            main(arguments)
            code = 0
        except SystemExit as ended:
            code = ended.code or 0
        said = capsys.readouterr()
        assert code == 0, said.err
        answers.append(said.out)
    if "--json" in COMMANDS[name]:
        near, far = (json.loads(a) for a in answers)
        assert far.keys() == near.keys()
        for a, b in zip(*(answer.get("smallest", []) for answer in (near, far)), strict=True):
            assert b["value"] == pytest.approx(a["value"], rel=1e-9)
