"""``ntkscope eig``: λ_min of a matrix of one's own."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from ntkscope.cli import options, running
from ntkscope.cli.results import write

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def run(
    file: Annotated[
        str,
        typer.Argument(
            help="A square symmetric matrix: K.npy, K.npz:K, K.csv, K.txt or K.pt:K; "
            "or a folder that `ntkscope kernel` wrote."
        ),
    ],
    k: Annotated[int, typer.Option(help="How many eigenvalues, at both ends.")] = 1,
    singular: Annotated[
        bool, typer.Option(help="The smallest singular value of a matrix of any shape.")
    ] = False,
    condition: Annotated[bool, typer.Option(help="The condition number as well.")] = False,
    certify: Annotated[bool, typer.Option(help="Prove a lower bound.")] = True,
    method: Annotated[
        str, typer.Option(help="auto, dense, in place, disk, tiled or products.")
    ] = "auto",
    workers: running.Workers = None,
    cluster: running.Cluster = None,
    tls_files: running.TlsFiles = None,
    folder: Annotated[
        str | None,
        typer.Option(help="Where the factor's tiles lie; a killed run goes on there (tiled)."),
    ] = None,
    plan: Annotated[bool, typer.Option(help="Say what would be done, and stop.")] = False,
    density: Annotated[
        bool, typer.Option(help="The distribution of all eigenvalues, in ten bins.")
    ] = False,
    out: options.Out = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """λ_min of a matrix in a file, as an interval with a status; exit code 1 unless it is ok.

    --workers, --cluster and --folder factor it tile by tile.
    """
    from ntkscope.data.loaders import load_array
    from ntkscope.kernels.stored import load_kernel
    from ntkscope.report.files import to_json
    from ntkscope.spectra.plan import plan as plan_of

    place = _place(workers, cluster, tls_files, folder, method)
    _check_options(
        k, singular, k > 1 or condition or plan or density or method != "auto" or bool(place)
    )
    if place and (k > 1 or condition):
        raise ValueError("tiles give λ_min alone: leave out --k and --condition, or the workers")
    matrix = load_kernel(file) if Path(file).is_dir() else load_array(file)
    if plan:
        typer.echo(plan_of(matrix, certify=certify, method=method, **place))
        return
    record, ok = _measure(matrix, k, singular, condition, certify, method, density, place)
    if out is not None:
        from ntkscope.report.eig_page import page

        given = {
            "file": file, "k": k, "singular": singular, "condition": condition, "certify": certify,
            "method": method, "density": density,
        }  # fmt: skip
        write(out, page(record, file, list(matrix.shape)), record, given, _again(given))
    if json:
        typer.echo(to_json(record), nl=False)
    else:
        _draw(record)
    if out is not None:
        typer.echo(f"\nThe page: {Path(out) / 'report.html'}", err=json)
    if not ok:
        raise typer.Exit(1)


def _again(given: dict[str, Any]) -> str:
    """The command with its options as one would type them."""
    flags = [f"--{name}" for name in ("singular", "condition", "density") if given[name]]
    flags += [] if given["certify"] else ["--no-certify"]
    return shlex.join(
        [
            "ntkscope",
            "eig",
            given["file"],
            "--k",
            str(given["k"]),
            "--method",
            given["method"],
            *flags,
        ]
    )


def _place(
    workers: int | None, cluster: str | None, tls_files: str | None, folder: str | None, method: str
) -> dict[str, Any]:
    """The engine and the folder of a factorisation by tiles; nothing for the other ways."""
    if workers is None and cluster is None and tls_files is None and folder is None:
        return {}
    if method not in ("auto", "tiled"):
        raise ValueError(
            f"--workers, --cluster and --folder go with --method tiled, got {method!r}"
        )
    here = workers is None and cluster is None
    engine = running.make_engine(0 if here else workers, cluster, tls_files)
    return {"engine": engine, "folder": folder}


def _check_options(k: int, singular: bool, others: bool) -> None:
    if k < 1:
        raise ValueError(f"--k must be at least 1, got {k}")
    if singular and others:
        raise ValueError(
            "--singular finds the smallest singular value alone; leave out --k, --condition, "
            "--plan, --density, --method and what goes with tiles"
        )


def _measure(
    matrix: Any,
    k: int,
    singular: bool,
    condition: bool,
    certify: bool,
    method: str,
    density: bool,
    place: dict[str, Any],
) -> tuple[dict[str, Any], bool]:
    """What was asked for, as plain values, and whether λ_min or σ_min can be trusted."""
    from ntkscope.report.terminal import ProgressBar
    from ntkscope.spectra.density import spectral_density
    from ntkscope.spectra.extremes import ConditionNumber, extreme_eigenvalues
    from ntkscope.spectra.singular import smallest_singular_value
    from ntkscope.spectra.smallest import smallest_eigenvalue

    if singular:
        found = smallest_singular_value(matrix, certify=certify)
        return {"singular": found.to_dict()}, found.status.trustworthy
    record: dict[str, Any] = {}
    with ProgressBar() as bar:

        def report(progress: Any) -> None:
            bar(str(progress), progress.done)

        if k > 1 or condition:
            ends = extreme_eigenvalues(matrix, k, certify=certify, method=method, progress=report)
            first = ends.smallest[0]
            record = ends.to_dict()
        else:
            first = smallest_eigenvalue(
                matrix, certify=certify, method=method, progress=report, **place
            )
            record = {"smallest": [first.to_dict()]}
        if condition:
            ratio = ConditionNumber.of(first, ends.largest[0])
            record["condition_number"] = {
                "value": ratio.value, "lower": ratio.lower, "upper": ratio.upper,
            }  # fmt: skip
        if density:
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
    from ntkscope.spectra.eigenvalue import Status

    names = {"smallest": "λ_min", "largest": "λ_max", "singular": "σ_min"}
    for part, name in names.items():
        rows = record.get(part, [])
        for index, row in enumerate([rows] if isinstance(rows, dict) else rows):
            label = name if index == 0 else f"  {index + 1}."
            typer.echo(f"{label:6s} {row['value']:.12g}  in [{row['lower']:.12g}, "
                       f"{row['upper']:.12g}]  ({Status[row['status']].value})")  # fmt: skip
    first = record["singular"] if "singular" in record else record["smallest"][0]
    if "condition_number" in record:
        ratio = record["condition_number"]
        typer.echo(f"κ      {ratio['value']:.6g}  in [{ratio['lower']:.6g}, {ratio['upper']:.6g}]")
    if first["multiplicity"] > 1:
        typer.echo(f"       {first['multiplicity']} eigenvalues within rounding of the smallest")
    typer.echo(f"       {first['advice']}")
    typer.echo(f"       {first['method']}; of {first['covers']}; {first['seconds']:.2g} s")
    if first["note"]:
        typer.echo(f"       {first['note']}")
    if "density" in record:
        _draw_density(record["density"])


def _draw_density(density: dict[str, Any]) -> None:
    typer.echo("")
    widest = max(density["share"]) or 1.0
    for low, share, error in zip(
        density["edges"], density["share"], density["stderr"], strict=False
    ):
        bar = "█" * round(40 * share / widest)
        spread = f" ± {100 * error:.1f}" if error else ""
        typer.echo(f"  ≥ {low:10.4g}  {100 * share:5.1f}%{spread}  {bar}")
    typer.echo(
        f"  trace {density['trace']:.6g}, effective rank {density['effective_rank']:.4g}, "
        f"log det {density['log_determinant']:.6g}"
    )
