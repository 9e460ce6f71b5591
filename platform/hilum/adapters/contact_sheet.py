"""A contact sheet of what was ingested: some volumes of every machine in three planes, and plots of all of them."""

import base64
import io
import warnings
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import matplotlib as mpl
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image

from hilum.adapters.overview_plots import STYLE, draw_overview, machine_of, overview_figure
from hilum.adapters.planes import Picture, Shown, colour_of, shown
from hilum.core.errors import CorruptionError
from hilum.core.imaging import Volume
from hilum.store.layout import Store
from hilum.store.manifest import read_manifest
from hilum.store.volumes import open_volume, volumes_of

DOTS_PER_INCH = 110
_COLUMNS = 2
_MOST_NAMED = 8
_TEMPLATE = "contact_sheet.html.j2"


@dataclass(frozen=True)
class Tile:
    """One volume of the sheet; ``shown`` is None where it cannot be read, and ``damage`` says why."""

    volume: Volume
    shown: Shown | None
    damage: str = ""

    @property
    def title(self) -> str:
        return f"{self.volume.volume_id} · {machine_of(self.volume)}"

    @property
    def facts(self) -> str:
        """Size, spacing, and what is known beside them. Nothing here names a person."""
        volume = self.volume
        z, y, x = volume.item_shape_zyx
        spacing = " × ".join(f"{mm:.3g}" for mm in volume.grid.spacing_mm_zyx[::-1])
        items = f"{volume.num_items:,} images of " if volume.num_items > 1 else ""
        size = f"{x} × {y} × {z}" if z > 1 else f"{x} × {y}"
        facts = [f"{items}{size} voxels", f"{spacing} mm", *([volume.side] if volume.side else [])]
        return " · ".join([*facts, *(f"⚠ {flag.replace('_', ' ')}" for flag in volume.flags)])


@dataclass(frozen=True)
class Sheet:
    """An ingest to be looked at."""

    ingest_id: str
    volumes: tuple[Volume, ...]
    tiles: tuple[Tile, ...]
    class_names: tuple[str, ...]
    num_quarantined: int

    @property
    def title(self) -> str:
        return f"Ingest {self.ingest_id}"

    @property
    def summary(self) -> str:
        patients = len({volume.study.patient_id for volume in self.volumes})
        images = sum(volume.num_items for volume in self.volumes)
        told = f"{images:,} images in {len(self.volumes):,} volumes of {patients:,} patients"
        set_aside = f"; {self.num_quarantined:,} files set aside" if self.num_quarantined else ""
        return f"{told}{set_aside}. Shown: {len(self.tiles)}."

    def class_name(self, class_id: int) -> str:
        return self.class_names[class_id] if class_id < len(self.class_names) else f"class {class_id}"

    def class_counts(self) -> tuple[dict[str, int], str]:
        """How often every class occurs, and what was counted: images with it, or volumes on this sheet that show it."""
        of_items = Counter(c for volume in self.volumes for c in volume.classes if c >= 0)
        if of_items:
            return {self.class_name(c): n for c, n in sorted(of_items.items())}, "images"
        labelled = Counter(c for tile in self.tiles if tile.shown for c in tile.shown.labelled_classes)
        return {self.class_name(c): n for c, n in sorted(labelled.items())}, "volumes shown with it"

    def legend(self) -> list[tuple[str, str]]:
        """(name, colour) of every class drawn."""
        drawn = sorted({c for tile in self.tiles if tile.shown for c in tile.shown.labelled_classes})
        return [(self.class_name(c), colour_of(c)) for c in drawn]


def contact_sheet(store: Store, ingest_id: str, *, most_volumes: int) -> Sheet:
    """Read what the sheet shows: as many volumes of each machine as there is room for, the same ones every time."""
    manifest = read_manifest(store.run("ingest", ingest_id))
    volumes = tuple(volumes_of(store, ingest_id).values())
    chosen = _chosen(volumes, most_volumes)
    return Sheet(
        ingest_id=ingest_id,
        volumes=volumes,
        tiles=tuple(_tile(store, volume) for volume in chosen),
        class_names=tuple(manifest.results.get("class_names", ())),
        num_quarantined=int(manifest.results.get("num_quarantined", 0)),
    )


def as_html(sheet: Sheet) -> bytes:
    """One page that fetches nothing and runs nothing."""
    environment = Environment(
        loader=PackageLoader("hilum.adapters", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template(_TEMPLATE).render(
        sheet=sheet,
        version=version("hilum"),
        plots=_base64(png_of(overview_figure(sheet.volumes, *sheet.class_counts()))),
        png=lambda picture: _base64(_png(picture)),
    )
    return page.encode()


def as_png(sheet: Sheet) -> bytes:
    """The plots above the volumes, as one picture."""
    num_rows = -(-len(sheet.tiles) // _COLUMNS)
    heights = [6.6, *([2.5] * num_rows)]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(14, sum(heights) + 0.6), layout="constrained", facecolor="white")
        figure.suptitle(f"{sheet.title}: {sheet.summary}", x=0.01, ha="left", fontsize=11)
        if sheet.legend():
            patches = [Patch(color=colour, label=name) for name, colour in sheet.legend()[:_MOST_NAMED]]
            figure.legend(handles=patches, loc="upper right", ncols=_MOST_NAMED, frameon=False, fontsize=8)
        above, *rows = figure.subfigures(1 + num_rows, 1, height_ratios=heights, squeeze=False)[:, 0]
        draw_overview(above, sheet.volumes, *sheet.class_counts())
        for k, row in enumerate(rows):
            places = row.subfigures(1, _COLUMNS, squeeze=False)[0]
            for place, tile in zip(places, sheet.tiles[k * _COLUMNS :], strict=False):
                _draw_tile(place, tile)
        return png_of(figure)


def _chosen(volumes: Sequence[Volume], most: int) -> list[Volume]:
    """Machines in turn, and of each the first by id, which is no order of anything."""
    of_machine: dict[str, list[Volume]] = defaultdict(list)
    for volume in volumes:
        of_machine[machine_of(volume)].append(volume)
    chosen: list[Volume] = []
    queues = [iter(found) for _, found in sorted(of_machine.items())]
    while queues and len(chosen) < most:
        for queue in list(queues):
            following = next(queue, None)
            if following is None:
                queues.remove(queue)
            elif len(chosen) < most:
                chosen.append(following)
    return sorted(chosen, key=lambda volume: (machine_of(volume), volume.volume_id))


def _tile(store: Store, volume: Volume) -> Tile:
    try:
        return Tile(volume, shown(open_volume(store, volume)))
    except CorruptionError:
        return Tile(volume, None, "damaged; hilum doctor says where")


def _draw_tile(place: Any, tile: Tile) -> None:
    place.suptitle(f"{tile.title}\n{tile.facts}", x=0.01, ha="left", fontsize=8)
    places = place.subplots(1, 3, squeeze=False)[0]
    for axes in places:
        axes.set_axis_off()
    if tile.shown is None:
        places[0].text(0, 0.5, tile.damage, color="#b3401b")
        return
    for axes, (name, picture) in zip(places, tile.shown.pictures, strict=False):
        axes.imshow(picture)
        axes.set_title(name, fontsize=7, fontweight="normal", color="#5b6270")


def png_of(figure: Figure) -> bytes:
    """A figure's PNG, the same bytes each time."""
    sink = io.BytesIO()
    with warnings.catch_warnings():
        # Matplotlib's own font may lack a letter of a class name; a box stands for it.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(sink, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return sink.getvalue()


def _png(picture: Picture) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(picture).save(sink, format="PNG", optimize=True)
    return sink.getvalue()


def _base64(payload: bytes) -> str:
    return base64.b64encode(payload).decode()
