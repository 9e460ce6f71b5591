"""A patient is on one side of a split."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.core.asking import IGNORE, Annotation
from hilum.core.errors import DataError, RecipeError
from hilum.core.geometry import Grid, Patch
from hilum.core.imaging import Study, Volume
from hilum.core.learning import sides
from hilum.core.recipes import SplitRecipe


def volume(patient: str, side: str | None = None, number: int = 0) -> Volume:
    return Volume(
        volume_id=f"{patient}{number}",
        study=Study(f"s{patient}", patient),
        grid=Grid((6, 8, 8)),
        item_shape_zyx=(2, 8, 8),
        num_channels=1,
        modality="MR",
        low=0,
        high=1,
        has_label_map=False,
        side=side,
    )


@given(st.sets(st.text("abcdef", min_size=1, max_size=4), min_size=3, max_size=40), st.integers(0, 99))
def test_every_patient_gets_exactly_one_side_and_none_is_empty(patients, seed):
    volumes = [volume(p, number=n) for p in patients for n in range(2)]
    dealt = sides(volumes, SplitRecipe(validation=0.2, test=0.2, seed=seed))
    assert set(dealt) == patients
    assert set(dealt.values()) == {"pool", "validation", "test"}


@given(st.permutations([f"p{i}" for i in range(12)]))
def test_the_order_of_volumes_does_not_move_a_patient(order):
    split = SplitRecipe(seed=3)
    expected = sides([volume(f"p{i}") for i in range(12)], split)
    assert sides([volume(p) for p in order], split) == expected


def test_a_declared_side_wins():
    dealt = sides([volume("a", "test"), volume("b", "pool"), volume("c", "validation")], SplitRecipe())
    assert dealt == {"a": "test", "b": "pool", "c": "validation"}


def test_a_volume_without_a_side_goes_where_its_patient_is():
    assert sides([volume("a", "test"), volume("a", None, 1)], SplitRecipe())["a"] == "test"


def test_a_patient_declared_on_two_sides_is_refused():
    with pytest.raises(RecipeError, match="one side"):
        sides([volume("a", "test"), volume("a", "pool", 1)], SplitRecipe())


def test_another_seed_deals_other_patients():
    volumes = [volume(f"p{i}") for i in range(30)]
    assert sides(volumes, SplitRecipe(seed=1)) != sides(volumes, SplitRecipe(seed=2))


def test_a_stack_knows_which_item_a_patch_is_in():
    stack = volume("a")
    assert stack.num_items == 3
    assert [stack.item_index(Patch("a0", (z, 0, 0), (2, 8, 8))) for z in (0, 2, 4)] == [0, 1, 2]


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"class_id": 1, "label_map_zyx": np.zeros((1, 2, 2), np.uint16)},
        {"label_map_zyx": np.zeros((1, 2, 3), np.uint16)},
    ],
)
def test_an_answer_is_one_class_or_one_label_map_of_its_patch(answer):
    with pytest.raises(DataError):
        Annotation("a", 1, Patch("v", (0, 0, 0), (1, 2, 2)), "reader", None, 1.0, **answer)


def test_unanswered_voxels_fit_a_label_map():
    assert np.iinfo(np.uint16).max == IGNORE


@given(st.integers(2, 60), st.floats(0.01, 0.45), st.floats(0.01, 0.45), st.integers(0, 5))
def test_the_shares_are_those_asked_for_to_the_nearest_patient(num, validation, test, seed):
    dealt = list(
        sides([volume(f"p{i}") for i in range(num)], SplitRecipe(validation=validation, test=test, seed=seed)).values()
    )
    assert abs(dealt.count("test") - max(1, num * test)) <= 1
    assert dealt.count("pool") >= 1
    if num > 2:
        assert abs(dealt.count("validation") - max(1, num * validation)) <= 1.5


@given(st.integers(1, 20))
def test_a_share_of_nothing_holds_nobody_out(num):
    dealt = sides([volume(f"p{i}") for i in range(num)], SplitRecipe(validation=0, test=0))
    assert set(dealt.values()) == {"pool"}


def test_one_patient_alone_is_asked_about():
    assert sides([volume("p")], SplitRecipe()) == {"p": "pool"}
    assert sides([], SplitRecipe()) == {}


@given(st.lists(st.sampled_from(["pool", "validation", "test", None]), min_size=3, max_size=20))
def test_declared_patients_are_not_counted_among_those_that_are_dealt(declared):
    volumes = [volume(f"p{i}", side) for i, side in enumerate(declared)]
    free = [v for v in volumes if v.side is None]
    alone = sides(free, SplitRecipe())
    together = sides(volumes, SplitRecipe())
    assert {patient: together[patient] for patient in alone} == alone


def test_a_second_volume_moves_nobody():
    patients = [f"p{i}" for i in range(10)]
    once = [volume(p) for p in patients]
    assert sides(once, SplitRecipe()) == sides([*once, *(volume(p, number=1) for p in patients[:4])], SplitRecipe())


def test_patients_on_two_sides_are_named_with_both():
    with pytest.raises(RecipeError, match="Patient p1 is declared both 'pool' and 'test'"):
        sides([volume("p1", "pool"), volume("p1", None, 1), volume("p1", "test", 2)], SplitRecipe())
