"""OME-Zarr 0.5 (Zarr v3) metadata, and chunks derived from the patch that will be read.

One shard is one file. Inside it, voxels lie in small chunks about half a patch wide, so
that an unaligned patch touches few bytes it does not need. Every chunk and every shard's
index carries a crc32c, and no chunk is ever left out because it is empty: a hole is damage.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from hilum.core.geometry import Grid, Zyx
from hilum.core.imaging import Volume
from hilum.store.sealed import UNSEALED

OME_VERSION = "0.5"
FORMAT_VERSION = 2
UNSEALED_FORMAT = 1
IMAGE_ARRAY = "0"
TRUTH = "labels/truth"
MIN_CHUNK_BYTES = 16 << 10
MAX_CHUNK_BYTES = 256 << 10
MAX_SHARD_BYTES = 32 << 20
MAX_CHUNKS_IN_A_SHARD = 1024
_SPACE = [{"name": axis, "type": "space", "unit": "millimeter"} for axis in "zyx"]


def chunk_shape_zyx(item_shape_zyx: Zyx, patch_shape_zyx: Zyx, voxel_bytes: int) -> Zyx:
    """The inner chunk for patches of this shape: about half a patch an axis, 16 to 256 KiB."""
    patch = [min(p, s) for p, s in zip(patch_shape_zyx, item_shape_zyx, strict=True)]
    chunk = [p if p == s or p < 16 else _power_of_two_below(p // 2) for p, s in zip(patch, item_shape_zyx, strict=True)]
    for limit in (patch, list(item_shape_zyx)):
        while int(np.prod(chunk)) * voxel_bytes < MIN_CHUNK_BYTES:
            growable = [axis for axis in (2, 1, 0) if chunk[axis] < limit[axis]]
            if not growable:
                break
            axis = min(growable, key=lambda a: chunk[a] / limit[a])
            chunk[axis] = min(limit[axis], chunk[axis] * 2)
    while int(np.prod(chunk)) * voxel_bytes > MAX_CHUNK_BYTES:
        axis = int(np.argmax(chunk))
        chunk[axis] = -(-chunk[axis] // 2)
    return chunk[0], chunk[1], chunk[2]


def stack_chunk_shape_zyx(item_shape_zyx: Zyx, num_items: int, patch_shape_zyx: Zyx, voxel_bytes: int) -> Zyx:
    """The inner chunk of a stack: as for one item, and several whole items where these are small."""
    z, y, x = chunk_shape_zyx(item_shape_zyx, patch_shape_zyx, voxel_bytes)
    whole = (z, y, x) == tuple(item_shape_zyx)
    together = max(1, MIN_CHUNK_BYTES // (z * y * x * voxel_bytes)) if whole else 1
    return z * min(together, num_items), y, x


def shard_shape_zyx(shape_zyx: Zyx, chunk_zyx: Zyx, voxel_bytes: int) -> Zyx:
    """The largest shard, a multiple of the chunk, within 32 MiB of voxels and 1,024 chunks."""
    needed = [-(-s // c) for s, c in zip(shape_zyx, chunk_zyx, strict=True)]
    times = [1, 1, 1]
    limit = min(MAX_CHUNKS_IN_A_SHARD, MAX_SHARD_BYTES // (int(np.prod(chunk_zyx)) * voxel_bytes))
    while True:
        growable = [a for a in (2, 1, 0) if times[a] < needed[a]]
        growable = [a for a in growable if int(np.prod(times)) // times[a] * min(needed[a], times[a] * 2) <= limit]
        if not growable:
            break
        axis = min(growable, key=lambda a: times[a] * chunk_zyx[a])
        times[axis] = min(needed[axis], times[axis] * 2)
    z, y, x = (c * t for c, t in zip(chunk_zyx, times, strict=True))
    return z, y, x


def array_metadata(shape: Sequence[int], chunk: Sequence[int], shard: Sequence[int], dtype: str) -> dict[str, Any]:
    """The Zarr v3 metadata of one sharded, compressed, checksummed array."""
    little_endian = {"name": "bytes", "configuration": {"endian": "little"}}
    if np.dtype(dtype).itemsize == 1:
        little_endian = {"name": "bytes"}
    index_bytes = {"name": "bytes", "configuration": {"endian": "little"}}
    checksum = {"name": "crc32c"}
    blosc = {
        "name": "blosc",
        "configuration": {
            "cname": "lz4",
            "clevel": 5,
            "shuffle": "shuffle" if np.dtype(dtype).itemsize > 1 else "noshuffle",
            "typesize": np.dtype(dtype).itemsize,
            "blocksize": 0,
        },
    }
    sharding = {
        "name": "sharding_indexed",
        "configuration": {
            "chunk_shape": list(chunk),
            "codecs": [little_endian, blosc, checksum],
            "index_codecs": [index_bytes, checksum],
            "index_location": "end",
        },
    }
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": dtype,
        "fill_value": 0,
        "dimension_names": list("czyx")[-len(shape) :],
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(shard)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "codecs": [sharding],
        "attributes": {},
        "storage_transformers": [],
    }


def image_group(volume: Volume, grids: Sequence[Grid], metadata: Mapping[str, str]) -> dict[str, Any]:
    """The root group: its scales, millimetre axes, and hilum's own attributes. Nothing in it names a person.

    ``grids`` has the volume's own and those of its coarser levels, ``metadata`` the SHA-256
    of every other zarr.json of the volume.
    """
    channel_axis = {"name": "c", "type": "channel"}
    ome = {
        "version": OME_VERSION,
        "multiscales": [_multiscale(volume.volume_id, grids, [channel_axis, *_SPACE])],
    }
    return _group({"ome": ome, "hilum": _hilum_attributes(volume, metadata)})


def labels_group() -> dict[str, Any]:
    return _group({"ome": {"version": OME_VERSION, "labels": ["truth"]}})


def truth_group(grids: Sequence[Grid], class_names: Sequence[str]) -> dict[str, Any]:
    """The group of a volume's label map."""
    return label_group("truth", grids, class_names, source="../../")


def label_group(
    name: str, grids: Sequence[Grid], class_names: Sequence[str], *, source: str | None = None
) -> dict[str, Any]:
    """A label image's group, with the class each value stands for where that is known, and where its image is."""
    properties = [{"label-value": value, "class": name} for value, name in enumerate(class_names)]
    ome = {
        "version": OME_VERSION,
        "multiscales": [_multiscale(name, grids, list(_SPACE))],
        "image-label": {
            **({"source": {"image": source}} if source else {}),
            **({"properties": properties} if properties else {}),
        },
    }
    return _group({"ome": ome})


def _hilum_attributes(volume: Volume, metadata: Mapping[str, str]) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "volume_id": volume.volume_id,
        "grid": grid_attributes(volume.grid),
        "item_shape_zyx": list(volume.item_shape_zyx),
        "modality": volume.modality,
        "low": volume.low,
        "high": volume.high,
        "side": volume.side,
        "classes": list(volume.classes),
        "has_label_map": volume.has_label_map,
        "metadata": dict(metadata),
        "sha256": UNSEALED,
    }


def grid_attributes(grid: Grid) -> dict[str, Any]:
    """A grid with its direction, which OME-Zarr cannot say."""
    return {
        "shape_zyx": list(grid.shape_zyx),
        "spacing_mm_zyx": list(grid.spacing_mm_zyx),
        "origin_mm_xyz": list(grid.origin_mm_xyz),
        "direction": [list(row) for row in grid.direction],
    }


def num_levels(root: Mapping[str, Any]) -> int:
    """How many levels a volume has, the full one included, as its root group says."""
    return len(root["attributes"]["ome"]["multiscales"][0]["datasets"])


def _multiscale(name: str, grids: Iterable[Grid], axes: list[dict[str, str]]) -> dict[str, Any]:
    datasets = [
        {"path": str(level), "coordinateTransformations": _transformations(grid, num_others=len(axes) - 3)}
        for level, grid in enumerate(grids)
    ]
    return {"name": name, "axes": axes, "datasets": datasets}


def _transformations(grid: Grid, *, num_others: int) -> list[dict[str, Any]]:
    # OME-Zarr 0.5 cannot say a direction: its translation is our origin seen along the array's own
    # axes, and the attributes of hilum hold the whole truth.
    along_axes = np.linalg.solve(np.asarray(grid.direction, dtype=float), np.asarray(grid.origin_mm_xyz, dtype=float))
    return [
        {"type": "scale", "scale": [*[1.0] * num_others, *(float(s) for s in grid.spacing_mm_zyx)]},
        {"type": "translation", "translation": [*[0.0] * num_others, *(float(t) for t in along_axes)]},
    ]


def _group(attributes: dict[str, Any]) -> dict[str, Any]:
    return {"zarr_format": 3, "node_type": "group", "attributes": attributes}


def _power_of_two_below(n: int) -> int:
    return 1 << max(0, n.bit_length() - 1)
