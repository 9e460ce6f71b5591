"""Whom to ask by score: every sampler through the suite, and what each is for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from hilum.core.errors import RecipeError
from hilum.core.recipes import Choice
from hilum.core.registry import samplers
from hilum.select import builtin  # noqa: F401
from hilum.select.samplers import best_rows, equal_quotas, extension_probabilities
from hilum.select.scored import ScoredPool
from hilum.testing.samplers import SamplerTests, scored_pool

BUILTIN = [
    Choice(kind="random"),
    Choice(kind="top_k"),
    Choice(kind="power_top_k", beta=4.0),
    Choice(kind="power_top_k", score="entropy", beta=0),
    Choice(kind="gibbs_top_k", beta=4.0),
    Choice(kind="soft_rank"),
    Choice(kind="random_extension"),
    Choice(kind="random_extension", omega=1.0),
    Choice(kind="foreground_random"),
    Choice(kind="class_stratified"),
    Choice(kind="class_stratified", beta=10.0, plain_share=0.34, balance_labelled=True),
    Choice(kind="class_stratified", by="class_fractions", plain_share=0.34, skip_background=True),
    Choice(kind="k_centre"),
    Choice(kind="k_centre", shortlist=3.0),
    Choice(kind="kmeans_pp"),
    Choice(kind="badge"),
    Choice(kind="batch_bald"),
    Choice(kind="batch_bald", num_answers=4),
    Choice(kind="epig"),
    Choice(kind="epig", num_targets=3, beta=4.0),
    Choice(kind="information_density"),
    Choice(kind="information_density", density=2.0, beta=4.0),
    Choice(kind="cluster_margin"),
    Choice(kind="facility_location"),
    Choice(kind="facility_location", shortlist=2.0),
    Choice(kind="facility_location", num_counted=7),
    Choice(kind="prob_cover"),
    Choice(kind="prob_cover", delta=0.5, num_counted=7),
    Choice(kind="hard_to_contrast", num_epochs=2),
    Choice(kind="hard_to_contrast", num_epochs=2, num_clusters=3, batch_size=8, num_mapped=12),
    Choice(kind="usl"),
    Choice(kind="typiclust"),
    Choice(kind="typiclust", max_clusters=4, distance="squared"),
]


class TestBuiltinSamplers(SamplerTests):
    @pytest.fixture(params=BUILTIN, ids=lambda choice: "-".join(map(str, [choice.kind, *choice.params.values()])))
    def sampler(self, request):
        return samplers.bind(request.param)


def ask(kind, scored, num, seed=0, **params):
    return samplers.bind(Choice(kind=kind, **params))(scored, num, rng=np.random.default_rng(seed)).tolist()


def pool_of(scores, predicted=None, fractions=None, labelled_class=(), labelled=None):
    num = len(scores)
    return ScoredPool(
        np.array([f"{i:012x}" for i in range(num)], np.str_),
        scores={"margin": np.asarray(scores, np.float32)},
        predicted_class=np.asarray(predicted if predicted is not None else np.zeros(num), np.int64),
        class_fractions=np.empty((num, 0), np.float32) if fractions is None else np.asarray(fractions, np.float32),
        labelled_fractions=np.eye(4, dtype=np.float32)[list(labelled_class)] if labelled is None else labelled,
    )


def test_there_is_no_builtin_sampler_that_the_suite_has_not_seen():
    ours = {name for name in samplers if _home(name).startswith("hilum.")}
    assert ours == {choice.kind for choice in BUILTIN}


def _home(name):
    bound = samplers.bind(Choice(kind=name))
    return getattr(bound, "func", bound).__module__


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.data())
def test_the_best_rows_are_a_stable_sort_cut_short(values, data):
    num = data.draw(st.integers(0, len(values)))
    scores = np.array(values, np.float32)
    assert best_rows(scores, num).tolist() == np.argsort(-scores, kind="stable")[:num].tolist()


def test_ties_go_to_the_lower_candidate_id():
    assert ask("top_k", pool_of([0.5, 0.9, 0.5, 0.5]), 3) == [1, 0, 2]


@pytest.mark.parametrize(
    ("omega", "num", "chances"),
    [
        (5, 1, [0.428571, 0.285714, 0.214286, 0.071429, 0]),
        (2, 3, [0.368421, 0.263158, 0.210526, 0.105263, 0.052632, 0]),
        (5, 2, [0.256757, 0.202703, 0.175676, 0.121622, 0.094595, 0.067568, 0.040541, 0.027027, 0.013514, 0]),
    ],
)
def test_the_window_is_drawn_from_by_how_far_above_its_last_a_score_is(omega, num, chances):
    descending = np.array([10, 8, 7, 5, 4, 3, 2, 1.5, 1, 0.5])[: omega * num]
    np.testing.assert_allclose(extension_probabilities(descending), chances, atol=1e-6)


def test_the_random_extension_draws_as_often_as_its_chances_say():
    scored = pool_of([10, 8, 7, 5, 4, 3, 2, 1.5, 1, 0.5])
    first = np.bincount([ask("random_extension", scored, 1, seed=s)[0] for s in range(4000)], minlength=5)
    np.testing.assert_allclose(first / 4000, [0.428571, 0.285714, 0.214286, 0.071429, 0, 0, 0, 0, 0, 0][:5], atol=0.03)


def test_an_extension_of_one_is_greedy():
    scored = scored_pool(50)
    assert ask("random_extension", scored, 7, omega=1.0) == ask("top_k", scored, 7)


def test_the_random_extension_never_leaves_its_window():
    scored = scored_pool(200)
    window = set(ask("top_k", scored, 50))
    assert all(set(ask("random_extension", scored, 10, seed=s)) <= window for s in range(20))


def test_equal_scores_are_drawn_evenly():
    drawn = np.bincount([r for s in range(2000) for r in ask("random_extension", pool_of([0.3] * 5), 1, seed=s)])
    np.testing.assert_allclose(drawn / 2000, 0.2, atol=0.04)


def test_power_noise_runs_from_random_to_greedy():
    scored = scored_pool(300)
    scores = scored.scores["margin"]
    greedy = scores[ask("top_k", scored, 30)].mean()
    followed = [
        np.mean([scores[ask("power_top_k", scored, 30, seed=s, beta=b)].mean() for s in range(10)])
        for b in (0, 1, 8, 1e5)
    ]
    assert followed[0] == pytest.approx(scores.mean(), abs=0.08)
    assert followed == sorted(followed)
    assert followed[-1] == pytest.approx(greedy)


def test_power_noise_draws_in_proportion_to_the_score():
    first = [ask("power_top_k", pool_of([1, 2, 5]), 1, seed=s)[0] for s in range(4000)]
    np.testing.assert_allclose(np.bincount(first) / 4000, [1 / 8, 2 / 8, 5 / 8], atol=0.03)


def test_power_noise_leaves_a_score_of_zero_for_last():
    assert set(ask("power_top_k", pool_of([0, 0.001, 0, 0.002]), 2)) == {1, 3}


def test_gibbs_noise_draws_in_proportion_to_the_exponential_of_the_score():
    first = [ask("gibbs_top_k", pool_of(np.log([1, 2, 5])), 1, seed=s)[0] for s in range(4000)]
    np.testing.assert_allclose(np.bincount(first) / 4000, [1 / 8, 2 / 8, 5 / 8], atol=0.03)


def test_soft_rank_draws_in_proportion_to_one_over_the_rank_whatever_the_scale():
    chances = np.array([1 / 3, 1, 1 / 2]) / (1 + 1 / 2 + 1 / 3)
    for scores in ([1, 30, 2], [0.1, 0.3, 0.2]):
        first = [ask("soft_rank", pool_of(scores), 1, seed=s)[0] for s in range(4000)]
        np.testing.assert_allclose(np.bincount(first) / 4000, chances, atol=0.03)


def test_equal_scores_have_equal_chances_by_rank():
    first = np.bincount([ask("soft_rank", pool_of([1, 1, 1, 0]), 1, seed=s)[0] for s in range(4000)])
    np.testing.assert_allclose(first[:3] / first[:3].sum(), 1 / 3, atol=0.03)


@pytest.mark.parametrize("kind", ["gibbs_top_k", "soft_rank"])
def test_noise_that_is_followed_closely_is_greedy(kind):
    scored = scored_pool(200)
    assert ask(kind, scored, 12, beta=1e6) == ask("top_k", scored, 12)


def test_random_reads_no_score():
    one, other = scored_pool(40, seed=0), scored_pool(40, seed=1)
    assert ask("random", one, 9, seed=3) == ask("random", other, 9, seed=3)


def test_every_class_gets_as_many_as_the_others():
    predicted = [0] * 80 + [1] * 15 + [2] * 5
    scored = pool_of(np.linspace(1, 0, 100), predicted)
    picked = ask("class_stratified", scored, 12)
    assert np.bincount(scored.predicted_class[picked]).tolist() == [4, 4, 4]
    assert sorted(picked)[:4] == [0, 1, 2, 3]


def test_the_rarest_class_is_asked_first():
    assert ask("class_stratified", pool_of(np.ones(10), [0] * 6 + [1] * 3 + [2]), 3) == [9, 6, 0]


def test_what_a_rare_class_cannot_fill_goes_to_the_others():
    scored = pool_of(np.linspace(1, 0, 100), [0] * 98 + [1] * 2)
    picked = ask("class_stratified", scored, 10)
    assert np.bincount(scored.predicted_class[picked]).tolist() == [8, 2]


def test_classes_that_were_labelled_often_wait_for_the_others():
    scored = pool_of(np.ones(40), [0] * 20 + [1] * 20, labelled_class=[0] * 6)
    plain = scored.predicted_class[ask("class_stratified", scored, 10)]
    balanced = scored.predicted_class[ask("class_stratified", scored, 10, balance_labelled=True)]
    assert np.bincount(plain).tolist() == [5, 5]
    assert np.bincount(balanced).tolist() == [2, 8]


@pytest.mark.parametrize(("held", "asked"), [([0.8, 0.15, 0.05], [2, 2]), ([0.845, 0.15, 0.005], [0, 4])])
def test_a_labelled_patch_counts_for_every_class_it_holds_but_not_for_a_trace(held, asked):
    fractions = np.array([[0.8, 0.2, 0.0]] * 20 + [[0.8, 0.0, 0.2]] * 20, np.float32)
    pool = pool_of(np.ones(40), fractions=fractions, labelled=np.array([held] * 6, np.float32))
    rows = ask("class_stratified", pool, 4, by="class_fractions", balance_labelled=True, skip_background=True)
    assert np.bincount(np.array(rows) // 20, minlength=2).tolist() == asked


def test_a_class_that_is_found_nowhere_leaves_its_quota_to_the_others():
    fractions = np.full((40, 3), [0.995, 0.0, 0.005], np.float32)
    fractions[30:] = [0.8, 0.195, 0.005]
    pool = pool_of(np.ones(40), fractions=fractions, labelled=np.array([[0.7, 0.3, 0]], np.float32))
    rows = ask("class_stratified", pool, 6, by="class_fractions", balance_labelled=True, skip_background=True)
    assert min(rows) >= 30


def test_a_plain_share_ignores_classes():
    scored = pool_of(np.linspace(1, 0, 100), [0] * 90 + [1] * 10)
    picked = ask("class_stratified", scored, 10, plain_share=0.4)
    assert np.bincount(scored.predicted_class[picked]).tolist() == [7, 3]


def test_fractions_find_the_patch_that_holds_a_rare_class():
    fractions = np.full((50, 3), [0.9, 0.1, 0.0], np.float32)
    fractions[37] = [0.6, 0.1, 0.3]
    picked = ask("class_stratified", pool_of(np.linspace(1, 0.5, 50), fractions=fractions), 3, by="class_fractions")
    assert 37 in picked
    without = ask(
        "class_stratified",
        pool_of(np.linspace(1, 0.5, 50), fractions=fractions),
        2,
        by="class_fractions",
        skip_background=True,
    )
    assert 37 in without


@given(
    num=st.integers(0, 40),
    available=st.lists(st.integers(0, 20), min_size=1, max_size=6),
    already=st.lists(st.integers(0, 20), min_size=6, max_size=6),
)
def test_quotas_are_as_equal_as_they_can_be(num, available, already):
    quotas = equal_quotas(num, available, already[: len(available)])
    assert sum(quotas) == min(num, sum(available))
    assert all(0 <= q <= a for q, a in zip(quotas, available, strict=True))
    totals = [q + b for q, b in zip(quotas, already, strict=False)]
    # Nobody was given one while a class that still had some was poorer by more than one.
    open_totals = [t for t, q, a in zip(totals, quotas, available, strict=True) if q < a]
    served_totals = [t for t, q in zip(totals, quotas, strict=True) if q > 0]
    if open_totals and served_totals:
        assert max(served_totals) <= min(open_totals) + 1


def test_two_thirds_of_the_foreground_arm_hold_foreground():
    scored = pool_of(np.ones(300), [1] * 30 + [0] * 270)
    picked = scored.predicted_class[ask("foreground_random", scored, 30)]
    assert 20 <= (picked > 0).sum() <= 24


def test_the_foreground_arm_goes_by_what_the_recipe_named_before_the_model_s_own_prediction():
    told = np.zeros(300, np.float32)
    told[100:140], told[140:160] = 0.2, 0.0005
    seen = pool_of(np.ones(300), [1] * 30 + [0] * 270)
    scored = ScoredPool(seen.candidate_ids, predicted_class=seen.predicted_class, foreground=told)
    assert set(ask("foreground_random", scored, 30, share=1.0)) <= set(range(100, 140))
    assert set(ask("foreground_random", scored, 60, share=1.0, min_foreground=0)) == set(range(100, 160))
    assert len(set(ask("foreground_random", scored, 50, share=1.0)) & set(range(100, 140))) == 40
    left = scored.after(np.arange(100, 120), np.arange(5))
    assert left.foreground is not None
    np.testing.assert_array_equal(left.foreground, np.concatenate([told[5:100], told[120:]]))


def test_without_a_model_the_foreground_arm_is_random():
    scored = ScoredPool(scored_pool(40).candidate_ids)
    assert len(set(ask("foreground_random", scored, 10))) == 10


def test_a_stratified_pick_still_follows_the_score_within_a_class():
    scored = scored_pool(200)
    picked = np.array(ask("class_stratified", scored, 60))
    for c in range(3):
        of_class = picked[scored.predicted_class[picked] == c]
        assert spearmanr(np.arange(len(of_class)), scored.scores["margin"][of_class]).statistic == pytest.approx(-1)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (Choice(kind="topk"), "No sampler is called 'topk'. Did you mean 'top_k'"),
        (Choice(kind="power_top_k", beta=-1), "sampler 'power_top_k', parameter 'beta'"),
        (Choice(kind="random_extension", omega=0.5), "sampler 'random_extension', parameter 'omega'"),
        (Choice(kind="random", score="margin"), "sampler 'random': No parameter is called 'score'"),
        (Choice(kind="class_stratified", by="colour"), "sampler 'class_stratified', parameter 'by'"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_a_sentence(choice, message):
    with pytest.raises(RecipeError, match=message):
        samplers.bind(choice)


@pytest.mark.parametrize(
    "kind", ["k_centre", "kmeans_pp", "badge", "cluster_margin", "facility_location", "prob_cover", "usl", "typiclust"]
)
def test_a_sampler_that_compares_embeddings_says_when_there_are_none(kind):
    with pytest.raises(RecipeError, match=f"'{kind}' (compares embeddings|needs a model)"):
        ask(kind, pool_of([0.1, 0.2]), 1)
