"""Layers of the twin (:mod:`tests.oracles.architectures`) as a torch module of their widths."""

from __future__ import annotations

import torch
from torch import nn


class Sum(nn.Module):
    def __init__(self, one: nn.Module, two: nn.Module) -> None:
        super().__init__()
        self.one, self.two = one, two

    def forward(self, x):
        return self.one(x) + self.two(x)


class Scale(nn.Module):
    def __init__(self, s: float) -> None:
        super().__init__()
        self.s = s

    def forward(self, x):
        return x * self.s


class Abs(nn.Module):
    def forward(self, x):
        return x.abs()


def build(layers, channels: int, size: int, width: int = 8) -> tuple[nn.Sequential, list]:
    """The module (its variances are set), and its layers with n filled in for the twin."""
    made, told, (channels, size) = _build(layers, channels, size, width)
    del channels, size
    return made.eval(), told


def _build(layers, channels, size, width):
    modules, told = [], []
    for kind, *rest in layers:
        if kind == "conv":
            window, stride, padding, beta2, b2 = rest
            layer = nn.Conv2d(channels, width, window, stride, padding, bias=b2 is not None)
            told.append(
                ("conv", window, stride, padding, channels, beta2, b2 or 0.0, b2 is not None)
            )
            channels, size = width, (size + 2 * padding - window) // stride + 1
            modules.append(_filled(layer, beta2, b2))
        elif kind == "flatten":
            beta2, b2 = rest
            layer = nn.Linear(channels * size**2, 1, bias=b2 is not None)
            told.append(("flatten", channels, beta2, b2 or 0.0, b2 is not None))
            modules += [nn.Flatten(), _filled(layer, beta2, b2)]
            channels, size = 1, 1
        elif kind == "sum":
            branches = [_build(branch, channels, size, width) for branch in rest]
            told.append(("sum", branches[0][1], branches[1][1]))
            modules.append(Sum(branches[0][0], branches[1][0]))
            channels, size = branches[0][2]
        else:
            told.append((kind, *rest))
            modules.append(
                {
                    "relu": nn.ReLU, "abs": Abs, "pool": nn.AvgPool2d, "scale": Scale,
                    "groupnorm": lambda eps: nn.GroupNorm(2, channels, eps=eps, affine=False),  # noqa: B023
                }[kind](*rest)
            )  # fmt: skip
            if kind == "pool":
                size //= rest[0]
    return nn.Sequential(*modules), told, (channels, size)


def _filled(layer, beta2, b2):
    """Weights β: with β² = 4^k their mean square is exact."""
    with torch.no_grad():
        layer.weight.copy_(beta2**0.5 * torch.ones_like(layer.weight))
        if b2 is not None:
            layer.bias.fill_(b2**0.5)
    return layer.to(torch.float64)
