"""`hilum predict`: files answered here and now, and what cannot be answered named among them."""

import gzip
import json

import highdicom as hd
import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from hilum.adapters.nifti_patches import affine_of, nifti_bytes
from hilum.core.geometry import Grid
from hilum.store.ledger import open_ledger
from hilum.store.opening import open_store
from hilum.testing.dicom_phantoms import as_bytes, ct_series
from hilum.testing.phantoms import Phantom, lesion_image, phantom_store
from hilum.testing.untrained import untrained_checkpoint

SEGMENT, CLASSIFY = Phantom("segment", 3, size=16), Phantom("classify", 2, size=16)
GRID = Grid((16, 18, 20), (2.0, 0.7, 0.9), (11.0, -4.0, 3.0))


@pytest.fixture
def store(tmp_path):
    made, _ = phantom_store(str(tmp_path / "store"), SEGMENT)
    for seed, (model, phantom) in enumerate({"liver": SEGMENT, "chest": CLASSIFY}.items()):
        open_ledger(made).point(model, "champion", untrained_checkpoint(made, phantom, seed=seed), expected=None)
    return tmp_path / "store"


@pytest.fixture
def scan(tmp_path):
    image_CZYX, _ = lesion_image(np.random.default_rng(1), GRID.shape_zyx)
    (tmp_path / "scan.nii.gz").write_bytes(nifti_bytes(image_CZYX, GRID))
    return tmp_path / "scan.nii.gz"


def test_a_label_map_is_written_on_the_images_own_grid(store, scan, typed, tmp_path):
    answer = typed(f"predict {scan} --model liver --store {store} --out {tmp_path / 'out'} --json")
    (row,) = json.loads(answer.out)["answers"]
    written = nib.Nifti1Image.from_bytes(gzip.decompress((tmp_path / "out" / "scan.nii.gz").read_bytes()))
    assert row["answer"] == str(tmp_path / "out" / "scan.nii.gz")
    assert written.shape == GRID.shape_zyx[::-1]
    np.testing.assert_allclose(written.affine, affine_of(GRID), atol=1e-5)


def test_classes_are_printed_and_one_bad_file_does_not_stop_the_others(store, typed, tmp_path):
    picture = lesion_image(np.random.default_rng(2), CLASSIFY.patch_shape_zyx)[0][0, 0]
    Image.fromarray((picture / 8).astype(np.uint8)).save(tmp_path / "frame.png")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    files = f"{tmp_path / 'bad.png'} {tmp_path / 'frame.png'} {tmp_path / 'nowhere.png'}"
    answer = typed(f"predict {files} --model chest --store {store} --json")
    bad, good, missing = json.loads(answer.out)["answers"]
    assert answer.code == 2
    assert good["answer"] in good["probabilities"]
    assert "Readable" in bad["error"]
    assert "cannot be read" in missing["error"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--model lung", "no model 'lung'"),
        ("--model li/ver", "name@alias"),
        ("--model liver --format exe", "nifti, npy, png, ome-zarr, dicom-seg"),
        ("--model liver --quality best", "fast, balanced, accurate"),
        ("--model liver --beside canary", "@alias or :checkpoint"),
        ("--model liver --beside @canary", "with a canary"),
    ],
)
def test_what_cannot_be_meant_is_said_before_any_work(words, said, store, scan, typed):
    answer = typed(f"predict {scan} --store {store} {words}")
    assert answer.code == 2
    assert said in answer.err


def test_a_folder_of_dicom_gets_a_segmentation_of_its_slices(store, typed, tmp_path):
    (tmp_path / "series").mkdir()
    image_CZYX, _ = lesion_image(np.random.default_rng(1), GRID.shape_zyx)
    slices = ct_series(image_CZYX[0].astype(np.uint16))
    for number, one in enumerate(slices):
        (tmp_path / "series" / f"{(7 * number) % 16:02d}").write_bytes(as_bytes(one))
    words = f"--model liver --store {store} --out {tmp_path / 'out'}"
    assert typed(f"predict {tmp_path / 'series'} {words} --format dicom-seg").code == 0
    assert typed(f"predict {tmp_path / 'series'} {words} --format npy").code == 0
    label_map = np.load(tmp_path / "out" / "series.npy")
    made = hd.seg.segread(str(tmp_path / "out" / "series.seg.dcm"))
    drawn = made.get_pixels_by_source_instance(
        [one.SOPInstanceUID for one in slices], combine_segments=True, assert_missing_frames_are_empty=True
    )
    assert label_map.any()
    np.testing.assert_array_equal(drawn, label_map)


def test_several_versions_answer_together_and_a_segmentation_names_all(store, typed, tmp_path):
    made = open_store(str(store))
    others = [untrained_checkpoint(made, SEGMENT, seed=seed) for seed in (30, 31, 32, 33)]
    for name, one in zip("abcd", others, strict=True):
        open_ledger(made).point("liver", name, one, expected=None)
    image_CZYX, _ = lesion_image(np.random.default_rng(1), GRID.shape_zyx)
    (tmp_path / "series").mkdir()
    for number, one in enumerate(ct_series(image_CZYX[0].astype(np.uint16))):
        (tmp_path / "series" / f"{number:02d}").write_bytes(as_bytes(one))
    words = f"--model liver --store {store} --out {tmp_path / 'out'} --format dicom-seg --json"
    beside = f"--beside @a --beside @b --beside :{others[2]} --beside :{others[3]}"
    alone = json.loads(typed(f"predict {tmp_path / 'series'} {words}").out)
    together = json.loads(typed(f"predict {tmp_path / 'series'} {words} {beside}").out)
    assert (alone["beside"], together["beside"]) == ([], others)
    assert alone["answers"][0]["uncertainty"] != together["answers"][0]["uncertainty"]
    drawn = hd.seg.segread(str(tmp_path / "out" / "series.seg.dcm"))
    (algorithm,) = drawn.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence
    assert algorithm.AlgorithmVersion == "+".join([together["version"], *others])


def test_a_segmentation_of_a_file_that_is_no_dicom_is_refused(store, scan, typed):
    answer = typed(f"predict {scan} --model liver --store {store} --format dicom-seg --json")
    assert (answer.code, "send DICOM" in json.loads(answer.out)["answers"][0]["error"]) == (2, True)


def test_no_answer_is_written_over_an_image_or_over_another_answer(store, scan, typed, tmp_path):
    before = scan.read_bytes()
    answer = typed(f"predict {scan} --model liver --store {store} --out {tmp_path}")
    assert (answer.code, "--out" in answer.err, scan.read_bytes() == before) == (2, True, True)
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "scan.nii.gz").write_bytes(before)
    answer = typed(
        f"predict {scan} {tmp_path / 'more' / 'scan.nii.gz'} --model liver --store {store} --out {tmp_path}/o"
    )
    assert (answer.code, "one at a time" in answer.err) == (2, True)
