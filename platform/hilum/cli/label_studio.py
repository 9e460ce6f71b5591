"""`hilum label up`, `down`, `open` and `reconcile`: people who answer in Label Studio."""

from typing import TYPE_CHECKING, Annotated

import typer

from hilum.cli.console import reply, whisper
from hilum.cli.options import AskedName, Checkpoint, Ingest, Json, Labels, StoreUrl

if TYPE_CHECKING:
    from hilum.adapters.label_studio.annotator import LabelStudio
    from hilum.cli.asked_round import CampaignRound
    from hilum.cli.chain import Chain

Port = Annotated[int, typer.Option("--port", min=1, max=65535, help="Where Label Studio listens.")]
BridgePort = Annotated[int, typer.Option("--bridge-port", min=1, max=65535, help="Where images come from.")]
NoBrowser = Annotated[bool, typer.Option("--no-browser", help="Say the address and open nothing.")]
Retire = Annotated[
    bool, typer.Option("--retire", help="Take away what nobody has begun of all other selections in the project.")
]


def register(group: typer.Typer) -> None:
    """Add the commands to `hilum label`."""
    group.command("up", epilog="Example: hilum label up --store ./demo")(up)
    group.command("down", epilog="Example: hilum label down")(down)
    group.command("open", epilog="Example: hilum label open liver.yaml")(open_)
    group.command("reconcile", epilog="Example: hilum label reconcile liver.yaml")(reconcile)


def up(*, store: StoreUrl = None, port: Port = 8080, bridge_port: BridgePort = 9090, json_: Json = False) -> None:
    """Start a real Label Studio on this machine, ready to log in, and the bridge that shows it this store's images.

    It is installed once, in an environment of its own under your data folder (HILUM_LABEL_STUDIO_HOME), and listens
    on this machine alone. Started twice, it runs once.
    """
    from hilum.adapters.label_studio import local_bridge, local_server
    from hilum.adapters.label_studio.local_access import home
    from hilum.cli.composition import store_at

    opened, folder = store_at(store), home()
    known = local_server.up(folder, port=port, say=whisper)
    known = local_bridge.up(folder, known, opened, port=bridge_port, say=whisper)
    password = folder / local_server.PASSWORD_FILE
    told = {name: known[name] for name in ("url", "user", "bridge_url", "store")} | {"password_file": str(password)}
    lines = [
        f"Label Studio: {known['url']}",
        f"  log in as {known['user']}; the password is in {password}",
        f"  images of {known['store']} come from {known['bridge_url']}",
        "  in the recipe: 'annotator: {kind: label_studio}'",
    ]
    where = f" --store {store}" if store else ""
    reply(json_, told, *lines, next_commands=[f"hilum label publish RECIPE{where}", "hilum label down"])


def down(*, json_: Json = False) -> None:
    """Stop what `hilum label up` started. Answers, tasks and accounts stay."""
    from hilum.adapters.label_studio import local_bridge, local_server
    from hilum.adapters.label_studio.local_access import home, local_access

    known = local_access(home()) or {}
    stopped = {"bridge": local_bridge.down(known), "label_studio": local_server.down(home())}
    names = [name.replace("_", " ") for name, was_there in stopped.items() if was_there]
    reply(json_, {"stopped": stopped}, f"stopped: {', '.join(names)}" if names else "Nothing was running.")


def open_(
    recipe: AskedName,
    *,
    store: StoreUrl = None,
    ingest: Ingest = None,
    no_browser: NoBrowser = False,
    json_: Json = False,
) -> None:
    """Open the project in which a recipe or a campaign asks, in the browser."""
    from hilum.cli.asked_round import asked_round

    asked = asked_round(recipe, store, ingest)
    annotator = _label_studio(asked)
    address = f"{annotator.connection.url}/projects/{annotator.project_id}/data"
    if not no_browser and not json_:
        typer.launch(address)
    reply(json_, {"url": address}, address, next_commands=[asked.command("label status")])


def reconcile(
    recipe: AskedName,
    *,
    store: StoreUrl = None,
    ingest: Ingest = None,
    checkpoint: Checkpoint = "none",
    labels: Labels = "none",
    retire: Retire = False,
    json_: Json = False,
) -> None:
    """Put right what got lost: answers no webhook told of, tasks that were deleted or asked twice, links that end."""
    from dataclasses import asdict

    from hilum.adapters.label_studio import reconciling
    from hilum.cli.asked_round import asked_round
    from hilum.cli.round_steps import facts
    from hilum.core.resources import Resources
    from hilum.steps.publish import drafted, tasks_of
    from hilum.store.labels import NONE

    asked = asked_round(recipe, store, ingest, checkpoint, labels)
    annotator = _label_studio(asked)
    selection_id = asked.collect_inputs()["select"]
    tasks = tasks_of(asked.store, selection_id, asked.recipe.question)
    if asked.checkpoint != NONE:
        tasks = drafted(tasks, asked.checkpoint, store=asked.store, resources=Resources())
    found = asdict(reconciling.reconcile(annotator, tasks, asked.store, retire_others=retire))
    num_answered = len({answer.patch.candidate_id for answer in annotator.collect(tasks)})
    found["num_answered"] = num_answered
    reply(
        json_,
        {"selection_id": selection_id, **found},
        f"selection {selection_id}: {num_answered} of {len(tasks)} answered",
        *facts(found),
        next_commands=[asked.command("label status"), asked.command("label collect")],
    )


def _label_studio(asked: "Chain | CampaignRound") -> "LabelStudio":
    from hilum.adapters.label_studio.annotator import LabelStudio
    from hilum.cli.composition import annotator_of
    from hilum.core.errors import RequestError

    annotator = annotator_of(asked.store, asked.ingest_id, asked.recipe.annotator)
    if not isinstance(annotator, LabelStudio):
        raise RequestError(
            f"Recipe '{asked.recipe_name}' asks '{asked.recipe.annotator.kind}', not Label Studio. Give it "
            "'annotator: {kind: label_studio}'."
        )
    return annotator
