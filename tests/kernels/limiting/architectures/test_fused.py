"""The compiled passes against plain torch, which the twin in 40 digits checks."""

import pytest
import torch
from torch import nn

import ntkscope as ntk
from ntkscope.kernels.limiting.architectures import through, windows

pytest.importorskip("numba")


class Padded(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(2, 6, 3, padding=(2, 1), dilation=(1, 2)), nn.LeakyReLU(0.3),
            nn.Conv2d(6, 6, (2, 3), padding=(0, 1)), nn.ReLU(), nn.Conv2d(6, 6, 3, 2, 1), nn.ReLU(),
        ).double()  # fmt: skip
        self.end = nn.Linear(6, 1).double()

    def forward(self, x):
        return self.end(self.body(x).mean((2, 3)))


def flat():
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(150, 1),
    ).double()  # fmt: skip


@pytest.mark.parametrize("make", [Padded, flat])
@pytest.mark.parametrize("bias", [True, False])
def test_fused_is_torch(make, bias, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(12, 2, 5, 5, dtype=torch.float64, generator=generator)
    X[1] = 0.0
    X[2, :, :2] = 0.0
    X[3] = -X[4]
    X[5] = X[6]
    X[7] = X[8] + 1e-9 * X[9]
    torch.manual_seed(0)
    model = make()
    if not bias:
        for module in model.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                module.bias = None
    fused = ntk.limiting_kernel(model, X, get=("ntk", "nngp"))
    found, bound = fused.whole(), fused.entry_error()
    for place in (through, windows):
        monkeypatch.setattr(place, "compiled", lambda: None)
    plain = ntk.limiting_kernel(model, X, get=("ntk", "nngp"))
    for one, two in zip(found, plain.whole(), strict=True):
        scale = two.diagonal().clamp_min(0.01 * two.max()).sqrt()  # black images have no S
        off = (one - two).abs() / (scale[:, None] * scale)
        # at θ = π a rounding of 1 + ρ moves θ by its root, and the bound says so
        assert float(off[3, 4]) <= 2 * bound
        off[3, 4] = off[4, 3] = 0.0
        assert float(off.max()) < 1e-14
    assert bound == pytest.approx(plain.entry_error(), rel=1e-3)
