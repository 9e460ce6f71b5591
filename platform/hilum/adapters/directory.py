"""An annotator that is a folder: people open the images with their own tools and save answers beside them.

    <folder>/<selection_id>/<rank>-<candidate_id>/image.nii.gz (or image.png), draft.nii.gz, task.json
    <folder>/<selection_id>/<rank>-<candidate_id>/answer.nii.gz     saved by a person (where is it?)
    <folder>/<selection_id>/answers.csv                             filled in by a person (what is this?), and by
                                                                    whom and how long it took (both)

A person's file is never moved or changed. One that cannot be used gets a ``problem.txt``
beside it, which goes away when the answer is put right.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import numpy.typing as npt
from PIL import Image

from hilum.adapters.answer_log import AnswerLog
from hilum.adapters.answer_sheet import ANSWER_SHEET, SheetRow, extend_sheet, read_sheet, task_name
from hilum.adapters.nifti_patches import nifti_bytes, read_label_map
from hilum.core.asking import Annotation, LabelMap, Task
from hilum.core.errors import DataError, RequestError
from hilum.core.geometry import Grid
from hilum.core.imaging import Volume
from hilum.core.registry import Params, annotators
from hilum.store.layout import Store, filesystem, is_local
from hilum.store.manifest import write_bytes
from hilum.store.volumes import open_volume, volumes_of

FORMAT_VERSION = 1
ANSWER = "answer.nii.gz"
PROBLEM = "problem.txt"


class DirectoryParams(Params):
    """``folder`` is where people work; a relative one lies in the store. ``annotator`` signs the answers."""

    folder: str = "questions"
    annotator: str = "directory"


@annotators.register("directory", params=DirectoryParams)
class Directory:
    """Asks by writing folders, and reads what people saved in them."""

    def __init__(
        self, store: Store, ingest_id: str, *, folder: str = "questions", annotator: str = "directory"
    ) -> None:
        self._store = store
        self._volumes = volumes_of(store, ingest_id)
        self._folder = _local_folder(store, folder)
        self._annotator = annotator

    def publish(self, tasks: Sequence[Task]) -> int:
        num_new = sum(self._write_task(task) for task in tasks)
        for selection_id in sorted({task.selection_id for task in tasks}):
            asked = [task for task in tasks if task.selection_id == selection_id]
            extend_sheet(self._folder / selection_id, asked)
        return num_new

    def collect(self, tasks: Sequence[Task]) -> Sequence[Annotation]:
        return self._read(tasks)[0]

    def refused(self, tasks: Sequence[Task]) -> Mapping[str, str]:
        return self._read(tasks)[1]

    def declined(self, tasks: Sequence[Task]) -> Mapping[str, str]:  # noqa: ARG002 (an answer that is not there is waited for)
        return {}

    def _read(self, tasks: Sequence[Task]) -> tuple[list[Annotation], dict[str, str]]:
        annotations: list[Annotation] = []
        problems: dict[str, str] = {}
        for selection_id in sorted({task.selection_id for task in tasks}):
            log = AnswerLog(self._folder / selection_id)
            sheet = _Sheet(self._folder / selection_id)
            for task in (task for task in tasks if task.selection_id == selection_id):
                try:
                    answer = self._answer(task, log, sheet)
                    if answer is not None:
                        annotations.append(answer)
                except DataError as error:
                    problems[task.candidate_id] = str(error)
                self._say(task, problems.get(task.candidate_id))
            log.save()
        return annotations, problems

    def _answer(self, task: Task, log: AnswerLog, sheet: "_Sheet") -> Annotation | None:
        if task.question == "classify":
            return self._class_answer(task, log, sheet)
        return self._map_answer(task, log, sheet)

    def _class_answer(self, task: Task, log: AnswerLog, sheet: "_Sheet") -> Annotation | None:
        row = sheet.row(task)
        if row is None or not row.answer:
            return None
        class_id = row.class_id(task.class_names)
        seen = log.see(task.candidate_id, f"{class_id},{row.annotator},{row.seconds}".encode(), sheet.path)
        return Annotation(
            annotation_id=f"directory-{task.selection_id}-{task.candidate_id}",
            revision=seen.revision,
            patch=task.chosen.candidate.patch,
            annotator=self._signed(task, row),
            answered_at=seen.answered_at,
            seconds=row.seconds,
            class_id=class_id,
        )

    def _map_answer(self, task: Task, log: AnswerLog, sheet: "_Sheet") -> Annotation | None:
        path = self._task_folder(task) / ANSWER
        if not path.exists():
            return None
        label_map_ZYX = read_label_map(path, self._grid(task), len(task.class_names))
        # Who drew it and how long it took may be said on the sheet, and need not be.
        row = sheet.row(task) or SheetRow("", "", "")
        said = f",{row.annotator},{row.seconds}" if row.annotator or row.seconds else ""
        seen = log.see(task.candidate_id, label_map_ZYX.tobytes() + said.encode(), path)
        return Annotation(
            annotation_id=f"directory-{task.selection_id}-{task.candidate_id}",
            revision=seen.revision,
            patch=task.chosen.candidate.patch,
            annotator=self._signed(task, row),
            answered_at=seen.answered_at,
            seconds=row.seconds,
            label_map_zyx=label_map_ZYX,
        )

    def _signed(self, task: Task, row: SheetRow) -> str:
        """Who answered. A question that is asked again is another person's to answer."""
        name = row.annotator or self._annotator
        if name in task.chosen.answered_by:
            raise DataError(
                f"'{name}' has answered this before, and somebody else is asked now: let another person answer, and "
                f"sign in column 'annotator' of {ANSWER_SHEET}"
            )
        return name

    def _say(self, task: Task, problem: str | None) -> None:
        """Put the reason beside the answer, or take it away again."""
        folder = self._task_folder(task)
        path = folder / PROBLEM
        if problem is None:
            path.unlink(missing_ok=True)
        elif folder.exists():
            write_bytes(
                str(path), f"This answer cannot be used: {problem}.\nPut it right and collect again.\n".encode()
            )

    def _write_task(self, task: Task) -> bool:
        """Write one task's folder, whole or not at all. False when it is there already."""
        folder = self._task_folder(task)
        if folder.exists():
            return False
        partial = folder.with_name(f"{folder.name}.{uuid4().hex}.partial")
        try:
            partial.mkdir(parents=True)
            self._fill(partial, task)
            partial.rename(folder)
        except OSError:
            # A folder with something in it cannot be renamed over: another publisher was first.
            if not folder.exists():
                raise
            return False
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return True

    def _fill(self, folder: Path, task: Task) -> None:
        patch = task.chosen.candidate.patch
        volume = self._volumes[patch.volume_id]
        image_CZYX = open_volume(self._store, volume).read_CZYX(patch)
        if task.question == "classify" and patch.shape_zyx[0] == 1:
            picture(image_CZYX, volume).save(folder / "image.png")
        else:
            (folder / "image.nii.gz").write_bytes(nifti_bytes(image_CZYX, self._grid(task)))
        if task.draft_label_map_zyx is not None:
            draft: LabelMap = task.draft_label_map_zyx.astype(np.uint16)
            (folder / "draft.nii.gz").write_bytes(nifti_bytes(draft[None], self._grid(task)))
        (folder / "task.json").write_text(json.dumps(_description(task), indent=2, sort_keys=True) + "\n")

    def _grid(self, task: Task) -> Grid:
        patch = task.chosen.candidate.patch
        return self._volumes[patch.volume_id].grid.cropped(patch.start_zyx, patch.shape_zyx)

    def _task_folder(self, task: Task) -> Path:
        return self._folder / task.selection_id / task_name(task)


class _Sheet:
    """The answers of one selection, read once. A sheet that cannot be read is every answer's problem."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / ANSWER_SHEET
        self._problem = ""
        self._rows: dict[str, SheetRow] = {}
        try:
            self._rows = read_sheet(folder)
        except DataError as error:
            self._problem = str(error)

    def row(self, task: Task) -> SheetRow | None:
        if self._problem:
            raise DataError(self._problem)
        return self._rows.get(task_name(task))


def picture(image_CZYX: npt.NDArray[Any], volume: Volume) -> Image.Image:
    """The first slice as an 8-bit picture, windowed to the volume's low and high; three channels are colours."""
    span = max(volume.high - volume.low, 1e-12)
    window = np.clip((image_CZYX[:, 0].astype(np.float64) - volume.low) / span, 0, 1)
    pixels_CYX = np.rint(window * 255).astype(np.uint8)
    return Image.fromarray(pixels_CYX.transpose(1, 2, 0) if len(pixels_CYX) == 3 else pixels_CYX[0])


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
        "answer_in": f"../{ANSWER_SHEET}" if task.question == "classify" else ANSWER,
    }


def _local_folder(store: Store, folder: str) -> Path:
    path = Path(folder).expanduser()
    if path.is_absolute():
        return path
    if not is_local(store.url):
        raise RequestError(
            f"The folder '{folder}' is relative, and the store {store.url} is not a local folder. "
            "Give annotator 'directory' an absolute folder."
        )
    return Path(filesystem(store.url)[1]) / path
