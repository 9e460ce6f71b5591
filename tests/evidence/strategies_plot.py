"""Strategies in one picture: learning curves of the best beside random, and every difference with its interval."""

import io

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hilum.adapters.overview_plots import STYLE
from hilum.loop.comparison import Comparison, StrategyResult
from hilum.loop.curves import RANDOM
from hilum.loop.findings import headed, metric_title
from hilum.loop.report.colours import LIGHT, MARKERS

NUM_CURVES = 4
ALWAYS = "foreground-random"
_GREY, _BLACK = "#8b93a1", "#16181d"


def strategies_png(comparison: Comparison, title: str) -> bytes:
    """The picture as PNG: curves at the left, differences at the right."""
    with mpl.rc_context({**STYLE, "axes.titleweight": "normal"}):
        height = max(4.4, 0.26 * len(comparison.strategies) + 1.2)
        figure = Figure(figsize=(11.5, height), layout="constrained", facecolor="white")
        curves, differences = figure.subplots(1, 2)
        figure.suptitle(title)
        shown = colours(comparison)
        _curves(curves, comparison, shown)
        _differences(differences, comparison, shown)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
        return buffer.getvalue()


def colours(comparison: Comparison) -> dict[str, str]:
    """A colour for the best strategies and for foreground-aware random, where it was run."""
    names = [result.name for result in comparison.active]
    chosen = dict.fromkeys([*names[:NUM_CURVES], *(name for name in names if name == ALWAYS)])
    return {name: LIGHT[place % len(LIGHT)] for place, name in enumerate(chosen)}


def _curves(axes: Axes, comparison: Comparison, shown: dict[str, str]) -> None:
    by_name = {result.name: result for result in comparison.strategies}
    _curve(axes, by_name[RANDOM], color=_BLACK, linestyle="--", marker=".")
    band = by_name[RANDOM].band
    if all(point.low is not None for point in band.points):
        lows, highs = [point.low for point in band.points], [point.high for point in band.points]
        axes.fill_between(band.at, lows, highs, color=_BLACK, alpha=0.1, linewidth=0)
    for place, (name, colour) in enumerate(shown.items()):
        _curve(axes, by_name[name], color=colour, marker=MARKERS[place % len(MARKERS)])
    axes.set_xlabel("labels")
    axes.set_ylabel(headed(metric_title(comparison.metric)))
    axes.grid(axis="y")
    axes.legend(frameon=False, loc="lower right")


def _curve(axes: Axes, result: StrategyResult, **look: object) -> None:
    axes.plot(result.band.at, result.band.mean, label=result.name, linewidth=1.6, markersize=5, **look)


def _differences(axes: Axes, comparison: Comparison, shown: dict[str, str]) -> None:
    """All strategies, the best on top: the mean difference of the areas and its interval."""
    ranked = list(reversed(comparison.active))
    for place, result in enumerate(ranked):
        assert result.difference is not None
        interval, colour = result.difference.interval, shown.get(result.name, _GREY)
        if interval.low is not None and interval.high is not None:
            axes.plot([interval.low, interval.high], [place, place], color=colour, linewidth=2)
        axes.plot([interval.mean], [place], marker="o", markersize=5, color=colour)
    axes.axvline(0, color=_BLACK, linestyle="--", linewidth=1)
    axes.set_yticks(range(len(ranked)), [result.name for result in ranked])
    axes.set_xlabel("ahead of random, mean over the budget, 95 % interval")
    axes.grid(axis="x")
