"""How far what is asked and answered has moved from when a model was calibrated, told once enough was seen."""

import threading
from collections.abc import Iterator

import numpy as np

from hilum.core.drift import Histogram, psi
from hilum.core.ports import Meter
from hilum.loop.answering.answer import Answer, Question
from hilum.steps.calibrations import Calibration, Usual

ENOUGH, EVERY = 300, 20
"""Windows until drift is told, since a hundred differ from a hundred by chance alone; and images until it is again."""
_GREY_LEVELS_AN_IMAGE = 512


class Drift:
    """Counts of one version, in the bins of its calibration. Called by several threads at a time."""

    def __init__(self, calibration: Calibration, meter: Meter, model: str) -> None:
        self._usual, self._meter, self._model = calibration.record.usual, meter, model
        self._lock = threading.Lock()
        self._counts: dict[str, np.ndarray] = {}
        self._num_images = self._num_windows = 0

    def see(self, question: Question, answer: Answer) -> None:
        """Count an image and its answer."""
        with self._lock:
            for name, histogram, values in _seen(self._usual, question, answer):
                before = self._counts.get(name, np.zeros(len(histogram.counts), np.int64))
                self._counts[name] = before + histogram.count(values)
            self._num_images += 1
            self._num_windows += sum(len(one.confidences_N) for one in answer.seen)
            if self._num_windows >= ENOUGH and self._num_images % EVERY == 0:
                self._tell()

    def _tell(self) -> None:
        usual = dict(_histograms(self._usual))
        for name, counts in self._counts.items():
            if counts.sum():
                value = psi(usual[name].counts, counts.tolist())
                self._meter.set("hilum_inference_drift", value, model=self._model, of=name)


def _histograms(usual: Usual) -> Iterator[tuple[str, Histogram]]:
    for channel, histogram in enumerate(usual.grey_levels):
        yield f"grey_levels_{channel}", histogram
    yield "confidence", usual.confidence
    if usual.foreground_share is not None:
        yield "foreground_share", usual.foreground_share


def _seen(usual: Usual, question: Question, answer: Answer) -> Iterator[tuple[str, Histogram, np.ndarray]]:
    for name, histogram in _histograms(usual):
        if name == "confidence":
            yield name, histogram, np.concatenate([one.confidences_N for one in answer.seen])
        elif name == "foreground_share":
            yield name, histogram, np.concatenate([one.foreground_N for one in answer.seen])
        else:
            levels = question.grey_levels_CZYX[int(name.rsplit("_", 1)[-1])].reshape(-1)
            yield name, histogram, levels[:: max(1, levels.size // _GREY_LEVELS_AN_IMAGE)]
