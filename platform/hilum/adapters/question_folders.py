"""What a person finds in the folder of one question: the image, the draft, and what is asked.

The image of outlines is a NIfTI and, on request, a DICOM series; the draft comes as a label map, as segments
for 3D Slicer, and as a DICOM segmentation of that series.
"""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from hilum.adapters.answer_sheet import ANSWER_SHEET, task_name
from hilum.adapters.label_tables import ITK_SNAP_LABELS, SLICER_COLOURS, itk_snap_labels, slicer_colours
from hilum.adapters.nifti_patches import nifti_bytes
from hilum.adapters.nrrd_segments import segments_bytes
from hilum.core.asking import LabelMap, Task
from hilum.core.errors import DataError
from hilum.core.geometry import Grid
from hilum.core.imaging import Volume
from hilum.store.layout import Store
from hilum.store.manifest import write_bytes
from hilum.store.volumes import open_volume

FORMAT_VERSION = 1
TASK = "task.json"
IMAGE, DRAFT = "image.nii.gz", "draft.nii.gz"
SEGMENTS = "segments.seg.nrrd"
DICOM_IMAGE, DICOM_DRAFT = "dicom", "draft.dcm"


def grid_of_task(task: Task, volume: Volume) -> Grid:
    """Where a question's voxels lie."""
    patch = task.chosen.candidate.patch
    return volume.grid.cropped(patch.start_zyx, patch.shape_zyx)


def fill_folder(folder: Path, task: Task, volume: Volume, *, store: Store, dicom: bool) -> None:
    """Write a question's files into an empty folder."""
    image_CZYX = open_volume(store, volume).read_CZYX(task.chosen.candidate.patch)
    grid = grid_of_task(task, volume)
    if task.question == "classify" and grid.shape_zyx[0] == 1:
        picture(image_CZYX, volume).save(folder / "image.png")
    else:
        (folder / IMAGE).write_bytes(nifti_bytes(image_CZYX, grid))
    drawn: dict[str, bytes] = {}
    said = _description(task)
    if task.question == "segment":
        drawn = _drafts(task, grid)
        if dicom:
            try:
                drawn |= _write_series(folder / DICOM_IMAGE, image_CZYX, grid, task, volume)
            except DataError as error:
                said["no_dicom"] = str(error)
    for name, content in drawn.items():
        (folder / name).write_bytes(content)
    said["written"] = {name: hashlib.sha256(content).hexdigest() for name, content in drawn.items()}
    (folder / TASK).write_text(json.dumps(said, indent=2, sort_keys=True) + "\n")


def write_label_tables(folder: Path, class_names: tuple[str, ...]) -> None:
    """The classes' names and colours beside the questions, for programs that load such tables."""
    for name, table in ((ITK_SNAP_LABELS, itk_snap_labels), (SLICER_COLOURS, slicer_colours)):
        write_bytes(str(folder / name), table(class_names).encode(), only_if_absent=True)


def written_files(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file that was written to be drawn in; empty where the folder does not say."""
    try:
        written: dict[str, str] = json.loads((folder / TASK).read_text()).get("written", {})
    except (FileNotFoundError, ValueError):
        return {}
    return written


def picture(image_CZYX: npt.NDArray[Any], volume: Volume) -> Image.Image:
    """The first slice as an 8-bit picture, windowed to the volume's low and high; three channels are colours."""
    span = max(volume.high - volume.low, 1e-12)
    window = np.clip((image_CZYX[:, 0].astype(np.float64) - volume.low) / span, 0, 1)
    pixels_CYX = np.rint(window * 255).astype(np.uint8)
    return Image.fromarray(pixels_CYX.transpose(1, 2, 0) if len(pixels_CYX) == 3 else pixels_CYX[0])


def _drafts(task: Task, grid: Grid) -> dict[str, bytes]:
    """The draft as a label map, if there is one, and the segments to draw in, filled by it or empty."""
    draft: LabelMap | None = task.draft_label_map_zyx
    if draft is None:
        return {SEGMENTS: segments_bytes(np.zeros(grid.shape_zyx, np.uint16), grid, task.class_names)}
    return {
        DRAFT: nifti_bytes(draft.astype(np.uint16)[None], grid),
        SEGMENTS: segments_bytes(draft, grid, task.class_names),
    }


def _write_series(
    folder: Path, image_CZYX: npt.NDArray[Any], grid: Grid, task: Task, volume: Volume
) -> dict[str, bytes]:
    # Takes most of a second to import, and not everybody wants it.
    from hilum.adapters.dicom_patches import dicom_bytes, dicom_draft, dicom_series

    series = dicom_series(image_CZYX, grid, task=task, name=task_name(task), volume=volume)
    folder.mkdir()
    for one in series:
        (folder / f"{one.InstanceNumber:04d}.dcm").write_bytes(dicom_bytes(one))
    draft = dicom_draft(series, grid, task=task)
    return {} if draft is None else {DICOM_DRAFT: dicom_bytes(draft)}


def _description(task: Task) -> dict[str, Any]:
    patch = asdict(task.chosen.candidate.patch)
    return {
        "format_version": FORMAT_VERSION,
        "selection_id": task.selection_id,
        "candidate_id": task.candidate_id,
        "question": task.question,
        "classes": dict(enumerate(task.class_names)),
        "rank": task.chosen.rank,
        "arm": task.chosen.arm,
        "reason": task.chosen.reason,
        "answered_by": list(task.chosen.answered_by),
        "patch": {key: patch[key] for key in ("volume_id", "start_zyx", "shape_zyx")},
        "draft_class": task.draft_class,
        "answer_in": f"../{ANSWER_SHEET}" if task.question == "classify" else "answer.nii.gz",
    }
