"""Drafts of Label Studio tasks by a model's champion, one batch at a time in one process."""

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from hilum.adapters.label_studio.asked import ASKED_KEY, Asked, asked_from_json
from hilum.adapters.label_studio.drafts import outline_draft, probability_draft
from hilum.adapters.label_studio.links import place_of
from hilum.adapters.label_studio.prompts import outlined, prompts_of
from hilum.core.candidates import as_image, from_image
from hilum.core.errors import DataError, NotFoundError, RequestError
from hilum.core.geometry import Patch
from hilum.core.imaging import Volume
from hilum.core.ports import AliasLedger
from hilum.nn.normalise import normalise
from hilum.steps.predictor import load_predictor
from hilum.steps.promote import CHAMPION
from hilum.store.layout import Store
from hilum.store.volumes import open_volume, volumes_of

INTENSITY = "intensity"
"""The model_version of outlines that follow grey levels and no model."""

Probabilities = npt.NDArray[np.float32]
_BATCH = 8
_NUM_INGESTS = 4
_NUM_REMEMBERED = 16
_MOST_REMEMBERED_BYTES = 64 << 20


class Drafter:
    """Predictions for tasks that hilum published. Its calls wait for one another: a model fills the machine."""

    def __init__(self, store: Store, ledger: AliasLedger, model: str) -> None:
        self._store, self._ledger, self._model = store, ledger, model
        self._lock = threading.Lock()
        self._volumes: OrderedDict[str, Mapping[str, Volume]] = OrderedDict()
        self._remembered: OrderedDict[tuple[str, str], Probabilities] = OrderedDict()

    def champion(self) -> str | None:
        """The checkpoint that drafts now; None where the model has no champion yet."""
        return self._ledger.alias(self._model, CHAMPION)

    def whole(self, tasks: Sequence[object]) -> list[dict[str, Any]]:
        """One prediction a task, in order; an empty one for a task that is not hilum's, or not of this store.

        NotFoundError while there is no champion.
        """
        checkpoint_id = self.champion()
        if checkpoint_id is None:
            raise NotFoundError(f"Model '{self._model}' has no champion yet.")
        known = [_known(task) for task in tasks]
        with self._lock:
            items = [(k, *found) for k, one in enumerate(known) if one and (found := self._located(*one))]
            predictions: list[dict[str, Any]] = [_empty(checkpoint_id) for _ in tasks]
            for k, asked, probs in self._in_batches(items, checkpoint_id):
                predictions[k] = probability_draft(asked, probs, score=_surety(probs), checkpoint_id=checkpoint_id)
        return predictions

    def pointed_at(self, task: object, context: object) -> dict[str, Any]:
        """The outline of what a click, box or scribble means. DataError where the task or the context is unusable."""
        known = _known(task)
        with self._lock:
            located = self._located(*known) if known else None
        if located is None:
            raise DataError("The task is not one that hilum published from this store.")
        asked, volume = located
        if asked.kind != "segment":
            raise DataError(f"Outlines are for questions of kind 'segment'; this one is '{asked.kind}'.")
        prompts = prompts_of(context, asked)
        checkpoint_id = self.champion()
        if not prompts:
            return _empty(checkpoint_id or INTENSITY)
        with self._lock:
            image_CZYX = open_volume(self._store, volume).read_CZYX(asked.pages.patch)
            probs = None if checkpoint_id is None else self._probabilities(checkpoint_id, asked, volume, image_CZYX)
        label_map_ZYX = outlined(asked, prompts, image_CZYX.mean(axis=0, dtype=np.float32), probs)
        score = 0.0 if probs is None else _surety(probs)
        return outline_draft(asked, label_map_ZYX, score=score, checkpoint_id=checkpoint_id or INTENSITY)

    def _probabilities(
        self, checkpoint_id: str, asked: Asked, volume: Volume, image_CZYX: npt.NDArray[Any]
    ) -> Probabilities | None:
        """Of every voxel of the patch, remembered for the next click; None where the model answers another question."""
        key = checkpoint_id, asked.candidate_id
        if key in self._remembered:
            self._remembered.move_to_end(key)
            return self._remembered[key]
        image = as_image(normalise(image_CZYX, volume.low, volume.high))
        probs_C = load_predictor(self._store, checkpoint_id).predict(image[None]).mean(axis=0)[0]
        if probs_C.ndim != 4 or len(probs_C) != len(asked.class_names):
            return None
        probs = from_image(probs_C, asked.pages.patch.shape_zyx)
        self._remembered[key] = probs
        while len(self._remembered) > _NUM_REMEMBERED or (
            len(self._remembered) > 1 and sum(p.nbytes for p in self._remembered.values()) > _MOST_REMEMBERED_BYTES
        ):
            self._remembered.popitem(last=False)
        return probs

    def _in_batches(
        self, items: Sequence[tuple[int, Asked, Volume]], checkpoint_id: str
    ) -> Iterator[tuple[int, Asked, Probabilities]]:
        """(place, question, probabilities (C,) or (C, Z, Y, X)) of every task, patches of one shape together."""
        predictor = load_predictor(self._store, checkpoint_id)

        def shape_of(item: tuple[int, Asked, Volume]) -> tuple[Any, ...]:
            patch = item[1].pages.patch
            return patch.shape_zyx, patch.volume_id, patch.start_zyx

        for shape, group in groupby(sorted(items, key=shape_of), key=lambda item: item[1].pages.patch.shape_zyx):
            alike = list(group)
            for start in range(0, len(alike), _BATCH):
                batch = alike[start : start + _BATCH]
                images = np.stack([self._image(asked.pages.patch, volume) for _, asked, volume in batch])
                for (k, asked, _), probs_C in zip(batch, predictor.predict(images).mean(axis=0), strict=True):
                    _check_classes(asked, probs_C)
                    yield k, asked, probs_C if probs_C.ndim == 1 else from_image(probs_C, shape)

    def _image(self, patch: Patch, volume: Volume) -> npt.NDArray[np.float32]:
        image_CZYX = normalise(open_volume(self._store, volume).read_CZYX(patch), volume.low, volume.high)
        image: npt.NDArray[np.float32] = as_image(image_CZYX)
        return image

    def _located(self, asked: Asked, ingest_id: str) -> tuple[Asked, Volume] | None:
        """The question with its volume, if this store has it and the patch lies in it."""
        if ingest_id not in self._volumes:
            try:
                self._volumes[ingest_id] = volumes_of(self._store, ingest_id)
            except NotFoundError:
                return None
            if len(self._volumes) > _NUM_INGESTS:
                self._volumes.popitem(last=False)
        patch = asked.pages.patch
        volume = self._volumes[ingest_id].get(patch.volume_id)
        if volume is None:
            return None
        inside = zip(patch.start_zyx, patch.stop_zyx, volume.grid.shape_zyx, strict=True)
        return (asked, volume) if all(0 <= a < b <= n for a, b, n in inside) else None


def _known(task: object) -> tuple[Asked, str] | None:
    """What a task asks and of which ingest; None where hilum did not write it. Its addresses are read, not opened."""
    data = task.get("data") if isinstance(task, Mapping) else None
    if not isinstance(data, Mapping):
        return None
    try:
        asked = asked_from_json(data.get(ASKED_KEY))
    except RequestError:
        return None
    for value in data.values():
        for address in value if isinstance(value, list) else [value]:
            try:
                return asked, place_of(urlsplit(address).path).ingest_id
            except (NotFoundError, ValueError, TypeError, AttributeError):
                continue
    return None


def _check_classes(asked: Asked, probs_C: Probabilities) -> None:
    if len(probs_C) != len(asked.class_names) or (probs_C.ndim == 1) != (asked.kind == "classify"):
        raise DataError("The model answers another question, or knows other classes, than the task asks.")


def _surety(probs: Probabilities) -> float:
    """The mean over voxels of the likeliest class's probability, 0 to 1."""
    return min(1.0, float(probs.max(axis=0).mean(dtype=np.float64)))


def _empty(model_version: str) -> dict[str, Any]:
    return {"model_version": model_version, "score": 0.0, "result": []}
