"""Spans of a campaign's rounds, for OpenTelemetry, and what is logged of each move.

Spans go through OpenTelemetry's own interface, which does nothing until somebody configures it
(`hilum.adapters.telemetry`, or a program that uses hilum). Each move is a child of its round's root
span, whose ids are known beforehand; the root itself is written when the round ends.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from opentelemetry import context, trace
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, StatusCode, TraceFlags

from hilum.core.acting import acting
from hilum.core.errors import WaitingForPeople
from hilum.core.tracing import RoundIds, given_ids, round_ids
from hilum.loop.events import Event, round_events
from hilum.loop.stages import Stage
from hilum.store.layout import Store

_log = logging.getLogger("hilum.loop")
_NANOSECONDS = 1_000_000_000


@contextmanager
def move_of(campaign: str, ingest_id: str, round_number: int, before: Stage) -> Iterator[None]:
    """One move of a round, as a span of the round's trace and as facts of every log line."""
    parent = _inside(round_ids(campaign, ingest_id, round_number))
    told: dict[str, str | int] = {"hilum.campaign": campaign, "hilum.round": round_number, "hilum.stage": before.value}
    with acting(campaign=campaign, round=round_number), _span(f"after {before.value}", parent) as span:
        span.set_attributes(told)
        yield


@contextmanager
def step_of(verb: str) -> Iterator[Callable[[str], None]]:
    """One step, as a span inside whatever is going on; call what is yielded with the run's id when there is one."""
    began = time.perf_counter()
    with acting(step=verb), _span(verb) as span:

        def is_done(run_id: str) -> None:
            span.set_attributes({"hilum.step": verb, "hilum.run_id": run_id})
            with acting(run=run_id):
                _log.info("%s done", verb, extra={"facts": {"seconds": round(time.perf_counter() - began, 3)}})

        yield is_done


@contextmanager
def _span(name: str, parent: context.Context | None = None) -> Iterator[Span]:
    """A span that says of an error its kind alone: what others raise may repeat what they read."""
    tracer = trace.get_tracer("hilum")
    with tracer.start_as_current_span(
        name, context=parent, record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            yield span
        except WaitingForPeople:
            raise
        except BaseException as error:
            span.set_status(StatusCode.ERROR, type(error).__name__)
            raise


def tell(store: Store, event: Event, ingest_id: str) -> None:
    """Log a move that was made; trace how long people took, and at its end the round as a whole."""
    with acting(campaign=event.campaign, round=event.round_number):
        counts = {name: value for name, value in event.counts.items() if isinstance(value, int | float | str)}
        _log.info("%s", event.stage.value, extra={"facts": {"runs": dict(event.runs), "counts": counts}})
    if event.stage is not Stage.COLLECTED and not event.stage.is_end:
        return
    before = round_events(store, event.campaign, event.round_number)
    ids = round_ids(event.campaign, ingest_id, event.round_number)
    if event.stage is Stage.COLLECTED and Stage.PUBLISHED in before:
        _past_span("annotate", before[Stage.PUBLISHED].at, event, context_of=_inside(ids))
    if event.stage.is_end and Stage.OPENED in before:
        token = given_ids.set(ids)
        try:
            _past_span("round", before[Stage.OPENED].at, event, context_of=context.Context())
        finally:
            given_ids.reset(token)


def _past_span(name: str, began: str, event: Event, *, context_of: context.Context) -> None:
    told: dict[str, str | int] = {
        "hilum.campaign": event.campaign,
        "hilum.round": event.round_number,
        "hilum.stage": event.stage.value,
    }
    span = trace.get_tracer("hilum").start_span(name, context=context_of, attributes=told, start_time=_time(began))
    span.end(_time(event.at))


def _inside(ids: RoundIds) -> context.Context:
    root = SpanContext(ids.trace_id, ids.span_id, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    return trace.set_span_in_context(NonRecordingSpan(root), context.Context())


def _time(at: str) -> int:
    return int(datetime.fromisoformat(at).timestamp() * _NANOSECONDS)
