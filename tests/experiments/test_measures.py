"""What trials measure, against the slow way to the same number."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ntkscope import Network, data, empirical_ntk
from ntkscope.experiments.measures import batched
from ntkscope.experiments.measures.kernel_trials import Instance
from ntkscope.experiments.measures.registry import kernel_trials
from ntkscope.experiments.measures.training_trials import adam
from ntkscope.experiments.running.sweep import Sweep
from ntkscope.experiments.running.trial import execute, units

KERNEL = {
    "name": "k",
    "seeds": 2,
    "grid": {"N": [12]},
    "data": "sphere:N={N},d=5",
    "network": {"widths": [5, 9, 7, 1], "activation": "tanh"},
}


def results(values: dict) -> list[dict]:
    rows = execute(tuple(units(Sweep(values).trials)))
    assert all(not r.error for r in rows), rows[0].error
    return [r.results for r in rows]


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
    K = Instance(plain, 0).kernel
    found = kernel_trials._smallest("y", K)
    from ntkscope import smallest_eigenvalue

    certified = smallest_eigenvalue(K)
    assert found["y.lower"] <= certified.upper
    assert certified.lower <= found["y.upper"]


def test_every_quantity_against_numpy():
    import numpy as np

    names = list(kernel_trials.QUANTITIES)
    trial = Sweep({**KERNEL, "measure": names, "seeds": 1, "grid": {"N": [6]}}).trials[0]
    (row,) = execute(tuple(units([trial])))
    found, instance = row.results, Instance(trial.plain, 0)
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


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 4), st.integers(2, 12), st.sampled_from(["relu", "tanh"]), st.integers(0, 99))
def test_adam_is_torchs_adam(seeds, N, activation, seed):
    net = Network([4, 6, 5, 1], activation, "lecun")
    models = [net.sample(seed + k) for k in range(seeds)]
    X = torch.stack([data.gaussian(N, 4, seed=k) for k in range(seeds)])
    Y = torch.stack([data.gaussian(N, 1, seed=100 + k) for k in range(seeds)])
    weights = [torch.stack([m.weights[l].detach().clone() for m in models]) for l in range(3)]
    ended = adam(net, weights, X, Y, rate=0.01, epochs=30, window=10)
    for k, model in enumerate(models):
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        losses, windows = [], [math.inf]
        while len(losses) < 30:
            total = 0.0
            for _ in range(10):
                optimizer.zero_grad()
                loss = torch.nn.functional.mse_loss(model(X[k]), Y[k])
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
                total += loss.item()
            if not total / 10 <= windows[-1]:
                break
            windows.append(total / 10)
        assert float(ended.first[k]) == pytest.approx(losses[0], rel=1e-12)
        # Adam divides by the root of tiny second moments, which amplifies rounding a little
        assert float(ended.loss[k]) == pytest.approx(windows[-1], rel=1e-7)
        assert int(ended.epochs[k]) == len(losses)


def test_training_that_diverges_is_no_zero():
    net = Network([3, 4, 1], "relu", "unit")
    weights = [net.sample(0).weights[l].detach()[None] for l in range(2)]
    X = torch.full((1, 2, 3), 1e200, dtype=torch.float64)
    ended = adam(net, weights, X, torch.ones(1, 2, 1, dtype=torch.float64), 0.1, 40, 10)
    assert not math.isfinite(float(ended.loss[0]))
    assert float(ended.rose[0]) == 1.0


def test_training_trials_are_the_same_in_any_part_of_a_block():
    values = {
        "name": "t",
        "measure": "final_loss",
        "seeds": 3,
        "batch": 3,
        "data": "gaussian:N=8,d=3",
        "network": {"widths": [3, 4, 1], "init": "bombari2022"},
        "training": {"epochs": 200, "window": 50},
    }
    whole = results(values)
    assert results({**values, "seeds": 1}) == whole[:1]
    assert all(0 <= r["final_loss"] < r["first_loss"] for r in whole)
