"""The voxels of a DICOM file: decoded by pydicom, checked before anything is allocated.

Shape letters: F = frames, Y, X = space, S = samples (1 grey, 3 colour).
"""

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut
from pydicom.pixels.utils import pixel_array

from hilum.adapters.dicom_codecs import check_frames, decoder_for, unwrapped
from hilum.adapters.dicom_header import first_item, number, text, whole
from hilum.adapters.hostile import check_size
from hilum.core.errors import DataError

Pixels = npt.NDArray[Any]
_FLOAT = np.dtype(np.float32)
Scale = tuple[float, float]

_BITS = (1, 8, 16, 32, 64)
_MEASURED = ("CT", "PT", "NM")


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
    if not syntax.is_encapsulated:
        return pixel_array(dataset)
    name = syntax.name if syntax.type else "an unknown method"
    decoder = decoder_for(syntax)
    if decoder is None:
        raise DataError(f"The pixels are compressed by {name}, for which there is no decoder here; save them unpacked.")
    try:
        return decoder.as_array(unwrapped(dataset, num_frames(dataset)))[0]
    except RuntimeError:
        # What pydicom makes of whatever its plugin raises.
        raise DataError(f"The pixels, compressed by {name}, are damaged: they cannot be decoded.") from None


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
    check_frames(dataset, num_frames(dataset))


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
