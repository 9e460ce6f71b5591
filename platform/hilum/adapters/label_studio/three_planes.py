"""Where a page lies in the body: three planes of the whole item in one picture, with the patch marked in each.

Axial, coronal, sagittal side by side in true proportions, as a radiologist hangs them, through the middle of what
the page shows of the patch. A flat image is shown whole, with the patch marked in it.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw

from hilum.adapters.label_studio.pages import Picture, View, check_view, windowed
from hilum.adapters.label_studio.slices import Pages, hang
from hilum.core.errors import DataError
from hilum.core.geometry import Patch
from hilum.core.imaging import Volume
from hilum.store.volumes import VolumeReader

SIDE_PIXELS = 384
_MOST_VOXELS = 1 << 24
_GAP = 4
_PATCH_COLOUR = (0, 212, 154)
_PLANE_COLOUR = (230, 159, 0)


def draw_planes(reader: VolumeReader, view: View, page: int) -> Picture:
    """The picture (Y, X, 3): the patch framed in green, the page's own plane of it in orange."""
    check_view(view, reader.volume, page)
    volume, patch = reader.volume, view.pages.patch
    axis = view.pages.through[0]
    centre = [start + size // 2 for start, size in zip(patch.start_zyx, patch.shape_zyx, strict=True)]
    centre[axis] = view.pages.voxel(page, 0, 0)[axis]
    panels = []
    for pages in _planes(volume, patch, centre):
        panel = _panel(reader, view, pages)
        _mark(panel, pages, patch, _PATCH_COLOUR)
        if pages.through[0] != axis:
            _mark(panel, pages, _slab(patch, axis, centre[axis]), _PLANE_COLOUR)
        panels.append(panel)
    return _side_by_side(panels)


def _planes(volume: Volume, patch: Patch, centre: Sequence[int]) -> list[Pages]:
    """The planes of the patch's item, one voxel thick each, as they hang: axial, coronal, sagittal."""
    depth, height, width = volume.item_shape_zyx
    item = Patch(volume.volume_id, (volume.item_index(patch) * depth, 0, 0), (depth, height, width))
    _, _, axial = axes = [axis for axis, _ in volume.grid.anatomical_axes()]
    thin = [axis for axis in range(3) if item.shape_zyx[axis] == 1]
    through = [axial, axes[1], axes[0]] if not thin else thin[:1]
    return [_hung(volume, _slab(item, axis, centre[axis])) for axis in through]


def _hung(volume: Volume, slab: Patch) -> Pages:
    hung = hang(volume, slab, target_side=1)
    return Pages(slab, slab.start_zyx, slab.shape_zyx, hung.through, hung.down, hung.across)


def _panel(reader: VolumeReader, view: View, pages: Pages) -> Image.Image:
    """A plane in true proportions, its longer side `SIDE_PIXELS` long."""
    rows, columns = pages.shape_yx
    if rows * columns > _MOST_VOXELS:
        raise DataError(f"A plane of {rows} × {columns} voxels is too large for an overview.")
    grey_CYX = pages.picture(windowed(reader.read_CZYX(pages.patch), view, reader.volume), 0)
    spacing = reader.volume.grid.spacing_mm_zyx
    mm = rows * spacing[pages.down[0]], columns * spacing[pages.across[0]]
    height, width = (max(1, round(side * SIDE_PIXELS / max(mm))) for side in mm)
    pixels = np.moveaxis(grey_CYX, 0, -1) if len(grey_CYX) == 3 else grey_CYX[0]
    return Image.fromarray(pixels).convert("RGB").resize((width, height), Image.Resampling.BILINEAR)


def _mark(panel: Image.Image, pages: Pages, box: Patch, colour: tuple[int, int, int]) -> None:
    """The outline of a box as it lies in a plane, wherever along the axis through the plane it lies."""
    axis = pages.through[0]
    corners = []
    for corner in (box.start_zyx, [stop - 1 for stop in box.stop_zyx]):
        voxel = list(corner)
        voxel[axis] = pages.shown_start_zyx[axis]
        corners.append(pages.pixels((voxel[0], voxel[1], voxel[2]))[1:])
    rows, columns = ([s for pair in corners for s in (pair[k].start, pair[k].stop)] for k in (0, 1))
    tall, wide = panel.height / pages.shape_yx[0], panel.width / pages.shape_yx[1]
    left, right = round(min(columns) * wide), round(max(columns) * wide) - 1
    top, bottom = round(min(rows) * tall), round(max(rows) * tall) - 1
    ImageDraw.Draw(panel).rectangle((left, top, max(left, right), max(top, bottom)), outline=colour)


def _side_by_side(panels: Sequence[Image.Image]) -> Picture:
    lefts = [0]
    for panel in panels:
        lefts.append(lefts[-1] + panel.width + _GAP)
    whole = Image.new("RGB", (lefts[-1] - _GAP, max(panel.height for panel in panels)))
    for panel, (left, _) in zip(panels, pairwise(lefts), strict=True):
        whole.paste(panel, (left, (whole.height - panel.height) // 2))
    return np.asarray(whole)


def _slab(box: Patch, axis: int, at: int) -> Patch:
    """One plane of a box."""
    start, shape = list(box.start_zyx), list(box.shape_zyx)
    start[axis], shape[axis] = at, 1
    return Patch(box.volume_id, (start[0], start[1], start[2]), (shape[0], shape[1], shape[2]))
