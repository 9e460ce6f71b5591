"""Running a sweep with its trials shown live."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from hilum.adapters.inline import InlineExecutor
from hilum.adapters.ray_tune import run_trials
from hilum.cli.chain import checked_id
from hilum.cli.composition import annotator_of, engine
from hilum.cli.console import table
from hilum.core.sweeps import TuneRecipe
from hilum.loop.choices import check_choices
from hilum.loop.definition import check_prepared, only_ingest
from hilum.loop.starts import check_starts
from hilum.loop.trials import TrialNews, told, trials_of
from hilum.loop.tune import OnNews, TrialBench, sweep_inputs, tune
from hilum.store.labels import NONE
from hilum.store.layout import Store, require
from hilum.store.manifest import Manifest, read_manifest


def run_sweep(
    store: Store, recipe: TuneRecipe, *, ingest_id: str | None, labels: str, on: str, address: str | None
) -> tuple[Manifest, bool]:
    """The sweep's manifest, and whether it was there already."""
    ingest_id = ingest_id or only_ingest(store)
    check_prepared(recipe.campaign, read_manifest(require(store.run("ingest", ingest_id), f"ingest '{ingest_id}'")))
    if labels != NONE:
        checked_id("label set", store.label_set(labels))
    check_choices(recipe.campaign)
    check_starts(store, recipe.campaign, ingest_id)
    trials_of(recipe)  # before a Ray is started for nothing
    ready = engine(on=on, address=address)
    inputs = sweep_inputs(
        store,
        recipe,
        ingest_id=ingest_id,
        labels=labels,
        executor=ready.executor,
        make_annotator=annotator_of,
        resources=ready.resources,
    )
    told_anything = False

    def ran(*arguments: Any, **options: Any) -> None:
        nonlocal told_anything
        told_anything = True
        run_trials(*arguments, **options)

    with _shown_live() as show:
        manifest = tune(
            store,
            recipe,
            inputs=inputs,
            bench=TrialBench(run_trials=ran, make_executor=InlineExecutor),
            resources=ready.resources,
            on_news=show,
        )
    return manifest, not told_anything


def trials_table(trials: Sequence[Mapping[str, Any]], metric: str, *, best: int | None = None) -> Table:
    """Every trial: what was tried, how far it came, what it scored."""
    rows = [
        [
            f"{one['number']}{' *' if one['number'] == best else ''}",
            told(one["settings"]),
            one["end"] or "under way",
            one["step"],
            one["score"],
        ]
        for one in trials
    ]
    return table("", ["trial", "settings", "", "steps", metric], rows)


@contextmanager
def _shown_live() -> Iterator[OnNews | None]:
    """A table of all trials on stderr, kept up to date; nothing where nobody watches."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    with Live(console=console, transient=True, refresh_per_second=2) as live:
        yield lambda news: live.update(_news_table(news))


def _news_table(news: Sequence[TrialNews]) -> Table:
    rows = [
        {"number": n.trial.number, "settings": n.trial.settings, "end": n.end, "step": n.step, "score": n.score}
        for n in news
    ]
    return trials_table(rows, next((n.rungs[-1]["metric"] for n in news if n.rungs), "score"))
