"""A round's runs, each named by a recipe and what is known."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.adapters.inline import InlineExecutor
from hilum.cli.chain import LOOKS_AT, Chain, checked_id
from hilum.core.errors import NotFoundError, RequestError
from hilum.core.recipes import CampaignRecipe
from hilum.core.resources import Resources
from hilum.loop import moves
from hilum.loop.campaign import Campaign
from hilum.loop.definition import only_ingest
from hilum.loop.recipe_files import campaign_recipe
from hilum.store.labels import NONE, commit_label_set
from hilum.store.layout import Store

ids = st.text("0123456789abcdef", min_size=12, max_size=12)


def _chain(checkpoint=NONE, labels=NONE, start="scratch", options=""):
    recipe = CampaignRecipe.model_validate({"question": "classify", "finetune": {"from": start}})
    return Chain(Store("/nowhere"), "liver.yaml", recipe, "i" * 12, checkpoint, labels, options)


@pytest.mark.parametrize("verb", LOOKS_AT)
def test_in_the_first_round_nothing_is_known_and_nothing_is_typed(verb):
    assert _chain().command(verb) == f"hilum {verb} liver.yaml"


@given(ids, ids, st.sampled_from(sorted(LOOKS_AT)))
def test_a_command_is_told_what_it_looks_at_and_nothing_else(checkpoint, labels, verb):
    typed = _chain(checkpoint, labels, start="champion").command(verb).split()
    assert ("--checkpoint" in typed) == ("checkpoint" in LOOKS_AT[verb])
    assert ("--labels" in typed) == ("labels" in LOOKS_AT[verb])


@given(ids, ids)
def test_training_from_scratch_is_not_told_of_the_champion(checkpoint, labels):
    assert _chain(checkpoint, labels).command("finetune") == f"hilum finetune liver.yaml --labels {labels}"


@pytest.mark.parametrize("start", ["champion", "previous", "first"])
def test_training_that_goes_on_is_told_from_which_model(start):
    typed = _chain("c" * 12, "l" * 12, start=start).command("finetune")
    assert typed == f"hilum finetune liver.yaml --checkpoint {'c' * 12} --labels {'l' * 12}"


@given(ids, ids, ids)
def test_training_from_a_checkpoint_is_the_recipe_s_affair_and_the_champion_is_not_told(start, checkpoint, labels):
    assert _chain(checkpoint, labels, start=start).command("finetune") == f"hilum finetune liver.yaml --labels {labels}"
    planned = _chain(checkpoint, labels, start=start).finetune()
    assert planned.inputs["start"] == start
    assert planned.recipe == _chain(start=start).recipe.finetune


def test_options_that_were_typed_are_typed_again():
    assert _chain(options=" --store s3://x").command("score") == "hilum score liver.yaml --store s3://x"


def test_a_step_is_not_named_before_what_it_needs():
    with pytest.raises(NotFoundError, match="First type: hilum pool liver.yaml"):
        _chain().score()


def test_training_without_labels_and_evaluating_without_a_model_say_what_to_give():
    with pytest.raises(RequestError, match="--labels"):
        _chain().finetune()
    with pytest.raises(RequestError, match="--checkpoint"):
        _chain().evaluate()


def test_by_hand_the_first_steps_are_the_campaigns_own(store, recipe):
    """A campaign's first round and the commands of the same recipe share their pool and scores."""
    loaded = campaign_recipe(recipe)
    campaign = Campaign.create(store, "liver", loaded)
    chain = Chain(store, recipe, loaded, only_ingest(store))
    hands = {"executor": InlineExecutor(), "annotator": None, "resources": Resources()}
    event = campaign.advance(**hands)
    assert event.runs == {"pool": chain.pool().run.run_id, "score": chain.score().run.run_id}
    assert chain.score().run.finished() is not None


def test_every_verb_of_a_round_is_a_command():
    from typer.main import get_command

    from hilum.cli.main import app
    from hilum.cli.reference import commands

    typed = {path.removeprefix("hilum ") for path, _ in commands(get_command(app), "hilum")}
    assert set(LOOKS_AT) <= typed
    assert moves.make.__doc__


def test_an_id_is_checked_against_what_there_is(tmp_path):
    store = Store(str(tmp_path))
    commit_label_set(store, "0123456789ab", None)
    checked_id("label set", store.label_set("0123456789ab"))
    with pytest.raises(NotFoundError, match="Did you mean '0123456789ab'"):
        checked_id("label set", store.label_set("0123456789ac"))
