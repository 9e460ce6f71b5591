"""`hilum model calibrate`: what serving compares production with, looked up once in a model's own images."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hilum.cli.console import reply
from hilum.cli.options import Address, Json, On, StoreUrl

if TYPE_CHECKING:
    from hilum.core.recipes import CalibrateRecipe
    from hilum.store.layout import Store
    from hilum.store.manifest import Manifest

Name = Annotated[str, typer.Argument(metavar="MODEL", help="The model's name: its campaign's.")]
CheckpointId = Annotated[
    str | None, typer.Option("--checkpoint", metavar="ID", help="Which checkpoint; the model's champion if not given.")
]
Pool = Annotated[
    str | None,
    typer.Option(
        "--pool", metavar="ID", help="The pool whose split says who is held out; the campaign's if not given."
    ),
]


def calibrate(
    model: Name,
    *,
    checkpoint: CheckpointId = None,
    pool: Pool = None,
    store: StoreUrl = None,
    on: On = "local",
    address: Address = None,
    json_: Json = False,
) -> None:
    """Find out how sure a model may be, which images are unlike what it knows, and what is usual.

    Validation patients tell the first two, patches of the pool the rest. How closely to look is said by `calibrate`
    in the campaign's recipe.
    """
    from hilum.cli.chain import checked_id
    from hilum.cli.composition import engine, store_at
    from hilum.cli.round_steps import answer, first_line
    from hilum.steps import calibrate as step
    from hilum.steps.calibrations import STEP
    from hilum.steps.held_out import of_checkpoint
    from hilum.store.manifest import Run

    opened = store_at(store)
    recipe, own_pool = _of_campaign(opened, model)
    checkpoint_id = checkpoint or _champion(opened, model)
    checked_id("checkpoint", opened.checkpoint(checkpoint_id))
    inputs = {"checkpoint": checkpoint_id, **of_checkpoint(opened, checkpoint_id, pool_id=pool or own_pool)}
    manifest = Run(opened, STEP, step.STEP_VERSION, recipe, inputs).finished()
    already_done = manifest is not None
    if manifest is None:
        ready = engine(on=on, address=address)
        manifest = step.run(recipe, inputs, store=opened, executor=ready.executor, resources=ready.resources)
    reply(json_, answer(manifest, already_done), first_line(manifest, already_done), *_lines(manifest))


def _of_campaign(store: "Store", model: str) -> "tuple[CalibrateRecipe, str | None]":
    """How closely to look, and the pool that the campaign of this name asks about, if there is one."""
    from hilum.cli.chain import Chain
    from hilum.core.recipes import CalibrateRecipe
    from hilum.loop.definition import known_campaigns, read_definition

    if model not in known_campaigns(store):
        return CalibrateRecipe(), None
    known = read_definition(store, model)
    pool = Chain(store, model, known.recipe, known.ingest_id).pool().run
    return known.recipe.calibrate or CalibrateRecipe(), None if pool.finished() is None else pool.run_id


def _champion(store: "Store", model: str) -> str:
    from hilum.cli.composition import ledger_of
    from hilum.core.errors import NotFoundError, unknown_name
    from hilum.steps.promote import CHAMPION

    aliases = ledger_of(store).aliases()
    champions = {name: checkpoint for (name, alias), checkpoint in aliases.items() if alias == CHAMPION}
    if model not in champions:
        told = unknown_name("model with a champion", model, champions)
        raise NotFoundError(f"{told} Or say which checkpoint: --checkpoint ID.")
    return champions[model]


def _lines(manifest: "Manifest") -> list[str]:
    """What was found, in words."""
    found = manifest.results
    return [*_sureness(found), _likeness(found, manifest.recipe), *_usual(found)]


def _sureness(found: dict[str, Any]) -> list[str]:
    if found["temperature"] is None:
        return [f"  no temperature: {found['no_temperature']}"]
    voxels = f", {found['num_voxels']:,} voxels of them" if "num_voxels" in found else ""
    return [
        f"  temperature: {found['temperature']:.3g} (by {found['num_items']:,} validation items{voxels})",
        f"  negative log-likelihood: {found['nll_before']:.4g} before, {found['nll_after']:.4g} after",
        f"  expected calibration error: {found['ece_before']:.4g} before, {found['ece_after']:.4g} after",
    ]


def _likeness(found: dict[str, Any], recipe: dict[str, Any]) -> str:
    if found["unlike_from"] is None:
        return f"  nobody can tell what is unlike its images: {found['no_unlike']}"
    share = recipe["familiar_share"]
    return f"  unlike its images: farther than {found['unlike_from']:.3g}, as {1 - share:.3g} of validation patches are"


def _usual(found: dict[str, Any]) -> list[str]:
    return [f"  usual answers: of {found['num_answers']:,} patches of the {found['answers_of']} side"]
