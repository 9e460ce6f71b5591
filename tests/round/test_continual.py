"""Campaigns of continual fine-tuning: where each round starts, what it is taught, and that its account adds up."""

from collections.abc import Callable
from pathlib import Path

import pytest

from hilum.adapters.inline import InlineExecutor
from hilum.adapters.oracle import Oracle
from hilum.core.recipes import BudgetRecipe, CampaignRecipe, Question
from hilum.loop.campaign import Campaign
from hilum.loop.events import history, runs_of
from hilum.store import checkpoints
from hilum.store.labels import read_answers
from hilum.store.layout import Store
from hilum.store.manifest import Manifest, read_json, read_manifest
from hilum.testing.campaigns import check_invariants, determined_files, tiny_recipe
from hilum.testing.interruptions import Countdown, InterruptedExecutor

NewStore = Callable[..., tuple[Store, str]]
INLINE = InlineExecutor()
STRATEGIES = {
    "aft-lq": {"start": "first"},
    "acft-q": {"start": "previous", "data": "new", "continue_learning_rate_factor": 0.1},
    "acft-lq": {"start": "previous", "continue_learning_rate_factor": 0.1},
    "acft-hq": {"start": "previous", "data": "new_and_misclassified", "continue_learning_rate_factor": 0.1},
    "champion-q": {"start": "champion", "data": "new"},
}


def recipe_of(strategy: str, question: Question = "classify") -> CampaignRecipe:
    recipe = tiny_recipe(question, num_rounds=3, num_per_round=4)
    return recipe.model_copy(update={"finetune": recipe.finetune.model_copy(update=STRATEGIES[strategy])})


def trainings(store: Store, name: str) -> list[Manifest]:
    return [read_manifest(store.run("finetune", runs_of(events)["finetune"])) for events in history(store, name)]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("question", ["classify", "segment"])
def test_three_rounds_of_every_strategy_come_to_their_end(
    new_store: NewStore, strategy: str, question: Question
) -> None:
    store, ingest_id = new_store(question)
    recipe = recipe_of(strategy, question)
    status = Campaign.create(store, "liver", recipe).run(executor=INLINE, annotator=Oracle(store, ingest_id))
    assert status.finished
    check_invariants(store, "liver", recipe)
    told = [row.reuse for row in status.history]
    assert [reuse["num_labels"] for reuse in told] == [4, 8, 12]
    assert [reuse["num_old"] for reuse in told][:2] == [0, 4]
    for reuse, training in zip(told, trainings(store, "liver"), strict=True):
        assert reuse == training.results["reuse"]
        assert reuse["num_new"] + reuse["num_old"] == reuse["num_labels"]
        assert reuse["num_new"] + reuse["num_reused"] == training.results["num_answers"]


def test_each_strategy_starts_where_it_says(new_store: NewStore) -> None:
    store, ingest_id = new_store()
    for strategy in ("aft-lq", "acft-lq"):
        Campaign.create(store, strategy, recipe_of(strategy)).run(executor=INLINE, annotator=Oracle(store, ingest_id))
    from_first = trainings(store, "aft-lq")
    assert [one.inputs["start"] for one in from_first] == ["none", from_first[0].run_id, from_first[0].run_id]
    onwards = trainings(store, "acft-lq")
    assert [one.inputs["start"] for one in onwards] == ["none", onwards[0].run_id, onwards[1].run_id]
    # Until something differs they are the same campaign: one first model, trained once.
    assert from_first[0].run_id == onwards[0].run_id
    rates = [[one.recipe["learning_rate"] for one in of] for of in (from_first, onwards)]
    full = from_first[0].recipe["learning_rate"]
    assert rates == [[full, full, full], [full, full * 0.1, full * 0.1]]
    assert [one.results["reuse"]["model_reuse"] for one in from_first] == [False, False, False]
    assert [one.results["reuse"]["model_reuse"] for one in onwards] == [False, True, True]


def test_the_previous_model_is_gone_on_from_even_if_it_was_rejected(new_store: NewStore) -> None:
    store, ingest_id = new_store()
    for strategy in ("acft-q", "champion-q"):
        recipe = recipe_of(strategy)
        changes = {"num_steps": 60, "batch_size": 12, "learning_rate": 1e-2, "continue_learning_rate_factor": 1.0}
        budget = BudgetRecipe(num_first_round=8, num_per_round=14, num_in_total=36)
        learner = recipe.finetune.model_copy(update=changes)
        recipe = recipe.model_copy(update={"finetune": learner, "campaign": budget})
        campaign = Campaign.create(store, strategy, recipe)
        while campaign.round_number == 0:
            campaign.advance(executor=INLINE, annotator=Oracle(store, ingest_id))
        # From now on every answer is wrong.
        campaign.run(executor=INLINE, annotator=Oracle(store, ingest_id, error_rate=1.0))
    for strategy in ("acft-q", "champion-q"):
        rounds = [runs_of(events) for events in history(store, strategy)]
        status = Campaign.open(store, strategy).status()
        for number, training in enumerate(trainings(store, strategy)[1:], start=1):
            before = rounds[number - 1]["finetune"] if strategy == "acft-q" else rounds[number]["champion"]
            assert training.inputs["start"] == before
        assert status.history[1].promoted is False
    # Rejected, the second round's model leaves a champion that has not learnt its answers: they are still new to it.
    assert [one.results["reuse"]["num_new"] for one in trainings(store, "acft-q")] == [8, 14, 14]
    assert [one.results["reuse"]["num_new"] for one in trainings(store, "champion-q")] == [8, 14, 28]


def test_only_new_answers_are_taught_round_by_round(new_store: NewStore) -> None:
    store, ingest_id = new_store()
    Campaign.create(store, "liver", recipe_of("acft-q")).run(executor=INLINE, annotator=Oracle(store, ingest_id))
    known: set[str] = set()
    for number, training in enumerate(trainings(store, "liver")):
        now = {answer.annotation_id for answer in read_answers(store, training.inputs["labels"])}
        if number:
            rows = read_json(f"{store.run('finetune', training.run_id)}/taught.json")["answers"]
            assert {row["annotation_id"] for row in rows} == now - known
            assert training.inputs["previous"] == trainings(store, "liver")[number - 1].inputs["labels"]
            assert checkpoints.read_card(store, training.run_id)["num_answers"] == 4
        known = now


class Stopped(Exception):  # noqa: N818 (nothing is wrong)
    pass


def test_stopped_at_every_few_points_a_campaign_ends_with_the_same_bytes(new_store: NewStore) -> None:
    def stop() -> None:
        raise Stopped

    whole, ingest_id = new_store(name="whole")
    recipe = recipe_of("acft-hq")
    Campaign.create(whole, "liver", recipe).run(executor=INLINE, annotator=Oracle(whole, ingest_id))
    store, ingest_id = new_store(name="stopped")
    num_stops = 0
    while True:
        try:
            executor = InterruptedExecutor(INLINE, Countdown(stop, 5 + num_stops))
            campaign = Campaign.create(store, "liver", recipe)
            campaign.run(executor=executor, annotator=Oracle(store, ingest_id))
            break
        except Stopped:
            num_stops += 1
    assert num_stops >= 3
    assert determined_files(store) == determined_files(whole)
    assert len(_taught(store)) == len(_taught(whole)) == 2
    for mine, theirs in zip(_taught(store), _taught(whole), strict=True):
        assert mine.read_bytes() == theirs.read_bytes()


def _taught(store: Store) -> list[Path]:
    return sorted(Path(store.url).glob("runs/finetune/*/taught.json"))
