"""An answer told: as values that JSON has, and as files.

Shape letters: C = classes, Y, X = space.
"""

import io
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from PIL import Image

from hilum.adapters.label_studio.outlines import outlines
from hilum.adapters.nifti_patches import nifti_bytes
from hilum.core.asking import LabelMap
from hilum.loop.answering.answer import Answer
from hilum.nn.biomarkers import biomarkers
from hilum.store.label_archives import label_archive

if TYPE_CHECKING:
    from hilum.adapters.dicom_results import SourceImages

FileFormat = Literal["nifti", "npy", "png", "ome-zarr", "dicom-seg"]
FILE_FORMATS: tuple[FileFormat, ...] = get_args(FileFormat)
ENDINGS: Mapping[FileFormat, str] = {
    "nifti": ".nii.gz",
    "npy": ".npy",
    "png": ".png",
    "ome-zarr": ".ome.zarr.zip",
    "dicom-seg": ".seg.dcm",
}

_PALETTE = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167))
"""Okabe and Ito's colours, told apart by colour-blind eyes too."""
_TINT = 0.45
_DIGITS = 6


def about(answer: Answer) -> dict[str, Any]:
    """Who answered, and how sure; part of every JSON answer."""
    version = answer.version
    return {
        "model": version.model,
        "version": version.checkpoint_id,
        "beside": [other.checkpoint_id for other in answer.beside],
        "depth": answer.depth,
        "licence": version.licence,
        "uncertainty": round(answer.uncertainty, _DIGITS),
        "disagreement": None if answer.disagreement is None else round(answer.disagreement, _DIGITS),
        "calibrated": answer.is_calibrated,
        "unlike": answer.is_unlike,
        "unlike_share": None if answer.unlike_share is None else round(answer.unlike_share, _DIGITS),
        "num_windows": answer.num_windows,
        "num_blank_windows": answer.num_blank,
    }


def classified(answer: Answer) -> dict[str, Any]:
    """A classifier's answer: the likeliest class, a probability for every class, and those of every patch."""
    names = answer.version.class_names
    return {
        **about(answer),
        "class": names[int(answer.probs_C.argmax())],
        "probabilities": _named(names, answer.probs_C),
        "patches": [_named(names, row) for row in answer.probs_WC] if len(answer.probs_WC) > 1 else [],
    }


def scored(answer: Answer) -> dict[str, Any]:
    """How much an answer by a person would say: higher is more."""
    scores = {"entropy": answer.uncertainty}
    if answer.label_map_zyx is None:
        second, first = (float(p) for p in np.sort(answer.probs_C)[-2:])
        scores |= {"least_confidence": 1 - first, "margin": 1 - (first - second)}
    return {**about(answer), "scores": {name: round(value, _DIGITS) for name, value in scores.items()}}


def outlined(answer: Answer, *, measured: bool) -> dict[str, Any]:
    """A segmenter's answer: every class with its polygons and, if it is ``measured``, its biomarkers."""
    return {
        **about(answer),
        "shape_zyx": list(label_map_of(answer).shape),
        "classes": _classes(answer, measured),
    }


def as_file(answer: Answer, wanted: FileFormat, source: "SourceImages | None" = None) -> bytes:
    """A segmenter's label map on the image's grid, as an array (Z, Y, X), or one slice of it as a picture.

    ``source`` are the DICOM files that the image came in: a DICOM segmentation refers to them.
    """
    label_map = label_map_of(answer)
    if wanted == "dicom-seg":
        assert source is not None, "a DICOM segmentation is made of DICOM files"
        ids = "+".join(one.checkpoint_id for one in (answer.version, *answer.beside))
        return source.segmentation(label_map, answer.version.class_names, checkpoint_id=ids)
    if wanted == "nifti":
        return nifti_bytes(label_map[None], answer.image.grid)
    if wanted == "ome-zarr":
        return label_archive(label_map, answer.image.grid, answer.version.class_names)
    if wanted == "png":
        return _picture(answer)
    stream = io.BytesIO()
    np.save(stream, label_map, allow_pickle=False)
    return stream.getvalue()


def label_map_of(answer: Answer) -> LabelMap:
    """A segmenter's label map."""
    assert answer.label_map_zyx is not None, "a segmenter's answer has a label map"
    return answer.label_map_zyx


def _named(names: tuple[str, ...], probs_C: Any) -> dict[str, float]:
    return {name: round(float(p), _DIGITS) for name, p in zip(names, probs_C, strict=True)}


def _classes(answer: Answer, measured: bool) -> list[dict[str, Any]]:
    label_map = label_map_of(answer)
    found = {}
    if measured:
        grey = answer.image.image_czyx[0] if answer.image.image_czyx.shape[0] == 1 else None
        found = {one.label: one for one in biomarkers(label_map, answer.image.grid, grey)}
    rows = []
    for label, name in enumerate(answer.version.class_names[1:], start=1):
        mask_ZYX = label_map == label
        row: dict[str, Any] = {"label": label, "name": name, "num_voxels": int(mask_ZYX.sum())}
        row["polygons"] = [
            {"z": int(z), "points_xy": points}
            for z in np.flatnonzero(mask_ZYX.any(axis=(1, 2)))
            for points in _pixels(mask_ZYX[z])
        ]
        if measured:
            row["biomarkers"] = asdict(found[label]) if label in found else None
        rows.append(row)
    return rows


def _pixels(mask_YX: Any) -> list[list[list[int]]]:
    """The edges of its parts as polygons of (x, y) in pixels, (0, 0) being the upper left corner of the first pixel."""
    points_N2, stops = outlines(mask_YX)
    return [part.tolist() for part in np.split(points_N2, stops[:-1])] if len(stops) else []


def _picture(answer: Answer) -> bytes:
    """The slice that holds most of what was found (the middle one if nothing was), tinted."""
    label_map = label_map_of(answer)
    found = (label_map > 0).sum(axis=(1, 2))
    z = int(found.argmax()) if found.any() else len(label_map) // 2
    low, high = answer.image.grey_range()
    grey_CYX = np.clip((answer.image.image_czyx[:, z].astype(np.float32) - low) / (high - low), 0, 1) * 255
    rgb_YXC = np.moveaxis(grey_CYX[:3] if len(grey_CYX) >= 3 else grey_CYX[:1].repeat(3, axis=0), 0, -1)
    for label in range(1, len(answer.version.class_names)):
        inside = label_map[z] == label
        colour = np.array(_PALETTE[(label - 1) % len(_PALETTE)], np.float32)
        rgb_YXC[inside] = (1 - _TINT) * rgb_YXC[inside] + _TINT * colour
    stream = io.BytesIO()
    Image.fromarray(np.rint(rgb_YXC).astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()
