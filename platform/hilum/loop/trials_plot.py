"""A sweep in one picture: every trial's score as it climbed, and what each setting did to it."""

import io
import math
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from hilum.adapters.overview_plots import STYLE
from hilum.loop.trials import FAILED, FINISHED, TrialNews, told

_BEST, _OTHER, _STOPPED, _INK, _MUTED, _RULE = "#0072b2", "#8b93a1", "#d55e00", "#16181d", "#5b6270", "#dfe2e8"
_MOST_SETTINGS = 3
_STYLE = {**STYLE, "axes.titleweight": "normal"}


def trials_png(news: Sequence[TrialNews], best: TrialNews, metric: str) -> bytes:
    """The picture as PNG."""
    numeric = [path for path in best.trial.settings if _is_numeric(news, path)][:_MOST_SETTINGS]
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(5.4 + 2.9 * len(numeric), 3.6), layout="constrained", facecolor="white")
        axes = figure.subplots(1, 1 + len(numeric), squeeze=False, width_ratios=[2] + [1] * len(numeric))[0]
        _climbs(axes[0], news, best, metric)
        for place, path in zip(axes[1:], numeric, strict=True):
            _setting(place, news, best, path)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
        return buffer.getvalue()


def _climbs(axes: Any, news: Sequence[TrialNews], best: TrialNews, metric: str) -> None:
    failed = sum(one.end == FAILED for one in news)
    axes.set_title(f"{len(news)} trials" + (f", {failed} failed" if failed else ""))
    for one in news:
        points = [(rung["step"], rung["score"]) for rung in one.rungs if rung["score"] is not None]
        if not points:
            continue
        colour, marker = _look(one, best)
        steps, scores = zip(*points, strict=True)
        axes.plot(steps, scores, color=colour, linewidth=2.2 if one is best else 1.1, zorder=3 if one is best else 2)
        axes.plot(steps[-1:], scores[-1:], marker, color=colour, markersize=6, zorder=4)
    axes.set_xlabel("training steps")
    axes.set_ylabel(f"{metric} (validation)")
    axes.grid(axis="y")
    looks = (("best", _BEST, "o"), ("finished", _OTHER, "o"), ("stopped early", _STOPPED, "x"))
    handles = [axes.plot([], [], marker, color=colour, label=name)[0] for name, colour, marker in looks]
    axes.legend(handles=handles, loc="lower right", frameon=False)
    axes.annotate(f"best: {told(best.trial.settings)}", (0, -0.24), xycoords="axes fraction", color=_MUTED, fontsize=8)


def _setting(axes: Any, news: Sequence[TrialNews], best: TrialNews, path: str) -> None:
    axes.set_title(path.removeprefix("finetune."))
    values = [one.trial.settings[path] for one in news]
    if min(values) > 0 and max(values) > 20 * min(values):
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    elif all(isinstance(value, int) for value in values):
        axes.set_xticks(sorted({*values})[:8])
    for one, value in zip(news, values, strict=True):
        if one.score is not None:
            colour, marker = _look(one, best)
            axes.plot([value], [one.score], marker, color=colour, markersize=6)
    axes.grid(axis="y")


def _look(one: TrialNews, best: TrialNews) -> tuple[str, str]:
    if one is best:
        return _BEST, "o"
    return (_OTHER, "o") if one.end == FINISHED else (_STOPPED, "x")


def _is_numeric(news: Sequence[TrialNews], path: str) -> bool:
    values = [one.trial.settings[path] for one in news]
    return all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in values)
