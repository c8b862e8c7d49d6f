"""``ntkscope width``: the smallest width that reaches a λ_min, or a loss within a number of steps."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ntkscope.cli import options
from ntkscope.cli.train import Out

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def run(
    data: options.Data,
    depth: Annotated[int, typer.Option(help="L, the number of layers, output included.")] = 3,
    activation: options.Activation = "relu",
    init: options.Init = "he",
    parameterization: options.ParameterizationOption = "ntk",
    center: options.Center = False,
    scale: options.Scale = False,
    seed: options.Seed = 0,
    target_lambda_min: Annotated[
        float | None, typer.Option(help="λ_min(K) to reach, in the units of the parameterization.")
    ] = None,
    steps_to: Annotated[
        float | None,
        typer.Option(help="Share of the loss to reach by gradient descent, e.g. 1e-6."),
    ] = None,
    steps: Annotated[int, typer.Option(help="With --steps-to: within so many steps.")] = 10_000,
    max_width: Annotated[int, typer.Option(help="Try no width beyond this.")] = 4096,
    networks: Annotated[int, typer.Option(help="Sampled networks that must all meet it.")] = 3,
    out: Out = None,
    json: Annotated[bool, typer.Option("--json", help="Print result.json, not the text.")] = False,
) -> None:
    """The smallest hidden width that meets a goal: predicted, then verified on sampled networks.

    Exit code 1 when no width does.
    """
    from ntkscope.networks.network import Network
    from ntkscope.report.files import to_json, write_all
    from ntkscope.report.terminal import ProgressBar
    from ntkscope.report.training import width_page
    from ntkscope.training.width import Goal, advise_width

    if depth < 2:
        raise ValueError(f"--depth counts all layers and must be at least 2, got {depth}")
    goal = Goal(target_lambda_min, steps_to, steps)
    dataset = options.load_data(data, seed, center, scale)
    widths = [dataset.X.shape[1], *([1] * (depth - 1)), 1]
    network = Network(widths, activation, options.parse_init(init), parameterization)
    with ProgressBar() as progress:
        advice = advise_width(
            network, dataset.X, goal, max_width=max_width, networks=networks, seed=seed,
            progress=progress,
        )  # fmt: skip
    if out:
        subtitle = (
            f"{dataset.source}, N = {len(dataset.X)}; {depth} layers, {activation}, {init}, "
            f"{parameterization}; seed {seed}"
        )
        page = width_page(advice.to_dict(), f"How wide for {goal}?", subtitle)
        write_all(Path(out), {"index.html": page, "result.json": to_json(advice.to_dict())})
    typer.echo(to_json(advice.to_dict()) if json else str(advice), nl=not json)
    if out and not json:
        typer.echo(f"\nThe page: {Path(out) / 'index.html'}")
    if advice.width is None:
        raise typer.Exit(1)
