"""Inputs by keyword, outputs by name: kernels of models as people have them."""

import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import ntkscope as ntk
from ntkscope.cli.main import main
from oracles.bert import Answer, ModelOutput, small_bert, tokens
from oracles.module_ntk import jacobian, kernel

DATA = tokens()


class Plain(nn.Module):
    """A model of tensors in their places that returns a tensor: what the oracle takes."""

    def __init__(self, inner, pick):
        super().__init__()
        self.inner, self.pick = inner, pick

    def forward(self, ids, mask):
        return self.pick(self.inner(input_ids=ids, attention_mask=mask))


def expected(pick=lambda out: out["logits"], data=DATA, reduce="trace", data2=None):
    twin = Plain(small_bert(), pick)
    J = jacobian(twin, *data.values())
    return kernel(J, None if data2 is None else jacobian(twin, *data2.values()), reduce)


def close(a, b):
    return torch.allclose(a, b, rtol=1e-11, atol=1e-12 * float(b.abs().max()))


@pytest.mark.parametrize("general", [False, True])
@pytest.mark.parametrize("reduce", ["trace", "full", 1])
def test_keyword_arguments_and_a_named_output(general, reduce):
    K = ntk.empirical_ntk(small_bert(), DATA, output="logits", reduce=reduce, general=general)
    assert close(K.dense(), expected(reduce=reduce))


def test_a_cross_kernel_in_little_memory():
    other = tokens(4, seed=1)
    K = ntk.empirical_ntk(small_bert(), DATA, other, output="logits")
    assert close(K.dense(), expected(data2=other))


def test_a_function_picks_the_outputs():
    pick = lambda out: out.last_hidden_state[:, -1]  # noqa: E731
    K = ntk.empirical_ntk(small_bert(), DATA, output=pick)
    assert close(K.dense(), expected(pick))


def test_settings_go_to_every_pass():
    K = ntk.empirical_ntk(small_bert(), {**DATA, "return_dict": False}, output=1)
    assert close(K.dense(), expected())


class Returns(nn.Module):
    def __init__(self, wrap):
        super().__init__()
        self.inner, self.wrap = nn.Linear(4, 3).double(), wrap

    def forward(self, x):
        return self.wrap(self.inner(x))


WRAPS = {
    "ModelOutput": (lambda y: ModelOutput(logits=y), "logits"),
    "dict": (lambda y: {"out": y, "aux": y * 2}, "out"),
    "dataclass": (lambda y: Answer(y), "logits"),
    "tuple": (lambda y: (y, y[:, :1]), 0),
    "list": (lambda y: [y[:, :1], y], -1),
    "namedtuple": (lambda y: torch.return_types.max((y, y)), 1),
    "function": (lambda y: (y, None), lambda out: out[0]),
}


@pytest.mark.parametrize("name", WRAPS)
def test_whatever_holds_the_outputs(name):
    wrap, output = WRAPS[name]
    torch.manual_seed(0)
    model = Returns(wrap)
    x = torch.randn(5, 4, dtype=torch.float64)
    K = ntk.empirical_ntk(model, x, output=output)
    assert close(K.dense(), kernel(jacobian(model.inner, x)))


def test_a_function_of_parameters_takes_keywords_too():
    model = small_bert()
    call = lambda params, X: torch.func.functional_call(model, params, (), X)  # noqa: E731
    K = ntk.empirical_ntk(call, DATA, params=dict(model.named_parameters()), output="logits")
    assert close(K.dense(), expected())


def test_loaders_give_rows_in_their_order():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2)).double()
    X, Y = torch.randn(7, 4, dtype=torch.float64), torch.arange(7)
    dataset = TensorDataset(X, Y)
    plain = ntk.empirical_ntk(model, X).dense()
    for held in (dataset, DataLoader(dataset, batch_size=3)):
        assert torch.equal(ntk.empirical_ntk(model, held).dense(), plain)
        assert torch.equal(ntk.inspect(model, held).spectrum, ntk.inspect(model, X).spectrum)
        assert ntk.plan_kernel(model, held).n_samples == 7
    mlp = ntk.Network([4, 8, 1], "tanh").sample(0)
    assert torch.equal(ntk.empirical_ntk(mlp, dataset).dense(), ntk.empirical_ntk(mlp, X).dense())
    with pytest.raises(ValueError, match="shuffles"):
        ntk.empirical_ntk(model, DataLoader(dataset, shuffle=True))


def test_equal_in_the_first_input_alone_is_no_duplicate():
    torch.manual_seed(0)
    model = nn.Bilinear(3, 2, 1).double()
    first, second = torch.ones(4, 3, dtype=torch.float64), torch.randn(4, 2, dtype=torch.float64)
    found = ntk.inspect(model, (first, second))
    assert found.data.duplicate_rows == 0
    assert found.data.dim == 5


def test_inspect_and_the_tracker_take_tokens(tmp_path):
    model = small_bert()
    found = ntk.inspect(model, DATA, output="logits")
    assert found.smallest.value == pytest.approx(
        float(torch.linalg.eigvalsh(expected())[0]), rel=1e-8
    )
    assert found.data is None  # norms of token ids say nothing
    assert any("whole numbers" in line for line in found.warnings)
    found.save(tmp_path)
    assert len(found.outputs) == 3
    tracker = ntk.Tracker(model, DATA, every=1, output="logits")
    tracker.step()
    assert tracker.column("drift") == [0.0, 0.0]


BAD = {
    "no output named": ({}, "tensor of shape .samples, outputs.*output=.logits"),
    "another name": ({"output": "logit"}, "logits"),
    "a place in a dict": ({"output": 4}, "output=4 names no part"),
    "a part that is no tensor": ({"output": lambda _: "text"}, "output picks a str"),
    "no way to pick": ({"output": True}, "name or place"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_outputs_are_said(name):
    options, words = BAD[name]
    with pytest.raises((TypeError, ValueError), match=words):
        ntk.empirical_ntk(small_bert(), DATA, **options)


class Returning(nn.Module):
    """What ``wrap`` makes of the outputs."""

    def __init__(self, wrap):
        super().__init__()
        self.linear, self.wrap = nn.Linear(4, 2), wrap

    def forward(self, x):
        return self.wrap(self.linear(x))


@pytest.mark.parametrize(
    ("wrap", "advised"),
    [
        (lambda y: {"o": y}, "output='o'"),
        (lambda y: {"loss": None, "logits": y}, "output='logits'"),
        (lambda y: ("text", y), "output=1"),
    ],
)
@pytest.mark.parametrize("asked", [None, 7, "scores"])
def test_the_advice_on_outputs_works(wrap, advised, asked):
    model, x = Returning(wrap).double(), torch.randn(3, 4, dtype=torch.float64)
    if asked == "scores" and advised != "output=1":
        asked = None  # a name that is not there is answered by those that are
    with pytest.raises((TypeError, ValueError), match=advised):
        ntk.empirical_ntk(model, x, output=asked)
    picked = advised.removeprefix("output=").strip("'")
    ntk.empirical_ntk(model, x, output=int(picked) if picked.isdigit() else picked)


def test_a_part_of_a_part_is_picked_by_a_function():
    model = Returning(lambda y: {"a": {"b": y}}).double()
    with pytest.raises(TypeError, match=r"output picks a dict of b.*; pass a function that picks"):
        ntk.empirical_ntk(model, torch.randn(3, 4).double(), output="a")


def test_bad_inputs_are_said():
    model = small_bert()
    with pytest.raises(ValueError, match="X names input_ids, attention_mask and X2 input_ids"):
        ntk.empirical_ntk(model, DATA, {"input_ids": DATA["input_ids"]}, output="logits")
    with pytest.raises(ValueError, match=r"unexpected keyword argument 'idx'"):
        ntk.empirical_ntk(model, {**DATA, "idx": torch.arange(7)}, output="logits")
    short = {**DATA, "attention_mask": DATA["attention_mask"][:3]}
    with pytest.raises(ValueError, match="different numbers of samples"):
        ntk.empirical_ntk(model, short, output="logits")
    linear = nn.Linear(4, 2).double()
    with pytest.raises(ValueError, match="output='logits', but the model returns a tensor"):
        ntk.empirical_ntk(linear, torch.randn(3, 4).double(), output="logits")
    with pytest.raises(ValueError, match="convert them to floats"):
        ntk.empirical_ntk(linear, torch.arange(12).reshape(3, 4))


MODEL = "from oracles.bert import small_bert as build\n"


def test_on_the_command_line(tmp_path, capsys):
    (tmp_path / "hf.py").write_text(MODEL)
    np.savez(
        tmp_path / "tokens.npz", labels=np.arange(7), **{k: v.numpy() for k, v in DATA.items()}
    )
    torch.save(DATA, tmp_path / "tokens.pt")
    model = f"{tmp_path / 'hf.py'}:build"

    def run(*arguments):
        with pytest.raises(SystemExit) as stop:
            main(["inspect", "--model", model, *arguments])
        return stop.value.code, capsys.readouterr()

    for file in ("tokens.npz", "tokens.pt"):
        code, text = run("--data", str(tmp_path / file), "--output", "logits", "--json")
        assert code == 0
        spectrum = json.loads(text.out)["spectrum"]
        assert spectrum == pytest.approx(torch.linalg.eigvalsh(expected()).tolist(), abs=1e-9)
    code, text = run("--data", str(tmp_path / "tokens.npz:input_ids"), "--output", "logits")
    assert code == 0
    code, text = run("--data", str(tmp_path / "tokens.npz"))
    assert (code, "output=" in text.err) == (2, True)
    code, text = run("--data", str(tmp_path / "tokens.npz"), "--output", "logits", "--center")
    assert (code, "--center" in text.err) == (2, True)
    code, text = run("--data", str(tmp_path / "tokens.npz:ids"), "--output", "logits")
    assert (code, "did you mean" in text.err or "input_ids" in text.err) == (2, True)


class Adapted(nn.Module):
    """A linear layer with a low-rank pair beside it, as LoRA adds."""

    def __init__(self, d, out, rank=2):
        super().__init__()
        self.base = nn.Linear(d, out)
        self.lora_A = nn.Parameter(torch.randn(rank, d))
        self.lora_B = nn.Parameter(torch.randn(out, rank))

    def forward(self, x):
        return self.base(x) + x @ self.lora_A.T @ self.lora_B.T


@pytest.mark.parametrize("general", [False, True])
def test_groups_of_parameters_from_one_kernel(general):
    torch.manual_seed(0)
    model = nn.Sequential(Adapted(4, 6), nn.Tanh(), Adapted(6, 2)).double()
    X = torch.randn(5, 4, dtype=torch.float64)
    K = ntk.empirical_ntk(model, X, general=general)
    lora = K.group("lora_*")
    assert [t.name for t in lora.terms] == ["0.lora_A", "0.lora_B", "2.lora_A", "2.lora_B"]
    alone = ntk.empirical_ntk(model, X, params="*lora_*")
    assert close(lora.dense(), alone.dense())
    assert close(lora @ torch.ones(5, dtype=torch.float64), alone.dense().sum(1))
    assert close(ntk.empirical_ntk(model, X, params="lora_*").dense(), alone.dense())
    assert close((lora.dense() + K.group("0.base.*", "2.base.*").dense()), K.dense())
    with pytest.raises(ValueError, match="unknown term 'lorra_"):
        K.group("lorra_*")
    with pytest.raises(ValueError, match="needs a pattern"):
        K.group()
