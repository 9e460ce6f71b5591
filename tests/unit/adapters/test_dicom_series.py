"""Slices are sorted by where they lie; a series that is not whole is refused, and the slice is named."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.adapters.dicom_planes import VOLUMES_DIFFER_IN, Plane, planes_of
from hilum.adapters.dicom_series import TOLERANCE, lay_out
from hilum.core.errors import DataError
from hilum.testing.dicom_phantoms import AXIAL, ct_slice

BLANK = np.zeros((4, 6), np.int16)
X, Y = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)


def plane(z, *, n=0, x=0.0, y=0.0, stack="", along=(X, Y), shape=(4, 6), spacing=(0.5, 0.75), tilt=0.0, **apart):
    values = tuple(str(apart.get(keyword, "")) for keyword in VOLUMES_DIFFER_IN)
    return Plane(n, 0, shape, (x, y, z), *along, spacing, 2.5, n + 1, stack, values, tilt)


def planes_at(heights, **same):
    return [plane(z, n=n, **same) for n, z in enumerate(heights)]


@given(st.integers(2, 30), st.floats(0.2, 9.0), st.floats(-300, 300), st.randoms())
@settings(deadline=None, max_examples=60)
def test_the_order_of_the_files_does_not_matter(count, step, start, random):
    planes = planes_at(start + step * np.arange(count))
    shuffled = list(planes)
    random.shuffle(shuffled)
    (stack,) = lay_out(shuffled)
    assert list(stack.planes) == planes
    assert stack.grid.spacing_mm_zyx == pytest.approx((step, 0.5, 0.75))
    assert stack.flags == ()


@given(st.integers(0, 2**32 - 1), st.integers(2, 12))
@settings(deadline=None, max_examples=60)
def test_every_slice_keeps_its_place_in_the_patient_however_it_is_turned(seed, count):
    rng = np.random.default_rng(seed)
    x, y, normal = np.linalg.qr(rng.normal(size=(3, 3)))[0].T
    normal *= np.sign(np.cross(x, y) @ normal)
    origin = rng.uniform(-100, 100, 3)
    planes = [plane(0, n=n, along=(tuple(x), tuple(y))) for n in range(count)]
    places = [origin + n * 3.0 * normal for n in range(count)]
    planes = [Plane(**{**vars(p), "position": tuple(place)}) for p, place in zip(planes, places, strict=True)]
    (stack,) = lay_out(planes[::-1])
    for k, j, i in ((0, 0, 0), (count - 1, 3, 5), (1, 2, 1)):
        lps = places[k] + i * 0.75 * x + j * 0.5 * y
        assert np.allclose(stack.grid.index_to_world((k, j, i)), lps * (-1, -1, 1), atol=1e-6)


@given(st.integers(4, 20), st.data())
@settings(deadline=None, max_examples=60)
def test_a_slice_that_is_missing_inside_is_always_noticed_and_named(count, data):
    lost = data.draw(st.integers(1, count - 2))
    planes = [p for p in planes_at(2.5 * np.arange(count)) if p.file != lost]
    wanted = rf"1 slice is missing between slice {lost} \(instance number {lost}\) and slice {lost + 1} \(instance"
    with pytest.raises(DataError, match=wanted):
        lay_out(planes)


def test_several_slices_missing_at_one_place_are_counted():
    with pytest.raises(DataError, match=r"3 slices are missing between slice 5 .* where there are 10 mm"):
        lay_out(planes_at([0, 2.5, 5, 7.5, 10, 20, 22.5]))


def test_slices_that_change_their_distance_are_not_called_missing():
    with pytest.raises(DataError, match="not equally far apart: 3.5 mm between slice 4"):
        lay_out(planes_at([0, 2.5, 5, 7.5, 11, 14.5]))


@given(st.floats(-TOLERANCE / 3, TOLERANCE / 3), st.integers(1, 8))
@settings(deadline=None, max_examples=40)
def test_rounding_in_a_header_is_no_missing_slice(shift, which):
    heights = 2.0 * np.arange(10)
    heights[which] += 2.0 * shift
    (stack,) = lay_out(planes_at(heights))
    assert stack.grid.shape_zyx == (10, 4, 6)


def test_a_small_error_that_grows_from_slice_to_slice_is_refused():
    heights = np.cumsum([0, *[2.0] * 30, *[2.06] * 30])
    with pytest.raises(DataError, match="beside the line"):
        lay_out(planes_at(heights))


def test_a_slice_shifted_sideways_is_refused():
    planes = planes_at([0, 2.5, 5, 7.5])
    planes[2] = plane(5, n=2, x=1.0)
    with pytest.raises(DataError, match=r"Slice 3 of 4 \(instance number 3\) lies .* mm beside the line"):
        lay_out(planes)


def test_a_slice_that_is_there_twice_is_named():
    planes = planes_at([0, 2.5, 5, 5, 7.5])
    with pytest.raises(DataError, match=r"Slice 3 of 4 \(instance number 3\) is there 2 times"):
        lay_out(planes)


@pytest.mark.parametrize(
    ("other", "what"),
    [
        ({"shape": (5, 6)}, "2 sizes"),
        ({"spacing": (0.5, 0.8)}, "2 pixel spacings"),
        ({"along": (X, (0.0, 0.0, -1.0))}, "2 orientations"),
    ],
)
def test_a_slice_of_another_kind_is_refused_saying_how_it_differs(other, what):
    with pytest.raises(DataError, match=f"mixes slices of {what}.*3 of .*1 of"):
        lay_out([*planes_at([0, 2.5, 5]), plane(7.5, n=3, **other)])


@given(st.floats(1.0, 30.0), st.sampled_from([-1, 1]))
@settings(deadline=None, max_examples=30)
def test_a_tilted_gantry_is_flagged_and_its_shear_is_kept(degrees, sign):
    shift = sign * 2.5 * np.tan(np.radians(degrees))
    planes = [plane(2.5 * n, n=n, y=shift * n) for n in range(6)]
    (stack,) = lay_out(planes)
    assert stack.flags == ("gantry_tilt",)
    assert np.allclose(stack.grid.index_to_world((5, 0, 0)), (0, -5 * shift, 12.5), atol=1e-6)


def test_a_tilt_that_only_the_header_speaks_of_is_flagged_too():
    (stack,) = lay_out(planes_at([0, 2.5, 5], tilt=12.0))
    assert stack.flags == ("gantry_tilt",)


@pytest.mark.parametrize("keyword", ["EchoTime", "TemporalPositionIdentifier", "DiffusionBValue", "AcquisitionNumber"])
def test_volumes_that_share_a_series_are_parted_by_what_tells_them_apart(keyword):
    planes = [plane(2.5 * n, n=2 * n + v, **{keyword: 10 + v}) for n in range(5) for v in range(2)]
    first, second = lay_out(planes)
    assert [p.file for p in first.planes] == [0, 2, 4, 6, 8]
    assert [p.file for p in second.planes] == [1, 3, 5, 7, 9]
    assert first.grid == second.grid


def test_a_number_of_its_own_for_every_slice_does_not_part_a_volume_into_slices():
    planes = [plane(2.5 * n, n=2 * n + v, AcquisitionNumber=2 * n + v) for n in range(5) for v in range(2)]
    with pytest.raises(DataError, match="is there 2 times"):
        lay_out(planes)


def test_a_volume_that_lacks_a_slice_its_sister_has_is_refused():
    planes = [plane(2.5 * n, n=2 * n + v, EchoTime=10 + v) for n in range(5) for v in range(2)]
    with pytest.raises(DataError, match="1 slice is missing between slice 2"):
        lay_out([p for p in planes if p.file != 4])
    with pytest.raises(DataError, match="2 volumes of 5, 4 slices"):
        lay_out([p for p in planes if p.file != 9])


def test_stacks_of_an_enhanced_object_are_volumes_each():
    along = (X, (0.0, 0.0, -1.0))
    planes = [*planes_at([0, 2.5, 5], stack="1"), *[plane(0, n=n, y=3.0 * n, stack="2", along=along) for n in (3, 4)]]
    first, second = lay_out(planes)
    assert first.grid.shape_zyx[0] == 3
    assert second.grid.spacing_mm_zyx[0] == pytest.approx(3.0)


def test_one_slice_is_as_thick_as_its_header_says():
    (stack,) = lay_out([plane(7.0)])
    assert stack.grid.spacing_mm_zyx == pytest.approx((2.5, 0.5, 0.75))
    assert stack.grid.origin_mm_xyz == pytest.approx((0, 0, 7.0))


def test_a_plane_is_read_from_a_classic_header():
    (found,) = planes_of(ct_slice(BLANK, (1, 2, 3), number=7, EchoTime="12.5", GantryDetectorTilt="3"), 4)
    assert (found.file, found.frame, found.shape_yx, found.position) == (4, 0, (4, 6), (1, 2, 3))
    assert (found.along_x, found.along_y, found.instance_number, found.tilt_degrees) == (X, Y, 7, 3.0)
    assert found.apart[VOLUMES_DIFFER_IN.index("EchoTime")] == "12.5"


def test_what_sets_volumes_apart_is_not_shown():
    (found,) = planes_of(ct_slice(BLANK, (1, 2, 3), ImageType=["ORIGINAL", "CANARY"]), 0)
    assert "CANARY" not in repr(found)


@pytest.mark.parametrize("keyword", ["ImagePositionPatient", "ImageOrientationPatient"])
def test_a_slice_without_a_place_has_no_plane(keyword):
    assert planes_of(ct_slice(BLANK, (1, 2, 3), **{keyword: None}), 0) == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"ImagePositionPatient": [1, 2]}, "must be 3 finite numbers"),
        ({"PixelSpacing": [0, 0]}, "PixelSpacing above zero"),
        ({"PixelSpacing": None}, "PixelSpacing above zero"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "at right angles"),
        ({"ImageOrientationPatient": [2, 0, 0, 0, 2, 0]}, "unit vectors"),
        ({"ImageOrientationPatient": [0] * 6}, "unit vectors"),
        ({"ImageOrientationPatient": list(AXIAL[:5])}, "must be 6 finite numbers"),
    ],
)
def test_geometry_that_cannot_be_meant_is_refused(changes, reason):
    with pytest.raises(DataError, match=reason):
        planes_of(ct_slice(BLANK, (1, 2, 3), **changes), 0)
