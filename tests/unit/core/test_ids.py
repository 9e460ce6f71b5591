"""Names come from content."""

import hashlib
import hmac
import json
import os
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.core.errors import ConflictError, CorruptionError, RecipeError, WaitingForPeople, unknown_name
from hilum.core.ids import candidate_id, candidate_ids, checked_name, content_id, pseudonym, run_id
from hilum.core.recipes import PoolRecipe, PromoteRecipe

KEY = b"a key that stays with the store"


def test_the_same_recipe_and_inputs_have_the_same_name():
    assert run_id("pool", 1, PoolRecipe(), {"ingest": "a"}) == run_id("pool", 1, PoolRecipe(), {"ingest": "a"})


@pytest.mark.parametrize(
    "other",
    [
        ("score", 1, PoolRecipe(), {"ingest": "a"}),
        ("pool", 2, PoolRecipe(), {"ingest": "a"}),
        ("pool", 1, PoolRecipe(min_occupancy=0.5), {"ingest": "a"}),
        ("pool", 1, PoolRecipe(), {"ingest": "b"}),
        ("pool", 1, PoolRecipe(), {"labels": "a"}),
    ],
)
def test_whatever_differs_has_another_name(other):
    assert run_id(*other) != run_id("pool", 1, PoolRecipe(), {"ingest": "a"})


def test_a_written_default_does_not_change_the_name():
    assert run_id("promote", 1, PromoteRecipe(tolerance=0.002), {}) == run_id("promote", 1, PromoteRecipe(), {})


def test_the_order_of_inputs_does_not_change_the_name():
    pair = {"pool": "p", "checkpoint": "c"}
    assert run_id("score", 1, PoolRecipe(), pair) == run_id("score", 1, PoolRecipe(), dict(reversed(pair.items())))


@given(st.tuples(*[st.integers(0, 9)] * 3), st.tuples(*[st.integers(1, 9)] * 3))
def test_a_candidates_name_is_twelve_hex_digits(start, shape):
    name = candidate_id("v", start, shape)
    assert len(name) == 12
    assert int(name, 16) >= 0


def test_the_pseudonym_needs_the_key_and_hides_the_identity():
    name = pseudonym(KEY, "patient", "DOE^JANE")
    assert name == pseudonym(KEY, "patient", "DOE^JANE")
    assert name != pseudonym(b"another key", "patient", "DOE^JANE")
    assert name != pseudonym(KEY, "study", "DOE^JANE")
    assert "doe" not in name.lower()


@pytest.mark.parametrize("name", ["liver", "liver-2", "a.b_c", "0"])
def test_plain_names_are_taken(name):
    assert checked_name("Campaign", name) == name


@pytest.mark.parametrize("name", ["", "../x", "/etc", "Liver", "a b", ".hidden", "a" * 64, "naïve", "a\n"])
def test_names_that_could_leave_their_folder_are_refused(name):
    with pytest.raises(RecipeError, match="lower-case"):
        checked_name("Campaign", name)


def test_content_ids_do_not_depend_on_key_order():
    assert content_id({"a": 1, "b": 2}) == content_id({"b": 2, "a": 1})


def test_a_wrong_name_is_answered_with_a_guess_and_the_list():
    sentence = unknown_name("scorer", "entropi", ["margin", "entropy"])
    assert sentence == "No scorer is called 'entropi'. Did you mean 'entropy'? Known: entropy, margin."


def test_a_name_like_nothing_known_gets_no_guess():
    assert "Did you mean" not in unknown_name("scorer", "zzz", ["margin", "entropy"])


@pytest.mark.parametrize("error", [RecipeError("a"), WaitingForPeople("b"), CorruptionError("c"), ConflictError("d")])
def test_errors_survive_the_journey_between_processes(error):
    returned = pickle.loads(pickle.dumps(error))
    assert type(returned) is type(error)
    assert str(returned) == str(error)
    assert returned.exit_code == error.exit_code


def test_names_follow_a_rule_that_anybody_can_follow():
    """The rule is written in the format pages; a store is read for years, so it can never change."""

    def by_hand(content):
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    assert candidate_id("a1b2c3", (0, 64, 128), (1, 64, 64)) == by_hand(["a1b2c3", [0, 64, 128], [1, 64, 64]])
    given = run_id("pool", 3, PoolRecipe(min_occupancy=0.25), {"ingest": "i"})
    assert given == by_hand(["pool", 3, {"min_occupancy": 0.25}, [["ingest", "i"]]])


def test_numpy_s_integers_name_a_candidate_as_python_s_do():
    start, shape = np.array([1, 2, 3], np.int32), np.array([4, 5, 6], np.uint16)
    assert candidate_id("v", start, shape) == candidate_id("v", (1, 2, 3), (4, 5, 6))


def test_names_outside_ascii_are_hashed_as_utf_8():
    assert content_id("Größe") == hashlib.sha256('"Größe"'.encode()).hexdigest()[:12]


@given(st.binary(min_size=32, max_size=32), st.text(max_size=20), st.text(max_size=20))
def test_a_pseudonym_is_an_hmac_and_one_to_one(key, one, other):
    expected = hmac.new(key, f"patient:{one}".encode(), hashlib.sha256).hexdigest()[:12]
    assert pseudonym(key, "patient", one) == expected
    assert (pseudonym(key, "patient", one) == pseudonym(key, "patient", other)) == (one == other)


def test_a_file_name_that_is_no_text_has_a_pseudonym_too():
    one, other = (os.fsdecode(name) for name in (b"\xff", b"\xfe"))
    assert pseudonym(KEY, "source", one) != pseudonym(KEY, "source", other)


def test_a_patient_and_a_study_of_one_name_are_two_pseudonyms():
    key = bytes(32)
    assert pseudonym(key, "patient", "123") != pseudonym(key, "study", "123")


@given(st.text(max_size=70))
def test_a_name_is_taken_as_it_is_or_refused(name):
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,62}", name):
        with pytest.raises(RecipeError, match="^Campaign name"):
            checked_name("Campaign", name)
        return
    assert checked_name("Campaign", name) == name
    assert Path("folder", name).parent == Path("folder")


@given(
    st.text(max_size=12),
    st.lists(st.tuples(*[st.integers(0, 5000)] * 3), max_size=5),
    st.tuples(*[st.integers(1, 300)] * 3),
)
def test_the_names_of_many_are_those_of_each(volume_id, starts, shape):
    assert candidate_ids(volume_id, starts, shape) == [candidate_id(volume_id, start, shape) for start in starts]
