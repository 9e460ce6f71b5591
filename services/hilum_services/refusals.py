"""What a service says when it does not do what was asked: a sentence, and never a path, a trace or a secret."""

import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match

from hilum.core.errors import CorruptionError, HilumError, NotFoundError

_log = logging.getLogger("hilum.services")
_NOT_ALLOWED = 405
_SENTENCES = {404: "There is nothing at this address.", 405: "This is not done at this address."}


def refusal(status: int, sentence: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """A refusal that no cache keeps."""
    return JSONResponse({"error": sentence}, status, {"Cache-Control": "no-store", **(headers or {})})


def answer_errors(app: FastAPI) -> None:
    """Let no error out of ``app`` as it is. What went wrong is in the log, without the address: it may be signed."""

    @app.exception_handler(NotFoundError)
    async def not_found(_: Request, __: NotFoundError) -> JSONResponse:
        return refusal(404, _SENTENCES[404])

    @app.exception_handler(HilumError)
    async def ours(_: Request, error: HilumError) -> JSONResponse:
        _log.error("%s: %s", type(error).__name__, error)
        told = "The store's data are damaged; `hilum doctor` says where." if isinstance(error, CorruptionError) else ""
        return refusal(500, told or "This cannot be done; the service's log says why.")

    @app.exception_handler(HTTPException)
    async def of_the_framework(request: Request, error: HTTPException) -> JSONResponse:
        sentence = _SENTENCES.get(error.status_code, "The request was refused.")
        headers = {"Allow": _allowed(request)} if error.status_code == _NOT_ALLOWED else dict(error.headers or {})
        return refusal(error.status_code, sentence, headers)

    @app.exception_handler(RequestValidationError)
    async def not_meant(_: Request, __: RequestValidationError) -> JSONResponse:
        return refusal(400, "The request is not one that is understood here.")

    @app.exception_handler(Exception)
    async def unforeseen(_: Request, error: Exception) -> JSONResponse:
        _log.error("unforeseen %s", type(error).__name__)
        # The framework raises it again after the answer, and the server hangs up.
        return refusal(500, "The service failed; its log says how.", {"Connection": "close"})


def _allowed(request: Request) -> str:
    """The methods of every route at this address: the framework names those of the first alone."""
    found: set[str] = set()
    for route in request.app.routes:
        match, _ = route.matches(request.scope)
        if match is not Match.NONE:
            found |= set(getattr(route, "methods", None) or ())
    return ", ".join(sorted(found))
