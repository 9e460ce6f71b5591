"""The voxels of a DICOM file: decoded by pydicom, checked before anything is allocated.

Shape letters: F = frames, Y, X = space, S = samples (1 grey, 3 colour).
"""

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import generate_frames
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut
from pydicom.pixels.utils import pixel_array
from pydicom.uid import (
    JPEG2000,
    ExplicitVRLittleEndian,
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

from hilum.adapters.dicom_header import first_item, number, text, whole
from hilum.adapters.gdcm_apart import decode_apart
from hilum.adapters.hostile import check_size
from hilum.core.errors import DataError

Pixels = npt.NDArray[Any]
_FLOAT = np.dtype(np.float32)
Scale = tuple[float, float]

_BITS = (1, 8, 16, 32, 64)
_MEASURED = ("CT", "PT", "NM")
_SIZ, _EOI = b"\xff\x4f\xff\x51", b"\xff\xd9"
_PIXEL_MODULE = (
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PhotometricInterpretation",
    "NumberOfFrames",
)
_START_OF_FRAME = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}

_DECODERS = {
    JPEGBaseline8Bit: "pillow",
    JPEGExtended12Bit: "pillow",
    JPEG2000Lossless: "pillow",
    JPEG2000: "pillow",
    JPEGLSLossless: "pyjpegls",
    JPEGLSNearLossless: "pyjpegls",
    RLELossless: "pydicom",
}
"""Decoders that survive damaged input. GDCM does not, and works apart, where no other can."""


def num_frames(dataset: Dataset) -> int:
    return whole(dataset, "NumberOfFrames") or 1


def needed_bytes(dataset: Dataset, max_bytes: int) -> int:
    """The bytes of the decoded frames by the header's word. Refused above the cap."""
    shape = (num_frames(dataset), whole(dataset, "Rows") or 0, whole(dataset, "Columns") or 0)
    samples, bits = whole(dataset, "SamplesPerPixel") or 0, whole(dataset, "BitsAllocated") or 0
    if samples not in (1, 3, 4) or bits not in _BITS:
        raise DataError(f"Pixels of {samples} samples with {bits} bits each are not known to DICOM.")
    colours = 3 if text(dataset, "PhotometricInterpretation") == "PALETTE COLOR" else samples
    return check_size((*shape, colours), max(1, bits // 8), max_bytes)


def frames_of(dataset: Dataset, *, max_bytes: int) -> Pixels:
    """The stored values (F, Y, X, S): colours as RGB, X-rays saved as negatives turned, nothing rescaled."""
    needed_bytes(dataset, max_bytes)
    if not any(keyword in dataset for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise DataError("The file holds no pixels: it is cut short, or it is not an image.")
    _check_whole(dataset)
    pixels = _decoded(dataset)
    if text(dataset, "PhotometricInterpretation") == "PALETTE COLOR":
        pixels = _coloured(pixels, dataset)
    samples = 3 if pixels.ndim and pixels.shape[-1] == 3 and _is_colour(dataset) else 1
    frames = pixels.reshape(num_frames(dataset), whole(dataset, "Rows") or 0, whole(dataset, "Columns") or 0, samples)
    return _positive(frames, dataset)


def scales_of(dataset: Dataset) -> list[Scale]:
    """Slope and intercept of every frame: what a stored value means, in Hounsfield units for CT."""
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence")
    if not per_frame:
        return [_scale(dataset)] * num_frames(dataset)
    shared = first_item(first_item(dataset, "SharedFunctionalGroupsSequence"), "PixelValueTransformationSequence")
    found = [first_item(frame, "PixelValueTransformationSequence") for frame in per_frame]
    return [_scale(next((d for d in (frame, shared) if d is not None), dataset)) for frame in found]


def rescaled(frames_FYXS: Pixels, scales: Sequence[Scale], dataset: Dataset) -> list[Pixels]:
    """Every frame (Y, X, S) as what it means: whole numbers stay whole, fractions become float32."""
    if "ModalityLUTSequence" in dataset and frames_FYXS.shape[-1] == 1:
        return list(apply_modality_lut(frames_FYXS, dataset))
    return [_apply(frame, *scale) for frame, scale in zip(frames_FYXS, scales, strict=True)]


def stacked(frames: Iterable[Pixels], num: int) -> Pixels:
    """``num`` frames (Y, X, S) as (S, Z, Y, X) in the narrowest type that holds them all."""
    coming = iter(frames)
    first = next(coming)
    image = np.empty((first.shape[2], num, *first.shape[:2]), _FLOAT if first.dtype.kind == "f" else first.dtype)
    for z, frame in enumerate(itertools.chain([first], coming)):
        if frame.dtype != first.dtype or frame.dtype.itemsize > 4:
            before = [image[:, n].transpose(1, 2, 0) for n in range(z)]
            return _of_one_type([*before, frame, *coming])
        image[:, z] = frame.transpose(2, 0, 1)
    return image


def _of_one_type(every: Sequence[Pixels]) -> Pixels:
    """The same of frames whose types differ."""
    if any(frame.dtype.kind == "f" for frame in every):
        kind: Any = _FLOAT
    else:
        kind = _narrowest(min(int(f.min()) for f in every), max(int(f.max()) for f in every))
    image = np.empty((every[0].shape[2], len(every), *every[0].shape[:2]), dtype=kind)
    for z, frame in enumerate(every):
        image[:, z] = frame.transpose(2, 0, 1)
    return image


def _decoded(dataset: Dataset) -> Pixels:
    syntax = dataset.file_meta.TransferSyntaxUID
    stored = whole(dataset, "BitsStored") or 0
    if syntax in (JPEGLossless, JPEGLosslessSV1) or (syntax == JPEGExtended12Bit and stored > 8):
        return pixel_array(_unpacked_apart(dataset))
    try:
        return pixel_array(dataset, decoding_plugin=_DECODERS.get(syntax, ""))
    except (RuntimeError, NotImplementedError):
        # What pydicom raises when the decoder has failed, or when there is none.
        name = syntax.name if syntax.type else "an unknown method"
        raise DataError(f"The pixels, compressed by {name}, are damaged, or of a kind with no decoder here.") from None


def _unpacked_apart(dataset: Dataset) -> Dataset:
    """The same pixels without compression, and nothing else of the file."""
    what: dict[str, int | str] = {
        "rows": whole(dataset, "Rows") or 0,
        "columns": whole(dataset, "Columns") or 0,
        "samples": whole(dataset, "SamplesPerPixel") or 1,
        "allocated": whole(dataset, "BitsAllocated") or 0,
        "stored": whole(dataset, "BitsStored") or 0,
        "signed": whole(dataset, "PixelRepresentation") or 0,
        "photometric": text(dataset, "PhotometricInterpretation"),
        "syntax": str(dataset.file_meta.TransferSyntaxUID),
    }
    frames = generate_frames(dataset.PixelData, number_of_frames=num_frames(dataset))
    plain = Dataset()
    plain.file_meta = FileMetaDataset()
    plain.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for keyword in _PIXEL_MODULE:
        if keyword in dataset:
            setattr(plain, keyword, dataset[keyword].value)
    if what["samples"] != 1:
        plain.PlanarConfiguration = 0
    pixels = b"".join(decode_apart(frame, what) for frame in frames)
    plain.add_new("PixelData", "OW", pixels + b"\0" * (len(pixels) % 2))
    _check_length(plain)
    return plain


def _coloured(indices: Pixels, dataset: Dataset) -> Pixels:
    """The colours of a palette as a screen shows them: of 16 bits, the upper 8."""
    colours: Pixels = apply_color_lut(indices, dataset)[..., :3]
    return (colours >> 8 if colours.max() > 255 else colours).astype(np.uint8)


def _is_colour(dataset: Dataset) -> bool:
    return (whole(dataset, "SamplesPerPixel") or 1) > 1 or text(dataset, "PhotometricInterpretation").startswith("PAL")


def _positive(frames: Pixels, dataset: Dataset) -> Pixels:
    """MONOCHROME1 shows its lowest value white: turned, unless the values are a measure and not a picture."""
    if text(dataset, "PhotometricInterpretation") != "MONOCHROME1" or text(dataset, "Modality") in _MEASURED:
        return frames
    if frames.dtype.kind == "f":
        return -frames
    bits = whole(dataset, "BitsStored") or 8 * frames.dtype.itemsize
    # The highest value and the lowest change places: 4095 − v for 12 bits, −1 − v for signed ones.
    ends = -1 if frames.dtype.kind == "i" else 2**bits - 1
    if frames.dtype.kind == "u" and int(frames.max()) > ends:
        raise DataError(f"The pixels hold {int(frames.max())}, more than the {bits} bits that the header announces.")
    turned: Pixels = (frames.dtype.type(ends) - frames).astype(frames.dtype)
    return turned


def _scale(dataset: Dataset) -> Scale:
    slope, intercept = number(dataset, "RescaleSlope"), number(dataset, "RescaleIntercept")
    if slope == 0:
        raise DataError("RescaleSlope is 0: every voxel would be the same.")
    return 1.0 if slope is None else slope, intercept or 0.0


def _apply(frame: Pixels, slope: float, intercept: float) -> Pixels:
    if (slope, intercept) == (1, 0):
        return frame
    if frame.dtype.kind in "iu" and slope == round(slope) and intercept == round(intercept):
        ends = [int(v) * int(slope) + int(intercept) for v in (frame.min(), frame.max())]
        kind = np.dtype(_narrowest(min(ends), max(ends)))
        if kind.kind != "f":
            return _scaled_in(kind, frame, int(slope), int(intercept))
    return (frame.astype(np.float64) * slope + intercept).astype(np.float32)


def _scaled_in(kind: np.dtype[Any], frame: Pixels, slope: int, intercept: int) -> Pixels:
    """``frame * slope + intercept`` in a type that holds the result.

    What overflows on the way comes back: arithmetic of whole numbers is exact modulo 2 ** bits.
    """
    modulo = 2 ** (8 * kind.itemsize)
    scaled = frame.astype(kind)
    for change, by in ((np.multiply, slope), (np.add, intercept)):
        if by != (1 if change is np.multiply else 0):
            change(scaled, np.array(by % modulo, f"u{kind.itemsize}").view(kind), out=scaled)
    return scaled


def _narrowest(low: int, high: int) -> Any:
    """16 bits where they are enough: neighbouring slices then have one type."""
    for kind in (np.int16, np.uint16, np.int32, np.uint32):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return kind
    return np.float32


def _check_whole(dataset: Dataset) -> None:
    """Refuse pixels that are cut short or whose own header is not the file's, before a decoder sees them."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_encapsulated:
        _check_length(dataset)
        return
    codec = (*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes, *JPEG2000TransferSyntaxes)
    if syntax not in codec:
        return
    size = (whole(dataset, "Rows") or 0, whole(dataset, "Columns") or 0)
    frames = 0
    for frame in generate_frames(dataset.PixelData, number_of_frames=num_frames(dataset)):
        frames += 1
        if _EOI not in frame[-16:]:
            raise DataError(f"Frame {frames} of the compressed pixels is cut short: its end mark is missing.")
        inside = _codestream_size(frame)
        if inside != size:
            raise DataError(f"Frame {frames} of the compressed pixels is {inside} (Y, X); the header says {size}.")
    if frames < num_frames(dataset):
        raise DataError(f"The compressed pixels have {frames} frames of {num_frames(dataset)}.")


def _check_length(dataset: Dataset) -> None:
    if "PixelData" not in dataset:
        return
    samples = num_frames(dataset) * (whole(dataset, "Rows") or 0) * (whole(dataset, "Columns") or 0)
    samples *= whole(dataset, "SamplesPerPixel") or 1
    needed = (samples * (whole(dataset, "BitsAllocated") or 8) + 7) // 8
    if text(dataset, "PhotometricInterpretation") == "YBR_FULL_422":
        needed = needed // 3 * 2
    if len(dataset.PixelData) < needed:
        raise DataError(f"The file is cut short: {len(dataset.PixelData):,} bytes of pixels of {needed:,}.")


def _codestream_size(frame: bytes) -> tuple[int, int] | None:
    """The rows and columns that JPEG, JPEG-LS or JPEG 2000 data announce of themselves."""
    start = frame.find(_SIZ)
    if start >= 0:  # JPEG 2000, ISO/IEC 15444-1 A.5.1
        x, y, x0, y0 = (int.from_bytes(frame[start + n : start + n + 4], "big") for n in (8, 12, 16, 20))
        return y - y0, x - x0
    offset = 2
    while offset + 9 <= len(frame) and frame[offset] == 0xFF:
        marker = frame[offset + 1]
        if marker == 0xFF:
            offset += 1
        elif marker in _START_OF_FRAME:  # ISO/IEC 10918-1 B.2.2
            return int.from_bytes(frame[offset + 5 : offset + 7], "big"), int.from_bytes(
                frame[offset + 7 : offset + 9], "big"
            )
        else:
            offset += 2 + int.from_bytes(frame[offset + 2 : offset + 4], "big")
    return None
