"""A span for every request, inside the trace that its sender names (W3C ``traceparent``)."""

from typing import Any

from opentelemetry import trace
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hilum.adapters.telemetry import flush

SILENT: dict[str, Any] = {"telemetry": {"tracing": False, "metrics": False, "logs": False}}
"""For every FastAPI of ours: its own spans hold whole addresses, with signatures and whatever else was asked."""
_SERVER_FAULT = 500


class Traced:
    """Plain ASGI. A span knows the route's pattern and the answer's status, and nothing that was sent."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            if scope["type"] == "lifespan":
                flush()  # now: uvicorn ends by the signal that it was sent, and runs no exit functions
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        parent = TraceContextTextMapPropagator().extract(headers)
        tracer, method = trace.get_tracer("hilum.services"), str(scope["method"])
        # Of an error no more than that there was one: its sentence may repeat what was sent.
        quiet: dict[str, Any] = {"record_exception": False, "set_status_on_exception": False}
        with tracer.start_as_current_span(method, context=parent, kind=SpanKind.SERVER, **quiet) as span:

            async def noting(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                    if message["status"] >= _SERVER_FAULT:
                        span.set_status(Status(StatusCode.ERROR))
                await send(message)

            try:
                await self._app(scope, receive, noting)
            finally:
                route = getattr(scope.get("route"), "path", "")
                if route:
                    span.update_name(f"{method} {route}")
                    span.set_attributes({"http.route": route, "http.request.method": method})
