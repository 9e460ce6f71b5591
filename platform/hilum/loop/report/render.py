"""The page: one file, no script, nothing fetched. All text given to it is escaped."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from hilum.core.recipes import Question
from hilum.loop.comparison import RANDOMS_FINAL
from hilum.loop.curves import Interval
from hilum.loop.findings import Findings, Verdict, headed, metric_title, percent, saving_interval, saving_text, signed
from hilum.loop.report import figures, gallery, people, tables
from hilum.loop.report.colours import DARK, LIGHT, strategy_class
from hilum.loop.report.content import AskedRound, Crowd, ReuseRow, Section, StageTime, Tile
from hilum.store.manifest import write_bytes

_BADGES: dict[Verdict, str] = {
    "active": "Asking wisely won",
    "random": "Random won",
    "unclear": "No winner",
    "untold": "Cannot be told",
}
_QUESTIONS: dict[Question, str] = {
    "classify": "What is this? One label per image.",
    "segment": "Where is it? One label per voxel.",
}
STAGES = ("pool", "score", "select", "publish", "collect", "finetune", "evaluate", "promote", "calibrate")


@dataclass(frozen=True)
class _Stat:
    number: str
    label: str
    detail: str


def write_report(url: str, sections: Sequence[Section], *, title: str) -> str:
    """Write the page to ``url`` (a file or an fsspec URL), whole or not at all; returns ``url``."""
    write_bytes(url, render(sections, title=title).encode())
    return url


def render(sections: Sequence[Section], *, title: str) -> str:
    """The whole page as HTML. Several simulations become several sections of one page."""
    share = gallery.MOST_IMAGE_BYTES // max(1, len(sections))
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            title=title,
            version=version("hilum"),
            light=LIGHT,
            dark=DARK,
            sections=[_view(section, f"s{k}", most_bytes=share) for k, section in enumerate(sections)],
        )
    )


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("hilum.loop.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _view(section: Section, name: str, *, most_bytes: int) -> dict[str, Any]:
    comparison, found = section.comparison, section.findings
    return {
        "name": name,
        "section": section,
        "question": _QUESTIONS[section.question],
        "metric": metric_title(comparison.metric),
        "class_metric": metric_title(section.class_metric),
        "headed": headed,
        "badge": _BADGES[found.verdict],
        "findings": found,
        "stats": _stats(section, found),
        "slots": {s: strategy_class(s, section.strategies) for s in section.strategies},
        "levels": tables.level_titles(comparison),
        "rows": tables.rows(comparison),
        "curves": _both_widths(lambda w: figures.learning_curves(comparison, width_inches=w), name),
        "curves_alt": _curves_in_words(section),
        "time_rows": tables.time_rows(comparison),
        "time_curves": _both_widths(lambda w: figures.time_curves(comparison, width_inches=w), name)
        if comparison.timed
        else None,
        "balance": _balance(section, name),
        "classes": _class_rows(section),
        "rounds": _rounds(section, name, most_bytes),
        "legend": gallery.legend(section.class_names) if section.question == "segment" else [],
        "times": _times(section.times),
        "reuse": [_reuse(row) for row in section.reuse],
        "people_headings": people.headings(section.question),
        "people": [_crowd(crowd, section.question) for crowd in section.people],
        "stages": [stage for stage in STAGES if any(stage in t.seconds for t in section.times)],
    }


def _stats(section: Section, found: Findings) -> list[_Stat]:
    """The three numbers at the top, of the strategy the headline speaks of."""
    comparison = section.comparison
    active = [r for r in comparison.active if r.name == found.winner] or list(comparison.active)
    if not active or active[0].difference is None:
        return []
    result, difference = active[0], active[0].difference
    saving, interval = result.savings[RANDOMS_FINAL], difference.interval
    spread = (
        "" if interval.low is None or interval.high is None else f"{signed(interval.low)} to {signed(interval.high)}"
    )
    spread_of_saving = saving_interval(saving) if saving.interval.known else ""
    labels = _Stat(saving_text(saving), "of random's labels, for random's final score", spread_of_saving)
    if result.needed[RANDOMS_FINAL].on_mean is None:
        labels = _Stat("not reached", "random's final score, within the budget", "")
    return [
        labels,
        _Stat(signed(interval.mean), f"{metric_title(comparison.metric)}, averaged over the budget", spread),
        _Stat(
            f"{difference.num_seeds_better} of {len(difference.per_seed)}",
            f"seeds in which “{result.name}” was ahead of random",
            "",
        ),
    ]


def _both_widths(draw: Any, name: str) -> tuple[Markup, Markup]:
    """A drawing for wide and for narrow screens; ids of two sections must not meet."""
    wide, narrow = (draw(w) for w in (figures.WIDE_INCHES, figures.NARROW_INCHES))
    return Markup(_own_ids(wide, name)), Markup(_own_ids(narrow, name))  # noqa: S704 (matplotlib escapes its text)


def _own_ids(svg: str, name: str) -> str:
    for prefix in ('id="', 'href="#', "url(#"):
        svg = svg.replace(prefix, f"{prefix}{name}")
    return svg


def _curves_in_words(section: Section) -> str:
    comparison = section.comparison
    ends = "; ".join(f"{r.name} from {r.band.mean[0]:.3f} to {r.band.mean[-1]:.3f}" for r in comparison.strategies)
    full = comparison.full_data
    line = f" Trained on all {full.num_labels} labels: {full.score.mean:.3f}." if full else ""
    return (
        f"Learning curves of {metric_title(comparison.metric)} over {comparison.low_labels} to "
        f"{comparison.high_labels} labels: {ends}.{line}"
    )


def _balance(section: Section, name: str) -> tuple[Markup, Markup] | None:
    if not section.classes:
        return None
    return _both_widths(lambda w: figures.class_balance(section.classes, section.strategies, width_inches=w), name)


def _class_rows(section: Section) -> list[dict[str, Any]]:
    rows = []
    for row in sorted(section.classes, key=lambda r: -r.share_in_pool):
        finals = [row.final[s].mean for s in section.strategies if s in row.final]
        # Nobody is best where all are equal.
        best = max(finals) if len(set(finals)) > 1 else None
        cells = [
            {
                "share": _share(row.shares_asked[s]),
                "final": tables.interval_cell(row.final[s]) if s in row.final else tables.Cell(tables.ABSENT),
                "best": s in row.final and row.final[s].mean == best,
            }
            for s in section.strategies
        ]
        rows.append({"row": row, "share": _percent(row.share_in_pool), "cells": cells})
    return rows


def _share(interval: Interval) -> str:
    return _percent(interval.mean)


def _percent(share: float) -> str:
    return percent(share) if share >= 0.0995 or share == 0 else f"{100 * share:.1f}\N{NO-BREAK SPACE}%"


def _rounds(section: Section, name: str, most_bytes: int) -> list[dict[str, Any]]:
    """Rounds in order, each with every strategy's tiles; the first two and the last are open."""
    shown = gallery.fitted(section.gallery, most_bytes=most_bytes)
    numbers = sorted({r.number for rounds in shown.values() for r in rounds})
    opened = {*numbers[:2], *numbers[-1:]}
    found = []
    for number in numbers:
        columns = [
            _column(section, strategy, r, f"{name}-{place}-{number}")
            for place, strategy in enumerate(section.strategies)
            for r in shown.get(strategy, ())
            if r.number == number
        ]
        found.append({"number": number, "open": number in opened, "columns": columns})
    return found


def _column(section: Section, strategy: str, asked: AskedRound, name: str) -> dict[str, Any]:
    tiles = [
        {
            "tile": tile,
            "svg": gallery.tile_svg(tile, section.class_names, name=f"{name}-{k}"),
            "says": _says(tile, section.class_names),
            "right": gallery.draft_is_right(tile),
        }
        for k, tile in enumerate(asked.tiles)
    ]
    return {"strategy": strategy, "asked": asked, "tiles": tiles}


def _says(tile: Tile, class_names: tuple[str, ...]) -> dict[str, str]:
    if tile.truth_yx is not None:
        return {"truth": gallery.classes_shown(tile.truth_yx, class_names), "draft": ""}
    draft = "" if tile.draft_class is None else gallery.class_title(tile.draft_class, class_names)
    return {"truth": gallery.class_title(tile.truth_class, class_names), "draft": draft}


def _times(times: Sequence[StageTime]) -> list[dict[str, Any]]:
    longest = max((sum(t.seconds.values()) for t in times), default=0.0) or 1.0
    return [
        {
            "strategy": t.strategy,
            "total": tables.duration_text(sum(t.seconds.values())),
            "parts": [
                {
                    "stage": s,
                    "percent": round(100 * t.seconds[s] / longest, 3),
                    "seconds": tables.duration_text(t.seconds[s]),
                }
                for s in STAGES
                if s in t.seconds
            ],
        }
        for t in times
    ]


def _crowd(crowd: Crowd, question: Question) -> dict[str, Any]:
    """A strategy's people, and how far they agreed."""
    rows = [people.person_row(person, question) for person in crowd.people]
    return {"strategy": crowd.strategy, "rows": rows, "agreement": people.agreement_over_seeds(crowd.agreements)}


def _reuse(row: ReuseRow) -> dict[str, str]:
    """A strategy's row of what it used again."""
    wrong, labels, data = row.num_misclassified, row.label_reuse, row.data_reuse
    return {
        "strategy": row.strategy,
        "starts_from": row.starts_from,
        "taught": row.taught,
        "num_taught": f"{row.num_taught:,.0f}",
        "num_misclassified": tables.ABSENT if wrong is None else f"{wrong:.1f}",
        "label_reuse": tables.ABSENT if labels is None else _percent(labels),
        "data_reuse": tables.ABSENT if data is None else _percent(data),
        "model_reuse": "yes" if row.model_reuse else "no",
        "num_steps": f"{row.num_steps:,.0f}",
    }
