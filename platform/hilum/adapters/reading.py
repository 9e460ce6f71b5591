"""Every reader behind one door: a file's ending, or its first bytes, say which one reads it.

Readers get bytes, not paths, so that an image on object storage or in an archive is read like
one on a disk, and no message can repeat a file's name.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from hilum.adapters import endings
from hilum.adapters.arrays import read_npy, read_npz
from hilum.adapters.endings import ENDINGS, ending
from hilum.adapters.grouping import voxels_of
from hilum.adapters.hostile import MAX_BYTES, label_map
from hilum.adapters.images import read_label_image, read_photograph, read_tiff
from hilum.adapters.nifti import read_nifti, read_nifti_pair
from hilum.adapters.payloads import member_names, read_bytes
from hilum.adapters.pixel_flags import with_pixel_flags
from hilum.adapters.preparation import AS_IT_IS, prepared
from hilum.core.errors import DataError
from hilum.core.geometry import Grid
from hilum.core.recipes import PrepareRecipe
from hilum.core.sources import ReadImage, SourceItem

__all__ = ["ENDINGS", "ending", "read_item", "read_label_map", "read_payload", "read_scan"]

GRID_TOLERANCE_MM = 1e-2
_LABEL_BYTES_PER_VOXEL = 8
_ANY_LABEL_BYTES = 64 << 20
_PLACED = (*endings.NIFTI, *endings.ITK)


def read_item(
    root: str,
    item: SourceItem,
    *,
    max_bytes: int = MAX_BYTES,
    class_names: Sequence[str] = (),
    prepare: PrepareRecipe = AS_IT_IS,
) -> Iterator[ReadImage]:
    """Everything in one item of a source: its images and, where it has one, the label map that goes with them.

    ``class_names`` say which value a structure of a DICOM label gets; other labels have their own.
    What the voxels themselves warn of, writing and faces, is among the images' flags. It is
    looked for before an image is prepared: a crop does not prove that a warning is over.
    """
    for image in _images(root, item, max_bytes, class_names):
        yield prepared(with_pixel_flags(image), prepare, max_bytes=max_bytes)


def read_scan(root: str, item: SourceItem, *, max_bytes: int = MAX_BYTES) -> ReadImage:
    """The one scan in an item, as it was measured. Nothing is looked for in its voxels: ingest does that."""
    images = list(_images(root, item, max_bytes, ()))
    if len(images) != 1 or images[0].num_items != 1 or not images[0].measured_grid:
        raise DataError("It is not one scan whose voxels have a size in millimetres.")
    return images[0]


def read_payload(kind: str, payloads: Sequence[bytes], *, max_bytes: int = MAX_BYTES) -> list[ReadImage]:
    """What is in a file that is at hand, by the ending it would have; of DICOM, all files of a series."""
    if kind in endings.DICOM:
        from hilum.adapters.dicom import read_dicom

        return list(read_dicom(payloads, num_files=len(payloads), max_bytes=max_bytes))
    if kind in (".npz", *endings.ARCHIVES, *endings.PARTS):
        raise DataError(f"A file of this kind ({kind}) holds no one image.")
    return [_read("", "", kind, payloads[0], max_bytes)]


def read_label_map(root: str, path: str, *, max_bytes: int = MAX_BYTES) -> ReadImage:
    """A label map alone, without the image it was drawn on, as ``label_map_zyx``; its voxels are labels too."""
    payload = read_bytes(root, path, max_bytes=max_bytes)
    kind = _kind(path, payload)
    if kind in (*endings.DICOM, ".npz"):
        raise DataError("Labels of this kind are nothing without the image they were drawn on; give that too.")
    if kind == ".png":
        labels = read_label_image(payload, max_bytes=max_bytes)
        found = _flat(labels[np.newaxis], Grid((1, *labels.shape[1:])))
    else:
        found = _read(root, path, kind, payload, max_bytes, is_label=True)
    if found.image_czyx.shape[0] != 1:
        raise DataError(f"A label map has one channel; this file has {found.image_czyx.shape[0]}.")
    return replace(found, label_map_zyx=label_map(found.image_czyx[0]))


def _images(root: str, item: SourceItem, max_bytes: int, class_names: Sequence[str]) -> Iterator[ReadImage]:
    payload = read_bytes(root, item.image, max_bytes=max_bytes)
    kind = _kind(item.image, payload)
    if kind == ".npz":
        if item.label is not None:
            raise DataError("A stack (.npz) carries its labels inside; its row must not name a label file.")
        yield from read_npz(payload, max_bytes=max_bytes)
    elif kind in endings.DICOM:
        # Who lists a patient beside a series knows better than a scanner, which may know no number at all.
        images = [replace(i, patient=item.patient or i.patient) for i in _read_series(root, item, payload, max_bytes)]
        yield from images if item.label is None else [_labelled(root, item, images, max_bytes, class_names)]
    else:
        image = _read(root, item.image, kind, payload, max_bytes)
        yield image if item.label is None else _labelled(root, item, [image], max_bytes, class_names)


def _kind(path: str, payload: bytes) -> str:
    """The ending; '.dcm' for a file that begins like DICOM and whose ending says nothing."""
    kind = ending(path)
    if kind:
        return kind
    from hilum.adapters.dicom_header import is_dicom

    return endings.DICOM[0] if is_dicom(payload[:1024]) else ""


def _read_series(root: str, item: SourceItem, first: bytes, max_bytes: int) -> list[ReadImage]:
    """All files of a series. Together they may hold no more than one file may."""
    from hilum.adapters.dicom import read_dicom

    def payloads() -> Iterator[bytes]:
        yield first
        left = max_bytes - len(first)
        for path in item.parts:
            payload = read_bytes(root, path, max_bytes=max(0, left))
            left -= len(payload)
            yield payload

    return list(read_dicom(payloads(), num_files=1 + len(item.parts), max_bytes=max_bytes))


def _read(root: str, path: str, kind: str, payload: bytes, max_bytes: int, *, is_label: bool = False) -> ReadImage:
    match kind:
        case ".nii" | ".nii.gz":
            return read_nifti(payload, max_bytes=max_bytes, is_label=is_label)
        case ".hdr" | ".hdr.gz":
            voxels = _voxels(root, path, max_bytes)
            if voxels is None:
                return read_nifti(payload, max_bytes=max_bytes, is_label=is_label)
            return read_nifti_pair(payload, voxels, max_bytes=max_bytes, is_label=is_label)
        case ".nrrd" | ".nhdr" | ".mha" | ".mhd":
            from hilum.adapters.itk_formats import read_metaimage, read_nrrd

            read = read_nrrd if kind in (".nrrd", ".nhdr") else read_metaimage
            return read(payload, _voxels(root, path, max_bytes), max_bytes=max_bytes, is_label=is_label)
        case ".png" | ".jpg" | ".jpeg":
            return _flat(*read_photograph(payload, max_bytes=max_bytes))
        case ".tif" | ".tiff":
            return _flat(*read_tiff(payload, max_bytes=max_bytes, is_label=is_label))
        case ".npy":
            return _flat(*read_npy(payload, max_bytes=max_bytes))
        case ".img" | ".img.gz":
            raise DataError("The voxels of a pair without their header: the .hdr is not beside the .img.")
        case ".zip":
            member_names(root, path)
            raise DataError("The archive holds no image.")
    raise DataError(f"No reader for this kind of file. Readable: {', '.join(endings.KINDS)}.")


def _voxels(root: str, path: str, max_bytes: int) -> bytes | None:
    beside = voxels_of(root, path)
    return None if beside is None else read_bytes(root, beside, max_bytes=max_bytes)


def _flat(image_czyx: npt.NDArray[Any], grid: Grid) -> ReadImage:
    intensity: Any = "photograph" if image_czyx.dtype == np.uint8 else "measured"
    return ReadImage(image_czyx, grid, grid.shape_zyx, intensity=intensity, measured_grid=False)


def _labelled(
    root: str, item: SourceItem, images: Sequence[ReadImage], max_bytes: int, class_names: Sequence[str]
) -> ReadImage:
    if len(images) != 1:
        raise DataError(f"The series is {len(images)} volumes, and one label file cannot be of all; ingest them apart.")
    (image,) = images
    path = item.label or ""
    # A label map needs no more than a whole number for each voxel of its image.
    most = min(max_bytes, max(_ANY_LABEL_BYTES, _LABEL_BYTES_PER_VOXEL * math.prod(image.grid.shape_zyx)))
    payload = read_bytes(root, path, max_bytes=max_bytes)
    kind = _kind(path, payload)
    if kind in endings.DICOM:
        older = [read_bytes(root, other, max_bytes=max_bytes) for other in item.older_labels]
        return _drawn(image, [payload, *older], max_bytes, class_names)
    if kind == ".png":
        _check_same_place(image.grid, None, (labels := read_label_image(payload, max_bytes=most)).shape)
        return replace(image, label_map_zyx=label_map(labels))
    found = _read(root, path, kind, payload, most, is_label=True)
    if found.image_czyx.shape[0] != 1:
        raise DataError(f"A label map has one channel; this file has {found.image_czyx.shape[0]}.")
    _check_same_place(image.grid, found.grid if kind in _PLACED else None, found.grid.shape_zyx)
    return replace(image, label_map_zyx=label_map(found.image_czyx[0]))


def _drawn(image: ReadImage, payloads: Sequence[bytes], max_bytes: int, class_names: Sequence[str]) -> ReadImage:
    from hilum.adapters.dicom_labels import read_labels

    drawn = read_labels(payloads[0], image, older=payloads[1:], class_names=class_names, max_bytes=max_bytes)
    flags = (*image.flags, *drawn.flags)
    return replace(image, label_map_zyx=drawn.label_map_zyx, class_names=drawn.class_names, flags=flags)


def _check_same_place(grid: Grid, label_grid: Grid | None, label_shape: tuple[int, ...]) -> None:
    if label_shape != grid.shape_zyx:
        raise DataError(f"The label map is {label_shape}, its image {grid.shape_zyx} (Z, Y, X): they must be equal.")
    apart = 0.0 if label_grid is None else grid.apart_mm(label_grid)
    if apart > GRID_TOLERANCE_MM:
        raise DataError(f"The label map lies {apart:.3g} mm away from its image; both must have the same affine.")
