"""`hilum measure`: biomarkers of a mask."""

import csv
import io
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from hilum.cli.console import reply, table
from hilum.cli.options import Ingest, Json, StoreUrl

Mask = Annotated[
    str, typer.Argument(metavar="MASK", help="A file of labels (0 is background), or a volume's id in the store.")
]
Image = Annotated[
    str | None,
    typer.Option("--image", metavar="FILE", help="What the mask was drawn on: a file, or the folder of one series."),
]
Csv = Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write the whole table there, a row a label.")]

_SHOWN = {
    "label": "label",
    "class_name": "class",
    "num_parts": "parts",
    "volume_ml": "volume ml",
    "area_mm2": "area {0}²",
    "longest_axial_mm": "longest {0}",
    "short_axis_mm": "across {0}",
    "longest_3d_mm": "longest 3D {0}",
    "surface_mm2": "surface {0}²",
    "perimeter_mm": "perimeter {0}",
    "mean": "mean",
    "sd": "SD",
}
_ID = re.compile(r"[0-9a-f]{12}")
_NEEDED = ("label", "num_parts")


def measure(
    mask: Mask,
    *,
    image: Image = None,
    csv_: Csv = None,
    store: StoreUrl = None,
    ingest: Ingest = None,
    json_: Json = False,
) -> None:
    """Biomarkers of a mask, label by label: volume, RECIST diameters, surface, grey levels, parts and place.

    Grey levels (HU in a CT) need the image; DICOM segmentations and structure sets need it too. With
    files that do not say how large a pixel is, lengths are in pixels.
    """
    from hilum.cli.composition import store_at
    from hilum.cli.measuring import measured_file, measured_volume
    from hilum.store.manifest import write_bytes

    is_volume = image is None and _ID.fullmatch(mask) is not None and not Path(mask).is_file()
    found = measured_volume(store_at(store), mask, ingest) if is_volume else measured_file(mask, image)
    rows = found.rows()
    if csv_ is not None:
        write_bytes(str(csv_.absolute()), _as_csv(rows))
    data = {"lengths_in": found.lengths_in, "labels": rows}
    if not rows:
        reply(json_, data, "The mask is empty: no voxel has a label.")
        return
    note = "" if found.lengths_in == "mm" else "The file does not say how large a pixel is: lengths are in pixels."
    reply(json_, data, _as_table(rows, found.lengths_in), note=note)


def _as_table(rows: list[dict[str, Any]], unit: str) -> Any:
    """What somebody can have in this mask; the rest is in ``--json`` and ``--csv``."""
    stacked = len({row["item"] for row in rows}) > 1
    columns = (["item"] if stacked else []) + [
        name for name in _SHOWN if name in _NEEDED or any(row[name] not in (None, "") for row in rows)
    ]
    heads = [_SHOWN.get(name, name).format("mm" if unit == "mm" else "px") for name in columns]
    return table("", heads, [[row[name] for name in columns] for row in rows])


def _as_csv(rows: list[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue().encode()
