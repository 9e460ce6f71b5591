"""Three planes of a volume as a radiologist hangs them, with the true labels drawn over.

Axial, coronal, sagittal: head or front up, the patient's right on the left of the picture,
sagittal facing left. Shape letters: C = channels, Z, Y, X = space; pictures are (Y, X, 3).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from hilum.core.asking import IGNORE, LabelMap
from hilum.core.geometry import Patch, Zyx
from hilum.core.imaging import Volume
from hilum.store.volumes import VolumeReader

COLOURS = ("#56b4e9", "#e69f00", "#00d49a", "#f07ac0", "#f0e442", "#ff6a3d", "#9d8cff", "#b5e853")
"""Of classes 1, 2, …: bright over grey, and apart for colour-blind people."""

SIDE_PIXELS = 240
OPACITY = 0.3
_SLAB_BYTES = 64 << 20
_X, _Y, _Z = 0, 1, 2
_PLANES = (("axial", _Z, _Y, _X), ("coronal", _Y, _Z, _X), ("sagittal", _X, _Z, _Y))
"""Name, and the world axes that run through, down and across the picture."""

Picture = npt.NDArray[np.uint8]
Run = tuple[int, int]
"""An array axis, and +1 or -1: which way a world axis runs along it."""


@dataclass(frozen=True)
class Shown:
    """What is drawn of one volume: named pictures, and the classes whose labels are in it."""

    pictures: tuple[tuple[str, Picture], ...]
    labelled_classes: tuple[int, ...]


def shown(reader: VolumeReader) -> Shown:
    """Three planes of a block, where most labels are; of flat images the first, middle and last."""
    volume = reader.volume
    depth, height, width = volume.item_shape_zyx
    if depth == 1:
        middle = sorted({0, volume.num_items // 2, volume.num_items - 1})
        starts = middle if volume.num_items > 1 else [0]
        flat = tuple((f"image {k + 1}", _flat(reader, (k, 0, 0), (1, height, width))) for k in starts)
        return Shown(flat, _classes_in(reader, (0, 0, 0), (min(volume.num_items, 64), height, width)))
    start = ((volume.num_items // 2) * depth, 0, 0)
    tally = _label_tally(reader, start, volume.item_shape_zyx)
    centre = _centre(tally, volume.item_shape_zyx)
    axes = volume.grid.anatomical_axes()
    pictures = []
    for name, through, down, across in _PLANES:
        box = _slice_box(start, volume.item_shape_zyx, axes[through][0], centre)
        pictures.append((name, _plane(reader, *_read(reader, *box), axes[down], axes[across])))
    return Shown(tuple(pictures), tuple(sorted(tally.classes)))


@dataclass(frozen=True)
class Slice:
    """One plane of a patch: its name, how it looks, and how with labels over it (None where there are none)."""

    plane: str
    plain: Picture
    labelled: Picture | None


def patch_slices(reader: VolumeReader, patch: Patch, label_map_ZYX: LabelMap | None = None) -> tuple[Slice, ...]:
    """A patch as somebody is asked about it: three planes of a block, the one of a slice or an image.

    Where most labels of ``label_map_ZYX`` (an answer, or a draft of one) are; in the middle where there are none.
    """
    shape = patch.shape_zyx
    image_CZYX = reader.read_CZYX(patch)
    tally = _Tally([np.zeros(n, np.int64) for n in shape], set())
    if label_map_ZYX is not None:
        tally.add(label_map_ZYX, 0)
    centre = _centre(tally, shape)
    slices = []
    for name, down, across in _planes_of(reader.volume, shape):
        through = 3 - down[0] - across[0]
        image = np.take(image_CZYX, [centre[through]], axis=1 + through)
        labels = None if label_map_ZYX is None else np.take(label_map_ZYX, [centre[through]], axis=through)
        plain = _plane(reader, image, None, down, across)
        slices.append(Slice(name, plain, None if labels is None else _plane(reader, image, labels, down, across)))
    return tuple(slices)


def _planes_of(volume: Volume, shape: Zyx) -> list[tuple[str, Run, Run]]:
    """Name, and what runs down and across, of every plane in which a patch of this shape is no line."""
    if volume.item_shape_zyx[0] == 1:
        return [("image", (1, -1), (2, -1))]
    axes = volume.grid.anatomical_axes()
    thin = [axis for axis in range(3) if shape[axis] == 1]
    return [
        (name, axes[down], axes[across])
        for name, through, down, across in _PLANES
        if not thin or axes[through][0] in thin
    ]


@dataclass
class _Tally:
    """How many labelled voxels lie in each slice along each array axis, and which classes there are."""

    per_slice: list[npt.NDArray[np.int64]]
    classes: set[int]

    def add(self, labels_ZYX: LabelMap, z: int) -> None:
        """Count a slab that begins at slice ``z``."""
        is_labelled = (labels_ZYX > 0) & (labels_ZYX < IGNORE)
        self.classes |= {int(c) for c in np.unique(labels_ZYX[is_labelled])}
        self.per_slice[0][z : z + labels_ZYX.shape[0]] += is_labelled.sum(axis=(1, 2))
        self.per_slice[1] += is_labelled.sum(axis=(0, 2))
        self.per_slice[2] += is_labelled.sum(axis=(0, 1))


def _label_tally(reader: VolumeReader, start: Zyx, shape: Zyx) -> _Tally:
    """Count labels slab by slab: a large label map is never whole in memory."""
    tally = _Tally([np.zeros(n, np.int64) for n in shape], set())
    if not reader.volume.has_label_map:
        return tally
    thickness = max(1, _SLAB_BYTES // (2 * shape[1] * shape[2]))
    for z in range(0, shape[0], thickness):
        slab = Patch(
            reader.volume.volume_id, (start[0] + z, start[1], start[2]), (min(thickness, shape[0] - z), *shape[1:])
        )
        tally.add(reader.read_label_map_ZYX(slab), z)
    return tally


def _classes_in(reader: VolumeReader, start: Zyx, shape: Zyx) -> tuple[int, ...]:
    return tuple(sorted(_label_tally(reader, start, shape).classes))


def _centre(tally: _Tally, shape: Zyx) -> Zyx:
    """The slices with most labels; the middle where there are none."""
    z, y, x = (
        int(counts.argmax()) if counts.any() else n // 2 for counts, n in zip(tally.per_slice, shape, strict=True)
    )
    return z, y, x


def _slice_box(start: Zyx, shape: Zyx, axis: int, centre: Zyx) -> tuple[Zyx, Zyx]:
    starts, sizes = list(start), list(shape)
    starts[axis] += centre[axis]
    sizes[axis] = 1
    return (starts[0], starts[1], starts[2]), (sizes[0], sizes[1], sizes[2])


def _plane(
    reader: VolumeReader, image_CZYX: npt.NDArray[Any], label_map_ZYX: LabelMap | None, down: Run, across: Run
) -> Picture:
    """One slice, turned so that ``down`` and ``across`` run as they hang."""
    through = 3 - down[0] - across[0]
    turned = _turned(np.take(image_CZYX, 0, axis=1 + through), 1, down, across)
    labels = None if label_map_ZYX is None else _turned(np.take(label_map_ZYX, 0, axis=through), 0, down, across)
    spacing = reader.volume.grid.spacing_mm_zyx
    return _drawn(reader, turned, labels, (spacing[down[0]], spacing[across[0]]))


def _turned(plane: npt.NDArray[Any], first: int, down: Run, across: Run) -> npt.NDArray[Any]:
    """Rows along ``down``, columns along ``across``; head, front and the patient's right come first."""
    turned = np.swapaxes(plane, first, first + 1) if down[0] > across[0] else plane
    flips = tuple(first + k for k, (_, sign) in enumerate((down, across)) if sign > 0)
    return np.flip(turned, axis=flips)


def _flat(reader: VolumeReader, start: Zyx, shape: Zyx) -> Picture:
    image_CZYX, label_map_ZYX = _read(reader, start, shape)
    spacing = reader.volume.grid.spacing_mm_zyx
    return _drawn(reader, image_CZYX[:, 0], None if label_map_ZYX is None else label_map_ZYX[0], spacing[1:])


def _read(reader: VolumeReader, start: Zyx, shape: Zyx) -> tuple[npt.NDArray[Any], LabelMap | None]:
    patch = Patch(reader.volume.volume_id, start, shape)
    labels = reader.read_label_map_ZYX(patch) if reader.volume.has_label_map else None
    return reader.read_CZYX(patch), labels


def _drawn(
    reader: VolumeReader,
    image_CYX: npt.NDArray[Any],
    label_map_YX: npt.NDArray[Any] | None,
    mm_per_pixel: Sequence[float],
) -> Picture:
    """The slice in grey (or its own colours) with square pixels, each class a tint with an outline."""
    size = _fitted(image_CYX.shape[1:], mm_per_pixel)
    grey = _windowed(image_CYX, reader.volume.low, reader.volume.high)
    picture = np.array(Image.fromarray(grey).convert("RGB").resize(size, Image.Resampling.BILINEAR))
    if label_map_YX is None:
        return picture
    # 16-bit pictures are resized as 32-bit ones: Pillow turns the former around on some machines.
    labels = np.array(Image.fromarray(label_map_YX.astype(np.int32)).resize(size, Image.Resampling.NEAREST))
    for class_id in (int(c) for c in np.unique(labels) if 0 < c < IGNORE):
        _tint(picture, labels == class_id, class_id)
    return picture


def colour_of(class_id: int) -> str:
    """The colour of a class (1 upwards) on every picture and plot."""
    return COLOURS[(class_id - 1) % len(COLOURS)]


def rgb_of(class_id: int) -> tuple[int, int, int]:
    """The same colour as red, green and blue, 0 to 255."""
    red, green, blue = (int(colour_of(class_id)[k : k + 2], 16) for k in (1, 3, 5))
    return red, green, blue


def _tint(picture: Picture, mask_YX: npt.NDArray[np.bool_], class_id: int) -> None:
    rgb = np.array(rgb_of(class_id), dtype=np.float32)
    picture[mask_YX] = ((1 - OPACITY) * picture[mask_YX] + OPACITY * rgb).astype(np.uint8)
    picture[mask_YX & ~ndimage.binary_erosion(mask_YX)] = rgb.astype(np.uint8)


def _fitted(shape_yx: Sequence[int], mm_per_pixel: Sequence[float]) -> tuple[int, int]:
    """(width, height) in pixels of a picture whose longer side is `SIDE_PIXELS`, in true proportions."""
    height, width = (n * mm for n, mm in zip(shape_yx, mm_per_pixel, strict=True))
    scale = SIDE_PIXELS / max(height, width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _windowed(image_CYX: npt.NDArray[Any], low: float, high: float) -> Picture:
    chosen = image_CYX if len(image_CYX) == 3 else image_CYX[:1]
    scaled = np.clip((chosen.astype(np.float32) - low) / max(high - low, 1e-6), 0.0, 1.0)
    levels: Picture = (scaled * 255).round().astype(np.uint8)
    return np.ascontiguousarray(np.moveaxis(levels, 0, -1)) if len(levels) == 3 else levels[0]
