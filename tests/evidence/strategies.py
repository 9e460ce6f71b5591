"""Ways of asking against random on real sets: ``make evidence WHAT=strategies``.

Fetches the sets (HILUM_DATA_MIRROR or the internet), runs the shipped simulations with ``hilum simulate`` in
``FOLDER`` and writes the page from what they found. What was stopped goes on, and a second run only writes the page
again. Two CPU cores take about two hours.
"""

import argparse
import datetime
import json
from dataclasses import dataclass
from pathlib import Path

from tests.evidence.commands import PAGES, ROOT, hardware, type_hilum
from tests.evidence.strategies_plot import strategies_png

from hilum.core.recipes import SimulateRecipe
from hilum.core.registry import samplers
from hilum.loop import recipe_files
from hilum.loop.comparison import RANDOMS_FINAL, Comparison, StrategyResult
from hilum.loop.curves import RANDOM, Interval, area, common_grid, on_grid, t_interval
from hilum.loop.findings import findings, metric_title, saving_text, signed, signed_interval
from hilum.loop.simulate import Simulation, simulation_of
from hilum.select import builtin  # noqa: F401 (registers our samplers)
from hilum.store.manifest import read_manifest
from hilum.store.opening import open_store

SETS = {
    "strategies-mednist": ("mednist", "rare"),
    "strategies-structures": ("packaged", "segment"),
    "strategies-structures-again": ("packaged", "segment"),
    "strategies-hippocampus": ("msd_hippocampus", "segment"),
    "strategies-hippocampus-again": ("msd_hippocampus", "segment"),
}
"""The set that each simulation is about, and how it is prepared."""
FOREGROUND = "foreground-random"
COMMAND = "make evidence WHAT=strategies"
CHOSEN_WITH = {"strategies-mednist": 5}
"""How many of the first seeds a set's shipped recipe was chosen with: they flatter its rows."""

KNOWN = {
    "strategies-structures": "When nine of these ways had been run (those up to `typiclust` in the recipe), "
    "`power-entropy`, with a tenth at random, became the shipped way of asking for outlines, instead of "
    "`class-stratified`. So its row cannot tell whether that was right; the next table can. The other ten were run "
    "later, with the same seeds.",
    "strategies-structures-again": "`as-shipped` is `power_top_k` by entropy, with a tenth at random.",
    "strategies-hippocampus": "In these close crops two thirds of what random draws hold foreground anyway, and then "
    "`foreground-random` asks about the same candidates. `clasp-pe` is the `class-stratified` of the tables above; it "
    "was shipped when this was run.",
}
"""What must be known to read a table."""


@dataclass(frozen=True)
class Found:
    """One simulation: its recipe's name, the recipe and what came out."""

    name: str
    recipe: SimulateRecipe
    simulation: Simulation


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("folder", type=Path, nargs="?", default=ROOT / "evidence", help="where sets and stores are")
    options.add_argument("--on", default="local", help="how fast, as for `hilum simulate`")
    options.add_argument("--only", choices=SETS, action="append", help="this simulation alone; may be repeated")
    given = options.parse_args()
    PAGES.mkdir(exist_ok=True)
    found = [simulated(name, given.folder, on=given.on) for name in given.only or SETS]
    for one in found:
        picture = strategies_png(one.simulation.comparison, one.recipe.title)
        (PAGES / f"{one.name}.png").write_bytes(picture)
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    file = PAGES / "strategies.md"
    file.write_text(page(found, hardware=hardware(), date=today), encoding="utf-8")
    print(f"Written to {file}")


def simulated(name: str, folder: Path, *, on: str) -> Found:
    """Fetch, ingest and simulate one set, or read what was found before."""
    set_name, preparation = SETS[name]
    prepared, url = folder / "sets" / set_name, folder / name
    if not prepared.exists():
        prepared.parent.mkdir(parents=True, exist_ok=True)
        type_hilum("data", "fetch", set_name, str(prepared), "--as", preparation)
    if not url.exists():
        type_hilum("init", str(url))
    ingest = type_hilum("ingest", str(prepared), "--store", str(url))
    words = ("--store", str(url), "--ingest", ingest["run_id"], "--name", "strategies", "--on", on)
    done = type_hilum("simulate", name, *words)
    manifest = read_manifest(open_store(str(url)).run("simulate", done["run_id"]))
    return Found(name, recipe_files.simulate_recipe(name), simulation_of(manifest))


def page(found: list[Found], *, hardware: str, date: str) -> str:
    """The whole page; every figure in it comes from the runs."""
    return (
        "\n\n".join(
            [
                "# Ways of asking against random",
                f"`{COMMAND}`, {date}, on {hardware}. Whole campaigns, answered by an oracle; seed by seed every "
                "strategy begins with the same labels, drawn at random, except those that have a first round of "
                f"their own ({', '.join(own_beginnings(found))}). *area* is the mean score over the budget, *ahead by* "
                "the difference to random, paired by seed, with its 95 % interval; *p* is corrected for the number of "
                "strategies (Holm). *labels* is the share of random's labels that it took to be as good as random "
                "was at the end.",
                *(section(one) for one in found),
                *not_run(found),
                *no_row(found),
            ]
        )
        + "\n"
    )


def own_beginnings(found: list[Found]) -> list[str]:
    """The strategies with a first round of their own."""
    asked = [(name, changes) for one in found for name, changes in one.recipe.strategies.items()]
    return sorted({name for name, changes in asked if "cold_start" in changes.get("select", {})})


def not_asked(found: list[Found]) -> list[str]:
    """Registered samplers that no recipe of the page names."""
    named = json.dumps([one.recipe.model_dump(mode="json", by_alias=True) for one in found])
    return sorted(kind for kind in samplers if f'"kind": "{kind}"' not in named)


def no_row(found: list[Found]) -> list[str]:
    """The samplers that the page lacks."""
    kinds = not_asked(found)
    return [f"Samplers of no row here: `{'`, `'.join(kinds)}`."] if kinds else []


def not_run(found: list[Found]) -> list[str]:
    """The simulations that the page lacks."""
    missing = sorted(set(SETS) - {one.name for one in found})
    return [f"Not run to the end yet: `{'`, `'.join(missing)}`."] if missing else []


def section(found: Found) -> str:
    """One set: who won, the table and the picture."""
    comparison = found.simulation.comparison
    told = findings(comparison)
    campaign = found.recipe.campaign
    return "\n\n".join(
        [
            f"## {found.recipe.title}",
            f"Recipe `{found.name}`: {campaign.campaign.num_in_total} labels in all, "
            f"{campaign.campaign.num_per_round} a round, {campaign.finetune.num_steps} steps of training a round, "
            f"{comparison.num_seeds} seeds; {metric_title(comparison.metric)} on test patients.",
            told.headline,
            *chosen_here(found),
            *([KNOWN[found.name]] if found.name in KNOWN else []),
            table(found.simulation, num_chosen_with=CHOSEN_WITH.get(found.name, 0)),
            *against_foreground(found.simulation),
            f"![Score against labels, and how far every strategy is ahead of random]({found.name}.png)",
        ]
    )


def chosen_here(found: Found) -> list[str]:
    """What must be known where the shipped recipe was chosen with some of the seeds."""
    num = CHOSEN_WITH.get(found.name, 0)
    if not num:
        return []
    return [
        "The shipped way of asking (`as-shipped`, `stratified-thinned`) was chosen on this very set, with seeds 0 to "
        f"{num - 1}, which flatter its rows. The last column, *area anew*, is of the other seeds alone, with which "
        "nothing was chosen."
    ]


def table(simulation: Simulation, *, num_chosen_with: int = 0) -> str:
    """Strategies by their area, random among them; with ``num_chosen_with`` also their area without so many seeds."""
    comparison = simulation.comparison
    ranked = sorted(comparison.strategies, key=lambda result: (-result.area.mean, result.name))
    lines = ["| strategy | area | at the end | ahead by | p | seeds ahead | labels |", "|---|---|---|---|---|---|---|"]
    lines += [_row(comparison, result) for result in ranked]
    if num_chosen_with:
        anew = _areas_from(simulation, num_chosen_with)
        ends = [" area anew |", "---|", *(f" {anew[result.name]:.3f} |" for result in ranked)]
        lines = [line + end for line, end in zip(lines, ends, strict=True)]
    return "\n".join(lines)


def _areas_from(simulation: Simulation, first_seed: int) -> dict[str, float]:
    """The mean area of every strategy over the seeds from ``first_seed`` on."""
    grid_P = common_grid(simulation.curves)
    fresh = [curve for curve in simulation.curves if curve.seed >= first_seed]
    by_name = {name: [curve for curve in fresh if curve.strategy == name] for name in _names(simulation.comparison)}
    return {name: float(area(grid_P, on_grid(curves, grid_P)).mean()) for name, curves in by_name.items()}


def against_foreground(simulation: Simulation) -> list[str]:
    """How far every strategy is ahead of foreground-aware random, where that was run."""
    by_name = {name: [c for c in simulation.curves if c.strategy == name] for name in _names(simulation.comparison)}
    if FOREGROUND not in by_name:
        return []
    grid_P = common_grid(simulation.curves)
    areas = {name: area(grid_P, on_grid(curves, grid_P)) for name, curves in by_name.items()}
    ahead = {name: t_interval(values - areas[FOREGROUND]) for name, values in areas.items() if name != FOREGROUND}
    ranked = sorted(ahead, key=lambda name: -ahead[name].mean)
    clearly = [name for name in ranked if ahead[name].low is not None and (ahead[name].low or 0) > 0]
    told = (
        f"Clearly ahead of it, each by its own interval: {', '.join(clearly)}."
        if clearly
        else "No strategy is clearly ahead of it."
    )
    rows = [f"| {name} | {signed_interval(ahead[name])} |" for name in ranked]
    return [
        f"Against random where the model sees foreground (`{FOREGROUND}`): {told}",
        "\n".join(["| strategy | ahead by |", "|---|---|", *rows]),
    ]


def _names(comparison: Comparison) -> list[str]:
    return [result.name for result in comparison.strategies]


def _row(comparison: Comparison, result: StrategyResult) -> str:
    ends = f"| {result.area.mean:.3f} | {result.final.mean:.3f} |"
    if result.name == RANDOM or result.difference is None:
        return f"| **{RANDOM}** {ends} | | | 100 % |"
    difference = result.difference
    reached = result.needed[RANDOMS_FINAL].on_mean is not None
    return (
        f"| {result.name} {ends} {signed(difference.interval.mean)} ({_span(difference.interval)}) "
        f"| {difference.p_adjusted:.2g} | {difference.num_seeds_better} of {comparison.num_seeds} "
        f"| {saving_text(result.savings[RANDOMS_FINAL]) if reached else 'not reached'} |"
    )


def _span(interval: Interval) -> str:
    if interval.low is None or interval.high is None:
        return "one seed"
    return f"{signed(interval.low)} to {signed(interval.high)}"


if __name__ == "__main__":
    main()
