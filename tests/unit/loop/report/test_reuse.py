"""What a strategy used again, as a row of the report: means that can be checked by hand."""

from dataclasses import replace

import pytest

from hilum.core.recipes import FinetuneRecipe
from hilum.loop.report import render
from hilum.loop.report.reuse import is_worth_showing, reuse_row

HQ = FinetuneRecipe(start="previous", data="new_and_misclassified")


def account(num_new, num_old, num_reused, *, wrong=None, steps=80, model=True):
    taught = num_new + num_reused
    return {
        "num_labels": num_new + num_old,
        "num_new": num_new,
        "num_old": num_old,
        "num_reused": num_reused,
        "num_misclassified": wrong,
        "label_reuse": num_reused / num_old if num_old else None,
        "data_reuse": num_reused / taught,
        "model_reuse": model,
        "num_steps": steps,
    }


FIRST = account(20, 0, 0, steps=160, model=False)
BRANCHES = [
    [FIRST, account(20, 20, 5, wrong=5), account(20, 40, 10, wrong=10)],
    [FIRST, account(20, 20, 0, wrong=0), account(20, 40, 20, wrong=20)],
]


def test_means_are_of_the_rounds_that_had_something_to_use_again():
    row = reuse_row("hq", HQ, BRANCHES)
    assert (row.starts_from, row.taught, row.model_reuse) == ("last model", "new, misclassified", True)
    assert row.num_taught == pytest.approx(((25 + 30) + (20 + 40)) / 2)
    assert row.num_misclassified == pytest.approx((5 + 10 + 0 + 20) / 4)
    assert row.label_reuse == pytest.approx((0.25 + 0.25 + 0 + 0.5) / 4)
    assert row.data_reuse == pytest.approx((5 / 25 + 10 / 30 + 0 + 20 / 40) / 4)


def test_steps_are_those_of_a_whole_campaign():
    assert reuse_row("hq", HQ, BRANCHES).num_steps == 160 + 80 + 80


def test_a_campaign_of_one_round_used_nothing_again():
    assert reuse_row("hq", HQ, [[FIRST], [FIRST]]) is None
    assert reuse_row("hq", HQ, [[], []]) is None


def test_a_strategy_that_starts_from_a_checkpoint_says_which():
    rows = [[FIRST, account(20, 20, 20, model=False)]]
    pretrained = reuse_row("genesis", FinetuneRecipe(start="0a1b2c3d4e5f"), rows)
    assert (pretrained.starts_from, pretrained.model_reuse) == ("checkpoint 0a1b2c3d4e5f", False)
    assert is_worth_showing([pretrained, reuse_row("random", FinetuneRecipe(), rows)])


def test_where_nobody_looked_nothing_is_counted():
    later = account(20, 20, 20)
    assert reuse_row("lq", HQ, [[FIRST, later]]).num_misclassified is None


def test_training_all_from_scratch_is_not_worth_a_table():
    plain = reuse_row("random", FinetuneRecipe(), [[FIRST, account(20, 20, 20, model=False)]])
    assert not is_worth_showing([plain, plain])
    assert is_worth_showing([plain, reuse_row("hq", HQ, BRANCHES)])
    assert not is_worth_showing([])


def test_the_page_shows_the_table_where_there_is_one(make_section):
    section = make_section()
    shown = render([section], title="Report")
    assert "What was used again" in shown
    assert "first model" in shown
    assert "1,200" in shown
    assert "What was used again" not in render([replace(section, reuse=())], title="Report")
