"""`hilum init`, `hilum ingest` and `hilum doctor`: a store is made, filled and looked after."""

from typing import Annotated

import typer

from hilum.cli.console import reply
from hilum.cli.options import Json

Folder = Annotated[str, typer.Argument(metavar="URL", help="A folder, or a URL such as s3://bucket/prefix.")]


def init(url: Folder = ".", json_: Json = False) -> None:
    """Make a store: the folder that holds images, answers, models and every run."""
    from hilum.store.opening import create_store

    store, is_new = create_store(url)
    reply(
        json_,
        {"store": store.url, "is_new": is_new},
        f"store {store.url}: {'made' if is_new else 'already done'}",
        next_commands=[f"hilum ingest FOLDER --store {url}" if url != "." else "hilum ingest FOLDER"],
    )
