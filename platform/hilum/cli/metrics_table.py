"""An evaluate run's metrics for people: a row a metric, a column a class, each value with its interval."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table

from hilum.cli.console import table

_MOST_CLASSES = 4
_TOGETHER = "all classes"


def metrics_tables(rows: Sequence[Mapping[str, Any]]) -> Iterator[str | Table]:
    """A title and a table for each side. Of more than four classes only what is of all of them is shown."""
    sides = dict.fromkeys(row["side"] for row in rows)
    for side in sides:
        of_side = [row for row in rows if row["side"] == side]
        patients = max(row.get("num_patients") or 0 for row in of_side)
        yield f"{side}: {of_side[0]['num_items']} items of {patients} patients"
        yield _of_side(of_side)


def _of_side(rows: Sequence[Mapping[str, Any]]) -> Table:
    classes = [name for name in dict.fromkeys(row["class_name"] for row in rows) if name]
    shown = classes if len(classes) <= _MOST_CLASSES else []
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for row in rows:
        # dice_mean, of all classes, belongs beside dice, of each.
        name = row["metric"] if row["class_name"] else row["metric"].removesuffix("_mean")
        cells.setdefault((name, row.get("size_band") or ""), {})[row["class_name"]] = _cell(row)
    lines = [
        [*key, of_class.get("", ""), *(of_class.get(name, "") for name in shown)]
        for key, of_class in cells.items()
        if shown or "" in of_class
    ]
    return table("", ["metric", "size", _TOGETHER, *shown], lines)


def _cell(row: Mapping[str, Any]) -> str:
    if row["value"] is None or not math.isfinite(row["value"]):
        return "-"
    interval = f" [{row['low']:.3g}, {row['high']:.3g}]" if math.isfinite(row["low"]) else ""
    return f"{row['value']:.3g}{interval}"
