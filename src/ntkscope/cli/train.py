"""``ntkscope train``: observed loss beside what the kernel's spectrum promises."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ntkscope.cli import completion, options
from ntkscope.cli.results import deliver

if TYPE_CHECKING:
    from ntkscope.networks.network import Network
    from ntkscope.training.labels import Targets
    from ntkscope.training.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class TrainOptions(options.Problem):
    """A network, data with labels, and how to train."""

    targets: options.Targets = "auto"
    device: options.Device = "cpu"
    steps: Annotated[int, typer.Option(help="Number of steps.", metavar="N")] = 1000
    optimizer: Annotated[
        str,
        typer.Option(
            help="gd, momentum:beta=0.9, adam, sgd:batch=32,beta=0",
            metavar="NAME",
            autocompletion=completion.of("gd", "momentum", "adam", "sgd"),
        ),
    ] = "gd"
    eta: Annotated[
        str,
        typer.Option(
            help="Step size: a number, lambda_max:fraction=0.5 (of the limit 2/λ_max), "
            "theorem:C=1 (C/(γNdn_(L-1))), or auto",
            metavar="η",
            autocompletion=completion.of("auto", "lambda_max", "theorem"),
        ),
    ] = "auto"
    probes: Annotated[int, typer.Option(help="How often K_t is measured.", metavar="N")] = 12
    tol: Annotated[
        float, typer.Option(help="Stop below this share of the first loss.", metavar="SHARE")
    ] = 0.0
    wide: Annotated[
        int | None,
        typer.Option(
            help="Give each hidden layer this width in turn, and train each network.", metavar="N"
        ),
    ] = None
    out: options.Out = None
    checkpoint_every: Annotated[
        int,
        options.option(
            "Save the state to OUT/checkpoint.pt every so many steps; 0: never.",
            panel=options.OUTPUT,
            metavar="N",
        ),
    ] = 0
    resume: Annotated[
        bool, options.option("Continue from OUT/checkpoint.pt.", panel=options.OUTPUT)
    ] = False


def run(about: TrainOptions, json: options.Json = False) -> None:
    """Train by gradient descent and compare with the linearised network and the theorem's rate.

    The paired initialization takes γ = d³N² of the theorem unless it states its own.
    """
    from ntkscope._base.devices import as_device
    from ntkscope.training.boost import with_theorem_gamma
    from ntkscope.training.labels import make_targets
    from ntkscope.training.recipe import Recipe

    device = as_device(about.device)
    network, dataset = about.network(), about.dataset()
    labels = make_targets(dataset.y, len(dataset.X), about.targets)
    recipe = Recipe(about.steps, about.optimizer, about.eta, about.probes, about.tol, about.seed)
    checkpoint = _checkpoint(about)
    network = with_theorem_gamma(network, len(dataset.X))
    if about.wide is not None:
        _positions(network, about, dataset, labels, recipe, device, json)
        return
    result, subtitle = _train(network, dataset, labels, recipe, device, checkpoint)
    record = result.to_dict()

    def page() -> str:
        from ntkscope.report.training import training_page

        return training_page(record, f"Training {result.model.network}", subtitle, result.summary())

    if about.out and result.status != "diverged":
        from ntkscope.training.checkpoints import save_model

        save_model(result.model, Path(about.out) / "network.pt")
    deliver(record, str(result), about.out, json, page, about, _AGAIN)


_AGAIN = "ntkscope train --config settings.toml"
app = options.command(
    run,
    "ntkscope train --data digits:classes=0,1,N=100 --widths 64,512,1 --out out/train",
    "ntkscope train --data sphere:N=50,d=10 --targets random --widths 10,200,1 --steps 500",
)


def _checkpoint(about: TrainOptions) -> Any:
    from ntkscope.training.recipe import Checkpoint

    if not (about.checkpoint_every or about.resume):
        return None
    if not about.out:
        raise ValueError("--checkpoint-every and --resume need --out, the folder of the checkpoint")
    if about.checkpoint_every < 0:
        raise ValueError(f"--checkpoint-every must be at least 0, got {about.checkpoint_every}")
    path = Path(about.out) / "checkpoint.pt"
    return Checkpoint(path, about.checkpoint_every or 1000, about.resume)


def _train(
    network: Network, dataset: Any, labels: Targets, recipe: Recipe, device: Any, checkpoint: Any
) -> tuple[Any, str]:
    import warnings

    from ntkscope.cli.progress import ProgressBar
    from ntkscope.training.dynamics import Progress, StabilityWarning, train

    model = network.sample(recipe.seed, device=device)
    with ProgressBar() as bar, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", StabilityWarning)

        def show(p: Progress) -> None:
            bar(f"step {p.step} of {p.steps}, loss {p.loss:.4g}", p.step / p.steps)

        result = train(model, dataset.X, labels.Y, recipe, checkpoint=checkpoint, progress=show)
    for warning in caught:
        typer.echo(f"warning: {warning.message}", err=True)
    return (
        result,
        f"{dataset.source}, N = {len(dataset.X)}; targets: {labels.note}; seed {recipe.seed}",
    )


def _positions(
    network: Network, about: TrainOptions, dataset: Any, labels: Targets, recipe: Recipe, device: Any,
    json: bool,
) -> None:  # fmt: skip
    """``--wide``: train with each hidden layer in turn at that width."""
    from ntkscope.report.training import positions_page

    results, lines, subtitle = {}, list[str](), ""
    for position in range(1, network.depth):
        sizes = list(network.widths)
        sizes[position] = about.wide or 0
        placed = network.with_widths(sizes)
        result, subtitle = _train(placed, dataset, labels, recipe, device, None)
        results[position] = result.to_dict()
        first, last = result.probes[0].lambda_min, result.probes[-1].lambda_min
        lines.append(
            f"{placed}: λ_min {first.value:.6g} ± {first.error:.1g} → {last.value:.6g} ± "
            f"{last.error:.1g}, loss {float(result.losses[0]):.4g} → {float(result.losses[-1]):.4g} "
            f"({result.status})"
        )
    title = f"A layer of {about.wide} at each position of {network}"
    deliver(
        results, "\n".join(lines), about.out, json,
        lambda: positions_page(results, title, subtitle), about, _AGAIN,
    )  # fmt: skip
