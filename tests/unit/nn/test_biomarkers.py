"""Biomarkers: phantoms whose measures are known on paper, in any orientation, at any spacing."""

import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from hilum.core.errors import DataError
from hilum.core.geometry import Grid
from hilum.nn.biomarkers import biomarkers, longest_chord

ISOTROPIC, THICK = (1.0, 1.0, 1.0), (3.0, 0.8, 0.8)
OBLIQUE = tuple(map(tuple, Rotation.from_euler("xyz", [12, -9, 20], degrees=True).as_matrix() @ np.eye(3)[::-1]))


def ellipsoid(semi_axes_mm_xyz, spacing=ISOTROPIC, turn=None, shift=0.13):
    """A mask of the solid with these half axes along the array's x, y and z, turned, and its grid."""
    reach = max(semi_axes_mm_xyz)
    shape = tuple(int(2 * reach / s) + 7 for s in spacing)
    middle = (np.array(shape) - 1) / 2 + shift
    zyx = (np.indices(shape).reshape(3, -1).T - middle) * spacing
    xyz = zyx[:, ::-1] @ (np.eye(3) if turn is None else turn.as_matrix())
    inside = ((xyz / semi_axes_mm_xyz) ** 2).sum(axis=1) <= 1
    return inside.reshape(shape).astype(np.uint16), Grid(shape, spacing)


def only(mask, grid, image=None):
    (found,) = biomarkers(mask, grid, image)
    return found


# Radius in mm, spacing, and the error that volume, surface and axial diameter may have, as the guide says.
SPHERES = [
    (5, ISOTROPIC, 0.03, 0.02, 0.07),
    (10, ISOTROPIC, 0.01, 0.01, 0.035),
    (20, ISOTROPIC, 0.005, 0.005, 0.02),
    (40, ISOTROPIC, 0.002, 0.002, 0.012),
    (10, THICK, 0.01, 0.01, 0.035),
    (20, THICK, 0.005, 0.005, 0.02),
    (40, THICK, 0.002, 0.002, 0.012),
]


@pytest.mark.parametrize(("radius", "spacing", "of_volume", "of_surface", "of_diameter"), SPHERES)
def test_a_ball_has_the_measures_of_a_ball(radius, spacing, of_volume, of_surface, of_diameter):
    found = only(*ellipsoid((radius,) * 3, spacing))
    assert found.volume_ml * 1000 == pytest.approx(4 / 3 * math.pi * radius**3, rel=of_volume)
    assert found.surface_mm2 == pytest.approx(4 * math.pi * radius**2, rel=of_surface)
    assert found.longest_axial_mm == pytest.approx(2 * radius, rel=of_diameter)
    assert found.short_axis_mm == pytest.approx(2 * radius, rel=of_diameter)
    # Beyond the middles of the first and last slice nobody knows: the ball may be a slice too long.
    assert 2 * radius - 1 <= found.longest_3d_mm <= 2 * radius + spacing[0]


@pytest.mark.parametrize("degrees", [0, 17, 30, 45])
def test_a_turned_ellipse_has_its_axes_as_diameters(degrees):
    found = only(*ellipsoid((20, 9, 12), turn=Rotation.from_euler("z", degrees, degrees=True)))
    assert found.longest_axial_mm == pytest.approx(40, abs=1)
    assert found.short_axis_mm == pytest.approx(18, abs=1.5)
    assert found.volume_ml * 1000 == pytest.approx(4 / 3 * math.pi * 20 * 9 * 12, rel=0.01)


def test_a_rod_that_leans_is_longest_in_three_dimensions():
    found = only(*ellipsoid((25, 4, 4), turn=Rotation.from_euler("y", 60, degrees=True)))
    assert found.longest_3d_mm == pytest.approx(50, abs=1.5)
    # Through its middle the plane cuts 2 / √(sin²60°/4² + cos²60°/25²).
    assert found.longest_axial_mm == pytest.approx(
        2 / math.hypot(math.sin(math.pi / 3) / 4, math.cos(math.pi / 3) / 25), abs=1
    )


@pytest.mark.parametrize("sides", [(8, 5, 3), (1, 1, 1), (4, 1, 1)])
def test_a_box_is_as_long_as_its_rows(sides):
    mask = np.zeros((12, 12, 12), np.uint16)
    mask[2 : 2 + sides[2], 3 : 3 + sides[1], 4 : 4 + sides[0]] = 7
    found = only(mask, Grid(mask.shape, (2.0, 1.5, 0.5)))
    x, y, _ = (n * s for n, s in zip(sides, (0.5, 1.5, 2.0), strict=True))
    assert found.label == 7
    assert found.volume_ml == pytest.approx(math.prod(sides) * 1.5 / 1000)
    assert max(x, y) <= found.longest_axial_mm <= math.hypot(x, y)
    assert (found.box_start_zyx, found.box_shape_zyx) == ((2, 3, 4), sides[::-1])


def test_no_way_a_patient_lies_changes_a_length():
    mask, straight = ellipsoid((14, 9, 6), THICK, turn=Rotation.from_euler("xyz", [10, 20, 30], degrees=True))
    turned = Grid(mask.shape, THICK, (40.0, -7.0, 300.0), OBLIQUE)
    one, other = only(mask, straight), only(mask, turned)
    for name in ("volume_ml", "surface_mm2", "longest_axial_mm", "short_axis_mm", "longest_3d_mm"):
        assert getattr(other, name) == pytest.approx(getattr(one, name)), name
    middle = np.argwhere(mask).mean(axis=0)
    assert other.centre_mm_xyz == pytest.approx(tuple(turned.index_to_world(middle)))


@pytest.mark.parametrize("across", [0, 1, 2])
def test_axial_is_across_the_patient_s_axis_wherever_it_lies_in_the_array(across):
    """A rod from head to foot is short in axial planes."""
    mask = np.zeros((30, 30, 30), np.uint16)
    mask[tuple(slice(3, 27) if axis == across else slice(10, 14) for axis in range(3))] = 1
    columns = [np.eye(3)[2 if axis == across else (0, 1)[sum(a != across for a in range(axis))]] for axis in range(3)]
    grid = Grid(mask.shape, ISOTROPIC, direction=tuple(map(tuple, np.array(columns).T)))
    found = only(mask, grid)
    assert found.longest_axial_mm <= 4 * math.sqrt(2)
    assert found.longest_3d_mm >= 24


def test_what_lies_between_two_lesions_is_no_diameter():
    mask = np.zeros((9, 40, 40), np.uint16)
    mask[3:6, 2:6, 2:6] = mask[3:6, 30:38, 30:38] = 1
    found = only(mask, Grid(mask.shape))
    assert found.num_parts == 2
    assert found.longest_axial_mm <= 8 * math.sqrt(2)
    assert found.longest_3d_mm <= math.hypot(8, 8, 3)


def test_grey_levels_are_those_inside():
    mask, grid = ellipsoid((6, 6, 6))
    image = np.where(mask, 40.0, -1000.0)
    image[tuple(np.argwhere(mask)[0])] = 140
    found = only(mask, grid, image)
    assert found.mean == pytest.approx(image[mask > 0].mean())
    assert found.sd == pytest.approx(image[mask > 0].std())


def test_every_label_is_measured_alone_and_unanswered_voxels_are_not():
    mask = np.zeros((6, 9, 9), np.uint16)
    mask[1:3, 1:4, 1:4], mask[3:5, 5:8, 5:8], mask[5] = 2, 9, 65_535
    assert [found.label for found in biomarkers(mask, Grid(mask.shape))] == [2, 9]


def test_an_empty_mask_has_no_labels():
    assert biomarkers(np.zeros((4, 5, 6), np.uint16), Grid((4, 5, 6))) == ()


def test_a_disc_in_an_image_has_area_and_perimeter_and_no_volume():
    yx = np.indices((50, 50)) - 24.4
    mask = ((yx**2).sum(axis=0) <= 15**2).astype(np.uint16)[None]
    found = only(mask, Grid(mask.shape, (1.0, 0.5, 0.5)))
    assert found.area_mm2 == pytest.approx(math.pi * 7.5**2, rel=0.01)
    assert found.perimeter_mm == pytest.approx(2 * math.pi * 7.5, rel=0.02)
    assert found.longest_axial_mm == pytest.approx(15, rel=0.03)
    assert found.volume_ml is found.surface_mm2 is found.longest_3d_mm is None


def test_the_same_mask_at_the_border_measures_the_same():
    inside, border = np.zeros((12, 12, 12), np.uint16), np.zeros((12, 12, 12), np.uint16)
    inside[4:8, 4:8, 4:8], border[:4, 8:, :4] = 1, 1
    one, other = (only(mask, Grid(mask.shape)) for mask in (inside, border))
    assert other.surface_mm2 == pytest.approx(one.surface_mm2)
    assert other.longest_3d_mm == pytest.approx(one.longest_3d_mm)


def test_a_chord_lies_inside_its_outline():
    rectangle = np.array([(0.0, 0.0), (4.0, 0.0), (4.0, 1.0), (0.0, 1.0)])
    diagonal = np.array([4.0, 1.0]) / math.sqrt(17)
    across = np.array([-diagonal[1], diagonal[0]])
    assert longest_chord(rectangle, np.array([1.0, 0.0])) == pytest.approx(4)
    # Not how wide it is seen along the diagonal, 8/√17, but the longest line that is in it.
    assert longest_chord(rectangle, across) == pytest.approx(math.sqrt(17) / 4)


@pytest.mark.parametrize("of", ["grid", "image"])
def test_shapes_that_differ_are_refused(of):
    mask = np.ones((3, 4, 5), np.uint16)
    grid = Grid((3, 4, 6) if of == "grid" else mask.shape)
    with pytest.raises(DataError, match=of):
        biomarkers(mask, grid, np.zeros((3, 4, 6)) if of == "image" else None)
