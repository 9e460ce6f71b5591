"""Warnings that only the voxels can give: text written into them, and a face that could be drawn from them.

Shape letters: C = channels, Z, Y, X = space. Both are looked for, neither is ruled out: a
volume without these flags is not thereby free of text or faces, and one with them may be innocent.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from hilum.adapters.foreground import foreground_level
from hilum.core.sources import ReadImage
from hilum.nn.parts import largest_part

Plane = npt.NDArray[np.float32]

BURNED_IN_TEXT, FACE = "burned_in_text", "face"

MAX_PLANES = 3
MAX_SIDE_PX = 2048
MAX_SHAPES = 3000
"""However odd an image is, looking at it stays a matter of a second."""
MIN_GLYPHS = 5
GLYPH_HEIGHT_PX = (6, 48)
TEXT_LEVEL = 0.75
"""Writing is as bright as the image can be; this share of it still belongs to a letter's soft edge."""
MIN_EDGE = 0.35
AROUND_PX = 2
MAX_SHARE_BRIGHT = 0.25
MIN_SHARE_GLYPHS = 0.1
"""Of all bright spots; among those of noise a few look like letters, too."""

HEAD_MM = ((110.0, 330.0), (120.0, 300.0), (100.0, 230.0))
"""Shortest and longest plausible head, from below to above, front to back and side to side, neck included."""
MIN_HEAD_LITRES, MAX_HEAD_LITRES = 1.8, 9.0
"""A brain without its skin fills less, a body more."""
LOOK_MM = 6.0


def with_pixel_flags(image: ReadImage) -> ReadImage:
    """The image with the warnings that its voxels give added to those of its header."""
    found = {*image.flags}
    if has_text(image):
        found.add(BURNED_IN_TEXT)
    if has_face(image):
        found.add(FACE)
    return image if found == {*image.flags} else replace(image, flags=tuple(sorted(found)))


def has_text(image: ReadImage) -> bool:
    """True when some plane shows a row of letter-sized, sharp-edged shapes as bright as the image gets."""
    num_planes = image.image_czyx.shape[1]
    chosen = np.unique(np.linspace(0, num_planes - 1, min(num_planes, MAX_PLANES)).round().astype(int))
    return any(_plane_has_text(image.image_czyx[:, z].max(axis=0)) for z in chosen)


def has_face(image: ReadImage) -> bool:
    """True for a volume whose outer surface has the size of a head with its skin on."""
    shape, spacing = image.item_shape_zyx, image.grid.spacing_mm_zyx
    extent_mm = [n * mm for n, mm in zip(shape, spacing, strict=True)]
    if min(extent_mm) < min(low for low, _ in HEAD_MM) or image.intensity == "photograph" or min(shape) < 8:
        return False
    every = [max(1, round(LOOK_MM / mm)) for mm in spacing]
    small = image.image_czyx[0, : shape[0] : every[0], :: every[1], :: every[2]].astype(np.float32)
    if not np.isfinite(small).all():
        return False
    steps_mm = [n * mm for n, mm in zip(every, spacing, strict=True)]
    inside = _filled_surface(small)
    litres = float(inside.sum()) * float(np.prod(steps_mm)) / 1e6
    if not MIN_HEAD_LITRES <= litres <= MAX_HEAD_LITRES:
        return False
    # Which array axis runs up, to the front and to the side: the one most along each world axis.
    turns = np.abs(np.array(image.grid.direction))
    boxes = ndimage.find_objects(inside.astype(np.int8))[0]
    for world_axis, (low, high) in zip((2, 1, 0), HEAD_MM, strict=True):
        axis = int(turns[world_axis].argmax())
        length_mm = (boxes[axis].stop - boxes[axis].start) * steps_mm[axis]
        if not low <= length_mm <= high:
            return False
    return True


def _filled_surface(image_ZYX: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """The largest thing that is not air, with everything that it encloses."""
    largest = largest_part(image_ZYX > foreground_level(image_ZYX))
    if not largest.any():
        return largest
    closed = ndimage.binary_closing(np.pad(largest, 2), iterations=2)[2:-2, 2:-2, 2:-2]
    # What cannot be reached from outside is inside: the same as scipy's binary_fill_holes, at once.
    around = ndimage.label(~np.pad(closed | largest, 1))[0]
    return np.asarray(around != around[0, 0, 0], bool)[1:-1, 1:-1, 1:-1]


def _plane_has_text(plane_YX: npt.NDArray[Any]) -> bool:
    every = -(-max(plane_YX.shape) // MAX_SIDE_PX)
    plane_YX = plane_YX[::every, ::every]
    if min(plane_YX.shape) < 4 * GLYPH_HEIGHT_PX[0]:
        return False
    low, high = float(plane_YX.min()), float(plane_YX.max())
    if not np.isfinite(high - low) or high <= low:
        return False
    scaled = (plane_YX.astype(np.float32) - np.float32(low)) / np.float32(high - low)
    return _has_bright_text(scaled) or _has_bright_text(1 - scaled)


def _has_bright_text(plane_YX: Plane) -> bool:
    bright = plane_YX >= TEXT_LEVEL
    if not 0 < bright.mean() <= MAX_SHARE_BRIGHT:
        return False
    place = _around(bright)
    plane_YX, bright = plane_YX[place], bright[place]
    parts, num_parts = ndimage.label(bright, structure=np.ones((3, 3)))
    fewest = max(MIN_GLYPHS, MIN_SHARE_GLYPHS * num_parts)
    sized = [box for box in ndimage.find_objects(parts) if _has_letter_size(box)]
    if len(sized) < fewest:
        return False
    glyphs = [box for box in sized[:MAX_SHAPES] if _is_drawn(plane_YX, bright, box)]
    if len(glyphs) < min(fewest, MAX_SHAPES * MIN_SHARE_GLYPHS):
        return False
    boxes = np.array([(y.start, y.stop, x.start, x.stop) for y, x in glyphs], float).reshape(-1, 4)
    return any(_row_length(boxes, box) >= MIN_GLYPHS for box in boxes)


def _around(bright_YX: npt.NDArray[np.bool_]) -> tuple[slice, slice]:
    """Where anything is bright, with as much around it as `_is_drawn` looks at: often a corner of the image."""
    y, x = (np.flatnonzero(bright_YX.any(axis=axis)) for axis in (1, 0))
    return slice(max(0, y[0] - AROUND_PX), y[-1] + 1 + AROUND_PX), slice(
        max(0, x[0] - AROUND_PX), x[-1] + 1 + AROUND_PX
    )


def _has_letter_size(box: tuple[slice, slice]) -> bool:
    height, width = (side.stop - side.start for side in box)
    return bool(GLYPH_HEIGHT_PX[0] <= height <= GLYPH_HEIGHT_PX[1] and width <= 1.6 * height)


def _is_drawn(plane_YX: Plane, bright_YX: npt.NDArray[np.bool_], box: tuple[slice, slice]) -> bool:
    """True for a shape drawn in one grey on an even ground: sharp edges, and nothing as bright around it."""
    around = tuple(slice(max(0, side.start - AROUND_PX), side.stop + AROUND_PX) for side in box)
    near, inside = plane_YX[around], bright_YX[around]
    outside = near[~ndimage.binary_dilation(inside, structure=np.ones((3, 3)))]
    strokes = near[inside]
    if not outside.size:
        return False
    edge = float(np.median(strokes) - np.median(outside))
    return edge >= MIN_EDGE and float(strokes.max()) >= 0.97 and float(np.percentile(outside, 75)) <= 0.6


def _row_length(boxes: npt.NDArray[np.float64], first: npt.NDArray[np.float64]) -> int:
    """How many shapes of like height stand on one line beside ``first``, none further than a wide gap from the next."""
    height = first[1] - first[0]
    heights = boxes[:, 1] - boxes[:, 0]
    beside = (np.abs(boxes[:, 1] - first[1]) <= 0.15 * height + 1) & (np.abs(heights - height) <= 0.4 * height + 1)
    line = boxes[beside]
    line = line[np.argsort(line[:, 2])]
    at = int(np.flatnonzero((line == first).all(axis=1))[0])
    length = 1
    for left, right in zip(line[at:-1], line[at + 1 :], strict=True):
        if right[2] - left[3] > 2 * height:
            break
        length += 1
    return length
