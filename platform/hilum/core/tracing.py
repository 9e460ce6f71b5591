"""A round is one trace: its ids follow from the campaign, so that steps in different processes join without a word.

Ids as W3C Trace Context and OpenTelemetry have them: a trace is 16 bytes, a span 8, as numbers
here. Nothing in this module knows OpenTelemetry.
"""

import hashlib
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True)
class RoundIds:
    """The ids of a round's trace and of the span that is its root."""

    trace_id: int
    span_id: int


given_ids: ContextVar[RoundIds | None] = ContextVar("given_ids", default=None)
"""What the next span is to be called, where it must not be called at random: the root of a round."""


def round_ids(campaign: str, ingest_id: str, round_number: int) -> RoundIds:
    """The ids of one round, the same in every process and after every restart."""
    digest = hashlib.sha256(f"{campaign}/{ingest_id}/{round_number}".encode()).digest()
    return RoundIds(int.from_bytes(digest[:16]), int.from_bytes(digest[16:24]))
