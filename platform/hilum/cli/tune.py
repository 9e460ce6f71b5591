"""`hilum tune`: a sweep over a recipe's training, with the best recipe written out."""

from pathlib import Path
from typing import Annotated, Any

import typer

from hilum.cli.console import reply
from hilum.cli.options import Address, Ingest, Json, On, StoreUrl

SweepName = Annotated[str, typer.Argument(metavar="SWEEP", help="A YAML file with a campaign and what to sweep.")]
LabelSet = Annotated[
    str,
    typer.Option(
        "--labels", metavar="ID", help="Learn from these answers; 'none' takes all that the pool's images came with."
    ),
]
Out = Annotated[
    Path | None, typer.Option("--out", metavar="FILE", help="Where to put the best recipe, besides the store.")
]


def tune(
    sweep: SweepName,
    *,
    labels: LabelSet = "none",
    store: StoreUrl = None,
    ingest: Ingest = None,
    out: Out = None,
    on: On = "local",
    address: Address = None,
    json_: Json = False,
) -> None:
    """Try settings of a training, each for real, end the poor ones early (ASHA), and keep the best.

    Trials are scored on the validation side; the test side is not looked at. Stopped at any moment,
    the same command goes on: trials that ended are not trained again.
    """
    from hilum.cli.composition import store_at
    from hilum.cli.tuning import run_sweep, trials_table
    from hilum.loop import recipe_files
    from hilum.loop.tune import BEST, PLOT, TABLE
    from hilum.store.manifest import read_bytes, write_bytes

    opened = store_at(store)
    recipe = recipe_files.tune_recipe(sweep)
    manifest, already_done = run_sweep(opened, recipe, ingest_id=ingest, labels=labels, on=on, address=address)
    url = opened.run("tune", manifest.run_id)
    if out is not None:
        write_bytes(str(out.absolute()), read_bytes(f"{url}/{BEST}"))
    best = str(out) if out is not None else f"{url}/{BEST}"
    results = manifest.results
    data: dict[str, Any] = {"step": "tune", "run_id": manifest.run_id, "already_done": already_done, "best": best}
    data |= {"table": f"{url}/{TABLE}", "plot": f"{url}/{PLOT}", "results": results}
    ends = f"{results['num_finished']} finished, {results['num_stopped']} stopped early, {results['num_failed']} failed"
    lines: list[Any] = [
        f"tune {manifest.run_id}: {'already done' if already_done else 'done'}",
        trials_table(results["trials"], results["metric"], best=results["best"]["number"]),
        f"  {ends}; best recipe: {best}",
        f"  plot: {url}/{PLOT}",
    ]
    reply(json_, data, *lines, next_commands=[f"hilum campaign create my-campaign --recipe {best}"])
