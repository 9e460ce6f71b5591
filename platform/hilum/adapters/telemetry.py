"""Logs as JSON and traces over OTLP, each only where the environment asks for it.

HILUM_LOG=json: every line of hilum's own on stderr is one JSON object. HILUM_TRACES, or
OpenTelemetry's own OTEL_EXPORTER_OTLP_ENDPOINT: spans are sent there over HTTP.
"""

import atexit
import json
import logging
import os
import sys
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from opentelemetry import trace

from hilum.core.acting import facts_now
from hilum.core.errors import RequestError
from hilum.core.tracing import given_ids

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.id_generator import IdGenerator

LOG_VARIABLE, TRACES_VARIABLE = "HILUM_LOG", "HILUM_TRACES"
_OTEL_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_FORMATS = ("text", "json")
_FLUSH_MILLISECONDS = 5000


class JsonLines(logging.Formatter):
    """A record as one line: what was said, what was being done, and in which trace."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON. Facts of a record stand beside its message, and never replace what is standard."""
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **facts_now(),
            **_trace_now(),
        }
        line |= {name: value for name, value in getattr(record, "facts", {}).items() if name not in line}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class _ToStderr(logging.StreamHandler[Any]):
    """Where stderr is now: a command's streams may be exchanged while it runs."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> Any:
        return sys.stderr


def logs_as_json() -> bool:
    """True where HILUM_LOG asks for JSON; RequestError where it asks for something else."""
    wanted = os.environ.get(LOG_VARIABLE) or "text"
    if wanted not in _FORMATS:
        raise RequestError(f"{LOG_VARIABLE} is 'json' or 'text'; given '{wanted}'.")
    return wanted == "json"


def begin() -> None:
    """Set up logs and traces for this process as the environment says; a second call changes nothing."""
    if logs_as_json():
        _log_json()
    endpoint = os.environ.get(TRACES_VARIABLE, "").rstrip("/")
    if endpoint or any(os.environ.get(name) for name in _OTEL_ENDPOINTS):
        _send_traces(endpoint)


def traces_are_sent() -> bool:
    """True once this process has somewhere to send spans, by `begin` or by a program's own doing."""
    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def flush() -> None:
    """Send the spans that wait to be sent, if there are any."""
    send = getattr(trace.get_tracer_provider(), "force_flush", None)
    if send is not None:
        send(_FLUSH_MILLISECONDS)


def says_json() -> bool:
    """True once this process logs JSON."""
    return bool(_log_json.cache_info().currsize)


@cache
def _log_json() -> None:
    # Hilum's own loggers alone: others write addresses, and what they read in headers.
    ours = logging.getLogger("hilum")
    handler = _ToStderr()
    handler.setFormatter(JsonLines())
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    ours.propagate = False


@cache
def _send_traces(endpoint: str) -> None:
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise RequestError("Sending traces needs more packages: pip install 'hilum[traces]'.") from None
    exporter = OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces") if endpoint else OTLPSpanExporter()
    resource = Resource.create({"service.name": os.environ.get("OTEL_SERVICE_NAME", "hilum")})
    provider = TracerProvider(resource=resource, id_generator=_ids(), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    atexit.register(provider.shutdown)


def _ids() -> "IdGenerator":
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

    class RoundsKnowTheirs(RandomIdGenerator):
        """At random, but for the root of a round, which steps elsewhere have named as their parent already."""

        def generate_span_id(self) -> int:
            given = given_ids.get()
            return given.span_id if given else super().generate_span_id()

        def generate_trace_id(self) -> int:
            given = given_ids.get()
            return given.trace_id if given else super().generate_trace_id()

    return RoundsKnowTheirs()


def _trace_now() -> dict[str, str]:
    found = trace.get_current_span().get_span_context()
    if not found.is_valid:
        return {}
    return {"trace_id": trace.format_trace_id(found.trace_id), "span_id": trace.format_span_id(found.span_id)}
