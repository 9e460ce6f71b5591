"""Teaching from puzzles: crops are drawn, posed and stacked; the pretext says how well they were solved."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hilum.core.recipes import PretrainRecipe
from hilum.nn.chance import generator
from hilum.nn.heads import Network
from hilum.nn.low_precision import autocast
from hilum.nn.pretext.pretext import Floats, Pretext, Puzzle, as_batch
from hilum.nn.teacher import Batch, Teacher, device_at_hand

_CROP, _PUZZLE, _HELD_OUT, _NUMBERED, _POSED_AT_ONCE = 6, 7, 8, 9, 10
_NO_NUMBER = -1

LookOn = Callable[[Network, int], None]


class Crops(Protocol):
    """Crops of unlabelled scans, (C, Z, Y, X) float32 between 0 and 1, all of one shape. Called by several threads."""

    def draw(self, rng: np.random.Generator) -> Floats: ...


class Unposed(tuple[Tensor]):
    """A batch of crops on its way to a GPU, to be posed there."""

    __slots__ = ()


class PuzzleTeacher(Teacher):
    """Poses a pretext's puzzles on crops of scans; ``held_out`` crops are of other patients.

    A pretext that counts its crops is given those of ``numbered``; without it, numbers name random crops.
    """

    def __init__(
        self,
        recipe: PretrainRecipe,
        pretext: Pretext,
        crops: Crops,
        *,
        held_out: Crops | None = None,
        numbered: Callable[[int], Floats] | None = None,
    ) -> None:
        self._recipe, self._pretext, self._crops, self._held_out = recipe, pretext, crops, held_out
        self._numbered = numbered or self._random_crop
        self.look_on: LookOn | None = None
        self._spatial_dims = 2 if recipe.patch_shape_zyx[0] == 1 else 3
        pretext.begin(self._numbered, seed=recipe.seed)

    def read(self, place: tuple[int, int]) -> Batch:
        step, chunk = place
        size = self._recipe.batch_size // self._recipe.num_chunks
        places = [(step, chunk * size + item) for item in range(size)]
        if self._pretext.poses_batches and device_at_hand().type != "cpu":
            return self.unposed(places)
        return self._posed(self._crops, places)

    def on_device(self, batch: Batch, step: int, chunk: int) -> Batch:
        """What was read, on the device, and posed there if it is not yet."""
        ready = super().on_device(batch, step, chunk)
        if not isinstance(batch, Unposed):
            return ready
        rng = torch.Generator(ready[0].device)
        rng.manual_seed(generator(self._recipe.seed, _POSED_AT_ONCE, step, chunk).initial_seed())
        return self._pretext.pose_batch(ready[0], rng)

    def unposed(self, places: list[tuple[int, int]]) -> Unposed:
        """The crops of these places as they are, the same that would be posed one by one."""
        crops = [(self._crops.draw(self._chance(_CROP, place)),) for place in places]
        return Unposed(as_batch(crops, spatial_dims=self._spatial_dims))

    def loss(self, network: Network, batch: Batch, step: int, chunk: int) -> Tensor:  # noqa: ARG002
        with self._precision():
            return self._pretext.loss(network, batch)

    @property
    def holds_out(self) -> bool:
        return self._held_out is not None

    def held_out(self, chunk: int) -> Iterator[Batch]:
        if self._held_out is None:
            return
        numbers = range(chunk, self._recipe.num_held_out_crops, self._recipe.num_chunks)
        size = self._recipe.batch_size // self._recipe.num_chunks
        for at in range(0, len(numbers), size):
            yield self._posed(
                self._held_out, [(_HELD_OUT, number) for number in numbers[at : at + size]], held_out=True
            )

    def all_held_out(self) -> Iterator[Batch]:
        """Every held-out puzzle, in batches on the device."""
        for chunk in range(self._recipe.num_chunks):
            for batch in self.held_out(chunk):
                yield self.on_device(batch, 0, chunk)

    def before_step(self, network: Network, step: int) -> None:
        self._pretext.before_step(network, step)

    def after_step(self, network: Network, num_steps: int) -> None:
        if self.look_on is not None:
            self.look_on(network, num_steps)

    def state(self) -> Mapping[str, npt.NDArray[Any]]:
        return self._pretext.state()

    def restore(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        self._pretext.restore(state)

    def _posed(self, crops: Crops, places: list[tuple[int, int]], *, held_out: bool = False) -> Batch:
        return as_batch([self._puzzle(crops, place, held_out) for place in places], spatial_dims=self._spatial_dims)

    def _puzzle(self, crops: Crops, place: tuple[int, int], held_out: bool) -> Puzzle:
        """One crop and its puzzle, each with chance of its own: another pretext sees the same crops."""
        chance, num_crops = self._chance(_CROP, place, held_out=held_out), self._pretext.num_crops
        posing = self._chance(_PUZZLE, place, held_out=held_out)
        if num_crops is None:
            return self._pretext.pose(crops.draw(chance), posing)
        number = _NO_NUMBER if held_out else int(chance.integers(num_crops))
        crop = crops.draw(chance) if held_out else self._numbered(number)
        return *self._pretext.pose(crop, posing), np.array(number, np.int64)

    def _random_crop(self, number: int) -> Floats:
        return self._crops.draw(np.random.default_rng([_NUMBERED, self._recipe.seed, number]))

    def _chance(self, use: int, place: tuple[int, int], *, held_out: bool = False) -> np.random.Generator:
        return np.random.default_rng([use, self._recipe.seed, int(held_out), *place])

    def _precision(self) -> AbstractContextManager[None]:
        return autocast(device_at_hand(), low=self._recipe.train_precision == "bfloat16")


def held_out_errors(pretext: Pretext, network: Network, batches: Iterator[Batch]) -> dict[str, float]:
    """Mean squared errors over the voxels that count: of what the network restores, and of two guesses without one.

    ``copying_mse`` is that of what it was shown, ``constant_mse`` that of the best single grey level.
    """
    sums, num = np.zeros(4), 0.0
    with torch.inference_mode():
        for shown, wanted, *more in batches:
            restored = pretext.restored(network, shown)
            if restored is None:
                return {}
            counted = more[0] if more and more[0].shape == wanted.shape else torch.ones_like(wanted)
            told = ((restored - wanted) ** 2, (shown - wanted) ** 2, wanted**2, wanted)
            sums += [float((what * counted).sum(dtype=torch.float64)) for what in told]
            num += float(counted.sum(dtype=torch.float64))
    if not num:
        return {}
    restoration, copying, square, mean = (float(total) for total in sums / num)
    return {"restoration_mse": restoration, "copying_mse": copying, "constant_mse": square - mean**2}
