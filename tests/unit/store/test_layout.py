"""Every path of a store is below it, and no two things share one."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.core.errors import NotFoundError, RequestError
from hilum.store.layout import Store, exists, filesystem, is_local, require

IDS = st.text("0123456789abcdef", min_size=12, max_size=12)
URLS = st.sampled_from(["/data/store", "/data/store/", "s3://bucket/store", "memory://store", "relative"])


def paths(store, one, number):
    return {
        "volume": store.volume(one),
        "run": store.run("score", one),
        "other step": store.run("select", one),
        "labels": store.label_set(one),
        "checkpoint": store.checkpoint(one),
        "campaign": store.campaign(one),
        "events": store.round_events(one, number),
        "ledger": store.ledger_file,
        "key": store.identity_file,
        "key's record": store.identity_record,
        "settings": store.settings_file,
    }


@given(URLS, IDS, st.integers(0, 9999))
def test_everything_is_below_the_store_and_nothing_shares_a_path(url, one, number):
    found = paths(Store(url), one, number)
    assert len(set(found.values())) == len(found)
    assert all(path.startswith(url.rstrip("/") + "/") for path in found.values())
    assert all("//" not in path.split("://")[-1].lstrip("/") for path in found.values())


@given(IDS, st.integers(0, 9999))
def test_a_slash_at_the_end_of_the_url_changes_no_path(one, number):
    assert paths(Store("/data/store/"), one, number) == paths(Store("/data/store"), one, number)


@given(IDS, IDS)
def test_two_ids_are_two_places(one, other):
    same = {what for what, path in paths(Store("/s"), one, 0).items() if path == paths(Store("/s"), other, 0)[what]}
    assert same == (set(paths(Store("/s"), one, 0)) if one == other else {"ledger", "key", "key's record", "settings"})


@given(st.lists(st.integers(0, 999), min_size=2, max_size=20))
def test_rounds_of_a_campaign_list_in_the_order_they_were_run(numbers):
    store = Store("/data/store")
    listed = sorted(store.round_events("liver", number) for number in numbers)
    assert listed == [store.round_events("liver", number) for number in sorted(numbers)]


def test_a_store_travels_to_workers_as_its_url():
    store = Store("s3://bucket/store")
    assert pickle.loads(pickle.dumps(store)) == store
    assert len(pickle.dumps(store)) < 200


def test_a_folder_is_local_and_memory_is_not(tmp_path):
    assert is_local(str(tmp_path))
    assert is_local(f"file://{tmp_path}")
    assert not is_local("memory://store")


def test_what_is_there_is_told_from_what_is_not(tmp_path):
    (tmp_path / "a file").write_text("x")
    assert exists(str(tmp_path / "a file"))
    assert exists(str(tmp_path))
    assert not exists(str(tmp_path / "another"))
    assert require(str(tmp_path), "store") == str(tmp_path)
    with pytest.raises(NotFoundError, match=f"There is no checkpoint at {tmp_path}/another"):
        require(f"{tmp_path}/another", "checkpoint")


@pytest.mark.parametrize("url", ["nosuch://bucket/store", "abfsx://a/b"])
def test_a_url_nobody_can_open_is_the_caller_s_to_fix(url):
    with pytest.raises(RequestError, match=f"Cannot open '{url}'"):
        filesystem(url)
