"""The dashboards drawn, for somebody to look at: `python -m tests.services.dashboard_picture FOLDER [SECONDS]`.

A platform runs for a while and is asked now and then; a real Prometheus scrapes it, and every panel is drawn from what
it answers, roughly as Grafana would: lines over time, bars and numbers of now.
"""

import json
import math
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import matplotlib as mpl

mpl.use("agg")
import matplotlib.pyplot as plt
from tests.services.own_prometheus import DASHBOARDS, filled, prometheus, until
from tests.services.watched_platform import Platform

_ROWS_AN_INCH, _COLUMNS_AN_INCH = 2.6, 1.25
_UNITS = {"s": "s", "percentunit": "%", "reqps": "/s"}


def draw(server, dashboard, file, *, seconds):
    """One dashboard, at the places where Grafana puts its panels."""
    content = json.loads(dashboard.read_text())
    height = max(p["gridPos"]["y"] + p["gridPos"]["h"] for p in content["panels"])
    figure = plt.figure(figsize=(24 / _COLUMNS_AN_INCH, height / _ROWS_AN_INCH), layout="none")
    figure.suptitle(f"{content['title']}\n{textwrap.fill(content['description'], 160)}", fontsize=11, y=0.999)
    for panel in content["panels"]:
        place = panel["gridPos"]
        left, top = place["x"] / 24 + 0.012, 0.95 - 0.95 * place["y"] / height
        if panel["type"] == "row":
            figure.text(left - 0.008, top - 0.008, panel["title"], fontsize=12, weight="bold")
            continue
        wide, tall = place["w"] / 24 - 0.03, 0.95 * place["h"] / height
        axes = figure.add_axes((left + 0.012, top - tall + 0.02, wide, tall - 0.04))
        axes.set_title(panel["title"], fontsize=9, loc="left")
        {"timeseries": _lines, "stat": _number, "bargauge": _bars, "table": _table}[panel["type"]](
            axes, server, panel, seconds
        )
    figure.savefig(file, dpi=80)
    plt.close(figure)


def _lines(axes, server, panel, seconds):
    now, scale = time.time(), _scale(panel)
    for target in panel["targets"]:
        for labels, points in server.query_range(filled(target["expr"]), start=now - seconds, end=now, step=1):
            axes.plot([at - now for at, _ in points], [scale * v for _, v in points], label=_legend(target, labels))
    low, high = (panel["fieldConfig"]["defaults"].get(end) for end in ("min", "max"))
    axes.set_ylim(bottom=low, top=None if high is None else scale * high * 1.02)
    axes.tick_params(labelsize=7)
    axes.set_xlim(-seconds, 0)
    axes.set_ylabel(_UNITS.get(panel["fieldConfig"]["defaults"]["unit"], ""), fontsize=7)
    if axes.lines:
        axes.legend(fontsize=6, loc="upper left")
    else:
        _nothing(axes)


def _number(axes, server, panel, _):
    axes.axis("off")
    found = [(t, *row) for t in panel["targets"] for row in server.query(filled(t["expr"]))]
    for number, (target, labels, value) in enumerate(found):
        shown = f"{_legend(target, labels)}: {_shown(panel, value)}" if len(found) > 1 else _shown(panel, value)
        size = 20 if len(found) == 1 else 8
        axes.text(0.02, 0.9 - number * 0.17, shown, fontsize=size, va="top", color=_colour(panel, value))
    if not found:
        _nothing(axes)


def _bars(axes, server, panel, _):
    found = [(t, *row) for t in panel["targets"] for row in server.query(filled(t["expr"]))][::-1]
    names = [_legend(target, labels) for target, labels, _ in found]
    axes.barh(range(len(found)), [_scale(panel) * value for _, _, value in found], color="lightsteelblue", height=0.7)
    axes.set_ylim(len(found) - max(6, len(found)) - 0.5, len(found) - 0.5)
    axes.set_yticks(range(len(found)), [""] * len(found))
    for number, (name, (_, _, value)) in enumerate(zip(names, found, strict=True)):
        axes.text(
            0.01,
            number,
            f" {name}  {_shown(panel, value)}",
            fontsize=7,
            va="center",
            transform=axes.get_yaxis_transform(),
        )
    axes.tick_params(labelsize=7)
    if not found:
        _nothing(axes)


def _table(axes, server, panel, _):
    axes.axis("off")
    hidden = {"__name__", "instance", "job"}
    rows = [labels for t in panel["targets"] for labels, _ in server.query(filled(t["expr"]))]
    for number, labels in enumerate(rows[:14]):
        cells = "   ".join(f"{name}: {value}" for name, value in sorted(labels.items()) if name not in hidden)
        axes.text(0.0, 0.97 - number * 0.075, cells, fontsize=8, va="top")
    if not rows:
        _nothing(axes)


def _legend(target, labels):
    text = target["legendFormat"]
    for name, value in labels.items():
        text = text.replace("{{" + name + "}}", value)
    return text


def _shown(panel, value):
    defaults = panel["fieldConfig"]["defaults"]
    for mapping in defaults.get("mappings", ()):
        known = mapping["options"].get(f"{value:g}")
        if known:
            return known["text"]
    if not math.isfinite(value):
        return "–"
    decimals = defaults.get("decimals", 2 if abs(value * _scale(panel)) < 10 and value != int(value) else 0)
    return f"{value * _scale(panel):,.{decimals}f}{_UNITS.get(defaults['unit'], '')}"


def _scale(panel):
    return 100 if panel["fieldConfig"]["defaults"]["unit"] == "percentunit" else 1


def _colour(panel, value):
    steps = panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", ())
    reached = [step["color"] for step in steps if step["value"] is None or value >= step["value"]]
    return {"orange": "darkorange"}.get(reached[-1], reached[-1]) if reached else "black"


def _nothing(axes):
    axes.text(0.5, 0.5, "nothing to show", ha="center", va="center", color="grey", transform=axes.transAxes)


def main(folder, seconds):
    """Run a platform for so long, and draw every dashboard into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        platform = Platform(Path(work))
        asking, watching = platform.new_key("viewer", "predict", "read"), platform.new_key("prometheus", "metrics")
        with platform.running(), prometheus(Path(work), {j: (u, watching) for j, u in platform.urls.items()}) as server:
            until(lambda: set(server.targets().values()) == {"up"}, "all targets are up")
            began = time.monotonic()
            platform.run_campaigns()
            platform.run_simulation()
            time.sleep(3)
            first = 1
            while time.monotonic() - began < seconds or not server.query("hilum_inference_drift"):
                platform.ask(asking, num=5)
                platform.annotate(first=first)
                first += 100
                time.sleep(1)
            for dashboard in DASHBOARDS:
                file = folder / f"{dashboard.stem}.png"
                draw(server, dashboard, file, seconds=round(time.monotonic() - began))
                print(file)


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 60.0)
