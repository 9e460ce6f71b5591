"""Who must act when something goes wrong, and in which words."""

import pickle
import pkgutil
import string
from importlib import import_module

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hilum.core
from hilum.core import errors
from hilum.core.errors import CorruptionError, HilumError, RequestError, WaitingForPeople, unknown_name


def below(kind):
    """``kind`` and everything that is one."""
    return {kind}.union(*(below(child) for child in kind.__subclasses__()))


def test_what_the_caller_can_mend_has_exit_code_2():
    assert {kind.exit_code for kind in below(RequestError)} == {2}
    assert {kind.__name__ for kind in below(RequestError)} >= {"RecipeError", "DataError", "NotFoundError"}


def test_waiting_is_told_apart_from_every_failure():
    others = below(HilumError) - {WaitingForPeople}
    assert WaitingForPeople.exit_code == 3
    assert 3 not in {kind.exit_code for kind in others}
    assert not issubclass(WaitingForPeople, RequestError)


def test_damage_is_nothing_a_caller_can_mend():
    assert CorruptionError.exit_code == HilumError.exit_code == 4
    assert not issubclass(CorruptionError, RequestError)


def test_no_exit_code_looks_like_success_or_like_python_s_own():
    assert not {kind.exit_code for kind in below(HilumError)} & {0, 1}


def test_every_error_survives_the_journey_between_processes():
    for kind in below(HilumError):
        returned = pickle.loads(pickle.dumps(kind("Volume abc is not whole.")))
        assert type(returned) is kind
        assert str(returned) == "Volume abc is not whole."


def test_every_error_of_the_module_is_one_of_ours():
    own = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, Exception)]
    assert set(own) == {kind for kind in below(HilumError) if kind.__module__ == errors.__name__}


NAMES = st.lists(st.text(string.ascii_lowercase + "_", min_size=1, max_size=12), min_size=1, max_size=8, unique=True)


@given(NAMES, st.text(string.ascii_lowercase, min_size=1, max_size=12))
def test_a_wrong_name_is_answered_with_every_known_one_in_order(known, given_name):
    sentence = unknown_name("scorer", given_name, known)
    assert sentence.startswith(f"No scorer is called '{given_name}'.")
    assert sentence.endswith(f"Known: {', '.join(sorted(known))}.")
    assert sentence == unknown_name("scorer", given_name, reversed(known))


@given(NAMES, st.data())
def test_one_wrong_letter_is_always_guessed(known, data):
    meant = data.draw(st.sampled_from(known).filter(lambda name: len(name) > 3))
    place = data.draw(st.integers(0, len(meant) - 1))
    sentence = unknown_name("scorer", meant[:place] + "é" + meant[place + 1 :], known)
    assert "Did you mean" in sentence


def test_where_nothing_is_known_nothing_is_guessed():
    assert unknown_name("annotator", "oracle", []) == "No annotator is called 'oracle'. Known: none yet."


@pytest.mark.parametrize("name", [module.name for module in pkgutil.iter_modules(hilum.core.__path__)])
def test_every_module_of_the_core_says_what_it_is_for(name):
    said = import_module(f"hilum.core.{name}").__doc__
    assert said
    assert len(said.splitlines()[0]) > 20
