"""`hilum campaign` and `hilum round`: spend a budget of answers, round by round."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from hilum.cli.console import reply, table
from hilum.cli.options import Address, CampaignName, Ingest, Json, On, StoreUrl

if TYPE_CHECKING:
    from hilum.core.recipes import Choice
    from hilum.loop.campaign import Campaign
    from hilum.loop.events import Event
    from hilum.loop.people import Person
    from hilum.loop.status import CampaignStatus, Metrics
    from hilum.store.layout import Store

campaign_group = typer.Typer(no_args_is_help=True, help="Begin campaigns and run them until people are needed.")
round_group = typer.Typer(no_args_is_help=True, help="Take a campaign one stage further, and see how it goes.")

RecipeOption = Annotated[
    str, typer.Option("--recipe", metavar="RECIPE", help="A YAML file, or a shipped recipe's name.")
]


@campaign_group.command("create", epilog="Example: hilum campaign create liver --recipe liver.yaml")
def create(
    campaign: CampaignName, recipe: RecipeOption, store: StoreUrl = None, ingest: Ingest = None, json_: Json = False
) -> None:
    """Begin a campaign: a name, a recipe and the images it is about. None of the three changes later."""
    from hilum.cli.composition import ledger_of, store_at
    from hilum.loop import recipe_files
    from hilum.loop.campaign import Campaign, campaigns
    from hilum.loop.choices import NOTHING_AT_RANDOM, check_choices, random_share

    opened = store_at(store)
    loaded = recipe_files.campaign_recipe(recipe)
    check_choices(loaded)
    already_done = campaign in campaigns(opened)
    begun = Campaign.create(opened, campaign, loaded, ingest_id=ingest, ledger=ledger_of(opened))
    note = "" if random_share(loaded.select) else NOTHING_AT_RANDOM
    data = {"campaign": begun.name, "recipe_id": recipe_files.recipe_id(loaded), "already_done": already_done}
    how = "already done" if already_done else "begun"
    following = [_typed("campaign run", campaign, store)]
    reply(json_, {**data, "note": note}, f"campaign {begun.name}: {how}", next_commands=following, note=note)


@campaign_group.command("run", epilog="Example: hilum campaign run liver")
def run(
    campaign: CampaignName,
    *,
    store: StoreUrl = None,
    on: On = "local",
    address: Address = None,
    json_: Json = False,
) -> None:
    """Run a campaign until its budget is spent, or until people have to answer (exit code 3)."""
    found = _open(campaign, store)
    already_done = found.finished
    if not already_done:
        from hilum.cli.composition import annotator_of, engine

        annotator = annotator_of(found.store, found.ingest_id, found.recipe.annotator)
        again = _typed("campaign run", campaign, store)
        ready = engine(on=on, address=address, store=found.store)
        with _telling_where(found.store, found.recipe.annotator, again):
            found.run(executor=ready.executor, annotator=annotator, resources=ready.resources, on_event=_say_event)
    _tell_status(json_, found, store, already_done=already_done)


@campaign_group.command("list", epilog="Example: hilum campaign list")
def list_(store: StoreUrl = None, json_: Json = False) -> None:
    """List the store's campaigns and where each is."""
    from hilum.cli.composition import ledger_of, store_at
    from hilum.loop.campaign import Campaign, campaigns

    opened = store_at(store)
    ledger = ledger_of(opened)
    found = [Campaign.open(opened, name, ledger=ledger).status() for name in campaigns(opened)]
    rows = [[s.name, s.question, s.round_number, str(s.stage), f"{s.num_answered}/{s.num_in_total}"] for s in found]
    next_commands = [_typed("round status", found[0].name, store)] if found else []
    drawn = table("", ["campaign", "question", "round", "stage", "answers"], rows)
    reply(json_, {"campaigns": [_summary(status) for status in found]}, drawn, next_commands=next_commands)


@round_group.command("next", epilog="Example: hilum round next liver")
def next_(
    campaign: CampaignName,
    *,
    store: StoreUrl = None,
    on: On = "local",
    address: Address = None,
    json_: Json = False,
) -> None:
    """Take a campaign one stage further: score, select, publish, collect, train, evaluate or promote."""
    from hilum.cli.composition import annotator_of, engine

    found = _open(campaign, store)
    again = _typed("round next", campaign, store)
    if found.finished:
        _tell_status(json_, found, store, already_done=True)
        return
    annotator = annotator_of(found.store, found.ingest_id, found.recipe.annotator)
    ready = engine(on=on, address=address, store=found.store)
    with _telling_where(found.store, found.recipe.annotator, again):
        event = found.advance(executor=ready.executor, annotator=annotator, resources=ready.resources)
    if event is None:
        _tell_status(json_, found, store, already_done=True)
        return
    data = event.model_dump(mode="json")
    reply(json_, data, _event_line(event), next_commands=[again])


@round_group.command("status", epilog="Example: hilum round status liver")
def status(campaign: CampaignName, store: StoreUrl = None, json_: Json = False) -> None:
    """Say where a campaign stands: its round, its stage, what was asked, of whom, and what the champion reaches."""
    _tell_status(json_, _open(campaign, store), store)


@round_group.command("log", epilog="Example: hilum round log liver")
def log(campaign: CampaignName, store: StoreUrl = None, json_: Json = False) -> None:
    """List every move of a campaign: when, which runs made it, and how long they took."""
    from hilum.loop.events import history

    found = _open(campaign, store)
    events = [event for events in history(found.store, found.name) for event in events.values()]
    rows = [
        [e.round_number, str(e.stage), e.at, " ".join(f"{k}={v}" for k, v in e.runs.items()), sum(e.seconds.values())]
        for e in events
    ]
    drawn = table("", ["round", "stage", "at", "runs", "seconds"], rows)
    told = [f"round {e.round_number} took over {e.counts['transfer']}" for e in events if "transfer" in e.counts]
    reply(json_, {"campaign": found.name, "events": [e.model_dump(mode="json") for e in events]}, drawn, *told)


def _open(name: str, store: str | None) -> "Campaign":
    from hilum.cli.composition import ledger_of, store_at
    from hilum.loop.campaign import Campaign

    opened = store_at(store)
    return Campaign.open(opened, name, ledger=ledger_of(opened))


@contextmanager
def _telling_where(store: "Store", annotator: "Choice", again: str) -> Iterator[None]:
    """Whoever is told to wait is also told where the questions are, and what to type when they are answered."""
    from hilum.cli.composition import where_people_answer
    from hilum.core.errors import WaitingForPeople

    try:
        yield
    except WaitingForPeople as waiting:
        folder = where_people_answer(store, annotator)
        there = f" The questions are in {folder}." if folder else ""
        raise WaitingForPeople(f"{waiting}{there} When they are answered, type: {again}") from None


def _say_event(event: "Event") -> None:
    from hilum.adapters.telemetry import says_json

    if not says_json():  # there the loop's own line says more
        Console(stderr=True, highlight=False).print(_event_line(event))


def _event_line(event: "Event") -> str:
    seconds = sum(event.seconds.values())
    facts = [f"{name} {value}" for name, value in event.counts.items() if isinstance(value, int | str)]
    facts += [f"{name} {value:.3f}" for name, value in event.counts.items() if isinstance(value, float)]
    return f"round {event.round_number} {event.stage} ({seconds:.1f} s) {', '.join(facts)}".rstrip()


def _tell_status(json_: bool, campaign: "Campaign", store: str | None, *, already_done: bool = False) -> None:
    from dataclasses import asdict

    from hilum.loop.observing.crowd import numbers_of
    from hilum.loop.report.people import agreement_line

    found, people, agreement = campaign.status(), campaign.people(), campaign.agreement()
    numbers = numbers_of(campaign.store, [row.runs["collect"] for row in found.history if "collect" in row.runs])
    where = f"finished, {found.ending}" if found.finished else f"round {found.round_number}, {found.stage}"
    lines: list[Any] = [f"campaign {found.name}: {'already done, ' if already_done else ''}{where}"]
    lines.append(f"  answers: {found.num_answered} of at most {found.num_in_total} ({found.num_asked} asked)")
    if found.champion_id:
        lines.append(f"  champion: {found.champion_id}")
    if found.metric and found.champion_metric is not None:
        lines.append(f"  {found.metric.replace('_', ' ')} on validation patients: {found.champion_metric:.3f}")
    lines += [_curve_table(found), _reuse_table(found), _people_table(found, people, numbers)]
    if agreement is not None:
        lines.append(f"  {agreement_line(agreement)}")
    following = [_typed("round log", found.name, store)]
    if not found.finished:
        following.insert(0, _typed("campaign run", found.name, store))
    data = {
        **_summary(found),
        "people": [{"number": numbers[person.annotator], **asdict(person)} for person in people],
        "agreement": None if agreement is None else asdict(agreement),
        "already_done": already_done,
    }
    reply(json_, data, *lines, next_commands=following)


def _curve_table(found: "CampaignStatus") -> Any:
    """Round by round what was reached, and after how much of people's time, where that is known."""
    from hilum.loop.report.tables import duration_text

    metric = found.metric or ""
    is_timed = any(point.seconds for point in found.curve)
    rows = [
        [
            point.round_number,
            point.num_labels,
            *([duration_text(point.seconds)] if is_timed else []),
            *_values(point.metrics, metric),
            "yes" if point.promoted else "no",
        ]
        for point in found.curve
    ]
    named = metric.replace("_", " ")
    spent = ["answers", "people's time"] if is_timed else ["answers"]
    columns = ["round", *spent, f"{named} (validation)", f"{named} (test)", "promoted"]
    return table("", columns, rows) if rows else ""


def _reuse_table(found: "CampaignStatus") -> Any:
    """What each round's training used of the rounds before it."""
    rows = [
        [
            row.round_number,
            row.reuse["num_new"],
            row.reuse["num_reused"],
            row.reuse["num_misclassified"],
            _share(row.reuse["label_reuse"]),
            _share(row.reuse["data_reuse"]),
            "yes" if row.reuse["model_reuse"] else "no",
            row.reuse["num_steps"],
        ]
        for row in found.history
        if row.reuse
    ]
    columns = ["round", "new", "reused", "misclassified", "label reuse", "data reuse", "model reuse", "steps"]
    return table("", columns, rows) if rows else ""


def _people_table(found: "CampaignStatus", people: "Sequence[Person]", numbers: "Mapping[str, int]") -> Any:
    """Who answered how much, how fast and how well, where they are several or tell their time.

    Their numbers are what metrics know them by.
    """
    from hilum.loop.report.people import headings, person_row

    is_told = len(people) > 1 or any(person.median_seconds is not None for person in people)
    rows = [
        [numbers[person.annotator], *(cell.text for cell in person_row(person, found.question))] for person in people
    ]
    columns = ["no.", *(f"{heading.text}\n{heading.detail}".strip() for heading in headings(found.question))]
    return table("", columns, rows) if is_told else ""


def _share(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.0f} %"


def _values(metrics: "Metrics", metric: str) -> list[float | None]:
    return [metrics.get(side, {}).get(metric) for side in ("validation", "test")]


def _summary(found: "CampaignStatus") -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(found)


def _typed(command: str, campaign: str, store: str | None) -> str:
    return f"hilum {command} {campaign}" + (f" --store {store}" if store else "")
