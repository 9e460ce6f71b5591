"""A label map as one file: a zip of an OME-Zarr 0.5 label image, which is its root.

As RFC-9 of OME-Zarr has it: nothing is compressed a second time, the root's zarr.json comes first, and the archive's
comment says which version it is. Shape letters: Z, Y, X = space.
"""

import io
import json
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorstore as ts

from hilum.core.asking import LabelMap
from hilum.core.geometry import Grid, Zyx
from hilum.store import ome_zarr

_PATCH_ZYX: Zyx = (64, 64, 64)
_MADE = (1980, 1, 1, 0, 0, 0)
"""What zip says of a file without a date: the same label map is the same archive."""


def label_archive(label_map_ZYX: LabelMap, grid: Grid, class_names: Sequence[str]) -> bytes:
    """The zip. Its scale and translation are the grid's; the direction, which OME cannot say, is in `hilum`'s."""
    root = ome_zarr.label_group("labels", [grid], class_names)
    root["attributes"]["hilum"] = {"format_version": ome_zarr.FORMAT_VERSION, "grid": ome_zarr.grid_attributes(grid)}
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        archive.comment = json.dumps({"ome": {"version": ome_zarr.OME_VERSION}}).encode()
        archive.writestr(zipfile.ZipInfo("zarr.json", _MADE), json.dumps(root))
        for name, content in _array_files(label_map_ZYX):
            archive.writestr(zipfile.ZipInfo(f"{ome_zarr.IMAGE_ARRAY}/{name}", _MADE), content)
    return stream.getvalue()


def _array_files(label_map_ZYX: LabelMap) -> list[tuple[str, bytes]]:
    """The files of the array, its metadata first."""
    (z, y, x), width = label_map_ZYX.shape, label_map_ZYX.dtype.itemsize
    shape = (z, y, x)
    chunk = ome_zarr.chunk_shape_zyx(shape, _PATCH_ZYX, width)
    shard = ome_zarr.shard_shape_zyx(shape, chunk, width)
    metadata = json.dumps(ome_zarr.array_metadata(shape, chunk, shard, label_map_ZYX.dtype.name))
    context = ts.Context()
    memory: Any = ts.KvStore.open({"driver": "memory"}, context=context).result()
    memory.write("zarr.json", metadata.encode()).result()
    spec = {"driver": "zarr3", "kvstore": {"driver": "memory"}, "store_data_equal_to_fill_value": True}
    array = ts.open(spec, open=True, context=context).result()
    array.write(np.ascontiguousarray(label_map_ZYX)).result()
    return [(key.decode(), memory.read(key).result().value) for key in sorted(memory.list().result(), reverse=True)]
