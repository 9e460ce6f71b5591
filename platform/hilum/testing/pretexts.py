"""What every pretext and every deformation must keep.

Subclass `PretextTests` and give it a ``pretext`` fixture: a function that makes one, as a recipe's choice does.
One that counts its crops (``num_crops``) is given crops by their numbers, and its puzzles end with them.
Subclass `DeformationTests` and give it a ``deform`` fixture: ``(crop_CZYX, rng)`` to a crop.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import pytest
import torch

from hilum.core.recipes import Choice
from hilum.nn.heads import Network
from hilum.nn.pretext.pretext import Floats, Pretext, Puzzle, as_batch

MakePretext = Callable[[], Pretext]
Deform = Callable[[Floats, np.random.Generator], Floats]
Shape = tuple[int, int, int, int]

SHAPES_CZYX: tuple[Shape, ...] = ((1, 16, 24, 24), (3, 16, 24, 24), (1, 1, 24, 24), (3, 1, 24, 24))
_NUM = 8
_SMALL = Choice(kind="unet", depth=2, features=(4, 4, 8))

every_shape = pytest.mark.parametrize("shape_czyx", SHAPES_CZYX, ids=lambda shape: "x".join(map(str, shape)))


def crop_of(shape_czyx: Shape, *, seed: int = 0) -> Floats:
    """Smooth structure with some grain, from 0 to 1, no two voxels quite alike."""
    rng = np.random.default_rng(seed)
    places = np.meshgrid(*(np.linspace(0, 3 * np.pi, size) for size in shape_czyx[1:]), indexing="ij")
    waves = sum(np.sin(place + rng.uniform(0, 6)) for place in places) + rng.uniform(-0.5, 0.5, shape_czyx)
    low, high = waves.min(), waves.max()
    crop: Floats = ((waves - low) / (high - low)).astype(np.float32)
    return crop


class PretextTests:
    """The conformance suite of pretexts: crops in, puzzles out that a network can be taught with."""

    @every_shape
    def test_the_crop_is_left_as_it_was(self, pretext: MakePretext, shape_czyx: Shape) -> None:
        crop, posing = crop_of(shape_czyx), pretext()
        untouched = crop.copy()
        for seed in range(_NUM):
            posing.pose(crop, np.random.default_rng(seed))
        np.testing.assert_array_equal(crop, untouched)

    @every_shape
    def test_a_crop_that_cannot_be_written_to_will_do(self, pretext: MakePretext, shape_czyx: Shape) -> None:
        crop = crop_of(shape_czyx)
        crop.flags.writeable = False
        for seed in range(_NUM):
            pretext().pose(crop, np.random.default_rng(seed))

    @every_shape
    def test_the_same_seed_poses_the_same(self, pretext: MakePretext, shape_czyx: Shape) -> None:
        first, again = (_posed(pretext(), shape_czyx, num=_NUM) for _ in range(2))
        _assert_alike(first, again)

    def test_many_threads_pose_what_one_does(self, pretext: MakePretext) -> None:
        posing, crop = pretext(), crop_of(SHAPES_CZYX[0])
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(lambda seed: posing.pose(crop, np.random.default_rng(seed)), range(16)))
        _assert_alike(together, [posing.pose(crop, np.random.default_rng(seed)) for seed in range(16)])

    @every_shape
    def test_what_is_shown_is_finite_and_has_the_channels_of_the_crop_or_of_all_its_tiles(
        self, pretext: MakePretext, shape_czyx: Shape
    ) -> None:
        for shown, *_ in _posed(pretext(), shape_czyx, num=_NUM):
            assert shown.dtype == np.float32
            assert shown.ndim == 4
            assert shown.shape[0] % shape_czyx[0] == 0
            assert (shown.shape[1] == 1) == (shape_czyx[1] == 1)
            assert np.isfinite(shown).all()

    @every_shape
    def test_puzzles_of_a_batch_are_of_one_form(self, pretext: MakePretext, shape_czyx: Shape) -> None:
        forms = {
            tuple((part.shape, part.dtype) for part in puzzle) for puzzle in _posed(pretext(), shape_czyx, num=_NUM)
        }
        assert len(forms) == 1

    @every_shape
    def test_a_network_can_be_taught_with_a_batch(self, pretext: MakePretext, shape_czyx: Shape) -> None:
        posing = _begun(pretext(), shape_czyx)
        network = _network(posing, shape_czyx)
        posing.before_step(network, 0)
        loss = posing.loss(network, _batch(posing, shape_czyx))
        assert loss.dtype == torch.float32
        assert loss.ndim == 0
        assert torch.isfinite(loss)
        loss.backward()  # type: ignore[no-untyped-call]
        gradients = [
            p.grad for name, p in network.named_parameters() if name.startswith("body.") and p.grad is not None
        ]
        assert any(bool(gradient.abs().sum() > 0) for gradient in gradients)

    @every_shape
    def test_first_weights_are_the_seeds(self, pretext: MakePretext, shape_czyx: Shape) -> None:
        first, again, other = (_network(pretext(), shape_czyx, seed=seed).state_dict() for seed in (3, 3, 4))
        assert list(first) == list(again) == list(other)
        assert all(torch.equal(first[name], again[name]) for name in first)
        assert any(not torch.equal(first[name], other[name]) for name in first)

    @every_shape
    def test_what_is_restored_has_the_form_of_what_is_shown(self, pretext: MakePretext, shape_czyx: Shape) -> None:
        posing = pretext()
        shown, *_ = _batch(posing, shape_czyx)
        with torch.inference_mode():
            restored = posing.restored(_network(posing, shape_czyx).eval(), shown)
        if restored is not None:
            assert restored.shape == shown.shape
            assert bool(((restored >= 0) & (restored <= 1)).all())

    @every_shape
    def test_a_batch_posed_at_once_has_the_form_of_one_posed_crop_by_crop(
        self, pretext: MakePretext, shape_czyx: Shape
    ) -> None:
        posing = _begun(pretext(), shape_czyx)
        one_by_one = _batch(posing, shape_czyx)
        crops = torch.from_numpy(np.stack([crop_of(shape_czyx, seed=seed) for seed in range(_NUM)]))
        crops = crops[:, :, 0] if shape_czyx[1] == 1 else crops
        if not posing.poses_batches:
            with pytest.raises(NotImplementedError, match="crop by crop"):
                posing.pose_batch(crops, torch.Generator())
            return
        untouched = crops.clone()
        first, again = (posing.pose_batch(crops, torch.Generator().manual_seed(5)) for _ in range(2))
        assert [(p.shape, p.dtype) for p in first] == [(p.shape, p.dtype) for p in one_by_one]
        assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
        assert torch.equal(crops, untouched)

    def test_what_it_remembers_it_takes_up_again(self, pretext: MakePretext) -> None:
        shape = SHAPES_CZYX[0]
        before, after = _begun(pretext(), shape), _begun(pretext(), shape)
        before.before_step(_network(before, shape), 0)
        after.restore(before.state())
        state, taken_up = before.state(), after.state()
        assert list(state) == list(taken_up)
        for name, array in state.items():
            np.testing.assert_array_equal(array, taken_up[name])
        _assert_alike(_posed(before, shape, num=4), _posed(after, shape, num=4))


class DeformationTests:
    """The conformance suite of deformations: pure functions of a crop and chance, between 0 and 1."""

    @every_shape
    def test_shape_type_and_range_stay(self, deform: Deform, shape_czyx: Shape) -> None:
        for seed in range(_NUM):
            deformed = deform(crop_of(shape_czyx, seed=seed), np.random.default_rng(seed))
            assert deformed.shape == shape_czyx
            assert deformed.dtype == np.float32
            assert deformed.min() >= 0
            assert deformed.max() <= 1

    @every_shape
    def test_the_crop_itself_is_left_as_it_was(self, deform: Deform, shape_czyx: Shape) -> None:
        crop = crop_of(shape_czyx)
        untouched = crop.copy()
        for seed in range(_NUM):
            deform(crop, np.random.default_rng(seed))[:] = 0
        np.testing.assert_array_equal(crop, untouched)

    @every_shape
    def test_the_same_seed_deforms_alike_and_others_do_not(self, deform: Deform, shape_czyx: Shape) -> None:
        crop = crop_of(shape_czyx)
        seen: list[npt.NDArray[np.float32]] = []
        for seed in range(_NUM):
            first, again = (deform(crop, np.random.default_rng(seed)) for _ in range(2))
            np.testing.assert_array_equal(first, again)
            seen.append(first)
        assert len({array.tobytes() for array in seen}) > 1

    @every_shape
    def test_how_the_crop_lies_in_memory_makes_no_difference(self, deform: Deform, shape_czyx: Shape) -> None:
        crop = crop_of(shape_czyx)
        for seed in range(4):
            plain, turned = (deform(c, np.random.default_rng(seed)) for c in (crop, np.asfortranarray(crop)))
            np.testing.assert_array_equal(plain, turned)

    @pytest.mark.parametrize("shape_zyx", [(1, 1, 1), (2, 2, 2), (1, 3, 5), (7, 8, 9), (13, 4, 1)])
    def test_no_axis_is_too_short(self, deform: Deform, shape_zyx: tuple[int, int, int]) -> None:
        crop = crop_of((2, *shape_zyx)) if max(shape_zyx) > 1 else np.full((2, 1, 1, 1), 0.5, np.float32)
        for seed in range(16):
            deformed = deform(crop, np.random.default_rng(seed))
            assert deformed.shape == (2, *shape_zyx)
            assert np.isfinite(deformed).all()


def _posed(pretext: Pretext, shape_czyx: Shape, *, num: int) -> list[Puzzle]:
    return [pretext.pose(crop_of(shape_czyx, seed=seed), np.random.default_rng(seed)) for seed in range(num)]


def _begun(pretext: Pretext, shape_czyx: Shape) -> Pretext:
    pretext.begin(lambda number: crop_of(shape_czyx, seed=number), seed=0)
    return pretext


def _batch(pretext: Pretext, shape_czyx: Shape) -> tuple[torch.Tensor, ...]:
    posed = _posed(pretext, shape_czyx, num=_NUM)
    if pretext.num_crops is not None:
        # The first one as if it were held out.
        posed = [(*puzzle, np.array(seed % pretext.num_crops if seed else -1)) for seed, puzzle in enumerate(posed)]
    return as_batch(posed, spatial_dims=2 if shape_czyx[1] == 1 else 3)


def _network(pretext: Pretext, shape_czyx: Shape, *, seed: int = 0) -> Network:
    spatial_dims = 2 if shape_czyx[1] == 1 else 3
    return pretext.network(_SMALL, spatial_dims=spatial_dims, in_channels=shape_czyx[0], seed=seed).train()


def _assert_alike(first: list[Puzzle], second: list[Puzzle]) -> None:
    for one, other in zip(first, second, strict=True):
        for part, same in zip(one, other, strict=True):
            np.testing.assert_array_equal(part, same)
