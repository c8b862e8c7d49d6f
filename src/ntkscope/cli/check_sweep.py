"""``ntkscope check ID --sweep``: a statement's scaling as N, d and every width grow together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from ntkscope.cli import options, running
from ntkscope.cli.printing import say
from ntkscope.cli.results import write


def check_over_sweep(
    ids: list[str],
    settings: Any,
    seeds: int,
    workers: int | None,
    out: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Run each statement's sweep (or the rest of it), print its verdict, and write the page.

    Raises ValueError for data that are no distribution: a sweep draws them at several sizes.
    """
    from ntkscope._base.specs import parse_spec
    from ntkscope.data.registry import distribution
    from ntkscope.experiments.growing import check_sweep
    from ntkscope.report.files import REPORT, to_json
    from ntkscope.report.sweep_page import swept_page

    spec = parse_spec(settings.data)
    N = spec.options.get("N")
    try:
        law = distribution(settings.data)
    except ValueError:
        law = None
    if law is None or not isinstance(N, int):
        raise ValueError(
            f"--sweep draws data at several sizes: give a distribution with N and d, such as "
            f"gaussian:N=200,d=50, got {settings.data!r}"
        )
    network = options.make_network(
        settings.widths, settings.activation, settings.init, settings.parameterization,
        settings.weights, settings.bias_std, settings.residual,
    )  # fmt: skip
    if law.dim != network.dim:
        raise ValueError(f"the data have d = {law.dim}, the network takes {network.dim} inputs")
    rest = ",".join(f"{k}={v}" for k, v in spec.options.items() if k not in ("N", "d", "seed"))
    source = f"{spec.name}:{rest}" if rest else spec.name
    folder = out or Path("out/check-sweep")
    engine = running.make_engine(workers, None, None)
    found = []
    for id in ids:
        with running.live(quiet) as progress:
            found.append(
                check_sweep(
                    id, network, source, N, folder / id, engine, seeds=seeds, progress=progress
                )
            )
        if not as_json:
            say(str(found[-1]))
    records = [f.to_dict() for f in found]
    again = f"ntkscope check {' '.join(ids)} --sweep --seeds {seeds} --config settings.toml"
    write(folder, swept_page(records, str(network), settings.data), records, settings, again)
    if as_json:
        typer.echo(to_json(records), nl=False)
    else:
        typer.echo(f"The page: {folder / REPORT}")
