"""The page about identity says exactly what is kept of a header."""

import re
from pathlib import Path

import pytest

from hilum.adapters.deidentify import KEPT

PAGE = (Path(__file__).resolve().parents[2] / "platform/docs/guide/identity.md").read_text(encoding="utf-8")
ROWS = {row[0]: row[1:] for row in re.findall(r"^\| `(\w+)` \| ([KCU]) \| (.+) \|$", PAGE, re.MULTILINE)}


def test_every_attribute_that_is_kept_has_its_row_and_no_other_has():
    assert list(ROWS) == list(KEPT)


@pytest.mark.parametrize("keyword", KEPT)
def test_the_row_says_the_action_and_the_range(keyword):
    action, rule = ROWS[keyword]
    kept = KEPT[keyword]
    assert action == kept.action
    assert (rule == f"a number, {kept.low:g} to {kept.high:g}") == (kept.rule == "number")
    assert ("shifted" in rule) == (kept.rule == "date")
    assert ("renamed" in rule) == (kept.rule == "uid")


def test_flags_are_explained():
    assert "| `burned_in_text` |" in PAGE
    assert "| `face` |" in PAGE
    assert "no proof" in PAGE
