"""A campaign that asks by the loss its own models predict, and one that forgot to teach them to."""

from collections.abc import Callable

import numpy as np
import pytest

from hilum.adapters.inline import InlineExecutor
from hilum.adapters.oracle import Oracle
from hilum.core.errors import RecipeError
from hilum.core.recipes import ArmRecipe, CampaignRecipe, Choice, LearningLossRecipe, Question, ScoreRecipe
from hilum.loop.campaign import Campaign
from hilum.loop.events import history, runs_of
from hilum.steps.score_parts import read_scores
from hilum.store.layout import Store
from hilum.store.manifest import read_manifest
from hilum.store.selections import read_selection
from hilum.testing.campaigns import check_invariants, tiny_recipe

NewStore = Callable[..., tuple[Store, str]]
INLINE = InlineExecutor()


def recipe_of(question: Question) -> CampaignRecipe:
    recipe = tiny_recipe(question, num_rounds=3)
    arm = ArmRecipe(share=1.0, sampler=Choice(kind="top_k", score="learning_loss"))
    return recipe.model_copy(
        update={
            "score": ScoreRecipe(scorers=(Choice(kind="learning_loss"), Choice(kind="entropy"))),
            "select": recipe.select.model_copy(update={"arms": (arm,)}),
            "finetune": recipe.finetune.model_copy(
                update={"start": "previous", "learning_loss": LearningLossRecipe(width=8)}
            ),
        }
    )


@pytest.mark.parametrize(("question", "spatial_dims"), [("classify", 2), ("segment", 2), ("segment", 3)])
def test_the_highest_predicted_losses_are_asked_about(
    new_store: NewStore, question: Question, spatial_dims: int
) -> None:
    store, ingest_id = new_store(question, spatial_dims)
    recipe = recipe_of(question)
    status = Campaign.create(store, "liver", recipe).run(executor=INLINE, annotator=Oracle(store, ingest_id))
    assert status.finished
    check_invariants(store, "liver", recipe)
    asked: set[str] = set()
    rounds = [runs_of(events) for events in history(store, "liver")]
    assert len(rounds) == 3
    for number, runs in enumerate(rounds):
        chosen = {one.candidate.candidate_id for one in read_selection(store, runs["select"])}
        if number:
            table = read_scores(store, read_manifest(store.run("score", runs["score"])))
            scores = dict(zip(table["candidate_id"].to_pylist(), table["score_learning_loss"].to_pylist(), strict=True))
            still_open = sorted((score for one, score in scores.items() if one not in asked), reverse=True)
            picked = sorted((scores[one] for one in chosen), reverse=True)
            np.testing.assert_allclose(picked, still_open[: len(picked)], rtol=1e-6)
            assert len(set(still_open)) > 1
        asked |= chosen


def test_a_campaign_whose_models_learn_no_loss_is_refused_before_it_begins(new_store: NewStore) -> None:
    store, _ = new_store()
    recipe = recipe_of("classify")
    forgot = recipe.model_copy(update={"finetune": recipe.finetune.model_copy(update={"learning_loss": None})})
    with pytest.raises(RecipeError, match="set finetune.learning_loss, such as {}, so that it learns to"):
        Campaign.create(store, "liver", forgot)
