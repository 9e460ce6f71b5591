"""Compressed frames are what pydicom makes of them; what lies or is damaged is refused and takes nobody with it."""

import logging
import multiprocessing
import resource
import time
import warnings
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from io import BytesIO
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    HTJ2K,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from hilum.adapters.dicom_codecs import MAX_SCANS, PLUGIN, check_frames, decoder_for
from hilum.adapters.dicom_pixels import _decoded, frames_of
from hilum.core.errors import DataError
from hilum.testing.dicom_phantoms import picture

MAX_BYTES = 64 << 20
MEMORY_BYTES = 256 << 20
LONGEST_SECONDS = 5
MUTATIONS = 3_000
UNREADABLE = ("JPEG2000-embedded-sequence-delimiter.dcm",)
GREY_YX = np.random.default_rng(1).integers(0, 256, (24, 40)).astype(np.uint8)
COLOUR_YXS = np.random.default_rng(2).integers(0, 256, (24, 40, 3)).astype(np.uint8)


def corpus():
    """Every file of pydicom and pydicom-data with compressed pixels."""
    package = Path(pydicom.__file__).parent
    places = [package / "data" / "test_files", package.parent / "data_store"]
    return sorted(path for place in places for path in place.rglob("*.dcm") if compressed(path))


def compressed(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["Rows"])
        except Exception:
            return False
    syntax = getattr(dataset.file_meta, "TransferSyntaxUID", None)
    # Of one the file ends within the pixels, and pydicom drops them.
    if path.name == "emri_small_jpeg_2k_lossless_too_short.dcm":
        return False
    return "Rows" in dataset and syntax is not None and syntax.is_private is False and syntax.is_encapsulated


def their_decoders(dataset):
    """What each of pydicom's own decoders that is here makes of it, by the decoder's name; none if it cannot."""
    found = {}
    for plugin in pydicom.pixels.get_decoder(dataset.file_meta.TransferSyntaxUID).available_plugins:
        try:
            found[plugin] = pydicom.pixels.pixel_array(dataset, decoding_plugin=plugin)
        except (RuntimeError, NotImplementedError):
            continue
    return found


def packed(pixels, frames, syntax, **changes):
    """A dataset with these pixels' header around compressed frames."""
    colours = pixels.ndim == 3
    dataset = picture(pixels[..., 0] if colours else pixels, **changes)
    dataset.file_meta.TransferSyntaxUID = syntax
    if colours:
        dataset.SamplesPerPixel, dataset.PlanarConfiguration = 3, 0
        dataset.PhotometricInterpretation = changes.get("PhotometricInterpretation", "RGB")
    dataset.PixelData = encapsulate(list(frames))
    dataset["PixelData"].VR = "OB"
    return dataset


def jpeg(pixels, **options):
    sink = BytesIO()
    Image.fromarray(pixels).save(sink, "JPEG", **options)
    return sink.getvalue()


def decoded(dataset):
    return frames_of(dataset, max_bytes=MAX_BYTES)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("path", corpus(), ids=lambda path: path.name)
def test_every_real_file_is_voxel_by_voxel_what_pydicom_makes_of_it(path, caplog):
    caplog.set_level(logging.CRITICAL)
    dataset = pydicom.dcmread(path)
    theirs = their_decoders(dataset)
    if path.name in UNREADABLE:
        assert theirs == {}
        with pytest.raises(DataError):
            check_frames(dataset, 1)
        return
    check_frames(dataset, int(dataset.get("NumberOfFrames") or 1))
    ours = _decoded(dataset)
    for name, pixels in theirs.items():
        assert ours.dtype == pixels.dtype, name
        assert np.array_equal(ours, pixels), name


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_corpus_has_every_compression():
    found = Counter(pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID for path in corpus())
    assert len(found) >= 8
    assert {RLELossless, JPEGBaseline8Bit, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless} <= set(found)


def test_pydicom_itself_is_left_as_it_was():
    decoder_for(RLELossless)
    assert PLUGIN not in pydicom.pixels.get_decoder(RLELossless).available_plugins


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from(["u1", "u2"]), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=60)
def test_lossless_packing_of_any_shape_gives_back_the_pixels(rows, columns, kind, seed):
    pixels = np.random.default_rng(seed).integers(0, np.iinfo(kind).max, (rows, columns), kind, endpoint=True)
    bits = {"BitsAllocated": 8 * pixels.itemsize, "BitsStored": 8 * pixels.itemsize}
    runs = picture(pixels, **bits)
    runs.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    frames = {
        JPEGLSLossless: imagecodecs.jpegls_encode(pixels),
        JPEG2000Lossless: imagecodecs.jpeg2k_encode(pixels, level=0, codecformat="j2k", reversible=True),
        JPEGLosslessSV1: imagecodecs.jpeg8_encode(pixels, lossless=True),
    }
    for dataset in (runs, *(packed(pixels, [frame], syntax, **bits) for syntax, frame in frames.items())):
        assert np.array_equal(decoded(dataset)[0, ..., 0], pixels), dataset.file_meta.TransferSyntaxUID.name


@pytest.mark.parametrize("transform", [None, "RGB"])
@pytest.mark.parametrize("subsampling", [0, 2])
def test_lossy_colours_are_what_pydicom_gives_with_and_without_adobes_marker(transform, subsampling):
    if transform == "RGB":
        frame = jpeg(COLOUR_YXS, keep_rgb=True)
        dataset = packed(COLOUR_YXS, [frame], JPEGBaseline8Bit)
    else:
        frame = jpeg(COLOUR_YXS, subsampling=subsampling)
        dataset = packed(COLOUR_YXS, [frame], JPEGBaseline8Bit, PhotometricInterpretation="YBR_FULL_422")
    reference = pydicom.pixels.pixel_array(dataset, decoding_plugin="pillow")
    assert np.array_equal(decoded(dataset)[0], reference)
    assert np.abs(reference.astype(int) - np.asarray(Image.open(BytesIO(frame)))).max() <= 3


@pytest.mark.parametrize("one_after_the_other", [False, True])
@pytest.mark.parametrize("side", [8, 20])
def test_colours_of_jpeg_ls_stay_with_their_pixels(side, one_after_the_other):
    pixels_YXS = np.ascontiguousarray(np.arange(3 * side**2, dtype=np.uint8).reshape(side, side, 3))
    given_ = np.ascontiguousarray(pixels_YXS.transpose(2, 0, 1)) if one_after_the_other else pixels_YXS
    pyjpegls = pytest.importorskip("jpeg_ls")
    frame = bytes(pyjpegls.encode_array(given_, interleave_mode=0 if one_after_the_other else 2))
    assert np.array_equal(decoded(packed(pixels_YXS, [frame], JPEGLSLossless))[0], pixels_YXS)


def test_a_jp2_file_inside_dicom_is_decoded_by_the_codestream_that_was_checked():
    wrapped = imagecodecs.jpeg2k_encode(GREY_YX, level=0, codecformat="jp2", reversible=True)
    assert wrapped[4:8] == b"jP  "
    assert np.array_equal(decoded(packed(GREY_YX, [wrapped], JPEG2000Lossless))[0, ..., 0], GREY_YX)


def test_a_box_of_no_length_round_a_codestream_does_not_hang():
    """pydicom by itself walks round it for ever."""
    wrapped = imagecodecs.jpeg2k_encode(GREY_YX, level=0, codecformat="jp2", reversible=True)
    endless = wrapped[:12] + bytes(4) + wrapped[16:]
    assert np.array_equal(decoded(packed(GREY_YX, [endless], JPEG2000Lossless))[0, ..., 0], GREY_YX)


@pytest.mark.parametrize(
    ("syntax", "pack"),
    [
        (JPEGBaseline8Bit, jpeg),
        (JPEGLosslessSV1, lambda pixels: imagecodecs.jpeg8_encode(pixels, lossless=True)),
        (JPEGLSLossless, imagecodecs.jpegls_encode),
        (JPEG2000Lossless, lambda pixels: imagecodecs.jpeg2k_encode(pixels, level=0, codecformat="j2k")),
    ],
)
@pytest.mark.parametrize(
    ("inside", "reason"),
    [
        (GREY_YX[:20], r"is \(20, 40\) \(Y, X\); the header says \(24, 40\)"),
        (np.resize(GREY_YX, (24, 400)), r"is \(24, 400\) \(Y, X\); the header says \(24, 40\)"),
        (COLOUR_YXS, "3 samples of 8 bits a pixel; the header says 1"),
        (GREY_YX.astype(np.uint16) * 257, "1 samples of 1[26] bits a pixel; the header says 1 in 8 bits"),
    ],
    ids=["fewer rows", "more columns", "colours", "more bits"],
)
def test_a_frame_whose_own_header_is_not_the_files_never_reaches_a_decoder(syntax, pack, inside, reason, monkeypatch):
    if syntax == JPEGBaseline8Bit and inside.dtype == np.uint16:
        pytest.skip("JPEG baseline has 8 bits only")
    dataset = packed(GREY_YX, [pack(inside)], syntax)
    monkeypatch.setattr("hilum.adapters.dicom_pixels.decoder_for", lambda syntax: pytest.fail("it was decoded"))
    with pytest.raises(DataError, match=reason):
        decoded(dataset)


def test_tiles_that_the_bytes_cannot_hold_are_refused():
    frame = bytearray(imagecodecs.jpeg2k_encode(np.resize(GREY_YX, (200, 200)), level=50, codecformat="j2k"))
    start = frame.index(b"\xff\x4f\xff\x51")
    frame[start + 24 : start + 32] = (1).to_bytes(4, "big") * 2
    with pytest.raises(DataError, match="40000 tiles, more than so few bytes can hold"):
        decoded(packed(np.resize(GREY_YX, (200, 200)), [bytes(frame)], JPEG2000Lossless))


def test_a_jpeg_of_endless_passes_is_refused():
    frame = jpeg(GREY_YX, progressive=True)
    scan = frame.rindex(b"\xff\xda")
    endless = frame[:scan] + frame[scan:-2] * MAX_SCANS + frame[-2:]
    assert decoded(packed(GREY_YX, [frame], JPEGBaseline8Bit)).shape == (1, 24, 40, 1)
    with pytest.raises(DataError, match="500 passes"):
        decoded(packed(GREY_YX, [endless], JPEGBaseline8Bit))


@pytest.mark.parametrize("num_inside", [1, 3])
def test_more_or_fewer_frames_than_announced_are_refused(num_inside):
    frames = [imagecodecs.jpegls_encode(GREY_YX)] * num_inside
    with pytest.raises(DataError, match=f"have {num_inside} frames; the header says 2"):
        decoded(packed(GREY_YX, frames, JPEGLSLossless, NumberOfFrames=2))


def test_runs_that_end_early_are_refused():
    dataset = picture(GREY_YX)
    dataset.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    dataset.Rows += 1
    with pytest.raises(DataError, match="damaged"):
        decoded(dataset)
    dataset.Rows -= 2
    with pytest.raises(DataError, match="damaged"):
        decoded(dataset)


def test_a_compression_without_decoder_is_named():
    with pytest.raises(
        DataError, match="compressed by High-Throughput JPEG 2000 .*no decoder here; save them unpacked"
    ):
        decoded(packed(GREY_YX, [imagecodecs.htj2k_encode(GREY_YX, reversible=True) + b"\xff\xd9"], HTJ2K))


ORIGINALS = {
    "JPEG": ("SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_small_odd_jpeg.dcm", "SC_rgb_jpeg_app14_dcmd.dcm"),
    "JPEG, 12 bits": ("JPGExtended.dcm",),
    "JPEG lossless": ("SC_rgb_jpeg_gdcm.dcm", "JPEG-LL.dcm"),
    "JPEG-LS": ("MR_small_jpeg_ls_lossless.dcm", "SC_rgb_jls_lossy_line.dcm", "JPEGLSNearLossless_16.dcm"),
    "JPEG 2000": ("MR_small_jp2klossless.dcm", "SC_rgb_gdcm_KY.dcm", "GDCMJ2K_TextGBR.dcm"),
    "RLE": ("MR_small_RLE.dcm", "SC_rgb_rle_16bit.dcm"),
}


def limit_memory():
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")


@pytest.fixture(scope="module")
def apart():
    """A process of its own: a crash in it fails the test that caused it, and no other."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), initializer=limit_memory) as pool:
        yield lambda work, *arguments: pool.submit(work, *arguments).result()


def damage(frame, rng):
    """One of what happens to bytes: changed, lost, doubled, or another length or size in a header."""
    changed = bytearray(frame)
    reach = int(rng.choice([64, 700, len(frame)]))
    places = rng.integers(0, min(reach, len(frame)), rng.integers(1, 7))
    match rng.integers(0, 5):
        case 0:
            for place in places:
                changed[place] ^= 1 << int(rng.integers(0, 8))
        case 1 | 2:
            for place in places:
                changed[place] = int(rng.choice([0, 0x7F, 0xFF, rng.integers(0, 256)]))
        case 3:
            begin, end = sorted(rng.integers(0, len(frame), 2))
            del changed[begin:end]
        case _:
            begin, end = sorted(rng.integers(0, len(frame), 2))
            changed[begin:begin] = changed[begin : min(end, begin + 500)]
    return bytes(changed)


def read_damaged(names, num, seed):
    """How often damage was read, and how often refused; the slowest; and every other error."""
    rng = np.random.default_rng(seed)
    seen, slowest, wrong = Counter(), 0.0, []
    for name in names:
        dataset = pydicom.dcmread(get_testdata_file(name, download=False))
        (frame, *_) = generate_frames(dataset.PixelData, number_of_frames=1)
        for _ in range(num // len(names)):
            bad = Dataset()
            bad.update(dataset)
            bad.file_meta = dataset.file_meta
            bad.PixelData = encapsulate([damage(frame, rng)])
            begin = time.perf_counter()
            try:
                frames_of(bad, max_bytes=MAX_BYTES)
                seen["read"] += 1
            except DataError:
                seen["refused"] += 1
            except Exception as error:
                wrong.append(f"{name}: {error!r}")
            slowest = max(slowest, time.perf_counter() - begin)
    return dict(seen), slowest, wrong


@pytest.mark.parametrize("codec", ORIGINALS)
def test_damage_is_refused_or_read_and_nothing_else(codec, apart):
    seen, slowest, wrong = apart(read_damaged, ORIGINALS[codec], MUTATIONS, 11)
    assert wrong == []
    assert min(seen["read"], seen["refused"]) > 0
    assert slowest < LONGEST_SECONDS


def test_near_lossless_differs_by_no_more_than_it_says():
    frame = imagecodecs.jpegls_encode(GREY_YX, level=3)
    off = decoded(packed(GREY_YX, [frame], JPEGLSNearLossless))[0, ..., 0].astype(int) - GREY_YX
    assert 0 < np.abs(off).max() <= 3
