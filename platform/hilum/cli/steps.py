"""The step verbs: pool, score, select, finetune, evaluate, promote (and `hilum label`).

A campaign runs them for you (`hilum campaign run`). By hand they are the same functions: each
prints its run's id, says 'already done' the second time, and names the command that follows.
`ask` is the first three of them in one go.
"""

import typer

from hilum.cli.console import reply
from hilum.cli.options import Address, Checkpoint, Ingest, Json, Labels, ModelName, On, RecipeName, StoreUrl


def pool(
    recipe: RecipeName,
    *,
    store: StoreUrl = None,
    ingest: Ingest = None,
    on: On = "local",
    address: Address = None,
    json_: Json = False,
) -> None:
    """List every patch that may be asked about, without the patients held out for validation and test."""
    from hilum.cli.round_steps import chain_for, run_planned, tell

    chain = chain_for(recipe, store, ingest)
    tell(json_, *run_planned(chain.pool(), chain, on=on, address=address), [chain.command("score")])


def score(
    recipe: RecipeName,
    *,
    store: StoreUrl = None,
    ingest: Ingest = None,
    checkpoint: Checkpoint = "none",
    on: On = "local",
    address: Address = None,
    json_: Json = False,
) -> None:
    """Score every candidate of the pool in one forward pass each. Without a model: only what pixels say."""
    from hilum.cli.round_steps import chain_for, run_planned, tell

    chain = chain_for(recipe, store, ingest, checkpoint)
    tell(json_, *run_planned(chain.score(), chain, on=on, address=address), [chain.command("select")])


def select(
    recipe: RecipeName,
    *,
    store: StoreUrl = None,
    ingest: Ingest = None,
    checkpoint: Checkpoint = "none",
    labels: Labels = "none",
    on: On = "local",
    address: Address = None,
    json_: Json = False,
) -> None:
    """Choose whom to ask about, with the arm that chose each and why."""
    from hilum.cli.round_steps import chain_for, run_planned, tell

    chain = chain_for(recipe, store, ingest, checkpoint, labels)
    tell(json_, *run_planned(chain.select(), chain, on=on, address=address), [chain.command("label publish")])


def ask(
    recipe: RecipeName,
    *,
    store: StoreUrl = None,
    ingest: Ingest = None,
    checkpoint: Checkpoint = "none",
    labels: Labels = "none",
    on: On = "local",
    address: Address = None,
    json_: Json = False,
) -> None:
    """Whom to ask about, in one go: pool, score and select. What is there already is not computed again."""
    from hilum.cli.round_steps import answer, chain_for, facts, first_line, run_planned

    chain = chain_for(recipe, store, ingest, checkpoint, labels)
    done = [run_planned(plan(), chain, on=on, address=address) for plan in (chain.pool, chain.score, chain.select)]
    lines = [line for manifest, before in done for line in (first_line(manifest, before), *facts(manifest.results))]
    data = {"runs": [answer(manifest, before) for manifest, before in done]}
    reply(json_, data, *lines, next_commands=[chain.command("label publish")])


def finetune(
    recipe: RecipeName,
    *,
    labels: Labels = "none",
    store: StoreUrl = None,
    ingest: Ingest = None,
    checkpoint: Checkpoint = "none",
    on: On = "local",
    address: Address = None,
    json_: Json = False,
) -> None:
    """Train a checkpoint on a label set; voxels nobody answered are left out."""
    from hilum.cli.round_steps import chain_for, run_planned, tell

    chain = chain_for(recipe, store, ingest, checkpoint, labels)
    manifest, already_done = run_planned(chain.finetune(), chain, on=on, address=address)
    tell(json_, manifest, already_done, [chain.command("evaluate", checkpoint=manifest.run_id)])


def evaluate(
    recipe: RecipeName,
    *,
    checkpoint: Checkpoint = "none",
    store: StoreUrl = None,
    ingest: Ingest = None,
    on: On = "local",
    address: Address = None,
    json_: Json = False,
) -> None:
    """Measure a checkpoint on the patients held out, each metric with its interval."""
    from hilum.cli.metrics_table import metrics_tables
    from hilum.cli.round_steps import answer, chain_for, first_line, run_planned
    from hilum.store.tables import METRICS, read_table

    chain = chain_for(recipe, store, ingest, checkpoint)
    manifest, already_done = run_planned(chain.evaluate(), chain, on=on, address=address)
    rows = read_table(f"{chain.store.run('evaluate', manifest.run_id)}/metrics.parquet", METRICS).to_pylist()
    data = answer(manifest, already_done)
    next_commands = [chain.command("promote") + " --model NAME"]
    reply(json_, data, first_line(manifest, already_done), *metrics_tables(rows), next_commands=next_commands)


def promote(
    recipe: RecipeName,
    *,
    model: ModelName,
    checkpoint: Checkpoint = "none",
    store: StoreUrl = None,
    ingest: Ingest = None,
    json_: Json = False,
) -> None:
    """Make a checkpoint the champion if it is not worse than the one in force."""
    from hilum.cli.audit import record_run
    from hilum.cli.composition import ledger_of
    from hilum.cli.round_steps import chain_for, tell
    from hilum.core.ids import checked_name
    from hilum.steps.promote import CHAMPION

    chain = chain_for(recipe, store, ingest, checkpoint)
    ledger = ledger_of(chain.store)
    champion = ledger.alias(checked_name("Model", model), CHAMPION)
    if champion is not None and champion == checkpoint:
        data = {"model": model, "champion": champion, "already_done": True}
        reply(json_, data, f"promote: already done, {champion} is the champion of {model}")
        return
    planned = chain.promote(champion)
    before = planned.run.finished()
    manifest = planned.step.run(planned.recipe, planned.inputs, store=chain.store, ledger=ledger, model=model)
    record_run(chain.store, manifest, model=model, promoted=manifest.results["promoted"])
    tell(json_, manifest, before is not None, ["hilum model list" + (f" --store {store}" if store else "")])


ID = "0a1b2c3d4e5f"


def register_asking(app: typer.Typer, *, panel: str) -> None:
    """The verbs up to the question."""
    app.command("ask", rich_help_panel=panel, epilog=f"Example: hilum ask liver.yaml --checkpoint {ID}")(ask)
    app.command("pool", rich_help_panel=panel, epilog="Example: hilum pool liver.yaml")(pool)
    app.command("score", rich_help_panel=panel, epilog=f"Example: hilum score liver.yaml --checkpoint {ID}")(score)
    app.command("select", rich_help_panel=panel, epilog="Example: hilum select liver.yaml")(select)


def register_learning(app: typer.Typer, *, panel: str) -> None:
    """The verbs that follow the answers."""
    app.command("finetune", rich_help_panel=panel, epilog=f"Example: hilum finetune liver.yaml --labels {ID}")(finetune)
    app.command("evaluate", rich_help_panel=panel, epilog=f"Example: hilum evaluate liver.yaml --checkpoint {ID}")(
        evaluate
    )
    app.command(
        "promote", rich_help_panel=panel, epilog=f"Example: hilum promote liver.yaml --checkpoint {ID} --model liver"
    )(promote)
