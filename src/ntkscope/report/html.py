"""The self-contained page. Draws the record it is given; knows no kernel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ntkscope._base.extras import needs
from ntkscope._base.memory import human
from ntkscope._base.version import __version__
from ntkscope.report import numbers, plots, svg
from ntkscope.report.text import subscripts

with needs("report"):
    import jinja2
    from markupsafe import Markup, escape


def math_html(text: str) -> Markup:
    """``λ_min`` and ``(B_{k+1})_i`` with real subscripts; everything else escaped."""
    return Markup(subscripts(str(escape(text))))


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


def render_page(template: str, title: str, **content: Any) -> str:
    """A page of this package's look: ``template`` extends ``base.html``."""
    return (
        environment()
        .get_template(template)
        .render(title=title, charts=True, chart_style=svg.STYLE, **content)
    )


def page(record: Mapping[str, Any]) -> str:
    """The inspection report."""
    smallest = record["smallest_eigenvalue"]
    rungs = numbers.telling(record["ladder"])
    figures = {
        "layers": svg.draw(plots.layers(record["layers"]), "layers"),
        "ladder": svg.draw(plots.ladder(rungs, smallest["lower"], smallest["upper"]), "bounds"),
        "weakest": svg.draw(
            plots.weakest(record["weakest"]["rows"], record["weakest"]["shares"]), "weakest samples"
        ),
    }
    if record["spectrum"] is not None:
        figures["eigenvalues"] = svg.draw(plots.eigenvalues(record["spectrum"]), "eigenvalues")
        figures["density"] = svg.draw(plots.density(record["spectrum"]), "spectral density")
    return render_page(
        "inspection.html", f"NTK of {record['network']['text']}", r=record, figures=figures,
        rungs=rungs, band=plots.band_shows(rungs, smallest["lower"], smallest["upper"]),
    )  # fmt: skip
