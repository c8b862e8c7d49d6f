"""What trials measure, against the slow way to the same number."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.trial_functions import results
from ntkscope import Network, data, empirical_ntk
from ntkscope.experiments.measures import batched, quantities
from ntkscope.experiments.measures.instances import TrialInstance
from ntkscope.experiments.running.units import execute, units
from ntkscope.experiments.sweep import Sweep

KERNEL = {
    "name": "k",
    "seeds": 2,
    "grid": {"N": [12]},
    "data": "sphere:N={N},d=5",
    "network": {"widths": [5, 9, 7, 1], "activation": "tanh"},
}


@settings(max_examples=15, deadline=None)
@given(
    st.integers(2, 4),
    st.integers(2, 20),
    st.sampled_from(["relu", "sigmoid", "erf"]),
    st.sampled_from(["standard", "ntk"]),
    st.integers(0, 1000),
)
def test_vectorised_kernels_are_the_kernels_one_by_one(depth, N, activation, form, seed):
    generator = torch.Generator().manual_seed(seed)
    sizes = [int(n) for n in torch.randint(1, 15, (depth,), generator=generator)]
    net = Network([*sizes, 1], activation, "lecun", form)
    models = [net.sample(seed + k) for k in range(3)]
    X = torch.stack([data.gaussian(N, sizes[0], seed=k) for k in range(3)])
    weights = [torch.stack([m.weights[l].detach() for m in models]) for l in range(depth)]
    K, _ = batched.ntk(net, weights, X)
    for k, model in enumerate(models):
        exact = empirical_ntk(model, X[k]).dense()
        # two ways to sum products of length ≤ 30: 64 roundings of the largest entry
        torch.testing.assert_close(
            K[k], exact, rtol=0, atol=64 * 2.0**-53 * float(exact.abs().max())
        )


def test_a_block_and_its_trials_alone_agree_within_their_intervals():
    values = {**KERNEL, "measure": ["lambda_min", "lambda_max", "trace"]}
    for one, block in zip(results({**values, "batch": 1}), results(values), strict=True):
        for name in ("lambda_min", "lambda_max"):
            assert one[f"{name}.lower"] <= block[f"{name}.upper"]
            assert block[f"{name}.lower"] <= one[f"{name}.upper"]
        assert one["trace"] == pytest.approx(block["trace"], rel=1e-13)


def test_the_interval_of_a_whole_spectrum_holds_the_certified_value():
    plain = Sweep({**KERNEL, "grid": {"N": [60]}}).trials[0].plain
    K = TrialInstance(plain, 0).kernel
    found = quantities._smallest("y", K)
    from ntkscope import smallest_eigenvalue

    certified = smallest_eigenvalue(K)
    assert found["y.lower"] <= certified.upper
    assert certified.lower <= found["y.upper"]


def test_every_quantity_against_numpy():
    import numpy as np

    names = list(quantities.quantity_names())
    trial = Sweep({**KERNEL, "measure": names, "seeds": 1, "grid": {"N": [6]}}).trials[0]
    (row,) = execute(tuple(units([trial])))
    found, instance = row.results, TrialInstance(trial.plain, 0)
    K = instance.kernel.dense().numpy()
    spectrum = np.linalg.eigvalsh(K)
    bar = 6 * 2.0**-52 * spectrum[-1] * 10
    assert found["lambda_min"] == pytest.approx(spectrum[0], abs=bar)
    assert found["lambda_max"] == pytest.approx(spectrum[-1], abs=bar)
    assert found["trace"] == pytest.approx(np.trace(K), rel=1e-13)
    assert found["schur_lower"] <= found["lambda_min"] + bar
    assert found["lambda_min"] <= found["diagonal_upper"] + bar
    assert found["lambda_min"] <= found["trace_upper"] + bar
    layers = [np.linalg.eigvalsh(instance.kernel.term(k).dense().numpy())[0] for k in range(3)]
    assert [found[f"layer_{k}"] for k in range(3)] == pytest.approx(layers, abs=bar)
    assert sum(layers) <= found["lambda_min"] + bar
    features = instance.model.layers(instance.X)[0]
    assert found["sigma_min_F0"] == 0.0  # six rows in five dimensions
    s = np.linalg.svd(features[1].detach().numpy(), compute_uv=False)
    assert found["sigma_min_F1"] == pytest.approx(s[-1], abs=1e-13 * s[0])
    limit = instance.limit.numpy()
    assert found["limiting_lambda_min"] == pytest.approx(np.linalg.eigvalsh(limit)[0], abs=bar)
    distance = np.linalg.norm(K - limit, 2) / np.linalg.norm(limit, 2)
    assert found["limit_error"] == pytest.approx(distance, rel=1e-10)


@pytest.mark.parametrize("batch", [1, 16])
def test_more_samples_than_parameters_is_zero_exactly(batch):
    values = {**KERNEL, "grid": {"N": [30]}, "network": {"widths": [5, 3, 1]}, "batch": batch}
    for found in results(values):
        assert found["lambda_min"] == found["lambda_min.lower"] == found["lambda_min.upper"] == 0.0
        assert found["lambda_min.status"] == "RANK_DEFICIENT"
