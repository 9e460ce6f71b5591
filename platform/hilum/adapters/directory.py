"""An annotator that is a folder: people open the images with their own tools and save answers beside them.

    <folder>/<selection_id>/<rank>-<candidate_id>/image.nii.gz (or image.png), draft.nii.gz, task.json, …
    <folder>/<selection_id>/<rank>-<candidate_id>/answer.nii.gz     saved by a person (where is it?), or
                                                                    answer.seg.nrrd, or answer.dcm
    <folder>/<selection_id>/answers.csv                             filled in by a person (what is this?), and by
                                                                    whom and how long it took (both)

A person's file is never moved or changed. One that cannot be used gets a ``problem.txt``
beside it, which goes away when the answer is put right.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from uuid import uuid4

from hilum.adapters.answer_files import find_answer, read_answer
from hilum.adapters.answer_log import AnswerLog
from hilum.adapters.answer_sheet import ANSWER_SHEET, SheetRow, extend_sheet, read_sheet, task_name
from hilum.adapters.question_folders import fill_folder, grid_of_task, write_label_tables, written_files
from hilum.core.asking import Annotation, Task
from hilum.core.errors import DataError, RequestError
from hilum.core.imaging import Volume
from hilum.core.registry import Params, annotators
from hilum.store.layout import Store, filesystem, is_local
from hilum.store.manifest import write_bytes
from hilum.store.volumes import volumes_of

PROBLEM = "problem.txt"


class DirectoryParams(Params):
    """``folder`` is where people work; a relative one lies in the store. ``annotator`` signs the answers.

    With ``dicom`` images of outlines are written as DICOM series, too, and drafts as DICOM segmentations of them.
    """

    folder: str = "questions"
    annotator: str = "directory"
    dicom: bool = False


@annotators.register("directory", params=DirectoryParams)
class Directory:
    """Asks by writing folders, and reads what people saved in them."""

    def __init__(
        self,
        store: Store,
        ingest_id: str,
        *,
        folder: str = "questions",
        annotator: str = "directory",
        dicom: bool = False,
    ) -> None:
        self._store = store
        self._volumes = volumes_of(store, ingest_id)
        self._folder = _local_folder(store, folder)
        self._annotator = annotator
        self._dicom = dicom

    def publish(self, tasks: Sequence[Task]) -> int:
        num_new = sum(self._write_task(task) for task in tasks)
        for selection_id in sorted({task.selection_id for task in tasks}):
            asked = [task for task in tasks if task.selection_id == selection_id]
            extend_sheet(self._folder / selection_id, asked)
            if asked[0].question == "segment":
                write_label_tables(self._folder / selection_id, asked[0].class_names)
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
        folder = self._task_folder(task)
        path = find_answer(folder, written_files(folder))
        if path is None:
            return None
        label_map_ZYX = read_answer(path, grid_of_task(task, self._volume(task)), task)
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
        if "@" in name:
            raise DataError("it is signed with an address; sign with a short name or a number, which is kept for good")
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
            fill_folder(partial, task, self._volume(task), store=self._store, dicom=self._dicom)
            partial.rename(folder)
        except OSError:
            # A folder with something in it cannot be renamed over: another publisher was first.
            if not folder.exists():
                raise
            return False
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return True

    def _volume(self, task: Task) -> Volume:
        return self._volumes[task.chosen.candidate.patch.volume_id]

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
