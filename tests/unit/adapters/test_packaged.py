"""The demo's images are real, honest and the same on every machine."""

import hashlib

import numpy as np
import pytest

from hilum.adapters import packaged
from hilum.adapters.folders import find_source
from hilum.adapters.reading import read_item
from hilum.core.errors import NotFoundError


@pytest.fixture(scope="module")
def patches(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classify")
    packaged.write_classify(folder)
    return folder


@pytest.fixture(scope="module")
def brains(tmp_path_factory):
    folder = tmp_path_factory.mktemp("segment")
    packaged.write_segment(folder)
    return folder


def read(folder):
    source = find_source(str(folder))
    return [image for item in source.items for image in read_item(source.root, item)], source


def test_the_pool_is_as_unbalanced_as_a_brain_and_the_tests_are_balanced(patches):
    stacks, _ = read(patches)
    by_side = {stack.side: np.bincount(stack.classes, minlength=12) for stack in stacks}
    assert {side: counts.sum() for side, counts in by_side.items()} == {"pool": 2500, "test": 960, "validation": 180}
    assert set(by_side["test"]) == {80}
    assert set(by_side["validation"]) == {15}
    rarest = packaged.AROUND.keys()
    assert list(rarest)[int(by_side["pool"].argmin())] == "amygdala"
    assert by_side["pool"].max() > 20 * by_side["pool"].min()


def test_pool_validation_and_test_come_from_different_subjects(patches, brains):
    for folder in (patches, brains):
        images, source = read(folder)
        owners = [(i.patient, i.side) for i in images if i.patient] or [(i.patient, i.side) for i in source.items]
        assert sorted(owners) == [("icbm2009a", "validation"), ("icbm2009c", "test"), ("mni152", "pool")]
        assert len({image.image_digest() for image in images}) == 3


def test_patches_show_tissue_and_not_air(patches):
    for stack in read(patches)[0]:
        assert stack.item_shape_zyx == (1, 24, 24)
        assert stack.image_czyx.dtype == np.uint8
        centres = stack.image_czyx[0, :, 12, 12]
        assert (centres > 0).mean() > 0.97, "a patch whose centre is air cannot show a structure"
        assert 60 < stack.image_czyx.mean() < 190


def test_scans_keep_the_atlas_s_place_and_know_left_from_right(brains):
    for image in read(brains)[0]:
        assert image.grid.spacing_mm_zyx == (2.0, 2.0, 2.0)
        assert image.grid.origin_mm_xyz == (-74.0, -108.0, -64.0)
        thalamus = np.argwhere(image.label_map_zyx == 1 + packaged.DEEP.index("thalamus"))
        middle = image.grid.index_to_world(thalamus.mean(axis=0))
        assert abs(middle[0]) < 2, "the two thalami lie left and right of the midline"
        assert -30 < middle[1] < -5
        assert 0 < middle[2] < 20


def test_every_deep_structure_is_there_and_rare(brains):
    _, source = read(brains)
    assert source.class_names == ("background", *packaged.DEEP)
    for image in read(brains)[0]:
        counts = np.bincount(image.label_map_zyx.ravel(), minlength=7)
        assert (counts > 100).all()
        assert counts[0] > 0.97 * counts.sum()


def test_making_them_again_gives_the_same_bytes(patches, tmp_path):
    packaged.write_classify(tmp_path)
    digests = [hashlib.sha256((folder / "patches.npz").read_bytes()).hexdigest() for folder in (patches, tmp_path)]
    assert digests[0] == digests[1]
    stacks = {stack.side: stack.image_digest()[:12] for stack in read(tmp_path)[0]}
    assert stacks == PINNED, "every machine must ask the same questions"


PINNED = {"pool": "9008f1e8770b", "test": "f52598f9c732", "validation": "3499a5fc7d3c"}


def test_a_package_that_is_not_installed_is_said():
    with pytest.raises(NotFoundError, match=r"hilum\[demo\]"):
        packaged.packaged_file("no_such_package_of_brains", "a.nii.gz")
    with pytest.raises(NotFoundError, match="nilearn"):
        packaged.packaged_file("nilearn", "no_such_file.nii.gz")
