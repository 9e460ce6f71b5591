"""From a store to what a report shows. The truth is read here: in a simulation it is known."""

import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt

from hilum.core.asking import IGNORE, Task
from hilum.core.candidates import as_image
from hilum.core.geometry import Patch
from hilum.core.imaging import Volume
from hilum.core.recipes import CampaignRecipe, Question, SimulateRecipe
from hilum.core.resources import Resources
from hilum.loop.budget import told
from hilum.loop.curves import RANDOM, Interval, t_interval
from hilum.loop.definition import read_definition
from hilum.loop.events import history
from hilum.loop.people import Person, agreement_of, people_of
from hilum.loop.report.content import AskedRound, ClassRow, Crowd, ReuseRow, Section, StageTime, Tile
from hilum.loop.report.gallery import MOST_TILES, shown_8bit
from hilum.loop.report.people import mean_person
from hilum.loop.report.reuse import is_worth_showing, reuse_row
from hilum.loop.simulate import Simulation, simulation_of
from hilum.loop.status import RoundSummary, asked_and_told, summarise
from hilum.steps.publish import drafted, tasks_of
from hilum.store.labels import NONE
from hilum.store.layout import Store
from hilum.store.manifest import Manifest, read_manifest
from hilum.store.tables import METRICS, POOL, read_table
from hilum.store.volumes import open_volume, volumes_of

CLASS_METRICS = {"classify": ("recall", "sensitivity", "auc"), "segment": ("dice", "iou")}
"""Which metric of a class is shown, in order of preference."""

Facts = tuple[tuple[str, str], ...]


def section_of(
    store: Store,
    manifest: Manifest,
    *,
    title: str = "",
    data: Mapping[str, str] | None = None,
    caveats: Sequence[str] = (),
    attribution: str = "",
    resources: Resources | None = None,
) -> Section:
    """A finished simulation as a section of a report.

    ``data`` says what the store cannot know (name of the data set, licence); ``caveats`` and
    ``attribution`` are printed as given.
    """
    seen = _Seen(store, simulation_of(manifest), manifest.inputs["ingest"], resources or Resources())
    recipe = SimulateRecipe.model_validate(manifest.recipe)
    class_metric, finals = _class_finals(seen)
    return Section(
        title=title or recipe.title or manifest.inputs["name"],
        question=seen.question,
        class_names=seen.class_names,
        comparison=seen.simulation.comparison,
        facts=(*(data or {}).items(), *_facts(seen, recipe)),
        attribution=attribution,
        class_metric=class_metric,
        classes=tuple(_class_rows(seen, finals)),
        gallery={strategy: tuple(_gallery(seen, strategy)) for strategy in seen.strategies},
        times=tuple(_times(seen)),
        reuse=tuple(_reuse(seen)),
        people=tuple(_crowds(seen)),
        caveats=tuple(caveats) if seen.simulation.side == "test" else (*caveats, _NO_TEST),
    )


_NO_TEST = (
    "There are no test patients: scores are of the validation patients, who also decide about promotion, "
    "and are somewhat too good."
)


@dataclass(frozen=True)
class _Seen:
    """A simulation and the store around it, each part read once."""

    store: Store
    simulation: Simulation
    ingest_id: str
    resources: Resources

    @cached_property
    def volumes(self) -> dict[str, Volume]:
        return volumes_of(self.store, self.ingest_id)

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        return tuple(read_manifest(self.store.run("ingest", self.ingest_id)).results["class_names"])

    @cached_property
    def recipe(self) -> CampaignRecipe:
        return read_definition(self.store, next(iter(self.simulation.campaigns.values()))).recipe

    @property
    def question(self) -> Question:
        return self.recipe.question

    @cached_property
    def strategies(self) -> list[str]:
        return [result.name for result in self.simulation.comparison.strategies]

    @cached_property
    def pool(self) -> list[tuple[Patch, str]]:
        """Every candidate's patch and patient."""
        first = next(iter(self.rounds.values()))[0]
        table = read_table(f"{self.store.run('pool', first.runs['pool'])}/pool.parquet", POOL)
        return [
            (Patch(row["volume_id"], tuple(row["start_zyx"]), tuple(row["shape_zyx"])), row["patient_id"])
            for row in table.to_pylist()
        ]

    @cached_property
    def rounds(self) -> dict[tuple[str, int], tuple[RoundSummary, ...]]:
        """Every branch's rounds that asked somebody."""
        return {branch: self._rounds(campaign) for branch, campaign in self.simulation.campaigns.items()}

    def _rounds(self, campaign: str) -> tuple[RoundSummary, ...]:
        recipe = read_definition(self.store, campaign).recipe
        status = summarise(campaign, recipe, history(self.store, campaign))
        return tuple(summary for summary in status.history if summary.num_asked)

    def seeds(self, strategy: str) -> list[int]:
        return sorted(seed for name, seed in self.rounds if name == strategy)

    def classes_in(self, patch: Patch) -> tuple[int, ...]:
        """What is true of a patch: its one class, or every foreground class that it shows."""
        if patch.candidate_id not in self._truths:
            self._truths[patch.candidate_id] = self._read_classes(patch)
        return self._truths[patch.candidate_id]

    @cached_property
    def _truths(self) -> dict[str, tuple[int, ...]]:
        return {}

    def _read_classes(self, patch: Patch) -> tuple[int, ...]:
        volume = self.volumes[patch.volume_id]
        if self.question == "classify":
            return (volume.classes[volume.item_index(patch)],) if volume.classes else ()
        label_map = open_volume(self.store, volume).read_label_map_ZYX(patch)
        return tuple(int(c) for c in np.unique(label_map) if 0 < c < IGNORE)


def _facts(seen: _Seen, recipe: SimulateRecipe) -> Facts:
    budget = recipe.campaign.campaign
    patients = len({patient for _, patient in seen.pool})
    held_out = {v.study.patient_id for v in seen.volumes.values()} - {patient for _, patient in seen.pool}
    return (
        ("Pool", f"{len(seen.pool):,} candidates of {_counted(patients, 'patient')}"),
        ("Held out", f"{_counted(len(held_out), 'patient')}; curves show the {seen.simulation.side} side"),
        ("Classes", ", ".join(seen.class_names)),
        ("Budget", told(budget)),
        ("Strategies", ", ".join(seen.strategies)),
        ("Seeds", ", ".join(str(seed) for seed in seen.seeds(RANDOM))),
        (
            "Network",
            f"{recipe.campaign.finetune.architecture.kind}, {recipe.campaign.finetune.num_steps} steps a round",
        ),
        ("Answers", "an oracle that knows the truth"),
        ("Machine", f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}"),
        ("Report made", datetime.now(UTC).strftime("%Y-%m-%d")),
        ("hilum", version("hilum")),
    )


def _counted(num: int, noun: str) -> str:
    return f"{num:,} {noun}{'' if num == 1 else 's'}"


def _class_rows(seen: _Seen, finals: Mapping[tuple[str, str], Interval]) -> Iterable[ClassRow]:
    first = 1 if seen.question == "segment" else 0
    pool_counts = _counts(seen, (patch for patch, _ in seen.pool))
    asked = {strategy: _asked_shares(seen, strategy) for strategy in seen.strategies}
    for class_id in range(first, len(seen.class_names)):
        name = seen.class_names[class_id]
        yield ClassRow(
            name=name,
            num_in_pool=int(pool_counts[class_id]),
            share_in_pool=float(pool_counts[class_id] / max(1, len(seen.pool))),
            shares_asked={s: t_interval([shares[class_id] for shares in asked[s]]) for s in seen.strategies},
            final={s: finals[s, name] for s in seen.strategies if (s, name) in finals},
        )


def _asked_shares(seen: _Seen, strategy: str) -> list[list[float]]:
    """For each seed, the share of asked candidates that are of (or show) each class."""
    shares = []
    for seed in seen.seeds(strategy):
        patches = [
            task.chosen.candidate.patch
            for summary in seen.rounds[strategy, seed]
            for task in tasks_of(seen.store, summary.runs["select"], seen.question)
        ]
        shares.append([float(n) / max(1, len(patches)) for n in _counts(seen, patches)])
    return shares


def _counts(seen: _Seen, patches: Iterable[Patch]) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    counts = np.zeros(len(seen.class_names), dtype=np.int64)
    for patch in patches:
        for class_id in seen.classes_in(patch):
            if 0 <= class_id < len(counts):
                counts[class_id] += 1
    return counts


def _class_finals(seen: _Seen) -> tuple[str, dict[tuple[str, str], Interval]]:
    """The metric shown for classes, and its value at the end for each (strategy, class), over seeds."""
    values: dict[tuple[str, str, str], list[float]] = {}
    for (strategy, _), rounds in seen.rounds.items():
        trained = [summary for summary in rounds if "evaluate" in summary.runs]
        url = seen.store.run("evaluate", trained[-1].runs["evaluate"])
        for row in read_table(f"{url}/metrics.parquet", METRICS).to_pylist():
            if row["side"] == seen.simulation.side and row["class_name"] in seen.class_names:
                values.setdefault((row["metric"], strategy, row["class_name"]), []).append(row["value"])
    measured = {metric for metric, _, _ in values}
    shown = next((metric for metric in CLASS_METRICS[seen.question] if metric in measured), "")
    finals = {
        (strategy, name): t_interval(found)
        for (metric, strategy, name), found in values.items()
        if metric == shown and np.isfinite(found).all()
    }
    return shown, finals


def _gallery(seen: _Seen, strategy: str) -> Iterable[AskedRound]:
    """What the first seed of a strategy asked, with the drafts its model would have shown."""
    known = 0
    for summary in seen.rounds[strategy, seen.seeds(strategy)[0]]:
        tasks = tasks_of(seen.store, summary.runs["select"], seen.question)[:MOST_TILES]
        champion = summary.runs["champion"]
        if champion != NONE:
            tasks = drafted(tasks, champion, store=seen.store, resources=seen.resources)
        tiles = tuple(_tile(seen, task) for task in tasks)
        yield AskedRound(summary.round_number, known, summary.num_asked, tiles)
        known += summary.num_answered


def _tile(seen: _Seen, task: Task) -> Tile:
    patch = task.chosen.candidate.patch
    volume = seen.volumes[patch.volume_id]
    reader = open_volume(seen.store, volume)
    image_CZYX = _hung(reader.read_CZYX(patch), volume)
    reason, arm = task.chosen.reason, task.chosen.arm
    if seen.question == "classify":
        z = image_CZYX.shape[1] // 2
        image = shown_8bit(image_CZYX[:, z], low=volume.low, high=volume.high)
        truth = seen.classes_in(patch)
        return Tile(image, reason, arm, truth_class=truth[0] if truth else None, draft_class=task.draft_class)
    truth_ZYX = _hung(reader.read_label_map_ZYX(patch).astype(np.uint16), volume)
    # Of a block, the slice with most to see.
    z = int(((truth_ZYX > 0) & (truth_ZYX < IGNORE)).sum(axis=(1, 2)).argmax())
    draft = None if task.draft_label_map_zyx is None else _hung(task.draft_label_map_zyx, volume)[z]
    image = shown_8bit(image_CZYX[:, z], low=volume.low, high=volume.high)
    return Tile(image, reason, arm, truth_yx=truth_ZYX[z], draft_yx=draft)


def _hung(array_ZYX: npt.NDArray[Any], volume: Volume) -> npt.NDArray[Any]:
    """A patch as an image; one whose rows run along Z with the patient's head up."""
    image = as_image(array_ZYX)
    rows_run_along_z = image.shape != array_ZYX.shape
    return np.flip(image, axis=-2) if rows_run_along_z and volume.grid.direction[2][0] > 0 else image


def _times(seen: _Seen) -> Iterable[StageTime]:
    for strategy in seen.strategies:
        branches = [seen.rounds[strategy, seed] for seed in seen.seeds(strategy)]
        totals: dict[str, float] = {}
        for rounds in branches:
            for summary in rounds:
                for step, seconds in summary.seconds.items():
                    totals[step] = totals.get(step, 0.0) + seconds / len(branches)
        yield StageTime(strategy, totals)


def _crowds(seen: _Seen) -> Iterable[Crowd]:
    """Who answered each strategy's questions; nothing where one annotator answered all."""
    for strategy in seen.strategies:
        rounds = [asked_and_told(seen.rounds[strategy, seed]) for seed in seen.seeds(strategy)]
        told = [each for each in rounds if each]
        by_name: dict[str, list[Person]] = {}
        for each in told:
            for person in people_of(seen.store, each[-1][1], each):
                by_name.setdefault(person.annotator, []).append(person)
        if len(by_name) > 1:
            agreements = (agreement_of(seen.store, each[-1][1]) for each in told)
            people = tuple(mean_person(ones) for _, ones in sorted(by_name.items()))
            yield Crowd(strategy, people, tuple(one for one in agreements if one is not None))


def _reuse(seen: _Seen) -> list[ReuseRow]:
    """What each strategy's trainings used again; nothing where there is nothing to compare, or no account."""
    rows = []
    for strategy in seen.strategies:
        seeds = seen.seeds(strategy)
        accounts = [[one.reuse for one in seen.rounds[strategy, seed] if one.reuse] for seed in seeds]
        campaign = seen.simulation.campaigns[strategy, seeds[0]]
        row = reuse_row(strategy, read_definition(seen.store, campaign).recipe.finetune, accounts)
        if row is not None:
            rows.append(row)
    return rows if is_worth_showing(rows) else []
