"""Caps on a round's picks: kept whatever the arms, and nothing else is changed by them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.core.errors import RecipeError
from hilum.core.geometry import Patch
from hilum.core.recipes import ArmRecipe, Choice
from hilum.select import builtin  # noqa: F401
from hilum.select.arms import pick_by_arms
from hilum.select.constraints import NO_GROUP, Cap, Caps, most_of_share
from hilum.select.overlap import Boxes
from hilum.testing.samplers import scored_pool

KINDS = ("random", "top_k", "k_centre", "kmeans_pp", "cluster_margin", "foreground_random", "class_stratified")
SAMPLERS = st.sampled_from(KINDS)
ARMS = st.lists(SAMPLERS, min_size=1, max_size=3)
GROUPS = st.lists(st.integers(NO_GROUP, 4), min_size=1, max_size=40)


def arms(*kinds):
    return [ArmRecipe(share=1 / len(kinds), sampler=Choice(kind=kind)) for kind in kinds]


def a_cap(groups, most, name="patients"):
    return Cap(name, np.array(groups, np.int64), most)


def counts(groups, rows):
    return np.bincount([groups[row] for row in rows if groups[row] != NO_GROUP], minlength=5)


@settings(max_examples=60)
@given(GROUPS, ARMS, st.integers(1, 8), st.integers(0, 50), st.integers(0, 99))
def test_no_group_has_more_than_its_cap_and_as_many_are_picked_as_the_caps_allow(groups, kinds, most, num, seed):
    scored = scored_pool(len(groups), seed=seed)
    picks = pick_by_arms(scored, arms(*kinds), num, seed=seed, caps=Caps([a_cap(groups, most)]))
    rows = [pick.row for pick in picks]
    assert len(set(rows)) == len(rows)
    assert counts(groups, rows).max() <= most
    free = groups.count(NO_GROUP)
    allowed = free + int(np.minimum(counts(groups, range(len(groups))), most).sum())
    assert len(rows) == min(num, allowed)


@settings(max_examples=60)
@given(st.data(), SAMPLERS, st.integers(0, 50), st.integers(0, 99))
def test_with_two_caps_whoever_is_left_out_would_break_one(data, kind, num, seed):
    first = data.draw(GROUPS)
    second = data.draw(st.lists(st.integers(0, 3), min_size=len(first), max_size=len(first)))
    mosts = data.draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    caps = Caps([a_cap(first, mosts[0]), a_cap(second, mosts[1], "scanners")])
    picks = pick_by_arms(scored_pool(len(first), seed=seed), arms(kind), num, seed=seed, caps=caps)
    rows = [pick.row for pick in picks]
    tallies = counts(first, rows), counts(second, rows)
    assert all(tally.max(initial=0) <= most for tally, most in zip(tallies, mosts, strict=True))
    if len(rows) < num:
        for row in set(range(len(first))) - set(rows):
            assert first[row] != NO_GROUP or tallies[1][second[row]] == mosts[1]
            assert tallies[0][first[row]] == mosts[0] or tallies[1][second[row]] == mosts[1]


@given(GROUPS, st.integers(1, 5), st.integers(0, 50), st.integers(0, 99))
def test_the_others_keep_their_order_and_the_next_best_follow(groups, most, num, seed):
    scored = scored_pool(len(groups), seed=seed)
    ranked = [pick.row for pick in pick_by_arms(scored, arms("top_k"), len(groups), seed=0)]
    allowed, tally = [], [0] * 5
    for row in ranked:
        if groups[row] == NO_GROUP or tally[groups[row]] < most:
            allowed.append(row)
            tally[groups[row]] += groups[row] != NO_GROUP
    picks = pick_by_arms(scored, arms("top_k"), num, seed=0, caps=Caps([a_cap(groups, most)]))
    assert [pick.row for pick in picks] == allowed[:num]


@settings(max_examples=20)
@given(GROUPS, ARMS, st.integers(0, 20), st.integers(0, 99))
def test_caps_that_nobody_reaches_change_nothing_and_the_same_is_picked_twice(groups, kinds, num, seed):
    scored = scored_pool(len(groups), seed=seed)
    free = pick_by_arms(scored, arms(*kinds), num, seed=seed)
    capped, again = (
        pick_by_arms(scored, arms(*kinds), num, seed=seed, caps=Caps([a_cap(groups, len(groups))])) for _ in range(2)
    )
    assert free == capped == again


@settings(max_examples=20)
@given(GROUPS, ARMS, st.integers(1, 3), st.integers(0, 20), st.integers(0, 99))
def test_the_same_seed_picks_the_same_under_caps(groups, kinds, most, num, seed):
    scored = scored_pool(len(groups), seed=seed)
    both = [pick_by_arms(scored, arms(*kinds), num, seed=seed, caps=Caps([a_cap(groups, most)])) for _ in range(2)]
    assert both[0] == both[1]


def test_caps_and_places_are_kept_together():
    patches = [Patch("a", (0, 0, x), (1, 1, 3)) for x in range(30)]
    groups = [x // 10 for x in range(30)]
    for seed in range(5):
        caps = Caps([a_cap(groups, 2)])
        picks = pick_by_arms(scored_pool(30), arms("random"), 9, seed=seed, boxes=Boxes.of(patches), caps=caps)
        chosen = [patches[pick.row] for pick in picks]
        assert not any(a.overlaps(b) for i, a in enumerate(chosen) for b in chosen[:i])
        assert counts(groups, [pick.row for pick in picks]).tolist()[:3] == [2, 2, 2]


def test_full_groups_are_told_by_the_name_of_their_cap():
    caps = Caps([a_cap([0, 0, 1, 2], 1, "max_per_patient 1"), a_cap([0, 0, 0, 0], 9, "the quota")])
    assert [caps.take(row) for row in (0, 1, 2)] == [True, False, True]
    assert caps.told() == "max_per_patient 1 is reached by 2 of 3"
    assert caps.closed(np.arange(4)).tolist() == [True, True, True, False]


def test_a_row_that_one_cap_refuses_is_not_counted_by_the_other():
    caps = Caps([a_cap([0, 0, 1], 1), a_cap([0, 1, 1], 1)])
    assert [caps.take(row) for row in (0, 1, 2)] == [True, False, True]


def test_a_cap_of_nobody_is_refused():
    with pytest.raises(RecipeError, match="must allow at least 1"):
        a_cap([0], 0)


@pytest.mark.parametrize(("num", "share", "most"), [(10, 0.25, 2), (10, 0.1 + 0.2, 3), (3, 0.1, 1), (8, 1, 8)])
def test_a_share_is_rounded_down_and_is_never_nobody(num, share, most):
    assert most_of_share(num, share) == most
