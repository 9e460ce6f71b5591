"""A checkpoint that was trained with a learning loss: scored by it, gone on from, pruned, exported, or refused."""

import numpy as np
import pytest

from hilum.adapters.inline import InlineExecutor
from hilum.core.errors import RecipeError
from hilum.core.recipes import (
    Choice,
    EvaluateRecipe,
    FinetuneRecipe,
    LearningLossRecipe,
    PoolRecipe,
    PruneRecipe,
    ScoreRecipe,
    SplitRecipe,
)
from hilum.core.resources import Resources
from hilum.steps import export, finetune, pool, prune, score
from hilum.steps.predictor import load_encoder, load_predictor
from hilum.steps.score_parts import read_scores
from hilum.store import checkpoints
from hilum.store.labels import NONE
from hilum.testing.answered import label_set_of, true_answers
from hilum.testing.phantoms import Phantom, phantom_store

HANDS = {"executor": InlineExecutor(), "resources": Resources()}
PLAIN = FinetuneRecipe(architecture=Choice(kind="unetpp", depth=2, features=(4, 8, 8)), num_steps=2, batch_size=4)
LEARNING = PLAIN.model_copy(update={"learning_loss": LearningLossRecipe(width=4)})
SCORED = ScoreRecipe(scorers=(Choice(kind="entropy"), Choice(kind="learning_loss")))


class Made:
    """A store whose every item is answered, its pool, and a checkpoint of each recipe."""

    def __init__(self, folder, phantom):
        self.store, ingest = phantom_store(str(folder), phantom)
        labels = label_set_of(self.store, true_answers(self.store, ingest, phantom))
        self.inputs = {"labels": labels, "start": NONE, "ingest": ingest}
        recipe = PoolRecipe(split=SplitRecipe(validation=0.4))
        self.pool_id = pool.run(recipe, {"ingest": ingest}, store=self.store, **HANDS).run_id
        self.plain, self.learning = self.trained(PLAIN).run_id, self.trained(LEARNING).run_id

    def trained(self, recipe, **inputs):
        return finetune.run(recipe, {**self.inputs, **inputs}, store=self.store, **HANDS)

    def scored(self, checkpoint, recipe=SCORED):
        return score.run(recipe, {"pool": self.pool_id, "checkpoint": checkpoint}, store=self.store, **HANDS)


@pytest.fixture(
    scope="module", params=[("classify", 2), ("segment", 2), ("segment", 3)], ids=lambda p: f"{p[0]}-{p[1]}d"
)
def made(request, tmp_path_factory):
    question, dims = request.param
    size = {"size": 8} if dims == 3 else {}
    return Made(tmp_path_factory.mktemp("store"), Phantom(question, spatial_dims=dims, **size))


@pytest.fixture(scope="module")
def outlined(tmp_path_factory):
    return Made(tmp_path_factory.mktemp("outlined"), Phantom("segment"))


def test_the_module_travels_in_the_checkpoint_and_the_card_says_so(made):
    tensors, card = checkpoints.load(made.store, made.learning)
    assert card["learning_loss"] == {"width": 4}
    assert any(name.startswith("loss_predictor.") for name in tensors)
    plain, plain_card = checkpoints.load(made.store, made.plain)
    assert "learning_loss" not in plain_card
    assert plain.keys() == {name for name in tensors if not name.startswith("loss_predictor.")}


def test_every_candidate_has_one_predicted_loss_from_the_pass_that_scores_it(made):
    scores = made.scored(made.learning)
    table = read_scores(made.store, scores)
    values = table["score_learning_loss"].to_numpy()
    assert table.num_rows == scores.results["num_candidates"] > 1
    assert np.isfinite(values).all()
    assert (values > 0).all()
    assert len(set(values.tolist())) > 1
    without = SCORED.model_copy(update={"scorers": SCORED.scorers[:1]})
    other = read_scores(made.store, made.scored(made.learning, without))
    for column in ("score_entropy", "embedding", "predicted_class", "class_fractions"):
        assert table[column].to_pylist() == other[column].to_pylist()


def test_a_checkpoint_that_was_trained_without_is_refused_before_any_shard(made):
    with pytest.raises(RecipeError, match=rf"checkpoint {made.plain} predicts none: it was trained without finetune"):
        made.scored(made.plain)


def test_training_goes_on_from_a_model_that_predicts_and_from_no_other(made):
    onwards = LEARNING.model_copy(update={"start": "champion"})
    assert made.trained(onwards, start=made.learning).inputs["start"] == made.learning
    with pytest.raises(
        RecipeError, match=f"go on from checkpoint {made.plain}: its learning_loss is None, this recipe"
    ):
        made.trained(onwards, start=made.plain)
    with pytest.raises(RecipeError, match="its learning_loss is {'width': 4}, this recipe's is None"):
        made.trained(PLAIN.model_copy(update={"start": "champion"}), start=made.learning)


def test_another_training_takes_all_but_the_predictor_over(made):
    for recipe in (PLAIN, LEARNING):
        told = made.trained(recipe.model_copy(update={"start": made.learning}), start=made.learning).results["transfer"]
        assert any(name.startswith("body.encoder") for name in told["loaded"])
        assert not any(name.startswith("loss_predictor.") for name in told["loaded"])


def test_its_encoder_embeds_as_any_other(made):
    image = np.zeros((1, 1, *checkpoints.read_card(made.store, made.learning)["patch_shape_zyx"]), np.float32)
    embedded = load_encoder(made.store, made.learning).embed(image)
    np.testing.assert_array_equal(embedded, load_predictor(made.store, made.learning).embed(image))


def test_a_pruned_one_predicts_nothing_and_says_so(outlined):
    recipe = PruneRecipe(evaluate=EvaluateRecipe(num_resamples=5), depth=1)
    inputs = {"checkpoint": outlined.learning, "ingest": outlined.inputs["ingest"], "pool": outlined.pool_id}
    manifest = prune.run(recipe, inputs, store=outlined.store, **HANDS)
    pruned = manifest.results["checkpoint"]
    tensors, card = checkpoints.load(outlined.store, pruned)
    assert "learning_loss" not in card
    assert not any(name.startswith("loss_predictor.") for name in tensors)
    with pytest.raises(RecipeError, match=rf"checkpoint {pruned} predicts none: .* or pruned"):
        outlined.scored(pruned)
    whole = {**inputs, "checkpoint": outlined.plain}
    compared = [prune.depth_rows(outlined.store, manifest.run_id)]
    compared.append(prune.depth_rows(outlined.store, prune.run(recipe, whole, store=outlined.store, **HANDS).run_id))
    assert compared[0][-1]["num_parameters"] == compared[1][-1]["num_parameters"]


def test_an_exported_one_answers_as_the_network_and_leaves_the_predictor_behind(outlined, tmp_path):
    file = tmp_path / "model.pt2"
    made = export.export(outlined.store, outlined.learning, to="torch", file=str(file), pool_id=outlined.pool_id)
    assert made.num_real_images > 0
    assert b"body.encoder" in file.read_bytes()
    assert b"loss_predictor" not in file.read_bytes()
