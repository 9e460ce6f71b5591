"""A page of a task as a picture, straight from the store: which grey levels, which voxels, and a frame.

Every pixel of a page is one voxel's grey level, enlarged by whole factors and never smoothed, so that what a person
paints is what is meant. Where a page shows more than the patch, a dashed frame runs around the patch, outside it.
Shape letters: C = channels, Z, Y, X = space, or Y, X = rows and columns of a picture.
"""

import io
import re
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image

from hilum.adapters.label_studio.links import Encoding
from hilum.adapters.label_studio.slices import Pages, Run
from hilum.core.errors import DataError, RequestError, unknown_name
from hilum.core.geometry import Patch, Zyx
from hilum.core.imaging import HOUNSFIELD, Volume
from hilum.core.recipes import WINDOWS_HU
from hilum.store.volumes import VolumeReader

FULL = "full"
"""The window from the volume's ``low`` to its ``high``: what its recipe says, else its 0.5 and 99.5 percentiles."""

SOFT_TISSUE = "abdomen"
WINDOWS = (FULL, *WINDOWS_HU)
JPEG_QUALITY = 90
DRAWING_VERSION = 2
"""Raised when the same address gives another picture than before."""

_PNG_EFFORT = 3
_DASH = 8
_AXES = "zyx"
_NUMBER = r"\d{1,6}"
_VIEW = re.compile(
    rf"(?P<runs>[xyzXYZ]{{3}})-(?P<tall>\d{{1,2}})x(?P<wide>\d{{1,2}})"
    rf"-(?P<start>{_NUMBER}\.{_NUMBER}\.{_NUMBER})-(?P<shape>{_NUMBER}\.{_NUMBER}\.{_NUMBER})"
    r"-(?P<window>[a-z]{1,12})-c(?P<channel>\d{1,3})",
    re.ASCII,
)

Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class View:
    """How a patch is shown: its pages, in which window, and of which channel (three channels are colours)."""

    pages: Pages
    window: str = FULL
    channel: int = 0

    def __post_init__(self) -> None:
        if self.window not in WINDOWS:
            raise RequestError(unknown_name("window", self.window, WINDOWS))

    @property
    def word(self) -> str:
        """All of it but the patch as one word of an address; `view_of` reads it."""
        pages = self.pages
        runs = "".join(
            _AXES[axis] if step > 0 else _AXES[axis].upper() for axis, step in (pages.through, pages.down, pages.across)
        )
        start, shape = (".".join(map(str, three)) for three in (pages.shown_start_zyx, pages.shown_shape_zyx))
        tall, wide = pages.scale_yx
        return f"{runs}-{tall}x{wide}-{start}-{shape}-{self.window}-c{self.channel}"


def view_of(word: str, patch: Patch) -> View:
    """The view of a patch that a word of an address says; a RequestError where it cannot be meant."""
    found = _VIEW.fullmatch(word)
    if found is None:
        raise DataError("No view has this word.")
    through, down, across = (_run(letter) for letter in found["runs"])
    scale = int(found["tall"]), int(found["wide"])
    pages = Pages(patch, _zyx(found["start"]), _zyx(found["shape"]), through, down, across, scale)
    view = View(pages, found["window"], int(found["channel"]))
    if view.word != word:  # 007 is 7: one view has one word
        raise DataError("No view has this word.")
    return view


def default_window(volume: Volume) -> str:
    """Soft tissue for CT, whose grey levels mean the same everywhere; `FULL` for all else."""
    return SOFT_TISSUE if volume.modality == "CT" else FULL


def check_view(view: View, volume: Volume, page: int) -> None:
    """DataError where the volume has no such page, channel or window."""
    shown, shape = view.pages.shown, volume.grid.shape_zyx
    if not all(0 <= a < b <= n for a, b, n in zip(shown.start_zyx, shown.stop_zyx, shape, strict=True)):
        raise DataError(f"What is shown does not lie in the volume of shape {shape} (Z, Y, X).")
    if shown.volume_id != volume.volume_id or not 0 <= page < view.pages.num_pages:
        raise DataError(f"There is no page {page}; the pages are 0 to {view.pages.num_pages - 1}.")
    if not 0 <= view.channel < volume.num_channels:
        raise DataError(f"There is no channel {view.channel}; the channels are 0 to {volume.num_channels - 1}.")
    levels(view.window, volume)


def levels(window: str, volume: Volume) -> tuple[float, float]:
    """The grey levels that become black and white."""
    if window == FULL:
        return volume.low, volume.high
    if volume.modality not in HOUNSFIELD:
        raise DataError(f"The window '{window}' is in Hounsfield units and this is {volume.modality}; use '{FULL}'.")
    return WINDOWS_HU[window]


def draw_page(reader: VolumeReader, view: View, page: int) -> Picture:
    """A page (Y, X) in grey, or (Y, X, 3) in colours, read plane by plane."""
    check_view(view, reader.volume, page)
    pages = view.pages
    axis = pages.through[0]
    start, shape = list(pages.shown_start_zyx), list(pages.shown_shape_zyx)
    start[axis], shape[axis] = pages.voxel(page, 0, 0)[axis], 1
    plane = _patch(pages.patch.volume_id, start, shape)
    flat = Pages(plane, plane.start_zyx, plane.shape_zyx, pages.through, pages.down, pages.across, pages.scale_yx)
    grey_CYX = flat.picture(windowed(reader.read_CZYX(plane), view, reader.volume), 0)
    picture = np.ascontiguousarray(np.moveaxis(grey_CYX, 0, -1)) if len(grey_CYX) == 3 else grey_CYX[0].copy()
    if pages.plane(page) is None:
        _cross(picture)
    else:
        _frame(picture, *pages.asked_box())
    return picture


def windowed(image_CZYX: npt.NDArray[Any], view: View, volume: Volume) -> Picture:
    """Grey levels as 0 to 255 (C, Z, Y, X): three channels where they are colours, else the view's one."""
    low, high = levels(view.window, volume)
    chosen = image_CZYX if len(image_CZYX) == 3 else image_CZYX[view.channel : view.channel + 1]
    scaled = np.clip((chosen.astype(np.float32) - np.float32(low)) / np.float32(max(high - low, 1e-6)), 0.0, 1.0)
    grey: Picture = np.rint(scaled * 255).astype(np.uint8)
    return grey


def encoded(picture: Picture, encoding: Encoding) -> bytes:
    """The picture's file: the same bytes each time. JPEG is smaller, and no longer exact."""
    assert encoding in get_args(Encoding)
    sink = io.BytesIO()
    image = Image.fromarray(picture)
    if encoding == "png":
        image.save(sink, format="PNG", compress_level=_PNG_EFFORT)
    else:
        image.save(sink, format="JPEG", quality=JPEG_QUALITY)
    return sink.getvalue()


def _frame(picture: Picture, rows: slice, columns: slice) -> None:
    """Black and white dashes just outside the patch, where there is an outside."""
    height, width = picture.shape[:2]
    top, bottom, left, right = rows.start - 1, rows.stop, columns.start - 1, columns.stop
    across, down = np.arange(max(left, 0), min(right + 1, width)), np.arange(max(top, 0), min(bottom + 1, height))
    for row in (top, bottom):
        if 0 <= row < height:
            picture[row, across] = _dashes(across, picture.ndim)
    for column in (left, right):
        if 0 <= column < width:
            picture[down, column] = _dashes(down, picture.ndim)


def _cross(picture: Picture) -> None:
    """Dashes from corner to corner of a page that is context: nobody is asked about it."""
    height, width = picture.shape[:2]
    along = np.arange(max(height, width))
    rows, columns = along * height // len(along), along * width // len(along)
    for across in (columns, width - 1 - columns):
        picture[rows, across] = _dashes(along, picture.ndim)


def _dashes(along: npt.NDArray[np.int64], num_axes: int) -> Picture:
    dashes: Picture = np.where(along // _DASH % 2 == 0, 255, 0).astype(np.uint8)
    return dashes if num_axes == 2 else dashes[:, None]


def _run(letter: str) -> Run:
    return _AXES.index(letter.lower()), 1 if letter.islower() else -1


def _zyx(text: str) -> Zyx:
    z, y, x = (int(word) for word in text.split("."))
    return z, y, x


def _patch(volume_id: str, start: list[int], shape: list[int]) -> Patch:
    return Patch(volume_id, (start[0], start[1], start[2]), (shape[0], shape[1], shape[2]))
