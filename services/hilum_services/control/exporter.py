"""The control exporter as one ASGI application: what stands in a store and its ledger, for a Prometheus.

Threads look at the store every so often; whoever asks is told what was seen last, from memory.
"""

import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from fastapi import FastAPI
from fastapi.responses import JSONResponse

from hilum.adapters.meters import PrometheusMeter
from hilum.cli.composition import annotator_of, ledger_of, store_at
from hilum.cli.settings import read_settings
from hilum.core.errors import RequestError
from hilum.core.ports import Ledger
from hilum.loop.observing.annotators import Annotators, MakeAnnotator
from hilum.loop.observing.campaigns import Campaigns
from hilum.loop.observing.jobs import Jobs
from hilum.loop.observing.observer import Observer, Rising
from hilum.loop.observing.places import Places
from hilum.loop.observing.runs import Ingests, Simulations
from hilum.store.layout import Store
from hilum_services.inference.access import Door
from hilum_services.metrics_door import metrics_door, metrics_router
from hilum_services.refusals import answer_errors, refusal
from hilum_services.traced import SILENT

EVERY_SECONDS, ASK_EVERY_SECONDS = 15.0, 60.0
_STOPPING_SECONDS = 10.0


class Exporter:
    """Looks at a store every ``every_seconds``, and asks where people answer every ``ask_every_seconds``."""

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        make_annotator: MakeAnnotator,
        *,
        every_seconds: float = EVERY_SECONDS,
        ask_every_seconds: float = ASK_EVERY_SECONDS,
    ) -> None:
        self._campaigns = Campaigns(store, ledger)
        parts = (Places(store, ledger), self._campaigns, Ingests(store), Simulations(store), Jobs(store))
        self._store = Observer("store", parts)
        self._people = Observer("annotators", (Annotators(store, self._campaigns, make_annotator),))
        self._every = {self._store.name: every_seconds, self._people.name: ask_every_seconds}
        self._added_up, self._rising = PrometheusMeter(), Rising()
        self._lock, self._stopped = threading.Lock(), threading.Event()

    @property
    def has_looked(self) -> bool:
        """Whether there is anything to tell yet."""
        return self._store.has_looked

    def look(self) -> None:
        """Look at everything once."""
        self._look(self._store)
        self._look(self._people)

    def exposition(self) -> bytes:
        """All series, in Prometheus's text format."""
        with self._lock:
            meter = PrometheusMeter()
            rising = self._rising.onto(meter)
            for observer in (self._store, self._people):
                observer.tell(rising)
            return meter.exposition() + self._added_up.exposition()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Look again and again, in threads of its own."""
        threads = [
            threading.Thread(target=self._run, args=(observer,), name=observer.name, daemon=True)
            for observer in (self._store, self._people)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            for thread in threads:
                thread.join(_STOPPING_SECONDS)

    def _run(self, observer: Observer) -> None:
        if observer is self._people:
            while not self.has_looked and not self._stopped.wait(0.1):
                pass
        while not self._stopped.is_set():
            self._look(observer)
            self._stopped.wait(self._every[observer.name])

    def _look(self, observer: Observer) -> None:
        observer.look()
        if observer is self._store:
            with self._lock:
                self._campaigns.tell_new_seconds(self._added_up)


def make_app(exporter: Exporter, door: Door) -> FastAPI:
    """The exporter's address, for uvicorn."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with exporter.running():
            yield

    app = FastAPI(title="hilum metrics", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None, **SILENT)
    answer_errors(app)
    app.include_router(metrics_router(exporter.exposition, door))

    @app.get("/health")
    async def health() -> JSONResponse:
        return JSONResponse({"status": "UP"})

    @app.get("/ready")
    async def ready() -> JSONResponse:
        """Whether the first look is over: before it there is nothing to tell."""
        if exporter.has_looked:
            return JSONResponse({"status": "READY"})
        return refusal(503, "The store is being looked at for the first time.")

    return app


def from_environment(
    store_url: str | None = None, *, every_seconds: float = EVERY_SECONDS, on_loopback: bool = False
) -> FastAPI:
    """The exporter that the ``HILUM_*`` environment describes. Without keys nobody but this machine is answered."""
    door = metrics_door(read_settings())
    if door is None and not on_loopback:
        raise RequestError(
            "Who may ask? Make a key (`hilum serve key prometheus --may metrics`) and set HILUM_API_KEYS_FILE, or say "
            "HILUM_METRICS_OPEN=true, or listen on 127.0.0.1."
        )
    store = store_at(store_url)
    exporter = Exporter(store, ledger_of(store), annotator_of, every_seconds=every_seconds)
    return make_app(exporter, door or Door(is_open=True))
