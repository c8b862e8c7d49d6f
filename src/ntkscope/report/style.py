"""How pictures look: on a screen, or as a column of a paper."""

from __future__ import annotations

import functools
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ntkscope._base.extras import needs
from ntkscope._base.specs import unknown
from ntkscope.report.latex import tex

_COLUMNS = {
    "paper": 3.25,
    "paper:double": 6.75,
}  # inches, of two columns and of one on a letter page
NAMES = ("screen", *_COLUMNS)
_SHAPE = 0.72  # a panel's height over its width
_PAPER: dict[str, Any] = {
    "font.size": 8, "axes.titlesize": 8, "axes.labelsize": 8, "xtick.labelsize": 7,
    "ytick.labelsize": 7, "legend.fontsize": 7, "axes.linewidth": 0.6, "lines.linewidth": 1.1,
    "lines.markersize": 3, "xtick.major.width": 0.6, "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4, "ytick.minor.width": 0.4, "savefig.dpi": 300,
    "font.family": "serif", "axes.formatter.use_mathtext": True,
}  # fmt: skip
# letters that Computer Modern lacks come from the fonts behind it
_MATHTEXT: dict[str, Any] = {
    "mathtext.fontset": "cm", "font.serif": ["cmr10", "STIXGeneral", "DejaVu Sans"],
}  # fmt: skip
_USETEX: dict[str, Any] = {
    "text.usetex": True, "text.latex.preamble": r"\usepackage{amsmath,amssymb}",
}  # fmt: skip


@dataclass(frozen=True)
class Style:
    """A name of :data:`NAMES`: "screen", "paper" (3.25 in) or "paper:double" (6.75 in).

    Raises ValueError for another name, suggesting the nearest.
    """

    name: str = "screen"

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise ValueError(unknown("style", self.name, NAMES))

    @property
    def paper(self) -> bool:
        """Whether it is one of a paper's."""
        return self.name in _COLUMNS

    def size(self, panels: int, width: float, height: float) -> tuple[int, float, float]:
        """Panels in a row, and the figure's inches; ``width`` by ``height`` is a panel's on a screen.

        A paper's single column has its panels below one another.
        """
        if not self.paper:
            return panels, width * panels, height
        column = _COLUMNS[self.name]
        across = 1 if self.name == "paper" else panels
        each = column / max(across, 1.6 if self.name == "paper:double" else 1)
        return across, column, each * _SHAPE * (panels // across)

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """Fonts and lines, for as long as a figure is drawn and saved."""
        with needs("report"):
            import matplotlib as mpl

        fonts = _USETEX if self.paper and has_latex() else _MATHTEXT
        chosen: Any = {**_PAPER, **fonts} if self.paper else {}
        with mpl.rc_context(chosen):
            yield

    def typeset(self, figure: Any) -> None:
        """Write the labels of a paper's figure as formulas; to be called when all is drawn."""
        if not self.paper:
            return
        with needs("report"):
            from matplotlib.text import Text

        words = None if has_latex() else _as_it_is
        for text in figure.findobj(Text):
            said = text.get_text()
            # two signs enclose a formula already, as in the ticks that matplotlib makes
            if said and (said.count("$") % 2 or "$" not in said):
                text.set_text(tex(said, words=words))
        for axes in figure.axes:
            for axis in (axes.xaxis, axes.yaxis):
                _name_ticks(axis, lambda said: tex(said, words=words))


def _as_it_is(text: str) -> str:
    """Words for matplotlib's own typesetter, which reads a dollar sign alone."""
    return text.replace("$", r"\$")


def _name_ticks(axis: Any, typeset: Callable[[str], str]) -> None:
    """Ticks with names of their own, which are set anew at each drawing."""
    with needs("report"):
        from matplotlib.ticker import FixedLocator

    locator, said = axis.get_major_locator(), axis.get_major_formatter()
    if isinstance(locator, FixedLocator):
        places = list(locator())
        axis.set_ticks(places, [typeset(said(at, k)) for k, at in enumerate(places)])


@functools.cache
def has_latex() -> bool:
    """Whether matplotlib can use LaTeX here: latex, dvipng, and scalable fonts (cm-super)."""
    if not all(shutil.which(program) for program in ("latex", "dvipng", "kpsewhich")):
        return False
    wanted = ["type1ec.sty", "type1cm.sty", "amssymb.sty", "underscore.sty"]
    found = subprocess.run(["kpsewhich", *wanted], capture_output=True, text=True, check=False)
    return len(found.stdout.split()) == len(wanted)
