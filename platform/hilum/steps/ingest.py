"""ingest: files become volumes; a file that is not what it claims is quarantined, and the rest goes on.

Work goes out in shards of a few files. A worker reads, checks and writes, and leaves one
part file of rows behind; what comes back is a count. No name, path or patient gets into the
store: patients and sources are keyed hashes, and a volume's id is a hash of its content.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from hilum.core.errors import DataError, NotFoundError
from hilum.core.ids import content_id, pseudonym
from hilum.core.imaging import Study, Volume
from hilum.core.ports import Counts, Executor
from hilum.core.recipes import IngestRecipe
from hilum.core.resources import Resources
from hilum.core.sources import Reader, ReadImage, Source, SourceItem
from hilum.store.identity import identity_key, pseudonymous_tags, settled_key
from hilum.store.layout import Store, filesystem
from hilum.store.manifest import Manifest, Run, read_json, write_json
from hilum.store.tables import QUARANTINE, read_table, write_rows
from hilum.store.volumes import (
    stored_volume_ids,
    sweep_partials,
    volume_of_row,
    volume_row,
    volumes_of,
    write_volume,
    write_volume_table,
)

STEP_VERSION = 3
FILES_PER_SHARD = 8


@dataclass(frozen=True)
class _Plan:
    """What every worker must know."""

    store: Store
    run_url: str
    recipe: IngestRecipe
    class_names: tuple[str, ...]
    read: Reader
    root: str = field(repr=False)
    key: bytes = field(repr=False)

    def part(self, number: int) -> str:
        return f"{self.run_url}/parts/part-{number:05d}.json"


@dataclass(frozen=True)
class _Shard:
    number: int
    items: tuple[SourceItem, ...]


def run(
    recipe: IngestRecipe, source: Source, *, store: Store, executor: Executor, resources: Resources, read: Reader
) -> Manifest:
    """Ingest every file of ``source``. Raises DataError when not one of them can be used."""
    this = planned(recipe, source, store)
    before = finished(this, store)
    if before is not None:
        return before
    sweep_partials(store)
    names = recipe.class_names or source.class_names
    plan = _Plan(store, this.url, recipe, names, read, source.root, settled_key(store))
    shards = list(_shards(source.items))
    pending = [shard for shard in shards if not _is_done(plan.part(shard.number))]
    work = partial(_ingest_shard, plan)
    try:
        for _ in executor.map_shards(
            work, pending, label="ingest", resources=resources, num_workers=resources.num_ingest_workers
        ):
            pass
        parts = [read_json(plan.part(shard.number)) for shard in shards]
    except (NotFoundError, FileNotFoundError):
        first = finished(this, store)
        if first is None:
            raise
        # Another process at the same files was first and took the parts away.
        _tidy(this)
        return first
    return _publish(this, plan, parts)


def planned(recipe: IngestRecipe, source: Source, store: Store) -> Run:
    """The run that ingests these files, which may be there already."""
    return Run(store, "ingest", STEP_VERSION, recipe, {"source": source.fingerprint})


def finished(this: Run, store: Store) -> Manifest | None:
    """The run's manifest if it is done and every one of its volumes is still there, else None: do it again."""
    manifest = this.finished()
    if manifest is None or not set(volumes_of(store, this.run_id)) <= stored_volume_ids(store):
        return None
    return manifest


def quarantined_files(store: Store, manifest: Manifest, source: Source) -> list[tuple[str, str]]:
    """The refused files by name, each with its reason. Only who has the source and the key can tell."""
    key = identity_key(store)
    names = {_source_id(key, item): item.image for item in source.items}
    rows = read_table(f"{store.run('ingest', manifest.run_id)}/quarantine.parquet", QUARANTINE).to_pylist()
    return sorted((_printable(names.get(row["source"], row["source"])), row["reason"]) for row in rows)


def _printable(name: str) -> str:
    """A file's name as a terminal may show it: a name can hold bytes that are no text, or move the cursor."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in name)


def _shards(items: Sequence[SourceItem]) -> Iterator[_Shard]:
    for number, start in enumerate(range(0, len(items), FILES_PER_SHARD)):
        yield _Shard(number, tuple(items[start : start + FILES_PER_SHARD]))


def _is_done(part_url: str) -> bool:
    """A shard with refused files is tried again: the file may have been repaired or its disk mounted since."""
    try:
        return not read_json(part_url)["quarantined"]
    except NotFoundError:
        return False


def _ingest_shard(plan: _Plan, shard: _Shard) -> Counts:
    volumes: list[dict[str, Any]] = []
    refused: list[dict[str, str]] = []
    for item in shard.items:
        source_id = _source_id(plan.key, item)
        try:
            # All images of a file are checked before the first is written.
            images = list(_read(plan, item))
            digests = [image.image_digest() for image in images]
            described = [_describe(plan, item, *found) for found in zip(images, digests, strict=True)]
        except DataError as error:
            refused.append({"source": source_id, "reason": str(error)})
            continue
        for image, digest, volume in zip(images, digests, described, strict=True):
            written = _write(plan, image, volume)
            volumes.append({**written, "source": source_id, "image_digest": digest})
    write_json(plan.part(shard.number), {"volumes": volumes, "quarantined": refused})
    return {"shard": shard.number, "num_volumes": len(volumes), "num_quarantined": len(refused)}


def _read(plan: _Plan, item: SourceItem) -> Iterable[ReadImage]:
    recipe = plan.recipe
    return plan.read(plan.root, item, max_bytes=recipe.max_bytes, class_names=plan.class_names, prepare=recipe.prepare)


def _write(plan: _Plan, image: ReadImage, volume: Volume) -> dict[str, Any]:
    write_volume(
        plan.store,
        volume,
        image.image_czyx,
        image.label_map_zyx,
        patch_shape_zyx=plan.recipe.patch_shape_zyx,
        class_names=plan.class_names,
        num_coarser_levels=plan.recipe.num_coarser_levels,
    )
    return {
        "row": volume_row(volume),
        "class_names": list(image.class_names),
        "highest_label": -1 if image.label_map_zyx is None else int(image.label_map_zyx.max()),
    }


def _describe(plan: _Plan, item: SourceItem, image: ReadImage, image_digest: str) -> Volume:
    """The volume that an image will be. Its id is its content's, on every machine; its patient's is keyed."""
    _check_voxels(image, plan.class_names)
    classes = _classes(item, image, plan.class_names)
    side = image.side or item.side
    patient = image.patient or item.patient_or_file
    grid = image.grid
    place = [[round(v, 6) + 0.0 for v in vector] for vector in (grid.spacing_mm_zyx, grid.origin_mm_xyz)]
    turns = [[round(v, 6) + 0.0 for v in row] for row in grid.direction]
    content = [image_digest, image.label_digest(), place, turns, list(image.item_shape_zyx)]
    low, high = image.grey_range()
    # Without a window, low and high follow from the voxels.
    window = [] if image.window is None else [[low, high]]
    return Volume(
        volume_id=content_id([*content, list(classes), side, image.modality, image.intensity, *window]),
        study=Study(
            pseudonym(plan.key, "study", item.study_of(patient, image.study)), pseudonym(plan.key, "patient", patient)
        ),
        grid=grid,
        item_shape_zyx=image.item_shape_zyx,
        num_channels=image.image_czyx.shape[0],
        modality=image.modality,
        low=low,
        high=high,
        has_label_map=image.label_map_zyx is not None,
        classes=classes,
        side=side,
        tags=pseudonymous_tags(plan.key, patient, image.tags),
        flags=tuple(sorted(set(image.flags))),
    )


def _check_voxels(image: ReadImage, class_names: Sequence[str]) -> None:
    image.check_finite()
    labels = image.label_map_zyx
    if labels is not None and class_names and int(labels.max()) >= len(class_names):
        raise DataError(
            f"The label map holds {int(labels.max())}; the {len(class_names)} classes named are 0 to "
            f"{len(class_names) - 1}. Name every class in class_names, the background first."
        )


def _classes(item: SourceItem, image: ReadImage, names: Sequence[str]) -> tuple[int, ...]:
    """The class of every item of the image as an index into ``names``; empty when nothing is known."""
    num_items = image.num_items
    if item.class_name is not None:
        return (_class_id(item.class_name, names),) * num_items
    if not image.classes:
        return ()
    if len(image.classes) != num_items:
        raise DataError(f"{len(image.classes)} classes are given for {num_items} items; give one each (−1: unknown).")
    highest = max(image.classes)
    known = len(image.class_names) or len(names) or highest + 1
    if min(image.classes) < -1 or highest >= known:
        raise DataError(f"Classes must be −1 (unknown) to {known - 1}; {min(image.classes)} to {highest} are given.")
    if image.class_names and names:
        ids = [_class_id(name, names) for name in image.class_names]
        return tuple(-1 if c < 0 else ids[c] for c in image.classes)
    return image.classes


def _class_id(name: str, names: Sequence[str]) -> int:
    if name in names:
        return list(names).index(name)
    raise DataError(f"Class '{name}' is not one of the named classes: {', '.join(names) or 'none'}.")


def _publish(this: Run, plan: _Plan, parts: Sequence[dict[str, Any]]) -> Manifest:
    refused: list[dict[str, str]] = [row for part in parts for row in part["quarantined"]]
    kept: dict[str, dict[str, Any]] = {}
    for found in (row for part in parts for row in part["volumes"]):
        if kept.setdefault(found["image_digest"], found) is not found:
            reason = "The same voxels came with another file of this ingest; that one is kept."
            refused.append({"source": found["source"], "reason": reason})
    refused += _of_other_channels(kept)
    if not kept:
        raise DataError(f"None of the {len(refused)} files could be used. The first one: {refused[0]['reason']}")
    class_names = plan.class_names or _names_found(list(kept.values()))
    volumes = [volume_of_row(found["row"]) for found in kept.values()]
    write_volume_table(this.path("volumes.parquet"), volumes)
    refused.sort(key=lambda row: (row["source"], row["reason"]))
    write_rows(this.path("quarantine.parquet"), QUARANTINE, refused)
    manifest = this.commit(
        files=["volumes.parquet", "quarantine.parquet"],
        num_volumes=len(volumes),
        num_items=sum(volume.num_items for volume in volumes),
        num_quarantined=len(refused),
        num_patients=len({volume.study.patient_id for volume in volumes}),
        class_names=list(class_names),
    )
    _tidy(this)
    return manifest


def _tidy(this: Run) -> None:
    """Take the parts of a finished run away, unless another process is just doing so."""
    fs, parts = filesystem(this.path("parts"))
    with suppress(OSError):
        if fs.exists(parts):
            fs.rm(parts, recursive=True)


def _of_other_channels(kept: dict[str, dict[str, Any]]) -> list[dict[str, str]]:
    """Take out the volumes whose number of channels is not the commonest: one network reads them all."""
    tally = Counter(found["row"]["num_channels"] for found in kept.values())
    if len(tally) < 2:
        return []
    usual = min(tally, key=lambda channels: (-tally[channels], channels))
    others = [digest for digest, found in kept.items() if found["row"]["num_channels"] != usual]
    reason = "It has {} channels; most of this ingest have {}. Save all as grey or all as colour."
    return [
        {"source": found["source"], "reason": reason.format(found["row"]["num_channels"], usual)}
        for found in (kept.pop(digest) for digest in others)
    ]


def _names_found(found: Sequence[dict[str, Any]]) -> list[str]:
    """Class names when neither the recipe nor the source says them: the files' own, else numbers."""
    said = {tuple(row["class_names"]) for row in found if row["class_names"]}
    if len(said) > 1:
        raise DataError(f"Files disagree on the class names: {sorted(said)[:2]}. Name them once, in class_names.")
    if said:
        return list(said.pop())
    highest_label = max(row["highest_label"] for row in found)
    if highest_label >= 0:
        return ["background", *(f"class {label}" for label in range(1, highest_label + 1))]
    highest_class = max((c for row in found for c in row["row"]["classes"]), default=-1)
    return [f"class {c}" for c in range(highest_class + 1)]


def _source_id(key: bytes, item: SourceItem) -> str:
    return pseudonym(key, "source", item.image)
