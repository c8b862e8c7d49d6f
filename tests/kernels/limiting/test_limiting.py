"""The infinite-width kernels against mpmath, exact cases, sampled networks and themselves."""

import math

import mpmath as mp
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ntkscope as ntk
from oracles.limiting import ntk_entry, relu_dual

U = 2.0**-53
INF = math.inf


def _rows(seed, n, d):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _oracle_relu(net, X):
    sizes = [1 if net.parameterization == "ntk" else n for n in net.widths[1:-1]]
    scale = mp.mpf(1) / net.dim if net.parameterization == "ntk" else mp.mpf(1)
    rows = [[mp.mpf(v) for v in row] for row in X.tolist()]
    gram = [[mp.fdot(x, y) for y in rows] for x in rows]
    n = len(rows)
    out = mp.matrix(n, n)
    for i in range(n):
        for j in range(n):
            out[i, j] = ntk_entry(
                gram[i][i], gram[j][j], gram[i][j], relu_dual, sizes, net.betas, scale, net.bias_std
            )
    return out


def _worst(K, exact):
    """The largest |K_ij − exact| relative to √(K_ii K_jj)."""
    n = len(K)
    with mp.workdps(60):
        return float(
            max(
                abs(mp.mpf(float(K[i, j])) - exact[i, j]) / mp.sqrt(exact[i, i] * exact[j, j])
                for i in range(n)
                for j in range(n)
            )
        )


@pytest.mark.parametrize("depth", [2, 3, 6, 10])
@pytest.mark.parametrize("bias", [None, 0.3])
def test_relu_against_mpmath_with_near_and_opposite_rows(depth, bias):
    d = 7
    X = _rows(depth, 6, d)
    step = _rows(99, 1, d)[0]
    X = torch.cat([X, X[:1] + 1e-12 * step, X[1:2] + 1e-7 * step, -X[2:3], -X[3:4] + 1e-9 * step,
                   3.0 * X[4:5], 2.5 * X[5:6] + 1e-3 * step])  # fmt: skip
    net = ntk.Network([d, *[50] * (depth - 1), 1], "relu", "he", bias_std=bias)
    with mp.workdps(60):
        exact = _oracle_relu(net, X)
    assert _worst(ntk.limiting_ntk(net, X), exact) <= (d + 10 * depth) * U


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 5), st.floats(1e-14, 1.0), st.booleans())
def test_relu_near_pairs_keep_their_angle(seed, d, eps, ntk_form):
    x = _rows(seed, 1, d)
    X = torch.cat([x, x + eps * _rows(seed + 1, 1, d), -x])
    form = "ntk" if ntk_form else "standard"
    net = ntk.Network([d, 30, 20, 1], "relu", [0.7, 1.3, 0.2], form)
    with mp.workdps(60):
        exact = _oracle_relu(net, X)
    assert _worst(ntk.limiting_ntk(net, X), exact) <= (d + 30) * U


def test_terms_and_layers_assemble_the_kernel():
    X, Z = _rows(0, 9, 5), _rows(1, 4, 5)
    for net in (
        ntk.Network([5, 40, 30, 1], "relu", "unit"),
        ntk.Network([5, 40, 30, 2], "tanh", "lecun", "ntk", bias_std=0.2),
    ):
        for other in (None, Z):
            K, terms, G, slopes, nngp = ntk.limiting_ntk(
                net, X, other, get=("ntk", "terms", "G", "G_dot", "nngp")
            )
            assert len(terms) == 3
            assert len(G) == 3
            assert len(slopes) == 2
            scale = float(K.abs().max())
            assert float((sum(terms) - K).abs().max()) <= 20 * U * scale
            own = 1.0 if net.bias_std is not None else 0.0
            # Nguyen eq. 17 with C^{l+1} = β² A_l + σ_b²
            chain, total = torch.ones_like(K), 0.0
            for l in (2, 1, 0):
                A = (G[l] - (net.bias_std or 0.0) ** 2) / net.betas[l] ** 2 + own
                total = total + A * chain
                chain = chain * slopes[l - 1] if l else chain
            assert float((net.n_outputs * total - K).abs().max()) <= 100 * U * scale
            assert torch.equal(nngp, G[-1])


def test_normalised_limit_is_nguyens_recursion():
    X = _rows(3, 6, 4)
    finite = ntk.Network([4, 70, 90, 1], "relu", "unit")
    limit = ntk.Network([4, INF, INF, 1], "relu", "unit")
    K = ntk.limiting_ntk(limit, X)
    scaled = ntk.limiting_ntk(finite, X) * finite.ntk_normalization
    assert torch.allclose(K, scaled, rtol=1e-14, atol=0)
    # K_ii^(L) = L ‖x_i‖², Nguyen after Theorem 3.2
    assert torch.allclose(torch.diagonal(K), 3 * (X * X).sum(1), rtol=1e-14)
    with pytest.raises(ValueError, match="no common wide limit"):
        ntk.limiting_ntk(ntk.Network([4, INF, 1], "relu", "he"), X)
    with pytest.raises(ValueError, match="infinite widths"):
        limit.sample(0)


def test_circle_gives_a_circulant_kernel():
    N = 64
    X = _circle(N)
    K = ntk.limiting_ntk(ntk.Network([2, INF, INF, 1], "relu", "unit"), X)
    fft = torch.fft.fft(K[0]).real.sort().values
    assert float((torch.linalg.eigvalsh(K) - fft).abs().max()) <= N * 10 * U * float(fft[-1])


def _circle(n):
    t = torch.arange(n, dtype=torch.float64) * (2 * math.pi / n)
    return torch.stack([torch.cos(t), torch.sin(t)], 1)


@pytest.mark.parametrize("name", ["relu", "tanh", "gelu", "sigmoid", "abs"])
def test_orthogonal_inputs_give_two_numbers(name):
    X = 3.0 * torch.eye(5, dtype=torch.float64)
    K = ntk.limiting_ntk(ntk.Network([5, 20, 20, 1], name, "lecun", "ntk"), X)
    off = K[~torch.eye(5, dtype=torch.bool)]
    assert float(off.max() - off.min()) <= 8 * U * float(K.max())
    assert float(torch.diagonal(K).max() - torch.diagonal(K).min()) <= 8 * U * float(K.max())


@pytest.mark.parametrize(
    ("name", "form", "bias", "residual"),
    [
        ("relu", "standard", None, 0.0),
        ("tanh", "ntk", 0.4, 0.0),
        ("gelu", "ntk", None, 0.0),
        ("relu", "standard", 0.3, 0.7),
        ("sigmoid", "ntk", None, 0.6),
    ],
)
def test_sampled_networks_average_to_the_limit(name, form, bias, residual):
    d = 300 if residual else 6
    width = d if residual else 400
    X = _rows(5, 5, d) + (0.3 if residual else 0.0)
    net = ntk.Network([d, width, width, 1], name, "lecun", form, bias_std=bias, residual=residual)
    limit = ntk.limiting_ntk(net, X)
    draws = torch.stack([ntk.empirical_ntk(net.sample(s), X).dense() for s in range(24)])
    mean, bar = draws.mean(0), draws.std(0) / math.sqrt(24)
    # 25 entries at five standard errors, and a bias of order 1/width
    slack = 5 * bar + 10 / width * limit.abs().max()
    assert bool(((mean - limit).abs() <= slack).all())


@pytest.mark.slow
def test_width_ten_thousand_is_within_monte_carlo_error():
    X = _rows(5, 4, 8)
    net = ntk.Network([8, 10_000, 10_000, 1], "tanh", "lecun", "ntk")
    limit = ntk.limiting_ntk(net, X)
    draws = torch.stack([ntk.empirical_ntk(net.sample(s), X).dense() for s in range(4)])
    assert float((draws.mean(0) - limit).abs().max() / limit.max()) < 5 / math.sqrt(4 * 10_000)


@pytest.mark.parametrize("name", ["relu", "tanh", "gelu", "leaky_relu:alpha=0.2"])
def test_tiles_products_and_cross_kernels_agree(name):
    X = _rows(7, 700, 10)
    net = ntk.Network([10, 64, 64, 1], name, "lecun", "ntk", bias_std=0.1)
    K = ntk.limiting_ntk(net, X)
    assert torch.equal(K, K.T)
    scale = float(K.max())
    tol = 40 * U * scale if name != "tanh" else 3e-14 * scale
    kernel = ntk.limiting_kernel(net, X)
    rows, cols = slice(100, 420), [3, 150, 699, -1]
    tile = ntk.limiting_ntk(net, X, tile=(rows, cols))
    assert float((tile - K[rows][:, cols]).abs().max()) <= tol
    v = _rows(8, 700, 2)
    assert float((kernel @ v - K @ v).abs().max()) <= 700 * tol
    assert torch.allclose(torch.from_numpy(kernel.to_scipy() @ v[:, 0].numpy()), K @ v[:, 0])
    assert torch.equal(kernel.diagonal(), torch.diagonal(K))
    cross = ntk.limiting_ntk(net, X[:50], X)
    assert float((cross - K[:50]).abs().max()) <= tol


def test_zero_rows_duplicates_and_variance_zero():
    X = torch.cat([torch.zeros(1, 3), torch.ones(2, 3), torch.eye(3)[:1]]).double()
    relu = ntk.limiting_ntk(ntk.Network([3, 20, 20, 1], "relu"), X)
    assert torch.equal(relu[0], torch.zeros(4, dtype=torch.float64))
    assert abs(float(relu[1, 2] - relu[1, 1])) <= 8 * U * float(relu[1, 1])
    K = ntk.limiting_ntk(ntk.Network([3, 20, 20, 1], "sigmoid", "lecun", "ntk"), X)
    # at x = 0 the first layer is φ(0) = ½ for certain
    small = X.clone()
    small[0] = 1e-9
    near = ntk.limiting_ntk(ntk.Network([3, 20, 20, 1], "sigmoid", "lecun", "ntk"), small)
    assert float((K - near).abs().max()) < 1e-8
    assert bool(torch.isfinite(K).all())
    assert abs(float(K[1, 2] - K[1, 1])) <= 2e-14 * float(K[1, 1])


def test_bad_input_says_what_to_do():
    X = _rows(0, 4, 3)
    net = ntk.Network([3, 10, 1], "relu")
    with pytest.raises(ValueError, match="takes 3"):
        ntk.limiting_ntk(net, _rows(0, 4, 5))
    with pytest.raises(ValueError, match="did you mean 'ntk'"):
        ntk.limiting_ntk(net, X, get="ntkk")
    with pytest.raises(TypeError):
        ntk.limiting_kernel(net.sample(0), X)
    with pytest.raises(ValueError, match="E φ² is not finite"):
        ntk.limiting_ntk(ntk.Network([3, 10, 1], lambda z: torch.exp(z * z), "unit"), X)
    with pytest.raises(ValueError, match="gaussian"):
        ntk.limiting_ntk(ntk.Network([3, 10, 1], "relu", weights="rademacher"), X)
    with pytest.raises(ValueError, match="overflows"):
        ntk.limiting_ntk(net, X * 1e160)
    hard = ntk.activations.custom(lambda z: z.clamp(-1, 1), kinks=(-1.0, 1.0))
    near = torch.cat([X, X[:1] * (1 + 1e-6) + 1e-6])
    with pytest.raises(ValueError, match="cannot reach"):
        ntk.limiting_ntk(ntk.Network([3, 10, 1], hard, "lecun"), near)


def test_too_large_names_the_tiled_way(monkeypatch):
    monkeypatch.setattr("ntkscope._base.memory.available", lambda: 1000)
    with pytest.raises(MemoryError, match="tile="):
        ntk.limiting_ntk(ntk.Network([3, 10, 1], "relu"), _rows(0, 40, 3))


def _oracle(net, X, dual):
    """The kernel matrix entry by entry in mpmath, for a plain network in the "ntk" form."""
    rows = [[mp.mpf(v) for v in row] for row in X.tolist()]
    gram = [[mp.fdot(x, y) for y in rows] for x in rows]
    n, sizes = len(rows), [1] * (net.depth - 1)
    out = mp.matrix(n, n)
    for i in range(n):
        for j in range(n):
            out[i, j] = ntk_entry(gram[i][i], gram[j][j], gram[i][j], dual, sizes, net.betas,
                                  mp.mpf(1) / net.dim, net.bias_std)  # fmt: skip
    return out


def _erf_dual(a, b, c):
    """Williams 1997."""
    gap = (1 + 2 * a) * (1 + 2 * b)
    return 2 / mp.pi * mp.asin(2 * c / mp.sqrt(gap)), 4 / mp.pi / mp.sqrt(gap - 4 * c * c)


def _sin_dual(a, b, c):
    decay = mp.exp(-(a + b) / 2)
    return decay * mp.sinh(c), decay * mp.cosh(c)


ERRORS = {"relu": relu_dual, "erf": _erf_dual, "sin": _sin_dual}


def _hard_rows(d):
    X, step = _rows(11, 4, d), _rows(12, 1, d)[0]
    return torch.cat([X, X[:1] + 1e-9 * step, -X[1:2] + 1e-7 * step, 1e-3 * X[2:3], 20.0 * X[3:4]])


@pytest.mark.parametrize("name", ERRORS)
@pytest.mark.parametrize("bias", [None, 0.4])
@pytest.mark.parametrize("depth", [2, 3, 6])
def test_the_entry_error_covers_every_entry_and_is_not_idle(name, bias, depth):
    """Against mpmath on near, opposite, short and long rows; and within 300 times what is seen."""
    d = 5
    X = _hard_rows(d)
    net = ntk.Network([d, *[math.inf] * (depth - 1), 1], name, "lecun", "ntk", bias_std=bias)
    with mp.workdps(60):
        exact = _oracle(net, X, ERRORS[name])
    kernel = ntk.limiting_kernel(net, X)
    worst = _worst(kernel.dense(), exact)
    assert worst <= kernel.entry_error()
    if name == "relu":
        assert kernel.entry_error() <= 300 * max(worst, U)


def test_the_entry_error_follows_a_truncation_that_was_asked_for():
    """A series cut at 1e-6 is off by more than rounding, and the interval knows it."""
    X = _hard_rows(4)[:4]
    net = ntk.Network([4, math.inf, 1], "tanh", "lecun", "ntk")
    fine, rough = (ntk.limiting_kernel(net, X, accuracy=a) for a in (1e-14, 1e-3))
    scale = torch.sqrt(fine.diagonal()[:, None] * fine.diagonal()[None, :])
    off = float(((rough.dense() - fine.dense()).abs() / scale).max())
    assert 100 * fine.entry_error() < off <= rough.entry_error() + fine.entry_error()
    found = ntk.smallest_eigenvalue(rough)
    exact = float(torch.linalg.eigvalsh(fine.dense())[0])
    assert found.lower <= exact <= found.upper
    assert found.upper - found.lower >= 2e-3 * rough.trace()


def test_a_slope_that_amplifies_is_charged_for():
    """sin at a large variance turns an angle's rounding into many times as much: γ grows with it."""
    d = 5
    X = _hard_rows(d)[:4]
    calm, steep = (
        ntk.limiting_kernel(ntk.Network([d, math.inf, math.inf, 1], "sin", beta, "ntk"), X)
        for beta in ([1.0, 1.0, 1.0], [5.0, 5.0, 5.0])
    )
    assert steep.entry_error() > 10 * calm.entry_error()


def test_the_smallest_eigenvalue_of_a_limit_is_certified():
    X = ntk.data.gaussian(60, 8, seed=3)
    net = ntk.Network([8, math.inf, math.inf, 1], "relu", "unit")
    kernel = ntk.limiting_kernel(net, X)
    found = ntk.smallest_eigenvalue(kernel)
    assert found.status is ntk.Status.OK
    assert found.covers == "the exact limiting kernel of these inputs"
    assert found.upper - found.lower >= 2 * kernel.forming_error()
    for method in ("packed", "disk"):
        other = ntk.smallest_eigenvalue(kernel, method=method)
        assert max(found.lower, other.lower) <= min(found.upper, other.upper)
