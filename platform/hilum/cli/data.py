"""`hilum data`: public image sets, each with its licence, ready for ingest."""

from typing import Annotated, Any

import typer

from hilum.cli.console import reply, table
from hilum.cli.options import Json

group = typer.Typer(no_args_is_help=True, help="Public image sets: which there are, where from, and get one.")

SetName = Annotated[str, typer.Argument(metavar="SET", help="A data set's name (see `hilum data list`).")]
Folder = Annotated[
    str | None, typer.Argument(metavar="FOLDER", help="Where to put it; a folder of the set's name if not given.")
]
Prepared = Annotated[
    str | None,
    typer.Option("--as", metavar="PREPARATION", help="How to prepare it; the first of the list if not given."),
]


@group.command("list", epilog="Example: hilum data list")
def list_(json_: Json = False) -> None:
    """List the sets: what each shows, what it can be asked, and under which licence."""
    from hilum.adapters.catalogue import entries

    sets = [
        {
            "name": found.name,
            "about": found.about,
            "preparations": {name: kind.about for name, kind in found.preparations.items()},
            "licence": found.licence,
            "citation": found.citation,
            "home": found.home,
        }
        for found in entries()
    ]
    rows: list[list[Any]] = [
        [found.name, found.about, ", ".join(found.preparations), found.licence.split(";")[0]] for found in entries()
    ]
    drawn = table("", ["set", "what it is", "prepared as", "licence"], rows)
    reply(json_, {"sets": sets}, drawn, next_commands=["hilum data fetch mednist"])


@group.command("where", epilog="Example: hilum data where mednist")
def where(name: SetName, json_: Json = False) -> None:
    """Say where a set would come from: installed packages, the folder HILUM_DATA_MIRROR, or the internet."""
    from hilum.adapters import catalogue

    found = catalogue.where(name)
    reply(json_, {"set": name, "where": found}, f"{name}: {found}", next_commands=[f"hilum data fetch {name}"])


@group.command("fetch", epilog="Example: hilum data fetch mednist ./mednist --as rare")
def fetch(name: SetName, folder: Folder = None, *, preparation: Prepared = None, json_: Json = False) -> None:
    """Get a set, check it against its checksum, and make it ready for ingest, with its licence beside it."""
    from pathlib import Path

    from hilum.adapters import catalogue

    known = catalogue.entry(name)
    target = Path(folder or name)
    already_done = target.exists()
    ready = catalogue.fetch(name, target, preparation=preparation)
    how = "already done" if already_done else "ready"
    data = {"set": name, "folder": str(ready), "already_done": already_done, "licence": known.licence}
    lines = [f"{name}: {how} in {ready}", f"  licence: {known.licence}", f"  cite: {known.citation}"]
    reply(json_, data, *lines, next_commands=["hilum init ./store", f"hilum ingest {ready} --store ./store"])
