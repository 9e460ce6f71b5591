"""NRRD (.nrrd, .nhdr) and MetaImage (.mha, .mhd), read by SimpleITK from a header that is safe to read.

A stranger's header is parsed here first: its size is checked, its voxels are unpacked with
their checksum, and only the few fields that say what the voxels are and where they lie are
handed on. So the C++ reader never sees a lie, a compressed stream or a patient's name.
ITK's world is LPS; it becomes RAS+ millimetres.
"""

import importlib
import math
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
from isal import isal_zlib

from hilum.adapters.hostile import MAX_BYTES, check_ratio, check_size, gunzip, refusing, storable
from hilum.adapters.nifti import MAX_CHANNELS, grid_of
from hilum.core.errors import DataError
from hilum.core.sources import ReadImage

MAX_HEADER_BYTES = 64 << 10
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])
_HARMLESS = re.compile(r"[\w \t.,+()\-\"]*\Z", re.ASCII)
_BLOCK = 1 << 20
_UNESCAPED = re.compile(r"\\([n\\])")
_ESCAPES = {"n": "\n", "\\": "\\"}


def _dtype(code: str) -> np.dtype[Any]:
    return np.dtype(code)


_NRRD_TYPES = {
    name: _dtype(code)
    for code, names in {
        "i1": "signed char,int8,int8_t",
        "u1": "uchar,unsigned char,uint8,uint8_t",
        "i2": "short,short int,signed short,signed short int,int16,int16_t",
        "u2": "ushort,unsigned short,unsigned short int,uint16,uint16_t",
        "i4": "int,signed int,int32,int32_t",
        "u4": "uint,unsigned int,uint32,uint32_t",
        "f4": "float",
        "f8": "double",
    }.items()
    for name in names.split(",")
}
_NRRD_KEPT = ("type", "dimension", "sizes", "endian", "space", "space dimension", "space directions")
_NRRD_KEPT_IF_GIVEN = ("space origin", "kinds", "spacings", "space units", "units")
_META_TYPES = {
    "MET_CHAR": _dtype("i1"),
    "MET_UCHAR": _dtype("u1"),
    "MET_SHORT": _dtype("i2"),
    "MET_USHORT": _dtype("u2"),
    "MET_INT": _dtype("i4"),
    "MET_UINT": _dtype("u4"),
    "MET_FLOAT": _dtype("f4"),
    "MET_DOUBLE": _dtype("f8"),
}
_META_PLACE = (
    ("TransformMatrix", ("Rotation", "Orientation")),
    ("Offset", ("Position", "Origin")),
    ("ElementSpacing", ("ElementSize",)),
)


@dataclass(frozen=True)
class _Header:
    """What a header says, in the words of its format, and where its voxels begin."""

    fields: Mapping[str, str] = field(repr=False)
    magic: str
    num_bytes: int
    data_file: str = field(repr=False)


def read_nrrd(
    payload: bytes, voxels: bytes | None = None, *, max_bytes: int = MAX_BYTES, is_label: bool = False
) -> ReadImage:
    """The image of a .nrrd, or of a .nhdr and the file of ``voxels`` that it names."""
    with refusing("NRRD"):
        header = _nrrd_header(payload)
        sizes, dtype = _nrrd_layout(header)
        needed = check_size(sizes, dtype.itemsize, max_bytes)
        raw = _after_header(payload, voxels, header)
        encoding = header.fields.get("encoding", "").lower()
        if encoding in ("gzip", "gz"):
            if not is_label:
                check_ratio(len(raw), needed)
            raw = bytes(gunzip(raw, at_most=needed))
        elif encoding != "raw":
            raise DataError("Voxels in this encoding are not read; save the NRRD file as 'raw' or 'gzip'.")
        kept = {key: header.fields[key] for key in (*_NRRD_KEPT, *_NRRD_KEPT_IF_GIVEN) if key in header.fields}
        kept["sizes"] = " ".join(map(str, sizes))
        lines = [f"{key}: {_harmless(value)}" for key, value in kept.items()]
        text = "\n".join(["NRRD0004", *lines, "encoding: raw", "", ""])
        placed = "space directions" in header.fields
        return _image(text.encode("ascii") + _exactly(raw, needed), ".nrrd", "NrrdImageIO", placed=placed)


def read_metaimage(
    payload: bytes, voxels: bytes | None = None, *, max_bytes: int = MAX_BYTES, is_label: bool = False
) -> ReadImage:
    """The image of a .mha, or of a .mhd and the file of ``voxels`` that it names."""
    with refusing("MetaImage"):
        header = _meta_header(payload)
        said = header.fields
        sizes = _whole_numbers(said.get("DimSize", ""))
        dtype = _META_TYPES.get(said.get("ElementType", ""))
        if dtype is None or str(len(sizes)) != said.get("NDims") or said.get("BinaryData", "True").lower() != "true":
            raise DataError(
                "The MetaImage header does not say how many voxels of which type there are, or they are text."
            )
        channels = int(said.get("ElementNumberOfChannels", "1"))
        needed = check_size((*sizes, channels), dtype.itemsize, max_bytes)
        raw = _after_header(payload, voxels, header)
        if said.get("CompressedData", "False").lower() == "true":
            if not is_label:
                check_ratio(len(raw), needed)
            raw = _inflate(raw, needed)
        text = _meta_text(said, sizes, channels)
        placed = any(name in said for name in ("TransformMatrix", "Rotation", "Orientation"))
        return _image(text.encode("ascii") + _exactly(raw, needed), ".mha", "MetaImageIO", placed=placed)


def data_file(start: bytes, ending: str) -> str | None:
    """The plain name of the file that holds a header's voxels; None when they follow the header.

    Refused when it is not a file beside the header: lists, patterns and paths are not followed.
    """
    with refusing("header"):
        header = _nrrd_header(start) if ending in (".nhdr", ".nrrd") else _meta_header(start)
    name = header.data_file
    if not name or name.upper() == "LOCAL":
        return None
    if PurePosixPath(name).name != name or set(name) & set("\\%:*") or name.split()[0].upper() == "LIST":
        raise DataError("The header keeps its voxels in several files or in another folder; save it as one file.")
    return name


def nrrd_key_values(payload: bytes) -> dict[str, str]:
    """What programs add to an NRRD's header (``key:=value``); of a key that is there twice, the last."""
    start = bytes(payload[:MAX_HEADER_BYTES])
    text = re.split(rb"\r?\n\r?\n", start, maxsplit=1)[0].decode("utf-8", "replace")
    pairs = (line.partition(":=") for line in text.splitlines() if not line.startswith("#"))
    return {key: _UNESCAPED.sub(lambda found: _ESCAPES[found[1]], value) for key, mark, value in pairs if mark}


def _nrrd_header(payload: bytes) -> _Header:
    start = bytes(payload[:MAX_HEADER_BYTES])
    if not start.startswith(b"NRRD000"):
        raise DataError("Not an NRRD file: it does not begin with 'NRRD'.")
    end = re.search(rb"\r?\n\r?\n", start)
    text = start[: end.start() if end else len(start)].decode("utf-8", "replace")
    magic, *lines = text.splitlines()
    said = (line.partition(": ") for line in lines if not line.startswith("#"))
    pairs = [(key, value) for key, mark, value in said if mark and ":=" not in key]
    fields = {key.strip().lower(): value.strip() for key, value in pairs}
    if len(fields) != len(pairs):
        raise DataError("The NRRD header says something twice.")
    if any(_as_whole(fields.get(key, "0")) != 0 for key in ("line skip", "lineskip", "byte skip", "byteskip")):
        raise DataError("The NRRD header skips a part of the data; save it without.")
    apart = fields.get("data file") or fields.get("datafile") or ""
    if not end and not apart:
        raise DataError("The file is cut short: the NRRD header does not end.")
    return _Header(fields, magic, end.end() if end else len(start), apart)


def _nrrd_layout(header: _Header) -> tuple[tuple[int, ...], np.dtype[Any]]:
    sizes = _whole_numbers(header.fields.get("sizes", ""))
    dtype = _NRRD_TYPES.get(header.fields.get("type", "").lower())
    if dtype is None or header.fields.get("dimension") != str(len(sizes)) or not 2 <= len(sizes) <= 4:
        raise DataError("The NRRD header does not say how many voxels of which type there are, on 2 to 4 axes.")
    if dtype.itemsize > 1 and header.fields.get("endian", "").lower() not in ("little", "big"):
        raise DataError("The NRRD header does not say in which order bytes are; add 'endian: little' or 'big'.")
    return sizes, dtype


def _meta_header(payload: bytes) -> _Header:
    start = bytes(payload[:MAX_HEADER_BYTES])
    found = re.search(rb"^[ \t]*ElementDataFile[ \t]*=[ \t]*([^\r\n]*)\r?\n?", start, re.MULTILINE)
    if found is None:
        raise DataError("Not a MetaImage file: it does not say 'ElementDataFile'.")
    lines = start[: found.start()].decode("utf-8", "replace").splitlines()
    parted = [line.partition("=") for line in lines if "=" in line]
    pairs = [(key.strip(), value.strip()) for key, _, value in parted]
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise DataError("The MetaImage header says something twice.")
    if _as_whole(fields.get("HeaderSize", "0")) != 0:
        raise DataError("The MetaImage header skips a part of the data; save it without.")
    return _Header(fields, "", found.end(), found.group(1).decode("utf-8", "replace").strip())


def _meta_text(said: Mapping[str, str], sizes: tuple[int, ...], channels: int) -> str:
    order = said.get("BinaryDataByteOrderMSB", said.get("ElementByteOrderMSB", "False"))
    lines = [
        "ObjectType = Image",
        f"NDims = {len(sizes)}",
        "BinaryData = True",
        f"BinaryDataByteOrderMSB = {order.lower() == 'true'}",
        "CompressedData = False",
    ]
    for name, others in _META_PLACE:
        value = next((said[key] for key in (name, *others) if key in said), None)
        if value is not None:
            lines.append(f"{name} = {_harmless(value)}")
    lines += [
        f"DimSize = {' '.join(map(str, sizes))}",
        f"ElementNumberOfChannels = {channels}",
        f"ElementType = {said['ElementType']}",
        "ElementDataFile = LOCAL",
    ]
    return "\n".join(lines) + "\n"


def _after_header(payload: bytes, voxels: bytes | None, header: _Header) -> bytes:
    apart = bool(header.data_file) and header.data_file.upper() != "LOCAL"
    if apart and voxels is None:
        raise DataError("The file with the voxels is not beside its header.")
    return voxels if apart and voxels is not None else payload[header.num_bytes :]


def _exactly(raw: bytes, needed: int) -> bytes:
    if len(raw) < needed:
        raise DataError(f"The file is cut short: {len(raw):,} bytes of voxels of {needed:,}.")
    return raw[:needed]


def _inflate(packed: bytes, needed: int) -> bytes:
    """A zlib stream to its end, with its checksum. Refused when it holds another number of bytes than ``needed``."""
    inflater = isal_zlib.decompressobj()
    try:
        whole = bytes(inflater.decompress(packed, needed + 1))
    except isal_zlib.IsalError:
        raise DataError("The compressed voxels are damaged: their checksum or their structure is wrong.") from None
    if len(whole) > needed:
        raise DataError(f"The compressed voxels are more than the {needed:,} bytes that the header announces.")
    if len(whole) == needed and not inflater.eof:
        # The checksum comes after the last voxel and is compared only if it is asked for.
        try:
            inflater.decompress(inflater.unconsumed_tail, 1)
        except isal_zlib.IsalError:
            raise DataError("The compressed voxels are damaged: their checksum is wrong.") from None
    if not inflater.eof:
        raise DataError("The compressed voxels are cut short.")
    return whole


def _image(payload: bytes, ending: str, reader: str, *, placed: bool) -> ReadImage:
    """What SimpleITK makes of a file that was written here, word by word."""
    # Takes a fifth of a second to import, so only when there is such a file.
    sitk: Any = importlib.import_module("SimpleITK")
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    with tempfile.TemporaryDirectory(prefix="hilum-") as folder:
        file = Path(folder, f"image{ending}")
        file.write_bytes(payload)
        image = sitk.ReadImage(str(file), imageIO=reader)
    channels = image.GetNumberOfComponentsPerPixel()
    voxels: npt.NDArray[Any] = sitk.GetArrayFromImage(image)
    if channels > 1:
        voxels = np.moveaxis(voxels, -1, 0)
    elif voxels.ndim == 4:
        channels = voxels.shape[0]
    else:
        voxels = voxels[np.newaxis]
    if voxels.ndim not in (3, 4) or channels > MAX_CHANNELS:
        raise DataError(f"An image has 2 or 3 axes and at most {MAX_CHANNELS} channels; given {voxels.shape}.")
    voxels = voxels.reshape(voxels.shape[0], *(1,) * (4 - voxels.ndim), *voxels.shape[1:])
    shape = (voxels.shape[1], voxels.shape[2], voxels.shape[3])
    grid = grid_of(_affine(image), shape)
    return ReadImage(storable(np.ascontiguousarray(voxels)), grid, shape, flags=() if placed else ("no_orientation",))


def _affine(image: Any) -> npt.NDArray[np.float64]:
    """From voxel (i, j, k) to RAS+ millimetres; a flat image lies in the plane z = 0."""
    axes = min(3, image.GetDimension())
    all_axes = image.GetDimension()
    direction = np.reshape(image.GetDirection(), (all_axes, all_axes))[:axes, :axes]
    affine = np.eye(4)
    affine[:axes, :axes] = direction * np.asarray(image.GetSpacing())[:axes]
    affine[:axes, 3] = np.asarray(image.GetOrigin())[:axes]
    affine[:3] = _LPS_TO_RAS @ affine[:3]
    return affine


def _harmless(value: str) -> str:
    if not _HARMLESS.match(value):
        raise DataError("The header has a value that is neither words nor numbers.")
    return value


def _whole_numbers(text: str) -> tuple[int, ...]:
    return tuple(_as_whole(part) for part in text.split())


def _as_whole(text: str) -> int:
    number = float(text)
    if not math.isfinite(number) or number != int(number):
        raise DataError("The header has a number of voxels that is not whole.")
    return int(number)
