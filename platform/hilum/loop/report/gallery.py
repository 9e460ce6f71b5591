"""The images that were asked about, as inline SVG: the model's draft and the truth drawn over them.

Each image is embedded once as PNG; outlines are vectors over it, so that a 16-voxel patch
enlarged ten times still has sharp edges.
"""

import base64
import io
from collections.abc import Mapping
from typing import cast

import contourpy
import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from PIL import Image

from hilum.core.asking import IGNORE, LabelMap
from hilum.loop.report.colours import overlay
from hilum.loop.report.content import AskedRound, Tile

MOST_IMAGE_BYTES = 4_000_000
"""Of one report. A page of more than about six megabytes is slow to open and is refused by mail servers."""

MOST_TILES = 12
_MOST_PIXELS = 160
_Gallery = Mapping[str, tuple[AskedRound, ...]]


def fitted(gallery: _Gallery, *, most_bytes: int) -> dict[str, tuple[AskedRound, ...]]:
    """The gallery with as many images a round as fit into ``most_bytes`` of PNG, the same number in every round."""
    sizes = [[len(png(t.image_yxc)) * 4 // 3 for t in r.tiles] for rounds in gallery.values() for r in rounds]
    most = MOST_TILES
    while most > 1 and sum(sum(of_round[:most]) for of_round in sizes) > most_bytes:
        most -= 1
    return {
        strategy: tuple(AskedRound(r.number, r.num_labels_before, r.num_asked, r.tiles[:most]) for r in rounds)
        for strategy, rounds in gallery.items()
    }


def tile_svg(tile: Tile, class_names: tuple[str, ...], *, name: str) -> Markup:
    """One candidate: a single picture for a class, two side by side (draft, truth) for a label map.

    ``name`` is an id that no other picture of the page has.
    """
    height, width = tile.image_yxc.shape[:2]
    picture = Markup(
        '<image href="data:image/png;base64,{}" width="{}" height="{}" preserveAspectRatio="none" class="px"/>'
    ).format(base64.b64encode(png(tile.image_yxc)).decode(), width, height)
    if tile.truth_yx is None:
        return _svg(width, height, describe(tile, class_names), picture)
    gap = max(1.0, width * 0.04)
    shared = Markup('<g id="{0}">{1}</g>{2}<g transform="translate({3:g} 0)"><use href="#{0}"/>{4}</g>').format(
        name, picture, outlines(tile.draft_yx), width + gap, outlines(tile.truth_yx)
    )
    return _svg(2 * width + gap, height, describe(tile, class_names), shared)


def _svg(width: float, height: float, described: str, inside: Markup) -> Markup:
    return Markup('<svg viewBox="0 0 {:g} {:g}" role="img" aria-label="{}"><title>{}</title>{}</svg>').format(
        width, height, described, described, inside
    )


def describe(tile: Tile, class_names: tuple[str, ...]) -> str:
    """The tile in words: for those who listen to the page, and as its tooltip."""
    if tile.truth_yx is None:
        draft = (
            "no model yet" if tile.draft_class is None else f"model said {class_title(tile.draft_class, class_names)}"
        )
        what = f"{class_title(tile.truth_class, class_names)}; {draft}"
    else:
        truth = classes_shown(tile.truth_yx, class_names)
        draft = "no model yet" if tile.draft_yx is None else f"model drew {classes_shown(tile.draft_yx, class_names)}"
        what = f"truth shows {truth}; {draft}"
    return f"{what}. Asked by {tile.arm}: {tile.reason}" if tile.reason else f"{what}. Asked by {tile.arm}"


def class_title(class_id: int | None, class_names: tuple[str, ...]) -> str:
    if class_id is None or class_id < 0:
        return "unknown"
    return class_names[class_id] if class_id < len(class_names) else f"class {class_id}"


def classes_shown(label_map_YX: LabelMap, class_names: tuple[str, ...]) -> str:
    """Names of the foreground classes in a slice, or 'nothing'."""
    ids = [int(c) for c in np.unique(label_map_YX) if 0 < c < IGNORE]
    return ", ".join(class_title(c, class_names) for c in ids) or "nothing"


def outlines(label_map_YX: LabelMap | None) -> Markup:
    """Each foreground class as a translucent area with a sharp outline; empty where there is no map."""
    if label_map_YX is None:
        return Markup("")
    paths = []
    for class_id in (int(c) for c in np.unique(label_map_YX) if 0 < c < IGNORE):
        path = _outline(label_map_YX == class_id)
        colour = overlay(class_id)
        paths.append(Markup('<path d="{}" fill="{}" stroke="{}" class="ov"/>').format(path, colour, colour))
    return Markup("").join(paths)


def _outline(mask_YX: npt.NDArray[np.bool_]) -> str:
    """An SVG path around the true pixels, holes included."""
    padded = np.pad(mask_YX.astype(np.float32), 1)
    generator = contourpy.contour_generator(z=padded, name="serial", line_type=contourpy.LineType.Separate)
    lines = cast("list[npt.NDArray[np.float64]]", generator.lines(0.5))
    # Pixel k covers k to k + 1 and its value sits in the middle; padding moved everything by one.
    return "".join(
        "M" + "L".join(f"{round(float(x) - 0.5, 2):g} {round(float(y) - 0.5, 2):g}" for x, y in line[:-1]) + "Z"
        for line in lines
    )


def png(image_YXC: npt.NDArray[np.uint8]) -> bytes:
    """PNG bytes of a grey (C = 1) or colour (C = 3) image, made smaller when it is larger than a page can show."""
    image = Image.fromarray(image_YXC[..., 0] if image_YXC.shape[-1] == 1 else image_YXC)
    if max(image.size) > _MOST_PIXELS:
        image.thumbnail((_MOST_PIXELS, _MOST_PIXELS), Image.Resampling.LANCZOS)
    sink = io.BytesIO()
    image.save(sink, format="PNG", optimize=True)
    return sink.getvalue()


def shown_8bit(image_CYX: npt.NDArray[np.generic], *, low: float, high: float) -> npt.NDArray[np.uint8]:
    """A slice windowed to 0–255 for the eye: three channels stay colour, of any other number the first is shown."""
    image = np.asarray(image_CYX, dtype=np.float32)
    chosen = image[:3] if len(image) == 3 else image[:1]
    width = max(high - low, 1e-6)
    scaled = np.clip((chosen - low) / width, 0.0, 1.0) * 255
    return np.moveaxis(np.nan_to_num(scaled).round().astype(np.uint8), 0, -1)


def draft_is_right(tile: Tile) -> bool | None:
    """Whether the model's class was the true one; None when it had said nothing."""
    return None if tile.draft_class is None else tile.draft_class == tile.truth_class


def legend(class_names: tuple[str, ...]) -> list[tuple[str, str]]:
    """(name, colour) of every foreground class."""
    return [(str(name), overlay(k)) for k, name in enumerate(class_names) if k > 0]
