"""`hilum serve key`, `keys` and `revoke`: who may ask the inference service."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from hilum.cli.console import complain_softly, reply, table
from hilum.cli.options import Json, StoreUrl
from hilum.core.errors import RequestError

KeyName = Annotated[str, typer.Argument(metavar="NAME", help="Who will use the key.")]
KeysFile = Annotated[
    Path | None,
    typer.Option("--file", metavar="FILE", envvar="HILUM_API_KEYS_FILE", help="The file of hashed keys."),
]
May = Annotated[list[str], typer.Option("--may", help="predict, read or metrics; may be repeated.")]
Models = Annotated[list[str], typer.Option("--model", help="A model's name, * for any part; may be repeated.")]
Reads = Annotated[
    list[str],
    typer.Option("--reads", metavar="INGEST", help="Name stored volumes of this ingest, '*' of any; may be repeated."),
]
PerMinute = Annotated[int, typer.Option("--per-minute", min=0, help="At most so many requests a minute; 0: no bound.")]
Days = Annotated[int | None, typer.Option("--days", min=1, help="The key ends after so many days.")]
_SHOWN = ("name", "may", "models", "reads", "per_minute", "until")


def register(group: typer.Typer) -> None:
    """Put the commands into `hilum serve`."""
    group.command("key", epilog="Example: hilum serve key viewer --model 'liver*' --file keys.json")(key)
    group.command("keys", epilog="Example: hilum serve keys --file keys.json")(keys)
    group.command("revoke", epilog="Example: hilum serve revoke viewer --file keys.json")(revoke)


def key(
    name: KeyName,
    *,
    file: KeysFile = None,
    may: May = ["predict", "read"],  # noqa: B006 (typer's default of a list)
    model: Models = ["*"],  # noqa: B006
    reads: Reads = [],  # noqa: B006
    per_minute: PerMinute = 0,
    days: Days = None,
    store: StoreUrl = None,
    json_: Json = False,
) -> None:
    """Make a key and show it once; its hash goes into the file. An older key of that name stays until it is revoked."""
    from pydantic import ValidationError

    from hilum.adapters.api_keys import ApiKey, add_key, new_key

    path, (shown, digest) = _file(file), new_key()
    until = None if days is None else datetime.now(tz=UTC) + timedelta(days=days)
    said: dict[str, Any] = {"may": may, "models": model, "reads": reads, "per_minute": per_minute, "until": until}
    try:
        made = ApiKey(name=name, sha256=digest, **said)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        raise RequestError(f"'{first['loc'][0]}' of a key: {first['msg']}.") from None
    add_key(path, made)
    _record(store, "made a key", name, may=list(made.may), models=list(made.models), until=made.until)
    following = [f"hilum serve revoke '{name}' --file {path}"]
    reply(json_, {"key": shown, "name": name, "file": str(path)}, f"key of {name}: {shown}", next_commands=following)


def keys(*, file: KeysFile = None, json_: Json = False) -> None:
    """List the keys of a file by name, with what each may do."""
    from hilum.adapters.api_keys import read_keys

    found = [one.model_dump(mode="json") for one in read_keys(_file(file))]
    rows = [
        [", ".join(one[column]) if isinstance(one[column], list) else one[column] for column in _SHOWN] for one in found
    ]
    reply(json_, {"keys": found}, table("", [column.replace("_", " ") for column in _SHOWN], rows))


def revoke(name: KeyName, *, file: KeysFile = None, store: StoreUrl = None, json_: Json = False) -> None:
    """Take away every key of a name; running services notice at their next request."""
    from hilum.adapters.api_keys import remove_keys

    num = remove_keys(_file(file), name)
    if not num:
        raise RequestError(f"There is no key of '{name}' in the file; `hilum serve keys` lists them.")
    _record(store, "revoked keys", name, num_revoked=num)
    reply(json_, {"name": name, "num_revoked": num}, f"{num} key(s) of {name} revoked")


def _record(store: str | None, action: str, name: str, **what: Any) -> None:
    """In the audit log of the store that is named or stands here; keys may also be made where there is none."""
    from hilum.cli.audit import record
    from hilum.cli.composition import store_at
    from hilum.core.errors import NotFoundError

    try:
        opened = store_at(store)
    except NotFoundError:
        if store is not None:
            raise
        complain_softly("No store is here, so no audit log was told of this; name it with --store.")
        return
    record(opened, action, key=name, **what)


def _file(given: Path | None) -> Path:
    if given is None:
        raise RequestError("Which file? Give --file FILE, or set HILUM_API_KEYS_FILE.")
    return given.expanduser()
