"""From a set as it is kept to a folder that ingest reads: the numbers, the sides and nothing of the original lost."""

import csv
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from hilum.adapters import preparing
from hilum.adapters.folders import find_source
from hilum.adapters.reading import read_item
from hilum.core.errors import DataError

SIZES = st.sampled_from([2, 4, 6])


def medmnist_archive(folder, shape, nums=(5, 2, 3)):
    rng = np.random.default_rng(0)
    parts = {}
    for part, num in zip(("train", "val", "test"), nums, strict=True):
        parts[f"{part}_images"] = rng.integers(0, 255, (num, *shape)).astype(np.uint8)
        parts[f"{part}_labels"] = (np.arange(num) % 2)[:, None]
    np.savez(folder / "a.npz", **parts)
    return parts


def prepared(folder, prepare):
    target = folder / "prepared"
    target.mkdir()
    prepare(folder, target)
    return target


def stack(target):
    source = find_source(str(target))
    [item] = source.items
    return {image.side: image for image in read_item(source.root, item)}


def rows_of(target):
    with (target / "index.csv").open(encoding="utf-8") as index:
        return list(csv.DictReader(index))


def test_each_part_of_a_medmnist_archive_is_a_side_with_its_own_images_in_their_order(tmp_path):
    parts = medmnist_archive(tmp_path, (4, 6))
    sides = stack(prepared(tmp_path, preparing.medmnist("a.npz", ("benign", "malignant"))))
    for side, part in (("pool", "train"), ("validation", "val"), ("test", "test")):
        assert np.array_equal(sides[side].image_czyx[0], parts[f"{part}_images"])
        assert list(sides[side].classes) == parts[f"{part}_labels"][:, 0].tolist()
        assert sides[side].class_names == ("benign", "malignant")
    assert len({image.patient for image in sides.values()}) == 3


def test_images_of_a_stack_are_photographs_so_that_grey_values_keep_their_meaning(tmp_path):
    medmnist_archive(tmp_path, (4, 6))
    sides = stack(prepared(tmp_path, preparing.medmnist("a.npz", ("benign", "malignant"))))
    assert {image.intensity for image in sides.values()} == {"photograph"}


def test_blocks_are_halved_on_all_three_axes(tmp_path):
    parts = medmnist_archive(tmp_path, (4, 6, 12))
    sides = stack(prepared(tmp_path, preparing.medmnist("a.npz", ("a", "b"), halved=True)))
    assert sides["pool"].item_shape_zyx == (2, 3, 6)
    block = parts["train_images"][0, :2, :2, :2].astype(int)
    assert sides["pool"].image_czyx[0, 0, 0, 0] == (block.sum() + 4) // 8


def test_a_block_with_an_odd_axis_cannot_be_halved_and_says_so(tmp_path):
    medmnist_archive(tmp_path, (4, 5))
    with pytest.raises(DataError, match=r"\(4, 5\) cannot be halved; its sizes must be even"):
        prepared(tmp_path, preparing.medmnist("a.npz", ("a", "b"), halved=True))


@settings(max_examples=20)
@given(st.tuples(st.integers(1, 2), SIZES, SIZES).flatmap(lambda shape: arrays(np.uint8, shape)))
def test_halving_is_within_half_a_grey_of_the_mean_and_never_overflows(tmp_path_factory, images):
    folder = tmp_path_factory.mktemp("halved")
    three = {f"{part}_images": images for part in ("train", "val", "test")}
    labels = {f"{part}_labels": np.zeros((len(images), 1), np.uint8) for part in ("train", "val", "test")}
    np.savez(folder / "a.npz", **three, **labels)
    preparing.medmnist("a.npz", ("a",), halved=True)(folder, folder)
    with np.load(folder / "images.npz") as archive:
        found = archive["images"][: len(images)]
    n, y, x = images.shape
    mean = images.reshape(n, y // 2, 2, x // 2, 2).mean(axis=(2, 4))
    assert np.abs(found - mean).max() <= 0.5


def a_mednist(folder, per_class):
    np.savez(
        folder / "mednist_6000x64x64.npz",
        images=np.random.default_rng(0).integers(0, 255, (6 * per_class, 4, 4)).astype(np.uint8),
        labels=np.repeat(np.arange(6, dtype=np.uint8), per_class),
        classes=np.array(list("abcdef")),
    )


def counts(image):
    return np.bincount(image.classes, minlength=6).tolist()


def test_three_classes_of_mednist_are_made_rare_and_everywhere_the_same_three(tmp_path):
    a_mednist(tmp_path, 820)
    rare = stack(prepared(tmp_path, preparing.mednist_rare))
    assert sorted(counts(rare["pool"])) == [40] * 3 + [650] * 3
    assert counts(rare["test"]) == [150] * 6
    assert counts(rare["validation"]) == [10] * 6
    (tmp_path / "again").mkdir()
    preparing.mednist_rare(tmp_path, tmp_path / "again")
    with np.load(tmp_path / "again" / "images.npz") as one, np.load(tmp_path / "prepared" / "images.npz") as other:
        assert all(np.array_equal(one[name], other[name]) for name in other.files)


def test_all_of_mednist_is_as_common_in_every_class(tmp_path):
    a_mednist(tmp_path, 820)
    every = stack(prepared(tmp_path, preparing.mednist_all))
    assert counts(every["pool"]) == [650] * 6
    assert every["pool"].class_names == tuple("abcdef")


def test_no_image_of_mednist_is_on_two_sides(tmp_path):
    num = 6 * 30
    images = np.repeat(np.arange(num, dtype=np.uint8), 16).reshape(num, 4, 4)  # an image is its number
    labels = np.repeat(np.arange(6), 30)
    np.savez(tmp_path / "mednist_6000x64x64.npz", images=images, labels=labels, classes=np.array(list("abcdef")))
    with np.load(prepared(tmp_path, preparing.mednist_rare) / "images.npz") as archive:
        numbers, found = archive["images"][:, 0, 0], archive["labels"]
    assert len(set(numbers.tolist())) == len(numbers)
    assert np.array_equal(labels[numbers], found)


def named_files(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((3, 4), len(name), np.uint8)).save(path)


def test_named_pairs_are_copied_with_their_patient_and_side_and_nothing_else_is(tmp_path):
    named_files(tmp_path, "a/one.png", "b/one.png", "a/stray.png")
    pairs = (("a/one.png", "b/one.png", "p1", "test"), ("a/one.png", "b/one.png", "p2", None))
    target = prepared(tmp_path, preparing.paired_files(pairs, ("background", "bone")))
    assert [(row["patient"], row["side"]) for row in rows_of(target)] == [("p1", "test"), ("p2", "")]
    assert not (target / "a" / "stray.png").exists()
    assert json.loads((target / "labels.json").read_text()) == {"0": "background", "1": "bone"}
    assert find_source(str(target)).class_names == ("background", "bone")


def test_files_as_they_are_stay_as_they_are(tmp_path):
    source = tmp_path / "source"
    named_files(source, "deep/er/one.png", "two.png")
    (tmp_path / "target").mkdir()
    preparing.files_as_they_are(source, tmp_path / "target")
    for name in ("deep/er/one.png", "two.png"):
        assert (tmp_path / "target" / name).read_bytes() == (source / name).read_bytes()


def a_plate(folder, sizes):
    rows = ["id,height,width,mode"]
    for number, (height, width) in enumerate(sizes):
        named_files(folder, f"images/{number}.png", f"labels/{number}.png")
        rows.append(f"{number},{height},{width},L")
    (folder / "index.csv").write_text("\n".join(rows) + "\n")


@pytest.mark.parametrize(
    ("nums", "expected"),
    [((5, 3, 2), "pool test validation"), ((4, 4), "pool test"), ((3,), "pool"), ((1, 2, 3, 4), "x")],
)
def test_the_largest_group_of_nuclei_stays_in_the_pool_and_no_group_is_split(tmp_path, nums, expected):
    sizes = [(10 + group, 20) for group, num in enumerate(nums) for _ in range(num)]
    a_plate(tmp_path, sizes)
    rows = rows_of(prepared(tmp_path, preparing.nuclei))
    sides = {row["patient"]: row["side"] for row in rows}
    assert all(sides[row["patient"]] == row["side"] for row in rows)
    by_size = [sides[f"{10 + g}x20 L"] for g in sorted(range(len(nums)), key=lambda g: -nums[g])]
    assert by_size == (expected.split() if expected != "x" else ["pool", "test", "validation", "pool"])


def test_stained_tissue_stays_in_the_pool_however_large_its_group(tmp_path):
    a_plate(tmp_path, [(10, 20)] * 3 + [(11, 20)] * 9 + [(12, 20)] * 2 + [(13, 20)])
    index = tmp_path / "index.csv"
    index.write_text(index.read_text().replace("11,20,L", "11,20,rgb"))
    sides = {row["patient"]: row["side"] for row in rows_of(prepared(tmp_path, preparing.nuclei))}
    assert sides == {"10x20 L": "pool", "11x20 rgb": "pool", "12x20 L": "test", "13x20 L": "validation"}


def test_nuclei_of_every_number_become_one_class(tmp_path):
    a_plate(tmp_path, [(3, 4)])
    Image.fromarray(np.array([[0, 1, 2, 300]], np.uint16)).save(tmp_path / "labels" / "0.png")
    target = prepared(tmp_path, preparing.nuclei)
    with Image.open(target / "labels" / "0.png") as label:
        assert np.asarray(label).tolist() == [[0, 1, 1, 1]]
