"""What was looked up a moment ago: one looks again, the others go on."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from hilum_services.inference.lately import Lately


class Looking:
    """Counts what it is asked, and waits for leave to answer while `may` is cleared."""

    def __init__(self):
        self.asked, self.may, self.begun = [], threading.Event(), threading.Event()
        self.may.set()

    def __call__(self, key, before):
        self.asked.append((key, before))
        self.begun.set()
        assert self.may.wait(20)
        return f"{key}{len(self.asked)}"


def test_what_is_fresh_is_not_looked_up_again():
    look = Looking()
    lately = Lately(look, seconds=60)
    assert lately.at_hand("a") is None
    assert [lately.get("a"), lately.get("a"), lately.at_hand("a")] == ["a1"] * 3
    assert look.asked == [("a", None)]


def test_what_is_stale_is_looked_up_again_and_what_was_known_is_told():
    look = Looking()
    lately = Lately(look, seconds=0.01)
    lately.get("a")
    time.sleep(0.02)
    assert lately.at_hand("a") is None
    assert lately.get("a") == "a2"
    assert look.asked == [("a", None), ("a", "a1")]


def test_while_one_looks_the_others_go_on_with_what_was_known():
    look = Looking()
    lately = Lately(look, seconds=0)
    lately.get("a")
    look.may.clear()
    look.begun.clear()
    with ThreadPoolExecutor(1) as threads:
        looking = threads.submit(lately.get, "a")
        assert look.begun.wait(20)
        assert [lately.get("a"), lately.at_hand("a")] == ["a1"] * 2
        look.may.set()
        assert looking.result(20) == "a2"
    assert len(look.asked) == 2


def test_the_first_look_is_waited_for_and_made_once():
    look = Looking()
    lately = Lately(look, seconds=60)
    look.may.clear()
    with ThreadPoolExecutor(8) as threads:
        asking = [threads.submit(lately.get, "a") for _ in range(8)]
        assert look.begun.wait(20)
        look.may.set()
        assert {one.result(20) for one in asking} == {"a1"}
    assert len(look.asked) == 1


def test_a_look_that_fails_is_told_to_who_asked_and_made_again_by_the_next():
    def look(key, before):
        raise KeyError(key)

    lately = Lately(look, seconds=60)
    for _ in range(2):
        with pytest.raises(KeyError):
            lately.get("a")


def test_no_more_are_kept_than_may_be():
    look = Looking()
    lately = Lately(look, seconds=60, most=2)
    for key in "abc":
        lately.get(key)
    assert [lately.at_hand(key) for key in "abc"] == [None, "b2", "c3"]
