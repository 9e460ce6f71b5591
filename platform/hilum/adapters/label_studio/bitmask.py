"""Label Studio's bitmask regions: a PNG whose alpha is the mask, written as a data URL."""

import base64
import binascii
import io
import struct

import numpy as np
from PIL import Image

from hilum.adapters.label_studio.brush_rle import MAX_PIXELS, Mask, painted
from hilum.core.errors import DataError

_PREFIX = "data:image/png;base64,"
_SIGNATURE = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
_SPARE_BYTES = 1 << 16


def encode(mask_YX: Mask) -> str:
    """A mask as a data URL: a PNG that is black and opaque where the mask is true, transparent elsewhere."""
    if mask_YX.ndim != 2 or not 1 <= mask_YX.size <= MAX_PIXELS:
        raise DataError(f"A mask of shape {mask_YX.shape} cannot be a page; give rows × columns, 1 to {MAX_PIXELS}.")
    rgba_YXC = np.zeros((*mask_YX.shape, 4), np.uint8)
    rgba_YXC[..., 3] = np.where(mask_YX, 255, 0)
    png = io.BytesIO()
    Image.fromarray(rgba_YXC).save(png, "PNG")
    return _PREFIX + base64.b64encode(png.getvalue()).decode("ascii")


def decode(url: object, shape_yx: tuple[int, int]) -> Mask:
    """The mask of a data URL on a page of ``shape_yx``; DataError where it is none of that size.

    The size in the PNG's header is compared before a pixel is decompressed.
    """
    if not isinstance(url, str) or not url.startswith(_PREFIX):
        raise DataError(f"its bitmask is no PNG in a data URL ('{_PREFIX}…')")
    longest = len(_PREFIX) + 2 * (shape_yx[0] * (shape_yx[1] * 4 + 1) + _SPARE_BYTES)
    if len(url) > longest:
        raise DataError(f"its bitmask has {len(url):,} characters; a page of this size needs {longest:,} at most")
    try:
        png = base64.b64decode(url[len(_PREFIX) :], validate=True)
    except (binascii.Error, ValueError):
        raise DataError("its bitmask is not base64") from None
    if png[: len(_SIGNATURE)] != _SIGNATURE or len(png) < len(_SIGNATURE) + 8:
        raise DataError("its bitmask is no PNG")
    width, height = struct.unpack(">II", png[len(_SIGNATURE) :][:8])
    if (height, width) != shape_yx or height * width > MAX_PIXELS:
        raise DataError(f"its bitmask is {height} × {width}; the page has {shape_yx[0]} × {shape_yx[1]} pixels")
    try:
        with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
            if image.mode not in {"RGBA", "LA"}:
                raise DataError(f"its bitmask is a PNG of mode {image.mode}; allowed are those with alpha")
            alpha_YX = np.array(image.getchannel("A"))
    except DataError:
        raise
    except Exception:
        # A parser fed a damaged file may raise anything at all.
        raise DataError("its bitmask is a damaged PNG") from None
    return painted(alpha_YX)
