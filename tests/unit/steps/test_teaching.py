"""Which answers a training is taught: all, what is new, and what the model before it gets wrong."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.adapters.inline import InlineExecutor, LocalTrainContext
from hilum.core.asking import Annotation
from hilum.core.errors import DataError, NotFoundError
from hilum.core.recipes import Choice, FinetuneRecipe
from hilum.core.resources import Resources
from hilum.steps import finetune, teaching
from hilum.steps.predictor import load_predictor
from hilum.store import checkpoints
from hilum.store.labels import NONE, read_answers
from hilum.store.layout import Store
from hilum.store.manifest import read_json, verify
from hilum.store.volumes import volumes_of
from hilum.testing.answered import label_set_of, true_answers
from hilum.testing.phantoms import Phantom, phantom_store

SMALL = Choice(kind="unet", depth=1, features=(8, 16))
LEARNER = FinetuneRecipe(architecture=SMALL, num_steps=60, batch_size=12, learning_rate=1e-2, checkpoint_every=60)
NEW = FinetuneRecipe(architecture=SMALL, num_steps=2, batch_size=4, checkpoint_every=1, start="previous", data="new")
HQ = NEW.model_copy(update={"data": "new_and_misclassified"})
ALL = NEW.model_copy(update={"data": "all"})


@dataclass(frozen=True)
class Told:
    """A store in two rounds: the label sets, and a model that learnt the truth of the first round's patches."""

    store: Store
    ingest_id: str
    old: str
    both: str
    start: str
    old_answers: list[Annotation]
    new_answers: list[Annotation]

    def inputs(self, recipe, start=None):
        return teaching.inputs_of(
            recipe, labels=self.both, start=start or self.start, ingest=self.ingest_id, store=self.store
        )

    def run(self, recipe, start=None):
        inputs = self.inputs(recipe, start)
        return finetune.run(recipe, inputs, store=self.store, executor=InlineExecutor(), resources=Resources())

    def taught(self, manifest):
        rows = read_json(f"{self.store.run('finetune', manifest.run_id)}/{teaching.TAUGHT}")["answers"]
        return {row["annotation_id"]: row["why"] for row in rows}


def told(folder, question, *, wrong=lambda answer: answer, num_wrong=3):
    """The model learns the truth; then the first ``num_wrong`` old answers turn out otherwise."""
    phantom = Phantom(question)
    store, ingest_id = phantom_store(str(folder), phantom)
    truth = true_answers(store, ingest_id, phantom)
    learnt = label_set_of(store, truth[:24])
    inputs = {"labels": learnt, "start": NONE, "ingest": ingest_id}
    start = finetune.run(LEARNER, inputs, store=store, executor=InlineExecutor(), resources=Resources()).run_id
    old_answers = [wrong(answer) for answer in truth[:num_wrong]] + truth[num_wrong:24]
    old = label_set_of(store, old_answers)
    both = label_set_of(store, truth[24:], parent=old)
    return Told(store, ingest_id, old, both, start, old_answers, truth[24:])


def changed(answer, **fields):
    return Annotation(**{**vars(answer), **fields})


def other_class(answer):
    return changed(answer, class_id=1 - answer.class_id)


def inverted(answer):
    return changed(answer, label_map_zyx=(1 - answer.label_map_zyx).astype(np.uint16))


@pytest.fixture(scope="module")
def classified(tmp_path_factory):
    return told(tmp_path_factory.mktemp("classify"), "classify", wrong=other_class)


@pytest.fixture(scope="module")
def segmented(tmp_path_factory):
    return told(tmp_path_factory.mktemp("segment"), "segment", wrong=inverted)


def ids_of(answers):
    return {answer.annotation_id for answer in answers}


def test_new_trains_on_the_latest_round_and_on_nothing_else(classified):
    manifest = classified.run(NEW)
    assert set(classified.taught(manifest)) == ids_of(classified.new_answers)
    assert set(classified.taught(manifest).values()) == {"new"}
    assert manifest.results["num_answers"] == len(classified.new_answers) == 12
    assert checkpoints.read_card(classified.store, manifest.run_id)["num_answers"] == 12


def test_patches_that_are_not_taught_are_not_even_read(classified, monkeypatch):
    read = []
    of_patch = finetune.AnsweredPatches._image
    monkeypatch.setattr(
        finetune.AnsweredPatches, "_image", lambda self, a: (read.append(a.annotation_id), of_patch(self, a))[1]
    )
    recipe = NEW.model_copy(update={"num_steps": 3, "balance_classes": False})
    classified.run(recipe)
    assert set(read) == ids_of(classified.new_answers)


def test_old_answers_change_nothing_where_only_new_ones_are_taught(classified):
    """The weights are those of a training that was never told of the old answers."""
    alone = label_set_of(classified.store, classified.new_answers)
    inputs = {"labels": alone, "start": classified.start, "ingest": classified.ingest_id}
    resources = Resources()
    expected = finetune.run(ALL, inputs, store=classified.store, executor=InlineExecutor(), resources=resources)
    assert equal(classified.store, classified.run(NEW).run_id, expected.run_id)


def equal(store, one, other):
    first, second = (checkpoints.load(store, name)[0] for name in (one, other))
    return all(np.array_equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("question", ["classified", "segmented"])
def test_misclassified_are_exactly_the_answers_that_the_model_contradicts(question, request):
    here = request.getfixturevalue(question)
    taught = here.taught(here.run(HQ))
    wrong = {name for name, why in taught.items() if why == "misclassified"}
    assert wrong == contradicted(here)
    assert ids_of(here.old_answers[:3]) <= wrong
    assert wrong < ids_of(here.old_answers)
    assert {name for name, why in taught.items() if why == "new"} == ids_of(here.new_answers)


def contradicted(here):
    """Asked one patch at a time, which old answers are not the model's own."""
    predictor = load_predictor(here.store, here.start)
    examples = finetune.AnsweredPatches(here.store, here.old_answers, volumes_of(here.store, here.ingest_id))
    found = set()
    for place, answer in enumerate(here.old_answers):
        said = predictor.predict(examples.read(place).image_CZYX[None])[0, 0].argmax(axis=0)
        if answer.class_id is not None:
            is_wrong = said != answer.class_id
        else:
            hits = 2 * np.sum((said == 1) & (answer.label_map_zyx == 1))
            total = np.sum(said == 1) + np.sum(answer.label_map_zyx == 1)
            is_wrong = total > 0 and hits / total < 0.7
        if is_wrong:
            found.add(answer.annotation_id)
    return found


def test_a_higher_threshold_calls_more_label_maps_wrong(segmented):
    numbers = []
    for min_dice in (0.01, 0.7, 1.0):
        recipe = HQ.model_copy(update={"misclassified": HQ.misclassified.model_copy(update={"min_dice": min_dice})})
        numbers.append(segmented.run(recipe).results["reuse"]["num_misclassified"])
    assert numbers == sorted(numbers)
    assert numbers[0] < numbers[-1]


def test_the_model_s_mean_opinion_decides(classified):
    mirrors = HQ.misclassified.model_copy(update={"members": Choice(kind="mirrors", num_members=4)})
    manifest = classified.run(HQ.model_copy(update={"misclassified": mirrors}))
    assert ids_of(classified.old_answers[:3]) <= set(classified.taught(manifest))
    assert manifest.run_id != classified.run(HQ).run_id


def test_many_small_shards_judge_as_one_large_one(classified, monkeypatch):
    whole = classified.taught(classified.run(HQ))
    monkeypatch.setattr(teaching, "_ANSWERS_PER_SHARD", 5)
    assert [len(shard) for shard in teaching.shards_of(12)] == [5, 5, 2]
    again = HQ.model_copy(update={"checkpoint_every": 2})
    assert classified.taught(classified.run(again)) == whole


class TwoWorkers(InlineExecutor):
    """Two workers that train together, as threads; and shards that come back last first."""

    def map_shards(self, work, shards, **options):
        return super().map_shards(work, shards[::-1], **options)

    def train(self, work, *, name, resources):
        group, meeting = {}, threading.Barrier(2, timeout=60)

        class Worker(LocalTrainContext):
            num_workers = 2

            def __init__(self, rank):
                super().__init__()
                self.rank = rank

            def sum_in_order(self, chunks):
                group[self.rank] = chunks
                meeting.wait()
                total = super().sum_in_order([*group[0], *group[1]])
                meeting.wait()
                return total

        with ThreadPoolExecutor(2) as threads:
            return next(iter(threads.map(lambda rank: work(Worker(rank)), range(2))))


def test_two_workers_are_taught_what_one_is_and_end_with_its_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(teaching, "_ANSWERS_PER_SHARD", 7)
    ended = []
    for executor in (InlineExecutor(), TwoWorkers()):
        here = told(tmp_path / type(executor).__name__, "classify", wrong=other_class)
        manifest = finetune.run(HQ, here.inputs(HQ), store=here.store, executor=executor, resources=Resources())
        ended.append((manifest, here.taught(manifest), checkpoints.load(here.store, manifest.run_id)[0]))
    (one, taught, weights), (other, taught_together, weights_together) = ended
    assert one == other
    assert taught == taught_together
    assert all(np.array_equal(weights[name], weights_together[name]) for name in weights)


@given(st.integers(0, 2000))
def test_every_answer_is_in_one_shard(num):
    assert [place for shard in teaching.shards_of(num) for place in shard] == list(range(num))


def test_reuse_adds_up(classified):
    for recipe in (ALL, NEW, HQ):
        manifest = classified.run(recipe)
        reuse = manifest.results["reuse"]
        assert reuse["num_labels"] == reuse["num_new"] + reuse["num_old"] == 36
        assert reuse["num_new"] + reuse["num_reused"] == manifest.results["num_answers"]
        assert reuse["label_reuse"] == reuse["num_reused"] / 24
        assert reuse["data_reuse"] == reuse["num_reused"] / manifest.results["num_answers"]
        assert reuse["num_steps"] == manifest.results["num_steps"] == 2
        assert reuse["model_reuse"] is True
    assert classified.run(ALL).results["reuse"]["label_reuse"] == 1.0
    assert classified.run(NEW).results["reuse"]["label_reuse"] == 0.0
    assert classified.run(HQ).results["reuse"]["num_misclassified"] >= 3
    assert classified.run(ALL).results["reuse"]["num_misclassified"] is None


def test_neither_from_scratch_nor_from_the_first_model_is_a_model_used_again(classified):
    scratch = ALL.model_copy(update={"start": "scratch"})
    first = ALL.model_copy(update={"start": "first"})
    assert classified.run(scratch, start=NONE).results["reuse"]["model_reuse"] is False
    assert classified.run(first).results["reuse"]["model_reuse"] is False
    assert classified.run(first).inputs["start"] == classified.start


def test_without_anything_old_there_is_no_share_of_it(classified):
    inputs = {"labels": classified.old, "start": NONE, "ingest": classified.ingest_id}
    recipe = ALL.model_copy(update={"start": "scratch"})
    results = finetune.run(recipe, inputs, store=classified.store, executor=InlineExecutor(), resources=Resources())
    reuse = results.results["reuse"]
    assert (reuse["num_old"], reuse["label_reuse"], reuse["data_reuse"]) == (0, None, 0.0)


def test_what_decides_the_answers_is_in_the_name(classified):
    manifests = [classified.run(recipe) for recipe in (ALL, NEW, HQ)]
    assert len({manifest.run_id for manifest in manifests}) == 3
    assert [manifest.inputs.get("previous") for manifest in manifests] == [None, classified.old, classified.old]
    assert classified.run(NEW, start=classified.run(ALL).run_id).run_id != classified.run(NEW).run_id


def test_what_is_new_to_the_champion_is_all_that_came_after_it(classified):
    """A rejected round leaves the champion where it was: what that round asked must not be lost."""
    from_champion = NEW.model_copy(update={"start": "champion"})
    third = label_set_of(classified.store, [], parent=classified.both)
    inputs = teaching.inputs_of(
        from_champion, labels=third, start=classified.start, ingest=classified.ingest_id, store=classified.store
    )
    learnt_from = checkpoints.read_card(classified.store, classified.start)["inputs"]["labels"]
    assert inputs["previous"] == learnt_from != classified.both
    previous = teaching.previous_labels(NEW, {"labels": third, "start": classified.start}, classified.store)
    assert previous == classified.both


def test_a_corrected_answer_is_new(classified):
    corrected = changed(classified.old_answers[0], revision=2)
    labels = label_set_of(classified.store, [corrected], parent=classified.old)
    known = teaching.known_before(read_answers(classified.store, labels), classified.old, classified.store)
    assert sum(known) == len(known) - 1 == 23


def test_nothing_to_train_on_is_said(classified):
    empty = label_set_of(classified.store, [], parent=classified.both)
    inputs = teaching.inputs_of(
        NEW, labels=empty, start=classified.start, ingest=classified.ingest_id, store=classified.store
    )
    with pytest.raises(DataError, match="There is no answer to train on: .* or train with data: all"):
        finetune.run(NEW, inputs, store=classified.store, executor=InlineExecutor(), resources=Resources())


def test_what_was_taught_is_a_file_of_the_run_only_where_it_is_not_all(classified):
    chosen, everything = classified.run(HQ), classified.run(ALL)
    assert sorted(chosen.files) == ["history.json", "taught.json"]
    assert sorted(everything.files) == ["history.json"]
    url = classified.store.run("finetune", chosen.run_id)
    assert verify(url, chosen) == []
    assert not Path(classified.store.run("finetune", everything.run_id), "taught.json").exists()


class Killed(Exception):  # noqa: N818 (nothing is wrong)
    pass


class DiesInTraining(InlineExecutor):
    def train(self, work, *, name, resources):
        raise Killed


def test_what_was_chosen_before_a_kill_is_taught_after_it(tmp_path):
    here = told(tmp_path, "classify", wrong=other_class)
    with pytest.raises(Killed):
        finetune.run(HQ, here.inputs(HQ), store=here.store, executor=DiesInTraining(), resources=Resources())
    (file,) = Path(here.store.url).glob("runs/finetune/*/taught.json")
    rows = json.loads(file.read_text())["answers"]
    judged = []

    class Watched(InlineExecutor):
        def map_shards(self, work, shards, **options):
            judged.extend(shards)
            return super().map_shards(work, shards, **options)

    manifest = finetune.run(HQ, here.inputs(HQ), store=here.store, executor=Watched(), resources=Resources())
    assert judged == []
    assert set(here.taught(manifest)) == {row["annotation_id"] for row in rows}


def test_a_label_set_that_is_not_there_is_named(classified):
    with pytest.raises(NotFoundError):
        teaching.inputs_of(NEW, labels="0" * 12, start=classified.start, ingest="i", store=classified.store)
