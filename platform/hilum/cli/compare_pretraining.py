"""`hilum compare-pretraining`: which pretext saves labels, measured on labelled sets."""

from pathlib import Path
from typing import Annotated, Any

import typer

from hilum.cli.console import reply
from hilum.cli.options import Address, Json, On, StoreUrl

CompareName = Annotated[
    str,
    typer.Argument(metavar="RECIPE", help="A comparison (YAML with pretexts and targets), or a shipped one's name."),
]
DataRoot = Annotated[
    Path, typer.Option("--data", metavar="FOLDER", help="Where the recipe's folders are; this one if not given.")
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
    wanted = recipe_files.compare_recipe(recipe)
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
