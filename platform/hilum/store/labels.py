"""Answers at rest, and label sets: immutable snapshots that name the runs their answers came from.

Label patches are zstd-compressed little-endian uint16 in C order (Z, Y, X); 65,535 is a
voxel nobody has answered.
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hilum.core.agreement import agreed_id, by_majority, votes_of
from hilum.core.asking import Annotation, LabelMap
from hilum.core.errors import CorruptionError
from hilum.core.geometry import Patch, Zyx
from hilum.store.layout import Store, exists
from hilum.store.manifest import Manifest, find_manifest, read_manifest, write_manifest
from hilum.store.selections import read_selection
from hilum.store.tables import ANNOTATIONS, read_table, write_rows

NONE = "none"
"""How a manifest writes an input that is not there."""

ANNOTATIONS_FILE = "annotations.parquet"
DECLINED = "declined"
"""A collect run's result that says whom people would not answer about, and why."""
AGREED_FILE = "agreed.parquet"
"""What stands for several answers about one patch, where a collect run settled it otherwise than by majority."""

_STEP_VERSION = 1
_VOXELS = np.dtype("<u2")


def write_annotations(url: str, annotations: Iterable[Annotation]) -> int:
    """Write answers as one table, sorted, so that the same answers are the same bytes."""
    ordered = sorted(annotations, key=lambda a: (a.patch.candidate_id, a.annotation_id, a.revision))
    return write_rows(url, ANNOTATIONS, map(_to_row, ordered))


def read_annotations(url: str, *, candidate_ids: Collection[str] | None = None) -> list[Annotation]:
    """All answers of a table, or those about some candidates alone."""
    table = read_table(url, ANNOTATIONS)
    if candidate_ids is not None:
        table = table.filter(pc.is_in(table["candidate_id"], pa.array(sorted(candidate_ids), pa.string())))
    return [_from_row(row) for row in table.to_pylist()]


def commit_label_set(store: Store, collect_run_id: str, parent_id: str | None) -> Manifest:
    """Publish the label set that adds a collect run's answers to those of its parent. It has the run's id."""
    url = store.label_set(collect_run_id)
    manifest = Manifest(
        step="labels",
        step_version=_STEP_VERSION,
        run_id=collect_run_id,
        recipe={},
        inputs={"collect": collect_run_id, "parent": parent_id or NONE},
    )
    write_manifest(url, manifest)
    return read_manifest(url)


def lineage(store: Store, label_set_id: str) -> list[Manifest]:
    """The manifests of a label set and its ancestors, the oldest first."""
    manifests: list[Manifest] = []
    seen: set[str] = set()
    while label_set_id != NONE:
        if label_set_id in seen:
            raise CorruptionError(f"Label set {label_set_id} is its own ancestor; its manifest was changed.")
        seen.add(label_set_id)
        manifests.append(read_manifest(store.label_set(label_set_id)))
        label_set_id = manifests[-1].inputs["parent"]
    return manifests[::-1]


def read_answers(store: Store, label_set_id: str) -> list[Annotation]:
    """One answer for each patch that a label set and its ancestors answer, sorted by candidate.

    Where several people answered, what they agree on: as the collect run that took in the last of their answers
    settled it, and by majority where it did not.
    """
    settled: dict[tuple[str, int], Annotation] = {}
    for url in _collected(store, label_set_id):
        if exists(f"{url}/{AGREED_FILE}"):
            settled |= {(one.annotation_id, one.revision): one for one in read_annotations(f"{url}/{AGREED_FILE}")}
    everybodys = read_everybodys_answers(store, label_set_id)
    by_patch = {candidate_id: votes_of(answers) for candidate_id, answers in everybodys.items()}
    return [
        settled.get((agreed_id(candidate_id), len(votes))) or by_majority(votes)
        for candidate_id, votes in sorted(by_patch.items())
    ]


def read_everybodys_answers(store: Store, label_set_id: str) -> dict[str, list[Annotation]]:
    """Every answer of a label set and its ancestors by candidate, in the order in which they were collected.

    Of one answer the newest revision.
    """
    newest: dict[str, Annotation] = {}
    for url in _collected(store, label_set_id):
        for annotation in read_annotations(f"{url}/{ANNOTATIONS_FILE}"):
            before = newest.get(annotation.annotation_id)
            if before is None or annotation.revision >= before.revision:
                newest[annotation.annotation_id] = annotation
    by_patch: dict[str, list[Annotation]] = {}
    for annotation in newest.values():
        by_patch.setdefault(annotation.patch.candidate_id, []).append(annotation)
    return by_patch


def _collected(store: Store, label_set_id: str) -> list[str]:
    """The collect runs of a label set and its ancestors, the oldest first."""
    return [store.run("collect", manifest.inputs["collect"]) for manifest in lineage(store, label_set_id)]


def read_declined(store: Store, label_set_id: str) -> list[Patch]:
    """What people looked at and would not answer, in a label set and its ancestors."""
    patches = []
    for manifest in lineage(store, label_set_id):
        collected = find_manifest(store.run("collect", manifest.inputs["collect"]))
        if collected is None:
            continue  # labels that came without their run
        declined = collected.results.get(DECLINED, {})
        if declined:
            chosen = read_selection(store, collected.inputs["select"])
            patches += [one.candidate.patch for one in chosen if one.candidate.candidate_id in declined]
    return patches


def pack_label_map(label_map_zyx: LabelMap) -> bytes:
    """A label map as it lies on disk."""
    raw = np.ascontiguousarray(label_map_zyx, dtype=_VOXELS).tobytes()
    return bytes(pa.Codec("zstd").compress(raw, asbytes=True))


def unpack_label_map(packed: bytes, shape_zyx: Zyx) -> LabelMap:
    """The label map that `pack_label_map` packed; CorruptionError when it is not one of this shape."""
    size = int(np.prod(shape_zyx)) * _VOXELS.itemsize
    try:
        raw = pa.Codec("zstd").decompress(packed, decompressed_size=size, asbytes=True)
        voxels = np.frombuffer(raw, dtype=_VOXELS).reshape(shape_zyx)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise CorruptionError(f"A label patch of shape {shape_zyx} (Z, Y, X) cannot be unpacked: {error}.") from None
    return voxels.astype(np.uint16)


def _to_row(annotation: Annotation) -> dict[str, Any]:
    patch = annotation.patch
    return {
        "candidate_id": patch.candidate_id,
        "volume_id": patch.volume_id,
        "start_zyx": list(patch.start_zyx),
        "shape_zyx": list(patch.shape_zyx),
        "annotation_id": annotation.annotation_id,
        "revision": annotation.revision,
        "annotator": annotation.annotator,
        "answered_at": annotation.answered_at.astimezone(UTC),
        "seconds": annotation.seconds,
        "class_id": annotation.class_id,
        "voxels_zstd": None if annotation.label_map_zyx is None else pack_label_map(annotation.label_map_zyx),
    }


def _from_row(row: Mapping[str, Any]) -> Annotation:
    patch = Patch(row["volume_id"], tuple(row["start_zyx"]), tuple(row["shape_zyx"]))
    packed = row["voxels_zstd"]
    return Annotation(
        annotation_id=row["annotation_id"],
        revision=row["revision"],
        patch=patch,
        annotator=row["annotator"],
        answered_at=row["answered_at"],
        seconds=row["seconds"],
        class_id=row["class_id"],
        label_map_zyx=None if packed is None else unpack_label_map(packed, patch.shape_zyx),
    )
