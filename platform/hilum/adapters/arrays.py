"""NumPy files: one array (.npy), or a stack of many small images with what is known of each (.npz).

A stack's keys: ``images`` (N, Y, X), (N, Z, Y, X) or either with trailing channels; and, each
of length N and optional, ``labels`` (a class each, or a label map each), ``patients``,
``sides`` ('pool', 'validation', 'test'); and ``class_names``. Blocks cut out of one scan may
say its ``spacing_mm_zyx`` (3,) and ``direction`` (3, 3). Nothing pickled is ever loaded.
"""

import io
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from hilum.adapters.hostile import MAX_BYTES, check_ratio, check_size, label_map, refusing, storable
from hilum.core.errors import DataError, unknown_name
from hilum.core.geometry import Grid
from hilum.core.imaging import Side
from hilum.core.sources import Intensity, ReadImage

KEYS = ("images", "labels", "patients", "sides", "class_names", "spacing_mm_zyx", "direction")
MAX_CHANNELS = 4


def read_npy(payload: bytes, *, max_bytes: int = MAX_BYTES) -> tuple[npt.NDArray[Any], Grid]:
    """One image: (Y, X), (Z, Y, X), or either with 2 to 4 trailing channels. The voxel spacing is 1 mm."""
    with refusing(".npy"):
        array = _load(io.BytesIO(payload), len(payload), max_bytes)
    if array.ndim not in (2, 3, 4):
        raise DataError(f"An image has 2 to 4 axes (Z, Y, X, channels); this array has {array.ndim}.")
    # A volume of 2 to 4 columns is rarer than an image of as many colours.
    coloured = array.ndim > 2 and 2 <= array.shape[-1] <= MAX_CHANNELS
    if array.ndim == 4 and not coloured and array.shape[-1] != 1:
        raise DataError(f"The last of four axes must be 1 to {MAX_CHANNELS} channels; this array is {array.shape}.")
    image_zyxc = array if coloured or array.ndim == 4 else array[..., np.newaxis]
    if image_zyxc.ndim == 3:
        image_zyxc = image_zyxc[np.newaxis]
    return _channels_first(image_zyxc), Grid((image_zyxc.shape[0], image_zyxc.shape[1], image_zyxc.shape[2]))


def read_npz(payload: bytes, *, max_bytes: int = MAX_BYTES) -> Iterator[ReadImage]:
    """The stack's images, one ReadImage for every patient and side. Without patients: one patient, this file."""
    with refusing(".npz"):
        arrays = _members(payload, max_bytes)
    images = arrays["images"]
    per_item = {name: arrays[name] for name in ("labels", "patients", "sides") if name in arrays}
    for name, values in per_item.items():
        if values.ndim == 0 or len(values) != len(images):
            raise DataError(f"'{name}' must have one entry for each of the {len(images)} images; it is {values.shape}.")
    labels = per_item.get("labels")
    items_nzyxc, maps_nzyx = _items(images, labels)
    classes = _classes(labels) if labels is not None and maps_nzyx is None else None
    owners = _texts(per_item.get("patients"), len(images))
    sides = [_side(text) for text in _texts(per_item.get("sides"), len(images))]
    names = tuple(_texts(arrays.get("class_names"), 0))
    place = _place(arrays)
    for patient, side in sorted(set(zip(owners, sides, strict=True)), key=lambda group: (group[0], group[1] or "")):
        chosen = np.flatnonzero([(o, s) == (patient, side) for o, s in zip(owners, sides, strict=True)])
        yield _stack(
            items_nzyxc[chosen],
            None if maps_nzyx is None else maps_nzyx[chosen],
            () if classes is None else tuple(int(c) for c in classes[chosen]),
            class_names=names,
            patient=patient or None,
            side=side,
            place=place,
        )


def _stack(
    items_nzyxc: npt.NDArray[Any],
    maps_nzyx: npt.NDArray[Any] | None,
    classes: tuple[int, ...],
    *,
    class_names: tuple[str, ...],
    patient: str | None,
    side: Side | None,
    place: dict[str, Any],
) -> ReadImage:
    n, z, y, x, c = items_nzyxc.shape
    image_czyx = _channels_first(items_nzyxc.reshape(n * z, y, x, c))
    photographs: Intensity = "photograph" if image_czyx.dtype == np.uint8 else "measured"
    return ReadImage(
        image_czyx,
        Grid((n * z, y, x), **place),
        (z, y, x),
        intensity=photographs,
        label_map_zyx=None if maps_nzyx is None else label_map(maps_nzyx.reshape(n * z, y, x)),
        classes=classes,
        class_names=class_names,
        patient=patient,
        side=side,
        measured_grid=bool(place),
    )


def _place(arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, Any]:
    """Of the items' grid what is said: how large a voxel is and which way the axes run. Each item lies elsewhere."""
    spacing, direction = arrays.get("spacing_mm_zyx"), arrays.get("direction")
    if spacing is None:
        if direction is not None:
            raise DataError("'direction' without 'spacing_mm_zyx' says nothing; give both.")
        return {}
    place: dict[str, Any] = {}
    for name, values, shape in (("spacing_mm_zyx", spacing, (3,)), ("direction", direction, (3, 3))):
        if values is None:
            continue
        if values.shape != shape or values.dtype.kind not in "fiu":
            raise DataError(f"'{name}' must be numbers of shape {shape}; it is {values.dtype} {values.shape}.")
        rows = values.astype(float).tolist()
        place[name] = tuple(rows if values.ndim == 1 else map(tuple, rows))
    return place


def _items(
    images: npt.NDArray[Any], labels: npt.NDArray[Any] | None
) -> tuple[npt.NDArray[Any], npt.NDArray[Any] | None]:
    """Images as (N, Z, Y, X, C) and, where labels are maps, these as (N, Z, Y, X)."""
    if images.ndim not in (3, 4, 5):
        raise DataError(f"'images' must be (N, Y, X) or (N, Z, Y, X), with or without channels; it is {images.shape}.")
    coloured = images.ndim > 3 and images.shape[-1] <= MAX_CHANNELS
    if images.ndim == 5 and not coloured:
        raise DataError(f"The last of five axes must be 1 to {MAX_CHANNELS} channels; 'images' is {images.shape}.")
    items = images if coloured else images[..., np.newaxis]
    if items.ndim == 4:
        items = items[:, np.newaxis]
    if labels is None or labels.ndim == 1 or labels.size == len(labels):
        return items, None
    maps = labels[:, np.newaxis] if labels.ndim == 3 else labels
    if maps.shape != items.shape[:4]:
        raise DataError(
            f"'labels' of shape {labels.shape} are neither a class nor a map for each image {images.shape}."
        )
    return items, maps


def _classes(labels: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    flat = labels.reshape(len(labels))
    if flat.dtype.kind not in "iub":
        raise DataError(f"Classes must be whole numbers, −1 where unknown; 'labels' holds {labels.dtype}.")
    return flat.astype(np.int64)


def _texts(values: npt.NDArray[Any] | None, num: int) -> list[str]:
    if values is None:
        return [""] * num
    if values.dtype.kind not in "UiuS":
        raise DataError(f"Names must be text or whole numbers; given {values.dtype}.")
    return [v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in values.reshape(-1).tolist()]


def _side(text: str) -> Side | None:
    if not text:
        return None
    for side in get_args(Side):
        if text == side:
            return side  # type: ignore[no-any-return]  # one of Side's literals
    raise DataError(unknown_name("side", text, get_args(Side)))


def _members(payload: bytes, max_bytes: int) -> dict[str, npt.NDArray[Any]]:
    """The known arrays of the archive. zipfile compares each member's CRC-32 as it is read to its end."""
    found: dict[str, npt.NDArray[Any]] = {}
    left = max_bytes
    with zipfile.ZipFile(io.BytesIO(payload)) as archive:
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            if name not in KEYS:
                raise DataError(unknown_name("array of a stack", name[:40], KEYS))
            check_size((max(1, member.file_size),), 1, left)
            if name == "images":
                check_ratio(member.compress_size, member.file_size)
            left -= member.file_size
            with archive.open(member) as stream:
                unpacked = stream.read(member.file_size + 1)
            found[name] = _load(io.BytesIO(unpacked), len(unpacked), max_bytes)
    if "images" not in found:
        raise DataError(f"A stack needs an array 'images'; the file holds {', '.join(sorted(found)) or 'none'}.")
    if len(found["images"]) == 0:
        raise DataError("The stack holds no images.")
    return found


def _load(stream: io.BytesIO, num_bytes: int, max_bytes: int) -> npt.NDArray[Any]:
    """One .npy, its header held against the bytes that are there before anything is allocated."""
    version = np.lib.format.read_magic(stream)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(stream)
    if dtype.hasobject:
        raise DataError("The array holds Python objects; nothing pickled is ever loaded. Save numbers or text.")
    if shape:
        needed = check_size(shape, dtype.itemsize, max_bytes)
        there = num_bytes - stream.tell()
        if needed > there:
            raise DataError(f"The file is cut short: {there:,} bytes of {needed:,}.")
    stream.seek(0)
    loaded: npt.NDArray[Any] = np.load(stream, allow_pickle=False)
    return loaded


def _channels_first(image_zyxc: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return storable(np.ascontiguousarray(np.moveaxis(image_zyxc, -1, 0)))
