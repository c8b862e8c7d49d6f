"""``ntkscope inspect``: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ntkscope._base.specs import unknown
from ntkscope.cli import options

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


_OWN: dict[str, Any] = {
    "model": Annotated[
        str,
        typer.Option(
            help="Your own model in place of --widths: file.py:build or package.module:name. "
            "This runs that code."
        ),
    ],
    "checkpoint": Annotated[
        str, typer.Option(help="Weights for --model: .pt (state_dict, never code) or .safetensors.")
    ],
    "params": Annotated[
        str,
        typer.Option(
            help="Parameters of --model to differentiate: patterns such as layer4.*,head.*"
        ),
    ],
    "dtype": Annotated[str, typer.Option(help="float64 (default) or float32.")],
    "device": Annotated[str, typer.Option(help="cpu (default), cuda, cuda:1, …")],
    "reduce": Annotated[
        str, typer.Option(help="Several outputs: trace (default) or an output's index.")
    ],
    "width_limit": Annotated[
        bool,
        typer.Option(
            "--width-limit", help="Compare with the infinite-width kernel, over widths too."
        ),
    ],
    "statements": Annotated[
        bool,
        typer.Option("--statements", help="Run the papers' statements that apply to the network."),
    ],
    "out": Annotated[str, typer.Option(help="Folder for report.html, result.json, settings.toml.")],
}


def run(
    config: Annotated[
        Path | None, typer.Option(help="A TOML file with any of these settings.")
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print result.json instead of tables.")
    ] = False,
    **given: Any,
) -> None:
    """Measure a network's NTK on data: λ_min with its error, the layers, the bounds."""
    from ntkscope.cli import settings as settings_module

    settings = settings_module.read(settings_module.InspectSettings, config, given)
    _inspect(settings, json)


app.command()(options.takes(options.NETWORK | _OWN, run))


def _inspect(settings: Any, as_json: bool) -> None:
    from rich.console import Console

    from ntkscope._base.inputs import as_device, as_dtype
    from ntkscope.inspection.inspection import inspect
    from ntkscope.report import files, terminal

    dtype, device = as_dtype(settings.dtype), as_device(settings.device)
    dataset = options.load_data(settings.data, settings.seed, settings.center, settings.scale)
    model = _model(settings, dtype, device)
    with terminal.ProgressBar() as progress:
        report = inspect(
            model,
            dataset.X.to(dtype=dtype),
            reduce=_reduce(settings.reduce),
            width_limit=settings.width_limit,
            params=settings.params.split(",") if settings.params else None,
            settings=settings.model_dump(),
            progress=progress,
        )
        verdicts = _verdicts(settings, model, dataset, progress) if settings.statements else []
    page = None
    if settings.out:
        with options.writing(settings.out):
            page = report.save(settings.out)
    records = [v.to_dict() for v in verdicts]
    if verdicts and settings.out:
        from ntkscope.report import verdicts as pages

        files.write_all(
            Path(settings.out),
            {
                "check.html": pages.page(records, verdicts[0].settings),
                "check.json": files.to_json(records),
            },
        )
    if as_json:
        found = report.to_dict() | ({"statements": records} if verdicts else {})
        typer.echo(files.to_json(found), nl=False)
        return
    Console(highlight=False).print(terminal.tables(report.to_dict()))
    if verdicts:
        from ntkscope.cli.check import outcomes

        Console(highlight=False).print(outcomes(verdicts))
    if page is not None:
        typer.echo(f"\nThe report: {page}")


def _verdicts(settings: Any, model: Any, dataset: Any, progress: Any) -> list[Any]:
    """The statements whose hypotheses on the network hold, run on it."""
    from ntkscope.networks.mlp import MLP
    from ntkscope.statements.instance import Instance
    from ntkscope.statements.statement import check_all
    from ntkscope.statements.statement import statements as all_statements

    if not isinstance(model, MLP) or str(settings.dtype) != "float64":
        raise ValueError("--statements needs a network given by --widths, in float64")
    instance = Instance(model, dataset.X, seed=settings.seed, distribution=dataset.distribution)
    applying = [
        s.id
        for s in all_statements()
        if all(h.holds is not False for h in s.applies_to(model.network))
    ]
    verdicts = []
    for done, id in enumerate(applying):
        progress(id, done / len(applying))
        verdicts += check_all(instance, [id], {"data": dataset.source})
    return verdicts


def _model(settings: Any, dtype: Any, device: Any) -> Any:
    """The network that the settings describe, or the user's model."""
    if settings.model is not None:
        from ntkscope.cli.models import load_model

        if settings.widths is not None:
            raise ValueError("--widths describes a network and --model names one; give one of them")
        return load_model(
            settings.model, settings.checkpoint, dtype=dtype, device=device, seed=settings.seed
        )
    if settings.widths is None:
        raise ValueError("--widths is needed, or --model file.py:build")
    for name in ("checkpoint", "params"):
        if getattr(settings, name) is not None:
            raise ValueError(f"--{name} belongs to --model file.py:build")
    network = options.make_network(
        settings.widths, settings.activation, settings.init, settings.parameterization,
        settings.weights, settings.bias_std, settings.residual,
    )  # fmt: skip
    if not network.finite:
        if settings.dtype != "float64":
            raise ValueError("the kernel of infinite widths is made in float64; leave --dtype out")
        return network  # its limiting kernel is inspected
    return network.sample(settings.seed, dtype, device)


def _reduce(text: str) -> Any:
    if text.isdigit():
        return int(text)
    if text != "trace":
        raise ValueError(unknown("reduce", text, ("trace",)) + ", or an output's index")
    return text
