"""Label Studio's ML backend protocol: ``/health /setup /predict /versions /webhook``.

Everything but /health and /webhook asks for Basic authentication. /webhook is called by Label Studio on its own, with
every event and without a password: it is answered, and nothing of it is read.
"""

import base64
import binascii
import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from hilum.adapters.label_studio.keys import PRE_ANNOTATION_PASSWORD, Keys, is_one_of, keys_named
from hilum.cli.composition import ledger_of, store_at
from hilum.cli.settings import read_settings
from hilum.core.errors import DataError, HilumError, RequestError
from hilum_services.bodies import body_of, is_json, parsed
from hilum_services.pre_annotation.drafting import INTENSITY, Drafter
from hilum_services.refusals import answer_errors, refusal
from hilum_services.traced import SILENT

LARGEST_BODY = 64 << 20
MOST_TASKS = 10_000
_log = logging.getLogger("hilum.services")


def make_app(drafter: Drafter, user: str, passwords: Keys) -> FastAPI:
    """The service, for uvicorn, for mounting, and as an ingress of Ray Serve."""
    app = FastAPI(title="hilum pre-annotation", docs_url=None, redoc_url=None, openapi_url=None, **SILENT)
    answer_errors(app)

    @app.get("/health")
    async def health() -> JSONResponse:
        return JSONResponse({"status": "UP"})

    @app.post("/webhook")
    async def webhook() -> JSONResponse:
        return JSONResponse({"status": "ignored"})

    @app.post("/setup")
    async def setup(request: Request) -> Response:
        refused = _refused(request, user, passwords)
        if refused is not None:
            return refused
        return JSONResponse({"model_version": await run_in_threadpool(drafter.champion) or INTENSITY})

    @app.get("/versions")
    async def versions(request: Request) -> Response:
        refused = _refused(request, user, passwords)
        if refused is not None:
            return refused
        return JSONResponse({"versions": [await run_in_threadpool(drafter.champion) or INTENSITY]})

    @app.post("/predict")
    async def predict(request: Request) -> Response:
        refused = _refused(request, user, passwords)
        if refused is not None:
            return refused
        if not is_json(request):
            return refusal(415, "What to predict is said in application/json, not compressed.")
        body = await body_of(request, LARGEST_BODY)
        return body if isinstance(body, Response) else await run_in_threadpool(_predicted, drafter, body)

    return app


def from_environment(store_url: str | None = None, model: str | None = None) -> FastAPI:
    """The service that the ``HILUM_*`` environment describes. Without a password it does not start."""
    settings = read_settings()
    model = model or settings.pre_annotation_model
    passwords = keys_named(PRE_ANNOTATION_PASSWORD)
    if not model:
        raise RequestError("Say which model drafts: set HILUM_PRE_ANNOTATION_MODEL, or `hilum bridge --model NAME`.")
    if not passwords:
        raise RequestError(
            f"Drafting needs a password that Label Studio gives: set {PRE_ANNOTATION_PASSWORD} or "
            f"{PRE_ANNOTATION_PASSWORD}_FILE."
        )
    store = store_at(store_url)
    drafter = Drafter(store, ledger_of(store), model)
    return make_app(drafter, settings.pre_annotation_user, passwords)


def _predicted(drafter: Drafter, body: bytes) -> Response:
    try:
        said = parsed(body)
        tasks = said.get("tasks") if isinstance(said, Mapping) else None
        if not isinstance(tasks, list) or not 1 <= len(tasks) <= MOST_TASKS:
            raise DataError(f"The body names no list of 1 to {MOST_TASKS:,} tasks.")
        context = _context(said)
        results = drafter.whole(tasks) if context is None else [drafter.pointed_at(_only(tasks), context)]
    except DataError as error:
        return refusal(422, str(error))
    except HilumError as error:
        _log.error("%s: %s", type(error).__name__, error)
        return refusal(503, "No draft can be made now; the service's log says why.")
    return JSONResponse({"results": results})


def _context(said: Mapping[str, Any]) -> object | None:
    """What a person pointed at; None where whole tasks are asked for. Names and passwords beside it are not read."""
    params = said.get("params")
    return (params.get("context") or None) if isinstance(params, Mapping) else None


def _only(tasks: list[object]) -> object:
    if len(tasks) != 1:
        raise DataError(f"A context is about one task; given {len(tasks)}.")
    return tasks[0]


def _refused(request: Request, user: str, passwords: Keys) -> Response | None:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    try:
        name, _, password = base64.b64decode(given.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        name = password = ""
    # Both are compared: which of them was wrong is not told.
    is_right = is_one_of(password, passwords) & is_one_of(name, (user.encode(),))
    if scheme.lower() == "basic" and is_right:
        return None
    return refusal(401, "User or password is missing or wrong.", {"WWW-Authenticate": 'Basic realm="hilum"'})
