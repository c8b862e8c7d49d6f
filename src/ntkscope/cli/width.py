"""``ntkscope width``: the smallest width that reaches a λ_min, or a loss within a number of steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from ntkscope.cli import options
from ntkscope.cli.results import deliver


@dataclass(frozen=True, kw_only=True)
class WidthOptions(options.DataOptions):
    """Data, a network up to its width, and what the width shall reach."""

    depth: Annotated[
        int, typer.Option(help="L, the number of layers, output included.", metavar="L")
    ] = 3
    activation: options.Activation = "relu"
    init: options.Init = "he"
    parameterization: options.ParameterizationOption = "ntk"
    seed: options.Seed = 0
    target_lambda_min: Annotated[
        float | None,
        typer.Option(help="λ_min(K) to reach, in the units of the parameterization.", metavar="λ"),
    ] = None
    steps_to: Annotated[
        float | None,
        typer.Option(
            help="Share of the loss to reach by gradient descent, e.g. 1e-6.", metavar="SHARE"
        ),
    ] = None
    steps: Annotated[
        int, typer.Option(help="With --steps-to: within so many steps.", metavar="N")
    ] = 10_000
    max_width: Annotated[int, typer.Option(help="Try no width beyond this.", metavar="N")] = 4096
    networks: Annotated[
        int, typer.Option(help="Sampled networks that must all meet it.", metavar="N")
    ] = 3
    out: options.Out = None


def run(about: WidthOptions, json: options.Json = False) -> None:
    """The smallest hidden width that meets a goal: predicted, then verified on sampled networks.

    Exit code 1 when no width does.
    """
    from ntkscope.cli.progress import ProgressBar
    from ntkscope.networks.network import Network
    from ntkscope.training.width_advice import advise_width
    from ntkscope.training.width_goal import Goal

    if about.depth < 2:
        raise ValueError(f"--depth counts all layers and must be at least 2, got {about.depth}")
    goal = Goal(about.target_lambda_min, about.steps_to, about.steps)
    dataset = options.load_data(about.data, about.seed, about.center, about.scale)
    widths = [dataset.X.shape[1], *([1] * (about.depth - 1)), 1]
    init = options.parse_init(about.init)
    network = Network(widths, about.activation, init, about.parameterization)
    with ProgressBar() as progress:
        advice = advise_width(
            network, dataset.X, goal, max_width=about.max_width, networks=about.networks,
            seed=about.seed, progress=progress,
        )  # fmt: skip
    record = advice.to_dict()

    def page() -> str:
        from ntkscope.report.width_page import width_page

        subtitle = (
            f"{dataset.source}, N = {len(dataset.X)}; {about.depth} layers, {about.activation}, "
            f"{about.init}, {about.parameterization}; seed {about.seed}"
        )
        return width_page(record, f"How wide for {goal}?", subtitle)

    deliver(
        record, str(advice), about.out, json, page, about, "ntkscope width --config settings.toml"
    )
    if advice.width is None:
        raise typer.Exit(1)


app = options.command(
    run,
    "ntkscope width --data sphere:N=100,d=20 --target-lambda-min 0.1",
    "ntkscope width --data wine --scale --steps-to 1e-6 --steps 10000 --out out/width",
)
