"""BatchBALD against the joint mutual information, summed over every joint answer."""

import itertools
import math

import numpy as np
import pytest

from hilum.core.errors import RecipeError
from hilum.core.recipes import Choice
from hilum.core.registry import samplers, scorers
from hilum.select import builtin  # noqa: F401 (registers them)
from hilum.select.scored import ScoredPool


def pool_of(probs_NMC):
    ids = np.array([f"{i:012x}" for i in range(len(probs_NMC))], np.str_)
    return ScoredPool(ids, member_probs=np.asarray(probs_NMC, np.float32))


def drawn(num, num_members, num_classes, *, seed, concentration=0.5):
    return np.random.default_rng(seed).dirichlet(np.full(num_classes, concentration), size=(num, num_members))


def ask(probs_NMC, num, *, seed=0, **params):
    sampler = samplers.bind(Choice(kind="batch_bald", **params))
    return sampler(pool_of(probs_NMC), num, rng=np.random.default_rng(seed)).tolist()


def joint_information(probs_BMC):
    """I(y1 … yb; member), one joint answer after the other."""
    _, num_members, num_classes = probs_BMC.shape
    entropy, within = 0.0, 0.0
    for answer in itertools.product(range(num_classes), repeat=len(probs_BMC)):
        of_members = [
            math.prod(float(p[m, c]) for p, c in zip(probs_BMC, answer, strict=True)) for m in range(num_members)
        ]
        mean = sum(of_members) / num_members
        entropy -= mean * math.log(mean) if mean > 0 else 0.0
        within -= sum(p * math.log(p) for p in of_members if p > 0) / num_members
    return entropy - within


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("num_members", "num_classes", "num"), [(3, 2, 5), (5, 3, 4), (2, 4, 3)])
def test_every_pick_is_the_one_that_most_raises_the_joint_information(seed, num_members, num_classes, num):
    probs = drawn(12, num_members, num_classes, seed=seed).astype(np.float32)
    picks = ask(probs, num)
    for place in range(num):
        others = [n for n in range(len(probs)) if n not in picks[:place]]
        informations = {n: joint_information(probs[[*picks[:place], n]]) for n in others}
        assert informations[picks[place]] == pytest.approx(max(informations.values()), abs=1e-6)


def test_the_first_pick_is_that_of_bald():
    probs = drawn(200, 6, 3, seed=1)
    bald = scorers.bind(Choice(kind="mutual_information"))(np.moveaxis(probs, 0, 2).astype(np.float32))
    assert ask(probs, 1) == [int(bald.argmax())]


def test_what_a_twin_would_say_is_not_asked_again():
    sure, other = [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]], [[0.9, 0.1], [0.2, 0.8], [0.9, 0.1], [0.2, 0.8]]
    probs = np.array([sure, sure, sure, other])
    assert ask(probs, 2) == [0, 3]
    bald = scorers.bind(Choice(kind="mutual_information"))(np.moveaxis(probs, 0, 2).astype(np.float32))
    assert bald[1] > bald[3]  # one by one, the twin would have been asked


@pytest.mark.parametrize("seed", range(3))
def test_drawn_answers_choose_batches_that_are_nearly_as_good(seed):
    probs = drawn(40, 4, 2, seed=seed).astype(np.float32)
    exact, estimated = ask(probs, 8, num_answers=1024), ask(probs, 8, seed=seed, num_answers=128)
    at_random = np.random.default_rng(seed).permutation(40)[:8]
    told = {name: joint_information(probs[rows]) for name, rows in [("exact", exact), ("drawn", estimated)]}
    assert told["drawn"] >= 0.97 * told["exact"]
    assert told["drawn"] > joint_information(probs[at_random])


def test_candidates_that_tell_nothing_come_last_in_their_order():
    agreed = np.repeat(np.array([[[0.6, 0.4]]]), 3, axis=1)
    divided = np.array([[[0.9, 0.1], [0.1, 0.9], [0.5, 0.5]]])
    assert ask(np.concatenate([agreed, agreed, divided, agreed]), 4) == [2, 0, 1, 3]


def test_a_batch_of_many_is_chosen_in_bounded_memory():
    picks = ask(drawn(3000, 4, 3, seed=0), 60, num_answers=64)
    assert len(set(picks)) == 60


@pytest.mark.parametrize("kind", ["batch_bald", "epig"])
def test_without_several_members_there_is_nothing_to_compare(kind):
    ids = np.array(["a", "b"])
    sampler = samplers.bind(Choice(kind=kind))
    with pytest.raises(RecipeError, match=f"'{kind}' reads every member's.*score.keep_members: true"):
        sampler(ScoredPool(ids), 1, rng=np.random.default_rng(0))
    with pytest.raises(RecipeError, match=f"'{kind}' compares members.*Use several"):
        sampler(ScoredPool(ids, member_probs=np.ones((2, 1, 2), np.float16) / 2), 1, rng=np.random.default_rng(0))
