"""`hilum audit`: who asked, labelled, trained and promoted what, and whether that record is whole."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hilum.cli.console import reply, table
from hilum.cli.options import Json, StoreUrl

if TYPE_CHECKING:
    from hilum.store.audit import Record
    from hilum.store.layout import Store
    from hilum.store.manifest import Manifest

group = typer.Typer(no_args_is_help=True, help="See who did what, and whether that record is as it was written.")

OfCampaign = Annotated[str | None, typer.Option("--campaign", metavar="NAME", help="Only what was done to this one.")]
KeptHead = Annotated[
    str | None,
    typer.Option("--head", metavar="SHA256", help="What `hilum audit head` said once: was the log shortened since?"),
]
BY_HAND = {
    "pool": "pooled",
    "score": "scored",
    "select": "selected",
    "publish": "published",
    "collect": "collected",
    "finetune": "trained",
    "evaluate": "evaluated",
    "promote": "compared",
}
"""What the log calls a step that somebody ran alone."""


@group.command("show", epilog="Example: hilum audit show --campaign liver")
def show(*, store: StoreUrl = None, campaign: OfCampaign = None, json_: Json = False) -> None:
    """List every act: when, by whom, in which round, and the runs it made."""
    from hilum.cli.composition import store_at
    from hilum.store.audit import records

    found = [one for one in records(store_at(store)) if campaign is None or one.campaign == campaign]
    rows = [[r.number, r.at, r.actor, r.action, r.campaign, r.round_number, _told(r)] for r in found]
    drawn = table("", ["", "at", "who", "did", "campaign", "round", "what"], rows)
    data = {"records": [one.model_dump(mode="json") for one in found]}
    reply(json_, data, drawn, next_commands=["hilum audit verify" + _at(store)])


@group.command("verify", epilog="Example: hilum audit verify --store ./liver --head 5f0c2b")
def verify(*, store: StoreUrl = None, head: KeptHead = None, json_: Json = False) -> None:
    """Read every record and name the first that is not as it was written; exit code 4 if there is one."""
    from hilum.cli.composition import store_at
    from hilum.store import audit

    verdict = audit.verify(store_at(store), expected_head=head)
    data = {"num_records": verdict.num_records, "head": verdict.head, "wrong": verdict.wrong}
    if verdict.wrong is not None:
        reply(json_, data, f"{verdict.num_records} records. {verdict.wrong[0].upper()}{verdict.wrong[1:]}.")
        raise typer.Exit(4)
    note = "" if head else "That none is missing at the end shows only against a head that was kept: --head."
    reply(json_, data, f"{verdict.num_records} records, each as it was written", note=note)


@group.command("head", epilog="Example: hilum audit head --store ./liver")
def head(*, store: StoreUrl = None, json_: Json = False) -> None:
    """Print the SHA-256 of the newest record. Keep it where whoever writes to the store cannot."""
    from hilum.cli.composition import store_at
    from hilum.core.errors import NotFoundError
    from hilum.store import audit

    newest = audit.head(store_at(store))
    if newest is None:
        raise NotFoundError("Nothing was recorded in this store yet.")
    reply(json_, {"head": newest}, newest)


def record(store: "Store", action: str, *, campaign: str | None = None, **what: Any) -> None:
    """Tell the log of something that somebody did by hand."""
    from hilum.store.audit import Act, append

    append(store, Act(action, campaign, what=what))


def record_run(store: "Store", manifest: "Manifest", **what: Any) -> None:
    """Tell the log of a run that somebody started by hand, unless it was told before."""
    from hilum.store.audit import Act, append_once

    runs = {**manifest.inputs, manifest.step: manifest.run_id}
    append_once(store, Act(BY_HAND.get(manifest.step, manifest.step), what={"runs": runs, **what}))


def _told(record: "Record") -> str:
    runs = record.what.get("runs", {})
    facts = [f"{name}={value}" for name, value in runs.items() if value != "none"]
    return " ".join(facts + [f"{name}={_short(value)}" for name, value in record.what.items() if name != "runs"])


def _short(value: Any) -> str:
    return ",".join(f"{key}:{inner}" for key, inner in value.items()) if isinstance(value, dict) else str(value)


def _at(store: str | None) -> str:
    return f" --store {store}" if store else ""
