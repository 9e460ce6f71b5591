"""`hilum recipe`."""

import yaml

from hilum.loop import recipe_files


def test_a_shown_recipe_is_whole_and_has_its_id(typed):
    answer = typed("recipe show smoke")
    shown = yaml.safe_load(answer.out.split("Next:")[0])
    assert shown["question"] == "classify"
    assert shown["evaluate"]["confidence"] == 0.95
    assert recipe_files.recipe_id(recipe_files.campaign_recipe("smoke")) in answer.out


def test_machines_get_the_recipe_that_people_see(typed):
    people = yaml.safe_load(typed("recipe show smoke").out.split("Next:")[0])
    assert typed("recipe show smoke --json").document["recipe"] == people


def test_a_simulation_is_shown_with_its_strategies(typed, tmp_path):
    (tmp_path / "compare.yaml").write_text("campaign: smoke\nstrategies: {margin: {}}\n")
    shown = typed(f"recipe show {tmp_path}/compare.yaml --json").document["recipe"]
    assert shown["strategies"] == {"margin": {}}
    assert shown["campaign"]["question"] == "classify"


def test_a_wrong_scorer_is_told_before_anything_runs(typed, tmp_path):
    (tmp_path / "wrong.yaml").write_text("extends: smoke\nscore: {scorers: [{kind: entropi}]}\n")
    answer = typed(f"recipe show {tmp_path}/wrong.yaml")
    assert answer.code == 2
    assert "Did you mean 'entropy'?" in answer.err


def test_every_shipped_recipe_and_profile_is_listed_with_what_it_is(typed):
    document = typed("recipe list --json").document
    assert {row["name"] for row in document["recipes"]} == set(recipe_files.shipped_recipes())
    assert {row["name"] for row in document["resources"]} == set(recipe_files.shipped_resources())
    assert all(row["about"] for row in document["recipes"] + document["resources"])
