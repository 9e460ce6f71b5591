"""What calibrate sees in one shard: answers, embeddings and grey levels, none of which say whose they are.

Shape letters: N = windows (patches as the network sees them) or voxels, C = channels in, K = classes, D = embedding,
G = grey levels, Z, Y, X = space.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy

from hilum.core.candidates import as_image
from hilum.core.drift import Histogram
from hilum.core.geometry import Patch
from hilum.core.ids import content_id
from hilum.core.ports import Counts
from hilum.core.recipes import CalibrateRecipe, PoolRecipe
from hilum.core.resources import Resources
from hilum.nn.normalise import normalise
from hilum.nn.predictor import Predictor
from hilum.nn.temperature import Evidence, sample_voxels
from hilum.steps.calibrate_sample import Shard
from hilum.steps.evaluate import answer_region, num_together, window_shape
from hilum.steps.predictor import load_predictor
from hilum.store.layout import Store, exists
from hilum.store.manifest import read_bytes, write_bytes
from hilum.store.volumes import VolumeReader, open_volume

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

NUM_GREY_LEVELS = 1024


@dataclass(frozen=True)
class Windows:
    """One row a window: ``embedding`` (N, D), ``confidence`` (N) and ``answer`` (N).

    The answer is the likeliest class, or the share of voxels whose likeliest class is not 0.
    """

    embedding: Floats
    confidence: Floats
    answer: Floats

    def take(self, rows: Ints) -> "Windows":
        return Windows(self.embedding[rows], self.confidence[rows], self.answer[rows])


@dataclass(frozen=True)
class Seen:
    """What one shard shows: its windows, how often each grey level is there (C, G), and what its truths say."""

    windows: Windows
    grey: Ints
    evidence: Evidence
    num_items: int
    num_voxels: int


@dataclass(frozen=True)
class Look:
    """How every shard is looked at. Of a segmented item at most ``num_windows`` are kept."""

    store: Store
    checkpoint_id: str
    pool: PoolRecipe
    recipe: CalibrateRecipe
    parts_url: str
    resources: Resources
    num_windows: int

    def part_url(self, number: int) -> str:
        return f"{self.parts_url}/part-{number:05d}.safetensors"


def look_at_shard(shard: Shard, *, look: Look) -> Counts:
    """Write what the shard shows as a part of the run; a finished part is left alone."""
    if not exists(look.part_url(shard.number)):
        predictor = load_predictor(look.store, look.checkpoint_id, precision=look.resources.precision)
        seen = _seen(predictor, shard, look)
        write_bytes(look.part_url(shard.number), safetensors.numpy.save(_arrays(seen)))
    return {"number": shard.number}


def read_part(look: Look, number: int) -> Seen:
    """What a finished shard shows."""
    told = safetensors.numpy.load(read_bytes(look.part_url(number)))
    windows = Windows(told["embedding"], told["confidence"], told["answer"])
    evidence = Evidence(told["nll"], told["gap"], told["truth"])
    num_items, num_voxels = told["num"].tolist()
    return Seen(windows, told["grey"], evidence, num_items, num_voxels)


def together(parts: Sequence[Seen]) -> Seen | None:
    """Parts of one side as one; None where there are none."""
    if not parts:
        return None
    return Seen(
        _stacked([part.windows for part in parts]),
        np.sum([part.grey for part in parts], axis=0),
        sum((part.evidence for part in parts[1:]), parts[0].evidence),
        sum(part.num_items for part in parts),
        sum(part.num_voxels for part in parts),
    )


def grey_histogram(counts_G: Ints) -> Histogram:
    """One channel's grey levels, 0 to 1."""
    edges = np.arange(1, NUM_GREY_LEVELS) / NUM_GREY_LEVELS
    return Histogram(edges=tuple(edges.tolist()), counts=tuple(counts_G.tolist()))


def _seen(predictor: Predictor, shard: Shard, look: Look) -> Seen:
    by_items = shard.side == "validation" and predictor.card["question"] == "segment"
    found: list[Seen] = []
    for volume, patches in shard.patches:
        reader = open_volume(look.store, volume)
        if by_items:
            found += [_item(predictor, reader, region, look) for region in patches]
        else:
            found += _patches(predictor, reader, patches, look)
    seen = together(found)
    assert seen is not None, "a shard holds at least one patch"
    return seen


def _patches(predictor: Predictor, reader: VolumeReader, patches: Sequence[Patch], look: Look) -> list[Seen]:
    volume = reader.volume
    size = num_together(patches[0].shape_zyx, look.resources.score_batch_size)
    found = []
    for at in range(0, len(patches), size):
        batch = patches[at : at + size]
        images = [as_image(normalise(image, volume.low, volume.high)) for image in reader.read_many_CZYX(batch)]
        images_NCZYX = np.stack(images)
        probs_NK, windows = _answered(predictor, images_NCZYX, look)
        evidence, num_known = Evidence.none(predictor.num_classes), 0
        if probs_NK.ndim == 2 and volume.classes:
            truth_N = np.array([volume.classes[volume.item_index(patch)] for patch in batch])
            known_N = (truth_N >= 0) & (truth_N < predictor.num_classes)
            evidence = Evidence.of(probs_NK[known_N], truth_N[known_N], np.ones(known_N.sum()))
            num_known = int(known_N.sum())
        found.append(Seen(windows, _grey_counts(images_NCZYX), evidence, num_known, 0))
    return found


def _item(predictor: Predictor, reader: VolumeReader, region: Patch, look: Look) -> Seen:
    volume = reader.volume
    window = window_shape(volume, look.pool, predictor.card)
    asked: list[Windows] = []
    grey_CG = np.zeros((volume.num_channels, NUM_GREY_LEVELS), np.int64)

    def answer(images_NCZYX: Floats) -> Floats:
        probs_NKZYX, windows = _answered(predictor, images_NCZYX, look)
        asked.append(windows)
        return probs_NKZYX

    size = num_together(window, look.resources.score_batch_size)
    probs_KZYX = answer_region(reader, region, window, answer=answer, overlap=look.recipe.overlap, together=size)
    rng = np.random.default_rng([look.recipe.seed, int(content_id([region.volume_id, region.start_zyx]), 16)])
    windows = _stacked(asked)
    num = len(windows.confidence)
    kept = windows.take(np.sort(rng.choice(num, min(num, look.num_windows), replace=False)))
    if not volume.has_label_map:
        return Seen(kept, grey_CG, Evidence.none(predictor.num_classes), 0, 0)
    truth_ZYX = reader.read_label_map_ZYX(region)
    probs_NK, truth_N, weight_N = sample_voxels(probs_KZYX, truth_ZYX, look.recipe.voxels_per_item, rng)
    return Seen(kept, grey_CG, Evidence.of(probs_NK, truth_N, weight_N), 1, len(truth_N))


def _answered(predictor: Predictor, images_NCZYX: Floats, look: Look) -> tuple[Floats, Windows]:
    """Mean probabilities (N, K) or (N, K, Z, Y, X), and what is kept of each image."""
    members, seed = look.recipe.members, look.recipe.seed
    probs, embedding_ND = predictor.predict_and_embed(images_NCZYX, members=members, seed=seed)
    mean_NK: Floats = probs.mean(axis=0)
    likeliest, confidence = mean_NK.argmax(axis=1), mean_NK.max(axis=1)
    if mean_NK.ndim > 2:
        likeliest, confidence = (likeliest != 0).mean(axis=(1, 2, 3)), confidence.mean(axis=(1, 2, 3))
    return mean_NK, Windows(embedding_ND, confidence.astype(np.float32), likeliest.astype(np.float32))


def _grey_counts(images_NCZYX: Floats) -> Ints:
    """(C, G) how many voxels of each channel lie in each part of 0 … 1; a part holds its upper end."""
    places = np.clip(np.ceil(images_NCZYX * NUM_GREY_LEVELS).astype(np.int64) - 1, 0, NUM_GREY_LEVELS - 1)
    by_channel = np.moveaxis(places, 1, 0)
    return np.stack([np.bincount(channel.ravel(), minlength=NUM_GREY_LEVELS) for channel in by_channel])


def _stacked(windows: Sequence[Windows]) -> Windows:
    return Windows(
        np.concatenate([one.embedding for one in windows]),
        np.concatenate([one.confidence for one in windows]),
        np.concatenate([one.answer for one in windows]),
    )


def _arrays(seen: Seen) -> dict[str, npt.NDArray[Any]]:
    return {
        "embedding": seen.windows.embedding,
        "confidence": seen.windows.confidence,
        "answer": seen.windows.answer,
        "grey": seen.grey,
        "nll": seen.evidence.nll,
        "gap": seen.evidence.gap,
        "truth": seen.evidence.truth,
        "num": np.array([seen.num_items, seen.num_voxels]),
    }
