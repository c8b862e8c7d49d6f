"""Grouped convolutions: any rows of the gradient are those of the whole, and the sizes those of a plain loop."""

import pytest
import torch

from ntkscope.kernels.module.reading.layers.convolution import Convolution


def made(d, groups, width, units, folds=1):
    generator = torch.Generator().manual_seed(d + groups)
    operation = Convolution(
        (3,) * d, (2,) * d, (1,) * d, (0 if d > 1 else 1,) * d, (1,) * d, groups
    )
    side = {1: 11, 2: 7, 3: 5}[d]
    outside = (side + operation.before[0] + operation.after[0] - 3) // 2 + 1
    x = torch.randn(
        4, folds, groups * width, *(side,) * d, generator=generator, dtype=torch.float64
    )
    g = torch.randn(
        4, 2, folds, groups * units, *(outside,) * d, generator=generator, dtype=torch.float64
    )
    return operation, x, g


CASES = [(2, 1, 3, 4), (2, 4, 1, 1), (2, 3, 2, 4), (1, 2, 3, 2), (3, 2, 1, 3)]


@pytest.mark.parametrize("folds", [1, 3])
@pytest.mark.parametrize("case", CASES)
def test_any_rows_are_those_of_the_whole(case, folds):
    operation, x, g = made(*case, folds)
    whole = operation.gradient(x, g, slice(None)).unflatten(2, (g.shape[3], -1))
    convolve = (torch.conv1d, torch.conv2d, torch.conv3d)[case[0] - 1]
    d, groups, width, units = case
    weight = torch.zeros(groups * units, width, *(3,) * d, dtype=torch.float64, requires_grad=True)
    for n in range(len(x)):
        padded = torch.nn.functional.pad(x[n], [operation.before[0], operation.after[0]] * d)
        for c in range(2):
            y = convolve(padded, weight, None, operation.stride, 0, 1, groups)
            (plain,) = torch.autograd.grad((y * g[n, c]).sum(), weight)
            close = 1e-13 * float(plain.abs().max())
            assert float((whole[n, c] - plain.flatten(1)).abs().max()) <= close
    bound = operation.bound(x)
    for start in range(g.shape[3]):
        for stop in range(start + 1, g.shape[3] + 1):
            part = whole[:, :, start:stop].flatten(2)
            for each in (operation, bound):
                own = each.gradient(x, g, slice(start, stop))
                assert float((own - part).abs().max()) <= 1e-13 * float(whole.abs().max())


@pytest.mark.parametrize("case", CASES)
def test_the_sizes_are_sums_of_norms(case):
    operation, x, g = made(*case)
    pairs = zip(*operation.pairs(x, g), strict=True)
    expected = sum((a.norm(dim=2)[:, None] * b.norm(dim=3)).sum(dim=2) for a, b in pairs)
    assert torch.allclose(operation.magnitude(x, g), expected, rtol=1e-12)
