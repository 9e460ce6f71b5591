"""Names come from content."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.core.errors import ConflictError, CorruptionError, RecipeError, WaitingForPeople, unknown_name
from hilum.core.ids import candidate_id, checked_name, content_id, pseudonym, run_id
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
