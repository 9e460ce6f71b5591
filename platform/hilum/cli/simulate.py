"""`hilum simulate`: strategies side by side on images whose answers are known, always with random among them."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hilum.cli.console import reply
from hilum.cli.options import Address, Ingest, Json, On, RecipeName, StoreUrl
from hilum.core.errors import RecipeError, unknown_name

if TYPE_CHECKING:
    from hilum.core.recipes import SimulateRecipe

Name = Annotated[
    str | None, typer.Option("--name", metavar="NAME", help="The simulation's name; the recipe's if not given.")
]
Seeds = Annotated[
    str | None,
    typer.Option("--seeds", metavar="LIST", help="Seeds to repeat with, such as 0,1,2; the recipe's if not given."),
]
Only = Annotated[
    list[str] | None,
    typer.Option(
        "--strategy", metavar="NAME", help="Only this strategy of the recipe, besides random. May be repeated."
    ),
]


def simulate(
    recipe: RecipeName,
    *,
    store: StoreUrl = None,
    ingest: Ingest = None,
    name: Name = None,
    seeds: Seeds = None,
    strategy: Only = None,
    on: On = "local",
    address: Address = None,
    json_: Json = False,
) -> None:
    """Run whole campaigns with an oracle that knows the answers, several strategies and seeds, and compare them.

    Stopped at any moment, the same command goes on. The report is one HTML file in the store.
    """
    from pathlib import Path

    from hilum.cli.composition import store_at
    from hilum.cli.simulating import run_simulation, write_section_report
    from hilum.loop import recipe_files
    from hilum.loop.report import summary_table

    opened = store_at(store)
    wanted = chosen(recipe_files.simulate_recipe(recipe), seeds=seeds, strategies=strategy)
    called = name or Path(recipe).stem
    manifest, already_done = run_simulation(opened, called, wanted, ingest_id=ingest, on=on, address=address)
    section, report = write_section_report(opened, manifest)
    lines: list[Any] = [f"simulate {manifest.run_id}: {'already done' if already_done else 'done'}"]
    lines.append(summary_table(section.comparison, title=section.title, report=report))
    data = {"step": "simulate", "run_id": manifest.run_id, "already_done": already_done, "report": report}
    data |= {"headline": section.findings.headline, "winner": section.findings.winner, "results": manifest.results}
    reply(json_, data, *lines, next_commands=[f"xdg-open {report}"])


def chosen(recipe: "SimulateRecipe", *, seeds: str | None, strategies: list[str] | None) -> "SimulateRecipe":
    """A simulation cut down to some of its strategies, or repeated with other seeds."""
    changes: dict[str, Any] = {}
    if seeds is not None:
        changes["seeds"] = parsed_seeds(seeds)
    if strategies:
        for given in strategies:
            if given not in {*recipe.strategies, "random"}:
                raise RecipeError(unknown_name("strategy", given, {*recipe.strategies, "random"}))
        changes["strategies"] = {given: recipe.strategies[given] for given in strategies if given in recipe.strategies}
    return recipe.model_copy(update=changes)


def parsed_seeds(text: str) -> tuple[int, ...]:
    """'0,1,2' as numbers; RecipeError for anything else."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise RecipeError(f"--seeds takes whole numbers parted by commas, such as 0,1,2; given '{text}'.") from None
