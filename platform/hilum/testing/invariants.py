"""Eight things that are true of every campaign, whatever was killed, dropped, repeated or restarted on its way.

Each is a function that raises AssertionError where it does not hold:

1. `budget_kept`: nobody was asked more than a round, or the campaign, may ask
2. `asked_once`: no candidate, and no voxel, was asked about twice
3. `answers_taught_once`: every answer that was taken in is in the next training set exactly once
4. `nothing_else_taught`: nothing that was declined, refused, unasked or in quarantine is taught
5. `moved_forward`: the stages are one walk of legal moves, and every run they name is whole
6. `patients_apart`: no patient is on two sides of the split, nobody held out was asked about or taught
7. `same_choices`: whom was asked, in which order, is what an undisturbed campaign of the same seed asked
8. nothing is left behind: no half-written file (`nothing_half_written`), and no process, port, shared memory or
   temporary folder, which who ran the campaign has to look for
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

from hilum.core.asking import Annotation, Chosen
from hilum.core.recipes import CampaignRecipe
from hilum.loop.events import history, runs_of
from hilum.loop.stages import Stage, may_move
from hilum.store.labels import (
    ANNOTATIONS_FILE,
    NONE,
    lineage,
    read_annotations,
    read_answers,
    read_declined,
)
from hilum.store.layout import Store, is_local
from hilum.store.manifest import read_manifest, verify
from hilum.store.selections import read_selection
from hilum.store.volumes import volumes_of

_NO_RUN = ("champion", "labels")


@dataclass(frozen=True)
class Left:
    """What a campaign has left in its store so far."""

    store: Store
    name: str
    recipe: CampaignRecipe

    @cached_property
    def rounds(self) -> list[dict[str, str]]:
        """The runs of every round, by step."""
        return [runs_of(events) for events in history(self.store, self.name)]

    @cached_property
    def walked(self) -> list[tuple[int, Stage]]:
        return [(number, stage) for number, events in enumerate(history(self.store, self.name)) for stage in events]

    @cached_property
    def selections(self) -> list[list[Chosen]]:
        return [read_selection(self.store, runs["select"]) for runs in self.rounds if "select" in runs]

    @cached_property
    def taught(self) -> list[list[Annotation]]:
        """What the training of each round was taught."""
        labels = [
            read_manifest(self.store.run("finetune", runs["finetune"])).inputs["labels"]
            for runs in self.rounds
            if "finetune" in runs
        ]
        return [read_answers(self.store, one) for one in labels]


def budget_kept(left: Left) -> None:
    budget = left.recipe.campaign
    first = budget.num_first_round or budget.num_per_round
    assert sum(map(len, left.selections)) <= budget.num_in_total
    assert all(len(selection) <= first for selection in left.selections[:1])
    assert all(len(selection) <= budget.num_per_round for selection in left.selections[1:])


def asked_once(left: Left) -> None:
    patches = [chosen.candidate.patch for selection in left.selections for chosen in selection]
    assert len({patch.candidate_id for patch in patches}) == len(patches)
    assert not any(a.overlaps(b) for place, a in enumerate(patches) for b in patches[:place])


def answers_taught_once(left: Left, told: Mapping[str, int | None] | None = None) -> None:
    """``told``: the class of everything that people have answered by now, from where they answered it."""
    for runs in left.rounds:
        if "collect" not in runs:
            continue
        rows = Counter(answer.annotation_id for answer in _rows(left.store, runs["collect"]))
        assert set(rows.values()) <= {1}
        standing = {answer.patch.candidate_id: answer for answer in read_answers(left.store, runs["collect"])}
        asked = {chosen.candidate.candidate_id for chosen in _asked_by_then(left, runs["collect"])}
        declined = {patch.candidate_id for patch in read_declined(left.store, runs["collect"])}
        assert set(standing) | declined == asked
        if told is not None:
            assert {one: answer.class_id for one, answer in standing.items()} == {
                one: class_id for one, class_id in told.items() if one in asked
            }
        if "finetune" in runs:
            trained = read_manifest(left.store.run("finetune", runs["finetune"]))
            assert trained.inputs["labels"] == runs["collect"]


def nothing_else_taught(left: Left) -> None:
    trained = [runs for runs in left.rounds if "finetune" in runs]
    for runs, taught in zip(trained, left.taught, strict=True):
        ingested = volumes_of(left.store, runs["ingest"])
        asked = {chosen.candidate.candidate_id for chosen in _asked_by_then(left, runs["collect"])}
        declined = {patch.candidate_id for patch in read_declined(left.store, runs["collect"])}
        names = {answer.patch.candidate_id for answer in taught}
        assert names <= asked
        assert not names & declined
        assert all(answer.patch.volume_id in ingested for answer in taught)
        assert all(answer.class_id is not None or answer.label_map_zyx is not None for answer in taught)


def moved_forward(left: Left) -> None:
    assert left.walked[0] == (0, Stage.OPENED)
    assert all(may_move(before, after) for before, after in pairwise(left.walked))
    for runs in left.rounds:
        for step, run_id in runs.items():
            if step not in _NO_RUN and run_id != NONE:
                url = left.store.run(step, run_id)
                assert verify(url, read_manifest(url)) == []


def patients_apart(left: Left) -> None:
    trained = [runs for runs in left.rounds if "finetune" in runs]
    for runs in left.rounds:
        sides: dict[str, set[str | None]] = {}
        for volume in volumes_of(left.store, runs["ingest"]).values():
            sides.setdefault(volume.study.patient_id, set()).add(volume.side)
        assert all(len(of_patient) == 1 for of_patient in sides.values())
        if "select" in runs:
            asked = {one.candidate.patient_id for one in read_selection(left.store, runs["select"])}
            assert all(sides[patient] == {"pool"} for patient in asked)
    for runs, taught in zip(trained, left.taught, strict=True):
        volumes = volumes_of(left.store, runs["ingest"])
        assert {volumes[answer.patch.volume_id].side for answer in taught} <= {"pool"}


def same_choices(left: Left, undisturbed: "Left") -> None:
    assert chosen_ids(left) == chosen_ids(undisturbed)


def nothing_half_written(left: Left) -> None:
    """For stores in a folder; on a bucket there is nothing half written."""
    if is_local(left.store.url):
        assert not list(Path(left.store.url).rglob("*.partial*"))


def chosen_ids(left: Left) -> list[list[str]]:
    """The candidates of every round, in rank order."""
    return [[chosen.candidate.candidate_id for chosen in selection] for selection in left.selections]


EACH = (budget_kept, asked_once, answers_taught_once, nothing_else_taught, moved_forward, patients_apart)
"""Those that one campaign is judged by alone, at any moment."""


def _rows(store: Store, collect_id: str) -> list[Annotation]:
    """Every row that was ever collected for a label set."""
    runs = (store.run("collect", manifest.inputs["collect"]) for manifest in lineage(store, collect_id))
    return [answer for run in runs for answer in read_annotations(f"{run}/{ANNOTATIONS_FILE}")]


def _asked_by_then(left: Left, collect_id: str) -> list[Chosen]:
    """Everybody who was asked about in the rounds up to the one that collected."""
    last = next(number for number, runs in enumerate(left.rounds) if runs.get("collect") == collect_id)
    return [chosen for selection in left.selections[: last + 1] for chosen in selection]
