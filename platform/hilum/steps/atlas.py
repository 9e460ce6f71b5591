"""atlas: a map of labels or of probabilities that says where foreground is, taken in once and named by its content.

inputs: ``file``, the hash of the voxels and of where they lie. file: ``atlas.safetensors``, whose ``foreground`` is
(Z, Y, X): 0 or 1 of labels, a probability otherwise. results: its grid.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy
from scipy import ndimage

from hilum.core.errors import CorruptionError, DataError, NotFoundError
from hilum.core.geometry import IDENTITY_DIRECTION, Grid, Zyx
from hilum.core.ids import content_id
from hilum.core.imaging import Volume
from hilum.core.recipes.importing import AtlasRecipe
from hilum.core.sources import ReadImage
from hilum.store.layout import Store
from hilum.store.manifest import Manifest, Run, read_bytes, read_manifest, verify, write_bytes

STEP = "atlas"
STEP_VERSION = 1
ATLAS_FILE = "atlas.safetensors"
_FOREGROUND = "foreground"
_UNPLACED = ("no_orientation", "orientation_conflict", "position_unknown", "spacing_unknown")


@dataclass(frozen=True, eq=False)
class Atlas:
    """How likely each voxel of ``grid`` is foreground, 0 to 1."""

    foreground_zyx: npt.NDArray[Any]
    grid: Grid

    def share_in(self, grid: Grid, start_zyx: Sequence[int], shape_zyx: Zyx) -> float:
        """The mean over a box of ``grid``, each voxel as the nearest of the atlas in the world; 0 outside it."""
        origin = self._index(grid, start_zyx)
        steps = np.eye(3) + np.asarray(start_zyx)
        matrix = np.stack([self._index(grid, step) - origin for step in steps], axis=1)
        found = ndimage.affine_transform(
            self.foreground_zyx, matrix, origin, output_shape=shape_zyx, order=0, mode="grid-constant"
        )
        return float(found.mean(dtype=np.float64))

    def meets(self, grid: Grid) -> bool:
        """Whether the box about ``grid``, along the atlas' own axes, shares any place with the atlas."""
        corners = np.array([self._index(grid, c) for c in product(*((-0.5, n - 0.5) for n in grid.shape_zyx))])
        ends = np.array(self.grid.shape_zyx) - 0.5
        return bool(((corners.min(axis=0) < ends) & (corners.max(axis=0) > -0.5)).all())

    def _index(self, grid: Grid, index_zyx: Sequence[float] | npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The atlas' (fractional) voxel at an index of ``grid``."""
        return self.grid.world_to_index([float(mm) for mm in grid.index_to_world([float(i) for i in index_zyx])])


def run(recipe: AtlasRecipe, image: ReadImage, *, store: Store) -> Manifest:
    """Take in an atlas: a placed map of one channel, of labels (whole numbers) or of probabilities from 0 to 1."""
    this = planned(recipe, image, store)
    before = this.finished()
    if before is not None:
        return before
    why = _why_unplaced(image.grid, image.flags) if image.measured_grid else "its file cannot say where its voxels are"
    if why is not None or image.num_items != 1:
        raise DataError(
            f"An atlas must say where it lies in the world, and this one does not: {why or 'it is a stack'}."
        )
    foreground_ZYX = foreground_of(image, recipe.labels)
    write_bytes(this.path(ATLAS_FILE), safetensors.numpy.save({_FOREGROUND: foreground_ZYX}))
    return this.commit(
        files=[ATLAS_FILE],
        **asdict(image.grid),
        num_foreground_voxels=int(np.count_nonzero(foreground_ZYX)),
        holds="labels" if foreground_ZYX.dtype == np.uint8 else "probabilities",
    )


def planned(recipe: AtlasRecipe, image: ReadImage, store: Store) -> Run:
    """The run that takes in these voxels, which may be there already."""
    return Run(store, STEP, STEP_VERSION, recipe, {"file": content_id([image.image_digest(), asdict(image.grid)])})


def foreground_of(image: ReadImage, labels: Sequence[int]) -> npt.NDArray[Any]:
    """(Z, Y, X): 1 where one of ``labels`` is (any but 0 where none is named), or the probabilities as they are."""
    image.check_finite()
    if image.image_czyx.shape[0] != 1:
        raise DataError(f"An atlas has one channel; this file has {image.image_czyx.shape[0]}. Save one map of them.")
    values_ZYX = image.image_czyx[0]
    least, most = float(values_ZYX.min()), float(values_ZYX.max())
    if np.array_equal(values_ZYX, np.rint(values_ZYX)) and least >= 0:
        return _of_labels(values_ZYX, labels)
    if labels:
        raise DataError(
            f"Labels are named, and this atlas holds none: its values are fractions, {least:g} to {most:g}."
        )
    if least < 0 or most > 1:
        raise DataError(
            f"An atlas holds labels (whole numbers from 0) or probabilities from 0 to 1; this one goes from {least:g} "
            f"to {most:g}. Divide percentages by 100 first."
        )
    probabilities: npt.NDArray[Any] = np.ascontiguousarray(values_ZYX, dtype=np.float32)
    return probabilities


def load_atlas(store: Store, atlas_id: str) -> Atlas:
    """NotFoundError when there is no such atlas, CorruptionError when it changed since it was taken in."""
    return _load(store, atlas_id)


def check_places(atlas: Atlas, atlas_id: str, volumes: Sequence[Volume]) -> None:
    """DataError when a volume does not say where it lies, or when all of them lie elsewhere."""
    for volume in volumes:
        why = "it is a stack of items" if volume.num_items > 1 else _why_unplaced(volume.grid, volume.flags)
        if why is not None:
            raise DataError(
                f"score.foreground cannot lay atlas {atlas_id} over volume {volume.volume_id}: {why}. Name a "
                "checkpoint instead, or ingest scans that say where they lie."
            )
    if volumes and not any(atlas.meets(volume.grid) for volume in volumes):
        raise DataError(
            f"Atlas {atlas_id} of score.foreground overlaps none of the {len(volumes)} volumes: they lie elsewhere in "
            f"the world (the first begins at {volumes[0].grid.origin_mm_xyz} mm, the atlas at "
            f"{atlas.grid.origin_mm_xyz}). Register it to them and take in the result."
        )


def _why_unplaced(grid: Grid, flags: Sequence[str]) -> str | None:
    """Why nobody can tell where in the patient a grid lies, or None."""
    told = [flag.replace("_", " ") for flag in _UNPLACED if flag in flags]
    if told:
        return f"its header is flagged '{told[0]}'"
    begins_at_zero = not any(grid.origin_mm_xyz) and grid.direction == IDENTITY_DIRECTION
    if begins_at_zero and (grid.shape_zyx[0] == 1 or set(grid.spacing_mm_zyx) == {1.0}):
        return "its grid is the one of files that know no place (origin 0, axes unturned)"
    return None


def _of_labels(values_ZYX: npt.NDArray[Any], labels: Sequence[int]) -> npt.NDArray[np.uint8]:
    absent = sorted(set(labels) - set(np.unique(values_ZYX).astype(int).tolist())) if labels else []
    if absent or not values_ZYX.any():
        what = f"label {absent[0]} in it" if absent else "foreground in it: every voxel is 0"
        raise DataError(f"This atlas has no {what}.")
    is_foreground = np.isin(values_ZYX, list(labels)) if labels else values_ZYX > 0
    return np.ascontiguousarray(is_foreground, dtype=np.uint8)


@lru_cache(maxsize=1)
def _load(store: Store, atlas_id: str) -> Atlas:
    url = store.run(STEP, atlas_id)
    try:
        manifest = read_manifest(url)
    except NotFoundError:
        raise NotFoundError(
            f"There is no atlas {atlas_id} in {store.url}. `hilum data atlas FILE` takes one in and prints its id."
        ) from None
    damage = verify(url, manifest)
    if damage:
        raise CorruptionError(
            f"Atlas {atlas_id} is damaged: {damage[0]}. Delete its folder {url} and take it in again."
        )
    told = manifest.results
    x, y, z = (tuple(row) for row in told["direction"])
    grid = Grid(tuple(told["shape_zyx"]), tuple(told["spacing_mm_zyx"]), tuple(told["origin_mm_xyz"]), (x, y, z))
    values_ZYX = safetensors.numpy.load(read_bytes(f"{url}/{ATLAS_FILE}"))[_FOREGROUND]
    return Atlas(values_ZYX.astype(np.float32), grid)
