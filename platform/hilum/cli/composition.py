"""The composition root: the only place that decides which adapters a command works with."""

from dataclasses import dataclass
from functools import partial

from hilum.core.ports import Annotator, Executor, Ledger
from hilum.core.recipes import Choice
from hilum.core.resources import Resources
from hilum.store.layout import Store


@dataclass(frozen=True)
class Engine:
    """Where work runs, and how fast."""

    executor: Executor
    resources: Resources


def engine(*, on: str | Resources = "local", address: str | None = None, store: Store | None = None) -> Engine:
    """Ray: the cluster at ``address`` (or this Ray Job's own), a local one otherwise. ``on`` names the resources.

    Trainings of ``store`` are shown step by step, and tracked where HILUM_TRACK says so.
    """
    from hilum.cli.progress import ShownExecutor
    from hilum.cli.settings import read_settings
    from hilum.loop import recipe_files

    resources = recipe_files.resources(on) if isinstance(on, str) else on
    track = read_settings().track if store is not None else None
    make_tracker = None
    if track is not None:
        from hilum.adapters.tracking import tracker_maker

        make_tracker = tracker_maker(track)
    return Engine(ShownExecutor(partial(connected, address), store=store, make_tracker=make_tracker), resources)


def connected(address: str | None) -> Executor:
    """Ray, started or connected to now."""
    from hilum.adapters.ray_data import RayExecutor, connect

    connect(address)
    return RayExecutor()


def store_at(url: str | None) -> Store:
    """The store a command is about: ``--store``, HILUM_STORE, or the current folder."""
    from hilum.cli.settings import read_settings
    from hilum.store.opening import open_store

    return open_store(url or read_settings().store)


def ledger_of(store: Store) -> Ledger:
    """The store's ledger: SQLite in the store, or the database that HILUM_LEDGER_URL names."""
    from hilum.cli.settings import read_settings
    from hilum.store.ledger import open_ledger

    url = read_settings().ledger_url
    return open_ledger(store, url.get_secret_value() if url else None)


def annotator_of(store: Store, ingest_id: str, choice: Choice) -> Annotator:
    """Whoever a recipe says will be asked."""
    from hilum.adapters import directory, oracle  # noqa: F401 (importing registers them)
    from hilum.adapters.label_studio import annotator as _label_studio  # noqa: F401
    from hilum.core.registry import annotators

    annotator: Annotator = annotators.bind(choice)(store, ingest_id)
    return annotator


def where_people_answer(store: Store, choice: Choice) -> str:
    """The folder or the address at which people find the questions, if they are asked that way."""
    from hilum.adapters.directory import DirectoryParams

    if choice.kind == "label_studio":
        from hilum.adapters.label_studio.connection import access

        return access().url
    if choice.kind != "directory":
        return ""
    folder = DirectoryParams.model_validate(choice.params).folder
    return folder if folder.startswith("/") or "://" in folder else store.path(folder)
