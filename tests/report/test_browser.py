"""The page in a real browser: opened from disk, no console errors, no outside requests."""

import os
import time
from pathlib import Path

import pytest
import torch
from torch import nn

import ntkscope as ntk
from chromium import chromium, requested
from ntkscope.report import check_page
from ntkscope.statements.registry import statements

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def inspected(tmp_path_factory):
    report = ntk.inspect(ntk.Network([8, 60, 50, 1]), ntk.data.gaussian(40, 8, seed=1))
    return report.save(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        pairs = [layer for _ in range(3) for layer in (nn.Conv2d(2, 2, 3, padding=1), nn.Tanh())]
        model = nn.Sequential(
            nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 2, 3, padding=1), nn.Tanh(), *pairs,
            nn.Flatten(), nn.Linear(128, 2),
        )  # fmt: skip
    report = ntk.inspect(model.double(), ntk.data.load("digits:N=30").X / 16)
    return report.save(tmp_path_factory.mktemp("module"))


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    law = ntk.data.Gaussian(8)
    instance = ntk.Instance(
        ntk.Network([8, 30, 20, 1]), law.sample(12, 1), distribution=law, samples=64, trials=2
    )
    records = [v.to_dict() for v in ntk.check_all(instance, settings={"data": "gaussian"})]
    path = tmp_path_factory.mktemp("check") / "check.html"
    path.write_text(check_page.page(records, records[0]["settings"]))
    return path


@pytest.fixture
def browser(tmp_path):
    with chromium(tmp_path) as driver:
        yield driver


@pytest.mark.parametrize("width", [1400, 400])
@pytest.mark.parametrize(
    ("which", "title", "least"),
    [
        ("inspected", "NTK of 8-60-50-1", 5),
        ("module", "NTK of Sequential", 5),
        ("checked", f"{len(statements())} statements on 8-30-20-1", 3),
    ],
)
def test_opens_from_disk_without_errors_or_requests(browser, request, which, title, least, width):
    page = request.getfixturevalue(which)
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    browser.get("about:blank")
    browser.get_log("performance")  # what the browser's own start page asked for is not ours
    browser.get(page.as_uri())
    assert browser.title.startswith(title)
    plots = browser.execute_script("return document.querySelectorAll('svg.chart').length")
    assert plots >= least
    browser.execute_script("document.querySelectorAll('details').forEach(d => { d.open = true })")
    # nothing may stick out sideways: a phone would scroll the whole page
    overflow = browser.execute_script(
        "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    assert overflow <= 0
    errors = [e for e in browser.get_log("browser") if e["level"] in ("SEVERE", "WARNING")]
    assert errors == []
    assert requested(browser) == set()


@pytest.mark.parametrize("which", ["inspected", "module"])
def test_plots_follow_their_box(browser, request, which):
    """A box narrows without the window: a scrollbar appears, a print begins, a notebook folds."""
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 1400, "height": 900, "deviceScaleFactor": 1, "mobile": False},
    )
    browser.get(request.getfixturevalue(which).as_uri())
    browser.execute_script("document.querySelector('main').style.maxWidth = '400px'")
    sticking = """
        return [...document.querySelectorAll('svg.chart')].filter(svg =>
            svg.getBoundingClientRect().right
            > svg.closest('section').getBoundingClientRect().right).length"""
    deadline = time.monotonic() + 10
    while browser.execute_script(sticking) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert browser.execute_script(sticking) == 0


def emulate(browser, width, **media):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    features = [{"name": "prefers-color-scheme", "value": media.get("scheme", "light")}]
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"media": media.get("media", ""), "features": features}
    )


@pytest.mark.parametrize("which", ["inspected", "module", "checked"])
def test_paper_loses_no_column(browser, request, which):
    """A sheet of A4 is about 718 pixels wide and does not scroll."""
    emulate(browser, 718, media="print")
    browser.get(request.getfixturevalue(which).as_uri())
    browser.execute_script("document.querySelectorAll('details').forEach(d => { d.open = true })")
    wide = browser.execute_script("""
        const edge = document.querySelector('main').getBoundingClientRect().right + 1;
        return [...document.querySelectorAll('td, th')].filter(
            cell => cell.getBoundingClientRect().right > edge).map(cell => cell.textContent)""")
    assert wide == []


def test_statements_are_filtered_and_opened(browser, checked):
    emulate(browser, 1300)
    browser.get(checked.as_uri())
    shown = "return [...document.querySelectorAll('tr[data-of]')].filter(r => !r.hidden).length"
    assert browser.execute_script(shown) == len(statements())
    browser.find_element("id", "words").send_keys("lipschitz")
    some = browser.execute_script(shown)
    assert 0 < some < 30
    assert browser.find_element("id", "found").text == f"{some} of {len(statements())}"
    browser.get(checked.as_uri() + "#nguyen2021.eq-5")
    browser.refresh()
    section = "document.getElementById('nguyen2021.eq-5').querySelector('details')"
    assert browser.execute_script(f"return {section}.open")
    assert browser.execute_script(
        f"return {section}.querySelector('math').getBoundingClientRect().width > 0"
    )


@pytest.mark.skipif(
    "AXE_CORE" not in os.environ, reason="AXE_CORE names no axe.min.js (npm: axe-core)"
)
@pytest.mark.parametrize(("width", "scheme"), [(1300, "light"), (420, "dark")])
@pytest.mark.parametrize("which", ["inspected", "module", "checked"])
def test_axe_finds_nothing_serious(browser, request, which, width, scheme):
    emulate(browser, width, scheme=scheme)
    browser.get(request.getfixturevalue(which).as_uri())
    browser.execute_script("""
        document.querySelectorAll('details').forEach((d, i) => { d.open = i < 8 })""")
    browser.execute_script(Path(os.environ["AXE_CORE"]).read_text())
    browser.set_script_timeout(120)
    found = browser.execute_async_script("""
        const done = arguments[arguments.length - 1];
        axe.run().then(r => done(r.violations.map(v => [v.impact, v.id, v.nodes[0].html])))""")
    assert [v for v in found if v[0] in ("serious", "critical")] == []
