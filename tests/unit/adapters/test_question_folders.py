"""What a person finds: image and draft in NIfTI, NRRD and DICOM, judged by others' readers."""

import hashlib
import json

import highdicom as hd
import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813 (its own name for itself)
from tests.unit.adapters.drawing import (
    FLIPPED,
    highdicom_values,
    itk_series,
    itk_values,
    sheared,
    slices_of,
)
from tests.unit.adapters.oblique_desk import OBLIQUE, Desk, grid, labels

from hilum.adapters.nifti_patches import affine_of


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path, draft=labels(), dicom=True)


@pytest.mark.parametrize("direction", [OBLIQUE, FLIPPED], ids=["right-handed", "left-handed"])
def test_an_image_lies_in_every_format_where_it_lay(tmp_path, direction):
    desk = Desk(tmp_path, whole=grid(direction), draft=labels(), dicom=True)
    assert np.array_equal(itk_values(sitk.ReadImage(str(desk.folder / "image.nii.gz")), desk.grid), desk.patch_ZYX)
    assert np.array_equal(itk_values(itk_series(desk.folder / "dicom"), desk.grid), desk.patch_ZYX)
    volume = hd.get_volume_from_series(slices_of(desk))
    assert np.array_equal(highdicom_values(volume, desk.grid), desk.patch_ZYX)


@pytest.mark.parametrize("direction", [OBLIQUE, FLIPPED], ids=["right-handed", "left-handed"])
def test_a_draft_lies_in_every_format_where_it_lay(tmp_path, direction):
    desk = Desk(tmp_path, whole=grid(direction), draft=labels(), dicom=True)
    for name in ("draft.nii.gz", "segments.seg.nrrd"):
        assert np.array_equal(itk_values(sitk.ReadImage(str(desk.folder / name)), desk.grid), labels())
    file = hd.seg.segread(desk.folder / "draft.dcm")
    assert np.array_equal(highdicom_values(file.get_volume(combine_segments=True), desk.grid), labels())
    names = [file.get_segment_description(n).segment_label for n in file.segment_numbers]
    assert names == ["Liver", "liver tumour", "Läsion"]
    (referred,) = file.get_source_image_uids() and {one[1] for one in file.get_source_image_uids()}
    assert referred == slices_of(desk)[0].SeriesInstanceUID


def test_nibabel_has_every_voxel_where_the_grid_has_it(desk):
    image = nib.load(desk.folder / "draft.nii.gz")
    assert np.array_equal(np.asarray(image.dataobj).transpose(2, 1, 0), labels())
    assert np.allclose(image.affine, affine_of(desk.grid), atol=1e-5)


def test_without_a_draft_there_are_empty_segments_to_draw_in(tmp_path):
    desk = Desk(tmp_path, dicom=True)
    names = {path.name for path in desk.folder.iterdir()}
    assert names == {"image.nii.gz", "segments.seg.nrrd", "dicom", "task.json"}
    (desk.folder / "segments.seg.nrrd").rename(desk.folder / "answer.seg.nrrd")
    assert not desk.told().any()


def test_dicom_is_written_only_where_it_was_asked_for(tmp_path):
    desk = Desk(tmp_path, draft=labels())
    assert {p.name for p in desk.folder.iterdir()} == {"image.nii.gz", "draft.nii.gz", "segments.seg.nrrd", "task.json"}


@pytest.mark.parametrize("thin", [0, 1, 2])
def test_one_slice_is_one_dicom_file_whichever_way_it_lies(tmp_path, thin):
    shape = tuple(1 if axis == thin else size for axis, size in enumerate((5, 6, 7)))
    drawn = (np.arange(np.prod(shape)).reshape(shape) % 4).astype(np.uint16)
    desk = Desk(tmp_path, whole=grid(shape_zyx=shape), draft=drawn, dicom=True)
    (only,) = slices_of(desk)
    assert sorted((only.Rows, only.Columns)) == sorted(size for axis, size in enumerate(shape) if axis != thin)
    (desk.folder / "draft.dcm").rename(desk.folder / "answer.dcm")
    assert np.array_equal(desk.told(), drawn)


@pytest.mark.parametrize("what", ["sheared", "colours"])
def test_what_dicom_cannot_hold_is_asked_as_nifti_alone_and_says_why(tmp_path, what):
    whole = sheared(grid()) if what == "sheared" else grid()
    image = np.zeros((3, *whole.shape_zyx), np.uint8) if what == "colours" else None
    desk = Desk(tmp_path, whole=whole, image=image, draft=labels(), dicom=True)
    assert not (desk.folder / "dicom").exists()
    assert "DICOM series" in json.loads((desk.folder / "task.json").read_text())["no_dicom"]
    (desk.folder / "segments.seg.nrrd").rename(desk.folder / "answer.seg.nrrd")
    assert np.array_equal(desk.told(), labels())


@pytest.mark.parametrize("modality", ["CT", "MR", "OT"])
def test_other_numbers_are_scaled_to_sixteen_bits(tmp_path, modality):
    image = np.random.default_rng(0).normal(0, 3, (1, *grid().shape_zyx)).astype(np.float32)
    desk = Desk(tmp_path, image=image, draft=labels(), modality=modality, dicom=True)
    one = slices_of(desk)[2]
    shown = one.pixel_array * float(one.RescaleSlope) + float(one.RescaleIntercept)
    assert np.abs(shown - desk.patch_ZYX[2]).max() <= float(one.RescaleSlope)
    assert one.Modality == modality
    assert np.allclose(itk_values(itk_series(desk.folder / "dicom"), desk.grid), desk.patch_ZYX, atol=1e-3)


def test_a_series_says_nothing_of_whom_it_is_and_is_the_same_whenever_it_is_written(tmp_path):
    first, second = (Desk(tmp_path / name, draft=labels(), dicom=True) for name in ("one", "two"))
    for path in first.folder.rglob("*"):
        assert path.is_dir() or first.volume.study.patient_id.encode() not in path.read_bytes()
    digests = [
        [hashlib.sha256(p.read_bytes()).digest() for p in sorted((d.folder / "dicom").iterdir())]
        for d in (first, second)
    ]
    assert digests[0] == digests[1]
    drafts = [pydicom.dcmread(desk.folder / "draft.dcm") for desk in (first, second)]
    assert drafts[0].SOPInstanceUID == drafts[1].SOPInstanceUID
    one = slices_of(first)[0]
    assert (one.PatientName.family_name, one.PatientID, one.PatientIdentityRemoved) == (
        first.folder.name,
        first.folder.name,
        "YES",
    )
    assert len({each.SOPInstanceUID for each in slices_of(first)}) == len(slices_of(first))


def test_the_classes_have_names_and_colours_for_itk_snap_and_3d_slicer(desk):
    snap = (desk.folder.parent / "labels-itksnap.txt").read_text().splitlines()
    rows = [line.split(None, 7) for line in snap if not line.startswith("#")]
    assert [(int(row[0]), row[7]) for row in rows] == [
        (0, '"background"'),
        (1, '"Liver"'),
        (2, '"liver tumour"'),
        (3, '"Läsion"'),
    ]
    assert rows[0][1:7] == ["0", "0", "0", "0", "0", "0"]
    slicer = (desk.folder.parent / "labels-slicer.ctbl").read_text().splitlines()
    assert slicer[0] == "0 background 0 0 0 0"
    assert slicer[2] == "2 liver_tumour 230 159 0 255"
    assert (desk.folder / "segments.seg.nrrd").read_bytes().count(b"_Color:=0.901961 0.623529 0.000000") == 1
