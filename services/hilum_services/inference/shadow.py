"""A challenger answers too: what it says is compared and counted, and returned to nobody."""

import asyncio
import logging

import numpy as np

from hilum.core.errors import HilumError
from hilum.core.sources import ReadImage
from hilum.loop.answering.answer import Answer
from hilum.loop.answering.routes import SHADOW
from hilum.loop.answering.versions import Reference
from hilum_services.inference.asked import Asked
from hilum_services.inference.service import Service

_MOST_AT_ONCE = 2
_log = logging.getLogger("hilum.services")


class Shadow:
    """Asks the model's shadow after an answer went out. Where much waits, nobody is asked twice."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._running: set[asyncio.Task[None]] = set()

    def follow(self, image: ReadImage, asked: Asked, answer: Answer) -> None:
        """Have the shadow answer the same, if there is one and there is room."""
        limits = self._service.limits
        if len(self._running) >= _MOST_AT_ONCE or self._service.engine.num_waiting > limits.most_waiting // 2:
            return
        routes = self._service.routes_at_hand(answer.version.model)
        if routes is not None and routes.shadow in (None, answer.version.checkpoint_id):
            return
        task = asyncio.create_task(asyncio.to_thread(self._compare, image, asked, answer))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def _compare(self, image: ReadImage, asked: Asked, answer: Answer) -> None:
        try:
            if self._service.routes(answer.version.model).shadow in (None, answer.version.checkpoint_id):
                return
            version = self._service.version(Reference(answer.version.model, SHADOW))
            question = self._service.question(image, version, asked)
            question.submit(self._service.engine, seconds=self._service.limits.slowest_answer)
            other = question.answer()
        except (HilumError, TimeoutError) as error:
            _log.warning("The shadow of %s did not answer: %s", answer.version.model, error)
            return
        whose = {"model": version.model, "version": version.checkpoint_id}
        self._service.meter.observe("hilum_inference_shadow_agreement", agreement(answer, other), **whose)


def agreement(one: Answer, other: Answer) -> float:
    """Of two label maps Dice over all foreground that has the same class; of classes 1 if they are the same, else 0."""
    if one.label_map_zyx is None or other.label_map_zyx is None:
        return float(one.probs_C.argmax() == other.probs_C.argmax())
    sizes = np.count_nonzero(one.label_map_zyx) + np.count_nonzero(other.label_map_zyx)
    same = np.count_nonzero((one.label_map_zyx == other.label_map_zyx) & (one.label_map_zyx > 0))
    return float(2 * same / sizes) if sizes else 1.0
