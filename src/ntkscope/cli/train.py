"""``ntkscope train``: observed loss beside what the kernel's spectrum promises."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ntkscope.cli import options

if TYPE_CHECKING:
    from ntkscope.networks.network import Network
    from ntkscope.training.dynamics import Recipe
    from ntkscope.training.labels import Targets

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

TargetsOption = Annotated[
    str,
    typer.Option(
        help="auto (two classes: −1, +1; otherwise the numbers), signs, real, random:seed=0"
    ),
]
Out = Annotated[str | None, typer.Option(help="Folder for the page, result.json and the network.")]


@app.command()
def run(
    data: options.Data,
    widths: options.Widths,
    activation: options.Activation = "relu",
    init: options.Init = "he",
    parameterization: options.ParameterizationOption = "standard",
    center: options.Center = False,
    scale: options.Scale = False,
    seed: options.Seed = 0,
    targets: TargetsOption = "auto",
    steps: Annotated[int, typer.Option(help="Number of steps.")] = 1000,
    optimizer: Annotated[
        str, typer.Option(help="gd, momentum:beta=0.9, adam, sgd:batch=32,beta=0")
    ] = "gd",
    eta: Annotated[
        str,
        typer.Option(
            help="Step size: a number, lambda_max:fraction=0.5 (of the limit 2/λ_max), "
            "theorem:C=1 (C/(γNdn_(L-1))), or auto"
        ),
    ] = "auto",
    probes: Annotated[int, typer.Option(help="How often K_t is measured.")] = 12,
    tol: Annotated[float, typer.Option(help="Stop below this share of the first loss.")] = 0.0,
    wide: Annotated[
        int | None,
        typer.Option(help="Give each hidden layer this width in turn, and train each network."),
    ] = None,
    out: Out = None,
    checkpoint_every: Annotated[
        int, typer.Option(help="Save the state to OUT/checkpoint.pt every so many steps; 0: never.")
    ] = 0,
    resume: Annotated[bool, typer.Option(help="Continue from OUT/checkpoint.pt.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print result.json, not the table.")] = False,
) -> None:
    """Train by gradient descent and compare with the linearised network and the theorem's rate.

    The paired initialization takes γ = d³N² of the theorem unless it states its own.
    """
    from ntkscope.training.dynamics import Recipe, with_theorem_gamma
    from ntkscope.training.labels import make_targets

    network = options.make_network(widths, activation, init, parameterization)
    dataset = options.load_data(data, seed, center, scale)
    labels = make_targets(dataset.y, len(dataset.X), targets)
    recipe = Recipe(steps, optimizer, eta, probes, tol, seed)
    if (checkpoint_every or resume) and not out:
        raise ValueError("--checkpoint-every and --resume need --out, the folder of the checkpoint")
    network = with_theorem_gamma(network, len(dataset.X))
    if wide is not None:
        _positions(network, wide, dataset, labels, recipe, seed, out)
        return
    result, subtitle = _train(
        network, dataset, labels, recipe, seed, _checkpoint(out, checkpoint_every, resume)
    )
    if out:
        page = _save(result, Path(out), f"Training {result.model.network}", subtitle)
    if json:
        from ntkscope.report.files import to_json

        typer.echo(to_json(result.to_dict()), nl=False)
        return
    typer.echo(str(result))
    if out:
        typer.echo(f"\nThe page: {page}")


def _checkpoint(out: str | None, every: int, resume: bool) -> Any:
    from ntkscope.training.dynamics import Checkpoint

    if not out or not (every or resume):
        return None
    if every < 0:
        raise ValueError(f"--checkpoint-every must be at least 0, got {every}")
    return Checkpoint(Path(out) / "checkpoint.pt", every or 1000, resume)


def _train(
    network: Network, dataset: Any, labels: Targets, recipe: Recipe, seed: int, checkpoint: Any
) -> tuple[Any, str]:
    import warnings

    from ntkscope.report.terminal import ProgressBar
    from ntkscope.training.dynamics import Progress, StabilityWarning, train

    model = network.sample(seed)
    with ProgressBar() as bar, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", StabilityWarning)

        def show(p: Progress) -> None:
            text = f"step {p.step} of {p.steps}, loss {p.loss:.4g}, {p.seconds_left:.0f} s left"
            bar(text, p.step / p.steps)

        result = train(model, dataset.X, labels.Y, recipe, checkpoint=checkpoint, progress=show)
    for warning in caught:
        typer.echo(f"warning: {warning.message}", err=True)
    return result, f"{dataset.source}, N = {len(dataset.X)}; targets: {labels.note}; seed {seed}"


def _save(result: Any, folder: Path, title: str, subtitle: str) -> Path:
    from ntkscope.report.files import to_json, write_all
    from ntkscope.report.training import training_page
    from ntkscope.training.checkpoints import save_model

    record = result.to_dict()
    write_all(
        folder,
        {
            "index.html": training_page(record, title, subtitle, result.summary()),
            "result.json": to_json(record),
        },
    )
    if result.status != "diverged":
        save_model(result.model, folder / "network.pt")
    return folder / "index.html"


def _positions(
    network: Network, wide: int, dataset: Any, labels: Targets, recipe: Recipe, seed: int,
    out: str | None,
) -> None:  # fmt: skip
    from ntkscope.report.files import to_json, write_all
    from ntkscope.report.training import positions_page

    results, subtitle = {}, ""
    for position in range(1, network.depth):
        sizes = list(network.widths)
        sizes[position] = wide
        placed = network.with_widths(sizes)
        result, subtitle = _train(placed, dataset, labels, recipe, seed, None)
        results[position] = result.to_dict()
        first, last = result.probes[0].lambda_min, result.probes[-1].lambda_min
        typer.echo(
            f"{placed}: λ_min {first.value:.6g} ± {first.error:.1g} → {last.value:.6g} ± "
            f"{last.error:.1g}, loss {float(result.losses[0]):.4g} → {float(result.losses[-1]):.4g} "
            f"({result.status})"
        )
    if out:
        title = f"A layer of {wide} at each position of {network}"
        pages = {
            "index.html": positions_page(results, title, subtitle),
            "result.json": to_json(results),
        }
        write_all(Path(out), pages)
        typer.echo(f"\nThe page: {Path(out) / 'index.html'}")
