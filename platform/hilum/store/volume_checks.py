"""Every volume of a store, chunk by chunk: which bytes are not those that were written, by name.

A chunk is named by its file (the shard) and by the voxels in it. Whole shards are read
first, and chunks one by one only in a shard that cannot be read whole.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hilum.core.errors import CorruptionError, HilumError
from hilum.store import ome_zarr
from hilum.store.inspection import Damage, finished_runs
from hilum.store.layout import Store, filesystem
from hilum.store.manifest import read_json
from hilum.store.volumes import (
    ZARR_JSON,
    changed_metadata,
    metadata_digests,
    stored_volume_ids,
    volumes_of,
)
from hilum.store.zarr_arrays import ArrayReader, Box, open_array

MOST_REASONS = 1000
"""Of one volume. More than that are told as a count."""


@dataclass(frozen=True)
class _Layout:
    """How an array is cut: its shape, one shard and one chunk of it."""

    shape: tuple[int, ...]
    shard: tuple[int, ...]
    chunk: tuple[int, ...]
    axes: tuple[str, ...]

    def shards(self) -> Iterator[tuple[str, Box]]:
        """Every shard's key and the box of voxels it holds."""
        for place in itertools.product(*(range(-(-n // s)) for n, s in zip(self.shape, self.shard, strict=True))):
            starts = [p * s for p, s in zip(place, self.shard, strict=True)]
            yield "c/" + "/".join(map(str, place)), self._box(starts, self.shard, self.shape)

    def chunks(self, shard: Box) -> Iterator[Box]:
        """Every chunk's box within a shard."""
        steps = (range(axis.start, axis.stop, c) for axis, c in zip(shard, self.chunk, strict=True))
        for starts in itertools.product(*steps):
            yield self._box(starts, self.chunk, [axis.stop for axis in shard])

    def named(self, box: Box) -> str:
        """A box in words: 'z 0 to 15, y 32 to 63, x 0 to 31'."""
        return ", ".join(
            f"{axis} {side.start} to {side.stop - 1}" for axis, side in zip(self.axes, box, strict=True) if axis != "c"
        )

    @staticmethod
    def _box(starts: Sequence[int], sizes: Sequence[int], ends: Sequence[int]) -> Box:
        return tuple(slice(a, min(a + n, end)) for a, n, end in zip(starts, sizes, ends, strict=True))


def volume_ids(store: Store) -> list[str]:
    """Every volume that is stored, and every one that a finished ingest says is."""
    return sorted(stored_volume_ids(store) | _named_volumes(store))


def volume_damages(store: Store) -> Iterator[Damage | None]:
    """For every volume in turn: what is damaged in it, or None. Reads every chunk."""
    for volume_id in volume_ids(store):
        reasons = list(itertools.islice(_reasons(store.volume(volume_id)), MOST_REASONS + 1))
        if len(reasons) > MOST_REASONS:
            reasons[MOST_REASONS:] = ["and more"]
        yield Damage(f"volumes/{volume_id}.zarr", tuple(reasons)) if reasons else None


def _named_volumes(store: Store) -> set[str]:
    named: set[str] = set()
    for ingest_id in finished_runs(store, "ingest"):
        try:
            named |= set(volumes_of(store, ingest_id))
        except HilumError:
            continue  # a damaged table is told where runs are looked over
    return named


def _reasons(url: str) -> Iterator[str]:
    """What is wrong with one volume, the metadata first: without it voxels cannot be found."""
    fs, path = filesystem(url)
    if not fs.exists(path):
        yield "missing"
        return
    try:
        digests = metadata_digests(url)
        arrays = _arrays(url)
    except CorruptionError as error:
        yield str(error)
        return
    changed = changed_metadata(url, digests)
    yield from changed
    for array in arrays:
        if not any(reason.startswith(f"{array}/") for reason in changed):
            yield from _array_reasons(f"{url}/{array}", array)


def _arrays(url: str) -> list[str]:
    root = read_json(f"{url}/{ZARR_JSON}")
    has_truth = root["attributes"]["hilum"].get("has_label_map")
    folders = ["", *([f"{ome_zarr.TRUTH}/"] if has_truth else [])]
    return [f"{folder}{level}" for folder in folders for level in range(ome_zarr.num_levels(root))]


def _array_reasons(url: str, array: str) -> Iterator[str]:
    try:
        layout = _layout(url)
    except (HilumError, KeyError, TypeError, ValueError, IndexError):
        yield f"{array}/{ZARR_JSON}: missing or not an array's"
        return
    fs, path = filesystem(url)
    root = path.strip("/")
    there = {str(found).strip("/").removeprefix(f"{root}/") for found in fs.find(path)}
    missing = {key for key, _ in layout.shards() if key not in there}
    for key, box in layout.shards():
        if key in missing:
            yield f"{array}/{key}: missing (voxels {layout.named(box)})"
    # A store read by zarr-python cannot be opened with a shard missing; what is missing has been told.
    try:
        reader = open_array(url)
    except CorruptionError as error:
        if not missing:
            yield str(error)
        return
    for key, box in layout.shards():
        if key in missing or _is_sound(reader, box):
            continue
        chunks = list(layout.chunks(box))
        damaged = [chunk for chunk in chunks if not _is_sound(reader, chunk)]
        if len(damaged) == len(chunks) > 1:
            yield f"{array}/{key}: none of its {len(chunks)} chunks can be read (voxels {layout.named(box)})"
            continue
        yield from (f"{array}/{key}: damaged in the chunk of voxels {layout.named(chunk)}" for chunk in damaged)


def _is_sound(reader: ArrayReader, box: Box) -> bool:
    try:
        reader.read(box)
    except CorruptionError:
        return False
    return True


def _layout(url: str) -> _Layout:
    metadata = read_json(f"{url}/{ZARR_JSON}")
    shape = tuple(int(n) for n in metadata["shape"])
    shard = tuple(int(n) for n in metadata["chunk_grid"]["configuration"]["chunk_shape"])
    sharding = [codec for codec in metadata["codecs"] if codec["name"] == "sharding_indexed"]
    chunk = tuple(int(n) for n in sharding[0]["configuration"]["chunk_shape"]) if sharding else shard
    if not len(shape) == len(shard) == len(chunk) or min(*shard, *chunk) < 1:
        raise ValueError
    return _Layout(shape, shard, chunk, tuple("czyx"[-len(shape) :]))
