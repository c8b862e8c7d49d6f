"""``ntkscope memorize``: can N labels be fitted at this size, and by which network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from ntkscope.cli import options
from ntkscope.cli.results import deliver


@dataclass(frozen=True, kw_only=True)
class MemorizeOptions(options.Problem):
    """A network, and data with labels to fit."""

    targets: options.Targets = "auto"
    tol: Annotated[float, typer.Option(help="‖F − Y‖₂ that counts as fitted.", metavar="X")] = 1e-6
    device: options.Device = "cpu"
    certificate_only: Annotated[bool, typer.Option(help="Answer from λ_min; build no network.")] = (
        False
    )
    out: options.Out = None


def run(about: MemorizeOptions, json: options.Json = False) -> None:
    """Whether N real labels can be fitted at these widths, and a network that fits these labels.

    The network built has twice the hidden widths. Exit code 1 when the labels were not fitted to tol.
    """
    from ntkscope._base.devices import as_device
    from ntkscope.cli.progress import ProgressBar
    from ntkscope.training.labels import make_targets
    from ntkscope.training.memorization import capacity, memorize

    device = as_device(about.device)
    network, dataset = about.network(), about.dataset()
    question = capacity(network, dataset.X.to(device), about.seed)
    if about.certificate_only:
        from ntkscope.report.training import capacity_page

        subtitle = f"{dataset.source}, N = {len(dataset.X)}; seed {about.seed}"
        deliver(
            question.to_dict(), str(question), about.out, json,
            lambda: capacity_page(question.to_dict(), f"Memorization by {network}", subtitle),
            about, _AGAIN,
        )  # fmt: skip
        return
    labels = make_targets(dataset.y, len(dataset.X), about.targets)
    with ProgressBar() as bar:
        bar("λ_min", 0.0)
        base = network.sample(about.seed, device=device)
        result = memorize(base, dataset.X, labels.Y, about.tol, about.seed, progress=bar)
    record = {"capacity": question.to_dict(), "memorization": result.to_dict()}

    def page() -> str:
        from ntkscope.report.training import memorization_page

        subtitle = (
            f"{dataset.source}, N = {len(dataset.X)}; targets: {labels.note}; seed {about.seed}"
        )
        title = f"Memorization by {network}"
        return memorization_page(record["memorization"], record["capacity"], title, subtitle)

    if about.out:
        with options.writing(about.out):
            result.save(Path(about.out) / "network.pt")
    note = "; the network: network.pt beside it"
    deliver(record, f"{question}\n\n{result}", about.out, json, page, about, _AGAIN, note)
    if not result.reached:
        raise typer.Exit(1)


_AGAIN = "ntkscope memorize --config settings.toml"
app = options.command(
    run,
    "ntkscope memorize --data sphere:N=200,d=20 --targets random --widths 20,64,1",
    "ntkscope memorize --data digits --widths 64,128,1 --certificate-only",
)
