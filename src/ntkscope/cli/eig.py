"""``ntkscope eig``: λ_min of a matrix of one's own."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from ntkscope.cli import completion, options, progress, running
from ntkscope.cli.printing import say
from ntkscope.cli.results import write


@dataclass(frozen=True, kw_only=True)
class EigOptions:
    """A matrix, and what to find of its spectrum."""

    file: Annotated[
        str | None,
        typer.Argument(
            help="A square symmetric matrix: K.npy, K.npz:K, K.csv, K.txt or K.pt:K; "
            "or a folder that `ntkscope kernel` wrote.",
            metavar="MATRIX",
        ),
    ] = None  # needed, by the command line or by --config
    k: Annotated[int, typer.Option(help="How many eigenvalues, at both ends.", metavar="N")] = 1
    singular: Annotated[
        bool, typer.Option(help="The smallest singular value of a matrix of any shape.")
    ] = False
    condition: Annotated[bool, typer.Option(help="The condition number as well.")] = False
    certify: Annotated[bool, typer.Option(help="Prove a lower bound.")] = True
    method: Annotated[
        str,
        typer.Option(
            help="auto, dense, in place, disk, tiled or products.",
            metavar="NAME",
            autocompletion=completion.of("auto", "dense", "in place", "disk", "tiled", "products"),
        ),
    ] = "auto"
    density: Annotated[
        bool, typer.Option(help="The distribution of all eigenvalues, in ten bins.")
    ] = False
    workers: running.Workers = None
    cluster: running.Cluster = None
    tls_files: running.TlsFiles = None
    device: running.Device = "cpu"
    folder: Annotated[
        str | None,
        options.option(
            "Where the factor's tiles lie; a killed run goes on there (tiled).",
            panel=running.PLACE,
            metavar="DIR",
        ),
    ] = None
    out: Annotated[
        str | None, options.out("Folder for report.html, result.json, settings.toml.")
    ] = None


def run(
    about: EigOptions,
    plan: Annotated[bool, typer.Option(help="Say what would be done, and stop.")] = False,
    json: options.Json = False,
) -> None:
    """λ_min of a matrix in a file, as an interval with a status; exit code 1 unless it is ok.

    --workers, --cluster and --folder factor it tile by tile.
    """
    from ntkscope._base.devices import as_device
    from ntkscope.data.loaders import load_array
    from ntkscope.kernels.given import as_kernel
    from ntkscope.kernels.stored import load_kernel
    from ntkscope.report.files import to_json
    from ntkscope.spectra.plan import plan as plan_of

    if about.file is None:
        raise ValueError("name a matrix, such as K.npy or K.npz:K")
    place = _place(about)
    _check_options(about, plan or bool(place))
    if place and (about.k > 1 or about.condition):
        raise ValueError("tiles give λ_min alone: leave out --k and --condition, or the workers")
    matrix: Any = load_kernel(about.file) if Path(about.file).is_dir() else load_array(about.file)
    if not place and as_device(about.device).type != "cpu":
        matrix = as_kernel(matrix).to(device=about.device)
    if plan:
        planned = plan_of(matrix, certify=about.certify, method=about.method, **place)
        typer.echo(to_json(asdict(planned)), nl=False) if json else say(str(planned))
        return
    record, ok = _measure(matrix, about, place)
    if about.out is not None:
        from ntkscope.report.eig_page import page

        made = page(record, about.file, list(matrix.shape))
        write(about.out, made, record, about, "ntkscope eig --config settings.toml")
    if json:
        typer.echo(to_json(record), nl=False)
    else:
        _draw(record)
    if about.out is not None:
        typer.echo(f"\nThe page: {Path(about.out) / 'report.html'}", err=json)
    if not ok:
        raise typer.Exit(1)


app = options.command(
    run,
    "ntkscope eig K.npy",
    "ntkscope eig K.npz:K --k 5 --condition --density",
    "ntkscope eig k.zarr --workers 4 --folder tiles",
)


def _place(about: EigOptions) -> dict[str, Any]:
    """The engine and the folder of a factorisation by tiles; nothing for the other ways."""
    where = about.workers, about.cluster, about.tls_files
    if where == (None, None, None) and about.folder is None:
        return {}
    if about.method not in ("auto", "tiled"):
        raise ValueError(
            f"--workers, --cluster and --folder go with --method tiled, got {about.method!r}"
        )
    here = about.workers is None and about.cluster is None
    engine = running.make_engine(
        0 if here else about.workers, about.cluster, about.tls_files, about.device
    )
    return {"engine": engine, "folder": about.folder}


def _check_options(about: EigOptions, others: bool) -> None:
    if about.k < 1:
        raise ValueError(f"--k must be at least 1, got {about.k}")
    more = about.k > 1 or about.condition or about.density or about.method != "auto"
    if about.singular and (more or others):
        raise ValueError(
            "--singular finds the smallest singular value alone; leave out --k, --condition, "
            "--plan, --density, --method and what goes with tiles"
        )


def _measure(matrix: Any, about: EigOptions, place: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """What was asked for, as plain values, and whether λ_min or σ_min can be trusted."""
    from ntkscope.spectra.density import spectral_density
    from ntkscope.spectra.extremes import ConditionNumber, extreme_eigenvalues
    from ntkscope.spectra.singular import smallest_singular_value
    from ntkscope.spectra.smallest import smallest_eigenvalue

    if about.singular:
        found = smallest_singular_value(matrix, certify=about.certify)
        return {"singular": found.to_dict()}, found.status.trustworthy
    record: dict[str, Any] = {}
    with progress.ProgressBar() as bar:

        def report(now: Any) -> None:
            bar(now.stage, now.done)

        how: dict[str, Any] = {
            "certify": about.certify, "method": about.method, "progress": report,
        }  # fmt: skip
        if about.k > 1 or about.condition:
            ends = extreme_eigenvalues(matrix, about.k, **how)
            first = ends.smallest[0]
            record = ends.to_dict()
        else:
            first = smallest_eigenvalue(matrix, **how, **place)
            record = {"smallest": [first.to_dict()]}
        if about.condition:
            ratio = ConditionNumber.of(first, ends.largest[0])
            record["condition_number"] = {
                "value": ratio.value, "lower": ratio.lower, "upper": ratio.upper,
            }  # fmt: skip
        if about.density:
            record["density"] = _bins(spectral_density(matrix))
    return record, first.status.trustworthy


def _bins(density: Any) -> dict[str, Any]:
    import torch

    low, high = float(density.nodes.min()), float(density.nodes.max())
    edges = torch.linspace(low, high, 11, dtype=torch.float64)
    edges[-1] = edges[-1] + (high - low + abs(high)) * 1e-12
    share, stderr = density.histogram(edges)
    return {
        "edges": edges.tolist(), "share": share.tolist(), "stderr": stderr.tolist(),
        "trace": density.trace.value, "effective_rank": density.effective_rank.value,
        "log_determinant": density.log_determinant.value, "exact": density.exact,
    }  # fmt: skip


def _draw(record: dict[str, Any]) -> None:
    from ntkscope.report.numbers import enclosure
    from ntkscope.spectra.eigenvalue import Status

    names = {"smallest": "λ_min", "largest": "λ_max", "singular": "σ_min"}
    for part, name in names.items():
        rows = record.get(part, [])
        for index, row in enumerate([rows] if isinstance(rows, dict) else rows):
            label = name if index == 0 else f"  {index + 1}."
            say(f"{label:6s} {enclosure(*_ends(row))}  ({Status[row['status']].value})")
    first = record["singular"] if "singular" in record else record["smallest"][0]
    if "condition_number" in record:
        ratio = record["condition_number"]
        say(f"κ      {enclosure(*_ends(ratio))}")
    if first["multiplicity"] > 1:
        say(f"       {first['multiplicity']} eigenvalues within rounding of the smallest")
    say(f"       {first['advice']}")
    say(f"       {first['method']}; of {first['covers']}; {first['seconds']:.2g} s")
    if first["note"]:
        say(f"       {first['note']}")
    if "density" in record:
        _draw_density(record["density"])


def _ends(row: dict[str, Any]) -> tuple[float, float, float]:
    return float(row["lower"]), float(row["upper"]), float(row["value"])


def _draw_density(density: dict[str, Any]) -> None:
    typer.echo("")
    widest = max(density["share"]) or 1.0
    for low, share, error in zip(
        density["edges"], density["share"], density["stderr"], strict=False
    ):
        bar = "█" * round(30 * share / widest)
        spread = f" ± {100 * error:.1f}" if error else ""
        say(f"  ≥ {low:10.4g}  {100 * share:5.1f}%{spread}  {bar}".rstrip())
    say(
        f"  trace {density['trace']:.6g}, effective rank {density['effective_rank']:.4g}, "
        f"log det {density['log_determinant']:.6g}"
    )
