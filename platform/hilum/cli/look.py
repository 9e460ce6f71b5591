"""`hilum look`: see what was ingested before anybody is asked about it."""

from pathlib import Path
from typing import Annotated

import typer

from hilum.cli.console import reply
from hilum.cli.options import Ingest, Json, StoreUrl
from hilum.core.errors import RequestError

MOST_VOLUMES = 24
Out = Annotated[
    Path,
    typer.Option("--out", metavar="FILE", help="Where to put the sheet: a page (.html) or one picture (.png)."),
]
Most = Annotated[int, typer.Option("--most", metavar="NUM", min=1, max=400, help="How many volumes to draw.")]


def look(
    store: StoreUrl = None,
    out: Out = Path("look.html"),
    ingest: Ingest = None,
    most: Most = MOST_VOLUMES,
    json_: Json = False,
) -> None:
    """Draw what was ingested: volumes in three planes with their labels, and plots of all of them.

    The plots show spacings, sizes, grey levels, classes, machines, sides and warnings: what is unlike
    the rest is seen before it is learned from.
    """
    from hilum.adapters.contact_sheet import as_html, as_png, contact_sheet
    from hilum.cli.composition import store_at
    from hilum.loop.definition import only_ingest
    from hilum.store.manifest import write_bytes

    drawers = {".html": as_html, ".png": as_png}
    draw = drawers.get(out.suffix.lower())
    if draw is None:
        raise RequestError(f"A contact sheet is a .html or a .png file; --out {out} is neither.")
    opened = store_at(store)
    sheet = contact_sheet(opened, ingest or only_ingest(opened), most_volumes=most)
    write_bytes(str(out.absolute()), draw(sheet))
    data = {
        "ingest_id": sheet.ingest_id,
        "file": str(out),
        "num_volumes": len(sheet.volumes),
        "num_shown": len(sheet.tiles),
        "damaged": [tile.volume.volume_id for tile in sheet.tiles if tile.shown is None],
    }
    damaged = [f"{tile.volume.volume_id}: {tile.damage}" for tile in sheet.tiles if tile.shown is None]
    reply(json_, data, f"{sheet.title}: {sheet.summary}", f"contact sheet: {out}", *damaged)
