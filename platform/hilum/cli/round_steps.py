"""What the step verbs share: finding the chain of runs, running one, and saying what came of it."""

from collections.abc import Sequence
from typing import Any

from hilum.cli.audit import record_run
from hilum.cli.chain import Chain, Planned, checked_id
from hilum.cli.composition import engine, store_at
from hilum.cli.console import reply
from hilum.core.acting import acting
from hilum.loop import recipe_files
from hilum.loop.definition import check_prepared, only_ingest
from hilum.loop.tracing import step_of
from hilum.store.labels import NONE
from hilum.store.layout import require
from hilum.store.manifest import Manifest, read_manifest


def chain_for(recipe: str, store: str | None, ingest: str | None, checkpoint: str = NONE, labels: str = NONE) -> Chain:
    """The chain that a command line is about; every name in it is checked first."""
    opened = store_at(store)
    loaded = recipe_files.campaign_recipe(recipe)
    if checkpoint != NONE:
        checked_id("checkpoint", opened.checkpoint(checkpoint))
    if labels != NONE:
        checked_id("label set", opened.label_set(labels))
    ingest_id = ingest or only_ingest(opened)
    check_prepared(loaded, read_manifest(require(opened.run("ingest", ingest_id), f"ingest '{ingest_id}'")))
    options = (f" --ingest {ingest}" if ingest else "") + (f" --store {store}" if store else "")
    return Chain(opened, recipe, loaded, ingest_id, checkpoint, labels, options)


def run_planned(planned: Planned, chain: Chain, *, on: str, address: str | None) -> tuple[Manifest, bool]:
    """The run's manifest, and whether it was there already. A run that is there starts no Ray."""
    before = planned.run.finished()
    if before is not None:
        record_run(chain.store, before)
        return before, True
    ready = engine(on=on, address=address, store=chain.store)
    with step_of(planned.verb) as is_done, acting(run=planned.run.run_id):
        manifest: Manifest = planned.step.run(
            planned.recipe, planned.inputs, store=chain.store, executor=ready.executor, resources=ready.resources
        )
        is_done(manifest.run_id)
    record_run(chain.store, manifest)
    return manifest, False


def tell(json_: bool, manifest: Manifest, already_done: bool, next_commands: Sequence[str], *more: str) -> None:
    """A step's answer: its run's id, whether it was done before, and what it found."""
    first = first_line(manifest, already_done)
    reply(json_, answer(manifest, already_done), first, *facts(manifest.results), *more, next_commands=next_commands)


def answer(manifest: Manifest, already_done: bool) -> dict[str, Any]:
    """What machines are told of a step."""
    return {"step": manifest.step, "run_id": manifest.run_id, "already_done": already_done, "results": manifest.results}


def first_line(manifest: Manifest, already_done: bool) -> str:
    """What people are told of a step before what it found."""
    return f"{manifest.step} {manifest.run_id}: {'already done' if already_done else 'done'}"


def facts(results: dict[str, Any], indent: str = "  ") -> list[str]:
    """Results as indented lines; long lists are left to ``--json``."""
    lines = []
    for name, value in results.items():
        if isinstance(value, dict):
            lines += [f"{indent}{name}", *facts(value, indent + "  ")]
        elif isinstance(value, float):
            lines.append(f"{indent}{name}: {value:.4g}")
        elif not isinstance(value, list):
            lines.append(f"{indent}{name}: {value}")
    return lines
