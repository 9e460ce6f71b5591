"""The Parquet tables on disk: one schema each, each with a version in its metadata."""

from collections.abc import Iterable, Mapping
from io import BytesIO
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hilum.core.errors import CorruptionError
from hilum.store.manifest import read_bytes, write_bytes

_ZYX = pa.list_(pa.int32(), 3)
_BOX = [("candidate_id", pa.string()), ("volume_id", pa.string()), ("start_zyx", _ZYX), ("shape_zyx", _ZYX)]


def _schema(name: str, version: int, fields: list[tuple[str, pa.DataType]]) -> pa.Schema:
    return pa.schema(fields, metadata={"hilum_table": name, "hilum_version": str(version)})


VOLUMES = _schema(
    "volumes",
    2,
    [
        ("volume_id", pa.string()),
        ("study_id", pa.string()),
        ("patient_id", pa.string()),
        ("shape_zyx", _ZYX),
        ("item_shape_zyx", _ZYX),
        ("spacing_mm_zyx", pa.list_(pa.float64(), 3)),
        ("origin_mm_xyz", pa.list_(pa.float64(), 3)),
        ("direction", pa.list_(pa.float64(), 9)),
        ("num_channels", pa.int32()),
        ("modality", pa.string()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("has_label_map", pa.bool_()),
        ("classes", pa.list_(pa.int32())),
        ("side", pa.string()),
        ("tags", pa.string()),
        ("flags", pa.list_(pa.string())),
    ],
)
QUARANTINE = _schema("quarantine", 1, [("source", pa.string()), ("reason", pa.string())])
POOL = _schema("pool", 1, [*_BOX, ("patient_id", pa.string())])
SELECTION = _schema(
    "selection",
    4,
    [
        *_BOX,
        ("patient_id", pa.string()),
        ("rank", pa.int32()),
        ("arm", pa.string()),
        ("score", pa.float64()),
        ("reason", pa.string()),
        ("nearest_labelled_id", pa.string()),
        ("nearest_labelled_distance", pa.float64()),
        ("predicted_seconds", pa.float64()),
        ("answered_by", pa.list_(pa.string())),
    ],
)
ANNOTATIONS = _schema(
    "annotations",
    1,
    [
        *_BOX,
        ("annotation_id", pa.string()),
        ("revision", pa.int32()),
        ("annotator", pa.string()),
        ("answered_at", pa.timestamp("us", tz="UTC")),
        ("seconds", pa.float64()),
        ("class_id", pa.int32()),
        ("voxels_zstd", pa.binary()),
    ],
)
CORE_SET = _schema("core_set", 1, [("weight", pa.int64())])
"""The columns of the score run's parts, and the weight."""
METRICS = _schema(
    "metrics",
    2,
    [
        ("side", pa.string()),
        ("metric", pa.string()),
        ("class_name", pa.string()),
        ("value", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("num_items", pa.int64()),
        ("num_patients", pa.int64()),
        ("size_band", pa.string()),
        ("reason", pa.string()),
    ],
)
PATIENT_METRICS = _schema(
    "patient_metrics",
    1,
    [
        ("side", pa.string()),
        ("patient_id", pa.string()),
        ("metric", pa.string()),
        ("class_name", pa.string()),
        ("size_band", pa.string()),
        ("value", pa.float64()),
        ("num_items", pa.int64()),
        ("reason", pa.string()),
    ],
)
TRIALS = _schema(
    "trials",
    1,
    [
        ("number", pa.int32()),
        ("settings", pa.string()),
        ("end", pa.string()),
        ("step", pa.int32()),
        ("score", pa.float64()),
        ("metric", pa.string()),
        ("trial_id", pa.string()),
        ("checkpoint", pa.string()),
        ("reason", pa.string()),
    ],
)
DISCOVERED = _schema(
    "discovered",
    1,
    [
        ("number", pa.int32()),
        ("class_id", pa.int32()),
        ("volume_id", pa.string()),
        ("start_zyx", _ZYX),
        ("shape_zyx", _ZYX),
    ],
)
SNAPSHOT_FILES = _schema(
    "snapshot_files",
    1,
    [("path", pa.string()), ("num_bytes", pa.int64()), ("sha256", pa.string()), ("stamp", pa.string())],
)


def scores_schema(
    scorers: Iterable[str], *, keep_members: bool = False, keep_views: bool = False, knows_foreground: bool = False
) -> pa.Schema:
    """One row a candidate: every scorer's value, the predicted class, mean class probabilities, the embedding.

    ``member_probs``, where it is kept: every class of the first member, then of the second, …
    ``view_embedding``, where it is kept: the embedding of the first view, then of the second, …; ``foreground``, where
    the recipe says what knows it, since version 2.
    """
    fields: list[tuple[str, pa.DataType]] = [("candidate_id", pa.string())]
    fields += [(f"score_{name}", pa.float32()) for name in scorers]
    fields += [("predicted_class", pa.int32()), ("class_fractions", pa.list_(pa.float32()))]
    fields += [("member_probs", pa.list_(pa.float16()))] if keep_members else []
    fields += [("view_embedding", pa.list_(pa.float16()))] if keep_views else []
    fields += [("foreground", pa.float32())] if knows_foreground else []
    return _schema("scores", 2, [*fields, ("embedding", pa.list_(pa.float16()))])


def write_rows(url: str, schema: pa.Schema, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write ``rows`` as one Parquet file, whole or not at all; returns how many."""
    table = pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
    write_table(url, table)
    return int(table.num_rows)


def write_table(url: str, table: pa.Table) -> None:
    sink = BytesIO()
    pq.write_table(table, sink, compression="zstd")
    write_bytes(url, sink.getvalue())


def read_table(url: str, schema: pa.Schema | None = None, columns: list[str] | None = None) -> pa.Table:
    """Read one Parquet file. A table of another kind or a newer version is refused."""
    try:
        table = pq.read_table(BytesIO(read_bytes(url)), columns=columns)
    except (pa.ArrowInvalid, OSError) as error:
        raise CorruptionError(f"{url} is not a readable Parquet file: {error}.") from None
    if schema is not None:
        _check(url, table.schema.metadata or {}, schema.metadata)
    return table


def _check(url: str, found: Mapping[bytes, bytes], wanted: Mapping[bytes, bytes]) -> None:
    if found.get(b"hilum_table") != wanted[b"hilum_table"]:
        raise CorruptionError(f"{url} is not a '{wanted[b'hilum_table'].decode()}' table.")
    if int(found[b"hilum_version"]) > int(wanted[b"hilum_version"]):
        raise CorruptionError(f"{url} has table version {found[b'hilum_version'].decode()}, newer than this hilum.")
