"""Running a simulation with its branches shown live, and writing its report."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from hilum.adapters.ray_data import RayExecutor
from hilum.cli.composition import annotator_of, connected, engine
from hilum.cli.console import table
from hilum.core.recipes import SimulateRecipe
from hilum.core.resources import Resources
from hilum.loop.branches import Branch, check_strategies
from hilum.loop.definition import only_ingest
from hilum.loop.report import Section, write_report
from hilum.loop.report.gather import section_of
from hilum.loop.simulate import STEP, STEP_VERSION, BranchProgress, Workbench, planned, simulate, watch
from hilum.store.layout import Store
from hilum.store.manifest import Manifest, Run


def run_simulation(
    store: Store, name: str, recipe: SimulateRecipe, *, ingest_id: str | None, on: str | Resources, address: str | None
) -> tuple[Manifest, bool]:
    """The simulation's manifest, and whether it was there already."""
    ingest_id = ingest_id or only_ingest(store)
    before = Run(store, STEP, STEP_VERSION, recipe, {"ingest": ingest_id, "name": name}).finished()
    if before is not None:
        return before, True
    check_strategies(name, recipe)  # before a Ray is started for nothing
    ready = engine(on=on, address=address)
    branches = planned(store, name, recipe, ingest_id=ingest_id, executor=ready.executor, resources=ready.resources)
    with _shown_live(store, branches):
        manifest = simulate(
            store,
            name,
            recipe,
            # Not the one that shows its progress: the live table shows it already, and more of it.
            executor=connected(address),
            workbench=Workbench(make_executor=RayExecutor, make_annotator=annotator_of),
            ingest_id=ingest_id,
            resources=ready.resources,
        )
    return manifest, False


def write_section_report(store: Store, manifest: Manifest, **about: Any) -> tuple[Section, str]:
    """The simulation as a section, and the path of the report that holds it."""
    section = section_of(store, manifest, **about)
    url = store.path("reports", f"{manifest.inputs['name']}.html")
    return section, write_report(url, [section], title=section.title)


@contextmanager
def _shown_live(store: Store, branches: Sequence[Branch]) -> Iterator[None]:
    """A table of all branches on stderr, kept up to date from their events alone."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    done = threading.Event()
    with Live(console=console, transient=True, refresh_per_second=2) as live:
        watcher = threading.Thread(target=_refresh, args=(live, store, list(branches), done), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join(timeout=5)


def _refresh(live: Live, store: Store, branches: list[Branch], done: threading.Event) -> None:
    for now in watch(store, branches, done=done.is_set):
        live.update(_branch_table(now))


def _branch_table(branches: Sequence[BranchProgress]) -> Table:
    rows = [
        [b.strategy, b.seed, "done" if b.finished else b.stage, f"{b.num_labels}/{b.num_in_total}", b.value]
        for b in branches
    ]
    return table("", ["strategy", "seed", "stage", "answers", "held-out score"], rows)
