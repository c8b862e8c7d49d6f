"""The explorer's page as a file: its size, its tables, its ways out."""

import html
import math
import re

import numpy as np
import pytest

import ntkscope as ntk
from ntkscope.explorer import tables
from ntkscope.kernels.limiting.zonal import zonal_ntk
from ntkscope.spectra.streamed import exponents


def test_the_page_is_one_small_file(page):
    size = len(page.html.encode())
    assert size < 500_000
    assert f"{size / 1000:.0f} kB" in repr(page)
    assert "http" not in page.html.replace(
        "http://www.w3.org/2000/svg", ""
    )  # a name, nothing is loaded
    assert set(re.findall(r"(?:src|href)=(\S+)", page.html)) <= {'"data:,">'}
    assert page.html.count("<script") == page.html.count("</script>")


def test_a_notebook_and_a_file_have_the_same_page(page, tmp_path):
    frame = page._repr_html_()
    assert html.unescape(re.search(r'srcdoc="([^"]*)"', frame)[1]) == page.html
    path = page.save(tmp_path / "new" / "page.html")
    assert path.read_text() == page.html


def test_the_command_refuses_a_folder_before_it_works(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from ntkscope.cli.explore import app
    from ntkscope.explorer import explore

    monkeypatch.setattr(explore, "explore", pytest.fail)
    found = CliRunner().invoke(app, ["--out", str(tmp_path)])
    assert isinstance(found.exception, OSError)
    assert "a folder stands there" in str(found.exception)


def network(name, init, depth, dim=5):
    return ntk.Network([dim, *[math.inf] * (depth - 1), 1], name, init, "ntk")


@pytest.mark.parametrize("name", ["tanh", "gelu", "sin"])
def test_the_series_are_those_of_the_kernel(name):
    """The first hidden layer's, through the kernel of two layers: Σ (s_r ρ^r + β² ρ s′_r ρ^r)."""
    first = next(tables._series(network(name, "he", 3)))
    squares = np.array(first["squares"])
    theta = np.array([0.3, 1.0, 2.5])
    rho = np.cos(theta)
    slope = np.arange(1, len(squares)) * squares[1:] / first["variance"]
    value = np.polynomial.polynomial.polyval(rho, squares)
    made = value + 2 * rho * np.polynomial.polynomial.polyval(rho, slope)
    np.testing.assert_allclose(
        made, zonal_ntk(network(name, "he", 2), np.array([5.0]), theta)[0], rtol=0, atol=2e-13
    )


@pytest.mark.parametrize(("name", "depth"), [("relu", 4), ("tanh", 3)])
def test_the_power_sums_are_rounded_down(name, depth):
    found = tables._floors(network(name, "lecun", 7, 1))[depth - 2]
    series = ntk.power_series(network(name, "lecun", depth, 1), tables.DEGREE)
    starts = exponents(tables.DEGREE)
    groups = np.split(series.lower, starts)[1:]
    exact = np.array([*(g.sum() for g in groups), series.rest[0]])
    assert np.all(found <= exact)
    np.testing.assert_allclose(found, exact, rtol=3e-6)


def test_a_series_that_is_refused_ends_the_list():
    assert len(tables._floors(network("sigmoid", "he", 7, 1))) == 3


def test_every_statement_that_the_script_names_is_in_the_tables(page):
    named = set(re.findall(r'"((?:karhadkar|nguyen|banerjee)\d+\.[\w.-]+)"', page.html))
    assert named == set(tables.STATEMENTS)
