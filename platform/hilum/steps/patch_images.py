"""The candidates of one shard as a model takes them: batch by batch, each place of a volume read once.

Shape letters: N = candidates, C = channels, Z, Y, X = space.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hilum.core.candidates import as_image
from hilum.core.errors import DataError, HilumError
from hilum.nn.normalise import normalise
from hilum.store.columns import matrix, numbered, strings
from hilum.store.volumes import VolumeReader

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Places:
    """Candidates as columns, a row each. ``codes`` says which of ``volume_ids`` (sorted) each is of."""

    candidate_ids: npt.NDArray[np.str_]
    volume_ids: list[str]
    codes: npt.NDArray[np.int64]
    starts_zyx: npt.NDArray[np.int32]
    shapes_zyx: npt.NDArray[np.int32]

    @property
    def num(self) -> int:
        return len(self.candidate_ids)

    def take(self, rows: npt.NDArray[np.int64]) -> "Places":
        columns = (self.codes[rows], self.starts_zyx[rows], self.shapes_zyx[rows])
        return Places(self.candidate_ids[rows], self.volume_ids, *columns)

    def of(self, candidate_ids: npt.NDArray[np.str_]) -> "Places":
        """The places of some of them, in the order in which they are named."""
        order = np.argsort(self.candidate_ids)
        return self.take(order[np.searchsorted(self.candidate_ids, candidate_ids, sorter=order)])


def places_of(table: pa.Table) -> Places:
    """The rows of a pool."""
    starts, shapes = matrix(table["start_zyx"]), matrix(table["shape_zyx"])
    return Places(strings(table["candidate_id"]), *numbered(table["volume_id"]), starts, shapes)


def batches(places: Places, size: int) -> Iterator[Places]:
    """Candidates of one shape, at most ``size`` of them, those of one place together."""
    order = np.lexsort((*places.starts_zyx.T[::-1], places.codes, *places.shapes_zyx.T[::-1]))
    ordered = places.take(order)
    is_new = (np.diff(ordered.shapes_zyx, axis=0, prepend=-1) != 0).any(axis=1)
    edges = [*np.flatnonzero(is_new).tolist(), places.num]
    for first, after in pairwise(edges):
        for begin in range(first, after, size):
            yield ordered.take(np.arange(begin, min(begin + size, after)))


def read_images(
    reader: VolumeReader, starts_N3: npt.NDArray[np.int32], shape_zyx: npt.NDArray[np.int32]
) -> Iterator[tuple[int, Floats | str]]:
    """Normalised patches of one volume, a run (N, C, Z, Y, X) of them at a time with how many it is of.

    A patch that cannot be had comes alone, as the reason why. What patches share is read once:
    the box about a run of them, as long as it is no larger than they are together.
    """
    num, low_zyx = len(starts_N3), starts_N3.min(axis=0)
    box_zyx = starts_N3.max(axis=0) - low_zyx + shape_zyx
    if num == 1 or box_zyx.prod(dtype=np.int64) <= num * shape_zyx.prod(dtype=np.int64):
        try:
            block_CZYX = _normalised(reader, low_zyx, box_zyx)
        except (HilumError, OSError, ValueError) as error:
            if num == 1:
                yield 1, str(error)
                return
        else:
            yield num, _cut(block_CZYX, starts_N3 - low_zyx, shape_zyx)
            return
    # One that is damaged, or far away, must not cost the others theirs.
    half = num // 2
    yield from read_images(reader, starts_N3[:half], shape_zyx)
    yield from read_images(reader, starts_N3[half:], shape_zyx)


def _normalised(reader: VolumeReader, start_zyx: npt.NDArray[np.int32], shape_zyx: npt.NDArray[np.int32]) -> Floats:
    block_CZYX = reader.read_block_CZYX(start_zyx.tolist(), shape_zyx.tolist())
    if not np.isfinite(block_CZYX).all():
        raise DataError("Its voxels are not all finite numbers.")
    return normalise(block_CZYX, reader.volume.low, reader.volume.high)


def _cut(block_CZYX: Floats, starts_N3: npt.NDArray[np.int32], shape_zyx: npt.NDArray[np.int32]) -> Floats:
    """The patches (N, C, Z, Y, X) of a block, as networks see them."""
    windows = np.lib.stride_tricks.sliding_window_view(block_CZYX, shape_zyx.tolist(), axis=(1, 2, 3))
    patches_CNZYX = windows[(slice(None), *starts_N3.T)]
    images: Floats = np.ascontiguousarray(as_image(np.moveaxis(patches_CNZYX, 0, 1)))
    return images
