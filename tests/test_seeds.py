"""One seed, several streams: data and weights must not share their random numbers."""

import pytest
import torch

import ntkscope as ntk


def test_data_and_weights_of_one_seed_are_independent():
    X = ntk.data.gaussian(n_samples=400, dim=50, seed=3)
    W = ntk.Network([50, 400, 1], init="unit").sample(seed=3).weights[0].detach()
    correlation = torch.corrcoef(torch.stack([X.flatten(), W.flatten()]))[0, 1]
    # 20000 independent pairs: five standard errors
    assert abs(float(correlation)) < 5 / 20000**0.5


def test_a_seed_gives_the_same_numbers_and_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    a, b = (ntk.Network([3, 4, 1]).sample(seed=7).weights[0] for _ in range(2))
    assert torch.equal(a, b)
    assert torch.equal(before, torch.random.get_rng_state())
    single = ntk.Network([3, 4, 1]).sample(seed=7, dtype=torch.float32).weights[0]
    assert torch.equal(single, a.float())


@pytest.mark.parametrize("seed", [1.5, "0", None, True])
def test_other_seeds_are_refused(seed):
    with pytest.raises(TypeError):
        ntk.data.gaussian(10, 2, seed=seed)
