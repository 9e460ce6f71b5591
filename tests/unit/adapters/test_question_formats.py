"""Images, drafts and answers in NIfTI, NRRD and DICOM: every voxel where it was, judged by others' readers."""

import hashlib
import json

import highdicom as hd
import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813 (its own name for itself)
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from tests.unit.adapters.oblique_desk import OBLIQUE, SHAPE, Desk, grid, labels

from hilum.adapters.dicom_patches import uid_of
from hilum.adapters.nifti_patches import affine_of, nifti_bytes
from hilum.adapters.nrrd_segments import read_segments, segments_bytes
from hilum.core.geometry import Grid

LPS = np.array([-1.0, -1.0, 1.0])
FLIPPED = OBLIQUE @ np.diag([-1.0, 1.0, 1.0])
"""Left-handed: slices run against the normal of their rows and columns."""
ORIENTATIONS = ("RAS", "LPS", "LAI", "PIR", "SLA", "IPL", "ASR", "RIP")


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path, draft=labels(), dicom=True)


def itk_values(image, where):
    """What SimpleITK has at every voxel of a grid, by its place in the patient."""
    found = np.zeros(where.shape_zyx, np.float64)
    for index in np.ndindex(*where.shape_zyx):
        point = (LPS * where.index_to_world(index)).tolist()
        found[index] = image[image.TransformPhysicalPointToIndex(point)]
        exact = np.array(image.TransformPhysicalPointToContinuousIndex(point))
        assert np.abs(exact - np.rint(exact)).max() < 1e-3
    return found


def itk_series(folder):
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


def highdicom_values(volume, where):
    found = np.zeros(where.shape_zyx, np.float64)
    for index in np.ndindex(*where.shape_zyx):
        point = (LPS * where.index_to_world(index))[np.newaxis]
        exact = volume.map_reference_to_indices(point)[0]
        assert np.abs(exact - np.rint(exact)).max() < 1e-3
        found[index] = volume.array[tuple(np.rint(exact).astype(int))]
    return found


def slices_of(desk):
    return [pydicom.dcmread(path) for path in sorted((desk.folder / "dicom").iterdir())]


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


@pytest.mark.parametrize("code", ORIENTATIONS)
def test_a_dicom_segmentation_on_other_axes_of_the_same_grid_is_restored(desk, code):
    drawn = hd.seg.segread(desk.folder / "draft.dcm").get_volume(combine_segments=True)
    write_segmentation(desk, drawn.to_patient_orientation(tuple(code.translate(str.maketrans("SI", "HF")))))
    assert np.array_equal(desk.told(), labels())


def write_segmentation(desk, drawn, *, names=("Liver", "liver tumour", "Läsion"), sources=None, name="answer.dcm"):
    """A segmentation as another program would save it: of a highdicom volume or of an array in the slices' order."""
    made = hd.seg.Segmentation(
        source_images=sources or slices_of(desk),
        pixel_array=drawn,
        segmentation_type="BINARY",
        segment_descriptions=[
            hd.seg.SegmentDescription(
                n, one, pydicom.sr.codedict.codes.SCT.Organ, pydicom.sr.codedict.codes.SCT.Liver, "MANUAL"
            )
            for n, one in enumerate(names, start=1)
        ],
        series_instance_uid=hd.UID(),
        series_number=7,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="m",
        manufacturer_model_name="m",
        software_versions="1",
        device_serial_number="1",
    )
    made.SpecificCharacterSet = "ISO_IR 192"
    made.save_as(desk.folder / name)


def test_segments_are_known_by_their_names_whatever_their_numbers(desk):
    # Drawn in another order: number 1 is class 3.
    swapped = np.array([0, 3, 2, 1], np.uint16)[labels()]
    write_segmentation(desk, swapped, names=("läsion", "Liver_Tumour", "LIVER"))
    assert np.array_equal(desk.told(), labels())


def segments(header, voxels_ZYX, where):
    """A .seg.nrrd whose header says ``header`` of its segments."""
    written = segments_bytes(voxels_ZYX.astype(np.uint16), where, ("background",))
    head, _, body = written.partition(b"\n\n")
    kept = [line for line in head.decode().splitlines() if not line.startswith("Segment")]
    return "\n".join([*kept, *(f"{key}:={value}" for key, value in header.items())]).encode() + b"\n\n" + body


def named(*names, values=None, layers=None):
    found = {}
    for n, name in enumerate(names):
        found[f"Segment{n}_Name"] = name
        found[f"Segment{n}_LabelValue"] = (values or range(1, 9))[n]
        found[f"Segment{n}_Layer"] = (layers or [0] * 9)[n]
    return found


def test_a_segmentation_of_3d_slicer_is_read_by_its_segments_names(desk):
    swapped = np.array([0, 9, 4, 1])[labels()]
    header = named("läsion", "Liver tumour", "liver", "not drawn yet", values=(1, 4, 9, 10))
    (desk.folder / "answer.seg.nrrd").write_bytes(segments(header, swapped, desk.grid))
    assert np.array_equal(desk.told(), labels())


def test_a_segment_called_unanswered_is_left_open(desk):
    header = named("Liver", "liver tumour", "unanswered")
    (desk.folder / "answer.seg.nrrd").write_bytes(segments(header, labels(), desk.grid))
    assert np.array_equal(desk.told(), np.array([0, 1, 2, 65_535])[labels()])


def test_a_cropped_segmentation_is_put_where_it_lies(desk):
    part = Grid((4, 6, 7), desk.grid.spacing_mm_zyx, tuple(desk.grid.index_to_world((1, 0, 0))), desk.grid.direction)
    cropped = segments(named("Liver", "liver tumour", "Läsion"), labels()[1:], part)
    (desk.folder / "answer.seg.nrrd").write_bytes(cropped)
    wanted = labels()
    wanted[0] = 0
    assert np.array_equal(desk.told(), wanted)


def test_a_segmentation_beyond_the_image_is_refused_if_something_is_drawn_there(desk):
    wider = Grid((6, 6, 7), desk.grid.spacing_mm_zyx, tuple(desk.grid.index_to_world((-1, 0, 0))), desk.grid.direction)
    beyond = np.concatenate([np.zeros((1, 6, 7), np.uint16), labels()])
    path = desk.folder / "answer.seg.nrrd"
    path.write_bytes(segments(named("Liver", "liver tumour", "Läsion"), beyond, wider))
    assert np.array_equal(desk.told(), labels())
    beyond[0, 0, :2] = 1
    path.write_bytes(segments(named("Liver", "liver tumour", "Läsion"), beyond, wider))
    assert "2 of its voxels lie outside the image" in desk.refusal()


def layered(folder, layers, where, header):
    """Several layers in one file, as SimpleITK writes a vector image and 3D Slicer a list."""
    image = sitk.GetImageFromArray(np.moveaxis(np.stack(layers).astype(np.uint8), 0, -1), isVector=True)
    image.SetSpacing(where.spacing_mm_zyx[::-1])
    image.SetOrigin((LPS * where.origin_mm_xyz).tolist())
    image.SetDirection((LPS[:, np.newaxis] * np.asarray(where.direction)[:, ::-1]).ravel().tolist())
    for key, value in header.items():
        image.SetMetaData(key, str(value))
    sitk.WriteImage(image, str(folder / "answer.seg.nrrd"))


def test_segments_in_several_layers_are_one_answer_where_they_do_not_overlap(desk):
    layers = [labels() == 1, 2 * (labels() == 2) + (labels() == 3)]
    layered(
        desk.folder, layers, desk.grid, named("Liver", "Läsion", "liver tumour", values=(1, 1, 2), layers=(0, 1, 1))
    )
    assert np.array_equal(desk.told(), labels())


def test_a_voxel_of_two_classes_is_given_back_to_be_decided(desk):
    layers = [labels() > 0, labels() == 2]
    layered(desk.folder, layers, desk.grid, named("Liver", "liver tumour", values=(1, 1), layers=(0, 1)))
    assert f"share {np.count_nonzero(labels() == 2)} voxels; give each voxel to one of them" in desk.refusal()


def test_an_old_segmentation_has_a_layer_for_each_segment(desk):
    layers = [labels() == value for value in (1, 2, 3)]
    names = ("Liver", "liver tumour", "Läsion")
    layered(desk.folder, layers, desk.grid, {f"Segment{n}_Name": name for n, name in enumerate(names)})
    assert np.array_equal(desk.told(), labels())


def test_a_segmentation_of_mitk_is_read_by_its_labels_names(desk):
    groups = [
        {"labels": [{"name": "Liver", "value": 1}, {"name": "Läsion", "value": 3, "color": {"type": "ColorProperty"}}]},
        {"labels": [{"name": "Liver Tumour", "value": 7}]},
    ]
    header = {
        "modality": "org.mitk.multilabel.segmentation",
        "org.mitk.multilabel.segmentation.labelgroups": json.dumps(groups, ensure_ascii=False),
    }
    layered(desk.folder, [np.where(labels() == 2, 0, labels()), 7 * (labels() == 2)], desk.grid, header)
    (desk.folder / "answer.seg.nrrd").rename(desk.folder / "answer.nrrd")
    assert np.array_equal(desk.told(), labels())


BAD_SEGMENTS = {
    "a default name": (named("Segment_1", "liver tumour", "Läsion"), "No class is called 'Segment_1'"),
    "a slip": (named("Livre", "liver tumour", "Läsion"), "Did you mean 'Liver'?"),
    "no name": (named("", "liver tumour", "Läsion"), "has no name"),
    "a value that nobody has": (named("Liver", "liver tumour"), "it has the value 3, which none of its segments has"),
    "a layer that is not there": (named("Liver", "liver tumour", "Läsion") | {"Segment2_Layer": 4}, "lies in layer 4"),
    "no number": (named("Liver") | {"Segment0_LabelValue": "one"}, "damaged"),
    "no labels": ({"org.mitk.multilabel.segmentation.labelgroups": "{}{"}, "damaged"),
}


@pytest.mark.parametrize("what", BAD_SEGMENTS)
def test_segments_that_cannot_be_used_are_refused_in_words(desk, what):
    header, reason = BAD_SEGMENTS[what]
    voxels = np.where(labels() == 3, 0, labels()) if what == "a layer that is not there" else labels()
    (desk.folder / "answer.seg.nrrd").write_bytes(segments(header, voxels, desk.grid))
    assert reason in desk.refusal()


def test_a_dicom_segmentation_with_an_unknown_name_is_refused(desk):
    write_segmentation(desk, labels(), names=("Liver", "Segment_2", "Läsion"))
    assert "No class is called 'Segment_2'" in desk.refusal()


def test_overlapping_dicom_segments_are_given_back(desk):
    masks = np.stack([labels() > 0, labels() == 2, labels() == 3], axis=-1).astype(np.uint8)
    write_segmentation(desk, masks)
    assert "give each voxel to one of them" in desk.refusal()


def moved(where, *, mm=0.0, spacing=None):
    x, y, z = where.origin_mm_xyz
    return Grid(where.shape_zyx, spacing or where.spacing_mm_zyx, (x + mm, y, z), where.direction)


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


def test_a_dicom_segmentation_of_another_grid_is_refused(desk):
    sources = slices_of(desk)
    for one in sources:
        one.PixelSpacing = [0.8, 0.9]
    write_segmentation(desk, labels(), sources=sources)
    assert "lies on another grid" in desk.refusal()


def test_a_dicom_segmentation_of_another_question_is_refused_although_it_fits(desk):
    sources = slices_of(desk)
    for one in sources:
        one.SeriesInstanceUID = uid_of("0000deadbeef", "series")
    write_segmentation(desk, labels(), sources=sources)
    assert "drawn on another image than this question's" in desk.refusal()


def test_an_image_saved_as_a_dicom_answer_is_refused(desk):
    (desk.folder / "dicom" / "0001.dcm").rename(desk.folder / "answer.dcm")
    assert "DICOM but not a segmentation" in desk.refusal()


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


def sheared(whole):
    direction = np.asarray(whole.direction) @ np.array([[1, 0, 0], [0.2, 1, 0], [0, 0, 1]])
    direction /= np.linalg.norm(direction, axis=0)
    return Grid(whole.shape_zyx, whole.spacing_mm_zyx, whole.origin_mm_xyz, tuple(map(tuple, direction.tolist())))


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


@settings(max_examples=40, deadline=None)
@given(
    degrees=st.tuples(*[st.floats(-180, 180)] * 3),
    order=st.permutations([0, 1, 2]),
    flips=st.tuples(*[st.booleans()] * 3),
)
def test_any_turn_and_flip_of_any_oblique_grid_is_undone(degrees, order, flips):
    rotation = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    where = grid(rotation @ OBLIQUE, shape_zyx=SHAPE)
    turned = labels().transpose(order)
    axes = np.asarray(where.direction)[:, order]
    spacing = np.asarray(where.spacing_mm_zyx)[list(order)]
    origin = np.asarray(where.origin_mm_xyz)
    for axis, flip in enumerate(flips):
        if flip:
            origin = origin + axes[:, axis] * spacing[axis] * (turned.shape[axis] - 1)
            axes = axes * np.where(np.arange(3) == axis, -1, 1)
            turned = np.flip(turned, axis)
    other = Grid(turned.shape, tuple(spacing.tolist()), tuple(origin.tolist()), tuple(map(tuple, axes.tolist())))
    content = segments(named("Liver", "liver tumour", "Läsion"), turned, other)
    found = read_segments(content, where, ("background", "Liver", "liver tumour", "Läsion"))
    assert np.array_equal(found, labels())


def test_nibabel_has_every_voxel_where_the_grid_has_it(desk):
    image = nib.load(desk.folder / "draft.nii.gz")
    assert np.array_equal(np.asarray(image.dataobj).transpose(2, 1, 0), labels())
    assert np.allclose(image.affine, affine_of(desk.grid), atol=1e-5)


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
