"""inspect of any module, and the models that the command line loads."""

import json
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import ntkscope as ntk
from ntkscope.cli.main import main
from ntkscope.cli.models import load_model

EXAMPLES = Path(__file__).parents[2] / "examples"

SOURCE = """
import torch
from torch import nn
import helper

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(5, helper.WIDTH)
        self.norm = nn.BatchNorm1d(helper.WIDTH)
        self.last = nn.Linear(helper.WIDTH, 3)

    def forward(self, x):
        return self.last(torch.tanh(self.norm(self.first(x))))

def build():
    return Net()

def broken():
    raise RuntimeError("no weights here")

ready = Net()
number = 3
"""


@pytest.fixture
def file(tmp_path):
    (tmp_path / "helper.py").write_text("WIDTH = 9\n")
    path = tmp_path / "mine.py"
    path.write_text(SOURCE)
    return path


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    captured = capsys.readouterr()
    return stop.value.code, captured.out, captured.err


def test_a_file_a_class_and_an_instance_load(file):
    state = torch.get_rng_state()
    path_before = list(sys.path)
    for name in ("build", "Net", "ready"):
        model = load_model(f"{file}:{name}")
        assert not model.training
        assert model.first.weight.dtype == torch.float64
    assert torch.equal(state, torch.get_rng_state())
    assert sys.path == path_before
    one, other, again = (load_model(f"{file}:build", seed=s) for s in (0, 1, 0))
    assert torch.equal(one.first.weight, again.first.weight)
    assert not torch.equal(one.first.weight, other.first.weight)
    assert isinstance(load_model("torch.nn:Identity"), nn.Identity)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_checkpoints_are_weights_alone(file, tmp_path, suffix):
    model = load_model(f"{file}:build", seed=4).float()
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pt":
        torch.save({"state_dict": {f"module.{k}": v for k, v in model.state_dict().items()}}, path)
    else:
        pytest.importorskip("safetensors.torch").save_file(model.state_dict(), path)
    loaded = load_model(f"{file}:build", path)
    assert torch.equal(loaded.first.weight, model.first.weight.double())


class _Evil:
    def __reduce__(self):
        return (print, ("ran",))


@pytest.mark.parametrize(
    ("spec", "checkpoint", "error", "words"),
    [
        ("{file}", None, ValueError, "file.py:name"),
        ("{file}:bild", None, ValueError, "did you mean 'build'"),
        ("{file}:number", None, TypeError, "is a int"),
        ("{file}:broken", None, ValueError, "no weights here"),
        ("{folder}/none.py:build", None, FileNotFoundError, "no file"),
        ("no_such_package.at_all:build", None, ImportError, "no installed module"),
        ("{file}:build", "none.pt", FileNotFoundError, "no checkpoint"),
        ("{file}:build", "evil.pt", ValueError, "would run code; save the weights alone"),
        ("{file}:build", "list.pt", ValueError, "no state_dict"),
        ("{file}:build", "other.pt", ValueError, "does not fit"),
        ("{file}:build", "broken.safetensors", ValueError, "no safetensors"),
        ("{file}:build", "weights.onnx", ValueError, "ends in"),
    ],
)
def test_bad_models_are_one_line(file, tmp_path, capsys, spec, checkpoint, error, words):
    torch.save(_Evil(), tmp_path / "evil.pt")
    torch.save([1], tmp_path / "list.pt")
    torch.save({"first.weight": torch.zeros(2)}, tmp_path / "other.pt")
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    (tmp_path / "weights.onnx").write_bytes(b"nothing")
    path = None if checkpoint is None else tmp_path / checkpoint
    with pytest.raises(error, match=words) as raised:
        load_model(spec.format(file=file, folder=tmp_path), path)
    assert str(raised.value).isprintable()
    assert "ran" not in capsys.readouterr().out


def test_inspect_of_a_model_from_a_file(file, tmp_path, capsys):
    out = tmp_path / "out"
    code, text, _ = run(
        capsys, "inspect", "--model", f"{file}:build", "--data", "gaussian:N=12,d=5",
        "--params", "first.*,last.*", "--out", str(out),
    )  # fmt: skip
    assert code == 0
    assert "Each output's kernel" in text
    record = json.loads((out / "result.json").read_text())
    assert [layer["name"] for layer in record["layers"]] == [
        "first.weight", "first.bias", "last.weight", "last.bias",
    ]  # fmt: skip
    assert len(record["outputs"]) == 3
    assert "Each output" in (out / "report.html").read_text()
    total = sum(output["trace"] for output in record["outputs"])
    assert total == pytest.approx(record["trace"], rel=1e-12)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "{file}:build", "--widths", "5,3,1"], "give one of them"),
        (["--checkpoint", "w.pt", "--widths", "5,3,1"], "belongs to --model"),
        (["--model", "{file}:build", "--params", "frist.*"], "first"),
    ],
)
def test_bad_options_are_one_line(file, capsys, arguments, words):
    given = [part.format(file=file) for part in arguments]
    code, _, error = run(capsys, "inspect", "--data", "gaussian:N=6,d=5", *given)
    assert code == 2
    assert words in error


def test_inspect_agrees_for_an_mlp_and_the_same_module():
    mlp = ntk.Network([4, 9, 7, 1], "tanh", "lecun").sample(0)
    layers = [nn.Linear(4, 9, bias=False), nn.Linear(9, 7, bias=False), nn.Linear(7, 1, bias=False)]
    for layer, weight in zip(layers, mlp.weights, strict=True):
        layer.weight.data = weight.detach().T.clone()
    module = nn.Sequential(layers[0], nn.Tanh(), layers[1], nn.Tanh(), layers[2])
    X = ntk.data.gaussian(n_samples=8, dim=4, seed=1)
    a, b = ntk.inspect(mlp, X), ntk.inspect(module, X)
    assert a.smallest.value == pytest.approx(b.smallest.value, rel=1e-10)
    assert [la.rayleigh for la in a.layers] == pytest.approx(
        [lb.rayleigh for lb in b.layers], rel=1e-8
    )
    assert b.memorization.possible is True
    assert "Sequential" in str(b)


@pytest.mark.parametrize("name", ["resnet", "transformer", "tied_autoencoder"])
def test_examples_inspect(name):
    model = load_model(f"{EXAMPLES / name}.py:build")
    X = ntk.data.load("digits:N=5").X
    report = ntk.inspect(model, X)
    assert report.smallest.lower > 0
    assert len(report.outputs) == (64 if name == "tied_autoencoder" else 10)
