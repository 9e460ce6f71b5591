"""A whole slide in DICOM is one picture, every tile in its place, and what shows its label is refused."""

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import VLWholeSlideMicroscopyImageStorage

from hilum.adapters.dicom import read_dicom
from hilum.core.errors import DataError
from hilum.testing.dicom_phantoms import as_bytes, changed, film

SHAPE_YX = (70, 100)
TILE = 32
ACROSS, DOWN = 4, 3


def picture_YXS():
    return np.random.default_rng(3).integers(0, 255, (*SHAPE_YX, 3)).astype(np.uint8)


def tiles_FYXS(whole_YXS):
    """Row by row, as TILED_FULL has them; what lies beyond the slide is white."""
    padded = np.full((DOWN * TILE, ACROSS * TILE, 3), 255, np.uint8)
    padded[: SHAPE_YX[0], : SHAPE_YX[1]] = whole_YXS
    return np.stack([padded[y : y + TILE, x : x + TILE] for y, x in corners()])


def corners():
    return [(y * TILE, x * TILE) for y in range(DOWN) for x in range(ACROSS)]


def item(**values):
    return changed(Dataset(), values)


def slide(tiles, **changes):
    """A level of a slide. Its tiles say where they lie where ``places`` (Y, X) are given."""
    places = changes.pop("places", None)
    made = film(tiles, SOPClassUID=VLWholeSlideMicroscopyImageStorage, Modality="SM")
    made.TotalPixelMatrixRows, made.TotalPixelMatrixColumns = SHAPE_YX
    made.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    made.DimensionOrganizationType = "TILED_SPARSE" if places else "TILED_FULL"
    made.SharedFunctionalGroupsSequence = [item(PixelMeasuresSequence=[item(PixelSpacing=[0.002, 0.001])])]
    if places:
        made.PerFrameFunctionalGroupsSequence = [
            item(
                PlanePositionSlideSequence=[
                    item(RowPositionInTotalImagePixelMatrix=y + 1, ColumnPositionInTotalImagePixelMatrix=x + 1)
                ]
            )
            for y, x in places
        ]
    return changed(made, changes)


def read(dataset, **options):
    (image,) = read_dicom([as_bytes(dataset)], **options)
    return image


def test_the_tiles_of_a_slide_are_one_picture_with_its_spacing():
    image = read(slide(tiles_FYXS(picture_YXS())))
    assert np.array_equal(image.image_czyx[:, 0], picture_YXS().transpose(2, 0, 1))
    assert image.item_shape_zyx == image.grid.shape_zyx == (1, *SHAPE_YX)
    assert image.grid.spacing_mm_zyx[1:] == (0.002, 0.001)
    assert image.intensity == "photograph"
    assert "position_unknown" in image.flags
    assert "spacing_unknown" not in image.flags


def test_tiles_that_say_where_they_lie_are_put_there_in_any_order():
    order = np.random.default_rng(1).permutation(len(corners()))
    places = [corners()[n] for n in order]
    image = read(slide(tiles_FYXS(picture_YXS())[order], places=places))
    assert np.array_equal(image.image_czyx[:, 0], picture_YXS().transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LABEL", "NONE"]}, "label picture of a slide"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "OVERVIEW", "NONE"]}, "overview picture of a slide"),
        ({"TotalPixelMatrixFocalPlanes": 3}, "3 focal planes"),
        ({"NumberOfOpticalPaths": 2}, "2 optical paths"),
        ({"TotalPixelMatrixRows": 300_000, "TotalPixelMatrixColumns": 200_000}, "GiB"),
        ({"TotalPixelMatrixRows": 80_000, "TotalPixelMatrixColumns": 30_000}, "tiles of the slide are missing"),
        ({"TotalPixelMatrixRows": 170}, "12 of the 24 tiles of the slide are missing"),
        ({"TotalPixelMatrixRows": 40}, "begins at row 64, column 0"),
        ({"TotalPixelMatrixRows": 0}, "at least one voxel"),
        ({"DimensionOrganizationType": "TILED_SPARSE"}, "do not say where they lie"),
    ],
)
def test_a_slide_that_is_not_one_whole_picture_is_refused(changes, reason):
    with pytest.raises(DataError, match=reason):
        read(slide(tiles_FYXS(picture_YXS()), **changes))


@pytest.mark.parametrize(
    ("places", "reason"),
    [
        ([*corners()[:-1], corners()[0]], "Two tiles"),
        ([*corners()[:-1], (5, 7)], "begins at row 5, column 7"),
        ([*corners()[:-1], (-1, 0)], "begins at row -1"),
        (corners()[:-1], "12 tiles and describes 11"),
    ],
)
def test_a_tile_that_lies_nowhere_or_twice_is_refused(places, reason):
    with pytest.raises(DataError, match=reason):
        read(slide(tiles_FYXS(picture_YXS()), places=places))


def test_damage_is_refused_or_read_and_never_crashes():
    sound = as_bytes(slide(tiles_FYXS(picture_YXS()), places=corners()))
    rng = np.random.default_rng(11)
    refusals = []
    for _ in range(400):
        payload = bytearray(sound)
        place = int(rng.integers(132, sound.rindex(b"OB")))
        payload[place : place + int(rng.integers(1, 5))] = rng.bytes(2)
        try:
            for image in read_dicom([bytes(payload)], max_bytes=1 << 20):
                assert image.image_czyx.nbytes <= 1 << 20
        except DataError as error:
            refusals.append(str(error))
    assert len(refusals) > 40
    assert all(reason.endswith(".") for reason in refusals)


def test_highdicom_puts_the_same_slide_together_alike(tmp_path):
    made = slide(tiles_FYXS(picture_YXS()), OpticalPathSequence=[item(OpticalPathIdentifier="1")])
    made.TotalPixelMatrixOriginSequence = [item(XOffsetInSlideCoordinateSystem=0, YOffsetInSlideCoordinateSystem=0)]
    made.ImageOrientationSlide = [0, 1, 0, 1, 0, 0]
    theirs = hd.Image.from_dataset(pydicom.dcmread(_saved(made, tmp_path))).get_total_pixel_matrix()
    assert np.array_equal(read(made).image_czyx[:, 0], theirs.transpose(2, 0, 1))


def _saved(dataset, folder):
    (folder / "slide.dcm").write_bytes(as_bytes(dataset))
    return folder / "slide.dcm"
