"""``ntkscope kernel``: a kernel written to a folder, tile by tile."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from ntkscope.cli import options
from ntkscope.cli.printing import say


@dataclass(frozen=True, kw_only=True)
class KernelOptions(options.Problem):
    """A network by its widths (infinite ones too) or a model of one's own, on data."""

    widths: options.MaybeWidths = None  # type: ignore[assignment]  # needed only without a model
    model: options.Model = None
    checkpoint: options.Weighting = None
    dtype: options.Dtype = "float64"
    device: options.Device = "cpu"
    tile: Annotated[int, typer.Option(help="Rows and columns of a tile.", metavar="N")] = 960
    out: Annotated[str, options.out("The folder, such as k.zarr.")]


def run(about: KernelOptions, json: options.Json = False) -> None:
    """Write the kernel to a folder that every command and function reads tile by tile.

    After an interrupt at any moment, the same command resumes.
    """
    from ntkscope.cli.progress import ProgressBar
    from ntkscope.kernels.stored import save_kernel
    from ntkscope.report.files import to_json

    K = _kernel(about)
    with options.writing(about.out), ProgressBar() as bar:
        kept = save_kernel(
            K, about.out, tile=about.tile, progress=lambda done: bar("tiles written", done)
        )
    if json:
        record = {"path": about.out, "shape": kept.shape, "entry_error": kept.entry_error()}
        typer.echo(to_json(record), nl=False)
    else:
        say(f"{kept}\nλ_min: ntkscope eig {Path(about.out)}")


app = options.command(
    run,
    "ntkscope kernel --data sphere:N=20000,d=50 --widths 50,500,1 --out k.zarr",
    "ntkscope eig k.zarr",
)


def _kernel(about: KernelOptions) -> Any:
    from ntkscope._base.devices import as_device
    from ntkscope._base.inputs import as_dtype
    from ntkscope.kernels.empirical import empirical_ntk
    from ntkscope.kernels.limiting.limiting_kernel import limiting_kernel

    dtype, device = as_dtype(about.dtype), as_device(about.device)
    X = about.dataset().X.to(device)
    if (about.model is None) == (about.widths is None):
        raise ValueError("give a network by --widths or a model by --model, one of them")
    if about.model is not None:
        from ntkscope.cli.models import load_model

        model = load_model(
            about.model, about.checkpoint, dtype=dtype, device=device, seed=about.seed
        )
        return empirical_ntk(model, X.to(dtype))
    net = about.network()
    if not net.finite:
        return limiting_kernel(net, X).to(dtype)
    return empirical_ntk(net.sample(about.seed, dtype, device), X.to(dtype))
