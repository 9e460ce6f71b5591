"""The conformance suites for plug-ins: each catches the mistakes it was written for."""

import numpy as np
import pytest

from hilum.core.ports import CampaignPlace
from hilum.select.scored import ScoredPool
from hilum.testing.annotators import AnnotatorTests
from hilum.testing.ledger import LedgerTests
from hilum.testing.phantoms import Phantom, phantom_store, phantom_tasks
from hilum.testing.samplers import SamplerTests, constant_pool, scored_pool
from hilum.testing.scorers import ScorerTests, probabilities

FAILS = pytest.raises((AssertionError, BaseExceptionGroup))


def too_few(scored, num, *, rng):
    return rng.permutation(scored.num)[: max(0, min(num, scored.num) - 1)]


def twice_the_same(scored, num, *, rng):
    return np.zeros(min(num, scored.num), np.int64)


def out_of_range(scored, num, *, rng):
    return rng.permutation(scored.num)[:num] + 1


def as_floats(scored, num, *, rng):
    return rng.permutation(scored.num)[:num].astype(float)


@pytest.mark.parametrize("sampler", [too_few, twice_the_same, out_of_range, as_floats])
def test_a_sampler_that_miscounts_is_caught(sampler):
    with FAILS:
        SamplerTests().test_as_many_different_candidates_as_asked_or_all_there_are(sampler)


def test_a_sampler_with_chance_of_its_own_is_caught():
    own = np.random.default_rng(0)
    with FAILS:
        SamplerTests().test_the_same_seed_picks_the_same(lambda scored, num, *, rng: own.permutation(scored.num)[:num])


def test_a_sampler_that_writes_into_the_pool_is_caught():
    def sorting(scored, num, *, rng):
        scored.scores["margin"].sort()
        return np.arange(num)

    with FAILS:
        SamplerTests().test_the_pool_is_left_as_it_was(sorting)


def test_a_sampler_that_takes_less_than_nothing_is_caught():
    with pytest.raises(pytest.fail.Exception):
        SamplerTests().test_fewer_than_none_cannot_be_asked(lambda scored, num, *, rng: np.arange(0))


def below_nothing(probs_MCK):
    return -probs_MCK.mean(axis=0).max(axis=0)


def first_member_only(probs_MCK):
    return 1 - probs_MCK[0].max(axis=0)


def of_all_candidates(probs_MCK):
    scores = 1 - probs_MCK.mean(axis=0).max(axis=0)
    return scores / scores.sum()


def certainty(probs_MCK):
    return probs_MCK.mean(axis=0).max(axis=0)


@pytest.mark.parametrize(
    ("scorer", "caught_by"),
    [
        (below_nothing, lambda s: ScorerTests().test_there_is_one_finite_score_for_everything_asked(s, (3, 2, 5), 1.0)),
        (first_member_only, lambda s: ScorerTests().test_the_order_of_members_does_not_matter(s, (3, 2, 5))),
        (of_all_candidates, lambda s: ScorerTests().test_a_candidate_scores_the_same_alone_as_among_others(s)),
        (
            certainty,
            lambda s: ScorerTests().test_certain_and_unanimous_members_score_lower_than_uncertain_or_divided_ones(s),
        ),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_a_scorer_that_cannot_be_compared_is_caught(scorer, caught_by):
    with FAILS:
        caught_by(scorer)


def test_a_scorer_that_sorts_what_it_is_given_is_caught():
    def sorting(probs_MCK):
        probs_MCK.sort(axis=1)
        return 1 - probs_MCK[:, -1].mean(axis=0)

    with FAILS:
        ScorerTests().test_the_probabilities_are_left_as_they_were(sorting)


class MovesAnybody:
    """A ledger that looks at nothing before it writes."""

    def __init__(self):
        self.places = {}

    def start(self, name, stage):
        self.places[name] = CampaignPlace(name, 0, stage, 0)
        return self.places[name]

    def place(self, name):
        return self.places.get(name)

    def move(self, before, round_number, stage):
        self.places[before.name] = CampaignPlace(before.name, round_number, stage, before.version + 1)
        return self.places[before.name]


@pytest.mark.parametrize(
    "test",
    [
        LedgerTests.test_starting_a_campaign_again_leaves_it_where_it_is,
        LedgerTests.test_who_comes_late_moves_nothing,
        LedgerTests.test_moving_a_campaign_nobody_started_is_a_conflict,
        LedgerTests.test_of_many_who_make_the_same_move_at_once_one_does,
    ],
    ids=lambda test: test.__name__,
)
def test_a_ledger_without_compare_and_set_is_caught(test):
    ledger = MovesAnybody()
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        test(LedgerTests(), lambda: ledger)


class Forgetful:
    """An annotator that asks again whenever it is told to, and knows no answers."""

    def publish(self, tasks):
        return len(tasks)

    def collect(self, tasks):
        return []

    def refused(self, tasks):
        return {}

    def declined(self, tasks):
        return {}


def test_an_annotator_that_asks_twice_or_loses_answers_is_caught(tmp_path):
    phantom = Phantom("classify", num_patients=1, num_frames=4, size=8)
    tasks = phantom_tasks(*phantom_store(str(tmp_path / "store"), phantom), phantom)
    suite = AnnotatorTests()
    with FAILS:
        suite.test_publishing_twice_asks_once(Forgetful(), tasks)
    with FAILS:
        suite.test_every_answered_task_has_one_answer(Forgetful(), tasks, lambda tasks: None)


def test_pools_for_tests_are_what_samplers_will_be_given():
    pool = scored_pool(20, num_labelled=3)
    assert isinstance(pool, ScoredPool)
    np.testing.assert_allclose(pool.class_fractions.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(pool.predicted_class, pool.class_fractions.argmax(axis=1))
    assert len(pool.labelled_fractions) == len(pool.labelled_embedding) == 3
    same = constant_pool(5)
    assert len(np.unique(same.scores["margin"])) == len(np.unique(same.embedding, axis=0)) == 1


@pytest.mark.parametrize("sharpness", [0.0, 1.0, 300.0])
def test_probabilities_for_tests_are_probabilities(sharpness):
    probs = probabilities((3, 4, 5), seed=0, sharpness=sharpness)
    np.testing.assert_allclose(probs.sum(axis=1), 1, atol=1e-5)
    assert (probs >= 0).all()
