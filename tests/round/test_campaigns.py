"""Whole campaigns on phantoms: every step for real, both questions, two and three dimensions."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from hilum.adapters.directory import Directory
from hilum.adapters.inline import InlineExecutor
from hilum.adapters.oracle import Oracle
from hilum.core.errors import ConflictError, NotFoundError, RecipeError, WaitingForPeople
from hilum.core.recipes import (
    ArmRecipe,
    BudgetRecipe,
    CampaignRecipe,
    Choice,
    PromoteRecipe,
    ScoreRecipe,
    SelectRecipe,
    StopRecipe,
)
from hilum.loop.campaign import Campaign, campaigns
from hilum.loop.events import Event, history, runs_of
from hilum.loop.stages import Stage
from hilum.steps.score_parts import read_scores
from hilum.store.labels import read_answers
from hilum.store.layout import Store
from hilum.store.ledger import open_ledger
from hilum.store.manifest import read_manifest
from hilum.store.selections import read_selection
from hilum.store.volumes import volumes_of
from hilum.testing.campaigns import check_invariants, determined_files, tiny_recipe

NewStore = Callable[..., tuple[Store, str]]
INLINE = InlineExecutor()


@pytest.mark.parametrize("question", ["classify", "segment"])
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_a_campaign_spends_its_budget_and_keeps_a_champion(
    new_store: NewStore, question: str, spatial_dims: int
) -> None:
    store, ingest_id = new_store(question, spatial_dims)
    recipe = tiny_recipe(question)
    events: list[Event] = []
    campaign = Campaign.create(store, "liver", recipe)
    status = campaign.run(executor=INLINE, annotator=Oracle(store, ingest_id), on_event=events.append)
    check_invariants(store, "liver", recipe)
    assert campaign.finished
    assert (status.num_asked, status.num_answered, status.num_in_total) == (10, 10, 10)
    assert [row.num_asked for row in status.history] == [5, 5]
    assert [point.num_labels for point in status.curve] == [5, 10]
    assert status.curve[0].promoted
    assert status.metric == ("balanced_accuracy" if question == "classify" else "dice_mean")
    assert status.champion_metric == status.curve[-1].champion_metrics["validation"][status.metric]
    assert open_ledger(store).alias("liver", "champion") == status.champion_id
    assert [event.stage for event in events][:3] == [Stage.SCORED, Stage.SELECTED, Stage.PUBLISHED]
    assert campaign.advance(executor=INLINE, annotator=Oracle(store, ingest_id)) is None


def test_the_second_round_is_scored_by_the_champion_of_the_first(new_store: NewStore) -> None:
    store, ingest_id = new_store()
    Campaign.create(store, "liver", tiny_recipe("classify")).run(executor=INLINE, annotator=Oracle(store, ingest_id))
    first, second = (runs_of(events) for events in history(store, "liver"))
    assert first["champion"] == "none"
    assert second["champion"] == first["finetune"]
    assert read_manifest(store.run("score", second["score"])).inputs["checkpoint"] == first["finetune"]
    assert {chosen.arm for chosen in read_selection(store, second["select"])} == {"top_k", "random"}


def test_a_campaign_that_asks_at_random_is_never_scored_by_a_model(new_store: NewStore) -> None:
    store, ingest_id = new_store()
    at_random = SelectRecipe(arms=(ArmRecipe(share=1.0, sampler=Choice(kind="random")),))
    recipe = tiny_recipe("classify").model_copy(update={"select": at_random})
    Campaign.create(store, "liver", recipe).run(executor=INLINE, annotator=Oracle(store, ingest_id))
    first, second = (runs_of(events) for events in history(store, "liver"))
    assert second["champion"] != "none"
    assert second["score"] == first["score"]
    assert read_manifest(store.run("score", second["score"])).inputs["checkpoint"] == "none"
    check_invariants(store, "liver", recipe)


def test_a_rejected_checkpoint_leaves_the_champion_and_its_curve_point(new_store: NewStore) -> None:
    store, ingest_id = new_store()
    recipe = tiny_recipe("classify")
    learner = recipe.finetune.model_copy(update={"num_steps": 60, "batch_size": 12})
    budget = BudgetRecipe(num_first_round=8, num_per_round=24, num_in_total=32)
    recipe = recipe.model_copy(update={"finetune": learner, "campaign": budget})
    campaign = Campaign.create(store, "liver", recipe)
    while campaign.round_number == 0:
        campaign.advance(executor=INLINE, annotator=Oracle(store, ingest_id))
    # From now on every answer is wrong, and there are three times as many.
    status = campaign.run(executor=INLINE, annotator=Oracle(store, ingest_id, error_rate=1.0))
    good, bad = status.curve
    assert (good.promoted, bad.promoted) == (True, False)
    assert good.metrics["validation"]["balanced_accuracy"] > bad.metrics["validation"]["balanced_accuracy"]
    assert bad.champion_id == good.checkpoint_id != bad.checkpoint_id
    assert bad.champion_metrics == good.metrics
    assert status.history[-1].stage is Stage.REJECTED
    assert status.champion_id == good.checkpoint_id == open_ledger(store).alias("liver", "champion")
    assert status.champion_metric == good.metrics["validation"]["balanced_accuracy"]


def test_a_champion_that_stays_scores_the_pool_once(new_store: NewStore) -> None:
    store, ingest_id = new_store()
    recipe = tiny_recipe("classify", num_rounds=3, num_per_round=8)
    learner = recipe.finetune.model_copy(update={"num_steps": 60, "batch_size": 12})
    campaign = Campaign.create(store, "liver", recipe.model_copy(update={"finetune": learner}))
    while campaign.round_number == 0:
        campaign.advance(executor=INLINE, annotator=Oracle(store, ingest_id))
    status = campaign.run(executor=INLINE, annotator=Oracle(store, ingest_id, error_rate=1.0))
    assert [row.promoted for row in status.history[:2]] == [True, False]
    assert status.history[1].runs["score"] == status.history[2].runs["score"]
    assert status.history[1].runs["select"] != status.history[2].runs["select"]


def test_a_campaign_may_go_on_from_its_champions_weights(new_store: NewStore) -> None:
    store, ingest_id = new_store()
    recipe = tiny_recipe("classify")
    recipe = recipe.model_copy(
        update={"finetune": recipe.finetune.model_copy(update={"start": "champion", "num_first_steps": 9})}
    )
    Campaign.create(store, "liver", recipe).run(executor=INLINE, annotator=Oracle(store, ingest_id))
    first, second = (runs_of(events) for events in history(store, "liver"))
    assert read_manifest(store.run("finetune", first["finetune"])).inputs["start"] == "none"
    assert read_manifest(store.run("finetune", second["finetune"])).inputs["start"] == first["finetune"]
    steps = [read_manifest(store.run("finetune", one["finetune"])).results["num_steps"] for one in (first, second)]
    assert steps == [9, recipe.finetune.num_steps]


def test_each_round_draws_with_its_own_seed(new_store: NewStore) -> None:
    store, ingest_id = new_store()
    recipe = tiny_recipe("classify", seed=40)
    Campaign.create(store, "liver", recipe).run(executor=INLINE, annotator=Oracle(store, ingest_id))
    runs = [runs_of(events)["select"] for events in history(store, "liver")]
    assert [read_manifest(store.run("select", run)).recipe["seed"] for run in runs] == [40, 41]


def test_another_seed_asks_about_others(new_store: NewStore) -> None:
    store, ingest_id = new_store()
    asked = []
    for seed in (0, 1):
        campaign = Campaign.create(store, f"seed-{seed}", tiny_recipe("classify", num_rounds=1, seed=seed))
        campaign.run(executor=INLINE, annotator=Oracle(store, ingest_id))
        chosen = read_selection(store, runs_of(history(store, campaign.name)[0])["select"])
        asked.append([one.candidate.candidate_id for one in chosen])
    assert asked[0] != asked[1]


def test_a_pool_that_runs_out_ends_the_campaign(new_store: NewStore) -> None:
    store, ingest_id = new_store()
    recipe = tiny_recipe("classify", num_rounds=100, num_per_round=30)
    status = Campaign.create(store, "liver", recipe).run(executor=INLINE, annotator=Oracle(store, ingest_id))
    assert status.finished
    assert [row.num_asked for row in status.history] == [30, 6]
    check_invariants(store, "liver", recipe)


def test_a_pool_spent_to_the_last_candidate_ends_the_campaign(new_store: NewStore) -> None:
    store, ingest_id = new_store()
    recipe = tiny_recipe("classify", num_rounds=100, num_per_round=18)
    status = Campaign.create(store, "liver", recipe).run(executor=INLINE, annotator=Oracle(store, ingest_id))
    assert status.finished
    assert status.num_asked == 36
    assert len(status.curve) == 2


def test_a_stop_rule_ends_a_campaign_that_gains_nothing(new_store: NewStore) -> None:
    store, ingest_id = new_store()
    recipe = tiny_recipe("classify", num_per_round=3)
    budget = BudgetRecipe(num_per_round=3, num_in_total=30, stop=StopRecipe(num_rounds=1, min_gain=1.0))
    recipe = recipe.model_copy(update={"campaign": budget})
    status = Campaign.create(store, "liver", recipe).run(executor=INLINE, annotator=Oracle(store, ingest_id))
    assert [row.num_asked for row in status.history] == [3, 3]


def _learning(recipe: CampaignRecipe, **budget: Any) -> CampaignRecipe:
    """The recipe, learning enough to agree with itself, every model promoted."""
    learner = recipe.finetune.model_copy(update={"num_steps": 120, "batch_size": 12, "checkpoint_every": 120})
    kept = PromoteRecipe(tolerance=1.0)
    return recipe.model_copy(update={"finetune": learner, "promote": kept, "campaign": BudgetRecipe(**budget)})


def test_predictions_that_no_longer_change_end_a_campaign_before_anybody_else_is_asked(new_store: NewStore) -> None:
    store, ingest_id = new_store()
    stop = StopRecipe(num_rounds=2, min_kappa=0.99)
    recipe = _learning(tiny_recipe("classify"), num_per_round=6, num_in_total=36, stop=stop)
    campaign = Campaign.create(store, "liver", recipe)
    status = campaign.run(executor=INLINE, annotator=Oracle(store, ingest_id))
    check_invariants(store, "liver", recipe)
    assert status.finished
    assert status.stage is Stage.SCORED
    assert status.ending is not None
    assert status.ending.startswith("predictions are stable: kappa")
    assert status.num_asked == status.num_answered == 6 * status.round_number < 36
    assert campaign.advance(executor=INLINE, annotator=Oracle(store, ingest_id)) is None
    rounds = history(store, "liver")
    counts = [events[Stage.SCORED].counts for events in rounds]
    assert [one["num_stop_set"] for one in counts[1:]] == [36 - 6 * number for number in range(1, len(rounds))]
    assert all("kappa" not in one for one in counts[:2])  # before there are two models
    for number in range(2, len(rounds)):
        found = _kappa_of_the_open(store, rounds[number - 1], rounds[number])
        assert counts[number]["kappa"] == pytest.approx(found)


def _kappa_of_the_open(store: Store, before: dict[Stage, Event], now: dict[Stage, Event]) -> float:
    """scikit-learn's, over whoever no answer is known of."""
    said = []
    for events in (before, now):
        table = read_scores(store, read_manifest(store.run("score", runs_of(events)["score"])))
        said.append(dict(zip(table["candidate_id"].to_pylist(), table["predicted_class"].to_pylist(), strict=True)))
    answered = {answer.patch.candidate_id for answer in read_answers(store, runs_of(now)["labels"])}
    rows = sorted(said[0].keys() - answered)
    return float(cohen_kappa_score(*([one[row] for row in rows] for one in said)))


def test_a_campaign_that_asks_at_random_is_scored_where_its_stop_rule_reads_predictions(new_store: NewStore) -> None:
    store, ingest_id = new_store()
    at_random = SelectRecipe(arms=(ArmRecipe(share=1.0, sampler=Choice(kind="random")),))
    recipe = _learning(
        tiny_recipe("classify"),
        num_per_round=4,
        num_in_total=36,
        stop=StopRecipe(num_rounds=1, max_uncertainty=10.0),
    ).model_copy(update={"select": at_random})
    status = Campaign.create(store, "liver", recipe).run(executor=INLINE, annotator=Oracle(store, ingest_id))
    assert [row.num_asked for row in status.history] == [4, 0]
    assert str(status.ending).startswith("the model is sure: mean entropy 0.")
    assert "mean_uncertainty" not in history(store, "liver")[0][Stage.SCORED].counts


def test_a_stop_rule_that_reads_a_score_nobody_computes_is_refused(new_store: NewStore) -> None:
    store, _ = new_store()
    stop = StopRecipe(max_uncertainty=0.1, uncertainty="entropi")
    recipe = tiny_recipe("classify").model_copy(update={"campaign": BudgetRecipe(stop=stop)})
    with pytest.raises(RecipeError, match="Did you mean 'entropy'"):
        Campaign.create(store, "liver", recipe)


def test_caps_that_leave_a_round_short_do_not_end_a_campaign(new_store: NewStore) -> None:
    store, ingest_id = new_store()
    recipe = tiny_recipe("classify", num_per_round=5)
    capped = recipe.select.model_copy(update={"max_per_patient": 1})
    budget = BudgetRecipe(num_per_round=5, num_in_total=7)
    recipe = recipe.model_copy(update={"select": capped, "campaign": budget})
    status = Campaign.create(store, "liver", recipe).run(executor=INLINE, annotator=Oracle(store, ingest_id))
    check_invariants(store, "liver", recipe)
    assert [row.num_asked for row in status.history] == [3, 3, 1]
    counts = history(store, "liver")[0][Stage.SELECTED].counts
    assert counts["num_held_back"] == 33
    assert counts["why_fewer"] == "5 were wanted and 3 chosen: max_per_patient 1 is reached by 3 of 3"
    assert status.ending == "the budget of 7 is spent"


def test_a_campaign_of_people_waits_and_goes_on(new_store: NewStore, tmp_path: Path) -> None:
    store, ingest_id = new_store()
    recipe = tiny_recipe("classify", num_rounds=2, num_per_round=4)
    people = Directory(store, ingest_id, folder=str(tmp_path / "desk"))
    campaign = Campaign.create(store, "liver", recipe)
    oracle_says = volumes_of(store, ingest_id)
    for round_number in range(2):
        with pytest.raises(WaitingForPeople, match=f"Round {round_number} of campaign 'liver' is waiting for 4 of 4"):
            campaign.run(executor=INLINE, annotator=people)
        selection_id = runs_of(history(store, "liver")[round_number])["select"]
        sheet = tmp_path / "desk" / selection_id / "answers.csv"
        lines = sheet.read_text().splitlines()
        truths = {}
        for chosen in read_selection(store, selection_id):
            patch = chosen.candidate.patch
            volume = oracle_says[patch.volume_id]
            truths[f"{chosen.rank:04d}-{patch.candidate_id}"] = volume.classes[volume.item_index(patch)]
        sheet.write_text("\n".join([lines[0], *(f"{task},,{truth},,12.5" for task, truth in truths.items())]) + "\n")
    status = campaign.run(executor=INLINE, annotator=people)
    check_invariants(store, "liver", recipe)
    assert status.finished
    assert history(store, "liver")[0][Stage.COLLECTED].counts["seconds_of_people"] == 50.0


def test_the_second_round_comes_with_the_champions_drafts(new_store: NewStore, tmp_path: Path) -> None:
    store, ingest_id = new_store("segment", 3)
    campaign = Campaign.create(store, "liver", tiny_recipe("segment"))
    while campaign.round_number == 0:
        campaign.advance(executor=INLINE, annotator=Oracle(store, ingest_id))
    with pytest.raises(WaitingForPeople):
        campaign.run(executor=INLINE, annotator=Directory(store, ingest_id, folder=str(tmp_path / "desk")))
    tasks = sorted((tmp_path / "desk").glob("*/*/task.json"))
    assert len(tasks) == 5
    assert all((task.parent / "draft.nii.gz").exists() for task in tasks)
    assert json.loads(tasks[0].read_text())["classes"] == {"0": "background", "1": "lesion"}


def test_creating_a_campaign_again_finds_it(new_store: NewStore) -> None:
    store, ingest_id = new_store()
    recipe = tiny_recipe("classify")
    Campaign.create(store, "liver", recipe).advance(executor=INLINE, annotator=Oracle(store, ingest_id))
    again = Campaign.create(store, "liver", recipe)
    assert again.stage is Stage.SCORED
    assert Campaign.open(store, "liver").stage is Stage.SCORED
    assert campaigns(store) == ["liver"]


def test_a_name_taken_by_another_recipe_is_refused(new_store: NewStore) -> None:
    store, _ = new_store()
    Campaign.create(store, "liver", tiny_recipe("classify"))
    with pytest.raises(ConflictError, match="with another recipe"):
        Campaign.create(store, "liver", tiny_recipe("classify", seed=1))


def test_a_campaign_that_is_not_there_is_guessed(new_store: NewStore) -> None:
    store, _ = new_store()
    Campaign.create(store, "liver", tiny_recipe("classify"))
    with pytest.raises(NotFoundError, match="Did you mean 'liver'"):
        Campaign.open(store, "livre")


def test_a_wrong_name_in_a_recipe_is_found_before_the_first_byte(new_store: NewStore) -> None:
    store, _ = new_store()
    recipe = tiny_recipe("classify").model_copy(update={"score": ScoreRecipe(scorers=(Choice(kind="entropi"),))})
    with pytest.raises(RecipeError, match="Did you mean 'entropy'"):
        Campaign.create(store, "liver", recipe)
    assert not Path(store.campaign("liver")).exists()


@pytest.mark.parametrize("name", ["Liver", "../liver", "", "a/b"])
def test_a_name_that_is_no_folder_is_refused(new_store: NewStore, name: str) -> None:
    store, _ = new_store()
    with pytest.raises(RecipeError, match="cannot be used"):
        Campaign.create(store, name, tiny_recipe("classify"))


def test_two_stores_with_the_same_images_end_with_the_same_bytes(new_store: NewStore) -> None:
    ended = []
    for name in ("one", "two"):
        store, ingest_id = new_store(name=name)
        campaign = Campaign.create(store, "liver", tiny_recipe("classify"))
        campaign.run(executor=INLINE, annotator=Oracle(store, ingest_id))
        ended.append(determined_files(store))
    assert ended[0] == ended[1]
    assert sum(name.endswith("selection.parquet") for name in ended[0]) == 2


def test_one_score_shard_or_many_select_the_same(new_store: NewStore) -> None:
    asked = []
    for candidates_per_shard in (5, 512):
        store, ingest_id = new_store(name=f"shards-of-{candidates_per_shard}")
        recipe = tiny_recipe("classify")
        pool = recipe.pool.model_copy(update={"candidates_per_shard": candidates_per_shard})
        campaign = Campaign.create(store, "liver", recipe.model_copy(update={"pool": pool}))
        campaign.run(executor=INLINE, annotator=Oracle(store, ingest_id))
        rounds = [read_selection(store, runs_of(events)["select"]) for events in history(store, "liver")]
        asked.append([[one.candidate.candidate_id for one in chosen] for chosen in rounds])
    assert asked[0] == asked[1]


def test_scores_are_finite_where_there_was_a_model(new_store: NewStore) -> None:
    store, ingest_id = new_store()
    Campaign.create(store, "liver", tiny_recipe("classify")).run(executor=INLINE, annotator=Oracle(store, ingest_id))
    chosen = read_selection(store, runs_of(history(store, "liver")[1])["select"])
    assert np.isfinite([one.score for one in chosen if one.arm == "top_k"]).all()
