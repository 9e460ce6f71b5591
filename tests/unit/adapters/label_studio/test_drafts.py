import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.adapters.label_studio.annotations import PATCH, annotation, asked, choice

from hilum.adapters.label_studio.answers import read_answer
from hilum.adapters.label_studio.drafts import check_prediction, class_draft, outline_draft, probability_draft
from hilum.core.asking import IGNORE
from hilum.core.errors import DataError


def _draft(label_map, **ways):
    return outline_draft(asked(), label_map, **{"score": 0.25, "checkpoint_id": "c0ffee-3", **ways})


@pytest.mark.parametrize("drawn_as", ["brush", "polygon"])
@given(seed=st.integers(0, 2**32 - 1))
def test_a_draft_that_is_accepted_as_it_is_comes_back_as_it_was(drawn_as, seed):
    label_map = np.random.default_rng(seed).integers(0, 3, PATCH.shape_zyx).astype(np.uint16)
    label_map[:, 1, 1] = 2  # every page has something
    draft = json.loads(json.dumps(_draft(label_map, drawn_as=drawn_as)))
    accepted = [{**region, "origin": "prediction"} for region in draft["result"]]
    answer = read_answer(annotation(*accepted, parent_prediction=5), asked())
    assert np.array_equal(answer.label_map_zyx, label_map)
    assert answer.num_results == {"prediction": len(accepted)}


def test_a_draft_says_how_sure_and_which_checkpoint():
    draft = _draft(np.ones(PATCH.shape_zyx, np.int64), score=np.float32(0.5))
    assert (draft["score"], draft["model_version"]) == (0.5, "c0ffee-3")
    assert [region["item_index"] for region in draft["result"]] == [1, 2, 3]
    assert len({region["id"] for region in draft["result"]}) == 3


def test_background_and_what_nobody_knows_are_not_drawn():
    label_map = np.zeros(PATCH.shape_zyx, np.uint16)
    label_map[1] = IGNORE
    assert _draft(label_map)["result"] == []


def test_a_class_is_drafted():
    draft = class_draft(asked("classify"), 2, score=1, checkpoint_id="c1")
    assert read_answer(annotation(*draft["result"]), asked("classify")).class_id == 2
    assert draft["result"][0]["value"] == choice("tumour", page=None)["value"]


def test_of_probabilities_the_most_probable_class_is_drafted_and_of_equals_the_first():
    chosen = probability_draft(asked("classify"), np.array([0.2, 0.4, 0.4]), score=0, checkpoint_id="c1")
    assert chosen["result"][0]["value"] == {"choices": ["liver"]}
    probabilities = np.zeros((3, *PATCH.shape_zyx), np.float32)
    probabilities[0] = 1
    probabilities[:, 1] = np.array([0.1, 0.3, 0.6])[:, None, None]
    draft = probability_draft(asked(), probabilities, score=0, checkpoint_id="c1")
    answer = read_answer(annotation(*draft["result"]), asked())
    assert np.all(answer.label_map_zyx[1] == 2)


ONES = np.ones(PATCH.shape_zyx, np.uint16)


@pytest.mark.parametrize(
    ("draft", "reason"),
    [
        (lambda: _draft(ONES * 3), "0 to 2"),
        (lambda: _draft(ONES.astype(np.int16) * -1), "0 to 2"),
        (lambda: _draft(ONES / 2), "whole numbers"),
        (lambda: _draft(ONES[:1]), "3, 4, 5"),
        (lambda: _draft(ONES, score=7.5), "score is 7.5; allowed are 0 to 1"),
        (lambda: _draft(ONES, score=float("nan")), "score is nan"),
        (lambda: _draft(ONES, checkpoint_id="../x"), "must be a checkpoint's id"),
        (lambda: _draft(ONES, checkpoint_id=""), "must be a checkpoint's id"),
        (lambda: outline_draft(asked("boxes"), ONES, score=0, checkpoint_id="c1"), "kind 'boxes'"),
        (lambda: class_draft(asked("classify"), 3, score=0, checkpoint_id="c1"), "0 to 2"),
        (lambda: class_draft(asked(), 1, score=0, checkpoint_id="c1"), "kind 'segment'"),
        (lambda: probability_draft(asked(), np.ones((3, 2)), score=0, checkpoint_id="c1"), "are of 3 classes"),
        (lambda: probability_draft(asked("classify"), np.ones(3), score=0, checkpoint_id="c1"), "add up to 1"),
        (
            lambda: probability_draft(asked("classify"), np.array([0.5, np.nan, 0.5]), score=0, checkpoint_id="c1"),
            "add up to 1",
        ),
    ],
)
def test_a_draft_that_could_not_be_shown_or_read_back_is_refused(draft, reason):
    with pytest.raises(DataError, match=reason):
        draft()


def test_what_the_server_would_store_unseen_is_refused():
    good = _draft(ONES)
    check_prediction(good, asked())
    region = good["result"][0]
    for bad in (
        {**region, "value": {**region["value"], "brushlabels": ["spleen"]}},
        {**region, "from_name": "seg"},
        {**region, "type": "rectanglelabels"},
        {**region, "original_width": 100},
        {**region, "item_index": 9},
        {**region, "id": ""},
        good["result"][1],
    ):
        with pytest.raises(DataError):
            check_prediction({**good, "result": [bad, good["result"][1]]}, asked())
