"""What an exported file says of itself: whence it came, what it takes, what it answers, and how to normalise."""

import json
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from hilum.core.imaging import Volume
from hilum.store.layout import Store, exists
from hilum.store.manifest import MANIFEST, read_manifest
from hilum.store.volumes import volumes_of


def about(store: Store, checkpoint_id: str, card: Mapping[str, Any], *, precision: str) -> dict[str, str]:
    """What a file says of itself; every value is text, lists are JSON."""
    said = {
        "hilum_version": version("hilum"),
        "checkpoint": checkpoint_id,
        "question": card["question"],
        "class_names": json.dumps(card["class_names"]),
        "num_channels": str(card["in_channels"]),
        "spatial_dims": str(card["spatial_dims"]),
        "patch_shape_zyx": json.dumps(list(card["patch_shape_zyx"])),
        "architecture": json.dumps(card["architecture"]),
        "input": "images: float32 (N, C, Y, X), or (N, C, Z, Y, X) where spatial_dims is 3; any size",
        "output": "probabilities: float32, classes on axis 1, summing to 1",
        "normalisation": "clip((voxel - low) / (high - low), 0, 1); low and high are each volume's own, by 'window'",
        "precision": precision,
        "licence": str(card.get("licence", "unknown")),
    }
    return {**said, **_about_images(store, card)}


def _about_images(store: Store, card: Mapping[str, Any]) -> dict[str, str]:
    """Spacing, if all images share one, and the rule of the window, where the images are in this store."""
    volumes = volumes_behind(store, card)
    if not volumes:
        return {}
    prepared = read_manifest(store.run("ingest", card["inputs"]["ingest"])).recipe.get("prepare", {})
    said = {"window": json.dumps(prepared.get("window", {}))}
    spacings = {volume.grid.spacing_mm_zyx for volume in volumes}
    windows = {(volume.low, volume.high) for volume in volumes}
    if len(spacings) == 1:
        said["spacing_mm_zyx"] = json.dumps(list(spacings.pop()))
    if len(windows) == 1:
        said["low_high"] = json.dumps(list(windows.pop()))
    return said


def volumes_behind(store: Store, card: Mapping[str, Any]) -> list[Volume]:
    """The volumes of the ingest that a checkpoint was trained on, by id; none when they are not in this store."""
    ingest_id = card.get("inputs", {}).get("ingest")
    if ingest_id is None or not exists(f"{store.run('ingest', ingest_id)}/{MANIFEST}"):
        return []
    return sorted(volumes_of(store, ingest_id).values(), key=lambda volume: volume.volume_id)
