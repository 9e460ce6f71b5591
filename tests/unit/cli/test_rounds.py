"""`hilum campaign`, `hilum round` and `hilum model`."""

import pytest

from hilum.adapters.inline import InlineExecutor
from hilum.cli.composition import annotator_of, ledger_of
from hilum.core.errors import WaitingForPeople
from hilum.loop.campaign import Campaign


def _hands(campaign):
    annotator = annotator_of(campaign.store, campaign.ingest_id, campaign.recipe.annotator)
    return {"executor": InlineExecutor(), "annotator": annotator}


@pytest.fixture
def begun(typed, store, recipe):
    assert typed(f"campaign create liver --recipe {recipe} --store {store.url}").code == 0
    return Campaign.open(store, "liver", ledger=ledger_of(store))


def test_a_campaign_is_begun_once(typed, begun, recipe):
    answer = typed(f"campaign create liver --recipe {recipe} --store {begun.store.url} --json")
    assert answer.code == 0
    assert answer.document["already_done"]
    assert answer.document["next"] == [f"hilum campaign run liver --store {begun.store.url}"]


def test_a_campaign_that_asks_nobody_at_random_says_what_it_cannot_tell(typed, store, recipe, tmp_path):
    assert typed(f"campaign create liver --recipe {recipe} --store {store.url} --json").document["note"] == ""
    clever = tmp_path / "clever.yaml"
    clever.write_text(
        f"extends: {recipe}\nselect: {{arms: [{{share: 1, sampler: {{kind: top_k, score: entropy}}}}]}}\n"
    )
    answer = typed(f"campaign create clever --recipe {clever} --store {store.url}")
    assert answer.code == 0, answer.err
    assert "cannot tell whether asking cleverly pays" in answer.out


def test_a_name_taken_by_another_recipe_is_refused(typed, begun):
    answer = typed(f"campaign create liver --recipe smoke --store {begun.store.url}")
    assert answer.code == 2
    assert "another recipe" in answer.err


def test_a_name_that_cannot_be_a_folder_is_refused(typed, store, recipe):
    answer = typed(f"campaign create ../liver --recipe {recipe} --store {store.url}")
    assert answer.code == 2
    assert "lower-case letters" in answer.err


@pytest.mark.parametrize("verb", ["campaign run", "round next", "round status", "round log"])
def test_a_misspelt_campaign_is_answered_with_the_likely_one(verb, typed, begun):
    answer = typed(f"{verb} livr --store {begun.store.url}")
    assert answer.code == 2
    assert "Did you mean 'liver'?" in answer.err


def test_a_new_campaign_stands_at_its_beginning(typed, begun):
    document = typed(f"round status liver --store {begun.store.url} --json").document
    assert (document["round_number"], document["stage"], document["num_asked"]) == (0, "opened", 0)
    assert document["next"][0] == f"hilum campaign run liver --store {begun.store.url}"


def test_campaigns_are_listed_with_where_they_are(typed, begun):
    (row,) = typed(f"campaign list --store {begun.store.url} --json").document["campaigns"]
    assert (row["name"], row["stage"]) == ("liver", "opened")


def test_a_store_without_campaigns_lists_none(typed, store):
    assert typed(f"campaign list --store {store.url} --json").document["campaigns"] == []


def test_a_finished_campaign_is_already_done_and_starts_no_ray(typed_without_ray, begun):
    begun.run(**_hands(begun))
    for verb in ("campaign run", "round next"):
        answer = typed_without_ray(f"{verb} liver --store {begun.store.url} --json")
        assert answer.code == 0, answer.err
        assert answer.document["already_done"]
        assert answer.document["finished"]
        assert answer.document["ending"] == f"the budget of {begun.recipe.campaign.num_in_total} is spent"


def test_the_log_has_every_move_in_order(typed, begun):
    begun.run(**_hands(begun))
    events = typed(f"round log liver --store {begun.store.url} --json").document["events"]
    assert events[0]["stage"] == "opened"
    assert events[-1]["stage"] in {"promoted", "rejected"}
    assert [event["round_number"] for event in events] == sorted(event["round_number"] for event in events)
    people = typed(f"round log liver --store {begun.store.url}").out
    assert events[1]["runs"]["score"] in people


def test_a_campaign_as_a_table_shows_its_curve(typed, begun):
    status = begun.run(**_hands(begun))
    out = typed(f"round status liver --store {begun.store.url}").out
    assert "balanced accuracy (validation)" in out
    assert "people's time" not in out
    assert status.champion_id in out


def test_people_s_time_stands_beside_the_answers_where_it_is_known(typed, store, recipe, tmp_path):
    slow = tmp_path / "slow.yaml"
    slow.write_text(f"extends: {recipe}\nannotator: {{kind: oracle, seconds_per_answer: 8}}\n")
    assert typed(f"campaign create slow --recipe {slow} --store {store.url}").code == 0
    campaign = Campaign.open(store, "slow", ledger=ledger_of(store))
    status = campaign.run(**_hands(campaign))
    assert [point.seconds for point in status.curve] == [8 * point.num_labels for point in status.curve]
    out = typed(f"round status slow --store {store.url}").out
    assert "people's time" in out
    assert "32 s" in out
    assert "64 s" in out


def test_several_annotators_are_told_apart_where_there_are_several(typed, store, recipe, tmp_path):
    crowd = tmp_path / "crowd.yaml"
    crowd.write_text(
        f"extends: {recipe}\nselect: {{relabel: {{share: 0.5, max_annotators: 2}}}}\n"
        "annotator: {kind: oracle, annotators: 2, error_rate: 0.2, seconds_per_answer: 8}\n"
    )
    assert typed(f"campaign create crowd --recipe {crowd} --store {store.url}").code == 0
    campaign = Campaign.open(store, "crowd", ledger=ledger_of(store))
    status = campaign.run(**_hands(campaign))
    answer = typed(f"round status crowd --store {store.url} --json")
    people = answer.document["people"]
    assert [person["annotator"] for person in people] == ["oracle-1", "oracle-2"]
    assert sum(person["num_answers"] for person in people) == status.num_answered
    assert {person["median_seconds"] for person in people} == {8.0}
    assert people[0]["num_shared"] == people[1]["num_shared"] > 0
    assert sum(person["total_seconds"] for person in people) == 8 * status.num_answered
    with_a_model = status.num_answered - status.history[0].num_answered
    assert sum(person["num_drafted"] for person in people) == with_a_model > 0
    assert all((person["with_drafts"] is not None) == (person["num_drafted"] > 0) for person in people)
    assert answer.document["agreement"]["measure"] == "Cohen's kappa"
    assert answer.document["agreement"]["num_shared"] == people[0]["num_shared"]
    out = typed(f"round status crowd --store {store.url}").out
    assert "oracle-2" in out
    assert "Cohen's kappa of 2 annotators" in " ".join(out.split())


def test_a_campaign_s_status_accounts_for_what_each_round_used_again(typed, begun):
    status = begun.run(**_hands(begun))
    out = typed(f"round status liver --store {begun.store.url}").out
    assert all(column in out for column in ("new", "reused", "misclassified", "label reuse", "data reuse", "steps"))
    told = typed(f"round status liver --store {begun.store.url} --json").document["history"]
    assert [row["reuse"]["num_labels"] for row in told] == [point.num_labels for point in status.curve]
    assert told[1]["reuse"]["label_reuse"] == 1.0
    assert "100 %" in out


def test_the_champion_is_listed_changed_by_hand_and_rolled_back(typed, begun):
    at = f"--store {begun.store.url} --json"
    begun.run(**_hands(begun))
    points = begun.status().curve
    champion = typed(f"model list {at}").document["models"][0]["champion"]
    assert champion == begun.status().champion_id
    first = points[0].checkpoint_id
    assert typed(f"model promote liver {first} {at}").document["champion"] == first
    assert typed(f"model promote liver {first} {at}").document["already_done"]
    assert typed(f"model list {at}").document["models"][0]["champion"] == first
    nothing_before = typed(f"model rollback liver {at}")
    assert nothing_before.code == 2
    assert "nothing to go back to" in nothing_before.document["error"]["message"]


def test_rolling_back_returns_to_the_champion_before(typed, begun):
    at = f"--store {begun.store.url} --json"
    begun.run(**_hands(begun))
    promoted = [point.checkpoint_id for point in begun.status().curve if point.promoted]
    answer = typed(f"model rollback liver {at}")
    if len(promoted) == 1:
        assert answer.code == 2
    else:
        assert answer.document["champion"] == promoted[-2]


def test_a_checkpoint_that_is_not_there_is_never_promoted(typed, begun):
    answer = typed(f"model promote liver 0123456789ab --store {begun.store.url}")
    assert answer.code == 2
    assert "No checkpoint is called" in answer.err


def test_whoever_waits_for_people_is_told_where_the_questions_are(typed, store, tmp_path):
    from hilum.cli.rounds import _telling_where
    from hilum.core.recipes import Choice

    with (
        pytest.raises(WaitingForPeople, match=rf"{store.path('questions')}.*hilum campaign run liver"),
        _telling_where(store, Choice(kind="directory"), "hilum campaign run liver"),
    ):
        raise WaitingForPeople("Round 0 of campaign 'liver' is waiting for 3 of 6 annotations.")
