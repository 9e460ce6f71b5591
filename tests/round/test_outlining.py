"""A campaign whose people outline in 3D, each with another program: what they drew is what is learnt from."""

from collections.abc import Callable
from pathlib import Path

import highdicom as hd
import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813 (its own name for itself)
from pydicom.sr.codedict import codes

from hilum.adapters.answer_sheet import task_name
from hilum.adapters.directory import Directory
from hilum.adapters.inline import InlineExecutor
from hilum.core.errors import WaitingForPeople
from hilum.loop.campaign import Campaign
from hilum.loop.events import history, runs_of
from hilum.steps.publish import tasks_of
from hilum.store.labels import read_answers
from hilum.store.layout import Store
from hilum.store.volumes import open_volume, volumes_of
from hilum.testing.campaigns import check_invariants, tiny_recipe

INLINE = InlineExecutor()


def outline_in_itk_snap(folder: Path, labels_ZYX: np.ndarray) -> None:
    """On other axes than the image's, as a program that thinks in RAS saves it."""
    image = nib.load(folder / "image.nii.gz")
    drawn = nib.Nifti1Image(labels_ZYX.transpose(2, 1, 0).astype(np.uint8), image.affine)
    nib.save(drawn.as_reoriented(np.array([[1, -1], [2, 1], [0, -1]])), folder / "answer.nii.gz")


def outline_in_3d_slicer(folder: Path, labels_ZYX: np.ndarray) -> None:
    """The segments that came with the question, drawn anew under other numbers."""
    given = sitk.ReadImage(str(folder / "segments.seg.nrrd"))
    drawn = sitk.GetImageFromArray((7 * labels_ZYX).astype(np.uint8))
    drawn.CopyInformation(given)
    for key in given.GetMetaDataKeys():
        if key.startswith("Segment"):
            drawn.SetMetaData(key, given.GetMetaData(key))
    drawn.SetMetaData("Segment0_LabelValue", "7")
    sitk.WriteImage(drawn, str(folder / "answer.seg.nrrd"), useCompression=True)


def outline_in_dicom(folder: Path, labels_ZYX: np.ndarray) -> None:
    """Exported on the series that came with the question."""
    series = [pydicom.dcmread(path) for path in sorted((folder / "dicom").iterdir())]
    segment = hd.seg.SegmentDescription(
        1, "LESION", codes.SCT.MorphologicallyAbnormalStructure, codes.SCT.Lesion, "MANUAL"
    )
    made = hd.seg.Segmentation(
        series, labels_ZYX.astype(np.uint8), "BINARY", [segment], hd.UID(), 2, hd.UID(), 1, "m", "m", "1", "1"
    )
    made.save_as(folder / "answer.dcm")


PROGRAMS = (outline_in_itk_snap, outline_in_3d_slicer, outline_in_dicom)


def test_a_round_is_outlined_with_three_programs_and_the_next_shows_drafts(
    new_store: Callable[..., tuple[Store, str]], tmp_path: Path
) -> None:
    store, ingest_id = new_store("segment", 3)
    recipe = tiny_recipe("segment", num_rounds=2, num_per_round=6)
    people = Directory(store, ingest_id, folder=str(tmp_path / "desk"), dicom=True)
    campaign = Campaign.create(store, "liver", recipe)
    volumes, truths = volumes_of(store, ingest_id), {}
    for round_number in range(2):
        with pytest.raises(WaitingForPeople):
            campaign.run(executor=INLINE, annotator=people)
        selection_id = runs_of(history(store, "liver")[round_number])["select"]
        for place, task in enumerate(tasks_of(store, selection_id, "segment")):
            folder = tmp_path / "desk" / selection_id / task_name(task)
            patch = task.chosen.candidate.patch
            truth = open_volume(store, volumes[patch.volume_id]).read_label_map_ZYX(patch)
            PROGRAMS[place % 3 if truth.any() else 0](folder, truth)
            truths[task.candidate_id] = truth
            assert (folder / "draft.nii.gz").exists() == (round_number > 0)
    status = campaign.run(executor=INLINE, annotator=people)
    check_invariants(store, "liver", recipe)
    assert status.finished
    answers = read_answers(store, runs_of(history(store, "liver")[1])["collect"])
    assert len(answers) == len(truths) == 12
    assert all(np.array_equal(one.label_map_zyx, truths[one.patch.candidate_id]) for one in answers)
    used = {path.name for path in (tmp_path / "desk").glob("*/*/answer.*")}
    assert used == {"answer.nii.gz", "answer.seg.nrrd", "answer.dcm"}
    (person,) = campaign.people()
    assert (person.num_answers, person.num_drafted) == (12, 6)
