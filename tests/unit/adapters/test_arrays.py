"""NumPy files: shapes are understood, stacks are split by patient, and nothing pickled is loaded."""

import io
import pickle
import zipfile

import numpy as np
import pytest

from hilum.adapters.arrays import read_npy, read_npz
from hilum.core.errors import DataError


def npy(array, **options):
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def npz(**arrays):
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


IMAGES = np.random.default_rng(0).integers(0, 255, (6, 5, 7)).astype(np.uint8)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((5, 7), (1, 1, 5, 7)), ((4, 5, 7), (1, 4, 5, 7)), ((5, 7, 3), (3, 1, 5, 7)), ((4, 5, 7, 2), (2, 4, 5, 7))],
)
def test_the_axes_of_an_array_are_understood_from_its_shape(shape, expected):
    image, grid = read_npy(npy(np.zeros(shape, np.float32)))
    assert image.shape == expected
    assert grid.shape_zyx == expected[1:]


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4, 5, 6), (4, 5, 7, 9), ()])
def test_an_array_that_is_no_image_is_refused(shape):
    with pytest.raises(DataError):
        read_npy(npy(np.zeros(shape)))


def test_types_that_cannot_be_stored_are_brought_to_the_nearest_or_refused():
    assert read_npy(npy(np.ones((3, 3), bool)))[0].dtype == np.uint8
    assert read_npy(npy(np.ones((3, 3), np.float64)))[0].dtype == np.float32
    assert read_npy(npy(np.full((3, 3), -5, np.int64)))[0].dtype == np.int32
    assert read_npy(npy(np.full((3, 3), 5, ">u2")))[0].dtype == np.uint16
    for bad in (np.full((3, 3), 2**40), np.ones((3, 3), complex), np.full((3, 3), "x")):
        with pytest.raises(DataError):
            read_npy(npy(bad))


class Boom:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was loaded",))


def test_a_pickle_is_never_loaded():
    objects = np.empty((2, 2), object)
    objects[:] = Boom()
    for payload in (npy(objects, allow_pickle=True), pickle.dumps(Boom())):
        with pytest.raises(DataError):
            read_npy(payload)
        with pytest.raises(DataError):
            list(read_npz(payload))
    with pytest.raises(DataError, match="pickled"):
        list(read_npz(npz(images=objects)))


def test_an_array_shorter_than_it_says_is_refused_before_it_is_allocated():
    good = npy(np.zeros((4, 4)))
    with pytest.raises(DataError, match="cut short"):
        read_npy(good[:-1])
    lying = good.replace(b"(4, 4), }  ", b"(99999, 99999), }"[:11])
    huge = io.BytesIO()
    np.lib.format.write_array_header_1_0(huge, {"descr": "<f8", "fortran_order": False, "shape": (10**6, 10**6)})
    for bad in (lying, huge.getvalue()):
        with pytest.raises(DataError):
            read_npy(bad)


def test_a_stack_without_patients_is_one_patient_with_a_class_an_item():
    labels = np.array([0, 1, 2, 0, 1, -1])
    (stack,) = read_npz(npz(images=IMAGES, labels=labels, class_names=np.array(["a", "b", "c"])))
    assert stack.patient is None
    assert stack.image_czyx.shape == (1, 6, 5, 7)
    assert stack.item_shape_zyx == (1, 5, 7)
    assert stack.classes == (0, 1, 2, 0, 1, -1)
    assert stack.class_names == ("a", "b", "c")
    assert stack.intensity == "photograph"


def test_a_stack_with_patients_is_a_volume_for_each_patient_and_side_in_the_order_of_the_file():
    patients = np.array(["b", "a", "b", "a", "b", "c"])
    sides = np.array(["pool", "test", "pool", "test", "validation", "pool"])
    stacks = list(read_npz(npz(images=IMAGES, labels=np.arange(6), patients=patients, sides=sides)))
    assert [(s.patient, s.side, s.classes) for s in stacks] == [
        ("a", "test", (1, 3)),
        ("b", "pool", (0, 2)),
        ("b", "validation", (4,)),
        ("c", "pool", (5,)),
    ]
    assert np.array_equal(stacks[1].image_czyx[0], IMAGES[[0, 2]])


def test_blocks_and_colours_in_a_stack_keep_their_axes():
    blocks = np.random.default_rng(0).integers(0, 9, (3, 4, 5, 7)).astype(np.int16)
    (stack,) = read_npz(npz(images=blocks))
    assert stack.item_shape_zyx == (4, 5, 7)
    assert np.array_equal(stack.image_czyx[0], blocks.reshape(12, 5, 7))
    colours = np.random.default_rng(0).integers(0, 9, (3, 5, 7, 3)).astype(np.uint8)
    (stack,) = read_npz(npz(images=colours))
    assert stack.image_czyx.shape == (3, 3, 5, 7)
    assert np.array_equal(stack.image_czyx[:, 1], colours[1].transpose(2, 0, 1))


def test_labels_as_large_as_the_images_are_label_maps():
    maps = (IMAGES % 3).astype(np.uint8)
    (stack,) = read_npz(npz(images=IMAGES, labels=maps))
    assert stack.classes == ()
    assert stack.label_map_zyx.dtype == np.uint16
    assert np.array_equal(stack.label_map_zyx, maps)


def test_a_class_column_of_width_one_is_a_class_an_item():
    (stack,) = read_npz(npz(images=IMAGES, labels=np.ones((6, 1), np.uint8)))
    assert stack.classes == (1,) * 6


@pytest.mark.parametrize(
    "arrays",
    [
        {"labels": np.zeros(6)},
        {"images": IMAGES, "labels": np.zeros(5)},
        {"images": IMAGES, "labels": np.zeros(6)},
        {"images": IMAGES, "labels": np.zeros((6, 5, 6))},
        {"images": IMAGES, "labels": np.full((6, 5, 7), 70_000)},
        {"images": IMAGES, "labels": np.full((6, 5, 7), 0.5)},
        {"images": IMAGES, "sides": np.array(["train"] * 6)},
        {"images": IMAGES, "patients": np.array(["a"] * 5)},
        {"images": IMAGES, "pateints": np.array(["a"] * 6)},
        {"images": np.zeros((0, 5, 7))},
        {"images": np.zeros((5, 7))},
    ],
)
def test_a_stack_that_contradicts_itself_is_refused(arrays):
    with pytest.raises(DataError):
        list(read_npz(npz(**arrays)))


def test_blocks_of_one_scan_may_say_how_large_a_voxel_is_and_which_way_the_axes_run():
    direction = np.array([[0.0, 0.0, -1.0], [0.0, -1.0, 0.0], [1.0, 0.0, 0.0]])
    images = np.zeros((3, 4, 5, 6), np.int16)
    [image] = read_npz(npz(images=images, spacing_mm_zyx=np.array([2.5, 0.7, 0.8]), direction=direction))
    assert image.grid.spacing_mm_zyx == (2.5, 0.7, 0.8)
    assert np.array_equal(image.grid.direction, direction)
    assert image.measured_grid
    [unmeasured] = read_npz(npz(images=images))
    assert unmeasured.grid.spacing_mm_zyx == (1.0, 1.0, 1.0)
    assert not unmeasured.measured_grid


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ({"spacing_mm_zyx": np.ones(2)}, r"numbers of shape \(3,\)"),
        ({"spacing_mm_zyx": np.array(["a", "b", "c"])}, "must be numbers"),
        ({"spacing_mm_zyx": np.array([1.0, 0.0, 1.0])}, "finite and positive"),
        ({"direction": np.eye(3)}, "without 'spacing_mm_zyx'"),
        ({"spacing_mm_zyx": np.ones(3), "direction": np.ones((3, 3))}, "direction matrix is singular"),
    ],
)
def test_a_place_that_cannot_be_is_refused(place, reason):
    with pytest.raises(DataError, match=reason):
        list(read_npz(npz(images=np.zeros((3, 4, 5), np.int16), **place)))


def test_a_misspelt_key_is_guessed():
    with pytest.raises(DataError, match="Did you mean 'patients'"):
        list(read_npz(npz(images=IMAGES, pateints=np.arange(6))))


def test_a_damaged_archive_is_refused():
    good = npz(images=IMAGES, labels=np.arange(6))
    clean = [stack.image_digest() for stack in read_npz(good)]
    rng = np.random.default_rng(2)
    for place in rng.integers(0, 8 * len(good), 100):
        bad = bytearray(good)
        bad[place // 8] ^= 1 << (place % 8)
        try:
            found = [stack.image_digest() for stack in read_npz(bytes(bad))]
        except DataError:
            continue
        assert found == clean, f"bit {place}"


def test_an_archive_that_unpacks_beyond_the_limit_is_refused():
    with pytest.raises(DataError, match=r"at most .* are read"):
        list(read_npz(npz(images=np.zeros((64, 64, 64), np.uint8)), max_bytes=100_000))


def test_names_in_an_archive_are_never_used_as_paths(tmp_path):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("../../evil.npy", npy(IMAGES))
    with pytest.raises(DataError):
        list(read_npz(file.getvalue()))
    assert not list(tmp_path.parent.glob("evil*"))
