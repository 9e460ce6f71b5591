"""What lies before annotators: asked of wherever they answer, of each campaign that waits."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hilum.core.asking import Task
from hilum.core.ports import Annotator, Meter
from hilum.core.recipes import Choice
from hilum.loop.observing.campaigns import Campaigns, SeenCampaign
from hilum.loop.stages import Stage
from hilum.steps.collect import declined_of
from hilum.steps.publish import tasks_of
from hilum.store.layout import Store

MakeAnnotator = Callable[[Store, str, Choice], Annotator]


@dataclass(frozen=True)
class _Waiting:
    """A round before annotators: of which move, what was asked, and how much of it has no answer."""

    version: int
    annotator: Annotator
    tasks: Sequence[Task]
    num_open: int
    is_up: bool = True


class Annotators:
    """A part of an `Observer`, to be looked at by itself: a labelling tool may be slow, or hang."""

    what = "annotators"

    def __init__(
        self,
        store: Store,
        campaigns: Campaigns,
        make_annotator: MakeAnnotator,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store, self._campaigns, self._make, self._clock = store, campaigns, make_annotator, clock
        self._waiting: dict[str, _Waiting] = {}

    def look(self) -> None:
        found: dict[str, _Waiting] = {}
        failed: list[Exception] = []
        for campaign in self._campaigns.seen:
            if campaign.is_asking:
                waiting, error = self._asked(campaign, self._waiting.get(campaign.name))
                if waiting is not None:
                    found[campaign.name] = waiting
                failed += [] if error is None else [error]
        self._waiting = found
        if failed:
            raise failed[0]

    def tell(self, meter: Meter) -> None:
        waiting: Mapping[str, _Waiting] = self._waiting
        for campaign in self._campaigns.seen:
            seen = waiting.get(campaign.name)
            asked = campaign.rounds[-1][Stage.PUBLISHED].counts["num_tasks"] if campaign.is_asking else 0
            num_open = seen.num_open if seen and seen.version == campaign.place.version else asked
            age = max(0.0, self._clock() - campaign.moved_at) if campaign.is_asking and num_open else 0.0
            meter.set("hilum_annotators_waiting", num_open, campaign=campaign.name)
            meter.set("hilum_annotators_waiting_seconds", age, campaign=campaign.name)
            meter.set("hilum_annotators_up", seen is None or seen.is_up, campaign=campaign.name)

    def _asked(self, campaign: SeenCampaign, known: _Waiting | None) -> tuple[_Waiting | None, Exception | None]:
        try:
            if known is None or known.version != campaign.place.version:
                known = self._begun(campaign)
            answers = known.annotator.collect(known.tasks)
            answered = {answer.patch.candidate_id for answer in answers}
            declined = declined_of(known.annotator, known.tasks, answers)
        except Exception as error:
            num_open = known.num_open if known else campaign.rounds[-1][Stage.PUBLISHED].counts["num_tasks"]
            down = None if known is None else _Waiting(known.version, known.annotator, known.tasks, num_open, False)
            return down, error
        num_open = len(known.tasks) - len(answered) - len(declined)
        return _Waiting(known.version, known.annotator, known.tasks, max(0, num_open)), None

    def _begun(self, campaign: SeenCampaign) -> _Waiting:
        recipe = campaign.definition.recipe
        annotator = self._make(self._store, campaign.definition.ingest_id, recipe.annotator)
        tasks = tasks_of(self._store, campaign.status.history[-1].runs["select"], recipe.question)
        return _Waiting(campaign.place.version, annotator, tasks, len(tasks))
