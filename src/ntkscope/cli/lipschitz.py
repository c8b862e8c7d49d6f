"""``ntkscope lipschitz``: intervals for the Lipschitz constants of the feature maps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ntkscope.cli import options

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def run(
    widths: options.Widths,
    activation: options.Activation = "relu",
    init: options.Init = "he",
    parameterization: options.ParameterizationOption = "standard",
    weights: options.Weights = "gaussian",
    bias_std: options.BiasStd = None,
    residual: options.Residual = 0.0,
    seed: options.Seed = 0,
    layer: Annotated[int, typer.Option(help="k of g_k; 0: every layer.")] = 0,
    start: Annotated[int, typer.Option(help="Of f_start ↦ g_k instead of x ↦ g_k.")] = 0,
    starts: Annotated[int, typer.Option(help="Starting points of the search below.")] = 64,
    steps: Annotated[int, typer.Option(help="Gradient steps of the search and of the bound.")] = 60,
    out: Annotated[Path | None, typer.Option(help="Write the intervals to this JSON file.")] = None,
) -> None:
    """Enclose the Lipschitz constant of each pre-activation map g_k: exact where its linear pieces
    can be visited, otherwise the largest Jacobian met and the least of three upper bounds."""
    from rich.console import Console
    from rich.table import Table

    from ntkscope.lipschitz import lipschitz_interval

    network = options.make_network(
        widths, activation, init, parameterization, weights, bias_std, residual
    )
    model = network.sample(seed)
    layers = [layer] if layer else range(start + 1, network.depth + 1)
    found = [
        lipschitz_interval(model, k, start=start, starts=starts, steps=steps, seed=seed)
        for k in layers
    ]
    names = sorted({name for f in found for name in f.uppers})
    table = Table("layer", "at least", "at most", "exact", *names, "Theorem 6.2 without constant")
    for f in found:
        bounds = [f"{f.uppers[n]:.6g}" if n in f.uppers else "–" for n in names]
        scaling = "–" if f.scaling is None else f"{f.scaling:.4g}"
        table.add_row(
            str(f.layer), f"{f.lower:.8g}", f"{f.upper:.8g}",
            f"{f.pieces} pieces" if f.exact else "no", *bounds, scaling,
        )  # fmt: skip
    console = Console()
    console.print(str(network), markup=False, highlight=False)
    console.print(table)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        record = {
            "network": network.to_dict(),
            "seed": seed,
            "intervals": [f.to_dict() for f in found],
        }
        out.write_text(json.dumps(record, indent=1) + "\n")
