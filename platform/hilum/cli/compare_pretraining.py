"""`hilum compare-pretraining`: which pretext saves labels, measured on labelled sets."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hilum.cli.console import reply
from hilum.cli.options import Address, Json, On, StoreUrl
from hilum.core.errors import RecipeError, unknown_name

if TYPE_CHECKING:
    from hilum.core.recipes import ComparePretrainingRecipe

CompareName = Annotated[
    str,
    typer.Argument(metavar="RECIPE", help="A comparison (YAML with pretexts and targets), or a shipped one's name."),
]
DataRoot = Annotated[
    Path, typer.Option("--data", metavar="FOLDER", help="Where the recipe's folders are; this one if not given.")
]
Targets = Annotated[
    list[str] | None, typer.Option("--target", metavar="NAME", help="Only this target of it. May be repeated.")
]
Pretexts = Annotated[
    list[str] | None,
    typer.Option("--pretext", metavar="NAME", help="Only this pretext of it. May be repeated."),
]
Name = Annotated[
    str | None, typer.Option("--name", metavar="NAME", help="The comparison's name; the recipe's if not given.")
]


def compare_pretraining(
    recipe: CompareName,
    *,
    data: DataRoot = Path(),
    store: StoreUrl = None,
    name: Name = None,
    target: Targets = None,
    pretext: Pretexts = None,
    on: On = "local",
    address: Address = None,
    json_: Json = False,
) -> None:
    """Pretrain by several pretexts, fine-tune each on shares of labelled sets beside scratch, and print the table.

    Scans are ingested first. Stopped at any moment, the same command goes on.
    """
    from hilum.cli.comparing import run_comparison, target_tables
    from hilum.cli.composition import store_at
    from hilum.loop import recipe_files
    from hilum.loop.compare_pretraining import PLOT, STEP, TABLE

    opened = store_at(store)
    wanted = chosen(recipe_files.compare_recipe(recipe), targets=target, pretexts=pretext)
    called = name or Path(recipe).stem
    manifest, already_done = run_comparison(opened, called, wanted, data=data, on=on, address=address)
    url = opened.run(STEP, manifest.run_id)
    lines: list[Any] = [f"compare-pretraining {manifest.run_id}: {'already done' if already_done else 'done'}"]
    for table, told in target_tables(opened, wanted, manifest):
        lines += [table, *(f"  {sentence}" for sentence in told)]
    lines += [f"  table: {url}/{TABLE}", f"  plot: {url}/{PLOT}"]
    found = {"step": "compare-pretraining", "run_id": manifest.run_id, "already_done": already_done}
    found |= {"table": f"{url}/{TABLE}", "plot": f"{url}/{PLOT}", "results": manifest.results}
    reply(json_, found, *lines, next_commands=[f"xdg-open {url}/{PLOT}"])


def chosen(
    recipe: "ComparePretrainingRecipe", *, targets: list[str] | None, pretexts: list[str] | None
) -> "ComparePretrainingRecipe":
    """A comparison cut down to some of its targets and pretexts."""
    changes: dict[str, Any] = {}
    for what, given in (("target", targets), ("pretext", pretexts)):
        known = getattr(recipe, f"{what}s")
        for name in given or []:
            if name not in known:
                raise RecipeError(unknown_name(what, name, known))
        if given:
            changes[f"{what}s"] = {name: known[name] for name in given}
    return recipe.model_copy(update=changes)
