"""Whom to ask so that everybody has somebody alike: against the sums and graphs of the papers."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.core.errors import RecipeError
from hilum.core.recipes import Choice
from hilum.core.registry import samplers
from hilum.select import builtin  # noqa: F401
from hilum.select.coverage import _purest_likeness
from hilum.select.scored import ScoredPool
from hilum.testing.samplers import scored_pool


def at(points, labelled=(), **more):
    points = np.asarray(points, np.float32)
    before = np.asarray(labelled, np.float32).reshape(-1, points.shape[1])
    return ScoredPool(
        np.array([f"{i:012x}" for i in range(len(points))], np.str_),
        embedding=points,
        labelled_embedding=before,
        **more,
    )


def ask(kind, scored, num, seed=0, **params):
    return samplers.bind(Choice(kind=kind, **params))(scored, num, rng=np.random.default_rng(seed)).tolist()


def unit(points):
    points = np.asarray(points, float)
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def total(points, picks, labelled=()):
    """The sum that facility location raises."""
    chosen = unit(np.concatenate([np.asarray(points)[picks], np.asarray(labelled).reshape(-1, np.shape(points)[1])]))
    return np.maximum(unit(points) @ chosen.T, 0).max(axis=1).sum()


def on_a_circle(degrees):
    radians = np.deg2rad(degrees)
    return np.column_stack([np.cos(radians), np.sin(radians)])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 90), st.integers(0, 3), st.data())
def test_every_pick_raises_the_sum_as_much_as_any_could(seed, num_open, num_labelled, data):
    rng = np.random.default_rng(seed)
    points, labelled = rng.standard_normal((num_open, 3)), rng.standard_normal((num_labelled, 3))
    num = data.draw(st.integers(1, min(num_open, 8)))
    picks = ask("facility_location", at(points, labelled), num)
    for place, pick in enumerate(picks):
        gains = [total(points, [*picks[:place], n], labelled) for n in range(num_open)]
        assert gains[pick] == pytest.approx(max(gains), abs=1e-4)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(4, 9), st.integers(1, 3))
def test_the_sum_is_as_near_to_the_best_as_was_proved(seed, num_open, num):
    points = np.random.default_rng(seed).standard_normal((num_open, 3))
    best = max(total(points, list(picks)) for picks in itertools.combinations(range(num_open), num))
    assert total(points, ask("facility_location", at(points), num)) >= (1 - 1 / np.e) * best - 1e-6


def test_a_longer_choice_begins_with_the_shorter():
    scored = scored_pool(150, size=6)
    assert ask("facility_location", scored, 40)[:15] == ask("facility_location", scored, 15)


def test_equal_gains_go_to_the_lower_candidate_id():
    assert ask("facility_location", at([[1, 0], [0, 1], [-1, 0], [0, -1]]), 4) == [0, 1, 2, 3]


def test_what_is_like_a_labelled_one_is_asked_last():
    points = on_a_circle([0, 2, 4, 90, 92])
    assert ask("facility_location", at(points, labelled=on_a_circle([1])), 2)[0] in {3, 4}


def test_a_shortlist_keeps_facility_location_among_the_unsure():
    scored = scored_pool(100)
    assert set(ask("facility_location", scored, 10, shortlist=2.0)) <= set(ask("top_k", scored, 20))


def test_counting_over_a_part_of_the_pool_costs_little_of_the_sum():
    points = np.random.default_rng(0).standard_normal((3000, 5))
    whole, part = (total(points, ask("facility_location", at(points), 20, num_counted=n)) for n in (3000, 500))
    assert 0.95 * whole < part <= whole


def graph_choice(points, labelled, delta, num):
    """ProbCover as one would write it with a matrix: the most uncovered neighbours, again and again."""
    points = unit(points)
    edges = np.linalg.norm(points[:, None] - points[None], axis=2) < delta
    covered = np.zeros(len(points), bool)
    for one in unit(labelled) if len(labelled) else ():
        covered |= np.linalg.norm(points - one, axis=1) < delta
    picks = []
    while len(picks) < num:
        degrees = (edges & ~covered).sum(axis=1)
        if degrees.max() == 0:
            break
        picks.append(int(degrees.argmax()))
        covered |= edges[picks[-1]]
    return picks


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 90), st.integers(0, 3), st.floats(0.1, 1.5), st.data())
def test_prob_cover_is_the_greedy_cover_of_its_graph(seed, num_open, num_labelled, delta, data):
    rng = np.random.default_rng(seed)
    points, labelled = rng.standard_normal((num_open, 3)), rng.standard_normal((num_labelled, 3))
    num = data.draw(st.integers(1, num_open))
    expected = graph_choice(points, labelled, delta, num)
    assert ask("prob_cover", at(points, labelled), num, delta=delta)[: len(expected)] == expected


def test_once_everybody_is_covered_the_rest_is_drawn():
    points = on_a_circle([0, 1, 2, 120, 121, 240])
    drawn = {tuple(ask("prob_cover", at(points), 5, seed=s, delta=0.2)) for s in range(30)}
    assert {picks[:3] for picks in drawn} == {(0, 3, 5)}
    assert len({picks[3:] for picks in drawn}) > 1


def test_the_radius_is_the_largest_at_which_the_balls_are_pure():
    """Two arcs 60 degrees apart: within an arc all is one kind, and a larger ball would reach the other."""
    points = on_a_circle([*range(40), *range(100, 140)])
    picks = ask("prob_cover", at(points), 2, purity=1.0)
    assert {pick // 40 for pick in picks} == {0, 1}
    narrow = graph_choice(points, (), 2 * np.sin(np.deg2rad(61) / 2) - 1e-4, 2)
    assert picks == narrow


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(3, 120), st.sampled_from([0.3, 0.8, 0.95, 1.0]))
def test_balls_are_as_wide_as_their_purity_allows(seed, num, purity):
    rng = np.random.default_rng(seed)
    points = unit(rng.standard_normal((num, 4))).astype(np.float32)
    cluster = rng.integers(0, 2, num)
    bar = _purest_likeness(points, cluster, purity, rng)
    likeness = points @ points.T

    def share_pure(above):
        return np.mean([len({*cluster[likeness[n] > above], cluster[n]}) == 1 for n in range(num)])

    assert share_pure(bar + 1e-5) >= purity - 1e-9
    if len(set(cluster)) > 1:
        assert share_pure(bar - 1e-5) < purity


@pytest.mark.parametrize(
    "choice",
    [
        Choice(kind="prob_cover", delta=0),
        Choice(kind="prob_cover", delta=2.5),
        Choice(kind="prob_cover", purity=0),
        Choice(kind="prob_cover", num_clusters=1),
        Choice(kind="facility_location", num_counted=0),
        Choice(kind="facility_location", shortlist=0.5),
    ],
)
def test_parameters_that_cannot_be_meant_are_refused(choice):
    with pytest.raises(RecipeError, match=f"sampler '{choice.kind}', parameter '{next(iter(choice.params))}'"):
        samplers.bind(choice)
