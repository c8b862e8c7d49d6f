"""Devices: their names, who takes them, and that everything stays where it was put."""

import os

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import ntkscope as ntk
from ntkscope._base import devices
from ntkscope._base.devices import as_device
from ntkscope.cli.main import main
from ntkscope.engines.engine import Engine
from ntkscope.engines.pool import pool
from ntkscope.experiments.sweep import Sweep
from ntkscope.spectra.proof import certify

INF = float("inf")
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")
SETTINGS = {
    "name": "tiny", "seeds": 2, "grid": {"d": [3]}, "data": "gaussian:N=6,d={d}",
    "network": {"widths": ["d", 8, 1]},
}  # fmt: skip


def pretend(monkeypatch, count: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


def test_the_cpu():
    assert as_device("cpu") == as_device(torch.device("cpu")) == torch.device("cpu")


@pytest.mark.parametrize(
    ("name", "count", "reason"),
    [
        ("mps", 0, "Apple's GPUs have no float64"),
        ("meta", 0, "it holds no numbers"),
        ("cuda", 0, "this torch sees no GPU here"),
        ("cuda:2", 2, "there are 2, from cuda:0 to cuda:1"),
        ("tpu", 0, "Expected one of cpu, cuda"),
        ("cuda:-2", 2, ""),
    ],
)
def test_what_is_no_device_is_told_why(monkeypatch, name, count, reason):
    pretend(monkeypatch, count)
    with pytest.raises(ValueError, match=f"device {name!r} cannot be used: {reason}") as told:
        as_device(name)
    assert "\n" not in str(told.value)
    assert "use cpu" in str(told.value)


def test_gpus_by_the_names_that_workers_are_given(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert not devices.gpus() or torch.cuda.is_available()
    pretend(monkeypatch, 2)
    assert devices.gpus() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-7")
    assert devices.gpus() == ["5", "GPU-7"]


def test_emulated_float64_proves_nothing(monkeypatch):
    monkeypatch.setenv("CUBLAS_EMULATE_DOUBLE_PRECISION", "1")
    with pytest.raises(ValueError, match="lets the GPU emulate float64"):
        devices.require_ieee(torch.device("cuda"))
    devices.require_ieee(torch.device("cpu"))


def test_each_local_worker_sees_a_gpu_of_its_own(monkeypatch):
    monkeypatch.delenv("NTKSCOPE_WORKERS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    pretend(monkeypatch, 2)
    monkeypatch.setattr(devices, "as_device", lambda name: name)
    engine = Engine(device="cuda")
    assert engine.n_workers(10) == 2
    assert Engine(device="cuda:1").shares == Engine().shares == []
    seen = set()
    with pool(engine, 2) as workers:
        while len(seen) < 2:
            workers.submit(0, os.getenv, "CUDA_VISIBLE_DEVICES")
            seen.add(workers.next()[1])
    assert seen == {"5", "7"}


COMMANDS = [
    "inspect --data gaussian:N=6,d=4 --widths 4,8,1",
    "train --data gaussian:N=6,d=4 --widths 4,8,1",
    "floor --data sphere:N=6,d=4 --widths 4,inf,1 --parameterization ntk",
    "memorize --data gaussian:N=6,d=4 --widths 4,8,1",
    "kernel --data gaussian:N=6,d=4 --widths 4,8,1 --out {}/k.zarr",
    "eig {}/K.pt",
    "eig {}/K.pt --folder {}/tiles",
    "limit --data gaussian:N=6,d=4 --model torch.nn:Identity",
    "sweep {}/run.toml --out {}/out",
    "fit {}/run.toml --x d --out {}/out",
    "reproduce circle --out {}/out",
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: " ".join(c.split()[:3]))
@pytest.mark.parametrize("name", ["cuda:99", "mps"])
def test_every_command_says_it_in_a_line(tmp_path, capsys, command, name):
    torch.save(torch.eye(4, dtype=torch.float64), tmp_path / "K.pt")
    (tmp_path / "run.toml").write_text(
        'name = "tiny"\ndata = "gaussian:N=6,d={d}"\n[grid]\nd = [3]\n'
        '[network]\nwidths = ["d", 8, 1]\n'
    )
    before = sorted(tmp_path.iterdir())
    with pytest.raises(SystemExit) as ended:
        main([*command.replace("{}", str(tmp_path)).split(), "--device", name])
    said = capsys.readouterr()
    assert (ended.value.code, said.out) == (2, "")
    assert f"device '{name}' cannot be used" in said.err
    assert len(said.err.strip().splitlines()) == 1
    assert sorted(tmp_path.iterdir()) == before


def test_a_function_of_ones_own_takes_no_device(tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "as_device", lambda name: name)
    sweep = Sweep({"name": "own", "seeds": 1, "measure": "math:sqrt", "grid": {}})
    with pytest.raises(ValueError, match="math:sqrt takes no device, and got cuda; leave it out"):
        sweep.run(tmp_path / "own", Engine(workers=0, device="cuda"))
    assert not (tmp_path / "own").exists()


# -- without a GPU: shapes on a device that holds no numbers --------------------------------------


class Elsewhere(TorchDispatchMode):
    """Tensors of "meta" pass for those of a GPU: what mixes them with the CPU's raises.

    Numbers that are read are 1, and masks take one entry.
    """

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        aten, options = torch.ops.aten, options or {}
        there = isinstance(arguments[0], torch.Tensor) and arguments[0].device.type == "meta"
        if there and function is aten._local_scalar_dense.default:
            return True if arguments[0].dtype == torch.bool else 1.0
        if there and function is aten.nonzero.default:
            return torch.zeros(1, arguments[0].ndim, dtype=torch.int64, device="meta")
        if function in (aten.index.Tensor, aten.index_put_.default):
            places = []
            for place in arguments[1]:
                mask = place is not None and place.dtype == torch.bool
                one = torch.zeros(1, dtype=torch.int64, device="meta")
                places += [one] * place.ndim if mask else [place]
            arguments = (arguments[0], places, *arguments[2:])
        return function(*arguments, **options)


NTK = {"parameterization": "ntk"}
KERNELS = {
    "sampled": lambda X: ntk.empirical_ntk(ntk.Network([5, 16, 8, 1]).sample(0, device="meta"), X),
    "relu": lambda X: ntk.limiting_kernel(ntk.Network([5, INF, INF, 1], **NTK), X),
    "relu, between": lambda X: ntk.limiting_kernel(ntk.Network([5, INF, 1], **NTK), X, X[:4]),
    "erf": lambda X: ntk.limiting_kernel(ntk.Network([5, INF, INF, 1], "erf", **NTK), X),
    "gelu": lambda X: ntk.limiting_kernel(ntk.Network([5, INF, INF, 1], "gelu", **NTK), X),
    "sin": lambda X: ntk.limiting_kernel(ntk.Network([5, INF, INF, 1], "sin", **NTK), X),
}


@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_stays_where_its_samples_are(monkeypatch, name):
    monkeypatch.setattr(torch.Tensor, "is_meta", property(lambda _: False))
    with Elsewhere():
        K = KERNELS[name](torch.ones(12, 5, dtype=torch.float64, device="meta"))
        V = torch.ones(K.shape[1], 2, dtype=torch.float64, device="meta")
        made = [K.tile(slice(0, 4), slice(1, 3)), K @ V, K.dense()]
        made += [K.diagonal()] if K.symmetric else []
    assert {str(part.device) for part in made} == {"meta"}


def test_a_factor_of_tiles_whose_error_is_bounded_afterwards(tmp_path, monkeypatch):
    """What a GPU makes is measured; the same steps here, told that they ran elsewhere."""
    monkeypatch.setattr(devices, "as_device", lambda name: name)
    K = ntk.MatrixKernel(torch.eye(90, dtype=torch.float64) + 0.1)
    measured = []
    bound = certify.factor_error

    def noted(*arguments):
        measured.append(bound(*arguments))
        return measured[-1]

    monkeypatch.setattr(certify, "factor_error", noted)
    moved = torch.Tensor.to

    def to(self, *where, **more):
        return moved(self, *("cpu" if w == "cuda" else w for w in where), **more)

    monkeypatch.setattr(torch.Tensor, "to", to)
    found = ntk.smallest_eigenvalue(
        K, engine=Engine(workers=0, device="cuda"), folder=tmp_path / "t"
    )
    assert measured
    assert found.lower <= 1.0 <= found.upper
    assert found.upper - found.lower < 1e-11


# -- with one -------------------------------------------------------------------------------------


@GPU
def test_an_interval_on_a_gpu_meets_the_cpus():
    net, X = ntk.Network([5, 64, 32, 1]), ntk.data.gaussian(300, 5, seed=0)
    K = ntk.empirical_ntk(net.sample(0), X)
    near, far = (ntk.smallest_eigenvalue(K.to(device=d)) for d in ("cpu", "cuda"))
    assert far.lower <= near.upper
    assert near.lower <= far.upper
    assert far.certificate in "BC"
    tiled = ntk.smallest_eigenvalue(K, engine=Engine(workers=0, device="cuda"))
    assert tiled.lower <= near.upper
    assert near.lower <= tiled.upper


@GPU
def test_a_sweep_on_a_gpu_draws_what_the_cpu_draws(tmp_path):
    sweep = Sweep(SETTINGS)
    values = []
    for device in ("cpu", "cuda"):
        sweep.run(tmp_path / device, Engine(workers=0, device=device))
        values.append([r["lambda_min"] for r in sweep.table(tmp_path / device).records])
    assert values[1] == pytest.approx(values[0], rel=1e-9)
