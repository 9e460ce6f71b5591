"""A campaign: rounds of asking, training and promoting until the budget is spent.

`Campaign.advance` makes the next move: it runs the steps, writes the event, tells the audit log,
and moves the ledger, in this order. It may be called by anyone, twice, or be killed anywhere: steps that
are done are done, an event that is written is not written again, and a move is made once.
"""

from collections.abc import Callable

from hilum.core.errors import ConflictError, NotFoundError, WaitingForPeople
from hilum.core.ids import checked_name
from hilum.core.ports import Annotator, CampaignPlace, Executor, Ledger
from hilum.core.recipes import CampaignRecipe
from hilum.core.resources import Resources
from hilum.loop import moves
from hilum.loop.accounts import record_move
from hilum.loop.budget import num_selected, seconds_spent
from hilum.loop.choices import check_choices
from hilum.loop.definition import Definition, known_campaigns, read_definition, write_definition
from hilum.loop.events import Event, read_event, round_events, runs_of, write_event
from hilum.loop.lease import claimed
from hilum.loop.people import Agreement, Person, agreement_of, people_of
from hilum.loop.stages import Stage, next_stages
from hilum.loop.status import CampaignStatus, asked_and_told, summarise
from hilum.loop.stopping import is_finished
from hilum.loop.tracing import move_of, tell
from hilum.loop.walked import walked
from hilum.steps.promote import CHAMPION
from hilum.store.labels import NONE
from hilum.store.layout import Store
from hilum.store.ledger import open_ledger


class Campaign:
    """One campaign of a store. Make it with `create`, or find it again with `open`."""

    def __init__(self, store: Store, definition: Definition, ledger: Ledger) -> None:
        self.store = store
        self.name = definition.name
        self.recipe: CampaignRecipe = definition.recipe
        self.ingest_id = definition.ingest_id
        self._ledger = ledger

    @classmethod
    def create(
        cls,
        store: Store,
        name: str,
        recipe: CampaignRecipe,
        *,
        ingest_id: str | None = None,
        ledger: Ledger | None = None,
    ) -> "Campaign":
        """Begin a campaign, or find the one that was begun with the same recipe and images.

        Without ``ingest_id`` the store's only ingest is meant. ConflictError when the name is
        taken by another recipe.
        """
        check_choices(recipe)
        definition = write_definition(store, checked_name("Campaign", name), recipe, ingest_id)
        campaign = cls(store, definition, ledger or open_ledger(store))
        opened = read_event(store, name, 0, Stage.OPENED)
        if opened is None or campaign._ledger.place(name) is None:
            record_move(store, opened or campaign._open_round(0, labels=NONE), was_there=opened is not None)
        campaign._ledger.start(name, Stage.OPENED.value)
        return campaign

    @classmethod
    def open(cls, store: Store, name: str, *, ledger: Ledger | None = None) -> "Campaign":
        """The campaign of that name; NotFoundError, with a guess, if there is none."""
        return cls(store, read_definition(store, name), ledger or open_ledger(store))

    @property
    def finished(self) -> bool:
        """True when the budget is spent, nobody is left to ask, or the stop rule says enough."""
        return self._is_finished(self._place())

    @property
    def stage(self) -> Stage:
        return Stage(self._place().stage)

    @property
    def round_number(self) -> int:
        return self._place().round_number

    def status(self) -> CampaignStatus:
        """Where the campaign stands, round by round, with its learning curve."""
        return summarise(self.name, self.recipe, self._rounds(self._place()))

    def people(self) -> tuple[Person, ...]:
        """Who has answered so far, how much, how fast and how well."""
        rounds = asked_and_told(self.status().history)
        return people_of(self.store, rounds[-1][1], rounds) if rounds else ()

    def agreement(self) -> Agreement | None:
        """How far those who have answered agree; None where no two answered the same."""
        rounds = asked_and_told(self.status().history)
        return agreement_of(self.store, rounds[-1][1]) if rounds else None

    def run(
        self,
        *,
        executor: Executor,
        annotator: Annotator,
        resources: Resources | None = None,
        on_event: Callable[[Event], None] | None = None,
    ) -> CampaignStatus:
        """Advance until the campaign is finished; WaitingForPeople when answers are missing."""
        while not self.finished:
            event = self.advance(executor=executor, annotator=annotator, resources=resources)
            if on_event is not None and event is not None:
                on_event(event)
        return self.status()

    def advance(self, *, executor: Executor, annotator: Annotator, resources: Resources | None = None) -> Event | None:
        """Make the next move and return its event; None when the campaign is finished.

        Raises WaitingForPeople when the move needs answers that are not there, and
        ConflictError when another process is working on this campaign.
        """
        with claimed(self._ledger, f"campaign/{self.name}"):
            place = self._place()
            if self._is_finished(place):
                return None
            recorded = self._recorded(place)
            event = recorded or self._next_event(place, executor, annotator, resources or Resources())
            record_move(self.store, event, was_there=recorded is not None)
            self._move(place, event)
            tell(self.store, event, self.ingest_id)
            return event

    def _next_event(
        self, place: CampaignPlace, executor: Executor, annotator: Annotator, resources: Resources
    ) -> Event:
        if Stage(place.stage).is_end:
            return self._open_round(place.round_number + 1, labels=self._runs(place)["collect"])
        with move_of(self.name, self.ingest_id, place.round_number, Stage(place.stage)):
            return self._make_once(place, executor, annotator, resources)

    def _make_once(self, place: CampaignPlace, executor: Executor, annotator: Annotator, resources: Resources) -> Event:
        try:
            return self._make(place, executor, annotator, resources)
        except ConflictError:
            # Too late: another process made this move, and may have gone on to the next round's champion.
            event = self._recorded(place)
            if event is None:
                raise
            return event

    def _make(self, place: CampaignPlace, executor: Executor, annotator: Annotator, resources: Resources) -> Event:
        before = self._rounds(place)[:-1]
        turn = moves.Turn(
            store=self.store,
            name=self.name,
            recipe=self.recipe,
            round_number=place.round_number,
            runs=self._runs(place),
            num_asked_before=sum(num_selected(events) for events in before),
            seconds_before=seconds_spent(before),
            ledger=self._ledger,
            executor=executor,
            annotator=annotator,
            resources=resources,
        )
        try:
            outcome = moves.make(Stage(place.stage), turn)
        except WaitingForPeople as waiting:
            raise WaitingForPeople(f"Round {place.round_number} of campaign '{self.name}' is {waiting}") from None
        event = Event(
            campaign=self.name,
            round_number=place.round_number,
            stage=outcome.stage,
            runs=outcome.runs,
            seconds=outcome.seconds,
            counts=outcome.counts,
        )
        return write_event(self.store, event)

    def _open_round(self, round_number: int, *, labels: str) -> Event:
        """Write down what the round starts from, so that nothing that happens later changes it."""
        champion = self._ledger.alias(self.name, CHAMPION) or NONE
        runs = {"champion": champion, "labels": labels, "ingest": self.ingest_id}
        opened = Event(campaign=self.name, round_number=round_number, stage=Stage.OPENED, runs=runs)
        return write_event(self.store, opened)

    def _recorded(self, place: CampaignPlace) -> Event | None:
        """The event of the next move, if somebody wrote it and did not live to move the ledger."""
        stage = Stage(place.stage)
        number = place.round_number + stage.is_end
        found = (read_event(self.store, self.name, number, after) for after in next_stages(stage))
        return next((event for event in found if event is not None), None)

    def _move(self, place: CampaignPlace, event: Event) -> None:
        try:
            self._ledger.move(place, event.round_number, event.stage.value)
        except ConflictError:
            now = self._place()
            if now.version <= place.version:
                raise
            # Somebody else made the same move, from the same event: it is made.

    def _place(self) -> CampaignPlace:
        place = self._ledger.place(self.name)
        if place is None:
            raise NotFoundError(
                f"The ledger does not know campaign '{self.name}', which the store has. "
                "Write the ledger again from the store with `hilum doctor --rebuild`."
            )
        return place

    def _is_finished(self, place: CampaignPlace) -> bool:
        stage = Stage(place.stage)
        if not (stage.is_end or stage in (Stage.SCORED, Stage.SELECTED)):
            return False
        return is_finished(self.recipe.campaign, self._rounds(place))

    def _rounds(self, place: CampaignPlace) -> list[dict[Stage, Event]]:
        """The events of every round up to where the ledger is."""
        return walked(self.store, place)

    def _runs(self, place: CampaignPlace) -> dict[str, str]:
        return runs_of(round_events(self.store, self.name, place.round_number))


def campaigns(store: Store) -> list[str]:
    """The names of a store's campaigns."""
    return known_campaigns(store)
