"""How unsure the model is: every scorer through the suite, and the numbers of the papers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.core.errors import RecipeError
from hilum.core.recipes import Choice
from hilum.core.registry import scorers
from hilum.select import builtin  # noqa: F401
from hilum.select.scores import (
    entropy,
    learning_loss,
    least_confidence,
    margin,
    max_disagreement,
    mutual_information,
    variance,
    variation_ratio,
    vote_entropy,
)
from hilum.testing.scorers import ScorerTests, probabilities

BUILTIN = [
    Choice(kind="entropy"),
    Choice(kind="margin"),
    Choice(kind="least_confidence"),
    Choice(kind="mutual_information"),
    Choice(kind="max_disagreement"),
    Choice(kind="variance"),
    Choice(kind="variation_ratio"),
    Choice(kind="vote_entropy"),
    Choice(kind="aift"),
    Choice(kind="aift", alpha=1.0, lambda1=0.5, lambda2=2.0),
    Choice(kind="aift", convention="matlab"),
]
EVERY = (
    entropy,
    margin,
    least_confidence,
    mutual_information,
    max_disagreement,
    variance,
    variation_ratio,
    vote_entropy,
)


class TestBuiltinScorers(ScorerTests):
    @pytest.fixture(params=BUILTIN, ids=lambda choice: "-".join(map(str, [choice.kind, *choice.params.values()])))
    def scorer(self, request):
        return scorers.bind(request.param)


def test_there_is_no_builtin_scorer_that_the_suite_has_not_seen():
    ours = {name for name in scorers if _home(name).startswith("hilum.")}
    assert ours == {choice.kind for choice in BUILTIN} | {"learning_loss"}  # which reads no probabilities: see below


def _home(name):
    bound = scorers.bind(Choice(kind=name))
    return getattr(bound, "func", bound).__module__


def test_a_scorer_that_is_not_there_is_guessed_at():
    with pytest.raises(RecipeError, match="No scorer is called 'entropi'. Did you mean 'entropy'"):
        scorers.bind(Choice(kind="entropi"))


def test_two_certain_members_that_contradict_each_other_disagree_by_0_368_nats():
    members = np.array([[0.9, 0.1], [0.1, 0.9]], np.float32)[..., None]
    assert entropy(members)[0] == pytest.approx(0.693147, abs=1e-6)
    assert mutual_information(members)[0] == pytest.approx(0.368064, abs=1e-6)


def test_an_even_guess_has_the_entropy_of_as_many_classes():
    for num_classes in (2, 3, 10):
        even = np.full((1, num_classes, 1), 1 / num_classes, np.float32)
        assert entropy(even)[0] == pytest.approx(np.log(num_classes), rel=1e-6)


def test_a_tie_of_the_first_two_classes_has_the_highest_margin_score():
    probs = np.array([[[0.5, 0.4, 1.0], [0.5, 0.35, 0.0], [0.0, 0.25, 0.0]]], np.float32)
    np.testing.assert_allclose(margin(probs), [1.0, 0.95, 0.0], atol=1e-6)
    np.testing.assert_allclose(least_confidence(probs), [0.5, 0.6, 0.0], atol=1e-6)


def test_one_class_alone_is_never_in_doubt():
    for scorer in EVERY:
        assert scorer(np.ones((2, 1, 3), np.float32)).tolist() == [0, 0, 0]


def test_variance_calls_a_unanimous_certain_answer_certain():
    unanimous = np.zeros((5, 2, 1), np.float32)
    unanimous[:, 0] = 1
    assert variance(unanimous)[0] == 0
    unsure = np.full((5, 2, 1), 0.5, np.float32)
    assert variance(unsure)[0] == 0
    divided = np.array([[1, 0], [0, 1]], np.float32)[..., None]
    assert variance(divided)[0] == pytest.approx(0.5)


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(2, 5))
def test_scores_stay_within_their_bounds(seed, members, classes):
    probs = probabilities((members, classes, 8), seed=seed, sharpness=3)
    assert (entropy(probs) <= np.log(classes) + 1e-5).all()
    assert (margin(probs) <= 1 + 1e-6).all()
    assert (least_confidence(probs) <= 1 - 1 / classes + 1e-6).all()
    assert (mutual_information(probs) <= entropy(probs) + 1e-5).all()
    assert (variance(probs) <= 0.5 * classes).all()


def test_members_that_agree_have_nothing_to_disagree_about():
    probs = np.repeat(probabilities((1, 4, 9), seed=0), 5, axis=0)
    np.testing.assert_allclose(mutual_information(probs), 0, atol=1e-6)
    np.testing.assert_allclose(variance(probs), 0, atol=1e-6)


def test_renaming_the_classes_changes_no_score():
    probs = probabilities((3, 4, 9), seed=5)
    for scorer in EVERY:
        np.testing.assert_allclose(scorer(probs[:, [2, 0, 3, 1]]), scorer(probs), atol=1e-6)


def votes(*counts):
    """Members that are certain of their class, so many of each."""
    return np.eye(len(counts), dtype=np.float32)[np.repeat(np.arange(len(counts)), counts)][..., None]


def test_the_variation_ratio_is_the_share_of_the_outvoted():
    assert variation_ratio(votes(7, 2, 1))[0] == pytest.approx(0.3)
    assert variation_ratio(votes(5, 0, 0))[0] == 0
    # However unsure, members that vote alike do not vary.
    assert variation_ratio(np.array([[0.51, 0.49], [0.9, 0.1]], np.float32)[..., None])[0] == 0


def test_vote_entropy_is_that_of_the_shares_of_the_votes():
    assert vote_entropy(votes(1, 1, 1, 1))[0] == pytest.approx(np.log(4), rel=1e-6)
    assert vote_entropy(votes(3, 1))[0] == pytest.approx(0.562335, abs=1e-5)


def test_the_largest_disagreement_is_that_of_the_one_who_dissents():
    probs = np.array([[0.8, 0.2], [0.8, 0.2], [0.2, 0.8]], np.float32)
    mean = probs.mean(axis=0)
    divergences = (probs * np.log(probs / mean)).sum(axis=1)
    assert max_disagreement(probs[..., None])[0] == pytest.approx(divergences.max(), rel=1e-5)
    assert mutual_information(probs[..., None])[0] == pytest.approx(divergences.mean(), rel=1e-5)


@pytest.mark.parametrize("scorer", EVERY)
def test_many_values_score_as_few_do(scorer):
    probs = probabilities((3, 4, 2500), seed=6)
    one_by_one = np.concatenate([scorer(probs[:, :, k : k + 1]) for k in (0, 1023, 1024, 2499)])
    np.testing.assert_allclose(scorer(probs)[[0, 1023, 1024, 2499]], one_by_one, rtol=1e-5, atol=1e-6)
    # As the score step hands them over: (members, candidates, classes) with two axes swapped.
    swapped = np.ascontiguousarray(probs.swapaxes(1, 2)).swapaxes(1, 2)
    np.testing.assert_allclose(scorer(swapped), scorer(probs), rtol=1e-5, atol=1e-6)


@given(st.lists(st.floats(-60, 1e6, width=32), max_size=20), st.randoms(use_true_random=False))
def test_predicted_losses_keep_their_order_and_become_scores(predicted, chance):
    predicted_K = np.array(predicted, np.float32)
    before = predicted_K.copy()
    scores = learning_loss(predicted_K)
    assert scores.shape == predicted_K.shape
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()
    assert (scores > 0).all()
    assert (np.diff(scores[np.argsort(predicted_K, kind="stable")]) >= 0).all()
    np.testing.assert_array_equal(predicted_K, before)
    np.testing.assert_array_equal(learning_loss(predicted_K), scores)
    order = chance.sample(range(len(predicted)), len(predicted))
    np.testing.assert_allclose(learning_loss(predicted_K[order]), scores[order], rtol=1e-6)
    np.testing.assert_allclose([learning_loss(predicted_K[[k]])[0] for k in order], scores[order], rtol=1e-6)


def test_a_predicted_loss_of_nothing_scores_the_logarithm_of_two():
    assert learning_loss(np.zeros(1, np.float32))[0] == pytest.approx(np.log(2))
    one, other = learning_loss(np.array([-30, -31], np.float32))
    assert one > other > 0
