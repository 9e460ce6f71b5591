"""Keys come from the environment or a file, and are never told."""

import pytest

from hilum.adapters.label_studio.keys import is_one_of, keys_named
from hilum.core.errors import RequestError

NAME = "HILUM_BRIDGE_KEY"
OLD, NEW = "canary-old-0123456789", "canary-new-0123456789"


def test_a_key_in_the_environment_and_one_in_a_file_are_the_same(tmp_path):
    file = tmp_path / "key"
    file.write_text(f"{NEW}\n")
    assert keys_named(NAME, {NAME: NEW}) == keys_named(NAME, {f"{NAME}_FILE": str(file)}) == (NEW.encode(),)


def test_without_either_there_is_none():
    assert keys_named(NAME, {}) == ()


def test_two_keys_are_good_while_they_are_changed_and_the_new_one_is_first():
    keys = keys_named(NAME, {NAME: f"{NEW} {OLD}"})
    assert keys == (NEW.encode(), OLD.encode())
    assert is_one_of(OLD, keys)
    assert is_one_of(NEW, keys)


@pytest.mark.parametrize("given", ["", "canary", NEW + "x", NEW[:-1], "\udcff", "é"])
def test_anything_else_is_none_of_them(given):
    assert not is_one_of(given, (NEW.encode(), OLD.encode()))


def test_nothing_is_one_of_no_keys():
    assert not is_one_of("", ())


@pytest.mark.parametrize(
    "environment",
    [
        {NAME: "canary"},
        {NAME: f"{NEW} {OLD} {NEW}"},
        {NAME: NEW, f"{NAME}_FILE": "/nowhere"},
        {f"{NAME}_FILE": "/nowhere/canary"},
    ],
)
def test_a_key_that_cannot_be_meant_is_refused_and_not_repeated(environment):
    with pytest.raises(RequestError) as refused:
        keys_named(NAME, environment)
    assert "canary" not in str(refused.value)


def test_an_empty_file_is_no_key(tmp_path):
    (tmp_path / "key").touch()
    with pytest.raises(RequestError, match="empty"):
        keys_named(NAME, {f"{NAME}_FILE": str(tmp_path / "key")})
