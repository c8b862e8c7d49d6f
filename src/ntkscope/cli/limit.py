"""``ntkscope limit``: the infinite-width kernel of a model of one's own, in a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from ntkscope.cli import completion, options
from ntkscope.cli.printing import draw, say


@dataclass(frozen=True, kw_only=True)
class LimitOptions(options.DataOptions):
    """A model, data, and which of its kernels."""

    model: Annotated[
        str,
        typer.Option(
            help="file.py:build or package.module:name. This runs that code.",
            metavar="FILE.py:NAME",
        ),
    ]
    checkpoint: options.Weighting = None
    seed: options.Seed = 0
    get: Annotated[
        str,
        typer.Option(
            help="ntk or nngp.", metavar="KERNEL", autocompletion=completion.of("ntk", "nngp")
        ),
    ] = "ntk"
    variances: Annotated[
        str,
        typer.Option(
            help="measured (of the weights as they are) or nominal (torch's).",
            metavar="KIND",
            autocompletion=completion.of("measured", "nominal"),
        ),
    ] = "measured"
    parameterization: options.ParameterizationOption = "standard"
    device: Annotated[
        str,
        typer.Option(
            "--device", help="Where λ_min is computed: cpu, cuda, cuda:1.", metavar="DEVICE"
        ),
    ] = "cpu"
    plan: Annotated[bool, typer.Option("--plan", help="Say what would be done, and stop.")] = False
    out: Annotated[
        Path | None, options.out("K.npy or K.pt; what it is goes to a .json beside it.", "FILE")
    ] = None


def run(about: LimitOptions, json: options.Json = False) -> None:
    """The infinite-width kernel of a model on data, and its λ_min; written with --out."""
    from ntkscope._base.devices import as_device
    from ntkscope.cli.models import load_model
    from ntkscope.kernels.limiting.architectures.plan import plan_limit
    from ntkscope.report.files import to_json, write_all
    from ntkscope.report.numbers import enclosure

    as_device(about.device)
    X = options.load_data(about.data, about.seed, about.center, about.scale).X
    model = load_model(about.model, about.checkpoint, seed=about.seed)
    how: dict[str, Any] = {"variances": about.variances, "parameterization": about.parameterization}
    planned = plan_limit(model, X, **how)
    if about.plan:
        typer.echo(to_json(planned.to_dict()), nl=False) if json else _draw(planned)
        return
    record = _measured(about, model, X, how) | {"plan": planned.to_dict()}
    if about.out is not None:
        with options.writing(about.out):
            write_all(about.out.parent, {about.out.with_suffix(".json").name: to_json(record)})
    if json:
        typer.echo(to_json(record), nl=False)
        return
    _draw(planned)
    found = record["smallest_eigenvalue"]
    say(f"λ_min {enclosure(found['lower'], found['upper'], found['value'])}")
    if about.out is not None:
        say(f"The kernel: {about.out}")


app = options.command(
    run,
    "ntkscope limit --data X.npy --model model.py:build --plan",
    "ntkscope limit --data X.npy --model model.py:build --out K.npy",
    folder=False,
)


def _draw(planned: Any) -> None:
    """The graph as a table, and what forming the kernel takes."""
    from ntkscope.report.terminal import limit_steps

    draw(limit_steps(planned.to_dict()["steps"]))
    say(str(planned).splitlines()[-1])


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
    held = MatrixKernel(
        K.to(about.device), entry_error=error, covers=kernel.covers, semidefinite=True
    )
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
