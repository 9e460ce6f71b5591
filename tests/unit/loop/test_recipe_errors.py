"""What is wrong with a recipe, in one sentence."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.core.errors import RecipeError
from hilum.core.recipes import CampaignRecipe, SimulateRecipe
from hilum.core.resources import Resources
from hilum.loop.recipe_files import checked


def _explained(content, model=CampaignRecipe):
    with pytest.raises(RecipeError) as caught:
        checked(model, content, "liver.yaml")
    message = str(caught.value)
    assert message.startswith("liver.yaml")
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("content", "given_key", "meant"),
    [
        ({"question": "classify", "scoer": {}}, "scoer", "score"),
        ({"question": "classify", "score": {"scorer": []}}, "scorer", "scorers"),
        ({"question": "classify", "pool": {"split": {"validatoin": 0.1}}}, "validatoin", "validation"),
        ({"question": "classify", "finetune": {"form": "scratch"}}, "form", "from"),
        ({"question": "classify", "campaign": {"num_per_roud": 1}}, "num_per_roud", "num_per_round"),
        ({"question": "classify", "campaign": {"stop": {"num_round": 1}}}, "num_round", "num_rounds"),
        ({"question": "classify", "select": {"arms": [{"shar": 1}]}}, "shar", "share"),
    ],
)
def test_a_misspelt_key_is_answered_with_the_likely_one(content, given_key, meant):
    message = _explained(content)
    assert f"No key is called '{given_key}'. Did you mean '{meant}'?" in message


def test_a_misspelt_key_of_a_nested_campaign_is_found_too():
    message = _explained({"campaign": {"question": "classify", "pol": {}}}, SimulateRecipe)
    assert "Did you mean 'pool'?" in message


def test_the_keys_that_are_known_are_listed_as_they_are_written():
    message = _explained({"question": "classify", "finetune": {"zzz": 1}})
    assert "from" in message.split("Known:")[1]
    assert "start" not in message.split("Known:")[1]


def test_a_missing_question_says_what_it_may_be():
    assert _explained({}) == "liver.yaml: 'question' is missing: give classify or segment."


def test_a_number_out_of_range_says_where_and_what_was_given():
    message = _explained({"question": "classify", "campaign": {"num_per_round": 0}})
    assert "campaign.num_per_round" in message
    assert "(given 0)" in message


def test_a_rule_between_fields_is_told_in_its_own_words():
    message = _explained({"question": "classify", "finetune": {"batch_size": 5, "num_chunks": 2}})
    assert "batch_size 5 must be a multiple of num_chunks 2" in message
    assert "Value error" not in message


def test_a_long_value_is_cut():
    assert len(_explained({"question": "x" * 500})) < 200


def test_a_resource_profile_is_explained_alike():
    assert "Did you mean 'num_score_workers'?" in _explained({"num_score_worker": 2}, Resources)


@given(st.recursive(st.one_of(st.none(), st.integers(), st.text(max_size=5)), lambda x: st.lists(x, max_size=3)))
def test_any_value_in_any_place_is_explained_and_never_crashes(value):
    for key in ("pool", "score", "select", "finetune", "campaign"):
        if value is None:
            continue
        assert key in _explained({"question": "classify", key: value})
