"""One result of a Label Studio annotation as what it says about the patch: a mask, a point, a box or a choice.

Whatever a result is, it is read or refused with a sentence that says which one and why.
"""

import html
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hilum.adapters.label_studio import bitmask, brush_rle
from hilum.adapters.label_studio.asked import Asked
from hilum.adapters.label_studio.brush_rle import Mask
from hilum.adapters.label_studio.polygons import ellipse_mask, percent, point_pixel, polygon_mask, rectangle_mask
from hilum.adapters.label_studio.slices import Pages
from hilum.adapters.label_studio.template import CONTROLS, IMAGE, Control
from hilum.core.errors import DataError
from hilum.core.geometry import Patch, Zyx

_LONGEST_SHOWN = 60
_LARGEST_SHOWN = 10**9
_EDGE = 1e-6


@dataclass(frozen=True)
class Region:
    """What one result says. Of ``voxels``, ``point`` and ``box`` one is given, unless it is a choice.

    ``plane`` is the patch's plane (along the axis through the pages), None where the whole task is meant.
    """

    control: Control
    label: str
    plane: int | None
    is_touched: bool
    voxels: Mask | None = None
    point_zyx: Zyx | None = None
    box: Patch | None = None


@dataclass(frozen=True)
class NothingSaid:
    """A result that says nothing of the patch: 'context' (it lies outside) or 'erased' (no paint is left)."""

    why: str


def read_region(result: object, place: int, asked: Asked) -> Region | NothingSaid:
    """Result number ``place`` (from 0) of an annotation; DataError when it cannot be used."""
    name = f"result {place + 1}"
    try:
        item = _mapping(result, "it")
        control = _control(item, asked)
        value = _mapping(item.get("value"), "its value")
        label = _label(value, control, asked)
        name = f"result {place + 1} ({control.name} '{shown(label)}')"
        if control.meaning == "class":
            return Region(control, label, None, is_touched(result))
        page = _page(item, asked.pages)
        name = f"result {place + 1} ({control.name} '{shown(label)}' on page {page + 1})"
        return _on_page(item, value, control, label, page=page, pages=asked.pages)
    except DataError as error:
        raise DataError(f"{name}: {error}") from None


def is_touched(result: object) -> bool:
    """True unless this is a region of the draft that nobody changed."""
    return not (isinstance(result, Mapping) and result.get("origin") == "prediction")


def shown(value: object) -> str:
    """Something from outside, short, in one line and harmless on any page."""
    match value:
        case str():
            printable = "".join(c if c.isprintable() else "?" for c in value[:_LONGEST_SHOWN])
            return html.escape(printable) + ("…" if len(value) > _LONGEST_SHOWN else "")
        case None | bool():
            return str(value)
        case int() | float() if abs(value) < _LARGEST_SHOWN:
            return f"{value:.10g}"
        case _:
            return f"(a {type(value).__name__})"


def _on_page(
    item: Mapping[str, Any], value: Mapping[str, Any], control: Control, label: str, *, page: int, pages: Pages
) -> Region | NothingSaid:
    plane, touched = pages.plane(page), is_touched(item)
    if control.meaning == "page":
        return NothingSaid("context") if plane is None else Region(control, label, plane, touched)
    _check_size(item, pages)
    if control.meaning == "point":
        row, column = point_pixel(value.get("x"), value.get("y"), pages.shape_yx)
        voxel = pages.voxel(page, row, column)
        if not _contains(pages.patch, voxel):
            return NothingSaid("context")
        return Region(control, label, plane, touched, point_zyx=voxel)
    if control.meaning == "box":
        box = _box(value, page, pages)
        return NothingSaid("context") if box is None else Region(control, label, plane, touched, box=box)
    mask_YX = _mask(value, control, pages)
    if not mask_YX.any():
        return NothingSaid("erased")
    if plane is None or not mask_YX[pages.asked_box()].any():
        return NothingSaid("context")
    voxels = pages.plane_of_mask(mask_YX)
    if not voxels.any():
        raise DataError("it covers less than half of every voxel; draw it thicker or delete it")
    return Region(control, label, plane, touched, voxels=voxels)


def _mask(value: Mapping[str, Any], control: Control, pages: Pages) -> Mask:
    shape_yx = pages.shape_yx
    match control.region:
        case "brushlabels":
            if value.get("format") != "rle":
                raise DataError(f"its format is '{shown(value.get('format'))}'; allowed is 'rle'")
            return brush_rle.decode(value.get("rle"), shape_yx)
        case "bitmasklabels":
            return bitmask.decode(value.get("imageDataURL"), shape_yx)
        case "polygonlabels":
            if value.get("closed", True) is not True:
                raise DataError("it is not closed; close it or delete it")
            return polygon_mask(value.get("points"), shape_yx)
        case "rectanglelabels":
            return rectangle_mask(value, shape_yx)
        case _:
            return ellipse_mask(value, shape_yx)


def _box(value: Mapping[str, Any], page: int, pages: Pages) -> Patch | None:
    """All voxels of the patch that a box touches; None where it lies in the context."""
    if value.get("rotation", 0) != 0:
        raise DataError("it is turned; hilum reads upright boxes")
    # Also says whether it is on the picture at all.
    rectangle_mask(value, pages.shape_yx)
    x, y, width, height = (percent(value.get(key), key) for key in ("x", "y", "width", "height"))
    first_last = []
    for low, size, num_pixels, scale, asked in zip(
        (y, x), (height, width), pages.shape_yx, pages.scale_yx, pages.asked_box(), strict=True
    ):
        num = num_pixels // scale
        first = math.floor(low / 100 * num + _EDGE)
        last = math.ceil((low + size) / 100 * num - _EDGE) - 1
        first_last.append((max(first, asked.start // scale), min(last, asked.stop // scale - 1)))
    if pages.plane(page) is None or any(last < first for first, last in first_last):
        return None
    (top, bottom), (left, right) = first_last
    tall, wide = pages.scale_yx
    corners = pages.voxel(page, top * tall, left * wide), pages.voxel(page, bottom * tall, right * wide)
    (z, dz), (y_, dy), (x_, dx) = ((min(a, b), abs(a - b) + 1) for a, b in zip(*corners, strict=True))
    return Patch(pages.patch.volume_id, (z, y_, x_), (dz, dy, dx))


def _control(item: Mapping[str, Any], asked: Asked) -> Control:
    known = {control.name: control for control in CONTROLS[asked.kind]}
    name = item.get("from_name")
    if not isinstance(name, str) or name not in known:
        raise DataError(f"it is of the control '{shown(name)}'; known are {', '.join(known)}")
    control = known[name]
    if item.get("type") != control.region or item.get("to_name") != IMAGE:
        raise DataError(
            f"it is of type '{shown(item.get('type'))}' for '{shown(item.get('to_name'))}'; "
            f"'{name}' gives {control.region} for '{IMAGE}'"
        )
    return control


def _label(value: Mapping[str, Any], control: Control, asked: Asked) -> str:
    labels = value.get("choices" if control.tag == "Choices" else control.region)
    allowed = control.labels(asked.class_names)
    if not isinstance(labels, list) or len(labels) != 1:
        raise DataError(f"it has no label, or several; allowed is one of {_listed(allowed)}")
    if not isinstance(labels[0], str) or labels[0] not in allowed:
        raise DataError(f"it has the label '{shown(labels[0])}'; allowed are {_listed(allowed)}")
    return labels[0]


def _page(item: Mapping[str, Any], pages: Pages) -> int:
    page = item.get("item_index")
    if page is None and pages.num_pages == 1:
        return 0
    if type(page) is not int or not 0 <= page < pages.num_pages:
        raise DataError(f"it is on page (item_index) {shown(page)}; the task has pages 0 to {pages.num_pages - 1}")
    return page


def _check_size(item: Mapping[str, Any], pages: Pages) -> None:
    height, width = item.get("original_height"), item.get("original_width")
    if type(height) is not int or type(width) is not int or (height, width) != pages.shape_yx:
        raise DataError(
            f"it was drawn on a picture of {shown(height)} × {shown(width)} pixels; "
            f"the page has {pages.shape_yx[0]} × {pages.shape_yx[1]}"
        )
    if item.get("image_rotation", 0) != 0:
        raise DataError("it was drawn on a turned picture; turn it back and draw again")


def _contains(patch: Patch, voxel: Zyx) -> bool:
    return all(a <= v < b for a, v, b in zip(patch.start_zyx, voxel, patch.stop_zyx, strict=True))


def _mapping(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise DataError(f"{what} is no object of JSON")
    return value


def _listed(labels: tuple[str, ...]) -> str:
    return ", ".join(f"'{shown(label)}'" for label in labels)
