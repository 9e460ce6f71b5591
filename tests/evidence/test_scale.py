"""The page of scale says what was measured, and reckons the rest from it."""

from dataclasses import replace

import numpy as np
import pytest
from tests.evidence.scale import drawn, measured
from tests.evidence.scale_page import Measured, Sizes, page

K_CENTRE = Measured("k_centre", 0.1, 1_000_000, 1000, 10, 10_000, 3.0, 2.0, 0.0, 0.5, 1.0, 1.25)
KMEANS_PP = replace(K_CENTRE, kind="kmeans_pp", seconds_round_1=1.0, seconds_weights=4.0, of_two=0.9)
SIZES = Sizes(64, 2500, 100, bytes_parquet=150, seconds_read=36e-6, bytes_pool_row=80, seconds_distance=3.6e-9)


def row(text, what):
    return next(line.split("|")[2].strip() for line in text.splitlines() if line.startswith(f"| {what} |"))


def test_the_plan_follows_from_what_was_measured():
    text = page([K_CENTRE, KMEANS_PP], SIZES, hardware="two cores", date="2026-11-29")
    assert row(text, "embeddings, half precision") == "12.8 GB"
    assert row(text, "CPU to read the parts") == "1.00 h"
    assert row(text, "CPU to choose core-sets, no distance saved") == "0.10 h"
    assert row(text, "CPU to meet what is labelled") == "1.00 h"
    # Round 2 is one million rows against eleven thousand centres: 39.6 s that no worker shortens.
    assert row(text, "round 2 in one process, no distance saved") == "40 s"
    assert row(text, "`k_centre`, 1 worker") == "2.11 h"
    assert row(text, "`k_centre`, 16 workers") == "0.14 h"


def test_the_page_tells_ratios_and_that_the_plan_was_not_run():
    text = page([K_CENTRE, KMEANS_PP], SIZES, hardware="two cores", date="2026-11-29")
    assert "(1.250 to 1.250)" in text
    assert "(0.900 to 0.900)" in text
    assert "Nothing here was run on 100,000,000 candidates or on a cluster" in text
    assert len(text.splitlines()) < 120


@pytest.mark.parametrize("kind", ["k_centre", "kmeans_pp"])
def test_two_rounds_are_measured_on_the_same_candidates_as_one(kind):
    real = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float16)
    found = measured(kind, real, 0.1, 2000, 20)
    assert found.num_union == 200
    assert found.of_one > 0
    assert found.ratio < 4
    assert (found.seconds_weights > 0) == (kind == "kmeans_pp")


def test_candidates_are_drawn_alike_again_and_moved_by_the_noise():
    real = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float16)
    one, two, far = (drawn(real, 100, noise=noise, seed=1) for noise in (0.1, 0.1, 1.0))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, far)
