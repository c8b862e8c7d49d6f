"""What Nguyen et al.'s statements may not say: "holds" of identities, of nothing promised, of 0 ≥ 0."""

import math

import numpy as np
import pytest
import torch

import ntkscope as ntk
from ntkscope.papers.nguyen2021.centring import projected
from ntkscope.papers.nguyen2021.features import projected_bound
from ntkscope.statements.shared import chains, scales, tails


def instance(law, N, widths, init="he", trials=20, **network):
    net = ntk.Network(widths, "relu", init, **network)
    X = law.sample(N, 1)
    return ntk.Instance(net, X, seed=0, distribution=law, samples=256, trials=trials)


def check(name, on):
    return ntk.check_all(on, [f"nguyen2021.{name}"])[0]


def test_a_singular_kernel_holds_nothing_by_weyl_or_schur():
    singular = instance(ntk.data.Sphere(3), 20, [3, 4, 4, 1])
    finite = check("theorem-4.1", singular)
    assert {c.outcome for c in finite.constants if c.order == "Ω"} == {"vacuous"}
    assert finite.holds is None
    assert check("eq-26", singular).outcome == "identities only"
    assert check("theorem-5.1", singular).outcome == "does not apply"
    assert check("corollary-4.2", singular).holds is None


def test_lemma_5_2_promised_nothing_is_not_reached():
    verdict = check("lemma-5.2", instance(ntk.data.Gaussian(10), 60, [10, 80, 12, 1]))
    assert verdict.outcome == "promised 0"


def test_data_of_another_scale_are_shown_the_constants_that_they_need():
    small = instance(ntk.data.Sphere(100, radius=1e-3), 6, [100, 12, 1])
    constants = {
        h.name: h.constant for h in check("theorem-5.1", small).hypotheses if "2.1" in h.name
    }
    assert constants["Assumption 2.1: E‖x‖² = Θ(d)"] == pytest.approx(1e-8)
    states = {h.state for h in check("theorem-5.1", small).hypotheses if "2.1" in h.name}
    assert states == {"needs constant"}


def test_the_width_condition_of_one_sample_is_no_condition():
    one = instance(ntk.data.Gaussian(4), 1, [4, 8, 1])
    (width,) = (h for h in check("theorem-5.1", one).hypotheses if "log N" in h.name)
    assert width.state == "cannot be tested by a sample"


@pytest.mark.parametrize("init", ["1e4,1e-4,1", "1e3,1e-3,1", "he"])
def test_memorization_does_not_depend_on_how_layers_share_their_scale(init):
    betas = init if init == "he" else [float(b) for b in init.split(",")]
    verdict = check("corollary-4.2", instance(ntk.data.Gaussian(8), 10, [8, 30, 12, 1], betas))
    assert verdict.outcome == "holds"


def test_a_construction_that_float64_does_not_find_is_open_and_not_violated():
    # two nearly equal samples: K is regular and of condition beyond 1/u·10⁻³
    law = ntk.data.Gaussian(8)
    X = law.sample(6, 1)
    X[1] = X[0] + 1e-7 * X[1]
    net = ntk.Network([8, 30, 1], "relu", "he")
    verdict = check("corollary-4.2", ntk.Instance(net, X, distribution=law, trials=2))
    assert not verdict.violations


def test_scales_of_1e30_do_not_overflow():
    huge = instance(ntk.data.Gaussian(4), 6, [4, 12, 5, 1], [1e30, 1e-30, 1e5], trials=2)
    verdict = check("lemma-5.3", huge)
    plain = check("lemma-5.3", instance(ntk.data.Gaussian(4), 6, [4, 12, 5, 1], [1.0, 1.0, 1.0]))
    for left, right in zip(verdict.conclusions, plain.conclusions, strict=True):
        assert left.outcome == right.outcome
        if right.right.value > right.right.error:
            assert left.right.value / left.left.value == pytest.approx(
                right.right.value / right.left.value, rel=1e-6
            )
    for name in ("lemma-5.4", "lemma-5.5", "theorem-5.1"):
        assert check(name, huge).outcome != "open"


def test_the_projection_never_has_the_larger_gram_whatever_mean_is_taken():
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        N, n = (int(v) for v in torch.randint(2, 9, (2,), generator=generator))
        A = torch.randn(N, n, generator=generator, dtype=torch.float64)
        unit = torch.randn(n, generator=generator, dtype=torch.float64)
        unit /= unit.norm()
        AP = A - torch.outer(A @ unit, unit)
        for r in (1, 2, 3, 5):
            difference = (A @ A.T) ** r - (AP @ AP.T) ** r
            assert float(torch.linalg.eigvalsh(difference)[0]) > -1e-12 * float(
                (A @ A.T).max() ** r
            )


def test_projected_features_are_those_of_the_definition():
    on = instance(ntk.data.Gaussian(6), 8, [6, 20, 1])
    mean = on.mean_features(1)[0]
    P = torch.eye(20, dtype=torch.float64) - torch.outer(mean, mean) / mean.square().sum()
    assert torch.allclose(projected(on, 1), (on.F(1) - mean) @ P, atol=1e-13)
    verdict = check("lemma-5.4-projection", on)
    assert {c.outcome for c in verdict.claims} == {"holds"}
    assert len([c for c in verdict.constants if c.concludes]) == 4


def test_theorem_5_1_survives_with_the_projection():
    on = instance(ntk.data.Gaussian(8), 10, [8, 30, 60, 1])
    verdict = check("theorem-5.1", on)
    steps = [c for c in verdict.claims if c.key == "projected"]
    assert [c.outcome for c in steps] == ["holds"] * len(steps)
    assert {c.at["k"] for c in steps} == {1, 2}
    # the bound as a formula
    mean = on.mean_features(1)[0]
    F = on.F(1) - mean
    P = torch.eye(30, dtype=torch.float64) - torch.outer(mean, mean) / mean.square().sum()
    least = float(torch.linalg.eigvalsh((F @ P @ F.T) ** 2)[0])
    largest = float(on.F(1).square().sum(dim=1).max())
    expected = on.beta[2] ** 2 / (4 * math.pi) * least / largest
    assert projected_bound(on, 2, 2).value == pytest.approx(expected, rel=1e-9)
    events = [e for e in verdict.events if e.key == "projected"]
    assert all(e.successes == e.trials for e in events)


def test_eq_35_is_run_at_every_r_against_an_explicit_probability():
    verdict = check("theorem-3.2", instance(ntk.data.Gaussian(600), 8, [600, 20, 1], trials=30))
    events = {e.at["r"]: e for e in verdict.events if e.key == "eq-35"}
    assert set(events) == {2, 4, 6}
    assert events[4].promised > 0.9
    assert events[4].promised < 1
    norms = ntk.data.Gaussian(600).sample(4000, 5).square().sum(dim=1)
    outside = float(((norms < 300) | (norms > 900)).double().mean())
    assert outside <= tails.input_norm(ntk.data.Gaussian(600))


def test_theorem_3_2_shows_the_limit_with_biases():
    on = instance(ntk.data.Gaussian(10), 8, [10, 20, 1], bias_std=0.5)
    verdict = check("theorem-3.2", on)
    assert verdict.outcome == "does not apply"
    (found,) = (c for c in verdict.constants if c.key == "other-architecture")
    limit = np.linalg.eigvalsh(ntk.limiting_ntk(on.network, on.X).numpy())[0]
    assert found.measured.value == pytest.approx(limit, rel=1e-9)


@pytest.mark.parametrize("n", [20, 60, 200])
def test_a_relu_layer_leaves_half_of_its_mean_no_oftener_than_promised(n):
    g = torch.randn(20_000, n, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
    ratio = torch.relu(g).square().sum(dim=1) / (0.5 * n)
    seen = float(((ratio < 0.5) | (ratio > 1.5)).double().mean())
    assert seen <= tails.relu_layer(n) + 3 * math.sqrt(max(seen, 1e-4) / 20_000)


def test_lipschitz_tails_against_draws():
    law = ntk.data.Gaussian(3)
    first = law.sample(200_000, 2)[:, 0]
    for t in (0.5, 1.0, 2.0):
        assert float((first <= -t).double().mean()) <= tails.lipschitz(law, t, 1.0)
    cube = ntk.data.Cube(2)
    edge = cube.sample(100_000, 2)[:, 0]
    assert float((edge <= -1.0).double().mean()) <= tails.lipschitz(cube, 1.0, 1.0)
    assert tails.lipschitz(None, 1.0, 1.0) is None


@pytest.mark.parametrize("widths", [[5, 40, 6, 1], [30, 4, 25, 1], [4, 20, 20, 1]])
def test_explicit_bounds_of_eq_42_and_58_hold_on_draws(widths):
    for seed in range(20):
        net = ntk.Network(widths, "relu", [1.0] * 3)
        on = ntk.Instance(net, ntk.data.gaussian(2, widths[0], seed=seed), seed=seed)
        product = chains.weight_product(on, 0, 1, 2)
        square = float(torch.linalg.matrix_norm(product, 2)) ** 2
        assert square <= 81 * scales.operator(on, 1, 2)
        bound, fails = tails.lipschitz_map(tuple(widths[:3]), (1.0, 1.0))
        assert fails < 0.3
        assert on.lipschitz(2).lower ** 2 <= bound


def test_eq_42_cuts_where_the_proof_does():
    # interior bottleneck: cut there; a narrow first layer: all at once
    assert tails.narrowest_inside((9, 3, 8)) == 1
    assert tails.narrowest_inside((3, 9, 2)) is None
    assert tails.operator_product((9, 8)) == pytest.approx(math.exp(-4.5))
    assert tails.operator_product((9, 3, 8)) == pytest.approx(math.exp(-4.5) + math.exp(-4.0))
    assert tails.operator_product((3, 9, 2)) == pytest.approx(math.exp(-4.5) + math.exp(-1.5))


def test_cells_of_hyperplanes_through_0():
    # 2, 4, 6, … lines through 0 in the plane; 2(1 + (n−1) + C(n−1, 2)) in space
    assert math.exp(tails.log_regions(5, 2)) == pytest.approx(10)
    assert math.exp(tails.log_regions(4, 3)) == pytest.approx(14)


def test_eq_61_takes_the_worst_of_the_samples():
    on = instance(ntk.data.Gaussian(6), 12, [6, 10, 8, 1])
    verdict = check("eq-61", on)
    norms = [float(torch.linalg.matrix_norm(chains.weight_product(on, row, 1, 2), 2)) for row in range(12)]  # fmt: skip
    (worst,) = (c for c in verdict.constants if c.key == "size" and c.at == {"p": 1, "q": 2})
    assert worst.measured.value == pytest.approx(max(norms) ** 2)
    assert max(norms) > norms[0] * (1 + 1e-6)
    (every,) = (c for c in verdict.constants if c.key == "patterns" and c.at == {"p": 1, "q": 2})
    assert every.measured.value >= worst.measured.value
