"""Which campaigns a simulation is made of, before anything runs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.core.errors import RecipeError
from hilum.core.recipes import (
    ArmRecipe,
    BudgetRecipe,
    CalibrateRecipe,
    CampaignRecipe,
    Choice,
    FinetuneRecipe,
    QuotaRecipe,
    SelectRecipe,
    SimulateRecipe,
    StopRecipe,
)
from hilum.loop.branches import branches_of, check_strategies
from hilum.loop.recipe_files import simulate_recipe

TOP = ArmRecipe(share=1.0, sampler=Choice(kind="top_k", score="entropy"))
CAMPAIGN = CampaignRecipe(
    question="classify", select=SelectRecipe(arms=(TOP,), cold_start=Choice(kind="typiclust"), num=5)
)


def simulation(**changes):
    return SimulateRecipe(**{"campaign": CAMPAIGN, "strategies": {"active": {}}, "seeds": (0, 1, 2), **changes})


def branches(recipe, num_candidates=100):
    return {(b.strategy, b.seed): b for b in branches_of("sim", recipe, num_candidates=num_candidates)}


def test_random_always_runs_and_runs_first():
    for strategies in ({}, {"active": {}}, {"active": {}, "random": {}}):
        made = branches_of("sim", simulation(strategies=strategies), num_candidates=9)
        assert [(b.strategy, b.seed) for b in made[:3]] == [("random", 0), ("random", 1), ("random", 2)]
        assert [b.strategy for b in made].count("random") == 3


def test_random_asks_at_random_from_the_first_round():
    select = branches(simulation())["random", 0].recipe.select
    assert [arm.sampler.kind for arm in select.arms] == ["random"]
    assert select.cold_start.kind == "random"


def test_everything_but_the_asking_is_the_same_for_random():
    made = branches(simulation())
    active, random = made["active", 1].recipe, made["random", 1].recipe
    for part in ("question", "pool", "annotator", "finetune", "evaluate", "promote", "campaign"):
        assert getattr(active, part) == getattr(random, part)


def test_models_that_nobody_serves_are_not_calibrated():
    campaign = CAMPAIGN.model_copy(update={"calibrate": CalibrateRecipe()})
    assert all(b.recipe.calibrate is None for b in branches_of("sim", simulation(campaign=campaign), num_candidates=9))


def test_a_strategy_changes_what_it_says_and_nothing_else():
    changed = {"finetune": {"num_steps": 7}, "select": {"cold_start": {"kind": "random"}}}
    recipe = branches(simulation(strategies={"quick": changed}))["quick", 0].recipe
    assert recipe.finetune == CAMPAIGN.finetune.model_copy(update={"num_steps": 7})
    assert recipe.select == CAMPAIGN.select.model_copy(update={"cold_start": Choice(kind="random")})
    assert recipe.score == CAMPAIGN.score


@given(st.lists(st.integers(0, 50), min_size=1, max_size=6, unique=True))
def test_no_two_branches_draw_the_same_numbers_in_any_round(seeds):
    made = [b for b in branches_of("sim", simulation(seeds=tuple(seeds)), num_candidates=9) if b.strategy == "active"]
    for part in ("score", "select", "finetune"):
        drawn = [getattr(b.recipe, part).seed + number for b in made for number in range(200)]
        assert len(set(drawn)) == len(drawn)


def test_all_branches_are_measured_on_the_same_patients():
    assert len({b.recipe.pool.model_dump_json() for b in branches(simulation()).values()}) == 1


def test_the_full_data_campaign_asks_about_everything_in_one_round():
    budget = branches(simulation(), num_candidates=2190)["full", 2].recipe.campaign
    assert (budget.num_first_round, budget.num_in_total) == (2190, 2190)


@pytest.mark.parametrize(("start", "num_steps"), [("scratch", 60), ("0a1b2c3d4e5f", 60), ("champion", 60 * 4)])
def test_the_full_data_is_trained_on_as_long_as_the_labels_of_all_rounds(start, num_steps):
    finetune = FinetuneRecipe.model_validate({"from": start, "num_steps": 60})
    four_rounds = BudgetRecipe(num_first_round=10, num_per_round=5, num_in_total=24)
    campaign = CAMPAIGN.model_copy(update={"finetune": finetune, "campaign": four_rounds})
    made = branches(simulation(campaign=campaign))
    assert made["full", 0].recipe.finetune.num_steps == num_steps
    assert made["random", 0].recipe.finetune.num_steps == 60


def test_a_longer_first_training_counts_among_the_full_datas_steps():
    finetune = FinetuneRecipe.model_validate({"from": "champion", "num_steps": 60, "num_first_steps": 100})
    four_rounds = BudgetRecipe(num_first_round=10, num_per_round=5, num_in_total=24)
    full = branches(simulation(campaign=CAMPAIGN.model_copy(update={"finetune": finetune, "campaign": four_rounds})))
    once = full["full", 0].recipe.finetune
    assert (once.num_steps, once.num_first_steps) == (100 + 3 * 60, None)


def test_trainings_that_all_go_on_from_the_first_have_two_behind_the_last():
    finetune = FinetuneRecipe.model_validate({"from": "first", "num_steps": 60, "num_first_steps": 100})
    four_rounds = BudgetRecipe(num_first_round=10, num_per_round=5, num_in_total=24)
    full = branches(simulation(campaign=CAMPAIGN.model_copy(update={"finetune": finetune, "campaign": four_rounds})))
    once = full["full", 0].recipe.finetune.of_training(is_first=True)
    assert (once.num_steps, once.start, once.data) == (160, "scratch", "all")


def test_the_shipped_strategies_are_those_of_the_paper():
    recipe = simulate_recipe("mednist-continual")
    check_strategies("acft", recipe)
    made = branches(recipe)
    ways = {s: (b.recipe.finetune.start, b.recipe.finetune.data) for (s, _), b in made.items()}
    assert ways == {
        "random": ("first", "all"),
        "aft-lq": ("first", "all"),
        "acft-q": ("previous", "new"),
        "acft-lq": ("previous", "all"),
        "acft-hq": ("previous", "new_and_misclassified"),
    }
    full = recipe.campaign.finetune.learning_rate
    rates = {s: b.recipe.finetune.of_training(is_first=False).learning_rate / full for (s, _), b in made.items()}
    assert rates == {s: pytest.approx(0.1 if s.startswith("acft") else 1.0) for s in ways}
    assert made["random", 0].recipe.select.arms != made["aft-lq", 0].recipe.select.arms


def test_caps_hold_for_random_too_and_not_where_everything_is_asked():
    capped = CAMPAIGN.select.model_copy(
        update={
            "max_per_patient": 2,
            "min_slices_apart": 4,
            "quotas": (QuotaRecipe(by="class", max_share=0.5),),
            "exclude": ("a",),
        }
    )
    made = branches(simulation(campaign=CAMPAIGN.model_copy(update={"select": capped})))
    random, full = made["random", 0].recipe.select, made["full", 0].recipe.select
    assert (random.max_per_patient, random.quotas, random.exclude) == (2, capped.quotas, ("a",))
    assert (random.min_slices_apart, full.min_slices_apart) == (4, None)
    assert (full.max_per_patient, full.quotas, full.exclude) == (None, (), ("a",))


def test_the_full_data_is_trained_on_by_as_many_seeds_as_are_wanted():
    made = branches(simulation(seeds=(3, 1, 2, 0), num_full_data_seeds=2))
    assert [seed for strategy, seed in made if strategy == "full"] == [3, 1]
    assert [seed for strategy, seed in made if strategy == "random"] == [3, 1, 2, 0]


def test_without_full_data_nobody_asks_about_everything():
    assert not any(strategy == "full" for strategy, _ in branches(simulation(full_data=False)))


def test_a_simulation_spends_its_whole_budget_whatever_the_stop_rule():
    patient = CAMPAIGN.campaign.model_copy(update={"stop": StopRecipe(num_rounds=1)})
    recipe = simulation(campaign=CAMPAIGN.model_copy(update={"campaign": patient}))
    assert all(b.recipe.campaign.stop is None for b in branches(recipe).values())


def test_an_oracle_answers_and_keeps_its_own_errors():
    assert branches(simulation())["active", 0].recipe.annotator == Choice(kind="oracle")
    tired = CAMPAIGN.model_copy(update={"annotator": Choice(kind="oracle", error_rate=0.1)})
    assert branches(simulation(campaign=tired))["random", 0].recipe.annotator == tired.annotator


def test_campaigns_are_named_after_simulation_strategy_and_seed():
    assert branches(simulation())["active", 2].campaign == "sim--active--2"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"strategies": {"a": {"pool": {}}}}, "No part of a strategy is called 'pool'"),
        ({"strategies": {"full": {}}}, "'full' is the name of training on everything"),
        ({"strategies": {"random": {"finetune": {"num_steps": 9}}}}, "asking at random and nothing else"),
        ({"strategies": {"a--b": {}}}, "holds '--'"),
        ({"strategies": {"Not A Name": {}}}, "cannot be used"),
        ({"strategies": {"a": {"finetune": {"num_stepz": 9}}}}, "num_steps"),
        ({"strategies": {"a": {"score": {"scorers": [{"kind": "entropi"}]}}}}, "Did you mean 'entropy'"),
        ({"seeds": ()}, "at least one"),
        ({"seeds": (1, 1)}, "different numbers"),
        ({"seeds": (-1,)}, "from 0 upwards"),
    ],
)
def test_a_strategy_that_cannot_be_meant_is_refused_before_anything_runs(changes, reason):
    with pytest.raises(RecipeError, match=reason):
        check_strategies("sim", simulation(**changes))


def test_a_name_too_long_for_its_branches_is_refused():
    with pytest.raises(RecipeError, match="cannot be used"):
        check_strategies("s" * 60, simulation())


def test_a_plain_simulation_is_accepted():
    check_strategies("sim", simulation())
