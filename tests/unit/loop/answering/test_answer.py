"""An answer lies where its image lies, whatever was done to the image before the network saw it."""

import numpy as np
import pytest
import torch

from hilum.core.errors import DataError
from hilum.core.geometry import Grid
from hilum.core.imaging import Volume
from hilum.core.recipes import BodyCropRecipe, Choice, PoolRecipe, PrepareRecipe, WindowRecipe
from hilum.core.sources import ReadImage
from hilum.loop.answering.answer import Question
from hilum.loop.answering.versions import Version
from hilum.nn.engine import Engine
from hilum.nn.heads import Network
from hilum.nn.predictor import SINGLE, Predictor

TURN = np.deg2rad(20)
# X runs to the patient's left and a little up, Y to the back, Z to the head: oblique, and unlike along every axis.
DIRECTION = (
    (np.sin(TURN), 0.0, -np.cos(TURN)),
    (0.0, -1.0, 0.0),
    (np.cos(TURN), 0.0, np.sin(TURN)),
)
GRID = Grid((14, 20, 26), (3.0, 0.9, 1.1), (40.0, -12.0, 7.0), tuple(map(tuple, DIRECTION)))
WINDOW = WindowRecipe(low=0.0, high=1000.0)


class Bright(Network):
    """Sees one voxel at a time: class 1 where it is above the middle of the window, 2 where it is nearly white."""

    def __init__(self):
        super().__init__(torch.nn.Identity())

    def forward_heads(self, images_NCS):
        grey = images_NCS[:, :1]
        return [torch.cat([(0.5 - grey) * 80, (grey - 0.5) * 80, (grey - 0.75) * 240], dim=1)]

    def embed(self, images_NCS):
        return images_NCS.flatten(2).mean(dim=2)


class Classed(Bright):
    def forward_heads(self, images_NCS):
        return [super().forward_heads(images_NCS)[0].flatten(2).mean(dim=2)]


def predictor(question, spatial_dims=3, in_channels=1):
    card = {
        "question": question,
        "spatial_dims": spatial_dims,
        "in_channels": in_channels,
        "num_classes": 3,
        "class_names": ["background", "organ", "lesion"],
    }
    return Predictor(Bright() if question == "segment" else Classed(), card)


def version(network, prepare=PrepareRecipe(window=WINDOW), pool=PoolRecipe(patch_shape_zyx=(8, 8, 8))):  # noqa: B008
    return Version("liver", "0a1b2c3d4e5f", network.card, prepare, pool, 0.5, SINGLE)


def scan(grid=GRID):
    """Background 0, an organ of 600 that touches no border, and inside it, off its middle, a lesion of 950."""
    image = np.zeros(grid.shape_zyx, np.int16)
    image[3:11, 4:15, 5:21] = 600
    image[5:9, 6:13, 8:17] = 950
    return ReadImage(image[None], grid, grid.shape_zyx)


def truth(image_czyx):
    return (image_czyx[0] > 500).astype(np.uint16) + (image_czyx[0] > 800)


def answered(image, network, asked, **more):
    with Engine() as engine:
        question = Question(image, asked, network, max_bytes=1 << 30, **more)
        question.submit(engine)
        return question.answer()


@pytest.mark.parametrize(
    "prepare",
    [
        PrepareRecipe(window=WINDOW),
        PrepareRecipe(window=WINDOW, orientation="RAS"),
        PrepareRecipe(window=WINDOW, orientation="PIL"),
        PrepareRecipe(window=WINDOW, crop_to_body=BodyCropRecipe(margin_mm=2, above=300)),
        PrepareRecipe(window=WINDOW, orientation="ASR", crop_to_body=BodyCropRecipe(margin_mm=0, above=300)),
    ],
)
def test_what_is_turned_and_cropped_comes_back_voxel_for_voxel(prepare):
    network = predictor("segment")
    found = answered(scan(), network, version(network, prepare))
    np.testing.assert_array_equal(found.label_map_zyx, truth(scan().image_czyx))


def test_what_is_resampled_comes_back_where_it_was():
    network = predictor("segment")
    prepare = PrepareRecipe(window=WINDOW, orientation="LPS", spacing_mm_zyx=(0.55, 0.3, 0.5))
    found = answered(scan(), network, version(network, prepare))
    expected = truth(scan().image_czyx)
    for class_id in (1, 2):
        # From 0 to 950 a shell of what is between is passed: whatever is at least so bright is compared.
        ours, theirs = found.label_map_zyx >= class_id, expected >= class_id
        assert 2 * (ours & theirs).sum() / (ours.sum() + theirs.sum()) > 0.95
        apart_zyx = np.argwhere(ours).mean(axis=0) - np.argwhere(theirs).mean(axis=0)
        assert np.abs(apart_zyx).max() < 0.25  # voxels


def test_shares_uncertainty_and_embedding_are_of_the_whole_image():
    network = predictor("segment")
    small = PoolRecipe(patch_shape_zyx=(3, 4, 5))
    found = answered(scan(), network, version(network, pool=small), maps=True)
    expected = truth(scan().image_czyx)
    np.testing.assert_allclose(found.probs_C, [(expected == c).mean() for c in range(3)], rtol=1e-6)
    assert 0 <= found.uncertainty < 0.01
    assert found.uncertainty_zyx.shape == GRID.shape_zyx
    assert (found.is_calibrated, found.is_unlike) == (False, None)
    assert found.disagreement is None
    assert found.num_blank > 0


def test_members_disagree_by_a_number():
    network = predictor("segment")
    found = answered(scan(), network, version(network), members=Choice(kind="mirrors", num_members=2))
    assert found.disagreement == pytest.approx(0, abs=1e-6)


def test_a_classifier_answers_every_patch_of_the_pool():
    network = predictor("classify")
    found = answered(scan(), network, version(network, pool=PoolRecipe(patch_shape_zyx=(8, 20, 26))))
    assert found.label_map_zyx is None
    assert found.probs_WC.shape == (2, 3)  # from the first slice, and flush with the last
    np.testing.assert_allclose(found.probs_WC.sum(axis=1), 1, rtol=1e-5)


def test_a_stack_is_answered_item_by_item():
    network = predictor("segment", spatial_dims=2)
    frames = np.zeros((1, 3, 8, 8), np.uint16)
    frames[0, 1, 2:4, 2:6] = 900
    image = ReadImage(frames, Grid((3, 8, 8)), (1, 8, 8))
    found = answered(image, network, version(network, pool=PoolRecipe()))
    np.testing.assert_array_equal(found.label_map_zyx, truth(frames))


def test_an_image_of_other_channels_is_refused_before_any_work():
    network = predictor("segment", in_channels=3)
    with pytest.raises(DataError, match="3 channel"):
        Question(scan(), version(network), network, max_bytes=1 << 30)


def test_a_volume_is_nobodys():
    network = predictor("segment")
    asked = Question(scan(), version(network), network, max_bytes=1 << 30)
    assert not [value for value in vars(asked).values() if isinstance(value, Volume)]
