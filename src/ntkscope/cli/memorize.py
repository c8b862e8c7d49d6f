"""``ntkscope memorize``: can N labels be fitted at this size, and by which network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ntkscope.cli import options
from ntkscope.cli.train import Out, TargetsOption

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def run(
    data: options.Data,
    widths: options.Widths,
    activation: options.Activation = "relu",
    init: options.Init = "he",
    parameterization: options.ParameterizationOption = "standard",
    bias_std: options.BiasStd = None,
    center: options.Center = False,
    scale: options.Scale = False,
    seed: options.Seed = 0,
    targets: TargetsOption = "auto",
    tol: Annotated[float, typer.Option(help="‖F − Y‖₂ that counts as fitted.")] = 1e-6,
    certificate_only: Annotated[
        bool, typer.Option(help="Answer from λ_min; build no network.")
    ] = False,
    out: Out = None,
    json: Annotated[bool, typer.Option("--json", help="Print result.json, not the text.")] = False,
) -> None:
    """Whether N real labels can be fitted at these widths, and a network that fits these labels.

    The network built has twice the hidden widths. Exit code 1 when the labels were not fitted to tol.
    """
    from ntkscope.report.files import to_json, write_all
    from ntkscope.report.training import memorization_page
    from ntkscope.training.labels import make_targets
    from ntkscope.training.memorization import capacity, memorize

    network = options.make_network(widths, activation, init, parameterization, bias_std=bias_std)
    dataset = options.load_data(data, seed, center, scale)
    question = capacity(network, dataset.X, seed)
    if certificate_only:
        record = question.to_dict()
        typer.echo(to_json(record) if json else str(question), nl=not json)
        if out:
            write_all(Path(out), {"result.json": to_json(record)})
        return
    labels = make_targets(dataset.y, len(dataset.X), targets)
    result = memorize(network, dataset.X, labels.Y, tol, seed)
    record = {"capacity": question.to_dict(), "memorization": result.to_dict()}
    if out:
        subtitle = f"{dataset.source}, N = {len(dataset.X)}; targets: {labels.note}; seed {seed}"
        page = memorization_page(
            record["memorization"], record["capacity"], f"Memorization by {network}", subtitle
        )
        write_all(Path(out), {"index.html": page, "result.json": to_json(record)})
        result.save(Path(out) / "network.pt")
    if json:
        typer.echo(to_json(record), nl=False)
    else:
        typer.echo(f"{question}\n\n{result}")
        if out:
            typer.echo(f"\nThe page: {Path(out) / 'index.html'}; the network: network.pt beside it")
    if not result.reached:
        raise typer.Exit(1)
