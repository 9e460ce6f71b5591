"""`hilum pretrain`: learn from scans that nobody labelled."""

from typing import Annotated

import typer

from hilum.cli.options import Address, Ingest, Json, On, StoreUrl

PretrainName = Annotated[
    str, typer.Argument(metavar="RECIPE", help="A pretraining recipe (YAML), or the name of a shipped one.")
]


def pretrain(
    recipe: PretrainName,
    *,
    store: StoreUrl = None,
    ingest: Ingest = None,
    on: On = "local",
    address: Address = None,
    json_: Json = False,
) -> None:
    """Train a network on unlabelled scans; a finetune with `from:` and the id it prints starts from there.

    Pictures of what it makes of scans it does not learn from are drawn as it goes. Stopped at any moment,
    the same command goes on.
    """
    from hilum.cli.composition import engine, store_at
    from hilum.cli.console import reply
    from hilum.cli.round_steps import answer, facts, first_line
    from hilum.loop import recipe_files
    from hilum.loop.definition import only_ingest
    from hilum.steps import pretrain as step
    from hilum.steps.progress_file import PICTURES
    from hilum.steps.training_run import TIMING
    from hilum.store.layout import require
    from hilum.store.manifest import Run, read_json

    opened = store_at(store)
    loaded = recipe_files.pretrain_recipe(recipe)
    ingest_id = ingest or only_ingest(opened)
    require(opened.run("ingest", ingest_id), f"ingest '{ingest_id}'")
    inputs = {"ingest": ingest_id}
    manifest = Run(opened, "pretrain", step.STEP_VERSION, loaded, inputs).finished()
    already_done = manifest is not None
    if manifest is None:
        ready = engine(on=on, address=address, store=opened)
        manifest = step.run(loaded, inputs, store=opened, executor=ready.executor, resources=ready.resources)
    pictures = f"{opened.run('pretrain', manifest.run_id)}/{PICTURES}"
    timing = read_json(f"{opened.run('pretrain', manifest.run_id)}/{TIMING}")
    data = {**answer(manifest, already_done), "pictures": pictures, "timing": timing}
    lines = [
        first_line(manifest, already_done),
        *facts(manifest.results),
        f"  speed: {timing['steps_per_second']:.3g} steps/s, {timing['wait_share']:.1%} of the time waiting for data",
        f"  pictures: {pictures}",
    ]
    reply(json_, data, *lines, next_commands=[f"put 'from: {manifest.run_id}' under finetune in a campaign's recipe"])
