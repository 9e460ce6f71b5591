"""Annotations as Label Studio's API gives them, and the question they answer."""

from typing import Any

import numpy as np

from hilum.adapters.label_studio import bitmask, brush_rle
from hilum.adapters.label_studio.asked import Asked
from hilum.adapters.label_studio.slices import Pages
from hilum.core.geometry import Patch

CLASSES = ("background", "liver", "tumour")
PATCH = Patch("0123456789ab", (2, 3, 4), (3, 4, 5))
PAGES = Pages(PATCH, (1, 2, 2), (5, 7, 9), (0, -1), (2, 1), (1, -1), (4, 4))
"""Five pages of 36 × 28 pixels; the patch is on pages 1 to 3, its last plane first."""

FIRST, MIDDLE, LAST, CONTEXT = 3, 2, 1, 0
"""Pages that show plane 0, 1 and 2 of the patch, and one that shows none."""


def asked(kind: str = "segment", class_names: tuple[str, ...] = CLASSES) -> Asked:
    return Asked(kind, class_names, PAGES)


def annotation(*results: Any, **other: Any) -> dict[str, Any]:
    return {
        "id": 7,
        "unique_id": "8d3f0c2a-1b2c-4d5e-8f90-a1b2c3d4e5f6",
        "task": 3,
        "project": 1,
        "completed_by": 2,
        "was_cancelled": False,
        "ground_truth": False,
        "lead_time": 12.5,
        "updated_at": "2026-11-23T01:01:41.250000Z",
        "parent_prediction": None,
        "result": list(results),
    } | other


def region(name: str, kind: str, label: str, value: dict[str, Any], *, page: int, **other: Any) -> dict[str, Any]:
    return {
        "id": "r",
        "from_name": name,
        "to_name": "image",
        "type": kind,
        "origin": "manual",
        "original_width": PAGES.shape_yx[1],
        "original_height": PAGES.shape_yx[0],
        "image_rotation": 0,
        "item_index": page,
        "value": {**value, kind: [label]},
    } | other


def brush(label: str, mask_YX: np.ndarray, *, page: int, **other: Any) -> dict[str, Any]:
    value = {"format": "rle", "rle": brush_rle.encode(mask_YX)}
    return region("brush", "brushlabels", label, value, page=page, **other)


def bitmask_of(label: str, mask_YX: np.ndarray, *, page: int) -> dict[str, Any]:
    return region("bitmask", "bitmasklabels", label, {"imageDataURL": bitmask.encode(mask_YX)}, page=page)


def polygon(label: str, points: list[list[float]], *, page: int) -> dict[str, Any]:
    return region("polygon", "polygonlabels", label, {"points": points, "closed": True}, page=page)


def rectangle(label: str, *, page: int, name: str = "rectangle", **value: float) -> dict[str, Any]:
    square = {"x": 10, "y": 10, "width": 50, "height": 50, "rotation": 0}
    return region(name, "rectanglelabels", label, {**square, **value}, page=page)


def ellipse(label: str, *, page: int) -> dict[str, Any]:
    value = {"x": 50, "y": 50, "radiusX": 30, "radiusY": 30, "rotation": 0}
    return region("ellipse", "ellipselabels", label, value, page=page)


def point(label: str, voxel_zyx: tuple[int, int, int], **other: Any) -> dict[str, Any]:
    page, rows, columns = PAGES.pixels(voxel_zyx)
    height, width = PAGES.shape_yx
    value = {"x": (columns.start + 1.5) / width * 100, "y": (rows.start + 1.5) / height * 100, "width": 0.5}
    return region("point", "keypointlabels", label, value, page=page, **other)


def choice(label: str, *, page: int | None, name: str = "page") -> dict[str, Any]:
    chosen = {"id": "c", "from_name": name, "to_name": "image", "type": "choices", "origin": "manual"}
    return {**chosen, "value": {"choices": [label]}} | ({} if page is None else {"item_index": page})


def painted(plane_of_patch: np.ndarray, page: int) -> np.ndarray:
    """The pixels of a page that show these voxels of its plane."""
    whole = np.zeros(PATCH.shape_zyx, np.uint8)
    whole[PAGES.plane(page)] = plane_of_patch
    return PAGES.page_of_map(whole, page, fill=0) > 0


def everything(page: int = MIDDLE) -> np.ndarray:
    return painted(np.ones(PATCH.shape_zyx[1:], bool), page)


def one_voxel(y: int, x: int, page: int = MIDDLE) -> np.ndarray:
    plane = np.zeros(PATCH.shape_zyx[1:], bool)
    plane[y, x] = True
    return painted(plane, page)
