"""`hilum simulate`, up to where work begins (tests/ray runs it)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.cli.simulate import chosen, parsed_seeds
from hilum.cli.simulating import _branch_table
from hilum.core.errors import RecipeError
from hilum.core.recipes import SimulateRecipe
from hilum.loop.simulate import BranchProgress

RECIPE = SimulateRecipe.model_validate(
    {"campaign": {"question": "classify"}, "strategies": {"active": {}, "margin": {}}, "seeds": [0, 1, 2]}
)


@given(st.lists(st.integers(0, 10**6), min_size=1))
def test_seeds_are_read_as_they_were_written(seeds):
    assert parsed_seeds(",".join(map(str, seeds))) == tuple(seeds)


@pytest.mark.parametrize("text", ["", "one", "0;1", "1,", "0.5"])
def test_what_is_not_a_list_of_seeds_is_refused_with_an_example(text):
    with pytest.raises(RecipeError, match="0,1,2"):
        parsed_seeds(text)


def test_without_options_a_simulation_stays_as_it_is_written():
    assert chosen(RECIPE, seeds=None, strategies=None) == RECIPE


def test_some_strategies_may_be_chosen_and_keep_their_changes():
    assert chosen(RECIPE, seeds=None, strategies=["margin"]).strategies == {"margin": {}}


def test_random_may_be_chosen_alone():
    assert chosen(RECIPE, seeds="4", strategies=["random"]).strategies == {}
    assert chosen(RECIPE, seeds="4", strategies=["random"]).seeds == (4,)


def test_an_unknown_strategy_is_answered_with_the_likely_one():
    with pytest.raises(RecipeError, match="Did you mean 'margin'"):
        chosen(RECIPE, seeds=None, strategies=["margn"])


def test_a_store_without_images_says_what_to_do_first(typed, tmp_path):
    typed(f"init {tmp_path}")
    answer = typed(f"simulate smoke --store {tmp_path}")
    assert answer.code == 2
    assert "hilum ingest" in answer.err


def test_a_name_that_cannot_be_a_folder_is_refused_before_any_work(typed, store, recipe):
    answer = typed(f"simulate {recipe} --name No/Name --store {store.url}")
    assert answer.code == 2
    assert "lower-case letters" in answer.err


def test_the_live_table_has_a_row_for_every_branch():
    branches = [
        BranchProgress("random", seed, f"x--random--{seed}", True, seed > 0, 0, "scored", 4, 8, None)
        for seed in range(3)
    ]
    assert _branch_table(branches).row_count == 3
