"""The secret behind the pseudonyms is made once, kept to its owner, and never guessed at."""

import multiprocessing
import stat
from pathlib import Path

import pytest

from hilum.core.errors import CorruptionError, RequestError
from hilum.core.ids import pseudonym
from hilum.store.identity import ENVIRONMENT, identity_key
from hilum.store.layout import Store


def test_the_key_of_a_store_is_made_once_and_stays(tmp_path):
    first = identity_key(Store(str(tmp_path)))
    assert len(first) == 32
    assert identity_key(Store(str(tmp_path))) == first


def test_two_stores_give_one_patient_two_names(tmp_path):
    keys = [identity_key(Store(str(tmp_path / name))) for name in ("a", "b")]
    assert pseudonym(keys[0], "patient", "Ada") != pseudonym(keys[1], "patient", "Ada")


def test_only_its_owner_may_read_the_key_file(tmp_path):
    identity_key(Store(str(tmp_path)))
    assert stat.S_IMODE((tmp_path / "identity.key").stat().st_mode) == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["identity.key"]


def test_processes_that_come_at_once_all_get_the_first_key(tmp_path):
    with multiprocessing.get_context("forkserver").Pool(4) as pool:
        keys = pool.map(identity_key, [Store(str(tmp_path))] * 12)
    assert len(set(keys)) == 1


def test_a_given_key_is_taken_and_no_file_is_made(tmp_path, monkeypatch):
    monkeypatch.setenv(ENVIRONMENT, "ab" * 32)
    assert identity_key(Store(str(tmp_path))) == bytes.fromhex("ab" * 32)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("given", ["", "secret", "ab" * 31, "zz" * 32])
def test_a_key_that_is_none_is_refused_without_repeating_it(tmp_path, monkeypatch, given):
    monkeypatch.setenv(ENVIRONMENT, given)
    with pytest.raises(RequestError) as caught:
        identity_key(Store(str(tmp_path)))
    assert not given or given not in str(caught.value)


def test_a_bucket_needs_the_key_from_outside(tmp_path):
    with pytest.raises(RequestError, match=ENVIRONMENT):
        identity_key(Store(f"memory://{tmp_path.name}"))


def test_a_damaged_key_file_is_said_and_not_replaced(tmp_path):
    file = Path(tmp_path, "identity.key")
    file.write_text("half a k")
    with pytest.raises(CorruptionError, match="new pseudonyms"):
        identity_key(Store(str(tmp_path)))
    assert file.read_text() == "half a k"
