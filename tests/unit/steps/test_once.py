"""Made once, however many threads ask."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from hilum.steps.once import Once


def test_every_key_is_made_once_though_all_ask_at_the_same_time():
    made, all_here = [], threading.Barrier(8, timeout=30)

    def make(key):
        made.append(key)
        return key * 2

    once = Once(make)

    def ask(key):
        all_here.wait()
        return once(key)

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(ask, "abababab")) == ["aa", "bb"] * 4
    assert sorted(made) == ["a", "b"]


def test_one_key_is_made_while_another_is_waited_for():
    started, go_on = threading.Event(), threading.Event()

    def make(key):
        if key == "slow":
            started.set()
            assert go_on.wait(30)
        return key

    once = Once(make)
    with ThreadPoolExecutor(1) as threads:
        slow = threads.submit(once, "slow")
        assert started.wait(30)
        assert once("quick") == "quick"
        go_on.set()
        assert slow.result() == "slow"


def test_an_error_is_raised_to_all_who_ask():
    once = Once({}.__getitem__)
    for _ in range(2):
        with pytest.raises(KeyError, match="nothing"):
            once("nothing")
