"""What has no limit is refused by the module's path, with the reason; what has one is planned."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import ntkscope as ntk

X = torch.randn(5, 4, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
ROWS = torch.randn(5, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


class Run(nn.Module):
    """A module of layers and the function that runs them."""

    def __init__(self, run, **layers):
        super().__init__()
        self.run = run
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x):
        return self.run(self, x)


def conv(n=4, m=4, **options):
    return nn.Conv2d(n, m, 3, padding=1, **options)


def after_conv(*modules):
    return nn.Sequential(conv(), *modules, nn.Flatten(), nn.LazyLinear(1))


def plus_own_activation(m, x):
    h = m.a(x)
    return m.b((h + F.relu(h)).flatten(1))


def plus_itself(m, x):
    h = m.a(x)
    return m.b((h + F.avg_pool2d(h, 3, 1, 1)).flatten(1))


def twice(m, x):
    return m.b(F.relu(m.a(F.relu(m.a(x)))).flatten(1))


def gated(m, x):
    return m.b((m.a(x) * torch.sigmoid(m.c(x))).flatten(1))


def reads_values(m, x):
    h = m.a(x)
    return m.b(F.relu(h if torch.equal(h, x) else -h).flatten(1))


def softmax(m, x):
    return m.b(F.softmax(m.a(x).flatten(2), -1).flatten(1))


def tuple_out(m, x):
    return m.b(m.a(x).flatten(1)), x


def transposed(m, x):
    return m.b(F.relu(x.flatten(1)[:, :12] @ m.a.weight.flatten(1)[:12].T))


END = nn.Linear(144, 1)
REFUSED = {
    "max pooling": (after_conv(nn.ReLU(), nn.MaxPool2d(2)), r"2 \(MaxPool2d\).*maximum"),
    "own activation": (Run(plus_own_activation, a=conv(), b=END), "correlated.*a \\(Conv2d\\)"),
    "own pooling": (Run(plus_itself, a=conv(), b=END), "correlated"),
    "weights twice": (Run(twice, a=conv(), b=END), r"a\.weight is used twice"),
    "product": (Run(gated, a=conv(), c=conv(), b=END), "multiplies two branches"),
    "reads values": (Run(reads_values, a=conv(), b=END), "reads values"),
    "softmax": (Run(softmax, a=conv(), b=END), "softmax"),
    "tuple": (Run(tuple_out, a=conv(), b=END), "must return a tensor, got tuple"),
    "transposed": (Run(transposed, a=conv(), b=nn.Linear(4, 1)), "parameter a.weight is used in"),
    "batch norm": (nn.Sequential(conv(), nn.BatchNorm2d(4), nn.Flatten(), END), r"1 \(BatchNorm2d"),
    "dropout": (nn.Sequential(conv(), nn.Dropout(0.5), nn.Flatten(), END), r"1 \(Dropout\)"),
    "instance norm": (after_conv(nn.InstanceNorm2d(4), nn.ReLU()), "GroupNorm"),
    "one channel groups": (after_conv(nn.GroupNorm(4, 4), nn.ReLU()), "one channel a group"),
    "layer norm behind ReLU": (
        after_conv(nn.ReLU(), nn.GroupNorm(2, 4), conv()), "does not vanish",
    ),
    "two activations": (after_conv(nn.ReLU(), nn.Tanh()), "not Gaussian"),
    "depthwise, then ReLU": (after_conv(nn.ReLU(), conv(groups=4), nn.ReLU()), "not Gaussian"),
    "channels do not fit": (nn.Sequential(conv(), conv(5, 4)), r"1 \(Conv2d\) does not take"),
    "no weights": (nn.Sequential(nn.Flatten()), "does not depend on its weights"),
    "channels averaged": (Run(lambda m, x: m.a(x).mean(1).flatten(1), a=conv()), "over channels"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case):
    model, words = REFUSED[case]
    if case not in ("batch norm", "dropout"):
        model.eval()
    with torch.no_grad():  # materialise
        if any(isinstance(p, nn.parameter.UninitializedParameter) for p in model.parameters()):
            model(X.float())
    with pytest.raises(ValueError, match=words):
        ntk.limiting_ntk(model, X)


def test_lstm_and_attention_by_name():
    class Sequence(nn.Module):
        def __init__(self, kind):
            super().__init__()
            self.body, self.end = kind, nn.Linear(4, 1)

        def forward(self, x):
            return self.end(self.body(x)[0][:, -1])

    tokens = torch.randn(3, 5, 4)
    with pytest.raises(ValueError, match=r"body \(LSTM\).*every step"):
        ntk.limiting_ntk(Sequence(nn.LSTM(4, 4, batch_first=True)), tokens)
    attention = nn.MultiheadAttention(4, 2, batch_first=True)
    with pytest.raises(ValueError, match=r"body \(MultiheadAttention\).*attention"):
        ntk.limiting_ntk(Sequence(attention), tokens)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"get": "terms"}, "unknown get 'terms'"),
        ({"reduce": 3}, "names no output"),
        ({"parameterization": "mup"}, "unknown parameterization"),
        ({"variances": {"nothing.*": 1.0}}, "no parameter matches"),
        ({"variances": {"0.weight": -1.0}}, "must be a number ≥ 0"),
        ({"variances": "nominl"}, "did you mean 'nominal'"),
    ],
)
def test_bad_options(options, words):
    model = nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 2))
    with pytest.raises(ValueError, match=words):
        ntk.limiting_ntk(model, ROWS, **options)


def test_bad_data_and_weights():
    model = nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 2))
    with pytest.raises(ValueError, match="NaN"):
        ntk.limiting_ntk(model, ROWS / 0)
    with pytest.raises(ValueError, match="samples along its first axis"):
        ntk.limiting_ntk(model, ROWS[0])
    with pytest.raises(ValueError, match="X2 holds samples"):
        ntk.limiting_ntk(model, ROWS, ROWS[:, :3])
    with pytest.raises(ValueError, match="does not take these data"):
        ntk.limiting_ntk(model, ROWS[:, :3])
    model[0].weight.data[0, 0] = float("nan")
    with pytest.raises(ValueError, match=r"0\.weight has values that are not finite"):
        ntk.limiting_ntk(model, ROWS)
    net = ntk.Network([12, 8, 1], "relu")
    with pytest.raises(ValueError, match="a Network has its own"):
        ntk.limiting_ntk(net, ROWS, parameterization="ntk")


def test_plan():
    model = nn.Sequential(
        conv(), nn.ReLU(), conv(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1)
    )
    plan = ntk.plan_limit(model, X)
    assert [s.carried for s in plan.steps][:4] == ["all pairs"] * 4
    assert plan.steps[1].where == "0 (Conv2d)"
    assert plan.seconds > 0
    assert "conv2d 3×3, n = 4" in str(plan)
    assert plan.to_dict()["n_samples"] == 5
    flat = nn.Sequential(conv(), nn.ReLU(), nn.Flatten(), END)
    assert {s.carried for s in ntk.plan_limit(flat, X, time=False).steps[:3]} == {"same position"}


def test_memory_is_said_before(monkeypatch):
    kernel = ntk.limiting_kernel(nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 1)), ROWS)
    monkeypatch.setattr("ntkscope._base.memory.available", lambda: 100)
    with pytest.raises(MemoryError, match="limiting_kernel"):
        kernel.whole()
