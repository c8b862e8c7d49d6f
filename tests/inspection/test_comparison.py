"""Two kernels beside one another, against their dense matrices and exact arithmetic."""

import json
import math
from fractions import Fraction

import pytest
import torch
from torch import nn

import ntkscope as ntk
from ntkscope.inspection import comparison


def model(seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 9), nn.Tanh(), nn.Linear(9, 1)).double()


def moved(net, by=0.1):
    """A later checkpoint, in which the last layer alone has moved."""
    later = model(0)
    later.load_state_dict(net.state_dict())
    with torch.no_grad():
        later[2].weight += by
    return later


def dense(A, B):
    """(CKA, alignment, distance, trace ratio) by their definitions."""
    N = len(A)
    H = torch.eye(N, dtype=torch.float64) - 1 / N

    def cosine(a, b):
        return float((a * b).sum() / (a.norm() * b.norm()))

    return (
        cosine(H @ A @ H, H @ B @ H), cosine(A, B), float((B - A).norm() / A.norm()),
        float(B.trace() / A.trace()),
    )  # fmt: skip


def numbers(found):
    return found.cka, found.alignment, found.distance, found.trace_ratio


def test_checkpoints_are_compared_term_by_term():
    X = ntk.data.gaussian(12, 4, seed=0)
    K, L = (ntk.empirical_ntk(m, X) for m in (model(0), moved(model(0))))
    found = ntk.compare_kernels(K, L)
    for measured, expected in zip(numbers(found.whole), dense(K.dense(), L.dense()), strict=True):
        assert measured.value == pytest.approx(expected, abs=1e-12)
        assert measured.error < 1e-10
    assert [t.name for t in found.terms] == ["0.weight", "0.bias", "2.weight", "2.bias"]
    for term in found.terms:
        parts = dense(K.term(term.name).dense(), L.term(term.name).dense())
        for measured, expected in zip(numbers(term), parts, strict=True):
            if term.name != "2.bias":
                assert abs(measured.value - expected) <= measured.error + 1e-12
    last = found.terms[-1]  # all ones: nothing is left when it is centred
    assert math.isnan(last.cka.value)
    assert last.alignment.value == pytest.approx(1)
    # the last layer's features have not moved, and neither has its kernel
    assert found.terms[2].distance.value <= found.terms[2].distance.error < 1e-12
    assert found.most_moved(1)[0].name.startswith("0.")
    assert ntk.compare_kernels(K, L, terms=False).terms == ()


def test_tiles_add_up(monkeypatch):
    X = ntk.data.gaussian(30, 4, seed=1)
    K, L = (ntk.empirical_ntk(m, X) for m in (model(0), model(1)))
    whole = ntk.compare_kernels(K, L)
    monkeypatch.setattr(comparison, "_TILE", 7)
    seen = []
    tiled = ntk.compare_kernels(K, L, progress=lambda p: seen.append(p.done))
    for a, b in zip(numbers(whole.whole), numbers(tiled.whole), strict=True):
        assert abs(a.value - b.value) <= a.error + b.error
        assert a.value == pytest.approx(b.value, rel=1e-12)
    assert seen == sorted(seen)
    assert seen[0] == 0


def test_the_errors_hold_in_exact_arithmetic():
    """A large mean cancels on centring: the error knows it, and fractions know the truth."""
    generator = torch.Generator().manual_seed(0)
    F = torch.randn(6, 4, generator=generator, dtype=torch.float64)
    A, B = 1e5 + F @ F.T, 1e5 + (F**2) @ (F**2).T
    found = ntk.compare_kernels((A + A.T) / 2, (B + B.T) / 2).whole
    exact = [[[Fraction(x) for x in row] for row in (M + M.T).div(2).tolist()] for M in (A, B)]
    N = len(A)
    centred = []
    for M in exact:
        rows = [sum(r) / N for r in M]
        mean = sum(rows) / N
        centred.append([M[i][j] - rows[i] - rows[j] + mean for i in range(N) for j in range(N)])
    ab, aa, bb = (
        sum(x * y for x, y in zip(centred[i], centred[j], strict=True))
        for i, j in ((0, 1), (0, 0), (1, 1))
    )
    # cka² is a fraction
    squares = [Fraction(found.cka.value + s * found.cka.error) ** 2 for s in (-1, 1)]
    assert squares[0] <= ab**2 / (aa * bb) <= squares[1]
    assert abs(found.cka.value - float(ab) / math.sqrt(float(aa * bb))) > 0
    assert found.cka.error < 1e-2


@pytest.mark.parametrize("seed", range(5))
def test_the_kernels_own_errors_are_in(seed):
    """A matrix within γ√(K_ii K_jj) of the kernel that is meant: the true numbers lie in the intervals."""
    generator = torch.Generator().manual_seed(seed)
    F = torch.randn(8, 3, generator=generator, dtype=torch.float64)
    A, B = F @ F.T, (F + 0.3).square() @ (F + 0.3).square().T
    gamma = 1e-3
    sides = 2 * torch.rand(8, 8, generator=generator, dtype=torch.float64).round() - 1
    size = A.diagonal().sqrt()
    held = A + gamma / (1 + gamma) * (sides.triu() + sides.triu(1).T) * size[:, None] * size
    given = ntk.MatrixKernel(held, entry_error=gamma)
    for pair, meant in (((given, B), (A, B)), ((B, given), (B, A))):
        found = ntk.compare_kernels(*pair).whole
        for measured, expected in zip(numbers(found), dense(*meant), strict=True):
            assert 0 < abs(measured.value - expected) <= measured.error < 0.05


def test_models_of_different_shapes_compare_as_wholes():
    X = ntk.data.gaussian(10, 4, seed=0)
    other = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3, 1)).double()
    found = ntk.compare_kernels(ntk.empirical_ntk(model(0), X), ntk.empirical_ntk(other, X))
    assert [t.name for t in found.terms] == ["0.weight", "0.bias"]
    assert found.unmatched == ("2.bias", "2.weight", "3.bias", "3.weight")
    limit = ntk.limiting_kernel(
        ntk.Network([4, float("inf"), 1], "tanh", parameterization="ntk"), X
    )
    whole = ntk.compare_kernels(ntk.empirical_ntk(model(0), X), limit)
    assert whole.terms == whole.unmatched == ()
    assert 0 < whole.cka <= 1 + whole.whole.cka.error


def test_it_says_itself(tmp_path):
    X = ntk.data.gaussian(12, 4, seed=0)
    found = ntk.compare_kernels(*(ntk.empirical_ntk(m, X) for m in (model(0), model(1))))
    assert repr(found).startswith("KernelComparison(12 rows, CKA 0.")
    assert "0.weight" in str(found)
    assert "—" in str(found)
    assert json.loads(json.dumps(found.to_dict()))["whole"]["cka"]["value"] == found.cka
    found.plot().figure.savefig(tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 3000


def test_comparison_bad_input():
    eye = torch.eye(3).double()
    with pytest.raises(ValueError, match="same samples"):
        ntk.compare_kernels(eye, torch.eye(4).double())
    with pytest.raises(ValueError, match="symmetric"):
        ntk.compare_kernels(torch.ones(2, 3), torch.ones(2, 3))
    with pytest.raises(TypeError):
        ntk.compare_kernels(eye, "K")
