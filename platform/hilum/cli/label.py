"""`hilum label`: put questions before people, and take in what they answered."""

from typing import Any

import typer

from hilum.cli.console import reply, table
from hilum.cli.options import AskedName, Checkpoint, Ingest, Json, Labels, RecipeName, StoreUrl

group = typer.Typer(no_args_is_help=True, help="Put questions before people and take in their answers.")


@group.command("publish", epilog="Example: hilum label publish liver.yaml")
def publish(
    recipe: RecipeName,
    *,
    store: StoreUrl = None,
    ingest: Ingest = None,
    checkpoint: Checkpoint = "none",
    labels: Labels = "none",
    json_: Json = False,
) -> None:
    """Ask: put the selection before the annotator, with the model's draft of each answer."""
    from hilum.cli.audit import record_run
    from hilum.cli.composition import annotator_of
    from hilum.cli.round_steps import chain_for, tell
    from hilum.core.resources import Resources

    chain = chain_for(recipe, store, ingest, checkpoint, labels)
    planned = chain.publish()
    before = planned.run.finished()
    manifest = before or planned.step.run(
        planned.recipe,
        planned.inputs,
        store=chain.store,
        annotator=annotator_of(chain.store, chain.ingest_id, chain.recipe.annotator),
        resources=Resources(),
    )
    record_run(chain.store, manifest)
    tell(json_, manifest, before is not None, [chain.command("label status"), chain.command("label collect")])


@group.command("status", epilog="Example: hilum label status liver.yaml")
def status(
    recipe: AskedName,
    *,
    store: StoreUrl = None,
    ingest: Ingest = None,
    checkpoint: Checkpoint = "none",
    labels: Labels = "none",
    json_: Json = False,
) -> None:
    """Say how many answers are in, and which cannot be used and why."""
    from hilum.cli.asked_round import asked_round
    from hilum.cli.composition import annotator_of
    from hilum.steps.publish import tasks_of

    asked = asked_round(recipe, store, ingest, checkpoint, labels)
    selection_id = asked.collect_inputs()["select"]
    tasks = tasks_of(asked.store, selection_id, asked.recipe.question)
    annotator = annotator_of(asked.store, asked.ingest_id, asked.recipe.annotator)
    num_answered = len({answer.patch.candidate_id for answer in annotator.collect(tasks)})
    refused = dict(annotator.refused(tasks))
    declined = dict(annotator.declined(tasks))
    lines: list[Any] = [f"selection {selection_id}: {num_answered} of {len(tasks)} answered"]
    if declined:
        lines.append(table("Not to be answered", ["candidate", "why"], sorted(declined.items())))
    if refused:
        lines.append(table("Cannot be used", ["candidate", "why"], sorted(refused.items())))
    data = {"selection_id": selection_id, "num_asked": len(tasks), "num_answered": num_answered}
    data |= {"refused": refused, "declined": declined}
    reply(json_, data, *lines, next_commands=[asked.command("label collect")])


@group.command("collect", epilog="Example: hilum label collect liver.yaml")
def collect(
    recipe: RecipeName,
    *,
    store: StoreUrl = None,
    ingest: Ingest = None,
    checkpoint: Checkpoint = "none",
    labels: Labels = "none",
    json_: Json = False,
) -> None:
    """Take in the answers and make the next label set of them. Exit code 3 while some are missing."""
    from hilum.cli.audit import record_run
    from hilum.cli.composition import annotator_of
    from hilum.cli.round_steps import chain_for, tell
    from hilum.core.errors import WaitingForPeople
    from hilum.loop.accounts import labelled_by
    from hilum.steps import collect as step
    from hilum.store.inspection import finished_runs

    chain = chain_for(recipe, store, ingest, checkpoint, labels)
    inputs = chain.collect_inputs()
    annotator = annotator_of(chain.store, chain.ingest_id, chain.recipe.annotator)
    before = finished_runs(chain.store, "collect")
    try:
        manifest = step.run(chain.collect_recipe(), inputs, store=chain.store, annotator=annotator)
    except WaitingForPeople as waiting:
        raise WaitingForPeople(f"Selection {inputs['select']} is {waiting}") from None
    record_run(chain.store, manifest, labelled_by=labelled_by(chain.store, manifest.run_id))
    tell(json_, manifest, manifest.run_id in before, [chain.command("finetune", labels=manifest.run_id)])
