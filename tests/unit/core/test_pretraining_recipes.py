"""What a pretraining's recipe refuses, and that a field nobody gives leaves its name alone."""

import pytest
from pydantic import ValidationError

from hilum.core.errors import RecipeError
from hilum.core.ids import run_id
from hilum.core.recipes import PretrainRecipe, SamplingRecipe
from hilum.loop.recipe_files import checked


@pytest.mark.parametrize(
    ("sampling", "named"),
    [
        ({"borders_zyx": [-1, 0, 0]}, "borders_zyx"),
        ({"borders_zyx": [1, 2]}, "borders_zyx"),
        ({"scales": []}, "scales"),
        ({"scales": [0]}, "scales"),
        ({"scales": [1, float("nan")]}, "scales"),
        ({"spacing_mm_zyx": [0, 1, 1]}, "spacing_mm_zyx"),
        ({"window": "liver"}, "window"),
        ({"window": {"low": 5, "high": 5}}, "window"),
        ({"inside": "lungs"}, "inside"),
        ({"min_foreground": 1.5}, "min_foreground"),
        ({"max_solid_share": 0}, "max_solid_share"),
        ({"num_tries": 0}, "num_tries"),
        ({"border_zyx": [1, 1, 1]}, "borders_zyx"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_sentence_that_names_the_key(sampling, named):
    with pytest.raises(RecipeError) as caught:
        checked(PretrainRecipe, {"pretext": {"kind": "denoising"}, "sampling": sampling}, "mine.yaml")
    message = str(caught.value)
    assert message.startswith("mine.yaml")
    assert "sampling" in message
    assert named in message
    assert "\n" not in message


def test_a_window_may_be_a_word():
    assert SamplingRecipe.model_validate({"window": "lung"}).window.preset == "lung"


def test_every_field_of_sampling_is_part_of_the_name_and_its_default_is_not():
    plain = run_id("pretrain", 1, PretrainRecipe(), {})
    defaults = SamplingRecipe().model_dump()
    assert run_id("pretrain", 1, PretrainRecipe(sampling=SamplingRecipe(**defaults)), {}) == plain
    others = {
        "borders_zyx": (1, 0, 0),
        "scales": (1.0, 2.0),
        "spacing_mm_zyx": (1.0, None, None),
        "window": "lung",
        "inside": "body",
        "min_foreground": 0.1,
        "max_solid_share": 0.15,
        "num_tries": 5,
    }
    assert others.keys() == defaults.keys()
    names = {
        run_id("pretrain", 1, PretrainRecipe.model_validate({"sampling": {key: value}}), {})
        for key, value in others.items()
    }
    assert len(names) == len(others)
    assert plain not in names


def test_a_batch_that_cannot_be_shared_is_refused():
    with pytest.raises(ValidationError, match="multiple of num_chunks"):
        PretrainRecipe(batch_size=5, num_chunks=2)
