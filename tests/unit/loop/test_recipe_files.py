"""Recipes and resource profiles as files."""

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hilum.core.errors import HilumError, NotFoundError
from hilum.core.recipes import CampaignRecipe, Choice, ComparePretrainingRecipe, PretrainRecipe, SimulateRecipe
from hilum.core.resources import Resources
from hilum.loop import recipe_files
from hilum.loop.choices import random_share
from hilum.loop.recipe_files import merged

MINIMAL = "question: classify\n"
keys = st.sampled_from(["a", "b", "kind"])
mappings = st.recursive(
    st.dictionaries(keys, st.integers(0, 3), max_size=3),
    lambda inner: st.dictionaries(keys, st.one_of(st.integers(0, 3), inner), max_size=3),
    max_leaves=8,
)


def _write(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def _refused(folder: Path, text: str) -> str:
    with pytest.raises(HilumError) as caught:
        recipe_files.campaign_recipe(_write(folder, "mine.yaml", text))
    assert caught.value.exit_code == 2
    return str(caught.value)


@pytest.mark.parametrize("name", sorted(recipe_files.shipped_recipes()))
def test_every_shipped_recipe_loads_as_what_its_keys_say(name):
    loaded, keys = recipe_files.any_recipe(name), recipe_files.resolved(name).keys()
    if {"targets", "pretexts"} <= keys:
        assert isinstance(loaded, ComparePretrainingRecipe)
    elif "pretext" in keys:
        assert isinstance(loaded, PretrainRecipe)
    else:
        assert isinstance(loaded, CampaignRecipe if "question" in keys else SimulateRecipe)
        assert recipe_files.campaign_recipe(name).question in {"classify", "segment"}


@pytest.mark.parametrize("name", sorted(recipe_files.shipped_recipes()))
def test_every_shipped_campaign_asks_a_tenth_at_random(name):
    loaded = recipe_files.any_recipe(name)
    campaign = loaded.campaign if isinstance(loaded, SimulateRecipe) else loaded
    if isinstance(campaign, CampaignRecipe):
        assert random_share(campaign.select) >= 0.1 - 1e-9


def test_names_to_exclude_may_be_in_a_file_beside_the_recipe_that_names_it(tmp_path):
    (tmp_path / "lists").mkdir()
    _write(tmp_path / "lists", "gone.txt", "0123456789ab  # withdrew\n\n# others\nba9876543210\n")
    _write(tmp_path / "lists", "base.yaml", MINIMAL + "select: {exclude: gone.txt}\n")
    mine = _write(tmp_path, "mine.yaml", "extends: lists/base.yaml\nselect: {num: 3}\n")
    assert recipe_files.campaign_recipe(mine).select.exclude == ("0123456789ab", "ba9876543210")
    inner = _write(tmp_path, "many.yaml", "campaign: {extends: lists/base.yaml}\nstrategies: {}\n")
    assert recipe_files.campaign_recipe(inner).select.exclude == ("0123456789ab", "ba9876543210")


def test_a_file_of_exclusions_that_is_not_there_is_named(tmp_path):
    assert "there is no file" in _refused(tmp_path, MINIMAL + "select: {exclude: gone.txt}\n")


@pytest.mark.parametrize("name", sorted(recipe_files.shipped_resources()))
def test_every_shipped_resource_profile_loads(name):
    assert isinstance(recipe_files.resources(name), Resources)


@pytest.mark.parametrize("path", [*recipe_files.shipped_recipes().values(), *recipe_files.shipped_resources().values()])
def test_every_shipped_file_opens_with_a_sentence_that_says_what_it_is(path):
    assert re.match(r"# [A-Z].+", path.read_text(encoding="utf-8").splitlines()[0])


def test_the_local_profile_is_what_one_gets_without_a_profile():
    assert recipe_files.resources("local") == Resources()


@pytest.mark.parametrize("name", sorted(recipe_files.shipped_recipes()))
def test_a_recipe_printed_as_yaml_loads_as_the_same_recipe(name, tmp_path):
    before = recipe_files.any_recipe(name)
    after = recipe_files.any_recipe(_write(tmp_path, "again.yaml", recipe_files.as_yaml(before)))
    assert after == before
    assert recipe_files.recipe_id(after) == recipe_files.recipe_id(before)


def test_a_recipe_that_extends_another_changes_only_what_it_says(tmp_path):
    _write(tmp_path, "base.yaml", "question: segment\nfinetune: {num_steps: 7, batch_size: 4}\n")
    loaded = recipe_files.campaign_recipe(
        _write(tmp_path, "mine.yaml", "extends: base.yaml\nfinetune: {num_steps: 9}\n")
    )
    assert loaded.question == "segment"
    assert (loaded.finetune.num_steps, loaded.finetune.batch_size) == (9, 4)


def test_a_file_beside_the_recipe_wins_over_a_shipped_one_of_that_name(tmp_path):
    _write(tmp_path, "smoke.yaml", "question: segment\n")
    loaded = recipe_files.campaign_recipe(_write(tmp_path, "mine.yaml", "extends: smoke.yaml\n"))
    assert loaded.question == "segment"


def test_a_recipe_may_extend_a_shipped_one_by_name(tmp_path):
    shipped = recipe_files.campaign_recipe("smoke")
    loaded = recipe_files.campaign_recipe(
        _write(tmp_path, "mine.yaml", "extends: smoke\ncampaign: {num_in_total: 99}\n")
    )
    assert loaded.campaign.num_in_total == 99
    assert loaded.finetune == shipped.finetune


def test_extending_goes_through_several_files(tmp_path):
    _write(tmp_path, "a.yaml", "question: classify\nfinetune: {num_steps: 1, batch_size: 4}\n")
    _write(tmp_path, "b.yaml", "extends: a.yaml\nfinetune: {num_steps: 2}\n")
    loaded = recipe_files.campaign_recipe(_write(tmp_path, "c.yaml", "extends: b.yaml\nfinetune: {seed: 3}\n"))
    assert (loaded.finetune.num_steps, loaded.finetune.batch_size, loaded.finetune.seed) == (2, 4, 3)


def test_a_recipe_that_extends_itself_is_refused_not_followed_for_ever(tmp_path):
    _write(tmp_path, "a.yaml", "extends: mine.yaml\n")
    assert "extends itself" in _refused(tmp_path, "extends: a.yaml\n")


def test_a_changed_kind_drops_the_old_kinds_parameters(tmp_path):
    _write(tmp_path, "base.yaml", "question: classify\nscore: {members: {kind: mirrors, num_members: 4}}\n")
    changed = _write(tmp_path, "mine.yaml", "extends: base.yaml\nscore: {members: {kind: single}}\n")
    assert recipe_files.campaign_recipe(changed).score.members == Choice(kind="single")


def test_a_parameter_of_the_same_kind_is_changed_alone(tmp_path):
    _write(tmp_path, "base.yaml", "question: classify\nscore: {members: {kind: mirrors, num_members: 4}}\n")
    changed = _write(tmp_path, "mine.yaml", "extends: base.yaml\nscore: {members: {num_members: 8}}\n")
    assert recipe_files.campaign_recipe(changed).score.members.params == {"num_members": 8}


@given(mappings, mappings)
def test_what_a_change_says_stands_in_the_merged_recipe(base, changes):
    result = merged(base, changes)
    for key, value in changes.items():
        if not isinstance(value, dict):
            assert result[key] == value
    assert set(result) == set(base) | set(changes)


@given(mappings)
def test_merging_nothing_changes_nothing(base):
    assert merged(base, {}) == base
    assert merged({}, base) == base


@given(mappings, mappings)
def test_merging_leaves_its_arguments_alone(base, changes):
    before = (repr(base), repr(changes))
    merged(base, changes)
    assert (repr(base), repr(changes)) == before


def test_two_recipes_that_differ_only_in_written_defaults_have_one_id(tmp_path):
    short = recipe_files.campaign_recipe(_write(tmp_path, "short.yaml", MINIMAL))
    long = recipe_files.campaign_recipe(
        _write(tmp_path, "long.yaml", recipe_files.as_yaml(CampaignRecipe(question="classify")))
    )
    assert recipe_files.recipe_id(short) == recipe_files.recipe_id(long)


def test_a_plain_campaign_recipe_simulates_as_the_strategy_active(tmp_path):
    loaded = recipe_files.simulate_recipe(_write(tmp_path, "mine.yaml", MINIMAL))
    assert list(loaded.strategies) == ["active"]
    assert loaded.campaign.question == "classify"


def test_a_simulation_may_name_its_campaign_recipe(tmp_path):
    text = "campaign: smoke\nstrategies: {margin: {}}\nseeds: [5]\n"
    loaded = recipe_files.simulate_recipe(_write(tmp_path, "compare.yaml", text))
    assert loaded.campaign == recipe_files.campaign_recipe("smoke")
    assert loaded.seeds == (5,)


def test_a_simulation_may_hold_a_campaign_that_extends_another(tmp_path):
    text = "campaign: {extends: smoke, finetune: {num_steps: 3}}\nstrategies: {margin: {}}\n"
    loaded = recipe_files.simulate_recipe(_write(tmp_path, "compare.yaml", text))
    assert loaded.campaign.finetune.num_steps == 3
    assert loaded.campaign.campaign == recipe_files.campaign_recipe("smoke").campaign


def test_a_simulation_may_hold_a_campaign_that_extends_the_file_beside_it(tmp_path):
    _write(tmp_path, "base.yaml", "question: segment\n")
    text = "campaign: {extends: base.yaml}\nstrategies: {margin: {}}\n"
    assert recipe_files.simulate_recipe(_write(tmp_path, "compare.yaml", text)).campaign.question == "segment"


def test_a_wrong_shipped_name_is_answered_with_the_likely_one():
    with pytest.raises(NotFoundError, match="Did you mean 'smoke'"):
        recipe_files.campaign_recipe("smok")


def test_a_wrong_profile_is_answered_with_the_likely_one():
    with pytest.raises(NotFoundError, match="Did you mean 'gpu1'"):
        recipe_files.resources("gpu")


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    with pytest.raises(NotFoundError, match="There is no recipe file at"):
        recipe_files.campaign_recipe(str(tmp_path / "liver-ct.yaml"))


def test_a_key_given_twice_is_refused(tmp_path):
    assert "given twice" in _refused(tmp_path, "question: classify\nquestion: segment\n")


def test_a_file_that_is_not_yaml_is_refused_in_one_line(tmp_path):
    message = _refused(tmp_path, "question: [unclosed\n")
    assert "not readable YAML" in message
    assert "\n" not in message


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just a sentence\n"])
def test_a_file_without_keys_is_refused(tmp_path, text):
    assert "must hold keys and values" in _refused(tmp_path, text)


def test_yaml_cannot_build_python_objects(tmp_path):
    assert "not readable YAML" in _refused(tmp_path, "question: !!python/object/apply:os.getcwd []\n")


def test_extends_must_be_one_name(tmp_path):
    assert "'extends' must be one file" in _refused(tmp_path, "extends: [a, b]\n")


def test_the_recipe_shown_is_plain_yaml():
    assert yaml.safe_load(recipe_files.as_yaml(CampaignRecipe(question="segment")))["question"] == "segment"
