"""The folder that people work in: what they find there, what they may save, and what becomes of mistakes."""

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from hilum.adapters.answer_sheet import task_name
from hilum.adapters.directory import Directory
from hilum.adapters.question_folders import picture
from hilum.core.asking import IGNORE, Task
from hilum.core.errors import RequestError
from hilum.core.recipes import Choice
from hilum.core.registry import annotators
from hilum.store.layout import Store
from hilum.store.volumes import open_volume, volumes_of
from hilum.testing.phantoms import Phantom, phantom_store, phantom_tasks

CLASSIFY = Phantom("classify", 2)
SEGMENT = Phantom("segment", 3, size=8)


class Desk:
    """A person's desk: a phantom's tasks, published in a folder."""

    def __init__(self, folder: Path, phantom: Phantom, *, draft: bool = False) -> None:
        self.store, self.ingest_id = phantom_store(str(folder / "store"), phantom)
        self.tasks = [self._drafted(task) if draft else task for task in self._tasks(phantom)]
        self.folder = folder / "desk"
        self.directory = Directory(self.store, self.ingest_id, folder=str(self.folder), annotator="reader")
        self.directory.publish(self.tasks)

    def _tasks(self, phantom: Phantom) -> list[Task]:
        return phantom_tasks(self.store, self.ingest_id, phantom, num=3)

    def _drafted(self, task: Task) -> Task:
        if task.question == "classify":
            return replace(task, draft_class=1)
        return replace(task, draft_label_map_zyx=np.ones(task.chosen.candidate.patch.shape_zyx, np.uint16))

    def task_folder(self, place: int) -> Path:
        task = self.tasks[place]
        return self.folder / task.selection_id / task_name(task)

    @property
    def sheet(self) -> Path:
        return self.folder / self.tasks[0].selection_id / "answers.csv"

    def fill_in(self, answers: Sequence[str]) -> None:
        rows = [f"{task_name(t)},,{answer},," for t, answer in zip(self.tasks, answers, strict=True)]
        self.sheet.write_text("\n".join(["task,draft,answer,annotator,seconds", *rows]) + "\n")

    def draw(self, place: int, labels_ZYX: np.ndarray, *, shift_mm: float = 0.0) -> Path:
        image = nib.load(self.task_folder(place) / "image.nii.gz")
        affine = image.affine.copy()
        affine[0, 3] += shift_mm
        path = self.task_folder(place) / "answer.nii.gz"
        nib.save(nib.Nifti1Image(labels_ZYX.transpose(2, 1, 0), affine), path)
        return path


def labels(value: int = 1) -> np.ndarray:
    drawn = np.zeros((8, 8, 8), np.uint8)
    drawn[2:4, 1:7, 5] = value
    return drawn


def test_a_picture_a_question_and_a_sheet_with_a_row_each(tmp_path: Path) -> None:
    desk = Desk(tmp_path, CLASSIFY, draft=True)
    assert sorted(path.name for path in desk.task_folder(0).iterdir()) == ["image.png", "task.json"]
    lines = desk.sheet.read_text().splitlines()
    assert lines[0] == "task,draft,answer,annotator,seconds"
    assert lines[1:] == [f"{task_name(task)},lesion,,," for task in desk.tasks]
    told = json.loads((desk.task_folder(1) / "task.json").read_text())
    assert (told["rank"], told["arm"], told["classes"]) == (1, "entropy", {"0": "no lesion", "1": "lesion"})


@pytest.mark.parametrize("phantom", [CLASSIFY, SEGMENT], ids=["classes", "outlines"])
def test_what_is_asked_again_is_for_somebody_else_to_answer(tmp_path: Path, phantom: Phantom) -> None:
    desk = Desk(tmp_path, phantom)
    again = [replace(task, chosen=replace(task.chosen, answered_by=("reader", "ann"))) for task in desk.tasks]
    answer = "" if phantom.question == "segment" else "1"
    if phantom.question == "segment":
        for place in range(3):
            desk.draw(place, labels())
    # Not signed is signed by 'reader'.
    names = ("", "ann", "ben")
    rows = [f"{task_name(task)},,{answer},{name}," for task, name in zip(again, names, strict=True)]
    desk.sheet.write_text("\n".join(["task,draft,answer,annotator,seconds", *rows]) + "\n")
    assert [a.annotator for a in desk.directory.collect(again)] == ["ben"]
    refused = desk.directory.refused(again)
    assert sorted(refused) == sorted(task.candidate_id for task in again[:2])
    assert "'reader' has answered this before" in refused[again[0].candidate_id]
    assert len(desk.directory.collect(desk.tasks)) == 3


def test_a_task_says_who_has_answered_before(tmp_path: Path) -> None:
    desk = Desk(tmp_path, CLASSIFY)
    again = replace(desk.tasks[0], selection_id="c0ffee000001")
    again = replace(again, chosen=replace(again.chosen, answered_by=("ann",)))
    desk.directory.publish([again])
    folder = desk.folder / "c0ffee000001" / task_name(again)
    assert json.loads((folder / "task.json").read_text())["answered_by"] == ["ann"]


def test_the_picture_is_the_image_in_its_window(tmp_path: Path) -> None:
    desk = Desk(tmp_path, CLASSIFY)
    patch = desk.tasks[0].chosen.candidate.patch
    volume = volumes_of(desk.store, desk.ingest_id)[patch.volume_id]
    voxels = open_volume(desk.store, volume).read_CZYX(patch)[0, 0].astype(float)
    shown = np.asarray(Image.open(desk.task_folder(0) / "image.png"))
    assert shown.dtype == np.uint8
    assert np.abs(shown / 255 * 1200 - voxels.clip(0, 1200)).max() < 1200 / 255


def test_three_channels_are_colours(tmp_path: Path) -> None:
    desk = Desk(tmp_path, CLASSIFY)
    volume = replace(next(iter(volumes_of(desk.store, desk.ingest_id).values())), low=0.0, high=255.0)
    colours = np.zeros((3, 1, 2, 2), np.uint8)
    colours[1] = 200
    assert picture(colours, volume).getpixel((0, 0)) == (0, 200, 0)


def test_a_block_is_a_nifti_that_lies_where_the_volume_does(tmp_path: Path) -> None:
    desk = Desk(tmp_path, SEGMENT, draft=True)
    patch = desk.tasks[1].chosen.candidate.patch
    volume = volumes_of(desk.store, desk.ingest_id)[patch.volume_id]
    image = nib.load(desk.task_folder(1) / "image.nii.gz")
    voxels_CZYX = open_volume(desk.store, volume).read_CZYX(patch)
    assert np.array_equal(np.asarray(image.dataobj).transpose(2, 1, 0), voxels_CZYX[0])
    z, y, x = patch.start_zyx
    assert image.affine @ [0, 0, 0, 1] == pytest.approx([*volume.grid.index_to_world((z, y, x)), 1])
    assert image.affine @ [3, 2, 1, 1] == pytest.approx([*volume.grid.index_to_world((z + 1, y + 2, x + 3)), 1])
    draft = nib.load(desk.task_folder(1) / "draft.nii.gz")
    assert np.asarray(draft.dataobj).all()
    assert np.array_equal(draft.affine, image.affine)


def test_what_was_drawn_is_what_is_told(tmp_path: Path) -> None:
    desk = Desk(tmp_path, SEGMENT)
    partly = labels().astype(np.uint16)
    partly[:, :, :3] = IGNORE
    desk.draw(0, partly)
    (told,) = desk.directory.collect(desk.tasks)
    assert np.array_equal(told.label_map_zyx, partly)
    assert (told.annotator, told.revision) == ("reader", 1)


def test_names_in_any_case_and_numbers_are_understood(tmp_path: Path) -> None:
    desk = Desk(tmp_path, CLASSIFY)
    desk.fill_in(["Lesion", "0", ""])
    assert [answer.class_id for answer in desk.directory.collect(desk.tasks)] == [1, 0]
    assert desk.directory.refused(desk.tasks) == {}


BAD_DRAWINGS = {
    "another class": (lambda: labels(7), 0.0, "it has the label 7; allowed are 0 to 1"),
    "another size": (lambda: labels()[:4], 0.0, "voxels; the image has 8 × 8 × 8"),
    "another place": (labels, 5.0, "lies elsewhere in space"),
    "an image": (lambda: labels() + 0.25, 0.0, "not whole numbers"),
    "nothing": (lambda: np.full((8, 8, 8), IGNORE, np.uint16), 0.0, "answers no voxel"),
}


@pytest.mark.parametrize("what", BAD_DRAWINGS)
def test_a_drawing_that_cannot_be_used_is_waited_for_and_says_why(tmp_path: Path, what: str) -> None:
    make, shift_mm, reason = BAD_DRAWINGS[what]
    desk = Desk(tmp_path, SEGMENT)
    saved = desk.draw(0, make(), shift_mm=shift_mm)
    before = saved.read_bytes()
    assert list(desk.directory.collect(desk.tasks)) == []
    assert reason in desk.directory.refused(desk.tasks)[desk.tasks[0].candidate_id]
    assert reason in (desk.task_folder(0) / "problem.txt").read_text()
    assert saved.read_bytes() == before

    desk.draw(0, labels())
    assert len(desk.directory.collect(desk.tasks)) == 1
    assert not (desk.task_folder(0) / "problem.txt").exists()
    assert desk.directory.refused(desk.tasks) == {}


@pytest.mark.parametrize("damage", ["truncated", "a flipped bit", "no gzip", "empty"])
def test_a_damaged_file_is_refused(tmp_path: Path, damage: str) -> None:
    desk = Desk(tmp_path, SEGMENT)
    saved = desk.draw(0, labels())
    whole = bytearray(saved.read_bytes())
    whole[len(whole) // 2] ^= 0x10
    content = {"truncated": whole[:60], "a flipped bit": whole, "no gzip": b"hello there", "empty": b""}[damage]
    saved.write_bytes(bytes(content))
    assert list(desk.directory.collect(desk.tasks)) == []
    assert set(desk.directory.refused(desk.tasks)) == {desk.tasks[0].candidate_id}


def test_an_unknown_class_is_guessed_at_beside_the_image(tmp_path: Path) -> None:
    desk = Desk(tmp_path, CLASSIFY)
    desk.fill_in(["leison", "lesion", "2"])
    assert [answer.class_id for answer in desk.directory.collect(desk.tasks)] == [1]
    refused = desk.directory.refused(desk.tasks)
    assert "Did you mean 'lesion'" in refused[desk.tasks[0].candidate_id]
    assert set(refused) == {desk.tasks[0].candidate_id, desk.tasks[2].candidate_id}
    assert "leison" in (desk.task_folder(0) / "problem.txt").read_text()


def test_a_sheet_without_its_columns_is_everybodys_problem(tmp_path: Path) -> None:
    desk = Desk(tmp_path, CLASSIFY)
    desk.sheet.write_text("what,ever\n1,2\n")
    assert list(desk.directory.collect(desk.tasks)) == []
    assert len(desk.directory.refused(desk.tasks)) == 3


def test_a_changed_answer_is_a_new_revision_and_a_saved_one_is_not(tmp_path: Path) -> None:
    desk = Desk(tmp_path, SEGMENT)

    def told() -> tuple[int, object]:
        (answer,) = desk.directory.collect(desk.tasks)
        return answer.revision, answer.answered_at

    saved = desk.draw(0, labels())
    first = told()
    os.utime(saved, (2_000_000_000, 2_000_000_000))
    assert told() == first
    desk.draw(0, labels())
    assert told() == first
    desk.draw(0, np.roll(labels(), 1, axis=0))
    assert told()[0] == 2
    desk.draw(0, labels())
    assert told()[0] == 3


def test_who_drew_and_how_long_it_took_may_be_said_on_the_sheet(tmp_path: Path) -> None:
    desk = Desk(tmp_path, SEGMENT)
    labels_ZYX = np.ones(desk.tasks[0].chosen.candidate.patch.shape_zyx, np.uint16)
    desk.draw(0, labels_ZYX)
    (told,) = desk.directory.collect(desk.tasks)
    assert (told.annotator, told.seconds, told.revision) == ("reader", 0.0, 1)
    name = task_name(desk.tasks[0])
    desk.sheet.write_text(f"task,draft,answer,annotator,seconds\n{name},,,ann,90.5\n")
    (told,) = desk.directory.collect(desk.tasks)
    assert (told.annotator, told.seconds, told.revision) == ("ann", 90.5, 2)
    assert told.label_map_zyx is not None
    desk.sheet.write_text(f"task,draft,answer,annotator,seconds\n{name},,,ann,soon\n")
    assert desk.directory.collect(desk.tasks) == []
    assert "its seconds are 'soon'" in desk.directory.refused(desk.tasks)[desk.tasks[0].candidate_id]


def test_an_address_is_no_signature(tmp_path: Path) -> None:
    desk = Desk(tmp_path, CLASSIFY)
    desk.sheet.write_text(f"task,draft,answer,annotator,seconds\n{task_name(desk.tasks[0])},,1,ann@example.org,4\n")
    assert list(desk.directory.collect(desk.tasks)) == []
    assert "signed with an address" in desk.directory.refused(desk.tasks)[desk.tasks[0].candidate_id]


def test_a_fresh_annotator_counts_revisions_as_the_old_one_did(tmp_path: Path) -> None:
    desk = Desk(tmp_path, CLASSIFY)
    for answer in ("0", "1"):
        desk.fill_in([answer, "", ""])
        desk.directory.collect(desk.tasks)
    fresh = Directory(desk.store, desk.ingest_id, folder=str(desk.folder), annotator="reader")
    (told,) = fresh.collect(desk.tasks)
    assert (told.revision, told.class_id) == (2, 1)


def test_asking_more_leaves_what_people_typed(tmp_path: Path) -> None:
    store, ingest_id = phantom_store(str(tmp_path / "store"), CLASSIFY)
    tasks = phantom_tasks(store, ingest_id, CLASSIFY)
    directory = Directory(store, ingest_id)
    directory.publish(tasks[:2])
    sheet = Path(store.url, "questions", tasks[0].selection_id, "answers.csv")
    sheet.write_text(sheet.read_text().replace(f"{task_name(tasks[0])},,,", f"{task_name(tasks[0])},,lesion,"))
    assert directory.publish(tasks) == 2
    assert len(sheet.read_text().splitlines()) == 5
    assert [answer.class_id for answer in directory.collect(tasks)] == [1]


def test_publishing_leaves_no_half_written_folder(tmp_path: Path) -> None:
    desk = Desk(tmp_path, SEGMENT)
    names = {path.name for path in (desk.folder / desk.tasks[0].selection_id).iterdir()}
    tables = {"labels-itksnap.txt", "labels-slicer.ctbl"}
    assert names == {"answers.csv", *tables, *(task_name(task) for task in desk.tasks)}


def test_a_publish_that_cannot_read_an_image_leaves_no_folder_for_it(tmp_path: Path) -> None:
    store, ingest_id = phantom_store(str(tmp_path / "store"), SEGMENT)
    tasks = phantom_tasks(store, ingest_id, SEGMENT)
    outside = replace(tasks[0].chosen.candidate.patch, start_zyx=(10_000, 0, 0))
    lost = replace(
        tasks[0], chosen=replace(tasks[0].chosen, candidate=replace(tasks[0].chosen.candidate, patch=outside))
    )
    with pytest.raises(RequestError):
        Directory(store, ingest_id).publish([lost])
    assert list(Path(store.url, "questions", lost.selection_id).iterdir()) == []


def test_nobodys_name_gets_into_a_question(tmp_path: Path) -> None:
    desk = Desk(tmp_path, SEGMENT)
    patient_id = desk.tasks[0].chosen.candidate.patient_id
    for path in desk.folder.rglob("*"):
        assert patient_id not in path.name
        assert not path.is_file() or patient_id.encode() not in path.read_bytes()


def test_a_relative_folder_needs_a_store_that_is_a_folder() -> None:
    from hilum.adapters.directory import _local_folder

    with pytest.raises(RequestError, match="absolute folder"):
        _local_folder(Store("memory://bucket"), "questions")
    assert _local_folder(Store("memory://bucket"), "/desk") == Path("/desk")


def test_the_recipe_that_names_nothing_else_is_enough() -> None:
    assert annotators.bind(Choice(kind="directory")).keywords == {
        "folder": "questions",
        "annotator": "directory",
        "dicom": False,
    }
