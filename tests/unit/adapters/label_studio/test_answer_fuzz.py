"""Annotations changed at random, as JSON can be: each is an answer or a refusal, whatever was changed."""

import copy
import json
import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.adapters.label_studio.annotations import (
    FIRST,
    LAST,
    MIDDLE,
    PATCH,
    annotation,
    asked,
    bitmask_of,
    brush,
    choice,
    ellipse,
    everything,
    one_voxel,
    point,
    polygon,
    rectangle,
)

from hilum.adapters.label_studio.answers import Answer, read_answer
from hilum.adapters.label_studio.asked import asked_from_json
from hilum.adapters.label_studio.drafts import check_prediction
from hilum.core.asking import IGNORE
from hilum.core.errors import DataError

KINDS = ("segment", "scribble", "points", "boxes", "classify")
WHOLE = {
    "segment": annotation(
        brush("liver", everything(), page=MIDDLE, origin="prediction"),
        brush("tumour", one_voxel(1, 1, FIRST), page=FIRST),
        polygon("liver", [[0, 0], [80, 5], [5, 90]], page=LAST),
        rectangle("tumour", page=MIDDLE),
        ellipse("liver", page=MIDDLE),
        bitmask_of("tumour", everything(LAST), page=LAST),
        point("background", (3, 4, 5)),
    ),
    "scribble": annotation(brush("background", everything(), page=MIDDLE), choice("nothing here", page=FIRST)),
    "points": annotation(point("tumour", (2, 3, 4)), point("background", (3, 4, 5)), choice("unusable", page=LAST)),
    "boxes": annotation(rectangle("liver", page=MIDDLE, name="box"), choice("nothing here", page=FIRST)),
    "classify": annotation(choice("liver", page=None, name="class")),
}
EXTREMES = (
    None, True, False, 0, -1, 1, 2, 3, 99, 255, 256, 2**31, 2**63, 2**64, 10**400, 0.5, -0.0, 1e-320, 1e308, -1e308,
    float("nan"), float("inf"), float("-inf"), "", "0", "liver", "tumour", "nothing here", "prediction", "rle",
    "<img src=x onerror=alert(1)>", "\ud800", "\0", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+23:59",
    "data:image/png;base64,", [], {}, [[]], [{}], [None], {"id": -1}, [[1, 2], [3, 4], [5, 6]], list(range(300)),
)  # fmt: skip
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


def _answer_or_refusal(given_annotation, kind):
    answer, refusal = _result_of(lambda: read_answer(given_annotation, asked(kind)))
    if refusal is not None:
        assert refusal
        assert "<img" not in refusal
        return False
    assert isinstance(answer, Answer)
    kept = answer.annotation(PATCH)
    if answer.verdict == "answered":
        assert (kept.class_id is None) == (kind != "classify")
        if kept.label_map_zyx is not None:
            labels = set(np.unique(kept.label_map_zyx).tolist())
            assert labels <= {0, 1, 2, IGNORE}
            assert labels != {IGNORE}
    return True


def _result_of(call):
    """What a call gives, or the sentence with which it refuses. Any other exception is a failure."""
    try:
        return call(), None
    except DataError as refusal:
        return None, str(refusal)


def _places(node, path=()):
    yield path
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield from _places(value, (*path, key))


def _mutated(rng, document):
    """One to three changes: a value replaced, taken away, doubled or swapped with another."""
    document = copy.deepcopy(document)
    for _ in range(rng.randint(1, 3)):
        # Bytes of codes are many: choose by depth, so that they are not all that is ever changed.
        by_depth = {}
        for path in _places(document):
            if path:
                by_depth.setdefault(len(path), []).append(path)
        *way, last = rng.choice(by_depth[rng.choice(sorted(by_depth))])
        parent = document
        for key in way:
            parent = parent[key]
        match rng.randrange(5):
            case 0 | 1:
                parent[last] = copy.deepcopy(rng.choice(EXTREMES))
            case 2:
                del parent[last]
            case 3 if isinstance(parent, list):
                parent.insert(last, copy.deepcopy(parent[last]))
            case _:
                other = rng.choice(list(parent)) if isinstance(parent, dict) else rng.randrange(len(parent))
                parent[last], parent[other] = parent[other], parent[last]
        if not document:
            break
    return document


def test_what_is_changed_is_an_answer_to_begin_with():
    assert all(_answer_or_refusal(WHOLE[kind], kind) for kind in KINDS)


def test_two_thousand_changed_annotations_are_answers_or_refusals():
    rng = random.Random(7)
    read = [_answer_or_refusal(_mutated(rng, WHOLE[kind]), kind) for _ in range(400) for kind in KINDS]
    # Both happen, and often.
    assert 200 < sum(read) < 1800


def test_a_changed_annotation_of_another_question_is_refused_or_read():
    rng = random.Random(8)
    for _ in range(200):
        _answer_or_refusal(_mutated(rng, WHOLE[rng.choice(KINDS)]), rng.choice(KINDS))


@given(anything, st.sampled_from(KINDS))
def test_any_json_at_all_is_refused_or_read(given_json, kind):
    _answer_or_refusal(given_json, kind)
    _answer_or_refusal({**WHOLE[kind], "result": [given_json]}, kind)


@given(anything, st.sampled_from(sorted(WHOLE["segment"]["result"][0])), st.sampled_from(range(7)))
def test_any_json_at_any_key_of_a_region_is_refused_or_read(given_json, key, which):
    changed = copy.deepcopy(WHOLE["segment"])
    changed["result"][which][key] = given_json
    _answer_or_refusal(changed, "segment")


def test_changed_task_data_and_predictions_are_refused_or_read():
    rng = random.Random(9)
    data, prediction = asked().to_json(), {"model_version": "c1", "score": 0.5, "result": WHOLE["segment"]["result"]}
    data = json.loads(json.dumps(data))
    for _ in range(300):
        assert _result_of(lambda: asked_from_json(_mutated(rng, data)))[1] != ""
        assert _result_of(lambda: check_prediction(_mutated(rng, prediction), asked()))[1] != ""
