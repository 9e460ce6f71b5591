"""The report's plots: inline SVG whose colours are the page's own variables.

Matplotlib is asked to draw in marker colours that stand for variables (ink, grid, strategy)
and to keep text as text; both are then handed to the page's style sheet.
"""

import io
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator, NullLocator

from hilum.loop.comparison import Comparison
from hilum.loop.curves import Band
from hilum.loop.findings import metric_title
from hilum.loop.report.colours import LIGHT, marker, strategy_class
from hilum.loop.report.content import ClassRow

_INK, _MUTED, _GRID, _PAPER = "#010101", "#020202", "#030303", "#040404"
_SLOTS = {"cr": "#050505", **{f"c{k}": f"#0606{k:02x}" for k in range(len(LIGHT))}}
_VARIABLES = {
    _INK: "var(--ink)",
    _MUTED: "var(--muted)",
    _GRID: "var(--rule)",
    _PAPER: "var(--paper)",
    **{colour: f"var(--{slot})" for slot, colour in _SLOTS.items()},
}
_NO_METADATA = {"Date": None, "Creator": None}
_TIME_UNITS = ((180.0, 1.0, "seconds"), (3 * 3600.0, 60.0, "minutes"), (math.inf, 3600.0, "hours"))
WIDE_INCHES, NARROW_INCHES = 9.4, 3.9
_STYLE = {
    "svg.fonttype": "none",
    "font.size": 10,
    "text.color": _INK,
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "grid.color": _GRID,
    "grid.linewidth": 0.7,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "text.parse_math": False,
}


def learning_curves(comparison: Comparison, *, width_inches: float) -> str:
    """Mean learning curves with their bands, each named at its end; the full-data score as a line."""
    names = [result.name for result in comparison.strategies]
    with _figure(width_inches, 4.4, "curves") as (figure, axes):
        for result in reversed(comparison.strategies):
            _draw_band(axes, result.band, strategy_class(result.name, names))
        heights = _heights(comparison)
        axes.set_ylim(*heights)
        ends = [(r.band.mean[-1], r.name, strategy_class(r.name, names)) for r in comparison.strategies]
        if comparison.full_data is not None:
            score = comparison.full_data.score.mean
            axes.axhline(score, color=_INK, linewidth=1.2, linestyle=(0, (5, 3)))
            ends.append((score, f"all {comparison.full_data.num_labels:,} labels", ""))
        _name_at_end(axes, ends, x=comparison.high_labels, heights=heights)
        if comparison.low_labels < comparison.high_labels:
            axes.set_xlim(comparison.low_labels, comparison.high_labels)
        axes.set_xlabel("labels asked for")
        axes.set_ylabel(f"{metric_title(comparison.metric)}, held-out patients")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        axes.grid(axis="y")
        return _svg(figure, f"curves-{width_inches}")


def time_curves(comparison: Comparison, *, width_inches: float) -> str:
    """The same mean curves over people's time, each as long as its campaigns took, with a dotted line to its name."""
    names = [result.name for result in comparison.strategies]
    longest = max(one.band.at[-1] for one in comparison.timed.values())
    per, unit = next((per, unit) for most, per, unit in _TIME_UNITS if longest < most)
    with _figure(width_inches, 3.8, "times") as (figure, axes):
        heights = _heights(comparison)
        ends = []
        for name in reversed(names):
            drawn, slot = comparison.timed[name].band, strategy_class(name, names)
            _draw_band(axes, drawn, slot, per=per)
            axes.plot(
                [drawn.at[-1] / per, longest / per], [drawn.mean[-1]] * 2, color=_SLOTS[slot], linestyle=":", lw=1
            )
            ends.append((drawn.mean[-1], name, slot))
        axes.set_ylim(*heights)
        axes.set_xlim(0, longest / per)
        _name_at_end(axes, ends, x=longest / per, heights=heights)
        axes.set_xlabel(f"people's time ({unit})")
        axes.set_ylabel(f"{metric_title(comparison.metric)}, held-out patients")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
        axes.grid(axis="y")
        return _svg(figure, f"times-{width_inches}")


def class_balance(classes: Sequence[ClassRow], names: Sequence[str], *, width_inches: float) -> str:
    """Each class's share of the pool (ring) and of what each strategy asked (filled), on a log scale."""
    shown = sorted(classes, key=lambda row: row.share_in_pool)
    floor, most = _share_limits(shown, names)
    with _figure(width_inches, 0.9 + 0.32 * len(shown), "balance") as (figure, axes):
        axes.set_xscale("log")
        for place, row in enumerate(shown):
            axes.axhline(place, color=_GRID, linewidth=0.7, zorder=0)
            _draw_shares(axes, row, names, place, floor)
        axes.set_yticks(range(len(shown)), [_shortened(row.name) for row in shown], color=_INK)
        axes.set_ylim(-0.6, len(shown) - 0.4)
        axes.set_xlim(floor * 0.8, most * 1.25)
        ticks = _share_ticks(floor, most, dense=width_inches > NARROW_INCHES)
        axes.xaxis.set_major_locator(FixedLocator([floor, *ticks]))
        axes.xaxis.set_major_formatter(FixedFormatter(["0", *(f"{100 * share:.3g} %" for share in ticks)]))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("share of candidates")
        return _svg(figure, f"balance-{width_inches}")


def _share_limits(rows: Sequence[ClassRow], names: Sequence[str]) -> tuple[float, float]:
    """Where 'none' is drawn on the log axis (well below the smallest share), and the largest share."""
    shares = [row.share_in_pool for row in rows] + [row.shares_asked[n].mean for row in rows for n in names]
    positive = [share for share in shares if share > 0] or [1.0]
    return 0.4 * min(positive), max(positive)


def _share_ticks(floor: float, most: float, *, dense: bool) -> list[float]:
    """1, 2, 5 of every decade (only 1 and 3 where there is little room), clear of the place for 'none'."""
    digits = (1.0, 2.0, 5.0) if dense else (1.0, 3.0)
    ticks = [digit * 10.0**decade for decade in range(-7, 1) for digit in digits]
    return [tick for tick in ticks if 1.6 * floor < tick <= 1.2 * most and tick <= 1]


def _draw_band(axes: Any, drawn: Band, slot: str, *, per: float = 1.0) -> None:
    colour, labels = _SLOTS[slot], [place / per for place in drawn.at]
    if drawn.points[0].low is not None:
        lows, highs = [p.low for p in drawn.points], [p.high for p in drawn.points]
        axes.fill_between(labels, lows, highs, color=colour, alpha=0.16, linewidth=0)
    axes.plot(labels, drawn.mean, color=colour, linewidth=2.2, marker=marker(slot), markersize=5, clip_on=False)


def _heights(comparison: Comparison) -> tuple[float, float]:
    """The y axis: all means and the full-data score, and as much of the bands as leaves the means readable."""
    means = [m for result in comparison.strategies for m in result.band.mean]
    if comparison.full_data is not None:
        means.append(comparison.full_data.score.mean)
    points = [p for result in comparison.strategies for p in result.band.points]
    lows = [p.mean if p.low is None else p.low for p in points]
    highs = [p.mean if p.high is None else p.high for p in points]
    room = 0.6 * max(max(means) - min(means), 0.02)
    low = max(min(lows), min(means) - room)
    high = min(max(*highs, *means), max(means) + room)
    pad = 0.04 * max(high - low, 0.02)
    return low - pad, high + pad


def _name_at_end(axes: Any, ends: Sequence[tuple[float, str, str]], *, x: float, heights: tuple[float, float]) -> None:
    """Names beside the ends of the lines, moved apart where they would touch."""
    least_gap = (heights[1] - heights[0]) * 0.062
    placed: list[float] = []
    for value, name, slot in sorted(ends):
        y = max(value, placed[-1] + least_gap) if placed else value
        placed.append(y)
        axes.annotate(
            _shortened(name),
            (x, y),
            xytext=(9, 0),
            textcoords="offset points",
            va="center",
            color=_SLOTS.get(slot, _INK),
            fontweight="bold" if slot else "normal",
            annotation_clip=False,
            parse_math=False,
        )


def _draw_shares(axes: Any, row: ClassRow, names: Sequence[str], place: int, floor: float) -> None:
    offsets = _spread(len(names))
    for offset, name in zip(offsets, names, strict=True):
        slot = strategy_class(name, names)
        share = max(row.shares_asked[name].mean, floor)
        axes.plot([row.share_in_pool, share], [place, place + offset], color=_SLOTS[slot], linewidth=1, alpha=0.5)
        axes.plot(
            [share], [place + offset], color=_SLOTS[slot], marker="o" if slot == "cr" else marker(slot), markersize=6
        )
    axes.plot(
        [max(row.share_in_pool, floor)],
        [place],
        marker="o",
        markersize=8,
        markerfacecolor=_PAPER,
        markeredgecolor=_INK,
        markeredgewidth=1.5,
        linestyle="none",
    )


def _spread(num: int) -> list[float]:
    return [0.16 * (k - (num - 1) / 2) for k in range(num)][::-1]


def _shortened(name: str, *, most: int = 26) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


@contextmanager
def _figure(width_inches: float, height_inches: float, salt: str) -> Iterator[tuple[Figure, Any]]:
    with mpl.rc_context({**_STYLE, "svg.hashsalt": f"{salt}-{width_inches}"}):
        figure = Figure(figsize=(width_inches, height_inches))
        yield figure, figure.add_subplot()


def _svg(figure: Figure, salt: str) -> str:
    """The figure as an inline <svg>: no prologue, no metadata, the page's colours and fonts, ids of its own."""
    sink = io.StringIO()
    figure.canvas = FigureCanvasSVG(figure)
    with warnings.catch_warnings():
        # Matplotlib's own font may lack a letter; the reader's, which draws it, need not.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(sink, format="svg", bbox_inches="tight", pad_inches=0.06, metadata=_NO_METADATA)
    text = sink.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'font-family: [^;"]*', "font-family: system-ui, sans-serif", text)
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)  # it would style the whole page
    text = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{re.sub(r'[^a-z0-9]', '', salt)}-", text)
    for sentinel, variable in _VARIABLES.items():
        text = text.replace(sentinel, variable)
    return text
