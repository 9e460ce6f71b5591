"""NCS, LCS and BMS: outlines stay on their images, and who is tested on is as the thesis says."""

from collections import Counter

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 (its own name for itself)
from tests.unit.adapters import thesis_folders as folders
from tests.unit.adapters.thesis_runs import ingested, prepared, sides_of

from hilum.adapters.folders import find_source
from hilum.adapters.own_cases import dealt
from hilum.adapters.own_sets import own_set, wishes_for
from hilum.adapters.reading import read_item
from hilum.core.errors import DataError, RecipeError


@pytest.fixture
def theirs(tmp_path):
    return tmp_path / "theirs"


def test_a_nodule_is_in_the_middle_of_its_crop_at_one_millimetre(tmp_path, theirs):
    middles = folders.lidc(theirs, num=2)
    prepared("ncs", tmp_path)
    for name, places in middles.items():
        for number, place in enumerate(places, start=1):
            file = f"{name}-nodule-{number}.nii.gz"
            image, label = (sitk.ReadImage(str(tmp_path / "out" / part / file)) for part in ("images", "labels"))
            assert image.GetSize() == label.GetSize() == (64, 64, 32)
            np.testing.assert_allclose(image.GetSpacing(), 1.0)
            middle = np.array(image.TransformIndexToPhysicalPoint((32, 32, 16)))
            assert np.abs(middle - place).max() <= 0.5 + 1e-4
            assert label[image.TransformPhysicalPointToIndex(place)] == 1
        assert image[image.TransformPhysicalPointToIndex(places[-1])] == folders.MARKED_HU


def test_a_crop_and_its_mask_are_what_simpleitk_resamples_there(tmp_path, theirs):
    folders.lidc(theirs, num=1)
    prepared("ncs", tmp_path)
    scan, mask = (sitk.ReadImage(str(theirs / part / "LIDC-IDRI-0001.nii.gz")) for part in ("images", "labels"))
    file = "LIDC-IDRI-0001-nodule-2.nii.gz"
    crop, label = (sitk.ReadImage(str(tmp_path / "out" / part / file)) for part in ("images", "labels"))
    clipped = sitk.Clamp(sitk.Cast(scan, sitk.sitkFloat32), sitk.sitkFloat32, -1000, 1000)
    outline = sitk.Resample(mask > 0, crop, sitk.Transform(), sitk.sitkLabelLinear, 0)
    assert np.array_equal(sitk.GetArrayFromImage(outline), sitk.GetArrayFromImage(label))
    # X and Y become coarser and are blurred first, which changes nothing deep inside the nodule.
    linear = sitk.GetArrayFromImage(sitk.Resample(clipped, crop, sitk.Transform(), sitk.sitkLinear, -1000))
    middle = (slice(14, 18), slice(31, 34), slice(31, 34))
    assert np.array_equal(np.rint(linear[middle]), sitk.GetArrayFromImage(crop)[middle])


def test_a_mask_that_marks_nothing_or_lies_elsewhere_is_set_aside(tmp_path, theirs):
    folders.lidc(theirs, num=4)
    empty, moved, alone = (theirs / "labels" / f"LIDC-IDRI-000{number}.nii.gz" for number in (1, 2, 3))
    mask = sitk.ReadImage(str(empty))
    sitk.WriteImage(mask * 0, str(empty))
    mask.SetOrigin((0.0, 0.0, 0.0))
    sitk.WriteImage(mask, str(moved))
    (theirs / "images" / alone.name).unlink()
    reasons = dict(prepared("ncs", tmp_path).set_aside)
    assert reasons == {
        "LIDC-IDRI-0001": "The mask marks nothing.",
        "LIDC-IDRI-0002": "The mask is not on the grid of its scan: both must have the same shape and affine.",
        "LIDC-IDRI-0003": "There is no scan of the mask's name.",
    }


def test_1018_scans_are_dealt_as_in_the_thesis():
    shares = {"test": 408 / 1018, "validation": 100 / 1018}
    sides = dealt([str(number) for number in range(1018)], shares, seed=0)
    assert Counter(sides.values()) == {"pool": 510, "validation": 100, "test": 408}
    assert dealt([str(number) for number in range(1018)], shares, seed=1) != sides


def test_a_liver_is_every_label_from_1_on_and_numbers_say_the_side(tmp_path, theirs):
    outlines = folders.lits(theirs)
    prepared("lcs", tmp_path)
    sides = sides_of(tmp_path)
    expected = {0: "pool", 1: "pool", 99: "pool", 100: "validation", 114: "validation", 115: "test", 130: "test"}
    assert sides == {f"volume-{number}": side for number, side in expected.items()}
    for number, drawn in outlines.items():
        found = sitk.ReadImage(str(tmp_path / "out" / "labels" / f"volume-{number}.nii.gz"))
        volume = sitk.ReadImage(str(tmp_path / "out" / "images" / f"volume-{number}.nii"))
        assert np.array_equal(sitk.GetArrayFromImage(found), (drawn >= 1).astype(np.uint8))
        np.testing.assert_allclose(found.GetOrigin(), volume.GetOrigin(), atol=1e-4)
        np.testing.assert_allclose(found.GetDirection(), volume.GetDirection(), atol=1e-6)
        np.testing.assert_allclose(found.GetSpacing(), volume.GetSpacing(), atol=1e-6)


def test_a_volume_without_its_segmentation_or_with_a_wrong_one_is_set_aside(tmp_path, theirs):
    folders.lits(theirs)
    batch = theirs / "Training Batch 1"
    (batch / "segmentation-0.nii").unlink()
    sitk.WriteImage(folders.image_of(np.ones((20, 24, 21), np.uint8)), str(batch / "segmentation-1.nii"))
    (theirs / "Training Batch 2" / "segmentation-99.nii").write_bytes(b"nothing of an image")
    moved = folders.image_of(np.ones((20, 24, 22), np.uint8), origin=(0.0, 0.0, 0.0))
    sitk.WriteImage(moved, str(theirs / "Training Batch 2" / "segmentation-100.nii"))
    done = prepared("lcs", tmp_path)
    reasons = dict(done.set_aside)
    assert done.num_images == 3
    assert reasons["volume-0"] == "There is no segmentation of the volume's number."
    assert reasons["volume-1"] == "Its label map is (21, 24, 20), its image (22, 24, 20) (X, Y, Z): they must be equal."
    assert reasons["volume-99"].startswith("A file of it is not NIfTI")
    assert "mm away from its image" in reasons["volume-100"]


def test_a_volume_that_is_there_twice_is_refused(tmp_path, theirs):
    folders.lits(theirs)
    (theirs / "again").mkdir()
    (theirs / "again" / "volume-0.nii").write_bytes(b"x")
    with pytest.raises(DataError, match="volume-0 is there twice"):
        prepared("lcs", tmp_path)


def test_each_patient_of_brats_is_tested_on_in_one_of_three_folds_and_grades_are_spread_alike(tmp_path, theirs):
    folders.brats(theirs, num_high=30, num_low=12)
    tested = []
    for fold in (1, 2, 3):
        cases = own_set("bms").cases(theirs, wishes_for(own_set("bms"), {"fold": fold}))
        counts = Counter(case.side for case in cases)
        assert counts == {"test": 14, "pool": 26, "validation": 2}
        assert Counter(case.name.split("_")[1] for case in cases if case.side == "test") == {"HGG": 10, "LGG": 4}
        tested += [case.name for case in cases if case.side == "test"]
    assert len(set(tested)) == len(tested) == 42


def test_of_few_patients_one_validates_all_the_same(theirs):
    folders.brats(theirs)
    cases = own_set("bms").cases(theirs, wishes_for(own_set("bms"), {}))
    assert Counter(case.side for case in cases) == {"pool": 5, "validation": 1, "test": 3}


@pytest.mark.parametrize("num", range(3, 12))
def test_no_side_is_left_out_where_there_is_a_patient_for_each(num):
    sides = dealt([str(number) for number in range(num)], {"test": 0.39, "validation": 0.1}, seed=0)
    assert set(sides.values()) == {"pool", "validation", "test"}


def test_one_sequence_is_taken_as_it_is_and_any_label_is_tumour(tmp_path, theirs):
    folders.brats(theirs)
    prepared("bms", tmp_path, modality="t2")
    name = "Brats18_HGG_0_1"
    assert (theirs / "HGG" / name / f"{name}_t2.nii.gz").samefile(tmp_path / "out" / "images" / f"{name}.nii.gz")
    drawn = sitk.GetArrayFromImage(sitk.ReadImage(str(theirs / "HGG" / name / f"{name}_seg.nii.gz")))
    found = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out" / "labels" / f"{name}.nii.gz")))
    assert np.array_equal(found, (drawn > 0).astype(np.uint8))


def test_all_sequences_are_channels_in_their_order_and_as_bright_as_each_other(tmp_path, theirs):
    folders.brats(theirs)
    prepared("bms", tmp_path, modality="all")
    _, volumes = ingested("bms", tmp_path)
    assert {volume.num_channels for volume in volumes} == {4}
    name = "Brats18_LGG_1_1"
    [item] = [item for item in find_source(str(tmp_path / "out")).items if name in item.image]
    [image] = read_item(str(tmp_path / "out"), item)
    for place, part in enumerate(("t1", "t1ce", "t2", "flair")):
        theirs_zyx = sitk.GetArrayFromImage(sitk.ReadImage(str(theirs / "LGG" / name / f"{name}_{part}.nii.gz")))
        found = image.image_czyx[place]
        brain = theirs_zyx > 0
        assert np.array_equal(found > 0, brain)
        assert np.corrcoef(found[brain], theirs_zyx[brain])[0, 1] > 0.9999
        assert np.percentile(found[brain], 99.5) == pytest.approx(1000, abs=1)


def test_a_patient_without_one_of_the_files_is_set_aside(tmp_path, theirs):
    folders.brats(theirs)
    (theirs / "LGG" / "Brats18_LGG_0_1" / "Brats18_LGG_0_1_seg.nii.gz").unlink()
    done = prepared("bms", tmp_path)
    assert done.set_aside == (("Brats18_LGG_0_1", "A file of it is missing."),)


@pytest.mark.parametrize(
    ("given", "message"), [({"fold": 4}, "folds 1 to 3; given 4"), ({"modality": "t1c"}, "'t1ce'")]
)
def test_a_fold_or_sequence_that_there_is_not_is_refused(given, message, tmp_path, theirs):
    folders.brats(theirs)
    with pytest.raises(RecipeError, match=message):
        prepared("bms", tmp_path, **given)
