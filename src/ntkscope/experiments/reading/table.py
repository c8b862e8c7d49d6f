"""A sweep's results as columns, and as files that other programs read."""

from __future__ import annotations

import csv
import io
import itertools
import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ntkscope._base.extras import needs
from ntkscope._base.files import whole
from ntkscope._base.records import plain
from ntkscope._base.specs import unknown
from ntkscope.experiments.design.expressions import evaluate, names
from ntkscope.experiments.design.trial import Trial
from ntkscope.experiments.running.rows import Row
from ntkscope.report import card
from ntkscope.report.card import Card, Grid
from ntkscope.report.chart import Axis, Chart, Series
from ntkscope.report.palette import PALETTE
from ntkscope.report.result import Shown, Tabular, frame

_TIMING = ("seconds", "worker")
_SHOWN = 20  # rows of a table that shows itself


@dataclass(frozen=True)
class Table(Tabular, Shown):
    """Rows as plain dicts with one set of columns, in the order of the sweep's grid and seeds."""

    columns: tuple[str, ...]
    records: tuple[dict[str, Any], ...]

    def __len__(self) -> int:
        return len(self.records)

    def _rows(self) -> tuple[dict[str, Any], ...]:
        return self.records

    def to_pandas(self) -> Any:
        """The table as a ``pandas.DataFrame``. Raises ImportError without pandas."""
        return frame(self.records, self.columns)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"columns": list(self.columns), "records": plain(self.records)}

    def _card(self) -> Card:
        shown = [[card.shown(plain(r.get(c))) for c in self.columns] for r in self.records[:_SHOWN]]
        more = len(self) - len(shown)
        title = f"{len(self)} rows, {len(self.columns)} columns"
        notes = [f"{more} more rows: to_pandas(), to_csv() or records has them"] if more else []
        grid = Grid("", self.columns, shown, labels=0)
        return Card(title, grids=[grid] if shown else [], notes=notes)

    def __repr__(self) -> str:
        names = ", ".join(self.columns[:8]) + (", …" if len(self.columns) > 8 else "")
        return f"Table({len(self)} rows: {names})"

    def plot(
        self, ax: Any = None, *, x: str | None = None, y: str | Sequence[str] = (),
        by: str | None = None, log: bool = False,
    ) -> Any:  # fmt: skip
        """The mean of ``y`` over ``x`` and one standard deviation, on a matplotlib axes.

        Parameters
        ----------
        ax: the axes, a new one unless given.
        x, y: columns or expressions in them; unless given, the first column of numbers that takes more
            than one value, and ``lambda_min`` or else the last column of numbers. Several y are overlaid.
        by: a curve for each value of this column. log: logarithmic axes.

        Returns
        -------
        The axes.

        Raises
        ------
        ValueError
            For an unknown column, or a table in which nothing varies.
        """
        from ntkscope.report.drawn import draw

        ys = (y,) if isinstance(y, str) else tuple(y)
        return draw(self._chart(x or self._varying(), ys or (self._usual(),), by, log), ax)

    def _chart(self, x: str, ys: Sequence[str], by: str | None, log: bool) -> Chart:
        said = ys[0] if len(ys) == 1 else "mean, one standard deviation"
        chart = Chart(Axis(x, log=log), Axis(said, log=log))
        groups = list(self.having(x, *ys, by).groups(*((by,) if by else ())))
        for y, (values, part) in itertools.product(ys, groups):
            found = part.trials(x, y)
            names = ([y] if len(ys) > 1 else []) + ([f"{by} = {values[0]}"] if by else [])
            means = [statistics.fmean(v) for v in found.values()]
            color = PALETTE[len(chart.series) % len(PALETTE)]
            series = Series(", ".join(names), list(found), means, "both", color)
            series.errors = [statistics.stdev(v) if len(v) > 1 else 0.0 for v in found.values()]
            chart.add(series)
        return chart

    def trials(self, x: str, y: str) -> dict[float, list[float]]:
        """x → the y of its trials; trials that failed are left out."""
        found: dict[float, list[float]] = {}
        for record in self.records:
            if y in record:
                found.setdefault(float(record[x]), []).append(float(record[y]))
        return dict(sorted(found.items()))

    def _varying(self) -> str:
        for name in self._numeric():
            if name != "seed" and len({r[name] for r in self.records if name in r}) > 1:
                return name
        raise ValueError(
            f"no column of numbers varies in a table of {len(self)} rows; name x and y"
        )

    def _usual(self) -> str:
        known = self._numeric()
        return "lambda_min" if "lambda_min" in known else known[-1]

    def _numeric(self) -> list[str]:
        """Columns of numbers; a failed trial has none of its own."""
        found = {c: [r[c] for r in self.records if c in r] for c in self.columns}
        return [c for c, vs in found.items() if vs and all(isinstance(v, (int, float)) for v in vs)]

    def column(self, name: str) -> Any:
        """A NumPy array of one column. Raises ValueError for an unknown one."""
        if name not in self.columns:
            raise ValueError(unknown("column", name, self.columns))
        import numpy as np  # status and export do without

        return np.array([record.get(name, float("nan")) for record in self.records])

    def having(self, *wanted: str | None) -> Table:
        """The table with a column for each expression in the others' names, such as ``lambda_min/d``.

        A row that lacks one of them, as a failed trial's, is left without. Raises ValueError for an
        unknown name and for an expression that has no value.
        """
        new = [w for w in wanted if w and w not in self.columns]
        records = [dict(r) for r in self.records]
        for text in dict.fromkeys(new):
            needed = names(text)
            for name in needed:
                if name not in self.columns:
                    about = "" if name == text else f" (in {text!r})"
                    raise ValueError(unknown("column", name, self.columns) + about)
            for record in records:
                if all(name in record for name in needed):
                    record[text] = evaluate(text, record)
        return Table((*self.columns, *dict.fromkeys(new)), tuple(records))

    def where(self, **values: Any) -> Table:
        """The rows with these values in these columns."""
        kept = [r for r in self.records if all(r.get(k) == v for k, v in values.items())]
        return Table(self.columns, tuple(kept))

    def only(self, condition: Callable[[dict[str, Any]], bool]) -> Table:
        """The rows that a condition keeps."""
        return Table(self.columns, tuple(r for r in self.records if condition(r)))

    def distinct(self, name: str) -> list[Any]:
        """The values of a column, each once, in order of size where they have one."""
        values = set(self.column(name).tolist())
        return sorted(values)

    def groups(self, *names: str) -> Iterator[tuple[tuple[Any, ...], Table]]:
        """The rows of each combination of values of some columns, in the table's order."""
        found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
        for record in self.records:
            found.setdefault(tuple(record.get(n) for n in names), []).append(record)
        for values, records in found.items():
            yield values, Table(self.columns, tuple(records))

    def aggregate(self, *by: str, y: Sequence[str] = ()) -> Table:
        """Mean, standard error and number of the trials of each group.

        Parameters
        ----------
        by: columns or expressions; the sweep's variables, those that stand before ``seed``, unless given.
        y: columns or expressions; every measured number unless given.

        Returns
        -------
        A row a group: its values of ``by``, and for each y the columns ``y.mean``, ``y.error`` and ``y.n``.
        A group without trials of y has no mean, one with a single trial no error.

        Raises
        ------
        ValueError
            For an unknown column, or a y that is no number.
        """
        if not by:
            by = self.columns[: self.columns.index("seed")] if "seed" in self.columns else ()
        ys = tuple(y) or tuple(n for n in self.columns if self._measured(n, by))
        whole, records = self.having(*by, *ys), []
        for values, part in whole.groups(*by):
            row: dict[str, Any] = dict(zip(by, values, strict=True))
            for name in ys:
                row |= _summary(name, [r[name] for r in part.records if name in r])
            records.append(row)
        shown = (f"{name}.{what}" for name in ys for what in ("mean", "error", "n"))
        return Table((*by, *shown), tuple(records))

    def _measured(self, name: str, by: Sequence[str]) -> bool:
        """Whether a column is a result: neither a variable, nor the end of another's interval."""
        if name in ("seed", "error", *_TIMING, *by) or name.endswith((".lower", ".upper")):
            return False
        found = [r[name] for r in self.records if name in r]
        return bool(found) and not any(isinstance(value, str) for value in found)

    def to_csv(self) -> str:
        """The table as text; floats are written so that they read back to the same bits."""
        file = io.StringIO()
        writer = csv.DictWriter(file, self.columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.records)
        return file.getvalue()

    def save(self, path: Path) -> None:
        """Write .csv or .parquet. Raises ValueError for another ending, ImportError without pyarrow."""
        if path.suffix == ".csv":
            with whole(path) as file:
                file.write(self.to_csv().encode())
        elif path.suffix == ".parquet":
            _save_parquet(self, path)
        else:
            raise ValueError(f"tables are written as .csv or .parquet, got {path.name!r}")


def _summary(name: str, values: list[Any]) -> dict[str, Any]:
    for value in values:
        if isinstance(value, str):
            raise ValueError(f"{name!r} holds {value!r}: only numbers have a mean")
    n = len(values)
    row: dict[str, Any] = {f"{name}.n": n}
    if n:
        row[f"{name}.mean"] = math.fsum(values) / n
    if n > 1:
        row[f"{name}.error"] = statistics.stdev(values) / math.sqrt(n)
    return row


def make_table(rows: Iterable[Row], trials: Iterable[Trial], timings: bool = False) -> Table:
    """The rows of these trials, in the trials' order; the failed ones have an ``error``."""
    by_key = {row.key: row for row in rows}
    records: list[dict[str, Any]] = []
    coordinates: dict[str, None] = {}
    results: dict[str, None] = {}
    for trial in trials:
        row = by_key.get(trial.key)
        if row is None:
            continue
        where = dict(trial.coordinates)
        coordinates |= dict.fromkeys(where)
        results |= dict.fromkeys(row.results)
        record = {**where, "seed": row.seed, **row.results}
        if row.error:
            record["error"] = row.error
        if timings:
            record |= {"seconds": row.seconds, "worker": row.worker}
        records.append(record)
    failed = ("error",) if any("error" in r for r in records) else ()
    columns = (*coordinates, "seed", *results, *failed, *(_TIMING if timings else ()))
    return Table(columns, tuple(records))


def read_csv(path: Path) -> Table:
    """A table that :meth:`Table.save` wrote."""
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        records = [{k: _parse(v) for k, v in row.items() if v != ""} for row in reader]
        return Table(tuple(reader.fieldnames or ()), tuple(records))


def _parse(text: str) -> int | float | str:
    for convert in (int, float):
        try:
            return convert(text)
        except ValueError:
            continue
    return text


def _save_parquet(table: Table, path: Path) -> None:
    with needs("data"):
        import pyarrow as pa
        import pyarrow.parquet as pq
    columns = {
        name: pa.array([record.get(name) for record in table.records]) for name in table.columns
    }
    with whole(path) as file:
        pq.write_table(pa.table(columns), file)
