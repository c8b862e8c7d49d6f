"""The explorer's numbers, read out of a browser, against the library on the same rows and weights."""

import math
import re

import mpmath as mp
import numpy as np
import pytest
import torch

import ntkscope as ntk
from chromium import chromium, requested
from ntkscope.explorer.tables import ACTIVATIONS, DEGREE
from ntkscope.prediction.model import model_of
from oracles.limiting import ntk_entry, relu_dual

pytestmark = pytest.mark.browser

SOLVE = """
const r = explorer.solve(arguments[0]), plain = K => K.map(row => [...row]);
return {
  rows: plain(r.rows), kernel: plain(explorer.matrixOf(r.total, r.pairs)), values: r.limit.values,
  smallest: r.limit.smallest, certain: r.limit.certain, most: r.limit.most, bounds: r.bounds,
  shares: r.limit.shares, why: r.why, prediction: r.prediction,
  finite: r.finite && {smallest: r.finite.smallest, values: r.finite.values, kernel: plain(r.finite.kernel),
    weights: explorer.weightsOf(r.setting).map(plain)},
}"""
START = {
    "activation": "relu", "init": "he", "depth": 3, "width": "Infinity", "samples": 12, "dim": 6,
    "data": "sphere", "distance": 0.01, "seed": 0, "duplicate": False,
}  # fmt: skip
# the library's own series is accurate to 1e-14 a layer
KERNEL, EIGENVALUES = 3e-13, 1e-13


@pytest.fixture(scope="module")
def browser(tmp_path_factory, page):
    folder = tmp_path_factory.mktemp("explorer")
    with chromium(folder / "profile") as driver:
        driver.get("about:blank")
        requested(driver)
        driver.get(page.save(folder / "explorer.html").as_uri())
        yield driver


@pytest.fixture
def solve(browser):
    return lambda **given: browser.execute_script(SOLVE, {**START, **given})


def network(activation, init="he", depth=3, dim=6):
    parameterization = "standard" if init == "unit" else "ntk"
    return ntk.Network([dim, *[math.inf] * (depth - 1), 1], activation, init, parameterization)


def compared(found, net):
    """λ_min of the library, after kernel and eigenvalues were compared."""
    K = ntk.limiting_ntk(net, np.array(found["rows"])).numpy()
    values = np.linalg.eigvalsh(K)
    assert np.abs(np.array(found["kernel"]) - K).max() <= KERNEL * K.max()
    assert np.abs(np.array(found["values"]) - values).max() <= EIGENVALUES * values[-1]
    return values[0]


@pytest.mark.parametrize("depth", range(2, 8))
def test_limiting_kernels_and_their_bounds(solve, depth):
    for activation in ACTIVATIONS:
        init = ("he", "lecun")[depth % 2]
        found = solve(activation=activation, init=init, depth=depth)
        least = compared(found, network(activation, init, depth))
        if activation == "identity":  # rank d < N
            assert found["smallest"]["value"] == 0
            continue
        assert found["certain"]
        slack = EIGENVALUES * found["values"][-1]
        for bound in found["bounds"]:
            if bound["kind"] == "lower":
                assert bound["value"] <= least + slack, (activation, bound)
            else:
                assert bound["value"] >= least - slack, (activation, bound)
        assert sum(found["shares"]) == pytest.approx(1)
        assert min(found["shares"]) >= 0


def test_units_of_unit_weights(solve):
    for activation in ("relu", "abs"):
        compared(solve(activation=activation, init="unit"), network(activation, "unit"))


@pytest.mark.parametrize("data", ["clusters", "pair", "circle"])
def test_other_points(solve, data):
    for activation in ("relu", "tanh"):
        compared(solve(activation=activation, data=data, distance=1e-3), network(activation))


def test_shares_are_those_of_the_terms(solve):
    found = solve(activation="gelu")
    terms = ntk.limiting_ntk(network("gelu"), np.array(found["rows"]), get="terms")
    vector = torch.linalg.eigh(sum(terms))[1][:, 0]
    parts = np.array([float(vector @ t @ vector) for t in terms])
    np.testing.assert_allclose(found["shares"], parts / parts.sum(), rtol=1e-9)


def test_the_floor_is_that_of_the_library(solve):
    for activation, dim in (("relu", 12), ("erf", 20)):
        found = solve(activation=activation, dim=dim)
        bound = ntk.streamed_bound(
            network(activation, dim=dim), np.array(found["rows"]), degree=DEGREE
        )
        floor = next(b for b in found["bounds"] if b["statement"] == "karhadkar2024.floor")
        assert floor["value"] == pytest.approx(bound.lower, rel=3e-6)
        assert floor["value"] > 0


@pytest.mark.parametrize("change", [{"duplicate": True}, {"data": "circle", "activation": "tanh"}])
def test_equal_and_opposite_points_give_exactly_zero(solve, change):
    found = solve(**change)
    assert found["smallest"] == {"value": 0, "error": 0}
    assert "points 1 and" in found["why"]["short"]
    compared(found, network(change.get("activation", "relu")))


def erf_dual(a, b, c):
    value = 2 / mp.pi * mp.asin(2 * c / mp.sqrt((1 + 2 * a) * (1 + 2 * b)))
    return value, 4 / mp.pi / mp.sqrt((1 + 2 * a) * (1 + 2 * b) - 4 * c * c)


@pytest.mark.parametrize(
    ("activation", "dual", "error"), [("relu", relu_dual, 1e-6), ("erf", erf_dual, 1e-4)]
)
def test_a_close_pair_keeps_its_digits(solve, activation, dual, error):
    """At an angle of 1e-7 λ_min of erf is below the rounding of the kernel's entries."""
    found = solve(activation=activation, data="pair", distance=1e-7, samples=6)
    assert found["certain"]
    with mp.workdps(60):
        X = [[mp.mpf(v) for v in row] for row in found["rows"]]
        G = mp.matrix(6, 6)
        for i in range(6):
            for j in range(6):
                G[i, j] = sum(a * b for a, b in zip(X[i], X[j], strict=True))
        beta = [mp.sqrt(2)] * 3
        sixth = mp.mpf(1) / 6
        K = mp.matrix(6, 6)
        for i in range(6):
            for j in range(6):
                K[i, j] = ntk_entry(G[i, i], G[j, j], G[i, j], dual, [1, 1], beta, sixth)
        exact = min(mp.eigsy(K, eigvals_only=True))
        off = abs(float(found["smallest"]["value"] - exact))
    assert off <= found["smallest"]["error"] <= error * float(exact)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_network_that_is_drawn(solve, activation):
    found = solve(activation=activation, init="lecun", width=8, depth=4, samples=9)["finite"]
    rows = np.array(solve(activation=activation, samples=9)["rows"])
    weights = [np.array(W).T.copy() for W in found["weights"]]
    model = ntk.MLP.from_weights(weights, activation, parameterization="ntk")
    K = ntk.empirical_ntk(model, rows).dense().detach().numpy()
    assert np.abs(np.array(found["kernel"]) - K).max() <= 1e-14 * K.max()
    values = np.linalg.eigvalsh(K)
    assert np.abs(np.array(found["values"]) - values).max() <= 1e-14 * values[-1]


def test_weights_have_the_variance_of_the_initialization(solve):
    found = solve(width=128, init="he")["finite"]["weights"][1]
    assert np.var(found) == pytest.approx(2.0, rel=0.05)


@pytest.mark.parametrize(("activation", "dim", "depth"), [("relu", 10, 3), ("gelu", 40, 2)])
def test_the_predicted_density(solve, activation, dim, depth):
    law = solve(activation=activation, dim=dim, depth=depth, samples=60)["prediction"]
    resolvent = model_of(network(activation, depth=depth, dim=dim), 60, None, "sphere").resolvent
    assert law["edge"] == pytest.approx(resolvent.edge().value, rel=1e-9)
    grid = np.array(law["eigenvalues"])
    np.testing.assert_allclose(law["density"], resolvent.density(grid, 0.03) * grid, rtol=1e-6)


def test_where_there_is_no_prediction_it_says_why(solve):
    assert "random" in solve(data="circle")["prediction"]["reason"]
    assert "below d = 5" in solve(dim=3)["prediction"]["reason"]
    assert "rounding" in solve(activation="identity", dim=20)["prediction"]["reason"]


def test_opens_from_disk_without_errors_or_requests(browser):
    for width in (1300, 420):
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600},
        )
        browser.refresh()
        browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
        overflow = browser.execute_script(
            "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        assert overflow <= 0
    assert [e for e in browser.get_log("browser") if e["level"] in ("SEVERE", "WARNING")] == []
    assert requested(browser) == set()


def put(browser, **setting):
    browser.execute_script("explorer.put(arguments[0]); explorer.update()", {**START, **setting})


def answer(browser):
    return browser.find_element("id", "answer").text


def test_keyboard_labels_and_answer(browser):
    from selenium.webdriver.common.keys import Keys

    put(browser)
    first = answer(browser)
    assert re.match(r"λmin = [\d.]+ at infinite width\. Gradient descent .* steps", first)
    browser.find_element("id", "samples").send_keys(Keys.ARROW_RIGHT * 20)
    assert answer(browser) != first
    browser.find_element("id", "duplicate").send_keys(Keys.SPACE)
    assert answer(browser).startswith("λmin = 0: points 1 and 32 are equal.")
    unnamed = browser.execute_script(
        "return [...document.querySelectorAll('select, input, svg')].filter("
        "e => !(e.labels && e.labels.length) && !e.getAttribute('aria-label')).map(e => e.outerHTML)"
    )
    assert unnamed == []


def test_a_link_leads_back_to_its_setting(browser):
    put(browser, activation="erf", seed=5, width=16, samples=20, duplicate=True)
    said = browser.execute_async_script(
        "setTimeout(() => arguments[0]([location.href, explorer.settingOf()]), 1500)"
    )
    rows = browser.execute_script("return explorer.solve().rows.map(row => [...row])")
    browser.get("about:blank")
    browser.get(said[0])
    assert browser.execute_script("return explorer.settingOf()") == said[1]
    assert browser.execute_script("return explorer.solve().rows.map(row => [...row])") == rows
