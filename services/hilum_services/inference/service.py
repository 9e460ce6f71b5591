"""What one process of the inference service holds: networks at hand, the engine that runs them, and who is champion."""

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from hilum.adapters.bodies import dicom_files, read_body
from hilum.adapters.preparation import AS_IT_IS
from hilum.core.errors import DataError, HilumError
from hilum.core.ports import Ledger, Meter
from hilum.core.recipes import Choice
from hilum.core.sources import ReadImage
from hilum.loop.answering.answer import Answer, Question
from hilum.loop.answering.ensemble import Ensemble
from hilum.loop.answering.routes import Routes, routes_of
from hilum.loop.answering.shelf import Shelf
from hilum.loop.answering.stored import StoredVolume, read_stored, unprepared
from hilum.loop.answering.versions import Reference, Version, checkpoint_of, models_of, pinned, version_of
from hilum.nn.apart import Apart
from hilum.nn.engine import Batched, Engine
from hilum.steps.calibrations import Calibration, read_calibration
from hilum.steps.promote import CHAMPION
from hilum.store.layout import Store
from hilum_services.inference.asked import MOST_BESIDE, Asked, Verb
from hilum_services.inference.drift import Drift
from hilum_services.inference.keeping import Keeping
from hilum_services.inference.lately import Lately
from hilum_services.inference.limits import Limits
from hilum_services.inference.shedding import Shedding

if TYPE_CHECKING:
    from hilum.adapters.dicom_results import SourceImages

_QUESTIONS: Mapping[Verb, tuple[str, ...]] = {
    "segment": ("segment",),
    "classify": ("classify",),
    "score": ("segment", "classify"),
}
_log = logging.getLogger("hilum.services")
_LOOK_FOR_CALIBRATION_SECONDS = 60.0


class Service:
    """Answers for the models of one store. Its methods block and are called by several threads at a time."""

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        limits: Limits,
        meter: Meter,
        *,
        num_kept: int = 1 + MOST_BESIDE,
        batch_size: int = 8,
        fresh_for: float = 1.0,
        keep_from: float | None = None,
        shallower_above: int | None = None,
        is_alone: bool = False,
    ) -> None:
        """``is_alone``: the process does nothing else.

        ``fresh_for``: after how many seconds an alias is looked up again; that is how long a promotion takes.

        ``keep_from``: from which uncertainty on images are kept whose senders consent; None keeps none.

        ``shallower_above``: how many images may wait until requests that name no depth get a shallower one.
        """
        self._shedding = Shedding(shallower_above)
        self.keeping = Keeping(store, keep_from)
        self.store, self.ledger, self.limits, self.meter = store, ledger, limits, meter
        self.shelf = Shelf(store, num_kept=num_kept)
        begin = Engine.alone if is_alone else Engine
        self.engine = begin(
            batch_size=batch_size,
            most_waiting=limits.most_waiting,
            watch=self._batched,
            apart=Apart() if is_alone and not torch.cuda.is_available() else None,
        )
        self._routes = Lately(self._looked_up_routes, seconds=fresh_for)
        self._versions = Lately(self._looked_up, seconds=fresh_for)
        self._calibrations: dict[str, tuple[float, Calibration | None]] = {}
        self._drifts: dict[str, Drift] = {}

    def version(self, asked: Reference) -> Version:
        """The version that is meant, as an alias pointed not long ago. NotFoundError where there is none.

        A new champion's network is built before it answers; whoever asks meanwhile is answered by the one before, and
        goes on to be where the new one cannot be built.
        """
        return self._versions.get(asked)

    def routed(self, asked: Reference, request_id: str) -> Version:
        """The version that answers this request: where a model alone is named, the champion's or the canary's."""
        if asked.alias is None and asked.checkpoint_id is None:
            asked = Reference(asked.model, self.routes(asked.model).alias_for(request_id))
        return self.version(asked)

    def routed_lately(self, asked: Reference, request_id: str) -> Version | None:
        """What `routed` would say where nothing has to be looked up for it, which takes no time; else None."""
        if asked.alias is None and asked.checkpoint_id is None:
            routes = self.routes_at_hand(asked.model)
            if routes is None:
                return None
            asked = Reference(asked.model, routes.alias_for(request_id))
        return self._versions.at_hand(asked)

    def chosen(self, asked: Asked, meant: Reference, request_id: str) -> tuple[Version, Asked]:
        """The version that answers, and what is asked with every version that answers beside it pinned.

        Where others answer beside it a model's name alone is its champion.
        """
        if asked.beside and meant.alias is None and meant.checkpoint_id is None:
            meant = Reference(meant.model, CHAMPION)
        version = self.routed(meant, request_id)
        beside = pinned(self.store, self.ledger, version, asked.beside) if asked.beside else ()
        return version, replace(asked, beside=beside)

    def routes(self, model: str) -> Routes:
        """Canary and shadow of a model, as they were not long ago."""
        return self._routes.get(model)

    def routes_at_hand(self, model: str) -> Routes | None:
        """The same where nothing has to be looked up for it, which takes no time; else None."""
        return self._routes.at_hand(model)

    def models(self) -> dict[str, Version]:
        """Every model that answers, with its champion."""
        return {
            model: version_of(self.store, model, checkpoint_id)
            for model, checkpoint_id in models_of(self.ledger).items()
        }

    def read(self, body: bytes) -> ReadImage:
        """The image in a body, within the limits; DataError else."""
        image = read_body(body, max_bytes=self.limits.largest_body)
        if image.image_czyx.size > self.limits.most_voxels:
            raise DataError(
                f"The image has {image.image_czyx.size:,} voxels; at most {self.limits.most_voxels:,} are answered."
            )
        return image

    def stored(self, named: StoredVolume) -> ReadImage:
        """A volume of the store, within the limits of bodies."""
        limits = self.limits
        return read_stored(self.store, named, most_voxels=limits.most_voxels, max_bytes=limits.largest_body)

    def source(self, body: bytes) -> "SourceImages":
        """The DICOM files in a body, for a segmentation of them; DataError where it is of another kind."""
        from hilum.adapters.dicom_results import SourceImages

        largest = self.limits.largest_body
        return SourceImages(dicom_files(body, max_bytes=largest), max_bytes=largest)

    def shed(self, version: Version, asked: Asked) -> Asked:
        """What is asked, at a shallower depth while many images wait and if the depth was left to us."""
        if asked.verb != "segment" or asked.beside or not (asked.depth is None and asked.quality is None):
            return asked
        quality = self._shedding.quality(self.engine.num_waiting)
        depth = None if quality == "accurate" else self.shelf.depth_for(version, quality)
        if depth is None:
            return asked
        self.meter.count("hilum_inference_shallower_total", model=version.model, quality=quality)
        return replace(asked, depth=depth)

    def question(self, image: ReadImage, version: Version, asked: Asked) -> Question | Ensemble:
        """The image as the version reads it; DataError where it cannot, RecipeError for wishes it cannot fulfil.

        With versions beside it, the image as every one of them reads it; RequestError where they do not fit together.
        """
        check_verb(version, asked.verb)
        depth = asked.depth
        if depth is None and asked.quality is not None:
            depth = self.shelf.depth_for(version, asked.quality)
        versions = [version, *(version_of(self.store, version.model, one.removeprefix(":")) for one in asked.beside)]
        if len(versions) * image.image_czyx.size > self.limits.most_voxels:
            raise DataError(f"At most {self.limits.most_voxels:,} voxels are answered, counted for every version.")
        questions = [self._question(image, one, asked, depth) for one in versions]
        return Ensemble(questions) if asked.beside else questions[0]

    def _question(self, image: ReadImage, version: Version, asked: Asked, depth: int | None) -> Question:
        return Question(
            image,
            unprepared(version) if asked.is_prepared else version,
            self.shelf.predictor(version, depth),
            depth=depth,
            calibration=self._calibration(version),
            members=None if asked.mirrors is None else Choice(kind="mirrors", num_members=asked.mirrors),
            max_bytes=4 * self.limits.largest_body,
        )

    def is_asked_at_once(self, version: Version, asked: Asked) -> bool:
        """Whether `question` has nothing to build, to look up or to prepare."""
        is_plain = asked.depth is None and asked.quality is None and not asked.beside and self._shedding.never
        if not is_plain or version.prepare != AS_IT_IS or not self.shelf.is_built(version):
            return False
        return not self._looks_for_calibration(*self._calibrations.get(version.checkpoint_id, (0.0, None)))

    def note(self, question: Question | Ensemble, answer: Answer) -> None:
        """Count an answer that goes out."""
        version = answer.version
        whose = {"model": version.model, "version": version.checkpoint_id}
        self.meter.observe("hilum_inference_uncertainty", answer.uncertainty, **whose)
        if answer.is_unlike is not None:
            # Also where none is: a share that is 0 is not one that nobody knows.
            self.meter.count("hilum_inference_unlike_total", int(answer.is_unlike), **whose)
        drift = self._drifts.get(version.checkpoint_id)
        if drift is not None and answer.depth is None and isinstance(question, Question):
            drift.see(question, answer)

    def _looked_up_routes(self, model: str, _before: Routes | None) -> Routes:
        return routes_of(self.store, self.ledger, model)

    def _looked_up(self, asked: Reference, before: Version | None) -> Version:
        version = version_of(self.store, asked.model, checkpoint_of(self.store, self.ledger, asked))
        if before is None or version.checkpoint_id == before.checkpoint_id:
            return version
        try:
            self.shelf.predictor(version)
        except HilumError as error:
            _log.error("%s goes on with %s: %s", asked.model, before.checkpoint_id, error)
            return before
        return version

    def _calibration(self, version: Version) -> Calibration | None:
        """What is known of a version's own images; looked for now and then, for it may come later."""
        looked, found = self._calibrations.get(version.checkpoint_id, (0.0, None))
        if self._looks_for_calibration(looked, found):
            found = read_calibration(self.store, version.checkpoint_id)
            self._calibrations[version.checkpoint_id] = time.monotonic(), found
            if found is not None:
                self._drifts.setdefault(version.checkpoint_id, Drift(found, self.meter, version.model))
        return found

    @staticmethod
    def _looks_for_calibration(looked: float, found: Calibration | None) -> bool:
        return found is None and (not looked or time.monotonic() - looked > _LOOK_FOR_CALIBRATION_SECONDS)

    def is_ready(self) -> bool:
        """Whether the ledger answers and every champion's card can be read."""
        try:
            self.models()
        except (HilumError, OSError):
            return False
        return True

    def close(self) -> None:
        self.engine.close()

    def _batched(self, batch: Batched) -> None:
        self.meter.observe("hilum_inference_batch_windows", batch.num_windows)
        self.meter.observe("hilum_inference_batch_images", batch.num_images)
        self.meter.set("hilum_inference_waiting_images", self.engine.num_waiting)


def check_verb(version: Version, verb: Verb) -> None:
    """DataError where the version answers another question."""
    if version.question not in _QUESTIONS[verb]:
        raise DataError(
            f"Model '{version.model}' answers '{version.question}', not '{verb}'; ask it at /{version.question}."
        )
