"""Windows of many images through a network together, a full batch at a time: continuous batching.

One thread runs the networks. It takes one window in turn of every image that waits, so that a small image is answered
beside a large one, and nobody waits for a batch to fill: what came while a batch was running is the next one. Several
images together may go through in a process of its own.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import CancelledError
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Self

import numpy as np
import torch

from hilum.core.errors import HilumError
from hilum.core.geometry import Zyx
from hilum.nn.apart import Apart, Seen
from hilum.nn.passes import Floats, Pass

_log = logging.getLogger("hilum.services")
_VOXELS_TOGETHER = 600_000
"""What goes through a network in one call at most, unless one window alone is larger. More is no faster."""
_VOXELS_ALONE = 1 << 14
"""A call with fewer is no faster on several threads, which would wait for each other on cores that others need."""


class BusyError(HilumError):
    """So many images wait that no other is taken."""


@dataclass(frozen=True)
class Batched:
    """One call of a network, for whoever watches."""

    num_windows: int
    num_images: int
    seconds: float


class Engine:
    """Answers images one batch of windows at a time, at most ``most_waiting`` images at once."""

    def __init__(
        self,
        *,
        batch_size: int = 8,
        most_waiting: int = 64,
        watch: Callable[[Batched], None] = lambda _: None,
        num_threads: int | None = None,
        apart: Apart | None = None,
    ) -> None:
        """``num_threads``: of torch, for its thread at most; None leaves them as they are.

        ``apart``: a process for batches of several images.
        """
        self._batch_size, self._most_waiting, self._watch, self._apart = batch_size, most_waiting, watch, apart
        self._waiting: OrderedDict[int, tuple[Pass, float | None]] = OrderedDict()
        self._changed = threading.Condition()
        self._is_open = True
        self._num_threads, self._begun = num_threads, threading.Event()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    @classmethod
    def alone(cls, **how: Any) -> Self:
        """The engine of a process that does nothing else: all of torch's threads are its own, every other has one.

        OpenMP gives each thread that computes a team of its own; where all of them together outnumber the cores, they
        sleep whenever they wait for each other: a tenth of the time of a 3D network.
        """
        engine = cls(num_threads=torch.get_num_threads(), **how)
        engine._begun.wait()
        torch.set_num_threads(1)
        return engine

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    def submit(self, image: Pass, *, seconds: float | None = None) -> Pass:
        """Have an image answered, within ``seconds`` if given; ``image.done`` says when and what.

        BusyError when too many wait.
        """
        with self._changed:
            if len(self._waiting) >= self._most_waiting:
                raise BusyError(f"{len(self._waiting)} images are waiting; try again later.")
            self._waiting[id(image)] = image, None if seconds is None else time.monotonic() + seconds
            self._changed.notify()
        return image

    def close(self) -> None:
        """Answer nothing any more; who waits is told."""
        with self._changed:
            self._is_open = False
            self._changed.notify()
        self._thread.join()
        if self._apart is not None:
            self._apart.close()

    def _run(self) -> None:
        if self._num_threads is not None:
            torch.get_num_threads()  # a thread's first question: from now on it heeds what it is told itself
        self._begun.set()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._waiting) or not self._is_open)
                if not self._is_open:
                    break
                self._drop_those_that_are_over()
                batch = self._next_batch()
            if batch:
                self._answer(batch)
        for image, _ in self._waiting.values():
            image.done.cancel()
        self._waiting.clear()

    def _drop_those_that_are_over(self) -> None:
        now = time.monotonic()
        for key, (image, until) in list(self._waiting.items()):
            if image.done.cancelled() or image.done.done():
                del self._waiting[key]
            elif until is not None and now > until:
                del self._waiting[key]
                _fail(image, TimeoutError("the image was not answered in time"))

    def _next_batch(self) -> list[tuple[Pass, Zyx, Floats]]:
        """Windows of one shape for one network: one in turn of every image, who waited longest first."""
        if not self._waiting:
            return []
        first = next(iter(self._waiting.values()))[0]
        alike = [image for image, _ in self._waiting.values() if _alike(image) == _alike(first)]
        most = max(1, min(self._batch_size, _VOXELS_TOGETHER // int(np.prod(first.window_shape_zyx))))
        batch: list[tuple[Pass, Zyx, Floats]] = []
        while len(batch) < most and alike:
            for image in list(alike):
                window = image.next_window() if len(batch) < most else None
                if window is None:
                    alike.remove(image)
                    continue
                batch.append((image, *window))
        for image in {id(image): image for image, *_ in batch}.values():
            self._waiting.move_to_end(id(image))
        return sorted(batch, key=lambda window: id(window[0]))

    def _answer(self, batch: list[tuple[Pass, Zyx, Floats]]) -> None:
        began = time.perf_counter()
        by_image = [list(group) for _, group in groupby(batch, key=lambda window: id(window[0]))]
        num_threads = self._threads_for(batch)
        if self._num_threads is not None:
            torch.set_num_threads(num_threads)
        try:
            probs_MN, embeddings_N = _seen(batch, self._apart if len(by_image) > 1 else None, num_threads)
        except Exception as error:
            if len(by_image) == 1:
                self._leave(batch[0][0], error)
                return
            for of_image in by_image:  # whose fault it was shows when each is seen alone
                self._answer(of_image)
            return
        for place, (image, start, _) in enumerate(batch):
            embedding = None if embeddings_N is None or not image.embeds else embeddings_N[place]
            self._take(image, start, probs_MN[:, place], embedding)
        self._tell(Batched(len(batch), len(by_image), time.perf_counter() - began))

    def _threads_for(self, batch: list[tuple[Pass, Zyx, Floats]]) -> int:
        if sum(voxels.size for *_, voxels in batch) < _VOXELS_ALONE:
            return 1
        return self._num_threads or torch.get_num_threads()

    def _tell(self, batched: Batched) -> None:
        try:
            self._watch(batched)
        except Exception:
            _log.exception("Whoever watches the engine failed.")

    def _take(self, image: Pass, start: Zyx, probs_MC: Floats, embedding_D: Floats | None) -> None:
        if image.done.done():
            return
        try:
            if image.take(start, probs_MC, embedding_D):
                answered = image.answered()
                self._leave(image)
                if image.done.set_running_or_notify_cancel():
                    image.done.set_result(answered)
        except Exception as error:
            self._leave(image, error)

    def _leave(self, image: Pass, error: Exception | None = None) -> None:
        with self._changed:
            self._waiting.pop(id(image), None)
        if error is not None:
            _fail(image, error)


def _seen(batch: list[tuple[Pass, Zyx, Floats]], apart: Apart | None, num_threads: int) -> Seen:
    """What the network says of every window, and where it puts each if anybody asks."""
    way = batch[0][0].way
    windows = np.stack([voxels for *_, voxels in batch])
    embeds = any(image.embeds for image, *_ in batch)
    if apart is not None:
        said = apart.seen(way.predictor, windows, way.members, embeds=embeds, num_threads=num_threads)
        if said is not None:
            return said
    if embeds:
        return way.predictor.predict_and_embed(windows, members=way.members)
    return way.predictor.predict(windows, members=way.members), None


def _alike(image: Pass) -> Hashable:
    """What must be equal for windows of several images to go through together."""
    way = image.way
    return id(way.predictor), way.members.model_dump_json(), image.window_shape_zyx, image.num_channels


def _fail(image: Pass, error: Exception) -> None:
    try:
        if image.done.set_running_or_notify_cancel():
            image.done.set_exception(error)
    except (CancelledError, RuntimeError):
        pass
