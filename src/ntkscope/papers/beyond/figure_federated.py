"""Federated averaging: the kernels of the clients, and rounds against the rate that they give."""

from __future__ import annotations

from typing import Any

from ntkscope.experiments.figures.figure import Analysis, Figure, Scale
from ntkscope.experiments.reading.constants import fit_curve
from ntkscope.experiments.reading.drawing import COLOURS, curve
from ntkscope.experiments.reading.table import Table
from ntkscope.papers.beyond.seen import answer

_KERNELS = {
    "local_least": "a client's own samples, the least", "of_clients": "after one round, clients",
    "of_mean": "their mean kernel", "of_shared": "mean weights",
}  # fmt: skip


def _settings(scale: Scale) -> dict[str, Any]:
    full = scale == "full"
    return {
        "name": f"federated-{scale}",
        "measure": "ntkscope.papers.beyond.measured:federated",
        "seeds": 5 if full else 3,
        "grid": {"local": [1, 8, 32] if full else [1, 8], "clients": [1, 2, 4, 8, 16] if full else [1, 2, 4, 8]},
        "arguments": {"N": 64 if full else 32, "n": 256 if full else 128, "tol": 0.01},
    }  # fmt: skip


def _draw(table: Table, axes: list[Any]) -> None:
    left, right = axes
    most = table.where(local=max(table.distinct("local")))
    shares = most.having(*(f"{name}/joint" for name in _KERNELS))
    for index, (name, label) in enumerate(_KERNELS.items()):
        curve(left, shares.trials("clients", f"{name}/joint"), label, index)
    left.set_xscale("log", base=2)
    left.set(xlabel="clients C", ylabel=r"$\lambda_{\min}$ over that of $K_0$ on all samples")
    left.legend(frameon=False, fontsize="x-small")
    for index, ((local,), part) in enumerate(table.groups("local")):
        xs, ys = part.column("by_rate"), part.column("rounds")
        right.plot(xs, ys, "o", markersize=4, color=COLOURS[index], label=f"{local} local steps")
        right.plot(xs, part.column("linearised"), "_", markersize=9, color=COLOURS[index])
    line = sorted(float(x) for x in table.column("by_rate"))
    right.plot(line, line, color="black", linewidth=0.7)
    right.set(xscale="log", yscale="log", ylabel="rounds to 1% of the loss (–: frozen kernel)",
              xlabel=r"$\ln(10)/-\ln(1-\lambda_{\min}(KA)/C)$")  # fmt: skip
    right.legend(frameon=False, fontsize="small")


def _analyse(table: Table) -> Analysis:
    facts, cases, fits = [], {}, []
    for (local,), part in table.groups("local"):
        name = f"{local} local steps"
        ratios = part.column("rounds") / part.column("linearised")
        ends = part.column("end") / part.column("joint")
        cases[name] = bool((part.column("reached") == 1).all() and (abs(ratios - 1) <= 0.25).all())
        facts.append(
            (
                f"{name}: rounds over those of the frozen kernel",
                f"{ratios.min():.2f} to {ratios.max():.2f}",
            )
        )
        facts.append(
            (f"{name}: λ_min at the end over its start", f"{ends.min():.2f} to {ends.max():.2f}")
        )
        fits.append(fit_curve(name, "rounds", "C", 1.0, part.trials("clients", "rounds")))
    drift = table.column("of_mean") / table.column("joint")
    gain = table.column("of_mean") - table.column("of_clients")
    facts.append(
        (
            "after one round: λ_min of the mean kernel over that of K_0",
            f"{drift.min():.2f} to {drift.max():.2f}",
        )
    )
    facts.append((
        "λ_min of the mean kernel less the mean of the clients' λ_min (≥ 0: λ_min is concave)",
        f"{gain.min():.2g} to {gain.max():.2g}",
    ))  # fmt: skip
    what = "every run reaches 1% of the loss, in the rounds that the frozen kernel takes to within a quarter"
    return Analysis(answer(what, cases), (), tuple(facts), {}, tuple(fits))


FIGURE = Figure(
    id="federated",
    title="Federated averaging over the kernels of clients",
    source="Beyond the papers; named as a next step in Bombari et al. 2022, §6",
    claim="Open: the kernel at the start gives the rate of federated averaging, through λ_min(KA)/C with A of the clients' own kernels.",
    setup=(
        "tanh, two hidden layers of width 256, sphere in d = 16, N = 64 samples in C = 1 … 16 equal parts, N(0, 1) labels; a "
        "round is 1, 8 or 32 steps of gradient descent at each client and the mean of the weights; η = ½ over the "
        "largest eigenvalue of the clients' kernels; 5 trials. Quick: N = 32, n = 128, C ≤ 8, 1 or 8 steps, 3 trials."
    ),
    choices=(
        "Seen: every run reaches 1% of its first loss in the rounds that the frozen kernel takes, to within a quarter.",
        "The abscissa is the bound of the slowest mode alone; labels hold little of it, so that points lie below the line.",
    ),
    settings=_settings,
    draw=_draw,
    analyse=_analyse,
    panels=2,
)
