"""Inference as one ASGI application: ``uvicorn --factory hilum_services.inference.app:from_environment``."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hilum.adapters.api_keys import KeyFile
from hilum.adapters.meters import PrometheusMeter
from hilum.adapters.telemetry import begin, traces_are_sent
from hilum.cli.composition import ledger_of, store_at
from hilum.cli.settings import read_settings
from hilum.core.errors import RequestError
from hilum.core.ports import Meter
from hilum_services.inference.access import Door
from hilum_services.inference.counter import Counter
from hilum_services.inference.documented import files, refusals
from hilum_services.inference.jobs import Jobs, jobs_router
from hilum_services.inference.limits import Limits
from hilum_services.inference.models import models_router
from hilum_services.inference.pacing import Pace, PacedRefusals
from hilum_services.inference.predictions import predictions_router
from hilum_services.inference.service import Service
from hilum_services.inference.tokens import tokens_of
from hilum_services.refusals import answer_errors, refusal
from hilum_services.traced import SILENT, Traced

_HEADERS = [(b"x-content-type-options", b"nosniff"), (b"content-security-policy", b"default-src 'none'")]
DESCRIPTION = """What hilum's models say of an image: a class, or an outline on the image's own grid.

Every answer names the model's version that made it. Errors are `{"error": sentence}`."""


def make_app(service: Service, door: Door) -> FastAPI:
    """The service of one store, for uvicorn and as an ingress of Ray Serve."""

    jobs = Jobs(service)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with jobs.running():
            yield
        service.close()

    app = FastAPI(
        title="hilum inference",
        version="1",
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/v1/openapi.json",
        **SILENT,
    )
    answer_errors(app)
    app.include_router(predictions_router(Counter(service, door, jobs)))
    app.include_router(jobs_router(jobs, door))
    app.include_router(models_router(service, door))

    @app.get("/v1/health", tags=["state"])
    async def health() -> JSONResponse:
        """Whether the process lives."""
        return JSONResponse({"status": "UP"})

    @app.get("/v1/ready", tags=["state"], responses=refusals(503))
    async def ready() -> Response:
        """Whether store and ledger can be read now."""
        if await run_in_threadpool(service.is_ready):
            return JSONResponse({"status": "READY"})
        return refusal(503, "The store or its ledger cannot be read.")

    if isinstance(service.meter, PrometheusMeter):
        app.include_router(metrics_router(service.meter, door))
    app.add_middleware(WithHeaders)
    app.add_middleware(PacedRefusals, pace=Pace(service.limits.refusals_per_second))
    if traces_are_sent():
        app.add_middleware(Traced)
    return app


def metrics_router(meter: PrometheusMeter, door: Door) -> APIRouter:
    """``/metrics`` of this process. Where Ray runs many, its own exporters tell of all."""
    router = APIRouter(tags=["state"])

    @router.get("/metrics", responses={**refusals(), **files("text/plain")}, response_class=Response)
    async def metrics(request: Request) -> Response:
        """Everything counted since this process began, in Prometheus's text format."""
        holder = await door.admitted(request, "metrics")
        if isinstance(holder, Response):
            return holder
        return Response(meter.exposition(), media_type="text/plain; version=0.0.4")

    return router


class WithHeaders:
    """Adds what every answer says to browsers. Plain ASGI, so that a caller who leaves is still seen."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def adding(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_HEADERS]
            await send(message)

        await self._app(scope, receive, adding if scope["type"] == "http" else send)


class BodyFirst:
    """Waits once before anything is done: Ray Serve fetches the body in a task of its own, which can only then begin.

    What is looked up and checked first takes half a millisecond, in which the body is on its way from the proxy.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0)
        await self._app(scope, receive, send)


def from_environment(
    store_url: str | None = None,
    *,
    meter: Meter | None = None,
    batch_size: int = 8,
    keep_from: float | None = None,
    shallower_above: int | None = None,
    is_alone: bool = True,
) -> FastAPI:
    """The service that the ``HILUM_*`` environment describes: with keys, or opened to everybody in so many words.

    Unless the process does something else too (``is_alone`` false), torch's threads are all its engine's.
    """
    begin()
    door = door_from_environment()
    store = store_at(store_url)
    counted = meter or PrometheusMeter()
    service = Service(
        store,
        ledger_of(store),
        Limits(),
        counted,
        batch_size=batch_size,
        keep_from=keep_from,
        shallower_above=shallower_above,
        is_alone=is_alone,
    )
    app = make_app(service, door)
    if is_alone:
        gc.collect()
        gc.freeze()  # what was made so far stays: looking through it for what may go stops every answer for 0.3 s
    return app


def door_from_environment() -> Door:
    """Who may ask, by HILUM_API_KEYS_FILE, HILUM_OIDC_ISSUER or HILUM_INFERENCE_OPEN; RequestError with none set."""
    settings = read_settings()
    if settings.inference_open:
        return Door(is_open=True)
    file, tokens = settings.api_keys_file, tokens_of(settings)
    if file is None and tokens is None:
        raise RequestError(
            "Who may ask? Make a key with `hilum serve key NAME` and set HILUM_API_KEYS_FILE, or name the issuer of "
            "tokens in HILUM_OIDC_ISSUER, or, on your own machine, set HILUM_INFERENCE_OPEN=true."
        )
    return Door(None if file is None else KeyFile(file.expanduser()), tokens)
