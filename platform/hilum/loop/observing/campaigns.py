"""Every campaign of a store: where it is, what it asked and was told, and who works on it."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from hilum.core.errors import CorruptionError, HilumError, NotFoundError
from hilum.core.ports import CampaignPlace, Ledger, Meter
from hilum.loop.budget import seconds_spent
from hilum.loop.definition import Definition, read_definition
from hilum.loop.events import Event
from hilum.loop.observing.crowd import Crowd, crowd_of
from hilum.loop.observing.training import Training, finished_training, running_training
from hilum.loop.stages import Stage
from hilum.loop.status import CampaignStatus, summarise
from hilum.loop.walked import walked
from hilum.store.layout import Store, names_in
from hilum.store.manifest import read_manifest
from hilum.store.tables import METRICS, read_table

MOST_CAMPAIGNS = 200
"""Of so many each is told; of more, those that are not finished first."""

_SIDE = "validation"
_OF_CLASSES = {"classify": "recall", "segment": "dice"}
_MOST_CLASSES = 128
_LEASE, _RUN_LEASE = "campaign/", "run/"
Scored = Mapping[str, tuple[int, int]]
"""Score run -> candidates scored, and those that could not be."""


@dataclass(frozen=True)
class SeenCampaign:
    """One campaign as its events told it when it had made its ``place.version``-th move."""

    place: CampaignPlace
    definition: Definition
    rounds: Sequence[dict[Stage, Event]]
    status: CampaignStatus
    crowd: Crowd
    scored: Scored
    training: Training | None
    of_classes: Mapping[str, float]

    @property
    def name(self) -> str:
        return self.place.name

    @property
    def last(self) -> Event:
        return list(self.rounds[-1].values())[-1]

    @property
    def is_asking(self) -> bool:
        return self.status.stage is Stage.PUBLISHED

    @property
    def moved_at(self) -> float:
        """Seconds since 1970."""
        return datetime.fromisoformat(self.last.at).timestamp()


@dataclass(frozen=True)
class _Now:
    """What changes without a move: who works on what, and how the trainings go."""

    holders: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[tuple[str, str], str] = field(default_factory=dict)
    trainings: Mapping[str, Training] = field(default_factory=dict)
    broken: frozenset[str] = frozenset()
    num_left_out: int = 0


class Campaigns:
    """A part of an `Observer`. A campaign that did not move is not read again; of one that did, the last round is."""

    what = "campaigns"

    def __init__(self, store: Store, ledger: Ledger, *, clock: Callable[[], float] = time.time) -> None:
        self._store, self._ledger, self._clock = store, ledger, clock
        self._seen: dict[str, SeenCampaign] = {}
        self._now = _Now()
        self._attempts: dict[str, tuple[str, int]] = {}
        self._timed: set[tuple[str, int, Stage]] = set()
        self._seconds: list[tuple[str, float]] = []

    @property
    def seen(self) -> Sequence[SeenCampaign]:
        """Those that can be read."""
        return tuple(self._seen.values())

    def look(self) -> None:
        places = {place.name: place for place in self._ledger.places()}
        holders, aliases = self._ledger.holders(), self._ledger.aliases()
        # Made, but unknown to the ledger: it was lost, or put back from an older copy.
        broken = names_in(self._store.path("campaigns")) - set(places)
        chosen, num_left_out = self._chosen(places, holders)
        seen: dict[str, SeenCampaign] = {}
        for place in chosen:
            try:
                seen[place.name] = self._read(place)
            except (HilumError, KeyError, ValueError, TypeError):
                broken.add(place.name)
                if place.name in self._seen:
                    seen[place.name] = self._seen[place.name]
        self._count_attempts(holders)
        trainings = {name: self._running(name, holders) for name in seen}
        told = {name: training for name, training in trainings.items() if training is not None}
        self._seen, self._now = seen, _Now(holders, aliases, told, frozenset(broken), num_left_out)

    def tell(self, meter: Meter) -> None:
        seen, now = self._seen, self._now
        meter.set("hilum_control_campaigns_left_out", now.num_left_out)
        for name in {*seen, *now.broken}:
            meter.set("hilum_campaign_broken", name in now.broken, campaign=name)
        for campaign in seen.values():
            _tell_place(campaign, meter)
            _tell_work(campaign, meter, now)
            _tell_quality(campaign, meter, now)
            campaign.crowd.tell(meter, campaign.name)
            training = now.trainings.get(campaign.name) or campaign.training
            if training is not None:
                training.tell(meter, campaign.name)
            meter.count("hilum_campaign_attempts_total", self._attempts_of(campaign.name), campaign=campaign.name)

    def tell_new_seconds(self, meter: Meter) -> None:
        """Every step's time that was not told yet, to a meter that adds up."""
        new, self._seconds = self._seconds, []
        for step, seconds in new:
            meter.observe("hilum_step_seconds", seconds, step=step)

    def _chosen(
        self, places: Mapping[str, CampaignPlace], holders: Mapping[str, str]
    ) -> tuple[list[CampaignPlace], int]:
        def rank(place: CampaignPlace) -> tuple[bool, bool, str]:
            known = self._seen.get(place.name)
            return _LEASE + place.name not in holders, known is not None and known.status.finished, place.name

        ordered = sorted(places.values(), key=rank)
        return ordered[:MOST_CAMPAIGNS], max(0, len(ordered) - MOST_CAMPAIGNS)

    def _read(self, place: CampaignPlace) -> SeenCampaign:
        known = self._seen.get(place.name)
        if known is not None and known.place == place:
            return known
        definition = known.definition if known else read_definition(self._store, place.name)
        rounds = walked(self._store, place, known.rounds if known else ())
        self._note_seconds(place.name, rounds)
        status = summarise(place.name, definition.recipe, rounds)
        collected = [row.runs["collect"] for row in status.history if "collect" in row.runs]
        trained = [row.runs["finetune"] for row in status.history if "finetune" in row.runs]
        evaluated = [row.runs["evaluate"] for row in status.history if "evaluate" in row.runs]
        return SeenCampaign(
            place=place,
            definition=definition,
            rounds=rounds,
            status=status,
            crowd=crowd_of(self._store, collected, known.crowd if known else Crowd()),
            scored=self._scored(status, known.scored if known else {}),
            training=finished_training(self._store, trained[-1]) if trained else None,
            of_classes=self._of_classes(evaluated[-1], status) if evaluated else {},
        )

    def _scored(self, status: CampaignStatus, before: Scored) -> Scored:
        found = dict(before)
        for run_id in {row.runs["score"] for row in status.history if "score" in row.runs} - set(before):
            results = read_manifest(self._store.run("score", run_id)).results
            found[run_id] = results.get("num_scored", 0), results.get("num_quarantined", 0)
        return found

    def _of_classes(self, evaluate_id: str, status: CampaignStatus) -> dict[str, float]:
        url = f"{self._store.run('evaluate', evaluate_id)}/metrics.parquet"
        rows = read_table(url, METRICS, ["side", "metric", "class_name", "value", "size_band"]).to_pylist()
        return {
            row["class_name"]: row["value"]
            for row in rows
            if (row["side"], row["metric"]) == (_SIDE, _OF_CLASSES[status.question])
            and row["class_name"]
            and not row["size_band"]
            and row["value"] is not None
        }

    def _note_seconds(self, name: str, rounds: Sequence[dict[Stage, Event]]) -> None:
        for events in rounds:
            for stage, event in events.items():
                if (name, event.round_number, stage) not in self._timed:
                    self._timed.add((name, event.round_number, stage))
                    self._seconds = [*self._seconds, *event.seconds.items()]

    def _count_attempts(self, holders: Mapping[str, str]) -> None:
        for lease, holder in holders.items():
            if lease.startswith(_LEASE):
                name = lease.removeprefix(_LEASE)
                last, num = self._attempts.get(name, ("", 0))
                if holder != last:
                    self._attempts[name] = holder, num + 1

    def _attempts_of(self, name: str) -> int:
        return self._attempts.get(name, ("", 0))[1]

    def _running(self, name: str, holders: Mapping[str, str]) -> Training | None:
        run = _run_of(name, holders)
        if run is None or run[0] != "finetune":
            return None
        try:
            return running_training(self._store, run[1])
        except (NotFoundError, CorruptionError, KeyError):
            return None  # it is just beginning, or just over


def _tell_place(campaign: SeenCampaign, meter: Meter) -> None:
    status, name = campaign.status, campaign.name
    meter.set("hilum_campaign_round", status.round_number, campaign=name)
    for stage in Stage:
        meter.set("hilum_campaign_stage", stage is status.stage, campaign=name, stage=stage.value)
    meter.set("hilum_campaign_finished", status.finished, campaign=name)
    meter.set("hilum_campaign_moved_timestamp_seconds", campaign.moved_at, campaign=name)
    pools = [events[Stage.SCORED].counts for events in campaign.rounds if Stage.SCORED in events]
    if pools and "num_candidates" in pools[-1]:
        meter.set("hilum_campaign_pool_candidates", pools[-1]["num_candidates"], campaign=name)
    asked = sum(row.num_asked for row in status.history if "publish" in row.runs)
    meter.count("hilum_publish_tasks_total", asked, campaign=name)
    meter.count("hilum_collect_annotations_total", status.num_answered, campaign=name)
    meter.count("hilum_score_candidates_total", sum(n for n, _ in campaign.scored.values()), campaign=name)
    meter.count("hilum_score_quarantined_total", sum(n for _, n in campaign.scored.values()), campaign=name)
    _tell_cost(campaign, meter, asked)


def _tell_cost(campaign: SeenCampaign, meter: Meter, asked: int) -> None:
    budget, name = campaign.definition.recipe.campaign, campaign.name
    seconds = seconds_spent(campaign.rounds)
    meter.set("hilum_campaign_cost_spent", asked, campaign=name, unit="questions")
    meter.set("hilum_campaign_cost_spent", seconds, campaign=name, unit="seconds")
    left = 0 if campaign.status.finished else max(0, budget.num_in_total - asked)
    meter.set("hilum_campaign_cost_left", left, campaign=name, unit="questions")
    if budget.seconds_in_total is not None:
        left_seconds = 0.0 if campaign.status.finished else max(0.0, budget.seconds_in_total - seconds)
        meter.set("hilum_campaign_cost_left", left_seconds, campaign=name, unit="seconds")


def _tell_work(campaign: SeenCampaign, meter: Meter, now: _Now) -> None:
    name = campaign.name
    meter.set("hilum_campaign_worked_on", _LEASE + name in now.holders, campaign=name)
    run = _run_of(name, now.holders)
    totals: dict[str, float] = {}
    for row in campaign.status.history:
        for step, seconds in row.seconds.items():
            totals[step] = totals.get(step, 0.0) + seconds
            meter.set("hilum_campaign_last_step_seconds", seconds, campaign=name, step=step)
    for step, seconds in totals.items():
        meter.count("hilum_campaign_step_seconds_total", seconds, campaign=name, step=step)
    for step in {*totals, *([run[0]] if run else [])}:
        meter.set("hilum_campaign_running", run is not None and step == run[0], campaign=name, step=step)


def _tell_quality(campaign: SeenCampaign, meter: Meter, now: _Now) -> None:
    name, status = campaign.name, campaign.status
    champion = now.aliases.get((name, "champion"))
    meter.set("hilum_campaign_champion", champion is not None, campaign=name)
    known = {point.checkpoint_id: point.metrics.get(_SIDE, {}) for point in status.curve}
    # An alias that was turned back by hand counts, not the last promotion.
    theirs = known.get(champion or "", {})
    newest = status.curve[-1].metrics.get(_SIDE, {}) if status.curve else {}
    if status.metric is not None:
        for metric, values in (("", theirs), ("challenger_", newest)):
            value = values.get(status.metric)
            if value is not None:
                meter.set(f"hilum_campaign_{metric}metric", value, campaign=name, metric=status.metric)
    of_classes = _OF_CLASSES[status.question]
    for class_name, value in list(campaign.of_classes.items())[:_MOST_CLASSES]:
        labels = {"campaign": name, "metric": of_classes, "class": class_name}
        meter.set("hilum_campaign_class_metric", value, **labels)


def _run_of(campaign: str, holders: Mapping[str, str]) -> tuple[str, str] | None:
    """The step and the run that the process works on which holds the campaign: it holds both leases."""
    mine = holders.get(_LEASE + campaign)
    if mine is None:
        return None
    process = mine.rsplit("/", 1)[0]
    for lease, holder in holders.items():
        if lease.startswith(_RUN_LEASE) and holder.rsplit("/", 1)[0] == process:
            _, step, run_id = lease.split("/", 2)
            return step, run_id
    return None
