"""The self-contained page. Draws the record it is given; knows no kernel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ntkscope._base.extras import needs
from ntkscope._base.memory import human
from ntkscope._base.version import __version__
from ntkscope.report import numbers, plots

with needs("report"):
    import jinja2
    import plotly.graph_objects as go
    import plotly.offline
    from markupsafe import Markup, escape

_CONFIG = {"responsive": True, "displaylogo": False, "displayModeBar": False}


def math_html(text: str) -> Markup:
    """``λ_min`` and ``(B_{k+1})_i`` with real subscripts; everything else escaped."""
    return Markup(plots.subscripts(str(escape(text))))


def environment() -> jinja2.Environment:
    """Templates of this package, with the number formats that every page uses."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("ntkscope.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        math=math_html, number=numbers.number, human=human, steps=numbers.steps,
        count=numbers.count, own=numbers.own_smallest, bars=numbers.bars,
    )  # fmt: skip
    made.globals.update(
        interval=numbers.interval, enclosed=numbers.enclosed, with_error=numbers.with_error,
        share=numbers.share,
        version=__version__,
    )  # fmt: skip
    return made


def figure_html(figure: go.Figure, label: str) -> str:
    """A plot as a fragment; the script itself is in the page once."""
    fragment = figure.to_html(full_html=False, include_plotlyjs=False, config=_CONFIG)
    return f'<div class="plot" role="img" aria-label="{label}">{fragment}</div>'


def render_page(template: str, title: str, **content: Any) -> str:
    """A page of this package's look: ``template`` extends ``base.html``."""
    return (
        environment()
        .get_template(template)
        .render(title=title, plotly_script=plotly.offline.get_plotlyjs(), **content)
    )


def page(record: Mapping[str, Any]) -> str:
    """The inspection report."""
    smallest = record["smallest_eigenvalue"]
    rungs = numbers.telling(record["ladder"])
    figures = {
        "layers": figure_html(plots.layers(record["layers"]), "layers"),
        "ladder": figure_html(plots.ladder(rungs, smallest["lower"], smallest["upper"]), "bounds"),
        "weakest": figure_html(
            plots.weakest(record["weakest"]["rows"], record["weakest"]["shares"]), "weakest samples"
        ),
    }
    if record["spectrum"] is not None:
        figures["eigenvalues"] = figure_html(plots.eigenvalues(record["spectrum"]), "eigenvalues")
        figures["density"] = figure_html(plots.density(record["spectrum"]), "spectral density")
    return render_page(
        "inspection.html", f"NTK of {record['network']['text']}", r=record, figures=figures,
        rungs=rungs, band=plots.band_shows(rungs, smallest["lower"], smallest["upper"]),
    )  # fmt: skip
