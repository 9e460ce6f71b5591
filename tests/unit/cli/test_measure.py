"""`hilum measure` and `hilum.measure`: files, their images, volumes of a store, and what is refused."""

import csv

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from tests.unit.adapters.dicom_phantoms import ct_series, drawn_ZYX, payload_of, segmentation

import hilum
from hilum.core.errors import DataError, NotFoundError
from hilum.store.volumes import volumes_of
from hilum.testing.phantoms import Phantom, phantom_store

AFFINE = np.diag([1.0, 1.0, 2.5, 1.0])


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def nifti(name, array_ijk, affine=AFFINE):
    nib.Nifti1Image(array_ijk, affine).to_filename(name)
    return name


def mask():
    labels = np.zeros((20, 20, 10), np.uint8)
    labels[2:6, 3:9, 4:8], labels[15:17, 15:17, 1] = 1, 3
    return labels


def test_a_mask_alone_has_its_sizes_and_no_grey_levels(typed):
    answer = typed(f"measure {nifti('mask.nii.gz', mask())} --json")
    assert answer.code == 0, answer.err
    one, three = answer.document["labels"]
    assert (one["label"], three["label"]) == (1, 3)
    assert one["volume_ml"] == pytest.approx(4 * 6 * 4 * 2.5 / 1000)
    assert one["centre_mm_x"], one["centre_mm_z"] == pytest.approx((3.5, 5.5 * 2.5))
    assert one["mean"] is None
    assert answer.document["lengths_in"] == "mm"


def test_with_its_image_the_grey_levels_inside_are_measured(typed):
    image = (mask() * 30.0 - 5).astype(np.float32)
    line = f"measure {nifti('mask.nii.gz', mask())} --image {nifti('scan.nii.gz', image)}"
    found = typed(f"{line} --json").document["labels"]
    assert [(row["mean"], row["sd"]) for row in found] == [(25, 0), (85, 0)]
    shown = typed(line)
    assert "volume ml" in shown.out
    assert "25.000" in shown.out


def test_a_mask_need_not_lie_beside_its_image(typed, tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    image = nifti("images/a.nii.gz", mask().astype(np.float32))
    answer = typed(f"measure {nifti('masks/b.nii.gz', mask())} --image {image} --json")
    assert answer.code == 0, answer.err


def test_a_table_for_a_spreadsheet_has_a_row_a_label(typed, tmp_path):
    answer = typed(f"measure {nifti('mask.nii.gz', mask())} --csv out/table.csv")
    assert answer.code == 0, answer.err
    with (tmp_path / "out" / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == ["1", "3"]
    assert rows[0]["box_shape_z"] == "4"


def test_an_empty_mask_is_said_to_be_empty_and_no_error(typed):
    answer = typed(f"measure {nifti('mask.nii.gz', mask() * 0)}")
    assert answer.code == 0
    assert "empty" in answer.out


@pytest.mark.parametrize(
    ("labels", "image_affine", "says"),
    [
        (mask() * 0.5, AFFINE, "whole numbers"),
        (mask(), np.diag([1, 1, 3, 1.0]), "same affine"),
        (mask()[:-1], AFFINE, "must be equal"),
    ],
    ids=["fractions", "another place", "another shape"],
)
def test_what_cannot_be_meant_is_one_sentence(typed, labels, image_affine, says):
    image = nifti("scan.nii.gz", np.zeros((20, 20, 10), np.float32), image_affine)
    answer = typed(f"measure {nifti('mask.nii.gz', labels)} --image {image}")
    assert answer.code == 2
    assert says in answer.err
    assert "Traceback" not in answer.err
    assert "mask.nii" not in answer.err


def test_neither_a_file_nor_a_volume_is_said_to_be_neither(typed):
    answer = typed("measure nothing.nii.gz")
    assert answer.code == 2
    assert "MASK is no file" in answer.err


def test_a_drawing_is_measured_in_pixels_and_says_so(typed):
    drawing = np.zeros((30, 30), np.uint8)
    drawing[5:15, 5:25] = 2
    Image.fromarray(drawing).save("mask.png")
    answer = typed("measure mask.png --json")
    assert answer.document["lengths_in"] == "pixels"
    assert answer.document["labels"][0]["area_mm2"] == 200
    assert "pixels" in typed("measure mask.png").out


def test_a_volume_of_a_store_is_measured_item_by_item(typed, tmp_path):
    store, ingest_id = phantom_store(f"{tmp_path}/store", Phantom("segment", num_patients=1, num_frames=4))
    (volume_id,) = volumes_of(store, ingest_id)
    answer = typed(f"measure {volume_id} --store {store.url} --json")
    assert answer.code == 0, answer.err
    found = answer.document["labels"]
    assert found
    assert {row["class_name"] for row in found} == {"lesion"}
    assert all(row["mean"] > 600 for row in found)
    assert [row["item"] for row in found] == sorted({row["item"] for row in found})
    assert hilum.measure(volume_id, store=store).rows() == found


def test_a_volume_that_is_not_there_is_said_not_to_be(tmp_path):
    store, _ = phantom_store(f"{tmp_path}/store", Phantom("segment", num_patients=1, num_frames=2))
    with pytest.raises(NotFoundError, match="0123456789ab"):
        hilum.measure("0123456789ab", store=store)


def test_from_python_it_is_the_same_as_typed(typed):
    name = nifti("mask.nii.gz", mask())
    assert hilum.measure(name).rows() == typed(f"measure {name} --json").document["labels"]


def test_colours_have_no_grey_level():
    nifti("colours.nii.gz", np.zeros((20, 20, 10, 3), np.float32))
    with pytest.raises(DataError, match="one channel"):
        hilum.measure(nifti("mask.nii.gz", mask()), image="colours.nii.gz")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_dicom_segmentation_is_measured_on_the_series_it_was_drawn_on(typed, tmp_path):
    slices = ct_series()
    (tmp_path / "series").mkdir()
    for number, one in enumerate(slices):
        (tmp_path / "series" / f"{number}.dcm").write_bytes(payload_of(one))
    drawn = drawn_ZYX()
    (tmp_path / "mask.dcm").write_bytes(payload_of(segmentation(slices, drawn[..., np.newaxis], ["Liver"])))
    answer = typed("measure mask.dcm --image series --json")
    assert answer.code == 0, answer.err
    (liver,) = answer.document["labels"]
    assert (liver["class_name"], liver["num_voxels"]) == ("Liver", int(drawn.sum()))
    assert liver["mean"] is not None
    alone = typed("measure mask.dcm")
    assert alone.code == 2
    assert "give that too" in alone.err
