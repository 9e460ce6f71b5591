"""What was ingested, in six plots: spacings, sizes, grey levels, classes, machines, sides and warnings."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hilum.core.imaging import SIDES, Volume

GROUP_COLOURS = ("#0072b2", "#d55e00", "#00795a", "#b0508a", "#8a6d00", "#56b4e9", "#767d8a")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LEAST_BARS, MOST_BARS = 6, 12
MOST_RANGES = 400
_INK, _MUTED, _RULE = "#16181d", "#5b6270", "#dfe2e8"
STYLE = {
    "font.size": 9,
    "text.color": _INK,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelcolor": _MUTED,
    "axes.edgecolor": _RULE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": _RULE,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "text.parse_math": False,
    "axes.formatter.useoffset": False,
}


def machine_of(volume: Volume) -> str:
    """Modality and maker, as far as the header said: what stands for a site."""
    maker = volume.tags.get("Manufacturer", "")
    return f"{volume.modality} · {maker}" if maker else volume.modality


def draw_overview(figure: Any, volumes: Sequence[Volume], class_counts: Mapping[str, int], counted: str) -> None:
    """Six plots on a figure or subfigure. ``class_counts`` says how often each class was ``counted``."""
    tally = Counter(volume.modality for volume in volumes)
    groups = sorted(tally, key=lambda name: (-tally[name], name))
    places = figure.subplots(2, 3)
    _spacings(places[0, 0], volumes, groups)
    _sizes(places[0, 1], volumes, groups)
    _grey_levels(places[0, 2], volumes, groups)
    _bars(places[1, 0], f"Classes ({counted})", class_counts)
    _bars(places[1, 1], "Volumes by machine", Counter(map(machine_of, volumes)))
    _bars(places[1, 2], "Sides and warnings", _sides_and_flags(volumes), keep_order=True)
    handles, labels = places[0, 0].get_legend_handles_labels()
    if len(groups) > 1:
        figure.legend(handles, labels, loc="upper right", ncols=min(7, len(groups)), frameon=False)


def overview_figure(volumes: Sequence[Volume], class_counts: Mapping[str, int], counted: str) -> Figure:
    """The six plots as a figure of their own."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(12, 6.6), layout="constrained", facecolor="white")
        draw_overview(figure, volumes, class_counts, counted)
        return figure


def _spacings(axes: Any, volumes: Sequence[Volume], groups: Sequence[str]) -> None:
    axes.set_title("Spacing (mm)")
    for volume_group, style in _grouped(volumes, groups):
        spacing = [volume.grid.spacing_mm_zyx for volume in volume_group]
        axes.plot([max(y, x) for _, y, x in spacing], [z for z, _, _ in spacing], linestyle="none", **style)
    axes.set_xlabel("within a slice")
    axes.set_ylabel("between slices")
    _from_zero(axes)


def _sizes(axes: Any, volumes: Sequence[Volume], groups: Sequence[str]) -> None:
    axes.set_title("Size (voxels of one image)")
    for volume_group, style in _grouped(volumes, groups):
        shapes = [volume.item_shape_zyx for volume in volume_group]
        axes.plot([max(y, x) for _, y, x in shapes], [z for z, _, _ in shapes], linestyle="none", **style)
    axes.set_xlabel("longer side of a slice")
    axes.set_ylabel("slices")
    _from_zero(axes)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))


def _grey_levels(axes: Any, volumes: Sequence[Volume], groups: Sequence[str]) -> None:
    """One line a volume, from the level that becomes black to the one that becomes white."""
    place = 0
    step = max(1, -(-len(volumes) // MOST_RANGES))
    for volume_group, style in _grouped(volumes, groups):
        ordered = sorted(volume_group, key=lambda volume: (volume.high, volume.low))[::step]
        at = range(place, place + len(ordered))
        axes.vlines(at, [v.low for v in ordered], [v.high for v in ordered], color=style["color"], linewidth=1.6)
        place += len(ordered)
    axes.set_title("Grey levels shown, black to white")
    axes.set_xlabel("volumes, ordered" if step == 1 else f"one volume in {step}, ordered")
    axes.set_xticks([])
    axes.set_xlim(-1, max(place, 1))
    axes.grid(axis="y")


def _bars(axes: Any, title: str, counts: Mapping[str, int], *, keep_order: bool = False) -> None:
    rows = list(counts.items()) if keep_order else sorted(counts.items(), key=lambda row: (-row[1], row[0]))
    if len(rows) > MOST_BARS:
        rest = rows[MOST_BARS - 1 :]
        rows = [*rows[: MOST_BARS - 1], (f"{len(rest)} others", sum(count for _, count in rest))]
    axes.set_title(title)
    if not rows:
        axes.set_axis_off()
        axes.text(0, 0.9, "none known", transform=axes.transAxes, color=_MUTED)
        return
    drawn = axes.barh(
        [_shortened(name) for name, _ in rows], [count for _, count in rows], color=GROUP_COLOURS[0], height=0.66
    )
    axes.bar_label(drawn, labels=[f"{count:,}" for _, count in rows], padding=3, color=_MUTED)
    # Bars are as thick beside few others as beside many.
    axes.set_ylim(max(len(rows), LEAST_BARS) - 0.4, -0.6)
    axes.set_xlim(0, 1.18 * max(1, *(count for _, count in rows)))
    axes.set_xticks([])
    axes.tick_params(axis="y", length=0, labelcolor=_INK)
    axes.spines["bottom"].set_visible(False)


def _sides_and_flags(volumes: Sequence[Volume]) -> dict[str, int]:
    sides: Counter[str] = Counter(volume.side or "not declared" for volume in volumes)
    flags = Counter(flag for volume in volumes for flag in volume.flags)
    declared = {side: sides[side] for side in (*SIDES, "not declared") if sides[side]}
    return {**declared, **{f"⚠ {flag.replace('_', ' ')}": flags[flag] for flag in sorted(flags)}}


def _grouped(volumes: Sequence[Volume], groups: Sequence[str]) -> list[tuple[list[Volume], dict[str, Any]]]:
    return [
        (
            [volume for volume in volumes if volume.modality == group],
            {
                "label": group,
                "color": GROUP_COLOURS[k % len(GROUP_COLOURS)],
                "marker": MARKERS[k % len(MARKERS)],
                "markersize": 5,
                "alpha": 0.7,
            },
        )
        for k, group in enumerate(groups)
    ]


def _from_zero(axes: Any) -> None:
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.margins(0.1)
    axes.grid()


def _shortened(name: str, *, most: int = 24) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
