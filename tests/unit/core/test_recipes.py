"""Recipes are frozen, refuse unknown keys, and never hide what they name."""

import pytest
from pydantic import ValidationError

from hilum.core import recipes
from hilum.core.errors import RecipeError
from hilum.core.ids import run_id
from hilum.core.recipes import (
    BudgetRecipe,
    CampaignRecipe,
    Choice,
    EvaluateRecipe,
    FinetuneRecipe,
    PoolRecipe,
    SelectRecipe,
    SplitRecipe,
)
from hilum.core.registry import Params, Registry

MODELS = [m for m in vars(recipes).values() if isinstance(m, type) and issubclass(m, recipes.Recipe)]


@pytest.mark.parametrize("model", MODELS)
def test_an_unknown_key_is_refused(model):
    with pytest.raises(ValidationError, match="learningrate"):
        model.model_validate({"learningrate": 1})


@pytest.mark.parametrize("model", MODELS)
def test_a_recipe_cannot_be_changed(model):
    assert model.model_config["frozen"]


@pytest.mark.parametrize("model", [*MODELS, Choice])
def test_kind_never_has_a_default(model):
    for name, field in model.model_fields.items():
        assert name != "kind" or field.is_required()


def test_two_choices_of_two_kinds_have_two_names():
    one = SelectRecipe(cold_start=Choice(kind="random"))
    two = SelectRecipe(cold_start=Choice(kind="k_centre"))
    assert run_id("select", 1, one, {}) != run_id("select", 1, two, {})


def test_a_choices_parameters_are_part_of_the_name():
    plain = SelectRecipe(cold_start=Choice(kind="k_centre"))
    other = SelectRecipe(cold_start=Choice.model_validate({"kind": "k_centre", "metric": "cosine"}))
    assert run_id("select", 1, plain, {}) != run_id("select", 1, other, {})


def test_shares_that_do_not_sum_to_one_are_refused():
    arm = {"share": 0.4, "sampler": {"kind": "random"}}
    with pytest.raises(ValidationError, match="sum to 0.8"):
        SelectRecipe.model_validate({"arms": [arm, arm]})


@pytest.mark.parametrize("shape", [[0, 8, 8], [8, 8], [-1, 8, 8]])
def test_patch_shapes_are_three_positive_sizes(shape):
    with pytest.raises(ValidationError):
        PoolRecipe.model_validate({"patch_shape_zyx": shape})


def test_a_split_leaves_something_to_ask_about():
    with pytest.raises(ValidationError, match="less than 1"):
        SplitRecipe(validation=0.5, test=0.5)


def test_a_batch_that_cannot_be_cut_evenly_is_refused():
    with pytest.raises(ValidationError, match="multiple of num_chunks"):
        FinetuneRecipe(batch_size=7, num_chunks=2)


def test_a_budget_is_positive():
    with pytest.raises(ValidationError):
        BudgetRecipe(num_per_round=0)


def test_a_campaign_survives_the_journey_to_json_and_back():
    recipe = CampaignRecipe.model_validate(
        {
            "question": "segment",
            "finetune": {"from": "champion", "architecture": {"kind": "unetpp", "depth": 3}},
            "select": {"arms": [{"share": 1, "sampler": {"kind": "power_top_k", "beta": 4}}]},
        }
    )
    again = CampaignRecipe.model_validate_json(recipe.model_dump_json(by_alias=True))
    assert again == recipe
    assert again.finetune.start == "champion"
    assert again.select.arms[0].sampler.params == {"beta": 4}


class Power(Params):
    beta: float = 1.0


@pytest.fixture
def things() -> Registry:
    registry = Registry("thing")
    registry.register("plain")(lambda x: x)
    registry.register("power", params=Power)(lambda x, *, beta: x**beta)
    return registry


def test_a_bound_choice_carries_its_parameters(things):
    assert things.bind(Choice.model_validate({"kind": "power", "beta": 3}))(2) == 8
    assert things.bind(Choice(kind="power"))(2) == 2
    assert things.bind(Choice(kind="plain"))(2) == 2


def test_a_name_cannot_be_taken_twice(things):
    with pytest.raises(RecipeError, match="registered already"):
        things.register("plain")(lambda x: x)


def test_an_unknown_name_lists_the_known(things):
    with pytest.raises(RecipeError, match="Did you mean 'power'\\? Known: plain, power"):
        things.bind(Choice(kind="pwoer"))


def test_an_unknown_parameter_is_refused_with_a_guess(things):
    with pytest.raises(RecipeError, match="Did you mean 'beta'"):
        things.bind(Choice.model_validate({"kind": "power", "bta": 3}))


def test_a_parameter_of_the_wrong_type_says_what_was_given(things):
    with pytest.raises(RecipeError, match="'beta'.*given 'much'"):
        things.bind(Choice.model_validate({"kind": "power", "beta": "much"}))


def test_a_registry_lists_its_names_in_order(things):
    assert list(things) == ["plain", "power"]
    assert "plain" in things
    assert "other" not in things


def may_be_left_out(model):
    """Whether a recipe of this kind may say nothing: what knows foreground must name one of two."""
    return model is not recipes.ForegroundRecipe and not any(f.is_required() for f in model.model_fields.values())


@pytest.mark.parametrize("model", [m for m in MODELS if may_be_left_out(m)])
def test_a_recipe_that_leaves_everything_out_hashes_as_nothing(model):
    """So that a new optional field gives no old result a new name."""
    assert model().model_dump(mode="json", exclude_defaults=True) == {}
    written = model.model_validate(model().model_dump(by_alias=True))
    assert run_id("step", 1, written, {}) == run_id("step", 1, model(), {})


@pytest.mark.parametrize(
    "change",
    [
        {"from": "champion"},
        {"num_steps": 301},
        {"batch_size": 64},
        {"num_chunks": 4},
        {"learning_rate": 1e-4},
        {"weight_decay": 0.0},
        {"warm_up": 0.0},
        {"clip_norm": 2.0},
        {"loss": {"kind": "hybrid"}},
        {"balance_classes": False},
        {"rare_class_exponent": 0.0},
        {"augment": []},
        {"checkpoint_every": 7},
        {"train_precision": "bfloat16"},
        {"optimizer": "sgd"},
        {"schedule": "poly"},
        {"ema_decay": 0.999},
        {"early_stop": {}},
        {"patch_shape_zyx": [1, 32, 32]},
        {"foreground_share": 0.0},
        {"seed": 1},
        {"architecture": {"kind": "unet", "depth": 2}},
    ],
)
def test_every_word_of_a_training_is_in_its_name(change):
    changed = FinetuneRecipe.model_validate(change)
    assert run_id("finetune", 1, changed, {}) != run_id("finetune", 1, FinetuneRecipe(), {})


def test_from_and_start_say_the_same():
    assert FinetuneRecipe.model_validate({"from": "champion"}) == FinetuneRecipe(start="champion")


@pytest.mark.parametrize(
    ("model", "change"),
    [
        (recipes.PromoteRecipe, {"tolerance": -0.1}),
        (recipes.EvaluateRecipe, {"confidence": 1.0}),
        (recipes.EvaluateRecipe, {"num_resamples": -1}),
        (recipes.StopRecipe, {"num_rounds": 0}),
        (PoolRecipe, {"min_occupancy": 1.5}),
        (PoolRecipe, {"candidates_per_shard": 0}),
        (PoolRecipe, {"patch_shape_zyx": [64, 64]}),
        (FinetuneRecipe, {"learning_rate": 0}),
        (FinetuneRecipe, {"clip_norm": 0}),
        (FinetuneRecipe, {"from": "yesterday"}),
        (FinetuneRecipe, {"train_precision": "float16"}),
        (FinetuneRecipe, {"ema_decay": 1.0}),
        (FinetuneRecipe, {"foreground_share": 1.1}),
        (FinetuneRecipe, {"early_stop": {"share": 0.0}}),
        (FinetuneRecipe, {"patch_shape_zyx": [0, 32, 32]}),
        (SelectRecipe, {"num": 0}),
        (SelectRecipe, {"arms": [{"share": 1.0, "sampler": {"score": "margin"}}]}),
        (BudgetRecipe, {"num_first_round": 0}),
    ],
)
def test_what_cannot_be_meant_is_refused_where_it_stands(model, change):
    with pytest.raises(ValidationError) as refused:
        model.model_validate(change)
    assert refused.value.errors()[0]["loc"][0] == next(iter(change))


def test_the_order_of_arms_is_part_of_the_name():
    arms = [{"share": 0.5, "sampler": {"kind": kind}} for kind in ("random", "top_k")]
    one, other = SelectRecipe.model_validate({"arms": arms}), SelectRecipe.model_validate({"arms": arms[::-1]})
    assert run_id("select", 1, one, {}) != run_id("select", 1, other, {})


def test_a_simulation_runs_the_same_seeds_unless_told_otherwise():
    simulation = recipes.SimulateRecipe.model_validate({"campaign": {"question": "segment"}})
    assert simulation.seeds == (0, 1, 2)
    assert simulation.full_data
    with pytest.raises(ValidationError, match="question"):
        recipes.SimulateRecipe.model_validate({"campaign": {}})


def test_only_the_first_of_trainings_that_go_on_from_each_other_takes_its_own_number_of_steps():
    recipe = FinetuneRecipe.model_validate({"from": "champion", "num_steps": 60, "num_first_steps": 100})
    assert recipe.of_training(is_first=True).num_steps == 100
    assert recipe.of_training(is_first=False) == FinetuneRecipe.model_validate({"from": "champion", "num_steps": 60})
    assert FinetuneRecipe(start="champion", num_steps=60).of_training(is_first=True).num_steps == 60


def test_a_first_training_among_others_from_scratch_is_refused():
    with pytest.raises(ValidationError, match="every training is a first one"):
        FinetuneRecipe(num_first_steps=100)


@pytest.mark.parametrize("edges", [(10, 6), (6, 6), (0, 6), (-1,)])
def test_bands_of_size_that_do_not_ascend_are_refused(edges):
    with pytest.raises(ValidationError, match="must ascend from above 0"):
        EvaluateRecipe(lesion_bands_mm=edges)


def test_what_counts_as_near_and_found_is_part_of_the_name_only_where_it_is_said():
    plain = run_id("evaluate", 2, EvaluateRecipe(), {})
    assert run_id("evaluate", 2, EvaluateRecipe(surface_tolerance_mm=1.0, lesion_neighbours=26), {}) == plain
    assert run_id("evaluate", 2, EvaluateRecipe(surface_tolerance_mm=None), {}) != plain


def test_a_training_that_says_nothing_new_keeps_the_name_it_had_before_there_was_more_to_say():
    old = FinetuneRecipe(num_steps=6, batch_size=4)
    assert run_id("finetune", 1, old, {"labels": "a"}) == "305e514de1f3"


def test_going_on_from_a_model_may_be_slower_and_a_first_training_never_is():
    recipe = FinetuneRecipe.model_validate(
        {"from": "previous", "learning_rate": 0.5, "continue_learning_rate_factor": 0.25}
    )
    assert recipe.of_training(is_first=True).learning_rate == 0.5
    assert recipe.of_training(is_first=False).learning_rate == 0.125
    again = recipe.of_training(is_first=False)
    assert again.of_training(is_first=False) == again


@pytest.mark.parametrize("start", ["previous", "first"])
def test_a_first_training_is_one_from_scratch_whatever_comes_after_it(start):
    recipe = FinetuneRecipe(start=start, data="new_and_misclassified", misclassified={"min_dice": 0.9})
    assert recipe.of_training(is_first=True) == FinetuneRecipe()


def test_trainings_from_the_first_model_have_its_steps_and_their_own_behind_them():
    recipe = FinetuneRecipe(start="first", num_steps=60, num_first_steps=100)
    assert [recipe.num_steps_over(num) for num in (1, 2, 5)] == [100, 160, 160]
    onwards = recipe.model_copy(update={"start": "previous"})
    assert [onwards.num_steps_over(num) for num in (1, 2, 5)] == [100, 160, 340]


@pytest.mark.parametrize(
    ("given", "what_is_said"),
    [
        ({"data": "new"}, "from scratch every answer is new"),
        ({"data": "new_and_misclassified"}, "from scratch every answer is new"),
        ({"continue_learning_rate_factor": 0.1}, "from scratch none does"),
        ({"from": "previous", "misclassified": {"min_dice": 0.5}}, "is for 'data: new_and_misclassified'"),
        ({"from": "last"}, "previous"),
        ({"consistency": {"num_views": 1}}, "greater than or equal to 2"),
        ({"consistency": {"weight": 0}}, "greater than 0"),
        ({"consistency": {"distance": "kl"}}, "symmetric_kl"),
    ],
)
def test_a_training_that_cannot_be_meant_is_refused(given, what_is_said):
    with pytest.raises(ValidationError, match=what_is_said):
        FinetuneRecipe.model_validate(given)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({}, "72cee1088e77"),
        ({"from": "champion", "num_steps": 60}, "0c6f2dc3310f"),
        ({"from": "champion", "num_first_steps": 9}, "e8477fa7cd39"),
    ],
)
def test_trainings_that_were_named_before_recipes_knew_of_continuing_keep_their_names(given, name):
    inputs = {"labels": "a" * 12, "start": "none", "ingest": "b" * 12}
    recipe = FinetuneRecipe.model_validate(given).of_training(is_first=True)
    assert run_id("finetune", 1, recipe, inputs) == name
