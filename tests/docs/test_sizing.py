"""The page of sizing is what the benches' recorded measurements give, and its arithmetic is right."""

from dataclasses import replace

from tests.evidence import sizing

NUMBERED = sizing.Rates(
    ingest_bytes_per_second=1e6,
    forward_seconds=0.1,
    train_seconds=0.5,
    forward_flop=1e9,
    parameters=1e6,
    overhead_seconds=0.0,
    score_bytes=100,
    pool_bytes=50,
    distance_seconds=1e-9,
    tasks_per_second=100,
    requests={what: {"reads": 2, "writes": 1} for what in (sizing.INGEST, sizing.SCORE, sizing.ANSWER, sizing.REST)},
)
PLAN = sizing.Plan(36_000, rounds=2, answers=100, size_yx=(96, 192), passes=1, steps=7200, batch=1, teraflops=1)


def test_the_page_is_what_the_recorded_measurements_give():
    assert sizing.GUIDE.read_text(encoding="utf-8") == sizing.page(sizing.rates()), f"run: {sizing.COMMAND}"


def test_a_plan_that_can_be_reckoned_by_hand():
    found = sizing.quantities(PLAN, NUMBERED)
    assert found["ingest, core-hours, once"] == "0.37"  # 36,000 x 18,432 voxels of 2 bytes, at 1 MB/s
    assert found["score, core-hours a round"] == "2"  # two patches of 96 x 96 an image, 0.1 s each
    assert found["score, GPU-hours a round"] == "0.02"
    assert found["train, core-hours a round"] == "1"
    assert found["train, GPU-hours a round"] == "0.006"
    assert found["all rounds, GPU-hours"] == "0.052"
    assert found["scores, all rounds"] == "0.0072 GB"
    assert found["requests that read, ingest"] == "72,000"
    assert found["requests that write, all rounds"] == "72,000"  # 2 x (36,000 + 100 + 1)


def test_twice_as_many_passes_cost_twice_the_scoring_and_no_more_training():
    once, twice = (sizing.quantities(replace(PLAN, passes=passes), NUMBERED) for passes in (1, 2))
    assert (once["score, core-hours a round"], twice["score, core-hours a round"]) == ("2", "4")
    assert once["train, core-hours a round"] == twice["train, core-hours a round"]


def test_two_digits_count():
    assert [sizing.number(value) for value in (1e-5, 0, 0.0123, 0.5, 7.77, 99.6, 1234, 56_789_012)] == [
        "under 0.001", "0", "0.012", "0.5", "7.8", "100", "1,200", "57,000,000",
    ]  # fmt: skip
