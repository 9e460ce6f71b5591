"""The plot of `hilum model prune`: score against latency, one point a depth, each with its interval."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from hilum.adapters.overview_plots import STYLE
from hilum.loop.findings import metric_title
from hilum.loop.report.colours import LIGHT

FORMATS = ("svg", "png")
_INCHES = (6.4, 4.2)
_TAKEN, _OTHERS, _MUTED = LIGHT[1], LIGHT[0], "#5b6270"
_NO_METADATA: Mapping[str, Mapping[str, None]] = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}


def depths_figure(rows: Sequence[Mapping[str, Any]], *, metric: str, tolerance: float, depth: int) -> Figure:
    """``rows`` as `steps.prune` measured them; ``depth`` is the one that was taken."""
    with mpl.rc_context({**STYLE, "svg.hashsalt": "depths"}):
        figure = Figure(figsize=_INCHES, layout="constrained", facecolor="white")
        axes = figure.add_subplot()
        deepest = rows[-1]["score"]
        axes.axhspan(deepest - tolerance, deepest, color=_OTHERS, alpha=0.12, linewidth=0)
        for row in rows:
            _point(axes, row, taken=row["depth"] == depth)
        axes.set_xscale("log")
        axes.margins(x=0.14, y=0.16)
        latencies = [row["latency_ms"] for row in rows]
        axes.xaxis.set_major_locator(FixedLocator(latencies))
        axes.xaxis.set_major_formatter(FixedFormatter([f"{latency:.3g}" for latency in latencies]))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("milliseconds for one patch, one CPU thread")
        axes.set_ylabel(f"{metric_title(metric)}, validation patients")
        axes.set_title(f"Within {tolerance:g} of the deepest: shaded. Taken: depth {depth}.")
        axes.grid(axis="y")
        return figure


def as_bytes(figure: Figure, file_format: str) -> bytes:
    """The figure as a file of its own."""
    sink = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "depths"}):
        figure.savefig(sink, format=file_format, dpi=144, metadata=_NO_METADATA[file_format])
    return sink.getvalue()


def _point(axes: Any, row: Mapping[str, Any], *, taken: bool) -> None:
    colour, at = (_TAKEN if taken else _OTHERS), (row["latency_ms"], row["score"])
    if row["low"] is not None:
        axes.plot([at[0]] * 2, [row["low"], row["high"]], color=colour, linewidth=1.6, solid_capstyle="butt")
    axes.plot(*at, color=colour, marker="o", markersize=8)
    # Above the interval, where no neighbour's name can be: latencies of deep networks lie close together.
    axes.annotate(
        f"depth {row['depth']}",
        (at[0], row["score"] if row["high"] is None else row["high"]),
        xytext=(0, 7),
        textcoords="offset points",
        ha="center",
        color=_TAKEN if taken else _MUTED,
        fontweight="bold" if taken else "normal",
    )
