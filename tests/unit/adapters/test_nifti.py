"""NIfTI files are read to their last checksum, where their voxels are stays known, and lies are refused."""

import gzip
import io
import time

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.adapters.nifti import grid_of, read_nifti, read_nifti_pair
from hilum.core.errors import DataError

AFFINE = np.array([[-2.0, 0, 0, 90], [0, 0.5, 0, -126], [0, 0, 3.0, -72], [0, 0, 0, 1]])
OBLIQUE = np.array([[0.0, 0, 2.0, 5], [-1.5, 0.3, 0, 7], [0.2, 1.2, 0, -3], [0, 0, 0, 1]])


def scan_XYZ(shape=(6, 7, 8), dtype=np.int16, seed=0):
    return np.random.default_rng(seed).integers(0, 200, shape).astype(dtype)


def as_bytes(data, affine=AFFINE, *, compressed=False, kind=nib.Nifti1Image, change=None):
    image = kind(data, affine)
    if change is not None:
        change(image.header)
    payload = image.to_bytes()
    return gzip.compress(payload, mtime=0) if compressed else payload


def voxels_and_grid(payload, **limits):
    found = read_nifti(payload, **limits)
    return found.image_czyx, found.grid


def patched(payload, field, value, *, header=nib.Nifti1Header):
    """The file with one header field overwritten, as no honest writer would."""
    raw = np.frombuffer(payload[: header.sizeof_hdr], header.template_dtype).copy()
    raw[field] = value
    return raw.tobytes() + payload[header.sizeof_hdr :]


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("affine", [AFFINE, OBLIQUE], ids=["flipped", "oblique"])
def test_every_voxel_keeps_its_value_and_its_place_in_the_patient(compressed, kind, affine):
    data = scan_XYZ()
    image, grid = voxels_and_grid(as_bytes(data, affine, compressed=compressed, kind=kind))
    assert image.shape == (1, 8, 7, 6)
    for i, j, k in ((0, 0, 0), (5, 6, 7), (1, 2, 3)):
        assert image[0, k, j, i] == data[i, j, k]
        assert np.allclose(grid.index_to_world((k, j, i)), (affine @ (i, j, k, 1))[:3], atol=1e-4)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.uint16, np.int32, np.uint32, np.float32])
def test_unscaled_voxels_keep_their_type(dtype):
    data = scan_XYZ(dtype=dtype) if dtype != np.int8 else scan_XYZ().astype(np.int8)
    image, _ = voxels_and_grid(as_bytes(data))
    assert image.dtype == dtype
    assert np.array_equal(image[0], data.T)


def test_big_endian_files_are_read_like_the_others():
    data = scan_XYZ()
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(np.int16)
    image, _ = voxels_and_grid(nib.Nifti1Image(data, AFFINE, header).to_bytes())
    assert np.array_equal(image[0], data.T)
    assert image.dtype.isnative


def test_the_file_s_scaling_is_applied():
    payload = patched(patched(as_bytes(scan_XYZ()), "scl_slope", 2.5), "scl_inter", -10)
    image, _ = voxels_and_grid(payload)
    assert image.dtype == np.float32
    assert np.allclose(image[0], scan_XYZ().T * 2.5 - 10)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 4), (6, 5, 4, 3)])
def test_scaling_is_exact_in_64_bits_and_rounded_once(dtype, shape):
    data = scan_XYZ(shape, dtype)
    payload = patched(patched(as_bytes(data), "scl_slope", 1 / 3), "scl_inter", 1e-3)
    slope, intercept = (float(np.float32(value)) for value in (1 / 3, 1e-3))
    image, _ = voxels_and_grid(payload)
    expected = (data.astype(np.float64) * slope + intercept).astype(np.float32)
    assert np.array_equal(image.squeeze(), expected.T)
    assert image.flags.c_contiguous


@pytest.mark.parametrize("slope", [0.0, np.nan])
def test_a_slope_of_zero_or_nan_means_unscaled_as_the_standard_says(slope):
    image, _ = voxels_and_grid(patched(as_bytes(scan_XYZ()), "scl_slope", slope))
    assert np.array_equal(image[0], scan_XYZ().T)


def test_a_fourth_axis_and_colours_become_channels():
    image, _ = voxels_and_grid(as_bytes(scan_XYZ((4, 5, 6, 3))))
    assert image.shape == (3, 6, 5, 4)
    rgb = np.zeros((4, 5, 6), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    rgb["G"] = 7
    image, _ = voxels_and_grid(as_bytes(rgb))
    assert image.shape == (3, 6, 5, 4)
    assert image[:, 0, 0, 0].tolist() == [0, 7, 0]


def test_a_flat_image_is_a_volume_with_one_slice():
    image, grid = voxels_and_grid(as_bytes(scan_XYZ((9, 5))))
    assert image.shape == (1, 1, 5, 9)
    assert grid.shape_zyx == (1, 5, 9)


def test_a_file_in_metres_or_microns_is_brought_to_millimetres():
    in_microns = as_bytes(scan_XYZ(), change=lambda header: header.set_xyzt_units("micron"))
    _, grid = voxels_and_grid(in_microns)
    assert np.allclose(grid.spacing_mm_zyx, (0.003, 0.0005, 0.002))


def test_two_hundred_flipped_bits_in_a_compressed_file_are_never_read_as_voxels():
    data = scan_XYZ((12, 13, 14))
    good = as_bytes(data, compressed=True)
    rng = np.random.default_rng(5)
    # Bytes 3 to 9 of a gzip stream (flags, time, system) carry no image, and no checksum covers them.
    for place in rng.integers(8 * 10, 8 * len(good), 200):
        bad = bytearray(good)
        bad[place // 8] ^= 1 << (place % 8)
        with pytest.raises(DataError):
            read_nifti(bytes(bad))


@pytest.mark.parametrize("compressed", [False, True])
def test_a_file_cut_short_anywhere_is_refused(compressed):
    good = as_bytes(scan_XYZ(), compressed=compressed)
    for keep in {0, 1, 3, 100, 347, 348, 351, len(good) // 2, len(good) - 9, len(good) - 1}:
        if keep < len(good):
            with pytest.raises(DataError):
                read_nifti(good[:keep])


def test_members_that_follow_one_another_are_one_file():
    payload = as_bytes(scan_XYZ())
    image, _ = voxels_and_grid(gzip.compress(payload[:400]) + gzip.compress(payload[400:]) + bytes(100))
    assert np.array_equal(image[0], scan_XYZ().T)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("dim", [3, 32767, 32767, 32767, 1, 1, 1, 1]),
        ("dim", [3, -6, 7, 8, 1, 1, 1, 1]),
        ("dim", [3, 0, 7, 8, 1, 1, 1, 1]),
        ("dim", [0, 6, 7, 8, 1, 1, 1, 1]),
        ("dim", [9, 6, 7, 8, 1, 1, 1, 1]),
        ("dim", [5, 6, 7, 2, 2, 2, 1, 1]),
        ("vox_offset", 1e9),
        ("vox_offset", np.nan),
        ("vox_offset", -1),
        ("datatype", 31),
        ("datatype", 32),
        ("magic", b"ni1"),
        ("magic", b"xxx"),
        ("sizeof_hdr", 347),
        ("srow_x", [0, 0, 0, 0]),
        ("srow_y", [np.nan, 0, 0, 0]),
        ("srow_z", [-2, 0, 0, 0]),
    ],
)
def test_a_header_that_lies_is_refused_at_once(field, value):
    begin = time.monotonic()
    with pytest.raises(DataError):
        read_nifti(patched(as_bytes(scan_XYZ()), field, value))
    assert time.monotonic() - begin < 5


def test_a_small_file_that_unpacks_to_gigabytes_is_stopped_at_the_limit():
    honest = as_bytes(scan_XYZ())
    bomb = gzip.compress(honest + bytes(64 << 20))
    with pytest.raises(DataError, match="more than"):
        read_nifti(bomb)
    declared = gzip.compress(patched(honest, "dim", [3, 1024, 1024, 1024, 1, 1, 1, 1]))
    with pytest.raises(DataError, match=r"at most .* are read"):
        read_nifti(declared, max_bytes=1 << 30)


@pytest.mark.parametrize("payload", [b"", b"PK\x03\x04", b"\x1f\x8b", bytes(1000), b"\x89PNG\r\n\x1a\n" + bytes(400)])
def test_what_is_no_nifti_is_refused(payload):
    with pytest.raises(DataError):
        read_nifti(payload)


@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
@settings(max_examples=200, deadline=None)
def test_a_mutilated_file_is_read_or_refused_and_nothing_else(seed, num_bytes):
    rng = np.random.default_rng(seed)
    payload = bytearray(as_bytes(scan_XYZ()))
    for place in rng.integers(0, 400, num_bytes):
        payload[place] = rng.integers(0, 256)
    try:
        image, grid = voxels_and_grid(bytes(payload), max_bytes=1 << 26)
    except DataError:
        return
    assert image.shape[1:] == grid.shape_zyx


def test_no_word_of_the_header_is_in_the_refusal():
    def secretive(header):
        header["descrip"] = b"DOE^JANE MRN123"
        header["db_name"] = b"JANE"

    payload = as_bytes(scan_XYZ(), change=secretive)
    for bad in (payload[:500], patched(payload, "dim", [3, -6, 7, 8, 1, 1, 1, 1]), patched(payload, "datatype", 31)):
        with pytest.raises(DataError) as caught:
            read_nifti(bad)
        assert "JANE" not in str(caught.value)


def as_pair(data, affine=AFFINE, kind=nib.Nifti1Pair):
    files = kind.make_file_map()
    for file in files.values():
        file.fileobj = io.BytesIO()
    kind(data, affine).to_file_map(files)
    return files["header"].fileobj.getvalue(), files["image"].fileobj.getvalue()


@pytest.mark.parametrize("kind", [nib.Nifti1Pair, nib.Nifti2Pair])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_pair_of_files_is_read_like_one(kind, pack):
    head, voxels = as_pair(scan_XYZ(), OBLIQUE, kind)
    found = read_nifti_pair(head, pack(voxels))
    alone = read_nifti(as_bytes(scan_XYZ(), OBLIQUE))
    assert np.array_equal(found.image_czyx, alone.image_czyx)
    assert found.grid.apart_mm(alone.grid) < 1e-4


def test_half_a_pair_is_refused():
    head, voxels = as_pair(scan_XYZ())
    with pytest.raises(DataError, match=r"\.img is not beside"):
        read_nifti(head + bytes(4) + voxels)
    with pytest.raises(DataError, match="cut short"):
        read_nifti_pair(head, voxels[:-1])
    with pytest.raises(DataError, match="not one of a pair"):
        read_nifti_pair(as_bytes(scan_XYZ()), voxels)


def test_an_analyze_header_is_refused_because_left_and_right_are_unknown():
    files = nib.AnalyzeImage.make_file_map()
    for file in files.values():
        file.fileobj = io.BytesIO()
    nib.AnalyzeImage(scan_XYZ(), None).to_file_map(files)
    with pytest.raises(DataError, match="left and right"):
        read_nifti_pair(files["header"].fileobj.getvalue(), files["image"].fileobj.getvalue())


@pytest.mark.parametrize(
    ("slope", "intercept", "flags"),
    [
        (1, 0, ()),
        (2, 1, ()),
        (0, 0, ("slope_ignored",)),
        (0, 5, ("slope_ignored",)),
        (np.nan, np.nan, ("slope_ignored",)),
        (np.inf, 0, ("slope_ignored",)),
    ],
)
def test_a_scale_that_cannot_be_meant_is_ignored_and_the_volume_says_so(slope, intercept, flags):
    payload = patched(patched(as_bytes(scan_XYZ()), "scl_slope", slope), "scl_inter", intercept)
    found = read_nifti(payload)
    assert found.flags == flags
    expected = scan_XYZ().T if flags else scan_XYZ().T * slope + intercept
    assert np.array_equal(found.image_czyx[0], expected)


@pytest.mark.parametrize("intercept", [np.nan, np.inf])
def test_a_slope_with_an_impossible_intercept_is_refused(intercept):
    payload = patched(patched(as_bytes(scan_XYZ()), "scl_slope", 2), "scl_inter", intercept)
    with pytest.raises(DataError):
        read_nifti(payload)


def with_forms(sform, qform):
    image = nib.Nifti1Image(scan_XYZ(), None)
    image.set_sform(sform, 1 if sform is not None else 0)
    image.set_qform(qform, 1 if qform is not None else 0)
    return image.to_bytes()


MOVED = AFFINE + np.array([[0, 0, 0, 1.0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])


@pytest.mark.parametrize(
    ("sform", "qform", "flags"),
    [
        (AFFINE, AFFINE, ()),
        (AFFINE, None, ()),
        (None, AFFINE, ()),
        (AFFINE, MOVED, ("orientation_conflict",)),
        (AFFINE, AFFINE @ np.diag([-1, 1, 1, 1]), ("orientation_conflict",)),
        (None, None, ("no_orientation",)),
    ],
)
def test_a_header_of_two_opinions_or_none_is_flagged(sform, qform, flags):
    found = read_nifti(with_forms(sform, qform))
    assert found.flags == flags
    if sform is not None:
        assert np.allclose(found.grid.origin_mm_xyz, sform[:3, 3])


def test_a_qform_that_is_no_rotation_beside_a_sound_sform_is_a_conflict():
    assert read_nifti(patched(with_forms(AFFINE, AFFINE), "quatern_b", 3)).flags == ("orientation_conflict",)


def test_integers_of_64_bits_are_kept_where_they_fit_and_refused_where_they_do_not():
    image, _ = voxels_and_grid(nib.Nifti1Image(scan_XYZ(), AFFINE, dtype=np.int64).to_bytes())
    assert np.array_equal(image[0], scan_XYZ().T)
    with pytest.raises(DataError, match="32 bits"):
        read_nifti(nib.Nifti1Image(scan_XYZ().astype(np.int64) << 40, AFFINE, dtype=np.int64).to_bytes())


def test_an_image_of_nothing_but_air_is_taken_for_a_bomb_and_a_label_map_is_not():
    air = gzip.compress(as_bytes(np.zeros((512, 512, 520), np.uint16)), 1)
    with pytest.raises(DataError, match="more than 200 times"):
        read_nifti(air)
    assert read_nifti(air, is_label=True).image_czyx.shape == (1, 520, 512, 512)


@pytest.mark.parametrize("affine", [np.zeros((4, 4)), np.diag([1.0, 1, 0, 1]), np.full((4, 4), np.inf)])
def test_an_affine_without_an_inverse_gives_no_grid(affine):
    with pytest.raises(DataError):
        grid_of(affine, (2, 2, 2))
