"""Which file is the answer, and what is said of every other; all formats on all axes of the one grid."""

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 (its own name for itself)
from tests.unit.adapters.drawing import moved, named, segments, write_segmentation
from tests.unit.adapters.oblique_desk import SHAPE, Desk, labels

from hilum.adapters.nifti_patches import nifti_bytes
from hilum.core.geometry import Grid


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path, draft=labels(), dicom=True)


ORIENTATIONS = ("RAS", "LPS", "LAI", "PIR", "SLA", "IPL", "ASR", "RIP")


@pytest.mark.parametrize(
    ("draft", "answer"),
    [
        ("draft.nii.gz", "answer.nii.gz"),
        ("segments.seg.nrrd", "answer.seg.nrrd"),
        ("segments.seg.nrrd", "Answer.NRRD"),
        ("draft.dcm", "answer.dcm"),
    ],
)
def test_a_draft_that_is_saved_as_the_answer_is_the_answer(desk, draft, answer):
    assert desk.told() is None
    (desk.folder / draft).rename(desk.folder / answer)
    assert np.array_equal(desk.told(), labels())


@pytest.mark.parametrize("code", ORIENTATIONS)
@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd"])
def test_an_answer_on_other_axes_of_the_same_grid_is_restored(desk, code, ending):
    turned = sitk.DICOMOrient(sitk.ReadImage(str(desk.folder / "draft.nii.gz")), code)
    sitk.WriteImage(turned, str(desk.folder / f"answer{ending}"))
    assert np.array_equal(desk.told(), labels())


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".seg.nrrd"])
@pytest.mark.parametrize("other", [{"mm": 0.3}, {"spacing": (2.5, 0.8, 0.8)}, {"spacing": (2.5, 1.6, 0.7)}])
def test_an_answer_on_another_grid_is_refused(desk, ending, other):
    where = moved(desk.grid, **other)
    if ending == ".nii.gz":
        content = nifti_bytes(labels()[None], where)
    else:
        content = segments(named("Liver", "liver tumour", "Läsion") if "seg" in ending else {}, labels(), where)
    (desk.folder / f"answer{ending}").write_bytes(content)
    assert "lies elsewhere in space than the image" in desk.refusal()


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd"])
def test_an_answer_that_is_one_voxel_off_is_refused(desk, ending):
    x, y, z = desk.grid.index_to_world((1, 0, 0))
    where = Grid(SHAPE, desk.grid.spacing_mm_zyx, (x, y, z), desk.grid.direction)
    content = nifti_bytes(labels()[None], where) if "nii" in ending else segments({}, labels(), where)
    (desk.folder / f"answer{ending}").write_bytes(content)
    assert "lies elsewhere" in desk.refusal()


def test_a_label_map_of_another_size_says_both(desk):
    where = Grid((4, 6, 7), desk.grid.spacing_mm_zyx, desk.grid.origin_mm_xyz, desk.grid.direction)
    (desk.folder / "answer.nrrd").write_bytes(segments({}, labels()[:4], where))
    assert "it has 7 × 6 × 4 voxels; the image has 7 × 6 × 5 (X, Y, Z)" in desk.refusal()


@pytest.mark.parametrize("ending", [".dcm", ".seg.nrrd"])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.95])
def test_a_half_written_answer_is_refused_wherever_it_ends(desk, ending, share):
    whole = (desk.folder / ("draft.dcm" if ending == ".dcm" else "segments.seg.nrrd")).read_bytes()
    (desk.folder / f"answer{ending}").write_bytes(whole[: int(share * len(whole))])
    assert "\n" not in desk.refusal()


def test_of_two_answers_none_is_taken(desk):
    (desk.folder / "answer.nii.gz").write_bytes((desk.folder / "draft.nii.gz").read_bytes())
    write_segmentation(desk, labels())
    assert desk.refusal() == "there are 2 answers, answer.dcm and answer.nii.gz; keep one of them"
    (desk.folder / "answer.dcm").unlink()
    assert np.array_equal(desk.told(), labels())
    assert not (desk.folder / "problem.txt").exists()


@pytest.mark.parametrize("name", ["draft.nii.gz", "segments.seg.nrrd", "draft.dcm"])
def test_who_draws_over_the_draft_is_told_where_answers_go(desk, name):
    path = desk.folder / name
    path.write_bytes(path.read_bytes() + b"\0")
    assert f"{name} was changed; if that is the answer, save it as answer.nii.gz" in desk.refusal()


@pytest.mark.parametrize(
    ("name", "reason"),
    [("answer.mha", "in this format is not read"), ("Meier Segmentation.seg.nrrd", "not called 'answer'")],
)
def test_a_file_that_nobody_would_read_is_noticed_and_its_name_not_repeated(desk, name, reason):
    (desk.folder / name).write_bytes(b"drawn")
    assert reason in desk.refusal()
    assert "Meier" not in desk.refusal()


def test_notes_and_folders_of_people_are_left_alone(desk):
    (desk.folder / "notes.txt").write_text("hard to see")
    (desk.folder / "scene").mkdir()
    assert desk.told() is None
    assert desk.directory.refused([desk.task]) == {}
