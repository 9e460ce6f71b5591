import math
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.adapters.label_studio.annotations import (
    CLASSES,
    CONTEXT,
    FIRST,
    LAST,
    MIDDLE,
    PAGES,
    PATCH,
    annotation,
    asked,
    bitmask_of,
    brush,
    choice,
    ellipse,
    everything,
    one_voxel,
    painted,
    point,
    polygon,
    rectangle,
)

from hilum.adapters.label_studio.answers import Box, Point, read_answer
from hilum.adapters.label_studio.asked import Asked
from hilum.adapters.label_studio.polygons import mask_polygons
from hilum.adapters.label_studio.slices import Pages
from hilum.core.asking import IGNORE
from hilum.core.errors import DataError
from hilum.core.geometry import Patch

CANARY = '<img src=x onerror="alert(1)">'


def read(*results, kind="segment", **other):
    return read_answer(annotation(*results, **other), asked(kind))


def refused(*results, kind="segment", **other) -> str:
    with pytest.raises(DataError) as caught:
        read(*results, kind=kind, **other)
    return str(caught.value)


def test_a_painted_page_is_answered_and_the_others_are_not():
    answer = read(brush("tumour", one_voxel(1, 2), page=MIDDLE))
    expected = np.full(PATCH.shape_zyx, IGNORE)
    expected[1] = 0
    expected[1, 1, 2] = 2
    assert np.array_equal(answer.label_map_zyx, expected)
    assert answer.label_map_zyx.dtype == np.uint16
    assert answer.pages == ("unanswered", "drawn", "unanswered")


@given(st.integers(0, 2**32 - 1))
def test_whatever_is_painted_is_read_voxel_by_voxel(seed):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, PATCH.shape_zyx)
    truth[:, 0, 0] = 1  # every page has something
    results = []
    for page in (FIRST, MIDDLE, LAST):
        for class_id, label in ((1, "liver"), (2, "tumour")):
            mask = painted(truth[PAGES.plane(page)] == class_id, page)
            if rng.random() < 0.5:
                results.append(brush(label, mask, page=page))
            else:
                results += [polygon(label, points, page=page) for points in mask_polygons(mask)]
    answer = read(*results)
    assert np.array_equal(answer.label_map_zyx, truth)
    assert answer.overlapping_voxels == 0


def test_every_tool_outlines():
    whole = rectangle("liver", page=FIRST, x=0, y=0, width=100, height=100)
    answer = read(whole, ellipse("liver", page=MIDDLE), bitmask_of("tumour", everything(LAST), page=LAST))
    assert np.all(answer.label_map_zyx[0] == 1)
    assert set(np.unique(answer.label_map_zyx[1])) == {0, 1}
    assert np.all(answer.label_map_zyx[2] == 2)


def test_a_later_region_lies_over_an_earlier_one():
    tumour, liver = (brush(label, everything(), page=MIDDLE) for label in ("tumour", "liver"))
    assert np.all(read(tumour, liver).label_map_zyx[1] == 1)
    assert np.all(read(liver, tumour).label_map_zyx[1] == 2)
    assert read(liver, tumour).overlapping_voxels == 20
    assert read(liver, liver).overlapping_voxels == 0


@pytest.mark.parametrize("origin", ["manual", "prediction-changed", None])
def test_what_a_person_touched_lies_over_what_of_the_draft_is_untouched(origin):
    draft = brush("tumour", everything(), page=MIDDLE, origin="prediction")
    drawn = brush("liver", everything(), page=MIDDLE, origin=origin)
    for results in ((draft, drawn), (drawn, draft)):
        assert np.all(read(*results).label_map_zyx[1] == 1)


def test_what_became_of_the_draft_is_counted():
    answer = read(
        brush("liver", everything(), page=MIDDLE, origin="prediction"),
        brush("liver", everything(FIRST), page=FIRST, origin="prediction-changed"),
        choice("nothing here", page=LAST),
        parent_prediction=11,
    )
    assert answer.draft_id == 11
    assert answer.num_results == {"prediction": 1, "prediction-changed": 1, "manual": 1}


def test_nothing_here_is_an_answer():
    answer = read(choice("nothing here", page=MIDDLE))
    assert np.all(answer.label_map_zyx[1] == 0)
    assert np.all(answer.label_map_zyx[[0, 2]] == IGNORE)
    assert answer.pages == ("unanswered", "nothing here", "unanswered")


def test_an_unusable_page_is_left_open():
    answer = read(choice("unusable", page=MIDDLE), choice("nothing here", page=FIRST))
    assert answer.pages == ("nothing here", "unusable", "unanswered")
    assert np.all(answer.label_map_zyx[1:] == IGNORE)


def test_a_draft_that_nobody_touched_does_not_make_a_page_usable():
    answer = read(
        brush("liver", everything(), page=MIDDLE, origin="prediction"),
        point("liver", (3, 4, 5), origin="prediction"),
        choice("unusable", page=MIDDLE),
        choice("nothing here", page=FIRST),
    )
    assert np.all(answer.label_map_zyx[1] == IGNORE)
    assert answer.points == ()


def test_a_task_whose_every_page_is_unusable_is_no_annotation():
    answer = read(*(choice("unusable", page=page) for page in (FIRST, MIDDLE, LAST)))
    assert (answer.verdict, answer.label_map_zyx, answer.annotation(PATCH)) == ("unusable", None, None)


def test_a_skipped_task_is_no_annotation():
    answer = read(was_cancelled=True)
    assert (answer.verdict, answer.annotation(PATCH)) == ("skipped", None)
    assert answer.seconds == 12.5


@pytest.mark.parametrize("said", ["nothing here", "unusable"])
def test_a_page_cannot_be_called_so_and_have_regions(said):
    reason = refused(brush("liver", everything(), page=MIDDLE), choice(said, page=MIDDLE))
    assert f"plane 1 of the patch is called '{said}' and has regions" in reason


def test_a_page_cannot_be_called_both():
    assert "choose one" in refused(choice("unusable", page=MIDDLE), choice("nothing here", page=MIDDLE))


def test_an_empty_answer_is_refused_unless_nothing_here_was_said():
    assert "choose 'nothing here'" in refused()
    assert "choose 'nothing here'" in refused(brush("liver", np.zeros(PAGES.shape_yx, bool), page=MIDDLE))
    assert "nothing is said of the others" in refused(choice("unusable", page=MIDDLE))


def test_an_erased_region_answers_nothing_and_is_counted():
    erased = brush("liver", np.zeros(PAGES.shape_yx, bool), page=FIRST)
    answer = read(erased, brush("liver", everything(), page=MIDDLE))
    assert answer.pages == ("unanswered", "drawn", "unanswered")
    assert answer.num_results["erased"] == 1


def test_answers_in_the_context_are_left_out_and_counted():
    beside = np.zeros(PAGES.shape_yx, bool)
    beside[:4, :4] = True
    results = [
        brush("liver", beside, page=MIDDLE),
        brush("liver", np.ones(PAGES.shape_yx, bool), page=CONTEXT),
        point("liver", (1, 2, 2)),
        choice("nothing here", page=CONTEXT),
    ]
    assert "outside the patch" in refused(*results)
    answer = read(*results, brush("liver", everything(FIRST) | beside, page=FIRST))
    assert answer.pages == ("drawn", "unanswered", "unanswered")
    assert answer.num_results["context"] == 4


def test_paint_that_covers_no_voxel_by_half_is_refused_rather_than_lost():
    rows, columns = PAGES.asked_box()
    thin = np.zeros(PAGES.shape_yx, bool)
    thin[rows.start, columns] = True
    assert "less than half of every voxel" in refused(brush("liver", thin, page=MIDDLE))


def test_a_point_is_a_prompt_that_labels_its_voxel_where_nothing_was_outlined():
    answer = read(point("tumour", (3, 4, 5)), point("background", (3, 5, 6)))
    assert answer.points == (Point(2, (3, 4, 5)), Point(0, (3, 5, 6)))
    assert answer.label_map_zyx[1, 1, 1] == 2
    assert answer.label_map_zyx[1, 2, 2] == 0
    assert np.count_nonzero(answer.label_map_zyx != IGNORE) == 2
    outlined = read(point("tumour", (3, 4, 5)), brush("liver", one_voxel(0, 0), page=MIDDLE))
    assert outlined.label_map_zyx[1, 1, 1] == 0


def test_only_a_point_of_the_background_goes_with_nothing_here():
    assert "has regions" in refused(point("tumour", (3, 4, 5)), choice("nothing here", page=MIDDLE))
    assert np.all(read(point("background", (3, 4, 5)), choice("nothing here", page=MIDDLE)).label_map_zyx[1] == 0)


def test_points_alone_answer_their_voxels():
    answer = read(point("liver", (2, 3, 4)), kind="points")
    assert answer.label_map_zyx[0, 0, 0] == 1
    assert np.count_nonzero(answer.label_map_zyx != IGNORE) == 1


def test_scribbles_answer_what_they_touch_and_nothing_else():
    answer = read(
        brush("liver", one_voxel(1, 1), page=MIDDLE),
        brush("background", one_voxel(2, 2), page=MIDDLE),
        choice("nothing here", page=FIRST),
        kind="scribble",
    )
    expected = np.full(PATCH.shape_zyx, IGNORE)
    expected[0], expected[1, 1, 1], expected[1, 2, 2] = 0, 1, 0
    assert np.array_equal(answer.label_map_zyx, expected)


def test_around_boxes_there_is_background_and_inside_nobody_knows():
    truth = np.zeros(PATCH.shape_zyx[1:], bool)
    truth[1:3, 2:4] = True
    rows, columns = (np.flatnonzero(painted(truth, MIDDLE).any(axis=axis)) for axis in (1, 0))
    height, width = PAGES.shape_yx
    # A pixel smaller than its voxels on the left and right: what a box touches is in it.
    drawn = rectangle(
        "tumour",
        page=MIDDLE,
        name="box",
        x=(columns[0] + 1) / width * 100,
        y=rows[0] / height * 100,
        width=(len(columns) - 2) / width * 100,
        height=len(rows) / height * 100,
    )
    answer = read(drawn, kind="boxes")
    assert answer.boxes == (Box(2, Patch(PATCH.volume_id, (3, 4, 6), (1, 2, 2))),)
    expected = np.full(PATCH.shape_zyx, IGNORE)
    expected[1] = np.where(truth, IGNORE, 0)
    assert np.array_equal(answer.label_map_zyx, expected)


def test_a_class_is_chosen():
    answer = read(choice("tumour", page=None, name="class"), kind="classify")
    assert (answer.verdict, answer.class_id, answer.annotation(PATCH).class_id) == ("answered", 2, 2)
    assert read(choice("unusable", page=None, name="class"), kind="classify").verdict == "unusable"
    assert "no class" in refused(kind="classify")
    two = (choice("tumour", page=None, name="class"), choice("liver", page=None, name="class"))
    assert "several classes" in refused(*two, kind="classify")


def test_who_when_and_how_long_go_with_the_answer():
    answer = read(
        brush("liver", everything(), page=MIDDLE), completed_by={"id": 5, "email": "a@b.c"}, ground_truth=True
    )
    kept = answer.annotation(PATCH)
    assert kept.annotation_id == "label-studio-8d3f0c2a-1b2c-4d5e-8f90-a1b2c3d4e5f6"
    assert (kept.annotator, kept.seconds, answer.review) == ("label-studio-5", 12.5, "accepted")
    assert kept.answered_at == datetime(2026, 11, 23, 1, 1, 41, 250000, tzinfo=UTC)
    assert np.array_equal(kept.label_map_zyx, answer.label_map_zyx)


def test_of_several_reviews_the_last_counts():
    assert read(was_cancelled=True, reviews=[{"accepted": True}, {"accepted": False}]).review == "rejected"


def test_a_later_change_has_a_higher_revision():
    earlier, later = (read(was_cancelled=True, updated_at=f"2026-11-23T01:01:{s}Z").revision for s in (41, 42))
    assert 0 < earlier < later < 2**31
    assert read(was_cancelled=True, updated_at="2026-11-23T02:01:42+01:00").revision == later


def test_a_time_that_nobody_measured_is_none():
    assert read(was_cancelled=True, lead_time=None).seconds == 0


def test_the_projects_own_controls_are_left_alone_if_they_are_known():
    comment = {"from_name": "comment", "to_name": "image", "type": "textarea", "value": {"text": ["hm"]}}
    results = annotation(comment, brush("liver", everything(), page=MIDDLE))
    assert read_answer(results, asked(), other_controls={"comment"}).verdict == "answered"
    with pytest.raises(DataError, match="control 'comment'; known are brush"):
        read_answer(results, asked())


def _with(result, **value):
    return {**result, "value": {**result["value"], **value}}


GOOD = brush("liver", everything(), page=MIDDLE)
REFUSALS = [
    (brush("spleen", everything(), page=MIDDLE), "label 'spleen'; allowed are 'liver', 'tumour'"),
    (brush("background", everything(), page=MIDDLE), "label 'background'"),
    (_with(GOOD, brushlabels=["liver", "tumour"]), "no label, or several"),
    (_with(GOOD, brushlabels=[]), "no label, or several"),
    (_with(GOOD, brushlabels="liver"), "no label, or several"),
    (_with(GOOD, brushlabels=[{"liver": 1}]), "label '(a dict)'"),
    (_with(GOOD, format="png"), "format is 'png'"),
    (brush("liver", np.ones((100, 100), bool), page=MIDDLE), "run-length code is of 40,000 values"),
    (_with(GOOD, rle=GOOD["value"]["rle"][:-2]), "damaged"),
    ({**GOOD, "original_width": 100}, "a picture of 36 × 100 pixels; the page has 36 × 28"),
    ({**GOOD, "original_height": None}, "a picture of None"),
    ({**GOOD, "original_height": 36.0}, "a picture of 36"),
    ({**GOOD, "image_rotation": 90}, "turned picture"),
    ({**GOOD, "item_index": 5}, "page (item_index) 5; the task has pages 0 to 4"),
    ({**GOOD, "item_index": -1}, "page (item_index) -1"),
    ({**GOOD, "item_index": "2"}, "page (item_index) 2"),
    ({**GOOD, "item_index": True}, "page (item_index) True"),
    ({**GOOD, "item_index": None}, "page (item_index) None"),
    ({**GOOD, "item_index": 10**400}, "page (item_index) (a int)"),
    ({**GOOD, "from_name": "vector"}, "control 'vector'"),
    ({**GOOD, "from_name": ["brush"]}, "control '(a list)'"),
    ({**GOOD, "type": "polygonlabels"}, "type 'polygonlabels'"),
    ({**GOOD, "to_name": "other"}, "for 'other'"),
    ({**GOOD, "value": None}, "its value is no object"),
    ({"type": "relation", "from_id": "a", "to_id": "b"}, "control 'None'"),
    ("brush", "no object of JSON"),
    (polygon("liver", [[110, 10], [150, 10], [120, 60]], page=MIDDLE), "wholly outside the picture"),
    (polygon("liver", [[10, 10], [50, math.nan], [20, 60]], page=MIDDLE), "y is not finite"),
    (polygon("liver", [[10, 10], [math.inf, 5], [20, 60]], page=MIDDLE), "x is not finite"),
    (polygon("liver", [[10, 10], [5000, 5], [20, 60]], page=MIDDLE), "x is 5000; allowed are -1000 to 1000"),
    (polygon("liver", [[10, 10], ["5", 5], [20, 60]], page=MIDDLE), "x is no number"),
    (polygon("liver", [[10, 10], [50, 5]], page=MIDDLE), "no list of 3"),
    (_with(polygon("liver", [[0, 0], [50, 5], [5, 50]], page=MIDDLE), closed=False), "not closed"),
    (rectangle("liver", page=MIDDLE, width=-5), "width is -5"),
    (rectangle("liver", page=MIDDLE, rotation=math.nan), "rotation is no number"),
    (_with(point("liver", (3, 4, 5)), x=101), "outside the picture"),
    (choice("good", page=MIDDLE), "label 'good'; allowed are 'nothing here', 'unusable'"),
    (choice("nothing here", page=99), "page (item_index) 99"),
]


@pytest.mark.parametrize(("bad", "reason"), REFUSALS)
def test_what_cannot_be_used_is_refused_with_its_place_and_the_reason(bad, reason):
    said = refused(GOOD, bad)
    assert reason in said
    assert said.startswith("result 2")


def test_a_task_of_one_page_needs_no_page_numbers():
    patch = Patch(PATCH.volume_id, PATCH.start_zyx, (1, 4, 5))
    one = Asked("segment", CLASSES, Pages(patch, patch.start_zyx, patch.shape_zyx, (0, 1), (1, 1), (2, 1)))
    whole = {**rectangle("liver", page=0, x=0, y=0, width=100, height=100), "original_width": 5, "original_height": 4}
    del whole["item_index"]
    assert np.all(read_answer(annotation(whole), one).label_map_zyx == 1)


def test_a_turned_box_is_refused():
    assert "turned" in refused(rectangle("liver", page=MIDDLE, name="box", rotation=5), kind="boxes")


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"result": None}, "no list of results"),
        ({"result": [GOOD] * 10_001}, "10,001 results"),
        ({"was_cancelled": "no"}, "neither true nor false"),
        ({"updated_at": None}, "no moment"),
        ({"updated_at": "yesterday"}, "no moment"),
        ({"updated_at": "2026-11-23T01:01:41"}, "no moment with a time zone"),
        ({"updated_at": "1999-11-23T01:01:41Z"}, "allowed are 2020"),
        ({"updated_at": "9999-12-31T23:59:59-23:59"}, "allowed are 2020"),
        ({"lead_time": -1}, "seconds"),
        ({"lead_time": math.nan}, "seconds"),
        ({"lead_time": 10**400}, "lifetime"),
        ({"lead_time": True}, "seconds"),
        ({"unique_id": "../../x"}, "neither a unique_id"),
        ({"unique_id": None, "id": 0}, "neither a unique_id"),
        ({"completed_by": "a@b.c"}, "no user's number"),
        ({"parent_prediction": "x"}, "no prediction's number"),
        ({"ground_truth": "yes"}, "ground_truth"),
        ({"reviews": [5]}, "review"),
    ],
)
def test_what_goes_with_an_answer_is_checked_as_well(other, reason):
    assert reason in refused(GOOD, **other)


def test_markup_in_a_refusal_is_harmless_on_any_page():
    reasons = [
        refused(_with(GOOD, brushlabels=[CANARY])),
        refused({**GOOD, "from_name": CANARY}),
        refused({**GOOD, "type": CANARY, "to_name": CANARY}),
        refused({**GOOD, "item_index": CANARY}),
        refused({**GOOD, "original_width": CANARY}),
        refused(_with(GOOD, format=CANARY * 100)),
    ]
    with pytest.raises(DataError) as caught:
        read_answer(annotation(_with(GOOD, brushlabels=["x"])), asked(class_names=("background", CANARY)))
    for reason in (*reasons, str(caught.value)):
        assert "<" not in reason
        assert len(reason) < 500
