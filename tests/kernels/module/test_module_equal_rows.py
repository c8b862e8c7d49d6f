"""The kernel of a table by the positions that read one row: beside products of its gradients, and the way chosen."""

import pytest
import torch
from torch import nn

import ntkscope as ntk
from ntkscope.kernels.module.holding.equal_rows import add_equal_rows
from ntkscope.kernels.module.holding.use import Use
from ntkscope.kernels.module.holding.weight_block import Way, WeightBlock
from ntkscope.kernels.module.reading.layers.embedding import Lookup
from oracles import module_ntk

EPS = 2.0**-52


def side(n, T, C, rows, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(0, rows, (n, T), generator=generator)
    return x, torch.randn(n, C, T, 4, generator=generator, dtype=torch.float64)


def by_gradients(operation, left, right, full):
    ours, theirs = (operation.gradient(*each, slice(None)) for each in (left, right))
    if full:
        return ours.flatten(0, 1) @ theirs.flatten(0, 1).T
    return ours.flatten(1) @ theirs.flatten(1).T


@pytest.mark.parametrize("budget", [1.0, 2000.0, 1e9])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(("rows", "padding"), [(3, None), (40, None), (3, 1), (1, 0), (1000, 5)])
def test_it_is_the_product_of_gradients(rows, padding, full, budget):
    left, right = side(9, 6, 2, rows, 0), side(5, 7, 2, rows, 1)
    operation = Lookup(rows, padding)
    for ours, theirs in ((left, left), (left, right), (right, left)):
        lead = 2 if full else 1
        out = torch.ones(len(ours[0]) * lead, len(theirs[0]) * lead, dtype=torch.float64)
        add_equal_rows(out, ours, theirs, padding, full, budget)
        expected = by_gradients(operation, ours, theirs, full)
        sizes = operation.magnitude(*ours).max() * operation.magnitude(*theirs).max()
        assert float((out - 1 - expected).abs().max()) <= 64 * EPS * float(2 * sizes)


def test_a_side_that_reads_nothing():
    left, right = side(3, 2, 1, 4, 0), side(2, 2, 1, 4, 1)
    nothing = torch.full_like(right[0], 2), right[1]
    for ours, theirs in ((left, nothing), (nothing, left), (nothing, nothing)):
        out = torch.zeros(len(ours[0]), len(theirs[0]), dtype=torch.float64)
        add_equal_rows(out, ours, theirs, 2, False, 1e6)
        assert not out.any()


def test_into_a_part_of_a_matrix():
    left = side(5, 4, 1, 6, 0)
    whole = torch.zeros(10, 12, dtype=torch.float64)
    add_equal_rows(whole[::2, 3:8], left, left, None, False, 1e6)
    expected = by_gradients(Lookup(6, None), left, left, False)
    assert float((whole[::2, 3:8] - expected).abs().max()) <= 1e-13 * float(expected.abs().max())
    assert float(whole.sum()) == pytest.approx(float(expected.sum()), rel=1e-12)


@pytest.mark.parametrize(("rows", "way"), [(3, Way.GRADIENTS), (5000, Way.PAIRS)])
def test_a_large_table_goes_by_its_rows_and_a_small_one_by_gradients(rows, way):
    x, g = side(200, 8, 1, rows, 0)
    block = WeightBlock("w", (Use(Lookup(rows, None), (x, x), (g, g)),), (rows, 4), False, 64e6)
    assert block.way(200, 200) is way


def test_the_kernel_of_a_large_vocabulary():
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Embedding(400, 5, padding_idx=7), nn.Tanh(), nn.Flatten(), nn.Linear(30, 3)
        ).double()
    X = torch.randint(0, 400, (20, 6), generator=generator)
    X[::3, 4:] = 7
    expected = module_ntk.kernel(module_ntk.jacobian(model, X))
    K = ntk.empirical_ntk(model, X)
    term = K.term("0.weight")
    (block,) = term.parts
    assert block.way(20, 20) is Way.PAIRS
    assert float((K.dense() - expected).abs().max()) <= 1e-13 * float(expected.abs().max())
    assert K.forming_error() >= float(torch.linalg.matrix_norm(K.dense() - expected, 2))
    assert torch.allclose(K.tile(slice(2, 9), slice(0, 4)), expected[2:9, :4], rtol=1e-12)
    cross = ntk.empirical_ntk(model, X[:8], X[8:])
    assert torch.allclose(cross.dense(), expected[:8, 8:], rtol=1e-12)


def test_float32_is_added_in_one_order_on_several_threads():
    x, g = side(300, 8, 1, 500, 0)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        made = []
        for _ in range(5):
            out = torch.zeros(300, 300)
            add_equal_rows(out, (x, g.float()), (x, g.float()), None, False, 1e6)
            made.append(out)
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(each, made[0]) for each in made)
