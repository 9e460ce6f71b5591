import json

import pytest

from hilum.adapters.label_studio.asked import Asked, asked_from_json
from hilum.adapters.label_studio.slices import Pages
from hilum.core.errors import DataError, RecipeError
from hilum.core.geometry import Patch

PATCH = Patch("0123456789ab", (2, 3, 4), (3, 4, 5))
ASKED = Asked("segment", ("background", "liver"), Pages(PATCH, (1, 3, 4), (4, 6, 5), (0, -1), (2, 1), (1, -1), (2, 3)))


def test_a_question_comes_back_from_the_tasks_data():
    assert asked_from_json(json.loads(json.dumps(ASKED.to_json()))) == ASKED
    assert ASKED.to_json()["candidate_id"] == PATCH.candidate_id


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format_version", 2),
        ("format_version", None),
        ("kind", "guess"),
        ("kind", ["segment"]),
        ("class_names", "liver"),
        ("class_names", ["background"]),
        ("class_names", ["background", 5]),
        ("volume_id", "../../etc/passwd"),
        ("volume_id", None),
        ("start_zyx", [2, 3]),
        ("start_zyx", [2, 3, "4"]),
        ("start_zyx", [2, 3, True]),
        ("start_zyx", [2, 3, 10**400]),
        ("start_zyx", [2, 3, 5]),
        ("shape_zyx", [0, 4, 5]),
        ("shown_shape_zyx", [1 << 30, 1 << 30, 1 << 30]),
        ("through", [1, 1]),
        ("scale_yx", [0, 1]),
        ("candidate_id", "000000000000"),
    ],
)
def test_data_that_were_changed_are_refused(key, value):
    with pytest.raises(DataError):
        asked_from_json({**ASKED.to_json(), key: value})


@pytest.mark.parametrize("data", [None, [], "x", {}])
def test_what_is_no_question_is_refused(data):
    with pytest.raises(DataError):
        asked_from_json(data)


def test_classes_that_no_project_can_offer_cannot_be_asked_about():
    with pytest.raises(RecipeError):
        Asked("segment", ("background", "unusable"), ASKED.pages)
