"""``ntkscope inspect``: the main job."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import typer

from ntkscope._base.specs import unknown
from ntkscope.cli import completion, options


@dataclass(frozen=True, kw_only=True)
class InspectOptions(options.Problem):
    """A network by its widths, or a model of one's own; and what to measure."""

    widths: options.MaybeWidths = None  # type: ignore[assignment]  # needed only without a model
    model: options.Model = None
    checkpoint: options.Weighting = None
    params: Annotated[
        str | None,
        typer.Option(
            help="Parameters of --model to differentiate: patterns such as layer4.*,head.*",
            metavar="PATTERN,…",
        ),
    ] = None
    output: Annotated[
        str | None,
        typer.Option(
            help="Part of what --model returns that holds its outputs: logits, or a place.",
            metavar="NAME|PLACE",
        ),
    ] = None
    loss: Annotated[
        str | None,
        typer.Option(
            help="The loss that is trained, on the data's labels: cross_entropy; binary_cross_entropy, of one "
            "logit and labels 0 or 1; mse, of numbers or classes.",
            metavar="NAME",
            autocompletion=completion.of("cross_entropy", "binary_cross_entropy", "mse"),
        ),
    ] = None
    dtype: options.Dtype = "float64"
    device: options.Device = "cpu"
    reduce: Annotated[
        str,
        typer.Option(help="Several outputs: trace or an output's index.", metavar="trace|INDEX"),
    ] = "trace"
    width_limit: Annotated[
        bool,
        typer.Option(
            "--width-limit", help="Compare with the infinite-width kernel, over widths too."
        ),
    ] = False
    statements: Annotated[
        bool,
        typer.Option("--statements", help="Run the papers' statements that apply to the network."),
    ] = False
    out: Annotated[
        str | None, options.out("Folder for report.html, result.json, settings.toml.")
    ] = None


def run(about: InspectOptions, json: options.Json = False) -> None:
    """Measure a network's NTK on data: λ_min with its error, the layers, the bounds."""
    _inspect(about, json)


app = options.command(
    run,
    "ntkscope inspect --data digits --widths 64,2048,512,1",
    "ntkscope inspect --data X.npy --model model.py:build --out out/mine",
)


def _inspect(settings: InspectOptions, as_json: bool) -> None:
    from ntkscope._base.devices import as_device
    from ntkscope._base.inputs import as_dtype
    from ntkscope.cli.printing import draw, width
    from ntkscope.cli.progress import ProgressBar
    from ntkscope.inspection.inspection import inspect
    from ntkscope.report import files, terminal

    dtype, device = as_dtype(settings.dtype), as_device(settings.device)
    model = _model(settings, dtype, device)
    dataset = _data(settings)
    with ProgressBar() as progress:
        report = inspect(
            model,
            _in_precision(dataset, dtype, device),
            reduce=_reduce(settings.reduce),
            width_limit=settings.width_limit,
            params=settings.params.split(",") if settings.params else None,
            output=_place(settings.output),
            loss=settings.loss,
            targets=_labels(settings, dataset),
            settings=asdict(settings),
            progress=progress,
        )
        verdicts = _verdicts(settings, model, dataset, progress) if settings.statements else []
    page = None
    if settings.out:
        with options.writing(settings.out):
            page = report.save(settings.out)
    records = [v.to_dict() for v in verdicts]
    if verdicts and settings.out:
        from ntkscope.cli.check import again, write_page

        problem = {field.name: getattr(settings, field.name) for field in fields(options.Problem)}
        said = again([v.id for v in verdicts])
        write_page(verdicts, Path(settings.out) / "statements", problem, said)
    if as_json:
        found = report.to_dict() | ({"statements": records} if verdicts else {})
        typer.echo(files.to_json(found), nl=False)
        return
    draw(terminal.tables(report.to_dict()))
    if verdicts:
        from ntkscope.cli.check import outcomes

        draw(outcomes(verdicts, width() or 80))
    if page is not None:
        typer.echo(f"\nThe report: {page}")


def _data(settings: Any) -> Any:
    """A data set for a network; for a model of one's own, what its forward pass takes."""
    if settings.model is None:
        return settings.dataset()
    from ntkscope.data.model_inputs import load_inputs

    return load_inputs(
        settings.data, seed=settings.seed, centered=settings.center, scaled=settings.scale
    )


def _in_precision(data: Any, dtype: Any, device: Any) -> Any:
    """The samples in the model's precision, as far as they are real numbers; of a network, on its device."""
    from ntkscope._base.samples import Samples

    if not isinstance(data, Samples):
        return data.X.to(device, dtype)

    def cast(part: Any) -> Any:
        return part.to(dtype) if part.is_floating_point() else part

    inputs = data.inputs
    if isinstance(inputs, dict):
        return Samples({name: cast(part) for name, part in inputs.items()}, data.targets)
    return Samples(cast(inputs), data.targets)


def _labels(settings: Any, data: Any) -> Any:
    if settings.loss is None:
        return None
    labels = data.y if hasattr(data, "y") else data.targets
    if labels is None:
        raise ValueError(
            f"--loss {settings.loss} needs labels, and {settings.data} has none; give a source with "
            "labels such as digits, file.csv:y=column, or an .npz with an array 'labels'"
        )
    return labels


def _place(text: str | None) -> str | int | None:
    return int(text) if text is not None and text.lstrip("-").isdigit() else text


def _verdicts(settings: Any, model: Any, dataset: Any, progress: Any) -> list[Any]:
    """The statements whose hypotheses on the network hold, run on it."""
    from ntkscope.networks.mlp import MLP
    from ntkscope.statements.check import check_all
    from ntkscope.statements.instance import Instance
    from ntkscope.statements.registry import statements as all_statements

    if not isinstance(model, MLP) or str(settings.dtype) != "float64":
        raise ValueError("--statements needs a network given by --widths, in float64")
    instance = Instance(
        model, dataset.X.to(model.device), seed=settings.seed, distribution=dataset.distribution
    )
    applying = [
        s.id
        for s in all_statements()
        if all(h.met is not False for h in s.applies_to(model.network))
    ]
    verdicts: list[Any] = []
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
    for name in ("checkpoint", "params", "output"):
        if getattr(settings, name) is not None:
            raise ValueError(f"--{name} belongs to --model file.py:build")
    network = settings.network()
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
