"""NRRD and MetaImage keep every voxel and its place; what a stranger's header says is checked before it is believed."""

import itertools
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 (what everybody calls it)

from hilum.adapters.itk_formats import data_file, read_metaimage, read_nrrd
from hilum.core.errors import DataError

SHAPE_ZYX = (4, 5, 6)
OBLIQUE = (0, -1, 0, 0.6, 0, 0.8, -0.8, 0, 0.6)


def voxels(shape=SHAPE_ZYX, dtype=np.int16):
    return np.random.default_rng(2).integers(0, 100, shape).astype(dtype)


def itk_image(array, *, vector=False, direction=OBLIQUE):
    image = sitk.GetImageFromArray(array, isVector=vector)
    axes = image.GetDimension()
    image.SetSpacing((1.5, 2.0, 3.25, 1.0)[:axes])
    image.SetOrigin((10.5, -20.0, 31.0, 0.0)[:axes])
    if axes == 3:
        image.SetDirection(direction)
    return image


@pytest.fixture
def write(tmp_path):
    """Writes an image; returns the bytes of its header and of its voxels, if they are apart."""

    def written(image, ending, *, compressed=False):
        path = tmp_path / f"image.{ending}"
        sitk.WriteImage(image, str(path), compressed)
        payload = path.read_bytes()
        name = data_file(payload[:4096], f".{ending}")
        return payload, (None if name is None else Path(tmp_path, name).read_bytes())

    return written


def read(ending, payload, apart=None, **limits):
    reader = read_nrrd if ending in ("nrrd", "nhdr") else read_metaimage
    return reader(payload, apart, **limits)


ENDINGS = pytest.mark.parametrize("ending", ["nrrd", "nhdr", "mha", "mhd"])
ALONE = pytest.mark.parametrize("ending", ["nrrd", "mha"])


@ENDINGS
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.float32, np.float64])
def test_every_voxel_keeps_its_value_and_its_place(write, ending, compressed, dtype):
    image = itk_image(voxels(dtype=dtype))
    found = read(ending, *write(image, ending, compressed=compressed))
    assert np.array_equal(found.image_czyx[0], voxels(dtype=dtype))
    assert found.image_czyx.dtype == (np.float32 if dtype == np.float64 else dtype)
    assert found.flags == ()
    for zyx in itertools.product(*[(0, n - 1) for n in SHAPE_ZYX]):
        x, y, z = image.TransformIndexToPhysicalPoint(zyx[::-1])
        assert np.allclose(found.grid.index_to_world(zyx), (-x, -y, z), atol=1e-6)


@ENDINGS
@pytest.mark.parametrize(
    ("shape", "vector", "expected"),
    [((5, 6), False, (1, 1, 5, 6)), ((4, 5, 6, 3), True, (3, 4, 5, 6)), ((2, 4, 5, 6), False, (2, 4, 5, 6)),
     ((5, 6, 3), True, (3, 1, 5, 6))],
)  # fmt: skip
def test_flat_coloured_and_repeated_images_have_their_channels_first(write, ending, shape, vector, expected):
    array = voxels(shape)
    found = read(ending, *write(itk_image(array, vector=vector), ending))
    wanted = np.moveaxis(array, -1, 0) if vector else array
    assert found.image_czyx.shape == expected
    assert np.array_equal(found.image_czyx, wanted.reshape(expected))


@ALONE
def test_big_endian_voxels_are_turned(write, ending):
    payload, _ = write(itk_image(voxels()), ending)
    swapped = {b"endian: little": b"endian: big", b"BinaryDataByteOrderMSB = False": b"BinaryDataByteOrderMSB = True"}
    for before, after in swapped.items():
        payload = payload.replace(before, after)
    bytes_of_voxels = voxels().tobytes()
    payload = payload.replace(bytes_of_voxels, voxels().byteswap().tobytes())
    assert np.array_equal(read(ending, payload).image_czyx[0], voxels())


def test_the_other_words_for_the_world_mean_the_same_place(write):
    payload, _ = write(itk_image(voxels()), "nrrd")
    found = read_nrrd(payload)
    ras = payload.replace(b"left-posterior-superior", b"right-anterior-superior")
    mirrored = read_nrrd(ras)
    x, y, z = found.grid.origin_mm_xyz
    assert np.allclose(mirrored.grid.origin_mm_xyz, (-x, -y, z))


@pytest.mark.parametrize(("ending", "line"), [("nrrd", b"space directions"), ("mha", b"TransformMatrix")])
def test_a_header_that_does_not_say_which_way_is_up_is_flagged(write, ending, line):
    payload, _ = write(itk_image(voxels()), ending)
    head, _, rest = payload.partition(line)
    without = head + rest[rest.index(b"\n") + 1 :]
    assert read(ending, without).flags == ("no_orientation",)


@ENDINGS
@pytest.mark.parametrize("compressed", [False, True])
def test_files_cut_short_are_refused(write, ending, compressed):
    payload, apart = write(itk_image(voxels()), ending, compressed=compressed)
    for keep in (0, 10, 60, -1, -5):
        with pytest.raises(DataError):
            read(ending, *((payload[:keep], None) if apart is None else (payload, apart[:keep])))


@ALONE
def test_a_flipped_bit_in_compressed_voxels_is_never_read(write, ending):
    payload, _ = write(itk_image(voxels((8, 9, 10))), ending, compressed=True)
    begin = payload.index(b"\n\n") + 2 if ending == "nrrd" else payload.index(b"LOCAL\n") + 6
    rng = np.random.default_rng(1)
    for place in rng.integers(8 * (begin + 10), 8 * len(payload), 200):
        bad = bytearray(payload)
        bad[place // 8] ^= 1 << place % 8
        with pytest.raises(DataError):
            read(ending, bytes(bad))


@ALONE
@pytest.mark.parametrize("compressed", [False, True])
def test_a_size_beyond_the_limit_is_refused_before_a_voxel_gets_memory(write, ending, compressed):
    payload, _ = write(itk_image(voxels()), ending, compressed=compressed)
    huge = payload.replace(b"6 5 4", b"60000 50000 40000")
    assert huge != payload
    with pytest.raises(DataError, match=r"at most .* are read"):
        read(ending, huge)
    with pytest.raises(DataError, match=r"at most .* are read"):
        read(ending, payload, max_bytes=239)
    assert read(ending, payload, max_bytes=240).image_czyx.shape == (1, 4, 5, 6)


@pytest.mark.parametrize("extra", [b"", bytes(1 << 20)])
def test_compressed_voxels_that_are_more_or_fewer_than_said_are_refused(extra):
    packed = zlib.compress(voxels().tobytes()[: None if extra else -2] + extra)
    head = b"NDims = 3\nDimSize = 6 5 4\nElementType = MET_SHORT\nCompressedData = True\nElementDataFile = LOCAL\n"
    with pytest.raises(DataError, match="compressed voxels are more|cut short"):
        read_metaimage(head + packed)


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (b"NRRD0004\ntype: short\ndimension: 3\nsizes: 6 5\nendian: little\nencoding: raw\n\n", "how many"),
        (b"NRRD0004\ntype: block\ndimension: 1\nsizes: 6\nendian: little\nencoding: raw\n\n", "how many"),
        (b"NRRD0004\ntype: short\ndimension: 2\nsizes: 6 0\nendian: little\nencoding: raw\n\n", "at least one"),
        (b"NRRD0004\ntype: short\ndimension: 2\nsizes: 6 -5\nendian: little\nencoding: raw\n\n", "at least one"),
        (b"NRRD0004\ntype: short\ndimension: 2\nsizes: 6 5\nencoding: raw\n\n", "order"),
        (b"NRRD0004\ntype: short\ndimension: 2\nsizes: 6 5\nendian: little\nencoding: ascii\n\n", "encoding"),
        (b"NRRD0004\ntype: short\ntype: int\ndimension: 2\nsizes: 6 5\n\n", "twice"),
        (b"NRRD0004\ntype: short\ndimension: 2\nsizes: 6 5\nendian: little\nencoding: raw\nbyte skip: 9\n\n", "skips"),
        (b"NRRD0004\ntype: short\n", "cut short"),
        (b"PNG", "Not an NRRD"),
    ],
)
def test_an_nrrd_header_that_cannot_be_meant_is_refused(head, said):
    with pytest.raises(DataError, match=said):
        read_nrrd(head + bytes(60))


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (b"NDims = 3\nDimSize = 6 5\nElementType = MET_SHORT\nElementDataFile = LOCAL\n", "how many"),
        (b"NDims = 2\nDimSize = 6 5\nElementType = MET_STRING\nElementDataFile = LOCAL\n", "how many"),
        (b"NDims = 2\nDimSize = 6 5\nElementType = MET_CHAR\nBinaryData = False\nElementDataFile = LOCAL\n", "text"),
        (b"NDims = 2\nDimSize = 6 5.5\nElementType = MET_CHAR\nElementDataFile = LOCAL\n", "whole"),
        (b"NDims = 2\nNDims = 2\nDimSize = 6 5\nElementType = MET_CHAR\nElementDataFile = LOCAL\n", "twice"),
        (b"NDims = 2\nDimSize = 6 5\nHeaderSize = 7\nElementType = MET_CHAR\nElementDataFile = LOCAL\n", "skips"),
        (b"NDims = 2\nDimSize = 6 5\nOffset = $(rm)\nElementType = MET_CHAR\nElementDataFile = LOCAL\n", "neither"),
        (b"NDims = 2\nDimSize = 6 5\nElementType = MET_CHAR\n", "ElementDataFile"),
    ],
)
def test_a_metaimage_header_that_cannot_be_meant_is_refused(head, said):
    with pytest.raises(DataError, match=said):
        read_metaimage(head + bytes(60))


@pytest.mark.parametrize(
    "name", ["../x.raw", "/etc/passwd", "a/b.raw", "..\\x.raw", "C:x.raw", "LIST", "%03d.raw 1 9 1"]
)
def test_voxels_elsewhere_or_in_many_files_are_not_followed(name):
    for start, ending in (
        (f"NDims = 2\nDimSize = 6 5\nElementDataFile = {name}\n", ".mhd"),
        (f"NRRD0004\ntype: short\ndimension: 2\nsizes: 6 5\ndata file: {name}\n\n", ".nhdr"),
    ):
        with pytest.raises(DataError, match="several files or in another folder"):
            data_file(start.encode(), ending)


@pytest.mark.parametrize("ending", ["nhdr", "mhd"])
def test_a_header_without_its_voxels_is_refused(write, ending):
    payload, apart = write(itk_image(voxels()), ending)
    assert apart is not None
    with pytest.raises(DataError, match="not beside"):
        read(ending, payload)


@ALONE
def test_nothing_is_printed_and_no_word_of_the_header_is_in_the_refusal(write, ending, capfd):
    payload, _ = write(itk_image(voxels()), ending)
    start = payload.index(b"\n") + 1
    named = payload[:start] + {"nrrd": b"content: DOE^JANE\n", "mha": b"Comment = DOE^JANE\n"}[ending] + payload[start:]
    assert np.array_equal(read(ending, named).image_czyx, read(ending, payload).image_czyx)
    for bad in (named[:-1], named.replace(b"6 5 4", b"6 JANE 4"), named.replace(b"6 5 4", b"6 5 -4")):
        with pytest.raises(DataError) as caught:
            read(ending, bad)
        assert "JANE" not in str(caught.value)
    assert capfd.readouterr() == ("", "")
