"""Volumes at rest: OME-Zarr out, and the fastest reader that gives the same bytes in.

Shape letters: C = channels, Z, Y, X = space. A volume is written beside its place and
renamed (on an object store: its group metadata is the last PUT), so that a reader sees all
of it or nothing. Damage of any kind, a hole included, is a CorruptionError.
"""

import hashlib
import itertools
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import tensorstore as ts

from hilum.core.asking import LabelMap
from hilum.core.errors import CorruptionError, DataError, NotFoundError
from hilum.core.geometry import Grid, Patch, Zyx
from hilum.core.imaging import Side, Study, Volume
from hilum.store import ome_zarr, pyramids
from hilum.store.layout import Store, exists, filesystem, is_local
from hilum.store.manifest import read_bytes, read_manifest, verify
from hilum.store.partials import PARTIAL_SECONDS, SUFFIX, partial_folder, sweep
from hilum.store.sealed import is_sealed, seal
from hilum.store.tables import VOLUMES, read_table, write_rows
from hilum.store.zarr_arrays import ArrayReader, open_array

ZARR_JSON = "zarr.json"
TRUTH_ARRAY = f"{ome_zarr.TRUTH}/{ome_zarr.IMAGE_ARRAY}"
_UPLOAD = "hilum"
_PARTIAL_PLACES = ("*", "volumes/*", "runs/*/*/*", "runs/*/*/parts/*")
_OS_ERROR = re.compile(r"os_error_code='(\d+)'")
DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32")


class VolumeReader:
    """One open volume. Opening costs a millisecond, so keep it for as long as you read from it."""

    def __init__(self, url: str, volume: Volume):
        self.volume = volume
        self._url = url
        self._metadata = metadata_digests(url)
        self._image = self._open(ome_zarr.IMAGE_ARRAY)
        self._truth: ArrayReader | None = None

    def read_CZYX(self, patch: Patch) -> npt.NDArray[Any]:
        """The patch's voxels in the type they were stored in."""
        return self._image.read((slice(None), *self._box(patch)))

    def read_block_CZYX(self, start_zyx: Sequence[int], shape_zyx: Sequence[int]) -> npt.NDArray[Any]:
        """The voxels of any box of this volume: what several patches have in common is read once."""
        stop_zyx = [a + n for a, n in zip(start_zyx, shape_zyx, strict=True)]
        inside = all(0 <= a < b <= n for a, b, n in zip(start_zyx, stop_zyx, self.volume.grid.shape_zyx, strict=True))
        if not inside:
            raise self._outside(start_zyx, shape_zyx)
        z, y, x = (slice(int(a), int(b)) for a, b in zip(start_zyx, stop_zyx, strict=True))
        return self._image.read((slice(None), z, y, x))

    def read_many_CZYX(self, patches: Sequence[Patch]) -> list[npt.NDArray[Any]]:
        """Several patches, with all reads in flight together."""
        return self._image.read_many([(slice(None), *self._box(patch)) for patch in patches])

    def read_label_map_ZYX(self, patch: Patch) -> LabelMap:
        """The true label of every voxel of the patch. For the oracle, for evaluate, and where a recipe names it."""
        if self._truth is None:
            if not self.volume.has_label_map:
                raise DataError(f"Volume {self.volume.volume_id} has no label map; ingest it with one to read it.")
            self._truth = self._open(TRUTH_ARRAY)
        return self._truth.read(self._box(patch))

    def _open(self, array: str) -> ArrayReader:
        """An array of this volume, once its metadata is known to be what was written."""
        name = f"{array}/{ZARR_JSON}"
        wrong = changed_metadata(self._url, {name: self._metadata.get(name, "")}) if self._metadata else []
        if wrong:
            raise CorruptionError(f"{self._url}: {wrong[0]}. Restore it, or ingest the volume again.")
        return open_array(f"{self._url}/{array}")

    def _box(self, patch: Patch) -> tuple[slice, slice, slice]:
        shape = self.volume.grid.shape_zyx
        inside = all(0 <= a < b <= n for a, b, n in zip(patch.start_zyx, patch.stop_zyx, shape, strict=True))
        if patch.volume_id != self.volume.volume_id or not inside:
            raise self._outside(patch.start_zyx, patch.shape_zyx, patch.volume_id)
        return patch.slices

    def _outside(self, start_zyx: Sequence[int], shape_zyx: Sequence[int], volume_id: str = "") -> DataError:
        return DataError(
            f"Patch {tuple(start_zyx)}+{tuple(shape_zyx)} of volume {volume_id or self.volume.volume_id} does not lie "
            f"in volume {self.volume.volume_id} of shape {self.volume.grid.shape_zyx} (Z, Y, X)."
        )


def open_volume(store: Store, volume: Volume) -> VolumeReader:
    """A reader of one volume. A volume whose metadata is gone or damaged is a CorruptionError."""
    return VolumeReader(store.volume(volume.volume_id), volume)


def volume_exists(store: Store, volume_id: str) -> bool:
    """True when a volume is there, and therefore whole."""
    return exists(f"{store.volume(volume_id)}/{ZARR_JSON}")


def stored_volume_ids(store: Store) -> set[str]:
    """The ids of all volumes there are, by one look at their folder."""
    fs, folder = filesystem(store.path("volumes"))
    fs.invalidate_cache()
    there = [str(path).rstrip("/").rsplit("/", 1)[-1] for path in fs.glob(f"{folder.rstrip('/')}/*.zarr")]
    return {name.removesuffix(".zarr") for name in there}


def write_volume(
    store: Store,
    volume: Volume,
    image_CZYX: npt.NDArray[Any],
    label_map_ZYX: LabelMap | None,
    *,
    patch_shape_zyx: Zyx,
    class_names: Sequence[str] = (),
    num_coarser_levels: int | None = None,
) -> bool:
    """Write a volume, whole or not at all. Returns False when it was there already; it is then left alone.

    Without ``num_coarser_levels`` only a large volume (`pyramids`) has coarser levels beside its own.
    """
    _check(volume, image_CZYX, label_map_ZYX)
    if volume_exists(store, volume.volume_id):
        return False
    target = store.volume(volume.volume_id)
    grids = pyramids.level_grids(volume, num_coarser_levels)

    def fill(folder: str) -> None:
        for level, image in enumerate(itertools.chain([image_CZYX], pyramids.coarser_images(image_CZYX, grids))):
            _write_array(f"{folder}/{level}", image, volume, patch_shape_zyx)
        if label_map_ZYX is not None:
            label_maps = itertools.chain([label_map_ZYX], pyramids.coarser_label_maps(label_map_ZYX, grids))
            for level, label_map in enumerate(label_maps):
                _write_array(f"{folder}/{ome_zarr.TRUTH}/{level}", label_map, volume, patch_shape_zyx)
            _write_metadata(f"{folder}/{ome_zarr.TRUTH}", ome_zarr.truth_group(grids, class_names))
            _write_metadata(f"{folder}/labels", ome_zarr.labels_group())
        _write_bytes(folder, seal(ome_zarr.image_group(volume, grids, _digests(Path(folder))), sort_keys=False))

    return _rename_into_place(target, fill) if is_local(target) else _upload(target, fill)


def sweep_partials(store: Store, *, older_than_seconds: float = PARTIAL_SECONDS) -> int:
    """Remove what killed writers left on a local disk. Returns how many files and folders went."""
    temporary = sweep(Path(tempfile.gettempdir()).glob(f"{_UPLOAD}.*{SUFFIX}"), older_than_seconds=older_than_seconds)
    if not is_local(store.url):
        return temporary
    root = Path(filesystem(store.url)[1])
    left = (path for place in _PARTIAL_PLACES for path in root.glob(f"{place}{SUFFIX}"))
    return temporary + sweep(left, older_than_seconds=older_than_seconds)


def write_volume_table(url: str, volumes: Iterable[Volume]) -> int:
    """Write ``volumes.parquet``, sorted by volume id; returns how many."""
    return write_rows(url, VOLUMES, [volume_row(v) for v in sorted(volumes, key=lambda v: v.volume_id)])


def volumes_of(store: Store, ingest_id: str) -> dict[str, Volume]:
    """Every volume of a finished ingest, by volume id."""
    url = store.run("ingest", ingest_id)
    damage = verify(url, read_manifest(url))
    if damage:
        raise CorruptionError(f"{url}: {damage[0]}. Restore it, or delete this folder and ingest the files again.")
    rows = read_table(f"{url}/volumes.parquet", VOLUMES).to_pylist()
    return {row["volume_id"]: volume_of_row(row) for row in rows}


def volume_row(volume: Volume) -> dict[str, Any]:
    """A volume as one row of the `volumes` table."""
    return {
        "volume_id": volume.volume_id,
        "study_id": volume.study.study_id,
        "patient_id": volume.study.patient_id,
        "shape_zyx": list(volume.grid.shape_zyx),
        "item_shape_zyx": list(volume.item_shape_zyx),
        "spacing_mm_zyx": list(volume.grid.spacing_mm_zyx),
        "origin_mm_xyz": list(volume.grid.origin_mm_xyz),
        "direction": [cosine for row in volume.grid.direction for cosine in row],
        "num_channels": volume.num_channels,
        "modality": volume.modality,
        "low": volume.low,
        "high": volume.high,
        "has_label_map": volume.has_label_map,
        "classes": list(volume.classes),
        "side": volume.side,
        "tags": json.dumps(dict(sorted(volume.tags.items()))),
        "flags": list(volume.flags),
    }


def volume_of_row(row: dict[str, Any]) -> Volume:
    """The volume that a row of the `volumes` table describes."""
    cosines = [float(cosine) for cosine in row["direction"]]
    side: Side | None = next((s for s in get_args(Side) if s == row["side"]), None)
    grid = Grid(
        _zyx(row["shape_zyx"]),
        _mm(row["spacing_mm_zyx"]),
        _mm(row["origin_mm_xyz"]),
        (_mm(cosines[0:3]), _mm(cosines[3:6]), _mm(cosines[6:9])),
    )
    return Volume(
        volume_id=row["volume_id"],
        study=Study(row["study_id"], row["patient_id"]),
        grid=grid,
        item_shape_zyx=_zyx(row["item_shape_zyx"]),
        num_channels=row["num_channels"],
        modality=row["modality"],
        low=row["low"],
        high=row["high"],
        has_label_map=row["has_label_map"],
        classes=tuple(row["classes"]),
        side=side,
        # Absent from tables of version 1.
        tags=json.loads(row.get("tags") or "{}"),
        flags=tuple(row.get("flags") or ()),
    )


def metadata_digests(url: str) -> dict[str, str]:
    """The SHA-256 of every other zarr.json of the volume at ``url``, once its root is known to be as written.

    Empty for a volume of format 1, which had none.
    """
    payload = _root_metadata(url)
    try:
        said = json.loads(payload)["attributes"]["hilum"]
        found = int(said["format_version"])
    except (ValueError, KeyError, TypeError):
        raise _not_whole(url) from None
    if found > ome_zarr.FORMAT_VERSION:
        raise CorruptionError(f"{url} has volume format {found}; this hilum reads up to {ome_zarr.FORMAT_VERSION}.")
    if found == ome_zarr.UNSEALED_FORMAT:
        return {}
    if not is_sealed(payload, said.get("sha256")):
        raise CorruptionError(f"{url}: {ZARR_JSON} changed since it was written. Restore it, or ingest again.")
    return {str(name): str(digest) for name, digest in said["metadata"].items()}


def changed_metadata(url: str, digests: Mapping[str, str]) -> list[str]:
    """The metadata files of a volume that are missing or changed, each with its reason."""
    wrong = []
    for name, digest in digests.items():
        try:
            if hashlib.sha256(read_bytes(f"{url}/{name}")).hexdigest() != digest:
                wrong.append(f"{name}: changed since it was written")
        except NotFoundError:
            wrong.append(f"{name}: missing")
    return wrong


def _root_metadata(url: str) -> bytes:
    try:
        return read_bytes(f"{url}/{ZARR_JSON}")
    except NotFoundError:
        raise _not_whole(url) from None


def _not_whole(url: str) -> CorruptionError:
    return CorruptionError(f"{url} is not a whole volume: ingest its source again.")


def _check(volume: Volume, image_CZYX: npt.NDArray[Any], label_map_ZYX: LabelMap | None) -> None:
    wanted = (volume.num_channels, *volume.grid.shape_zyx)
    if image_CZYX.shape != wanted:
        raise DataError(f"Volume {volume.volume_id}: the image is {image_CZYX.shape}; its grid says {wanted} (CZYX).")
    if image_CZYX.dtype.name not in DTYPES:
        raise DataError(f"Volume {volume.volume_id}: cannot store {image_CZYX.dtype}; give one of {', '.join(DTYPES)}.")
    if (label_map_ZYX is not None) != volume.has_label_map:
        raise DataError(f"Volume {volume.volume_id}: has_label_map and the label map given contradict each other.")
    if label_map_ZYX is not None and (
        label_map_ZYX.shape != volume.grid.shape_zyx or label_map_ZYX.dtype != np.dtype(np.uint16)
    ):
        raise DataError(
            f"Volume {volume.volume_id}: the label map is {label_map_ZYX.dtype} {label_map_ZYX.shape}; "
            f"give uint16 of the image's {volume.grid.shape_zyx} (ZYX)."
        )


def _write_array(folder: str, array: npt.NDArray[Any], volume: Volume, patch_shape_zyx: Zyx) -> None:
    """``array`` is (C, Z, Y, X) or (Z, Y, X), and is written with every chunk, the empty ones too."""
    num_channels = array.shape[0] if array.ndim == 4 else 1
    together = num_channels if num_channels <= 4 else 1
    voxel_bytes = array.dtype.itemsize * together
    depth, height, width = array.shape[-3:]
    item_shape_zyx = (depth // volume.num_items, height, width)
    chunk = ome_zarr.stack_chunk_shape_zyx(item_shape_zyx, volume.num_items, patch_shape_zyx, voxel_bytes)
    shard = ome_zarr.shard_shape_zyx((depth, height, width), chunk, voxel_bytes)
    channels = [together] if array.ndim == 4 else []
    metadata = ome_zarr.array_metadata(array.shape, [*channels, *chunk], [*channels, *shard], array.dtype.name)
    _write_metadata(folder, metadata)
    spec = {
        "driver": "zarr3",
        "kvstore": {"driver": "file", "path": f"{folder}/"},
        "context": {"file_io_sync": False},  # _flush does it for all files together
        "store_data_equal_to_fill_value": True,
    }
    try:
        # The array lives until the write has ended, so that it need not be copied first.
        writing = ts.open(spec, open=True).result()
        writing.write(np.ascontiguousarray(array), can_reference_source_data_indefinitely=True).result()
    except ValueError as error:
        raise _of_the_disk(error, volume) from None


def _of_the_disk(error: ValueError, volume: Volume) -> Exception:
    """The OSError that tensorstore met (a full disk, a limit, a fault), or ``error`` if it met none."""
    said = _OS_ERROR.search(str(error))
    if said is None:
        return error
    return OSError(int(said[1]), os.strerror(int(said[1])), f"volume {volume.volume_id}")


def _write_metadata(folder: str, content: dict[str, Any]) -> None:
    _write_bytes(folder, json.dumps(content, indent=2).encode() + b"\n")


def _write_bytes(folder: str, metadata: bytes) -> None:
    Path(folder).mkdir(parents=True, exist_ok=True)
    Path(folder, ZARR_JSON).write_bytes(metadata)


def _digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of every metadata file written so far, by its path in the volume."""
    written = sorted(folder.rglob(ZARR_JSON))
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in written}


def _flush(folder: Path) -> None:
    """Force every file to the disk. Together, because a journal commits waiting files as one."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    with ThreadPoolExecutor(max_workers=8) as pool:
        list(pool.map(_fsync, files))


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _rename_into_place(target: str, fill: Callable[[str], None]) -> bool:
    _, path = filesystem(target)
    with partial_folder(Path(path).parent, name=Path(path).name) as partial:
        fill(str(partial))
        _flush(partial)
        try:
            partial.rename(path)
        except OSError:
            # A folder that is not empty cannot be renamed over: another writer was first, with the same content.
            if not exists(f"{target}/{ZARR_JSON}"):
                raise
            return False
    return True


def _upload(target: str, fill: Callable[[str], None]) -> bool:
    fs, path = filesystem(target)
    with partial_folder(Path(tempfile.gettempdir()), name=_UPLOAD) as partial:
        fill(str(partial))
        # The root's metadata makes the volume exist, so it goes last.
        files = sorted((p for p in partial.rglob("*") if p.is_file()), key=lambda p: (p == partial / ZARR_JSON, str(p)))
        for file in files:
            fs.pipe_file(f"{path}/{file.relative_to(partial).as_posix()}", file.read_bytes())
    return True


def _zyx(sizes: Sequence[int]) -> Zyx:
    z, y, x = (int(size) for size in sizes)
    return z, y, x


def _mm(lengths: Sequence[float]) -> tuple[float, float, float]:
    a, b, c = (float(length) for length in lengths)
    return a, b, c
