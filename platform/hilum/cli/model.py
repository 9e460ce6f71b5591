"""`hilum model`: which checkpoint answers, and how to go back."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hilum.cli.console import reply, table
from hilum.cli.options import Json, StoreUrl

if TYPE_CHECKING:
    from hilum.loop.status import CampaignStatus
    from hilum.store.layout import Store

group = typer.Typer(no_args_is_help=True, help="See which checkpoint is the champion of each model, and change it.")

Name = Annotated[str, typer.Argument(metavar="MODEL", help="The model's name: its campaign's.")]
CheckpointId = Annotated[str, typer.Argument(metavar="CHECKPOINT", help="The checkpoint's id.")]


@group.command("list", epilog="Example: hilum model list")
def list_(store: StoreUrl = None, json_: Json = False) -> None:
    """List the models, each with its champion and what that reaches on validation patients."""
    from hilum.cli.composition import ledger_of, store_at
    from hilum.loop.campaign import Campaign, campaigns
    from hilum.steps.promote import CHAMPION

    opened = store_at(store)
    ledger = ledger_of(opened)
    champions = {model: checkpoint for (model, alias), checkpoint in ledger.aliases().items() if alias == CHAMPION}
    reached = {name: Campaign.open(opened, name, ledger=ledger).status() for name in campaigns(opened)}
    found = [
        {**_row(model, champions.get(model), reached.get(model)), "licence": _licence(opened, champions.get(model))}
        for model in sorted({*champions, *reached})
    ]
    rows = [list(row.values()) for row in found]
    following = [f"hilum round status {name}" + _at(store) for name in sorted(reached)[:1]]
    drawn = table("", ["model", "champion", "metric", "value", "licence"], rows)
    reply(json_, {"models": found}, drawn, next_commands=following)


@group.command("promote", epilog="Example: hilum model promote liver 0a1b2c3d4e5f")
def promote(model: Name, checkpoint: CheckpointId, store: StoreUrl = None, json_: Json = False) -> None:
    """Make a checkpoint the champion by hand, whatever its metrics say. `hilum promote` compares first."""
    from hilum.cli.chain import checked_id
    from hilum.cli.composition import store_at

    checked_id("checkpoint", store_at(store).checkpoint(checkpoint))
    _point(model, checkpoint, store, json_, "promoted by hand")


@group.command("rollback", epilog="Example: hilum model rollback liver")
def rollback(model: Name, store: StoreUrl = None, json_: Json = False) -> None:
    """Make the champion before this one the champion again."""
    from hilum.cli.composition import ledger_of, store_at
    from hilum.core.errors import RequestError
    from hilum.loop.campaign import Campaign
    from hilum.steps.promote import CHAMPION

    opened = store_at(store)
    ledger = ledger_of(opened)
    status = Campaign.open(opened, model, ledger=ledger).status()
    now = ledger.alias(model, CHAMPION)
    promoted = [point.checkpoint_id for point in status.curve if point.promoted]
    earlier = promoted[: promoted.index(now)] if now in promoted else promoted
    if not earlier:
        raise RequestError(
            f"Model '{model}' has had no champion before {now or 'any'}; there is nothing to go back to."
        )
    _point(model, earlier[-1], store, json_, "rolled back")


def _row(model: str, champion: str | None, status: "CampaignStatus | None") -> dict[str, Any]:
    metric = status.metric if status else None
    points = [point for point in status.curve if point.checkpoint_id == champion] if status else []
    value = points[0].metrics.get("validation", {}).get(metric) if points and metric else None
    return {"model": model, "champion": champion, "metric": metric, "value": value}


def _licence(store: "Store", champion: str | None) -> str | None:
    from hilum.store import checkpoints

    return None if champion is None else str(checkpoints.read_card(store, champion).get("licence", "unknown"))


def _point(model: str, checkpoint: str, store: str | None, json_: bool, action: str) -> None:
    from hilum.cli.audit import record
    from hilum.cli.composition import ledger_of, store_at
    from hilum.core.ids import checked_name
    from hilum.steps.promote import CHAMPION

    opened = store_at(store)
    ledger = ledger_of(opened)
    before = ledger.alias(checked_name("Model", model), CHAMPION)
    ledger.point(model, CHAMPION, checkpoint, expected=before)
    already_done = before == checkpoint
    if not already_done:
        record(opened, action, campaign=model, champion=checkpoint, before=before)
    data = {"model": model, "champion": checkpoint, "before": before, "already_done": already_done}
    how = "already done" if already_done else f"was {before or 'none'}"
    reply(json_, data, f"champion of {model}: {checkpoint} ({how})", next_commands=["hilum model list" + _at(store)])


def _at(store: str | None) -> str:
    return f" --store {store}" if store else ""
