"""``ntkscope limit``: the infinite-width kernel of a model of one's own, in a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from ntkscope.cli import options


@dataclass(frozen=True, kw_only=True)
class LimitOptions(options.DataOptions):
    """A model, data, and which of its kernels."""

    model: Annotated[
        str, typer.Option(help="file.py:build or package.module:name. This runs that code.")
    ]
    checkpoint: Annotated[
        str | None, typer.Option(help="Weights: .pt (state_dict, never code) or .safetensors.")
    ] = None
    seed: options.Seed = 0
    get: Annotated[str, typer.Option(help="ntk or nngp.")] = "ntk"
    variances: Annotated[
        str, typer.Option(help="measured (of the weights as they are) or nominal (torch's).")
    ] = "measured"
    parameterization: options.ParameterizationOption = "standard"
    plan: Annotated[bool, typer.Option("--plan", help="Say what would be done, and stop.")] = False
    out: Annotated[
        Path | None, typer.Option(help="K.npy or K.pt; what it is goes to a .json beside it.")
    ] = None


def run(about: LimitOptions, json: options.Json = False) -> None:
    """The infinite-width kernel of a model on data, and its λ_min; written with --out."""
    from ntkscope.cli.models import load_model
    from ntkscope.kernels.limiting.architectures.plan import plan_limit
    from ntkscope.report.files import to_json, write_all

    X = options.load_data(about.data, about.seed, about.center, about.scale).X
    model = load_model(about.model, about.checkpoint, seed=about.seed)
    how: dict[str, Any] = {"variances": about.variances, "parameterization": about.parameterization}
    planned = plan_limit(model, X, **how)
    if about.plan:
        typer.echo(to_json(planned.to_dict()) if json else str(planned), nl=not json)
        return
    record = _measured(about, model, X, how) | {"plan": planned.to_dict()}
    if about.out is not None:
        with options.writing(about.out):
            write_all(about.out.parent, {about.out.with_suffix(".json").name: to_json(record)})
    if json:
        typer.echo(to_json(record), nl=False)
        return
    typer.echo(str(planned))
    found = record["smallest_eigenvalue"]
    typer.echo(f"λ_min {found['value']:.8g} in [{found['lower']:.8g}, {found['upper']:.8g}]")
    if about.out is not None:
        typer.echo(f"The kernel: {about.out}")


app = options.command(run)


def _measured(about: LimitOptions, model: Any, X: Any, how: dict[str, Any]) -> dict[str, Any]:
    """λ_min and the error of the kernel, which is written on the way."""
    from ntkscope.kernels.limiting.limiting_kernel import limiting_kernel
    from ntkscope.kernels.matrix import MatrixKernel
    from ntkscope.spectra.smallest import smallest_eigenvalue

    if about.out is not None and about.out.suffix not in (".npy", ".pt"):
        raise ValueError(f"--out is a .npy or a .pt file, got {about.out}")
    kernel = limiting_kernel(model, X, get=about.get, **how)
    K = kernel.dense()
    error = kernel.entry_error()
    if about.out is not None:
        with options.writing(about.out):
            _write(K, about.out)
    held = MatrixKernel(K, entry_error=error, covers=kernel.covers, semidefinite=True)
    return {
        "model": about.model, "data": about.data, "seed": about.seed, "get": about.get, **how,
        "shape": list(K.shape), "entry_error": error,
        "smallest_eigenvalue": smallest_eigenvalue(held).to_dict(),
    }  # fmt: skip


def _write(K: Any, out: Path) -> None:
    import numpy as np
    import torch

    from ntkscope._base.files import whole

    with whole(out) as file:
        np.save(file, K.numpy()) if out.suffix == ".npy" else torch.save(K, file)
