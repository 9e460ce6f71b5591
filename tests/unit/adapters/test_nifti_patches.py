"""Patches that people open and answers that they save: nothing moves in space, and no file is believed unread."""

import gzip
import io

import nibabel as nib
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from hilum.adapters.nifti import read_nifti
from hilum.adapters.nifti_patches import affine_of, nifti_bytes, read_label_map
from hilum.core.asking import IGNORE
from hilum.core.errors import DataError
from hilum.core.geometry import Grid

SHAPE = (2, 3, 4)
GRID = Grid(SHAPE, (3.0, 0.7, 0.5), (-40.0, 12.5, 7.0))
LABELS = np.arange(24, dtype=np.uint16).reshape(SHAPE) % 3
SIZES = st.integers(1, 4)


def turned(grid, degrees):
    rotation = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    direction = rotation @ np.asarray(grid.direction)
    return Grid(grid.shape_zyx, grid.spacing_mm_zyx, grid.origin_mm_xyz, tuple(map(tuple, direction.tolist())))


def saved(folder, array_xyz, affine, name="answer.nii.gz"):
    path = folder / name
    nib.save(nib.Nifti1Image(array_xyz, affine), path)
    return path


def answer(folder, labels_zyx=LABELS, grid=GRID, dtype=np.uint8):
    return saved(folder, labels_zyx.transpose(2, 1, 0).astype(dtype), affine_of(grid))


def reason(path, grid=GRID, num_classes=3):
    with pytest.raises(DataError) as refusal:
        read_label_map(path, grid, num_classes)
    return str(refusal.value)


def label_map_or_reason(path):
    try:
        return read_label_map(path, GRID, 3)
    except DataError as refusal:
        return str(refusal)


@settings(max_examples=30)
@given(
    shape=st.tuples(st.integers(1, 3), SIZES, SIZES, SIZES),
    spacing=st.tuples(*[st.floats(0.1, 5)] * 3),
    origin=st.tuples(*[st.floats(-300, 300)] * 3),
    degrees=st.tuples(*[st.floats(-180, 180)] * 3),
    seed=st.integers(0, 9),
)
def test_a_patch_that_is_written_and_ingested_again_has_its_voxels_and_its_place(shape, spacing, origin, degrees, seed):
    grid = turned(Grid(shape[1:], spacing, origin), degrees)
    patch = np.random.default_rng(seed).integers(-1000, 3000, shape).astype(np.int16)
    read = read_nifti(nifti_bytes(patch, grid))
    image, found = read.image_czyx, read.grid
    assert np.array_equal(image, patch)
    corner = [n - 1 for n in grid.shape_zyx]
    for index in ([0, 0, 0], corner):
        assert np.allclose(found.index_to_world(index), grid.index_to_world(index), atol=1e-3)


@given(st.tuples(*[st.integers(0, 3)] * 3))
def test_the_affine_says_of_every_voxel_what_the_grid_says(index_zyx):
    grid = turned(GRID, (20, -35, 70))
    z, y, x = index_zyx
    assert np.allclose((affine_of(grid) @ [x, y, z, 1])[:3], grid.index_to_world(index_zyx))


def test_the_patch_of_a_grid_lies_where_its_voxels_lie_in_the_whole():
    part = GRID.cropped((1, 2, 3), (1, 1, 1))
    assert np.allclose(affine_of(part)[:3, 3], (affine_of(GRID) @ [3, 2, 1, 1])[:3])


def test_the_same_patch_is_the_same_bytes_whenever_it_is_written():
    assert nifti_bytes(LABELS[None], GRID) == nifti_bytes(LABELS[None].copy(), GRID)


def test_a_patch_s_file_says_millimetres_and_no_word_more():
    header = nib.Nifti1Image.from_bytes(gzip.decompress(nifti_bytes(LABELS[None], GRID))).header
    assert header.get_xyzt_units()[0] == "mm"
    assert len(header.extensions) == 0
    assert all(bytes(header[field].item()).strip(b"\0") == b"" for field in ("descrip", "aux_file", "db_name"))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_an_answer_is_understood_in_every_number_type_that_tools_save(tmp_path, dtype):
    found = read_label_map(answer(tmp_path, dtype=dtype), GRID, 3)
    assert found.dtype == np.uint16
    assert np.array_equal(found, LABELS)


@settings(max_examples=30)
@given(
    order=st.permutations([0, 1, 2]),
    flips=st.tuples(*[st.sampled_from([1, -1])] * 3),
    degrees=st.tuples(*[st.floats(-40, 40)] * 3),
)
def test_an_answer_saved_with_its_axes_turned_or_flipped_is_turned_back(tmp_path_factory, order, flips, degrees):
    grid = turned(GRID, degrees)
    orientation = np.array(list(zip(order, flips, strict=True)), dtype=float)
    straight = nib.Nifti1Image(LABELS.transpose(2, 1, 0).astype(np.uint8), affine_of(grid))
    path = tmp_path_factory.mktemp("turned") / "answer.nii.gz"
    nib.save(straight.as_reoriented(orientation), path)
    assert np.array_equal(read_label_map(path, grid, 3), LABELS)


def test_a_flat_answer_without_its_third_axis_is_the_same_answer(tmp_path):
    grid = Grid((1, 3, 4))
    path = saved(tmp_path, LABELS[0].T.astype(np.uint8), affine_of(grid))
    assert nib.load(path).shape == (4, 3)
    assert np.array_equal(read_label_map(path, grid, 3), LABELS[:1])


def test_a_fourth_axis_of_one_is_the_same_answer(tmp_path):
    path = saved(tmp_path, LABELS.transpose(2, 1, 0).astype(np.uint8)[..., None], affine_of(GRID))
    assert np.array_equal(read_label_map(path, GRID, 3), LABELS)


def test_an_answer_that_was_saved_uncompressed_under_the_asked_name_is_read(tmp_path):
    plain = saved(tmp_path, LABELS.transpose(2, 1, 0).astype(np.uint8), affine_of(GRID), "plain.nii")
    path = tmp_path / "answer.nii.gz"
    plain.rename(path)
    assert np.array_equal(read_label_map(path, GRID, 3), LABELS)


@pytest.mark.parametrize(("written", "dtype"), [(-1, np.int16), (IGNORE, np.uint16), (IGNORE, np.float32)])
def test_voxels_left_unanswered_are_understood_signed_and_unsigned(tmp_path, written, dtype):
    labels = LABELS.astype(np.int64)
    labels[0] = written
    found = read_label_map(answer(tmp_path, labels, dtype=dtype), GRID, 3)
    assert (found[0] == IGNORE).all()
    assert np.array_equal(found[1], LABELS[1])


def test_an_answer_to_no_voxel_is_no_answer(tmp_path):
    assert "no voxel" in reason(answer(tmp_path, np.full(SHAPE, IGNORE), dtype=np.uint16))


@pytest.mark.parametrize(("value", "dtype"), [(3, np.uint8), (-2, np.int16), (255, np.uint8), (70_000, np.int32)])
def test_a_label_that_nobody_asked_about_is_named_with_those_that_are_allowed(tmp_path, value, dtype):
    labels = LABELS.astype(np.int64)
    labels[1, 2, 3] = value
    assert f"label {value}; allowed are 0 to 2, and 65535" in reason(answer(tmp_path, labels, dtype=dtype))


def test_a_number_too_large_for_any_label_is_refused_like_a_small_one(tmp_path):
    labels = LABELS.astype(np.float64)
    labels[0, 0, 0] = 1e30
    assert "label 1e+30; allowed are" in reason(answer(tmp_path, labels, dtype=np.float64))


@pytest.mark.parametrize("value", [0.5, np.nan, np.inf])
def test_an_image_in_place_of_a_label_map_is_recognised(tmp_path, value):
    labels = LABELS.astype(np.float32)
    labels[0, 0, 0] = value
    assert "not whole numbers" in reason(answer(tmp_path, labels, dtype=np.float32))


def test_colours_in_place_of_labels_are_recognised(tmp_path):
    colours = np.zeros(SHAPE[::-1], dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    assert "not whole numbers" in reason(saved(tmp_path, colours, affine_of(GRID)))


@pytest.mark.parametrize("shape_xyz", [(4, 3, 3), (5, 3, 2), (4, 3, 2, 2), (1, 1, 1)])
def test_an_answer_of_another_size_says_both_sizes(tmp_path, shape_xyz):
    told = reason(saved(tmp_path, np.zeros(shape_xyz, np.uint8), affine_of(GRID)))
    assert " × ".join(map(str, shape_xyz)) in told
    assert "4 × 3 × 2 (X, Y, Z)" in told


@pytest.mark.parametrize("shape_xyz", [(2, 3, 4), (24, 1, 1), (3, 4, 2)])
def test_as_many_voxels_in_another_arrangement_are_another_size(tmp_path, shape_xyz):
    assert "the image has 4 × 3 × 2" in reason(saved(tmp_path, np.zeros(shape_xyz, np.uint8), affine_of(GRID)))


@settings(max_examples=30)
@given(axis=st.integers(0, 2), mm=st.floats(0.05, 100), sign=st.sampled_from([1, -1]))
def test_an_answer_that_lies_beside_its_image_is_refused(tmp_path_factory, axis, mm, sign):
    affine = affine_of(GRID)
    affine[axis, 3] += sign * mm
    path = saved(tmp_path_factory.mktemp("beside"), LABELS.transpose(2, 1, 0).astype(np.uint8), affine)
    assert "lies elsewhere in space" in reason(path)


def test_an_answer_with_another_slice_thickness_is_refused_although_it_has_one_slice(tmp_path):
    grid, thicker = Grid((1, 3, 4), (3.0, 1.0, 1.0)), Grid((1, 3, 4), (5.0, 1.0, 1.0))
    path = saved(tmp_path, LABELS[:1].transpose(2, 1, 0).astype(np.uint8), affine_of(thicker))
    assert "affine differs" in reason(path, grid)


def test_an_answer_saved_without_any_affine_is_refused(tmp_path):
    path = answer(tmp_path)
    raw = bytearray(gzip.decompress(path.read_bytes()))
    raw[280:328] = bytes(48)  # the sform's three rows
    path.write_bytes(gzip.compress(bytes(raw)))
    assert reason(path)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
@pytest.mark.parametrize("compressed", [True, False])
def test_a_half_written_answer_is_refused_wherever_it_ends(tmp_path, share, compressed):
    path = answer(tmp_path)
    whole = path.read_bytes() if compressed else gzip.decompress(path.read_bytes())
    path.write_bytes(whole[: int(share * len(whole))])
    assert reason(path).startswith("it is") or "cannot be read" in reason(path)


@settings(max_examples=30)
@given(place=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_flipped_bit_in_a_compressed_answer_never_becomes_a_label(tmp_path_factory, place, bit):
    path = answer(tmp_path_factory.mktemp("flipped"))
    raw = bytearray(path.read_bytes())
    raw[10 + place % (len(raw) - 10)] ^= 1 << bit
    path.write_bytes(bytes(raw))
    found = label_map_or_reason(path)
    if isinstance(found, str):
        assert "damaged" in found or "far larger" in found
    else:
        assert np.array_equal(found, LABELS)


@settings(max_examples=30)
@given(place=st.integers(0, 351), value=st.integers(0, 255))
@example(40, 0)
@example(70, 128)
@example(72, 255)
def test_a_header_with_any_wrong_byte_is_read_or_refused_in_a_sentence(tmp_path_factory, place, value):
    path = answer(tmp_path_factory.mktemp("header"))
    raw = bytearray(gzip.decompress(path.read_bytes()))
    raw[place] = value
    path.write_bytes(bytes(raw))
    found = label_map_or_reason(path)
    if isinstance(found, str):
        assert "\n" not in found
    else:
        assert found.shape == SHAPE
        assert found.max() < 3 or found.max() == IGNORE


@settings(max_examples=30)
@given(st.binary(max_size=400))
@example(b"")
@example(b"\x1f\x8b")
@example(gzip.compress(b""))
@example(gzip.compress(b"PNG or so"))
def test_whatever_else_is_saved_as_an_answer_is_refused_in_a_sentence(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("other") / "answer.nii.gz"
    path.write_bytes(content)
    assert reason(path).startswith("it is")


def test_a_small_answer_that_unpacks_to_far_more_than_its_image_is_stopped(tmp_path):
    path = tmp_path / "answer.nii.gz"
    sink = io.BytesIO()
    with gzip.GzipFile(fileobj=sink, mode="wb") as file:
        file.write(gzip.decompress(answer(tmp_path).read_bytes()))
        file.write(bytes(4 << 20))
    path.write_bytes(sink.getvalue())
    assert reason(path) == "it is far larger than the image it answers"


def test_reading_an_answer_leaves_the_person_s_file_as_it_was(tmp_path):
    path = answer(tmp_path)
    before = path.read_bytes(), path.stat().st_mtime_ns
    read_label_map(path, GRID, 3)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
