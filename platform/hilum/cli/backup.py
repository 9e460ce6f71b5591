"""`hilum backup` and `hilum restore`: a store and its ledger survive the loss of both."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from hilum.cli.console import reply
from hilum.cli.options import Json, StoreUrl
from hilum.core.errors import RequestError

if TYPE_CHECKING:
    from hilum.store.vault import Progress

group = typer.Typer(invoke_without_command=True, epilog="Example: hilum backup --store ./liver --to s3://vault/liver")

To = Annotated[str | None, typer.Option("--to", metavar="URL", help="Where copies are kept: a folder or a URL.")]
Back = Annotated[str, typer.Option("--from", metavar="URL", help="Where copies are kept.")]
Into = Annotated[str, typer.Option("--to", metavar="URL", help="The empty folder or URL that becomes the store.")]
Only = Annotated[
    list[str],
    typer.Option("--only", metavar="FOLDER", help="Put this back into the store of --to, as `hilum doctor` names it."),
]
SnapshotId = Annotated[
    str | None, typer.Option("--snapshot", metavar="ID", help="Which copy; the newest if not given.")
]


@group.callback()
def backup(context: typer.Context, *, store: StoreUrl = None, to: To = None, json_: Json = False) -> None:
    """Copy a store and its ledger to where nobody works, also while campaigns run. What is there is not copied again.

    Killed, the same command goes on. The copy holds what the store holds, the key of the pseudonyms included: guard it
    as you guard the store.
    """
    if context.invoked_subcommand is not None:
        return
    from hilum.cli.composition import ledger_of, store_at
    from hilum.loop.backup import back_up
    from hilum.store.audit import head

    if to is None:
        raise RequestError("Where to? Give --to URL: a folder on another disk, or a bucket such as s3://vault/liver.")
    opened = store_at(store)
    noted = head(opened)
    with _shown("copying", quiet=json_) as on_file:
        copied = back_up(opened, ledger_of(opened), to.rstrip("/"), on_file=on_file)
    results = copied.manifest.results
    data = {"snapshot": copied.manifest.run_id, **results, "num_new": copied.num_new, "new_bytes": copied.new_bytes}
    data["audit_head"] = noted
    line = (
        f"snapshot {copied.manifest.run_id}: {results['num_files']} files, {results['num_bytes']:,} bytes, "
        f"of which {copied.num_new} files with {copied.new_bytes:,} bytes were new"
    )
    kept = [f"its audit log holds {noted}: note that elsewhere"] if noted else []
    reply(json_, data, line, *kept, next_commands=[f"hilum backup verify --from {to}"])


@group.command("verify", epilog="Example: hilum backup verify --from s3://vault/liver")
def verify(*, back: Back, snapshot: SnapshotId = None, json_: Json = False) -> None:
    """Read every byte of a copy and compare it with its SHA-256; exit code 4 if one is not as it was."""
    from hilum.store import vault as vaults

    vault = back.rstrip("/")
    chosen = vaults.chosen_snapshot(vault, snapshot)
    vaults.snapshot_manifest(vault, chosen)
    files = vaults.snapshot_files(vault, chosen)
    with _shown("reading", quiet=json_) as on_file:
        damaged = vaults.damaged_files(vault, files, on_file=on_file)
    lines = [f"snapshot {chosen}: {len(files)} files, {len(damaged)} damaged", *(f"  {path}" for path in damaged[:20])]
    following = [] if damaged else [f"hilum restore --from {back} --to FOLDER"]
    reply(json_, {"snapshot": chosen, "num_files": len(files), "damaged": damaged}, *lines, next_commands=following)
    if damaged:
        raise typer.Exit(4)


@group.command("list", epilog="Example: hilum backup list --from s3://vault/liver")
def list_(*, back: Back, json_: Json = False) -> None:
    """List the copies of a place, the newest last."""
    from hilum.store import vault as vaults

    found = vaults.snapshots(back.rstrip("/"))
    reply(json_, {"snapshots": found}, *found, next_commands=[f"hilum backup verify --from {back}"] if found else [])


def restore(
    *,
    back: Back,
    to: Into,
    snapshot: SnapshotId = None,
    only: Only = [],  # noqa: B006 (typer's default of a list)
    json_: Json = False,
) -> None:
    """Make a store and its ledger again from a copy, every byte compared with its SHA-256, in an empty place.

    The ledger becomes a file of the store, or fills the empty database that HILUM_LEDGER_URL names. With --only the
    store is there, and gets back one volume, run, label set or checkpoint that it lost or that was damaged.
    """
    if only:
        _put_back(back, snapshot, to, only, json_)
        return
    from hilum.cli.settings import read_settings
    from hilum.loop import backup as backups
    from hilum.store.opening import named_store

    url = read_settings().ledger_url
    target = named_store(to)
    with _shown("restoring", quiet=json_) as on_file:
        chosen, num_files = backups.restore(
            back.rstrip("/"), snapshot, target, url.get_secret_value() if url else None, on_file=on_file
        )
    data = {"snapshot": chosen, "num_files": num_files, "store": target.url}
    line = f"snapshot {chosen}: {num_files} files restored into {target.url}"
    reply(json_, data, line, next_commands=[f"hilum doctor --store {to}", f"hilum campaign list --store {to}"])


def _put_back(back: str, snapshot: str | None, to: str, folders: list[str], json_: bool) -> None:
    from hilum.cli.composition import store_at
    from hilum.loop.mending import put_back

    store = store_at(to)
    with _shown("putting back", quiet=json_) as on_file:
        chosen, num_files = put_back(back.rstrip("/"), snapshot, store, folders, on_file=on_file)
    data = {"snapshot": chosen, "num_files": num_files, "store": store.url, "folders": folders}
    line = f"snapshot {chosen}: {num_files} files of {', '.join(folders)} are in {store.url} as they were"
    reply(json_, data, line, next_commands=[f"hilum doctor --store {to}"])


@contextmanager
def _shown(what: str, *, quiet: bool) -> "Iterator[Progress]":
    """A bar on the terminal's error stream, gone when it is done."""
    from rich.progress import Progress as Bar

    from hilum.adapters.telemetry import says_json

    screen = Console(stderr=True)
    with Bar(console=screen, transient=True, disable=quiet or says_json() or not screen.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
