"""Where a mask to be measured comes from: a file, alone or on its image, or a volume of the store."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from hilum.core.errors import DataError, NotFoundError, RequestError
from hilum.core.geometry import Patch
from hilum.core.sources import ReadImage, SourceItem
from hilum.nn.biomarkers import Biomarkers, biomarkers
from hilum.store.layout import Store

_SPACING_UNKNOWN = "spacing_unknown"


@dataclass(frozen=True)
class MeasuredLabel:
    """One label of one item (a scan is one item, a stack has several), and the name of its class if it has one."""

    item: int
    class_name: str
    found: Biomarkers

    def row(self) -> dict[str, Any]:
        """All of it in one flat row, such as a table has."""
        flat: dict[str, Any] = {"item": self.item, "class_name": self.class_name}
        for name, value in asdict(self.found).items():
            if isinstance(value, tuple):
                stem, axes = name.rsplit("_", 1)
                flat.update({f"{stem}_{axis}": one for axis, one in zip(axes, value, strict=True)})
            else:
                flat[name] = value
        return flat


@dataclass(frozen=True)
class Measurements:
    """What a mask measures. ``lengths_in`` is 'pixels' where the file cannot say how large one is."""

    labels: tuple[MeasuredLabel, ...]
    lengths_in: Literal["mm", "pixels"] = "mm"

    def rows(self) -> list[dict[str, Any]]:
        """One flat row a label."""
        return [label.row() for label in self.labels]


def measured_file(mask: str, image: str | None) -> Measurements:
    """Biomarkers of a mask's file; ``image`` is the file or the series' folder that it was drawn on."""
    read = _alone(mask) if image is None else _on_image(mask, image)
    assert read.label_map_zyx is not None
    grey = None
    if image is not None:
        read.check_finite()
        if read.image_czyx.shape[0] != 1:
            raise DataError(f"Grey levels are measured in one channel; the image has {read.image_czyx.shape[0]}.")
        grey = read.image_czyx[0]
    found = biomarkers(read.label_map_zyx, read.grid, grey)
    known = read.measured_grid and _SPACING_UNKNOWN not in read.flags
    return Measurements(tuple(_named(0, found, read.class_names)), "mm" if known else "pixels")


def measured_volume(store: Store, volume_id: str, ingest_id: str | None = None) -> Measurements:
    """Biomarkers of the labels that a volume of the store was ingested with, item by item, with grey levels."""
    from hilum.loop.definition import only_ingest
    from hilum.store.layout import require
    from hilum.store.manifest import read_manifest
    from hilum.store.volumes import open_volume, volumes_of

    ingest_id = ingest_id or only_ingest(store)
    results = read_manifest(require(store.run("ingest", ingest_id), f"ingest '{ingest_id}'")).results
    volume = volumes_of(store, ingest_id).get(volume_id)
    if volume is None:
        raise NotFoundError(f"No volume of ingest {ingest_id} is called '{volume_id}', and no file is.")
    reader = open_volume(store, volume)
    depth = volume.item_shape_zyx[0]
    found: list[MeasuredLabel] = []
    for item in range(volume.num_items):
        patch = Patch(volume_id, (item * depth, 0, 0), volume.item_shape_zyx)
        grid = volume.grid.cropped(patch.start_zyx, patch.shape_zyx)
        grey = reader.read_CZYX(patch)[0] if volume.num_channels == 1 else None
        measured = biomarkers(reader.read_label_map_ZYX(patch), grid, grey)
        found += _named(item, measured, results.get("class_names", ()))
    return Measurements(tuple(found), "pixels" if _SPACING_UNKNOWN in volume.flags else "mm")


def _named(item: int, found: tuple[Biomarkers, ...], names: Any) -> Iterator[MeasuredLabel]:
    for one in found:
        yield MeasuredLabel(item, names[one.label] if one.label < len(names) else "", one)


def _alone(mask: str) -> ReadImage:
    from hilum.adapters.reading import read_label_map

    path = _file(mask)
    return read_label_map(str(path.parent), path.name)


def _on_image(mask: str, image: str) -> ReadImage:
    from hilum.adapters.folders import find_source
    from hilum.adapters.reading import read_item

    source = find_source(image)
    if len(source.items) != 1:
        raise RequestError(f"--image must be one image; there are {len(source.items)}. Name one file or one series.")
    root = Path(source.root).resolve()
    (item,) = source.items
    # One root for both, because a mask need not lie beside its image.
    placed = SourceItem(
        image=_from_top(root / item.image),
        label=_from_top(_file(mask).resolve()),
        parts=tuple(_from_top(root / part) for part in item.parts),
    )
    (read,) = read_item(root.anchor, placed)
    return read


def _from_top(path: Path) -> str:
    return path.relative_to(path.anchor).as_posix()


def _file(mask: str) -> Path:
    path = Path(mask)
    if not path.is_file():
        raise NotFoundError("MASK is no file. Give a mask's file, or the id of a volume and its store (--store).")
    return path
