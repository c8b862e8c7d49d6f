"""The self-contained page. Draws the record it is given; knows no kernel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ntkscope._base.extras import needs
from ntkscope._base.memory import human
from ntkscope._base.version import __version__
from ntkscope.report import answers, numbers, plots, svg
from ntkscope.report.mathml import formula
from ntkscope.report.text import minus, powers, typeset

with needs("report"):
    import jinja2
    from markupsafe import Markup, escape

Tile = tuple[str, str] | tuple[str, str, str] | tuple[str, str, str, str]
# label, value, "good" or "bad", a line below


def math_html(text: object) -> Markup:
    """``λ_min``, ``(B_{k+1})_i`` and ``1.5e+08`` with real indices; everything else escaped."""
    return text if isinstance(text, Markup) else Markup(typeset(str(escape(text))))


def _raised(say: Callable[..., str]) -> Callable[..., str]:
    """A number format as pages print it: −1.51·10⁸."""
    return lambda *values, **options: minus(powers(say(*values, **options)))


_FILTERS: dict[str, Callable[..., str]] = {
    "number": numbers.number, "steps": numbers.steps, "own": numbers.own_smallest,
    "bars": numbers.bars, "judged": numbers.judged, "any_batch": numbers.any_batch,
}  # fmt: skip
_GLOBALS: dict[str, Callable[..., str]] = {
    "interval": numbers.interval, "enclosed": numbers.enclosed, "with_error": numbers.with_error,
    "share": numbers.share, "limit_of_steps": numbers.limit_of_steps, "of_all_outputs": numbers.of_all_outputs,
}  # fmt: skip


def environment() -> jinja2.Environment:
    """Templates of this package, with the number formats that every page uses."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("ntkscope.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(math=math_html, formula=formula, human=human, count=numbers.count)
    for name, say in _FILTERS.items():
        made.filters[name] = _raised(say)
    for name, say in _GLOBALS.items():
        made.globals[name] = _raised(say)
    made.globals["version"] = __version__
    return made


def render_page(
    template: str,
    title: str,
    answer: str,
    subtitle: str = "",
    *,
    about: str = "",
    tiles: Sequence[Tile] = (),
    warnings: Sequence[str] = (),
    command: str = "",
    **content: Any,
) -> str:
    """A page of this package's look: ``template`` extends ``base.html``."""
    return (
        environment()
        .get_template(template)
        .render(
            title=title, answer=answer, subtitle=subtitle, about=about, warnings=warnings,
            tiles=[(*tile, "", "")[:4] for tile in tiles], command=command,
            chart_style=svg.STYLE, **content,
        )
    )  # fmt: skip


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
        "inspection.html", f"NTK of {record['network']['text']}", answers.inspection(record),
        _subject(record), about=_ABOUT, tiles=_tiles(record), r=record, figures=figures,
        rungs=rungs, band=plots.band_shows(rungs, smallest["lower"], smallest["upper"]),
        rates=_rates(record["training"]), words=answers.CONDITIONING,
    )  # fmt: skip


_ABOUT = (
    "K is the N × N neural tangent kernel: K_ij is the inner product of the gradients of the output at samples "
    "i and j with respect to all parameters. λ_min and λ_max are its smallest and largest eigenvalues."
)


def _subject(record: Mapping[str, Any]) -> str:
    settings, data, network = record["settings"], record["data"], record["network"]
    size = f"N = {record['n_samples']}" + (f", d = {data['dim']}" if data else "")
    return (
        f"{settings.get('data', 'samples')}: {size}, seed {settings.get('seed')}, "
        f"{network['dtype']} on {network['device']}"
    )


def _tiles(record: Mapping[str, Any]) -> list[Tile]:
    found = record["smallest_eigenvalue"]
    good = found["status"] == "OK"
    loss = record["loss"]
    name, step = (
        (loss["loss"], loss["largest_stable_step"])
        if loss
        else ("½‖F − Y‖²", record["training"]["largest_stable_step"])
    )
    return [
        ("λ_min, smallest eigenvalue",
         numbers.interval(found["lower"], found["value"], found["upper"]), "good" if good else "bad",
         "certain to be positive" if good else found["status"].replace("_", " ").lower()),
        ("λ_max, largest eigenvalue", *numbers.shortly(record["largest_eigenvalue"])),
        ("condition number λ_max/λ_min", *numbers.shortly(record["condition_number"])),
        (f"largest stable step of gradient descent (GD) on {name}", numbers.number(step)),
    ]  # fmt: skip


def _rates(training: Mapping[str, Any]) -> list[dict[str, str]]:
    """Largest stable and best step for each loss, in digits that tell them apart.

    Their quotient is 1 + λ_min/λ_max: where the errors do not let them be told apart, that is said.
    """
    rows = []
    for end in ("", "_mse"):
        stable, best = training[f"largest_stable_step{end}"], training[f"best_step{end}"]
        slack = training[f"largest_stable_step{end}_error"] + training[f"best_step{end}_error"]
        shown = numbers.told_apart(stable, best)
        if not stable - best > slack:
            shown = numbers.number(stable), f"{numbers.number(best)}, equal within the errors"
        rows.append({"stable": shown[0], "best": shown[1]})
    return rows
