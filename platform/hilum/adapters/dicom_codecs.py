"""Compressed DICOM frames: their own header held against the file's, then decoded by imagecodecs.

What a decoder allocates follows the header inside the compressed frame, so a frame whose header
differs from the checked one of the file never reaches a decoder. pydicom does everything that
comes after decoding: signs, unused bits, the order of colours.
"""

from collections.abc import Callable, Iterator
from functools import cache
from typing import NamedTuple

import imagecodecs
import numpy as np
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.decoders.base import Decoder, DecodeRunner
from pydicom.uid import (
    JPEG2000,
    UID,
    JPEG2000Lossless,
    JPEG2000TransferSyntaxes,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLELossless,
)

from hilum.adapters.dicom_header import whole
from hilum.core.errors import DataError

PLUGIN = "imagecodecs"
DECODER_DEPENDENCIES: dict[UID, tuple[str, ...]] = {}
"""pydicom asks every plugin for what it would need; here it is a dependency of hilum's own."""

MAX_SCANS = 500
"""A progressive JPEG of more is made to keep a decoder busy: libjpeg-turbo's own tests stop here, too."""
_LEAST_TILE_BYTES = 14
"""A tile of JPEG 2000 is at least its header (SOT) and its start (SOD): ISO/IEC 15444-1 A.4."""
_SOC_SIZ, _EOI, _SOS = b"\xff\x4f\xff\x51", b"\xff\xd9", b"\xff\xda"
_ADOBE, _ADOBE_BYTES = 0xEE, 12
_START_OF_FRAME = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
_WITH_HEADER = (*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes, *JPEG2000TransferSyntaxes)


class Codestream(NamedTuple):
    """What a compressed frame announces of itself."""

    rows: int
    columns: int
    samples: int
    bits: int
    num_tiles: int = 1


@cache
def decoder_for(syntax: UID) -> Decoder | None:
    """pydicom's decoder of a compression with imagecodecs in it, or nothing. pydicom's own stays as it is."""
    if not is_available(syntax):
        return None
    decoder = Decoder(syntax)
    decoder.add_plugin(PLUGIN, (__name__, "decode_frame"))
    return decoder


def is_available(syntax: str) -> bool:
    """Whether the compression can be decoded; pydicom asks this of every plugin."""
    return UID(syntax) in _DECODE


def decode_frame(frame: bytes, runner: DecodeRunner) -> bytes | bytearray:
    """One frame as pydicom's runner wants it."""
    return _DECODE[runner.transfer_syntax](frame, runner)


def unwrapped(dataset: Dataset, num_frames: int) -> Dataset:
    """The same with bare codestreams where a writer has wrapped them in JP2 files.

    pydicom walks through the boxes of such a file, and for ever round one of no length.
    """
    if dataset.file_meta.TransferSyntaxUID not in JPEG2000TransferSyntaxes:
        return dataset
    frames = list(generate_frames(dataset.PixelData, number_of_frames=num_frames))
    if all(frame.startswith(_SOC_SIZ) for frame in frames):
        return dataset
    bare = Dataset()
    bare.update(dataset)
    bare.file_meta = dataset.file_meta
    bare.PixelData = encapsulate([frame[frame.find(_SOC_SIZ) :] for frame in frames])
    for offsets in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
        if offsets in bare:
            del bare[offsets]
    return bare


def check_frames(dataset: Dataset, num_frames: int) -> None:
    """Refuse compressed pixels that are cut short, too few or too many, or whose own header is not the file's."""
    syntax = dataset.file_meta.TransferSyntaxUID
    expected = Codestream(
        whole(dataset, "Rows") or 0,
        whole(dataset, "Columns") or 0,
        whole(dataset, "SamplesPerPixel") or 1,
        whole(dataset, "BitsAllocated") or 0,
    )
    found = 0
    for frame in generate_frames(dataset.PixelData, number_of_frames=num_frames):
        found += 1
        if syntax in _WITH_HEADER:
            _check_header(frame, found, expected, is_jpeg2000=syntax in JPEG2000TransferSyntaxes)
    if found != num_frames:
        raise DataError(f"The compressed pixels have {found} frames; the header says {num_frames}.")


def _check_header(frame: bytes, number: int, expected: Codestream, *, is_jpeg2000: bool) -> None:
    if _EOI not in frame[-16:]:
        raise DataError(f"Frame {number} of the compressed pixels is cut short: its end mark is missing.")
    inside = _jpeg2000_header(frame) if is_jpeg2000 else _jpeg_header(frame)
    if inside is None or inside[:2] != expected[:2]:
        says = inside and inside[:2]
        raise DataError(f"Frame {number} of the compressed pixels is {says} (Y, X); the header says {expected[:2]}.")
    if inside.samples != expected.samples or inside.bits > expected.bits:
        raise DataError(
            f"Frame {number} of the compressed pixels has {inside.samples} samples of {inside.bits} bits a pixel; "
            f"the header says {expected.samples} in {expected.bits} bits each."
        )
    if inside.num_tiles * _LEAST_TILE_BYTES > len(frame):
        raise DataError(f"Frame {number} claims {inside.num_tiles} tiles, more than so few bytes can hold.")


def _jpeg_header(frame: bytes) -> Codestream | None:
    """The frame header of JPEG or JPEG-LS (ISO/IEC 10918-1 B.2.2, 14495-1 C.2.2)."""
    if frame.count(_SOS) > MAX_SCANS:
        raise DataError(f"The compressed pixels come in more than {MAX_SCANS} passes, as files made to hang do.")
    for marker, content in _segments(frame):
        if marker in _START_OF_FRAME and len(content) >= 6:
            rows, columns = (int.from_bytes(content[n : n + 2], "big") for n in (1, 3))
            return Codestream(rows, columns, content[5], content[0])
    return None


def _segments(frame: bytes) -> Iterator[tuple[int, bytes]]:
    """The marker segments of a JPEG up to its first scan, without their marks and lengths."""
    offset = 2
    while offset + 4 <= len(frame) and frame[offset] == 0xFF and frame[offset + 1] != _SOS[1]:
        if frame[offset + 1] == 0xFF:
            offset += 1
            continue
        end = offset + 2 + int.from_bytes(frame[offset + 2 : offset + 4], "big")
        yield frame[offset + 1], frame[offset + 4 : end]
        offset = end


def _jpeg2000_header(frame: bytes) -> Codestream | None:
    """The size segment of JPEG 2000 (ISO/IEC 15444-1 A.5.1); nothing where it contradicts itself."""
    start = frame.find(_SOC_SIZ)
    if start < 0 or start + 42 > len(frame):
        return None
    x, y, x0, y0, tile_x, tile_y, tile_x0, tile_y0 = (
        int.from_bytes(frame[start + n : start + n + 4], "big") for n in range(8, 40, 4)
    )
    samples = int.from_bytes(frame[start + 40 : start + 42], "big")
    each = frame[start + 42 : start + 42 + 3 * samples]
    if len(each) < 3 * samples or samples == 0 or min(tile_x, tile_y) == 0:
        return None
    if set(each[1::3]) | set(each[2::3]) != {1}:
        raise DataError("The compressed pixels have colours of another size than their brightness; save them as RGB.")
    num_tiles = -(-(x - tile_x0) // tile_x) * -(-(y - tile_y0) // tile_y)
    return Codestream(y - y0, x - x0, samples, max(1 + (depth & 0x7F) for depth in each[0::3]), num_tiles)


def _jpeg(frame: bytes, runner: DecodeRunner) -> bytes:
    """Colours as they are coded, for pydicom to turn; turned where Adobe's marker says how, as pydicom's plugins do."""
    if runner.samples_per_pixel == 1 or (runner.transfer_syntax not in _LOSSLESS_JPEG and _adobe_colours(frame)):
        return _in_place(imagecodecs.jpeg8_decode(frame), runner)
    as_coded = imagecodecs.JPEG8.CS.YCbCr
    return _in_place(imagecodecs.jpeg8_decode(frame, colorspace=as_coded, outcolorspace=as_coded), runner)


def _adobe_colours(frame: bytes) -> bool:
    """Whether Adobe's marker is there and whole (T.872, 6.5.3): a shorter one says nothing of colours."""
    return any(
        marker == _ADOBE and content.startswith(b"Adobe") and len(content) >= _ADOBE_BYTES
        for marker, content in _segments(frame)
    )


def _jpeg_ls(frame: bytes, runner: DecodeRunner) -> bytes:
    # Also where every colour has a scan of its own they come pixel by pixel.
    runner.set_option("planar_configuration", 0)
    return _in_place(imagecodecs.jpegls_decode(frame), runner)


def _jpeg2000(frame: bytes, runner: DecodeRunner) -> bytes:
    pixels = imagecodecs.jpeg2k_decode(frame, numthreads=1)
    if str(runner.photometric_interpretation) in ("YBR_ICT", "YBR_RCT"):
        runner.set_option("photometric_interpretation", "RGB")
    return _in_place(pixels, runner)


def _rle(frame: bytes, runner: DecodeRunner) -> bytearray:
    pixels = bytearray(runner.rows * runner.columns * runner.samples_per_pixel * (runner.bits_allocated // 8))
    decoded = imagecodecs.dicomrle_decode(frame, f"<u{runner.bits_allocated // 8}", out=pixels)
    if len(decoded) != len(pixels):
        raise ValueError("fewer pixels than announced")
    runner.set_option("planar_configuration", 1)
    return pixels


def _in_place(pixels: np.ndarray, runner: DecodeRunner) -> bytes:
    """The decoded bytes, once they are as many as announced; how wide a sample came out is told to the runner."""
    expected = (runner.rows, runner.columns, runner.samples_per_pixel)
    if pixels.size != np.prod(expected) or pixels.dtype.kind not in "iu":
        raise ValueError("not the pixels announced")
    runner.set_option("bits_allocated", 8 * pixels.dtype.itemsize)
    return pixels.tobytes()


_LOSSLESS_JPEG = (JPEGLossless, JPEGLosslessSV1)
_DECODE: dict[UID, Callable[[bytes, DecodeRunner], bytes | bytearray]] = {
    **dict.fromkeys((JPEGBaseline8Bit, JPEGExtended12Bit, *_LOSSLESS_JPEG), _jpeg),
    **dict.fromkeys((JPEGLSLossless, JPEGLSNearLossless), _jpeg_ls),
    **dict.fromkeys((JPEG2000Lossless, JPEG2000), _jpeg2000),
    RLELossless: _rle,
}
