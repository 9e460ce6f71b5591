"""`hilum model anomaly`: where a scan is not what a network that restores scans makes of it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hilum.cli.console import reply
from hilum.cli.options import Ingest, Json, StoreUrl

if TYPE_CHECKING:
    from hilum.steps.anomaly import Anomalies

CheckpointId = Annotated[str, typer.Argument(metavar="CHECKPOINT", help="A pretraining's id.")]
VolumeId = Annotated[str, typer.Option("--volume", metavar="ID", help="Which scan, by its id in the store.")]
Out = Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to put the map: a .nii.gz.")]
Picture = Annotated[
    Path | None,
    typer.Option("--picture", metavar="FILE", help="Draw the slice that stands out most here too: a .png."),
]
_ENDING, _PICTURE_ENDING = ".nii.gz", ".png"


def anomaly(
    checkpoint: CheckpointId,
    *,
    volume: VolumeId,
    out: Out,
    picture: Picture = None,
    store: StoreUrl = None,
    ingest: Ingest = None,
    json_: Json = False,
) -> None:
    """Write how far each voxel of a scan is from its restoration, on the scan's grid, as a share of its window."""
    from hilum.adapters.nifti_patches import nifti_bytes
    from hilum.cli.chain import checked_id
    from hilum.cli.composition import store_at
    from hilum.core.errors import RequestError
    from hilum.loop.definition import only_ingest
    from hilum.steps.anomaly import anomalies_of
    from hilum.store.layout import require

    if not out.name.endswith(_ENDING) or (picture is not None and picture.suffix != _PICTURE_ENDING):
        raise RequestError(f"A map is a {_ENDING} and a picture a {_PICTURE_ENDING}; given {out} and {picture}.")
    opened = store_at(store)
    checked_id("checkpoint", opened.checkpoint(checkpoint))
    ingest_id = ingest or only_ingest(opened)
    require(opened.run("ingest", ingest_id), f"ingest '{ingest_id}'")
    found = anomalies_of(opened, checkpoint, ingest_id=ingest_id, volume_id=volume)
    _put(out, nifti_bytes(found.difference, found.grid))
    mean = float(found.difference.mean())
    number = int(found.difference.mean(axis=(0, 2, 3)).argmax())
    if picture is not None:
        _put(picture, _drawn(found, number))
    data = {"map": str(out), "picture": str(picture) if picture else None, "mean": mean, "most_unlike_slice": number}
    lines = [f"anomaly map: {out}", f"  mean difference: {mean:.4f} of the window", f"  most unlike slice: {number}"]
    reply(json_, data, *lines, *([f"  picture: {picture}"] if picture else []))


def _put(file: Path, payload: bytes) -> None:
    from hilum.store.manifest import write_bytes

    write_bytes(str(file.absolute()), payload)


def _drawn(found: "Anomalies", number: int) -> bytes:
    """The slice as it is, as it is restored, and the difference."""
    from hilum.steps.album import drawn

    arrays = (found.image, found.restored, found.difference)
    return drawn([[array[0, number] for array in arrays]], ("scan", "restored", "difference"))
