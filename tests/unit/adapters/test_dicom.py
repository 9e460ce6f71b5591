"""DICOM becomes volumes with the right values at the right place; what is broken is refused and nobody is named."""

import contextlib
import subprocess
import sys
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from hilum.adapters.dicom import identity_of, is_dicom, read_dicom
from hilum.adapters.dicom_pixels import rescaled, stacked
from hilum.core.errors import DataError
from hilum.testing.dicom_phantoms import as_bytes, ct_series, ct_slice, enhanced_mr, film, picture

RNG = np.random.default_rng(0)
VOXELS = RNG.integers(0, 4000, (5, 4, 6)).astype(np.int16)


def read(*datasets, **options):
    return list(read_dicom([as_bytes(dataset) for dataset in datasets], **options))


def bundled(name):
    return Path(get_testdata_file(name, download=False)).read_bytes()


def read_bundled(name):
    (image,) = read_dicom([bundled(name)])
    return image


def test_a_series_is_one_volume_in_hounsfield_units():
    (image,) = read(*ct_series(VOXELS))
    assert image.image_czyx.shape == (1, 5, 4, 6)
    assert image.image_czyx.dtype == np.int16
    assert np.array_equal(image.image_czyx[0], VOXELS - 1024)
    assert (image.modality, image.intensity, image.item_shape_zyx) == ("CT", "measured", (5, 4, 6))


@given(st.permutations(range(5)))
@settings(deadline=None, max_examples=20)
def test_files_in_any_order_are_the_same_volume(order):
    slices = ct_series(VOXELS)
    (image,) = read(*[slices[n] for n in order])
    assert np.array_equal(image.image_czyx[0], VOXELS - 1024)


@pytest.mark.parametrize("step", [(0, 0, 2.5), (0, 0, -2.5), (0, 0.6, 2.5)], ids=["up", "down", "tilted"])
def test_a_voxel_is_where_the_header_says_in_ras(step):
    (image,) = read(*ct_series(VOXELS, step=step))
    for n, j, i in ((0, 0, 0), (4, 3, 5), (2, 1, 4)):
        lps = np.array([-20.0, -30.0, 40.0]) + n * np.array(step) + (i * 0.75, j * 0.5, 0)
        k = n if step[2] > 0 else 4 - n
        assert image.image_czyx[0, k, j, i] == VOXELS[n, j, i] - 1024
        assert np.allclose(image.grid.index_to_world((k, j, i)), lps * (-1, -1, 1), atol=1e-6)
    assert ("gantry_tilt" in image.flags) == (step[1] != 0)


@pytest.mark.parametrize(
    "orientation", [(1, 0, 0, 0, 1, 0), (0, 1, 0, 0, 0, -1), (0.8, 0.6, 0, 0, 0, -1)], ids=["ax", "sag", "oblique"]
)
def test_simpleitk_finds_the_same_values_at_the_same_places(tmp_path, orientation):
    normal = np.cross(orientation[:3], orientation[3:])
    slices = ct_series(VOXELS, step=2.5 * normal, orientation=orientation)
    for n, dataset in enumerate(slices):
        (tmp_path / f"{(n * 3) % 5}.dcm").write_bytes(as_bytes(dataset))
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path)))
    reference = reader.Execute()
    (image,) = read(*slices)
    assert np.array_equal(SimpleITK.GetArrayFromImage(reference), image.image_czyx[0])
    for z, y, x in ((0, 0, 0), (4, 3, 5), (1, 2, 3)):
        lps = np.array(reference.TransformIndexToPhysicalPoint((x, y, z)))
        assert np.allclose(image.grid.index_to_world((z, y, x)), lps * (-1, -1, 1), atol=1e-5)


COMPRESSED = """CT_small MR_small_bigendian MR_small_implicit 693_J2KI MR_small_RLE MR_small_jpeg_ls_lossless JPEG-LL
JPGExtended JPEG2000 MR2_J2KR image_dfl US1_J2KR SC_rgb_jpeg_dcmtk SC_ybr_full_422_uncompressed bad_sequence"""


@pytest.mark.parametrize("name", COMPRESSED.split())
def test_every_compression_gives_what_simpleitk_gives(name):
    image = read_bundled(f"{name}.dcm")
    reference = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(get_testdata_file(f"{name}.dcm", download=False)))
    ours = image.image_czyx.transpose(1, 2, 3, 0).reshape(reference.shape)
    # SimpleITK rescales in float64, and what is stored is float32.
    assert np.array_equal(ours, reference.astype(ours.dtype))


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("SC_rgb_rle_16bit.dcm", "SC_rgb_16bit.dcm"),
        ("SC_rgb_rle_32bit_2frame.dcm", "SC_rgb_32bit_2frame.dcm"),
        ("OBXXXX1A_rle_2frame.dcm", "OBXXXX1A_2frame.dcm"),
        ("OBXXXX1A_expb.dcm", "OBXXXX1A.dcm"),
        ("MR_small_jp2klossless.dcm", "MR_small.dcm"),
        ("RG3_J2KR.dcm", "RG3_UNCR.dcm"),
        ("emri_small_jpeg_ls_lossless.dcm", "emri_small_big_endian.dcm"),
    ],
)
def test_a_lossless_copy_is_the_same_image(name, plain):
    assert read_bundled(name).image_digest() == read_bundled(plain).image_digest()


def test_unknown_compression_is_named_in_the_refusal():
    payload = bundled("JPEG2000-embedded-sequence-delimiter.dcm")
    with pytest.raises(DataError, match="of the compressed pixels is"):
        read_dicom([payload])


def test_twelve_bits_stay_sixteen_wide_and_signed_values_stay_signed():
    assert read_bundled("MR_small.dcm").image_czyx.dtype == np.int16
    (image,) = read(picture(np.full((3, 4), 4095, np.uint16), BitsStored=12, HighBit=11))
    assert image.image_czyx.dtype == np.uint16
    assert image.image_czyx.max() == 4095


@given(st.integers(1, 16), st.integers(0, 2**16 - 1))
@settings(deadline=None, max_examples=30)
def test_monochrome1_is_turned_within_its_bits(bits, value):
    value %= 2**bits
    changes = {"PhotometricInterpretation": "MONOCHROME1", "BitsStored": bits, "HighBit": bits - 1}
    (image,) = read(picture(np.array([[0, value, 2**bits - 1]], np.uint16), **changes))
    assert image.image_czyx.ravel().tolist() == [2**bits - 1, 2**bits - 1 - value, 0]


def test_hounsfield_units_are_not_turned_with_the_display():
    (image,) = read(*ct_series(VOXELS, PhotometricInterpretation="MONOCHROME1"))
    assert np.array_equal(image.image_czyx[0], VOXELS - 1024)


def test_slices_with_slopes_of_their_own_become_one_scale():
    slices = ct_series(VOXELS)
    for n, dataset in enumerate(slices):
        dataset.RescaleSlope, dataset.RescaleIntercept = 0.5 + n, 10
    (image,) = read(*slices)
    expected = VOXELS * (0.5 + np.arange(5))[:, None, None] + 10
    assert image.image_czyx.dtype == np.float32
    assert np.allclose(image.image_czyx[0], expected)


def test_values_that_need_more_bits_after_rescaling_get_them():
    (image,) = read(*ct_series(VOXELS.astype(np.uint16) + 60_000, RescaleSlope=1, RescaleIntercept=-1))
    assert np.array_equal(image.image_czyx[0], VOXELS.astype(np.int64) + 59_999)


def test_a_slope_of_zero_is_refused():
    with pytest.raises(DataError, match="RescaleSlope is 0"):
        read(*ct_series(VOXELS, RescaleSlope=0))


def test_colour_is_three_channels_and_a_film_is_a_stack_of_frames():
    frames = RNG.integers(0, 255, (7, 4, 6, 3)).astype(np.uint8)
    (image,) = read(film(frames))
    assert image.image_czyx.shape == (3, 7, 4, 6)
    assert np.array_equal(image.image_czyx.transpose(1, 2, 3, 0), frames)
    assert image.item_shape_zyx == (1, 4, 6)
    assert (image.modality, image.intensity) == ("US", "photograph")
    assert {"position_unknown", "spacing_unknown"} <= set(image.flags)


def test_an_ultrasound_region_in_centimetres_gives_the_spacing():
    region = Dataset()
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX, region.PhysicalDeltaY = 0.02, 0.03
    (image,) = read(film(np.zeros((2, 4, 6), np.uint8) + 1, SequenceOfUltrasoundRegions=[region]))
    assert image.grid.spacing_mm_zyx == pytest.approx((1.0, 0.3, 0.2))
    assert "spacing_unknown" not in image.flags


def test_an_xray_has_the_spacing_of_its_detector():
    (image,) = read(picture(VOXELS[0].astype(np.uint16), ImagerPixelSpacing=[0.1, 0.2]))
    assert image.grid.spacing_mm_zyx == pytest.approx((1.0, 0.1, 0.2))
    assert image.intensity == "measured"


def test_frames_of_an_enhanced_object_are_sorted_by_place_and_scaled_one_by_one():
    frames = VOXELS.astype(np.uint16)
    order = [3, 0, 4, 1, 2]
    places = [{"position": (0, 0, 4.0 * n), "slope": 1 + n} for n in order]
    (image,) = read(enhanced_mr(frames[order], places))
    assert np.array_equal(image.image_czyx[0], frames * np.arange(1, 6)[:, None, None])
    assert image.grid.spacing_mm_zyx == pytest.approx((4.0, 0.5, 0.75))
    assert image.modality == "MR"


def test_echoes_of_an_enhanced_object_are_volumes_each():
    places = [{"position": (0, 0, 4.0 * (n // 2)), "echo": 10.0 + n % 2} for n in range(4)]
    first, second = read(enhanced_mr(VOXELS[:4].astype(np.uint16), places))
    assert np.array_equal(first.image_czyx[0], VOXELS[[0, 2]])
    assert np.array_equal(second.image_czyx[0], VOXELS[[1, 3]])


def test_a_missing_frame_of_an_enhanced_object_is_noticed():
    with pytest.raises(DataError, match="1 slice is missing between slice 2"):
        read(enhanced_mr(VOXELS[:4], [{"position": (0, 0, 4.0 * n)} for n in (0, 1, 3, 4)]))


@pytest.mark.parametrize(
    ("lost", "reason"), [(2, "1 slice is missing between slice 2 .* and slice 3"), (None, "is there 2 times")]
)
def test_a_series_that_is_not_whole_is_refused(lost, reason):
    slices = ct_series(VOXELS)
    slices = [*slices, slices[2]] if lost is None else slices[:lost] + slices[lost + 1 :]
    with pytest.raises(DataError, match=reason):
        read(*slices)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"PatientID": "OTHER^CANARY"}, "of 2 patients"),
        ({"SeriesInstanceUID": "1.2.3"}, "of 2 series"),
        ({"FrameOfReferenceUID": "1.2.3"}, "of 2 frames of reference"),
        ({"ImagePositionPatient": None}, "1 of 5 slices have no position"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}, "2 orientations"),
        ({"Modality": "MR"}, "of 2 kinds of pixels"),
    ],
)
def test_one_slice_of_something_else_spoils_the_series_and_is_not_quoted(change, reason):
    slices = ct_series(VOXELS)
    slices[3] = ct_slice(VOXELS[3], slices[3].ImagePositionPatient, number=4, **change)
    with pytest.raises(DataError, match=reason) as refusal:
        read(*slices)
    assert "CANARY" not in str(refusal.value)


def test_the_patient_is_the_number_and_not_the_name():
    (image,) = read(*ct_series(VOXELS, IssuerOfPatientID="CLINIC"))
    assert image.patient == "CLINIC\nP-17"
    assert "P-17" not in repr(image)


def test_without_a_number_the_images_of_a_study_stay_together():
    one, two = (ct_series(VOXELS, series=s, PatientID="")[0] for s in ("a", "b"))
    assert identity_of(one) == identity_of(two)
    assert identity_of(one) is not None
    assert identity_of(Dataset()) is None


def test_one_number_of_two_issuers_is_two_patients():
    entity = Dataset()
    entity.UniversalEntityID = "1.2.3"
    issuers = [
        {},
        {"IssuerOfPatientID": "A"},
        {"IssuerOfPatientID": "B"},
        {"IssuerOfPatientIDQualifiersSequence": [entity]},
    ]
    assert len({identity_of(ct_series(VOXELS, **issuer)[0]) for issuer in issuers}) == 4


def test_an_image_knows_its_study_and_does_not_show_it():
    (image,) = read(*ct_series(VOXELS, StudyInstanceUID="1.2.77"))
    assert image.study == "1.2.77"
    assert "1.2.77" not in repr(image)
    (without,) = read(*ct_series(VOXELS, StudyInstanceUID=None))
    assert without.study is None


def test_a_modality_of_its_own_invention_is_not_kept():
    (image,) = read(picture(VOXELS[0].astype(np.uint16), modality="JOHN_DOE"))
    assert image.modality == "OT"
    assert "JOHN_DOE" not in str(image.tags)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("rtplan.dcm", "RT Plan Storage"),
        ("reportsi.dcm", "Basic Text SR Storage"),
        ("waveform_ecg.dcm", "12-lead ECG"),
        ("rtdose.dcm", "RT Dose Storage"),
        ("liver_1frame.dcm", "labels of an image that is not here"),
        ("test-SR.dcm", "not an image"),
    ],
)
def test_what_is_no_image_is_refused_saying_what_it_is(name, kind):
    with pytest.raises(DataError, match=kind):
        read_dicom([bundled(name)])


def test_a_file_cut_short_is_refused_wherever_it_is_cut():
    plain = as_bytes(ct_slice(VOXELS[0], (0, 0, 0)))
    compressed = bundled("MR_small_jpeg_ls_lossless.dcm")
    # Behind the end of the image stand a pad byte and the mark that ends the element.
    for payload, end in ((plain, len(plain)), (compressed, compressed.rindex(b"\xff\xd9") + 2)):
        for kept in (*range(0, end, 97), end - 2, end - 1):
            with pytest.raises(DataError):
                read_dicom([payload[:kept]])
    with pytest.raises(DataError, match=r"cut short: 8,130 bytes of pixels of 8,192"):
        read_dicom([bundled("MR_truncated.dcm")])


def test_a_damaged_file_of_a_series_is_told_by_its_place_in_it():
    payloads = [as_bytes(one) for one in ct_series(VOXELS)]
    payloads[2] = payloads[2][:-40]
    with pytest.raises(DataError, match=rf"File 3 of {len(payloads)} of the series: The file is cut short"):
        read_dicom(payloads)
    payloads[2] = b"no DICOM at all" * 100
    with pytest.raises(DataError, match=rf"File 3 of {len(payloads)} of the series: Not a DICOM file"):
        read_dicom(payloads)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"Rows": 60_000, "Columns": 60_000, "NumberOfFrames": 1000}, "GiB"),
        ({"NumberOfFrames": -3}, "at least one voxel"),
        ({"Rows": 0}, "no rows and columns"),
        ({"Rows": 5}, "cut short"),
        ({"BitsAllocated": 12}, "not known to DICOM"),
        ({"SamplesPerPixel": 200}, "not known to DICOM"),
        ({"PixelData": None}, "holds no pixels"),
    ],
)
def test_a_header_that_lies_is_refused_before_anything_is_allocated(changes, reason):
    with pytest.raises(DataError, match=reason):
        read(picture(VOXELS[0].astype(np.uint16), **changes))


def test_the_cap_counts_the_whole_series():
    needed = VOXELS.nbytes
    assert len(read(*ct_series(VOXELS), max_bytes=needed)) == 1
    with pytest.raises(DataError, match="bytes that are read"):
        read(*ct_series(VOXELS), max_bytes=needed - 1)


def test_a_compressed_image_larger_than_its_header_says_is_refused():
    payload = bundled("JPEG-LL.dcm")
    assert payload.count((1024).to_bytes(2, "little")) >= 1
    (image,) = read_dicom([payload])
    smaller = payload.replace(b"\x28\x00\x10\x00US\x02\x00\x00\x04", b"\x28\x00\x10\x00US\x02\x00\x00\x02")
    assert smaller != payload
    with pytest.raises(DataError, match=r"is \(1024, 256\) \(Y, X\); the header says \(512, 256\)"):
        read_dicom([smaller])
    assert image.grid.shape_zyx == (1, 1024, 256)


def test_a_deflated_file_is_unpacked_within_the_cap():
    payload = bundled("image_dfl.dcm")
    assert next(read_dicom([payload], max_bytes=300_000)).grid.shape_zyx == (1, 512, 512)
    with pytest.raises(DataError, match="deflated file holds more"):
        read_dicom([payload], max_bytes=200_000)
    with pytest.raises(DataError, match="cut short"):
        read_dicom([payload[:-500]])


@given(st.data())
@settings(deadline=None, max_examples=150)
def test_damage_is_refused_or_read_and_never_crashes(data):
    name = data.draw(st.sampled_from(["MR_small_jp2klossless.dcm", "SC_rgb_jpeg_dcmtk.dcm", "JPEG-LL.dcm"]))
    payload = bytearray(bundled(name))
    reach = data.draw(st.sampled_from([2048, len(payload)]))
    for place in data.draw(st.lists(st.integers(0, reach - 1), min_size=1, max_size=6)):
        payload[place] = data.draw(st.integers(0, 255))
    with contextlib.suppress(DataError):
        assert list(read_dicom([bytes(payload)]))


def test_what_pydicom_complains_of_is_not_repeated():
    program = (
        "import logging, sys; logging.basicConfig(level=0)\n"
        "from hilum.adapters.dicom import read_dicom\n"
        "list(read_dicom([sys.stdin.buffer.read()]))\n"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        payload = as_bytes(ct_slice(VOXELS[0], (0, 0, 0), PatientBirthDate="CANARY", StudyInstanceUID="CANARY.1"))
    done = subprocess.run([sys.executable, "-c", program], input=payload, capture_output=True, check=True)
    assert b"CANARY" not in done.stdout + done.stderr


@pytest.mark.parametrize("big_endian", [False, True])
def test_dicom_is_known_by_its_first_bytes_with_and_without_a_preamble(big_endian):
    payload = as_bytes(ct_slice(VOXELS[0], (0, 0, 0)), big_endian=big_endian)
    assert is_dicom(payload[:132])
    assert is_dicom(payload[132:700])
    (image,) = read_dicom([payload])
    assert np.array_equal(image.image_czyx[0, 0], VOXELS[0] - 1024)


def test_a_file_without_preamble_or_syntax_is_read():
    whole = as_bytes(ct_slice(VOXELS[0], (0, 0, 0)))
    start = whole.index(b"\x08\x00\x16\x00UI")
    (image,) = read_dicom([whole[start:]])
    assert np.array_equal(image.image_czyx[0, 0], VOXELS[0] - 1024)


@given(st.binary(max_size=400))
def test_other_bytes_are_hardly_ever_taken_for_dicom(payload):
    assert not is_dicom(payload) or payload[128:132] == b"DICM"


@pytest.mark.parametrize("payload", [b"", b"\x89PNG\r\n\x1a\n" + bytes(200), b"\x5c\x01\0\0" + bytes(344), b"a,b\n1,2"])
def test_other_formats_are_not_dicom(payload):
    assert not is_dicom(payload)
    with pytest.raises(DataError, match="Not a DICOM file"):
        read_dicom([payload])


@given(st.sampled_from(["i2", "u2", "i4", "u4", "u1"]), st.integers(-70_000, 70_000), st.integers(-(2**31), 2**31))
@settings(deadline=None, max_examples=100)
def test_whole_numbers_stay_exact_whatever_the_slope(kind, slope, intercept):
    info = np.iinfo(kind)
    stored = np.array([[info.min, 0, 1, info.max]], kind)
    scaled = rescaled(stored[np.newaxis, ..., np.newaxis], [(float(slope or 1), float(intercept))], Dataset())[0]
    exact = [int(v) * (slope or 1) + intercept for v in stored[0]]
    if scaled.dtype.kind == "f":
        assert np.allclose(scaled.ravel(), exact, rtol=1e-6)
    else:
        assert scaled.ravel().tolist() == exact


KINDS = ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "f4", "f8"]


@given(st.lists(st.sampled_from(KINDS), min_size=1, max_size=5), st.integers(0, 2**32 - 1), st.sampled_from([1, 3]))
@settings(deadline=None)
def test_frames_of_any_types_lie_in_one_that_holds_them_all(kinds, seed, samples):
    rng = np.random.default_rng(seed)
    frames = [rng.integers(0 if kind[0] == "u" else -100, 101, (2, 3, samples)).astype(kind) for kind in kinds]
    image = stacked(iter(frames), len(frames))
    assert image.shape == (samples, len(frames), 2, 3)
    assert np.array_equal(image, np.stack(frames).transpose(3, 0, 1, 2))
    if len(set(kinds)) == 1 and kinds[0] not in ("i8", "f8"):
        assert image.dtype == kinds[0]
    assert image.dtype.itemsize <= 4


def test_a_series_is_held_in_memory_hardly_more_than_twice():
    """As its files' pixels until they are decoded, and as the volume; not as files, stored and rescaled values, too."""
    voxels = np.zeros((40, 256, 256), np.int16)
    files = [as_bytes(one) for one in ct_series(voxels)]
    tracemalloc.start()
    (image,) = read_dicom(bytes(bytearray(file)) for file in files)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2.5 * image.image_czyx.nbytes
