"""One door to every reader: images meet their label maps only when both lie in the same place."""

import traceback

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 (what everybody calls it)
from PIL import Image
from tests.unit.adapters.dicom_phantoms import ct_series, payload_of

from hilum.adapters.reading import ending, read_item
from hilum.core.errors import DataError
from hilum.core.sources import SourceItem

AFFINE = np.diag([1.0, 2.0, 3.0, 1.0])
SCAN = np.random.default_rng(0).integers(0, 100, (4, 5, 6)).astype(np.int16)
LABELS = (SCAN % 3).astype(np.uint8)


def nifti(path, data, affine=AFFINE):
    nib.save(nib.Nifti1Image(data, affine), path)


def read(folder, image, label=None):
    return list(read_item(str(folder), SourceItem(image, label)))


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.nii.gz", ".nii.gz"), ("b/c.NII", ".nii"), ("x.y.PNG", ".png"), ("a.jpeg", ".jpeg"), ("a.gz", ""), ("nii", "")],
)
def test_the_ending_says_the_format(name, expected):
    assert ending(name) == expected


def test_an_image_and_its_label_map_come_together(tmp_path):
    nifti(tmp_path / "scan.nii.gz", SCAN)
    nifti(tmp_path / "truth.nii", LABELS)
    (found,) = read(tmp_path, "scan.nii.gz", "truth.nii")
    assert np.array_equal(found.image_czyx[0], SCAN.T)
    assert np.array_equal(found.label_map_zyx, LABELS.T)
    assert found.label_map_zyx.dtype == np.uint16
    assert found.intensity == "measured"


def test_a_label_map_saved_as_scaled_floats_is_read_when_its_numbers_are_whole(tmp_path):
    nifti(tmp_path / "scan.nii", SCAN)
    nifti(tmp_path / "truth.nii", LABELS.astype(np.float32))
    (found,) = read(tmp_path, "scan.nii", "truth.nii")
    assert np.array_equal(found.label_map_zyx, LABELS.T)


@pytest.mark.parametrize(
    ("labels", "affine", "said"),
    [
        (LABELS[:3], AFFINE, "must be equal"),
        (LABELS, AFFINE @ np.diag([1, 1, 1.5, 1]), "mm away"),
        (LABELS, np.diag([-1.0, 2.0, 3.0, 1.0]), "mm away"),
        (LABELS + np.float32(0.5), AFFINE, "whole numbers"),
        (LABELS.astype(np.int16) - 1, AFFINE, "0 to 65,534"),
        (LABELS.astype(np.int32) + 65_535, AFFINE, "0 to 65,534"),
        (np.stack([LABELS, LABELS], -1), AFFINE, "one channel"),
    ],
)
def test_a_label_map_that_does_not_fit_its_image_is_refused(tmp_path, labels, affine, said):
    nifti(tmp_path / "scan.nii", SCAN)
    nifti(tmp_path / "truth.nii", labels, affine)
    with pytest.raises(DataError, match=said):
        read(tmp_path, "scan.nii", "truth.nii")


def test_flat_images_pair_with_label_images(tmp_path):
    pixels = np.random.default_rng(1).integers(0, 255, (8, 9, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.jpg")
    Image.fromarray(pixels[..., 0] % 2).save(tmp_path / "a.png")
    (found,) = read(tmp_path, "a.jpg", "a.png")
    assert found.image_czyx.shape == (3, 1, 8, 9)
    assert np.array_equal(found.label_map_zyx[0], pixels[..., 0] % 2)
    assert found.intensity == "photograph"


def test_a_stack_must_not_name_a_label_file(tmp_path):
    np.savez(tmp_path / "s.npz", images=np.zeros((2, 4, 4)))
    np.save(tmp_path / "l.npy", np.zeros((4, 4)))
    with pytest.raises(DataError, match="inside"):
        read(tmp_path, "s.npz", "l.npy")


@pytest.mark.parametrize(
    "name", ["Jane_Doe_1970.nii.gz", "Jane_Doe.png", "Jane_Doe.tif", "Jane_Doe.npz", "Jane_Doe.npy"]
)
@pytest.mark.parametrize("content", [None, b"", b"not an image", b"\x1f\x8b\x08\x00garbage"])
def test_a_file_that_cannot_be_read_is_refused_without_its_name(tmp_path, name, content):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        read(tmp_path, name)
    shown = "".join(traceback.format_exception(caught.value))
    assert "Jane" not in shown
    assert str(tmp_path) not in shown


def test_a_folder_with_an_image_s_name_is_refused(tmp_path):
    (tmp_path / "a.png").mkdir()
    with pytest.raises(DataError):
        read(tmp_path, "a.png")


def test_an_unknown_ending_says_what_is_readable(tmp_path):
    (tmp_path / "a.bmp").write_bytes(b"BM")
    with pytest.raises(DataError, match="Readable: NIfTI"):
        read(tmp_path, "a.bmp")


def test_a_label_is_read_in_every_format_that_has_a_place_and_must_lie_on_its_image(tmp_path):
    nifti(tmp_path / "scan.nii", SCAN)
    image = sitk.GetImageFromArray(LABELS.T)
    image.SetSpacing((1.0, 2.0, 3.0))
    image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    nib.save(nib.Nifti1Pair(LABELS, AFFINE), tmp_path / "truth.hdr")
    for name in ("truth.nrrd", "truth.mha", "truth.mhd"):
        sitk.WriteImage(image, str(tmp_path / name))
    for name in ("truth.hdr", "truth.nrrd", "truth.mha", "truth.mhd"):
        (found,) = read(tmp_path, "scan.nii", name)
        assert np.array_equal(found.label_map_zyx, LABELS.T), name
    image.SetOrigin((0.0, 0.0, 1.0))
    sitk.WriteImage(image, str(tmp_path / "moved.nrrd"))
    with pytest.raises(DataError, match="1 mm away"):
        read(tmp_path, "scan.nii", "moved.nrrd")


def test_a_label_map_needs_no_more_memory_than_its_image_allows(tmp_path):
    nifti(tmp_path / "scan.nii", SCAN)
    nifti(tmp_path / "huge.nii.gz", np.zeros((500, 500, 300), np.uint8))
    with pytest.raises(DataError, match=r"at most .* are read"):
        read(tmp_path, "scan.nii", "huge.nii.gz")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.hdr", "a.png", "a.tif", "a.npy", "a.npz", "a.nrrd", "a.mha"])
def test_every_reader_keeps_to_the_limit_it_is_given(tmp_path, name):
    pixels = np.random.default_rng(3).integers(0, 255, (40, 50)).astype(np.uint8)
    match name:
        case "a.nii" | "a.nii.gz":
            nifti(tmp_path / name, pixels)
        case "a.hdr":
            nib.save(nib.Nifti1Pair(pixels, AFFINE), tmp_path / name)
        case "a.npy":
            np.save(tmp_path / name, pixels)
        case "a.npz":
            np.savez_compressed(tmp_path / name, images=pixels[None])
        case "a.nrrd" | "a.mha":
            sitk.WriteImage(sitk.GetImageFromArray(pixels), str(tmp_path / name), True)
        case _:
            Image.fromarray(pixels).save(tmp_path / name)
    item = SourceItem(name)
    assert len(list(read_item(str(tmp_path), item, max_bytes=1 << 20))) == 1
    with pytest.raises(DataError, match=r"at most .* are read"):
        list(read_item(str(tmp_path), item, max_bytes=1500))


def test_the_files_of_a_series_share_one_limit(tmp_path):
    slices = ct_series("one")
    for number, made in enumerate(slices):
        (tmp_path / str(number)).write_bytes(payload_of(made))
    item = SourceItem("0", parts=tuple(str(n) for n in range(1, len(slices))))
    total = sum(path.stat().st_size for path in tmp_path.iterdir())
    (found,) = read_item(str(tmp_path), item, max_bytes=total)
    assert found.grid.shape_zyx[0] == len(slices)
    with pytest.raises(DataError, match=r"at most .* are read"):
        list(read_item(str(tmp_path), item, max_bytes=total - 1))


def test_dicom_with_another_ending_than_its_own_is_read_by_its_content(tmp_path):
    (tmp_path / "IM0001.bin").write_bytes(payload_of(ct_series("one")[0]))
    (found,) = read(tmp_path, "IM0001.bin")
    assert found.modality == "CT"
