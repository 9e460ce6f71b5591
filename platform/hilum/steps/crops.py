"""Crops of unlabelled scans, read from the store as they are drawn.

Shape letters: C = channels, Z, Y, X = space.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch

from hilum.core.errors import DataError
from hilum.core.geometry import Patch, Zyx
from hilum.core.imaging import Side, Volume
from hilum.core.learning import sides
from hilum.core.recipes import PretrainRecipe
from hilum.nn.normalise import normalise
from hilum.nn.pretext.air import SOLID_FROM_HU, weighted_solid_share
from hilum.steps.crop_sizes import Sizes, sizes_of
from hilum.steps.once import Once
from hilum.steps.scan_looks import Look, check_hounsfield, look_at
from hilum.steps.scan_voxels import ScanVoxels, Voxels
from hilum.store.layout import Store

Floats = npt.NDArray[np.float32]

_MAX_SCANS = 20


class StoredCrops:
    """Random crops of scans, all scans alike: a crop is a function of ``rng`` alone, whichever thread draws it."""

    def __init__(self, voxels: ScanVoxels, scans: Sequence[tuple[Volume, Sizes]], recipe: PretrainRecipe) -> None:
        self._voxels, self._scans, self._recipe = voxels, scans, recipe
        self._sampling = recipe.sampling
        by_id = {volume.volume_id: volume for volume, _ in scans}
        self._look = Once(lambda volume_id: look_at(by_id[volume_id], voxels, recipe.sampling))

    @property
    def num_scans(self) -> int:
        return len(self._scans)

    def draw(self, rng: np.random.Generator) -> Floats:
        """One crop (C, Z, Y, X) of ``patch_shape_zyx``, between 0 and 1. DataError when none will do."""
        for _ in range(_MAX_SCANS):
            volume, sizes = self._scans[int(rng.integers(len(self._scans)))]
            for _ in range(self._sampling.num_tries):
                crop = self._tried(volume, sizes, rng)
                if crop is not None:
                    return crop
        raise DataError(
            f"In {_MAX_SCANS} scans none of {self._sampling.num_tries} crops each was good enough to learn from. "
            "Lower sampling.min_foreground, raise sampling.max_solid_share, or draw crops inside: body."
        )

    def _tried(self, volume: Volume, sizes: Sizes, rng: np.random.Generator) -> Floats | None:
        """One crop somewhere in the scan; None if it is not worth learning from."""
        look = self._look(volume.volume_id)
        size = sizes[int(rng.integers(len(sizes)))]
        patch = Patch(volume.volume_id, self._start(volume, size, look, rng), size)
        image = self._voxels.read_CZYX(patch)
        if not self._has_foreground(image, volume) or self._is_too_solid(image, patch, volume):
            return None
        return resampled(normalise(image, look.low, look.high), self._recipe.patch_shape_zyx)

    def _start(self, volume: Volume, size_zyx: Zyx, look: Look, rng: np.random.Generator) -> Zyx:
        """Where a crop begins: anywhere in an item, or around one of the scan's centres, as near as borders allow."""
        depth = volume.item_shape_zyx[0]
        least = np.array(self._sampling.borders_zyx)
        most = np.array(volume.item_shape_zyx) - least - size_zyx
        if look.centres_zyx is None:
            item = int(rng.integers(volume.num_items))
            start = rng.integers(least, most + 1)
        else:
            centre = look.centres_zyx[int(rng.integers(len(look.centres_zyx)))]
            item = int(centre[0]) // depth
            within = centre - (item * depth, 0, 0) + rng.integers((0, 0, 0), look.every_zyx)
            start = np.clip(within - np.array(size_zyx) // 2, least, most)
        z, y, x = (int(place) for place in start)
        return item * depth + z, y, x

    def _has_foreground(self, image_CZYX: Voxels, volume: Volume) -> bool:
        if self._sampling.min_foreground == 0:
            return True
        above = (image_CZYX > volume.background_level).any(axis=0)
        return float(above.mean()) >= self._sampling.min_foreground

    def _is_too_solid(self, image_CZYX: Voxels, patch: Patch, volume: Volume) -> bool:
        """The air test; it looks at one slice behind the crop, if the item has one."""
        if self._sampling.max_solid_share is None:
            return False
        (z, y, x), (depth, height, width) = patch.start_zyx, patch.shape_zyx
        window = image_CZYX[0]
        if volume.item_index(patch) == (z + depth) // volume.item_shape_zyx[0]:
            behind = self._voxels.read_CZYX(Patch(volume.volume_id, (z + depth, y, x), (1, height, width)))
            window = np.concatenate([window, behind[0]])
        share = weighted_solid_share(window, num_slices=depth, solid_from=SOLID_FROM_HU)
        return share > self._sampling.max_solid_share


def crops_of(
    store: Store,
    volumes: Mapping[str, Volume],
    recipe: PretrainRecipe,
    side: Side,
    *,
    voxels: ScanVoxels | None = None,
) -> StoredCrops | None:
    """Crops of one side's scans, those that have room for one; None when there are none.

    ``voxels`` are shared by the sides that are drawn from together.
    """
    large, _ = scans_of(volumes, recipe, side)
    return StoredCrops(voxels or ScanVoxels(store, volumes_among(large)), large, recipe) if large else None


def scans_of(
    volumes: Mapping[str, Volume], recipe: PretrainRecipe, side: Side
) -> tuple[list[tuple[Volume, Sizes]], list[Volume]]:
    """One side's scans, each with the sizes of crop that it has room for; and those that have room for none."""
    side_of = sides(volumes.values(), recipe.split)
    chosen = [volumes[name] for name in sorted(volumes) if side_of[volumes[name].study.patient_id] == side]
    sized = [(volume, sizes_of(volume, recipe.sampling, recipe.patch_shape_zyx)) for volume in chosen]
    return [one for one in sized if one[1]], [volume for volume, sizes in sized if not sizes]


def check_scans(volumes: Mapping[str, Volume], recipe: PretrainRecipe) -> tuple[int, int]:
    """How many of the pool's scans are learnt from and how many are left out. DataError when it cannot be done."""
    large, small = scans_of(volumes, recipe, "pool")
    if not large and not small:
        raise DataError("No patient is left to learn from: all are held out. Lower pretrain.split's shares.")
    if not large:
        raise DataError(_no_room(small, recipe))
    for volume, _ in large:
        if recipe.sampling.window.preset is not None:
            check_hounsfield(volume, f"The window '{recipe.sampling.window.preset}'")
        if recipe.sampling.max_solid_share is not None:
            check_hounsfield(volume, "The air test (sampling.max_solid_share)")
    return len(large), len(small)


def volumes_among(*groups: Sequence[tuple[Volume, Sizes]]) -> dict[str, Volume]:
    return {volume.volume_id: volume for group in groups for volume, _ in group}


def num_channels_of(volumes: Mapping[str, Volume]) -> int:
    """How many channels all volumes have; DataError when they differ."""
    found = {volume.num_channels for volume in volumes.values()}
    if len(found) != 1:
        raise DataError(f"Scans of {sorted(found)} channels cannot be learnt from together; ingest them apart.")
    return found.pop()


def spatial_dims_of(patch_shape_zyx: Zyx) -> int:
    return 2 if patch_shape_zyx[0] == 1 else 3


def resampled(image_CZYX: Floats, shape_zyx: Zyx) -> Floats:
    """The image with ``shape_zyx`` voxels in the same space, straight lines between them."""
    if image_CZYX.shape[1:] == shape_zyx:
        return image_CZYX
    image = torch.from_numpy(image_CZYX)[None]
    times = [max(1, have // want) for have, want in zip(image_CZYX.shape[1:], shape_zyx, strict=True)]
    if max(times) > 1:
        # Means first: lines between every n-th voxel would turn fine texture into coarse.
        image = torch.nn.functional.avg_pool3d(image, times)
    # The image's edges stay where they are, not the middles of its outer voxels.
    image = torch.nn.functional.interpolate(image, size=shape_zyx, mode="trilinear", align_corners=False)
    resampled_CZYX: Floats = image[0].numpy()
    return resampled_CZYX


def _no_room(small: Sequence[Volume], recipe: PretrainRecipe) -> str:
    most = [max(volume.item_shape_zyx[axis] for volume in small) for axis in range(3)]
    return (
        f"None of the {len(small)} scans to learn from has room for a crop of {list(recipe.patch_shape_zyx)} voxels "
        f"(Z, Y, X) at scales {list(recipe.sampling.scales)} inside borders of {list(recipe.sampling.borders_zyx)}: "
        f"the longest sides are {most}. Lower patch_shape_zyx, sampling.scales or sampling.borders_zyx."
    )
