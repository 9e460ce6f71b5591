"""Images that come as bytes, without a file: what they are is told by how they begin."""

import io
import zipfile
from collections.abc import Sequence

from hilum.adapters import endings
from hilum.adapters.dicom_header import is_dicom
from hilum.adapters.hostile import check_ratio, refusing
from hilum.adapters.reading import read_payload
from hilum.core.errors import DataError
from hilum.core.sources import ReadImage

_NPY = b"\x93NUMPY"
_LIGHT_BYTES = 1 << 16
_BEGINNINGS = (
    (b"\x89PNG\r\n\x1a\n", ".png"),
    (b"\xff\xd8\xff", ".jpg"),
    (b"II*\x00", ".tif"),
    (b"MM\x00*", ".tif"),
    (_NPY, ".npy"),
    (b"NRRD0", ".nrrd"),
    (b"\x1f\x8b", ".nii.gz"),
)
_NIFTI_MAGIC, _MAGIC_AT = (b"n+1\x00", b"n+2\x00"), (344, 4)
_MOST_FILES = 10_000


def read_body(payload: bytes, *, max_bytes: int) -> ReadImage:
    """The one image that a body holds: a file of any kind that is read, or a zip of one DICOM series.

    DataError for anything else. ``max_bytes`` bounds it packed and unpacked.
    """
    if not payload:
        raise DataError("The body is empty; send an image.")
    if len(payload) > max_bytes:
        raise DataError(f"The image has {len(payload):,} bytes; at most {max_bytes:,} are read.")
    files = _files(payload, max_bytes)
    return _only(read_payload(kind_of(files[0]), files, max_bytes=max_bytes))


def is_light(payload: bytes) -> bool:
    """Whether it is read sooner than a thread is woken: few bytes, and nothing to unpack."""
    return len(payload) <= _LIGHT_BYTES and payload.startswith(_NPY)


def read_series(payloads: Sequence[bytes], *, max_bytes: int) -> ReadImage:
    """The one image that the files of a DICOM series hold, given in any order."""
    if not payloads or not all(is_dicom(one[:1024]) for one in payloads):
        raise DataError("These files are not the slices of one DICOM series.")
    return _only(read_payload(endings.DICOM[0], payloads, max_bytes=max_bytes))


def dicom_files(payload: bytes, *, max_bytes: int) -> Sequence[bytes]:
    """The DICOM files of a body: itself, or those of its zip. DataError for one that is no DICOM."""
    files = _files(payload, max_bytes)
    if not all(is_dicom(one[:1024]) for one in files):
        raise DataError(
            "A DICOM segmentation refers to the DICOM files that it is drawn on, and this image is none: send DICOM "
            "(one file, or a zip of one series), or ask for another format."
        )
    return files


def _files(payload: bytes, max_bytes: int) -> Sequence[bytes]:
    return _unzipped(payload, max_bytes) if payload.startswith(b"PK\x03\x04") else [payload]


def _only(images: Sequence[ReadImage]) -> ReadImage:
    if len(images) != 1:
        raise DataError(f"It holds {len(images)} images; give them one at a time.")
    images[0].check_finite()
    return images[0]


def kind_of(payload: bytes) -> str:
    """The ending that a file which begins so would have; DataError where none is known."""
    if is_dicom(payload[:1024]):
        return endings.DICOM[0]
    if any(payload[at : at + 4] in _NIFTI_MAGIC for at in _MAGIC_AT):
        return ".nii"
    for beginning, kind in _BEGINNINGS:
        if payload.startswith(beginning):
            return kind
    raise DataError(f"This is no kind of image that is read here. Readable: {', '.join(endings.KINDS)}.")


def _unzipped(payload: bytes, max_bytes: int) -> Sequence[bytes]:
    """The files of an archive, which must be the slices of one DICOM series."""
    with refusing("zip"), zipfile.ZipFile(io.BytesIO(payload)) as archive:
        members = [one for one in archive.infolist() if not one.is_dir() and one.filename.rsplit("/", 1)[-1][:1] != "."]
        if not 1 <= len(members) <= _MOST_FILES:
            raise DataError(
                f"The archive holds {len(members)} files; 1 to {_MOST_FILES:,} slices of a series are read."
            )
        left, files = max_bytes, []
        for member in sorted(members, key=lambda one: one.filename):
            check_ratio(member.compress_size, member.file_size)
            if member.file_size > left:
                raise DataError(f"Unpacked it would have more than {max_bytes:,} bytes.")
            left -= member.file_size
            with archive.open(member) as stream:
                files.append(stream.read(member.file_size + 1))
    if len(files) > 1 and not all(is_dicom(one[:1024]) for one in files):
        raise DataError("An archive of several files must be one DICOM series; send other images by themselves.")
    return files
