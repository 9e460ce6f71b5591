"""A comparison of pretrainings in one picture: every target's score against the labels it was given."""

import io
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from hilum.adapters.overview_plots import STYLE
from hilum.loop.findings import headed, metric_title
from hilum.loop.pretrained_table import MethodRow, TargetTable
from hilum.loop.report.colours import LIGHT, MARKERS

_SCRATCH = ("#16181d", "#8b93a1", "#b9bec8")
_DASHES = ("-", "--", ":")


def curves_png(tables: Sequence[TargetTable]) -> bytes:
    """The picture as PNG, a target beside the other."""
    with mpl.rc_context({**STYLE, "axes.titleweight": "normal"}):
        figure = Figure(figsize=(5.2 * len(tables) + 1.6, 4.2), layout="constrained", facecolor="white")
        places = figure.subplots(1, len(tables), squeeze=False)[0]
        for axes, table in zip(places, tables, strict=True):
            _target(axes, table)
        handles, names = places[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside right center", frameon=False)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
        return buffer.getvalue()


def _target(axes: Any, table: TargetTable) -> None:
    axes.set_title(table.target)
    scratch = [row for row in table.methods if row.is_scratch]
    learnt = [row for row in table.methods if not row.is_scratch]
    best = max(learnt, key=lambda row: row.with_all.mean)
    _band(axes, table, table.reference, color=_SCRATCH[0])
    _band(axes, table, best, color=LIGHT[learnt.index(best) % len(LIGHT)])
    for place, row in enumerate(scratch):
        _curve(axes, table, row, color=_SCRATCH[place % len(_SCRATCH)], linestyle="--", marker=".")
    for place, row in enumerate(learnt):
        look = _DASHES[place // len(LIGHT) % len(_DASHES)]
        _curve(axes, table, row, color=LIGHT[place % len(LIGHT)], linestyle=look, marker=MARKERS[place % len(MARKERS)])
    axes.set_xscale("log")
    axes.set_xticks(table.num_labels, [f"{num:,}" for num in table.num_labels])
    axes.minorticks_off()
    axes.set_xlabel("labels")
    axes.set_ylabel(headed(metric_title(table.metric)))
    axes.grid(axis="y")
    _look_at_those_that_learn(axes, table)


def _look_at_those_that_learn(axes: Any, table: TargetTable) -> None:
    """One start that learns next to nothing must not press all others into one line: it is named below the axis."""
    lowest = min(point.mean for point in table.reference.points)
    highest = max(point.mean for row in table.methods for point in row.points)
    reach = lowest - (highest - lowest)
    means_of = {row.name: [point.mean for point in row.points] for row in table.methods}
    below = {name: max(means) for name, means in means_of.items() if max(means) < reach}
    if not below:
        return
    seen = [mean for name, means in means_of.items() if name not in below for mean in means]
    margin = 0.2 * (max(seen) - min(seen)) + 1e-3
    axes.set_ylim(min(seen) - margin, max(seen) + margin)
    told = ", ".join(f"{name} (at most {value:.2f})" for name, value in below.items())
    axes.set_xlabel(f"labels\nbelow the picture: {told}")


def _curve(axes: Any, table: TargetTable, row: MethodRow, **look: Any) -> None:
    means = [point.mean for point in row.points]
    axes.plot(table.num_labels, means, label=row.name, linewidth=1.6, markersize=5, **look)


def _band(axes: Any, table: TargetTable, row: MethodRow, *, color: str) -> None:
    """The interval of the start everybody is measured against, and of the best pretraining; of all it would be fog."""
    if all(point.low is not None for point in row.points):
        lows, highs = [point.low for point in row.points], [point.high for point in row.points]
        axes.fill_between(table.num_labels, lows, highs, color=color, alpha=0.12, linewidth=0)
