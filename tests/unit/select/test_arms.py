"""A budget split over arms, each with its reason, nobody twice."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.core.errors import RecipeError
from hilum.core.geometry import Patch, tile
from hilum.core.recipes import ArmRecipe, Choice
from hilum.core.registry import samplers
from hilum.select import builtin  # noqa: F401
from hilum.select.arms import arm_names, pick_by_arms, split_by_share
from hilum.select.overlap import Boxes
from hilum.testing.samplers import scored_pool


def arms(*pairs):
    return [ArmRecipe(share=share, sampler=Choice.model_validate(choice)) for share, choice in pairs]


THREE = arms((0.5, {"kind": "top_k"}), (0.3, {"kind": "k_centre"}), (0.2, {"kind": "random"}))


@pytest.fixture
def always_the_first_row():
    """A plug-in that names the same candidate again and again."""
    samplers.register("always_the_first_row")(lambda scored, num, *, rng: np.zeros(num, np.int64))
    yield Choice(kind="always_the_first_row")
    del samplers._known["always_the_first_row"]


@given(st.integers(0, 500), st.lists(st.floats(0, 1), min_size=1, max_size=6).filter(lambda s: sum(s) > 0.01))
def test_shares_are_rounded_to_whole_numbers_that_add_up(num, shares):
    parts = split_by_share(num, shares)
    assert sum(parts) == num
    assert all(abs(part - num * share / sum(shares)) < 1 + 1e-6 for part, share in zip(parts, shares, strict=True))


def test_a_share_that_is_whole_stays_whole():
    assert split_by_share(10, [0.1 + 0.2, 0.7]) == [3, 7]
    assert split_by_share(10, [0.6, 0.3, 0.1]) == [6, 3, 1]
    assert split_by_share(5, [0.5, 0.5]) == [3, 2]


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 40), st.integers(0, 60), st.integers(0, 99))
def test_nobody_is_asked_twice_whatever_the_arms(num_open, num, seed):
    picks = pick_by_arms(scored_pool(num_open, seed=seed), THREE, num, seed=seed)
    rows = [pick.row for pick in picks]
    assert len(set(rows)) == len(rows)
    assert all(0 <= row < num_open for row in rows)
    budgets = split_by_share(num, [0.5, 0.3, 0.2])
    left = num_open
    for arm, budget in zip(["top_k", "k_centre", "random"], budgets, strict=True):
        assert sum(pick.arm == arm for pick in picks) == min(budget, left)
        left -= min(budget, left)


def test_the_first_arm_picks_as_if_it_were_alone():
    scored = scored_pool(80)
    together = pick_by_arms(scored, THREE, 20, seed=1)
    alone = pick_by_arms(scored, arms((1.0, {"kind": "top_k"})), 10, seed=1)
    assert [pick.row for pick in together[:10]] == [pick.row for pick in alone]


def test_a_later_arm_keeps_away_from_what_the_earlier_picked():
    scored = scored_pool(60, size=2)
    picks = pick_by_arms(scored, THREE, 20, seed=0)
    points = scored.embedding.astype(float)
    first, second = ([pick.row for pick in picks if pick.arm == arm] for arm in ("top_k", "k_centre"))
    farthest = np.min([((points - points[row]) ** 2).sum(axis=1) for row in first], axis=0)
    farthest[first] = -1
    assert second[0] == farthest.argmax()


def test_the_same_seed_picks_the_same_and_another_draws_anew():
    scored = scored_pool(100)
    random = arms((1.0, {"kind": "random"}))
    one, again, other = (pick_by_arms(scored, random, 10, seed=s) for s in (5, 5, 6))
    assert one == again
    assert one != other


def test_a_round_later_is_a_new_draw():
    random = arms((1.0, {"kind": "random"}))
    before = pick_by_arms(scored_pool(100), random, 10, seed=5)
    after = pick_by_arms(scored_pool(100, num_labelled=10), random, 10, seed=5)
    assert [p.row for p in before] != [p.row for p in after]


def test_overlapping_patches_are_never_asked_together():
    patches = [Patch("a", start, (1, 4, 4)) for start in tile((1, 20, 20), (1, 4, 4), (1, 2, 2))]
    patches.sort(key=lambda patch: patch.candidate_id)
    for seed in range(5):
        picks = pick_by_arms(scored_pool(len(patches), seed=seed), THREE, 12, seed=seed, boxes=Boxes.of(patches))
        chosen = [patches[pick.row] for pick in picks]
        assert len(chosen) == 12
        assert not any(a.overlaps(b) for i, a in enumerate(chosen) for b in chosen[:i])


def test_when_everything_left_overlaps_fewer_are_asked():
    patches = [Patch("a", (0, 0, x), (1, 1, 4)) for x in range(6)]
    picks = pick_by_arms(scored_pool(6), arms((1.0, {"kind": "random"})), 6, seed=0, boxes=Boxes.of(patches))
    assert 1 <= len(picks) <= 2


def test_the_reason_names_the_score_the_rank_and_the_class():
    scored = scored_pool(40)
    best = pick_by_arms(scored, arms((1.0, {"kind": "top_k"})), 40, seed=0, class_names=["normal", "polyp", "ulcer"])
    seen = {0: 0, 1: 0, 2: 0}
    for pick in best:
        predicted = int(scored.predicted_class[pick.row])
        seen[predicted] += 1
        total = int((scored.predicted_class == predicted).sum())
        found = re.fullmatch(r"margin (\d\.\d\d), (\d+)(st|nd|rd|th) of (\d+) predicted (\w+)", pick.reason)
        assert found, pick.reason
        assert float(found[1]) == pytest.approx(pick.score, abs=0.006)
        assert (int(found[2]), int(found[4])) == (seen[predicted], total)
        assert found[5] == ["normal", "polyp", "ulcer"][predicted]


def test_the_reason_of_a_random_pick_is_chance():
    picks = pick_by_arms(scored_pool(40), arms((1.0, {"kind": "random"})), 2, seed=0)
    assert [(pick.score, pick.reason) for pick in picks] == [(0.0, "drawn at random, 1 of 40 left")] * 2


def test_two_arms_of_one_sampler_have_two_names():
    twice = arms((0.5, {"kind": "random"}), (0.3, {"kind": "top_k"}), (0.2, {"kind": "random"}))
    assert arm_names(twice) == ["random", "top_k", "random-2"]


def test_a_sampler_that_names_somebody_twice_is_stopped(always_the_first_row):
    with pytest.raises(RecipeError, match="'always_the_first_row' must return 3 different rows of 0 to 9"):
        pick_by_arms(scored_pool(10), [ArmRecipe(share=1.0, sampler=always_the_first_row)], 3, seed=0)


def test_a_wrong_name_is_found_before_anybody_is_picked():
    with pytest.raises(RecipeError, match="No sampler is called 'top_kk'"):
        pick_by_arms(scored_pool(0), arms((1.0, {"kind": "top_kk"})), 3, seed=0)


SAMPLERS = st.sampled_from(["random", "top_k", "k_centre", "kmeans_pp", "cluster_margin", "foreground_random"])
PLACES = st.lists(st.tuples(*[st.integers(0, 5)] * 3), min_size=1, max_size=25, unique=True)


@settings(deadline=None, max_examples=25)
@given(PLACES, SAMPLERS, SAMPLERS, st.integers(0, 30), st.integers(0, 99))
def test_whatever_the_arms_and_wherever_the_patches_no_two_picks_share_a_voxel(places, one, other, num, seed):
    patches = [Patch("a", place, (2, 2, 2)) for place in places]
    both = arms((0.5, {"kind": one}), (0.5, {"kind": other}))
    picks = pick_by_arms(scored_pool(len(patches), seed=seed), both, num, seed=seed, boxes=Boxes.of(patches))
    chosen = [patches[pick.row] for pick in picks]
    assert len(chosen) <= num
    assert not any(a.overlaps(b) for i, a in enumerate(chosen) for b in chosen[:i])
    if len(chosen) < num // 2:
        # Whoever is left over overlaps somebody who is being asked about.
        assert all(any(patch.overlaps(pick) for pick in chosen) for patch in patches)


def test_an_arm_without_a_share_asks_nobody():
    none = arms((1.0, {"kind": "random"}), (0.0, {"kind": "top_k"}))
    assert {pick.arm for pick in pick_by_arms(scored_pool(20), none, 10, seed=0)} == {"random"}


@pytest.mark.parametrize("num", [0, 5])
def test_nobody_to_ask_or_nothing_to_ask_is_no_picks(num):
    assert pick_by_arms(scored_pool(0), THREE, num, seed=0) == []
    assert pick_by_arms(scored_pool(9), THREE, 0, seed=0) == []


def test_every_pick_has_a_finite_score_and_a_sentence_without_a_line_break():
    for pick in pick_by_arms(scored_pool(50), THREE, 20, seed=3, class_names=["a", "b", "c"]):
        assert np.isfinite(pick.score)
        assert pick.reason
        assert "\n" not in pick.reason
