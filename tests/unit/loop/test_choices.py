"""Every name in a recipe is checked before the first byte is written."""

import pytest

from hilum.core.errors import RecipeError
from hilum.core.recipes import CampaignRecipe, ComparePretrainingRecipe, PretrainRecipe, SimulateRecipe
from hilum.loop.choices import check_choices
from hilum.loop.compare_pretraining import check_pretexts
from hilum.loop.recipe_files import any_recipe, campaign_recipe, compare_recipe, pretrain_recipe, shipped_recipes
from hilum.steps.pretrain import check_recipe


def _recipe(**parts):
    return CampaignRecipe.model_validate({"question": "classify", **parts})


FOREGROUND = {"kind": "foreground_random"}
CAMPAIGNS = [
    name for name in sorted(shipped_recipes()) if isinstance(any_recipe(name), CampaignRecipe | SimulateRecipe)
]
PRETRAININGS = [name for name in sorted(shipped_recipes()) if isinstance(any_recipe(name), PretrainRecipe)]
COMPARISONS = [name for name in sorted(shipped_recipes()) if isinstance(any_recipe(name), ComparePretrainingRecipe)]


@pytest.mark.parametrize("name", CAMPAIGNS)
def test_every_shipped_recipe_names_only_what_there_is(name):
    check_choices(campaign_recipe(name))


@pytest.mark.parametrize("name", PRETRAININGS)
def test_every_shipped_pretraining_names_only_what_there_is(name):
    check_recipe(pretrain_recipe(name))


@pytest.mark.parametrize("name", COMPARISONS)
def test_every_shipped_comparison_names_only_what_there_is(name):
    comparison = compare_recipe(name)
    check_pretexts(comparison)
    for target in comparison.targets.values():
        check_choices(target.campaign)


@pytest.mark.parametrize(
    ("parts", "meant"),
    [
        ({"score": {"scorers": [{"kind": "entropi"}]}}, "entropy"),
        ({"score": {"members": {"kind": "mirors"}}}, "mirrors"),
        ({"calibrate": {"members": {"kind": "mirors"}}}, "mirrors"),
        ({"score": {"reduce": {"kind": "maen"}}}, "mean"),
        ({"select": {"arms": [{"share": 1, "sampler": {"kind": "top_key"}}]}}, "top_k"),
        ({"select": {"cold_start": {"kind": "typyclust"}}}, "typiclust"),
        ({"annotator": {"kind": "orakle"}}, "oracle"),
        ({"finetune": {"architecture": {"kind": "unetp"}}}, "unetpp"),
        ({"finetune": {"augment": [{"kind": "flipp"}]}}, "flip"),
        ({"finetune": {"loss": {"kind": "cross_entrop"}}}, "cross_entropy"),
        (
            {
                "finetune": {
                    "from": "previous",
                    "data": "new_and_misclassified",
                    "misclassified": {"members": {"kind": "mirors"}},
                }
            },
            "mirrors",
        ),
        ({"finetune": {"architecture": {"kind": "unet", "dept": 2}}}, "depth"),
        ({"select": {"arms": [{"share": 1, "sampler": {"kind": "top_k", "scor": "margin"}}]}}, "score"),
        (
            {"score": {"foreground": {"atlas": "0"}}, "select": {"cold_start": FOREGROUND | {"min_foregroun": 0}}},
            "min_foreground",
        ),
    ],
)
def test_a_misspelt_name_or_parameter_is_answered_with_the_likely_one(parts, meant):
    with pytest.raises(RecipeError, match=f"Did you mean '{meant}'"):
        check_choices(_recipe(**parts))


def test_a_sampler_may_only_read_a_score_that_is_computed():
    arms = [{"share": 1, "sampler": {"kind": "top_k", "score": "variance"}}]
    with pytest.raises(RecipeError, match="reads a score that is not computed"):
        check_choices(_recipe(select={"arms": arms}))
    check_choices(_recipe(select={"arms": arms}, score={"scorers": [{"kind": "variance"}]}))


def test_a_first_round_by_foreground_needs_something_that_knows_it():
    with pytest.raises(RecipeError, match=r"before there is a model that sees foreground\. .* score\.foreground"):
        check_choices(_recipe(select={"cold_start": FOREGROUND}))
    check_choices(_recipe(select={"cold_start": FOREGROUND}, score={"foreground": {"atlas": "0123456789ab"}}))
    check_choices(_recipe(select={"arms": [{"share": 1, "sampler": FOREGROUND}]}))


def test_a_sampler_that_reads_no_score_needs_none():
    arms = [{"share": 0.5, "sampler": {"kind": "k_centre"}}, {"share": 0.5, "sampler": {"kind": "random"}}]
    check_choices(_recipe(select={"arms": arms}, score={"scorers": [{"kind": "entropy"}]}))


def test_a_shortlist_reads_its_score():
    arms = [{"share": 1, "sampler": {"kind": "k_centre", "shortlist": 5}}]
    with pytest.raises(RecipeError, match="'margin'"):
        check_choices(_recipe(select={"arms": arms}, score={"scorers": [{"kind": "entropy"}]}))


@pytest.mark.parametrize("kind", ["batch_bald", "epig"])
def test_a_sampler_of_members_needs_several_that_are_kept_and_one_class_a_candidate(kind):
    select = {"arms": [{"share": 1, "sampler": {"kind": kind}}]}
    for score in ({}, {"keep_members": True}, {"members": {"kind": "mirrors"}}):
        with pytest.raises(RecipeError, match="set score.keep_members: true and score.members to several"):
            check_choices(_recipe(select=select, score=score))
    kept = {"keep_members": True, "members": {"kind": "mirrors"}}
    check_choices(_recipe(select=select, score=kept))
    with pytest.raises(RecipeError, match="classes of whole candidates"):
        check_choices(_recipe(select=select, score=kept, question="segment"))
    with pytest.raises(RecipeError, match="keep_members is for one class a candidate"):
        check_choices(_recipe(score=kept, question="segment"))


def test_a_cold_start_that_contrasts_needs_views_and_is_no_arm():
    contrasts = {"kind": "hard_to_contrast"}
    with pytest.raises(RecipeError, match="contrasts views of candidates: set score.num_views, such as 4"):
        check_choices(_recipe(select={"cold_start": contrasts}))
    check_choices(_recipe(select={"cold_start": contrasts}, score={"num_views": 4}))
    arms = [{"share": 1, "sampler": contrasts}]
    with pytest.raises(RecipeError, match=r"is for the first round.*Make it select\.cold_start"):
        check_choices(_recipe(select={"arms": arms}, score={"num_views": 4}))
