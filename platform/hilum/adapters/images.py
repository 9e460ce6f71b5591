"""PNG, JPEG and TIFF: photographs, microscopy and other flat images.

Rows are Y, columns X; colours are channels; the pages of a TIFF stack are Z. A flat image
has no place in a patient, so its grid begins at zero; its spacing is the file's if it says one.
"""

import io
import logging
import math
import struct
import warnings
from collections.abc import Sequence
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import tifffile
from isal import isal_zlib
from PIL import Image

from hilum.adapters.hostile import MAX_BYTES, check_ratio, check_size, refusing, storable
from hilum.core.errors import DataError
from hilum.core.geometry import Grid

MAX_CHANNELS = 4
MAX_PAGES = 100_000
_BIG_TIFF = 43
_BESIDE_A_SLIDE = ("Label", "Macro", "Thumbnail")
"""What slide scanners put beside the tissue, as tifffile names it; names are written on the first two."""
_PNG = b"\x89PNG\r\n\x1a\n"
_STORED_AS_MEANT = ((8, 0), (16, 0), (8, 2))
"""Bits and colour type (PNG, 11.2.1): grey of 8 and 16 bits, and RGB. Others are turned into these by Pillow."""
_MM_PER_UNIT = {2: 25.4, 3: 10.0}  # TIFF 6.0, ResolutionUnit: inch, centimetre
_GREY = {"1": "L", "L": "L", "I;16": "I;16", "I;16B": "I;16", "I": "I", "F": "F", "LA": "L"}

# Else a handler of last resort would print what tifffile quotes from a file.
logging.getLogger("tifffile").addHandler(logging.NullHandler())
logging.getLogger("tifffile").propagate = False


def read_photograph(payload: bytes, *, max_bytes: int = MAX_BYTES) -> tuple[npt.NDArray[Any], Grid]:
    """The voxels (C, 1, Y, X) and grid of a PNG or JPEG: one channel if it is grey, three if it is not."""
    with refusing("PNG or JPEG"), warnings.catch_warnings():
        # Pillow warns at 89 million pixels and refuses twice as many by itself.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(io.BytesIO(payload), formats=("PNG", "JPEG")) as image:
            check_ratio(len(payload), check_size((image.height, image.width), 4 * len(image.getbands()), max_bytes))
            check_chunks(payload)
            pixels = imagecodecs.png_decode(payload) if _is_simple(payload, image) else np.asarray(_plain(image))
    return _flat(pixels)


def _is_simple(payload: bytes, image: Image.Image) -> bool:
    """Whether a PNG's pixels are stored as they are meant: libpng by itself then needs little more than half the time.

    Of two headers libpng follows the first, whose size must be the one that was checked.
    """
    if not payload.startswith(_PNG + b"\0\0\0\x0dIHDR") or "transparency" in image.info:
        return False
    columns, rows, depth, colour = struct.unpack_from(">IIBB", payload, 16)
    return (columns, rows) == image.size and (depth, colour) in _STORED_AS_MEANT


def read_label_image(payload: bytes, *, max_bytes: int = MAX_BYTES) -> npt.NDArray[Any]:
    """The values (1, Y, X) of a label map saved as PNG; of a palette image, the indexes and not the colours."""
    with refusing("PNG"), Image.open(io.BytesIO(payload), formats=("PNG",)) as image:
        check_size((image.height, image.width), 4, max_bytes)
        check_chunks(payload)
        if image.mode not in ("1", "L", "P", "I;16", "I"):
            raise DataError(f"A label map needs one number a pixel; this image is {image.mode}. Save it as grey PNG.")
        return np.asarray(image)[np.newaxis]


def check_chunks(payload: bytes) -> None:
    """Compare the checksum of every chunk of a PNG. Pillow does not do so for the pixels' own chunks."""
    if not payload.startswith(_PNG):
        return
    at, kind = len(_PNG), b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", payload, at)
        end = at + 8 + length
        if isal_zlib.crc32(payload[at + 4 : end]) != struct.unpack_from(">I", payload, end)[0]:
            raise DataError("The PNG file is damaged: the checksum of one of its chunks is wrong.")
        if (kind == b"IHDR") != (at == len(_PNG)):
            raise DataError("The PNG file is damaged: it needs one header, at its beginning.")
        at = end + 4


def check_pages(payload: bytes) -> None:
    """Follow the chain of a TIFF's pages (TIFF 6.0, section 2; BigTIFF). tifffile goes round one that is a circle."""
    order = {b"II": "<", b"MM": ">"}.get(payload[:2])
    if order is None:
        raise DataError("Not a TIFF file.")
    is_big = struct.unpack_from(order + "H", payload, 2)[0] == _BIG_TIFF
    pointer, count, tag_bytes, at = ("Q", "Q", 20, 8) if is_big else ("I", "H", 12, 4)
    seen: set[int] = set()
    while page := struct.unpack_from(order + pointer, payload, at)[0]:
        if page in seen or len(seen) >= MAX_PAGES:
            raise DataError(f"The pages of the TIFF file go round in a circle, or are more than {MAX_PAGES:,}.")
        seen.add(page)
        num_tags = struct.unpack_from(order + count, payload, page)[0]
        at = page + struct.calcsize(order + count) + tag_bytes * num_tags


def read_tiff(payload: bytes, *, max_bytes: int = MAX_BYTES, is_label: bool = False) -> tuple[npt.NDArray[Any], Grid]:
    """The voxels (C, Z, Y, X) and grid of a TIFF: pages are Z, colours and channels are C."""
    with refusing("TIFF"):
        check_pages(payload)
        return _tiff(payload, max_bytes, is_label=is_label)


def _tiff(payload: bytes, max_bytes: int, *, is_label: bool) -> tuple[npt.NDArray[Any], Grid]:
    with tifffile.TiffFile(io.BytesIO(payload)) as tiff:
        several = _images_in(tiff)
        _check_fits(several, max_bytes)
        if not is_label:
            check_ratio(len(payload), sum(one.size * one.dtype.itemsize for one in several))
        pixels = np.concatenate([_czyx(one.asarray(), one.axes) for one in several], axis=1)
        spacing = _spacing(tiff)
    _, z, y, x = pixels.shape
    return storable(np.ascontiguousarray(pixels)), Grid((z, y, x), spacing)


def _images_in(tiff: Any) -> list[Any]:
    """The image of the file, or equal ones that were written one after the other; what shows it smaller is left out."""
    several = [one for one in tiff.series if not one.keyframe.is_reduced and one.name not in _BESIDE_A_SLIDE]
    several = several or tiff.series[:1]
    if not several:
        raise DataError("The TIFF file holds no image.")
    are_pages = len(several) == 1 or all(len(one.pages) == 1 for one in several)
    if not are_pages or len({(one.shape, one.axes, one.dtype) for one in several}) > 1:
        raise DataError(f"The TIFF file holds {len(several)} images that are no stack: save each as a file of its own.")
    return several


def _check_fits(several: Sequence[Any], max_bytes: int) -> None:
    """Hold the images' size against the cap before they get memory; of a pyramid say which level would fit."""
    shape, width = several[0].shape, several[0].dtype.itemsize
    try:
        check_size((len(several), *shape), width, max_bytes)
    except DataError as error:
        raise DataError(f"{error}{_levels_that_fit(several, width, max_bytes)}") from None


def _levels_that_fit(several: Sequence[Any], width: int, max_bytes: int) -> str:
    """What to do with a pyramid that is too large; nothing for other images."""
    levels = several[0].levels[1:] if len(several) == 1 else []
    if not levels:
        return ""
    shapes = [level.shape for level in levels if math.prod(level.shape) * width <= max_bytes]
    if not shapes:
        return f" It is a pyramid, of whose {len(levels)} smaller levels none fits either: save a smaller one."
    named = " or ".join(" × ".join(map(str, shape)) for shape in shapes)
    return f" It is a pyramid: save its level of {named} as a file of its own."


def _plain(image: Image.Image) -> Image.Image:
    """A palette, transparency or another colour space turned into grey or RGB."""
    wanted = _GREY.get(image.mode, "RGB")
    return image if image.mode == wanted else image.convert(wanted)


def _flat(pixels_yxc: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], Grid]:
    pixels = pixels_yxc[..., np.newaxis] if pixels_yxc.ndim == 2 else pixels_yxc
    image_czyx = np.ascontiguousarray(pixels.transpose(2, 0, 1)[:, np.newaxis])
    return storable(image_czyx), Grid((1, *pixels.shape[:2]))


def _czyx(pixels: npt.NDArray[Any], axes: str) -> npt.NDArray[Any]:
    """tifffile names axes: Y, X; S and C are colours and channels; Z, T, I and Q are pages."""
    names = list(axes)
    for axis in reversed(range(len(names))):
        if pixels.shape[axis] == 1 and names[axis] not in "YX":
            pixels = pixels.squeeze(axis)
            del names[axis]
    channels = [a for a in names if a in "SC"]
    pages = [a for a in names if a not in "SCYX"]
    if len(channels) > 1 or len(pages) > 1 or names.count("Y") != 1 or names.count("X") != 1:
        raise DataError(f"A TIFF of axes {axes} is not an image or one stack of images; save it as one.")
    order = [names.index(a) for a in (*channels, *pages, "Y", "X")]
    pixels = pixels.transpose(order)
    if not pages:
        pixels = np.expand_dims(pixels, -3)
    if not channels:
        pixels = pixels[np.newaxis]
    if pixels.shape[0] > MAX_CHANNELS:
        raise DataError(f"{pixels.shape[0]} channels are more than the {MAX_CHANNELS} that are read from a TIFF.")
    return pixels


def _spacing(tiff: Any) -> tuple[float, float, float]:
    """Millimetres from ImageJ's or the baseline's resolution tags; 1 where the file says nothing usable."""
    page = tiff.pages[0]
    unit = page.tags.valueof("ResolutionUnit", 1)
    imagej = tiff.imagej_metadata or {}
    millimetres = {"mm": 1.0, "cm": 10.0, "micron": 1e-3, "um": 1e-3, "\\u00B5m": 1e-3, "µm": 1e-3}.get(
        str(imagej.get("unit", ""))
    ) or _MM_PER_UNIT.get(int(unit))
    if millimetres is None:
        return (1.0, 1.0, 1.0)
    y, x = (_pixel(page.tags.valueof(name), millimetres) for name in ("YResolution", "XResolution"))
    between = imagej.get("spacing")
    z = float(between) * millimetres if isinstance(between, int | float) and between > 0 else 1.0
    return (z, y, x)


def _pixel(resolution: Any, millimetres: float) -> float:
    try:
        pixels, units = (float(part) for part in resolution)
        return millimetres * units / pixels if pixels > 0 and units > 0 else 1.0
    except (TypeError, ValueError):
        return 1.0
