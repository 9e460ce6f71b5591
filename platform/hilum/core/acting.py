"""What is being done now, for whoever writes it down: campaign, round, step, run. Never a patient."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

_now: ContextVar[Mapping[str, str | int]] = ContextVar("acting", default={})  # noqa: B039 (never changed in place)


@contextmanager
def acting(**facts: str | int) -> Iterator[None]:
    """Everything logged inside also says these ``facts``."""
    token = _now.set({**_now.get(), **facts})
    try:
        yield
    finally:
        _now.reset(token)


def facts_now() -> Mapping[str, str | int]:
    """What is being done now, the outermost fact first."""
    return _now.get()
