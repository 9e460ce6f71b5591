"""PNG, JPEG and TIFF become voxels with the right axes, and nothing larger than allowed is ever unpacked."""

import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hilum.adapters.images import check_pages, read_label_image, read_photograph, read_tiff
from hilum.core.errors import DataError

GREY_YX = np.arange(35, dtype=np.uint8).reshape(5, 7)
COLOUR_YXC = np.random.default_rng(0).integers(0, 255, (5, 7, 3)).astype(np.uint8)


def saved(pixels, kind="PNG", mode=None, **options):
    file = io.BytesIO()
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(file, kind, **options)
    return file.getvalue()


def tiff(pixels, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **options)
    return file.getvalue()


def test_a_grey_image_is_one_channel_and_one_slice():
    image, grid = read_photograph(saved(GREY_YX))
    assert np.array_equal(image, GREY_YX[None, None])
    assert grid.shape_zyx == (1, 5, 7)


def test_a_colour_image_is_three_channels():
    image, _ = read_photograph(saved(COLOUR_YXC))
    assert np.array_equal(image[:, 0], COLOUR_YXC.transpose(2, 0, 1))


def test_sixteen_bits_stay_sixteen_bits():
    pixels = (GREY_YX.astype(np.uint16) * 1000) % 65_000
    image, _ = read_photograph(saved(pixels))
    assert image.dtype == np.uint16
    assert np.array_equal(image[0, 0], pixels)


@pytest.mark.parametrize(("mode", "channels"), [("RGBA", 3), ("P", 3), ("LA", 1), ("1", 1), ("CMYK", 3)])
def test_transparency_palettes_and_print_colours_become_grey_or_colour(mode, channels):
    kind = "JPEG" if mode == "CMYK" else "PNG"
    image, _ = read_photograph(saved(COLOUR_YXC if channels == 3 else GREY_YX, kind, mode))
    assert image.shape == (channels, 1, 5, 7)
    assert image.dtype == np.uint8


def test_a_jpeg_is_read_to_within_its_own_loss():
    smooth = np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8)
    image, _ = read_photograph(saved(smooth, "JPEG", quality=95))
    assert np.abs(image[0, 0].astype(int) - smooth).max() < 8


def test_a_label_image_keeps_its_numbers_whatever_its_colours():
    labels = (GREY_YX % 4).astype(np.uint8)
    assert np.array_equal(read_label_image(saved(labels))[0], labels)
    palette = Image.fromarray(labels, mode=None).convert("L")
    indexed = Image.new("P", palette.size)
    indexed.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
    indexed.putdata(labels.ravel().tolist())
    file = io.BytesIO()
    indexed.save(file, "PNG")
    assert np.array_equal(read_label_image(file.getvalue())[0], labels)
    with pytest.raises(DataError, match="one number a pixel"):
        read_label_image(saved(COLOUR_YXC))


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_an_image_cut_short_is_refused(kind):
    good = saved(np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8), kind)
    for keep in (0, 1, 8, 20, len(good) // 3, 2 * len(good) // 3):
        with pytest.raises(DataError):
            read_photograph(good[:keep])


def test_a_png_bomb_is_refused_by_its_header():
    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )
    with pytest.raises(DataError):
        read_photograph(bomb)
    with pytest.raises(DataError, match=r"at most .* are read"):
        read_photograph(saved(GREY_YX), max_bytes=100)


def test_a_flipped_bit_in_a_png_is_never_read_as_pixels():
    good = saved(np.random.default_rng(0).integers(0, 255, (16, 16)).astype(np.uint8))
    pixels, _ = read_photograph(good)
    for place in np.random.default_rng(1).integers(0, 8 * len(good), 200):
        bad = bytearray(good)
        bad[place // 8] ^= 1 << (place % 8)
        try:
            image, _ = read_photograph(bytes(bad))
        except DataError:
            continue
        assert np.array_equal(image, pixels), f"bit {place}"


@given(
    st.binary(max_size=300), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"II*\x00", b"MM\x00*"])
)
@settings(max_examples=150, deadline=None)
def test_rubbish_is_refused_and_nothing_else(tail, head):
    for read in (read_photograph, read_tiff, read_label_image):
        with pytest.raises(DataError):
            read(head + tail)


def test_other_formats_than_those_asked_for_are_not_even_tried():
    with pytest.raises(DataError):
        read_photograph(saved(GREY_YX, "GIF"))


@pytest.mark.parametrize(
    ("shape", "options", "expected"),
    [
        ((5, 7), {}, (1, 1, 5, 7)),
        ((6, 5, 7), {}, (1, 6, 5, 7)),
        ((5, 7, 3), {"photometric": "rgb"}, (3, 1, 5, 7)),
        ((4, 2, 5, 7), {"imagej": True, "metadata": {"axes": "ZCYX"}}, (2, 4, 5, 7)),
        ((6, 5, 7), {"ome": True, "metadata": {"axes": "TYX"}}, (1, 6, 5, 7)),
    ],
)
def test_the_axes_of_a_tiff_become_channels_and_slices(shape, options, expected):
    pixels = np.random.default_rng(0).integers(0, 200, shape).astype(np.uint8)
    image, grid = read_tiff(tiff(pixels, **options))
    assert image.shape == expected
    assert grid.shape_zyx == expected[1:]
    assert sorted(image.ravel()) == sorted(pixels.ravel())
    if len(shape) == 3 and expected[1] > 1:
        assert np.array_equal(image[0], pixels)


def test_a_tiff_in_time_and_depth_at_once_is_not_one_stack():
    with pytest.raises(DataError, match="axes"):
        read_tiff(tiff(np.zeros((2, 3, 5, 7), np.uint8), imagej=True, metadata={"axes": "TZYX"}))


def test_resolution_in_a_tiff_becomes_millimetres():
    pixels = np.zeros((4, 5, 7), np.uint16)
    imagej = tiff(pixels, imagej=True, resolution=(2.0, 4.0), metadata={"axes": "ZYX", "spacing": 3.0, "unit": "um"})
    assert np.allclose(read_tiff(imagej)[1].spacing_mm_zyx, (3e-3, 0.25e-3, 0.5e-3))
    per_centimetre = tiff(pixels[0], resolution=(20.0, 10.0), resolutionunit="CENTIMETER")
    assert np.allclose(read_tiff(per_centimetre)[1].spacing_mm_zyx, (1.0, 1.0, 0.5))
    assert read_tiff(tiff(pixels[0]))[1].spacing_mm_zyx == (1.0, 1.0, 1.0)


def test_a_tiff_beyond_the_limit_is_refused_before_it_is_unpacked():
    with pytest.raises(DataError, match=r"at most .* are read"):
        read_tiff(tiff(np.zeros((64, 64), np.uint8)), max_bytes=1000)


def written(*pages, **options):
    """A TIFF of images written one after the other."""
    sink = io.BytesIO()
    with tifffile.TiffWriter(sink) as writer:
        for page, own in pages:
            writer.write(page, photometric="rgb" if page.shape[-1] == 3 else "minisblack", **options, **own)
    return sink.getvalue()


def pyramid(*, inside):
    """A slide as pathologists save it: tiles, and levels of half the size, inside the first or after it."""
    finest = np.random.default_rng(4).integers(0, 255, (256, 384, 3)).astype(np.uint8)
    first = {"subifds": 2} if inside else {}
    levels = [(finest, first), *((finest[::n, ::n], {"subfiletype": 1}) for n in (2, 4))]
    return finest, written(*levels, tile=(64, 64), resolution=(4e4, 2e4), resolutionunit="CENTIMETER", metadata=None)


@pytest.mark.parametrize("inside", [True, False])
def test_of_a_pyramid_the_finest_level_is_read(inside):
    finest, payload = pyramid(inside=inside)
    image, grid = read_tiff(payload)
    assert np.array_equal(image[:, 0], finest.transpose(2, 0, 1))
    assert np.allclose(grid.spacing_mm_zyx, (1.0, 5e-4, 2.5e-4))


@pytest.mark.parametrize("inside", [True, False])
def test_of_a_pyramid_that_is_too_large_a_level_that_fits_is_named(inside):
    _, payload = pyramid(inside=inside)
    with pytest.raises(DataError, match=r"It is a pyramid: save its level of .* as a file of its own"):
        read_tiff(payload, max_bytes=100_000)
    with pytest.raises(DataError, match=r"save its level of 128 × 192 × 3 or 64 × 96 × 3 as a file"):
        read_tiff(payload, max_bytes=100_000)
    with pytest.raises(DataError, match=r"It is a pyramid, of whose 2 smaller levels none fits either"):
        read_tiff(payload, max_bytes=1_000)


def test_pages_written_one_by_one_are_slices_and_none_is_lost():
    pages = np.random.default_rng(5).integers(0, 9999, (3, 7, 9)).astype(np.uint16)
    payload = written(*((page, {}) for page in pages))
    with tifffile.TiffFile(io.BytesIO(payload)) as tiff:
        assert len(tiff.series) == 3
    image, grid = read_tiff(payload)
    assert np.array_equal(image[0], pages)
    assert grid.shape_zyx == (3, 7, 9)
    with pytest.raises(DataError, match=r"at most .* are read"):
        read_tiff(payload, max_bytes=pages.nbytes - 1)


@pytest.mark.parametrize(
    "other", [np.zeros((5, 9), np.uint8), np.zeros((7, 9), np.uint16), np.zeros((7, 9, 3), np.uint8)]
)
def test_images_of_two_kinds_in_one_tiff_are_refused_and_not_passed_over(other):
    with pytest.raises(DataError, match="2 images that are no stack"):
        read_tiff(written((np.zeros((7, 9), np.uint8), {}), (other, {})))


def test_two_stacks_in_one_tiff_are_not_one():
    stack = np.zeros((4, 7, 9), np.uint8)
    with pytest.raises(DataError, match="2 images that are no stack"):
        read_tiff(written((stack, {}), (stack, {})))


def test_a_small_copy_of_the_image_is_left_out():
    page, small = np.random.default_rng(6).integers(0, 255, (40, 60)).astype(np.uint8), np.zeros((4, 6), np.uint8)
    image, _ = read_tiff(written((page, {}), (small, {"subfiletype": 1})))
    assert np.array_equal(image[0, 0], page)


def test_a_tiff_cut_short_is_refused():
    good = tiff(np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8))
    for keep in (0, 4, 8, 100):
        with pytest.raises(DataError):
            read_tiff(good[:keep])


def tiff_pages(num, *, big=False):
    sink = io.BytesIO()
    with tifffile.TiffWriter(sink, bigtiff=big) as writer:
        for n in range(num):
            writer.write(np.full((3, 4), n, np.uint16), photometric="minisblack", metadata=None)
    return sink.getvalue()


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("num", [1, 2, 7])
def test_pages_in_a_line_are_a_stack(num, big):
    check_pages(tiff_pages(num, big=big))
    assert read_tiff(tiff_pages(num, big=big))[0].shape == (1, num, 3, 4)


@pytest.mark.parametrize("back_to", [0, 1, 2])
def test_pages_that_go_round_in_a_circle_are_refused_at_once(back_to):
    payload = bytearray(tiff_pages(3))
    starts, at = [], 4
    while page := struct.unpack_from("<I", payload, at)[0]:
        starts.append(page)
        at = page + 2 + 12 * struct.unpack_from("<H", payload, page)[0]
    struct.pack_into("<I", payload, at, starts[back_to])
    with pytest.raises(DataError, match="circle"):
        read_tiff(bytes(payload))


def test_what_a_damaged_tiff_says_is_not_printed(capfd):
    payload = bytearray(tiff_pages(1))
    payload[10:60] = b"Jane Doe" * 6 + b"xx"
    with pytest.raises(DataError):
        read_tiff(bytes(payload))
    assert capfd.readouterr() == ("", "")


def test_every_flipped_bit_of_a_png_is_noticed():
    sink = io.BytesIO()
    Image.fromarray(np.random.default_rng(4).integers(0, 255, (6, 7)).astype(np.uint8)).save(sink, "PNG")
    good = sink.getvalue()
    for place in range(8 * 8, 8 * len(good)):
        bad = bytearray(good)
        bad[place // 8] ^= 1 << place % 8
        with pytest.raises(DataError):
            read_photograph(bytes(bad))
        with pytest.raises(DataError):
            read_label_image(bytes(bad))


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png_of(stream, *, shape=(16, 16), depth=8, colour=0, extra=b""):
    """A PNG whose checksums are right whatever its pixels' stream is."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", shape[1], shape[0], depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", stream) + chunk(b"IEND", b"")


def test_pixels_that_are_missing_behind_right_checksums_are_refused():
    rows = b"".join(b"\0" + bytes(range(16)) for _ in range(16))
    image, _ = read_photograph(png_of(zlib.compress(rows)))
    assert image[0, 0].tolist() == [list(range(16))] * 16
    for stream in (zlib.compress(rows[:-17]), zlib.compress(rows)[:-9], zlib.compress(rows)[:-1] + b"\0", b""):
        with pytest.raises(DataError):
            read_photograph(png_of(stream))


def test_of_two_headers_none_gets_more_memory_than_was_checked():
    rows = b"".join(b"\0" + bytes(16) for _ in range(16))
    second = chunk(b"IHDR", struct.pack(">IIBBBBB", 16, 16, 8, 0, 0, 0, 0))
    with pytest.raises(DataError):
        read_photograph(png_of(zlib.compress(rows), shape=(30_000, 30_000), extra=second), max_bytes=1 << 20)


@pytest.mark.parametrize("mode", ["L", "I;16", "RGB", "RGBA", "LA", "P", "1"])
@pytest.mark.parametrize("transparent", [False, True])
def test_a_png_of_every_kind_is_what_pillow_sees(mode, transparent):
    values = np.random.default_rng(8).integers(0, 65_536 if mode == "I;16" else 256, (21, 13))
    grey = Image.fromarray(values.astype(np.uint16 if mode == "I;16" else np.uint8))
    made = grey if mode in ("L", "I;16") else grey.convert("RGB" if mode == "P" else mode)
    made = made.quantize(16) if mode == "P" else made
    sink = io.BytesIO()
    made.save(sink, "PNG", **({"transparency": 3} if transparent and mode in ("L", "P") else {}))
    image, _ = read_photograph(sink.getvalue())
    seen = Image.open(io.BytesIO(sink.getvalue()))
    wanted = {"RGBA": "RGB", "LA": "L", "P": "RGB", "1": "L"}.get(mode)
    reference = np.asarray(seen.convert(wanted) if wanted else seen).reshape(21, 13, -1)
    assert np.array_equal(image[:, 0].transpose(1, 2, 0), reference)
