"""`hilum demo`, up to where work begins (tests/ray runs it)."""

import pytest

from hilum.adapters.catalogue import entry
from hilum.cli.demonstrations import DEMONSTRATIONS, QUICK_ROUNDS, simulation_recipe

EVERY = [one for some in DEMONSTRATIONS.values() for one in some]


@pytest.mark.parametrize("one", EVERY, ids=lambda one: one.name)
def test_every_demonstration_has_its_set_preparation_and_recipe(one):
    preparation = entry(one.set_name).preparations[one.preparation]
    assert simulation_recipe(one, quick=False).campaign.question == preparation.question


@pytest.mark.parametrize("one", EVERY, ids=lambda one: one.name)
def test_a_quick_demonstration_is_two_rounds_of_one_seed(one):
    quick = simulation_recipe(one, quick=True)
    budget = quick.campaign.campaign
    assert len(quick.seeds) == 1
    assert budget.num_in_total == (budget.num_first_round or 0) + (QUICK_ROUNDS - 1) * budget.num_per_round


def test_both_questions_are_asked_of_images_that_need_no_download():
    packaged = DEMONSTRATIONS["packaged"]
    assert all(entry(one.set_name).is_packaged for one in packaged)
    assert {simulation_recipe(one, quick=False).campaign.question for one in packaged} == {"classify", "segment"}


def test_that_the_packaged_brains_are_averages_is_said():
    assert all("population averages" in " ".join(one.caveats) for one in DEMONSTRATIONS["packaged"])


def test_a_misspelt_set_is_answered_with_the_likely_one(typed):
    answer = typed("demo --data mednis")
    assert answer.code == 2
    assert "Did you mean 'mednist'?" in answer.err


def test_a_store_that_is_no_folder_is_refused(typed):
    answer = typed("demo --store memory://demo")
    assert answer.code == 2
    assert "folder on this machine" in answer.err
