"""What every ledger must keep. Subclass `LedgerTests` and give it a ``new_ledger`` fixture."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from hilum.core.errors import ConflictError
from hilum.core.ports import CampaignPlace, Ledger

NewLedger = Callable[[], Ledger]


class LedgerTests:
    """The conformance suite. ``new_ledger`` opens the same, at first empty, ledger each time it is called."""

    def test_a_new_campaign_is_at_round_0(self, new_ledger: NewLedger) -> None:
        place = new_ledger().start("liver", "opened")
        assert place == CampaignPlace("liver", 0, "opened", 0)
        assert new_ledger().place("liver") == place

    def test_starting_a_campaign_again_leaves_it_where_it_is(self, new_ledger: NewLedger) -> None:
        ledger = new_ledger()
        moved = ledger.move(ledger.start("liver", "opened"), 0, "scored")
        assert ledger.start("liver", "opened") == moved

    def test_a_campaign_nobody_started_has_no_place(self, new_ledger: NewLedger) -> None:
        assert new_ledger().place("liver") is None
        assert list(new_ledger().places()) == []

    def test_a_move_is_seen_by_everybody_and_counted(self, new_ledger: NewLedger) -> None:
        ledger = new_ledger()
        place = ledger.move(ledger.start("liver", "opened"), 0, "scored")
        assert place == CampaignPlace("liver", 0, "scored", 1)
        assert new_ledger().place("liver") == place

    def test_campaigns_do_not_move_each_other(self, new_ledger: NewLedger) -> None:
        ledger = new_ledger()
        liver, lung = ledger.start("liver", "opened"), ledger.start("lung", "opened")
        moved = ledger.move(liver, 0, "scored")
        assert list(ledger.places()) == [moved, lung]

    def test_who_comes_late_moves_nothing(self, new_ledger: NewLedger) -> None:
        ledger = new_ledger()
        before = ledger.start("liver", "opened")
        after = ledger.move(before, 0, "scored")
        with pytest.raises(ConflictError, match="Somebody else moved it first"):
            new_ledger().move(before, 0, "scored")
        assert ledger.place("liver") == after

    def test_moving_a_campaign_nobody_started_is_a_conflict(self, new_ledger: NewLedger) -> None:
        with pytest.raises(ConflictError, match="does not know it"):
            new_ledger().move(CampaignPlace("liver", 0, "opened", 0), 0, "scored")

    def test_of_many_who_make_the_same_move_at_once_one_does(self, new_ledger: NewLedger) -> None:
        before = new_ledger().start("liver", "opened")
        ledgers = [new_ledger() for _ in range(8)]
        assert _num_that_succeed([partial(ledger.move, before, 0, "scored") for ledger in ledgers]) == 1
        assert new_ledger().place("liver") == CampaignPlace("liver", 0, "scored", 1)

    def test_an_alias_points_where_it_was_pointed(self, new_ledger: NewLedger) -> None:
        ledger = new_ledger()
        assert ledger.alias("liver", "champion") is None
        ledger.point("liver", "champion", "c1", expected=None)
        ledger.point("liver", "champion", "c2", expected="c1")
        assert new_ledger().alias("liver", "champion") == "c2"
        assert new_ledger().alias("liver", "challenger") is None
        assert new_ledger().alias("lung", "champion") is None

    def test_every_alias_is_listed_by_model(self, new_ledger: NewLedger) -> None:
        ledger = new_ledger()
        ledger.point("lung", "champion", "c2", expected=None)
        ledger.point("liver", "champion", "c1", expected=None)
        assert list(new_ledger().aliases().items()) == [(("liver", "champion"), "c1"), (("lung", "champion"), "c2")]

    def test_an_alias_that_is_dropped_points_nowhere_and_no_other_does(self, new_ledger: NewLedger) -> None:
        ledger = new_ledger()
        for alias in ("champion", "canary"):
            ledger.point("liver", alias, "c1", expected=None)
        for _ in range(2):
            ledger.drop("liver", "canary")
        assert new_ledger().alias("liver", "canary") is None
        assert new_ledger().alias("liver", "champion") == "c1"
        ledger.point("liver", "canary", "c2", expected=None)

    def test_pointing_an_alias_where_it_points_does_nothing(self, new_ledger: NewLedger) -> None:
        ledger = new_ledger()
        for _ in range(2):
            ledger.point("liver", "champion", "c1", expected=None)
        for _ in range(2):
            ledger.point("liver", "champion", "c2", expected="c1")
        assert ledger.alias("liver", "champion") == "c2"

    @pytest.mark.parametrize("expected", [None, "c0"])
    def test_an_alias_that_points_elsewhere_is_not_moved(self, new_ledger: NewLedger, expected: str | None) -> None:
        ledger = new_ledger()
        ledger.point("liver", "champion", "c1", expected=None)
        with pytest.raises(ConflictError, match="points at c1"):
            ledger.point("liver", "champion", "c2", expected=expected)
        assert ledger.alias("liver", "champion") == "c1"

    def test_of_many_who_point_an_alias_at_once_one_does(self, new_ledger: NewLedger) -> None:
        ledgers = {f"c{n}": new_ledger() for n in range(8)}
        tries = [partial(ledger.point, "liver", "champion", to, expected=None) for to, ledger in ledgers.items()]
        assert _num_that_succeed(tries) == 1

    def test_a_lease_is_held_by_one(self, new_ledger: NewLedger) -> None:
        ledger = new_ledger()
        assert ledger.hold("campaign/liver", "me", 60) == "me"
        assert new_ledger().hold("campaign/liver", "you", 60) == "me"
        assert ledger.hold("campaign/liver", "me", 60) == "me"
        assert ledger.hold("campaign/lung", "you", 60) == "you"

    def test_a_lease_given_back_or_run_out_is_free(self, new_ledger: NewLedger) -> None:
        ledger = new_ledger()
        ledger.hold("a", "me", 60)
        ledger.release("a", "me")
        assert ledger.hold("a", "you", -1) == "you"
        assert ledger.hold("a", "me", 60) == "me"

    def test_nobody_gives_back_somebody_elses_lease(self, new_ledger: NewLedger) -> None:
        ledger = new_ledger()
        ledger.hold("a", "me", 60)
        ledger.release("a", "you")
        assert ledger.hold("a", "you", 60) == "me"

    def test_leases_that_are_good_are_listed_with_who_holds_them(self, new_ledger: NewLedger) -> None:
        ledger = new_ledger()
        ledger.hold("campaign/liver", "me", 60)
        ledger.hold("campaign/lung", "you", -1)
        assert new_ledger().holders() == {"campaign/liver": "me"}

    def test_of_many_who_want_a_lease_at_once_one_gets_it(self, new_ledger: NewLedger) -> None:
        ledgers = [new_ledger() for _ in range(8)]
        with ThreadPoolExecutor(8) as threads:
            held = list(threads.map(lambda pair: pair[1].hold("a", f"h{pair[0]}", 60), enumerate(ledgers)))
        assert len(set(held)) == 1

    def test_what_a_tool_first_called_a_task_stands(self, new_ledger: NewLedger) -> None:
        ledger = new_ledger()
        ledger.remember_tasks("q1", {"a": "17", "b": "18"})
        ledger.remember_tasks("q1", {"b": "99", "c": "19"})
        ledger.remember_tasks("q2", {})
        assert new_ledger().external_ids("q1") == {"a": "17", "b": "18", "c": "19"}
        assert new_ledger().external_ids("q2") == {}

    def test_restoring_replaces_campaigns_and_aliases(self, new_ledger: NewLedger) -> None:
        ledger = new_ledger()
        ledger.start("gone", "opened")
        ledger.point("gone", "champion", "c1", expected=None)
        place = CampaignPlace("liver", 3, "trained", 29)
        for _ in range(2):
            ledger.restore([place], {("liver", "champion"): "c7"})
        assert list(new_ledger().places()) == [place]
        assert new_ledger().alias("gone", "champion") is None
        assert new_ledger().alias("liver", "champion") == "c7"
        assert ledger.move(place, 3, "evaluated").version == 30


def _num_that_succeed(tries: Sequence[Callable[[], object]]) -> int:
    def attempt(one: Callable[[], object]) -> bool:
        try:
            one()
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(len(tries)) as threads:
        return sum(threads.map(attempt, tries))
